"""The options of all blocks, as what is compiled reads them, and which of them a class allows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Bools1, Floats1, Floats2, Ints1, Ints2, Ints3
from picojoule.compiled.functions import compiled

BUCKET = 16
"""Options that stand together are alike, so most buckets are bounded away as a whole."""


class PerBlock(NamedTuple):
    """One store for each block, named after its dimensions."""

    rows: Floats1
    columns: Floats1
    M: Floats1
    C: Floats1
    N: Floats1
    G: Floats1


class Options(NamedTuple):
    """The options of all blocks, one block after the other, and their columns."""

    starts: Ints1  # [blocks + 1] first option of each block
    raw: PerBlock  # factors of each block's options, one column after the other
    logs: PerBlock  # their logarithms
    lows: PerBlock  # the least logarithm of each bucket; empty: options are looked at one by one
    runs: Ints1  # [options] bit mask of the loops that run
    fans: Ints3  # [options, arrays, 2] unrolling of the block's dimensions
    dims: Ints2  # [blocks, 2] index of those dimensions (-1: none)


NO_LOWS = PerBlock(*(np.empty(0) for _ in PerBlock._fields))


class Bars(NamedTuple):
    """What a class forbids, asked of an option only where it would be taken.

    The factors of an allowed option in two columns are the same for each of the *pairs*.
    """

    loops: Ints1  # [blocks] bit mask of the loops that may not run (``Options.runs``)
    first: Ints1  # [blocks + 1] first pair of each block
    pairs: Ints2  # [pairs, 2] where the columns begin in the block's store; -1: one factor
    alone: Floats2  # [pairs, 2] that factor


@compiled()
def no_bars(blocks: int) -> Bars:
    """Nothing is forbidden."""
    return Bars(
        loops=np.zeros(blocks, np.int64),
        first=np.zeros(blocks + 1, np.int64),
        pairs=np.zeros((0, 2), np.int64),
        alone=np.zeros((0, 2)),
    )


@compiled()
def allows(options: Options, bars: Bars, b: int, option: int) -> bool:
    """Whether a class allows an option of a block."""
    if options.runs[option] & bars.loops[b]:
        return False
    raw, at = options.raw[b], option - options.starts[b]
    for n in range(bars.first[b], bars.first[b + 1]):
        i, j = bars.pairs[n, 0], bars.pairs[n, 1]
        one = bars.alone[n, 0] if i < 0 else raw[i + at]
        other = bars.alone[n, 1] if j < 0 else raw[j + at]
        if one != other:
            return False
    return True


@compiled()
def allowed(options: Options, bars: Bars) -> Bools1:
    """Which options a class allows."""
    answers = np.empty(options.starts[-1], np.bool_)
    for b in range(len(bars.loops)):
        for option in range(options.starts[b], options.starts[b + 1]):
            answers[option] = allows(options, bars, b, option)
    return answers
