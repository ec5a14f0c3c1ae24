"""What staying on the chip can save at most: a bound for every tensor, at no search.

A layer alone starts from and ends in the outermost memory. Let a schedule keep its input in a
memory nearer by: with one load of the whole input more it would be a mapping of the layer alone,
so the best of those is at most that load dearer. The same holds of its output and one store. So a
tensor that stays saves at most one store and, for each reader, one load, whatever mappings the
layers have, whole or band by band; and the layers' proved optima less these, summed, are below
every schedule that keeps tensors so and computes nothing twice to spare a load. Where a memory
fetches inputs anew though parts of them are there, or each transfer takes a command, that holds of
tensors that stay whole.

Sizes, coding and both charging conventions are those of :mod:`picojoule.cost`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from picojoule.accelerator import Accelerator, Charging, Memory
from picojoule.cost import Ledger
from picojoule.errors import WorkloadError
from picojoule.graph import Graph, Node, Tensor
from picojoule.plan.transfers import Near, near_memories, one_word, transfer, way_to
from picojoule.workload import Layer, Operand, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorBound:
    """What it saves at most, per inference, that a tensor stays where it is made.

    Args:
        made_by: the node that makes it; empty of an input of the network.
        read_by: the nodes that read it.
        memory: that it may stay in: the outermost on the chip from which all of its readers can
            read; empty if there is none.
        room: bits that the whole of it takes there for one inference.
        fits: whether that is within the memory's capacity; else it can stay by parts only.
        energy: of what is counted: the layers' stores and loads, in the accelerator's unit.
        other: of operators without products, where they are not counted.
        cycles: of what is counted, where bandwidths are known.
    """

    tensor: str
    made_by: str
    read_by: tuple[str, ...]
    memory: str
    room: float | None
    fits: bool
    energy: float
    other: float
    cycles: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "tensor": self.tensor,
            "made_by": self.made_by,
            "read_by": list(self.read_by),
            "memory": self.memory,
            "room": self.room,
            "fits": self.fits,
            "energy": self.energy,
            "other": self.other,
            "cycles": self.cycles,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkBounds:
    """The bounds of all tensors of a network on an accelerator.

    Args:
        energy, other, cycles: of all tensors together, each end of a layer counted once.
        fitting: the part of that energy that tensors save which fit whole, each for itself.
        unit_picojoules: of one unit of energy; None where the accelerator does not say.
        by_parts: whether they hold of tensors that stay by parts as well.
    """

    network: str
    accelerator: str
    energy_unit: str
    unit_picojoules: float | None
    clock: float | None
    batch: int
    tensors: tuple[TensorBound, ...]
    by_parts: bool
    energy: float
    fitting: float
    other: float
    cycles: float

    def in_picojoules(self) -> NetworkBounds:
        """The same in picojoules where the machine says what a MAC costs, else as it is."""
        factor = self.unit_picojoules
        if self.energy_unit == "pJ" or factor is None:
            return self
        return replace(
            self,
            energy_unit="pJ",
            unit_picojoules=1.0,
            tensors=tuple(
                replace(each, energy=factor * each.energy, other=factor * each.other)
                for each in self.tensors
            ),
            energy=factor * self.energy,
            fitting=factor * self.fitting,
            other=factor * self.other,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "network": self.network,
            "accelerator": self.accelerator,
            "energy_unit": self.energy_unit,
            "clock": self.clock,
            "batch": self.batch,
            "tensors": [bound.to_dict() for bound in self.tensors],
            "by_parts": self.by_parts,
            "energy": self.energy,
            "fitting": self.fitting,
            "other": self.other,
            "cycles": self.cycles,
        }


class _End(NamedTuple):
    """A layer's operand, or what an operator reads or makes, at one tensor.

    Args:
        key: the same for the same operand of the same layer.
        layer: as the accelerator runs it; of an operator one with the tensor's width and density.
    """

    key: tuple[str, Operand, str]
    layer: Layer
    operand: Operand
    words: int
    is_layer: bool


class _Saving(NamedTuple):
    """What a store or a load costs, for all inferences."""

    energy: float
    cycles: float
    is_layer: bool

    def times(self, share: float) -> _Saving:
        """So much of it."""
        if share == 1.0:
            return self
        return _Saving(self.energy * share, self.cycles * share, self.is_layer)


class _Rate(NamedTuple):
    """What each value of a store or a load takes, and the cycles before the first one is there."""

    energy: float
    cycles: float
    latency: float


def bound(
    network: Workload, accelerator: Accelerator, run: Mapping[str, Layer] | None = None
) -> NetworkBounds:
    """What each tensor of *network* saves at most if it stays on the chip.

    Args:
        run: the layers as the accelerator runs them, by name, where it runs other ones
            (:func:`equivalents.as_run`).

    Raises:
        WorkloadError: nobody says what lies between the layers of the network.
    """
    graph = network.graph
    if graph is None:
        raise WorkloadError(f"network {network.name!r}: {no_graph(network)}")
    layers = {layer.name: layer for layer in network} | dict(run or {})
    return bound_graph(graph, layers, accelerator, network=network.name, batch=network.batch)


def bound_graph(
    graph: Graph,
    layers: Mapping[str, Layer],
    accelerator: Accelerator,
    *,
    network: str,
    batch: int,
    others: bool = False,
) -> NetworkBounds:
    """What each tensor of *graph* saves at most if it stays on the chip.

    Args:
        layers: by name, as the accelerator runs them.
        network: its name.
        others: whether what operators without products move is counted, as that of layers is.
    """
    ends = _Ends(graph, layers, accelerator)
    savings: dict[tuple[str, Operand, str], _Saving] = {}
    of_fitting: dict[tuple[str, Operand, str], _Saving] = {}
    bounds = []
    for tensor in graph.tensors.values():
        memory, saved = ends.saved(tensor)
        made = graph.maker.get(tensor.name)
        room = None if tensor.size is None else tensor.size / batch
        fits = (
            memory is not None
            and room is not None
            and (memory.capacity is None or room <= memory.capacity)
        )
        for sums in (savings, of_fitting) if fits else (savings,):
            for key, saving in saved.items():
                if key not in sums or sums[key] < saving:
                    sums[key] = saving
        energy, other, cycles = _summed(saved.values(), batch, others)
        bounds.append(
            TensorBound(
                tensor=tensor.name,
                made_by="" if made is None else made.name,
                read_by=tuple(node.name for node in graph.readers[tensor.name]),
                memory="" if memory is None else memory.name,
                room=room,
                fits=fits,
                energy=energy,
                other=other,
                cycles=cycles,
            )
        )
    energy, other, cycles = _summed(savings.values(), batch, others)
    return NetworkBounds(
        network=network,
        accelerator=accelerator.name,
        energy_unit=accelerator.energy_unit,
        unit_picojoules=accelerator.unit_picojoules,
        clock=accelerator.clock,
        batch=batch,
        tensors=tuple(bounds),
        by_parts=not accelerator.control.per_command
        and not any(near.memory.refetches for near in near_memories(accelerator)),
        energy=energy,
        fitting=_summed(of_fitting.values(), batch, others)[0],
        other=other,
        cycles=cycles,
    )


def no_graph(network: Workload) -> str:
    """Why nothing is known of what lies between the layers, and who tells."""
    return (
        "nobody says which layer's output is which layer's input: the 25 columns, SCALE-Sim's "
        "table and a table without '# node:' lines do not, nor a network whose layers were "
        f"changed since it was read ({network.source or 'made by hand'}); an ONNX or TFLite file "
        "or a torch module does"
    )


def _summed(savings: Iterable[_Saving], batch: int, others: bool) -> tuple[float, float, float]:
    """Energy of what is counted, of other operators, and cycles, per inference."""
    energy, other, cycles = [], [], []
    for saving in savings:
        if saving.is_layer or others:
            energy.append(saving.energy)
            cycles.append(saving.cycles)
        else:
            other.append(saving.energy)
    return math.fsum(energy) / batch, math.fsum(other) / batch, math.fsum(cycles) / batch


class _Ends:
    """Who makes and who reads the tensors of a graph, and what that costs on an accelerator."""

    def __init__(self, graph: Graph, layers: Mapping[str, Layer], accelerator: Accelerator) -> None:
        self._graph = graph
        self._layers = layers
        self._accelerator = accelerator
        self._near = list(near_memories(accelerator))
        self._drawn = accelerator.drawn_per_cycle
        self._rates: dict[Hashable, _Rate] = {}
        self._one_word: dict[Hashable, Layer] = {}
        self._from_outside = _from_outside(graph)
        self._to_outside = _to_outside(graph)

    def saved(
        self, tensor: Tensor
    ) -> tuple[Memory | None, dict[tuple[str, Operand, str], _Saving]]:
        """Where a tensor may stay, and the store and loads that it is spared there."""
        made = self._graph.maker.get(tensor.name)
        readers = self._graph.readers[tensor.name]
        if not readers:
            return None, {}
        reads = [end for node in readers for end in self._reads(node, tensor)]
        makes = [] if made is None else self._makes(made, tensor)
        needed = {end.operand for end in reads} | {Operand.OUTPUT}
        place = next((near for near in self._near if needed <= near.memory.keeps), None)
        whole = place is not None
        if place is None:  # a copy beside the one outside: for those that can read it there
            able = {Operand.OUTPUT, Operand.INPUT}
            place = next((near for near in self._near if able <= near.memory.keeps), None)
            reads = [end for end in reads if end.operand is Operand.INPUT]
        if place is None:
            return None, {}
        saved = {end.key: self._price(end, place) for end in reads}
        if saved:  # what comes from outside is loaded once
            least = min(saved, key=lambda key: saved[key].energy)
            saved[least] = saved[least].times(1 - self._share(tensor.name, self._from_outside))
        if whole:  # what goes outside is stored once
            kept = 1 - self._share(tensor.name, self._to_outside)
            saved |= {end.key: self._price(end, place).times(kept) for end in makes}
        return (place.memory if whole else None), saved

    def _share(self, name: str, part: Mapping[str, int]) -> float:
        """Which share of a tensor is part of an input, or of an output, of the network."""
        words = self._graph.tensors[name].words
        return min(1.0, part[name] / words) if words else float(part[name] > 0)

    def _reads(self, node: Node, tensor: Tensor) -> list[_End]:
        if not node.layers:
            return [] if node.in_place else [self._of_operator(node, tensor, Operand.INPUT)]
        if len(node.layers) > 1 or node.partial:
            return list(self._all_reads(node))
        layer = self._layers[node.layers[0]]
        operands = [Operand.INPUT]
        if layer.weight_is_activation:
            operands.append(Operand.WEIGHT)
        named = zip(operands, node.reads, strict=False)
        ends = [self._of_layer(layer, x) for x, name in named if name == tensor.name]
        if tensor.name in node.reads[len(operands) :]:  # a bias, a mask: a few words more
            ends.append(self._of_operator(node, tensor, Operand.INPUT))
        return ends

    def _all_reads(self, node: Node) -> Iterator[_End]:
        for name in node.layers:
            layer = self._layers[name]
            yield self._of_layer(layer, Operand.INPUT)
            if layer.weight_is_activation:
                yield self._of_layer(layer, Operand.WEIGHT)

    def _makes(self, node: Node, tensor: Tensor) -> list[_End]:
        if not node.layers:
            return [] if node.in_place else [self._of_operator(node, tensor, Operand.OUTPUT)]
        return [self._of_layer(self._layers[x], Operand.OUTPUT) for x in node.layers]

    def _of_layer(self, layer: Layer, operand: Operand) -> _End:
        words = layer.size(operand)
        if operand is Operand.INPUT and self._accelerator.charge_padding:
            rows, columns = (len(layer.axis(axis, padded=True).stored) for axis in (0, 1))
            words = words // math.prod(layer.input_size) * rows * columns
        return _End((layer.name, operand, ""), layer, operand, words, True)

    def _of_operator(self, node: Node, tensor: Tensor, operand: Operand) -> _End:
        """An operator's end: as of a layer of one word of that width and density."""
        key = (tensor.bits, tensor.density, tensor.scale_bits)
        if key not in self._one_word:
            self._one_word[key] = one_word(tensor)
        word = self._one_word[key]
        return _End((node.name, operand, tensor.name), word, operand, tensor.words or 0, False)

    def _price(self, end: _End, place: Near) -> _Saving:
        """One store, or one load, of an operand between the outermost memory and a nearer one."""
        layer = end.layer
        # Most ends of a network have one width and density: what a value takes is asked once.
        widths = (layer.bits, layer.density, layer.scale_bits)
        key = (end.operand, end.is_layer, place.memory.name, widths)
        if key not in self._rates:
            self._rates[key] = self._rate(end, place)
        rate = self._rates[key]
        cycles = rate.cycles * end.words + rate.latency
        # Whatever is drawn in these cycles is spared as well, and the command for the transfer.
        rest = self._drawn * cycles + self._accelerator.control.per_command * end.is_layer
        return _Saving(rate.energy * end.words + rest, cycles, end.is_layer)

    def _rate(self, end: _End, place: Near) -> _Rate:
        """What each value of an end takes from or to a memory, and how long the first one is."""
        accelerator, ledger = self._accelerator, Ledger(end.layer, self._accelerator, one=1.0)
        plain = ledger.plain_words(end.operand) if end.is_layer else self._words(end)
        way = way_to(accelerator, place.level, end.operand)
        coded = {memory.name: ledger.coded_words(memory, end.operand) for memory in way}
        moved = transfer(way, end.operand, coded, plain, accelerator.charging)
        energy = sum(moved.energy.values())
        if end.operand is Operand.OUTPUT and accelerator.charging is not Charging.BOTH_ENDS:
            # Eq. 4 of ISCA'16: the last sum that goes further out is paid there alone; one that
            # stays is paid here.
            innermost = place.level == len(accelerator.levels) - 1
            share = ledger.effectual if innermost and end.is_layer else 1.0
            energy = max(0.0, energy - plain * place.memory.write_energy * share)
        times = [
            moved.words[memory.name] * accelerator.word_bits / memory.bandwidth
            for memory in way
            if memory.bandwidth is not None
        ]
        return _Rate(energy, max(times, default=0.0), sum(memory.latency for memory in way))

    def _words(self, end: _End) -> float:
        """What a value of a tensor takes uncoded, in words of the accelerator."""
        return end.layer.stored_bits(end.operand) / self._accelerator.word_bits


def _from_outside(graph: Graph) -> Mapping[str, int]:
    """Of each tensor, the words that are the network's inputs, or parts of them in their place."""
    words = {name: tensor.words or 0 for name, tensor in graph.tensors.items()}
    outside = dict.fromkeys(words, 0) | {name: words[name] for name in graph.inputs}
    for node in graph.nodes:
        if node.in_place:
            given = sum(outside[name] for name in node.reads)
            outside.update({name: min(words[name], given) for name in node.makes})
    return outside


def _to_outside(graph: Graph) -> Mapping[str, int]:
    """Of each tensor, the words that are the network's outputs, or parts of them in their place."""
    words = {name: tensor.words or 0 for name, tensor in graph.tensors.items()}
    outside = dict.fromkeys(words, 0) | {name: words[name] for name in graph.outputs}
    for node in reversed(graph.nodes):
        if node.in_place:
            taken = sum(outside[name] for name in node.makes)
            outside |= {name: max(outside[name], min(words[name], taken)) for name in node.reads}
    return outside
