"""Branches, loops, scans and local functions of ONNX: what runs, and how often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper

from picojoule.frontends import load, onnx_trace
from picojoule.workload import Extents, Workload
from tests.frontends.onnx_graphs import (
    Shape,
    constant,
    graph_of,
    mistakes,
    network_of,
    ones,
    saved,
    value,
)


def body_of(
    name: str, nodes: list[NodeProto], inputs: list[onnx.ValueInfoProto], *outputs: str
) -> GraphProto:
    made = [value(output, None) for output in outputs]
    return helper.make_graph(nodes, name, inputs, made)


def branch(name: str, weight: str, width: int) -> GraphProto:
    nodes = [
        helper.make_node("MatMul", ["x", weight], ["h"]),  # both branches call it so
        helper.make_node("Relu", ["h"], [f"{name}2"]),
    ]
    return helper.make_graph(nodes, name, [], [value(f"{name}2", [1, width])])


# -- If --------------------------------------------------------------------------------------------


def test_the_dearer_branch_is_counted_where_the_condition_is_an_input(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "If",
            ["c"],
            ["h"],
            "which",
            then_branch=branch("t", "w", 4),
            else_branch=branch("e", "v", 8),
        ),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    graph = graph_of(nodes, {"x": [1, 4]}, [ones("w", 4, 4), ones("v", 4, 8)])
    graph.input.append(value("c", [], TensorProto.BOOL))
    network = load(saved(graph, tmp_path))
    assert network.macs == 32
    assert dict(network.not_counted) == {"Relu": 2}
    (remark,) = network.remarks
    assert "'which'" in remark
    assert "16, 32 MACs" in remark

    del graph.input[-1]
    graph.initializer.append(constant("c", True, np.bool_))
    network = load(saved(graph, tmp_path))  # now the branch is known
    assert network.macs == 16
    assert network.remarks == ()


def test_a_network_may_stand_in_nested_branches(tmp_path: Path) -> None:
    inner = helper.make_node(
        "If", ["d"], ["i"], then_branch=branch("it", "w", 4), else_branch=branch("ie", "v", 4)
    )
    outer = helper.make_graph([inner], "outer", [], [value("i", [1, 4])])
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=outer, else_branch=branch("oe", "w", 4))
    ]
    graph = graph_of(nodes, {"x": [1, 4]}, [ones("w", 4, 4), ones("v", 4, 4)])
    graph.input.extend(value(name, [], TensorProto.BOOL) for name in "cd")
    network = load(saved(graph, tmp_path))
    assert network.macs == 16
    assert network.complete


def test_what_cannot_be_counted_in_a_branch_is_not_hidden_by_the_other(tmp_path: Path) -> None:
    odd = helper.make_graph(
        [helper.make_node("Magic", ["x"], ["m"], domain="local")], "odd", [], [value("m", [1, 4])]
    )
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch("t", "w", 4), else_branch=odd)]
    graph = graph_of(nodes, {"x": [1, 4]}, [ones("w", 4, 4)])
    graph.input.append(value("c", [], TensorProto.BOOL))
    network = load(saved(graph, tmp_path))
    assert network.macs == 16
    assert dict(network.unmodelled) == {"local.Magic": 1}


# -- Loop ------------------------------------------------------------------------------------------


def loop_of(*, trips: str, condition: str = "yes", ends: bool = False) -> list[NodeProto]:
    """s = relu(s W), and each s a row of an output."""
    last = (
        [
            helper.make_node("ReduceMax", ["s2"], ["m"], keepdims=0),
            helper.make_node("Cast", ["m"], ["c2"], to=TensorProto.BOOL),
        ]
        if ends
        else [helper.make_node("Identity", ["c"], ["c2"])]
    )
    body = body_of(
        "body",
        [
            helper.make_node("MatMul", ["s", "w"], ["u"], "cell"),
            helper.make_node("Relu", ["u"], ["s2"]),
            helper.make_node("Identity", ["s2"], ["row"]),
            *last,
        ],
        [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL), value("s", [1, 4])],
        "c2",
        "s2",
        "row",
    )
    return [
        helper.make_node("Loop", [trips, condition, "x"], ["last", "rows"], "steps", body=body),
        helper.make_node("MatMul", ["rows", "v"], ["y"], "head"),
    ]


STORED = [ones("w", 4, 4), ones("v", 4, 3), constant("ten", 10), constant("yes", True, np.bool_)]


def test_a_loop_counts_its_trips(tmp_path: Path) -> None:
    network = network_of(tmp_path, loop_of(trips="ten"), {"x": [1, 4]}, *STORED)
    assert network["cell"].macs == 10 * 16
    assert network["cell"].weights == 16
    # A trip needs the one before, so no mapping may share the weights among trips.
    assert (network["cell"].bounds, network["cell"].time_steps) == (Extents(M=4, C=4), 10)
    assert network["head"].macs == 10 * 12
    assert network.complete
    assert network.remarks == ()
    early = network_of(tmp_path, loop_of(trips="ten", ends=True), {"x": [1, 4]}, *STORED)
    assert early["cell"].macs == 10 * 16
    assert "may end before its 10 trips" in early.remarks[0]


def test_trips_from_a_size_of_an_input(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["z"], ["size"], start=0, end=1),
        helper.make_node("Squeeze", ["size"], ["n"]),
        *loop_of(trips="n"),
    ]
    network = network_of(tmp_path, nodes, {"x": [1, 4], "z": [7]}, *STORED)
    assert network["cell"].macs == 7 * 16


def test_unknown_trips_are_asked_for(tmp_path: Path) -> None:
    graph = graph_of(loop_of(trips="n"), {"x": [1, 4]}, STORED)
    graph.input.append(value("n", [], TensorProto.INT64))
    path = saved(graph, tmp_path)
    network = load(path)
    assert network["cell"].macs == 16
    assert dict(network.unmodelled) == {"Loop of unknown trips": 1}
    assert "--trips steps=" in network.remarks[0]
    for word in ("steps", "last"):  # its own name, or that of its first output
        told = load(path, trips={word: 6})
        assert told.complete
        assert (told["cell"].macs, told["head"].macs) == (6 * 16, 6 * 12)
    assert "did you mean 'steps'" in mistakes(path, trips={"step": 6})["trips 'step'"]
    for impossible in (-1, 1 << 63):
        assert "not a size" in mistakes(path, trips={"steps": impossible})["trips 'steps'"]


def test_no_trips_no_products(tmp_path: Path) -> None:
    nodes = [
        *loop_of(trips="ten", condition="no"),
        helper.make_node("MatMul", ["last", "v"], ["z"], "after"),
    ]
    network = network_of(tmp_path, nodes, {"x": [1, 4]}, *STORED, constant("no", False, np.bool_))
    assert [layer.name for layer in network] == ["after"]


def test_a_loop_whose_keys_grow_is_counted_trip_by_trip(tmp_path: Path) -> None:
    body = body_of(
        "body",
        [
            helper.make_node("Concat", ["keys", "x"], ["more"], axis=0),
            helper.make_node("Transpose", ["more"], ["turned"]),
            helper.make_node("MatMul", ["x", "turned"], ["scores"], "scores"),
            helper.make_node("Identity", ["c"], ["c2"]),
        ],
        [
            value("i", [], TensorProto.INT64),
            value("c", [], TensorProto.BOOL),
            value("keys", [None, 4]),
        ],
        "c2",
        "more",
    )
    nodes = [
        helper.make_node("Loop", ["n", "", "x"], ["all"], body=body),
        helper.make_node("MatMul", ["all", "w"], ["y"], "after"),
    ]
    network = network_of(tmp_path, nodes, {"x": [1, 4]}, ones("w", 4, 4), constant("n", 5))
    # One query over 2, 3, 4, 5, 6 keys.
    assert sum(x.macs for x in network if "scores" in x.name) == 4 * (2 + 3 + 4 + 5 + 6)
    assert network["after"].macs == 6 * 16


def test_loops_in_loops_multiply(tmp_path: Path) -> None:
    inner = body_of(
        "inner",
        [
            helper.make_node("MatMul", ["t", "w"], ["t2"], "cell"),
            helper.make_node("Identity", ["d"], ["d2"]),
        ],
        [value("j", [], TensorProto.INT64), value("d", [], TensorProto.BOOL), value("t", [1, 4])],
        "d2",
        "t2",
    )
    outer = body_of(
        "outer",
        [
            helper.make_node("Loop", ["ten", "", "s"], ["s2"], body=inner),
            helper.make_node("Identity", ["c"], ["c2"]),
        ],
        [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL), value("s", [1, 4])],
        "c2",
        "s2",
    )
    nodes = [helper.make_node("Loop", ["three", "", "x"], ["y"], body=outer)]
    network = network_of(tmp_path, nodes, {"x": [1, 4]}, *STORED, constant("three", 3))
    assert network.macs == 30 * 16
    assert network["cell"].time_steps == 30


# -- Scan ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "shape"), [(0, [20, 1, 2]), (1, [1, 20, 2])])
def test_a_scan_is_as_long_as_what_it_scans(tmp_path: Path, axis: int, shape: Shape) -> None:
    step = body_of(
        "step",
        [
            helper.make_node("MatMul", ["t", "w"], ["u"], "input"),
            helper.make_node("MatMul", ["s", "r"], ["v"], "state"),
            helper.make_node("Add", ["u", "v"], ["s2"]),
            helper.make_node("Identity", ["s2"], ["o"]),
        ],
        [value("s", [1, 4]), value("t", [1, 2])],
        "s2",
        "o",
    )
    nodes = [
        helper.make_node(
            "Scan",
            ["zero", "x"],
            ["last", "rows"],
            body=step,
            num_scan_inputs=1,
            scan_input_axes=[axis],
            scan_output_axes=[axis],
        ),
        helper.make_node("MatMul", ["rows", "v0"], ["y"], "head"),
    ]
    network = network_of(
        tmp_path,
        nodes,
        {"x": shape},
        ones("w", 2, 4),
        ones("r", 4, 4),
        ones("zero", 1, 4),
        ones("v0", 4, 3),
    )
    found = {layer.name: layer.macs for layer in network}
    assert found == {"input": 20 * 8, "state": 20 * 16, "head": 20 * 12}
    assert network["state"].time_steps == 20


@pytest.mark.parametrize("handed", ["s", "s2"], ids=["as it is", "through Identity"])
def test_trips_that_hand_on_nothing_new_are_of_one_batch(tmp_path: Path, handed: str) -> None:
    nodes = [
        helper.make_node("MatMul", ["t", "w"], ["o"], "cell"),
        helper.make_node("Identity", ["s"], ["s2"]),
    ]
    inputs = [value("s", [1, 4]), value("t", [1, 2])]
    step = body_of("step", nodes, inputs, handed, "o")
    nodes = [helper.make_node("Scan", ["zero", "x"], ["last", "y"], body=step, num_scan_inputs=1)]
    network = network_of(tmp_path, nodes, {"x": [20, 1, 2]}, ones("w", 2, 4), ones("zero", 1, 4))
    assert network["cell"].bounds == Extents(N=20, M=4, C=2)
    assert network["cell"].time_steps == 1


# -- local functions -------------------------------------------------------------------------------


def function_of(
    name: str, nodes: list[NodeProto], inputs: list[str], output: str, **rest: object
) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", rest.pop("opset", 21)), helper.make_opsetid("local", 1)]  # type: ignore[arg-type]
    return helper.make_function("local", name, inputs, [output], nodes, opsets, **rest)  # type: ignore[arg-type]


BLOCK = function_of(
    "Block",
    [helper.make_node("MatMul", ["a", "w"], ["m"]), helper.make_node("Relu", ["m"], ["b"])],
    ["a", "w"],
    "b",
)


def test_local_functions_are_followed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Block", ["x", "w"], ["h"], domain="local"),
        helper.make_node("Block", ["h", "w"], ["y"], domain="local"),
    ]
    path = saved(graph_of(nodes, {"x": [1, 4]}, [ones("w", 4, 4)]), tmp_path, functions=[BLOCK])
    network = load(path)
    assert len(network) == 2
    assert network.macs == 32
    assert dict(network.not_counted) == {"Relu": 2}


def functions_everywhere(tmp_path: Path) -> Workload:
    """A function of another opset that calls a function in a branch in a loop."""
    call = helper.make_node("Block", ["t", "w"], ["t2"], domain="local")
    chosen = helper.make_graph([call], "chosen", [], [value("t2", [1, 4])])
    other = helper.make_graph(
        [helper.make_node("Identity", ["t"], ["t3"])], "other", [], [value("t3", [1, 4])]
    )
    body = body_of(
        "body",
        [
            helper.make_node("If", ["c"], ["s2"], then_branch=chosen, else_branch=other),
            helper.make_node("Identity", ["c"], ["c2"]),
        ],
        [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL), value("t", [1, 4])],
        "c2",
        "s2",
    )
    deep = function_of(
        "Deep",
        [
            helper.make_node("Constant", [], ["n"]),
            helper.make_node("Loop", ["n", "", "a"], ["b"], body=body),
        ],
        ["a", "w"],
        "b",
        opset=18,
        attributes=["times"],
    )
    deep.node[0].attribute.add(name="value_int", type=2, ref_attr_name="times")
    nodes = [helper.make_node("Deep", ["x", "w"], ["y"], domain="local", times=3)]
    return load(
        saved(graph_of(nodes, {"x": [1, 4]}, [ones("w", 4, 4)]), tmp_path, functions=[BLOCK, deep])
    )


def test_functions_at_any_depth(tmp_path: Path) -> None:
    network = functions_everywhere(tmp_path)
    assert network.macs == 3 * 16
    assert network.complete
    assert network.layers[0].weights == 16


def test_attributes_of_a_call_reach_its_operators(tmp_path: Path) -> None:
    function = function_of(
        "Turned",
        [helper.make_node("Gemm", ["a", "w"], ["b"])],
        ["a", "w"],
        "b",
        attributes=["turn"],
    )
    function.node[0].attribute.add(name="transB", type=2, ref_attr_name="turn")
    nodes = [helper.make_node("Turned", ["x", "w"], ["y"], domain="local", turn=1)]
    path = saved(graph_of(nodes, {"x": [1, 4]}, [ones("w", 7, 4)]), tmp_path, functions=[function])
    assert load(path).macs == 28


def test_recursive_functions_are_refused(tmp_path: Path) -> None:
    function = function_of("F", [helper.make_node("F", ["a"], ["b"], domain="local")], ["a"], "b")
    nodes = [helper.make_node("F", ["x"], ["y"], domain="local")]
    path = saved(graph_of(nodes, {"x": [1]}), tmp_path, functions=[function])
    assert "calls itself" in mistakes(path)["functions"]


def test_functions_that_grow_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty-five functions that call the next one twice are 33 million operators."""
    last = function_of("F25", [helper.make_node("Relu", ["a"], ["b"])], ["a"], "b")
    monkeypatch.setattr(onnx_trace, "MOST_OPERATORS", 5000)
    functions = [
        function_of(
            f"F{n}",
            [helper.make_node(f"F{n + 1}", [a], [b], domain="local") for a, b in ("am", "mb")],
            ["a"],
            "b",
        )
        for n in range(25)
    ]
    nodes = [helper.make_node("F0", ["x"], ["y"], domain="local")]
    path = saved(graph_of(nodes, {"x": [1, 4]}), tmp_path, functions=[*functions, last])
    (problem,) = mistakes(path).values()
    assert "more than" in problem
