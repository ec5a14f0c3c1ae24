"""What ``picojoule eyexam --json`` wrote, read back for a report: seven bounds of each layer.

Eyexam (Eyeriss v2, arXiv:1807.07928) bounds the speed of a layer in seven steps, each below the
one before: from the parallelism of its shape to what an accelerator makes of it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from picojoule.completeness import NOTHING, read_completeness
from picojoule.errors import InputError, Mistake
from picojoule.version import SCHEMA_VERSION

STEPS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The bound of one step in MACs per cycle; None where it is not known."""

    step: int
    title: str
    bound: float | None
    limited_by: str
    lift: str


@dataclass(frozen=True, slots=True)
class ExaminedLayer:
    """A layer's MACs per inference, the speed of all elements at work, and its seven bounds."""

    name: str
    macs: float
    peak: float | None
    bounds: tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class ExaminedNetwork:
    """The seven bounds of every layer of a network on an accelerator."""

    network: str
    accelerator: str
    layers: tuple[ExaminedLayer, ...]
    unmodelled: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    remarks: tuple[str, ...] = ()

    @property
    def peak(self) -> float | None:
        """MACs per cycle of the network if every element worked all the time."""
        return self._together([layer.peak for layer in self.layers])

    def bound(self, step: int) -> float | None:
        """The bound of a step for the network: its MACs over the sum of the layers' times."""
        return self._together([layer.bounds[step - 1].bound for layer in self.layers])

    def _together(self, rates: list[float | None]) -> float | None:
        pairs = list(zip(self.layers, rates, strict=True))
        if not pairs or any(not rate for _, rate in pairs):
            return None
        time = math.fsum(layer.macs / rate for layer, rate in pairs if rate)
        return math.fsum(layer.macs for layer in self.layers) / time if time else None

    @property
    def titles(self) -> tuple[str, ...]:
        """The names of the steps."""
        return tuple(bound.title for bound in self.layers[0].bounds)


def load_examination(path: str | os.PathLike[str]) -> ExaminedNetwork:
    """Read what ``picojoule eyexam --json`` wrote.

    Raises:
        InputError: it is no examination of this schema version.
    """
    source = os.fspath(path)
    try:
        raw = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(source, [Mistake("$", f"cannot be read as JSON: {error}")]) from None
    return parse_examination(raw, source)


def is_examination(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an examination and not an estimate: its layers have steps, and no price.

    Whatever else it is, its own reader says what is wrong with it.
    """
    try:
        first = json.loads(Path(path).read_text("utf-8"))["layers"][0]
        return "steps" in first and "energy" not in first
    except (OSError, ValueError, RecursionError, KeyError, IndexError, TypeError):
        return False


def parse_examination(raw: Any, source: str) -> ExaminedNetwork:
    """Read what :meth:`eyexam.Examination.to_dict` made; *source* names it in errors.

    Raises:
        InputError: it is no examination of this schema version.
    """
    try:
        if raw["schema_version"] != SCHEMA_VERSION:
            problem = f"{raw['schema_version']!r}; this picojoule reads {SCHEMA_VERSION}"
            raise InputError(source, [Mistake("$.schema_version", problem)])
        layers = tuple(_layer(item) for item in raw["layers"])
        network = ExaminedNetwork(
            str(raw["network"]), str(raw["accelerator"]), layers, **read_completeness(raw)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(source, [Mistake("$", f"not an examination: {error!r}")]) from None
    if not layers:
        raise InputError(source, [Mistake("$.layers", "there are none")])
    return network


def stored_examination(result: dict[str, Any]) -> ExaminedNetwork | None:
    """The examination that a stored result holds, if one was asked for."""
    raw = result.get("eyexam")
    return None if raw is None else parse_examination(raw, "the stored result: $.eyexam")


def _layer(raw: dict[str, Any]) -> ExaminedLayer:
    bounds = tuple(
        Bound(
            step=int(x["step"]),
            title=str(x.get("title", x["step"])),
            bound=None if x["bound"] is None else float(x["bound"]),
            limited_by=str(x["limited_by"]),
            lift=str(x["lift"]),
        )
        for x in raw["steps"]
    )
    if [x.step for x in bounds] != list(range(1, STEPS + 1)):
        raise ValueError(f"layer {raw['name']!r} has not the steps 1 to {STEPS}")
    peak = raw.get("peak")
    return ExaminedLayer(
        str(raw["name"]),
        float(raw.get("macs", 0.0)),
        None if peak is None else float(peak),
        bounds,
    )
