"""All classes of a space as programmes, side by side for the compiled search.

Classes that keep the same operands, as long, with hops priced alike, are a *family*: they share
coefficients and differ only in which columns they read, one for each pattern in which an edge's
tile may stay (:class:`class_table.ClassTable`). So the programme of a class is put together from
numbers, when its turn comes (:func:`assemble`).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Floats1, Floats2, Ints1, Ints2
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Bools, Floats, Ints
from picojoule.mapper.options import Bars, Options
from picojoule.mapper.programme import EDP, ENERGY, LATENCY, Beyond, Programme


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
    other: Ints1  # [columns] another edge whose pattern says so as well; -1: none does
    stride: Ints1  # [columns] how far apart numbers are where the pattern of *edge* is the next
    number: Ints1
    energy: Floats1  # [columns]
    inverse: Ints1  # [columns] 1 for a column of reciprocals
    constant: Floats1  # [families]
    drawn: float  # energy per cycle
    times: Ints1  # [families + 1] first entry in *time*
    time: Floats1  # of each time, one coefficient per column, then the constant
    parts: Ints1  # [families + 1] first words that count only beyond others
    part: Ints2  # [parts, 2] column of the words, and of how many times those others they are
    worths: Ints1  # [families + 1] first entry in *worth*
    worth: Floats1  # of the energy and of each time, one coefficient per part
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
        other = families.other[first + k]
        if edge >= 0:
            at += pattern[edge] * families.stride[first + k]
        if other >= 0:
            at += pattern[other]
        slots[k] = families.number[at]
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
def _beyond(families: Families, family: int, scale: Floats, least: Floats) -> Beyond:
    """A programme's words that count only beyond others.

    Args:
        scale: the factor of each column that does not vary.
        least: the least product of the others.
    """
    first, at = families.parts[family], families.worths[family]
    count = families.parts[family + 1] - first
    rows = (families.worths[family + 1] - at) // count if count else 0
    words, times = np.empty(count, np.int64), np.empty(count, np.int64)
    against, share = np.empty(count), np.empty(count)
    coefficients = np.empty((rows, count))
    for n in range(count):
        words[n], times[n] = families.part[first + n, 0], families.part[first + n, 1]
        against[n] = 1 / scale[times[n]]
        share[n] = max(0.0, 1 - against[n] / least[times[n]])
    for row in range(rows):
        for n in range(count):
            coefficients[row, n] = families.worth[at] * scale[words[n]]
            at += 1
    return Beyond(words, times, against, coefficients, share)


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
    scale = np.empty(count)
    base = families.constant[family]
    varies = 0.0
    for k in range(count):
        n = slots[k]
        for b in range(blocks):
            where[b, k] = columns.where[n, b]
        # A column of reciprocals divides; another may be nothing at all, all of it padding.
        by[k] = 1 / columns.scale[n] if families.inverse[first + k] else columns.scale[n]
        scale[k], least[k] = columns.scale[n], columns.least[n]
        energy[k] = families.energy[first + k] * by[k]
        if energy[k] < 0:
            base += energy[k] / least[k]
        else:
            varies += energy[k] * least[k]
    times, relief, longest = _times(families, family, by, least)
    longest = max(longest, goal.fewest)
    limits = _limits(families, family, by, goal.cycle_limit, times)
    beyond = _beyond(families, family, scale, least)
    discount = 0.0
    if base < 0:
        discount = np.log1p(base / varies) if base > -varies else -np.inf
    bound = base + varies
    for n in range(len(beyond.words)):
        bound += beyond.coefficients[0, n] * least[beyond.words[n]] * beyond.share[n]
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
        beyond=beyond,
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
def barred(
    families: Families, columns: Columns, family: int, pattern: Ints1, held: Ints1
) -> tuple[Bars, bool]:
    """What a member of a family forbids, and whether it may allow an option of every block."""
    blocks = len(held)
    hops = families.hops[family], families.hops[family + 1]
    onces = families.onces[family], families.onces[family + 1]
    first = np.zeros(blocks + 1, np.int64)
    most = blocks * (hops[1] - hops[0] + onces[1] - onces[0])
    pairs, alone = np.empty((most, 2), np.int64), np.empty((most, 2))
    n, possible = 0, True
    for b in range(blocks):
        for h in range(hops[0], hops[1]):
            for side in range(2):
                number = families.number[families.hop[h, 1 + side] + pattern[families.hop[h, 0]]]
                pairs[n, side] = columns.where[number, b]
                alone[n, side] = columns.same[number, b]
            if pairs[n, 0] != pairs[n, 1]:
                n += 1
            elif pairs[n, 0] < 0:
                possible &= alone[n, 0] == alone[n, 1]
        for m in range(onces[0], onces[1]):
            single = families.alone[m, b]
            if np.isnan(single):
                continue
            number = families.number[families.once[m, 1] + pattern[families.once[m, 0]]]
            if columns.where[number, b] < 0:
                possible &= columns.same[number, b] == single
            else:
                pairs[n, 0], pairs[n, 1] = columns.where[number, b], -1
                alone[n, 0], alone[n, 1] = 1.0, single
                n += 1
        first[b + 1] = n
    return Bars(held, first, pairs[:n], alone[:n]), possible


def unlike(families: Families, columns: Columns, options: Options, members: Members) -> Ints:
    """The members that are not like an earlier one in all that bounds and choices follow from.

    Those are alike whose classes differ in loops that this layer has not, or that change no count.
    """
    table = np.concatenate([columns.where, columns.same.view(np.int64)], axis=1)
    contents: dict[bytes, int] = {}
    content = np.array([contents.setdefault(row.tobytes(), n) for n, row in enumerate(table)])
    runs = [
        int(np.bitwise_or.reduce(options.runs[low:high]))
        for low, high in itertools.pairwise(options.starts.tolist())
    ]
    held = members.held & np.array(runs, np.int64)
    kept: list[int] = []
    for family in np.unique(members.family).tolist():
        rows = np.flatnonzero(members.family == family)
        numbers = content[families.number[_read(families, family, members.pattern[rows])]]
        lines = np.concatenate([numbers, held[rows]], axis=1)
        seen: dict[bytes, int] = {}
        for n, line in zip(rows.tolist(), lines, strict=True):
            seen.setdefault(line.tobytes(), n)
        kept += seen.values()
    return np.array(sorted(kept), np.int64)


def _read(families: Families, family: int, patterns: Ints) -> Ints:
    """Where the numbers of columns that count are, ``[members, columns]``, however hops are priced.

    Args:
        patterns: ``[members, edges]``.
    """
    part = slice(families.columns[family], families.columns[family + 1])
    edge, other = families.edge[part], families.other[part]
    places = families.numbers[part] + np.where(
        edge >= 0, patterns[:, edge] * families.stride[part], 0
    )
    places += np.where(other >= 0, patterns[:, other], 0)
    counts = np.zeros(len(edge), np.bool_)
    more = []
    for n in (family, *range(*families.variants[family].tolist())):
        counts |= _counted(families, n)
        for hop in families.hop[families.hops[n] : families.hops[n + 1]]:
            more += [patterns[:, hop[0]] + hop[1], patterns[:, hop[0]] + hop[2]]
    for once in families.once[families.onces[family] : families.onces[family + 1]]:
        more.append(patterns[:, once[0]] + once[1])
    return np.concatenate([places[:, counts], *(line[:, None] for line in more)], axis=1)


def _counted(families: Families, family: int) -> Bools:
    """Which columns of a family count anything."""
    first, end = families.columns[family], families.columns[family + 1]
    time = families.time[families.times[family] : families.times[family + 1]]
    limit = families.limit[families.limits[family] : families.limits[family + 1]]
    counts = families.energy[first:end] != 0
    counts |= time.reshape(-1, end - first + 1)[:, :-1].any(axis=0)
    counts |= limit.reshape(-1, end - first).any(axis=0)
    counts[families.part[families.parts[family] : families.parts[family + 1]]] = True
    return np.asarray(counts)
