"""All ways to cut one dimension, and what each does to every count.

The nest is a Cartesian product, so each count of :mod:`traffic` is a product of one factor per
dimension (or window pair). This module enumerates the chains of tiles and unrollings of a single
dimension and computes those factors for all of them at once; :mod:`branch` multiplies.

The compiled functions count exactly what :func:`traffic.repeats` and
:func:`traffic.window_words` count (tested against them); they only do it for thousands of chains.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
                        grown[:room] = out
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
            made = 0
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
                        for j in range(made):
                            if sizes[new, j] == below:
                                times[new, j] += number
                                break
                        else:
                            sizes[new, made] = below
                            times[new, made] = number
                            made += 1
            have, now = made, new
        total = 0
        for i in range(have):
            total += times[now, i]
        result[c] = total
    return result


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
        found = -1
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
                found = v
                break
        if found < 0:
            heads[visits] = i
            found = visits
            visits += 1
        visit_of[i] = found
    first = np.zeros(visits + 1, np.int64)
    for i in range(n):
        first[visit_of[i] + 1] += 1
    for v in range(visits):
        first[v + 1] += first[v]
    fill = first[:-1].copy()
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
    return joined_first, before, lows[:m].copy(), highs[:m].copy()


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
    result = np.zeros((p_tiles.shape[0], r_tiles.shape[0]))
    span = (p_tiles[0, 0] - 1) * stride + (r_tiles[0, 0] - 1) * dilation + 1
    mark = np.zeros(span, np.int64)
    stamp = 0
    for b in range(r_tiles.shape[0]):
        rv, r_before, r0, r1 = _visits(
            r_tiles[b], r_fans[b], child, grain, slide_level if slide_tap else -1, slide_level < 0
        )
        for a in range(p_tiles.shape[0]):
            pv, p_before, p0, p1 = _visits(
                p_tiles[a],
                p_fans[a],
                child,
                grain,
                -1 if slide_tap else slide_level,
                slide_level < 0,
            )
            total = 0
            for v in range(len(pv) - 1):
                for w in range(len(rv) - 1):
                    moving = r_before[w] >= 0 if slide_tap else p_before[v] >= 0
                    single = pv[v + 1] - pv[v] == 1 and rv[w + 1] - rv[w] == 1
                    if single and not moving:
                        i, j = pv[v], rv[w]
                        if r1[j] - r0[j] == 1:
                            # one tap: rows p*stride + r, each once
                            shift = r0[j] * dilation
                            first = max(p0[i], _ceil(low - shift, stride))
                            last = min(p1[i], _ceil(high - shift, stride))
                            total += max(0, last - first)
                            continue
                        if dilation == 1 and (r1[j] - r0[j] >= stride or p1[i] - p0[i] == 1):
                            first = max(low, p0[i] * stride + r0[j])
                            last = min(high, (p1[i] - 1) * stride + r1[j])
                            total += max(0, last - first)
                            continue
                    if single and moving and dilation == 1:
                        i, j = pv[v], rv[w]
                        x = pv[p_before[v]] if not slide_tap else i
                        y = rv[r_before[w]] if slide_tap else j
                        if min(r1[j] - r0[j], r1[y] - r0[y]) >= stride:
                            first = p0[i] * stride + r0[j]
                            last = (p1[i] - 1) * stride + r1[j]
                            held = (p1[x] - 1) * stride + r1[y]
                            first = max(low, max(first, held))
                            total += max(0, min(high, last) - first)
                            continue
                    stamp += 1
                    for i in range(pv[v], pv[v + 1]):
                        for j in range(rv[w], rv[w + 1]):
                            x, y = -1, -1
                            if moving:
                                # the same child one step earlier; it held a full tile then
                                x = pv[p_before[v]] + (i - pv[v]) if not slide_tap else i
                                y = rv[r_before[w]] + (j - rv[w]) if slide_tap else j
                            for p in range(p0[i], p1[i]):
                                for r in range(r0[j], r1[j]):
                                    row = p * stride + r * dilation
                                    if row < low or row >= high or mark[row] == stamp:
                                        continue
                                    if moving and _holds(
                                        row, p0[x], p1[x], r0[y], r1[y], stride, dilation
                                    ):
                                        continue
                                    mark[row] = stamp
                                    total += 1
            result[a, b] = total
    return result


@njit(cache=True)
def _holds(row: int, p0: int, p1: int, r0: int, r1: int, stride: int, dilation: int) -> bool:
    for r in range(r0, r1):
        rest = row - r * dilation
        if rest % stride == 0 and p0 <= rest // stride < p1:
            return True
    return False


@njit(cache=True)
def pareto(vectors: Floats) -> Ints:
    """Indices of the vectors that no other vector equals or undercuts in every component.

    Of equal vectors the first stays. The answer is sorted by the sum of logarithms, so that good
    all-round choices come first.
    """
    n, k = vectors.shape
    score = np.zeros(n)
    for i in range(n):
        for j in range(k):
            score[i] += np.log(vectors[i, j])
    order = np.argsort(score, kind="mergesort")
    kept = np.empty(n, np.int64)
    m = 0
    for o in range(n):
        i = order[o]
        beaten = False
        for h in range(m):
            x = kept[h]
            better = True
            for j in range(k):
                if vectors[x, j] > vectors[i, j]:
                    better = False
                    break
            if better:
                beaten = True
                break
        if not beaten:
            kept[m] = i
            m += 1
    return kept[:m].copy()
