"""What rows can tell of constants: which cannot be told apart, and how far each may lie.

Two constants whose columns are (nearly) multiples of each other can be exchanged one for the other,
and only a combination of them is determined. Such directions are those whose singular value, in the
matrix with columns of equal length, is less than a thirtieth of the largest (Belsley, Kuh and
Welsch, Regression Diagnostics, 1980: a condition index above 30 is a strong dependency).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from picojoule.calibration.linear import Floats, LinearFit

DEPENDENT = 30.0
"""Condition index above which a direction is not determined."""
NEARLY = 0.01
"""A value fits nearly as well if the rows' root-mean-square error grows by at most this."""

_TAKES_PART = 0.1  # of an undetermined direction, of length 1
_SAME = 1e-9  # of the largest singular value: not a matter of errors of measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Entangled:
    """Constants that the rows cannot tell apart, by their places, and what is determined of them.

    Args:
        members: places of the constants.
        exactly: whatever the errors of measurement; else the rows are too alike.
        combinations: rows of coefficients, one per member, the last 1 where it takes part: the sum
            of coefficient x value is determined.
    """

    members: tuple[int, ...]
    exactly: bool
    combinations: tuple[tuple[float, ...], ...]


def condition(scaled: Floats) -> float:
    """The largest singular value over the smallest, columns without an effect left out."""
    seen = scaled[:, (scaled**2).sum(axis=0) > 0]
    if not seen.size:
        return 1.0
    values = np.linalg.svd(seen, compute_uv=False)
    rank = seen.shape[1]
    if len(values) < rank or values[-1] <= _SAME * values[0]:
        return math.inf
    return float(values[0] / values[-1])


def entangled(scaled: Floats, shares: Floats) -> Iterator[Entangled]:
    """Sets of constants of which only combinations are determined.

    Args:
        scaled: [rows, constants] with columns of equal length.
        shares: [constants] what a unit of each is in these columns.
    """
    seen = np.flatnonzero(shares > 0)
    if len(seen) < 2:
        return
    values, directions = _singular(scaled[:, seen])
    open_ways = values * DEPENDENT < values[0]
    if not open_ways.any():
        return
    null = directions[open_ways]
    projector = null.T @ null
    for group in _connected(projector):
        own = scaled[:, seen[group]]
        singular, ways = _singular(own)
        held = singular * DEPENDENT >= singular[0]
        yield Entangled(
            members=tuple(int(n) for n in seen[group]),
            exactly=bool((singular <= _SAME * singular[0]).any()),
            combinations=_reduced(ways[held] * shares[seen[group]]),
        )


def interval(fit: LinearFit, index: int, best: float) -> tuple[float, float]:
    """From where to where a constant may lie, the others fitted anew, so that rows fit nearly as
    well as *best*: their root-mean-square error grows by at most :data:`NEARLY`.
    """
    share = float(fit.shares[index])
    if share == 0:
        return 0.0, math.inf
    at = float(fit.solve()[index])

    def within(value: float) -> bool:
        return fit.rms(fit.solve_with(index, value)) <= best + NEARLY

    low = 0.0 if within(0.0) else bisected(within, at, 0.0)
    beyond = max(at, 1e-3 / share)
    for _ in range(40):
        beyond *= 2
        if not within(beyond):
            return low, bisected(within, at, beyond)
    return low, math.inf


def bisected(within: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last value from *inside* on towards *outside* that is within, to a thousandth."""
    for _ in range(60):
        if abs(outside - inside) <= 1e-4 * max(abs(inside), abs(outside)):
            break
        middle = (inside + outside) / 2
        if within(middle):
            inside = middle
        else:
            outside = middle
    return inside


def _singular(matrix: Floats) -> tuple[Floats, Floats]:
    """Singular values, as many as columns, and their directions as rows."""
    _, values, directions = np.linalg.svd(matrix, full_matrices=True)
    return np.concatenate([values, np.zeros(len(directions) - len(values))]), directions


def _connected(projector: Floats) -> Iterator[list[int]]:
    """Places that undetermined directions lead from one to another."""
    left = [n for n in range(len(projector)) if projector[n, n] > _TAKES_PART**2]
    while left:
        group, edge = set[int](), [left[0]]
        while edge:
            here = edge.pop()
            group.add(here)
            edge += [n for n in left if n not in group and abs(projector[here, n]) > _TAKES_PART**2]
        left = [n for n in left if n not in group]
        yield sorted(group)


def _reduced(rows: Floats) -> tuple[tuple[float, ...], ...]:
    """The same combinations, each with a last coefficient of 1 that no other has."""
    rows = rows.copy()
    place = rows.shape[1] - 1
    scale = np.abs(rows).max(axis=0, initial=0.0)
    for row in range(len(rows)):
        while place >= 0 and np.abs(rows[row:, place]).max() <= 1e-9 * scale[place]:
            place -= 1
        pivot = row + int(np.abs(rows[row:, place]).argmax())
        rows[[row, pivot]] = rows[[pivot, row]]
        rows[row] /= rows[row, place]
        for other in range(len(rows)):
            if other != row:
                rows[other] -= rows[other, place] * rows[row]
        place -= 1
    rows[np.abs(rows) < 1e-9 * np.abs(rows).max(axis=0, initial=1e-300)] = 0.0
    return tuple(tuple(float(c) for c in row) for row in rows)
