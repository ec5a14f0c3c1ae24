"""What must move however a layer is mapped, and the least cycles and energy that takes.

Whatever the tiles and the order of the loops, every weight and every input that some output needs
leaves the outermost memory once, passes every network once, and every output comes back once. At
best all copies of a channel work side by side. Where a mapping is found that is as fast, no other
need be looked at. Where words can be coded, or dropped with the MACs they were for, in several ways
(an operand may pass a memory by), the way that moves least counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from picojoule.accelerator import Accelerator
from picojoule.cost import Ledger
from picojoule.traffic import flow_of, rows_under
from picojoule.workload import OPERANDS, Layer, Operand


@dataclass(frozen=True, slots=True)
class Compulsory:
    """Cycles that no mapping can do without (all inferences of the batch), and what needs them."""

    cycles: float
    channel: str


def compulsory(layer: Layer, accelerator: Accelerator) -> Compulsory:
    """The channel that takes longest to pass once what it must pass; none takes no cycles."""
    sizes = [array.size if array else 1 for array in accelerator.arrays]
    least: dict[str, float] = {}
    for operand in OPERANDS:
        ways = [
            {channel.name: channel.bits for channel in ledger.channels()}
            for ledger in _ledgers(layer, accelerator, operand)
        ]
        for name in ways[0]:
            least[name] = least.get(name, 0.0) + min(way[name] for way in ways)
    longest = Compulsory(0.0, "")
    for channel in Ledger(layer, accelerator, one=1.0).channels():
        together = channel.bandwidth * math.prod(sizes[: channel.level])
        cycles = least[channel.name] / together
        if cycles > longest.cycles:
            longest = Compulsory(cycles, channel.name)
    return longest


def least_energy(layer: Layer, accelerator: Accelerator) -> float:
    """What no mapping is below: the products, every word over every edge once, and no waiting."""
    moved = sum(
        min(
            sum(
                access.energy
                for table in (ledger.accesses, ledger.hops)
                for operands in table.values()
                for access in operands.values()
            )
            for ledger in _ledgers(layer, accelerator, operand)
        )
        for operand in OPERANDS
    )
    drawn = accelerator.drawn_per_cycle * least_cycles(layer, accelerator)
    return Ledger(layer, accelerator, one=1.0).compute + moved + drawn


def least_cycles(layer: Layer, accelerator: Accelerator) -> float:
    """What no mapping is below: the products on all elements at once, and what must move."""
    elements = math.prod(array.size for array in accelerator.arrays if array)
    steps = layer.time_steps * math.prod(layer.bounds) / elements
    work = steps * Ledger(layer, accelerator, one=1.0).cycles_per_step
    return max(work, compulsory(layer, accelerator).cycles)


def _ledgers(layer: Layer, accelerator: Accelerator, operand: Operand) -> Iterator[Ledger[float]]:
    """Every word of an operand over every edge once, for each way in."""
    words = _words(layer, operand, padded=accelerator.charge_padding)
    for holders in _ways(accelerator, operand):
        ledger = Ledger(layer, accelerator, one=1.0)
        ledger.book(
            [
                flow_of(operand, parent, child, (words,) * (child - parent + 1))
                for parent, child in zip(
                    holders, [*holders[1:], len(accelerator.levels)], strict=True
                )
            ]
        )
        yield ledger


def _ways(accelerator: Accelerator, operand: Operand) -> Iterator[tuple[int, ...]]:
    """The levels that may hold an operand on its way in: with and without those it may pass by."""
    levels = [
        ((n,), ()) if operand in level.may_bypass else ((n,),)
        for n, level in enumerate(accelerator.levels)
        if operand in level.keeps
    ]
    for choice in itertools.product(*levels):
        if choice[0]:  # the outermost memory holds everything
            yield tuple(n for held in choice for n in held)


def _words(layer: Layer, operand: Operand, *, padded: bool) -> int:
    """Words of an operand that are needed: of the input those that some window covers."""
    if operand is not Operand.INPUT:
        return layer.size(operand)
    words = layer.time_steps * layer.bounds.N * layer.bounds.G * layer.bounds.C
    for axis in (layer.axis(0, padded=padded), layer.axis(1, padded=padded)):
        words *= len(rows_under(axis, 0, axis.outputs, 0, axis.taps))
    return words
