"""How far a layer can be spread over an accelerator: the fewest compute steps, exactly.

A step is one MAC in every element at once. Of a dimension of bound D that is unrolled F times in
all, a mapping takes at least ``ceil(D / F)`` steps (:func:`traffic.compute_steps`), and it takes no
more if every tile is as small as what is unrolled beneath it. Such tiles are also the smallest that
any memory must hold, and leave no loop between the outermost memory and the elements, so that
whatever a dataflow wants stationary is. Hence the best mapping under any limit on elements, axes
and capacities is a choice of unrollings alone: a small problem, solved here by dynamic programming,
and by branch and bound with its result as the bound where a capacity is in the way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NamedTuple

from picojoule.accelerator import Accelerator, Level
from picojoule.dataflow import Dataflow, Size
from picojoule.errors import NoMappingError
from picojoule.legality import tile_bits
from picojoule.mapping import Mapping, Stage
from picojoule.traffic import Chain, repeats
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Extents, Layer, Operand


class Limit(IntEnum):
    """What limits a mapping; each includes those before it (the steps of Eyexam)."""

    LAYER = 1
    DATAFLOW = 2
    ELEMENTS = 3
    AXES = 4
    STORAGE = 5


class _PlacedAxis(NamedTuple):
    gap: int  # the level above the array
    size: int
    dims: frozenset[Dim]


class _Unrolling(NamedTuple):
    """One dimension: its bound, what an element must hold of it, where it may be unrolled."""

    dim: Dim
    bound: int
    held: int  # of this dimension, in the tile of an element
    whole: bool  # in the elements of the innermost array together
    strict: bool  # and no element may hold more than one index of it
    axes: tuple[int, ...]


_AxisFactors = tuple[int, ...]  # a factor for each axis


@dataclass(frozen=True, slots=True)
class Spread:
    """The widest spread of a layer: compute steps, and a mapping that takes as few."""

    steps: int
    mapping: Mapping


class Parallelism:
    """One layer on one accelerator under one dataflow.

    Raises:
        NoMappingError: if the dataflow does not store what the accelerator's elements must.
    """

    def __init__(self, layer: Layer, accelerator: Accelerator, dataflow: Dataflow) -> None:
        self.layer, self.accelerator, self.dataflow = layer, accelerator, dataflow
        self.levels = accelerator.levels
        gaps = [n for n, array in enumerate(accelerator.arrays) if array]
        self.gap = gaps[-1] if gaps else None
        self.keeps = tuple(self._keeps(n, level) for n, level in enumerate(self.levels))
        self.axes = tuple(
            _PlacedAxis(n, axis.size, self._may_unroll(n, axis.dims))
            for n, array in enumerate(accelerator.arrays)
            if array
            for axis in array.axes
        )
        self.plans = tuple(self._plan(dim) for dim in DIMS)

    def widest(self, limit: Limit, *, elements: int | None = None) -> Spread:
        """The mapping with the fewest steps if only *limit* and what comes before it holds.

        Args:
            elements: for ``Limit.ELEMENTS``, instead of the accelerator's.

        Raises:
            NoMappingError: if no memory of the accelerator can hold what the dataflow wants held.
        """
        if limit is Limit.STORAGE:
            return self._stored()
        if limit is Limit.AXES:
            axes, plans = self.axes, self.plans
        else:
            # One long axis: the innermost array's, so that every rule of the dataflow applies.
            size = self.accelerator.elements if elements is None else elements
            size = self.layer.macs if limit < Limit.ELEMENTS else size
            gap = self.gap or 0
            axes = (_PlacedAxis(gap, size, frozenset(DIMS)),)
            plans = tuple(
                p._replace(axes=(0,) if p.axes or limit is Limit.LAYER else ()) for p in self.plans
            )
            if limit is Limit.LAYER:
                plans = tuple(p._replace(held=1, whole=False, strict=False) for p in plans)
            elif self.gap is None:
                plans = tuple(p._replace(axes=()) for p in plans)
        _, choices = _fewest(plans, tuple(axis.size for axis in axes), _inner(axes))
        return self._spread(axes, plans, {p.dim: c for p, c in zip(plans, choices, strict=True)})

    def overfull(self, mapping: Mapping) -> dict[str, float]:
        """Bits that memories would need for *mapping*, of those that are too small."""
        needs = {}
        for index, level in enumerate(self.levels):
            for memory in level.memories:
                if memory.capacity is None:
                    continue
                need = self._bits(mapping.stages[index].tile, index, memory.keeps)
                if need > memory.capacity:
                    needs[memory.name] = need
        return needs

    # -- the rules -----------------------------------------------------------------------------

    def _keeps(self, index: int, level: Level) -> frozenset[Operand]:
        """The least that a level keeps: everything that may bypass it does."""
        wanted = self.dataflow.element_keeps
        if wanted is None or self.gap is None or index <= self.gap:
            return level.keeps - level.may_bypass
        stuck = level.keeps - wanted - level.may_bypass
        if stuck:
            names = ", ".join(o.value for o in OPERANDS if o in stuck)
            raise NoMappingError(
                f"dataflow {self.dataflow.name!r} does not store the {names} in level {index} "
                f"({level.name}), which {self.accelerator.name!r} does not let bypass it"
            )
        return level.keeps & wanted

    def _may_unroll(self, gap: int, dims: frozenset[Dim]) -> frozenset[Dim]:
        dataflow = self.dataflow
        if gap == self.gap:
            return dims & dataflow.spatial
        if dataflow.stationary is not None and self.gap is not None:
            # A copy of the stationary operand outside the elements enters them once: elements that
            # share it must sit beneath one copy.
            holders = [n for n in range(self.gap + 1) if dataflow.stationary in self.keeps[n]]
            if gap < max(holders):
                return dims & RELEVANT[dataflow.stationary]
        return dims

    def _plan(self, dim: Dim) -> _Unrolling:
        bound = self.layer.bounds[DIMS.index(dim)]
        axes = tuple(n for n, axis in enumerate(self.axes) if dim in axis.dims) if bound > 1 else ()
        if self.gap is None:
            return _Unrolling(dim=dim, bound=bound, held=1, whole=False, strict=False, axes=())
        dataflow, array = self.dataflow, self.accelerator.arrays[self.gap]
        assert array is not None
        held = 1
        if dataflow.element_tile.get(dim) is Size.FULL and self._holdable(dim, bound):
            held = bound
        whole = False
        if dim in dataflow.spanned:
            beside = math.prod(self.layer.bounds[DIMS.index(d)] for d in dataflow.unrolled)
            whole = beside * bound <= array.size
        if dim in dataflow.unrolled:
            longest = max((a.size for a in array.axes if dim in a.dims), default=1)
            whole = whole or bound <= longest
        whole = whole and held < bound
        if whole:
            axes = tuple(n for n in axes if self.axes[n].gap == self.gap)
        inside = self.gap + 1
        bare = inside >= len(self.levels) or not self.keeps[inside]
        strict = bare or dataflow.element_tile.get(dim) is Size.ONE
        return _Unrolling(
            dim=dim, bound=bound, held=held, whole=whole, strict=whole and strict, axes=axes
        )

    def _holdable(self, dim: Dim, size: int) -> bool:
        """Whether the memories down to the elements' can hold *size* of one dimension alone."""
        assert self.gap is not None
        if self.gap + 1 >= len(self.levels) or not self.keeps[self.gap + 1]:
            return False
        tile = Extents()._replace(**{dim.value: size})
        return all(
            memory.capacity is None
            or self._bits(tile, n, memory.keeps - memory.may_bypass, self.levels[n].keeps)
            <= memory.capacity
            for n in range(1, self.gap + 2)
            for memory in self.levels[n].memories
        )

    def _bits(
        self,
        tile: Extents,
        level: int,
        kept: frozenset[Operand],
        keeps: frozenset[Operand] | None = None,
    ) -> float:
        held = kept & (self.keeps[level] if keeps is None else keeps)
        return sum(tile_bits(self.layer, self.accelerator, tile, o) for o in OPERANDS if o in held)

    # -- mappings ------------------------------------------------------------------------------

    def _chain(self, plan: _Unrolling, fans: dict[int, int]) -> Chain:
        """The smallest tiles for given unrollings beneath the levels."""
        depth = len(self.levels)
        tiles = [1] * (depth + 1)
        for level in reversed(range(depth)):
            inner = tiles[level + 1]
            tiles[level] = min(plan.bound, fans.get(level, 1) * inner)
            if self.gap is not None and level == self.gap + 1:
                tiles[level] = max(tiles[level], plan.held)
                if plan.whole:
                    tiles[level] = max(tiles[level], -(-plan.bound // fans.get(self.gap, 1)))
            if self.gap is not None and level == self.gap:
                wanted = self.dataflow.buffer_tile.get(plan.dim)
                if wanted is Size.FULL:
                    tiles[level] = plan.bound
        tiles[0] = plan.bound
        return Chain(tuple(tiles), tuple(fans.get(level, 1) for level in range(depth)))

    def _spread(
        self,
        axes: Sequence[_PlacedAxis],
        plans: Sequence[_Unrolling],
        choices: dict[Dim, _AxisFactors],
    ) -> Spread:
        chains = {}
        for plan in plans:
            fans: dict[int, int] = {}
            for axis, factor in zip(axes, choices[plan.dim], strict=True):
                fans[axis.gap] = fans.get(axis.gap, 1) * factor
            chains[plan.dim] = self._chain(plan, fans)
        return self._mapped(axes, choices, chains)

    def _mapped(
        self,
        axes: Sequence[_PlacedAxis],
        choices: dict[Dim, _AxisFactors],
        chains: dict[Dim, Chain],
    ) -> Spread:
        depth = len(self.levels)
        each = math.prod(repeats(chains[dim], 0, depth, 0, ()) for dim in DIMS)
        stages = []
        # What the dataflow wants stationary rests while the loops that do not index it run.
        still = self.dataflow.stationary
        inner = [d for d in DIMS if still is not None and d not in RELEVANT[still]]
        order = (*(d for d in DIMS if d not in inner), *inner)
        for level in range(depth):
            spatial = tuple(
                Extents(*(choices[dim][n] for dim in DIMS))
                for n, axis in enumerate(axes)
                if axis.gap == level
            )
            tile = Extents(*(chains[dim].tiles[level] for dim in DIMS))
            stages.append(Stage(tile, order, self.keeps[level], spatial))
        return Spread(self.layer.time_steps * each, Mapping(tuple(stages)))

    # -- capacities ----------------------------------------------------------------------------

    def _stored(self) -> Spread:
        """The widest spread whose tiles fit: branch and bound over the unrollings."""
        easy = self.widest(Limit.AXES)
        if not self.overfull(easy.mapping):
            return easy
        sizes, inner = tuple(axis.size for axis in self.axes), _inner(self.axes)
        plans = sorted(self.plans, key=lambda plan: plan.bound)
        best: list[tuple[float, dict[Dim, _AxisFactors], dict[Dim, Chain]]] = [(math.inf, {}, {})]
        limits = [
            (level, memory.keeps, memory.capacity)
            for level, each in enumerate(self.levels)
            for memory in each.memories
            if memory.capacity is not None
        ]

        def walk(
            index: int,
            steps: int,
            left: _AxisFactors,
            choices: dict[Dim, _AxisFactors],
            chains: dict[Dim, Chain],
        ) -> None:
            for level, kept, capacity in limits:
                tile = Extents(**{d.value: c.tiles[level] for d, c in chains.items()})
                if self._bits(tile, level, kept) > capacity:
                    return
            if index == len(plans):
                if steps < best[0][0]:
                    best[0] = (steps, dict(choices), dict(chains))
                return
            plan = plans[index]
            options = []
            for choice, fans in self._finer(plan, left):
                chain = self._chain(plan, fans)
                need = repeats(chain, 0, len(self.levels), 0, ())
                rest = tuple(a // b for a, b in zip(left, choice, strict=True))
                bound, _ = _fewest(tuple(plans[index + 1 :]), rest, inner)
                options.append((steps * need * bound, steps * need, rest, choice, chain))
            for bound, taken, rest, choice, chain in sorted(options, key=lambda option: option[0]):
                if bound >= best[0][0]:
                    return
                choices[plan.dim], chains[plan.dim] = choice, chain
                walk(index + 1, taken, rest, choices, chains)
                del choices[plan.dim], chains[plan.dim]

        walk(0, 1, sizes, {}, {})
        if best[0][0] == math.inf:
            raise NoMappingError(
                f"layer {self.layer.name!r}: nothing fits the memories of "
                f"{self.accelerator.name!r} with the dataflow {self.dataflow.name!r}; larger "
                "memories, fewer bits or another dataflow may help"
            )
        return self._mapped(self.axes, best[0][1], best[0][2])

    def _finer(
        self, plan: _Unrolling, left: _AxisFactors
    ) -> Iterator[tuple[_AxisFactors, dict[int, int]]]:
        """Every unrolling of a dimension that could be best under some capacity.

        Unlike without capacities, a fan below the product of its factors may be the better one.
        """
        gaps = sorted({self.axes[n].gap for n in plan.axes})

        def fan_sets(index: int, bound: int) -> Iterator[dict[int, int]]:
            if index < 0:
                yield {}
                return
            gap = gaps[index]
            room = math.prod(left[n] for n in plan.axes if self.axes[n].gap == gap)
            if (index == 0 and len(gaps) > 1) or len(gaps) == 1:
                fans: Sequence[int] = _distinct(bound, room)
            else:
                fans = range(1, min(bound, room) + 1)
            for fan in fans:
                for rest in fan_sets(index - 1, -(-bound // fan)):
                    yield {gap: fan, **rest}

        for fans in fan_sets(len(gaps) - 1, plan.bound):
            if plan.strict and fans.get(self.gap or 0, 1) * plan.held < plan.bound:
                continue
            splits: list[dict[int, int]] = [{}]
            for gap, fan in fans.items():
                axes = [n for n in plan.axes if self.axes[n].gap == gap]
                splits = [{**s, **c} for s in splits for c in _covers(fan, axes, left)]
            for split in splits:
                yield tuple(split.get(n, 1) for n in range(len(left))), fans


def _inner(axes: Sequence[_PlacedAxis]) -> frozenset[int]:
    """The axes of the innermost array."""
    last = max((axis.gap for axis in axes), default=0)
    return frozenset(n for n, axis in enumerate(axes) if axis.gap == last)


def _distinct(bound: int, most: int) -> list[int]:
    """The least factor, up to *most*, for each number of pieces that it can leave of *bound*.

    >>> _distinct(7, 5)
    [1, 2, 3, 4]
    """
    factors, factor = [], 1
    while factor <= min(bound, most):
        factors.append(factor)
        pieces = -(-bound // factor)
        if pieces == 1:
            break
        factor = -(-bound // (pieces - 1))
    return factors


def _covers(fan: int, axes: Sequence[int], left: _AxisFactors) -> Iterator[dict[int, int]]:
    """Factors along *axes*, within what is *left* of them, whose product is at least *fan*."""
    if fan == 1:
        yield {}
        return
    if not axes:
        return
    first, *others = axes
    for factor in _distinct(fan, left[first]):
        for rest in _covers(-(-fan // factor), others, left):
            yield {first: factor, **rest}


def _fewest(
    plans: tuple[_Unrolling, ...], sizes: _AxisFactors, inner: frozenset[int]
) -> tuple[int, list[_AxisFactors]]:
    """The fewest steps on axes of the given *sizes*, and the factors of each dimension."""
    order = sorted(range(len(plans)), key=lambda n: (len(plans[n].axes), plans[n].bound))
    bounds = [plans[n].bound for n in order]
    alone = [1] * (len(order) + 1)
    for n in reversed(range(len(order))):
        alone[n] = alone[n + 1] * bounds[n]

    @cache
    def best(index: int, left: _AxisFactors) -> tuple[float, _AxisFactors]:
        if index == len(order):
            return 1, ()
        plan = plans[order[index]]
        least, chosen = math.inf, tuple(1 for _ in left)
        for factors, pieces in _splits(plan, left, inner):
            rest = tuple(a // b for a, b in zip(left, factors, strict=True))
            if pieces * alone[index + 1] >= least * math.prod(rest):
                continue
            steps = pieces * best(index + 1, rest)[0]
            if steps < least:
                least, chosen = steps, factors
        return least, chosen

    total, left, choices = best(0, sizes)[0], sizes, {}
    for index, n in enumerate(order):
        choices[n] = best(index, left)[1]
        left = tuple(a // b for a, b in zip(left, choices[n], strict=True))
    if total == math.inf:  # a set that the dataflow wants whole finds no room on these axes
        return 1 << 62, [choices[n] for n in range(len(plans))]
    return int(total), [choices[n] for n in range(len(plans))]


def _splits(
    plan: _Unrolling, left: _AxisFactors, inner: frozenset[int]
) -> Iterator[tuple[_AxisFactors, int]]:
    """Ways to unroll a dimension over the axes, and the steps that each leaves."""
    # The innermost axes first, so that what must be whole there is seen early.
    axes = sorted(plan.axes, key=lambda n: n not in inner)

    def walk(index: int, pieces: int) -> Iterator[tuple[dict[int, int], int]]:
        if index == len(axes):
            yield {}, pieces
            return
        for factor in reversed(_distinct(pieces, left[axes[index]])):
            for rest, after in walk(index + 1, -(-pieces // factor)):
                yield {axes[index]: factor, **rest}, after

    for split, pieces in walk(0, -(-plan.bound // plan.held)):
        if plan.strict:
            spread = math.prod(split.get(n, 1) for n in inner)
            if spread * plan.held < plan.bound:
                continue
        yield tuple(split.get(n, 1) for n in range(len(left))), pieces * plan.held
