"""The comments of our table that say what lies between the layers: one object of JSON in each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from picojoule.errors import WorkloadError
from picojoule.frontends.source_file import Findings, shortened
from picojoule.graph import Ends, Graph, Node, Tensor
from picojoule.network_records import node_of, node_record, tensor_of, tensor_record

INPUTS, OUTPUTS, TENSOR, NODE = "inputs", "outputs", "tensor", "node"
"""Keys of these comments; of tensors and nodes there are many."""

Line = tuple[int, str]
Noun = TypeVar("Noun", Tensor, Node)


def format_graph(graph: Graph) -> Iterator[str]:
    """The lines of a graph."""
    yield f"# {INPUTS}: {json.dumps(list(graph.inputs))}\n"
    yield f"# {OUTPUTS}: {json.dumps(list(graph.outputs))}\n"
    for tensor in graph.tensors.values():
        yield f"# {TENSOR}: {json.dumps(tensor_record(tensor))}\n"
    for node in graph.nodes:
        yield f"# {NODE}: {json.dumps(node_record(node))}\n"


def read_graph(
    comments: Mapping[str, Line],
    repeated: Mapping[str, Sequence[Line]],
    layers: Mapping[str, Ends],
    findings: Findings,
) -> Graph | None:
    """The graph of a table; None if it has none.

    Args:
        comments: by key, each with its line.
        repeated: the same of keys that may be there many times.
        layers: of the table, which the graph has to fit.
        findings: takes the mistakes, each with its line.
    """
    if not repeated[TENSOR] and not repeated[NODE]:
        return None
    before = len(findings)
    tensors: dict[str, Tensor] = {}
    for line, tensor in _nouns(TENSOR, repeated[TENSOR], tensor_of, findings):
        if tensor.name in tensors:
            findings.add(f"line {line}, {TENSOR}", f"{shortened(tensor.name)} is there twice")
        tensors[tensor.name] = tensor
    nodes = _nouns(NODE, repeated[NODE], node_of, findings)
    lines = {node.name: line for line, node in nodes}
    ends = [_names(key, comments.get(key), findings) for key in (INPUTS, OUTPUTS)]
    if len(findings) > before:
        return None
    try:
        graph = Graph(tuple(node for _, node in nodes), tensors, *ends)
    except WorkloadError as error:
        findings.add("the graph", str(error))
        return None
    for name, problem in graph.problems(layers):
        at = f"line {lines[name]}, {NODE}" if name in lines else "the graph"
        findings.add(at, problem)
    return graph


def _nouns(
    key: str, lines: Sequence[Line], read: Callable[[Mapping[str, Any]], Noun], findings: Findings
) -> list[tuple[int, Noun]]:
    nouns = []
    for line, text in lines:
        try:
            nouns.append((line, read(json.loads(text))))
        except KeyError as error:
            findings.add(f"line {line}, {key}", f"{error} is missing")
        except (ValueError, TypeError, AttributeError, RecursionError, WorkloadError) as error:
            findings.add(f"line {line}, {key}", f"{shortened(text, 60)}: {error}")
    return nouns


def _names(key: str, comment: Line | None, findings: Findings) -> tuple[str, ...]:
    if comment is None:
        return ()
    line, text = comment
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        findings.add(f"line {line}, {key}", f"{shortened(text, 60)} is no list of names")
        return ()
    return tuple(names)
