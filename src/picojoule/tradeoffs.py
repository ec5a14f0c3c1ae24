"""The trade-off of a compression run: what each step cost, and how accurate it was.

A run is a folder with ``run.json`` and a growing ``history.jsonl``; both are plain JSON, so a run
can be looked at while it goes on, and without the packages that made it.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from picojoule.completeness import told
from picojoule.errors import InputError, Mistake

KINDS = ("prune", "adapt")
LARGEST_HISTORY = 64 * 1024 * 1024  # bytes; a thousand judged networks take 10 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A network on the way: its cost, its accuracy on validation data (0 to 1), and its layers.

    Args:
        layers: energy by layer; this and what follows is empty where the run does not note it.
        operands: energy by layer and operand.
        weights: share of the first network's weights, by layer.
        bits: of the weights, by layer, where they are not the first network's.
        widths: channels, by group of channels that change together.
    """

    name: str
    cost: float
    accuracy: float
    layers: Mapping[str, float] = field(default_factory=dict)
    operands: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)

    @property
    def by_operand(self) -> dict[str, float]:
        """Energy by operand and compute, over all layers."""
        names = dict.fromkeys(name for table in self.operands.values() for name in table)
        return {
            name: math.fsum(table.get(name, 0.0) for table in self.operands.values())
            for name in names
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff:
    """A run so far: its moments, the network as it came first.

    Args:
        name: of the run's folder.
        kind: "prune" or "adapt".
        unit: of the costs.
        chosen: the moment that is the run's result; the last one, while it goes on.
        ended: whether the result is there.
        stopped: whether no process is at work on it although it has not ended.
        recipe: what was asked, as ``run.json`` has it.
    """

    name: str
    kind: str
    unit: str
    moments: tuple[Moment, ...]
    chosen: Moment
    ended: bool
    stopped: bool
    recipe: Mapping[str, Any]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the costs leave out, in a sentence; none of a complete network."""
        return told(self.recipe.get("unmodelled", {}))

    def relative(self, moment: Moment) -> float:
        """Its cost over that of the first network."""
        first = self.moments[0].cost
        return moment.cost / first if first else math.nan

    def change(self, moment: Moment) -> float:
        """Its accuracy less that of the first network, in points of a percent."""
        return 100 * (moment.accuracy - self.moments[0].accuracy)

    def rows(self) -> list[dict[str, Any]]:
        """One flat record per moment."""
        return [
            {
                "step": moment.name,
                "cost": moment.cost,
                "relative": self.relative(moment),
                "accuracy": moment.accuracy,
                "change_points": self.change(moment),
            }
            for moment in self.moments
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "kind": self.kind,
            "unit": self.unit,
            "ended": self.ended,
            "stopped": self.stopped,
            "complete": not self.warnings,
            "chosen": self.chosen.name,
            "recipe": dict(self.recipe),
            "steps": [
                {**row, "layers": dict(moment.layers)}
                for row, moment in zip(self.rows(), self.moments, strict=True)
            ],
        }


@dataclass(frozen=True, slots=True)
class PublishedPoint:
    """What a paper prints: cost over the original's, and change of accuracy in points.

    Args:
        source: the table, and whether the numbers are recalled rather than read there.
    """

    label: str
    relative: float
    change: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paper:
    """Where the published points of a kind of run stand, and what they count."""

    name: str
    file: str
    cost: str
    accuracy: str
    variants: Mapping[str, tuple[str, ...]]


_PAPERS = {
    "prune": _Paper(
        name="CVPR'17, energy",
        file="cvpr17_table1.csv",
        cost="energy",
        accuracy="top5_accuracy",
        variants={
            "bvlc-alexnet-cvpr17": ("bvlc-alexnet-dc", "bvlc-alexnet-eap"),
            "googlenet": ("googlenet-eap",),
            "squeezenet1.0": ("squeezenet1.0-dc", "squeezenet1.0-eap"),
        },
    ),
    "adapt": _Paper(
        name="ECCV'18, MACs",
        file="eccv18_netadapt.csv",
        cost="macs",
        accuracy="top1_accuracy",
        variants={"mobilenetv1": ("mobilenetv1-0.75", "mobilenetv1-adc", "mobilenetv1-netadapt")},
    ),
}


def read_run(folder: str | os.PathLike[str]) -> TradeOff:
    """Read the folder of a compression run, ended or not.

    Raises:
        InputError: it is no such folder, or has no judged network yet.
    """
    place = Path(folder)
    head = _json(place / "run.json")
    kind = head.get("kind")
    if kind not in KINDS:
        problem = f"{kind!r} is no kind of run; there are {', '.join(KINDS)}"
        raise InputError(str(place / "run.json"), [Mistake("$.kind", problem)])
    try:
        records = list(_history(place / "history.jsonl"))
        unit, moments = _pruned(records) if kind == "prune" else _adapted(records)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        problem = f"not the history of such a run: {type(error).__name__}: {error}"
        raise InputError(str(place / "history.jsonl"), [Mistake("$", problem)]) from None
    if not moments:
        raise InputError(
            str(place / "history.jsonl"), [Mistake("$", "no network has been judged yet")]
        )
    recipe = head.get("recipe")
    ended = (place / "result").is_dir()
    return TradeOff(
        name=place.resolve().name,
        kind=kind,
        unit=unit or _unit(recipe or {}),
        moments=tuple(moments),
        chosen=_chosen(place, moments),
        ended=ended,
        stopped=not ended and not is_at_work(place),
        recipe=MappingProxyType(recipe if isinstance(recipe, dict) else {}),
    )


def _unit(recipe: Mapping[str, Any]) -> str:
    """The unit of an adaptation's costs; that of counted MACs is not that of their energy."""
    return "MACs" if recipe.get("platform") == "macs" else str(recipe.get("unit", ""))


def is_at_work(folder: Path) -> bool:
    """Whether a process holds the lock of a run's folder; where no locks are, it may be."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        with (folder / ".lock").open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _chosen(place: Path, moments: list[Moment]) -> Moment:
    """The network of the result: of those that were judged, the one with its energy."""
    result = place / "result" / "result.json"
    if result.exists():
        energy = _json(result).get("after", {}).get("energy")
        for moment in moments:
            if moment.cost == energy:
                return moment
    return moments[-1]


def _json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(str(path), [Mistake("$", f"cannot be read: {error}")]) from None
    if not isinstance(record, dict):
        raise InputError(str(path), [Mistake("$", "not the head of a run")])
    return record


def _history(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and record of each finished step; a last line that is being written is left out."""
    try:
        if path.stat().st_size > LARGEST_HISTORY:
            raise InputError(str(path), [Mistake("file", f"more than {LARGEST_HISTORY} bytes")])
        text = path.read_text("utf-8")
    except OSError as error:
        raise InputError(str(path), [Mistake("$", f"cannot be read: {error}")]) from None
    for line in text.split("\n")[:-1]:
        item = json.loads(line)
        yield str(item["step"]), item["record"]


def _pruned(records: list[tuple[str, dict[str, Any]]]) -> tuple[str, list[Moment]]:
    """Every judged network: a record with an accuracy and a price.

    An attempt at a stage stands only until the next network is judged.
    """
    unit = ""
    moments: list[Moment] = []
    for name, record in records:
        if isinstance(record, dict) and "price" in record and "accuracy" in record:
            price = record["price"]
            unit = str(price["unit"])
            if moments and "/" in moments[-1].name:
                moments.pop()
            moments.append(
                Moment(
                    name=name,
                    cost=float(price["energy"]),
                    accuracy=float(record["accuracy"]),
                    layers={layer: float(x["energy"]) for layer, x in price["layers"].items()},
                    operands={
                        layer: dict(x.get("by_operand", {})) for layer, x in price["layers"].items()
                    },
                    weights=dict(record.get("weights", {})),
                    bits=dict(record.get("bits", {})),
                    widths=dict(record.get("widths", {})),
                )
            )
    return unit, moments


def _adapted(records: list[tuple[str, dict[str, Any]]]) -> tuple[str, list[Moment]]:
    """The first network, and of each round the candidate that was chosen.

    What a platform predicts is scaled to what it measured last.
    """
    moments: list[Moment] = []
    plans: dict[str, list[str]] = {}
    accuracies: dict[tuple[str, int], float] = {}
    scale = 1.0
    for name, record in records:
        head, _, last = name.rpartition(" ")
        if name == "start":
            predicted, measured = float(record["predicted"]), record["measured"]
            scale = 1.0 if measured is None else float(measured) / predicted
            moments.append(
                Moment(name=name, cost=predicted * scale, accuracy=float(record["accuracy"]))
            )
        elif last == "plan":
            plans[head] = [str(x["name"]) for x in record["candidates"]]
        elif head.endswith(" candidate") and record.get("status") == "done":
            accuracies[head.removesuffix(" candidate"), int(last)] = float(record["accuracy"])
        elif last == "chosen":
            predicted, measured = float(record["predicted"]), record["measured"]
            cost = predicted * scale if measured is None else float(measured)
            scale = scale if measured is None else float(measured) / predicted
            number = plans[head].index(str(record["chosen"]))
            label = f"{head}: {record['chosen']}"
            moments.append(Moment(name=label, cost=cost, accuracy=accuracies[head, number]))
        elif name.startswith("long fine-tune") and moments:
            before = moments[-1]
            if float(record["accuracy"]) >= before.accuracy:
                moments.append(
                    Moment(name=name, cost=before.cost, accuracy=float(record["accuracy"]))
                )
    return "", moments


def published_name(kind: str) -> str:
    """The paper of a kind of run, and what its points count."""
    return _PAPERS[kind].name


def published_points(kind: str) -> tuple[PublishedPoint, ...]:
    """Published networks relative to their originals, for a kind of run."""
    paper = _PAPERS[kind]
    place = resources.files("picojoule") / "data" / "published" / paper.file
    lines = [x for x in place.read_text("utf-8").splitlines() if not x.startswith("#")]
    rows = {(row["network"], row["quantity"]): row for row in csv.DictReader(lines)}

    def value(network: str, quantity: str) -> float:
        return float(rows[network, quantity]["value"])

    points = []
    for original, variants in paper.variants.items():
        for name in variants:
            row = rows[name, paper.cost]
            sure = row["certainty"] == "exact"
            points.append(
                PublishedPoint(
                    name,
                    value(name, paper.cost) / value(original, paper.cost),
                    value(name, paper.accuracy) - value(original, paper.accuracy),
                    row["figure"] if sure else f"{row['figure']}, {row['certainty']}",
                )
            )
    return tuple(points)
