"""Blocks that are kept from one search to the next change no answer, and do not pile up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import picojoule
from picojoule.mapper import blocks
from picojoule.mapper.found import Found
from picojoule.mapper.kernels import repeats
from picojoule.mapping import Mapping
from picojoule.workload import Layer

CHIP = picojoule.load_accelerator("eyeriss")


def layer(m: int, c: int, **options: Any) -> Layer:
    size: dict[str, Any] = {"input_size": (14, 14), "kernel": (3, 3), "padding": (1, 1, 1, 1)}
    return picojoule.conv("l", in_channels=c, out_channels=m, **{**size, **options})


def answer(found: Found) -> tuple[float, Mapping, int, int, float]:
    return found.value, found.mapping, found.explored, found.pruned, found.lower_bound


@pytest.mark.parametrize("objective", ["energy", "latency"])
def test_a_sweep_finds_what_each_search_finds_alone(objective: str) -> None:
    sweep = [layer(m, c) for m in (24, 16) for c in (16, 8)]
    sweep.append(layer(24, 16, stride=(2, 2)))
    sweep.append(layer(24, 16, input_size=(14, 10)))
    together = [answer(picojoule.search(one, CHIP, objective=objective)) for one in sweep]
    alone = []
    for one in sweep:
        blocks.trim(0)
        alone.append(answer(picojoule.search(one, CHIP, objective=objective)))
    assert together == alone


def test_another_chip_has_blocks_of_its_own() -> None:
    one = layer(24, 16)
    small = picojoule.load_accelerator("eyeriss-isca16")
    first = answer(picojoule.search(one, CHIP))
    between = answer(picojoule.search(one, small, "rs"))
    assert answer(picojoule.search(one, CHIP)) == first
    blocks.trim(0)
    assert answer(picojoule.search(one, small, "rs")) == between


def test_what_is_kept_is_bounded() -> None:
    blocks.trim(0)
    for m in range(8, 72, 8):
        picojoule.search(layer(m, 16), CHIP)
    kept = list(blocks._kept.values())
    assert len(kept) > 8
    most = sum(block.nbytes for block in kept) // 2
    blocks.trim(most)
    left = list(blocks._kept.values())
    assert sum(block.nbytes for block in left) <= most
    assert left == kept[-len(left) :]  # the last used


def test_rows_and_columns_share_their_windows() -> None:
    blocks.trim(0)
    picojoule.search(layer(24, 16), CHIP, "flexible")
    pairs = [block for block in blocks._kept.values() if block.key.window]
    assert len(pairs) == 2
    assert pairs[0]._windows is pairs[1]._windows
    blocks.trim(0)
    picojoule.search(layer(24, 16, input_size=(14, 10)), CHIP, "flexible")
    pairs = [block for block in blocks._kept.values() if block.key.window]
    assert pairs[0]._windows is not pairs[1]._windows


def test_factors_are_those_of_each_option() -> None:
    picojoule.search(layer(24, 16), CHIP)
    kept_last = reversed(blocks._kept.values())  # those of this search come first
    channels = next(b for b in kept_last if b.dims == (picojoule.workload.Dim.M,))
    count = blocks.Words(
        operand=picojoule.workload.OPERANDS[0], child=2, grain=1, still=0, slide=None
    )
    (place,) = channels.places([blocks.Column(count)])
    kept = slice(place.offset, place.offset + channels.size)
    expected = repeats(channels.tiles[0], channels.fans[0], 2, 1, 0)
    np.testing.assert_array_equal(channels.raw[kept], expected)
    np.testing.assert_array_equal(channels.logs[kept], np.log(expected))
    assert place.least == expected.min()
