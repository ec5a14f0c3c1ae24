"""Unrollings fit an array exactly if trying every split says so."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from picojoule.mapper import boxes


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
