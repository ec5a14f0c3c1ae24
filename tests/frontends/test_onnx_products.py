"""Matrix products in ONNX graphs: MatMul, Gemm, attention, Einsum, and whose the batch is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from picojoule.workload import Extents
from tests.frontends.onnx_graphs import Shape, network_of, ones


@pytest.mark.parametrize(
    ("left", "right", "weight", "bounds"),
    [
        # tokens x weights
        ([1, 5, 8], [8, 3], True, Extents(M=3, C=8, P=5)),
        # heads of attention
        ([1, 4, 5, 8], [1, 4, 8, 5], False, Extents(G=4, M=5, C=8, P=5)),
        # one key for four heads of queries: rows over the same operand
        ([1, 4, 5, 8], [1, 1, 8, 6], False, Extents(M=6, C=8, P=20)),
        # one input for four second operands: more columns
        ([1, 1, 5, 8], [4, 8, 6], False, Extents(M=24, C=8, P=5)),
        # a weight for each head
        ([1, 4, 5, 8], [4, 8, 6], True, Extents(G=4, M=6, C=8, P=5)),
        # vectors
        ([5, 8], [8], True, Extents(M=1, C=8, P=5)),
    ],
)
def test_matmul_broadcasts_as_numpy_does(
    tmp_path: Path, left: list[int], right: list[int], weight: bool, bounds: Extents
) -> None:
    nodes = [helper.make_node("MatMul", ["a", "b"], ["y"])]
    inputs: dict[str, Shape] = {"a": left} if weight else {"a": left, "b": right}
    stored = [ones("b", *right)] if weight else []
    layer = network_of(tmp_path, nodes, inputs, *stored).layers[0]
    if layer.bounds.N > 1:  # a first dimension of 5 reads as the batch
        layer = layer.__class__(layer.name, layer.bounds._replace(N=1, P=layer.bounds.N))
    assert layer.bounds == bounds
    assert layer.macs == np.matmul(np.ones(left), np.ones(right)).size * left[-1]


def test_gemm_transposed_and_constant_on_the_left(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], "fc", transB=1),
        helper.make_node("MatMul", ["m", "h"], ["y"], "left"),
    ]
    network = network_of(tmp_path, nodes, {"x": [1, 8]}, ones("w", 3, 8), ones("m", 4, 1))
    assert network["fc"].bounds == Extents(M=3, C=8)
    # [4, 1] x [1, 3]: 4 outputs for each of 3 columns, and 4 weights.
    assert network["left"].bounds == Extents(M=4, C=1, P=3)
    assert network["left"].weights == 4


def test_attention_written_as_products(tmp_path: Path) -> None:
    """Two heads of 4 over 6 tokens of width 8, with shapes computed in the graph."""
    orders = {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["tokens"]),
        helper.make_node("Concat", ["unknown", "tokens", "heads"], ["split"], axis=0),
        *[
            node
            for of in "qkv"
            for node in (
                helper.make_node("MatMul", ["x", "w"], [of], f"project_{of}"),
                helper.make_node("Reshape", [of, "split"], [f"{of}4"]),
                helper.make_node(
                    "Transpose",
                    [f"{of}4"],
                    [f"{of}t"],
                    perm=orders[of],
                ),
            )
        ],
        helper.make_node("MatMul", ["qt", "kt"], ["s"], "scores"),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("MatMul", ["p", "vt"], ["y"], "context"),
    ]
    integers = {"one": [1], "unknown": [-1], "heads": [2, 4]}
    network = network_of(
        tmp_path,
        nodes,
        {"x": ["batch", "sequence", 8]},
        ones("w", 8, 8),
        *(numpy_helper.from_array(np.array(v, dtype=np.int64), k) for k, v in integers.items()),
        dims={"sequence": 6},
    )
    assert network["scores"].bounds == Extents(G=2, M=6, C=4, P=6)
    assert network["context"].bounds == Extents(G=2, M=4, C=6, P=6)
    assert network["scores"].weight_is_activation
    # 3 * 6 * 8 * 8 + 2 * (2 * 6 * 6 * 4) = 1152 + 576.
    assert network.macs == 1728
    # The Gather and Concat of sizes are done before inference.
    assert dict(network.not_counted) == {"Softmax": 1, "Transpose": 3}


def test_attention_operator_with_grouped_queries(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Attention", ["q", "k", "v"], ["y"], "att", q_num_heads=4, kv_num_heads=2)
    ]
    network = network_of(
        tmp_path, nodes, {"q": [1, 3, 32], "k": [1, 5, 16], "v": [1, 5, 12]}, opset=23
    )
    assert network["att.scores"].bounds == Extents(G=2, M=5, C=8, P=6)
    assert network["att.context"].bounds == Extents(G=2, M=6, C=5, P=6)


def test_einsum(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Einsum", ["q", "k"], ["y"], "scores", equation="bhqd,bhkd->bhqk"),
        helper.make_node("Einsum", ["q", "w"], ["z"], "project", equation="bhqd,hde->bqe"),
        helper.make_node("Einsum", ["q"], ["d"], "sum", equation="bhqd->b"),
    ]
    network = network_of(
        tmp_path, nodes, {"q": [1, 2, 3, 4], "k": [1, 2, 5, 4]}, ones("w", 2, 4, 7)
    )
    assert network["scores"].bounds == Extents(G=2, M=5, C=4, P=3)
    assert network["project"].bounds == Extents(M=7, C=8, P=3)
    assert dict(network.not_counted) == {"Einsum": 1}


def test_a_fixed_batch_belongs_to_the_network(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], "conv"),
        helper.make_node("Flatten", ["h"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["y"], "fc"),
    ]
    network = network_of(
        tmp_path, nodes, {"x": [4, 1, 2, 2]}, ones("w", 3, 1, 1, 1), ones("v", 12, 5)
    )
    assert network.batch == 4
    assert network.macs == 3 * 4 + 60
    assert network["fc"].bounds == Extents(N=4, M=5, C=12)
