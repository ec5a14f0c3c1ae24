"""What a client asks: the bodies of the API, checked, and a question's identity."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from picojoule.cost import VERSION as COUNTING
from picojoule.dataflow import DATAFLOWS
from picojoule.specs.document import LARGEST_FILE
from picojoule.version import __version__

DataflowName = Literal[
    "rs", "ws", "osa", "osb", "osc", "is", "nlr", "lockstep", "whole-lines", "flexible"
]
assert set(DataflowName.__args__) == set(DATAFLOWS)  # type: ignore[attr-defined]
Width = Annotated[int, Field(ge=1, le=64, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NetworkId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]
Id = Annotated[JobId, Path(description="The id of a job and of its result.")]


class Body(BaseModel):
    """A body of the API: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BitsOf(Body):
    """Widths in bits; what is left out is as the network says."""

    input: Width | None = None
    weight: Width | None = None
    output: Width | None = None


class DensityOf(Body):
    """Shares of non-zero values; what is left out is as the network says."""

    input: Share | None = None
    weight: Share | None = None
    output: Share | None = None


class Settings(Body):
    """What can be changed about a result."""

    batch: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = None
    bits: BitsOf = BitsOf()
    density: DensityOf = DensityOf()


class QuestionBody(Settings):
    """An estimate to be made."""

    network: NetworkId = Field(description="A shipped name, or the id of an uploaded network.")
    chip: NetworkId | None = Field(default=None, description="A shipped name.")
    chip_yaml: Annotated[str, StringConstraints(max_length=LARGEST_FILE)] | None = Field(
        default=None, description="A machine of your own, instead of `chip`."
    )
    node: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}(\.[0-9])? ?nm$")] | None = Field(
        default=None, description="Make the machine at this node of technology: 22nm."
    )
    dataflow: DataflowName | None = Field(default=None, description="By default the machine's own.")
    objective: Literal["energy", "latency", "edp"] = "energy"
    budget: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] | None = Field(
        default=None, description="Seconds to search each distinct layer; by default until proved."
    )

    others: Literal["apart", "count"] | None = Field(
        default=None,
        description="Whether totals `count` what operators without products move between memories; "
        "by default it stands `apart`.",
    )
    eyexam: bool | None = Field(
        default=None, description="Also bound the speed of each layer in the seven steps of Eyexam."
    )

    @field_validator("eyexam")
    @classmethod
    def _asked_or_not(cls, value: bool | None) -> bool | None:
        return value or None  # not asked is one question, however it is written

    @field_validator("others")
    @classmethod
    def _apart_or_counted(cls, value: str | None) -> str | None:
        return None if value == "apart" else value  # so it is by default

    @model_validator(mode="after")
    def _one_chip(self) -> QuestionBody:
        if (self.chip is None) == (self.chip_yaml is None):
            raise ValueError("give either chip or chip_yaml")
        return self

    def plain(self) -> dict[str, Any]:
        """Plain data, without what was left out."""
        kept: dict[str, Any] = _without_nothing(self.model_dump(mode="json"))
        return kept

    def identity(self) -> str:
        """Equal for equal questions to this version of the counting rules."""
        asked = json.dumps([self.plain(), COUNTING, __version__], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()[:20]

    def title(self, network: str, accelerator: str) -> str:
        """One line for a list."""
        parts = [f"{network} on {accelerator}"]
        if self.batch not in (None, 1):
            parts.append(f"batch {self.batch}")
        if self.node:
            parts.append(self.node)
        if self.dataflow:
            parts.append(self.dataflow)
        if self.objective != "energy":
            parts.append(self.objective)
        if self.others:
            parts.append("others counted")
        if self.eyexam:
            parts.append("Eyexam")
        for values, unit in ((self.bits, " bit"), (self.density, " density")):
            for name, value in values:
                if value is not None:
                    parts.append(f"{name} {value:g}{unit}")
        return ", ".join(parts)


class Chip(Body):
    """A machine's file."""

    yaml: Annotated[str, StringConstraints(max_length=LARGEST_FILE)]


class Repricing(Body):
    """Other settings for the present mappings of a result."""

    settings: Settings


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_nothing(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None and item != {}}
    return value
