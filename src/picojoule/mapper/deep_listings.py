"""All ways to cut one dimension that may be worth it, for any number of levels and arrays.

A chain is left out only where another is no worse in any count. Say a tile of a level is *t*, and
the pieces that it cuts (the tiles outside it: whole ones, and what is left at the end of each) are
``Y``. Each is cut into ``ceil(Y / t)`` tiles, all but the last of them whole. Then:

- Of the tiles that cut every piece into as many, the smallest, *low*, takes the least room. A
  larger one is better only for what is cut further inside, where its last tiles are shorter.
- If one step inside (the next tile times the unrolling above it) is *u*, a tile of ``t`` and one of
  ``t - u`` that cut every piece into as many have the same counts inside: whole tiles lose one step
  each, which last tiles gain. So only tiles below ``low + u`` matter.
- Of the unrollings that take as many steps for every piece, the smallest matters.
- Where two levels next to each other may change loops at no cost, not both run one. Which of them
  does matters: a class of mappings may bar either (:class:`space.Runs`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from picojoule.compiled.arrays import Bools1, Floats2, Ints1, Ints2
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Bools, Ints, ceiling, repeats
from picojoule.mapper.patience import check

RIVALS = 2000  # chains that each of a list is compared with, at most


@compiled()
def _smallest(pieces: Ints, count: int, tile: int) -> int:
    """The smallest tile that cuts every piece into as many."""
    low = 1
    for j in range(count):
        low = max(low, ceiling(pieces[j], ceiling(pieces[j], tile)))
    return low


@compiled()
def _cut(pieces: Ints, count: int, tile: int, inner: Ints) -> int:
    """Write the sizes of all tiles of the pieces to *inner*; returns how many differ."""
    n = 0
    for j in range(count):
        rest = (pieces[j] - 1) % tile + 1
        for size in (min(tile, pieces[j]), rest):
            seen = False
            for i in range(n):
                seen |= inner[i] == size
            if not seen:
                inner[n] = size
                n += 1
    return n


@compiled()
def _needed(pieces: Ints, count: int, tile: int, fan: int) -> bool:
    """Whether one element less would take a step more for some piece."""
    for j in range(count):
        tiles = ceiling(pieces[j], tile)
        if ceiling(tiles, fan) < ceiling(tiles, fan - 1):
            return True
    return False


@compiled()
def _alone(pieces: Ints, count: int, tile: int, fan: int) -> bool:
    """Whether a shorter tile has the last step over some piece for itself: it takes fewer turns."""
    for j in range(count):
        tiles = ceiling(pieces[j], tile)
        if tiles > 1 and (tiles - 1) % fan == 0 and pieces[j] % tile:
            return True
    return False


@compiled()
def _shortest(pieces: Ints, count: int, tile: int) -> int:
    """The shortest tile that is left over at the end of a piece; a whole one if none is."""
    least = tile
    for j in range(count):
        if pieces[j] > tile:
            least = min(least, (pieces[j] - 1) % tile + 1)
    return least


# 87 lines: one compiled walk; its parts share the levels that it goes up and down.
@compiled()
def deep_chains(
    limits: Ints1,
    fans: Ints1,
    turns: Bools1,
    tied: Bools1,
    wide: Bools1,
    edge: int,
    most: int,
) -> Ints2:
    """Chains ``(t1, .., f0, f1, ..)`` of a dimension: tiles inside the outermost, unrollings.

    Args:
        limits: for each level, the largest tile; the first is the bound.
        fans: for each level, the most unrolled beneath it; 0 where there is no array.
        turns: for each level, whether turns count that the elements of the array beneath it take
            side by side, each as many as the one with most.
        tied: for each level, whether its loops and those of the level above do as well in one of
            the two. So not both run. No array is between.
        wide: for each level, whether more elements beneath it may pay although they save no step.
        edge: cuts that near to an end of the dimension save more than they show, so all are listed.
        most: at most one more than that many are listed.
    """
    depth = len(limits)
    room = 1024
    out = np.empty((room, 2 * depth - 1), np.int64)
    n = 0
    pieces = np.empty((depth + 1, depth + 2), np.int64)
    counts = np.ones(depth + 1, np.int64)
    tile, fan = np.ones(depth + 1, np.int64), np.ones(depth + 1, np.int64)
    excess, over = np.zeros(depth + 1, np.int64), np.zeros(depth + 1, np.int64)
    pieces[0, 0] = tile[0] = limits[0]
    level = 1  # tile and unrolling above it to be chosen next
    tile[1], fan[0] = min(limits[1], limits[0]) if depth > 1 else 1, 0
    while level > 0:
        above, have = pieces[level - 1], counts[level - 1]
        # The next unrolling above this tile, else the next smaller tile.
        first = fan[level - 1] == 0
        fan[level - 1] += 1
        if tied[level - 1] and tile[level - 1] < tile[level - 2]:  # one step
            fan[level - 1] = max(fan[level - 1], ceiling(tile[level - 1], tile[level]))
        if fan[level - 1] > min(max(1, fans[level - 1]), ceiling(tile[level - 1], tile[level])):
            fan[level - 1] = 0
            tile[level] -= 1
            if level < depth and tied[level]:  # a step of what is inside is enough
                inside = 1 if level == depth - 1 else limits[level + 1]
                tile[level] = min(tile[level], max(1, fans[level]) * inside)
            if tile[level] < 1 or level == depth:
                level -= 1
            continue
        f, t = fan[level - 1], tile[level]
        near = f * t <= edge or _shortest(above, have, f * t) <= edge
        near |= t <= edge or _shortest(above, have, t) <= edge
        alone = f > 1 and turns[level - 1] and _alone(above, have, t, f)
        if first:
            low = t - _smallest(above, have, t)
            # What a step inside must exceed for the tile to be worth it.
            over[level] = min(low, _shortest(above, have, t)) if low else 0
        excess[level] = 0 if alone or near else over[level]
        if edge == 0 and excess[level - 1] >= max(1, fans[level - 1]) * t:
            level -= 1  # nor is any smaller tile a step long enough
            continue
        if not near and excess[level - 1] >= f * t:
            continue
        idle = f > 1 and not _needed(above, have, t, f)
        if idle and not alone and not near and not wide[level - 1]:
            continue
        if level < depth:
            counts[level] = _cut(above, have, t, pieces[level])
            level += 1
            tile[level] = 1 if level == depth else min(limits[level], t)
            fan[level - 1] = 0
            continue
        if n == room:
            grown = np.empty((2 * room, out.shape[1]), np.int64)
            for i in range(room):
                for j in range(out.shape[1]):
                    grown[i, j] = out[i, j]
            out = grown
            room *= 2
        for k in range(1, depth):
            out[n, k - 1] = tile[k]
        for k in range(depth):
            out[n, depth - 1 + k] = fan[k]
        n += 1
        if n > most:
            break
    return out[:n]


@compiled()
def shared_rows(tiles: Ints2, fans: Ints2, stride: int, reach: int) -> Ints2:
    """Rows that tiles and steps of a window add, each at its size or at most so many.

    Args:
        tiles, fans: as :func:`kernels.repeats` takes them.
        stride: rows from one to the next.
        reach: for all sizes above *stride* up to this, the same is asked.

    Returns:
        ``[chains, counts]``: level by level, of steps and then of tiles, size by size.
    """
    depth, sizes = fans.shape[1], max(0, reach - stride)
    result = np.zeros((len(tiles), 2 * (depth - 1) * sizes), np.int64)
    pieces, times = np.empty(1 << depth, np.int64), np.empty(1 << depth, np.int64)
    for n in range(len(tiles)):
        pieces[0], times[0], count, at = tiles[n, 0], 1, 1, 0
        for level in range(1, depth):
            t = tiles[n, level]
            for size in (t * fans[n, level - 1], t):
                for most in range(stride + 1, reach + 1):
                    whole = min(size * stride, most)
                    for j in range(count):
                        rest = min(pieces[j] % size * stride, most)
                        result[n, at] += times[j] * (pieces[j] // size * whole + rest)
                    at += 1
            for j in range(count):
                pieces[count + j], times[count + j] = pieces[j] % t, times[j]
                pieces[j], times[j] = t, times[j] * (pieces[j] // t)
            count *= 2
    return result


def unbeaten(
    tiles: Ints,
    fans: Ints,
    tied: Bools,
    counted: Iterable[tuple[int, int, int]],
    window: tuple[int, int],
) -> Bools:
    """Which chains do something that they would not with one tile smaller by one.

    Args:
        tiles, fans: as :func:`kernels.repeats` takes them.
        tied: as for :func:`deep_chains`; tiles of the size of the one above get smaller with it.
        counted: children and grains of the words that the dimension repeats, and the outermost
            level of those inside which they stay in place.
        window: stride and reach as :func:`shared_rows` takes them.
    """
    keep = np.ones(len(tiles), np.bool_)
    shared = shared_rows(tiles, fans, *window)
    depth = fans.shape[1]
    for level, end in itertools.combinations(range(1, depth + 1), 2):
        if not tied[level + 1 : end].all():
            continue
        alike = (tiles[:, level:end] == tiles[:, level : level + 1]).all(axis=1)
        rows = np.flatnonzero(keep & alike & (tiles[:, level] > tiles[:, end]))
        # Nor may the loop above come to run, which a class may bar.
        above, covered = tiles[rows, level - 1], tiles[rows, level] * fans[rows, level - 1]
        rows = rows[(covered < above) | (covered - fans[rows, level - 1] >= above)]
        if shared.shape[1]:
            smaller = tiles[rows]
            smaller[:, level:end] -= 1
            rows = rows[(shared_rows(smaller, fans[rows], *window) <= shared[rows]).all(axis=1)]
        for child, grain, outer in counted:
            check()
            if child >= level:
                still = (1 << child) - (1 << outer)
                smaller = tiles[rows]
                smaller[:, level:end] -= 1
                less = repeats(smaller, fans[rows], child, grain, still)
                rows = rows[less <= repeats(tiles[rows], fans[rows], child, grain, still)]
        keep[rows] = False
    return keep


def undominated(
    tiles: Ints,
    fans: Ints,
    free: Bools,
    wide: Bools,
    counted: Iterable[tuple[int, int, int]],
    window: tuple[int, int],
) -> Ints:
    """The chains that no other is as good as in every count, size, unrolling and loop that runs.

    Args:
        tiles, fans, counted, window: as :func:`unbeaten` takes them.
        free: for each level, whether a tile takes no room there.
        wide: for each level, whether more elements beneath it may pay: only chains with as many
            are compared.
    """
    sizes = [tiles[:, n] for n in range(1, fans.shape[1]) if not free[n]]
    runs = 1 + (tiles[:, 1:] * fans < tiles[:, :-1])
    shared = shared_rows(tiles, fans, *window)
    columns = [column.astype(float) for column in (*sizes, *fans.T, *runs.T, *shared.T)]
    for child, grain, outer in counted:
        check()
        columns.append(repeats(tiles, fans, child, grain, (1 << child) - (1 << outer)))
    table = np.stack([c for c in columns if c.min() < c.max()] or columns, axis=1)
    check()
    small = np.log(table).sum(axis=1)
    best = np.arange(len(table))
    # Of those with the same loops and unrollings all are compared, then as many as there are.
    for kind in (np.concatenate([fans, runs], axis=1), fans[:, wide]):
        _, alike = np.unique(kind[best], axis=0, return_inverse=True)
        order = np.lexsort((small[best], alike.ravel()))
        ends = np.cumsum(np.bincount(alike.ravel()))[:-1]
        parts = np.split(best[order], ends)
        best = np.sort(np.concatenate([rows[front(table[rows], RIVALS)] for rows in parts]))
        check()
    return best


@compiled()
def front(table: Floats2, most: int) -> Bools1:
    """Which rows none of the first *most* such rows before them is as small as everywhere."""
    keep = np.ones(len(table), np.bool_)
    front = np.empty(most, np.int64)
    n = 0
    for i in range(len(table)):
        for r in range(n):
            beaten = True
            for k in range(table.shape[1]):
                if table[front[r], k] > table[i, k]:
                    beaten = False
                    break
            if beaten:
                keep[i] = False
                break
        if keep[i] and n < most:
            front[n] = i
            n += 1
    return keep
