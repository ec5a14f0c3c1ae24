"""A small programme by hand: its value at a point, and its dual bound."""

from __future__ import annotations

import math

import numpy as np
import pytest

from picojoule.mapper.kernels import Floats
from picojoule.mapper.options import BUCKET, NO_LOWS, Bars, Options, PerBlock, no_bars
from picojoule.mapper.programme import (
    EDP,
    ENERGY,
    LATENCY,
    NOTHING_BEYOND,
    Multipliers,
    Programme,
    dual,
    living,
    log_of,
    value_of,
)

# Two blocks of three options, two columns: cutting more lowers the first and raises the second.
FIRST = [[4.0, 2.0, 1.0], [4.0, 2.0, 1.0]]  # [blocks, options]
SECOND = [[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]


def options() -> Options:
    stores = [np.array([*FIRST[b], *SECOND[b]]) for b in range(2)] + 4 * [np.empty(0)]
    return Options(
        starts=np.array([0, 3, 6]),
        raw=PerBlock(*stores),
        logs=PerBlock(*map(np.log, stores)),
        lows=NO_LOWS,
        runs=np.zeros(6, np.int64),
        fans=np.ones((6, 0, 2), np.int64),
        dims=np.array([[2, -1], [3, -1]]),
    )


def programme(mode: int = ENERGY, room: float = 16.0) -> Programme:
    """5 + first + 2 x second, where the second may not exceed *room*; a cycle for each first."""
    return Programme(
        where=np.array([[0, 3], [0, 3]]),
        mode=mode,
        constant=5.0,
        base=5.0,
        discount=0.0,
        energy=np.array([1.0, 2.0]),
        drawn=0.0,
        times=np.array([[1.0, 0.0, 0.0]]),
        relief=np.ones(1),
        cycle_limit=math.inf,
        beyond=NOTHING_BEYOND,
        limits=np.array([[0.0, 1 / room]]),
        axes=np.ones((0, 1), np.int64),
        allowed=np.zeros((0, 1), np.int64),
    )


def bound(problem: Programme) -> float:
    rates = np.array([float(problem.mode != LATENCY), float(problem.mode != ENERGY), 0.02])
    value, _ = dual(
        options(), problem, Bars(*no_bars(2)), Multipliers(np.zeros(3), rates),
        np.zeros((2, 9), np.int64), 8, 200, math.inf, np.empty(3),
    )  # fmt: skip
    return math.exp(value)


def every_value(problem: Programme) -> list[float]:
    return [
        value_of(problem, np.array([a * b, c * d]))
        for a, c in zip(FIRST[0], SECOND[0], strict=True)
        for b, d in zip(FIRST[1], SECOND[1], strict=True)
    ]


def test_values() -> None:
    # Both products are 2 x 2 = 4: 5 + 4 + 2 x 4 energy, 4 cycles.
    at = np.array([4.0, 4.0])
    assert value_of(programme(), at) == 17.0
    assert value_of(programme(LATENCY), at) == 4.0
    assert value_of(programme(EDP), at) == 68.0
    assert value_of(programme()._replace(drawn=0.5), at) == 19.0
    assert value_of(programme(room=3.9), at) == math.inf
    assert value_of(programme()._replace(cycle_limit=3.9), at) == math.inf


def test_a_negative_coefficient_divides() -> None:
    # 5 - 2 / (1 / 4) + 4: its column holds the reciprocal of what it takes away.
    problem = programme()._replace(energy=np.array([1.0, -2.0]))
    assert value_of(problem, np.array([4.0, 0.25])) == 1.0


def test_the_dual_is_below_every_value() -> None:
    # first x second = 16 at every point, so first + 2 x second is least where they are 4 and 4
    # (12) or 8 and 2 (12); the mean inequality gives 2 x sqrt(2 x 16) = 11.31, and no more.
    problem = programme()
    assert min(every_value(problem)) == 5 + 12
    assert bound(problem) == pytest.approx(2 * math.sqrt(32), rel=1e-3)
    assert bound(problem) <= 2 * math.sqrt(32) * (1 + 1e-9)


def test_a_limit_lifts_the_dual() -> None:
    # The second may not exceed 1: only (16, 1) is left, 16 + 2.
    problem = programme(room=1.0)
    assert min(every_value(problem)) == 5 + 18
    assert 2 * math.sqrt(32) < bound(problem) <= 18 * (1 + 1e-9)


@pytest.mark.parametrize(("mode", "least"), [(LATENCY, 1.0), (EDP, 1.0 * (5 + 1 + 32))])
def test_cycles_are_bounded(mode: int, least: float) -> None:
    # The fewest cycles are 1 x 1, with a second of 16.
    assert min(every_value(programme(mode))) == least
    assert bound(programme(mode)) <= least * (1 + 1e-9)


def test_where_the_bound_must_get_to() -> None:
    assert log_of(programme(), 5.0 + math.e) == pytest.approx(1.0)
    assert log_of(programme(LATENCY), math.e) == pytest.approx(1.0)
    assert log_of(programme(), 5.0) == -math.inf  # below the base: ruled out at once


def test_buckets_bound_their_options() -> None:
    """What lies in buckets is what lies one by one: the least score, and those near it."""
    rng = np.random.default_rng(5)
    sizes, columns = (50, 16, 1, 33), 3
    raw = [rng.uniform(0.1, 9.0, (columns, size)) for size in sizes]
    logs = [np.log(table) for table in raw]
    lows = [
        np.minimum.reduceat(table, np.arange(0, table.shape[1], BUCKET), axis=1) for table in logs
    ]

    def stores(tables: list[Floats]) -> PerBlock:
        return PerBlock(*(table.ravel() for table in tables), *(np.empty(0) for _ in range(2)))

    count = sum(sizes)
    in_buckets = Options(
        starts=np.cumsum([0, *sizes]),
        raw=stores(raw),
        logs=stores(logs),
        lows=stores(lows),
        runs=np.zeros(count, np.int64),
        fans=np.ones((count, 0, 2), np.int64),
        dims=np.full((4, 2), -1),
    )
    where = np.outer(sizes, np.arange(columns))
    weights = np.array([0.5, 0.0, 2.0, 0.0])
    runs = (rng.random(count) < 0.2).astype(np.int64)
    runs[66] = 0  # a block's only option
    in_buckets = in_buckets._replace(runs=runs)
    bars = Bars(*no_bars(4))._replace(loops=np.ones(4, np.int64))
    penalty = np.where(runs, math.inf, 0.0)
    ways = [
        living(options, where, weights, bars, 1.0, 2.5)
        for options in (in_buckets, in_buckets._replace(lows=NO_LOWS))
    ]
    for together, one_by_one in zip(*ways, strict=True):
        np.testing.assert_array_equal(together, one_by_one)
    kept, first, lifts = ways[0]
    assert 4 <= len(kept) < count - np.isinf(penalty).sum()
    for b, (low, high) in enumerate(zip(in_buckets.starts, in_buckets.starts[1:], strict=False)):
        scores = weights[:columns] @ logs[b] + penalty[low:high]
        near = np.flatnonzero(scores - scores.min() < 1.5)
        assert (kept[first[b] : first[b + 1]] - low).tolist() == near.tolist()
        np.testing.assert_allclose(lifts[first[b] : first[b + 1]], (scores - scores.min())[near])
