"""Attention in ONNX: keys that several heads share are charged once, however that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from picojoule.frontends import load
from picojoule.workload import Extents
from tests.frontends.onnx_graphs import Shape, constant, network_of, ones

HEADS, GROUPS, TOKENS, WIDTH = 8, 2, 5, 4
TIMES = HEADS // GROUPS


def repeated(name: str, how: str) -> list[NodeProto]:
    """[1, GROUPS, TOKENS, WIDTH] -> [1, HEADS, TOKENS, WIDTH], as exporters write it."""
    node = helper.make_node
    whole = node("Reshape", [f"{name}5", "whole"], [f"{name}r"])
    if how == "Expand":
        return [
            node("Unsqueeze", [name, "two"], [f"{name}4"]),
            node("Expand", [f"{name}4", "five"], [f"{name}5"]),
            whole,
        ]
    if how == "Tile":
        return [
            node("Unsqueeze", [name, "two"], [f"{name}4"]),
            node("Tile", [f"{name}4", "times"], [f"{name}5"]),
            whole,
        ]
    if how == "Gather":
        return [node("Gather", [name, "index"], [f"{name}r"], axis=1)]
    return [  # with the batch before the heads merged, and scaled
        node("Unsqueeze", [name, "two"], [f"{name}4"]),
        node("Expand", [f"{name}4", "five"], [f"{name}5"]),
        node("Mul", [f"{name}5", "half"], [f"{name}m"]),
        node("Reshape", [f"{name}m", "flat"], [f"{name}r"]),
    ]


STORED = [
    constant("two", [2]),
    constant("five", [1, GROUPS, TIMES, TOKENS, WIDTH]),
    constant("times", [1, 1, TIMES, 1, 1]),
    constant("whole", [1, HEADS, TOKENS, WIDTH]),
    constant("flat", [HEADS, TOKENS, WIDTH]),
    constant("index", np.repeat(np.arange(GROUPS), TIMES)),
    constant("half", 0.5, np.float32),
]


@pytest.mark.parametrize("how", ["Expand", "Tile", "Gather", "Flat"])
def test_repeated_keys_are_charged_once(tmp_path: Path, how: str) -> None:
    order = [0, 2, 1] if how == "Flat" else [0, 1, 3, 2]
    nodes = [
        *repeated("k", how),
        *repeated("v", how),
        helper.make_node("Transpose", ["kr"], ["kt"], perm=order),
        helper.make_node("MatMul", ["q", "kt"], ["s"], "scores"),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("MatMul", ["p", "vr"], ["y"], "context"),
    ]
    lead = [] if how == "Flat" else [1]
    inputs: dict[str, Shape] = {
        "q": [*lead, HEADS, TOKENS, WIDTH],
        "k": [1, GROUPS, TOKENS, WIDTH],
        "v": [1, GROUPS, TOKENS, WIDTH],
    }
    network = network_of(tmp_path, nodes, inputs, *STORED)
    rows = TOKENS * TIMES
    assert network["scores"].bounds == Extents(G=GROUPS, M=TOKENS, C=WIDTH, P=rows)
    assert network["context"].bounds == Extents(G=GROUPS, M=WIDTH, C=TOKENS, P=rows)


def test_an_attention_node_whose_keys_were_repeated_before(tmp_path: Path) -> None:
    nodes = [
        *repeated("k", "Expand"),
        *repeated("v", "Expand"),
        helper.make_node("Attention", ["q", "kr", "vr"], ["y"], "att"),
    ]
    shapes: dict[str, Shape] = {name: [1, GROUPS, TOKENS, WIDTH] for name in "kv"}
    inputs = {"q": [1, HEADS, TOKENS, WIDTH], **shapes}
    network = network_of(tmp_path, nodes, inputs, *STORED, opset=23)
    assert network["att.scores"].bounds == Extents(G=GROUPS, M=TOKENS, C=WIDTH, P=TOKENS * TIMES)


def test_queries_that_only_repeat_stay_queries(tmp_path: Path) -> None:
    """Learned queries, the same for each image: fewer inputs, not fewer products."""
    nodes = [
        helper.make_node("Expand", ["q", "shape"], ["qe"]),
        helper.make_node("MatMul", ["qe", "k"], ["y"], "scores"),
    ]
    inputs: dict[str, Shape] = {"q": [1, 3, 4], "k": [2, 4, 6]}
    network = network_of(tmp_path, nodes, inputs, constant("shape", [2, 3, 4]))
    # One input for two second operands: more columns over the same rows.
    assert network["scores"].bounds == Extents(M=12, C=4, P=3)


@pytest.mark.parametrize(
    ("equation", "left", "right", "macs"),
    [
        ("...c,oc->...o", (2, 7, 8), (3, 8), 14 * 24),
        ("b...d,...de->b...e", (2, 7, 8), (7, 8, 5), 2 * 7 * 40),
        ("ij,jk", (3, 4), (4, 5), 60),
        ("ijk,jk->i", (3, 4, 5), (4, 5), 60),
        ("bij,bkj->bik", (1, 3, 4), (2, 5, 4), 2 * 60),
        ("ii,ij->j", (4, 4), (4, 3), 12),
    ],
)
@pytest.mark.parametrize("stored", [True, False])
def test_einsums(
    tmp_path: Path,
    equation: str,
    left: tuple[int, ...],
    right: tuple[int, ...],
    macs: int,
    stored: bool,
) -> None:
    nodes = [helper.make_node("Einsum", ["a", "b"], ["y"], equation=equation)]
    inputs: dict[str, Shape] = {"a": left} if stored else {"a": left, "b": right}
    weights = [ones("b", *right)] if stored else []
    network = network_of(tmp_path, nodes, inputs, *weights)
    assert sum(layer.macs for layer in network) == macs
    assert network.complete


def test_einsum_of_three_operands_goes_by_pairs(tmp_path: Path) -> None:
    nodes = [helper.make_node("Einsum", ["a", "b", "c"], ["y"], "chain", equation="ab,bc,cd->ad")]
    network = network_of(tmp_path, nodes, {"a": [2, 3]}, ones("b", 3, 4), ones("c", 4, 5))
    assert [layer.macs for layer in network] == [2 * 3 * 4, 2 * 4 * 5]


@pytest.mark.parametrize("opset", [20, 23])
def test_grouped_queries_cost_the_same_in_every_export_of_torch(tmp_path: Path, opset: int) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Grouped(torch.nn.Module):  # type: ignore[name-defined]
        def forward(self, q: Any, k: Any, v: Any) -> Any:
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    arguments = (torch.randn(1, 8, 6, 16), torch.randn(1, 2, 6, 16), torch.randn(1, 2, 6, 16))
    path = tmp_path / "gqa.onnx"
    torch.onnx.export(
        Grouped().eval(), arguments, path, dynamo=True, opset_version=opset, verbose=False
    )
    network = load(path)
    assert [layer.bounds for layer in network] == [
        Extents(G=2, M=6, C=16, P=24),
        Extents(G=2, M=16, C=6, P=24),
    ]
