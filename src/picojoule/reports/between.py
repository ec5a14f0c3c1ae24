"""What lies between the layers of an estimate, in words and rows.

What it could save that tensors stay on the chip, and what operators without products move.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from picojoule.completeness import listed
from picojoule.estimate_records import Estimate
from picojoule.plan.bounds import NetworkBounds, TensorBound
from picojoule.plan.others import Others
from picojoule.reports.graph import of_tensor, time_of
from picojoule.units import show_capacity, show_count, show_energy

ASK = "picojoule show NET --graph -a CHIP"
"""The command that shows every tensor."""
COUNT = "--others count has it there"
"""The option that has in the totals what operators without products move."""


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
        others=_sentence(others_words(others, estimate)) if others is not None and moved else "",
        operators=() if others is None else tuple(_operator_rows(others, estimate, bounds)),
    )


def saving_line(estimate: Estimate) -> str:
    """In one sentence, what keeping tensors on the chip could save; empty where nobody says."""
    bounds = estimate.between
    return "" if bounds is None else _sentence(saving_words(estimate, bounds))


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def saving_words(estimate: Estimate, bounds: NetworkBounds) -> str:
    """In a few words, what keeping tensors on the chip could save at most."""
    if not bounds.energy:
        able = any(each.memory for each in bounds.tensors)
        why = "none lies between two layers" if able else "no memory holds inputs and outputs there"
        return f"no tensor saves anything by staying on chip: {why}"
    words = "keeping tensors on chip could save at most "
    words += saved_share(bounds.energy, estimate.energy)
    if 0 < bounds.fitting < bounds.energy:
        words += f" ({saved_share(bounds.fitting, estimate.energy)} by those that fit whole)"
    return words


def saved_share(part: float, whole: float) -> str:
    """A share in percent, in two digits: a small one is not none.

    >>> saved_share(5.417, 10), saved_share(4.13e-4, 1.0), saved_share(0.0, 1.0)
    ('54 %', '0.041 %', '0 %')
    """
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


def others_words(others: Others, estimate: Estimate) -> str:
    """In a few words, what operators without products move, and whether totals have it in."""
    moved = show_energy(others.energy, estimate.energy_unit)
    if others.cycles:
        moved += f" and {show_count(others.cycles)} cycles"
    one = len(others.operators) == 1
    words = (
        f"{listed(others.kinds)} move{'s' if one else ''} {show_count(others.words)} words: {moved}"
    )
    if others.unsized:
        words += f" without {others.unsized} of unknown size"
    if others.counted:
        return f"{words}, in the totals"
    of_layers = saved_share(others.energy, estimate.energy)
    return f"{words} ({of_layers} of the layers'), not in the totals"


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
    yield _sentence(words)
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
