"""Windows: how far a filter reaches, and over which rows of its input it slides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Sizes = TypeVar("Sizes", int, "npt.NDArray[np.int64]")
"""A size of a tile, or the sizes of many."""


class WindowAxis(NamedTuple):
    """One of the two axes along which a filter slides over its input.

    Output ``p`` and tap ``r`` meet at input row ``p * stride + r * dilation``, counted from the
    first row of the padded input.

    Args:
        outputs, taps: output and filter rows (or columns).
        stride: input rows from one output to the next.
        dilation: input rows from one tap to the next.
        stored: the input rows that hold data, from the first to before the last padding.
    """

    outputs: int
    taps: int
    stride: int
    dilation: int
    stored: range

    def extent(self, outputs: Sizes, taps: Sizes) -> Sizes:
        """Distinct input rows under *outputs* consecutive outputs and *taps* consecutive taps.

        Two pairs (output, tap) touch the same row iff they differ by a multiple of
        ``(dilation, -stride)`` in lowest terms, so all pairs but those with a predecessor count.

        >>> WindowAxis(outputs=4, taps=3, stride=2, dilation=1, stored=range(9)).extent(4, 3)
        9
        """
        common = math.gcd(self.stride, self.dilation)
        later_outputs = outputs - self.dilation // common
        later_taps = taps - self.stride // common
        # (x + |x|) / 2 is x or nothing, of one size as of many.
        twice = (later_outputs + abs(later_outputs)) * (later_taps + abs(later_taps))
        distinct: Sizes = outputs * taps - twice // 4
        return distinct

    def rows_of_one_tap(self) -> int:
        """Stored rows that the outputs touch under the first tap: each touches one of its own.

        >>> WindowAxis(4, taps=1, stride=2, dilation=1, stored=range(1, 9)).rows_of_one_tap()
        3
        """
        touched = range(0, self.outputs * self.stride, self.stride)
        return sum(self.stored.start <= row < self.stored.stop for row in touched)


def window_reach(taps: int, dilation: int) -> int:
    """Input rows from the first tap of a window to its last, both included."""
    return (taps - 1) * dilation + 1


def outputs_over(rows: int, taps: int, stride: int, dilation: int) -> int:
    """Outputs of a window that slides over *rows* rows, padding included; none if it is larger."""
    room = rows - window_reach(taps, dilation)
    return room // stride + 1 if room >= 0 else 0
