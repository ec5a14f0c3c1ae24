"""The canonical layer: its constructors, what they count, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from picojoule.errors import WorkloadError
from picojoule.workload import (
    LARGEST_BOUND,
    Extents,
    Layer,
    Operand,
    PerOperand,
    WindowAxis,
    Workload,
    conv,
    depthwise,
    linear,
    matmul,
)


def test_alexnet_conv1_by_hand() -> None:
    # AlexNet CONV1 (JSSC'17 Table II): 227 x 227 x 3, 96 filters of 11 x 11, stride 4.
    # (227 - 11) / 4 + 1 = 55; 55 * 55 * 96 * 11 * 11 * 3 = 105 415 200.
    layer = conv(
        "conv1",
        input_size=(227, 227),
        in_channels=3,
        out_channels=96,
        kernel=(11, 11),
        stride=(4, 4),
    )
    assert layer.macs == 105_415_200
    assert layer.weights == 96 * 3 * 121
    assert layer.size(Operand.INPUT) == 3 * 227 * 227
    assert layer.size(Operand.OUTPUT) == 96 * 55 * 55


def test_grouped_convolution_splits_channels() -> None:
    # AlexNet CONV2: two groups of 48 -> 128 channels, 27 x 27 outputs:
    # 27 * 27 * 256 * 5 * 5 * 48 = 223 948 800.
    layer = conv(
        "conv2",
        input_size=(27, 27),
        in_channels=96,
        out_channels=256,
        kernel=(5, 5),
        padding=(2, 2, 2, 2),
        groups=2,
    )
    assert layer.bounds == Extents(1, 2, 128, 48, 27, 27, 5, 5)
    assert layer.macs == 223_948_800


def test_depthwise_has_one_input_channel_per_group() -> None:
    layer = depthwise("dw", channels=32, multiplier=2, input_size=(8, 8), kernel=(3, 3))
    assert layer.bounds == Extents(G=32, M=2, C=1, P=6, Q=6, R=3, S=3)


def test_a_second_activation_grows_with_the_batch_and_is_no_weight() -> None:
    scores = matmul("scores", rows=7, inner=4, columns=5, heads=3)
    assert scores.weights == 0
    assert scores.with_batch(2).bounds.G == 6
    assert linear("fc", in_features=4, out_features=5).with_batch(2).bounds.N == 2


def test_scales_are_stored_and_moved_with_the_values_and_belong_to_their_width() -> None:
    # 4-bit values, one 16-bit scale for 32 of them: 4 + 16 / 32 = 4.5 bits each.
    layer = linear("fc", in_features=32, out_features=10, bits=PerOperand(16, 4, 16))
    scaled = replace(layer, scale_bits=PerOperand(0.0, 0.5, 0.0))
    assert scaled.stored_bits(Operand.WEIGHT) == 4.5
    assert scaled.stored_bits(Operand.INPUT) == 16
    assert scaled.signature() != layer.signature()
    assert scaled.with_widths(weight=8) == layer.with_widths(weight=8)
    assert scaled.with_widths(input=8).scale_bits.weight == 0.5


def test_effectual_macs_multiply_both_densities() -> None:
    layer = replace(
        linear("fc", in_features=10, out_features=10), density=PerOperand(0.5, 0.2, 1.0)
    )
    assert layer.effectual_macs == pytest.approx(10.0)  # 100 * 0.5 * 0.2


def test_batch_of_a_network_divides_its_macs() -> None:
    network = Workload("net", (linear("fc", in_features=4, out_features=5),))
    assert network.with_batch(8).macs == network.macs == 20
    scores = matmul("scores", rows=8, inner=4, columns=8, heads=3)
    network = Workload("net", (*network.layers, scores))
    assert network.with_batch(8).with_batch(4) == network.with_batch(4)
    assert network.with_batch(8).with_batch(1) == network
    with pytest.raises(WorkloadError, match="N of its layer 'fc' does not divide"):
        replace(network, batch=8).with_batch(4)


@pytest.mark.parametrize(
    "change",
    [
        {"density": PerOperand(1.0, math.nan, 1.0)},
        {"density": PerOperand(1.0, 1.1, 1.0)},
        {"density": PerOperand(-0.1, 1.0, 1.0)},
        {"bits": PerOperand(0, 8, 8)},
        {"bits": PerOperand(8, 65, 8)},
        {"scale_bits": PerOperand(0.0, -0.5, 0.0)},
        {"scale_bits": PerOperand(0.0, math.inf, 0.0)},
        {"stride": (0, 1)},
        {"dilation": (1, 0)},
        {"padding": (-1, 0, 0, 0)},
        {"bounds": Extents(M=0)},
        {"bounds": Extents(P=LARGEST_BOUND + 1)},
        {"input_size": (10**9, 1)},
        {"input_size": (5, 5)},
    ],
)
def test_impossible_layers_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(WorkloadError, match="layer 'x'"):
        replace(Layer("x", Extents()), **change)  # type: ignore[arg-type]


def test_window_larger_than_the_padded_input_is_refused() -> None:
    with pytest.raises(WorkloadError, match="window of 5 rows"):
        conv("x", input_size=(4, 9), in_channels=1, out_channels=1, kernel=(5, 1))


def test_two_layers_of_one_name_are_refused() -> None:
    layer = linear("fc", in_features=1, out_features=1)
    with pytest.raises(WorkloadError, match="two layers are named 'fc'"):
        Workload("net", (layer, layer))
    with pytest.raises(WorkloadError, match="batch of 0"):
        Workload("net", (layer,), batch=0)


def test_unknown_layer_suggests_a_near_name() -> None:
    network = Workload("net", (linear("conv1", in_features=1, out_features=1),))
    with pytest.raises(WorkloadError, match="did you mean 'conv1'"):
        network["conv2"]


def test_an_axis_says_which_rows_hold_data() -> None:
    # 5 rows with 1 zero above and 2 below: padded rows 0..7, of which 1..5 hold data. 3 taps two
    # apart reach over 5 rows, so (8 - 5) // 2 + 1 = 2 outputs. 6 columns stand without padding.
    layer = conv(
        "x",
        input_size=(5, 6),
        in_channels=1,
        out_channels=1,
        kernel=(3, 1),
        stride=(2, 1),
        dilation=(2, 1),
        padding=(1, 2, 0, 0),
    )
    rows, columns = layer.axis(0), layer.axis(1)
    assert rows == WindowAxis(outputs=2, taps=3, stride=2, dilation=2, stored=range(1, 6))
    assert columns == WindowAxis(outputs=6, taps=1, stride=1, dilation=1, stored=range(6))
    assert layer.axis(0, padded=True).stored == range(8)
    # Outputs at rows 0 and 2, taps 0, 2 and 4 below each: rows 0 2 4 and 2 4 6, four distinct.
    assert rows.extent(2, 3) == 4
    assert rows.extent(np.array([1, 2]), np.array([3, 3])).tolist() == [3, 4]
