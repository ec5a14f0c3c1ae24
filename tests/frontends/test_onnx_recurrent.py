"""LSTM, GRU and RNN of ONNX: every product with a weight, for every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from picojoule.frontends import load
from picojoule.workload import Extents, Workload
from tests.frontends.onnx_graphs import Shape, constant, graph_of, network_of, ones, saved

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, INPUTS, HIDDEN = 7, 5, 6


def recurrent(tmp_path: Path, op: str, sequences: int = 1, **given: Any) -> Workload:
    directions = 2 if given.get("direction") == b"bidirectional" else 1
    gates = GATES[op]
    data = [sequences, STEPS, INPUTS] if given.get("layout") else [STEPS, sequences, INPUTS]
    nodes = [helper.make_node(op, ["x", "W", "R"], ["y"], op, hidden_size=HIDDEN, **given)]
    weights = [
        ones("W", directions, gates * HIDDEN, INPUTS),
        ones("R", directions, gates * HIDDEN, HIDDEN),
    ]
    return network_of(tmp_path, nodes, {"x": data}, *weights)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", [b"forward", b"reverse", b"bidirectional"])
def test_products_of_every_step(tmp_path: Path, op: str, direction: bytes) -> None:
    network = recurrent(tmp_path, op, direction=direction)
    ways = 2 if direction == b"bidirectional" else 1
    assert network.batch == 1
    assert network.macs == STEPS * ways * GATES[op] * HIDDEN * (INPUTS + HIDDEN)
    assert network.weights == ways * GATES[op] * HIDDEN * (INPUTS + HIDDEN)
    rows = GATES[op] * HIDDEN
    assert network[f"{op}.input"].bounds == Extents(M=ways * rows, C=INPUTS, P=STEPS)
    states = [layer for layer in network if "recurrent" in layer.name]
    assert [(x.bounds, x.time_steps) for x in states] == [(Extents(M=rows, C=HIDDEN), STEPS)] * ways


@pytest.mark.parametrize("layout", [0, 1])
def test_the_batch_stands_where_the_operator_has_it(tmp_path: Path, layout: int) -> None:
    network = recurrent(tmp_path, "GRU", sequences=3, layout=layout)
    assert sum(layer.macs for layer in network) == 3 * STEPS * 3 * HIDDEN * (INPUTS + HIDDEN)
    assert network.batch == 3
    state = network["GRU.recurrent"]
    assert state.bounds == Extents(N=3, M=3 * HIDDEN, C=HIDDEN)
    assert state.time_steps == STEPS


@pytest.mark.parametrize(("lengths", "batch"), [([7, 3], 2), ([4, 3], 1), ([9, -1], 1)])
def test_lengths_that_are_known_are_counted(tmp_path: Path, lengths: list[int], batch: int) -> None:
    nodes = [helper.make_node("LSTM", ["x", "W", "R", "", "l"], ["y"], hidden_size=HIDDEN)]
    weights = [ones("W", 1, 24, INPUTS), ones("R", 1, 24, HIDDEN), constant("l", lengths, np.int32)]
    network = network_of(tmp_path, nodes, {"x": [STEPS, 2, INPUTS]}, *weights)
    steps = sum(min(max(n, 0), STEPS) for n in lengths)
    assert sum(layer.macs for layer in network) == steps * 24 * (INPUTS + HIDDEN)
    assert network.batch == batch


def test_lengths_that_come_with_the_data_are_taken_for_all_steps(tmp_path: Path) -> None:
    nodes = [helper.make_node("LSTM", ["x", "W", "R", "", "l"], ["y"], hidden_size=HIDDEN)]
    graph = graph_of(
        nodes, {"x": [STEPS, 1, INPUTS]}, [ones("W", 1, 24, INPUTS), ones("R", 1, 24, HIDDEN)]
    )
    graph.input.append(helper.make_tensor_value_info("l", onnx.TensorProto.INT32, [1]))
    network = load(saved(graph, tmp_path))
    assert network.macs == STEPS * 24 * (INPUTS + HIDDEN)
    assert any("every sequence" in remark for remark in network.remarks)


def test_peepholes_are_products_too(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "LSTM", ["x", "W", "R", "", "", "", "", "P"], ["y"], "l", hidden_size=HIDDEN
        )
    ]
    weights = [ones("W", 1, 24, INPUTS), ones("R", 1, 24, HIDDEN), ones("P", 1, 18)]
    network = network_of(tmp_path, nodes, {"x": [STEPS, 1, INPUTS]}, *weights)
    assert network["l.peephole"].macs == STEPS * 3 * HIDDEN
    assert network["l.peephole"].weights == 18


def test_densities_are_those_of_each_weight(tmp_path: Path) -> None:
    sparse = np.ones((1, 6, 5), np.float32)
    sparse[:, :3] = 0
    nodes = [helper.make_node("RNN", ["x", "W", "R"], ["y"], "r", hidden_size=6)]
    weights = [onnx.numpy_helper.from_array(sparse, "W"), ones("R", 1, 6, 6)]
    network = network_of(tmp_path, nodes, {"x": [STEPS, 1, 5]}, *weights)
    assert [layer.density.weight for layer in network] == [0.5, 1.0]


def test_no_steps_no_products(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RNN", ["x", "W", "R"], ["y"], "r", hidden_size=6, layout=1),
        helper.make_node("MatMul", ["z", "W"], ["o"], "other"),
    ]
    weights = [ones("W", 1, 6, 5), ones("R", 1, 6, 6)]
    network = network_of(tmp_path, nodes, {"x": [1, 0, 5], "z": [1, 2, 6]}, *weights)
    assert [layer.name for layer in network] == ["other"]
    assert dict(network.not_counted) == {"RNN": 1}


@pytest.mark.parametrize("module", ["LSTM", "GRU"])
def test_exports_of_torch(tmp_path: Path, module: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    net = getattr(torch.nn, module)(INPUTS, HIDDEN, num_layers=2, bidirectional=True).eval()
    path = tmp_path / "net.onnx"
    torch.onnx.export(net, (torch.randn(STEPS, 1, INPUTS),), path, dynamo=False, verbose=False)
    rows = GATES[module] * HIDDEN
    expected = STEPS * 2 * rows * (INPUTS + HIDDEN) + STEPS * 2 * rows * (2 * HIDDEN + HIDDEN)
    network = load(path)
    assert network.macs == expected
    assert network.complete


def test_sequences_that_are_no_batch_are_still_side_by_side(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RNN", ["x", "W", "R"], ["y"], "r", hidden_size=6),
        helper.make_node("MatMul", ["z", "z2"], ["o"], "other"),
    ]
    weights = [ones("W", 1, 6, 5), ones("R", 1, 6, 6)]
    sizes: dict[str, Shape] = {"x": [STEPS, 4, 5], "z": [3, 2, 6], "z2": [3, 6, 2]}
    network = network_of(tmp_path, nodes, sizes, *weights)
    assert network.batch == 1
    assert network["r.recurrent"].bounds == Extents(N=4, M=6, C=6)
    assert network["r.recurrent"].time_steps == STEPS
