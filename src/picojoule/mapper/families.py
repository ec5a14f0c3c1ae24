"""All classes of a space as programmes, side by side for the compiled search.

Classes that keep the same operands, as long, with hops priced alike, are a *family*: they share
coefficients and differ only in which columns they read, one for each pattern in which an edge's
tile may stay (:class:`class_table.ClassTable`). So the programme of a class is put together from
numbers, when its turn comes (:func:`assemble`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Floats1, Floats2, Ints1, Ints2
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.programme import EDP, ENERGY, LATENCY, Options, Programme


class Columns(NamedTuple):
    """Counts, each a product of one factor per block, by number."""

    where: Ints2  # [numbers, blocks] offset in the block's store; -1: the same for all options
    same: Floats2  # [numbers, blocks] the factor that is the same for all options; 1: none is
    scale: Floats1  # [numbers] product of those
    least: Floats1  # [numbers] product of the least of the others


class Families(NamedTuple):
    """Families, one after the other; what varies in length is flat, with a first entry for each."""

    columns: Ints1  # [families + 1] first column
    edge: Ints1  # [columns] edge whose pattern says which number a column has; -1: it has one
    numbers: Ints1  # [columns] where its numbers, by pattern, begin in *number*
    number: Ints1
    energy: Floats1  # [columns]
    inverse: Ints1  # [columns] 1 for a column of reciprocals
    constant: Floats1  # [families]
    drawn: float  # energy per cycle
    times: Ints1  # [families + 1] first entry in *time*
    time: Floats1  # of each time, one coefficient per column, then the constant
    limits: Ints1  # [families + 1] first entry in *limit*
    limit: Floats1  # of each limit, one coefficient per column
    hops: Ints1  # [families + 1] first hop that is not priced: no option may share words there
    hop: Ints2  # [hops, 3] its edge, and where the numbers of its words outside and inside begin
    onces: Ints1  # [families + 1] first count that may not repeat
    once: Ints2  # [onces, 2] its edge, and where its numbers begin
    alone: Floats2  # [onces, blocks] what it is if it does not; nan: whatever
    start: Ints1  # [families] with which multipliers the dual bound begins
    decided: Ints1  # [families] 1 if no hop that counts is left open
    variants: Ints2  # [families, 2] for one with hops open: those with hops decided, first and end


class Members(NamedTuple):
    """The classes, one after the other."""

    family: Ints1  # [members] with hops open
    pattern: Ints2  # [members, edges]
    held: Ints2  # [members, blocks] bit mask of the loops that may not run (``Options.runs``)


class Goal(NamedTuple):
    """What is minimised, under which limits."""

    mode: int
    cycle_limit: float
    fewest: float  # cycles of steps that no mapping undercuts
    axes: Ints2
    allowed: Ints2


@compiled()
def _slots(families: Families, family: int, pattern: Ints) -> Ints:
    """The number of each column of a member of a family."""
    first, end = families.columns[family], families.columns[family + 1]
    slots = np.empty(end - first, np.int64)
    for k in range(end - first):
        at, edge = families.numbers[first + k], families.edge[first + k]
        slots[k] = families.number[at + (pattern[edge] if edge >= 0 else 0)]
    return slots


@compiled()
def _times(
    families: Families, family: int, by: Floats, least: Floats
) -> tuple[Floats, Floats, float]:
    """A programme's times, their reliefs, and the longest of them by the least of every column."""
    count, at = len(by), families.times[family]
    lines = (families.times[family + 1] - at) // (count + 1)
    times, relief = np.empty((lines, count + 1)), np.zeros(lines)
    longest = 0.0
    for t in range(lines):
        moved = 0.0
        for k in range(count):
            times[t, k] = families.time[at] * by[k]
            moved += times[t, k] * least[k]
            at += 1
        fixed = times[t, count] = families.time[at]
        at += 1
        if _plain(times[t]):
            relief[t] = max(0.0, 1 + min(fixed, 0.0) / max(moved, 1e-300))
            longest = max(longest, moved + fixed)
    return times, relief, longest


@compiled()
def _plain(time: Floats) -> bool:
    """Whether no column counts against a time."""
    against = False
    for k in range(len(time) - 1):
        against |= time[k] < 0
    return not against


@compiled()
def _limits(
    families: Families, family: int, by: Floats, cycle_limit: float, times: Floats
) -> Floats:
    """A programme's limits; with a limit on cycles also each time's."""
    count, at = len(by), families.limits[family]
    rooms = m = (families.limits[family + 1] - at) // count
    if cycle_limit < np.inf:
        for t in range(len(times)):
            rooms += _plain(times[t])
    limits = np.empty((rooms, count))
    for n in range(m):
        for k in range(count):
            limits[n, k] = families.limit[at] * by[k]
            at += 1
    for t in range(len(times)):
        if m < rooms and _plain(times[t]):
            for k in range(count):
                limits[m, k] = times[t, k] / (cycle_limit - times[t, count])
            m += 1
    return limits


@compiled()
def assemble(
    families: Families, columns: Columns, goal: Goal, family: int, pattern: Ints1
) -> tuple[Programme, float]:
    """The programme of a member of a family, and what no choice is below by its least columns."""
    first = families.columns[family]
    slots = _slots(families, family, pattern)
    count, blocks = len(slots), columns.where.shape[1]
    where = np.empty((blocks, count), np.int64)
    energy, by, least = np.empty(count), np.empty(count), np.empty(count)
    base = families.constant[family]
    varies = 0.0
    for k in range(count):
        n = slots[k]
        for b in range(blocks):
            where[b, k] = columns.where[n, b]
        # A column of reciprocals divides; another may be nothing at all, all of it padding.
        by[k] = 1 / columns.scale[n] if families.inverse[first + k] else columns.scale[n]
        least[k] = columns.least[n]
        energy[k] = families.energy[first + k] * by[k]
        if energy[k] < 0:
            base += energy[k] / least[k]
        else:
            varies += energy[k] * least[k]
    times, relief, longest = _times(families, family, by, least)
    longest = max(longest, goal.fewest)
    limits = _limits(families, family, by, goal.cycle_limit, times)
    discount = 0.0
    if base < 0:
        discount = np.log1p(base / varies) if base > -varies else -np.inf
    bound = base + varies
    if goal.mode != ENERGY or families.drawn > 0:
        bound += families.drawn * longest
        if goal.mode == LATENCY:
            bound = longest
        elif goal.mode == EDP:
            bound = max(0.0, bound) * longest
    programme = Programme(
        where=where,
        mode=goal.mode,
        constant=families.constant[family],
        base=base,
        discount=discount,
        energy=energy,
        drawn=families.drawn,
        times=times,
        relief=relief,
        cycle_limit=goal.cycle_limit,
        limits=limits,
        axes=goal.axes,
        allowed=goal.allowed,
    )
    return programme, bound


@compiled()
def least_values(families: Families, columns: Columns, goal: Goal, members: Members) -> Floats:
    """What no choice of each member is below, with hops open, by its least columns."""
    values = np.empty(len(members.family))
    for m in range(len(values)):
        _, values[m] = assemble(families, columns, goal, members.family[m], members.pattern[m])
    return values


@compiled()
def forbid(
    families: Families,
    columns: Columns,
    options: Options,
    family: int,
    pattern: Ints1,
    held: Ints1,
    penalty: Floats1,
) -> bool:
    """Put zero for every option that a member of a family allows into *penalty*, else infinite.

    Returns:
        whether every block has an option left.
    """
    blocks = len(held)
    for b in range(blocks):
        low, high = options.starts[b], options.starts[b + 1]
        raw = options.raw[b]
        for o in range(low, high):
            penalty[o] = np.inf if options.runs[o] & held[b] else 0.0
        for h in range(families.hops[family], families.hops[family + 1]):
            edge = pattern[families.hop[h, 0]]
            outside = families.number[families.hop[h, 1] + edge]
            inside = families.number[families.hop[h, 2] + edge]
            i, j = columns.where[outside, b], columns.where[inside, b]
            for o in range(low, high):
                before = columns.same[outside, b] if i < 0 else raw[i + o - low]
                after = columns.same[inside, b] if j < 0 else raw[j + o - low]
                if before != after:
                    penalty[o] = np.inf
        for n in range(families.onces[family], families.onces[family + 1]):
            alone = families.alone[n, b]
            if np.isnan(alone):
                continue
            number = families.number[families.once[n, 1] + pattern[families.once[n, 0]]]
            i = columns.where[number, b]
            for o in range(low, high):
                if (columns.same[number, b] if i < 0 else raw[i + o - low]) != alone:
                    penalty[o] = np.inf
        left = False
        for o in range(low, high):
            left |= penalty[o] == 0.0
        if not left:
            return False
    return True
