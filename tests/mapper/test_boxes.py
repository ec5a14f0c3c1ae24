"""Unrollings fit an array exactly if trying every split says so; trees of any depth are walked."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from picojoule.mapper import boxes
from picojoule.mapper.options import NO_LOWS, Options, PerBlock
from picojoule.mapper.programme import ENERGY, NOTHING_BEYOND, Programme


def _fits(fans: list[int], dims: list[int], axes: list[int], allowed: list[int]) -> bool:
    splits = []
    for fan, dim in zip(fans, dims, strict=True):
        rooms = [size if mask >> dim & 1 else 1 for size, mask in zip(axes, allowed, strict=True)]
        ranges = [range(1, min(room, fan) + 1) for room in rooms]
        splits.append([s for s in itertools.product(*ranges) if math.prod(s) >= fan])
    return any(
        all(
            math.prod(axis) <= size
            for axis, size in zip(zip(*pick, strict=True), axes, strict=True)
        )
        for pick in itertools.product(*splits)
    )


@pytest.mark.parametrize("seed", range(300))
def test_packable(seed: int) -> None:
    rng = random.Random(seed)
    count, width = rng.randint(1, 3), rng.randint(1, 2)
    fans = [rng.randint(1, 6) for _ in range(count)]
    dims = rng.sample(range(8), count)
    axes = [rng.randint(1, 7) for _ in range(width)]
    allowed = [rng.randrange(256) | 1 << rng.choice(dims) for _ in range(width)]
    found = boxes.packable(*(np.array(x, np.int64) for x in (fans, dims, axes, allowed)))
    assert found == _fits(fans, dims, axes, allowed)


def test_a_tree_may_be_as_deep_as_it_has_options() -> None:
    """Each split sets one option aside: more wait than 64 for the block."""
    steps = np.exp(2.0 ** -np.arange(45))
    ones, count = np.ones(45), 90
    columns = np.array([[*steps, *ones], [*ones, *steps]])
    none = np.empty(0)
    options = Options(
        starts=np.array([0, count]),
        raw=PerBlock(columns.ravel(), *[none] * 5),
        logs=PerBlock(np.log(columns).ravel(), *[none] * 5),
        lows=NO_LOWS,
        runs=np.zeros(count, np.int64),
        fans=np.ones((count, 0, 2), np.int64),
        dims=np.full((1, 2), -1),
    )
    problem = Programme(
        where=np.array([[0, count]]),
        mode=ENERGY,
        constant=0.0,
        base=0.0,
        discount=0.0,
        energy=np.ones(2),
        drawn=0.0,
        times=np.zeros((0, 3)),
        relief=np.zeros(0),
        cycle_limit=math.inf,
        beyond=NOTHING_BEYOND,
        limits=np.zeros((0, 2)),
        axes=np.ones((0, 1), np.int64),
        allowed=np.zeros((0, 1), np.int64),
    )
    weights = np.ones(2)
    kept, first, lifts = np.arange(count), np.array([0, count]), np.zeros(count)
    forest = boxes.Forest(*boxes.plant(options, problem, kept, first, lifts, weights))
    # As Python, in which an entry too many is an error.
    walk = boxes.descend.function  # type: ignore[attr-defined]
    value, chosen, _, _ = walk(options, problem, forest, weights, 0.0, math.inf, 0.0, 10_000)
    assert value == columns.sum(axis=0).min()
    assert columns[:, chosen[0]].sum() == value
