"""Bit widths of ONNX: through views, clips, activations and what is done before inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from picojoule.workload import Extents, PerOperand
from tests.frontends.onnx_graphs import Shape, constant, network_of, ones

node = helper.make_node
STORED = [
    constant("s", 0.1, np.float32),
    constant("z", 0, np.int8),
    constant("w", np.ones((4, 8)), np.int8),
    constant("shape", [1, 8]),
    constant("starts", [0]),
    constant("ends", [1]),
    constant("axes", [0]),
    constant("index", [0]),
]


def quantised(data: str, made: str) -> list[NodeProto]:
    return [
        node("QuantizeLinear", [data, "s", "z"], [f"{made}q"]),
        node("DequantizeLinear", [f"{made}q", "s", "z"], [made]),
    ]


@pytest.mark.parametrize(
    "between",
    [
        [node("Reshape", ["a", "shape"], ["b"])],
        [node("Transpose", ["a"], ["t"], perm=[0, 2, 1]), node("Flatten", ["t"], ["b"])],
        [node("Slice", ["a", "starts", "ends", "axes"], ["t"]), node("Flatten", ["t"], ["b"])],
        [node("Gather", ["a", "index"], ["t"], axis=0), node("Flatten", ["t"], ["b"])],
        [
            node("Concat", ["a", "a"], ["t"], axis=0),
            node("Slice", ["t", "starts", "ends", "axes"], ["u"]),
            node("Flatten", ["u"], ["b"]),
        ],
        [
            node("Relu", ["a"], ["r"]),
            node("Squeeze", ["r", "axes"], ["q"]),
            node("Reshape", ["q", "shape"], ["b"]),
        ],
        [node("Pad", ["a"], ["p"], pads=[0] * 6), node("Flatten", ["p"], ["b"])],
    ],
    ids=["reshape", "transpose", "slice", "gather", "concat", "relu", "pad"],
)
def test_what_only_moves_values_keeps_their_width(tmp_path: Path, between: list[NodeProto]) -> None:
    nodes = [
        *quantised("x", "a"),
        *between,
        node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        node("Gemm", ["b", "wd"], ["y"], transB=1),
    ]
    opset = 10 if between[0].op_type == "Pad" else 21
    layer = network_of(tmp_path, nodes, {"x": [1, 2, 4]}, *STORED, opset=opset).layers[0]
    assert layer.bits == PerOperand(8, 8, 16)


def test_a_mean_is_wider_than_what_it_is_of(tmp_path: Path) -> None:
    nodes = [
        *quantised("x", "a"),
        node("ReduceMean", ["a"], ["b"], axes=[1], keepdims=0),
        node("Gemm", ["b", "v"], ["y"]),
    ]
    layer = network_of(
        tmp_path, nodes, {"x": [1, 2, 8]}, *STORED, ones("v", 8, 3), opset=17
    ).layers[0]
    assert layer.bits == PerOperand(16, 16, 16)


@pytest.mark.parametrize(
    ("low", "high", "width"),
    [(-8, 7, 4), (-7, 7, 4), (-1, 0, 1), (-2, 1, 2), (-128, 127, 8), (-32, 15, 6)],
)
def test_limits_narrow_integers(tmp_path: Path, low: int, high: int, width: int) -> None:
    nodes = [
        node("QuantizeLinear", ["f", "s", "z"], ["q"]),
        node("Clip", ["q", "low", "high"], ["c"]),
        node("DequantizeLinear", ["c", "s", "z"], ["d"]),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    limits = [constant("low", low, np.int8), constant("high", high, np.int8)]
    layer = network_of(tmp_path, nodes, {"x": [1, 8]}, *STORED, *limits, ones("f", 8, 3)).layers[0]
    assert layer.bits == PerOperand(16, width, 16)


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", "norm"])
def test_an_output_has_the_width_it_is_quantised_to(tmp_path: Path, activation: str) -> None:
    after = {
        "relu": [node("Relu", ["h"], ["m"])],
        "silu": [node("Sigmoid", ["h"], ["g"]), node("Mul", ["h", "g"], ["m"])],
        "gelu": [
            node("Div", ["h", "s"], ["d"]),
            node("Erf", ["d"], ["e"]),
            node("Add", ["e", "s"], ["f"]),
            node("Mul", ["h", "f"], ["g"]),
            node("Mul", ["g", "s"], ["m"]),
        ],
        "norm": [node("Mul", ["h", "s"], ["g"]), node("Add", ["g", "s"], ["m"])],
    }[activation]
    nodes = [*quantised("x", "a"), node("MatMul", ["a", "v"], ["h"]), *after, *quantised("m", "y")]
    layer = network_of(tmp_path, nodes, {"x": [1, 8]}, *STORED, ones("v", 8, 3)).layers[0]
    assert layer.bits == PerOperand(8, 16, 8)


def test_an_output_that_others_read_as_it_is_stays_wide(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "v"], ["h"]),
        node("Relu", ["h"], ["m"]),
        *quantised("m", "y"),
        node("Softmax", ["h"], ["z2"]),
    ]
    layer = network_of(tmp_path, nodes, {"x": [1, 8]}, *STORED, ones("v", 8, 3)).layers[0]
    assert layer.bits.output == 16


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_weights_that_are_cast_and_scaled_before_inference_are_stored_narrow(
    tmp_path: Path, kind: type
) -> None:
    nodes = [
        node("Cast", ["v"], ["c"], to=TensorProto.FLOAT),
        node("Sub", ["c", "s"], ["d"]),
        node("Mul", ["d", "s"], ["e"]),
        node("MatMul", ["x", "e"], ["y"]),
    ]
    layer = network_of(
        tmp_path, nodes, {"x": [1, 8]}, *STORED, constant("v", np.ones((8, 3)), kind)
    ).layers[0]
    assert layer.bits.weight == (8 if kind is np.int8 else 16)


# -- convolutions of three dimensions and of samples -----------------------------------------------


@pytest.mark.parametrize(
    ("size", "kernel", "given", "macs"),
    [
        ([8, 16, 16], [3, 3, 3], {"pads": [1] * 6}, 8 * 256 * 27),
        ([8, 16, 16], [1, 3, 3], {"strides": [2, 1, 1]}, 4 * 196 * 9),
        ([4, 8, 8], [4, 2, 2], {"strides": [4, 2, 2]}, 16 * 16),
        ([9, 9, 9], [3, 3, 3], {"dilations": [2, 1, 2], "strides": [1, 2, 1]}, 5 * 4 * 5 * 27),
    ],
)
def test_convolutions_in_three_dimensions(
    tmp_path: Path, size: list[int], kernel: list[int], given: dict[str, Any], macs: int
) -> None:
    nodes = [node("Conv", ["x", "k"], ["y"], "c", group=2, **given)]
    inputs: dict[str, Shape] = {"x": [1, 4, *size]}
    network = network_of(tmp_path, nodes, inputs, ones("k", 6, 2, *kernel))
    assert network.macs == macs * 6 * 2
    assert network.weights == 6 * 2 * int(np.prod(kernel))
    assert network.complete


def test_a_deformable_convolution_is_a_product_with_samples(tmp_path: Path) -> None:
    nodes = [node("DeformConv", ["x", "k", "o"], ["y"], "d", kernel_shape=[3, 3])]
    inputs: dict[str, Shape] = {"x": [1, 4, 8, 8], "o": [1, 18, 6, 6]}
    network = network_of(tmp_path, nodes, inputs, ones("k", 5, 4, 3, 3))
    assert network["d"].bounds == Extents(M=5, C=36, Q=36)
    assert "interpolation" in network.remarks[0]
