"""All ways to cut one dimension, and what each does to every count.

The nest is a Cartesian product, so each count of :mod:`traffic` is a product of one factor per
dimension (or window pair). This module enumerates the chains of tiles and unrollings of a single
dimension and computes those factors for all of them at once; :mod:`programme` multiplies.

The compiled functions count exactly what :func:`traffic.repeats` and
:func:`traffic.window_words` count (tested against them); they only do it for thousands of chains.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from picojoule.mapper.tuning import TUNING

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


@njit(cache=True)
def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@njit(cache=True)
def _total(bound: int, tile: int, step: int) -> int:
    """Steps of *step* over all tiles of *tile* over *bound*, edge tiles at their true size."""
    full = bound // tile
    rest = bound - full * tile
    return full * _ceil(tile, step) + _ceil(rest, step)


@njit(cache=True)
def _turns(tile: int, element: int, step: int) -> int:
    """Turns of the innermost loop under *tile*, in steps of elements side by side."""
    return tile // step * element + min(element, tile % step)


# 108 lines: one compiled loop; a call in its innermost part costs more than what is in it.
@njit(cache=True)
def complete_chains(bound: int, largest: int, fanout: int, edge: int) -> Ints:
    """Chains (tile, element tile, unrolling) of one dimension for two tiles and one array.

    For each element tile z and unrolling f (step u = z*f) and each number of tiles, the smallest
    tile, and the larger ones with the same number of tiles that save steps or element tiles. No
    other tile can be better: between two of these values no count changes but the capacity needed
    grows. An unrolling or element tile that one less would equal is left out.

    Cuts within *edge* of either end save halo where the window overlaps the padding, so such tiles
    are listed too. An *edge* of at least *bound* lists every chain there is.
    """
    room = 1024
    out = np.empty((room, 3), np.int64)
    n = 0
    tiles = np.empty(4 * fanout + 4 * bound + edge + 8, np.int64)
    every = edge >= bound
    for z in range(1, min(bound, largest) + 1):
        for f in range(1, min(fanout, _ceil(bound, z)) + 1):
            u = z * f
            previous = 0
            t = 1
            while t <= bound:
                k = _ceil(bound, t)
                low = _ceil(bound, k)  # the smallest tile for this count
                high = bound if k == 1 else _ceil(bound, k - 1) - 1
                m = 0
                if every:
                    for x in range(low, high + 1):
                        tiles[m] = x
                        m += 1
                else:
                    tiles[0] = low
                    m = 1
                    if k > 1 and _total(bound, low, u) > _ceil(bound, u):
                        # Tiles at which the last tile needs one step less, up to a multiple of u.
                        top = min(high, _ceil(low, u) * u)
                        last = _ceil(bound - (k - 1) * low, u)
                        while last > 0:
                            x = _ceil(bound - last * u, k - 1)
                            if x > low and x <= top:
                                tiles[m] = x
                                m += 1
                                y = _ceil(x, z) * z
                                if y <= high and y != x:
                                    tiles[m] = y
                                    m += 1
                            last -= 1
                        if top > low:
                            tiles[m] = top
                            m += 1
                    if k > 1 and _total(bound, low, z) > _ceil(bound, z):
                        top = min(high, _ceil(low, z) * z)
                        last = _ceil(bound - (k - 1) * low, z)
                        lowest = last - 3
                        while last > lowest and last > 0:
                            x = _ceil(bound - last * z, k - 1)
                            if x > low and x <= top:
                                tiles[m] = x
                                m += 1
                            last -= 1
                        if top > low:
                            tiles[m] = top
                            m += 1
                    for last in range(1, edge + 1):  # cuts near the far end
                        if k > 1 and bound > last:
                            x = _ceil(bound - last, k - 1)
                            if low < x <= high:
                                tiles[m] = x
                                m += 1
                for i in range(m):
                    x = tiles[i]
                    if x < z or (x == previous and not every):
                        continue
                    seen = False
                    for j in range(i):
                        if tiles[j] == x:
                            seen = True
                    if seen:
                        continue
                    count = _total(bound, x, min(u, x))
                    if f > 1 and f > _ceil(x, z):
                        continue
                    tail = (bound - 1) % x + 1  # what the last tile holds
                    near = u <= edge or (tail - 1) % u < edge or (tail - 1) % z < edge or z <= edge
                    if f > 1 and not near and _total(bound, x, min(u - z, x)) == count:
                        continue
                    if (
                        z > 1
                        and not near
                        and _total(bound, x, min(u - f, x)) == count
                        and _total(bound, x, z - 1) == _total(bound, x, z)
                    ):
                        continue
                    if n == room:
                        grown = np.empty((2 * room, 3), np.int64)
                        for i_old in range(room):
                            for j in range(3):
                                grown[i_old, j] = out[i_old, j]
                        out = grown
                        room *= 2
                    out[n, 0] = x
                    out[n, 1] = z
                    out[n, 2] = f
                    n += 1
                    previous = x
                t = high + 1
            previous = 0
    return out[:n]


@njit(cache=True)
def wider_chains(bound: int, largest: int, fanout: int, more: bool) -> Ints:
    """Chains (tile, element tile, unrolling) that may pay where a wider spread costs less energy.

    As :func:`complete_chains`, with turns of the innermost loop counted as well as steps; and with
    *more*, for a dimension that is summed over where a partial sum passed on between elements costs
    less than one kept in an element: the more element tiles the better, over all steps and in the
    first one (where the sum stays in place for the others). A chain is left out if a smaller tile,
    element tile or unrolling does as well in all of these.
    """
    room, n = 1024, 0
    sign = -1 if more else 1
    out = np.empty((room, 3), np.int64)
    kept = np.empty((bound + 1, 5), np.int64)
    for z in range(1, min(bound, largest) + 1):
        for f in range(1, min(fanout, _ceil(bound, z)) + 1):
            u, t = z * f, 1
            while t <= bound:
                k = _ceil(bound, t)
                high = bound if k == 1 else _ceil(bound, k - 1) - 1
                m = 0
                for x in range(max(_ceil(bound, k), z, u - z + 1), high + 1):
                    tail = (bound - 1) % x + 1
                    steps, elements = _total(bound, x, u), _total(bound, x, z)
                    turns = (k - 1) * _turns(x, z, u) + _turns(tail, z, u)
                    if z > 1 and _total(bound, x, u - f) == steps:
                        v = u - f
                        fewer = (k - 1) * _turns(x, z - 1, v) + _turns(tail, z - 1, v)
                        if fewer <= turns and (more or _total(bound, x, z - 1) == elements):
                            continue
                    if f > 1 and not more and _total(bound, x, u - z) == steps:
                        v = u - z
                        if (k - 1) * _turns(x, z, v) + _turns(tail, z, v) <= turns:
                            continue
                    # Fewer of each are better.
                    counts = (
                        steps,
                        turns,
                        sign * elements,
                        sign * min(f, _ceil(x, z)),
                        sign * min(f, _ceil(tail, z)),
                    )
                    better = False
                    for j in range(m):
                        better = True
                        for i in range(5):
                            if kept[j, i] > counts[i]:
                                better = False
                        if better:
                            break
                    if better:
                        continue
                    for i in range(5):
                        kept[m, i] = counts[i]
                    m += 1
                    if n == room:
                        grown = np.empty((2 * room, 3), np.int64)
                        grown[:room] = out
                        out = grown
                        room *= 2
                    out[n, 0], out[n, 1], out[n, 2] = x, z, f
                    n += 1
                t = high + 1
    return out[:n]


@njit(cache=True)
def repeats(tiles: Ints, fans: Ints, child: int, grain: int, still: int) -> Floats:
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


# 117 lines: one compiled walk; its parts share the counters that it moves.
@njit(cache=True)
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
    # Group leaves into visits: same steps everywhere and same elements outside the grain.
    visit_of = np.empty(n, np.int64)
    heads = np.empty(n, np.int64)
    visits = 0
    for i in range(n):
        visit = -1
        for v in range(visits - 1, -1, -1):
            same = True
            for k in range(levels):
                if key[i, 2 * k] != key[heads[v], 2 * k]:
                    same = False
                    break
                if k < grain and key[i, 2 * k + 1] != key[heads[v], 2 * k + 1]:
                    same = False
                    break
            if same:
                visit = v
                break
        if visit < 0:
            heads[visits] = i
            visit = visits
            visits += 1
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
        for v in range(visits):
            if key[heads[v], 2 * slide] == 0:
                continue
            for w in range(v - 1, -1, -1):
                same = key[heads[w], 2 * slide] == key[heads[v], 2 * slide] - 1
                for k in range(levels):
                    if k != slide and key[heads[w], 2 * k] != key[heads[v], 2 * k]:
                        same = False
                    if k < grain and key[heads[w], 2 * k + 1] != key[heads[v], 2 * k + 1]:
                        same = False
                if same:
                    before[v] = w
                    break
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


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
def window_words(
    p_tiles: Ints,
    p_fans: Ints,
    r_tiles: Ints,
    r_fans: Ints,
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
    near, far = _ceil(low, stride), (high - 1 - reach) // stride + 1
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


@njit(cache=True)
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
                start = max(p0, _ceil(low - r0 * dilation, stride))
                return int(max(0, min(p1, _ceil(high - r0 * dilation, stride)) - start))
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


@njit(cache=True)
def _holds(row: int, p0: int, p1: int, r0: int, r1: int, stride: int, dilation: int) -> bool:
    for r in range(r0, r1):
        rest = row - r * dilation
        if rest % stride == 0 and p0 <= rest // stride < p1:
            return True
    return False
