"""What is asked of an adaptation, and what comes out: recipe, rounds, result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import fx

from picojoule.completeness import NOTHING, operator_records
from picojoule.errors import PicojouleError, did_you_mean
from picojoule.frontends.run_results import PRICED
from picojoule.network_records import network_record
from picojoule.pruning.graph.limits import WidthLimits
from picojoule.pruning.graph.surgery import network_files, onnx_files
from picojoule.pruning.netadapt.candidates import Method
from picojoule.pruning.platforms.platforms import Platform
from picojoule.pruning.training import Score, Training
from picojoule.units import show_energy
from picojoule.workload import Workload

MODES = ("best", "paper")
SELECTIONS = ("accuracy", "ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an adaptation goes; the defaults of ``None`` depend on the mode.

    Args:
        mode: "best" or "paper".
        select: "accuracy" (the paper: the most accurate candidate), or "ratio" (the public code:
            the least accuracy lost per resource saved).
        initial_reduction: share of the first price that the first round removes; by default 0.025
            in paper mode (the public code's), and in best mode 0.25 of what is left, each round.
        decay: of the reduction, from round to round (0.96).
        most_rounds: after which the run ends, met or not.
        step: channels that go at a time; by default 8 of groups that had 64 or more, 4 from 32 on,
            2 from 16 on, else 1.
        floor: share of a group's first width that always stays; by default 0.1 in best mode, so
            that no group is choked, and nothing in paper mode.
        short: steps of the fine-tune of each candidate (public code's scripts: 500).
        long: steps of the fine-tune at the end.
        rate, long_rate: learning rates of the two; the long one, and in best mode the short one,
            fall to nothing by a cosine.
        batch: images in a step.
        momentum, weight_decay: of both (the public code's).
        distill: weight of the first network's answers in the loss; by default 0.7 in best mode,
            0 in paper mode.
        calibrate: training images from which inputs and batch norms are estimated.
        hold_out: validation images that candidates are judged by; by default all.
    """

    mode: str = "best"
    select: str = "accuracy"
    initial_reduction: float | None = None
    decay: float = 0.96
    most_rounds: int = 60
    step: int | None = None
    floor: float | None = None
    short: int = 100
    long: int = 2000
    rate: float = 0.01
    long_rate: float = 0.05
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 1e-4
    distill: float | None = None
    calibrate: int = 1024
    hold_out: int | None = None

    def __post_init__(self) -> None:
        for value, choices, what in (
            (self.mode, MODES, "mode"),
            (self.select, SELECTIONS, "selection"),
        ):
            if value not in choices:
                near = did_you_mean(value, choices)
                raise PicojouleError(f"no {what} {value!r}{near}; there are {', '.join(choices)}")
        if not 0 < self.decay <= 1:
            raise PicojouleError(f"decay={self.decay}: above 0, at most 1")
        if self.initial_reduction is not None and not 0 < self.initial_reduction < 1:
            raise PicojouleError(f"initial_reduction={self.initial_reduction}: between 0 and 1")

    @property
    def best(self) -> bool:
        return self.mode == "best"

    @property
    def reduction(self) -> float:
        return self.initial_reduction or (0.25 if self.best else 0.025)

    def limits(self, full: Mapping[str, int]) -> WidthLimits:
        """How narrow groups of these first widths may become."""
        floor = (0.1 if self.best else 0.0) if self.floor is None else self.floor
        return WidthLimits(self.step, floor, dict(full))

    @property
    def method(self) -> Method:
        """How a candidate is made and tuned."""
        short = Training(
            steps=self.short,
            rate=self.rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch=self.batch,
            schedule="cosine" if self.best else "constant",
            distilled=self._distill,
        )
        return Method(short=short, compensate=self.best, accept=self.best, calibrate=self.calibrate)

    @property
    def long_training(self) -> Training:
        return Training(
            steps=self.long,
            rate=self.long_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch=self.batch,
            schedule="cosine",
            distilled=self._distill,
        )

    @property
    def _distill(self) -> float:
        return (0.7 if self.best else 0.0) if self.distill is None else self.distill


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One network of the trade-off curve.

    Args:
        number: 0 is the network as it came.
        resource: predicted, scaled to what was last measured.
        measured: the whole network, where the platform measures.
        accuracy: on the held-out data.
        chosen: the candidate that went on.
        widths: of the groups.
    """

    number: int
    resource: float
    measured: float | None
    accuracy: float
    loss: float
    chosen: str
    note: str
    candidates: int
    lost: int
    widths: Mapping[str, int]
    kind: str = "round"

    @property
    def paid(self) -> float:
        """What the platform charges: measured where it measures."""
        return self.resource if self.measured is None else self.measured


@dataclass(frozen=True, eq=False, kw_only=True)
class Adapted:
    """A network within its budget, and how it came there.

    Args:
        network: the smaller network, in evaluation mode.
        rounds: the trade-off curve, from the first network on; last, after the long fine-tune.
        budget, unit: what was asked for.
        test: score on the test data, looked at once.
        kept: layer -> which output channels of the first network are left.
        predicted: by the table, before the last measurement.
        unmodelled: operators that multiply, or may, and are not in the platform's price.
    """

    network: fx.GraphModule
    rounds: tuple[Round, ...]
    budget: float
    platform: str
    unit: str
    predicted: float
    test: Score | None
    kept: Mapping[str, tuple[int, ...]]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    unmodelled: Mapping[str, int] = field(default_factory=lambda: NOTHING)

    @property
    def resource(self) -> float:
        return self.rounds[-1].paid

    @property
    def met(self) -> bool:
        return self.resource <= self.budget

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the schema of ``picojoule adapt --json``."""
        last = self.rounds[-1]
        return {
            "schema_version": 1,
            "complete": not self.unmodelled,
            "unmodelled": operator_records(self.unmodelled),
            "platform": self.platform,
            "unit": self.unit,
            "budget": self.budget,
            "met": self.met,
            "resource": self.resource,
            "predicted": self.predicted,
            "measured": last.measured,
            "accuracy": last.accuracy,
            "test": None if self.test is None else asdict(self.test),
            "rounds": [{**asdict(each), "widths": dict(each.widths)} for each in self.rounds],
            "provenance": dict(self.provenance),
        }


def result_files(
    adapted: Adapted, example: Sequence[torch.Tensor], priced: Workload
) -> dict[str, bytes]:
    """What a run's ``result/`` holds: the network, as ONNX too, its curve and what was priced."""
    record = adapted.to_dict() | {PRICED: network_record(priced)}
    return {
        **network_files(
            adapted.network,
            [tuple(x.shape) for x in example],
            kept=adapted.kept,
            notes={"platform": adapted.platform, "budget": adapted.budget},
        ),
        "curve.json": (json.dumps(record, indent=1) + "\n").encode(),
        **onnx_files(adapted.network, example),
    }


def budget_of(asked: float | str, begin: float, where: Platform) -> float:
    """The budget in the platform's unit: a share ("50%") of what the network costs, or a number.

    Raises:
        PicojouleError: it is neither, or not above 0.
    """
    text = str(asked).strip()
    try:
        value = float(text[:-1]) / 100 * begin if text.endswith("%") else float(text)
    except ValueError:
        raise PicojouleError(
            f"budget {asked!r}: a share such as '50%', or a number of {where.unit or 'costs'}"
        ) from None
    if not value > 0:
        raise PicojouleError(f"budget {asked!r}: above 0")
    return value


def shown(value: float, where: Platform) -> str:
    """A cost with its unit; energies as everywhere, and counted MACs are none."""
    if where.metric == "energy" and where.unit in ("MAC", "pJ"):
        return show_energy(value, where.unit)
    return f"{value:.4g} {where.unit}".strip()
