"""Between layers: which tensors a network makes, who makes each, and who reads it.

A :class:`Graph` is nodes in the order they run, and the tensors that pass between them. A node is
one or more layers (by name), or an operator without products: pooling, an addition of two
branches, a concatenation, a softmax. What changes values one by one (an activation, a
normalisation by stored numbers, a narrowing of widths) belongs to the node that made them, and
what only names or orders them otherwise (a reshape, a transposition) is no node at all: neither
needs a way to a memory and back. Stored weights are no tensors of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from picojoule.errors import WorkloadError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """What passes between nodes, for all inferences of the batch.

    Args:
        words: values in it; None where nobody says.
        bits: of each value.
        density: fraction of non-zero values.
        scale_bits: bits per value of the scales that are stored and moved with it.
    """

    name: str
    words: int | None
    bits: int
    density: float = 1.0
    scale_bits: float = 0.0

    @property
    def size(self) -> float | None:
        """Bits of it in a memory, uncoded."""
        return None if self.words is None else self.words * (self.bits + self.scale_bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What reads tensors and makes others.

    Args:
        name: of its layer, if it is one; else as the network calls it.
        operators: by the names of its file: the first is what it is, the others are done to the
            values that it makes, one by one.
        reads, makes: names of tensors. Of a layer the first that is read is the input; the second,
            if its second operand is computed, is that.
        layers: names of the layers that it stands for; none of an operator without products.
        in_place: it moves nothing: what it makes are parts of what it reads (a split), or what it
            reads parts of what it makes (a concatenation).
        partial: its layers read or make something else than each of these tensors whole and once:
            a slice, what a loop hands on, a copy along the heads.
    """

    name: str
    operators: tuple[str, ...]
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    layers: tuple[str, ...] = ()
    in_place: bool = False
    partial: bool = False


class End(NamedTuple):
    """What a layer says of one of its operands."""

    words: int
    bits: int
    density: float
    scale_bits: float


class Ends(NamedTuple):
    """Of a layer's operands those that other nodes make or read; ``second`` only if computed."""

    input: End
    second: End | None
    output: End


@dataclass(frozen=True)
class Graph:
    """Nodes in the order they run, and the tensors between them.

    Args:
        inputs, outputs: names of the tensors that the network is given, and that it gives.

    Raises:
        WorkloadError: a name is there twice, a tensor is read before it is made, or never made.
    """

    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor] = field(repr=False)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        names: set[str] = set()
        made: set[str] = set()
        for name in self.inputs:
            self._present(name, "the network's inputs")
            _once(name, made, f"tensor {name!r} is an input of the network twice")
        for node in self.nodes:
            _once(node.name, names, f"two nodes are named {node.name!r}")
            for name in node.reads:
                self._present(name, f"node {node.name!r}")
                if name not in made:
                    raise WorkloadError(
                        f"node {node.name!r} reads tensor {name!r}, which no node before it makes "
                        "and which is no input of the network"
                    )
            for name in node.makes:
                self._present(name, f"node {node.name!r}")
                _once(name, made, f"node {node.name!r} makes tensor {name!r}, which is there")
        for name in self.outputs:
            if name not in made:
                raise WorkloadError(f"tensor {name!r}, an output of the network, is never made")
        for name in self.tensors:
            if name not in made:
                raise WorkloadError(f"tensor {name!r} is never made and is no input of the network")

    def _present(self, name: str, where: str) -> None:
        if name not in self.tensors:
            raise WorkloadError(
                f"{where}: there is no tensor {name!r}{did_you_mean(name, list(self.tensors))}"
            )

    @cached_property
    def maker(self) -> Mapping[str, Node]:
        """The node that makes each tensor; the network's inputs have none."""
        return MappingProxyType({name: node for node in self.nodes for name in node.makes})

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each tensor, in the order they run."""
        readers: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.reads):
                readers[name].append(node)
        return MappingProxyType({name: tuple(nodes) for name, nodes in readers.items()})

    @cached_property
    def node_of(self) -> Mapping[str, Node]:
        """The node of each layer."""
        return MappingProxyType({layer: node for node in self.nodes for layer in node.layers})

    def problems(self, layers: Mapping[str, Ends]) -> list[tuple[str, str]]:
        """Where the graph does not fit these layers, as (node or nothing, sentence)."""
        problems = [
            (node.name, f"there is no layer {layer!r}{did_you_mean(layer, list(layers))}")
            for layer, node in self.node_of.items()
            if layer not in layers
        ]
        if sum(len(node.layers) for node in self.nodes) > len(self.node_of):
            problems.append(("", "a layer belongs to two nodes"))
        problems += [
            ("", f"no node stands for layer {name!r}")
            for name in layers
            if name not in self.node_of
        ]
        if problems:
            return problems
        for node in self.nodes:
            for what, name, end in _ends_of(node, layers):
                words = self.tensors[name].words
                if words != end.words:
                    problems.append(
                        (
                            node.name,
                            f"its {what} has {end.words} words, but tensor {name!r} has {words}",
                        )
                    )
        return problems

    def fitted(self, layers: Mapping[str, Ends]) -> Graph | None:
        """The graph with widths and densities as these layers have them; None if it is not theirs.

        A tensor is as wide as the layer that makes it says, or else as the widest that reads it,
        or else as what its maker reads, if it was so before; its density is that of the densest
        layer that reads it, or else of the one that makes it.
        """
        if self.problems(layers):
            return None
        made: dict[str, End] = {}
        read: dict[str, list[End]] = {}
        for node in self.nodes:
            for what, name, end in _ends_of(node, layers):
                if what == OUTPUT:
                    made[name] = end
                else:
                    read.setdefault(name, []).append(end)
        tensors = dict(self.tensors)
        for name in (*self.inputs, *self.maker):  # makers in their order
            readers = read.get(name, [])
            wide = made.get(name) or max(readers, key=lambda end: end.bits, default=None)
            if wide is not None:
                tensors[name] = replace(
                    tensors[name],
                    bits=wide.bits,
                    scale_bits=wide.scale_bits,
                    density=max((end.density for end in readers), default=wide.density),
                )
            elif name in self.maker and not self.maker[name].layers:
                sources = self.maker[name].reads
                if tensors[name].bits == _widest(self.tensors, sources):
                    tensors[name] = replace(tensors[name], bits=_widest(tensors, sources))
        return self if tensors == self.tensors else replace(self, tensors=tensors)

    def with_batch(self, batch: int, before: int) -> Graph:
        """The graph for *batch* inferences at once instead of *before*.

        What does not divide by the inferences of before is the same for any number of them.
        """
        return replace(
            self,
            tensors={
                name: tensor
                if tensor.words is None or tensor.words % before
                else replace(tensor, words=tensor.words // before * batch)
                for name, tensor in self.tensors.items()
            },
        )


INPUT, SECOND, OUTPUT = "input", "second operand", "output"
"""The ends of a layer, as sentences call them."""


def _ends_of(node: Node, layers: Mapping[str, Ends]) -> Iterable[tuple[str, str, End]]:
    """The ends of a node that is one whole layer: what each is, its tensor, what the layer says."""
    if len(node.layers) != 1 or node.partial:
        return
    ends = layers[node.layers[0]]
    if node.reads:
        yield INPUT, node.reads[0], ends.input
    if ends.second is not None and len(node.reads) > 1:
        yield SECOND, node.reads[1], ends.second
    if node.makes:
        yield OUTPUT, node.makes[0], ends.output


def _widest(tensors: Mapping[str, Tensor], names: Iterable[str]) -> int:
    return max((tensors[name].bits for name in names), default=0)


def _once(name: str, seen: set[str], problem: str) -> None:
    if name in seen:
        raise WorkloadError(problem)
    seen.add(name)
