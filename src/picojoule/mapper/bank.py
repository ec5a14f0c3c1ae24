"""The factors of all options of a set of blocks, side by side for the compiled search.

A count is a product of one factor per block (:mod:`blocks`); the :class:`Bank` numbers the counts
that classes ask for and lays their factors out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from picojoule.mapper.blocks import IRRELEVANT, Block, Column, Factors, Words
from picojoule.mapper.boxes import fewest
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.programme import Options
from picojoule.mapper.space import Space
from picojoule.workload import DIMS, Dim


class Bank:
    """The factors of all options of a set of blocks; each column is computed once."""

    def __init__(self, space: Space, blocks: tuple[Block, ...]) -> None:
        self.space, self.blocks = space, blocks
        self._raw, self._logs = np.empty(0), np.empty(0)  # room for more columns
        self._size = 0
        self._numbers: dict[Column, int] = {}
        self._places: dict[int, int] = {}  # of factors that several columns have
        self._where: list[list[int]] = []
        self._scale: list[float] = []
        self._least: list[float] = []
        self._options: Options | None = None

    def options(self) -> Options:
        """The options of all blocks, with every column asked for so far."""
        if self._options is None:
            gaps = self.space.array_gaps
            starts = np.cumsum([0] + [block.size for block in self.blocks])
            fans = np.ones((int(starts[-1]), len(gaps), 2), np.int64)
            dims = np.full((len(self.blocks), 2), -1, np.int64)
            for b, block in enumerate(self.blocks):
                for n, dim in enumerate(block.dims):
                    fans[starts[b] : starts[b + 1], :, n] = block.fans[n][:, gaps]
                    dims[b, n] = DIMS.index(dim)
            groups = np.concatenate([block.group for block in self.blocks])
            self._options = Options(
                starts=starts.astype(np.int64),
                raw=self._raw,
                logs=self._logs,
                fans=fans,
                dims=dims,
                groups=groups,
            )
        return self._options

    def _keep(self, factors: Factors) -> int:
        """Where these factors are kept from now on; blocks have equal ones only once."""
        if id(factors) in self._places:
            return self._places[id(factors)]
        self._places[id(factors)] = self._size
        start, self._size = self._size, self._size + len(factors.values)
        if self._size > len(self._raw):
            room = np.empty(2 * self._size)
            self._raw = np.concatenate([self._raw[:start], room])
            self._logs = np.concatenate([self._logs[:start], room])
            if self._options is not None:
                self._options = self._options._replace(raw=self._raw, logs=self._logs)
        self._raw[start : self._size] = factors.values
        self._logs[start : self._size] = factors.logs
        return start

    def fewest_steps(self) -> float:
        """Steps that no mapping undercuts: the arrays limit them here, the memories do not.

        Of the options of a block that unroll alike, only that with the fewest steps counts.
        """
        options = self.options()
        arrays = [array for array in self.space.arrays if array is not None]
        starts, fans = [0], []
        raw: list[list[Floats]] = [[] for _ in range(1 + len(arrays))]
        for b, block in enumerate(self.blocks):
            spread = options.fans[options.starts[b] : options.starts[b + 1]]
            alike = spread.reshape(block.size, -1)
            kinds, kind = np.unique(alike, axis=0, return_inverse=True)
            steps = np.full(len(kinds), np.inf)
            np.minimum.at(steps, kind.ravel(), block.steps())
            fans.append(kinds.reshape(len(kinds), len(arrays), 2))
            raw[0].append(steps)
            for a in range(len(arrays)):
                raw[1 + a].append(fans[-1][:, a].prod(axis=1).astype(float))
            starts.append(starts[-1] + len(kinds))
        factors = np.concatenate([np.concatenate(column) for column in raw])
        count, columns = starts[-1], 1 + len(arrays)
        where = np.add.outer(np.array(starts[:-1]), count * np.arange(columns))
        limits = np.zeros((len(arrays), columns))
        for a, array in enumerate(arrays):
            limits[a, 1 + a] = 1 / array.size
        return fewest(
            Options(
                starts=np.array(starts),
                raw=factors,
                logs=np.log(factors),
                fans=np.concatenate(fans),
                dims=options.dims,
                groups=np.zeros(count, np.int64),
            ),
            where,
            limits,
            *self.space.array_limits(),
        )

    def number(self, column: Column) -> int:
        """The number of a column; its factors are computed when it is first asked for."""
        if column not in self._numbers:
            where = [-1] * len(self.blocks)
            scale = least = 1.0
            for b, block in enumerate(self.blocks):
                factors = block.factors(column)
                if factors.same:
                    scale *= factors.least
                    continue
                where[b] = self._keep(factors)
                least *= factors.least
            self._numbers[column] = len(self._where)
            self._where.append(where)
            self._scale.append(scale)
            self._least.append(least)
        return self._numbers[column]

    def factors(self, numbers: Sequence[int]) -> tuple[Ints, Floats, Floats]:
        """Where the factors of columns are, and what the constant ones come to.

        Returns:
            ``[blocks, columns]`` offsets in the options (-1: all ones); the products of the
            factors of blocks in which they do not vary; the least products of the others.
        """
        return (
            np.array([self._where[n] for n in numbers], np.int64)
            .reshape(len(numbers), -1)
            .T.copy(),
            np.array([self._scale[n] for n in numbers]),
            np.array([self._least[n] for n in numbers]),
        )

    def penalty(
        self,
        held: tuple[tuple[int, frozenset[Dim]], ...],
        unshared: Iterable[tuple[Words, Words]],
        once: Iterable[Words],
    ) -> Floats | None:
        """Zero for every option allowed, infinite for others; None if a block has none.

        Args:
            held: levels at which no loop of these dimensions may run.
            unshared: counts outside and inside an array that must be the same.
            once: counts that may not repeat what does not index their operand.
        """
        parts = []
        for block in self.blocks:
            keep = np.ones(block.size, bool)
            for level, dims in held:
                for n, dim in enumerate(block.dims):
                    if dim in dims:
                        inner = block.tiles[n][:, level + 1] * block.fans[n][:, level]
                        keep &= inner >= block.tiles[n][:, level]
            for outside, inside in unshared:
                keep &= block.words(outside) == block.words(inside)
            for words in once:
                for n, dim in enumerate(block.dims):
                    if dim in IRRELEVANT[words.operand]:
                        keep &= block.repeats(n, words) == 1
            if not keep.any():
                return None
            parts.append(np.where(keep, 0.0, np.inf))
        return np.concatenate(parts)
