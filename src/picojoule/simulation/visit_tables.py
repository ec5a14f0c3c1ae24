"""What moves at each visit of a nest: words by the clocks of the dimensions.

The nest is walked visit by visit (:mod:`simulation`). The clock of a dimension is where its visited
loops stand; every count of a visit is a product of one factor per dimension, or window pair, so a
few small tables over the clocks say all of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cache, lru_cache

import numpy as np

from picojoule.mapper.kernels import Floats
from picojoule.mapping import Mapping
from picojoule.traffic import Chain, chains_of, rows_under
from picojoule.workload import DIMS, RELEVANT, Dim, Layer, Operand

N, G, M, C, P, Q, R, S = DIMS
SINGLE = (N, G, M, C)
PAIRS = ((P, R), (Q, S))
SUMMED = (C, R, S)

Ranges = tuple[tuple[int, int, int], ...]
"""Of one dimension, each child's (start, size), and the element of the array it lies in."""


class VisitTables:
    """Tables of one mapping.

    Args:
        padded: zeros of the padding are words.
        loops: the visited ones, outermost first: (level, dimension, steps).
    """

    def __init__(
        self,
        layer: Layer,
        mapping: Mapping,
        padded: bool,
        loops: tuple[tuple[int, Dim, int], ...],
    ) -> None:
        self.axes = (layer.axis(0, padded=padded), layer.axis(1, padded=padded))
        self.depth = len(mapping.stages)
        self.chains = chains_of(mapping)
        self.visited: dict[Dim, list[tuple[int, int]]] = {d: [] for d in DIMS}
        for level, dim, count in loops:
            self.visited[dim].append((level, count))
        self._tables: dict[tuple[object, ...], Floats] = {}

    def stride(self, dim: Dim, level: int) -> int:
        """By how much the clock of *dim* advances with the loop of *level*."""
        stride = 1
        for at, count in reversed(self.visited[dim]):
            if at == level:
                break
            stride *= count
        return stride

    def _clocks(self, dim: Dim) -> Iterator[tuple[int, ...]]:
        return itertools.product(*(range(count) for _, count in self.visited[dim]))

    def _table(self, key: tuple[object, ...], make: Callable[[], list[float]]) -> Floats:
        if key not in self._tables:
            self._tables[key] = np.array(make(), float)
        return self._tables[key]

    def steps(self, dim: Dim) -> Floats:
        """Compute steps of a visit in one dimension; none where a clock points past the end."""
        return self._table(
            ("steps", dim),
            lambda: [
                float(len(self._moments(dim, clock, self.depth, self.depth)))
                for clock in self._clocks(dim)
            ],
        )

    def first(self, dim: Dim, child: int) -> Floats:
        """Whether no loop outside the child has advanced: nothing has been added up before."""
        return self._table(
            ("first", dim, child),
            lambda: [
                float(
                    all(
                        now == 0 or level >= child
                        for now, (level, _) in zip(clock, self.visited[dim], strict=True)
                    )
                )
                for clock in self._clocks(dim)
            ],
        )

    def final(self, dim: Dim, outer: frozenset[int]) -> Floats:
        """Whether the loops of a dimension at the *outer* levels are at their last step."""

        def make() -> list[float]:
            keys = [
                tuple(
                    now
                    for now, (level, _) in zip(clock, self.visited[dim], strict=True)
                    if level in outer
                )
                for clock in self._clocks(dim)
            ]
            steps = self.steps(dim)
            last = max((key for key, n in zip(keys, steps, strict=True) if n), default=())
            return [float(key == last) for key in keys]

        return self._table(("final", dim, outer), make)

    def factors(
        self,
        operand: Operand,
        child: int,
        grain: int,
        counted: str,
        slide: tuple[int, Dim] | None,
    ) -> tuple[Floats, ...]:
        singles = tuple(self._single(operand, d, child, grain, counted) for d in SINGLE)
        pairs = tuple(self._pair(operand, axis, child, grain, counted, slide) for axis in range(2))
        return (*singles, *pairs)

    def _count(self, operand: Operand, dim: Dim, moments: list[Ranges], counted: str) -> float:
        """Words of one dimension, moment by moment."""
        if dim in RELEVANT[operand]:
            return float(sum(size for ranges in moments for _, size, _ in ranges))
        if counted == "delivered":
            return float(sum(len({element for *_, element in ranges}) for ranges in moments))
        return 1.0 if counted == "first" else float(len(moments))

    def _single(self, operand: Operand, dim: Dim, child: int, grain: int, counted: str) -> Floats:
        return self._table(
            (operand, dim, child, grain, counted),
            lambda: [
                self._count(operand, dim, self._held(dim, clock, child, grain), counted)
                for clock in self._clocks(dim)
            ],
        )

    def _pair(
        self,
        operand: Operand,
        axis: int,
        child: int,
        grain: int,
        counted: str,
        slide: tuple[int, Dim] | None,
    ) -> Floats:
        outer, tap = PAIRS[axis]
        along = slide if slide is not None and slide[1] in (outer, tap) else None

        def make() -> list[float]:
            counts = []
            for a in self._clocks(outer):
                for b in self._clocks(tap):
                    now = (
                        self._held(outer, a, child, grain),
                        self._held(tap, b, child, grain),
                    )
                    if operand is not Operand.INPUT:
                        counts.append(
                            self._count(operand, outer, now[0], counted)
                            * self._count(operand, tap, now[1], counted)
                        )
                        continue
                    old = now
                    if along is not None:
                        old = (
                            self._before(outer, a, child, grain, along),
                            self._before(tap, b, child, grain, along),
                        )
                    counts.append(self._rows(axis, now, old, along is not None, counted))
            return counts

        return self._table((operand, axis, child, grain, counted, along), make)

    def _before(
        self,
        dim: Dim,
        clock: tuple[int, ...],
        child: int,
        grain: int,
        along: tuple[int, Dim],
    ) -> list[Ranges]:
        """What was held one step earlier on the loop that the window slides on."""
        if dim is not along[1]:
            return self._held(dim, clock, child, grain)
        earlier = tuple(
            now - (level == along[0])
            for now, (level, _) in zip(clock, self.visited[dim], strict=True)
        )
        return self._held(dim, earlier, child, grain) if min(earlier) >= 0 else [()]

    def _rows(
        self,
        axis: int,
        now: tuple[list[Ranges], list[Ranges]],
        old: tuple[list[Ranges], list[Ranges]],
        slides: bool,
        counted: str,
    ) -> float:
        """Input rows (columns) under outputs and taps, moment by moment; if it slides, new ones."""
        window = self.axes[axis]
        total = 0
        for i, outputs in enumerate(now[0]):
            for j, taps in enumerate(now[1]):
                unions: dict[tuple[int, int], set[int]] = {}
                for m, (p, n_p, outer) in enumerate(outputs):
                    for n, (r, n_r, inner) in enumerate(taps):
                        rows = _rows(window, p, p + n_p, r, r + n_r)
                        if slides and m < len(old[0][i]) and n < len(old[1][j]):
                            (q, n_q, _), (s, n_s, _) = old[0][i][m], old[1][j][n]
                            rows = rows - _rows(window, q, q + n_q, s, s + n_s)
                        # Elements that are sent their own copies are counted one by one.
                        key = (outer, inner) if counted == "delivered" else (0, 0)
                        unions.setdefault(key, set()).update(rows)
                total += sum(map(len, unions.values()))
        return float(total)

    def _held(self, dim: Dim, clock: tuple[int, ...], child: int, grain: int) -> list[Ranges]:
        """Ranges of the children in the first instance at *grain*, moment by moment.

        A tile stays while loops that are not visited run, so only flows have many moments.
        """
        moments = self._moments(dim, clock, child, grain)
        return moments if child == self.depth else moments[:1]

    def _moments(self, dim: Dim, clock: tuple[int, ...], child: int, grain: int) -> list[Ranges]:
        times = {level: now for (level, _), now in zip(self.visited[dim], clock, strict=True)}
        return _moments(self.chains[dim], tuple(sorted(times.items())), child, grain)


_rows = cache(rows_under)


@cache
def _moments(
    dim: Chain, clock: tuple[tuple[int, int], ...], child: int, grain: int
) -> list[Ranges]:
    """What the elements hold of a dimension, for each moment of the loops not in *clock*.

    Of arrays outside *grain* only the first element is followed.
    """
    times = dict(clock)

    def walk(level: int, start: int, size: int, element: int) -> list[Ranges]:
        if level == child:
            return [((start, size, element),)]
        step, tile = dim.step(level), dim.tiles[level + 1]
        moments: list[Ranges] = []
        for now in [times[level]] if level in times else range(-(-size // step)):
            low = start + now * step
            high = min(low + step, start + size)
            lows = range(low, high, tile)
            if level < grain:
                lows = lows[:1]
            parts = [
                walk(level + 1, x, min(tile, high - x), n if level == grain else element)
                for n, x in enumerate(lows)
            ]
            # Elements work side by side; the first never has fewer moments than the others.
            moments += [
                tuple(itertools.chain.from_iterable(x for x in side if x is not None))
                for side in itertools.zip_longest(*parts)
            ]
        return moments

    return walk(0, 0, dim.tiles[0], 0)


visit_tables = lru_cache(maxsize=8)(VisitTables)
"""The tables of a mapping, kept for accelerators that differ only in how fast they are."""
