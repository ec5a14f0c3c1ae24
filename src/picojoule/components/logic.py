"""What computes and what carries: integer multiplier-accumulators and wires."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from picojoule.components.nodes import logic_area, logic_energy
from picojoule.components.rows import between, rounded, rows

ACTIVITY = 0.5
"""Wires of a bus that change level from one random word to the next."""


class Unit(NamedTuple):
    """An arithmetic unit: pJ for one operation, mm2, and watts that leak."""

    energy: float
    area: float
    leakage: float


def mac(width: int, sum_bits: int, node: float) -> Unit:
    """A multiplier of *width* x *width* bits with an adder of *sum_bits*.

    >>> mac(16, 32, 65.0).energy
    4.8257
    """
    product = _unit("multiplier", node, width, 2)
    total = _unit("adder", node, sum_bits, 1)
    return Unit(*(rounded(a + b) for a, b in zip(product, total, strict=True)))


def wire(length: float, width: int, node: float) -> float:
    """pJ for one word of *width* bits over *length* millimetres of repeated wire.

    Half of the wires change level, as for random words. 16 bit over 1 mm at 65 nm take what
    nn_dataflow has for a hop of Eyeriss, 4 pJ:

    >>> wire(1.0, 16, 65.0)
    3.98038
    """
    table = _wires()
    place = between(node, sorted(table))
    energy = table[place.low] ** (1 - place.share) * table[place.high] ** place.share
    return rounded(energy * ACTIVITY * length * width)


@cache
def _wires() -> dict[float, float]:
    return {float(row["node_nm"]): float(row["energy_pj_per_mm"]) for row in rows("wires")}


def _unit(part: str, node: float, width: int, power: int) -> Unit:
    """A unit whose numbers grow with the *power* of its width."""
    row = next(row for row in rows("logic") if row["part"] == part)
    reference = float(row["node_nm"])
    size = (width / float(row["width_bits"])) ** power
    energy = size * logic_energy(node, reference)
    return Unit(
        float(row["energy_pj"]) * energy,
        float(row["area_um2"]) / 1e6 * size * logic_area(node, reference),
        float(row["leakage_w"]) * energy,
    )
