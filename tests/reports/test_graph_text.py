"""Graphs for people: a table with repeated blocks once, and DOT."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picojoule.frontends import load, shipped_networks
from picojoule.graph import Graph, Node, Tensor
from picojoule.plan.spared import spared
from picojoule.reports.graph import folded, graph_dot, graph_report, spared_sentences
from picojoule.reports.tables import plain
from picojoule.specs import load_accelerator


def report(name: str, chip: str | None = None) -> str:
    network = load(name)
    assert network.graph is not None
    kept = None if chip is None else spared(network, load_accelerator(chip))
    return plain(graph_report(network, network.graph, kept))


def test_a_table() -> None:
    text = report("mlperf-tiny-ic")
    assert text.startswith("mlperf-tiny-ic: 10 layers in 15 nodes; input input; output softmax_1\n")
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert ["stem", "CONV_2D", "16.4 k", "16 KiB"] in rows
    assert ["add_2", "ADD", "stage2.shortcut, stage2.conv2", "8.19 k", "8 KiB"] in rows


def test_a_block_that_repeats_is_shown_once() -> None:
    text = report("bert-base")
    assert "these 13 11 more" in text
    assert len(text.splitlines()) < 40


@pytest.mark.parametrize("name", shipped_networks())
def test_folding_leaves_out_only_what_is_alike(name: str) -> None:
    graph = load(name).graph
    assert graph is not None
    runs = folded(graph)
    assert sum(len(run.nodes) * (1 + run.more) for run in runs) == len(graph.nodes)
    at = 0
    for run in runs:
        for repeat in range(1 + run.more):
            block = graph.nodes[at : at + len(run.nodes)]
            assert [x.operators for x in block] == [x.operators for x in run.nodes]
            assert repeat or block == run.nodes
            at += len(run.nodes)


@given(st.text("ab", max_size=40))
def test_folding_of_any_chain(operators: str) -> None:
    tensors = {f"t{n}": Tensor(name=f"t{n}", words=4, bits=8) for n in range(len(operators) + 1)}
    nodes = tuple(
        Node(name=f"n{n}", operators=(each,), reads=(f"t{n}",), makes=(f"t{n + 1}",))
        for n, each in enumerate(operators)
    )
    graph = Graph(nodes, tensors, ("t0",))
    shown = "".join(
        "".join(x.operators[0] for x in run.nodes) * (1 + run.more) for run in folded(graph)
    )
    assert shown == operators


def test_what_is_spared_in_words() -> None:
    network = load("mlperf-tiny-ic")
    kept = spared(network, load_accelerator("tpu-v1-like"))
    first, total, other = spared_sentences(kept)
    assert first == (
        "If stem stays in unified-buffer, stores and loads of 6.27 µJ and 2.18 µs are spared; it "
        "needs 16 KiB."
    )
    assert total.startswith("All tensors together: 34.3 µJ and 12 µs of an inference.")
    assert other.startswith("Operators without products would move 15.6 µJ")
    assert "whole" in report("mlperf-tiny-ic", "tpu-v1-like")
    (nothing,) = spared_sentences(spared(network, load_accelerator("nvdla-like")))
    assert nothing == "On nvdla-like nothing can stay: no memory holds both inputs and outputs."
    small = spared_sentences(spared(load("resnet18"), load_accelerator("eyeriss-isca16")))
    assert "more than there is: it can stay by parts only." in next(iter(small))


def test_dot() -> None:
    graph = load("mlperf-tiny-ic").graph
    assert graph is not None
    text = graph_dot('odd "name"', replace(graph, outputs=("softmax_1", "stem")))
    assert text.startswith('digraph "odd \\"name\\"" {\n')
    assert '"node stage1.conv2" -> "node add_1" [label="16.4 k"]' in text
    assert '"node stem" -> "out stem" [label="16.4 k"]' in text
    dot = shutil.which("dot")
    if dot is not None:  # Graphviz takes it
        subprocess.run([dot, "-Tsvg"], input=text.encode(), capture_output=True, check=True)


def test_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from picojoule.cli import main

    run: Callable[..., int] = main
    assert run(["show", "mlperf-tiny-ic", "--graph"]) == 0
    assert "10 layers in 15 nodes" in capsys.readouterr().out
    assert run(["show", "resnet18", "--graph", "-a", "tpu-v1-like", "--batch", "2", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["batch"] == 2
    assert len(record["graph"]["nodes"]) == 31
    kept = {each["tensor"]: each for each in record["spared"]["tensors"]}
    # The machine's words are bytes: 64 x 112 x 112 of them for one inference.
    assert kept["conv1"]["room"] == 64 * 112 * 112 * 8
    assert kept["conv1"]["memory"] == "unified-buffer"
    file = tmp_path_factory.mktemp("graphs") / "net.dot"
    assert run(["show", "mlperf-tiny-ic", "--graph", "-o", str(file)]) == 0
    assert file.read_text().startswith('digraph "mlperf-tiny-ic"')
    capsys.readouterr()
    assert run(["show", "mlperf-tiny-ic"]) == 2
    assert "'mlperf-tiny-ic' is a network; with --graph" in capsys.readouterr().err
    assert run(["show", "eyeriss", "--batch", "2"]) == 2
    assert "with --graph, 'eyeriss' is a network" in capsys.readouterr().err


def test_who_does_not_tell(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib import resources

    from picojoule.cli import main

    file = resources.files("picojoule") / "data/networks/NetworkConf_AlexNet_Asilomar.txt"
    assert main(["show", str(file), "--graph"]) == 2
    assert "nobody says which layer's output is which layer's input" in capsys.readouterr().err
