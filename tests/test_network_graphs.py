"""What lies between the layers of the shipped networks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest

from picojoule.frontends import load, shipped_networks
from picojoule.graph import Graph
from picojoule.workload import Operand

NETWORKS = shipped_networks()


def graph(name: str) -> Graph:
    told = load(name).graph
    assert told is not None
    return told


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_a_node_whose_tensors_have_its_sizes(name: str) -> None:
    net, told = load(name), graph(name)
    assert [each.name for each in told.nodes if each.layers] == [layer.name for layer in net]
    for each in told.nodes:
        if not each.layers:
            continue
        layer = net[each.name]
        sizes = [told.tensors[tensor].words for tensor in (*each.reads, *each.makes)]
        expected = [layer.size(Operand.INPUT), layer.size(Operand.OUTPUT)]
        if layer.weight_is_activation:
            expected.insert(1, layer.size(Operand.WEIGHT))
        assert sizes == expected
        assert not each.partial


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_is_made_or_given_and_read_or_given_away(name: str) -> None:
    told = graph(name)
    for tensor in told.tensors:
        assert (tensor in told.maker) != (tensor in told.inputs)
        assert bool(told.readers[tensor]) or tensor in told.outputs


# Listed operators that no node has: what reads stored tables only (positions, a class token), and
# conversions to and from floats at the ends of TFLite's networks.
STORED_ONLY = {
    "vit-b16": {"Add": 1},
    "bert-base": {"Add": 1, "Gather": 1},
    "gpt2": {"Add": 1, "Gather": 1},
    "gpt2-decode": {"Add": 1, "Gather": 1},
    "mlperf-tiny-ad": {"DEQUANTIZE": 1, "PACK": 1, "STRIDED_SLICE": 1},
    "mlperf-tiny-kws": {"DEQUANTIZE": 1},
    "mlperf-tiny-vww": {"DEQUANTIZE": 1},
}
# Parts of a tensor where they lie, which no list of operators has.
IN_PLACE = ("Slice", "Split")


@pytest.mark.parametrize("name", NETWORKS)
def test_nodes_have_the_operators_that_are_listed(name: str) -> None:
    net, told = load(name), graph(name)
    operators: Counter[str] = Counter(
        operator
        for each in told.nodes
        for operator in (each.operators[1:] if each.layers else each.operators)
    )
    for operator in IN_PLACE:
        operators.pop(operator, None)
    if name == "gpt2-decode":
        assert operators.pop("Concat") == 24  # caches grow by one token, in place
    assert operators + Counter(STORED_ONLY.get(name, {})) == Counter(net.not_counted)


def test_residual_sums_of_resnet50() -> None:
    told = graph("resnet50")
    sums = [each for each in told.nodes if each.operators[0] == "Add"]
    assert len(sums) == 16
    assert all(each.operators == ("Add", "Relu") and len(each.reads) == 2 for each in sums)
    # The first of a stage adds the shortcut's output, the others what the stage before made.
    shortcuts = [told.maker[each.reads[1]].name for each in sums]
    assert [name for name in shortcuts if "downsample" in name] == [
        f"layer{stage}.0.downsample" for stage in (1, 2, 3, 4)
    ]
    assert shortcuts[1] == "add_1"
    # It is held while three convolutions run.
    assert [each.name for each in told.readers[sums[0].makes[0]]] == ["layer1.1.conv1", "add_2"]


@pytest.mark.parametrize(
    ("ours", "light", "more"),
    [
        ("resnet50", "resnet50", {(False, (1000,), (1000,)): 1}),  # onnx's has a softmax
        ("squeezenet1.1", "squeezenet", {}),
    ],
)
def test_graphs_are_those_of_the_files_of_onnx(
    ours: str, light: str, more: dict[object, int]
) -> None:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    theirs = load(folder / f"light_{light}.onnx", values=False).graph
    assert theirs is not None
    assert shape(theirs) == shape(graph(ours)) + Counter(more)


def shape(told: Graph) -> Counter[object]:
    """Layers and other nodes by the sizes of what they read and make."""
    return Counter(
        (
            bool(each.layers),
            tuple(sorted(told.tensors[name].words or 0 for name in each.reads)),
            tuple(told.tensors[name].words for name in each.makes),
        )
        for each in told.nodes
    )


@pytest.mark.parametrize(
    ("ours", "theirs"), [("resnet18", "ResNet-18"), ("mobilenetv2", "MobileNet v2")]
)
def test_graphs_are_those_of_torch(ours: str, theirs: str) -> None:
    """Networks written as modules from their papers, as torch exports them."""
    pytest.importorskip("torch")
    from tools.counts.rows import NETWORKS as MODULES
    from tools.counts.rows import made

    graph_of_module = load(made(MODULES[theirs]), values=False).graph
    assert graph_of_module is not None
    assert shape(graph_of_module) == shape(graph(ours))
