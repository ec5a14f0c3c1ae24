"""The search for the best mapping, with a proof.

A mapping's energy is a sum of products of per-dimension factors once its class is fixed
(:mod:`mapspace`). Each class is a problem for :mod:`branch` (:mod:`relaxation` sets it up); classes
are taken in the order of their bounds and skipped once no better than what is known.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from picojoule import programme
from picojoule.accelerator import Accelerator
from picojoule.cost import Cost, evaluate
from picojoule.dataflow import Dataflow
from picojoule.dataflow import dataflow as named_dataflow
from picojoule.errors import NoMappingError, PicojouleError
from picojoule.mapping import Mapping, Stage
from picojoule.mapspace import Space
from picojoule.relaxation import Relaxation, Relaxed
from picojoule.tilings import Floats, Ints
from picojoule.workload import DIMS, Dim, Extents, Layer

OBJECTIVES = {"energy": programme.ENERGY, "latency": programme.LATENCY, "edp": programme.EDP}
SMALLEST_GAIN = 1e-12  # relative: a better value by less is rounding
DUAL_ROUNDS, DUAL_TURNS = 8, 200  # passes over all options, and steps on candidates between them
CANDIDATES = 32  # options of each block that the steps between passes know


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
    factors: str = "all",
    budget: float | None = None,
) -> Found:
    """Find the mapping of *layer* with the least *objective*, and prove it.

    Args:
        dataflow: constraints on the mapping; by default the accelerator's own.
        objective: "energy", "latency" (then least energy among the fastest) or "edp".
        factors: "all" tile sizes, or "perfect": only those that divide the tile outside them.
        budget: seconds after which the best so far is returned as "feasible".

    Raises:
        NoMappingError: if no mapping is legal.
    """
    if objective not in OBJECTIVES:
        raise PicojouleError(f"no objective {objective!r}; there are {', '.join(OBJECTIVES)}")
    flow = (
        dataflow
        if isinstance(dataflow, Dataflow)
        else named_dataflow(dataflow or accelerator.default_dataflow)
    )
    started = time.perf_counter()
    deadline = None if budget is None else started + budget
    timed = objective != "energy" or bool(accelerator.static_power and accelerator.clock)
    space = Space(layer, accelerator, flow, timed=timed, perfect=factors == "perfect")
    relaxation = Relaxation(space)
    mode = OBJECTIVES[objective]
    until = math.inf if deadline is None else deadline
    best = _Solver(relaxation, mode, math.inf, until).solve()
    if objective == "latency" and best.chosen is not None:
        cycles = best.value
        most = cycles * (1 + SMALLEST_GAIN)
        second = _Solver(relaxation, programme.ENERGY, most, until).solve()
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
        space.text(),
        time.perf_counter() - started,
    )


class _Result(NamedTuple):
    value: float
    chosen: Mapping | None
    bound: float
    explored: int
    pruned: int
    complete: bool


class _Open(NamedTuple):
    """A programme that its bound does not rule out."""

    bound: float
    relaxed: Relaxed
    logarithm: float  # of the bound, as the dual has it
    scores: Floats
    weights: Floats


class _Solver:
    """The search over all classes of a space for one objective."""

    def __init__(
        self, relaxation: Relaxation, mode: int, cycle_limit: float, deadline: float
    ) -> None:
        self.relaxation, self.mode, self.cycle_limit = relaxation, mode, cycle_limit
        self.deadline = deadline
        self.best, self.chosen = math.inf, None
        self.explored = self.pruned = 0
        self.late = False
        # Similar programmes have similar multipliers and good options.
        self._starts: dict[object, tuple[programme.Multipliers, Ints]] = {}

    def solve(self) -> _Result:
        """The best mapping over all classes."""
        space = self.relaxation.space
        pending = [
            relaxed
            for cls in space.classes()
            if (relaxed := self.relaxation.relax(cls, self.mode, self.cycle_limit)) is not None
        ]
        pending.sort(key=lambda relaxed: relaxed.least)  # stable: equal bounds keep their order
        waiting: list[_Open] = []
        for relaxed in pending:
            entry = self._bound(relaxed)
            if entry is not None:
                waiting.append(entry)
                if self.chosen is None:
                    self._probe(entry)
        print("    probe", self.best, len(pending), len(waiting), min(e.bound for e in waiting))
        waiting = [
            closer for entry in waiting if entry.bound < self.best for closer in self._closer(entry)
        ]
        waiting.sort(key=lambda entry: entry.bound)
        steps = eval(os.environ.get("STEPS", "(0.25,0.5,1)"))
        import time

        if waiting:
            lowest, highest = waiting[0].bound, self.best
            for part in steps:
                limit = lowest + (highest - lowest) * part
                t = time.process_time()
                for entry in waiting:
                    if entry.bound < min(limit, self.best * (1 - SMALLEST_GAIN)):
                        self._search(entry, min(limit, self.best))
                print(
                    "    ",
                    part,
                    limit,
                    self.best,
                    time.process_time() - t,
                    self.explored,
                    len(waiting),
                )
                if self.best <= limit:
                    break
        return _Result(self.best, self.chosen, self.best, self.explored, self.pruned, True)

    def _closer(self, entry: _Open) -> Iterator[_Open]:
        """The ways to price the hops of a class that their bounds do not rule out."""
        for sharing in self.relaxation.variants(entry.relaxed):
            relaxed = self.relaxation.relax(entry.relaxed.cls, self.mode, self.cycle_limit, sharing)
            closer = self._bound(relaxed) if relaxed is not None else None
            if closer is not None:
                yield closer

    def _probe(self, entry: _Open) -> None:
        """A first good mapping: the best near the bound of one class."""
        for closer in self._closer(entry):
            for gap in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, math.inf):
                self._search(closer, min(self.best, closer.bound * (1 + gap)))
                if self.chosen is not None:
                    return

    def _bound(self, relaxed: Relaxed) -> _Open | None:
        """The programme with its dual bound; None if nothing in it beats what is known."""
        limit = self.best * (1 - SMALLEST_GAIN)
        if relaxed.least >= limit:
            self.pruned += 1
            return None
        problem = relaxed.programme
        key = (relaxed.options, problem.where.shape, len(problem.limits))
        if key not in self._starts:
            means = np.zeros(problem.where.shape[1])
            share = np.full(len(problem.times), 1 / max(1, len(problem.times)))
            self._starts[key] = (
                programme.Multipliers(means, share, np.full(len(problem.limits), 0.02)),
                np.zeros((problem.where.shape[0], 1 + CANDIDATES), np.int64),
            )
        at, candidates = self._starts[key]
        scores, weights = np.empty(len(relaxed.penalty)), np.empty(problem.where.shape[1])
        logarithm, _ = programme.dual(
            self.relaxation.options(relaxed.options),
            problem,
            relaxed.penalty,
            at,
            candidates,
            DUAL_ROUNDS,
            DUAL_TURNS,
            programme.log_of(problem, limit),
            scores,
            weights,
        )
        bound = math.exp(logarithm)
        if self.mode == programme.ENERGY:
            bound += problem.base
        bound = max(bound, relaxed.least)
        if bound >= limit:
            self.pruned += 1
            return None
        return _Open(bound, relaxed, logarithm, scores, weights)

    def _search(self, entry: _Open, incumbent: float) -> None:
        """Look for a mapping below *incumbent* in one class."""
        relaxed = entry.relaxed
        limit = incumbent * (1 - SMALLEST_GAIN)
        problem = relaxed.programme
        at, _ = self._starts[relaxed.options, problem.where.shape, len(problem.limits)]
        value, choice, looked, cut = programme.search(
            self.relaxation.options(relaxed.options),
            problem,
            entry.scores,
            entry.weights,
            entry.logarithm,
            at,
            limit,
        )
        self.explored += looked
        self.pruned += cut
        if choice[0] >= 0:
            self.best = value
            self.chosen = _mapping(self.relaxation, relaxed, choice)


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
    """Split unrollings over the axes of an array, as :func:`programme.packable` has found possible."""

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
