"""Networks as plain data: what JSON files hold of a layer, and the layer it stands for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from picojoule.completeness import completeness, operator_records, read_completeness, read_operators
from picojoule.errors import InputError, Mistake, WorkloadError
from picojoule.graph import Graph, Node, Tensor
from picojoule.workload import NO_SCALES, Extents, Layer, PerOperand, Workload


def layer_record(layer: Layer) -> dict[str, Any]:
    """A layer's shape, widths and densities, for the whole batch; not its name."""
    return {
        "shape": {
            "bounds": layer.bounds._asdict(),
            "stride": list(layer.stride),
            "dilation": list(layer.dilation),
            "padding": list(layer.padding),
            "input_size": list(layer.input_size),
            "weight_is_activation": layer.weight_is_activation,
        },
        "bits": layer.bits._asdict(),
        "density": layer.density._asdict(),
        **({"scale_bits": layer.scale_bits._asdict()} if any(layer.scale_bits) else {}),
        **({"time_steps": layer.time_steps} if layer.time_steps > 1 else {}),
    }


def layer_of(record: Mapping[str, Any]) -> Layer:
    """The layer of a record and its ``name``.

    Raises:
        KeyError, TypeError, WorkloadError: it is none.
    """
    shape = record["shape"]
    pairs = {name: tuple(shape[name]) for name in ("stride", "dilation", "padding", "input_size")}
    return Layer(
        record["name"],
        Extents(**shape["bounds"]),
        **pairs,
        bits=PerOperand(**record["bits"]),
        density=PerOperand(**record["density"]),
        weight_is_activation=shape["weight_is_activation"],
        scale_bits=PerOperand(**record["scale_bits"]) if "scale_bits" in record else NO_SCALES,
        time_steps=record.get("time_steps", 1),
    )


def network_record(network: Workload) -> dict[str, Any]:
    """A whole network, every density and width in it; :func:`network_of` reads it back."""
    return {
        "name": network.name,
        "batch": network.batch,
        **completeness(network.unmodelled, network.remarks),
        "not_counted": operator_records(network.not_counted),
        "layers": [{"name": layer.name, **layer_record(layer)} for layer in network],
        **({} if network.graph is None else {"graph": graph_record(network.graph)}),
    }


def network_of(record: Mapping[str, Any], source: str) -> Workload:
    """The network of a record; *source* names it in errors.

    Raises:
        InputError: it is none.
    """
    try:
        network = Workload(
            record["name"],
            tuple(layer_of(item) for item in record["layers"]),
            batch=record["batch"],
            not_counted=read_operators(record["not_counted"]),
            source=source,
            **read_completeness(record),
        )
        if "graph" not in record:
            return network
        graph = graph_of(record["graph"])
    except (KeyError, TypeError, AttributeError, WorkloadError) as error:
        raise InputError(source, [Mistake("network", f"not a network: {error!r}")]) from None
    problems = graph.problems(network.ends())
    if problems:
        places = [f"network.graph {node!r}" if node else "network.graph" for node, _ in problems]
        raise InputError(
            source,
            [Mistake(at, problem) for at, (_, problem) in zip(places, problems, strict=True)],
        )
    return replace(network, graph=graph)


def graph_record(graph: Graph) -> dict[str, Any]:
    """A graph as plain data: its ends, tensors and nodes; :func:`graph_of` reads it back."""
    return {
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "tensors": [tensor_record(tensor) for tensor in graph.tensors.values()],
        "nodes": [node_record(node) for node in graph.nodes],
    }


def tensor_record(tensor: Tensor) -> dict[str, Any]:
    """A tensor; its density and scales where they say something."""
    return {
        "name": tensor.name,
        "words": tensor.words,
        "bits": tensor.bits,
        **({"density": tensor.density} if tensor.density != 1.0 else {}),
        **({"scale_bits": tensor.scale_bits} if tensor.scale_bits else {}),
    }


def node_record(node: Node) -> dict[str, Any]:
    """A node; its layers where it has some."""
    return {
        "name": node.name,
        "operators": list(node.operators),
        "reads": list(node.reads),
        "makes": list(node.makes),
        **({"layers": list(node.layers)} if node.layers else {}),
        **({"in_place": True} if node.in_place else {}),
        **({"partial": True} if node.partial else {}),
    }


def graph_of(record: Mapping[str, Any]) -> Graph:
    """The graph of a record.

    Raises:
        KeyError, TypeError, AttributeError, WorkloadError: it is none.
    """
    tensors = [tensor_of(item) for item in record["tensors"]]
    by_name = {tensor.name: tensor for tensor in tensors}
    if len(by_name) < len(tensors):
        names = [tensor.name for tensor in tensors]
        twice = next(name for name in names if names.count(name) > 1)
        raise WorkloadError(f"two tensors are named {twice!r}")
    return Graph(
        tuple(node_of(item) for item in record["nodes"]),
        by_name,
        _names(record["inputs"], "inputs"),
        _names(record["outputs"], "outputs"),
    )


def tensor_of(record: Mapping[str, Any]) -> Tensor:
    """The tensor of a record.

    Raises:
        KeyError, TypeError, AttributeError, WorkloadError: it is none.
    """
    words, bits = record["words"], record["bits"]
    density, scale_bits = record.get("density", 1.0), record.get("scale_bits", 0.0)
    name = _names([record["name"]], "name")[0]
    for what, value, least, most in (
        ("words", 0 if words is None else words, 0, math.inf),
        ("bits", bits, 1, 64),
    ):
        if type(value) is not int or not least <= value <= most:
            raise WorkloadError(f"tensor {name!r}: {what} {value!r} is no such number")
    for what, value, most in (("density", density, 1.0), ("scale_bits", scale_bits, 64.0)):
        if type(value) not in (int, float) or not 0.0 <= value <= most:
            raise WorkloadError(f"tensor {name!r}: {what} {value!r} is not within 0 to {most:g}")
    return Tensor(name=name, words=words, bits=bits, density=density, scale_bits=scale_bits)


def node_of(record: Mapping[str, Any]) -> Node:
    """The node of a record.

    Raises:
        KeyError, TypeError, AttributeError, WorkloadError: it is none.
    """
    return Node(
        name=_names([record["name"]], "name")[0],
        operators=_names(record["operators"], "operators"),
        reads=_names(record["reads"], "reads"),
        makes=_names(record["makes"], "makes"),
        layers=_names(record.get("layers", []), "layers"),
        in_place=bool(record.get("in_place", False)),
        partial=bool(record.get("partial", False)),
    )


def _names(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise WorkloadError(f"{what}: {value!r} is no list of names")
    return tuple(value)
