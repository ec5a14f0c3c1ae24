"""Random layers, machines and mappings for property tests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from picojoule.accelerator import (
    Accelerator,
    Array,
    Axis,
    Charging,
    Compute,
    HopCharge,
    InputReuse,
    Level,
    Memory,
    SparseSupport,
    ZeroSkip,
)
from picojoule.mapping import Mapping, Stage
from picojoule.workload import DIMS, OPERANDS, Dim, Extents, Layer, Operand, PerOperand

WINDOW = (Dim.P, Dim.Q, Dim.R, Dim.S)


def _number(draw: st.DrawFn, most: int) -> int:
    """A number from 1 to *most*; a choice of one is not drawn, which is what takes the time."""
    return draw(st.integers(1, most)) if most > 1 else 1


@st.composite
def layers(
    draw: st.DrawFn, largest: int = 96, time_steps: tuple[int, ...] = (1, 1, 1, 2, 3)
) -> Layer:
    """Small layers with strides, dilation, lopsided padding, spare input rows."""
    bounds, limits = [1] * 8, (2, 2, 4, 4, 5, 5, 3, 3)
    first = draw(st.integers(0, 7))  # the first to choose has most room: each has its turn
    for index in (*range(first, 8), *range(first)):
        room = max(1, largest // math.prod(bounds))
        bounds[index] = _number(draw, min(limits[index], room))
    shape = Extents(*bounds)
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    padding, sizes = [], []
    for axis in (0, 1):
        window = (shape[6 + axis] - 1) * dilation[axis] + 1
        whole = (shape[4 + axis] - 1) * stride[axis] + window
        before = draw(st.integers(0, min(2, whole - 1)))
        after = draw(st.integers(0, min(2, whole - 1 - before)))
        padding += [before, after]
        spare = draw(st.integers(0, stride[axis] - 1))
        sizes.append(whole - before - after + spare)
    return Layer(
        "x",
        shape,
        stride=stride,
        dilation=dilation,
        padding=(padding[0], padding[1], padding[2], padding[3]),
        input_size=(sizes[0], sizes[1]),
        bits=PerOperand(*(draw(st.sampled_from([4, 8, 16])) for _ in range(3))),
        density=PerOperand(*(draw(st.sampled_from([0.0, 0.3, 1.0])) for _ in range(3))),
        time_steps=draw(st.sampled_from(time_steps)),
    )


def machine(
    keeps: Sequence[Iterable[Operand]],
    arrays: Sequence[Sequence[int]],
    *,
    charging: Charging = Charging.BOTH_ENDS,
    hop_charge: HopCharge = HopCharge.EVERY,
    padded: bool = False,
    capacities: Sequence[int | None] | None = None,
    sparse: SparseSupport | None = None,
    bypass: Iterable[Operand] = (),
) -> Accelerator:
    """A machine with one shared memory per level; ``arrays[i]`` are axis sizes beneath level i."""
    nest: list[Level | Array] = []
    capacities = capacities or [None] * len(keeps)
    for index, kept in enumerate(keeps):
        cost = (200.0, 6.0, 3.0, 1.0, 0.5)[index]
        nest.append(
            Level(
                (
                    Memory(
                        f"m{index}",
                        keeps=frozenset(kept),
                        capacity=capacities[index],
                        read_energy=cost,
                        write_energy=cost * 1.25,
                        may_bypass=frozenset(bypass) & frozenset(kept) if index else frozenset(),
                    ),
                )
            )
        )
        if arrays[index]:
            axes = tuple(Axis(f"a{index}{n}", size) for n, size in enumerate(arrays[index]))
            nest.append(Array(f"array{index}", axes, hop_energy=2.0, hop_charge=hop_charge))
    return Accelerator(
        "random",
        tuple(nest),
        compute=Compute(1.0),
        charging=charging,
        charge_padding=padded,
        sparse=sparse or SparseSupport(),
    )


@st.composite
def mappings(draw: st.DrawFn, layer: Layer, levels: int | None = None) -> Mapping:
    """A legal even mapping of *layer* onto some machine (:func:`sized_for`)."""
    depth = levels or draw(st.integers(1, 4))
    keeps = [frozenset(OPERANDS)]
    keeps += [
        frozenset(draw(st.sets(st.sampled_from(OPERANDS), max_size=3))) for _ in range(1, depth)
    ]
    return _nest(draw, layer, list(range(depth)), keeps)


@st.composite
def uneven_mappings(draw: st.DrawFn, layer: Layer) -> Mapping:
    """A legal mapping whose levels have up to three stages each, in any order they may have."""
    depth = draw(st.integers(2, 3))
    levels, keeps = [0], [frozenset(OPERANDS)]
    kept = dict.fromkeys(OPERANDS, 0)  # the innermost level that keeps each so far
    while len(levels) < 6:
        inside = max(levels) + 1
        level = draw(st.integers(1, min(inside, depth - 1)))
        free = [operand for operand in OPERANDS if kept[operand] < level]
        if level < inside and not free:
            break
        levels.append(level)
        some = st.sets(st.sampled_from(free), min_size=int(level < inside))
        keeps.append(frozenset(draw(some) if free else ()))
        kept |= dict.fromkeys(keeps[-1], level)
    missing = range(max(levels) + 1, depth)
    return _nest(draw, layer, [*levels, *missing], [*keeps, *(frozenset() for _ in missing)])


def _nest(
    draw: st.DrawFn, layer: Layer, levels: list[int], keeps: list[frozenset[Operand]]
) -> Mapping:
    """Stages of these levels that keep these operands; tiles, orders and unrollings drawn."""
    stages, tile = [], layer.bounds
    for n, kept in enumerate(keeps):
        running = [dim for dim, size in zip(DIMS, tile, strict=True) if size > 1]
        order = (*draw(st.permutations(running)), *(dim for dim in DIMS if dim not in running))
        inner = Extents()
        if n + 1 < len(keeps):
            inner = Extents(*(_number(draw, size) for size in tile))
        fanout, spatial, budget = [], [], 8
        parted = n + 1 == len(levels) or levels[n + 1] > max(levels[: n + 1])
        if parted and draw(st.booleans()):
            for size, piece in zip(tile, inner, strict=True):
                factor = _number(draw, min(-(-size // piece), budget, 3))
                budget //= factor
                fanout.append(factor)
            spatial = [Extents(*fanout)]
        stages.append(Stage(tile, order, kept, tuple(spatial)))
        tile = inner
    return Mapping(tuple(stages), tuple(levels))


@st.composite
def reuses(draw: st.DrawFn, mapping: Mapping) -> InputReuse:
    """Ways to reuse inputs, half of them as well as can be; only the outermost array hands on."""
    levels = mapping.depth
    padded = draw(st.booleans())
    if draw(st.booleans()):
        return InputReuse(padded=padded)
    anew = st.frozensets(st.sampled_from([Dim.M, *WINDOW]), max_size=3)
    taps = st.frozensets(st.sampled_from([Dim.R, Dim.S]))
    return InputReuse(
        padded=padded,
        refetches=(frozenset(), *(draw(anew) for _ in range(levels - 1))),
        handed_on=tuple(
            draw(taps)
            if not any(s.spatial for s in mapping.stages[: mapping.first(level + 1) - 1])
            else frozenset()
            for level in range(levels)
        ),
    )


def sized_for(mapping: Mapping, **rest: Any) -> Accelerator:
    """A machine on which *mapping* is legal."""
    keeps: list[set[Operand]] = [set() for _ in range(mapping.depth)]
    for level, stage in zip(mapping.levels, mapping.stages, strict=True):
        keeps[level] |= stage.keeps
    above = [mapping.stages[mapping.first(level + 1) - 1] for level in range(mapping.depth)]
    return machine(keeps, [[math.prod(axis) for axis in stage.spatial] for stage in above], **rest)


__all__ = [
    "Operand",
    "ZeroSkip",
    "layers",
    "machine",
    "mappings",
    "reuses",
    "sized_for",
    "uneven_mappings",
]
