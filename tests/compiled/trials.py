"""Functions that test_building compiles: a unit of their own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Bools1, Floats2, Ints1, Singles1
from picojoule.compiled.functions import compiled


class Inner(NamedTuple):
    flags: Bools1
    scale: float


class Outer(NamedTuple):
    inner: Inner
    places: Ints1
    doubled: bool


@compiled()
def _twice(number: float) -> float:
    return 2 * number


@compiled()
def swapped(inner: Inner, number: int) -> tuple[int, Inner]:
    return number + 1, Inner(flags=inner.flags[1:], scale=-inner.scale)


@compiled()
def everything(
    outer: Outer, pair: tuple[int, float], singles: Singles1, table: Floats2
) -> tuple[float, tuple[int, bool], Singles1, Floats2, Ints1]:
    total = pair[0] * pair[1]
    for i in range(len(outer.places)):
        if outer.inner.flags[i]:
            total += outer.inner.scale * table[outer.places[i], 0]
    if outer.doubled:
        total = _twice(total)
    table[0, 0] = -1.0
    more = np.empty((1, len(singles)))
    for i in range(len(singles)):
        more[0, i] = singles[i]
    return total, (len(singles), total > 0), singles[1:], more, outer.places


@compiled()
def _of_lists(n: int) -> int:
    return len([i for i in range(n) if i % 2])
