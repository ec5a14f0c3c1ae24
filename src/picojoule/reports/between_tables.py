"""What lies between the layers of an estimate, as the tables of a report.

What it could save that each tensor stays on the chip, and what operators without products move.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from picojoule.estimate_records import Estimate
from picojoule.plan.bounds import NetworkBounds, TensorBound
from picojoule.plan.others import Others
from picojoule.reports.between import others_words, saved_share, saving_words, sentence
from picojoule.reports.graph import of_tensor, time_of
from picojoule.units import show_capacity, show_count, show_energy


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRow:
    """Tensors that may stay on the chip and are alike, as a table shows them.

    Args:
        tensor: its name, and who makes it if that is called otherwise; of several first and last.
        times: how many there are.
        energy, share, time: of all of them.
        room, read_by: of the first.
    """

    tensor: str
    times: int
    read_by: str
    room: str
    stays: str
    energy: str
    share: str
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """Operators of one kind that have no products, as a table shows them."""

    operator: str
    count: int
    read: str
    written: str
    energy: str
    share: str
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """What a report says of what lies between the layers.

    Args:
        sentences: what all tensors together save at most if they stay, and what that rests on.
        rows: the tensors that save something, largest first; those that are alike in one.
        total: the last row: all of them together.
        others: in a sentence, what operators without products move; empty if there are none.
        operators: the same by kind, the dearest first.
    """

    sentences: tuple[str, ...]
    rows: tuple[TensorRow, ...]
    total: TensorRow
    others: str
    operators: tuple[OperatorRow, ...]

    @property
    def timed(self) -> bool:
        """Whether that a tensor stays saves time."""
        return bool(self.total.time)

    @property
    def repeated(self) -> bool:
        """Whether some row stands for several tensors."""
        return any(row.times > 1 for row in self.rows)

    @property
    def tensors(self) -> int:
        """How many tensors the rows are of."""
        return sum(row.times for row in self.rows)


def between(estimate: Estimate) -> Between | None:
    """What there is to say of *estimate*; None where nobody says what lies between its layers."""
    bounds = estimate.between
    if bounds is None:
        return None
    saving = [x for x in bounds.tensors if x.energy > 0 or x.cycles > 0]
    saving.sort(key=lambda x: (-x.energy, -x.cycles))
    others = estimate.others
    moved = others is not None and bool(others.operators)
    return Between(
        sentences=tuple(_sentences(estimate, bounds, saving)),
        rows=tuple(_row(alike, estimate, bounds) for alike in _alike(saving)),
        total=TensorRow(
            tensor="together, at most",
            times=len(saving),
            read_by="",
            room="",
            stays="",
            energy=show_energy(bounds.energy, bounds.energy_unit),
            share=saved_share(bounds.energy, estimate.energy),
            time=_time(estimate, bounds),
        ),
        others=sentence(others_words(others, estimate)) if others is not None and moved else "",
        operators=() if others is None else tuple(_operator_rows(others, estimate, bounds)),
    )


def _time(estimate: Estimate, bounds: NetworkBounds) -> str:
    """What all tensors together save at most: transfers side by side cannot save more than all."""
    return time_of(min(bounds.cycles, estimate.cycles), bounds)


def _sentences(
    estimate: Estimate, bounds: NetworkBounds, saving: list[TensorBound]
) -> Iterator[str]:
    words = saving_words(estimate, bounds)
    if saving:
        words += f": {show_energy(bounds.energy, bounds.energy_unit)}"
        words += f" and {_time(estimate, bounds)}" if bounds.cycles else ""
        words += " of an inference"
    yield sentence(words)
    if saving:
        yield of_tensor(saving[0], bounds)
        least = estimate.least_kept(bounds)
        parts = "whole or by parts" if bounds.by_parts else "whole"
        below = "the sum of what is proved of the layers alone less that together"
        if least is not None:
            below = show_energy(least, bounds.energy_unit)
        yield (
            f"No schedule that keeps tensors on the chip {parts}, and computes nothing twice, is "
            f"below {below}, with mappings of the space that was searched."
        )


def _operator_rows(
    others: Others, estimate: Estimate, bounds: NetworkBounds
) -> Iterator[OperatorRow]:
    kinds = {kind: [x for x in others.operators if x.operator == kind] for kind in others.kinds}
    for kind, each in sorted(kinds.items(), key=lambda x: -sum(y.energy for y in x[1])):
        energy = math.fsum(x.energy for x in each)
        yield OperatorRow(
            operator=kind,
            count=len(each),
            read=show_count(math.fsum(x.words["read"] for x in each)),
            written=show_count(math.fsum(x.words["write"] for x in each)),
            energy=show_energy(energy, estimate.energy_unit),
            share=saved_share(energy, estimate.energy),
            time=time_of(math.fsum(x.cycles for x in each), bounds),
        )


def _alike(saving: list[TensorBound]) -> list[list[TensorBound]]:
    """The tensors of a network's repeated blocks together; what saves most, in all, first.

    Alike are those that say the same of all but their names, which differ in numbers only.
    """
    groups: dict[tuple[object, ...], list[TensorBound]] = {}
    for each in saving:
        name = re.sub(r"[0-9]+", "0", each.tensor)
        key = (name, each.energy, each.cycles, each.room, each.memory, len(each.read_by))
        groups.setdefault(key, []).append(each)
    return sorted(groups.values(), key=lambda x: (-len(x) * x[0].energy, -len(x) * x[0].cycles))


def _row(alike: list[TensorBound], estimate: Estimate, bounds: NetworkBounds) -> TensorRow:
    first, times = alike[0], len(alike)
    names = [each.tensor if times > 2 else _name(each) for each in alike]
    stays = ""
    if first.memory:
        stays = f"{first.memory}, {'whole' if first.fits else 'by parts'}"
    return TensorRow(
        tensor=f"{names[0]} … {names[-1]}" if times > 2 else ", ".join(names),
        times=times,
        read_by=", ".join(first.read_by) + (", …" if times > 1 else ""),
        room="unknown" if first.room is None else show_capacity(first.room),
        stays=stays,
        energy=show_energy(times * first.energy, bounds.energy_unit),
        share=saved_share(times * first.energy, estimate.energy),
        time=time_of(times * first.cycles, bounds),
    )


def _name(tensor: TensorBound) -> str:
    """A tensor, and who makes it where that is called otherwise."""
    if tensor.made_by == tensor.tensor:
        return tensor.tensor
    return f"{tensor.tensor}, {f'by {tensor.made_by}' if tensor.made_by else 'an input'}"
