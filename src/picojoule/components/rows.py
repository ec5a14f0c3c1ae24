"""The rows of ``data/components``: published numbers, each with its source."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple


@cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """The rows of ``data/components/NAME.csv``."""
    path = resources.files("picojoule") / "data" / "components" / f"{name}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(csv.DictReader(line for line in lines if not line.startswith("#")))


class Between(NamedTuple):
    """Where a value lies: between two points, *share* of the way from *low* to *high*."""

    low: float
    high: float
    share: float


def between(value: float, points: Sequence[float], *, logarithmic: bool = True) -> Between:
    """The neighbours of *value* among rising *points*, which enclose it.

    >>> between(48.0, (32, 64, 128), logarithmic=False)
    Between(low=32, high=64, share=0.5)
    >>> between(64.0, (32, 64, 128))
    Between(low=64, high=64, share=0.0)
    """
    low = max(point for point in points if point <= value)
    high = min(point for point in points if point >= value)
    if low == high:
        return Between(low, high, 0.0)
    if logarithmic:
        return Between(low, high, math.log(value / low) / math.log(high / low))
    return Between(low, high, (value - low) / (high - low))


def rounded(value: float) -> float:
    """*value* with six digits: more than any of these numbers deserves.

    >>> rounded(1.17741234567)
    1.17741
    """
    return float(f"{value:.6g}")
