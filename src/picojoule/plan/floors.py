"""The least energy of a network wherever tensors lie between its layers, at no search.

Each layer takes what its products take, and every word once over every edge that it must pass
(:mod:`picojoule.mapper.compulsory`), with its operands in whichever memories are cheapest: in any
outside every array that can keep them, but for what must come from or go to the outermost one. That
holds of all mappings, even or uneven, of tensors that stay whole or by parts, and of schedules that
compute things twice. It is far below what plans reach where words pass inner memories many times;
of the searched mappings :attr:`picojoule.plan.records.Plan.least` is a nearer bound.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

from picojoule.accelerator import Accelerator
from picojoule.graph import Graph, Node
from picojoule.mapper.compulsory import least_energy
from picojoule.plan.lifetimes import operands_of
from picojoule.plan.others import OperatorPrices
from picojoule.plan.placement import places, seen_from
from picojoule.workload import Layer, Operand


def floor(
    graph: Graph,
    layers: Mapping[str, Layer],
    accelerator: Accelerator,
    *,
    batch: int,
    others: bool = False,
) -> float:
    """Energy per inference that no schedule is below, in the accelerator's unit.

    Tensors may stay in memories outside every array; weights are loaded for every batch.

    Args:
        layers: by name, for the whole batch, as the accelerator runs them.
        others: whether what operators without products move is counted; all that may stay does.
    """
    least: dict[tuple[object, ...], float] = {}
    total = []
    for node in graph.nodes:
        far = frozenset(_far(graph, node, layers))
        for name in node.layers:
            layer = layers[name]
            key = (layer.signature(), layer.weight_is_activation, far)
            if key not in least:
                least[key] = _of_layer(layer, accelerator, far)
            total.append(least[key])
    energy = math.fsum(total) / batch
    if others:
        prices = OperatorPrices(accelerator, batch)
        near = graph.tensors.keys() - {*graph.inputs, *graph.outputs}
        idle = (node for node in graph.nodes if not node.layers and not node.in_place)
        energy += math.fsum(
            prices.of(node, graph, near | _shared(graph, node)).energy for node in idle
        )
    return energy


def _far(graph: Graph, node: Node, layers: Mapping[str, Layer]) -> Iterator[Operand]:
    """The operands of a node's layer that pass the outermost memory in every schedule."""
    shared = _shared(graph, node)
    for operand, tensor in operands_of(node, layers):
        if operand is Operand.OUTPUT:
            if tensor in graph.outputs:
                yield operand
        elif tensor in graph.inputs and tensor not in shared:
            yield operand


def _shared(graph: Graph, node: Node) -> frozenset[str]:
    """Inputs of the network that others read as well: one load may do for all."""
    return frozenset(
        name
        for name in node.reads
        if name in graph.inputs and len(graph.readers[name]) + node.reads.count(name) > 2
    )


def _of_layer(layer: Layer, accelerator: Accelerator, far: frozenset[Operand]) -> float:
    """The least energy of a layer, for the whole batch, wherever its other operands lie."""
    moving = [Operand.INPUT, Operand.OUTPUT]
    if layer.weight_is_activation:
        moving.append(Operand.WEIGHT)
    moving = [operand for operand in moving if operand not in far]
    memories = places(accelerator)
    choices = [["", *(x.name for x in memories if operand in x.keeps)] for operand in moving]
    return min(
        least_energy(
            layer,
            seen_from(
                accelerator, {o: x for o, x in zip(moving, homes, strict=True) if x}, room={}
            ),
        )
        for homes in itertools.product(*choices)
    )
