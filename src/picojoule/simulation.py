"""One mapping played through in time: tiles that arrive, work that waits for them, sums that leave.

:func:`cost.evaluate` takes the busiest of compute, memories and networks, as if each always had
something to do. Here transfers happen one after another. The nest is walked visit by visit (a visit
is the work between two transfers that take time), and every visit starts when the tiles it needs
are there. The rules:

1. A tile is fetched when a loop that changes it advances, as :mod:`traffic` counts it, and is as
   large. It takes the time of the slowest channel on its way: the memory's port, the networks, the
   port of the memory it fills. A channel serves one transfer at a time, whichever is ready first.
2. A transfer waits for the tile it is cut from to be whole, and for room: in a double-buffered
   memory for the tile before the present one to be done with, in another for the present one.
3. An operand that passes by a double-buffered memory that could hold it waits there on its way:
   it is fetched as soon as the last such tile has left, as far as it fits.
4. Partial sums leave when their stay ends, and are fetched again only after they have arrived.
   Without double buffering the next sums wait until the last have left.
5. What multipliers take straight from a memory flows while they work, and they work no faster.
6. In a systolic array the last element is as many cycles late as the way to it is long.

Arrays outside a memory are stood for by their first element, which has most to do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numba import njit

from picojoule.accelerator import Accelerator, Memory, Network
from picojoule.cost import Ledger
from picojoule.mapping import Mapping as LoopNest
from picojoule.tilings import Floats, Ints
from picojoule.traffic import Chain, chain, stay
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Layer, Operand

N, G, M, C, P, Q, R, S = DIMS
OUTPUT = Operand.OUTPUT
_SINGLE = (N, G, M, C)
_PAIRS = ((P, R), (Q, S))
_SUMMED = (C, R, S)
LEAVE, WAIT, FETCH = 1, 2, 3  # sums leave; a tile moves to where it waits; to where it is used


@dataclass(frozen=True, slots=True)
class Simulation:
    """Where the cycles of a mapping go, for all inferences of the layer's batch.

    Args:
        computing: cycles in which the elements work (``Cost.compute_cycles``).
        ramp_up: before the first work.
        drain: after the last work.
        stalls: cycles without work in between, by the transfer that was waited for:
            "weight: dram > weight-spad".
        channels: cycles in which each limited memory or network was busy.
        visits: pieces of work that were followed.
    """

    computing: float
    ramp_up: float
    drain: float
    stalls: Mapping[str, float]
    channels: Mapping[str, float]
    visits: int

    @property
    def cycles(self) -> float:
        """All cycles."""
        return self.computing + self.ramp_up + self.drain + math.fsum(self.stalls.values())


def simulate(layer: Layer, accelerator: Accelerator, mapping: LoopNest) -> Simulation:
    """Play *mapping*, which must be legal, through in time.

    >>> from picojoule import load, load_accelerator, search
    >>> layer, chip = load("squeezenet1.1")["fire2/squeeze1x1"], load_accelerator("eyeriss")
    >>> found = search(layer, chip, objective="latency")
    >>> simulate(layer, chip, found.mapping).cycles >= found.cost.cycles
    True
    """
    plan = _Planner(layer, accelerator, mapping).plan()
    times, stalls, used, visits = _play(*plan.arrays())
    named = {
        name: float(cycles) for name, cycles in zip(plan.names, stalls, strict=True) if cycles > 0
    }
    return Simulation(
        float(times[0]),
        float(times[1]),
        float(times[2]) + _skew(accelerator, mapping),
        MappingProxyType(named),
        MappingProxyType(dict(zip(plan.channels, map(float, used), strict=True))),
        int(visits),
    )


def _skew(accelerator: Accelerator, mapping: LoopNest) -> float:
    """Cycles from the first to the last element of systolic arrays."""
    late = 0
    for stage, array in zip(mapping.stages, accelerator.arrays, strict=True):
        if array is not None and array.network is Network.SYSTOLIC:
            late += sum(math.prod(axis) - 1 for axis in stage.spatial)
    return float(late)


class _Part(NamedTuple):
    """What a transfer takes of one channel: factors over the clocks of the dimensions."""

    channel: int
    stage: int  # 0: on its way to where it waits, 1: to the child
    scale: float  # cycles per word
    finished: float  # cycles per word of an output that leaves for good
    tables: tuple[Floats, ...]  # N, G, M, C; then (P, R) and (Q, S)
    sliding: tuple[Floats, ...]  # the same where only what is new is fetched


@dataclass(slots=True)
class _Transfer:
    """An edge (or what flows over it to the multipliers) with its parts."""

    name: str
    operand: Operand
    parent: int
    child: int
    last: int = -1  # the innermost loop that changes the tile
    slides: bool = False
    double: bool = False
    waits: bool = False  # passes by a memory in which it can wait
    source: int = -1  # the transfer that fills what this one is cut from
    parts: list[_Part] = field(default_factory=list)
    fresh: list[_Part] = field(default_factory=list)  # flows only: not fetched at first
    first: tuple[Floats, ...] = ()  # per summed dimension and clock: nothing was added before
    final: tuple[Floats, ...] = ()  # per summed dimension and clock: nothing is added after


@dataclass(slots=True)
class _Plan:
    loops: list[tuple[int, Dim, int]]  # level, dimension, steps
    clocks: dict[Dim, list[tuple[int, int]]]  # per dimension its visited (level, steps)
    steps: list[Floats]  # compute steps of a visit, by the clock of each dimension
    cycles_per_step: float
    moves: list[_Transfer]
    flows: list[_Transfer]
    needed: list[int]  # moves whose tile the elements work on
    channels: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [transfer.name for transfer in (*self.moves, *self.flows)]

    def arrays(self) -> tuple[object, ...]:
        """The plan as arrays for the compiled walk."""
        strides = {d: _strides(self.clocks[d]) for d in DIMS}
        loops = np.array(
            [
                [DIMS.index(d), strides[d][[lv for lv, _ in self.clocks[d]].index(level)], count]
                for level, d, count in self.loops
            ],
            np.int64,
        ).reshape(-1, 3)
        sizes = np.array([len(self.steps[n]) for n in range(8)], np.int64)
        pool: list[Floats] = []
        places: dict[int, int] = {}
        filled = 0

        def put(table: Floats) -> int:
            nonlocal filled
            if id(table) not in places:
                places[id(table)] = filled
                pool.append(table)
                filled += len(table)
            return places[id(table)]

        steps = np.array([put(table) for table in self.steps], np.int64)
        moves = np.array(
            [
                [
                    m.last,
                    m.slides,
                    m.double,
                    m.waits,
                    m.source,
                    m.operand is OUTPUT,
                    n in self.needed,
                    m.child,
                ]
                for n, m in enumerate(self.moves)
            ],
            np.int64,
        ).reshape(-1, 8)
        summed = np.array(
            [[put(t) for t in (*m.first, *m.final)] for m in (*self.moves, *self.flows)], np.int64
        ).reshape(-1, 6)
        owners, ints, scales = [], [], []
        for n, transfer in enumerate((*self.moves, *self.flows)):
            for kind, parts in ((0, transfer.parts), (1, transfer.fresh)):
                for part in parts:
                    tables = [put(t) for t in part.tables]
                    sliding = [put(t) for t in part.sliding or part.tables]
                    owners.append((n, kind))
                    ints.append([part.channel, part.stage, *tables, *sliding])
                    scales.append((part.scale, part.finished))
        return (
            loops,
            sizes,
            steps,
            self.cycles_per_step,
            moves,
            len(self.flows),
            summed,
            np.array(owners, np.int64).reshape(-1, 2),
            np.array(ints, np.int64).reshape(-1, 14),
            np.array(scales, float).reshape(-1, 2),
            np.concatenate(pool),
            len(self.channels),
        )


def _strides(visited: Sequence[tuple[int, int]]) -> list[int]:
    """Strides of a clock whose last entry counts fastest."""
    found, stride = [], 1
    for _, count in reversed(visited):
        found.append(stride)
        stride *= count
    return found[::-1]


_Ranges = tuple[tuple[int, int], ...]  # of one dimension, each element's (start, size)


class _Planner:
    """Finds what is moved when, and how long each piece of it takes."""

    def __init__(self, layer: Layer, accelerator: Accelerator, mapping: LoopNest) -> None:
        self.layer, self.machine, self.mapping = layer, accelerator, mapping
        self.ledger = Ledger(layer, accelerator)
        self.depth = len(mapping.stages)
        self.chains = {dim: chain(mapping, dim) for dim in DIMS}
        self.channels = [(c.name, c.bandwidth) for c in self.ledger.channels()]
        self.nest = [
            (level, d, n) for level in range(self.depth - 1) for d, n in mapping.loops(level)
        ]
        self.visited: dict[Dim, list[tuple[int, int]]] = {d: [] for d in DIMS}
        self._tables: dict[tuple[object, ...], Floats] = {}

    def plan(self) -> _Plan:
        moves, flows = self._transfers()
        reach = max((m.last for m in moves if self._ways(m)), default=-1)
        # Flows depend on nothing that moves; they only have to be cut as finely as the moves.
        loops = self.nest[: reach + 1]
        for level, dim, count in loops:
            self.visited[dim].append((level, count))
        for transfer in (*moves, *flows):
            self._fill(transfer)
        moves = [m for m in moves if m.parts]
        flows = [f for f in flows if f.parts]
        for move in moves:
            outside = [
                n
                for n, m in enumerate(moves)
                if m.operand is move.operand and m.child <= move.parent
            ]
            move.source = max(outside, key=lambda n: moves[n].child, default=-1)
        needed = []
        for operand in OPERANDS:
            mine = [n for n, m in enumerate(moves) if m.operand is operand]
            if mine:
                needed.append(max(mine, key=lambda n: moves[n].child))
        steps = [self._steps(dim) for dim in DIMS]
        return _Plan(
            loops,
            self.visited,
            steps,
            self.ledger.cycles_per_step,
            moves,
            flows,
            needed,
            tuple(name for name, _ in self.channels),
        )

    # -- transfers -----------------------------------------------------------------------------

    def _transfers(self) -> tuple[list[_Transfer], list[_Transfer]]:
        moves, flows = [], []
        for operand in OPERANDS:
            stages = self.mapping.stages
            holders = [n for n, stage in enumerate(stages) if operand in stage.keeps]
            for parent, child in zip(holders, [*holders[1:], self.depth], strict=True):
                if child == self.depth:
                    source = self._holder(parent, operand).name
                    flows.append(
                        _Transfer(f"{operand.value}: {source} > MACs", operand, parent, child)
                    )
                    continue
                source, target = (self._holder(n, operand) for n in (parent, child))
                move = _Transfer(
                    f"{operand.value}: {source.name} > {target.name}", operand, parent, child
                )
                inside = [
                    n
                    for n, (level, d, _) in enumerate(self.nest)
                    if level < child and d in RELEVANT[operand]
                ]
                move.last = max(inside, default=-1)
                move.slides = stay(self.mapping, operand, child)[1] is not None and inside != []
                move.double = target.double_buffered
                moves.append(move)
        moves.sort(key=lambda move: (move.child, OPERANDS.index(move.operand)))
        return moves, flows

    def _holder(self, level: int, operand: Operand) -> Memory:
        memory = self.machine.levels[level].holder(operand)
        assert memory is not None
        return memory

    def _ways(self, transfer: _Transfer) -> list[tuple[int, int, int, str, float]]:
        """Limited channels on the way: (channel, stage, grain, what is counted, bits per word)."""
        found: list[tuple[int, int, int, str, float]] = []
        operand, parent, child = transfer.operand, transfer.parent, transfer.child
        to_mac = child == self.depth
        word = self.machine.word_bits
        psum = self.ledger.plain_words(operand) * word
        wait = self._waiting_place(transfer)

        def add(name: str, level: int, grain: int, counted: str, bits: float) -> None:
            for n, (known, _) in enumerate(self.channels):
                if known == name:
                    stage = 0 if wait is not None and level < wait else 1
                    found.append((n, stage, grain, counted, bits))

        source = self._holder(parent, operand)
        bits = (
            psum if operand is OUTPUT or to_mac else self.ledger.coded_words(source, operand) * word
        )
        add(source.name, parent, parent, "distinct", bits)
        for level in range(parent, child):
            array = self.machine.arrays[level]
            if array is None:
                continue
            for name in (array.name, f"{array.name}.{operand.value}"):
                if array.network is Network.MESH:
                    add(name, level, level + 1, "distinct", bits)
                elif array.network is Network.UNICAST:
                    add(name, level, level, "delivered", bits)
                else:
                    add(name, level, level, "distinct", bits)
        if wait is not None:
            place = self._holder(wait, operand)
            add(place.name, wait - 1, wait, "distinct", bits)
            add(place.name, wait, wait, "distinct", bits)
        if not to_mac:
            target = self._holder(child, operand)
            fill = psum if operand is OUTPUT else self.ledger.coded_words(target, operand) * word
            add(target.name, child, child, "distinct", fill)
        return found

    def _waiting_place(self, transfer: _Transfer) -> int | None:
        """The innermost level passed by with a double-buffered memory for the operand."""
        if transfer.operand is OUTPUT or transfer.child == self.depth:
            return None
        for level in reversed(range(transfer.parent + 1, transfer.child)):
            memory = self.machine.levels[level].holder(transfer.operand)
            if memory is not None and memory.double_buffered:
                return level
        return None

    def _fill(self, transfer: _Transfer) -> None:
        """Give the transfer its parts."""
        operand, child = transfer.operand, transfer.child
        wait = self._waiting_place(transfer)
        share = 1.0
        if child == self.depth:
            held = self.machine.sparse.charge_register_reads_of
            share = 1.0 if operand in held else self.ledger.effectual
        for channel, stage, grain, counted, bits in self._ways(transfer):
            scale = bits * share / self.channels[channel][1]
            finished = scale
            if operand is OUTPUT and transfer.parent == 0 and child < self.depth:
                outermost = self._holder(0, operand)
                if self.channels[channel][0] == outermost.name:
                    finished = self.ledger.coded_words(outermost, operand) * self.machine.word_bits
                    finished /= self.channels[channel][1]
            tables = self._factors(operand, child, grain, counted, None)
            sliding: tuple[Floats, ...] = ()
            if transfer.slides:
                sliding = self._factors(operand, child, grain, counted, self.nest[transfer.last])
            if child == self.depth and operand is OUTPUT:
                transfer.parts.append(_Part(channel, stage, 2 * scale, 2 * scale, tables, ()))
                once = self._factors(operand, child, grain, "first", None)
                transfer.fresh.append(_Part(channel, stage, scale, scale, once, ()))
                continue
            if stage == 0:
                assert wait is not None
                transfer.waits = True
                room = self._fitting(transfer, wait)
                if room < 1:
                    late = scale * (1 - room)
                    transfer.parts.append(_Part(channel, 1, late, late, tables, sliding))
                    scale = finished = scale * room
            transfer.parts.append(_Part(channel, stage, scale, finished, tables, sliding))
        if not transfer.parts:
            return
        transfer.first = tuple(self._first(dim, child) for dim in _SUMMED)
        transfer.final = tuple(self._final(dim, transfer) for dim in _SUMMED)

    def _fitting(self, transfer: _Transfer, wait: int) -> float:
        """The share of a full tile that the memory passed by has room for."""
        memory = self._holder(wait, transfer.operand)
        if memory.capacity is None:
            return 1.0
        tables = self._factors(transfer.operand, transfer.child, wait, "distinct", None)
        words = math.prod(float(table.max()) for table in tables)
        bits = self.layer.bits[OPERANDS.index(transfer.operand)]
        return min(1.0, memory.capacity / (words * bits))

    # -- tables over the clocks ----------------------------------------------------------------

    def _clocks(self, dim: Dim) -> Iterator[tuple[int, ...]]:
        return itertools.product(*(range(count) for _, count in self.visited[dim]))

    def _made(self, key: tuple[object, ...], make: Callable[[], list[float]]) -> Floats:
        if key not in self._tables:
            self._tables[key] = np.array(make(), float)
        return self._tables[key]

    def _steps(self, dim: Dim) -> Floats:
        """Compute steps of a visit in one dimension; none where a clock points past the end."""
        return self._made(
            ("steps", dim),
            lambda: [
                float(len(self._moments(dim, clock, self.depth, self.depth)))
                for clock in self._clocks(dim)
            ],
        )

    def _first(self, dim: Dim, child: int) -> Floats:
        """Whether no loop outside the child has advanced: nothing has been added up before."""
        return self._made(
            ("first", dim, child),
            lambda: [
                float(
                    all(
                        now == 0 or level >= child
                        for now, (level, _) in zip(clock, self.visited[dim], strict=True)
                    )
                )
                for clock in self._clocks(dim)
            ],
        )

    def _final(self, dim: Dim, transfer: _Transfer) -> Floats:
        """Whether the loops that bring a tile back are at their last step."""
        outer = {level for level, d, _ in self.nest[: transfer.last] if d is dim}
        outer = {level for level in outer if level < transfer.child}

        def make() -> list[float]:
            keys = [
                tuple(
                    now
                    for now, (level, _) in zip(clock, self.visited[dim], strict=True)
                    if level in outer
                )
                for clock in self._clocks(dim)
            ]
            steps = self._steps(dim)
            last = max((key for key, n in zip(keys, steps, strict=True) if n), default=())
            return [float(key == last) for key in keys]

        return self._made(("final", dim, frozenset(outer)), make)

    def _factors(
        self,
        operand: Operand,
        child: int,
        grain: int,
        counted: str,
        slide: tuple[int, Dim, int] | None,
    ) -> tuple[Floats, ...]:
        singles = tuple(self._single(operand, d, child, grain, counted) for d in _SINGLE)
        pairs = tuple(self._pair(operand, axis, child, grain, counted, slide) for axis in range(2))
        return (*singles, *pairs)

    def _count(self, operand: Operand, dim: Dim, moments: list[_Ranges], counted: str) -> float:
        """Words of one dimension, moment by moment."""
        if dim in RELEVANT[operand]:
            return float(sum(size for ranges in moments for _, size in ranges))
        if counted == "delivered":
            return float(sum(len(ranges) for ranges in moments))
        return 1.0 if counted == "first" else float(len(moments))

    def _single(self, operand: Operand, dim: Dim, child: int, grain: int, counted: str) -> Floats:
        return self._made(
            (operand, dim, child, grain, counted),
            lambda: [
                self._count(operand, dim, self._held(dim, clock, child, grain), counted)
                for clock in self._clocks(dim)
            ],
        )

    def _pair(
        self,
        operand: Operand,
        axis: int,
        child: int,
        grain: int,
        counted: str,
        slide: tuple[int, Dim, int] | None,
    ) -> Floats:
        outer, tap = _PAIRS[axis]
        along = slide if slide is not None and slide[1] in (outer, tap) else None

        def make() -> list[float]:
            found = []
            for a in self._clocks(outer):
                for b in self._clocks(tap):
                    now = (
                        self._held(outer, a, child, grain),
                        self._held(tap, b, child, grain),
                    )
                    if operand is not Operand.INPUT:
                        found.append(
                            self._count(operand, outer, now[0], counted)
                            * self._count(operand, tap, now[1], counted)
                        )
                        continue
                    old = now
                    if along is not None:
                        old = (
                            self._before(outer, a, child, grain, along),
                            self._before(tap, b, child, grain, along),
                        )
                    found.append(self._rows(axis, now, old, along is not None, counted))
            return found

        return self._made((operand, axis, child, grain, counted, along), make)

    def _before(
        self,
        dim: Dim,
        clock: tuple[int, ...],
        child: int,
        grain: int,
        along: tuple[int, Dim, int],
    ) -> list[_Ranges]:
        """What was held one step earlier on the loop that the window slides on."""
        if dim is not along[1]:
            return self._held(dim, clock, child, grain)
        earlier = tuple(
            now - (level == along[0])
            for now, (level, _) in zip(clock, self.visited[dim], strict=True)
        )
        return self._held(dim, earlier, child, grain) if min(earlier) >= 0 else [()]

    def _rows(
        self,
        axis: int,
        now: tuple[list[_Ranges], list[_Ranges]],
        old: tuple[list[_Ranges], list[_Ranges]],
        slides: bool,
        counted: str,
    ) -> float:
        """Input rows (columns) under outputs and taps, moment by moment; if it slides, new ones."""
        stride, dilation = self.layer.stride[axis], self.layer.dilation[axis]
        before, after = self.layer.padding[2 * axis : 2 * axis + 2]
        low, high = before, before + self.layer.input_size[axis]
        if self.machine.charge_padding:
            low, high = 0, high + after
        total = 0
        for i, outputs in enumerate(now[0]):
            for j, taps in enumerate(now[1]):
                union: set[int] = set()
                for m, (p, n_p) in enumerate(outputs):
                    for n, (r, n_r) in enumerate(taps):
                        rows = _rows(p, n_p, r, n_r, stride, dilation, low, high)
                        if slides and m < len(old[0][i]) and n < len(old[1][j]):
                            q, s = old[0][i][m], old[1][j][n]
                            rows = rows - _rows(*q, *s, stride, dilation, low, high)
                        if counted == "delivered":
                            total += len(rows)
                        else:
                            union |= rows
                total += len(union)
        return float(total)

    def _held(self, dim: Dim, clock: tuple[int, ...], child: int, grain: int) -> list[_Ranges]:
        """Ranges of the children in the first instance at *grain*, moment by moment.

        A tile stays while loops that are not visited run, so only flows have many moments.
        """
        moments = self._moments(dim, clock, child, grain)
        return moments if child == self.depth else moments[:1]

    def _moments(self, dim: Dim, clock: tuple[int, ...], child: int, grain: int) -> list[_Ranges]:
        times = {level: now for (level, _), now in zip(self.visited[dim], clock, strict=True)}
        return _moments(self.chains[dim], tuple(sorted(times.items())), child, grain)


@cache
def _rows(
    p: int, outputs: int, r: int, taps: int, stride: int, dilation: int, low: int, high: int
) -> frozenset[int]:
    return frozenset(
        row
        for a in range(p, p + outputs)
        for b in range(r, r + taps)
        if low <= (row := a * stride + b * dilation) < high
    )


@cache
def _moments(
    dim: Chain, clock: tuple[tuple[int, int], ...], child: int, grain: int
) -> list[_Ranges]:
    """What the elements hold of a dimension, for each moment of the loops not in *clock*.

    Of arrays outside *grain* only the first element is followed.
    """
    times = dict(clock)

    def walk(level: int, start: int, size: int) -> list[_Ranges]:
        if level == child:
            return [((start, size),)]
        step, tile = dim.step(level), dim.tiles[level + 1]
        found: list[_Ranges] = []
        for now in [times[level]] if level in times else range(-(-size // step)):
            low = start + now * step
            high = min(low + step, start + size)
            lows = range(low, high, tile)
            if level < grain:
                lows = lows[:1]
            parts = [walk(level + 1, x, min(tile, high - x)) for x in lows]
            # Elements work side by side; the first never has fewer moments than the others.
            found += [
                tuple(itertools.chain.from_iterable(x for x in side if x is not None))
                for side in itertools.zip_longest(*parts)
            ]
        return found

    return walk(0, 0, dim.tiles[0])


@njit(cache=True)
def _take(ints: Ints, data: Floats, sizes: Ints, clock: Ints, part: int, slide: bool) -> float:
    """Words of a part at the present clocks."""
    base = 8 if slide else 2
    value = 1.0
    for n in range(4):
        value *= data[ints[part, base + n] + clock[n]]
    value *= data[ints[part, base + 4] + clock[4] * sizes[6] + clock[6]]
    value *= data[ints[part, base + 5] + clock[5] * sizes[7] + clock[7]]
    return value


@njit(cache=True)
def _all(data: Floats, tables: Ints, offset: int, clock: Ints) -> bool:
    """Whether a property holds in all summed dimensions (C, R, S)."""
    return (
        data[tables[offset] + clock[3]] > 0
        and data[tables[offset + 1] + clock[6]] > 0
        and data[tables[offset + 2] + clock[7]] > 0
    )


@njit(cache=True)
def _play(
    loops: Ints,
    sizes: Ints,
    steps: Ints,
    cycles_per_step: float,
    moves: Ints,
    flows: int,
    summed: Ints,
    owners: Ints,
    ints: Ints,
    scales: Floats,
    data: Floats,
    channels: int,
) -> tuple[Floats, Floats, Floats, int]:
    """Walk the visits.

    Returns:
        (computing, ramp-up, drain), stalls by transfer, time in use by channel, and visits.
    """
    count, parts = len(moves), len(owners)
    clock = np.zeros(8, np.int64)
    index = np.zeros(len(loops), np.int64)
    used = np.zeros(channels)
    free = np.zeros(channels)  # when each channel is free
    ready = np.zeros(count)  # when the tile of each move is there
    room = np.zeros(count)  # when the tile before the present one was done with
    left = np.zeros(count)  # when the sums of the last stay had left
    left_before = np.zeros(count)  # and those of the stay before it
    gone = np.zeros(count)  # when the last tile left the place where it waited
    held = np.zeros(parts)  # cycles that the present sums will take to leave
    holds = np.zeros(count, np.bool_)
    stalls = np.zeros(count + flows)
    times = np.zeros(parts)  # what the transfer at hand takes of each channel
    todo = np.zeros(count, np.int64)  # WAIT, FETCH, or nothing
    cause = np.zeros(count, np.int64)  # the move whose tile came late, of those further outside
    leaving = np.zeros(count, np.bool_)  # sums that must leave first
    fetching = np.zeros(count, np.bool_)
    waited = np.zeros(count)
    busy = 0.0
    end = ramp = 0.0
    visits = 0
    advanced = -1
    while True:
        # What moves at this visit.
        for m in range(count):
            fetching[m] = advanced <= moves[m, 0]
            todo[m] = 0
            leaving[m] = fetching[m] and holds[m]
            if fetching[m]:
                todo[m] = WAIT if moves[m, 3] else FETCH
        while True:
            # The transfer that is ready first, of those whose source is known.
            m, kind, when = -1, 0, np.inf
            for other in range(count):
                if leaving[other]:  # after the work, and after the sums from further inside
                    at, blocked = end, False
                    for inner in range(count):
                        if moves[inner, 4] == other and fetching[inner]:
                            blocked = blocked or leaving[inner]
                            at = max(at, left[inner])
                    if not blocked and at < when:
                        m, kind, when = other, LEAVE, at
                if todo[other] == WAIT and gone[other] < when:
                    m, kind, when = other, WAIT, gone[other]
                if todo[other] == FETCH:
                    double, source = moves[other, 2], moves[other, 4]
                    if (source >= 0 and todo[source] != 0) or (leaving[other] and not double):
                        continue
                    at = room[other] if double else end
                    # Sums return once they have arrived, and have room once others have left.
                    behind = double and not leaving[other]
                    at = max(at, left_before[other] if behind else left[other])
                    at = max(at, waited[other])
                    cause[other] = other
                    if source >= 0 and ready[source] >= at:
                        at, cause[other] = ready[source], cause[source]
                    if at < when:
                        m, kind, when = other, FETCH, at
            if m < 0:
                break
            slide = bool(moves[m, 1]) and advanced == moves[m, 0] and advanced >= 0
            start = when
            fetched = not moves[m, 5] or not _all(data, summed[m], 0, clock)
            for p in range(parts):
                if owners[p, 0] != m:
                    times[p] = 0.0
                elif kind == LEAVE:
                    times[p] = held[p]
                elif fetched and (kind == WAIT) == (ints[p, 1] == 0):
                    words = _take(ints, data, sizes, clock, p, slide)
                    times[p] = words * scales[p, 0]
                else:
                    times[p] = 0.0
                if times[p] > 0:
                    start = max(start, free[ints[p, 0]])
            finish = when
            for p in range(parts):
                if times[p] > 0:  # two parts of one transfer on one channel follow each other
                    channel = ints[p, 0]
                    free[channel] = max(free[channel], start) + times[p]
                    used[channel] += times[p]
                    finish = max(finish, free[channel])
            if kind == LEAVE:
                left_before[m], left[m] = left[m], finish
                leaving[m] = False
            elif kind == WAIT:
                waited[m] = finish
                todo[m] = FETCH
            else:
                ready[m] = gone[m] = finish
                todo[m] = 0
        for m in range(count):
            if not fetching[m]:
                continue
            room[m] = end
            if moves[m, 5]:
                final = _all(data, summed[m], 3, clock)
                holds[m] = True
                for p in range(parts):
                    if owners[p, 0] == m:
                        words = _take(ints, data, sizes, clock, p, False)
                        held[p] = words * (scales[p, 1] if final else scales[p, 0])
        # The work starts when all it needs is there.
        start, blame = end, -1
        for m in range(count):
            if moves[m, 6] and ready[m] > start:
                start, blame = ready[m], cause[m]
        if visits == 0:
            ramp = start
        elif blame >= 0:
            stalls[blame] += start - end
        work = cycles_per_step
        for d in range(8):
            work *= data[steps[d] + clock[d]]
        busy += work
        end, blame = start + work, -1
        for f in range(flows):
            for p in range(parts):
                if owners[p, 0] != count + f:
                    continue
                time = _take(ints, data, sizes, clock, p, False) * scales[p, 0]
                if owners[p, 1] == 1:
                    time = -time if _all(data, summed[count + f], 0, clock) else 0.0
                channel = ints[p, 0]
                free[channel] = max(free[channel], start) + time
                used[channel] += time
                if free[channel] > end:
                    end, blame = free[channel], f
        if blame >= 0:
            stalls[count + blame] += end - start - work
        visits += 1
        # Next visit: the innermost loop that is not at its end advances.
        advanced = len(loops) - 1
        while advanced >= 0:
            d = loops[advanced, 0]
            index[advanced] += 1
            clock[d] += loops[advanced, 1]
            if index[advanced] < loops[advanced, 2]:
                valid = True
                for other in range(8):
                    valid = valid and data[steps[other] + clock[other]] > 0
                if valid:
                    break
            clock[d] -= index[advanced] * loops[advanced, 1]
            index[advanced] = 0
            advanced -= 1
        if advanced < 0:
            break
    # What is left leaves, from the inside out.
    finish = end
    for m in range(count - 1, -1, -1):
        if holds[m]:
            start = finish
            for p in range(parts):
                if owners[p, 0] == m:
                    start = max(start, free[ints[p, 0]])
            for p in range(parts):
                if owners[p, 0] == m and held[p] > 0:
                    free[ints[p, 0]] = max(free[ints[p, 0]], start) + held[p]
                    used[ints[p, 0]] += held[p]
                    finish = max(finish, free[ints[p, 0]])
    return np.array([busy, ramp, finish - end]), stalls, used, visits
