"""What lies between the layers of an estimate, as the tables of a report.

What it could save that each tensor stays on the chip, and what operators without products move.
"""

from __future__ import annotations

import math
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
    """A tensor that may stay on the chip, as a table shows it; ``made_by`` if called otherwise."""

    tensor: str
    made_by: str
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
        rows: the tensors that save something, largest first.
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
    def apart(self) -> bool:
        """Whether some tensor is called otherwise than who makes it."""
        return any(row.made_by for row in self.rows)


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
        rows=tuple(_row(each, estimate, bounds) for each in saving),
        total=TensorRow(
            tensor="together, at most",
            made_by="",
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


def _row(tensor: TensorBound, estimate: Estimate, bounds: NetworkBounds) -> TensorRow:
    stays = ""
    if tensor.memory:
        stays = f"{tensor.memory}, {'whole' if tensor.fits else 'by parts'}"
    return TensorRow(
        tensor=tensor.tensor,
        made_by="" if tensor.made_by == tensor.tensor else tensor.made_by or "an input",
        read_by=", ".join(tensor.read_by),
        room="unknown" if tensor.room is None else show_capacity(tensor.room),
        stays=stays,
        energy=show_energy(tensor.energy, bounds.energy_unit),
        share=saved_share(tensor.energy, estimate.energy),
        time=time_of(tensor.cycles, bounds),
    )
