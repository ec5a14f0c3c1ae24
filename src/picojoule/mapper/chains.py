"""All ways to cut one dimension into tiles and to unroll it.

A chain is the tile of each level, outermost first, and the unrolling beneath each level.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from picojoule.mapper.deep_listings import RIVALS, deep_chains, front, unbeaten, undominated
from picojoule.mapper.kernels import Bools, Ints
from picojoule.mapper.listings import Asked, complete_chains, counted_chains, weighed
from picojoule.mapper.patience import check, pieces

LONGEST = 1 << 16  # bound up to which every chain is listed
AT_A_TIME = 1 << 20  # tiles tried between two questions whether there is time
TRIED = 750_000  # chains looked at for a list
FEW = 3_000  # of so many chains each is compared with every other
ALL = 100_000  # tiles times unrollings of three levels up to which all may be listed
MOST = 40_000  # chains of a list; of dimensions with more, only some are listed


class Cuts(NamedTuple):
    """How a dimension may be cut.

    Args:
        limits: for each level, the largest tile; the first is the bound of the dimension.
        fans: for each level, the most unrolled beneath it; 0 where there is no array.
        edge: as for :func:`listings.complete_chains`.
        perfect: only tiles that divide the tile outside them.
        rules: what the dataflow asks for.
        asked: what :func:`listings.counted_chains` is to count; none: steps and elements are all.
        more: the more elements the better, in some class (:class:`listings.Asked`).
        wide: for each level, whether more elements beneath it may pay although they save no step.
        counted: children and grains of the words that the dimension repeats, and the outermost
            level of those inside which they stay in place.
        free: for each level, whether a tile takes no room there.
        barred: for each level, whether no loop of the dimension may run there; none: all may.
            Only with perfect.
        window: of outputs or taps cut more than twice, or for two arrays, the stride and how many
            rows they reach over, as :func:`deep_listings.shared_rows` takes them.
        spans: for each level, the lengths of the axes that an unrolling beneath it must be a
            product of parts of; none: whatever it is.
    """

    limits: tuple[int, ...]
    fans: tuple[int, ...]
    edge: int
    perfect: bool
    rules: Rules | None
    asked: Asked | None = None
    more: bool = False
    wide: tuple[bool, ...] = ()
    counted: tuple[tuple[int, int, int], ...] = ()
    free: tuple[bool, ...] = ()
    spans: tuple[tuple[int, ...], ...] = ()
    barred: tuple[bool, ...] = ()
    window: tuple[int, int] = (1, 0)

    @property
    def bound(self) -> int:
        """The bound of the loop."""
        return self.limits[0]

    @property
    def complete(self) -> bool:
        """Whether the chains are all that could be better than another."""
        return self.perfect or self.bound == 1 or self.quick or _deep(self) is not None

    @property
    def quick(self) -> bool:
        """Whether :func:`listings.complete_chains` has them: three levels, one array or none."""
        arrays = [level for level, fan in enumerate(self.fans) if fan]
        return len(self.limits) == 3 and arrays in ([1], []) and self.bound <= LONGEST


class Rules(NamedTuple):
    """What a dataflow asks of a dimension at the array of its elements.

    Args:
        gap: the level above that array.
        element: tile in an element, if it can be had at all.
        buffer: tile in the level above the array.
        spanned: one pass covers the whole tile above the array.
        whole: the tile above the array is the whole dimension.
        spread: one pass covers the whole dimension.
        on_array: the levels inside the outermost down to the array hold what is on the array.
        strip: what the level above the array holds of a set that is cut, if it can.
    """

    gap: int
    element: int | None
    buffer: int | None
    spanned: bool
    whole: bool
    spread: bool
    on_array: bool = False
    strip: int | None = None

    @property
    def restrict(self) -> bool:
        """Whether they ask for anything."""
        return self != Rules(self.gap, None, None, False, False, False)

    def allowed(self, tiles: Ints, fans: Ints) -> Bools:
        """Which chains they allow."""
        keep = np.ones(len(tiles), bool)
        gap, bound = self.gap, tiles[:, 0]
        above, inside = tiles[:, gap], tiles[:, gap + 1]
        covered = fans[:, gap] * inside
        if self.element is not None and gap + 1 < fans.shape[1]:
            matches = inside == self.element
            if matches.any():  # a row that no element can hold is cut after all
                keep &= matches
        if self.buffer is not None:
            keep &= above == self.buffer
        if self.spanned:
            keep &= covered >= above
        if self.whole:
            keep &= above == bound
        if self.spread:
            keep &= covered >= bound
        if self.on_array:
            keep &= (covered[:, None] >= tiles[:, 1 : gap + 1]).all(axis=1)
        if self.strip is not None:
            strips = keep & (above == self.strip)
            if strips.any():  # a strip that no memory can hold is cut after all
                keep = strips
        return keep


def chains(cuts: Cuts) -> tuple[Ints, Ints]:
    """All chains of a dimension.

    Returns:
        Tiles ``[chains, levels + 1]``, the last of them 1, and unrollings ``[chains, levels]``.
    """
    if cuts.perfect:
        tiles, fans = _dividing(cuts)
    elif cuts.quick:
        tiles, fans = _complete(cuts)
    else:
        tiles, fans = _deep(cuts) or _balanced(cuts)
    if cuts.spans:
        tiles, fans = _exact(cuts, tiles, fans)
    check()
    if cuts.rules is None:
        return tiles, fans
    keep = cuts.rules.allowed(tiles, fans)
    check()
    tiles = tiles[keep]
    check()
    return tiles, fans[keep]


def _exact(cuts: Cuts, tiles: Ints, fans: Ints) -> tuple[Ints, Ints]:
    """The chains with every unrolling that axes do not multiply to as the next that they do.

    An unrolling is listed where no smaller one takes as few steps, so what becomes of those listed
    is as good as any larger one that fits. One that covers its tile in one step stays: what axes
    have beyond it is idle.
    """
    fans, keep = fans.copy(), np.ones(len(tiles), np.bool_)
    for level, axes in enumerate(cuts.spans):
        if not axes:
            continue
        products = products_of(axes, cuts.fans[level])
        covers = fans[:, level] * tiles[:, level + 1] >= tiles[:, level]
        place = np.searchsorted(products, fans[:, level])
        keep &= covers | (place < len(products))
        there = products[np.minimum(place, len(products) - 1)]
        fans[:, level] = np.where(covers, fans[:, level], there)
    both = np.unique(np.concatenate([tiles[keep], fans[keep]], axis=1), axis=0)
    return both[:, : tiles.shape[1]], both[:, tiles.shape[1] :]


def products_of(axes: Sequence[int], most: int) -> Ints:
    """What parts of axes multiply to, up to *most*, ascending.

    >>> products_of((2, 2), 4).tolist()
    [1, 2, 4]
    """
    products = {1}
    for length in axes:
        products = {p * n for p in products for n in range(1, length + 1) if p * n <= most}
    return np.array(sorted(products), np.int64)


def _complete(cuts: Cuts) -> tuple[Ints, Ints]:
    bound, limits, fan = cuts.bound, cuts.limits, max(1, cuts.fans[1])
    largest = min(bound, limits[2])
    # Where more is padded than a cut shares, each may save what no count tells.
    edge = bound if cuts.edge and bound * largest * fan <= ALL else cuts.edge
    every = edge >= bound
    tiles = bound if every else 2 * math.isqrt(bound)  # about as many are tried
    listed = []
    if cuts.asked is None or edge:
        listed = [
            complete_chains(bound, 1 + part.start, part.stop, fan, edge)
            for part in pieces(largest, max(1, AT_A_TIME // (fan * tiles)))
        ]
    if cuts.asked is not None and not every:
        listed.append(_counted(cuts, cuts.asked))
    if cuts.more and not every:
        listed.append(_counted(cuts, Asked(turns=True, more=True)))
    check()
    raw = listed[0] if len(listed) == 1 else np.unique(np.concatenate(listed), axis=0)
    check()
    raw = raw[raw[:, 0] <= limits[1]] if limits[1] < bound else raw
    sizes, fans = np.empty((len(raw), 4), np.int64), np.empty((len(raw), 3), np.int64)
    for part in pieces(len(raw), AT_A_TIME):
        sizes[part, 0], sizes[part, 1:3], sizes[part, 3] = bound, raw[part, :2], 1
        fans[part, 0], fans[part, 1], fans[part, 2] = 1, raw[part, 2], 1
    return sizes, fans


def _counted(cuts: Cuts, asked: Asked) -> Ints:
    """The chains of :func:`listings.counted_chains`; of few, those that no other beats."""
    bound, fan = cuts.bound, max(1, cuts.fans[1])
    listed = [
        counted_chains(bound, 1 + part.start, part.stop, fan, asked)
        for part in pieces(min(bound, cuts.limits[2]), max(1, AT_A_TIME // (4 * fan * bound)))
    ]
    raw = np.concatenate(listed)
    # Axes may round an unrolling up (:func:`_exact`): then of two chains only one gets larger.
    if asked.more or cuts.spans or len(raw) > FEW:
        return raw
    table = weighed(bound, raw, asked).astype(float)
    check()
    order = np.argsort(np.log1p(table).sum(axis=1), kind="stable")
    return raw[np.sort(order[front(table[order], RIVALS)])]


def _dividing(cuts: Cuts) -> tuple[Ints, Ints]:
    """Chains in which every step divides the tile around it, and every tile its step."""
    barred = cuts.barred or (False,) * len(cuts.limits)
    tiles, fans = _dividing_chains(cuts.bound, cuts.fans, barred)
    keep = (tiles[:, :-1] <= cuts.limits).all(axis=1)
    return tiles[keep], fans[keep]


@functools.lru_cache(maxsize=1 << 8)
def _dividing_chains(
    bound: int, most: tuple[int, ...], barred: tuple[bool, ...]
) -> tuple[Ints, Ints]:
    """The same with tiles of any size, and unrollings of at most so much.

    Args:
        barred: levels at which no loop may run.
    """
    tiles, fans = np.array([[bound]], np.int64), np.empty((1, 0), np.int64)
    for level, fan in enumerate(most):
        check()
        last = level == len(most) - 1
        steps: dict[int, list[tuple[int, int]]] = {}  # by tile: the tile inside, and the unrolling
        for tile in np.unique(tiles[:, -1]).tolist():
            steps[tile] = [
                (inner, step // inner)
                for step in ((tile,) if barred[level] else _divisors(tile))
                for inner in ((step,) if fan <= 1 else _divisors(step))
                if step // inner <= max(1, fan) and (inner == 1 or not last)
            ]
        counts = np.array([len(steps[tile]) for tile in tiles[:, -1].tolist()])
        added = [pair for tile in tiles[:, -1].tolist() for pair in steps[tile]]
        both = np.array(added, np.int64).reshape(-1, 2)
        tiles = np.concatenate([tiles.repeat(counts, axis=0), both[:, :1]], axis=1)
        fans = np.concatenate([fans.repeat(counts, axis=0), both[:, 1:]], axis=1)
    return tiles, fans


@functools.lru_cache(maxsize=64)
def _deep(cuts: Cuts) -> tuple[Ints, Ints] | None:
    """All chains that may be worth it, for any depth; None if they are too many."""
    depth = len(cuts.limits)
    if any(cuts.wide[1:]) and cuts.more:
        return None  # a sum in an element may be cheaper for more tiles as well
    counted = cuts.counted
    turns = [
        any(grain <= gap and child > gap + 1 for child, grain, _ in counted) for gap in range(depth)
    ]
    free, wide, tied = np.zeros((3, depth), np.bool_)
    if cuts.wide:
        wide[:] = cuts.wide
    widest = np.array(cuts.fans)
    if cuts.rules is None or not cuts.rules.restrict:
        free[1:] = np.array(cuts.free or [False] * depth)[1:] & (widest[:-1] < 2)
        seen = {child for child, _, _ in counted} | {outer for _, _, outer in counted}
        tied[2:] = [n not in seen and fan < 2 for n, fan in enumerate(cuts.fans[1:-1], 2)]
        tied = free | (tied & (cuts.edge == 0))
    limits = np.array(cuts.limits)
    # Which rows tiles share depends on their sizes, not on how many there are.
    edge = cuts.bound if cuts.edge or cuts.window[0] < cuts.window[1] else 0
    raw = deep_chains(limits, widest, np.array(turns), tied, wide, edge, TRIED)
    check()
    if len(raw) > TRIED:
        return None
    tiles = np.ones((len(raw), depth + 1), np.int64)
    tiles[:, 0], tiles[:, 1:depth] = cuts.bound, raw[:, : depth - 1]
    fans = raw[:, depth - 1 :].copy()
    if cuts.edge == 0:
        worth = unbeaten(tiles, fans, tied, counted, cuts.window)
        tiles, fans = tiles[worth], fans[worth]
        if cuts.rules is None or not cuts.rules.restrict:
            best = undominated(tiles, fans, free, wide, counted, cuts.window)
            tiles, fans = tiles[best], fans[best]
    return (tiles, fans) if len(tiles) <= MOST else None


def _balanced(cuts: Cuts) -> tuple[Ints, Ints]:
    """Chains for other depths: every tile an even split of the one outside; few if small."""
    depth = len(cuts.limits)
    listed: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def walk(tiles: tuple[int, ...], fans: tuple[int, ...]) -> None:
        check()
        level, size = len(tiles) - 1, tiles[-1]
        last = level == depth - 1
        for piece in [1] if last else _pieces(size, min(cuts.limits[level + 1], size)):
            units = -(-size // piece)
            for factor in _pieces(units, min(max(1, cuts.fans[level]), units)):
                if last:
                    listed.append((tiles, (*fans, factor)))
                else:
                    walk((*tiles, piece), (*fans, factor))

    walk((cuts.bound,), ())
    tiles = np.array([(*tiles, 1) for tiles, _ in listed], np.int64)
    return tiles, np.array([fans for _, fans in listed], np.int64)


def _pieces(size: int, most: int) -> Sequence[int]:
    """Sizes up to *most* of even splits."""
    return [piece for piece in _even(size) if piece <= most]


@functools.lru_cache(maxsize=1 << 14)
def _even(size: int) -> tuple[int, ...]:
    """The largest parts of all even splits of *size*, ascending."""
    parts = [size]
    while parts[-1] > 1:
        # The fewest pieces that are smaller than the last.
        parts.append(-(-size // -(-size // (parts[-1] - 1))))
    return tuple(reversed(parts))


@functools.lru_cache(maxsize=1 << 14)
def _divisors(number: int) -> tuple[int, ...]:
    return tuple(n for n in range(1, number + 1) if number % n == 0)
