"""Chains of any depth: none is left out that does better in a count than all that are listed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import numpy as np
import pytest

from picojoule.mapper.chains import Cuts, chains
from picojoule.mapper.kernels import Floats, Ints, repeats

Counted = tuple[tuple[int, int, int], ...]


def every_chain(limits: list[int], fans: list[int]) -> tuple[Ints, Ints]:
    def walk(tiles: tuple[int, ...], spread: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        level = len(spread)
        if level == len(limits):
            yield (*tiles, *spread)
            return
        last = level == len(limits) - 1
        for tile in [1] if last else range(1, min(limits[level + 1], tiles[-1]) + 1):
            for fan in range(1, min(max(1, fans[level]), -(-tiles[-1] // tile)) + 1):
                yield from walk((*tiles, tile), (*spread, fan))

    table = np.array(list(walk((limits[0],), ())), np.int64)
    return table[:, : len(limits) + 1].copy(), table[:, len(limits) + 1 :].copy()


def counts(tiles: Ints, fans: Ints, counted: Counted) -> Floats:
    """Sizes, unrollings and repeats under every run of levels that leaves a tile in place."""
    columns = [*tiles[:, 1:].T, *fans.T]
    for child, grain, outer in counted:
        columns.append(repeats(tiles, fans, child, grain, (1 << child) - (1 << outer)))
    return np.stack(columns, axis=1).astype(float)


def drawn(rng: random.Random) -> tuple[list[int], list[int], Counted]:
    depth = rng.choice([2, 3, 3, 4, 4])
    limits = [rng.randint(2, {2: 40, 3: 18, 4: 9}[depth])]
    for _ in range(depth - 1):
        limits.append(rng.randint(1, limits[-1]) if rng.random() < 0.6 else limits[-1])
    fans = [rng.choice([0, 0, 2, 3, 4, 6]) for _ in range(depth)]
    kept = [0, *(n for n in range(1, depth) if rng.random() < 0.6), depth]
    counted = [
        (child, grain, outer)
        for up, child in itertools.pairwise(kept)
        for grain in range(up, child + 1)
        for outer in (range(child + 1) if child < depth else (depth,))
    ]
    return limits, fans, tuple(counted)


@pytest.mark.parametrize("seed", range(60))
def test_no_chain_beats_all_that_are_listed(seed: int) -> None:
    limits, fans, counted = drawn(random.Random(seed))
    cuts = Cuts(tuple(limits), tuple(fans), 0, False, None, counted=counted)
    if cuts.quick:
        return  # three levels with one array: another list
    assert cuts.complete
    listed = counts(*chains(cuts), counted)
    for line in counts(*every_chain(limits, fans), counted):
        assert (listed <= line).all(axis=1).any(), (limits, fans, counted, line)


def test_two_loops_of_which_one_would_do_do_not_both_run() -> None:
    free, counted = (False, True, False, True), ((2, 0, 2), (4, 2, 4))
    cuts = Cuts((12,) * 4, (0, 0, 3, 0), 0, False, None, counted=counted, free=free)
    tiles, fans = chains(cuts)
    runs = tiles[:, 1:] * fans < tiles[:, :-1]
    assert not (runs[:, 0] & runs[:, 1]).any()
    assert {6, 4, 3, 2} <= set(tiles[runs[:, 0], 2].tolist())
    assert {6, 4, 3, 2} <= set(tiles[runs[:, 1], 2].tolist())


def test_too_many_chains_are_not_listed() -> None:
    cuts = Cuts((50_257,) * 4, (0, 16, 16, 0), 0, False, None)
    assert not cuts.complete
