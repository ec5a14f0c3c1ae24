"""What lies between the layers of a network, for people: a table, or a drawing in DOT."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType

from picojoule.graph import Graph, Node, Tensor
from picojoule.plan.bounds import NetworkBounds, TensorBound
from picojoule.reports.tables import Column, Grid
from picojoule.reports.tables import cell as _text
from picojoule.reports.tables import prose as _prose
from picojoule.units import listed, show_capacity, show_count, show_energy, show_seconds
from picojoule.workload import Workload

LONGEST_BLOCK = 80
"""Nodes of a block that is shown once though the network repeats it."""
FEWEST_FOLDED = 4
"""Rows that must be spared for a block to be shown once."""


class Run(NamedTuple):
    """Nodes that are shown, and how often as many like them follow."""

    nodes: tuple[Node, ...]
    more: int


def graph_report(network: Workload, graph: Graph, bounds: NetworkBounds | None = None) -> Group:
    """The nodes of a graph in the order they run, with what each makes.

    Args:
        bounds: what each tensor saves at most if it stays on the chip.
    """
    each = f", {network.batch} inferences at once" if network.batch > 1 else ""
    ends = "".join(
        f"; {what}{'s' if len(names) > 1 else ''} {listed(names)}"
        for what, names in (("input", graph.inputs), ("output", graph.outputs))
        if names
    )
    head = f"{network.name}: {len(network)} layers in {len(graph.nodes)} nodes{each}{ends}"
    parts: list[RenderableType] = [_text(head, "bold"), _table(graph, bounds)]
    parts.append(
        _prose(
            "A node without a name under reads reads what the one above makes. Activations and "
            "other operators that work value by value are part of the node that makes the values."
        )
    )
    if bounds is not None:
        parts += map(_prose, bound_sentences(bounds))
    return Group(*parts)


def bound_sentences(bounds: NetworkBounds) -> Iterator[str]:
    """What the bounds say, and what they rest on."""
    best = max(bounds.tensors, key=lambda each: each.energy, default=None)
    if best is None or not best.energy:
        yield f"On {bounds.accelerator} nothing can stay: no memory holds both inputs and outputs."
        return
    yield of_tensor(best, bounds)
    total = show_energy(bounds.energy, bounds.energy_unit) + _and_time(bounds.cycles, bounds)
    yield (
        f"All tensors together: at most {total} of an inference. No schedule that keeps tensors "
        f"there {'whole or by parts' if bounds.by_parts else 'whole'}, and computes nothing twice, "
        "is below the sum of the layers' proved optima less that."
    )
    if bounds.other:
        other = show_energy(bounds.other, bounds.energy_unit)
        yield (
            f"Operators without products would move {other} to and from the outermost memory for "
            "tensors that may stay; that is in none of these figures."
        )


def of_tensor(tensor: TensorBound, bounds: NetworkBounds) -> str:
    """In a sentence, what it saves that a tensor stays, and the room that it needs."""
    saved = show_energy(tensor.energy, bounds.energy_unit) + _and_time(tensor.cycles, bounds)
    room = "an unknown room" if tensor.room is None else show_capacity(tensor.room)
    text = f"If {tensor.tensor} stays"
    text += f" in {tensor.memory}" if tensor.memory else " on the chip as well"
    text += f", at most {saved} are saved; it needs {room}"
    return text + ("." if tensor.fits else ", more than there is: it can stay by parts only.")


def time_of(cycles: float, bounds: NetworkBounds) -> str:
    """A time in seconds where the machine has a clock, else in cycles; empty if there is none."""
    if not cycles:
        return ""
    if bounds.clock:
        return show_seconds(cycles / bounds.clock)
    return f"{show_count(cycles)} cycles"


def _and_time(cycles: float, bounds: NetworkBounds) -> str:
    return f" and {time_of(cycles, bounds)}" if cycles else ""


def _table(graph: Graph, bounds: NetworkBounds | None) -> Grid:
    columns = [
        Column(head="node", words=True),
        Column(head="operator", words=True, spare=2),
        Column(head="reads", words=True),
        Column(head="words"),
        Column(head="size"),
    ]
    by_tensor: Mapping[str, TensorBound] = {}
    if bounds is not None:
        columns += [
            Column(head="can stay", spare=3),
            Column(head="saves at most"),
            *([Column(head="and", spare=1)] if bounds.cycles else []),
        ]
        by_tensor = {each.tensor: each for each in bounds.tensors}
    table = Grid(columns)

    def row(name: str, operator: str, reads: str, tensor: Tensor | None) -> None:
        words, size = _sizes(tensor)
        cells = [name, operator, reads, words, size]
        if bounds is not None and tensor is not None:
            cells += _saved(by_tensor[tensor.name], bounds)
        table.add_row(*cells)

    above: tuple[str, ...] = ()
    given: set[str] = set()
    for run in folded(graph):
        for node in run.nodes:
            for name in dict.fromkeys(node.reads):
                if name not in graph.maker and name not in given:
                    given.add(name)
                    row(name, "input", "", graph.tensors[name])
                    above = (name,)
            reads = "" if node.reads == above else ", ".join(_sources(graph, node.reads))
            makes = [graph.tensors[name] for name in node.makes]
            row(node.name, node.operators[0], reads, makes[0] if makes else None)
            for number, tensor in enumerate(makes[1:], start=2):
                row(f"  its output {number}", "", "", tensor)
            above = node.makes
        if run.more:
            table.add_row(_text(f"… these {len(run.nodes)} {run.more} more", "dim"))
            above = ()
    return table


def _sources(graph: Graph, reads: Sequence[str]) -> Iterator[str]:
    """What the tensors that a node reads are called: by who makes them."""
    for name in dict.fromkeys(reads):
        maker = graph.maker.get(name)
        yield name if maker is None or len(maker.makes) > 1 else maker.name


def _sizes(tensor: Tensor | None) -> tuple[str, str]:
    if tensor is None:
        return "", ""
    if tensor.words is None or tensor.size is None:
        return "unknown", ""
    return show_count(tensor.words), show_capacity(tensor.size)


def _saved(tensor: TensorBound, bounds: NetworkBounds) -> list[str]:
    where = "" if not tensor.memory else "whole" if tensor.fits else "by parts"
    if not tensor.energy:
        return [where] if tensor.other else []
    saved = [where, show_energy(tensor.energy, bounds.energy_unit)]
    if bounds.cycles:
        saved.append(time_of(tensor.cycles, bounds))
    return saved


# -- blocks that repeat ----------------------------------------------------------------------------


def folded(graph: Graph) -> list[Run]:
    """The nodes of a graph; of a block that follows itself, alike in all but names, only one.

    Alike are nodes of the same operators and sizes that read from as far back.
    """
    place = {name: number for number, node in enumerate(graph.nodes) for name in node.makes}
    alike = [
        (
            node.operators,
            tuple(number - place[name] if name in place else 0 for name in node.reads),
            tuple(graph.tensors[name].size for name in node.makes),
        )
        for number, node in enumerate(graph.nodes)
    ]
    runs: list[Run] = []
    single: list[Node] = []
    at = 0
    while at < len(alike):
        period, more = repeats(alike, at)
        if not more:
            single.append(graph.nodes[at])
            at += 1
            continue
        if single:
            runs.append(Run(tuple(single), 0))
            single = []
        runs.append(Run(graph.nodes[at : at + period], more))
        at += period * (more + 1)
    return [*runs, Run(tuple(single), 0)] if single else runs


def repeats(alike: Sequence[object], at: int) -> tuple[int, int]:
    """How long the block is that begins at *at*, and how often it follows itself; (0, 0) if never.

    Of several the one that spares most rows, and of these the shortest.
    """
    best = (0, 0)
    for period in range(1, min(LONGEST_BLOCK, (len(alike) - at) // 2) + 1):
        if alike[at] != alike[at + period]:
            continue
        block, more = alike[at : at + period], 0
        while alike[at + period * (more + 1) : at + period * (more + 2)] == block:
            more += 1
        if period * more > max(best[0] * best[1], FEWEST_FOLDED - 1):
            best = (period, more)
    return best


# -- DOT -------------------------------------------------------------------------------------------


def graph_dot(name: str, graph: Graph) -> str:
    """The graph in the language of Graphviz: layers as boxes, tensors with their words."""
    lines = [f"digraph {_quoted(name)} {{", "  node [shape=ellipse]"]
    lines += [
        f"  {_quoted('in ' + each)} [label={_quoted(each)}, shape=plain]" for each in graph.inputs
    ]
    for node in graph.nodes:
        label = f"{node.name}\n{' '.join(node.operators)}"
        shape = ", shape=box" if node.layers else ""
        lines.append(f"  {_quoted('node ' + node.name)} [label={_quoted(label)}{shape}]")
        for read in dict.fromkeys(node.reads):
            lines.append(_arrow(graph, read, _quoted("node " + node.name)))
    for output in graph.outputs:
        lines.append(f"  {_quoted('out ' + output)} [label={_quoted(output)}, shape=plain]")
        lines.append(_arrow(graph, output, _quoted("out " + output)))
    return "\n".join([*lines, "}"]) + "\n"


def _arrow(graph: Graph, tensor: str, to: str) -> str:
    maker = graph.maker.get(tensor)
    start = _quoted(f"in {tensor}" if maker is None else f"node {maker.name}")
    words = graph.tensors[tensor].words
    return f"  {start} -> {to} [label={_quoted('' if words is None else show_count(words))}]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
