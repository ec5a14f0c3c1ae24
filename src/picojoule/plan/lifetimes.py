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
from picojoule.plan.placement import places
from picojoule.workload import Layer, Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What is placed as one.

    Args:
        name: of the tensor that is made.
        room: bits that it takes, for all inferences.
        readable: memories from which all its readers can read it, outermost first.
        places: those of them that it fits whole.
        last: the last step that reads any part of it; its own where none does.
    """

    name: str
    room: float
    readable: tuple[str, ...]
    places: tuple[str, ...]
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node that runs, and the blocks that it reads and makes.

    Args:
        tensors: the blocks of each tensor that it reads or makes.
        operands: of a node that is one whole layer, the blocks of each operand that other nodes
            make or read.
        makes: the blocks made here.
    """

    node: Node
    tensors: Mapping[str, tuple[str, ...]]
    operands: Mapping[Operand, tuple[str, ...]]
    makes: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """The nodes that run, in their order.

    Args:
        inputs: blocks that the network is given.
    """

    steps: tuple[Step, ...]
    inputs: tuple[Block, ...]

    @property
    def blocks(self) -> Mapping[str, Block]:
        """All blocks by name."""
        made = (block for step in self.steps for block in step.makes)
        return {block.name: block for block in (*self.inputs, *made)}


def lifetimes_of(
    graph: Graph,
    layers: Mapping[str, Layer],
    accelerator: Accelerator,
    apart: Collection[str] = (),
) -> Lifetimes:
    """The nodes of *graph* that run, with the blocks they read and make.

    Args:
        layers: as the accelerator runs them, by name.
        apart: names of layers whose operands lie in the outermost level, whatever is saved.
    """
    graph = replace(graph, nodes=tuple(_set_apart(node, apart) for node in graph.nodes))
    lives = _Lives(graph, layers, accelerator)
    steps = (
        Step(
            node=node,
            tensors={name: lives.inside[name] for name in (*node.reads, *node.makes)},
            operands={o: lives.inside[tensor] for o, tensor in _operands(node, layers)},
            makes=tuple(lives.block(name, node) for name in node.makes),
        )
        for node in lives.running
    )
    inputs = (lives.block(name, None) for name in graph.inputs)
    return Lifetimes(steps=tuple(steps), inputs=tuple(inputs))


class _Lives:
    """From when to when the blocks of a graph live, and where they may lie."""

    def __init__(self, graph: Graph, layers: Mapping[str, Layer], accelerator: Accelerator) -> None:
        self._graph, self._layers, self._accelerator = graph, layers, accelerator
        self.inside = _blocks(graph)
        self.running = [node for node in graph.nodes if not node.in_place]
        self._number = {node.name: n for n, node in enumerate(self.running)}
        self._parts: dict[str, list[str]] = {}
        for tensor, inside in self.inside.items():
            for block in inside:
                self._parts.setdefault(block, []).append(tensor)

    def block(self, name: str, maker: Node | None) -> Block:
        """The block of a tensor that *maker* makes, or that the network is given."""
        graph, parts = self._graph, self._parts[name]
        readers = [x for part in parts for x in graph.readers[part] if not x.in_place]
        first = 0 if maker is None else self._number[maker.name]
        last = max((self._number[x.name] for x in readers), default=first)
        size = graph.tensors[name].size
        if size is None or len(readers) < (2 if maker is None else 1):
            return Block(name=name, room=0.0, readable=(), places=(), last=last)
        room = size * max(self._stretch(x, parts) for x in readers)
        readable = [
            memory
            for memory in places(self._accelerator)
            if (maker is None or (_whole(maker) and Operand.OUTPUT in memory.keeps))
            and all(self._can_read(x, parts, memory.keeps) for x in readers)
        ]
        fitting = [x for x in readable if x.capacity is None or room <= x.capacity]
        outside = maker is None or bool(set(graph.outputs) & set(parts))
        return Block(
            name=name,
            room=room,
            readable=tuple(x.name for x in readable),
            places=() if outside else tuple(x.name for x in fitting),
            last=last,
        )

    def _can_read(self, node: Node, parts: list[str], keeps: frozenset[Operand]) -> bool:
        """Whether a node can read these tensors from a memory that keeps such operands."""
        operands = _operands(node, self._layers)
        needed = {o for o, x in operands if x in parts and o is not Operand.OUTPUT}
        return _whole(node) and (needed or {Operand.INPUT}) <= keeps

    def _stretch(self, node: Node, parts: list[str]) -> float:
        """By how much more of a tensor a node stores than there is of it: padding, folded rows."""
        stretch = 1.0
        for operand, tensor in _operands(node, self._layers):
            size = self._graph.tensors[tensor].size
            if tensor in parts and operand is not Operand.OUTPUT and size:
                layer = self._layers[node.layers[0]]
                stored = tile_bits(layer, self._accelerator, layer.bounds, operand)
                stretch = max(stretch, layer.time_steps * stored / size)
        return stretch


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
