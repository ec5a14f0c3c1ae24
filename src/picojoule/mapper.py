"""The search for the best mapping, with a proof.

A mapping's energy is a sum of products of per-dimension factors once its class is fixed
(:mod:`mapspace`). Each class is a problem for :mod:`branch` (:mod:`relaxation` sets it up); classes
are taken in the order of their bounds and skipped once no better than what is known.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from picojoule import branch
from picojoule.accelerator import Accelerator
from picojoule.cost import evaluate
from picojoule.dataflow import DATAFLOWS, Dataflow
from picojoule.dataflow import dataflow as named_dataflow
from picojoule.errors import NoMappingError, PicojouleError
from picojoule.found import Found, value_of
from picojoule.mapping import Mapping, Stage
from picojoule.mapspace import Space
from picojoule.relaxation import Factors, Relaxation
from picojoule.tilings import Bools, Floats
from picojoule.workload import DIMS, Dim, Extents, Layer

OBJECTIVES = {"energy": branch.ENERGY, "latency": branch.LATENCY, "edp": branch.EDP}
SMALLEST_GAIN = 1e-12  # relative: a better value by less is rounding
FIRST_TRIES = 8  # classes tried with perfect factors for a first good mapping
FIRST_NODES = 2_000_000  # looked at in each of them at most
FIXING_PASSES = 4  # rounds of dropping options by bounds
NODES_PER_SECOND = 5_000_000  # of branch.search, on a slow machine


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
    flow = (
        dataflow
        if isinstance(dataflow, Dataflow)
        else named_dataflow(dataflow or accelerator.default_dataflow)
    )
    started = time.perf_counter()
    deadline = None if budget is None else started + budget
    timed = objective != "energy" or bool(accelerator.static_power and accelerator.clock)
    space = Space(layer, accelerator, flow, timed=timed)
    factors = Factors(space)
    known = None
    if flow.name == "flexible" and objective == "energy":
        known = _head_start(layer, accelerator, timed, deadline)
    best = _solve(factors, OBJECTIVES[objective], math.inf, deadline, known)
    if objective == "latency" and best.chosen is not None:
        cycles = best.value
        second = _solve(factors, branch.ENERGY, cycles * (1 + SMALLEST_GAIN), deadline)
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


_SINGLE_ROWS = replace(
    DATAFLOWS["rs"],
    name="single rows",
    spatial=frozenset(DIMS),
    unrolled=frozenset(),
    spanned=frozenset(),
    inner_loop=None,
)


def _head_start(
    layer: Layer, accelerator: Accelerator, timed: bool, deadline: float | None
) -> tuple[float, Mapping] | None:
    """The best mapping whose elements convolve single rows: quick to find, and a good start.

    Only for layers with a window: without one it is no better a start than perfect factors.
    """
    if layer.bounds.R * layer.bounds.S == 1:
        return None
    try:
        space = Space(layer, accelerator, _SINGLE_ROWS, timed=timed)
        found = _solve(Factors(space), branch.ENERGY, math.inf, deadline)
    except NoMappingError:
        return None
    return None if found.chosen is None else (found.value, found.chosen)


class _Result(NamedTuple):
    value: float
    chosen: Mapping | None
    bound: float
    explored: int
    pruned: int
    complete: bool


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


def _solve(
    factors: Factors,
    mode: int,
    cycle_limit: float,
    deadline: float | None,
    known: tuple[float, Mapping] | None = None,
) -> _Result:
    """The best mapping over all classes.

    First a good mapping from perfect factors, polished one block at a time; with its value
    most classes and most options of the others fall to their bounds before any search.
    """
    space = factors.space
    pending = [
        relaxed
        for cls in space.classes()
        if (relaxed := factors.relax(cls, mode, cycle_limit)) is not None
    ]
    pending.sort(key=lambda relaxed: relaxed.bound)  # stable: equal bounds keep their order
    tally = _Tally(math.inf if deadline is None else deadline)
    best, chosen = known or (math.inf, None)
    first = None
    for relaxed in pending[:FIRST_TRIES]:
        if relaxed.bound < best:
            masks = [
                mask & space.perfect(block)
                for mask, block in zip(relaxed.masks, relaxed.blocks, strict=True)
            ]
            value, choice = _search(relaxed, masks, best, tally, FIRST_NODES)
            if choice is not None:
                best, first = value, (relaxed, choice)
    if first is not None:
        relaxed, choice = first
        best, choice = _polish(relaxed, best, choice, tally)
        chosen = _mapping(space, relaxed, choice)
    for position, relaxed in enumerate(pending):
        if relaxed.bound >= best * (1 - SMALLEST_GAIN):
            tally.pruned += len(pending) - position
            break
        value, choice = _search(relaxed, relaxed.masks, best, tally)
        if choice is not None:
            best, chosen = value, _mapping(space, relaxed, choice)
        if tally.late:
            return _Result(best, chosen, relaxed.bound, tally.explored, tally.pruned, False)
    return _Result(best, chosen, best, tally.explored, tally.pruned, True)


def _search(
    relaxed: Relaxation, masks: list[Bools], best: float, tally: _Tally, nodes: int = 1 << 62
) -> tuple[float, list[int] | None]:
    """The best choice of a class among the options in *masks*, if it beats *best*.

    A search given only some *nodes* is a try: that it was cut short says nothing of the whole.
    """
    limit = best * (1 - SMALLEST_GAIN) if best < math.inf else math.inf
    fixed = _fix(relaxed, masks, limit, tally)
    if fixed is None:
        return best, None
    options, picks = relaxed.options(fixed)
    value, choice, looked, cut, ended = branch.search(
        options, relaxed.objective, relaxed.limits, limit, min(nodes, tally.nodes_left())
    )
    tally.explored += looked
    tally.pruned += cut
    tally.late = tally.late or (not ended and looked <= nodes)
    return value, [picks[o] for o in choice] if choice[0] >= 0 else None


def _fix(
    relaxed: Relaxation, masks: list[Bools], limit: float, tally: _Tally
) -> list[Bools] | None:
    """Drop options that no choice of the others can bring below *limit* or into the memories.

    Each pass sharpens the least of every block and so the bounds of the others.
    """
    weights, capacity = relaxed.limits.weights, relaxed.limits.capacity
    left = [np.flatnonzero(mask) for mask in masks]
    table: list[Floats] = []
    held: list[Floats] = []
    for which, indices in enumerate(left):
        whole = len(indices) == len(masks[which])
        for made, found in ((table, relaxed.tables[which]), (held, relaxed.held(which))):
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
            keep = _below(relaxed, table[which], low, high, limit)
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


def _below(relaxed: Relaxation, table: Floats, low: Floats, high: Floats, limit: float) -> Bools:
    """Which options of a block may stay below *limit*, the others at their least."""
    objective = relaxed.objective
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


def _polish(
    relaxed: Relaxation, value: float, choice: list[int], tally: _Tally
) -> tuple[float, list[int]]:
    """Improve a choice one block at a time, over all options, until none helps."""
    count = len(choice)
    improved = True
    while improved and not tally.late:
        improved = False
        for which in range(count):
            masks = []
            for n, mask in enumerate(relaxed.masks):
                only = np.zeros_like(mask)
                only[choice[n]] = True
                masks.append(mask if n == which else only)
            better, found = _search(relaxed, masks, value, tally)
            if found is not None:
                value, choice, improved = better, found, True
    return value, choice


def _mapping(space: Space, relaxed: Relaxation, choice: Sequence[int]) -> Mapping:
    blocks = relaxed.blocks
    tile = np.ones((8, space.depth), np.int64)
    fan = np.ones((8, space.depth), np.int64)
    for block, option in zip(blocks, choice, strict=True):
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
