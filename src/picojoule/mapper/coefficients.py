"""What the classes of a kind have in common: coefficients of words, priced by the ledger.

The same ledger that prices a mapping (:mod:`cost`) books words that are symbols here, which gives
what each word costs in energy, time and room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from picojoule.cost import Ledger
from picojoule.mapper.blocks import Tile
from picojoule.mapper.class_table import Kind
from picojoule.mapper.kernels import Floats
from picojoule.mapper.mapping_classes import Edge
from picojoule.mapper.space import Space
from picojoule.traffic import Flow
from picojoule.workload import OPERANDS, Operand

INPUT, WEIGHT, OUTPUT = OPERANDS


class Term(NamedTuple):
    """The words of an edge at a grain, whatever the order of the loops."""

    edge: int
    grain: int


class Hop(NamedTuple):
    """Words that pass an array's network; free where no neighbours share them."""

    outside: int  # terms
    inside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What all classes of a kind have in common.

    Every coefficient vector is over ``[1, terms, hops]``.
    """

    kind: Kind
    terms: tuple[Term, ...]
    hops: tuple[Hop, ...]
    energy: Floats
    times: tuple[Floats, ...]
    outside: tuple[int, ...]  # arrays outside the memory or network of each time
    waited: tuple[bool, ...]  # whether the multipliers wait for that time
    tiles: tuple[Tile, ...]
    capacity: Floats  # [memories, tiles] bits per word as a part of the memory


def model(space: Space, kind: Kind) -> Model:
    """The coefficients of all counts, priced by the ledger of ``cost``."""
    edges = kind.edges
    terms: list[Term] = []
    shapes: list[tuple[Edge, list[Term | None]]] = []
    for n, edge in enumerate(edges):
        per_grain: list[Term | None] = []
        for grain in range(edge.parent, edge.child + 1):
            grain = _grain(space, edge.parent, grain)
            term = Term(n, grain)
            constant = edge.child == space.depth and not any(
                space.arrays[n] for n in range(edge.parent, space.depth)
            )
            if not constant and term not in terms:
                terms.append(term)
            per_grain.append(None if constant else term)
        shapes.append((edge, per_grain))
    pairs: list[Hop] = []
    for edge, per_grain in shapes:
        for level in range(edge.parent, edge.child):
            if edge.operand is not OUTPUT and space.arrays[level] is not None:
                outside, inside = (per_grain[level - edge.parent + n] for n in (0, 1))
                assert outside is not None
                assert inside is not None
                pairs.append(Hop(terms.index(outside), terms.index(inside)))
    unit: Floats = np.eye(1 + len(terms) + len(pairs))
    ledger = Ledger(space.layer, space.accelerator, one=unit[0])
    ledger.book(_symbolic_flows(space, shapes, terms, unit, kind.lasting))
    energy = sum(
        access.energy
        for table in (ledger.accesses, ledger.hops)
        for operands in table.values()
        for access in operands.values()
    )
    energy = np.asarray(energy, float) + ledger.compute * unit[0]
    times, outside_of, waited = _times(space, ledger) if space.timed else ([], [], [])
    first = 1 + len(terms)
    priced = [n for n in range(len(pairs)) if energy[first + n] or any(t[first + n] for t in times)]
    chosen = [*range(first), *(first + n for n in priced)]
    tiles, capacity = _capacities(space, kind.keeps)
    return Model(
        kind=kind,
        terms=tuple(terms),
        hops=tuple(pairs[n] for n in priced),
        energy=energy[chosen],
        times=tuple(time[chosen] for time in times),
        outside=tuple(outside_of),
        waited=tuple(waited),
        tiles=tiles,
        capacity=capacity,
    )


def _symbolic_flows(
    space: Space,
    shapes: list[tuple[Edge, list[Term | None]]],
    terms: list[Term],
    unit: Floats,
    lasting: int,
) -> list[Flow[Floats]]:
    """Flows whose words are symbols: rows of *unit*, for one, each term and each hop."""
    flows: list[Flow[Floats]] = []
    used = 1 + len(terms)
    for edge, per_grain in shapes:
        lasts = edge.operand is WEIGHT and edge.child <= lasting
        often = 1 if lasts else space.layer.time_steps
        sharing = []
        for level in range(edge.parent, edge.child):
            counts = edge.operand is not OUTPUT and space.arrays[level] is not None
            sharing.append(often * unit[used] if counts else 0 * unit[0])
            used += counts
        words_at = tuple(
            often * _mac_words(space, edge.operand) * unit[0]
            if term is None
            else often * unit[1 + terms.index(term)]
            for term in per_grain
        )
        flows.append(
            Flow(
                operand=edge.operand,
                parent=edge.parent,
                child=edge.child,
                words=words_at,
                sharing=tuple(sharing),
            )
        )
    return flows


def _grain(space: Space, parent: int, grain: int) -> int:
    """The outermost grain with the same words: no array lies between."""
    while grain > parent and space.arrays[grain - 1] is None:
        grain -= 1
    return grain


def _times(space: Space, ledger: Ledger[Floats]) -> tuple[list[Floats], list[int], list[bool]]:
    arrays_outside = np.cumsum([0, *(array is not None for array in space.arrays)])
    vectors, outside, waited = [], [], []
    for channel in (*ledger.channels(), *ledger.waits()):
        vectors.append(np.asarray(channel.bits) / channel.bandwidth)
        outside.append(int(arrays_outside[channel.level]))
        waited.append(channel.waited)
    return vectors, outside, waited


def _mac_words(space: Space, operand: Operand) -> float:
    """Words that the multipliers take from a memory right above them, in one time step."""
    layer = space.layer
    if operand is not INPUT:
        return float(layer.macs // layer.time_steps)
    total = float(layer.bounds.N * layer.bounds.G * layer.bounds.M * layer.bounds.C)
    for axis in space.axes:
        outputs, taps, stride, dilation, stored = axis
        rows = np.arange(outputs)[:, None] * stride + np.arange(taps)[None, :] * dilation
        total *= int(((rows >= stored.start) & (rows < stored.stop)).sum())
    return total


def _capacities(
    space: Space, keeps: tuple[frozenset[Operand], ...]
) -> tuple[tuple[Tile, ...], Floats]:
    """Tiles that memories hold, and how much of each memory a word takes."""
    tiles: list[Tile] = []
    rows: dict[str, dict[int, float]] = {}  # by memory, which may stand at several levels
    for index, level in enumerate(space.levels):
        for memory in level.memories:
            held = [o for o in OPERANDS if o in memory.keeps & keeps[index]]
            if memory.capacity is None or not held:
                continue
            row = rows.setdefault(memory.name, {})
            for operand in held:
                row[len(tiles)] = space.width(operand) / memory.capacity
                tiles.append(Tile(index, operand))
    weights = np.zeros((len(rows), len(tiles)))
    for n, row in enumerate(rows.values()):
        for column, part in row.items():
            weights[n, column] = part
    return tuple(tiles), weights
