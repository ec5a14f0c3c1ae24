"""What one inference of an ONNX graph is: the batch, found by names and by operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from picojoule.frontends import load
from tests.frontends.onnx_graphs import (
    MICROSOFT,
    Shape,
    constant,
    graph_of,
    mistakes,
    network_of,
    ones,
    saved,
)

node = helper.make_node
FC = node("MatMul", ["h", "w"], ["y"], "fc")


def test_a_bare_first_dimension_is_taken_for_the_batch_and_said(tmp_path: Path) -> None:
    network = network_of(tmp_path, [node("Relu", ["x"], ["h"]), FC], {"x": [4, 8]}, ones("w", 8, 3))
    assert network.batch == 4
    assert "4, is taken for the batch" in network.remarks[0]


@pytest.mark.parametrize("name", ["batch", "N", "batch_size"])
def test_a_name_says_so_without_a_remark(tmp_path: Path, name: str) -> None:
    path = saved(
        graph_of([node("Relu", ["x"], ["h"]), FC], {"x": [name, 8]}, [ones("w", 8, 3)]), tmp_path
    )
    network = load(path, dims={name: 6})
    assert (network.batch, network.remarks) == (6, ())
    assert load(path).batch == 1


@pytest.mark.parametrize("name", ["sequence", "tokens", "T"])
def test_a_sequence_first_is_asked_for_and_is_no_batch(tmp_path: Path, name: str) -> None:
    path = saved(
        graph_of([node("Relu", ["x"], ["h"]), FC], {"x": [name, 8]}, [ones("w", 8, 3)]), tmp_path
    )
    assert f"--dim {name}=" in mistakes(path)["graph.input[0] 'x'"]
    network = load(path, dims={name: 6})
    assert (network.batch, network.macs) == (1, 6 * 24)


def attention(first: bool) -> list[NodeProto]:
    """Scores of tokens with each other, one head; tokens first or second."""
    turn = [1, 0, 2]
    before = (
        [node("Transpose", ["x"], ["t"], perm=turn)] if first else [node("Identity", ["x"], ["t"])]
    )
    return [
        *before,
        node("MatMul", ["t", "w"], ["q"]),
        node("Reshape", ["q", "shape"], ["r"]),
        node("Transpose", ["r"], ["k"], perm=[0, 2, 1]),
        node("MatMul", ["r", "k"], ["s"], "scores"),
        node("Softmax", ["s"], ["p"]),
        node("MatMul", ["p", "r"], ["y"]),
    ]


@pytest.mark.parametrize(
    ("shape", "first", "batch"), [([8, 1, 4], True, 1), ([8, 2, 4], False, 8), ([8, 2, 4], True, 1)]
)
def test_attention_over_the_first_dimension_is_no_batch(
    tmp_path: Path, shape: list[int], first: bool, batch: int
) -> None:
    split = [shape[1], shape[0], 4] if first else shape
    network = network_of(
        tmp_path, attention(first), {"x": shape}, ones("w", 4, 4), constant("shape", split)
    )
    assert network.batch == batch


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ReduceMean", ["x"], ["h"], axes=[0], keepdims=1), FC],
        [node("Add", ["x", "positions"], ["h"]), FC],
        [node("Concat", ["x", "x"], ["h"], axis=0), FC],
        [node("Softmax", ["x"], ["h"], axis=0), FC],
        [node("Gather", ["x", "last"], ["h"], axis=0), FC],
        [node("MatMul", ["m", "x"], ["h"]), FC],
        [
            node("MultiHeadAttention", ["z", "z", "z"], ["a"], domain=MICROSOFT, num_heads=2),
            node("MatMul", ["x", "w"], ["y"]),
            node("Unsqueeze", ["x", "last"], ["z"]),
        ][::-1],
    ],
    ids=["mean", "positions", "concat", "softmax", "last", "mix", "attention"],
)
def test_operators_that_join_the_first_dimension(tmp_path: Path, nodes: list[NodeProto]) -> None:
    stored = [ones("w", 4, 3), ones("positions", 8, 4), constant("last", [0]), ones("m", 5, 8)]
    assert network_of(tmp_path, nodes, {"x": [8, 4]}, *stored, opset=17).batch == 1


@pytest.mark.parametrize("sequences", [1, 3])
def test_a_recurrence_along_the_first_dimension_has_its_batch_second(
    tmp_path: Path, sequences: int
) -> None:
    nodes = [
        node("MatMul", ["x", "v"], ["h"], "embed"),
        node("LSTM", ["h", "W", "R"], ["o"], "lstm", hidden_size=6),
        node("Squeeze", ["o", "one"], ["s"]),
        node("MatMul", ["s", "w"], ["y"], "head"),
    ]
    stored = [
        ones("v", 9, 5),
        ones("W", 1, 24, 5),
        ones("R", 1, 24, 6),
        constant("one", [1]),
        ones("w", 6, 2),
    ]
    network = network_of(tmp_path, nodes, {"x": [7, sequences, 9]}, *stored)
    assert network.batch == sequences
    assert network.macs == 7 * (45 + 24 * 11 + 12)


@pytest.mark.parametrize(
    ("batch_first", "tokens"), [(False, 8), (True, 8), (False, 16), (True, 12)]
)
def test_a_transformer_costs_the_same_whichever_dimension_is_first(
    tmp_path: Path, batch_first: bool, tokens: int
) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.TransformerEncoderLayer(64, 8, 128, batch_first=batch_first)
    net: Any = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).train(False)
    data = torch.randn(1, tokens, 64) if batch_first else torch.randn(tokens, 1, 64)
    path = tmp_path / "net.onnx"
    torch.backends.mha.set_fastpath_enabled(False)
    torch.onnx.export(net, (data,), path, dynamo=False, verbose=False)
    network = load(path)
    assert network.batch == 1
    assert network.macs == tokens * (4 * 64 * 64 + 2 * 64 * 128) + 2 * tokens**2 * 64
    assert network.complete


def test_images_stay_a_batch_through_a_network(tmp_path: Path) -> None:
    inputs: dict[str, Shape] = {"x": [4, 3, 8, 8]}
    nodes = [
        node("Conv", ["x", "a"], ["c"]),
        node("GlobalAveragePool", ["c"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w"], ["l"]),
        node("Softmax", ["l"], ["y"]),
    ]
    network = network_of(
        tmp_path, nodes, inputs, ones("a", 5, 3, 3, 3), ones("w", 5, 2), constant("i", np.int64(0))
    )
    assert network.batch == 4
    assert network.macs == 36 * 5 * 27 + 10
