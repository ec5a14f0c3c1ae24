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
    """A legal mapping of *layer* onto some machine, as (mapping, fanout axis sizes per level)."""
    depth = levels or draw(st.integers(1, 4))
    stages, tile = [], layer.bounds
    for level in range(depth):
        running = [dim for dim, size in zip(DIMS, tile, strict=True) if size > 1]
        order = (*draw(st.permutations(running)), *(dim for dim in DIMS if dim not in running))
        keeps = frozenset(OPERANDS)
        if level:
            keeps = frozenset(draw(st.sets(st.sampled_from(OPERANDS), max_size=3)))
        inner = Extents()
        if level + 1 < depth:
            inner = Extents(*(_number(draw, size) for size in tile))
        fanout, spatial, budget = [], [], 8
        if draw(st.booleans()):
            for size, piece in zip(tile, inner, strict=True):
                factor = _number(draw, min(-(-size // piece), budget, 3))
                budget //= factor
                fanout.append(factor)
            spatial = [Extents(*fanout)]
        stages.append(Stage(tile, order, keeps, tuple(spatial)))
        tile = inner
    return Mapping(tuple(stages))


@st.composite
def reuses(draw: st.DrawFn, mapping: Mapping) -> InputReuse:
    """Ways to reuse inputs, half of them as well as can be; only the outermost array hands on."""
    levels = len(mapping.stages)
    padded = draw(st.booleans())
    if draw(st.booleans()):
        return InputReuse(padded=padded)
    anew = st.frozensets(st.sampled_from([Dim.M, *WINDOW]), max_size=3)
    taps = st.frozensets(st.sampled_from([Dim.R, Dim.S]))
    return InputReuse(
        padded=padded,
        refetches=(frozenset(), *(draw(anew) for _ in range(levels - 1))),
        handed_on=tuple(
            draw(taps) if not any(s.spatial for s in mapping.stages[:level]) else frozenset()
            for level in range(levels)
        ),
    )


def sized_for(mapping: Mapping, **rest: Any) -> Accelerator:
    """A machine on which *mapping* is legal."""
    return machine(
        [stage.keeps for stage in mapping.stages],
        [[math.prod(axis) for axis in stage.spatial] for stage in mapping.stages],
        **rest,
    )


__all__ = ["Operand", "ZeroSkip", "layers", "machine", "mappings", "reuses", "sized_for"]
