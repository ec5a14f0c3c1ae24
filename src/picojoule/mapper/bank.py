"""The options of a set of blocks, and the factors of every count asked for.

A count is a product of one factor per block (:mod:`blocks`); the :class:`Bank` numbers the counts
that classes ask for.
"""

from __future__ import annotations

import numpy as np

from picojoule.mapper.blocks import Block, Column
from picojoule.mapper.boxes import fewest
from picojoule.mapper.families import Columns
from picojoule.mapper.options import NO_LOWS, Options, PerBlock
from picojoule.mapper.space import Space
from picojoule.workload import DIMS


class Bank:
    """The options of a set of blocks; each column is numbered, and computed, once.

    Args:
        which: of the sets of blocks of the space.
    """

    def __init__(self, space: Space, which: int) -> None:
        self.space, self._which = space, which
        self._numbers: dict[Column, int] = {}

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What is chosen for one by one; listing their options may take long."""
        return self.space.blocks[self._which]

    def number(self, column: Column) -> int:
        """The number of a column."""
        return self._numbers.setdefault(column, len(self._numbers))

    def columns(self) -> Columns:
        """Every column asked for so far."""
        count = (len(self._numbers), len(self.blocks))
        where, same, least = np.empty(count, np.int64), np.empty(count), np.empty(count)
        for b, block in enumerate(self.blocks if count[0] else ()):  # nothing is kept inside
            places = block.places(list(self._numbers))
            where[:, b], same[:, b], least[:, b] = zip(*places, strict=True)
        return Columns(where=where, same=same, scale=same.prod(axis=1), least=least.prod(axis=1))

    def options(self) -> Options:
        """The options of all blocks, with the factors of every column."""
        gaps = self.space.array_gaps
        starts = np.cumsum([0] + [block.size for block in self.blocks])
        fans = np.ones((int(starts[-1]), len(gaps), 2), np.int64)
        dims = np.full((len(self.blocks), 2), -1, np.int64)
        for b, block in enumerate(self.blocks):
            for n, dim in enumerate(block.dims):
                fans[starts[b] : starts[b + 1], :, n] = block.fans[n][:, gaps]
                dims[b, n] = DIMS.index(dim)
        return Options(
            starts=starts.astype(np.int64),
            raw=PerBlock(*(block.raw for block in self.blocks)),
            logs=PerBlock(*(block.logs for block in self.blocks)),
            lows=PerBlock(*(block.lows for block in self.blocks)),
            runs=np.concatenate([block.runs for block in self.blocks]),
            fans=fans,
            dims=dims,
        )

    def fewest_steps(self) -> float:
        """Steps that no mapping undercuts: the arrays limit them here, the memories do not.

        Of the options of a block that unroll alike, only that with the fewest steps counts.
        """
        options = self.options()
        arrays = [array for array in self.space.arrays if array is not None]
        starts, fans, raw = [0], [], []
        for b, block in enumerate(self.blocks):
            spread = options.fans[options.starts[b] : options.starts[b + 1]]
            alike = spread.reshape(block.size, -1)
            kinds, kind = np.unique(alike, axis=0, return_inverse=True)
            steps = np.full(len(kinds), np.inf)
            np.minimum.at(steps, kind.ravel(), block.steps())
            fans.append(kinds.reshape(len(kinds), len(arrays), 2))
            raw.append(np.concatenate([steps, *fans[-1].prod(axis=2).T.astype(float)]))
            starts.append(starts[-1] + len(kinds))
        count, columns = starts[-1], 1 + len(arrays)
        where = np.outer(np.diff(starts), np.arange(columns))
        limits = np.zeros((len(arrays), columns))
        for a, array in enumerate(arrays):
            limits[a, 1 + a] = 1 / array.size
        return fewest(
            Options(
                starts=np.array(starts),
                raw=PerBlock(*raw),
                logs=PerBlock(*map(np.log, raw)),
                lows=NO_LOWS,
                runs=np.zeros(count, np.int64),
                fans=np.concatenate(fans),
                dims=options.dims,
            ),
            where,
            limits,
            *self.space.array_limits(),
        )
