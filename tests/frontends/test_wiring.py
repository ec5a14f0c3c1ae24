"""Which layer's output is which layer's input: small graphs of each format, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper
from torch import nn

from picojoule.frontends import load, parse_table
from picojoule.frontends.wiring import Effect, WiredOperator, connect
from picojoule.graph import Graph, Tensor
from picojoule.reports.network_table import format_table
from picojoule.workload import Operand, Workload
from tests.frontends.onnx_graphs import Shape, constant, graph_of, network_of, ones, saved, value
from tests.frontends.tflite_files import INT8, Op, model, stored
from tests.frontends.tflite_files import Graph as TFLiteGraph
from tests.frontends.tflite_files import Tensor as TFLiteTensor

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
IMAGE: dict[str, Shape] = {"x": (1, 4, 6, 6)}
WEIGHT = ones("w", 4, 4, 1, 1)


def make(op: str, reads: str, makes: str, **settings: Any) -> NodeProto:
    return helper.make_node(op, reads.split(), makes.split(), name=f"{op}_{makes}", **settings)


def told(network: Workload) -> Graph:
    """Its graph, which a table keeps whole."""
    assert network.graph is not None
    assert parse_table(format_table(network), source="net.csv").graph == network.graph
    return network.graph


def lines(graph: Graph) -> list[str]:
    """Nodes as ``first operators: reads -> makes``."""
    return [
        f"{'+'.join(x.operators)}: {' '.join(x.reads)} -> {' '.join(x.makes)}" for x in graph.nodes
    ]


def onnx_lines(folder: Path, nodes: list[NodeProto], *weights: TensorProto) -> list[str]:
    return lines(told(network_of(folder, nodes, IMAGE, WEIGHT, *weights)))


# -- ONNX ------------------------------------------------------------------------------------------


def test_a_residual_block(tmp_path: Path) -> None:
    nodes = [
        make("Conv", "x w", "a"),
        make("Relu", "a", "b"),
        make("Conv", "b w", "c"),
        make("Add", "c x", "d"),
        make("Relu", "d", "e"),
        make("Conv", "e w", "y"),
    ]
    network = network_of(tmp_path, nodes, IMAGE, WEIGHT)
    graph = told(network)
    assert lines(graph) == [
        "Conv+Relu: x -> b",
        "Conv: b -> c",
        "Add+Relu: c x -> e",
        "Conv: e -> y",
    ]
    assert (graph.inputs, graph.outputs) == (("x",), ("y",))
    assert [each.name for each in graph.nodes] == ["Conv_a", "Conv_c", "Add_d", "Conv_y"]
    assert {each.words for each in graph.tensors.values()} == {4 * 6 * 6}
    assert [each.name for each in graph.readers["x"]] == ["Conv_a", "Add_d"]
    assert not any(each.partial or each.in_place for each in graph.nodes)


def test_a_split_and_a_concatenation(tmp_path: Path) -> None:
    nodes = [
        make("Conv", "x w", "a"),
        make("Split", "a", "b c", axis=1, num_outputs=2),
        make("Sigmoid", "b", "d"),
        make("Concat", "c d", "e", axis=1),
        make("Conv", "e w", "y"),
    ]
    graph = told(network_of(tmp_path, nodes, IMAGE, WEIGHT))
    assert lines(graph) == [
        "Conv: x -> a",
        "Split: a -> b c",
        "Sigmoid: b -> d",
        "Concat: c d -> e",
        "Conv: e -> y",
    ]
    assert [each.in_place for each in graph.nodes] == [False, True, False, True, False]
    assert [graph.tensors[name].words for name in "abe"] == [144, 72, 144]


def test_views_are_seen_through(tmp_path: Path) -> None:
    nodes = [
        make("Conv", "x w", "a"),
        make("Reshape", "a shape", "b"),
        make("Transpose", "b", "c", perm=[0, 2, 1]),
        make("Identity", "c", "d"),
        make("MatMul", "d m", "e"),
        make("Flatten", "e", "y"),
    ]
    weights = [constant("shape", [1, 4, 36]), ones("m", 4, 5)]
    graph = told(network_of(tmp_path, nodes, IMAGE, WEIGHT, *weights))
    assert lines(graph) == ["Conv: x -> a", "MatMul: a -> e"]
    assert graph.outputs == ("e",)


def test_a_part_that_is_the_whole_is_a_view(tmp_path: Path) -> None:
    nodes = [
        make("Conv", "x w", "a"),
        make("Slice", "a from to", "b"),
        make("Concat", "b", "c", axis=1),
        make("Conv", "c w", "y"),
    ]
    weights = [constant("from", [0]), constant("to", [9])]
    assert onnx_lines(tmp_path, nodes, *weights) == ["Conv: x -> a", "Conv: a -> y"]


def test_pooling_has_sizes_of_its_own(tmp_path: Path) -> None:
    nodes = [
        make("Conv", "x w", "a"),
        make("MaxPool", "a", "b", kernel_shape=[2, 2], strides=[2, 2]),
        make("Conv", "b w", "y"),
    ]
    network = network_of(tmp_path, nodes, IMAGE, WEIGHT)
    graph = told(network)
    assert [each.words for each in graph.tensors.values()] == [144, 144, 36, 36]
    assert lines(graph)[1] == "MaxPool: a -> b"


def test_a_value_needed_before_and_after_is_written_before(tmp_path: Path) -> None:
    # a is read by another layer as well: the Relu reads it again.
    nodes = [
        make("Conv", "x w", "a"),
        make("Relu", "a", "b"),
        make("Conv", "a w", "c"),
        make("Conv", "b w", "d"),
        make("Add", "c d", "y"),
    ]
    assert onnx_lines(tmp_path, nodes) == [
        "Conv: x -> a",
        "Relu: a -> b",
        "Conv: a -> c",
        "Conv: b -> d",
        "Add: c d -> y",
    ]


def test_what_meets_again_value_by_value_is_one_node(tmp_path: Path) -> None:
    swish = [
        make("Conv", "x w", "a"),
        make("Sigmoid", "a", "s"),
        make("Mul", "a s", "b"),
        make("Conv", "b w", "y"),
    ]
    assert onnx_lines(tmp_path, swish) == ["Conv+Sigmoid+Mul: x -> b", "Conv: b -> y"]


def test_several_outputs_and_one_that_is_read_as_well(tmp_path: Path) -> None:
    graph = graph_of(
        [make("Conv", "x w", "a"), make("Relu", "a", "b"), make("Conv", "b w", "y")],
        IMAGE,
        [WEIGHT],
    )
    graph.output.append(value("a", None))
    network = load(saved(graph, tmp_path))
    # a leaves the network, so the Relu cannot swallow it.
    assert lines(told(network)) == ["Conv: x -> a", "Relu: a -> b", "Conv: b -> y"]
    assert told(network).outputs == ("y", "a")


def test_what_depends_on_no_input_is_no_node(tmp_path: Path) -> None:
    nodes = [
        make("Shape", "x", "s"),
        make("ConstantOfShape", "s", "z"),
        make("Conv", "x w", "a"),
        make("Add", "a z", "y"),
    ]
    assert onnx_lines(tmp_path, nodes) == ["Conv+Add: x -> y"]


def test_quantised_levels_are_what_is_stored(tmp_path: Path) -> None:
    point = constant("p", 0, np.int8)
    nodes = [
        make("Conv", "x w", "a"),
        make("QuantizeLinear", "a s p", "q"),
        make("DequantizeLinear", "q s p", "d1"),
        make("DequantizeLinear", "q s p", "d2"),
        make("Conv", "d1 w", "b"),
        make("Conv", "d2 w", "c"),
        make("Add", "b c", "y"),
    ]
    network = network_of(tmp_path, nodes, IMAGE, WEIGHT, ones("s"), point)
    graph = told(network)
    assert lines(graph)[:2] == ["Conv+QuantizeLinear: x -> q", "Conv: q -> b"]
    assert graph.tensors["q"].bits == 8
    assert [each.name for each in graph.readers["q"]] == ["Conv_b", "Conv_c"]


def test_a_product_with_a_computed_second_operand(tmp_path: Path) -> None:
    nodes = [
        make("Conv", "x w", "a"),
        make("Conv", "x w", "b"),
        make("MatMul", "a b", "c"),
        make("Softmax", "c", "y"),
    ]
    network = network_of(tmp_path, nodes, IMAGE, WEIGHT)
    product = told(network).nodes[2]
    assert product.reads == ("a", "b")
    assert not product.partial
    assert network["MatMul_c"].weight_is_activation


def test_functions_are_followed(tmp_path: Path) -> None:
    function = helper.make_function(
        "local",
        "Block",
        ["i", "k"],
        ["o"],
        [make("Conv", "i k", "t"), make("Relu", "t", "o")],
        [helper.make_opsetid("", 21)],
    )
    nodes = [
        helper.make_node("Block", ["x", "w"], ["a"], domain="local"),
        helper.make_node("Block", ["a", "w"], ["y"], domain="local"),
    ]
    network = load(saved(graph_of(nodes, IMAGE, [WEIGHT]), tmp_path, functions=[function]))
    first, second = told(network).nodes
    assert first.makes == second.reads
    assert [each.operators for each in (first, second)] == [("Conv", "Relu")] * 2
    assert told(network).inputs == ("x",)


def test_a_loop_is_one_node(tmp_path: Path) -> None:
    body = helper.make_graph(
        [make("Conv", "state w", "t"), make("Relu", "t", "next"), make("Identity", "go", "on")],
        "body",
        [
            value("number", (), TensorProto.INT64),
            value("go", (), TensorProto.BOOL),
            value("state", (1, 4, 6, 6)),
        ],
        [value("on", (), TensorProto.BOOL), value("next", (1, 4, 6, 6))],
    )
    nodes = [
        make("Conv", "x w", "a"),
        make("Loop", "trips yes a", "b", body=body),
        make("Conv", "b w", "y"),
    ]
    weights = [constant("trips", 5), constant("yes", True, np.bool_)]
    network = network_of(tmp_path, nodes, IMAGE, WEIGHT, *weights)
    graph = told(network)
    assert lines(graph) == ["Conv: x -> a", "Loop: a -> b", "Conv: b -> y"]
    loop = graph.nodes[1]
    assert loop.partial
    assert [network[name].time_steps for name in loop.layers] == [5]


def test_branches_of_which_one_runs_are_one_node(tmp_path: Path) -> None:
    def branch(name: str, op: str, reads: str) -> onnx.GraphProto:
        return helper.make_graph([make(op, reads, name)], name, [], [value(name, (1, 4, 6, 6))])

    nodes = [
        make("Conv", "x w", "a"),
        make("MaxPool", "x", "d", kernel_shape=[1, 1]),
        make("ReduceMax", "x", "m", keepdims=0),
        make("Cast", "m", "c", to=TensorProto.BOOL),
        make(
            "If",
            "c",
            "b",
            then_branch=branch("p", "Conv", "a w"),
            else_branch=branch("q", "Add", "a d"),
        ),
        make("Conv", "b w", "y"),
    ]
    graph = told(network_of(tmp_path, nodes, IMAGE, WEIGHT))
    # The dearer branch has the layer; what the other one reads is needed as well.
    assert lines(graph)[3:] == ["If: a d -> b", "Conv: b -> y"]
    assert graph.nodes[3].layers == ("Conv_p",)


def test_of_onnx_attention_the_scores_lie_between(tmp_path: Path) -> None:
    nodes = [
        make("MatMul", "x q", "a"),
        make("MatMul", "x k", "b"),
        make("MatMul", "x v", "c"),
        make("Attention", "a b c", "y", q_num_heads=2, kv_num_heads=2),
    ]
    weights = [ones(name, 8, 8) for name in "qkv"]
    network = network_of(tmp_path, nodes, {"x": (1, 5, 8)}, *weights, opset=23)
    graph = told(network)
    scores, context = graph.nodes[3:]
    assert scores.reads == ("a", "b")
    assert context.reads == (scores.makes[0], "c")
    assert graph.tensors[scores.makes[0]].words == 2 * 5 * 5
    assert not scores.partial
    assert not context.partial


@pytest.mark.parametrize(
    ("name", "adds", "concats"),
    [("resnet50", 16, 0), ("densenet121", 0, 58), ("squeezenet", 0, 8), ("inception_v1", 0, 9)],
)
def test_light_graphs_hang_together(name: str, adds: int, concats: int) -> None:
    network = load(LIGHT / f"light_{name}.onnx", values=False)
    graph = told(network)
    first = [each.operators[0] for each in graph.nodes]
    assert (first.count("Sum"), first.count("Concat")) == (adds, concats)
    assert {layer for each in graph.nodes for layer in each.layers} == {x.name for x in network}
    assert not any(each.partial for each in graph.nodes)
    for each in graph.nodes:
        if each.layers:
            layer = network[each.name]
            assert graph.tensors[each.reads[0]].words == layer.size(Operand.INPUT)
            assert graph.tensors[each.makes[0]].words == layer.size(Operand.OUTPUT)
    assert all(graph.readers[each] for each in graph.tensors if each not in graph.outputs)


# -- PyTorch ---------------------------------------------------------------------------------------


class Net(nn.Module):
    """A residual sum in place, a split, a concatenation, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.deep = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.pool(self.relu(self.norm(self.stem(x))))
        y = self.deep(x)
        y += x
        left, right = self.relu(y).chunk(2, 1)
        z = torch.cat([right, left], 1)
        return self.fc(z.mean((2, 3))), left


def test_a_module() -> None:
    network = load((Net(), (torch.zeros(1, 3, 9, 9),)))
    graph = told(network)
    assert [each.operators for each in graph.nodes] == [
        ("conv2d", "batch_norm", "relu_"),
        ("max_pool2d",),
        ("conv2d",),
        ("add_", "relu_"),
        ("chunk",),
        ("cat",),
        ("mean",),
        ("linear",),
    ]
    pool, deep, summed, chunk, joined = graph.nodes[1:6]
    assert summed.reads == (*deep.makes, *pool.makes)
    assert joined.reads == tuple(reversed(chunk.makes))
    assert graph.outputs == (graph.nodes[-1].makes[0], chunk.makes[0])
    assert (chunk.in_place, joined.in_place, pool.in_place) == (True, True, False)
    assert [graph.tensors[name].words for name in chunk.makes] == [8, 8]


def test_an_encoder_of_torch() -> None:
    module = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    network = load((module, (torch.zeros(1, 5, 8),)))
    graph = told(network)
    layers = [each.name for each in graph.nodes if each.layers]
    assert layers == [layer.name for layer in network]
    scores = graph.node_of["layers.1.self_attn.scores"]
    context = graph.node_of["layers.1.self_attn.context"]
    assert context.reads[0] == scores.makes[0]
    assert not scores.partial
    sums = [each for each in graph.nodes if each.operators[0] == "add"]
    assert len(sums) == 4
    assert all(len(each.reads) == 2 for each in sums)


def test_a_bias_that_is_computed_comes_after_the_operands() -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 6))

        def forward(self, bias: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return torch.addmm(bias, x, self.weight)

    graph = told(load((Biased(), (torch.zeros(3, 6), torch.zeros(3, 4)))))
    (product,) = graph.nodes
    assert [graph.tensors[name].words for name in product.reads] == [12, 18]
    assert not product.partial


def test_a_recurrence_of_torch_is_one_node() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6)
            self.fc = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.lstm(x)[0])

    network = load((Recurrent(), (torch.zeros(7, 1, 4),)))
    recurrent, last = told(network).nodes
    assert recurrent.layers == ("lstm.l0.input", "lstm.l0.recurrent")
    assert recurrent.partial
    assert last.reads == recurrent.makes


def test_writing_through_a_view_is_not_told() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.fc(x)
            y[:, 0].mul_(2)
            return self.fc(y)

    network = load((Writes(), (torch.zeros(2, 4),)))
    assert len(network) == 2
    assert network.graph is None


# -- TFLite ----------------------------------------------------------------------------------------


def tflite_net(read: Any) -> Workload:
    conv = {"Padding": 0, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}

    def convolution(reads: int, makes: int) -> Op:
        return Op(
            name="CONV_2D",
            inputs=[reads, 1, -1],
            outputs=[makes],
            kind="Conv2DOptions",
            options=conv,
        )

    shape = (1, 6, 6, 4)
    tensors = [
        TFLiteTensor(name="x", shape=shape, kind=INT8),
        stored("w", 4, 1, 1, 4, kind=INT8),
        *(TFLiteTensor(name=name, shape=shape, kind=INT8) for name in "abc"),
        TFLiteTensor(name="flat", shape=(1, 144), kind=INT8),
        TFLiteTensor(name="y", shape=(1, 144), kind=INT8),
    ]
    ops = [
        convolution(0, 2),
        convolution(2, 3),
        Op(name="ADD", inputs=[3, 0], outputs=[4], kind="AddOptions", options={}),
        Op(name="RESHAPE", inputs=[4], outputs=[5], kind="ReshapeOptions", options={}),
        Op(name="SOFTMAX", inputs=[5], outputs=[6], kind="SoftmaxOptions", options={}),
    ]
    graph = TFLiteGraph(tensors=tensors, inputs=[0], outputs=[6], ops=ops)
    network: Workload = read(model(graph))
    return network


def test_a_residual_block_of_tflite(read: Any) -> None:
    network = tflite_net(read)
    graph = told(network)
    assert lines(graph) == [
        "CONV_2D: x -> a",
        "CONV_2D: a -> b",
        "ADD: b x -> c",
        "SOFTMAX: c -> y",
    ]
    assert {each.bits for each in graph.tensors.values()} == {8}
    assert [each.layers for each in graph.nodes] == [("a",), ("b",), (), ()]


# -- any operators ---------------------------------------------------------------------------------


@st.composite
def operations(draw: st.DrawFn) -> tuple[list[WiredOperator], dict[str, Tensor], list[str]]:
    """Operators that read what is there, of any effect, and which tensors leave."""
    words = {"in": 8}
    steps = []
    for number in range(draw(st.integers(1, 12))):
        reads = draw(st.lists(st.sampled_from(sorted(words)), max_size=3))
        effect = draw(st.sampled_from(Effect))
        makes = [f"t{number}.{place}" for place in range(draw(st.integers(1, 2)))]
        for name in makes:
            words[name] = draw(st.sampled_from([4, 8]))
        if effect is Effect.VIEW and reads:
            words.update(dict.fromkeys(makes, words[reads[0]]))
        steps.append(
            WiredOperator(
                name=f"n{number}",
                operator=effect.value,
                effect=effect,
                reads=tuple(reads),
                makes=tuple(makes),
            )
        )
    outputs = draw(st.lists(st.sampled_from(sorted(words)), min_size=1, max_size=3))
    return steps, {k: Tensor(name=k, words=n, bits=16) for k, n in words.items()}, outputs


@settings(max_examples=300, deadline=None)
@given(operations())
def test_any_operators_hang_together(
    case: tuple[list[WiredOperator], dict[str, Tensor], list[str]],
) -> None:
    steps, tensors, outputs = case
    graph = connect(steps, tensors.__getitem__, ["in"], outputs)
    assert graph is not None
    joined = [operator for each in graph.nodes for operator in each.operators]
    assert "view" not in joined
    for each in graph.nodes:
        assert each.reads
        others = each.operators[1:]
        assert set(others) <= {"by value"}
        if others:
            assert len(each.makes) == 1
    # What was read is made, or given: the graph has checked it. Nobody reads what is seen through.
    known = {name for each in steps for name in each.makes} | {"in"}
    assert set(graph.tensors) <= known
    assert len(joined) <= sum(each.effect is not Effect.VIEW for each in steps)
