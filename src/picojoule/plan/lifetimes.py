"""Which tensors may stay where, and from when to when each takes room.

Tensors that are parts of each other (a concatenation and what it joins) lie in the same place, so
what is placed is a *block*: a tensor that a node makes anew, with whatever is a part of it or
holds it. It takes room from the node that makes it to the last that reads any of these. What the
network is given or gives, and what a node reads or makes in another way than whole and once, lies
in the outermost level.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from picojoule.accelerator import Accelerator
from picojoule.graph import Graph, Node
from picojoule.legality import tile_bits
from picojoule.plan.placement import near_memories
from picojoule.workload import Layer, Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What is placed as one.

    Args:
        name: of the tensor that is made.
        room: bits that it takes, for all inferences.
        places: memories that it may lie in, beside the outermost level.
        last: the last step that reads any part of it; its own where none does.
    """

    name: str
    room: float
    places: tuple[str, ...]
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node that runs, and the blocks that it reads and makes.

    Args:
        operands: of a node that is one whole layer, the blocks of each operand that other nodes
            make or read.
        makes: the blocks made here.
    """

    node: Node
    operands: Mapping[Operand, tuple[str, ...]]
    makes: tuple[Block, ...]


def steps_of(
    graph: Graph,
    layers: Mapping[str, Layer],
    accelerator: Accelerator,
    apart: Collection[str] = (),
) -> list[Step]:
    """The nodes that run, in their order, with the blocks they make.

    Args:
        layers: as the accelerator runs them, by name.
        apart: names of layers whose operands lie in the outermost level, whatever is saved.
    """
    graph = replace(graph, nodes=tuple(_set_apart(node, apart) for node in graph.nodes))
    blocks = _blocks(graph)
    running = [node for node in graph.nodes if not node.in_place]
    number = {node.name: n for n, node in enumerate(running)}
    parts: dict[str, list[str]] = {}
    for tensor, inside in blocks.items():
        for block in inside:
            parts.setdefault(block, []).append(tensor)
    steps = []
    for n, node in enumerate(running):
        makes = []
        for name in node.makes:
            readers = [x for part in parts[name] for x in graph.readers[part] if not x.in_place]
            room, places = 0.0, list[str]()
            size = graph.tensors[name].size
            if size is not None and readers and not set(graph.outputs) & set(parts[name]):
                room = size * max(
                    _stretch(x, graph, parts[name], layers, accelerator) for x in readers
                )
                places = [
                    memory.name
                    for memory in near_memories(accelerator)
                    if (memory.capacity is None or room <= memory.capacity)
                    and _can_make(node, memory.keeps)
                    and all(_can_read(x, parts[name], layers, memory.keeps) for x in readers)
                ]
            last = max((number[x.name] for x in readers), default=n)
            makes.append(Block(name=name, room=room, places=tuple(places), last=last))
        operands = {operand: blocks[tensor] for operand, tensor in _operands(node, layers)}
        steps.append(Step(node=node, operands=operands, makes=tuple(makes)))
    return steps


def _set_apart(node: Node, apart: Collection[str]) -> Node:
    return replace(node, partial=True) if any(x in apart for x in node.layers) else node


def _blocks(graph: Graph) -> dict[str, tuple[str, ...]]:
    """The blocks of which each tensor is a part, or that are parts of it."""
    blocks: dict[str, tuple[str, ...]] = {name: (name,) for name in graph.inputs}
    for node in graph.nodes:
        joined = tuple(dict.fromkeys(block for name in node.reads for block in blocks[name]))
        blocks |= {name: joined if node.in_place else (name,) for name in node.makes}
    return blocks


def _whole(node: Node) -> bool:
    """Whether a node reads and makes each of its tensors whole and once."""
    return len(node.layers) < 2 and not node.partial


def _operands(node: Node, layers: Mapping[str, Layer]) -> Iterator[tuple[Operand, str]]:
    """The tensors that are operands of a node's layer, if it is one whole layer."""
    if not node.layers or not _whole(node):
        return
    if node.reads:
        yield Operand.INPUT, node.reads[0]
    if layers[node.layers[0]].weight_is_activation and len(node.reads) > 1:
        yield Operand.WEIGHT, node.reads[1]
    if node.makes:
        yield Operand.OUTPUT, node.makes[0]


def _can_make(node: Node, keeps: frozenset[Operand]) -> bool:
    return _whole(node) and Operand.OUTPUT in keeps


def _can_read(
    node: Node, parts: list[str], layers: Mapping[str, Layer], keeps: frozenset[Operand]
) -> bool:
    """Whether a node can read these tensors from a memory that keeps such operands."""
    needed = {o for o, x in _operands(node, layers) if x in parts and o is not Operand.OUTPUT}
    return _whole(node) and (needed or {Operand.INPUT}) <= keeps


def _stretch(
    node: Node,
    graph: Graph,
    parts: list[str],
    layers: Mapping[str, Layer],
    accelerator: Accelerator,
) -> float:
    """By how much more of a tensor a node stores than there is of it: padding, folded rows."""
    stretch = 1.0
    for operand, tensor in _operands(node, layers):
        size = graph.tensors[tensor].size
        if tensor in parts and operand is not Operand.OUTPUT and size:
            layer = layers[node.layers[0]]
            stored = layer.time_steps * tile_bits(layer, accelerator, layer.bounds, operand)
            stretch = max(stretch, stored / size)
    return stretch
