"""The compiled counts are those of traffic, for many chains."""

from __future__ import annotations

import random

import numpy as np
import pytest

from picojoule import traffic
from picojoule.mapper import kernels
from picojoule.workload import WindowAxis


def _chain(rng: random.Random, bound: int, depth: int) -> traffic.Chain:
    tiles, fans = [bound], []
    for level in range(depth):
        inner = 1 if level == depth - 1 else rng.randint(1, tiles[-1])
        fans.append(rng.randint(1, min(4, -(-tiles[-1] // inner))))
        tiles.append(inner)
    return traffic.Chain(tuple(tiles), tuple(fans))


def _arrays(chain: traffic.Chain) -> tuple[kernels.Ints, kernels.Ints]:
    return np.array([chain.tiles], np.int64), np.array([chain.fanouts], np.int64)


@pytest.mark.parametrize("seed", range(15))
def test_repeats(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        depth = rng.randint(1, 4)
        chain = _chain(rng, rng.randint(1, 40), depth)
        child = rng.randint(1, depth)
        grain = rng.randint(0, child)
        still = rng.randrange(1 << child)
        levels = tuple(n for n in range(child) if still >> n & 1)
        expected = traffic.repeats(chain, 0, child, grain, levels)
        assert kernels.repeats(*_arrays(chain), child, grain, still)[0] == expected


@pytest.mark.parametrize("seed", range(15))
def test_window_words(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        depth = rng.randint(1, 3)
        outputs, taps = _chain(rng, rng.randint(1, 9), depth), _chain(rng, rng.randint(1, 4), depth)
        stride, dilation = rng.randint(1, 3), rng.randint(1, 3)
        child = rng.randint(1, depth)
        grain = rng.randint(0, child)
        whole = (outputs.tiles[0] - 1) * stride + (taps.tiles[0] - 1) * dilation + 1
        low = rng.randint(0, min(2, whole - 1))
        high = rng.randint(low + 1, whole)
        level, which = rng.randrange(child), rng.randrange(2)
        moved = (outputs, taps)[which]
        # A window slides on the innermost loop that runs: no step of it further in.
        slides = rng.random() < 0.7 and all(
            moved.step(n) >= moved.tiles[n] for n in range(level + 1, child)
        )
        bounds = (outputs.tiles[0], taps.tiles[0])
        axis = WindowAxis(*bounds, stride, dilation, stored=range(low, high))
        slide = (level, which) if slides else None
        expected = traffic.window_words(outputs, taps, axis, 0, child, grain, slide)
        found = kernels.window_words(
            *_arrays(outputs), *_arrays(taps), stride, dilation, low, high, child, grain,
            level if slides else -1, bool(which) and slides,
        )  # fmt: skip
        assert found[0, 0] == expected
