"""Operators of onnxruntime: MACs by hand, shapes as onnxruntime itself makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from picojoule.frontends import load
from picojoule.frontends.onnx_control import CONTROL
from picojoule.frontends.onnx_shapes import shape_of
from picojoule.frontends.onnx_trace import Sizes, trace
from picojoule.frontends.source_file import Findings
from picojoule.workload import PerOperand
from tests.frontends.onnx_graphs import (
    DOMAINS,
    MICROSOFT,
    QONNX,
    graph_of,
    mistakes,
    ones,
    saved,
)

runtime = pytest.importorskip("onnxruntime")
RANDOM = np.random.default_rng(1)


def real(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.standard_normal(shape).astype(np.float32)


def whole(kind: type, *shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.integers(1, 9, shape).astype(kind)


@dataclass
class Case:
    """One operator, fed with *inputs* and holding *stored*."""

    op: str
    inputs: dict[str, np.ndarray[Any, Any]]
    stored: dict[str, np.ndarray[Any, Any]]
    order: str
    macs: int
    bits: list[tuple[int, int, int]] | None = None
    outputs: int = 1
    domain: str = MICROSOFT
    given: dict[str, Any] = field(default_factory=dict)
    runs: bool = True

    def __str__(self) -> str:
        return f"{self.op}-{self.macs}"


def conv_macs(size: tuple[int, int], channels: int, filters: int, taps: int) -> int:
    return size[0] * size[1] * channels * filters * taps


F8: dict[str, np.ndarray[Any, Any]] = {
    "s": np.array(0.1, np.float32),
    "z": np.array(3, np.uint8),
    "zs": np.array(0, np.int8),
}
QKV = 3 * 16
HEADS = {"num_heads": 4}
CASES = [
    # -- convolutions
    Case(
        "FusedConv",
        {"x": real(1, 3, 8, 9)},
        {"w": real(5, 3, 3, 3), "b": real(5)},
        "x w b",
        conv_macs((8, 9), 3, 5, 9),
        [(16, 16, 16)],
        given={"activation": "Relu", "pads": [1] * 4},
    ),
    Case(
        "FusedConv",
        {"x": real(1, 4, 8, 9), "r": real(1, 4, 4, 4)},
        {"w": real(4, 2, 2, 3), "b": real(4)},
        "x w b r",
        conv_macs((4, 4), 2, 4, 6),
        given={"activation": "Relu", "strides": [2, 2], "group": 2},
    ),
    Case(
        "NhwcFusedConv",
        {"x": real(1, 8, 9, 3).astype(np.float16)},
        {"w": real(5, 3, 3, 3).astype(np.float16)},
        "x w",
        conv_macs((6, 7), 3, 5, 9),
        [(16, 16, 16)],
        given={"kernel_shape": [3, 3]},
        runs=False,
    ),
    Case(
        "QLinearConv",
        {"x": whole(np.uint8, 1, 8, 9, 3)},
        {**F8, "w": whole(np.int8, 5, 3, 3, 3)},
        "x s z w s zs s z",
        conv_macs((6, 7), 3, 5, 9),
        [(8, 8, 8)],
        given={"channels_last": 1},
    ),
    Case(
        "QLinearConv",
        {"x": whole(np.uint8, 1, 3, 8, 9)},
        {**F8, "w": whole(np.int8, 5, 3, 3, 3)},
        "x s z w s zs s z",
        conv_macs((6, 7), 3, 5, 9),
        [(8, 8, 8)],
        domain="",
    ),
    Case(
        "Conv",
        {"x": real(1, 8, 9, 3)},
        {"w": real(5, 3, 3, 3)},
        "x w",
        conv_macs((6, 7), 3, 5, 9),
        domain="com.ms.internal.nhwc",
        runs=False,
    ),
    Case(
        "ConvTransposeWithDynamicPads",
        {"x": real(1, 3, 4, 4)},
        {"w": real(3, 5, 4, 4), "p": np.array([1, 1, 1, 1], np.int64)},
        "x w p",
        16 * 16 * 15,
        given={"strides": [2, 2], "kernel_shape": [4, 4]},
    ),
    # -- products
    Case(
        "FusedMatMul",
        {"x": real(2, 4, 6, 5), "v": real(2, 4, 7, 5)},
        {},
        "x v",
        8 * 6 * 7 * 5,
        given={"transB": 1},
    ),
    Case(
        "FusedMatMul",
        {"x": real(3, 5, 6)},
        {"w": real(7, 5)},
        "x w",
        18 * 5 * 7,
        given={"transA": 1, "transB": 1},
    ),
    Case(
        "FusedMatMul",
        {"x": real(6, 2, 5), "v": real(2, 5, 3)},
        {},
        "x v",
        2 * 6 * 5 * 3,
        given={"transBatchA": 1},
    ),
    Case(
        "TransposeMatMul",
        {"x": real(5, 6)},
        {"w": real(5, 7)},
        "x w",
        6 * 5 * 7,
        given={"transA": 1},
    ),
    Case(
        "FusedGemm",
        {"x": real(6, 5)},
        {"w": real(7, 5), "b": real(7)},
        "x w b",
        6 * 5 * 7,
        given={"transB": 1, "activation": "Relu"},
    ),
    Case(
        "QGemm",
        {"x": whole(np.uint8, 6, 5)},
        {**F8, "w": whole(np.int8, 5, 7), "c": whole(np.int32, 7)},
        "x s z w s zs c s z",
        210,
        [(8, 8, 8)],
    ),
    Case(
        "MatMulIntegerToFloat",
        {"x": whole(np.uint8, 6, 5)},
        {**F8, "w": whole(np.int8, 5, 7)},
        "x w s s z zs",
        210,
        [(8, 8, 16)],
    ),
    Case(
        "DynamicQuantizeMatMul",
        {"x": real(1, 6, 5)},
        {**F8, "w": whole(np.int8, 5, 7)},
        "x w s zs",
        210,
        [(8, 8, 16)],
    ),
    Case(
        "MatMulInteger",
        {"x": whole(np.uint8, 2, 6, 5)},
        {"w": whole(np.int8, 5, 7)},
        "x w",
        420,
        [(8, 8, 32)],
        domain="",
    ),
    Case(
        "MatMulNBits",
        {"x": real(1, 7, 64)},
        {"w": whole(np.uint8, 48, 2, 16), "s": real(96)},
        "x w s",
        7 * 64 * 48,
        [(16, 4, 16)],
        given={"K": 64, "N": 48, "bits": 4, "block_size": 32},
    ),
    Case(
        "MatMulNBits",
        {"x": real(7, 64)},
        {"w": whole(np.uint8, 48, 2, 32), "s": real(96)},
        "x w s",
        7 * 64 * 48,
        [(16, 8, 16)],
        given={"K": 64, "N": 48, "bits": 8, "block_size": 32},
    ),
    Case(
        "MatMulBnb4",
        {"x": real(2, 7, 64)},
        {"w": whole(np.uint8, 64 * 48 // 2), "s": real(64 * 48 // 32)},
        "x w s",
        14 * 64 * 48,
        [(16, 4, 16)],
        given={"K": 64, "N": 48, "quant_type": 1, "block_size": 32},
    ),
    Case(
        "CDist", {"x": real(6, 5), "v": real(7, 5)}, {}, "x v", 210, given={"metric": "sqeuclidean"}
    ),
    # -- attention
    Case(
        "Attention",
        {"x": real(2, 5, 16)},
        {"w": real(16, QKV), "b": real(QKV)},
        "x w b",
        10 * 16 * QKV + 2 * 2 * 4 * 25 * 4,
        given=HEADS,
        outputs=1,
    ),
    Case(
        "Attention",
        {"x": real(1, 1, 16), "past": real(2, 1, 4, 7, 4)},
        {"w": real(16, QKV), "b": real(QKV)},
        "x w b  past",
        16 * QKV + 2 * 4 * 8 * 4,
        given=HEADS,
        outputs=2,
    ),
    Case(
        "MultiHeadAttention",
        {"q": real(2, 5, 16), "k": real(2, 6, 16), "v": real(2, 6, 24)},
        {},
        "q k v",
        2 * 4 * 30 * (4 + 6),
        given=HEADS,
    ),
    Case(
        "MultiHeadAttention",
        {
            "q": real(1, 1, 16),
            "k": real(1, 1, 16),
            "v": real(1, 1, 16),
            "pk": real(1, 4, 7, 4),
            "pv": real(1, 4, 7, 4),
        },
        {},
        "q k v    pk pv",
        2 * 4 * 8 * 4,
        given=HEADS,
    ),
    Case(
        "GroupQueryAttention",
        {
            "q": real(1, 1, 32),
            "k": real(1, 1, 16),
            "v": real(1, 1, 16),
            "pk": real(1, 2, 9, 8),
            "pv": real(1, 2, 9, 8),
        },
        {"l": np.array([9], np.int32), "t": np.array(10, np.int32)},
        "q k v pk pv l t",
        2 * 4 * 10 * 8,
        given={"num_heads": 4, "kv_num_heads": 2},
        outputs=3,
    ),
    Case(
        "GroupQueryAttention",
        {"q": real(1, 5, 64), "pk": real(1, 2, 0, 8), "pv": real(1, 2, 0, 8)},
        {"l": np.array([4], np.int32), "t": np.array(5, np.int32)},
        "q   pk pv l t",
        2 * 4 * 25 * 8,
        given={"num_heads": 4, "kv_num_heads": 2},
        outputs=3,
    ),
    Case(
        "QAttention",
        {"x": whole(np.uint8, 1, 5, 16)},
        {**F8, "w": whole(np.int8, 16, QKV), "b": real(QKV)},
        "x w b s s  z zs",
        5 * 16 * QKV + 2 * 4 * 25 * 4,
        [(8, 8, 16), (16, 16, 16), (16, 16, 16)],
        given=HEADS,
    ),
    Case(
        "DecoderMaskedMultiHeadAttention",
        {
            "q": real(1, 1, 16),
            "k": real(1, 1, 16),
            "v": real(1, 1, 16),
            "pk": real(1, 4, 7, 4),
            "pv": real(1, 4, 7, 4),
        },
        {},
        "q k v   pk pv",
        2 * 4 * 8 * 4,
        given=HEADS,
        runs=False,
    ),
    # -- recurrence and experts
    Case(
        "DynamicQuantizeLSTM",
        {"x": real(7, 1, 5)},
        {
            "w": whole(np.int8, 1, 5, 24),
            "r": whole(np.int8, 1, 6, 24),
            "s": real(1),
            "z": np.zeros(1, np.int8),
        },
        "x w r      s z s z",
        7 * 24 * 11,
        [(8, 8, 16)] * 2,
        given={"hidden_size": 6},
        outputs=3,
    ),
    Case(
        "MoE",
        {"x": real(6, 8), "p": real(6, 4)},
        {"w1": real(4, 16, 8), "w2": real(4, 8, 16)},
        "x p w1  w2",
        6 * 2 * 2 * 128,
        given={"k": 2, "activation_type": "relu"},
    ),
    Case(
        "QMoE",
        {"x": real(6, 16), "p": real(6, 4)},
        {
            "w1": whole(np.uint8, 4, 32, 8),
            "s1": real(4, 32),
            "w2": whole(np.uint8, 4, 16, 16),
            "s2": real(4, 16),
        },
        "x p w1 s1  w2 s2",
        6 * 2 * 2 * 512,
        [(16, 4, 16)] * 2,
        given={"k": 2, "expert_weight_bits": 4, "activation_type": "silu"},
    ),
]


def model_of(case: Case) -> onnx.ModelProto:
    """The operator, and behind it one that needs the shape of its output."""
    names = [f"y{number}" for number in range(case.outputs)]
    nodes = [
        helper.make_node(case.op, case.order.split(" "), names, domain=case.domain, **case.given)
    ]
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in case.inputs.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in names]
    stored = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in case.stored.items()
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    opsets = [helper.make_opsetid("", 21), *(helper.make_opsetid(domain, 1) for domain in DOMAINS)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model


@pytest.mark.parametrize("case", CASES, ids=str)
def test_macs_by_hand_and_shapes_of_the_runtime(case: Case, tmp_path: Path) -> None:
    model = model_of(case)
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    network = load(path)
    assert sum(layer.macs for layer in network) == case.macs
    assert network.complete
    if case.bits is not None:
        assert [layer.bits for layer in network] == [PerOperand(*bits) for bits in case.bits]
    traced = trace(model, CONTROL, Sizes(), Findings("net"))
    seen = {info.name: shape_of(traced.types[info.name]) for info in model.graph.output}
    if case.runs:
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        made = session.run(None, case.inputs)
        assert seen == {
            info.name: value.shape for info, value in zip(model.graph.output, made, strict=True)
        }
    assert None not in seen.values()


SAME_SHAPE: Sequence[tuple[str, str, dict[str, Any]]] = [
    ("BiasGelu", "x b", {}),
    ("FastGelu", "x", {}),
    ("QuickGelu", "x", {}),
    ("SkipLayerNormalization", "x x2 b b", {}),
    ("SkipSimplifiedLayerNormalization", "x x2 b", {}),
    ("Gelu", "x", {}),
]


@pytest.mark.parametrize(("op", "order", "given"), SAME_SHAPE, ids=[case[0] for case in SAME_SHAPE])
def test_shapes_flow_through_operators_without_products(
    op: str, order: str, given: dict[str, Any], tmp_path: Path
) -> None:
    nodes = [
        helper.make_node(op, order.split(), ["h"], domain=MICROSOFT, **given),
        helper.make_node("MatMul", ["h", "w"], ["y"], "fc"),
    ]
    path = tmp_path / "net.onnx"
    inputs = {"x": real(2, 5, 8), "x2": real(2, 5, 8)}
    infos = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape)
        for n, v in inputs.items()
        if n in order.split()
    ]
    stored = [numpy_helper.from_array(real(8), "b"), numpy_helper.from_array(real(8, 3), "w")]
    graph = helper.make_graph(nodes, "g", infos, [onnx.ValueInfoProto(name="y")], stored)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    onnx.save(model, path)
    network = load(path)
    assert sum(layer.macs for layer in network) == 2 * 5 * 8 * 3
    assert dict(network.not_counted) == {f"{MICROSOFT}.{op}": 1}
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    made = session.run(None, {name: inputs[name] for name in inputs if name in order.split()})
    assert made[0].shape == (2, 5, 3)


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("channels", [5, 16, 20])
def test_what_the_optimiser_wrote_costs_what_it_read(
    level: str, channels: int, tmp_path: Path
) -> None:
    """Blocked layouts fill up channels: 5 to 8 or 16, 20 to 24 or 32; those are no MACs."""

    def conv(data: str, weight: str, made: str, **given: Any) -> list[NodeProto]:
        return [
            helper.make_node("Conv", [data, weight], [f"{made}c"], pads=[1] * 4, **given),
            helper.make_node("Relu", [f"{made}c"], [made]),
        ]

    nodes = [
        *conv("x", "a", "h"),
        helper.make_node("MaxPool", ["h"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        *conv("p", "b", "i"),
        helper.make_node("GlobalAveragePool", ["i"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "c"], ["y"], transB=1),
    ]
    weights = {"a": real(channels, 3, 3, 3), "b": real(7, channels, 3, 3), "c": real(4, 7)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, [1, 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    options = runtime.SessionOptions()
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    network = load(tmp_path / "optimised.onnx")
    assert network.macs == 64 * 27 * channels + 16 * 9 * channels * 7 + 28
    assert network.complete
    assert all(layer.density.weight == 1.0 for layer in network)


@pytest.mark.parametrize(
    ("quantiser", "stored", "width"),
    [
        ("Quant", [4.0], 4),
        ("IntQuant", [3.0], 3),
        ("BipolarQuant", [], 1),
        ("FloatQuant", [4.0, 3.0], 8),
    ],
)
def test_widths_of_qonnx(quantiser: str, stored: list[float], width: int, tmp_path: Path) -> None:
    names = {"BipolarQuant": ["s"], "FloatQuant": ["s", "n0", "n1", "z", "z"]}.get(
        quantiser, ["s", "z", "n0"]
    )
    nodes = [
        helper.make_node(quantiser, ["x", *names], ["xq"], domain=QONNX),
        helper.make_node(quantiser, ["w", *names], ["wq"], domain=QONNX),
        helper.make_node("Transpose", ["wq"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["xq", "wt"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node(quantiser, ["r", *names], ["y"], domain=QONNX),
    ]
    constants = {
        "s": [0.1],
        "z": [0.0],
        "w": real(3, 8),
        **{f"n{i}": [v] for i, v in enumerate(stored)},
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 8])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    )
    onnx.save(model, tmp_path / "net.onnx")
    network = load(tmp_path / "net.onnx")
    assert [layer.bits for layer in network] == [PerOperand(width, width, width)]
    assert network.macs == 24
    assert network.complete


def test_a_blocked_convolution_of_no_groups_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "Conv", ["x", "w"], ["y"], "c", domain="com.microsoft.nchwc", group=0, pads=[0] * 4
        )
    ]
    path = saved(graph_of(nodes, {"x": [1, 8, 4, 4]}, [ones("w", 8, 8, 1, 1)]), tmp_path)
    (said,) = mistakes(path).values()
    assert "groups" in said
