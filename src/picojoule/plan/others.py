"""What operators without products move: energy and time of their own, where the tensors lie.

Pooling, additions of two branches, softmax, normalisation: each reads its inputs once from the
outermost memory and writes its outputs there once, as every layer starts and ends there. What they
do to the values on the way is not priced, nor what lies between a memory and the unit that does it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

from picojoule.accelerator import Accelerator
from picojoule.cost import Ledger
from picojoule.graph import Graph, Node, Tensor
from picojoule.plan.transfers import Transfer, near_memories, one_word, transfer, way_to
from picojoule.units import whole
from picojoule.workload import Operand

OTHER = "other"
"""The kind of energy that these operators take, beside the operands of layers."""
LOOK_UPS = frozenset({"embedding", "embeddingbag", "embeddinglookup", "gather", "gathernd"})
"""Operators, without the underscores of their names, that may read rows of a stored table."""
DRAWN = ("control", "static")
"""Places of energy that time takes, as in the price of a layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorEstimate:
    """What an operator without products moves, per inference; energy in the accelerator's unit.

    Args:
        operator: by the name of its file.
        words: values that it reads, and writes.
        by_memory: energy by place; sums to ``energy``.
        accesses: words that are charged: memory -> (read, write).
        bytes_moved: that enter or leave each memory, whichever end is charged.
        sized: whether all of its tensors have a size; the figures leave out those that have none.
    """

    name: str
    operator: str
    words: Mapping[str, float]
    energy: float
    by_memory: Mapping[str, float]
    accesses: Mapping[str, Mapping[str, float]]
    bytes_moved: Mapping[str, float]
    cycles: float
    limited_by: str
    sized: bool = True

    @property
    def by_operand(self) -> dict[str, float]:
        """Energy of what it moves, and what is drawn meanwhile; sums to ``energy``."""
        drawn = {name: x for name, x in self.by_memory.items() if name in DRAWN}
        moved = (x for name, x in self.by_memory.items() if name not in DRAWN)
        return {OTHER: math.fsum(moved)} | drawn

    def scaled(self, factor: float) -> OperatorEstimate:
        """The same with energies in another unit, of which the present one is *factor*."""
        by_memory = {name: factor * value for name, value in self.by_memory.items()}
        return replace(self, energy=factor * self.energy, by_memory=by_memory)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "operator": self.operator,
            "words": {way: whole(count) for way, count in self.words.items()},
            "energy": self.energy,
            "by_memory": dict(self.by_memory),
            "accesses": {name: dict(words) for name, words in self.accesses.items()},
            "bytes_moved": dict(self.bytes_moved),
            "cycles": whole(self.cycles),
            "limited_by": self.limited_by,
            "sized": self.sized,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """The operators without products of a network, in the order they run.

    Args:
        counted: whether totals have them in.
    """

    operators: tuple[OperatorEstimate, ...]
    counted: bool = False
    macs: ClassVar[float] = 0.0
    effectual_macs: ClassVar[float] = 0.0

    @property
    def name(self) -> str:
        """What a row of all of them is called."""
        return OTHER

    @property
    def energy(self) -> float:
        """Of one inference."""
        return math.fsum(x.energy for x in self.operators)

    @property
    def cycles(self) -> float:
        """Of one inference, operator after operator."""
        return math.fsum(x.cycles for x in self.operators)

    @property
    def by_memory(self) -> dict[str, float]:
        """Energy by place; sums to ``energy``."""
        return _added(x.by_memory for x in self.operators)

    @property
    def by_operand(self) -> dict[str, float]:
        """Energy of what is moved, and what is drawn meanwhile; sums to ``energy``."""
        return _added(x.by_operand for x in self.operators)

    @property
    def words(self) -> float:
        """Values that are read and written."""
        return math.fsum(chain.from_iterable(x.words.values() for x in self.operators))

    @property
    def kinds(self) -> Mapping[str, int]:
        """How often each operator is there."""
        return Counter(x.operator for x in self.operators)

    @property
    def unsized(self) -> int:
        """Operators with a tensor of which nobody says the size."""
        return sum(not x.sized for x in self.operators)

    def scaled(self, factor: float) -> Others:
        """The same with energies in another unit, of which the present one is *factor*."""
        return replace(self, operators=tuple(x.scaled(factor) for x in self.operators))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in ``estimate --json``; :func:`others_of` reads it back."""
        return {
            "counted": self.counted,
            "energy": self.energy,
            "cycles": whole(self.cycles),
            "words": whole(self.words),
            "operators": [x.to_dict() for x in self.operators],
        }


def others_of(record: Mapping[str, Any]) -> Others:
    """The operators of a record.

    Raises:
        KeyError, TypeError: it is none.
    """
    operators = tuple(OperatorEstimate(**item) for item in record["operators"])
    return Others(operators=operators, counted=record["counted"])


def price_others(
    graph: Graph,
    accelerator: Accelerator,
    batch: int,
    *,
    counted: bool = False,
    kept: Collection[str] = (),
) -> Others:
    """Price what the operators without products of *graph* move on *accelerator*, per inference.

    Args:
        kept: names of tensors that lie on the chip: they come from nowhere else, nor go.
    """
    prices = OperatorPrices(accelerator, batch)
    operators = tuple(
        prices.of(node, graph, kept)
        for node in graph.nodes
        if not node.layers and not node.in_place
    )
    return Others(operators=operators, counted=counted)


class OperatorPrices:
    """Operators of equal ends are priced once: most of a network's are alike."""

    def __init__(self, accelerator: Accelerator, batch: int) -> None:
        self._accelerator, self._batch = accelerator, batch
        near = list(near_memories(accelerator))
        able = {Operand.INPUT, Operand.OUTPUT}
        # Where a tensor may stay: to there a layer before it brings it, or one after it takes it.
        self._level = next((x.level for x in near if able <= x.memory.keeps), 0)
        self._alike: dict[tuple[object, ...], OperatorEstimate] = {}
        self._each: dict[tuple[object, ...], Transfer] = {}
        self._drawn = {
            name: each
            for name, each in (
                ("control", accelerator.control_per_cycle),
                ("static", accelerator.static_per_cycle),
            )
            if each
        }

    def of(self, node: Node, graph: Graph, kept: Collection[str] = ()) -> OperatorEstimate:
        """What an operator moves where these tensors are *kept* on the chip."""
        reads = [graph.tensors[name] for name in node.reads]
        makes = [graph.tensors[name] for name in node.makes]
        operator = node.operators[0]
        near = [tensor for tensor in (*reads, *makes) if tensor.name in kept]
        places = (tensor.name in kept for tensor in (*reads, *makes))
        key = (operator, *map(_size, reads), None, *map(_size, makes), *places)
        if key not in self._alike:
            self._alike[key] = self._priced(operator, reads, makes, near)
        return replace(self._alike[key], name=node.name)

    def _priced(
        self,
        operator: str,
        reads: Sequence[Tensor],
        makes: Sequence[Tensor],
        near: Sequence[Tensor],
    ) -> OperatorEstimate:
        rows = _rows(operator, reads, makes)
        read = [*reads, *rows]
        brought = [*(tensor for tensor in reads if tensor not in near), *rows]
        moves = [
            *(self._moved(tensor, Operand.INPUT) for tensor in brought),
            *(self._moved(tensor, Operand.OUTPUT) for tensor in makes if tensor not in near),
        ]
        words = _added(move.words for move in moves)
        bits = {name: count * self._accelerator.word_bits for name, count in words.items()}
        cycles, limit = 0.0, "nothing"
        for memory in self._accelerator.memories.values():
            if memory.bandwidth and bits.get(memory.name, 0.0) / memory.bandwidth > cycles:
                cycles, limit = bits[memory.name] / memory.bandwidth, memory.name
        by_memory = _added(move.energy for move in moves)
        writes = _added(move.writes for move in moves)
        by_memory |= {name: each * cycles for name, each in self._drawn.items()}
        return OperatorEstimate(
            name="",
            operator=operator,
            words={
                "read": sum(tensor.words or 0 for tensor in read) / self._batch,
                "write": sum(tensor.words or 0 for tensor in makes) / self._batch,
            },
            energy=math.fsum(by_memory.values()),
            by_memory=by_memory,
            accesses={
                name: {"read": whole(reads), "write": whole(writes[name])}
                for name, reads in _added(move.reads for move in moves).items()
            },
            bytes_moved={name: whole(each / 8) for name, each in bits.items()},
            cycles=cycles,
            limited_by=limit,
            sized=all(tensor.words is not None for tensor in (*reads, *makes)),
        )

    def _moved(self, tensor: Tensor, operand: Operand) -> Transfer:
        """One load, or one store, of a tensor, for one inference."""
        key = (operand, tensor.bits, tensor.density, tensor.scale_bits)
        if key not in self._each:
            self._each[key] = self._of_one(tensor, operand)
        each, count = self._each[key], (tensor.words or 0) / self._batch
        return Transfer(*({name: x * count for name, x in part.items()} for part in each))

    def _of_one(self, tensor: Tensor, operand: Operand) -> Transfer:
        """The same of one of its values."""
        accelerator, value = self._accelerator, one_word(tensor)
        ledger = Ledger(value, accelerator, one=1.0)
        way = way_to(accelerator, self._level, operand)
        coded = {memory.name: ledger.coded_words(memory, operand) for memory in way}
        plain = value.stored_bits(operand) / accelerator.word_bits
        return transfer(way, operand, coded, plain, accelerator.charging)


def _rows(operator: str, reads: Sequence[Tensor], makes: Sequence[Tensor]) -> Sequence[Tensor]:
    """What an operator reads of a stored table: as much as it makes, if no tensor holds that."""
    looks_up = operator.replace("_", "").lower() in LOOK_UPS
    least = max((tensor.words or 0 for tensor in makes), default=0)
    return makes if looks_up and all((x.words or 0) < least for x in reads) else ()


def _size(tensor: Tensor) -> tuple[object, ...]:
    return tensor.words, tensor.bits, tensor.density, tensor.scale_bits


def _added(tables: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for table in tables:
        for name, value in table.items():
            total[name] = total.get(name, 0.0) + value
    return total
