"""Two estimates side by side: what was asked differently, and what that did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from picojoule.completeness import completeness, told
from picojoule.display import Plotted
from picojoule.errors import PicojouleError
from picojoule.estimate_records import Estimate, Part
from picojoule.plan.others import OTHER
from picojoule.units import show_energy
from picojoule.version import SCHEMA_VERSION, __version__
from picojoule.workload import OPERANDS

VARIES = "differs by layer"


@dataclass(frozen=True, slots=True)
class Change:
    """One quantity before and after; None where it does not exist."""

    name: str
    before: float | None
    after: float | None

    @property
    def ratio(self) -> float | None:
        """After over before; None where that says nothing."""
        if self.before is None or self.after is None or self.before == 0:
            return None
        return self.after / self.before

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"before": self.before, "after": self.after, "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class LayerPair:
    """A layer in both estimates, or all other operators; None where one has no such part."""

    name: str
    before: Part | None
    after: Part | None

    @property
    def energy(self) -> Change:
        """Its energy per inference."""
        return Change(
            self.name,
            None if self.before is None else self.before.energy,
            None if self.after is None else self.after.energy,
        )


@dataclass(frozen=True, slots=True)
class Comparison(Plotted):
    """Two estimates in the same unit. ``changed`` are the parts of the question that differ."""

    before: Estimate
    after: Estimate
    layers: tuple[LayerPair, ...]
    changed: tuple[tuple[str, str, str], ...]

    def __repr__(self) -> str:
        shown = self.in_picojoules()
        sides = ", ".join(
            f"{x.network} on {x.accelerator} {show_energy(x.energy, x.energy_unit)}"
            for x in (shown.before, shown.after)
        )
        return f"<Comparison {sides}>"

    def in_picojoules(self) -> Comparison:
        """The same in picojoules where both machines say what a MAC costs, else as it is."""
        before, after = self.before.in_picojoules(), self.after.in_picojoules()
        if (before.energy_unit, after.energy_unit) != ("pJ", "pJ"):
            return self
        return Comparison(before, after, tuple(_pairs(before, after)), self.changed)

    @property
    def complete(self) -> bool:
        """Whether every product of both networks is in the figures."""
        return self.before.complete and self.after.complete

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the figures leave out, a sentence for each estimate that is incomplete."""
        before, after = self.before, self.after
        return (
            *told(before.unmodelled, f"{before.network} (before)"),
            *told(after.unmodelled, f"{after.network} (after)"),
        )

    @property
    def totals(self) -> tuple[Change, ...]:
        """Energy, MACs, MACs done and cycles of one inference."""
        names = ("energy", "macs", "effectual_macs", "cycles")
        return tuple(
            Change(name, getattr(self.before, name), getattr(self.after, name)) for name in names
        )

    @property
    def by_operand(self) -> tuple[Change, ...]:
        """Energy by operand, and compute."""
        return _paired(self.before.by_operand, self.after.by_operand)

    @property
    def by_memory(self) -> tuple[Change, ...]:
        """Energy by place."""
        return _paired(self.before.by_memory, self.after.by_memory)

    def rows(self) -> list[dict[str, Any]]:
        """One flat record per layer, and one for the total."""
        pairs = [pair.energy for pair in self.layers]
        whole = Change("total", self.before.energy, self.after.energy)
        return [{"layer": x.name, **x.to_dict()} for x in (*pairs, whole)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the schema of ``picojoule compare --json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "picojoule": __version__,
            "energy_unit": self.before.energy_unit,
            "complete": self.complete,
            "before": _side(self.before),
            "after": _side(self.after),
            "changed": [{"what": w, "before": b, "after": a} for w, b, a in self.changed],
            "total": {change.name: change.to_dict() for change in self.totals},
            "by_operand": {change.name: change.to_dict() for change in self.by_operand},
            "by_memory": {change.name: change.to_dict() for change in self.by_memory},
            "layers": [{"name": p.name, **p.energy.to_dict()} for p in self.layers],
        }


def compare(before: Estimate, after: Estimate) -> Comparison:
    """Set two estimates side by side, layers matched by name.

    Networks without a common layer name but with as many layers are matched by position. Energies
    in different units, or in multiples of different MACs, are compared in picojoules.

    Raises:
        PicojouleError: that cannot be, because a machine does not say what its MAC costs.
    """
    changed = tuple(_changed(before, after))
    if _unit(before) != _unit(after):
        before, after = before.in_picojoules(), after.in_picojoules()
    for one, other in ((before, after), (after, before)):
        if one.energy_unit != other.energy_unit and one.energy_unit == "MAC":
            raise PicojouleError(
                f"{one.network!r} on {one.accelerator!r} is in multiples of one MAC's energy, "
                f"{other.network!r} on {other.accelerator!r} in joules: say in the file of "
                f"{one.accelerator!r} what a MAC costs, unit_energy: 2 pJ, and estimate anew"
            )
    return Comparison(before, after, tuple(_pairs(before, after)), changed)


def _unit(estimate: Estimate) -> tuple[str, float | None]:
    """What an energy of *estimate* is a multiple of."""
    joules = estimate.joules
    return estimate.energy_unit, None if joules is None else joules.per_unit


def _pairs(before: Estimate, after: Estimate) -> list[LayerPair]:
    sides = (before, after)
    old = {layer.name: layer for layer in before.layers}
    new = {layer.name: layer for layer in after.layers}
    if not old.keys() & new.keys() and len(old) == len(new):
        pairs = [
            LayerPair(f"{b.name} / {a.name}", b, a)
            for b, a in zip(before.layers, after.layers, strict=True)
        ]
    else:
        names = [*old, *(name for name in new if name not in old)]
        pairs = [LayerPair(name, old.get(name), new.get(name)) for name in names]
    others = [x.others if x.others is not None and x.others.counted else None for x in sides]
    return [*pairs, LayerPair(OTHER, *others)] if any(others) else pairs


def _paired(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[Change, ...]:
    names = [*before, *(name for name in after if name not in before)]
    return tuple(Change(name, before.get(name), after.get(name)) for name in names)


def _side(estimate: Estimate) -> dict[str, Any]:
    return {**_question(estimate), **completeness(estimate.unmodelled, estimate.remarks)}


def _question(estimate: Estimate) -> dict[str, Any]:
    return {
        "network": estimate.network,
        "accelerator": estimate.accelerator,
        "batch": estimate.batch,
        "dataflow": estimate.dataflow,
        "objective": estimate.objective,
        "bits": settings(estimate, "bits"),
        "density": settings(estimate, "density"),
    }


def settings(estimate: Estimate, what: str) -> dict[str, Any]:
    """The *what* ("bits" or "density") of each operand, or that it differs by layer.

    Empty where the estimate does not hold its layers.
    """
    layers = [x.layer for x in estimate.layers if x.layer is not None]
    values_by_operand: dict[str, Any] = {}
    for operand in OPERANDS:
        values = {getattr(layer, what).of(operand) for layer in layers}
        if values:
            values_by_operand[operand.value] = values.pop() if len(values) == 1 else VARIES
    return values_by_operand


def _changed(before: Estimate, after: Estimate) -> list[tuple[str, str, str]]:
    old, new = _question(before), _question(after)
    changes = []
    for name in ("network", "accelerator", "batch", "dataflow", "objective"):
        if old[name] != new[name]:
            changes.append((name, str(old[name]), str(new[name])))
    if old["accelerator"] == new["accelerator"] and before.machine != after.machine:
        changes.append(("accelerator", "its file before", "its file after"))
    counts = ["count" if len(x.counted) > len(x.layers) else "apart" for x in (before, after)]
    if counts[0] != counts[1]:
        changes.append(("others", counts[0], counts[1]))
    for what in ("bits", "density"):
        layers = {x.name: x.layer for x in before.layers if x.layer is not None}
        for operand in OPERANDS:
            name = operand.value
            if name not in old[what] or name not in new[what]:
                continue
            same = all(
                getattr(layers[x.name], what).of(operand) == getattr(x.layer, what).of(operand)
                for x in after.layers
                if x.layer is not None and x.name in layers
            )
            if old[what][name] != new[what][name] or not same:
                changes.append((f"{name} {what}", str(old[what][name]), str(new[what][name])))
    return changes
