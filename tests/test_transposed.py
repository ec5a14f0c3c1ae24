"""Transposed convolutions: every product of an input and a tap, and no other."""

from __future__ import annotations

from itertools import product as pairs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picojoule.errors import WorkloadError
from picojoule.transposed import transposed_conv
from picojoule.workload import Layer


def real_products(
    size: int, kernel: int, stride: int, dilation: int, before: int, outputs: int
) -> int:
    """Pairs (input, tap) that land on an output of a 1-D transposed convolution, one by one."""
    landed = 0
    for i, k in pairs(range(size), range(kernel)):
        landed += 0 <= i * stride + k * dilation - before < outputs
    return landed


def real_products_of(layer: Layer) -> int:
    """MACs of a layer with one channel that touch a real input, not padding, one by one."""
    total = 1
    for axis in (0, 1):
        outputs, taps = layer.bounds[4 + axis], layer.bounds[6 + axis]
        inside = 0
        for o, k in pairs(range(outputs), range(taps)):
            place = o * layer.stride[axis] + k * layer.dilation[axis] - layer.padding[2 * axis]
            inside += 0 <= place < layer.input_size[axis]
        total *= inside
    return total


@given(
    size=st.integers(1, 9),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 5),
    dilation=st.integers(1, 4),
    before=st.integers(0, 6),
    after=st.integers(0, 6),
    output_padding=st.integers(0, 4),
)
@settings(max_examples=300, deadline=None)
def test_transposed_convolution_multiplies_no_inserted_zero(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int, output_padding: int
) -> None:
    outputs = (size - 1) * stride + (kernel - 1) * dilation + 1 - before - after + output_padding
    shape = {
        "input_size": (size, 3),
        "in_channels": 1,
        "out_channels": 1,
        "kernel": (kernel, 2),
        "stride": (stride, 2),
        "dilation": (dilation, 1),
        "padding": (before, after, 1, 0),
        "output_padding": (output_padding, 1),
    }
    if outputs < 1:
        with pytest.raises(WorkloadError, match="output would have"):
            transposed_conv("up", **shape)  # type: ignore[arg-type]
        return
    layers = transposed_conv("up", **shape)  # type: ignore[arg-type]
    columns = 2 * 2 + 1 + 1 - 1 + 1
    rows_now = real_products(size, kernel, stride, dilation, before, outputs)
    columns_now = real_products(3, 2, 2, 1, 1, columns)
    assert sum(map(real_products_of, layers)) == rows_now * columns_now
    # Every tap belongs to one phase only.
    assert sum(layer.weights for layer in layers) <= kernel * 2
    assert all(layer.stride == (1, 1) for layer in layers)


def test_transposed_convolution_by_hand() -> None:
    # 2 x 2 kernel of stride 2 over 4 x 4: each of the 8 x 8 outputs needs one product per channel.
    layers = transposed_conv(
        "up", input_size=(4, 4), in_channels=3, out_channels=5, kernel=(2, 2), stride=(2, 2)
    )
    assert [layer.name for layer in layers] == ["up[0,0]", "up[0,1]", "up[1,0]", "up[1,1]"]
    assert sum(layer.macs for layer in layers) == 8 * 8 * 3 * 5
    assert sum(layer.weights for layer in layers) == 2 * 2 * 3 * 5


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": (0, 1)},
        {"stride": (10**9, 1)},
        {"kernel": (10**9, 1)},
        {"padding": (-1, 0, 0, 0)},
        {"groups": 0},
        {"input_size": (0, 1)},
    ],
)
def test_impossible_transposed_convolutions_are_refused_at_once(
    change: dict[str, object],
) -> None:
    shape = {"input_size": (4, 4), "in_channels": 1, "out_channels": 1, "kernel": (2, 2)}
    with pytest.raises(WorkloadError, match="layer 'up'"):
        transposed_conv("up", **{**shape, **change})  # type: ignore[arg-type]
