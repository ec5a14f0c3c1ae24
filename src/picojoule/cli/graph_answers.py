"""``show NET --graph``: what lies between the layers, and what it saves that it stays there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from picojoule.cli.answers import as_json_text, check_output, give_answer, json_head, plain_text
from picojoule.cli.completion import complete_chips
from picojoule.cli.options import (
    AnswerOptions,
    Batch,
    Bits,
    CacheBits,
    Context,
    Density,
    Dims,
    Node,
    Phase,
    Shapes,
    Trips,
)
from picojoule.cli.questions import read_bits, read_densities, read_dims, read_shapes

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.plan.spared import NetworkSpared
    from picojoule.workload import Workload

ENDINGS = (".txt", ".json", ".dot")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """What is asked of the tensors between the layers of a network."""

    graph: Annotated[
        bool, Parameter(negative="", help="Show what lies between the layers of a network.")
    ] = False
    accelerator: Annotated[
        str | None,
        Parameter(
            name=["--accelerator", "-a"],
            completer=complete_chips,
            help="Of a network: also say which stores and loads a tensor is spared, on this "
            "machine, that stays on the chip.",
        ),
    ] = None
    output: Annotated[
        Path | None,
        Parameter(name=["--output", "-o"], help="Write a graph here: .txt, .json or .dot."),
    ] = None
    batch: Batch = None
    bits: Bits = None
    density: Density = None
    dims: Dims = None
    trips: Trips = None
    shapes: Shapes = None
    context: Context = None
    phase: Phase = None
    kv_bits: CacheBits = None


NO_GRAPH = GraphOptions()


def show_graph(source: str, options: GraphOptions, node: Node, as_json: bool, wide: bool) -> int:
    """Show the graph of the network *source*; with a machine, what tensors are spared."""
    check_output(options.output, ENDINGS)
    network, spared = _answered(source, options, node)
    graph = network.graph
    if graph is None:
        from picojoule.errors import WorkloadError
        from picojoule.plan.spared import no_graph

        raise WorkloadError(f"network {network.name!r}: {no_graph(network)}")

    from picojoule.network_records import graph_record

    record: dict[str, Any] = {
        **json_head(),
        "network": network.name,
        "batch": network.batch,
        "graph": graph_record(graph),
        **({} if spared is None else {"spared": spared.to_dict()}),
    }

    def text() -> RenderableType:
        from picojoule.reports.graph import graph_report

        return graph_report(network, graph, spared)

    def dot() -> str:
        from picojoule.reports.graph import graph_dot

        return graph_dot(network.name, graph)

    writers: dict[str, Callable[[], str]] = {
        ".txt": lambda: plain_text(text()),
        ".json": lambda: as_json_text(record),
        ".dot": dot,
    }
    answer = AnswerOptions(as_json=as_json, output=options.output, wide=wide)
    return give_answer(
        lambda: record, text, answer, writers, lambda: f"{network.name}: {len(graph.nodes)} nodes"
    )


def _answered(
    source: str, options: GraphOptions, node: str | None
) -> tuple[Workload, NetworkSpared | None]:
    """The network as it is asked for, and what is spared where a machine is."""
    reading: dict[str, Any] = {
        "dims": read_dims(options.dims),
        "trips": read_dims(options.trips, "--trips"),
        "shapes": read_shapes(options.shapes),
        "context": options.context,
        "phase": options.phase,
        "kv_bits": options.kv_bits,
    }
    bits, density = read_bits(options.bits), read_densities(options.density)

    from picojoule.equivalents import as_run
    from picojoule.frontends import load
    from picojoule.plan.spared import spared
    from picojoule.question import narrowed, prepared

    network = load(source, **reading)
    if options.accelerator is None:
        return prepared(network, batch=options.batch, bits=bits, density=density), None

    from picojoule.specs import load_accelerator

    accelerator = load_accelerator(options.accelerator, node=node)
    network = network if bits else narrowed(network, accelerator)
    network = prepared(network, batch=options.batch, bits=bits, density=density)
    run = {layer.name: layer for layer in as_run(network, accelerator)}
    return network, spared(network, accelerator, run)
