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
5. A prefetched memory is filled ahead: what it gets first from the outermost level has come before
   the layer starts, what it gets later comes in the time in which channels are idle since there was
   room. No layer takes less than all transfers of any channel: it stands for those of the next.
6. Before the first word of a transfer passes the latency of the memory that it fills or empties, in
   which channels may serve others.
7. What multipliers take straight from a memory flows while they work, and they work no faster. What
   neighbours hand on is played as if it came from outside: no shorter than it is.
8. In a systolic array the last element is as many cycles late as the way to it is long.

Arrays outside a memory are stood for by their first element, which has most to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from picojoule.accelerator import Accelerator, Memory, Network
from picojoule.cost import Cost, Ledger, evaluate
from picojoule.errors import PicojouleError
from picojoule.mapper.kernels import Floats
from picojoule.mapping import Mapping as LoopNest
from picojoule.simulation.playback import Script, play
from picojoule.simulation.visit_tables import SUMMED, VisitTables, visit_tables
from picojoule.traffic import refetched, stay
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Layer, Operand

OUTPUT = Operand.OUTPUT


@dataclass(frozen=True, slots=True, kw_only=True)
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

    Raises:
        PicojouleError: time steps of a layer that has rows and columns of outputs as well; a level
            whose tiles are cut inside an array that lies inside the level.

    >>> from picojoule import load, load_accelerator, search
    >>> layer, accelerator = load("squeezenet1.1")["fire2/squeeze1x1"], load_accelerator("eyeriss")
    >>> best = search(layer, accelerator, objective="latency")
    >>> simulate(layer, accelerator, best.mapping).cycles >= best.cost.cycles
    True
    """
    if list(mapping.levels) != sorted(mapping.levels):
        raise PicojouleError(
            f"layer {layer.name!r}: a mapping whose stages are of the levels "
            f"{', '.join(map(str, mapping.levels))} cannot be played through in time: those of an "
            "outer level must come before those of an inner one"
        )
    layer, mapping = in_rows(layer, mapping)
    plan = _Planner(layer, accelerator, mapping).plan()
    times, stalls, used, visits = play(plan.script())
    for n, move in enumerate(plan.moves):
        if move.prefetched:  # what came early kept the channels busy all the same
            stalls[n] += max(0.0, used.max() - times.sum() - stalls.sum())
    named = {
        name: float(cycles) for name, cycles in zip(plan.names, stalls, strict=True) if cycles > 0
    }
    return Simulation(
        computing=float(times[0]),
        ramp_up=float(times[1]),
        drain=float(times[2]) + _skew(accelerator, mapping),
        stalls=MappingProxyType(named),
        channels=MappingProxyType(dict(zip(plan.channels, map(float, used), strict=True))),
        visits=int(visits),
    )


def price_in_time(layer: Layer, accelerator: Accelerator, mapping: LoopNest) -> Cost:
    """The price of *mapping* at the time that it takes where time costs energy.

    That is the time played through where the accelerator's bandwidths are stated, for all layers
    but those whose time steps have rows and columns; else that of its busiest part
    (:func:`cost.evaluate`).

    Raises:
        MappingError: if the mapping is not legal.
    """
    cost = evaluate(layer, accelerator, mapping)
    if not accelerator.priced_in_time or not (layer.time_steps == 1 or _free_axes(layer)):
        return cost
    played = simulate(layer, accelerator, mapping).cycles
    # Where the first element of an array has padding and others have not, it is done sooner.
    return evaluate(layer, accelerator, mapping, cycles=max(cost.cycles, played))


def _free_axes(layer: Layer) -> list[int]:
    """Axes along which a layer has one row: there its time steps may run."""
    sizes = zip(layer.bounds[4:6], layer.bounds[6:8], layer.input_size, strict=True)
    return [axis for axis, numbers in enumerate(sizes) if numbers == (1, 1, 1)]


def in_rows(layer: Layer, mapping: LoopNest) -> tuple[Layer, LoopNest]:
    """The same work with time steps as rows of outputs, outermost of all loops.

    Rows under one tap share no inputs and do not index the weights: just so for time steps.

    Raises:
        PicojouleError: the layer has outputs and taps along both axes already.
    """
    if layer.time_steps == 1:
        return layer, mapping
    free = _free_axes(layer)
    if not free:
        raise PicojouleError(
            f"layer {layer.name!r}: {layer.time_steps} time steps of {layer.bounds.P} x "
            f"{layer.bounds.Q} outputs cannot be played through in time"
        )
    dim = (Dim.P, Dim.Q)[free[0]]
    rows, strides = list(layer.input_size), list(layer.stride)
    rows[free[0]], strides[free[0]] = layer.time_steps, 1
    grown = {dim.value: layer.time_steps}
    first = mapping.stages[0]
    order = (dim, *(d for d in DIMS if d not in first.order and d is not dim))
    outermost = replace(
        first,
        tile=first.tile._replace(**grown),
        order=(*order, *(d for d in first.order if d is not dim)),
    )
    return (
        replace(
            layer,
            bounds=layer.bounds._replace(**grown),
            input_size=(rows[0], rows[1]),
            stride=(strides[0], strides[1]),
            time_steps=1,
        ),
        LoopNest((outermost, *mapping.stages[1:]), mapping.levels),
    )


def _skew(accelerator: Accelerator, mapping: LoopNest) -> float:
    """Cycles from the first to the last element of systolic arrays."""
    late = 0
    for level, array in enumerate(accelerator.arrays):
        if array is not None and array.network is Network.SYSTOLIC:
            above = mapping.stages[mapping.first(level + 1) - 1]
            late += sum(math.prod(axis) - 1 for axis in above.spatial)
    return float(late)


class _ChannelShare(NamedTuple):
    """What a transfer takes of one channel: factors over the clocks of the dimensions."""

    channel: int
    stage: int  # 0: on its way to where it waits, 1: to the child
    tables: tuple[Floats, ...]  # N, G, M, C; then (P, R) and (Q, S)
    sliding: tuple[Floats, ...] = ()  # the same where only what is new is fetched
    fetched: float = 0.0  # cycles per word that comes
    leaves: float = 0.0  # cycles per partial sum that leaves to come back
    finished: float = 0.0  # cycles per output that leaves for good


@dataclass(slots=True, kw_only=True)
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
    prefetched: bool = False  # while the layer before runs
    latency: float = 0.0  # cycles before it begins
    source: int = -1  # the transfer that fills what this one is cut from
    parts: list[_ChannelShare] = field(default_factory=list)
    fresh: list[_ChannelShare] = field(default_factory=list)  # flows only: not fetched at first
    first: tuple[Floats, ...] = ()  # per summed dimension and clock: nothing was added before
    final: tuple[Floats, ...] = ()  # per summed dimension and clock: nothing is added after


@dataclass(slots=True, kw_only=True)
class _Plan:
    loops: list[tuple[int, Dim, int]]  # level, dimension, steps
    tables: VisitTables
    steps: list[Floats]  # compute steps of a visit, by the clock of each dimension
    cycles_per_step: float
    moves: list[_Transfer]
    flows: list[_Transfer]
    needed: list[int]  # moves whose tile the elements work on
    channels: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [transfer.name for transfer in (*self.moves, *self.flows)]

    def script(self) -> Script:
        """The plan as arrays for the compiled walk."""
        loops = np.array(
            [[DIMS.index(d), self.tables.stride(d, level), n] for level, d, n in self.loops],
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
                    m.prefetched,
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
                    scales.append((part.fetched, part.leaves, part.finished))
        return Script(
            loops=loops,
            sizes=sizes,
            steps=steps,
            cycles_per_step=self.cycles_per_step,
            moves=moves,
            latencies=np.array([m.latency for m in self.moves], float),
            flows=len(self.flows),
            summed=summed,
            owners=np.array(owners, np.int64).reshape(-1, 2),
            ints=np.array(ints, np.int64).reshape(-1, 14),
            scales=np.array(scales, float).reshape(-1, 3),
            data=np.concatenate(pool),
            channels=len(self.channels),
        )


class _Planner:
    """Finds what is moved when, and how long each piece of it takes."""

    def __init__(self, layer: Layer, accelerator: Accelerator, mapping: LoopNest) -> None:
        self.layer, self.accelerator, self.mapping = layer, accelerator, mapping
        self.ledger = Ledger(layer, accelerator, one=1.0)
        self.reuse = accelerator.input_reuse
        self.depth = len(mapping.stages)
        self.levels = (*mapping.levels, mapping.depth)
        self.channels = [(c.name, c.bandwidth) for c in self.ledger.channels()]
        self.nest = [
            (level, d, n) for level in range(self.depth - 1) for d, n in mapping.loops(level)
        ]
        # Visits are cut by what moves over limited channels; flows are as long as they.
        reach = max((m.last for m in self._moves() if self._ways(m)), default=-1)
        self.loops = self.nest[: reach + 1]
        self.tables = visit_tables(layer, mapping, accelerator.charge_padding, tuple(self.loops))

    def plan(self) -> _Plan:
        moves, flows = self._moves(), self._flows()
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
        return _Plan(
            loops=self.loops,
            tables=self.tables,
            steps=[self.tables.steps(dim) for dim in DIMS],
            cycles_per_step=self.ledger.cycles_per_step,
            moves=moves,
            flows=flows,
            needed=needed,
            channels=tuple(name for name, _ in self.channels),
        )

    # -- transfers -----------------------------------------------------------------------------

    def _edges(self, operand: Operand) -> list[tuple[int, int]]:
        holders = self.mapping.holders(operand)
        return list(zip(holders, [*holders[1:], self.depth], strict=True))

    def _moves(self) -> list[_Transfer]:
        """Tiles that are brought to a memory, from the outside in."""
        moves = []
        for operand in OPERANDS:
            for parent, child in self._edges(operand)[:-1]:
                source, target = (self._holder(n, operand) for n in (parent, child))
                changing = RELEVANT[operand]
                changing |= refetched(operand, self.levels[child], self.reuse)
                inside = [
                    n
                    for n, (level, d, _) in enumerate(self.nest)
                    if level < child and d in changing
                ]
                moves.append(
                    _Transfer(
                        name=f"{operand.value}: {source.name} > {target.name}",
                        operand=operand,
                        parent=parent,
                        child=child,
                        last=max(inside, default=-1),
                        slides=stay(self.mapping, operand, child, self.reuse)[1] is not None,
                        double=target.double_buffered,
                        prefetched=target.prefetched and parent == 0,
                        latency=target.latency,
                    )
                )
        return sorted(moves, key=lambda move: (move.child, OPERANDS.index(move.operand)))

    def _flows(self) -> list[_Transfer]:
        """What multipliers take straight from a memory."""
        flows = []
        for operand in OPERANDS:
            parent, child = self._edges(operand)[-1]
            name = f"{operand.value}: {self._holder(parent, operand).name} > MACs"
            flows.append(_Transfer(name=name, operand=operand, parent=parent, child=child))
        return flows

    def _holder(self, stage: int, operand: Operand) -> Memory:
        memory = self.accelerator.levels[self.levels[stage]].holder(operand)
        assert memory is not None
        return memory

    def _ways(self, transfer: _Transfer) -> list[tuple[int, int, int, str, float]]:
        """Limited channels on the way: (channel, stage, grain, what is counted, bits per word)."""
        ways: list[tuple[int, int, int, str, float]] = []
        operand, parent, child = transfer.operand, transfer.parent, transfer.child
        to_mac = child == self.depth
        word = self.accelerator.word_bits
        psum = self.ledger.plain_words(operand) * word
        wait = self._waiting_place(transfer)

        def add(name: str, level: int, grain: int, counted: str, bits: float) -> None:
            for n, (limited, _) in enumerate(self.channels):
                if limited == name:
                    stage = 0 if wait is not None and level < wait else 1
                    ways.append((n, stage, grain, counted, bits))

        outer, inner, first = self.levels[parent], self.levels[child], self.mapping.first
        source = self._holder(parent, operand)
        bits = (
            psum if operand is OUTPUT or to_mac else self.ledger.coded_words(source, operand) * word
        )
        add(source.name, outer, first(outer), "distinct", bits)
        for level in range(outer, inner):
            array = self.accelerator.arrays[level]
            if array is None:
                continue
            for name in (array.name, f"{array.name}.{operand.value}"):
                if array.network is Network.MESH:
                    add(name, level, first(level + 1), "distinct", bits)
                elif array.network is Network.UNICAST:
                    add(name, level, first(level + 1) - 1, "delivered", bits)
                else:
                    add(name, level, first(level + 1) - 1, "distinct", bits)
        if wait is not None:
            place = self.accelerator.levels[wait].holder(operand)
            assert place is not None
            add(place.name, wait - 1, first(wait), "distinct", bits)
            add(place.name, wait, first(wait), "distinct", bits)
        if not to_mac:
            target = self._holder(child, operand)
            fill = psum if operand is OUTPUT else self.ledger.coded_words(target, operand) * word
            add(target.name, inner, first(inner), "distinct", fill)
        return ways

    def _waiting_place(self, transfer: _Transfer) -> int | None:
        """The innermost level passed by with a double-buffered memory for the operand."""
        if transfer.operand is OUTPUT or transfer.child == self.depth:
            return None
        passed = range(self.levels[transfer.parent] + 1, self.levels[transfer.child])
        for level in reversed(passed):
            memory = self.accelerator.levels[level].holder(transfer.operand)
            if memory is not None and memory.double_buffered:
                return level
        return None

    def _fill(self, transfer: _Transfer) -> None:
        """Give the transfer its parts."""
        operand, child = transfer.operand, transfer.child
        wait = self._waiting_place(transfer)
        share = 1.0
        if child == self.depth:
            held = self.accelerator.sparse.charge_register_reads_of
            share = 1.0 if operand in held else self.ledger.effectual
        for channel, stage, grain, counted, bits in self._ways(transfer):
            scale = bits * share / self.channels[channel][1]
            finished = scale
            if operand is OUTPUT and transfer.parent == 0 and child < self.depth:
                outermost = self._holder(0, operand)
                if self.channels[channel][0] == outermost.name:
                    finished = (
                        self.ledger.coded_words(outermost, operand) * self.accelerator.word_bits
                    )
                    finished /= self.channels[channel][1]
            tables = self.tables.factors(operand, child, grain, counted, None)
            sliding: tuple[Floats, ...] = ()
            if transfer.slides:
                along = self.nest[transfer.last][:2]
                sliding = self.tables.factors(operand, child, grain, counted, along)
            if operand is OUTPUT:
                # Every element sends its sums; those that come back are handed to one of them.
                back = tables
                if counted == "delivered":
                    back = self.tables.factors(operand, child, grain, "distinct", None)
                if child == self.depth:
                    for part in (tables, back):
                        transfer.parts.append(
                            _ChannelShare(channel=channel, stage=stage, fetched=scale, tables=part)
                        )
                    once = self.tables.factors(operand, child, grain, "first", None)
                    transfer.fresh.append(
                        _ChannelShare(channel=channel, stage=stage, fetched=scale, tables=once)
                    )
                    continue
                transfer.parts.append(
                    _ChannelShare(
                        channel=channel, stage=stage, leaves=scale, finished=finished, tables=tables
                    )
                )
                transfer.parts.append(
                    _ChannelShare(channel=channel, stage=stage, fetched=scale, tables=back)
                )
                continue
            if stage == 0:
                assert wait is not None
                transfer.waits = True
                room = self._fitting(transfer, wait)
                if room < 1:
                    late = scale * (1 - room)
                    transfer.parts.append(
                        _ChannelShare(
                            channel=channel, stage=1, fetched=late, tables=tables, sliding=sliding
                        )
                    )
                    scale *= room
            transfer.parts.append(
                _ChannelShare(
                    channel=channel, stage=stage, fetched=scale, tables=tables, sliding=sliding
                )
            )
        if not transfer.parts:
            return
        transfer.first = tuple(self.tables.first(dim, child) for dim in SUMMED)
        again = [(level, d) for level, d, _ in self.nest[: transfer.last] if level < child]
        transfer.final = tuple(
            self.tables.final(dim, frozenset(level for level, d in again if d is dim))
            for dim in SUMMED
        )

    def _fitting(self, transfer: _Transfer, wait: int) -> float:
        """The share of a full tile that the memory passed by has room for."""
        memory = self.accelerator.levels[wait].holder(transfer.operand)
        if memory is None or memory.capacity is None:
            return 1.0
        grain = self.mapping.first(wait)
        tables = self.tables.factors(transfer.operand, transfer.child, grain, "distinct", None)
        words = math.prod(float(table.max()) for table in tables)
        bits = self.layer.stored_bits(transfer.operand)
        return min(1.0, memory.capacity / (words * bits))
