"""Best first over classes, compiled: which are open, and how each is taken a step further.

A class is bounded ever more closely: by the least of every column; by the dual with hops open;
where there are few options, by a search in which open hops count as free; by the dual with every
hop decided. Then it is searched up to a limit a little above its bound, and a search in vain raises
the bound to that limit. The lowest bound is on top, so a class whose turn comes with a bound no
better than what is there ends the search.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Floats1, Floats2, Ints1, Ints3
from picojoule.compiled.functions import compiled
from picojoule.mapper import boxes, halving
from picojoule.mapper.boxes import SMALLEST_GAIN
from picojoule.mapper.families import Columns, Families, Goal, Members, assemble, barred
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.options import Bars, Options
from picojoule.mapper.programme import ENERGY, Multipliers, Programme, dual, log_of
from picojoule.mapper.tuning import TUNING

# What is known of a class, the later the closer its bound.
COLUMNS = 0  # the least of every column
DUAL = 1  # the dual bound, with hops still open
BOXES = 2  # the least value where open hops are free
DECIDED = 3  # the dual bound, with every hop decided

# How a turn of the search ended.
DONE = 0  # nothing is left to look at
PAUSED = 1  # enough work was done for now
BROKEN = 2  # no more work may be done
BEYOND = 3  # what is left is above the ceiling
FULL = 4  # there are too few idle entries


class Frontier(NamedTuple):
    """The open classes, a heap of entries; an entry's number is its place in the other arrays."""

    heap: Ints1  # entries, the lowest bound first
    idle: Ints1  # entries not in use
    bound: Floats1
    number: Ints1  # of those equally bounded the one that came first is taken first
    knowledge: Ints1
    member: Ints1
    family: Ints1
    step: Floats1  # how far above its bound it is searched next
    height: Floats1  # its dual bound; nan: none yet
    weights: Floats2  # [entries, columns + 1] of the dual bound


class Standing(NamedTuple):
    """How the search stands."""

    counts: Ints1  # [8] see the constants below
    best: Floats1  # [2] the least value so far; the least settled dual bound so far
    choice: Ints1  # [blocks] the option of each block in the best choice; -1: none


HEAP, IDLE, PUSHED, EXPLORED, PRUNED, WORK, MEMBER, LARGE = range(8)
"""Entries in the heap and idle; pushed so far; boxes and options looked at and discarded; work done
in all; class of the best choice; 1 once boxes were too many for a class."""


class Starts(NamedTuple):
    """Where dual bounds begin, by number; similar programmes have similar multipliers and options.

    Updated in place.
    """

    means: Floats2  # [starts, most columns + 1]
    rates: Floats2  # [starts, 1 + most times + most limits]
    candidates: Ints3  # [starts, blocks, 1 + candidates] options, and how many there were


class Classes(NamedTuple):
    """The classes of a space that have the same options, and what is to be minimised."""

    families: Families
    members: Members
    columns: Columns
    options: Options
    goal: Goal
    starts: Starts


class Pace(NamedTuple):
    """How long a turn may last, and what it is for.

    Args:
        pause: work after which it ends between two steps.
        most: work after which it ends wherever it is.
        ceiling: it ends once nothing left is below.
        floor: no choice is below: one that gets there ends the search.
    """

    pause: int
    most: int
    ceiling: float
    floor: float


@compiled()
def _before(frontier: Frontier, a: int, b: int) -> bool:
    if frontier.bound[a] != frontier.bound[b]:
        return bool(frontier.bound[a] < frontier.bound[b])
    return bool(frontier.number[a] < frontier.number[b])


@compiled()
def _lift(frontier: Frontier, counts: Ints, entry: int) -> None:
    """Put an entry into the heap."""
    heap, i = frontier.heap, counts[HEAP]
    counts[HEAP] += 1
    while i > 0:
        parent = (i - 1) >> 1
        if not _before(frontier, entry, heap[parent]):
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = entry


@compiled()
def _take(frontier: Frontier, counts: Ints) -> int:
    """Take the lowest entry out of the heap."""
    heap = frontier.heap
    top = heap[0]
    counts[HEAP] -= 1
    size = counts[HEAP]
    last, i = heap[size], 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and _before(frontier, heap[child + 1], heap[child]):
            child += 1
        if not _before(frontier, heap[child], last):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = last
    return int(top)


@compiled()
def _limit(best: float) -> float:
    return best * (1 - SMALLEST_GAIN)


@compiled()
def _above(bound: float, step: float, base: float) -> float:
    """What is a *step* above a *bound*, relative to it, or to the *base* where that pulls it down.

    A bound may be negative: sums that are never fetched count as saved (:class:`Programme`).
    """
    return bound * (1 + step) if bound > 0 else bound + step * max(-bound, abs(base))


@compiled()
def _begin(starts: Starts, which: int, programme: Programme) -> Multipliers:
    """Multipliers of a programme to begin with: where the last similar one left them.

    A rate on a time without a bound of its own would leave no bound at all.
    """
    times = len(programme.times)
    means = starts.means[which][: len(programme.energy) + 1].copy()
    rates = starts.rates[which][: 1 + times + len(programme.limits)].copy()
    counts = programme.mode != ENERGY or programme.drawn > 0
    whole, usable = 0.0, 0
    for t in range(times):
        if not counts or programme.relief[t] == 0:
            rates[1 + t] = 0.0
        else:
            whole += rates[1 + t]
            usable += 1
    for t in range(times):
        if counts and programme.relief[t] > 0:
            rates[1 + t] = rates[1 + t] / whole if whole > 0 else 1.0 / usable
    return Multipliers(means, rates)


@compiled()
def _release(frontier: Frontier, counts: Ints, entry: int) -> None:
    frontier.idle[counts[IDLE]] = entry
    counts[IDLE] += 1


@compiled()
def _push(
    frontier: Frontier, counts: Ints, entry: int, knowledge: int, bound: float, step: float
) -> None:
    """Put an entry into the heap with what is now known of it."""
    frontier.knowledge[entry], frontier.bound[entry], frontier.step[entry] = knowledge, bound, step
    counts[PUSHED] += 1
    frontier.number[entry] = counts[PUSHED]
    _lift(frontier, counts, entry)


@compiled()
def _tighten(
    classes: Classes,
    frontier: Frontier,
    standing: Standing,
    entry: int,
    knowledge: int,
) -> None:
    """Bound a class by the dual, unless that is clearly above the least so far.

    Args:
        knowledge: what is then known of it.
    """
    counts, options = standing.counts, classes.options
    family, member = frontier.family[entry], frontier.member[entry]
    pattern = classes.members.pattern[member]
    programme, least = assemble(classes.families, classes.columns, classes.goal, family, pattern)
    least = max(least, frontier.bound[entry])
    limit = _limit(standing.best[0])
    held, count = classes.members.held[member], options.starts[-1]
    bars, possible = barred(classes.families, classes.columns, family, pattern, held)
    if least >= limit or not possible:
        counts[PRUNED] += 1
        _release(frontier, counts, entry)
        return
    enough = limit
    if np.isnan(frontier.height[entry]):
        enough = min(limit, standing.best[1] * (1 + TUNING.enough))
    which = classes.families.start[family]
    at = _begin(classes.starts, which, programme)
    height, _ = dual(
        options,
        programme,
        bars,
        at,
        classes.starts.candidates[which],
        TUNING.dual_rounds,
        TUNING.dual_turns,
        log_of(programme, enough),
        frontier.weights[entry][: len(at.means)],
    )
    for k in range(len(at.means)):
        classes.starts.means[which, k] = at.means[k]
    for k in range(len(at.rates)):
        classes.starts.rates[which, k] = at.rates[k]
    counts[WORK] += boxes.A_BOUND + boxes.AN_OPTION * count
    bound = np.exp(height)
    if programme.mode == ENERGY:
        bound += programme.base
    bound = max(bound, least)
    if bound >= limit:
        counts[PRUNED] += 1
        _release(frontier, counts, entry)
        return
    frontier.height[entry] = height
    if bound >= enough:  # stopped early: look again when its turn comes
        _push(frontier, counts, entry, frontier.knowledge[entry], bound, frontier.step[entry])
        return
    standing.best[1] = min(standing.best[1], bound)
    if knowledge == DUAL and classes.families.decided[family]:
        knowledge = DECIDED
    elif knowledge == DUAL and count > TUNING.few:
        knowledge = BOXES
    _push(frontier, counts, entry, knowledge, bound, frontier.step[entry])


@compiled()
def _decide(
    classes: Classes,
    frontier: Frontier,
    standing: Standing,
    entry: int,
) -> None:
    """Split a class by how its hops are priced."""
    variants, counts = classes.families.variants[frontier.family[entry]], standing.counts
    for family in range(variants[0], variants[1]):
        counts[IDLE] -= 1
        variant = frontier.idle[counts[IDLE]]
        frontier.member[variant], frontier.family[variant] = frontier.member[entry], family
        frontier.bound[variant], frontier.height[variant] = frontier.bound[entry], 0.0
        frontier.knowledge[variant], frontier.step[variant] = COLUMNS, TUNING.first_step
        _tighten(classes, frontier, standing, variant, DECIDED)
    _release(frontier, counts, entry)


@compiled()
def _in_boxes(
    options: Options,
    programme: Programme,
    bars: Bars,
    weights: Floats,
    height: float,
    at: Multipliers,
    limit: float,
    goal: float,
    most: int,
    counts: Ints,
) -> tuple[float, Ints, int]:
    """What :func:`boxes.search` returns; where it does too much, :func:`halving.search`.

    The first is quick where the dual bound is near the least. Where it was not, the other classes
    of the layer are much the same, and go to the second at once.
    """
    done = 0
    if counts[LARGE] == 0:
        enough = min(most, TUNING.box_work)
        value, choice, looked, cut, done = boxes.search(
            options,
            programme,
            bars,
            weights,
            height,
            limit,
            goal,
            enough,
        )
        counts[EXPLORED] += looked
        counts[PRUNED] += cut
        if done < enough or enough == most:
            return value, choice, done
        counts[LARGE] = 1
    value, choice, looked, cut, work = halving.search(
        options,
        programme,
        bars,
        weights,
        height,
        at,
        TUNING.box_rounds,
        TUNING.box_turns,
        limit,
        goal,
        most - done,
    )
    counts[EXPLORED] += looked
    counts[PRUNED] += cut
    return value, choice, done + work


@compiled()
def _search(
    classes: Classes,
    frontier: Frontier,
    standing: Standing,
    entry: int,
    most: int,
) -> bool:
    """Look for a choice a little above the bound of a class; false if that took too much work."""
    counts, options = standing.counts, classes.options
    family, member = frontier.family[entry], frontier.member[entry]
    pattern, held = classes.members.pattern[member], classes.members.held[member]
    programme, _ = assemble(classes.families, classes.columns, classes.goal, family, pattern)
    bars, _ = barred(classes.families, classes.columns, family, pattern, held)
    at = _begin(classes.starts, classes.families.start[family], programme)
    weights = frontier.weights[entry][: len(at.means)]
    bound, knowledge = frontier.bound[entry], frontier.knowledge[entry]
    step = frontier.step[entry]
    limit = min(_limit(standing.best[0]), _above(bound, step, programme.base))
    goal = bound * (1 + SMALLEST_GAIN) if bound > 0 else -np.inf
    value, choice, work = _in_boxes(
        options,
        programme,
        bars,
        weights,
        frontier.height[entry],
        at,
        limit,
        goal,
        most,
        counts,
    )
    counts[WORK] += work + boxes.AN_OPTION * options.starts[-1]
    priced = knowledge != DUAL  # else hops count as free, and what was met has no price yet
    if priced and choice[0] >= 0:
        standing.best[0] = value
        counts[MEMBER] = member
        for b in range(len(choice)):
            standing.choice[b] = choice[b]
    if work >= most:  # broken off: as much is known of the class as before
        _lift(frontier, counts, entry)
        return False
    if not priced and choice[0] >= 0:
        _push(frontier, counts, entry, BOXES, max(value, bound), TUNING.first_step)
    elif choice[0] < 0 and limit < _limit(standing.best[0]):
        _push(frontier, counts, entry, knowledge, limit, 2 * step)
    else:
        _release(frontier, counts, entry)
    return True


# It lets go of Python's lock, so that a clock on the terminal goes on.
@compiled(releases_lock=True)
def advance(classes: Classes, frontier: Frontier, standing: Standing, pace: Pace) -> int:
    """Take open classes a step further, the lowest bound first; says how it ended."""
    counts = standing.counts
    widest = 0
    for f in range(len(classes.families.variants)):
        widest = max(widest, classes.families.variants[f, 1] - classes.families.variants[f, 0])
    began = counts[WORK]
    while counts[HEAP] > 0:
        bound = frontier.bound[frontier.heap[0]]
        settled = standing.best[0] <= pace.floor * (1 + SMALLEST_GAIN)
        if settled or bound >= _limit(standing.best[0]):
            break
        if bound >= pace.ceiling:
            return BEYOND
        worked = counts[WORK] - began
        if worked >= pace.pause:
            return PAUSED
        if counts[IDLE] < widest:
            return FULL
        entry = _take(frontier, counts)
        if frontier.knowledge[entry] == COLUMNS:
            _tighten(classes, frontier, standing, entry, DUAL)
        elif frontier.knowledge[entry] == BOXES:
            _decide(classes, frontier, standing, entry)
        elif not _search(classes, frontier, standing, entry, pace.most - worked):
            return BROKEN
    return DONE
