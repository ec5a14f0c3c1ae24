"""Strides folded into channels and Winograd: the same outputs, of the same inputs."""

from __future__ import annotations

import math

import pytest

from picojoule.equivalents import folded_strides, winograd
from picojoule.workload import Operand, conv

INPUT, WEIGHT, OUTPUT = Operand


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("pad", [0, 1, 3])
@pytest.mark.parametrize("size", [7, 8, 12])
def test_folded_strides_see_the_same_inputs(kernel: int, pad: int, size: int) -> None:
    """Of every output the places that it sees, unfolded, contain those of the strided window."""
    if pad >= kernel:
        return
    square = (kernel, kernel)
    layer = conv(
        "x",
        input_size=(size, size),
        in_channels=3,
        out_channels=2,
        kernel=square,
        stride=(2, 2),
        padding=(pad,) * 4,
    )
    folded = folded_strides(layer)
    assert folded.stride == (1, 1)
    assert folded.bounds[4:6] == layer.bounds[4:6]
    for p in range(layer.bounds.P):
        rows = {2 * p + r - pad for r in range(kernel)} & set(range(size))
        places = {p + r - folded.padding[0] for r in range(folded.bounds.R)}
        assert rows <= {2 * n + phase for n in places for phase in (0, 1)}
    filled = layer.size(WEIGHT) * layer.density.weight
    assert math.isclose(folded.size(WEIGHT) * folded.density.weight, filled)


def test_winograd_has_fewer_products_and_more_weights() -> None:
    layer = conv(
        "x", input_size=(8, 8), in_channels=4, out_channels=2, kernel=(3, 3), padding=(1, 1, 1, 1)
    )
    fast = winograd(layer)
    assert layer.macs == 2.25 * fast.macs
    assert 9 * fast.size(WEIGHT) == 16 * layer.size(WEIGHT)
    assert fast.size(OUTPUT) * fast.bits.output == layer.size(OUTPUT) * layer.bits.output
    assert winograd(fast) == fast
    depthwise_like = conv("d", input_size=(8, 8), in_channels=1, out_channels=2, kernel=(3, 3))
    assert winograd(depthwise_like) is depthwise_like
