"""Scales and zero points of weights in blocks: bits that a memory holds and no multiplier sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from picojoule.workload import Layer, Operand, PerOperand
from tests.frontends.onnx_graphs import MICROSOFT, constant, network_of, ones

node = helper.make_node


def layer_of(tmp_path: Path, nodes: list[NodeProto], *stored: TensorProto, **rest: Any) -> Layer:
    (layer,) = network_of(tmp_path, nodes, {"x": [1, 7, 64]}, *stored, **rest).layers
    return layer


@pytest.mark.parametrize(
    ("zeros", "scale", "expected"),
    [
        (None, np.float32, 16 / 32),  # floats of training count as 16 bits
        (None, np.float16, 16 / 32),
        (constant("z", np.zeros(48), np.uint8), np.float16, (16 + 4) / 32),  # two to a byte
        (constant("z", np.zeros(96), np.float16), np.float16, (16 + 16) / 32),
    ],
    ids=["scales", "halves", "packed zero points", "floating zero points"],
)
def test_matmul_n_bits(
    tmp_path: Path, zeros: TensorProto | None, scale: type, expected: float
) -> None:
    given: dict[str, Any] = {"K": 64, "N": 48, "bits": 4, "block_size": 32, "domain": MICROSOFT}
    stored = [constant("w", np.ones((48, 2, 16)), np.uint8), constant("s", np.ones(96), scale)]
    names = ["x", "w", "s", *([] if zeros is None else ["z"])]
    layer = layer_of(
        tmp_path, [node("MatMulNBits", names, ["y"], **given)], *stored, *filter(None, [zeros])
    )
    assert layer.bits == PerOperand(16, 4, 16)
    assert layer.scale_bits == PerOperand(0.0, expected, 0.0)
    assert layer.stored_bits(Operand.WEIGHT) == 4 + expected
    assert layer.stored_bits(Operand.INPUT) == 16


def test_a_block_that_is_not_full_has_its_scale_too(tmp_path: Path) -> None:
    nodes = [
        node("MatMulNBits", ["x", "w", "s"], ["y"], K=64, N=4, block_size=48, domain=MICROSOFT)
    ]
    stored = [constant("w", np.ones((4, 2, 24)), np.uint8), ones("s", 8)]
    assert layer_of(tmp_path, nodes, *stored).scale_bits.weight == 2 * 16 / 64


@pytest.mark.parametrize(
    ("op", "stored", "given", "width", "expected"),
    [
        (
            "MatMulBnb4",
            [constant("w", np.ones(64 * 48 // 2), np.uint8), ones("s", 48)],
            {"K": 64, "N": 48, "quant_type": 1, "block_size": 64},
            4,
            16 / 64,
        ),
        (
            "MatMulFpQ4",  # 32 weights with a scale and a zero point of 8 bits
            [constant("w", np.ones(48 * 2 * 21), np.uint8), constant("s", [64, 48])],
            {"blk_quant_type": 1},
            4,
            24 / 32,
        ),
        (
            "MatMulBlockQuantizedFp8Weight",
            [constant("w", np.ones((48, 64)), np.uint8), ones("s", 48, 1)],
            {"block_size": 64},
            8,
            16 / 64,
        ),
    ],
)
def test_other_packed_weights(
    tmp_path: Path,
    op: str,
    stored: list[TensorProto],
    given: dict[str, Any],
    width: int,
    expected: float,
) -> None:
    nodes = [node(op, ["x", "w", "s"], ["y"], domain=MICROSOFT, **given)]
    layer = layer_of(tmp_path, nodes, *stored)
    assert (layer.macs, layer.bits.weight) == (7 * 64 * 48, width)
    assert layer.scale_bits == PerOperand(0.0, expected, 0.0)


def dequantised(block: int, *more: str, domain: str = "") -> NodeProto:
    names = ["q", "s", *more]
    return node("DequantizeLinear", names, ["w"], axis=0, block_size=block, domain=domain)


@pytest.mark.parametrize("domain", ["", MICROSOFT])
@pytest.mark.parametrize("between", [False, True], ids=["as it is", "turned and shaped"])
def test_weights_dequantised_in_blocks(tmp_path: Path, domain: str, between: bool) -> None:
    views = [
        node("Transpose", ["w"], ["t"]),
        node("Reshape", ["t", "shape"], ["r"]),
        node("Transpose", ["r"], ["v"]),
    ]
    used = "v" if between else "w"
    nodes = [dequantised(16, "z", domain=domain), *(views if between else [])]
    nodes.append(node("MatMul", ["x", used], ["y"]))
    q = helper.make_tensor("q", TensorProto.INT4, [64, 48], [1] * (64 * 48))
    z = helper.make_tensor("z", TensorProto.INT4, [4, 48], [1] * (4 * 48))
    layer = layer_of(tmp_path, nodes, q, z, ones("s", 4, 48), constant("shape", [48, 64]))
    assert layer.bits == PerOperand(16, 4, 16)
    assert layer.scale_bits == PerOperand(0.0, (16 + 4) / 16, 0.0)


@pytest.mark.parametrize("scales", [[1], [48]], ids=["one scale", "a scale for each column"])
def test_scales_of_a_tensor_or_channel_are_hardly_any(tmp_path: Path, scales: list[int]) -> None:
    nodes = [node("DequantizeLinear", ["q", "s"], ["w"], axis=1), node("MatMul", ["x", "w"], ["y"])]
    stored = constant("q", np.ones((64, 48)), np.int8), ones("s", *scales)
    assert layer_of(tmp_path, nodes, *stored).scale_bits == PerOperand(0.0, 0.0, 0.0)


def test_inputs_and_outputs_in_blocks(tmp_path: Path) -> None:
    """A product of 4-bit values in blocks of 32 whose output is stored so as well."""
    more: dict[str, Any] = {"axis": -1, "block_size": 32}
    nodes = [
        node("QuantizeLinear", ["x", "xs"], ["xq"], output_dtype=TensorProto.INT4, **more),
        node("DequantizeLinear", ["xq", "xs"], ["a"], **more),
        node("MatMul", ["a", "v"], ["h"]),
        node("QuantizeLinear", ["h", "hs"], ["hq"], output_dtype=TensorProto.INT4, **more),
        node("DequantizeLinear", ["hq", "hs"], ["y"], **more),
    ]
    stored = [ones("v", 64, 96), ones("xs", 1, 7, 2), ones("hs", 1, 7, 3)]
    layer = layer_of(tmp_path, nodes, *stored, opset=23)
    assert layer.bits == PerOperand(4, 16, 4)
    assert layer.scale_bits == PerOperand(0.5, 0.0, 0.5)


@pytest.mark.parametrize("zeros", [False, True])
def test_experts_in_blocks(tmp_path: Path, zeros: bool) -> None:
    names = ["x", "p", "w1", "s1", "", "w2", "s2", *([""] * 4), *(["z1", "z2"] if zeros else [])]
    given: dict[str, Any] = {
        "k": 2,
        "expert_weight_bits": 4,
        "fc2_expert_weight_bits": 8,
        "block_size": 16,
    }
    nodes = [node("QMoE", names, ["y"], domain=MICROSOFT, **given)]
    stored = [
        constant("w1", np.ones((4, 32, 8)), np.uint8),
        ones("s1", 4, 32, 1),
        constant("w2", np.ones((4, 16, 32)), np.uint8),
        ones("s2", 4, 16, 2),
        constant("z1", np.ones((4, 32, 1)), np.uint8),
        constant("z2", np.ones((4, 16, 2)), np.uint8),
    ]
    network = network_of(tmp_path, nodes, {"x": [6, 16], "p": [6, 4]}, *stored)
    found = {x.name.partition(".")[2]: (x.bits.weight, x.scale_bits.weight) for x in network}
    more = 1 if zeros else 0
    assert found["fc1"] == (4, (16 + 4 * more) / 16)
    assert found["fc2"] == (8, (16 + 8 * more) / 16)


def test_rows_that_do_not_divide_by_the_experts_visit_all_of_them(tmp_path: Path) -> None:
    nodes = [node("MoE", ["x", "p", "w1", "", "w2"], ["y"], "m", domain=MICROSOFT, k=1)]
    stored = [ones("w1", 4, 16, 8), ones("w2", 4, 8, 16)]
    network = network_of(tmp_path, nodes, {"x": [1, 13, 8], "p": [13, 4]}, *stored)
    # 13 tokens: three experts have 3 rows, one has 4; before, one expert had all of them.
    first = [layer for layer in network if ".fc1" in layer.name]
    assert [(x.name, x.bounds.G, x.bounds.P) for x in first] == [
        ("m.fc1", 3, 3),
        ("m.fc1[more]", 1, 4),
    ]
    assert sum(layer.macs for layer in network) == 13 * 2 * 128
    assert sum(layer.weights for layer in network) == 4 * 2 * 128


def test_packed_sizes_that_multiply_past_any_dimension(tmp_path: Path) -> None:
    """What a damaged file looks up has a shape that no file can say: it is not known."""
    nodes = [
        node("GatherBlockQuantized", ["q", "i", "s"], ["g"], domain=MICROSOFT, bits=4),
        node("MatMul", ["x", "v"], ["y"]),
    ]
    packed = TensorProto(name="q", data_type=TensorProto.UINT8, dims=[4, 1 << 62])
    stored = [packed, constant("i", [0]), ones("s", 4, 2), ones("v", 64, 3)]
    assert layer_of(tmp_path, nodes, *stored).macs == 7 * 64 * 3
