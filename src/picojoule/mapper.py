"""The search for the best mapping, with a proof.

A mapping's energy is a sum of products of per-dimension factors once three discrete things are
fixed: which operands each level keeps, which operand stays in place while each level's innermost
loops run, and on which loop the input's window slides. These are the *classes*. Each class is a
problem for :mod:`branch`; classes are taken in the order of their bounds and skipped once no
better than what is known. A class prices a mapping at no less than :func:`cost.evaluate` does and
some class prices it exactly, so the least over all classes is the optimum.

Only the innermost operand's loops matter for the order: the sets of dimensions that do not index
the weights (N, P, Q), the inputs (M) and the outputs (C, R, S) are disjoint, so at each level at
most one operand gains, and next to it one loop slides the window.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np

from picojoule import branch
from picojoule.accelerator import Accelerator, Charging, Level
from picojoule.cost import Cost, Ledger, evaluate, tile_words
from picojoule.dataflow import DATAFLOWS, Dataflow, Size
from picojoule.errors import NoMappingError, PicojouleError
from picojoule.mapping import Mapping, Stage
from picojoule.tilings import Bools, Floats, Ints, complete_chains, pareto, repeats, window_words
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Extents, Layer, Operand

N, G, M, C, P, Q, R, S = DIMS
INPUT, WEIGHT, OUTPUT = OPERANDS

IRRELEVANT = {o: frozenset(DIMS) - RELEVANT[o] for o in OPERANDS}
OBJECTIVES = {"energy": branch.ENERGY, "latency": branch.LATENCY, "edp": branch.EDP}
SMALLEST_GAIN = 1e-12  # relative: a better value by less is rounding
FIRST_TRIES = 8  # classes tried with perfect factors for a first good mapping
FIXING_PASSES = 4  # rounds of dropping options by bounds
NODES_PER_SECOND = 5_000_000  # of branch.search, on a slow machine


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search.

    Args:
        mapping, cost: the best mapping found and its price.
        objective, value: what was minimised, and its value for this mapping.
        status: "optimal" if proved (nothing left to look at), else "feasible".
        lower_bound: no legal mapping of the space is below; equals ``value`` if optimal.
        explored, pruned: choices looked at, and those discarded with all they contain.
        space: the set of mappings that the statement is about, in words.
        seconds: time the search took.
    """

    mapping: Mapping
    cost: Cost
    objective: str
    value: float
    status: str
    lower_bound: float
    explored: int
    pruned: int
    space: str
    seconds: float

    @property
    def gap(self) -> float:
        """How far the value may be above the optimum, relative to the bound."""
        return self.value / self.lower_bound - 1 if self.lower_bound > 0 else 0.0


def search(
    layer: Layer,
    accelerator: Accelerator,
    dataflow: Dataflow | str | None = None,
    objective: str = "energy",
    *,
    budget: float | None = None,
) -> Found:
    """Find the mapping of *layer* with the least *objective*, and prove it.

    Args:
        dataflow: constraints on the mapping; by default the accelerator's own.
        objective: "energy", "latency" (then least energy among the fastest) or "edp".
        budget: seconds after which the best so far is returned as "feasible".

    Raises:
        NoMappingError: if no mapping is legal.
    """
    if objective not in OBJECTIVES:
        raise PicojouleError(f"no objective {objective!r}; there are {', '.join(OBJECTIVES)}")
    flow = dataflow if isinstance(dataflow, Dataflow) else _named(dataflow, accelerator)
    started = time.perf_counter()
    deadline = None if budget is None else started + budget
    problem = _Problem(layer, accelerator, flow, objective)
    best = problem.solve(OBJECTIVES[objective], math.inf, deadline)
    if objective == "latency" and best.chosen is not None:
        cycles = best.value
        second = problem.solve(branch.ENERGY, cycles * (1 + SMALLEST_GAIN), deadline)
        if second.chosen is not None:
            best = second._replace(
                value=cycles,
                bound=best.bound,
                complete=best.complete and second.complete,
                explored=best.explored + second.explored,
                pruned=best.pruned + second.pruned,
            )
    if best.chosen is None:
        why = "in time" if not best.complete else f"with the dataflow {flow.name!r}"
        raise NoMappingError(
            f"layer {layer.name!r}: no mapping fits {accelerator.name!r} {why}; "
            "larger memories or another dataflow may help"
        )
    mapping = best.chosen
    cost = evaluate(layer, accelerator, mapping)
    value = {
        "energy": cost.energy,
        "latency": cost.cycles,
        "edp": cost.energy * cost.cycles,
    }[objective]
    return Found(
        mapping,
        cost,
        objective,
        value,
        "optimal" if best.complete else "feasible",
        value if best.complete else min(best.bound, value),
        best.explored,
        best.pruned,
        problem.space,
        time.perf_counter() - started,
    )


def _named(name: str | None, accelerator: Accelerator) -> Dataflow:
    wanted = name or accelerator.default_dataflow
    if wanted not in DATAFLOWS:
        raise PicojouleError(f"no dataflow {wanted!r}; there are {', '.join(DATAFLOWS)}")
    return DATAFLOWS[wanted]


class _Order(NamedTuple):
    """The loop order of one level: who stays while the innermost loops run, and what slides."""

    stays: Operand
    slides: Dim

    def loops(self) -> tuple[Dim, ...]:
        """All dimensions, outermost first."""
        inner = [d for d in (N, P, Q, M, C, R, S) if d in IRRELEVANT[self.stays]]
        if self.slides in inner:
            inner.remove(self.slides)
            inner.append(self.slides)
            return tuple(d for d in DIMS if d not in inner) + tuple(inner)
        outer = [d for d in DIMS if d not in inner and d is not self.slides]
        return (*outer, self.slides, *inner)


class _Runs(Enum):
    """Which loops of a level run at all."""

    ANY = "any"
    OWN = "own"  # only those that do not index the operand that stays: it stays across the level
    NONE = "none"  # no loop: every operand stays across the level


class _Class(NamedTuple):
    """What is fixed before the tiles: operands kept, loop orders, and which loops run."""

    keeps: tuple[frozenset[Operand], ...]
    orders: tuple[_Order, ...]
    runs: tuple[_Runs, ...]


class _Result(NamedTuple):
    value: float
    chosen: Mapping | None
    bound: float
    explored: int
    pruned: int
    complete: bool


class _SymbolicFlow(NamedTuple):
    """A flow whose words are coefficient vectors over monomials."""

    operand: Operand
    parent: int
    child: int
    words: tuple[Floats, ...]
    sharing: dict[int, Floats]

    @property
    def at_parent(self) -> Floats:
        return self.words[0]

    @property
    def at_child(self) -> Floats:
        return self.words[-1]

    def passed(self, level: int) -> tuple[Floats, Floats]:
        return self.words[level - self.parent], self.words[level + 1 - self.parent]

    def shared(self, level: int) -> Floats:
        return self.sharing[level]


class _Edge(NamedTuple):
    operand: Operand
    parent: int
    child: int


class _Monomial(NamedTuple):
    """One symbolic count: the words of an edge at a grain, under a pattern of stays."""

    operand: Operand | None  # None: steps of the whole nest
    child: int
    grain: int
    still: int  # bit mask of levels
    slide: tuple[int, Dim] | None


class _Block(NamedTuple):
    """A dimension, or the pair of a window, with all its chains."""

    dims: tuple[Dim, ...]
    tiles: tuple[Ints, ...]  # for each dimension [options, levels + 1]
    fans: tuple[Ints, ...]  # for each dimension [options, levels]
    pick: tuple[Ints, ...] | None  # for a pair: which chain of each dimension an option takes
    group: Ints  # [options] key of the group


class _Problem:
    """One layer on one machine under one dataflow."""

    def __init__(
        self, layer: Layer, accelerator: Accelerator, dataflow: Dataflow, objective: str
    ) -> None:
        self.layer, self.machine, self.dataflow = layer, accelerator, dataflow
        self.levels = accelerator.levels
        self.depth = len(self.levels)
        self.arrays = accelerator.arrays
        self.array_gaps = [n for n, array in enumerate(self.arrays) if array]
        self.element_gap = self.array_gaps[-1] if self.array_gaps else None
        self.padded = accelerator.charge_padding
        self.timed = objective != "energy" or bool(
            accelerator.static_power and accelerator.clock
        )
        self.every_chain = self._adding_up_pays()
        self._columns: dict[object, Floats] = {}
        self._ranges: dict[object, tuple[float, float]] = {}
        self._tiles: dict[tuple[int, int], Floats] = {}
        self._chains: dict[Dim, tuple[Ints, Ints]] = {}
        self.complete_space = True
        self.keeps = tuple(self._keeps())
        # Blocks are the same for all choices of kept operands that leave the same levels empty.
        self.shapes = tuple(dict.fromkeys(map(_empty_levels, self.keeps)))
        self.blocks = [self._blocks(empty) for empty in self.shapes]
        self.space = self._space()

    def _adding_up_pays(self) -> bool:
        """Whether a hop between elements costs less than keeping a partial sum in one.

        Then spreading wider may pay although it saves no step, and no chain can be left out.
        """
        if self.machine.charging is not Charging.DEARER_END:
            return False
        return any(
            memory.read_energy + memory.write_energy > array.hop_energy
            for gap, array in enumerate(self.arrays)
            if array is not None
            for level in self.levels[gap + 1 :]
            for memory in level.memories
            if OUTPUT in memory.keeps
        )

    # -- what may be kept where ------------------------------------------------------------

    def _keeps(self) -> Iterator[tuple[frozenset[Operand], ...]]:
        choices: list[list[frozenset[Operand]]] = []
        for index, level in enumerate(self.levels):
            inside = self.element_gap is not None and index > self.element_gap
            wanted = self.dataflow.element_keeps if inside else None
            if wanted is not None:
                choices.append([self._forced(index, level, wanted)])
                continue
            optional = [o for o in OPERANDS if o in level.may_bypass]
            choices.append(
                [
                    level.keeps - frozenset(skipped)
                    for n in range(len(optional) + 1)
                    for skipped in itertools.combinations(optional, n)
                ]
            )
        yield from itertools.product(*choices)

    def _forced(self, index: int, level: Level, wanted: frozenset[Operand]) -> frozenset[Operand]:
        stuck = level.keeps - wanted - level.may_bypass
        if stuck:
            names = ", ".join(o.value for o in OPERANDS if o in stuck)
            raise NoMappingError(
                f"dataflow {self.dataflow.name!r} does not store the {names} in level {index} "
                f"({level.name}), which {self.machine.name!r} does not let bypass it"
            )
        return level.keeps & wanted

    # -- chains of one dimension -----------------------------------------------------------

    def _largest(self, dim: Dim, level: int) -> int:
        """The largest tile of *dim* that any memory of *level* can hold."""
        bound = self.layer.bounds[DIMS.index(dim)]
        low, high = 1, bound
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(Extents()._replace(**{dim.value: middle}), level, self.levels[level].keeps):
                low = middle
            else:
                high = middle - 1
        return low

    def _fits(self, tile: Extents, level: int, keeps: frozenset[Operand]) -> bool:
        for memory in self.levels[level].memories:
            if memory.capacity is None:
                continue
            need = sum(
                tile_words(self.layer, tile, o, padded=self.padded) * self._width(o)
                for o in OPERANDS
                if o in memory.keeps & keeps and not (o in memory.may_bypass)
            )
            if need > memory.capacity:
                return False
        return True

    def _width(self, operand: Operand) -> int:
        width = self.layer.bits[OPERANDS.index(operand)]
        return self.machine.psum_bits(width) if operand is OUTPUT else width

    def chains(self, dim: Dim, empty: frozenset[int]) -> tuple[Ints, Ints]:
        """All chains of *dim* that the dataflow allows: tiles and unrollings."""
        bound = self.layer.bounds[DIMS.index(dim)]
        depth = self.depth
        limits = [bound] + [
            1 if n in empty and n == depth - 1 else self._largest(dim, n) for n in range(1, depth)
        ]
        if dim is G and not self.timed:
            limits = [bound] + [1] * (depth - 1)
        fan = [
            0 if array is None else self._fan_limit(dim, n, array.size)
            for n, array in enumerate(self.arrays)
        ]
        if depth == 3 and self.array_gaps in ([1], []) and bound <= 1 << 16:
            raw = complete_chains(
                bound, limits[2], max(1, fan[1]), bound if self.every_chain else self._edge(dim)
            )
            raw = raw[raw[:, 0] <= limits[1]] if limits[1] < bound else raw
            count = len(raw)
            tiles = np.ones((count, 4), np.int64)
            tiles[:, 0], tiles[:, 1], tiles[:, 2] = bound, raw[:, 0], raw[:, 1]
            fans = np.ones((count, 3), np.int64)
            fans[:, 1] = raw[:, 2]
        else:
            tiles, fans = self._nested(bound, limits, fan, dim)
        keep = self._allowed(dim, tiles, fans)
        return tiles[keep], fans[keep]

    def _edge(self, dim: Dim) -> int:
        """How near the ends of a window dimension a cut may save halo that lies in the padding.

        Neighbouring outputs share rows; where all shared rows are stored, only the number of cuts
        counts. Taps are few: all their chains are taken where there is padding.
        """
        if dim not in (P, Q, R, S):
            return 0
        axis = 0 if dim in (P, R) else 1
        bounds = self.layer.bounds
        outputs, taps = bounds[4 + axis], bounds[6 + axis]
        low, high = self._stored(axis)
        stride, reach = self.layer.stride[axis], (taps - 1) * self.layer.dilation[axis]
        last = (outputs - 1) * stride + reach
        if taps == 1:
            return 0
        if self.layer.dilation[axis] // math.gcd(self.layer.dilation[axis], stride) > 1:
            return outputs if dim in (P, Q) else taps  # far outputs share rows, so size matters
        if low == 0 and high > last:
            return 0
        if dim in (R, S):
            return taps
        # The cut before output p shares rows p*stride .. (p-1)*stride + reach.
        before = max(0, -(-low // stride) - 1)
        after = max(0, outputs - 1 - (high - 1 - reach) // stride - 1)
        return max(before, after)

    def _fan_limit(self, dim: Dim, gap: int, size: int) -> int:
        array = self.arrays[gap]
        assert array is not None
        if gap == self.element_gap and dim not in self.dataflow.spatial:
            return 1
        if dim is G and not self.timed:
            return 1
        reach = math.prod(axis.size for axis in array.axes if dim in axis.dims)
        return min(size, reach)

    def _nested(
        self, bound: int, limits: Sequence[int], fan: Sequence[int], dim: Dim
    ) -> tuple[Ints, Ints]:
        """Balanced chains for other depths: every tile an even split of the one outside."""
        small = bound <= 12 and self.depth <= 3
        found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

        def even(size: int, largest: int) -> list[int]:
            if small:
                return list(range(1, min(size, largest) + 1))
            return sorted({-(-size // k) for k in _counts(size)} & set(range(1, largest + 1)))

        def walk(tiles: tuple[int, ...], fans: tuple[int, ...]) -> None:
            level = len(tiles) - 1
            size = tiles[-1]
            last = level == self.depth - 1
            inner = [1] if last else even(size, min(limits[level + 1], size))
            for piece in inner:
                units = -(-size // piece)
                if fan[level] <= 1:
                    factors = {1}
                elif small:
                    factors = set(range(1, min(fan[level], units) + 1))
                else:
                    factors = {-(-units // k) for k in _counts(units)}
                for factor in sorted(factors):
                    if factor <= max(1, fan[level]):
                        if last:
                            found.append((tiles, (*fans, factor)))
                        else:
                            walk((*tiles, piece), (*fans, factor))

        walk((bound,), ())
        if not small and bound > 1:
            self.complete_space = False
        tiles = np.array([(*t, 1) for t, _ in found], np.int64)
        return tiles, np.array([f for _, f in found], np.int64)

    def _allowed(self, dim: Dim, tiles: Ints, fans: Ints) -> Bools:
        """Which chains the dataflow allows."""
        keep = np.ones(len(tiles), bool)
        gap = self.element_gap
        if gap is None:
            return keep
        bound = self.layer.bounds[DIMS.index(dim)]
        flow, array = self.dataflow, self.arrays[gap]
        assert array is not None
        wanted = flow.element_tile.get(dim)
        if wanted is not None and gap + 1 < self.depth:
            keep &= tiles[:, gap + 1] == (1 if wanted is Size.ONE else bound)
        wanted = flow.buffer_tile.get(dim)
        if wanted is not None:
            keep &= tiles[:, gap] == (1 if wanted is Size.ONE else bound)
        if dim in flow.spanned:
            keep &= fans[:, gap] * tiles[:, gap + 1] >= tiles[:, gap]
            beside = math.prod(self.layer.bounds[DIMS.index(d)] for d in flow.unrolled)
            if beside * bound <= array.size:
                keep &= tiles[:, gap] == bound
        if dim in flow.unrolled and bound <= max(
            (axis.size for axis in array.axes if dim in axis.dims), default=1
        ):
            keep &= fans[:, gap] * tiles[:, gap + 1] >= bound
        return keep

    # -- blocks ----------------------------------------------------------------------------

    def _blocks(self, empty: frozenset[int]) -> tuple[_Block, ...]:
        singles, pairs = [], []
        for dims in ((P, R), (Q, S)):
            pairs.append(self._pair(dims, empty))
        for dim in (M, C, N, G):
            tiles, fans = self.chains(dim, empty)
            singles.append(_Block((dim,), (tiles,), (fans,), None, _group_key((tiles,))))
        # Large blocks last: bounds are exact in what comes first.
        return tuple(sorted((*pairs, *singles), key=lambda block: len(block.group)))

    def _pair(self, dims: tuple[Dim, Dim], empty: frozenset[int]) -> _Block:
        outer, tap = (self.chains(dim, empty) for dim in dims)
        a = np.repeat(np.arange(len(outer[0])), len(tap[0]))
        b = np.tile(np.arange(len(tap[0])), len(outer[0]))
        keep = np.ones(len(a), bool)
        axis = 0 if dims[0] is P else 1
        for gap in self.array_gaps:
            array = self.arrays[gap]
            assert array is not None
            keep &= outer[1][a, gap] * tap[1][b, gap] <= array.size
        for level in range(1, self.depth):
            memory = self.levels[level].holder(INPUT)
            always = all(INPUT in keeps[level] for keeps in self.keeps)
            if not always or memory is None or memory.capacity is None:
                continue
            words = self._extent(outer[0][a, level], tap[0][b, level], axis)
            keep &= words * self._width(INPUT) <= memory.capacity
        a, b = a[keep], b[keep]
        tiles = (outer[0][a], tap[0][b])
        fans = (outer[1][a], tap[1][b])
        return _Block(dims, tiles, fans, (a, b), _group_key(tiles))

    def _extent(self, outputs: Ints, taps: Ints, axis: int) -> Ints:
        stride, dilation = self.layer.stride[axis], self.layer.dilation[axis]
        common = math.gcd(stride, dilation)
        rows = outputs * taps - np.maximum(0, outputs - dilation // common) * np.maximum(
            0, taps - stride // common
        )
        stored = self.layer.input_size[axis]
        if self.padded:
            stored += sum(self.layer.padding[2 * axis : 2 * axis + 2])
        return np.minimum(rows, stored)

    # -- classes ---------------------------------------------------------------------------

    def _orders(self) -> list[_Order]:
        bounds = dict(zip(DIMS, self.layer.bounds, strict=True))
        slides = {
            WEIGHT: (Q, P),
            INPUT: (Q, P, S, R),
            OUTPUT: (S, R),
        }
        useful = {P: bounds[R] > 1, R: bounds[R] > 1, Q: bounds[S] > 1, S: bounds[S] > 1}
        found = []
        for operand, dims in slides.items():
            chosen = [d for d in dims if useful[d] and bounds[d] > 1] or [dims[0]]
            found += [_Order(operand, d) for d in chosen]
        return found

    def classes(self) -> Iterator[_Class]:
        """Every combination of kept operands, orders and levels stayed across."""
        flow, gap = self.dataflow, self.element_gap
        for keeps in self.keeps:
            choices: list[list[tuple[_Order, _Runs]]] = []
            for level in range(self.depth - 1):
                orders = self._orders()
                if level == gap and flow.inner_loop is not None:
                    inner = flow.inner_loop
                    if self.layer.bounds[DIMS.index(inner)] > 1:
                        orders = [_Order(WEIGHT, inner)]
                states = [(order, _Runs.ANY) for order in orders]
                if level > 0:
                    states += [(order, _Runs.OWN) for order in orders]
                    states.append((orders[0], _Runs.NONE))
                choices.append(states)
            for picked in itertools.product(*choices):
                cls = _Class(keeps, tuple(o for o, _ in picked), tuple(r for _, r in picked))
                if self._worthwhile(cls):
                    yield cls

    def _worthwhile(self, cls: _Class) -> bool:
        """Whether staying across levels gains anything that another class does not cover."""
        outside: _Order | None = None
        for order, runs in zip(cls.orders, cls.runs, strict=True):
            if runs is _Runs.OWN:
                assert outside is not None
                if order.stays is INPUT:
                    # Only M runs here, so what this level slides on is idle: one name for it.
                    if order != next(o for o in self._orders() if o.stays is INPUT):
                        return False
                elif order.stays is not outside.stays:
                    return False
            if runs is not _Runs.NONE:
                outside = order
        return True

    def _edges(self, keeps: tuple[frozenset[Operand], ...]) -> Iterator[_Edge]:
        for operand in OPERANDS:
            holders = [n for n in range(self.depth) if operand in keeps[n]]
            for parent, child in zip(holders, [*holders[1:], self.depth], strict=True):
                yield _Edge(operand, parent, child)

    def _stay(self, cls: _Class, edge: _Edge) -> tuple[int, tuple[int, Dim] | None]:
        """Levels whose loops leave the edge's tile in place, and where its window slides."""
        still = 0
        if edge.child == self.depth:
            return 0, None
        for level in reversed(range(edge.child)):
            order, runs = cls.orders[level], cls.runs[level]
            if runs is _Runs.NONE:
                continue
            if order.stays is edge.operand:
                still |= 1 << level
                if runs is _Runs.OWN:
                    continue
            return still, (level, order.slides) if edge.operand is INPUT else None
        return still, None

    def _grain(self, parent: int, grain: int) -> int:
        """The outermost grain with the same words: no array lies between."""
        while grain > parent and self.arrays[grain - 1] is None:
            grain -= 1
        return grain

    def model(self, cls: _Class, mode: int, cycle_limit: float) -> tuple[list[_Monomial], branch.Objective]:
        """The class as monomials and their coefficients, priced by the ledger of ``cost``."""
        monomials: list[_Monomial] = []
        constants: dict[_Monomial, float] = {}
        edges = list(self._edges(cls.keeps))
        shapes: list[tuple[_Edge, list[_Monomial]]] = []
        for edge in edges:
            still, slide = self._stay(cls, edge)
            per_grain = []
            for grain in range(edge.parent, edge.child + 1):
                grain = self._grain(edge.parent, grain)
                monomial = _Monomial(edge.operand, edge.child, grain, still, slide)
                if edge.child == self.depth and not any(
                    self.arrays[n] for n in range(edge.parent, self.depth)
                ):
                    constants[monomial] = self._mac_words(edge.operand)
                elif monomial not in monomials:
                    monomials.append(monomial)
                per_grain.append(monomial)
            shapes.append((edge, per_grain))
        pairs: list[tuple[int, int]] = []
        for edge, per_grain in shapes:
            if edge.operand is OUTPUT:
                continue
            for level in range(edge.parent, edge.child):
                if self.arrays[level] is not None:
                    outside, inside = (per_grain[level - edge.parent + n] for n in (0, 1))
                    pairs.append((monomials.index(outside), monomials.index(inside)))
        size = 1 + len(monomials) + len(pairs)
        unit = np.eye(size)

        def vector(monomial: _Monomial) -> Floats:
            if monomial in constants:
                return constants[monomial] * unit[0]
            return unit[1 + monomials.index(monomial)]

        flows, used = [], 0
        for edge, per_grain in shapes:
            sharing = {}
            if edge.operand is not OUTPUT:
                for level in range(edge.parent, edge.child):
                    if self.arrays[level] is not None:
                        sharing[level] = unit[1 + len(monomials) + used]
                        used += 1
            flows.append(_SymbolicFlow(*edge, tuple(map(vector, per_grain)), sharing))
        ledger = Ledger(self.layer, self.machine, one=unit[0])
        ledger.book(flows)  # type: ignore[arg-type]
        energy = sum(
            access.energy
            for table in (ledger.accesses, ledger.hops)
            for operands in table.values()
            for access in operands.values()
        )
        energy = np.asarray(energy, float) + ledger.compute * unit[0]
        times, outside_of = self._times(ledger, len(monomials)) if self.timed else ([], [])
        steps = -1
        if self.timed:
            monomials.append(_Monomial(None, self.depth, 0, 0, None))
            steps = len(monomials) - 1
        count = len(monomials)
        coefficients = np.zeros(count)
        known = size - 1 - len(pairs)
        coefficients[:known] = energy[1 : 1 + known]
        shared = np.array(
            [
                (a, b, energy[1 + known + n])
                for n, (a, b) in enumerate(pairs)
                if energy[1 + known + n]
            ],
            float,
        ).reshape(-1, 3)
        table = np.zeros((len(times), count + 1))
        for row, time_vector in zip(table, times, strict=True):
            row[:known] = time_vector[1 : 1 + known]
            # a shared hop's words bound its time from below by nothing, from above by its words
            row[-1] = time_vector[0]
        return monomials, branch.Objective(
            mode,
            float(energy[0]),
            coefficients,
            shared,
            ledger.static_per_cycle if self.timed else 0.0,
            steps,
            ledger.cycles_per_step,
            table,
            np.array(outside_of, np.int64),
            cycle_limit,
        )

    def _times(self, ledger: Ledger, known: int) -> tuple[list[Floats], list[int]]:
        del known
        vectors, outside = [], []
        arrays_outside = 0
        for index, level in enumerate(self.levels):
            for memory in level.memories:
                if memory.bandwidth is not None:
                    vectors.append(np.asarray(ledger.bits_moved[memory.name]) / memory.bandwidth)
                    outside.append(arrays_outside)
            array = self.arrays[index]
            if array is not None:
                if array.bandwidth is not None:
                    vectors.append(np.asarray(ledger.bits_moved[array.name]) / array.bandwidth)
                    outside.append(arrays_outside)
                arrays_outside += 1
        return vectors, outside

    def _mac_words(self, operand: Operand) -> float:
        """Words that the multipliers take from a memory right above them."""
        if operand is not INPUT:
            return float(self.layer.macs)
        words = self.layer.bounds.N * self.layer.bounds.G * self.layer.bounds.M * self.layer.bounds.C
        total = float(words)
        for axis in (0, 1):
            low, high = self._stored(axis)
            outputs, taps = self.layer.bounds[4 + axis], self.layer.bounds[6 + axis]
            rows = (
                np.arange(outputs)[:, None] * self.layer.stride[axis]
                + np.arange(taps)[None, :] * self.layer.dilation[axis]
            )
            total *= int(((rows >= low) & (rows < high)).sum())
        return total

    def _stored(self, axis: int) -> tuple[int, int]:
        before, after = self.layer.padding[2 * axis : 2 * axis + 2]
        size = self.layer.input_size[axis]
        return (0, before + size + after) if self.padded else (before, before + size)

    # -- factors ---------------------------------------------------------------------------

    def _factor(self, block: _Block, which: tuple[int, int], monomial: _Monomial) -> Floats:
        """The factor of one block in one monomial, for all of its options."""
        operand = monomial.operand
        if len(block.dims) == 1 or operand is not INPUT:
            total = np.ones(len(block.group))
            for n, dim in enumerate(block.dims):
                total = total * self._single(block, which, n, dim, monomial)
            return total
        axis = 0 if block.dims[0] is P else 1
        slide = monomial.slide
        level, tap = -1, False
        if slide is not None and slide[1] in block.dims:
            level, tap = slide[0], slide[1] is block.dims[1]
        key = (which, "window", monomial.child, monomial.grain, level, tap)
        if key not in self._columns:
            self._columns[key] = self._window(block, axis, monomial, level, tap)
        return self._columns[key]

    def _single(
        self, block: _Block, which: tuple[int, int], n: int, dim: Dim, monomial: _Monomial
    ) -> Floats:
        operand = monomial.operand
        bound = self.layer.bounds[DIMS.index(dim)]
        if operand is not None and dim in RELEVANT[operand]:
            return np.full(len(block.group), float(bound))
        if bound == 1:
            return np.ones(len(block.group))
        key = (which, n, monomial.child, monomial.grain, monomial.still)
        if key not in self._columns:
            if block.pick is None:
                self._columns[key] = repeats(
                    block.tiles[n], block.fans[n], monomial.child, monomial.grain, monomial.still
                )
            else:
                chains, back = np.unique(block.pick[n], return_index=True)
                del chains
                per_chain = repeats(
                    block.tiles[n][back],
                    block.fans[n][back],
                    monomial.child,
                    monomial.grain,
                    monomial.still,
                )
                lookup = np.zeros(int(block.pick[n].max()) + 1)
                lookup[block.pick[n][back]] = per_chain
                self._columns[key] = lookup[block.pick[n]]
        return self._columns[key]

    def _window(
        self, block: _Block, axis: int, monomial: _Monomial, level: int, tap: bool
    ) -> Floats:
        """Window words of all options of a pair; equal prefixes of chains are counted once."""
        child, grain = monomial.child, monomial.grain
        low, high = self._stored(axis)
        picks, firsts, inverses = [], [], []
        for n in (0, 1):
            # Only what lies outside the child matters, and without sliding only the steps do.
            columns = np.concatenate(
                [block.tiles[n][:, 1 : child + 1], block.fans[n][:, :child]], axis=1
            )
            _, first, inverse = np.unique(columns, axis=0, return_index=True, return_inverse=True)
            firsts.append(first)
            inverses.append(inverse.ravel())
            picks.append((block.tiles[n][first], block.fans[n][first]))
        table = window_words(
            picks[0][0],
            picks[0][1],
            picks[1][0],
            picks[1][1],
            self.layer.stride[axis],
            self.layer.dilation[axis],
            low,
            high,
            child,
            grain,
            level,
            tap,
        )
        return table[inverses[0], inverses[1]]

    def _capacities(
        self, keeps: tuple[frozenset[Operand], ...]
    ) -> tuple[list[tuple[int, Operand]], Floats, Floats]:
        """Capacity monomials (level, operand), bits per word in each memory, and its size."""
        monomials: list[tuple[int, Operand]] = []
        rows: list[dict[int, float]] = []
        sizes: list[float] = []
        for index, level in enumerate(self.levels):
            for memory in level.memories:
                held = [o for o in OPERANDS if o in memory.keeps & keeps[index]]
                if memory.capacity is None or not held:
                    continue
                row = {}
                for operand in held:
                    monomials.append((index, operand))
                    row[len(monomials) - 1] = float(self._width(operand))
                rows.append(row)
                sizes.append(memory.capacity)
        weights = np.zeros((len(rows), len(monomials)))
        for n, row in enumerate(rows):
            for column, width in row.items():
                weights[n, column] = width
        return monomials, weights, np.array(sizes)

    def _tile_factor(self, block: _Block, level: int, operand: Operand) -> Floats:
        if operand is INPUT and len(block.dims) == 2:
            axis = 0 if block.dims[0] is P else 1
            extent = self._extent(block.tiles[0][:, level], block.tiles[1][:, level], axis)
            return extent.astype(float)
        total = np.ones(len(block.group))
        for n, dim in enumerate(block.dims):
            if dim in RELEVANT[operand]:
                total = total * block.tiles[n][:, level]
        return total

    # -- solving ---------------------------------------------------------------------------

    def solve(self, mode: int, cycle_limit: float, deadline: float | None) -> _Result:
        """The best mapping over all classes.

        First a good mapping from perfect factors, polished one block at a time; with its value
        most classes and most options of the others fall to their bounds before any search.
        """
        pending = [
            prepared
            for cls in self.classes()
            if (prepared := self._prepare(cls, mode, cycle_limit)) is not None
        ]
        pending.sort(key=lambda prepared: prepared.bound)  # stable: equal bounds keep their order
        tally = _Tally(math.inf if deadline is None else deadline)
        best, chosen, first = math.inf, None, None
        for prepared in pending[:FIRST_TRIES]:
            if prepared.bound < best:
                masks = [
                    mask & self._perfect(block)
                    for mask, block in zip(prepared.masks, prepared.blocks, strict=True)
                ]
                value, choice = self._search(prepared, masks, best, tally)
                if choice is not None:
                    best, first = value, (prepared, choice)
        if first is not None:
            prepared, choice = first
            best, choice = self._polish(prepared, best, choice)
            chosen = self._mapping(prepared, choice)
        for position, prepared in enumerate(pending):
            if prepared.bound >= best * (1 - SMALLEST_GAIN):
                tally.pruned += len(pending) - position
                break
            value, choice = self._search(prepared, prepared.masks, best, tally)
            if choice is not None:
                best, chosen = value, self._mapping(prepared, choice)
            if tally.late:
                return _Result(best, chosen, prepared.bound, tally.explored, tally.pruned, False)
        return _Result(best, chosen, best, tally.explored, tally.pruned, True)

    def _search(
        self, prepared: _Prepared, masks: list[Bools], best: float, tally: _Tally
    ) -> tuple[float, list[int] | None]:
        """The best choice of a class among the options in *masks*, if it beats *best*."""
        limit = best * (1 - SMALLEST_GAIN) if best < math.inf else math.inf
        fixed = self._fix(prepared, masks, limit, tally)
        if fixed is None:
            return best, None
        options, picks = self._options(prepared, fixed)
        value, choice, looked, cut, ended = branch.search(
            options, prepared.objective, prepared.limits, limit, tally.nodes_left()
        )
        tally.explored += looked
        tally.pruned += cut
        tally.late = tally.late or not ended
        return value, [picks[o] for o in choice] if choice[0] >= 0 else None

    def _fix(
        self, prepared: _Prepared, masks: list[Bools], limit: float, tally: _Tally
    ) -> list[Bools] | None:
        """Drop options that no choice of the others can bring below *limit* or into the memories.

        Each pass sharpens the least of every block and so the bounds of the others.
        """
        weights, capacity = prepared.limits.weights, prepared.limits.capacity
        left = [np.flatnonzero(mask) for mask in masks]
        table, held = [], []
        for which, indices in enumerate(left):
            whole = len(indices) == len(masks[which])
            for made, found in ((table, prepared.tables[which]), (held, self._held(prepared, which))):
                made.append(found if whole else found[indices])
        for _ in range(FIXING_PASSES):
            if not all(map(len, left)):
                return None
            least = [t.min(axis=0) for t in table]
            most = [t.max(axis=0) for t in table]
            small = [h.min(axis=0) for h in held]
            dropped = 0
            for which in range(len(left)):
                others = [n for n in range(len(left)) if n != which]
                low = np.prod([least[n] for n in others], axis=0)
                high = np.prod([most[n] for n in others], axis=0)
                tile = np.prod([small[n] for n in others], axis=0)
                keep = self._below(prepared, table[which], low, high, limit)
                if len(capacity):
                    keep &= ((held[which] @ (weights * tile).T) <= capacity).all(axis=1)
                if keep.all():
                    continue
                dropped += len(keep) - int(keep.sum())
                left[which], table[which], held[which] = (
                    left[which][keep],
                    table[which][keep],
                    held[which][keep],
                )
                if not len(left[which]):
                    tally.pruned += dropped
                    return None
                least[which], most[which] = table[which].min(axis=0), table[which].max(axis=0)
                small[which] = held[which].min(axis=0)
            tally.pruned += dropped
            if not dropped:
                break
        fixed = [np.zeros_like(mask) for mask in masks]
        for mask, indices in zip(fixed, left, strict=True):
            mask[indices] = True
        return fixed

    @staticmethod
    def _below(
        prepared: _Prepared, table: Floats, low: Floats, high: Floats, limit: float
    ) -> Bools:
        """Which options of a block may stay below *limit*, the others at their least."""
        objective = prepared.objective
        up, down = np.maximum(objective.energy, 0), np.minimum(objective.energy, 0)
        value = objective.constant + table @ (up * low + down * high)
        if objective.steps >= 0:
            cycles = table[:, objective.steps] * (low[objective.steps] * objective.per_step)
            if cycles.size and objective.mode == branch.LATENCY:
                value = cycles
            else:
                value = value + objective.static * cycles
                if objective.mode == branch.EDP:
                    value = value * cycles
            return np.asarray((value < limit) & (cycles <= objective.cycle_limit))
        return np.asarray(value < limit)

    def _perfect(self, block: _Block) -> Bools:
        """Options in which every tile divides the one outside it."""
        keep = np.ones(len(block.group), bool)
        for tiles, fans in zip(block.tiles, block.fans, strict=True):
            for level in range(self.depth):
                step = np.minimum(tiles[:, level], fans[:, level] * tiles[:, level + 1])
                keep &= (tiles[:, level] % step == 0) & (step % tiles[:, level + 1] == 0)
        return keep

    def _polish(
        self, prepared: _Prepared, value: float, choice: list[int]
    ) -> tuple[float, list[int]]:
        """Improve a choice one block at a time, over all options, until none helps."""
        count = len(choice)
        improved = True
        while improved:
            improved = False
            for which in range(count):
                masks = []
                for n, mask in enumerate(prepared.masks):
                    only = np.zeros_like(mask)
                    only[choice[n]] = True
                    masks.append(mask if n == which else only)
                better, found = self._search(prepared, masks, value, _Tally(math.inf))
                if found is not None:
                    value, choice, improved = better, found, True
        return value, choice

    def _prepare(self, cls: _Class, mode: int, cycle_limit: float) -> _Prepared | None:
        """Model a class, find which options it allows, and bound it; None if it allows none."""
        monomials, objective = self.model(cls, mode, cycle_limit)
        capacities, weights, sizes = self._capacities(cls.keeps)
        shape = self.shapes.index(_empty_levels(cls.keeps))
        blocks = self.blocks[shape]
        masks = []
        low, high = np.ones(len(monomials)), np.ones(len(monomials))
        for which, block in enumerate(blocks):
            mask = self._mask(cls, block, (shape, which))
            if not mask.any():
                return None
            masks.append(mask)
            everything = bool(mask.all())
            for k, monomial in enumerate(monomials):
                least, most = self._range(block, (shape, which), monomial, mask, everything)
                low[k] *= least
                high[k] *= most
        limits = branch.Limits(weights, sizes, *self._array_limits())
        instances = np.cumprod([1.0, *limits.sizes])
        bound = branch.value_of(
            low, high, instances, np.zeros(len(objective.shared) + 1), objective
        )
        return _Prepared(
            self, cls, shape, blocks, bound, objective, monomials, capacities, limits, masks
        )

    def _range(
        self,
        block: _Block,
        which: tuple[int, int],
        monomial: _Monomial,
        mask: Bools,
        everything: bool,
    ) -> tuple[float, float]:
        """Least and greatest factor of a block in a monomial."""
        if not everything:
            inside = self._factor(block, which, monomial)[mask]
            return float(inside.min()), float(inside.max())
        key = ("range", which, monomial)
        if key not in self._ranges:
            factor = self._factor(block, which, monomial)
            self._ranges[key] = (float(factor.min()), float(factor.max()))
        return self._ranges[key]

    def table(self, prepared: _Prepared, which: int) -> Floats:
        """The factors of a block's options in all monomials of a class."""
        key, block = (prepared.shape, which), prepared.blocks[which]
        return np.stack([self._factor(block, key, m) for m in prepared.monomials], axis=1)

    def _held(self, prepared: _Prepared, which: int) -> Floats:
        """The factors of a block's options in all capacity monomials of a class."""
        key = (self.keeps.index(prepared.cls.keeps), which)
        if key not in self._tiles:
            block = prepared.blocks[which]
            self._tiles[key] = np.stack(
                [np.ones(len(block.group))]
                + [self._tile_factor(block, n, o) for n, o in prepared.capacities],
                axis=1,
            )[:, 1:]
        return self._tiles[key]

    def _array_limits(self) -> tuple[Floats, Ints, Ints]:
        arrays = [array for array in self.arrays if array is not None]
        most = max((len(array.axes) for array in arrays), default=1)
        axes = np.ones((len(arrays), most), np.int64)
        allowed = np.zeros((len(arrays), most), np.int64)
        for a, array in enumerate(arrays):
            for n, axis in enumerate(array.axes):
                axes[a, n] = axis.size
                allowed[a, n] = sum(1 << DIMS.index(dim) for dim in axis.dims)
        return np.array([float(array.size) for array in arrays]), axes, allowed

    def _mask(self, cls: _Class, block: _Block, which: tuple[int, int]) -> Bools:
        """Options that take no step at a level that the class stays across."""
        mask = np.ones(len(block.group), bool)
        for level, (order, runs) in enumerate(zip(cls.orders, cls.runs, strict=True)):
            if runs is _Runs.ANY:
                continue
            for n, dim in enumerate(block.dims):
                if runs is _Runs.NONE or dim in RELEVANT[order.stays]:
                    inner = block.tiles[n][:, level + 1] * block.fans[n][:, level]
                    mask &= inner >= block.tiles[n][:, level]
        flow, gap = self.dataflow, self.element_gap
        if flow.stationary is not None and gap is not None:
            # The operand enters the elements once: no loop outside them makes it come again.
            for edge in self._edges(cls.keeps):
                if edge.operand is flow.stationary and edge.parent <= gap < edge.child:
                    still, slide = self._stay(cls, edge)
                    monomial = _Monomial(edge.operand, edge.child, edge.parent, still, slide)
                    for n, dim in enumerate(block.dims):
                        if dim in IRRELEVANT[flow.stationary]:
                            mask &= self._single(block, which, n, dim, monomial) == 1
        return mask

    def _options(
        self, prepared: _Prepared, masks: list[Bools]
    ) -> tuple[branch.Options, list[int]]:
        """The options in *masks*, Pareto-filtered within their groups, and which they are."""
        blocks = prepared.blocks
        first_group, first_option = [0], [0]
        factors, tiles, fans, dims = [], [], [], []
        picks: list[int] = []
        for which, (block, mask) in enumerate(zip(blocks, masks, strict=True)):
            indices = np.flatnonzero(mask)
            indices = indices[np.argsort(block.group[indices], kind="stable")]
            table = prepared.tables[which][indices]
            held = self._held(prepared, which)[indices]
            spread = np.ones((len(indices), len(self.array_gaps), 2), np.int64)
            for n in range(len(block.dims)):
                spread[:, :, n] = block.fans[n][indices][:, self.array_gaps]
            merit = _merit(table, held, spread, prepared.objective)
            group = block.group[indices]
            edges = np.flatnonzero(np.diff(group, prepend=-1, append=-1))
            for start, stop in itertools.pairwise(edges):
                members = start + (
                    pareto(merit[start:stop]) if merit.shape[1] else np.zeros(1, np.int64)
                )
                factors.append(table[members])
                tiles.append(held[members])
                fans.append(spread[members])
                picks += [int(o) for o in indices[members]]
                first_option.append(first_option[-1] + len(members))
            first_group.append(len(first_option) - 1)
            dims.append(([DIMS.index(d) for d in block.dims] + [-1])[:2])
        return branch.Options(
            np.array(first_group, np.int64),
            np.array(first_option, np.int64),
            np.concatenate(factors),
            np.concatenate(tiles),
            np.concatenate(fans),
            np.array(dims, np.int64),
        ), picks

    def _mapping(self, prepared: _Prepared, choice: Sequence[int]) -> Mapping:
        blocks = prepared.blocks
        tile = np.ones((8, self.depth), np.int64)
        fan = np.ones((8, self.depth), np.int64)
        for block, option in zip(blocks, choice, strict=True):
            for n, dim in enumerate(block.dims):
                tile[DIMS.index(dim)] = block.tiles[n][option][: self.depth]
                fan[DIMS.index(dim)] = block.fans[n][option]
        stages = []
        for level in range(self.depth):
            array = self.arrays[level]
            spatial: tuple[Extents, ...] = ()
            if array is not None:
                spatial = _spread(
                    [int(x) for x in fan[:, level]],
                    [axis.size for axis in array.axes],
                    [axis.dims for axis in array.axes],
                )
            order = prepared.cls.orders[level].loops() if level < self.depth - 1 else ()
            stages.append(
                Stage(
                    Extents(*(int(x) for x in tile[:, level])),
                    order,
                    prepared.cls.keeps[level],
                    spatial,
                )
            )
        return Mapping(tuple(stages))

    def _space(self) -> str:
        tiles = (
            "all tile sizes, dividing or not"
            if self.complete_space
            else "all balanced tile sizes (even splits, dividing or not)"
        )
        return (
            f"{tiles}; all loop orders; all unrollings and bypasses that {self.machine.name} and "
            f"the dataflow {self.dataflow.name} allow"
        )


@dataclass(slots=True)
class _Prepared:
    """A class ready to be searched."""

    problem: _Problem
    cls: _Class
    shape: int  # which of the problem's sets of blocks
    blocks: tuple[_Block, ...]
    bound: float
    objective: branch.Objective
    monomials: list[_Monomial]
    capacities: list[tuple[int, Operand]]  # (level, operand) of each capacity monomial
    limits: branch.Limits
    masks: list[Bools]  # for each block, the options the class allows
    made: list[Floats] = field(default_factory=list)

    @property
    def tables(self) -> list[Floats]:
        """For each block, the factor of every option in every monomial; made when first asked."""
        if not self.made:
            self.made = [self.problem.table(self, n) for n in range(len(self.masks))]
        return self.made


@dataclass(slots=True)
class _Tally:
    """What a search has looked at, and until when it may go on."""

    deadline: float
    explored: int = 0
    pruned: int = 0
    late: bool = False

    def nodes_left(self) -> int:
        """How many nodes the time left is good for, at a cautious rate."""
        if self.deadline == math.inf:
            return 1 << 62
        left = self.deadline - time.perf_counter()
        self.late = self.late or left <= 0
        return max(1000, int(left * NODES_PER_SECOND))


def _merit(
    table: Floats, held: Floats, spread: Ints, objective: branch.Objective
) -> Floats:
    """Columns in which a smaller entry is never worse, for the Pareto filter.

    Where a larger count lowers the price or a time, or an outer array's use divides a time, the
    reciprocal stands; a shared hop is dearer where words outside and inside differ.
    """
    columns = [held, spread.reshape(len(spread), -1).astype(float)]
    signs = np.sign(objective.energy)
    for k in range(table.shape[1]):
        ups = signs[k] > 0 or k == objective.steps or (objective.times[:, k] > 0).any()
        downs = signs[k] < 0 or (objective.times[:, k] < 0).any()
        if ups or (objective.shared[:, :2] == k).any():
            columns.append(table[:, [k]])
        if downs:
            columns.append(1 / table[:, [k]])
    if len(objective.times):
        columns.append(1.0 / spread.prod(axis=2))
    for a, b, _ in objective.shared:
        columns.append(1.0 + (table[:, [int(a)]] != table[:, [int(b)]]))
    merit = np.concatenate(columns, axis=1)
    return np.ascontiguousarray(merit[:, merit.min(axis=0) < merit.max(axis=0)])


def _empty_levels(keeps: tuple[frozenset[Operand], ...]) -> frozenset[int]:
    """Levels at which nothing is kept: they are not there, so no tile is cut for them."""
    return frozenset(n for n in range(1, len(keeps)) if not keeps[n])


def _counts(size: int) -> list[int]:
    """Numbers of pieces that give different even splits of *size*."""
    found, count = [], 1
    while count <= size:
        found.append(count)
        piece = -(-size // count)
        if piece == 1:
            break
        count = -(-size // (piece - 1))
    return found


def _group_key(tiles: Sequence[Ints]) -> Ints:
    """Options share a group if they cut the outermost level into as many tiles."""
    key = np.zeros(len(tiles[0]), np.int64)
    for table in tiles:
        counts = -(-table[:, 0] // table[:, 1])
        key = key * (int(counts.max(initial=0)) + 1) + counts
    return key


def _spread(
    fans: Sequence[int], sizes: Sequence[int], allowed: Sequence[frozenset[Dim]]
) -> tuple[Extents, ...]:
    """Split unrollings over the axes of an array, as :func:`branch.packable` has found possible."""

    def place(index: int, left: tuple[int, ...]) -> list[tuple[int, ...]] | None:
        if index == len(fans):
            return []
        ranges = [
            range(1, min(room, fans[index]) + 1 if DIMS[index] in dims else 2)
            for room, dims in zip(left, allowed, strict=True)
        ]
        for split in itertools.product(*ranges):
            if math.prod(split) < fans[index]:
                continue
            rest = place(index + 1, tuple(r // f for r, f in zip(left, split, strict=True)))
            if rest is not None:
                return [split, *rest]
        return None

    placed = place(0, tuple(sizes))
    assert placed is not None
    return tuple(Extents(*(split[axis] for split in placed)) for axis in range(len(sizes)))
