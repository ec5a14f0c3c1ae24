"""What every option of every block contributes to every count.

A count is a product of one factor per block (:mod:`traffic`). A :class:`Column` names a count; the
:class:`Bank` computes its factors for all options of a set of blocks, once for all classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from picojoule.boxes import fewest
from picojoule.mapspace import IRRELEVANT, Block, Space
from picojoule.programme import Options
from picojoule.tilings import Floats, Ints, repeats, window_words
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Operand

P = Dim.P
INPUT = OPERANDS[0]


class Words(NamedTuple):
    """The words of an edge at a grain, under a pattern of stays."""

    operand: Operand
    child: int
    grain: int
    still: int  # bit mask of levels
    slide: tuple[int, Dim] | None


class Tile(NamedTuple):
    """The words of an operand's tile at a level."""

    level: int
    operand: Operand


class Elements(NamedTuple):
    """The unrolling over one array."""

    gap: int


class Steps(NamedTuple):
    """Steps of the whole nest."""


class One(NamedTuple):
    """Nothing to count."""


class Column(NamedTuple):
    """A count, whose factors are known for every option of every block."""

    what: Words | Tile | Elements | Steps | One
    divided: int = 0  # by the elements in use of that many of the outermost arrays
    inverse: bool = False  # the reciprocal: a larger count lowers what it enters


class Bank:
    """The factors of all options of a set of blocks; each column is computed once."""

    def __init__(self, space: Space, blocks: tuple[Block, ...]) -> None:
        self.space, self.blocks = space, blocks
        self._raw, self._logs = np.empty(0), np.empty(0)  # room for more columns
        self._size = 0
        self._numbers: dict[Column, int] = {}
        self._where: list[list[int]] = []
        self._scale: list[float] = []
        self._least: list[float] = []
        self._windows: dict[object, Floats] = {}
        self._counted: dict[tuple[int, Words], Floats] = {}
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
                starts.astype(np.int64), self._raw, self._logs, fans, dims, groups
            )
        return self._options

    def _keep(self, values: Floats) -> int:
        """Where these factors are kept from now on."""
        start, self._size = self._size, self._size + len(values)
        if self._size > len(self._raw):
            room = np.empty(2 * self._size)
            self._raw = np.concatenate([self._raw[:start], room])
            self._logs = np.concatenate([self._logs[:start], room])
            if self._options is not None:
                self._options = self._options._replace(raw=self._raw, logs=self._logs)
        self._raw[start : self._size] = values
        np.log(values, out=self._logs[start : self._size])
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
            np.minimum.at(steps, kind.ravel(), self._values(b, Column(Steps())))
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
                np.array(starts),
                factors,
                np.log(factors),
                np.concatenate(fans),
                options.dims,
                np.zeros(count, np.int64),
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
            for b in range(len(self.blocks)):
                values = self._values(b, column)
                low = float(values.min())
                if low == values.max():
                    scale *= low
                    continue
                where[b] = self._keep(values)
                least *= low
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

    def _values(self, which: int, column: Column) -> Floats:
        block, count = self.blocks[which], column.what
        if isinstance(count, Words):
            values = self.counted(which, count)
        elif isinstance(count, Tile):
            values = self._tile(block, count)
        elif isinstance(count, Elements):
            values = block.unrolled(count.gap)
        elif isinstance(count, Steps):
            values = np.ones(block.size)
            for n in range(len(block.dims)):
                values = values * repeats(block.tiles[n], block.fans[n], self.space.depth, 0, 0)
        else:
            values = np.ones(block.size)
        for gap in self.space.array_gaps[: column.divided]:
            values = values / block.unrolled(gap)
        return 1 / values if column.inverse else values

    def counted(self, which: int, words: Words) -> Floats:
        """The factor of one block in a count of words, for all of its options."""
        key = (which, words)
        if key not in self._counted:
            block = self.blocks[which]
            if words.operand is INPUT and len(block.dims) == 2:
                self._counted[key] = self._window(which, words)
            else:
                total = np.ones(block.size)
                for n, dim in enumerate(block.dims):
                    total = total * self._single(which, n, dim, words)
                self._counted[key] = total
        return self._counted[key]

    def _single(self, which: int, n: int, dim: Dim, words: Words) -> Floats:
        block = self.blocks[which]
        bound = self.space.layer.bounds[DIMS.index(dim)]
        if dim in RELEVANT[words.operand]:
            return np.full(block.size, float(bound))
        if bound == 1:
            return np.ones(block.size)
        chains = block.chains[n]
        per_chain = repeats(chains[0], chains[1], words.child, words.grain, words.still)
        return per_chain if block.pick is None else per_chain[block.pick[n]]

    def _window(self, which: int, words: Words) -> Floats:
        """Window words of all options of a pair."""
        block = self.blocks[which]
        axis = 0 if block.dims[0] is P else 1
        level, tap = -1, False
        if words.slide is not None and words.slide[1] in block.dims:
            level, tap = words.slide[0], words.slide[1] is block.dims[1]
        same = 0 if self.space.mirrored else axis
        key = (same, words.child, words.grain, level, tap)
        if key not in self._windows:
            self._windows[key] = window_table(
                block,
                self.space.layer.stride[axis],
                self.space.layer.dilation[axis],
                self.space.stored(axis),
                words.child,
                words.grain,
                level,
                tap,
            )
        return self._windows[key]

    def _tile(self, block: Block, tile: Tile) -> Floats:
        """The factor of a block's options in the words of a tile."""
        if tile.operand is INPUT and len(block.dims) == 2:
            axis = 0 if block.dims[0] is P else 1
            tiles = block.tiles
            extent = self.space.extent(tiles[0][:, tile.level], tiles[1][:, tile.level], axis)
            return extent.astype(float)
        total = np.ones(block.size)
        for n, dim in enumerate(block.dims):
            if dim in RELEVANT[tile.operand]:
                total = total * block.tiles[n][:, tile.level]
        return total

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
        for which, block in enumerate(self.blocks):
            keep = np.ones(block.size, bool)
            for level, dims in held:
                for n, dim in enumerate(block.dims):
                    if dim in dims:
                        inner = block.tiles[n][:, level + 1] * block.fans[n][:, level]
                        keep &= inner >= block.tiles[n][:, level]
            for outside, inside in unshared:
                keep &= self.counted(which, outside) == self.counted(which, inside)
            for words in once:
                for n, dim in enumerate(block.dims):
                    if dim in IRRELEVANT[words.operand]:
                        keep &= self._single(which, n, dim, words) == 1
            if not keep.any():
                return None
            parts.append(np.where(keep, 0.0, np.inf))
        return np.concatenate(parts)


def window_table(
    block: Block,
    stride: int,
    dilation: int,
    stored: tuple[int, int],
    child: int,
    grain: int,
    level: int,
    tap: bool,
) -> Floats:
    """Window words of all options of a pair; equal prefixes of chains are counted once."""
    assert block.pick is not None
    picks, inverses = [], []
    for tiles, fans in block.chains:
        # Only what lies outside the child matters.
        columns = np.concatenate([tiles[:, 1 : child + 1], fans[:, :child]], axis=1)
        _, first, inverse = np.unique(columns, axis=0, return_index=True, return_inverse=True)
        inverses.append(inverse.ravel())
        picks.append((tiles[first], fans[first]))
    table = window_words(*picks[0], *picks[1], stride, dilation, *stored, child, grain, level, tap)
    return np.asarray(table[inverses[0][block.pick[0]], inverses[1][block.pick[1]]])
