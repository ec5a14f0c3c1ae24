"""The search for the best mapping, with a proof.

A mapping's energy is a sum of products of per-dimension factors once its class is fixed
(:mod:`mapspace`). Each class is a discrete geometric programme (:mod:`relaxation` sets it up,
:mod:`programme` bounds it, :mod:`boxes` solves it); classes are taken best first.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from picojoule.accelerator import Accelerator
from picojoule.cost import evaluate
from picojoule.dataflow import Dataflow
from picojoule.errors import NoMappingError, PicojouleError
from picojoule.mapper import boxes, programme
from picojoule.mapper.found import Found, value_of
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.relaxation import Relaxation, Relaxed
from picojoule.mapper.space import Space
from picojoule.mapping import Mapping, Stage
from picojoule.workload import DIMS, Dim, Extents, Layer

FACTORS = ("all", "perfect")
OBJECTIVES = {"energy": programme.ENERGY, "latency": programme.LATENCY, "edp": programme.EDP}
SMALLEST_GAIN = 1e-12  # relative: a better value by less is rounding
SMALLEST_STEP = 1e-9  # relative: points of a front nearer than this in cycles are one
DUAL_ROUNDS, DUAL_TURNS = 8, 200  # passes over all options, and steps on candidates between them
BOX_ROUNDS, BOX_TURNS = 4, 25  # the same for each choice of outermost tile counts
FIRST_PRICE = 0.02  # multiplier of a limit to begin with
ENOUGH = 0.02  # a dual bound that far above the least is not sharpened before its turn
FIRST_STEP = 0.005  # how far above its bound a class is searched first; doubled each time
FEW = 2000  # options that are searched faster than bounded
CANDIDATES = 32  # options of each block that the steps between passes know


def search(
    layer: Layer,
    accelerator: Accelerator,
    dataflow: Dataflow | str | None = None,
    objective: str = "energy",
    *,
    factors: str = "all",
    budget: float | None = None,
    pareto: bool = False,
    start: Mapping | None = None,
    floor: float = 0.0,
) -> Found:
    """Find the mapping of *layer* with the least *objective*, and prove it.

    Args:
        dataflow: constraints on the mapping; by default the accelerator's own.
        objective: "energy", "latency" (then least energy among the fastest) or "edp".
        factors: "all" tile sizes, or "perfect": only those that divide the tile outside them.
        budget: seconds after which the best so far is returned as "feasible".
        pareto: also find the front of energy against cycles (:attr:`Found.front`).
        start: for "latency", a legal mapping to begin with, in place of the cheapest.
        floor: for "latency", cycles that no mapping can do without (:mod:`compulsory`,
            :mod:`parallelism`): one that takes no more is proved. Neither changes the answer.

    Raises:
        NoMappingError: if no mapping is legal.
    """
    if objective not in OBJECTIVES:
        raise PicojouleError(f"no objective {objective!r}; there are {', '.join(OBJECTIVES)}")
    if factors not in FACTORS:
        raise PicojouleError(f"no factors {factors!r}; there are {', '.join(FACTORS)}")
    flow = accelerator.dataflow(dataflow)
    started = time.perf_counter()
    deadline = math.inf if budget is None else started + budget
    timed = pareto or objective != "energy" or bool(accelerator.static_power and accelerator.clock)
    space = Space(layer, accelerator, flow, timed=timed, perfect=factors == "perfect")
    relaxation = Relaxation(space)
    if start is not None and objective == "latency" and not pareto:
        best = _from(relaxation, start, objective, deadline, floor)
        return _found(relaxation, best, objective, started)
    best = _Solver(relaxation, programme.ENERGY, math.inf, deadline).solve()
    if best.chosen is None and not best.complete:
        # Out of time with nothing in hand: any mapping will do, and few sizes divide.
        few = Relaxation(Space(layer, accelerator, flow, timed=timed, perfect=True))
        quick = _Solver(few, programme.ENERGY, math.inf, math.inf).solve(first=True)
        best = best._replace(value=quick.value, chosen=quick.chosen)
    cheapest = best.chosen
    if objective != "energy" and best.chosen is not None:
        best = _from(relaxation, best.chosen, objective, deadline)
    if best.chosen is None:
        why = "in time" if not best.complete else f"with the dataflow {flow.name!r}"
        wide, word = max(layer.bits), accelerator.word_bits
        hint = "larger memories or another dataflow may help"
        if wide > word:
            hint = f"its words have {word} bits, the layer's up to {wide}: try --bits {word}"
        raise NoMappingError(
            f"layer {layer.name!r}: no mapping fits {accelerator.name!r} {why}; {hint}"
        )
    found = _found(relaxation, best, objective, started)
    if not pareto or cheapest is None:
        return found
    return replace(found, front=_front(relaxation, cheapest, deadline))


def _found(relaxation: Relaxation, best: _Result, objective: str, started: float) -> Found:
    """The result of a search, priced by ``evaluate``."""
    space, mapping = relaxation.space, best.chosen
    assert mapping is not None
    cost = evaluate(space.layer, space.machine, mapping)
    value = value_of(cost, objective)
    return Found(
        mapping,
        cost,
        objective,
        value,
        "optimal" if best.complete else "feasible",
        value if best.complete else min(best.bound, value),
        best.explored,
        best.pruned,
        space.text(),
        time.perf_counter() - started,
    )


def _from(
    relaxation: Relaxation, start: Mapping, objective: str, deadline: float, floor: float = 0.0
) -> _Result:
    """The best mapping for another objective than energy, from a mapping to begin with.

    For "latency" the cheapest among the fastest; its value is in cycles. Out of time it is the
    cheapest of those with few sizes to choose from, and the value may be proved all the same.
    """
    cost = evaluate(relaxation.space.layer, relaxation.space.machine, start)
    solver = _Solver(relaxation, OBJECTIVES[objective], math.inf, deadline)
    solver.best, solver.chosen, solver.floor = value_of(cost, objective), start, floor
    best = solver.solve()
    if objective != "latency":
        return best
    most = best.value * (1 + SMALLEST_GAIN)
    few = None
    if deadline < math.inf:
        half = (time.perf_counter() + deadline) / 2
        of = relaxation.space
        sizes = Relaxation(Space(of.layer, of.machine, of.dataflow, timed=True, perfect=True))
        few = _Solver(sizes, programme.ENERGY, most, half).solve()
    second = _Solver(relaxation, programme.ENERGY, most, deadline).solve()
    if few is not None and not second.complete and few.value < second.value:
        second = second._replace(chosen=few.chosen)
    if second.chosen is None:
        return best._replace(complete=best.complete and second.complete)
    return second._replace(
        value=best.value,
        bound=best.bound,
        complete=best.complete and second.complete,
        explored=best.explored + second.explored,
        pruned=best.pruned + second.pruned,
    )


def _front(relaxation: Relaxation, cheapest: Mapping, deadline: float) -> tuple[Found, ...]:
    """Mappings that none beats in both energy and cycles, from the cheapest to the fastest.

    Each is the cheapest that is faster than the one before it, and cheaper than the fastest.
    """
    started = time.perf_counter()
    last = _found(relaxation, _from(relaxation, cheapest, "latency", deadline), "latency", started)
    last = replace(last, objective="energy", value=last.cost.energy, lower_bound=last.cost.energy)
    points: list[Found] = []
    limit = math.inf
    while last.status == "optimal":
        started = time.perf_counter()
        solver = _Solver(relaxation, programme.ENERGY, limit, deadline)
        solver.best = last.value * (1 - SMALLEST_GAIN)
        best = solver.solve()
        if best.chosen is None and best.complete:
            break
        if best.chosen is None:
            last = replace(last, status="feasible")
            break
        found = _found(relaxation, best, "energy", started)
        if points and found.value <= points[-1].value * (1 + SMALLEST_GAIN):
            points.pop()  # as cheap and faster
        points.append(found)
        if not best.complete:
            last = replace(last, status="feasible")
        limit = found.cost.cycles * (1 - SMALLEST_STEP)
    if points and last.value <= points[-1].value * (1 + SMALLEST_GAIN):
        points.pop()
    return (*points, last)


class _Result(NamedTuple):
    value: float
    chosen: Mapping | None
    bound: float
    explored: int
    pruned: int
    complete: bool


@dataclass(order=True, slots=True)
class _Open:
    """A class that its bound does not rule out yet, at some stage of being solved."""

    bound: float
    number: int
    stage: int = field(compare=False)
    relaxed: Relaxed = field(compare=False)
    dual: _Dual | None = field(default=None, compare=False)
    step: float = field(default=FIRST_STEP, compare=False)


class _Dual(NamedTuple):
    """The dual bound of a programme, and what options and columns add to it."""

    bound: float
    scores: Floats
    weights: Floats


NEW, BOUNDED, OPTIMISTIC, CLOSED = range(
    4
)  # stages: nothing done; dual bound; and every hop decided


class _Solver:
    """The search over all classes of a space for one objective: best first.

    A class is bounded ever more closely (by the least of every column, by the dual, with few
    options by a search in which open hops are free, by the dual with every hop decided) and then
    searched up to a limit a little above its bound; a search that finds nothing raises the bound to
    that limit.
    """

    def __init__(
        self, relaxation: Relaxation, mode: int, cycle_limit: float, deadline: float
    ) -> None:
        self.relaxation, self.mode, self.cycle_limit = relaxation, mode, cycle_limit
        self.deadline = deadline
        self.best = math.inf
        self.floor = 0.0  # nothing is below
        self.chosen: Mapping | None = None
        self.explored = self.pruned = 0
        self._heap: list[_Open] = []
        self._pushed = 0
        self._lowest = math.inf  # settled dual bound so far
        # Similar programmes have similar multipliers and good options.
        self._starts: dict[object, tuple[programme.Multipliers, Ints]] = {}

    def solve(self, *, first: bool = False) -> _Result:
        """The best mapping over all classes, or the *first* one found."""
        if self._settled():
            return _Result(self.best, self.chosen, self.best, self.explored, self.pruned, True)
        for cls in self.relaxation.space.classes():
            relaxed = self.relaxation.relax(cls, self.mode, self.cycle_limit)
            if relaxed is not None:
                self._push(NEW, relaxed, relaxed.least)
        while self._heap:
            entry = heapq.heappop(self._heap)
            if entry.bound >= self._limit() or self._settled():
                self.pruned += 1 + len(self._heap)
                break
            if time.perf_counter() > self.deadline or (first and self.chosen is not None):
                return _Result(
                    self.best, self.chosen, entry.bound, self.explored, self.pruned, False
                )
            if entry.stage == NEW:
                self._bound(entry)
            elif entry.stage == OPTIMISTIC:
                self._decide(entry)
            else:
                self._search(entry)
        return _Result(self.best, self.chosen, self.best, self.explored, self.pruned, True)

    def _settled(self) -> bool:
        return self.best <= self.floor * (1 + SMALLEST_GAIN)

    def _limit(self) -> float:
        return self.best * (1 - SMALLEST_GAIN) if self.best < math.inf else math.inf

    def _push(
        self,
        stage: int,
        relaxed: Relaxed,
        bound: float,
        dual: _Dual | None = None,
        step: float = FIRST_STEP,
    ) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, _Open(bound, self._pushed, stage, relaxed, dual, step))

    def _bound(self, entry: _Open, stage: int = BOUNDED) -> None:
        """Bound a class by the dual, unless that is clearly above the least so far."""
        relaxed, problem = entry.relaxed, entry.relaxed.programme
        limit = self._limit()
        enough = min(limit, self._lowest * (1 + ENOUGH)) if entry.dual is None else limit
        at, candidates = self._start(relaxed)
        scores, weights = np.empty(len(relaxed.penalty)), np.empty(len(problem.energy) + 1)
        logarithm, _ = programme.dual(
            self.relaxation.options(relaxed.options),
            problem,
            relaxed.penalty,
            at,
            candidates,
            DUAL_ROUNDS,
            DUAL_TURNS,
            programme.log_of(problem, enough),
            scores,
            weights,
        )
        bound = math.exp(logarithm) + (problem.base if self.mode == programme.ENERGY else 0.0)
        bound = max(bound, entry.bound)
        if bound >= limit:
            self.pruned += 1
            return
        found = _Dual(logarithm, scores, weights)
        if bound >= enough:  # stopped early: look again when its turn comes
            self._push(entry.stage, relaxed, bound, found)
            return
        self._lowest = min(self._lowest, bound)
        if stage == BOUNDED and relaxed.decided:
            stage = CLOSED
        elif stage == BOUNDED and len(relaxed.penalty) > FEW:
            stage = OPTIMISTIC
        self._push(stage, relaxed, bound, found)

    def _start(self, relaxed: Relaxed) -> tuple[programme.Multipliers, Ints]:
        problem = relaxed.programme
        key = (relaxed.options, problem.where.shape, len(problem.limits))
        if key not in self._starts:
            energy = [float(self.mode != programme.LATENCY)]
            usable = problem.relief > 0
            share = usable / max(1, usable.sum()) * (self.mode != programme.ENERGY)
            rates = np.concatenate([energy, share, np.full(len(problem.limits), FIRST_PRICE)])
            self._starts[key] = (
                programme.Multipliers(np.zeros(problem.where.shape[1] + 1), rates),
                np.zeros((problem.where.shape[0], 1 + CANDIDATES), np.int64),
            )
        return self._starts[key]

    def _decide(self, entry: _Open) -> None:
        """Split a class by how its hops are priced."""
        for sharing in self.relaxation.variants(entry.relaxed):
            relaxed = self.relaxation.relax(entry.relaxed.cls, self.mode, self.cycle_limit, sharing)
            if relaxed is not None:
                bound = max(entry.bound, relaxed.least)
                self._bound(_Open(bound, 0, NEW, relaxed, entry.dual), CLOSED)

    def _search(self, entry: _Open) -> None:
        """Look for a mapping a little above the bound of a class."""
        relaxed, problem, dual = entry.relaxed, entry.relaxed.programme, entry.dual
        assert dual is not None
        limit = min(self._limit(), entry.bound * (1 + entry.step))
        at, _ = self._start(relaxed)
        value, choice, looked, cut = boxes.search(
            self.relaxation.options(relaxed.options),
            problem,
            dual.scores,
            dual.weights,
            dual.bound,
            at,
            BOX_ROUNDS,
            BOX_TURNS,
            limit,
            entry.bound * (1 + SMALLEST_GAIN) if entry.bound > 0 else -math.inf,
        )
        self.explored += looked
        self.pruned += cut
        if entry.stage == BOUNDED:  # open hops count as free: another bound
            if choice[0] >= 0:
                self._push(OPTIMISTIC, relaxed, max(value, entry.bound), dual)
            elif limit < self._limit():
                self._push(BOUNDED, relaxed, limit, dual, 2 * entry.step)
            return
        if choice[0] >= 0:
            self.best = value
            self.chosen = _mapping(self.relaxation, relaxed, choice)
        elif limit < self._limit():
            self._push(CLOSED, relaxed, limit, dual, 2 * entry.step)


def _mapping(relaxation: Relaxation, relaxed: Relaxed, choice: Ints) -> Mapping:
    space = relaxation.space
    blocks = relaxation.blocks(relaxed.options)
    starts = relaxation.options(relaxed.options).starts
    tile = np.ones((8, space.depth), np.int64)
    fan = np.ones((8, space.depth), np.int64)
    for block, option in zip(blocks, choice - starts[:-1], strict=True):
        for n, dim in enumerate(block.dims):
            tile[DIMS.index(dim)] = block.tiles[n][option][: space.depth]
            fan[DIMS.index(dim)] = block.fans[n][option]
    stages = []
    for level in range(space.depth):
        array = space.arrays[level]
        spatial: tuple[Extents, ...] = ()
        if array is not None:
            spatial = _spread(
                [int(x) for x in fan[:, level]],
                [axis.size for axis in array.axes],
                [axis.dims for axis in array.axes],
            )
        order = relaxed.cls.orders[level].loops() if level < space.depth - 1 else ()
        stages.append(
            Stage(
                Extents(*(int(x) for x in tile[:, level])),
                order,
                relaxed.cls.keeps[level],
                spatial,
            )
        )
    return Mapping(tuple(stages))


def _spread(
    fans: Sequence[int], sizes: Sequence[int], allowed: Sequence[frozenset[Dim]]
) -> tuple[Extents, ...]:
    """Split unrollings over the axes of an array, which :func:`boxes.packable` has seen to."""

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
