"""What lies between the layers of an estimate, in a few words."""

from __future__ import annotations

from picojoule.completeness import listed
from picojoule.estimate_records import Estimate
from picojoule.plan.bounds import NetworkBounds
from picojoule.plan.others import Others
from picojoule.units import show_count, show_energy

ASK = "picojoule show NET --graph -a CHIP"
"""The command that shows every tensor."""
COUNT = "--others count has it there"
"""The option that has in the totals what operators without products move."""


def saving_line(estimate: Estimate) -> str:
    """In one sentence, what keeping tensors on the chip could save; empty where nobody says."""
    bounds = estimate.between
    return "" if bounds is None else sentence(saving_words(estimate, bounds))


def sentence(words: str) -> str:
    """Words as a sentence."""
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
