"""All ways to cut one dimension that may be worth it: its chains of tiles and unrollings.

Chains that another beats in every count are left out; which those are is the matter of this module.
"""

from __future__ import annotations

import numpy as np

from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Ints, ceiling


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
                                y = ceiling(x, z) * z
                                if y <= high and y != x:
                                    tiles[m] = y
                                    m += 1
                            last -= 1
                        if top > low:
                            tiles[m] = top
                            m += 1
                    if k > 1 and _total(bound, low, z) > ceiling(bound, z):
                        top = min(high, ceiling(low, z) * z)
                        last = ceiling(bound - (k - 1) * low, z)
                        lowest = last - 3
                        while last > lowest and last > 0:
                            x = ceiling(bound - last * z, k - 1)
                            if x > low and x <= top:
                                tiles[m] = x
                                m += 1
                            last -= 1
                        if top > low:
                            tiles[m] = top
                            m += 1
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
def wider_chains(bound: int, smallest: int, largest: int, fanout: int, more: bool) -> Ints:
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
    for z in range(smallest, min(bound, largest) + 1):
        for f in range(1, min(fanout, ceiling(bound, z)) + 1):
            u, t = z * f, 1
            while t <= bound:
                k = ceiling(bound, t)
                high = bound if k == 1 else ceiling(bound, k - 1) - 1
                m = 0
                for x in range(max(ceiling(bound, k), z, u - z + 1), high + 1):
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
                        sign * min(f, ceiling(x, z)),
                        sign * min(f, ceiling(tail, z)),
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
                        for i_old in range(room):
                            for j in range(3):
                                grown[i_old, j] = out[i_old, j]
                        out = grown
                        room *= 2
                    out[n, 0], out[n, 1], out[n, 2] = x, z, f
                    n += 1
                t = high + 1
    return out[:n]
