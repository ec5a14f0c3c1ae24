"""What each way to cut one dimension does to every count.

The nest is a Cartesian product, so each count of :mod:`traffic` is a product of one factor per
dimension (or window pair). This module computes those factors for all chains of tiles and
unrollings of a single dimension at once (:mod:`listings` lists them); :mod:`programme` multiplies.

The compiled functions count exactly what :func:`traffic.repeats` and
:func:`traffic.window_words` count (tested against them); they only do it for thousands of chains.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from picojoule.compiled.arrays import Ints2
from picojoule.compiled.functions import compiled
from picojoule.mapper.tuning import TUNING

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


@compiled()
def ceiling(a: int, b: int) -> int:
    """The least whole number that is not below a / b."""
    return -(-a // b)


@compiled()
def repeats(tiles: Ints2, fans: Ints2, child: int, grain: int, still: int) -> Floats:
    """:func:`traffic.repeats` for many chains.

    Args:
        tiles: ``[chains, levels + 1]``; the last column is 1.
        fans: ``[chains, levels]``.
        still: bit mask of the levels whose loop of this dimension leaves the tile in place.
    """
    chains = tiles.shape[0]
    result = np.empty(chains)
    sizes = np.empty((2, 64), np.int64)
    times = np.empty((2, 64), np.int64)
    for c in range(chains):
        have = 1
        sizes[0, 0] = tiles[c, 0]
        times[0, 0] = 1
        now = 0
        for level in range(child):
            inner = tiles[c, level + 1]
            step = min(tiles[c, level], fans[c, level] * inner)
            new = 1 - now
            distinct = 0
            for i in range(have):
                size, weight = sizes[now, i], times[now, i]
                full, rest = size // step, size % step
                if still >> level & 1 and full:
                    full, rest = 1, 0
                for part in range(2):
                    piece = step if part == 0 else rest
                    count = weight * full if part == 0 else weight
                    if count == 0 or piece == 0:
                        continue
                    for kind in range(2):
                        if level < grain:
                            below = inner if kind == 0 else piece % inner
                            number = count * (piece // inner) if kind == 0 else count
                        elif kind == 0:
                            below, number = min(piece, inner), count
                        else:
                            break
                        if below == 0 or number == 0:
                            continue
                        for j in range(distinct):
                            if sizes[new, j] == below:
                                times[new, j] += number
                                break
                        else:
                            sizes[new, distinct] = below
                            times[new, distinct] = number
                            distinct += 1
            have, now = distinct, new
        total = 0
        for i in range(have):
            total += times[now, i]
        result[c] = total
    return result


@compiled()
def _alike(one: Ints, other: Ints, grain: int) -> bool:
    """Whether two leaves have the same steps, and the same elements outside the grain."""
    same = 0
    while same < len(one) and (one[same] == other[same] or (same & 1 and same > 2 * grain)):
        same += 1
    return same == len(one)


# 117 lines: one compiled walk; its parts share the counters that it moves.
@compiled()
def _visits(
    tiles: Ints, fans: Ints, child: int, grain: int, slide: int, join: bool
) -> tuple[Ints, Ints, Ints, Ints]:
    """What the children hold of one dimension, moment by moment.

    Returns:
        first entry of each visit (with one past the end), the visit before it on the sliding loop
        (-1: none), and start and end of every child's range; ranges that touch are one if *join*.
    """
    bound = tiles[0]
    # Walk all leaves in time order; every leaf covers at least one index.
    levels = child
    starts = np.empty(bound, np.int64)
    ends = np.empty(bound, np.int64)
    key = np.zeros((bound, 2 * levels + 1), np.int64)  # step and element at each level
    n = 0
    base = np.zeros(levels + 1, np.int64)
    limit = np.zeros(levels + 1, np.int64)
    step_at = np.zeros(levels + 1, np.int64)
    element_at = np.zeros(levels + 1, np.int64)
    limit[0] = bound
    level = 0
    while True:
        if level == levels:
            starts[n], ends[n] = base[level], limit[level]
            for k in range(levels):
                key[n, 2 * k], key[n, 2 * k + 1] = step_at[k], element_at[k]
            n += 1
            level -= 1
            while level >= 0:  # next element, else next step, else up
                inner = tiles[level + 1]
                step = min(tiles[level], fans[level] * inner)
                element_at[level] += 1
                low = base[level] + step_at[level] * step + element_at[level] * inner
                top = min(base[level] + (step_at[level] + 1) * step, limit[level])
                if low < top:
                    break
                element_at[level] = 0
                step_at[level] += 1
                if base[level] + step_at[level] * step < limit[level]:
                    break
                step_at[level] = 0
                level -= 1
            if level < 0:
                break
        inner = tiles[level + 1]
        step = min(tiles[level], fans[level] * inner)
        low = base[level] + step_at[level] * step + element_at[level] * inner
        top = min(base[level] + (step_at[level] + 1) * step, limit[level])
        base[level + 1] = low
        limit[level + 1] = min(low + inner, top)
        level += 1
    # Group leaves into visits: same steps everywhere and same elements outside the grain. The first
    # leaf of each is that of the first elements inside; the others mostly come in the same order.
    visit_of = np.empty(n, np.int64)
    heads = np.empty(n, np.int64)
    visits = visit = 0
    for i in range(n):
        begins = True
        for k in range(grain, levels):
            if key[i, 2 * k + 1] > 0:
                begins = False
        if begins:
            heads[visits] = i
            visit = visits
            visits += 1
        elif visit + 1 < visits and _alike(key[i], key[heads[visit + 1]], grain):
            visit += 1
        else:
            visit = visits - 1
            while not _alike(key[i], key[heads[visit]], grain):
                visit -= 1
        visit_of[i] = visit
    first = np.zeros(visits + 1, np.int64)
    for i in range(n):
        first[visit_of[i] + 1] += 1
    for v in range(visits):
        first[v + 1] += first[v]
    fill = first.copy()
    lows = np.empty(n, np.int64)
    highs = np.empty(n, np.int64)
    for i in range(n):
        lows[fill[visit_of[i]]] = starts[i]
        highs[fill[visit_of[i]]] = ends[i]
        fill[visit_of[i]] += 1
    before = np.full(visits, -1, np.int64)
    if slide >= 0:
        sought, last = np.empty(2 * levels, np.int64), -1
        for v in range(visits):
            if key[heads[v], 2 * slide] == 0:
                continue
            for k in range(2 * levels):
                sought[k] = key[heads[v], k]
            sought[2 * slide] -= 1
            w = last + 1 if last + 1 < v else 0  # mostly the one after what was before the last
            if not _alike(sought, key[heads[w]], grain):
                w = v - 1
                while w >= 0 and not _alike(sought, key[heads[w]], grain):
                    w -= 1
            before[v] = last = w
    if not join:
        return first, before, lows, highs
    # Without sliding only the union counts: join ranges that touch.
    joined_first = np.zeros(visits + 1, np.int64)
    m = 0
    for v in range(visits):
        joined_first[v] = m
        for i in range(first[v], first[v + 1]):
            if m > joined_first[v] and highs[m - 1] == lows[i]:
                highs[m - 1] = highs[i]
            else:
                lows[m], highs[m] = lows[i], highs[i]
                m += 1
    joined_first[visits] = m
    return joined_first, before, lows[:m], highs[:m]


class _Moments(NamedTuple):
    """What the children hold of one dimension at the moments of many chains; alike ones are one."""

    chain: Ints  # [chains + 1] first entry of each chain
    entry: Ints  # the moment of each entry
    times: Ints  # how often that comes in the chain
    first: Ints  # [moments + 1] first child of each
    before: Ints  # first child one step earlier on the sliding loop; -1: none
    inside: Bools  # far from both ends: where it lies does not matter
    low: Ints  # of each child's range
    high: Ints


@compiled()
def _moments(
    tiles: Ints, fans: Ints, child: int, grain: int, slide: int, join: bool, low: int, high: int
) -> _Moments:
    """The moments of every chain; those within *low* and *high* count as far from the ends."""
    chains, bound = tiles.shape[0], tiles[0, 0]
    room = chains * bound  # every leaf covers an index
    chain_first = np.zeros(chains + 1, np.int64)
    entry, times = np.empty(room, np.int64), np.empty(room, np.int64)
    first, before = np.zeros(room + 1, np.int64), np.empty(room, np.int64)
    inside = np.empty(room, np.bool_)
    lows, highs = np.empty(2 * room, np.int64), np.empty(2 * room, np.int64)
    newest, older = np.full(TUNING.buckets, -1, np.int64), np.empty(room, np.int64)
    entries = n = 0
    for c in range(chains):
        visit, previous, start, stop = _visits(tiles[c], fans[c], child, grain, slide, join)
        for v in range(len(visit) - 1):
            i, count = visit[v], visit[v + 1] - visit[v]
            held = visit[previous[v]] if previous[v] >= 0 else -1
            middle = start[i] >= low and stop[i + count - 1] <= high
            if middle and held >= 0:
                middle = start[held] >= low
            # Write it down as a new one; forget it if it is not.
            m = first[n]
            origin = start[i] if middle else 0
            inside[n] = middle
            before[n] = m + count if held >= 0 else -1
            mix = 2 * count + middle
            for part in range(2 if held >= 0 else 1):
                j = held if part else i
                for x in range(count):
                    lows[m], highs[m] = start[j + x] - origin, stop[j + x] - origin
                    mix = (31 * mix + lows[m]) * 31 + highs[m]
                    m += 1
            first[n + 1] = m
            bucket = (mix ^ (mix >> 17)) & (TUNING.buckets - 1)
            seen = newest[bucket]
            while seen >= 0 and not _same(first, inside, before, lows, highs, seen, n):
                seen = older[seen]
            if seen < 0:
                newest[bucket], older[n] = n, newest[bucket]
                seen = n
                n += 1
            e = chain_first[c]
            while middle and e < entries and entry[e] != seen:
                e += 1
            if middle and e < entries:
                times[e] += 1
                continue
            entry[entries], times[entries] = seen, 1
            entries += 1
        chain_first[c + 1] = entries
    m = first[n]
    return _Moments(
        chain=chain_first,
        entry=entry[:entries],
        times=times[:entries],
        first=first[: n + 1],
        before=before[:n],
        inside=inside[:n],
        low=lows[:m],
        high=highs[:m],
    )


@compiled()
def _same(
    first: Ints, inside: Bools, before: Ints, lows: Ints, highs: Ints, a: int, b: int
) -> bool:
    """Whether two moments are alike."""
    size = first[a + 1] - first[a]
    if first[b + 1] - first[b] != size or inside[a] != inside[b]:
        return False
    if (before[a] >= 0) != (before[b] >= 0):
        return False
    for x in range(size):
        i, j = first[a] + x, first[b] + x
        if lows[i] != lows[j] or highs[i] != highs[j]:
            return False
    return True


@compiled()
def window_words(
    p_tiles: Ints2,
    p_fans: Ints2,
    r_tiles: Ints2,
    r_fans: Ints2,
    stride: int,
    dilation: int,
    low: int,
    high: int,
    child: int,
    grain: int,
    slide_level: int,
    slide_tap: bool,
) -> Floats:
    """:func:`traffic.window_words` for all pairs of output chains and tap chains.

    Returns:
        ``[output chains, tap chains]``.
    """
    outputs, taps = p_tiles[0, 0], r_tiles[0, 0]
    reach = (taps - 1) * dilation
    span = (outputs - 1) * stride + reach + 1
    join = slide_level < 0
    # Outputs from here to there touch no row that is not stored, whatever the tap.
    near, far = ceiling(low, stride), (high - 1 - reach) // stride + 1
    rows = _moments(
        p_tiles, p_fans, child, grain, -1 if slide_tap else slide_level, join, near, far
    )
    slide = slide_level if slide_tap else -1
    alike = _moments(r_tiles, r_fans, child, grain, slide, join, -taps, 2 * taps)
    exact = _moments(r_tiles, r_fans, child, grain, slide, join, 2 * taps, -taps)
    # Chains have most moments in common: each pair of moments is counted once.
    width = max(len(alike.inside), len(exact.inside))
    table = np.zeros((len(rows.inside), width), np.int64)
    mark = np.zeros(span, np.int64)
    stamp = 0
    for v in range(len(rows.inside)):
        columns, start, stop = (alike, 0, span) if rows.inside[v] else (exact, low, high)
        for w in range(len(columns.inside)):
            stamp += 1
            table[v, w] = _fresh(rows, v, columns, w, stride, dilation, start, stop, mark, stamp)
    result = np.zeros((p_tiles.shape[0], r_tiles.shape[0]))
    for a in range(len(p_tiles)):
        for i in range(rows.chain[a], rows.chain[a + 1]):
            v, number = rows.entry[i], rows.times[i]
            columns = alike if rows.inside[v] else exact
            for b in range(len(r_tiles)):
                total = 0
                for j in range(columns.chain[b], columns.chain[b + 1]):
                    total += columns.times[j] * table[v, columns.entry[j]]
                result[a, b] += number * total
    return result


@compiled()
def _fresh(
    rows: _Moments,
    v: int,
    columns: _Moments,
    w: int,
    stride: int,
    dilation: int,
    low: int,
    high: int,
    mark: Ints,
    stamp: int,
) -> int:
    """Stored rows that the children need at a moment and do not hold from one step earlier."""
    p_first, p_count = rows.first[v], rows.first[v + 1] - rows.first[v]
    r_first, r_count = columns.first[w], columns.first[w + 1] - columns.first[w]
    p_held, r_held = p_first, r_first
    moving = False
    if rows.before[v] >= 0:
        p_held, p_count, moving = rows.before[v], p_count // 2, True
    if columns.before[w] >= 0:
        r_held, r_count, moving = columns.before[w], r_count // 2, True
    single = p_count * r_count == 1
    total = 0
    for i in range(p_count):
        p0, p1 = rows.low[p_first + i], rows.high[p_first + i]
        x0, x1 = rows.low[p_held + i], rows.high[p_held + i]
        for j in range(r_count):
            r0, r1 = columns.low[r_first + j], columns.high[r_first + j]
            y0, y1 = columns.low[r_held + j], columns.high[r_held + j]
            if single and not moving and r1 - r0 == 1:
                # one tap: rows p*stride + r, each once
                start = max(p0, ceiling(low - r0 * dilation, stride))
                return int(max(0, min(p1, ceiling(high - r0 * dilation, stride)) - start))
            together = dilation == 1 and (r1 - r0 >= stride or p1 - p0 == 1)
            if together and (not moving or y1 - y0 >= stride or x1 - x0 == 1):
                # ranges without holes
                start, stop = p0 * stride + r0, (p1 - 1) * stride + r1
                if moving:
                    from_, to = x0 * stride + y0, (x1 - 1) * stride + y1
                    if from_ <= start:
                        start = max(start, to)
                start, stop = max(low, start), min(high, stop)
                if single:
                    return int(max(0, stop - start))
                for row in range(start, stop):
                    if mark[row] != stamp:
                        mark[row] = stamp
                        total += 1
                continue
            for p in range(p0, p1):
                for r in range(r0, r1):
                    row = p * stride + r * dilation
                    if row < low or row >= high or mark[row] == stamp:
                        continue
                    if moving and _holds(row, x0, x1, y0, y1, stride, dilation):
                        continue
                    mark[row] = stamp
                    total += 1
    return total


@compiled()
def _holds(row: int, p0: int, p1: int, r0: int, r1: int, stride: int, dilation: int) -> bool:
    for r in range(r0, r1):
        rest = row - r * dilation
        if rest % stride == 0 and p0 <= rest // stride < p1:
            return True
    return False
