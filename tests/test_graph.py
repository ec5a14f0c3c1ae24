"""Graphs between layers: what holds together, and what a changed network makes of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picojoule.errors import InputError, WorkloadError
from picojoule.frontends import parse_table
from picojoule.graph import Graph, Node, Tensor
from picojoule.network_records import graph_of, graph_record, network_of, network_record
from picojoule.reports.network_table import format_table
from picojoule.workload import PerOperand, Workload, conv, linear

FIRST = conv("first", input_size=(6, 6), in_channels=2, out_channels=3, kernel=(3, 3))
SECOND = linear("second", in_features=12, out_features=5)


def tensor(name: str, words: int, bits: int = 16) -> Tensor:
    return Tensor(name=name, words=words, bits=bits)


def node(name: str, reads: str, makes: str, *layers: str, operator: str = "Op") -> Node:
    return Node(
        name=name,
        operators=(operator,),
        reads=tuple(reads.split()),
        makes=tuple(makes.split()),
        layers=layers,
    )


NODES = (
    node("first", "x", "a", "first", operator="Conv"),
    node("pool", "a", "p", operator="MaxPool"),
    node("second", "p", "y", "second", operator="Gemm"),
)
TENSORS = {t.name: t for t in (tensor("x", 72), tensor("a", 48), tensor("p", 12), tensor("y", 5))}
GRAPH = Graph(NODES, TENSORS, ("x",), ("y",))
NETWORK = Workload("net", (FIRST, SECOND), graph=GRAPH)


def test_who_makes_and_who_reads() -> None:
    assert "x" not in GRAPH.maker
    assert GRAPH.maker["p"].name == "pool"
    assert [each.name for each in GRAPH.readers["a"]] == ["pool"]
    assert GRAPH.readers["y"] == ()
    assert GRAPH.node_of["second"] is NODES[2]
    assert TENSORS["a"].size == 48 * 16


@pytest.mark.parametrize(
    ("nodes", "tensors", "inputs", "outputs", "problem"),
    [
        ((NODES[0], NODES[0]), "x a", "x", "", "two nodes are named 'first'"),
        (NODES[1:], "a p y", "", "y", "node 'pool' reads tensor 'a', which no node before it"),
        (NODES[:1], "x", "x", "", "node 'first': there is no tensor 'a'"),
        ((NODES[0], node("b", "x", "a")), "x a", "x", "", "makes tensor 'a', which is there"),
        (NODES[:1], "x a", "x", "p", "tensor 'p', an output of the network, is never made"),
        (NODES[:1], "x a y", "x", "a", "tensor 'y' is never made"),
        (NODES[:1], "x a", "x x", "a", "an input of the network twice"),
    ],
)
def test_what_does_not_hang_together(
    nodes: tuple[Node, ...], tensors: str, inputs: str, outputs: str, problem: str
) -> None:
    with pytest.raises(WorkloadError, match=problem):
        Graph(
            nodes,
            {name: TENSORS[name] for name in tensors.split()},
            tuple(inputs.split()),
            tuple(outputs.split()),
        )


def test_widths_and_densities_are_those_of_the_layers() -> None:
    narrow = NETWORK.with_layers(bits=PerOperand(8, 4, 6), density=PerOperand(0.5, 1.0, 0.25))
    assert narrow.graph is not None
    bits = {name: each.bits for name, each in narrow.graph.tensors.items()}
    # p is made by no layer: as wide as the one that reads it.
    assert bits == {"x": 8, "a": 6, "p": 8, "y": 6}
    assert narrow.graph.tensors["p"].density == 0.5
    assert narrow.graph.tensors["y"].density == 0.25


def test_what_no_layer_touches_is_as_wide_as_what_it_is_made_of() -> None:
    nodes = (
        *NODES[:2],
        node("norm", "p", "q", operator="Norm"),
        node("second", "p", "y", "second"),
    )
    graph = Graph(nodes, TENSORS | {"q": tensor("q", 12)}, ("x",), ("y", "q"))
    narrow = replace(NETWORK, graph=graph).with_layers(bits=PerOperand(8, 8, 8))
    assert narrow.graph is not None
    assert narrow.graph.tensors["q"].bits == 8


def test_other_batches() -> None:
    four = NETWORK.with_batch(4)
    assert four.graph is not None
    assert [each.words for each in four.graph.tensors.values()] == [288, 192, 48, 20]
    assert four.with_batch(1).graph == GRAPH


def test_a_network_of_other_layers_has_no_graph() -> None:
    assert replace(NETWORK, layers=(FIRST,)).graph is None
    wider = conv("first", input_size=(6, 6), in_channels=2, out_channels=4, kernel=(3, 3))
    assert replace(NETWORK, layers=(wider, SECOND)).graph is None
    # A batch that nobody asked the graph for.
    assert replace(NETWORK, layers=(FIRST.with_batch(2), SECOND.with_batch(2))).graph is None


def test_a_partial_node_says_nothing_of_sizes() -> None:
    partial = Graph(
        (NODES[0], replace(NODES[1], in_place=True), replace(NODES[2], partial=True)),
        TENSORS | {"p": tensor("p", 24)},
        ("x",),
        ("y",),
    )
    assert replace(NETWORK, graph=partial).graph == partial
    assert graph_of(graph_record(partial)) == partial


def test_it_is_saved_and_read() -> None:
    assert network_of(network_record(NETWORK), "net.json").graph == GRAPH
    assert parse_table(format_table(NETWORK), source="net.csv").graph == GRAPH
    plain = Workload("net", (FIRST,))
    assert "graph" not in network_record(plain)
    assert parse_table(format_table(plain), source="net.csv").graph is None


def mistakes(text: str) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        parse_table(text, source="net.csv")
    return {each.path: each.message for each in caught.value.mistakes}


def test_a_table_whose_graph_does_not_fit_its_rows() -> None:
    text = format_table(NETWORK)
    line = 1 + text.splitlines().index(
        '# node: {"name": "first", "operators": ["Conv"], "reads": ["x"], "makes": ["a"], '
        '"layers": ["first"]}'
    )
    wrong = text.replace('"name": "a", "words": 48', '"name": "a", "words": 47')
    assert mistakes(wrong) == {
        f"line {line}, node": "its output has 48 words, but tensor 'a' has 47"
    }
    wrong = text.replace('"layers": ["first"]', '"layers": ["frist"]')
    assert mistakes(wrong)[f"line {line}, node"] == (
        "there is no layer 'frist' (did you mean 'first'?)"
    )
    wrong = "".join(x for x in text.splitlines(keepends=True) if '"name": "second"' not in x)
    assert "tensor 'y', an output of the network, is never made" in mistakes(wrong)["the graph"]


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('{"name": "x", "words": 72, "bits": 16}', "{", "Expecting property name"),
        ('"words": 72', '"words": -1', "words -1 is no such number"),
        ('"words": 72', '"words": true', "words True is no such number"),
        ('"name": "x", ', "", "'name' is missing"),
        ('"words": 72, "bits": 16', '"words": 72, "bits": 16, "density": 2', "0 to 1"),
        ('"reads": ["x"]', '"reads": "x"', "reads: 'x' is no list of names"),
        ('"name": "a", "words": 48', '"name": "x", "words": 72', "'x' is there twice"),
        ('inputs: ["x"]', "inputs: x", "'x' is no list of names"),
    ],
)
def test_comments_that_are_no_graph(before: str, after: str, problem: str) -> None:
    text = format_table(NETWORK)
    assert before in text
    assert problem in " ".join(mistakes(text.replace(before, after)).values())


def test_a_record_whose_graph_does_not_fit() -> None:
    record = network_record(NETWORK)
    record["graph"]["tensors"][1]["words"] = 47
    with pytest.raises(InputError, match=r"network.graph 'first': its output has 48 words"):
        network_of(record, "run.json")
    record["graph"]["tensors"].append(record["graph"]["tensors"][0])
    with pytest.raises(InputError, match="two tensors are named 'x'"):
        network_of(record, "run.json")


# What a line may hold besides what it should.
_NASTY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(
    place=st.integers(0, 8),
    key=st.sampled_from(["name", "words", "bits", "reads", "makes", "layers", "density", ""]),
    value=_NASTY,
)
def test_whatever_a_line_holds_is_a_graph_or_a_mistake(place: int, key: str, value: object) -> None:
    text = format_table(NETWORK).splitlines()
    numbers = [n for n, line in enumerate(text) if line.startswith(("# tensor", "# node", "# in"))]
    number = numbers[place % len(numbers)]
    word, _, record = text[number].partition(": ")
    content = json.loads(record)
    if isinstance(content, dict) and key:
        content[key] = value
    else:
        content = value
    text[number] = f"{word}: {json.dumps(content)}"
    try:
        network = parse_table("\n".join(text), source="net.csv")
    except InputError:
        return
    assert network.graph is not None
