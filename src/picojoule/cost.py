"""The price of a mapping: the only one in the project.

``Energy = sum over actions of count x energy per action``. Counts come from :mod:`traffic`;
energies from the accelerator. Both stay visible in the :class:`Cost`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from picojoule.accelerator import (
    Accelerator,
    Array,
    Charging,
    Format,
    HopCharge,
    Memory,
    Network,
    ZeroSkip,
)
from picojoule.errors import MappingError
from picojoule.legality import violations
from picojoule.mapping import Mapping
from picojoule.sparsity import bits_per_value, effectual_fraction, worked_fraction
from picojoule.traffic import Flow, commands, compute_steps, flows
from picojoule.workload import OPERANDS, Layer, Operand

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

VERSION = "3"
"""Version of the counting rules: results of different versions are not to be mixed."""


Amount = TypeVar("Amount", float, "npt.NDArray[np.float64]")
"""A number, or a vector of coefficients over counts that are not known yet."""


@dataclass(frozen=True, slots=True)
class Access(Generic[Amount]):
    """Charged accesses to a memory for one operand: words, and their energy."""

    read: Amount
    write: Amount
    energy: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a mapping costs, for all inferences of the layer's batch.

    Args:
        accesses: memory name -> operand -> charged accesses.
        hops: array name -> operand -> (words passed, energy).
        compute: energy of the MACs.
        control: energy of clock and control over the latency, and of commands.
        static: energy drawn over the latency, where the accelerator declares static power.
        moved: memory or array name -> operand -> bits that enter or leave it, whichever end is
            charged: what counters on the chip would see.
        macs, effectual_macs: all, and those really done.
        compute_cycles: cycles the multipliers need.
        cycles: the largest of compute cycles and every memory's and network's transfer time, or
            what the mapping was said to take.
        limited_by: what sets ``cycles``.
        utilization: MACs done per MAC that all elements could do in ``cycles``.
        active_elements: processing elements in use in a full step.
    """

    accesses: MappingABC[str, MappingABC[Operand, Access[float]]]
    hops: MappingABC[str, MappingABC[Operand, Access[float]]]
    compute: float
    control: float
    static: float
    moved: MappingABC[str, MappingABC[Operand, float]]
    macs: int
    effectual_macs: float
    compute_cycles: float
    cycles: float
    limited_by: str
    utilization: float
    active_elements: int

    @property
    def energy(self) -> float:
        """Total energy in the accelerator's unit."""
        return math.fsum(self.by_memory.values())

    @property
    def by_memory(self) -> dict[str, float]:
        """Energy by place: memories, arrays, compute; sums to ``energy``."""
        parts = {
            name: math.fsum(access.energy for access in operands.values())
            for table in (self.accesses, self.hops)
            for name, operands in table.items()
        }
        return parts | self._of_no_word

    @property
    def by_operand(self) -> dict[str, float]:
        """Energy by operand, and what moves none; sums to ``energy``. Sums belong to the output."""
        parts = {
            operand.value: math.fsum(
                operands[operand].energy
                for table in (self.accesses, self.hops)
                for operands in table.values()
                if operand in operands
            )
            for operand in OPERANDS
        }
        return parts | self._of_no_word

    @property
    def _of_no_word(self) -> dict[str, float]:
        """Energy that no word moved takes."""
        drawn = {"control": self.control, "static": self.static}
        return {"compute": self.compute} | {name: value for name, value in drawn.items() if value}


def evaluate(
    layer: Layer, accelerator: Accelerator, mapping: Mapping, *, cycles: float | None = None
) -> Cost:
    """Price *mapping* of *layer* on *accelerator*.

    Args:
        cycles: how long it takes, where that is better known than by the busiest of compute,
            memories and networks: played through in time (:mod:`simulation`), or measured.

    Raises:
        MappingError: if the mapping is not legal; the message names every rule it breaks.
    """
    broken = violations(layer, accelerator, mapping)
    if broken:
        text = "; ".join(map(str, broken))
        raise MappingError(f"layer {layer.name!r}: illegal mapping: {text}")
    ledger = Ledger(layer, accelerator, one=1.0)
    ledger.book(flows(layer, mapping, accelerator.input_reuse))
    return ledger.close(mapping, cycles)


class Channel(NamedTuple, Generic[Amount]):
    """A memory's port, or a network (or an operand's own), and what passes through all of it.

    As many work side by side as the arrays outside *level* have elements in use. Where it is
    *waited* for, the multipliers stand still meanwhile.
    """

    name: str
    level: int
    bandwidth: float  # bits per cycle of one instance
    bits: Amount  # through all instances together, in a whole layer
    by_operand: MappingABC[Operand, Amount]  # the same, of those that pass
    waited: bool = False


class Ledger(Generic[Amount]):
    """Books the flows of a mapping to the memories and arrays they touch.

    Everything booked is linear in the words of the flows, so words may be numbers, or vectors of
    coefficients over symbolic counts (the mapper prices those). *one* is what a count of one looks
    like: ``1.0``, or the unit vector of the constant.
    """

    def __init__(self, layer: Layer, accelerator: Accelerator, *, one: Amount) -> None:
        self.layer, self.accelerator = layer, accelerator
        self.levels, self.arrays = accelerator.levels, accelerator.arrays
        self.one: Amount = one
        self.effectual = effectual_fraction(layer.density, accelerator.sparse)
        self.accesses: dict[str, dict[Operand, Access[Amount]]] = {
            m: {} for m in accelerator.memories
        }
        self.hops: dict[str, dict[Operand, Access[Amount]]] = {
            array.name: {} for array in self.arrays if array
        }
        # Bits in and out of memories and over networks, whichever end is charged. A zero of its
        # own for each: *one* may be an array, which is added to in place.
        self.bits_moved: dict[tuple[str, Operand], Amount] = self._nothing_moved()
        # Of these, what the multipliers wait for: a tile for which a memory has no second place.
        self.in_time = accelerator.priced_in_time
        self.bits_waited: dict[tuple[str, Operand], Amount] = (
            self._nothing_moved() if self.in_time else {}
        )

    def _nothing_moved(self) -> dict[tuple[str, Operand], Amount]:
        places = (*self.accesses, *self.hops)
        return {(name, operand): 0.0 * self.one for name in places for operand in OPERANDS}

    def book(self, all_flows: Sequence[Flow[Amount]]) -> None:
        """Book every flow of a mapping, given operand by operand, outermost edge first."""
        for flow in all_flows:
            if flow.operand is not Operand.OUTPUT:
                self._book_factor(flow)
        self._book_output([flow for flow in all_flows if flow.operand is Operand.OUTPUT])

    @property
    def compute(self) -> float:
        """Energy of the MACs that are done."""
        layer, accelerator = self.layer, self.accelerator
        widths = layer.bits.input * layer.bits.weight / accelerator.word_bits**2
        return layer.macs * self.effectual * accelerator.compute.mac_energy * widths

    @property
    def cycles_per_step(self) -> float:
        """Cycles for one step of all elements side by side."""
        accelerator = self.accelerator
        if accelerator.sparse.zeros is ZeroSkip.SKIP:
            paired = accelerator.coded(Format.CSC)
            worked = worked_fraction(self.layer.density, accelerator.sparse, paired)
            return worked / accelerator.compute.rate
        return 1 / accelerator.compute.rate

    def close(self: Ledger[float], mapping: Mapping, taken: float | None = None) -> Cost:
        """The cost of the booked flows, which are those of *mapping*, in the cycles *taken*."""
        layer, accelerator = self.layer, self.accelerator
        steps = layer.time_steps * compute_steps(mapping) * self.cycles_per_step
        used = [mapping.used(level) for level in range(mapping.depth)]
        cycles, limit = self._latency(steps, used)
        if taken is not None:
            cycles = taken
        done = layer.macs * self.effectual
        possible = cycles * accelerator.peak
        worked = done if accelerator.sparse.zeros is ZeroSkip.SKIP else layer.macs
        return Cost(
            accesses=MappingProxyType({k: MappingProxyType(v) for k, v in self.accesses.items()}),
            hops=MappingProxyType({k: MappingProxyType(v) for k, v in self.hops.items()}),
            compute=self.compute,
            control=accelerator.control_per_cycle * cycles
            + accelerator.control.per_command * commands(layer, mapping),
            static=accelerator.static_per_cycle * cycles,
            moved=MappingProxyType(
                {
                    name: MappingProxyType({o: self.bits_moved[name, o] for o in operands})
                    for table in (self.accesses, self.hops)
                    for name, operands in table.items()
                }
            ),
            macs=layer.macs,
            effectual_macs=done,
            compute_cycles=steps,
            cycles=cycles,
            limited_by=limit,
            utilization=worked / possible if cycles else 0.0,
            active_elements=math.prod(used),
        )

    # -- booking ---------------------------------------------------------------------------

    def _memory(self, level: int, operand: Operand) -> Memory:
        memory = self.levels[level].holder(operand)
        assert memory is not None  # the rule held-operands has seen to it
        return memory

    def coded_words(self, memory: Memory, operand: Operand) -> float:
        """Words of the accelerator that one value takes when this memory sends or receives it.

        An operand whose coding would not save is left as it is, as the Eyeriss chip leaves the
        input of the first layer (JSSC'17 Table V: 0.01 % zeros).
        """
        index = OPERANDS.index(operand)
        width, density = self.layer.bits[index], self.layer.density[index]
        coded = bits_per_value(memory.formats[index], width, density, self.accelerator.sparse)
        return (min(coded, width) + self.layer.scale_bits[index]) / self.accelerator.word_bits

    def _book(
        self, memory: Memory, operand: Operand, read: Amount, write: Amount, size: float
    ) -> None:
        energy = (read * memory.read_energy + write * memory.write_energy) * size
        table = self.accesses[memory.name]
        table[operand] = _sum(table.get(operand), Access(read, write, energy))

    def _move(
        self, place: str, operand: Operand, words: Amount, size: float, waited: bool = False
    ) -> None:
        bits = words * (size * self.accelerator.word_bits)
        self.bits_moved[place, operand] += bits
        if waited:
            self.bits_waited[place, operand] += bits

    def _waited_from(self, flow: Flow[Amount]) -> int:
        """The outermost level from which on a transfer is waited for; the child's if none is.

        What a memory without a second place gets comes while the multipliers stand still, but for
        the way to where it can wait, in a double-buffered memory that it passes by.
        """
        nowhere = flow.child + 1
        if not self.in_time or self._to_mac(flow):
            return nowhere
        child = self._memory(flow.child, flow.operand)
        if child.double_buffered or (child.prefetched and flow.parent == 0):
            return nowhere
        for level in reversed(range(flow.parent + 1, flow.child)):
            passed = self.levels[level].holder(flow.operand)
            if passed is not None and passed.double_buffered:
                return level
        return flow.parent

    def _book_hops(self, array: Array, operand: Operand, words: Amount, size: float) -> None:
        table = self.hops[array.name]
        access = Access(words, 0.0 * self.one, words * (array.hop_energy * size))
        table[operand] = _sum(table.get(operand), access)

    def _pass(
        self,
        array: Array,
        operand: Operand,
        outside: Amount,
        delivered: Amount,
        size: float,
        waited: bool,
    ) -> None:
        """Words over a network: *outside* it, or *delivered* to or by the elements one by one."""
        each = array.network in (Network.UNICAST, Network.MESH)
        self._move(array.name, operand, delivered if each else outside, size, waited)

    def plain_words(self, operand: Operand) -> float:
        """Words of the accelerator that an uncoded value takes, of outputs a partial sum."""
        if operand is Operand.OUTPUT:
            return self.accelerator.psum_bits(self.layer.bits.output) / self.accelerator.word_bits
        return self.layer.stored_bits(operand) / self.accelerator.word_bits

    def _arrays(self, flow: Flow[Amount]) -> Iterator[tuple[int, Array]]:
        for level in range(flow.parent, flow.child):
            array = self.arrays[level]
            if array is not None:
                yield level, array

    def _to_mac(self, flow: Flow[Amount]) -> bool:
        return flow.child == len(self.levels)

    def _book_factor(self, flow: Flow[Amount]) -> None:
        """Inputs and weights: the parent is read, arrays pass on, the child is filled."""
        accelerator, operand = self.accelerator, flow.operand
        parent, waited = self._memory(flow.parent, operand), self._waited_from(flow)
        share, size = 1.0, self.coded_words(parent, operand)
        if self._to_mac(flow):
            size = self.plain_words(operand)
            if operand not in accelerator.sparse.charge_register_reads_of:
                share = self.effectual
        self._book(parent, operand, flow.at_parent * share, 0.0 * self.one, size)
        self._move(parent.name, operand, flow.at_parent * share, size, waited <= flow.parent)
        for level, array in self._arrays(flow):
            every = array.hop_charge is HopCharge.EVERY
            outside, inside = flow.passed(level)
            words = inside if every else flow.shared(level)
            self._book_hops(array, operand, words * share, size)  # it travels as it was coded
            self._pass(array, operand, outside * share, inside * share, size, waited <= level)
        if not self._to_mac(flow):
            child = self._memory(flow.child, operand)
            fills, size = flow.at_child * 1.0, self.coded_words(child, operand)
            self._move(child.name, operand, fills, size, waited <= flow.child)
            if accelerator.charging is Charging.BOTH_ENDS:
                self._book(child, operand, 0.0 * self.one, fills, size)

    def _book_output(self, chain: Sequence[Flow[Amount]]) -> None:
        """Partial sums go up after each stay and come back unless they start afresh.

        A stay at a level starts afresh unless the level above handed a partial sum down. Within an
        array the sums of neighbours are added on the way up, so only one of them is handed one.
        """
        accelerator, operand = self.accelerator, Operand.OUTPUT
        size = self.plain_words(operand)
        finished = self.layer.size(operand) * self.one
        stays = handed_down = 0.0 * self.one
        late = False  # whether what leaves or enters from outside is waited for
        for flow in chain:
            memory, waited = self._memory(flow.parent, operand), self._waited_from(flow)
            share = self.effectual if self._to_mac(flow) else 1.0
            outermost = flow is chain[0]
            fresh = finished if outermost else stays - handed_down
            up, down = flow.at_parent * 1.0, flow.at_parent - fresh
            if outermost:
                # What leaves for the outermost memory last is finished: output width, coded.
                coded = self.coded_words(memory, operand)
                self._book(memory, operand, 0.0 * self.one, finished, coded)
                self._book(memory, operand, down * share, (up - finished) * share, size)
                late = waited <= flow.parent
                self._move(memory.name, operand, finished, coded, late)
                self._move(memory.name, operand, (down + up - finished) * share, size, late)
            elif accelerator.charging is Charging.DEARER_END:
                # Eq. 4 of ISCA'16: the transfer to or from the level above is paid there alone.
                self._book(
                    memory, operand, (down - handed_down) * share, (up - stays) * share, size
                )
            else:
                through = 1.0 if memory.charge_drains else 0.0
                self._book(
                    memory,
                    operand,
                    stays * through + down * share,
                    handed_down * through + up * share,
                    size,
                )
            if not outermost:
                self._move(memory.name, operand, stays + handed_down, size, late)
                late = waited <= flow.parent
                self._move(memory.name, operand, (down + up) * share, size, late)
            for level, array in self._arrays(flow):
                outside, inside = flow.passed(level)
                every = array.hop_charge is HopCharge.EVERY
                hops = inside + down if every else inside - outside
                self._book_hops(array, operand, hops * share, size)
                outside, inside = (outside + down) * share, (inside + down) * share
                self._pass(array, operand, outside, inside, size, waited <= level)
            stays, handed_down = flow.at_child * 1.0, down
            late = waited <= flow.child

    def channels(self) -> Iterator[Channel[Amount]]:
        """What moves data at a limited rate, outermost first."""
        return self._channels(self.bits_moved, waited=False)

    def waits(self) -> Iterator[Channel[Amount]]:
        """Of what the channels move, what is waited for; only where time costs energy."""
        if self.in_time:
            yield from self._channels(self.bits_waited, waited=True)

    def _channels(
        self, moved: MappingABC[tuple[str, Operand], Amount], *, waited: bool
    ) -> Iterator[Channel[Amount]]:
        def channel(
            name: str, level: int, bandwidth: float, only: Operand | None = None
        ) -> Channel[Amount]:
            bits = {o: moved[name, o] for o in OPERANDS if only in (None, o)}
            return Channel(
                name=name if only is None else f"{name}.{only.value}",
                level=level,
                bandwidth=bandwidth,
                bits=sum(bits.values(), 0.0 * self.one),
                by_operand=bits,
                waited=waited,
            )

        told: set[str] = set()  # a memory may stand at several places of the nest (mapper.nests)
        for index, level in enumerate(self.levels):
            for memory in level.memories:
                if memory.bandwidth is not None and memory.name not in told:
                    told.add(memory.name)
                    yield channel(memory.name, index, memory.bandwidth)
            array = self.arrays[index]
            if array is None:
                continue
            inside = index + 1 if array.network is Network.MESH else index
            if array.bandwidth is not None:
                yield channel(array.name, inside, array.bandwidth)
            for operand, bandwidth in zip(OPERANDS, array.bandwidths, strict=True):
                if bandwidth is not None:
                    yield channel(array.name, inside, bandwidth, operand)

    def _latency(
        self: Ledger[float], compute_cycles: float, used: Sequence[int]
    ) -> tuple[float, str]:
        """The longest time, and of what, where so many elements of each array are in use."""
        longest, limit = compute_cycles, "compute"
        for channel in (*self.channels(), *self.waits()):
            instances = math.prod(used[: channel.level])
            time = channel.bits / (channel.bandwidth * instances)
            if channel.waited:
                time += compute_cycles
            if time > longest:
                longest, limit = time, channel.name
        return longest, limit


def _sum(booked: Access[Amount] | None, access: Access[Amount]) -> Access[Amount]:
    if booked is None:
        return access
    return Access(
        booked.read + access.read, booked.write + access.write, booked.energy + access.energy
    )
