"""All ways to cut one dimension that may be worth it: its chains of tiles and unrollings.

Chains that another beats in every count are left out; which those are is the matter of this module.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Ints1, Ints2
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Ints, ceiling

FIRST = 5
"""Counts before those of rows: steps, turns, elements, those of the first step, and of the last
tile's first step."""


class Asked(NamedTuple):
    """What is counted of a dimension besides steps and elements.

    Args:
        turns: how often the innermost loop turns, over all steps.
        more: the more elements the better, over all steps and in the first: for a dimension summed
            over where a sum passed on between elements costs less than one kept in an element.
        stride, reach: elements that a window slides over share rows with what they held before, so
            what each adds, up to so many rows, counts for all sizes above *stride* up to *reach*.
        steps: as much of steps and of tiles counts as well: of taps, which leave rows out where a
            stride is longer, and of outputs whose rows pass an array without a stop.
    """

    turns: bool = False
    more: bool = False
    stride: int = 1
    reach: int = 0
    steps: bool = False


@compiled()
def _total(bound: int, tile: int, step: int) -> int:
    """Steps of *step* over all tiles of *tile* over *bound*, edge tiles at their true size."""
    full = bound // tile
    rest = bound - full * tile
    return full * ceiling(tile, step) + ceiling(rest, step)


@compiled()
def _turns(tile: int, element: int, step: int) -> int:
    """Turns of the innermost loop under *tile*, in steps of elements side by side."""
    return tile // step * element + min(element, tile % step)


# 108 lines: one compiled loop; a call in its innermost part costs more than what is in it.
@compiled()
def complete_chains(bound: int, smallest: int, largest: int, fanout: int, edge: int) -> Ints:
    """Chains (tile, element tile, unrolling) of one dimension for two tiles and one array.

    Element tiles are those from *smallest* to *largest*.

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
    seen, stamp = np.zeros(bound + 1, np.int64), 0  # when a tile was tried last
    every = edge >= bound
    for z in range(smallest, min(bound, largest) + 1):
        for f in range(1, min(fanout, ceiling(bound, z)) + 1):
            u = z * f
            previous = 0
            t = 1
            while t <= bound:
                k = ceiling(bound, t)
                low = ceiling(bound, k)  # the smallest tile for this count
                high = bound if k == 1 else ceiling(bound, k - 1) - 1
                m = 0
                stamp += 1
                if every:
                    for x in range(low, high + 1):
                        tiles[m] = x
                        m += 1
                else:
                    tiles[0] = low
                    m = 1
                    if k > 1 and _total(bound, low, u) > ceiling(bound, u):
                        # Tiles at which the last tile needs one step less, up to a multiple of u.
                        top = min(high, ceiling(low, u) * u)
                        last = ceiling(bound - (k - 1) * low, u)
                        while last > 0:
                            x = ceiling(bound - last * u, k - 1)
                            if x > low and x <= top:
                                tiles[m] = x
                                m += 1
                            last -= 1
                        if top > low:
                            tiles[m] = top
                            m += 1
                    # From each of these, tiles at which the last one needs one element tile less.
                    for i in range(m if k > 1 else 0):
                        x = tiles[i]
                        top = min(high, ceiling(x, z) * z)
                        last = ceiling(bound - (k - 1) * x, z) - 1
                        while x < top:
                            x = ceiling(bound - last * z, k - 1) if last > 0 else top
                            if x > top:
                                break
                            tiles[m] = x
                            m += 1
                            last -= 1
                    for last in range(1, edge + 1):  # cuts near the far end
                        if k > 1 and bound > last:
                            x = ceiling(bound - last, k - 1)
                            if low < x <= high:
                                tiles[m] = x
                                m += 1
                for i in range(m):
                    x = tiles[i]
                    if seen[x] == stamp:
                        continue
                    seen[x] = stamp
                    if x < z or (x == previous and not every):
                        continue
                    count = _total(bound, x, min(u, x))
                    if f > 1 and f > ceiling(x, z):
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


@compiled()
def _sums(bound: int, x: int, tile: int, most: int, stride: int) -> int:
    """What all tiles of *tile* in all tiles of *x* count, each at its size or *most*."""
    tail = (bound - 1) % x + 1
    whole, result = min(tile * stride, most), 0
    for times, size in ((ceiling(bound, x) - 1, x), (1, tail)):
        result += times * (size // tile * whole + min(size % tile * stride, most))
    return result


@compiled()
def _weigh(bound: int, x: int, z: int, f: int, asked: Asked, into: Ints1) -> None:
    """Write everything that a chain counts and that is asked: the fewer the better."""
    k, tail, u = ceiling(bound, x), (bound - 1) % x + 1, z * f
    sign = -1 if asked.more else 1
    into[0] = _total(bound, x, u)
    into[1] = (k - 1) * _turns(x, z, u) + _turns(tail, z, u) if asked.turns else 0
    into[2] = sign * _total(bound, x, z)
    into[3] = sign * min(f, ceiling(x, z))
    into[4] = sign * min(f, ceiling(tail, z))
    at = FIRST
    for most in range(asked.stride + 1, asked.reach + 1):
        into[at] = _sums(bound, x, z, most, asked.stride)
        at += 1
        if asked.steps:
            into[at] = _sums(bound, x, min(u, x), most, asked.stride)
            into[at + 1] = _sums(bound, x, x, most, asked.stride)
            at += 2


@compiled()
def _width(asked: Asked) -> int:
    return FIRST + max(0, asked.reach - asked.stride) * (3 if asked.steps else 1)


@compiled()
def _as_good(one: Ints1, other: Ints1) -> bool:
    """Whether nothing of *one* is more than of the *other*."""
    i = 0
    while i < len(one) and one[i] <= other[i]:
        i += 1
    return i == len(one)


@compiled()
def counted_chains(bound: int, smallest: int, largest: int, fanout: int, asked: Asked) -> Ints2:
    """Chains (tile, element tile, unrolling) of one dimension for two tiles and one array.

    As :func:`complete_chains`, for more counts. A chain is left out if one with a smaller tile (cut
    as often), with an element tile or an unrolling less by one does as well in all of them.
    """
    room, n = 1024, 0
    out = np.empty((room, 3), np.int64)
    width = _width(asked)
    kept = np.empty((bound + 1, width), np.int64)
    other = np.empty(width, np.int64)
    for z in range(smallest, min(bound, largest) + 1):
        for f in range(1, min(fanout, ceiling(bound, z)) + 1):
            u, t = z * f, 1
            while t <= bound:
                k = ceiling(bound, t)
                high = bound if k == 1 else ceiling(bound, k - 1) - 1
                m = 0
                for x in range(max(ceiling(bound, k), z, u - z + 1), high + 1):
                    counts = kept[m]
                    _weigh(bound, x, z, f, asked, counts)
                    if z > 1 and _total(bound, x, u - f) == counts[0]:
                        _weigh(bound, x, z - 1, f, asked, other)
                        if _as_good(other, counts):
                            continue
                    if f > 1 and _total(bound, x, u - z) == counts[0]:
                        _weigh(bound, x, z, f - 1, asked, other)
                        if _as_good(other, counts):
                            continue
                    better = False
                    for j in range(m):
                        better |= _as_good(kept[j], counts)
                    if better:
                        continue
                    m += 1
                    if n == room:
                        grown = np.empty((2 * room, 3), np.int64)
                        for i_old in range(room):
                            for j in range(3):
                                grown[i_old, j] = out[i_old, j]
                        out = grown
                        room *= 2
                    out[n, 0], out[n, 1], out[n, 2] = x, z, f
                    n += 1
                t = high + 1
    return out[:n]


@compiled()
def weighed(bound: int, chains: Ints2, asked: Asked) -> Ints2:
    """What chains are and count, ``[chains, counts]``: the fewer the better."""
    table = np.empty((len(chains), 4 + _width(asked)), np.int64)
    for n in range(len(chains)):
        x, z, f = chains[n, 0], chains[n, 1], chains[n, 2]
        table[n, 0], table[n, 1], table[n, 2], table[n, 3] = x, z, f, ceiling(bound, x)
        _weigh(bound, x, z, f, asked, table[n, 4:])
    return table
