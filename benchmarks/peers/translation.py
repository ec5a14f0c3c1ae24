"""Peers' mappings as mappings of picojoule, so that one cost model prices both.

What ZigZag and AccelForge describe, our mapping does as well (:mod:`nests`). Of nn-dataflow the
nearest mappings that can be described are priced, and the cheapest legal one counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.peers import nests
from picojoule import Extents, Mapping, Stage, evaluate
from picojoule.accelerator import Accelerator
from picojoule.legality import violations
from picojoule.workload import DIMS, Dim, Layer, Operand

N, G, M, C, P, Q, R, S = DIMS
NN_DATAFLOW = (C, M, P)  # its loops over input channels, output channels and strips of rows
Sizes = dict[Dim, int]


def priced(peer: str, layer: Layer, machine: Accelerator, found: Any) -> float | None:
    """What *machine* pays for a peer's mapping of *layer*; None if no such mapping is legal."""
    candidates: Iterable[Mapping]
    if peer == "nn-dataflow":
        candidates = nn_dataflow(layer, machine, found)
    elif peer == "zigzag":
        candidates = [nests.zigzag(layer.bounds, found)]
    else:
        array = machine.arrays[nests.BUFFER]
        assert array is not None
        sizes = {axis.name: axis.size for axis in array.axes}
        candidates = [nests.accelforge(layer.bounds, found, sizes)]
    prices = [
        evaluate(layer, machine, mapping).energy
        for mapping in candidates
        if not violations(layer, machine, mapping)
    ]
    return min(prices) if prices else None


def nn_dataflow(layer: Layer, machine: Accelerator, found: dict[str, Any]) -> Iterator[Mapping]:
    """Row-stationary passes: filter rows by a strip of output rows, blocked over C, M and strips.

    nn-dataflow keeps one partial sum for each filter in an element while a whole row of outputs
    streams through it. Where input channels change between passes, that row must stay or travel:
    both are tried.
    """
    folds, strips = found["fold"]
    unit = {C: found["unit"]["C"], M: found["unit"]["M"], P: -(-layer.bounds.P // strips)}
    blocks = [found["factors"][name] for name in ("ti", "to", "tb")]
    kept = {dim: block[2] for dim, block in zip(NN_DATAFLOW, blocks, strict=True)}
    held = {
        dim: block[1] * block[2] * unit[dim] for dim, block in zip(NN_DATAFLOW, blocks, strict=True)
    }
    fans = {**unit, R: -(-layer.bounds.R // folds)}
    outer, middle = (_sorted(order) for order in found["orders"])
    keeps = frozenset(
        operand
        for operand, data in zip(
            (Operand.WEIGHT, Operand.INPUT, Operand.OUTPUT), range(3), strict=True
        )
        if found["buffered"][data]
    )
    whole = {Q: layer.bounds.Q, R: layer.bounds.R, S: layer.bounds.S, N: layer.bounds.N}
    for columns, inner in itertools.product((1, layer.bounds.Q), ((R, Q), (Q, R))):
        element = {**kept, S: layer.bounds.S, Q: columns}
        yield from _mappings(
            layer, machine, element, fans, {**held, **whole}, (outer, (*middle, *inner)), keeps
        )


def registers_needed(layer: Layer, found: dict[str, Any], accesses: dict[str, Any]) -> int:
    """Words an element must hold for nn-dataflow's count of partial sums to be right.

    It counts how often partial sums enter and leave the array. Where that is less often than
    input channels change between passes of a row of outputs, the whole row has to stay.
    """
    inputs, filters, strips = (found["factors"][name] for name in ("ti", "to", "tb"))
    sums = layer.bounds.M * layer.bounds.P * layer.bounds.Q * layer.bounds.R * layer.bounds.N
    moved = accesses["array"][2] / sums  # once out for each stay, and in again but for the first
    passes = inputs[0] * inputs[1]
    stays = moved < 2 * passes - 1
    row = layer.bounds.Q if stays else 1
    return int(layer.bounds.S * inputs[2] * (strips[2] + filters[2]) + filters[2] * strips[2] * row)


def _mappings(
    layer: Layer,
    machine: Accelerator,
    element: Sizes,
    fans: Sizes,
    held: Sizes,
    orders: tuple[Sequence[Dim], Sequence[Dim]],
    keeps: frozenset[Operand],
) -> Iterator[Mapping]:
    """The mapping with these tiles of an element and of the buffer, if the array has room."""
    array = machine.arrays[1]
    assert array is not None
    used = {dim: min(fans.get(dim, 1), layer.bounds[i]) for i, dim in enumerate(DIMS)}
    spatial = _spread(used, [axis.size for axis in array.axes])
    if spatial is None:
        return
    inner = {dim: min(element.get(dim, 1), layer.bounds[i]) for i, dim in enumerate(DIMS)}
    buffer = {
        dim: min(max(held.get(dim, 1), inner[dim]), layer.bounds[i]) for i, dim in enumerate(DIMS)
    }
    yield Mapping(
        (
            Stage(layer.bounds, tuple(orders[0])),
            Stage(_extents(buffer), tuple(orders[1]), keeps, spatial),
            Stage(_extents(inner)),
        )
    )


def _spread(fans: Sizes, sizes: Sequence[int]) -> tuple[Extents, ...] | None:
    """Split unrollings over two axes, cutting a dimension where it must be."""

    def place(dims: list[Dim], room: tuple[int, int]) -> list[tuple[int, int]] | None:
        if not dims:
            return []
        fan = fans[dims[0]]
        for first in range(1, min(room[0], fan) + 1):
            second = -(-fan // first)
            if second <= room[1]:
                rest = place(dims[1:], (room[0] // first, room[1] // second))
                if rest is not None:
                    return [(first, second), *rest]
        return None

    dims = sorted(fans, key=lambda dim: -fans[dim])
    placed = place(dims, (sizes[0], sizes[1]))
    if placed is None:
        return None
    split = dict(zip(dims, placed, strict=True))
    return tuple(_extents({dim: split[dim][axis] for dim in DIMS}) for axis in (0, 1))


def _extents(sizes: Sizes) -> Extents:
    return Extents(*(sizes.get(dim, 1) for dim in DIMS))


def _product(loops: Sequence[tuple[Dim, int]]) -> Sizes:
    sizes: Sizes = {}
    for dim, count in loops:
        sizes[dim] = sizes.get(dim, 1) * count
    return sizes


def _sorted(positions: Sequence[int]) -> tuple[Dim, ...]:
    """Loops from the outermost in, given where each stands counted from the innermost."""
    pairs = sorted(zip(positions, NN_DATAFLOW, strict=True), key=lambda pair: -pair[0])
    return tuple(dim for _, dim in pairs)
