"""The accelerator: memories, arrays of processing elements, and what an action on each costs.

An :class:`Accelerator` is a nest, outermost first: memory levels with arrays between them::

    Level(dram) > Level(buffer) > Array(12 x 14) > Level(input spad, weight spad, psum spad)

A :class:`Level` is one position in the loop nest; its memories share tile boundaries but may hold
different operands (one shared register file, or one scratchpad per operand). An :class:`Array`
multiplies everything inside it in space. The multipliers sit inside the innermost level.

All energies are for one word of ``word_bits`` bits and scale linearly with the width actually
moved; capacities and bandwidths are in bits (CVPR'17 §2, bit width).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from picojoule import dataflow as dataflows
from picojoule.dataflow import Dataflow, MappingRule
from picojoule.display import Displayed
from picojoule.workload import DIMS, OPERANDS, Dim, Operand, PerOperand


class Format(Enum):
    """How a memory codes the values it sends to its child or receives from it."""

    DENSE = "dense"
    BITMAP = "bitmap"  # significance map: one flag bit per value, then the non-zero values
    RUN_LENGTH = "run-length"  # (run, value) pairs packed into words, as on the Eyeriss chip
    CSC = "csc"  # compressed sparse column: (count, value) pairs, as in Eyeriss v2


class Charging(Enum):
    """Which end of a transfer pays.

    DEARER_END: once, at the memory further out (ISCA'16 §VI-C, Eq. 3 and 4).
    BOTH_ENDS: the source is read and the destination is written (component models).
    """

    DEARER_END = "dearer-end"
    BOTH_ENDS = "both-ends"


class Network(Enum):
    """How words travel between the memory outside an array and the elements in it.

    It says what a transfer takes of the network's bandwidth (energies follow ``HopCharge``).

    UNICAST: each element is sent its own copy.
    MULTICAST: one word on a bus serves every element that needs it, and partial sums are added up
    before they leave (Eyeriss).
    SYSTOLIC: a word enters at the edge and is handed from neighbour to neighbour; takes as much as
    multicast, but the last element starts as many cycles late as the array is long (TPU).
    MESH: a hierarchical mesh: every element has a router of its own, routers work side by side,
    and each takes in what its element needs (Eyeriss v2).
    """

    UNICAST = "unicast"
    MULTICAST = "multicast"
    SYSTOLIC = "systolic"
    MESH = "hierarchical-mesh"


class HopCharge(Enum):
    """When a word that passes through an array's network costs energy.

    SHARED: only where neighbours share it, by multicast or by spatial accumulation; a word for
    a single element goes straight there (ISCA'16 Eq. 3: the array term is dropped without reuse).
    EVERY: each word into and out of each element.
    """

    SHARED = "shared"
    EVERY = "every"


@dataclass(frozen=True, slots=True)
class Memory:
    """A storage.

    Args:
        name: unique within the accelerator.
        keeps: operands it can hold.
        capacity: bits that a tile may take in one instance; None is unbounded.
        read_energy, write_energy: for one word of the accelerator's ``word_bits``.
        bandwidth: bits per cycle of one instance, reads and writes together; None is unbounded.
        refetches: when one of these loops outside advances, the tile of inputs is fetched anew, all
            of it, even where (a part of) it is there: a chip that does not keep a window's overlap,
            or passes its inputs by again for each set of filters (M).
        charge_drains: where both ends are charged, whether a partial sum that comes from outside or
            leaves for it costs an access here, beside those of the additions to it.
        double_buffered: besides the tile in use there is room for the next, which arrives
            meanwhile; an operand that passes the memory by can wait in it on its way. Otherwise the
            next tile waits until the present one is done with. Only the simulation looks at it.
        latency: cycles from when a transfer into it, or of sums out of it, may begin until its
            first word moves; they keep no channel busy. Only the simulation looks at it.
        prefetched: what it gets from the outermost level comes ahead, whenever channels are idle,
            and first while the layer before runs: no layer waits for that, though none takes less
            than all its transfers. Only the simulation looks at it.
        may_bypass: operands that a mapping may send past it.
        formats: coding of each operand's transfers at this memory where that saves; dense by
            default.
    """

    name: str
    _: KW_ONLY
    keeps: frozenset[Operand]
    capacity: float | None
    read_energy: float
    write_energy: float
    bandwidth: float | None = None
    may_bypass: frozenset[Operand] = frozenset()
    formats: PerOperand[Format] = PerOperand(Format.DENSE, Format.DENSE, Format.DENSE)
    refetches: frozenset[Dim] = frozenset()
    charge_drains: bool = True
    double_buffered: bool = False
    prefetched: bool = False
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class Level:
    """One position of the loop nest: memories that hold disjoint sets of operands."""

    memories: tuple[Memory, ...]

    @property
    def name(self) -> str:
        return "+".join(memory.name for memory in self.memories)

    @property
    def keeps(self) -> frozenset[Operand]:
        """Operands that some memory of this level can hold."""
        return frozenset(o for memory in self.memories for o in memory.keeps)

    @property
    def may_bypass(self) -> frozenset[Operand]:
        """Operands that a mapping may send past this level."""
        return frozenset(o for memory in self.memories for o in memory.may_bypass)

    def holder(self, operand: Operand) -> Memory | None:
        """The memory of this level that can hold *operand*."""
        for memory in self.memories:
            if operand in memory.keeps:
                return memory
        return None


@dataclass(frozen=True, slots=True)
class Axis:
    """One physical dimension of an array: its length, and the loops that may run along it.

    Args:
        forwards: operands (inputs, so far) that elements hand to their neighbours along it. While
            the taps of the window run that is spread over it, innermost above the array, a word
            that one element has had is handed on to the next that needs it: a hop is paid, and only
            the new row or column comes from outside (FIFOs as long as the taps, as in ShiDianNao).
    """

    name: str
    size: int
    dims: frozenset[Dim] = frozenset(DIMS)
    forwards: frozenset[Operand] = frozenset()


@dataclass(frozen=True, slots=True)
class Array:
    """Copies of everything inside, connected by a network.

    The network multicasts: a word that several elements need is read once from the memory outside
    and delivered to each. It accumulates: partial sums of neighbours are added on their way out.

    Args:
        hop_energy: for one word passed to one element.
        hop_charge: which words pay it.
        bandwidth: bits per cycle of the network, all operands in both directions together; of a
            mesh, of one element's router. None is unbounded.
        network: what a transfer takes of the bandwidths.
        bandwidths: where each operand has a network of its own, the bits per cycle of each.
    """

    name: str
    axes: tuple[Axis, ...]
    _: KW_ONLY
    hop_energy: float = 0.0
    hop_charge: HopCharge = HopCharge.SHARED
    bandwidth: float | None = None
    network: Network = Network.MULTICAST
    bandwidths: PerOperand[float | None] = PerOperand(None, None, None)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(axis.size for axis in self.axes)


class InputReuse(NamedTuple):
    """How a machine reuses inputs, level by level; by default as well as can be, without forwards.

    Args:
        padded: zeros of the padding are words (ISCA'16), instead of left out.
        refetches: of the memory for inputs at each level.
        handed_on: taps whose inputs the array beneath each level hands from element to element.
    """

    padded: bool = False
    refetches: tuple[frozenset[Dim], ...] = ()
    handed_on: tuple[frozenset[Dim], ...] = ()


PLAIN_REUSE = InputReuse()  # of a machine that says nothing about inputs
TAPS = {Dim.P: Dim.R, Dim.Q: Dim.S}
"""The tap of the window of each dimension of outputs."""


class ZeroSkip(Enum):
    """What becomes of a MAC with a zero factor.

    NONE: it is done. GATE: it costs neither energy nor register accesses, but its cycle passes
    (Eyeriss). SKIP: its cycle is saved as well (Eyeriss v2).
    """

    NONE = "none"
    GATE = "gate"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseSupport:
    """How zeros are used.

    Args:
        zeros: what becomes of a MAC with a zero factor.
        of: operands whose zeros are seen (input, weight, or both).
        run_bits: width of the run field of run-length coding.
        count_bits: width of the count field of CSC.
        charge_register_reads_of: operands whose register is read even where the MAC is gated,
            to find the zero.
    """

    zeros: ZeroSkip = ZeroSkip.NONE
    of: frozenset[Operand] = frozenset()
    run_bits: int = 5
    count_bits: int = 4
    charge_register_reads_of: frozenset[Operand] = frozenset()


@dataclass(frozen=True, slots=True)
class Compute:
    """The multiplier-accumulator.

    Args:
        mac_energy: of one MAC of ``word_bits`` x ``word_bits``; it scales with the product of the
            operand widths (CVPR'17 §2).
        per_cycle: MACs that an element does side by side.
        psum_bits: width of a partial sum; None: as wide as the output.
        cycles: that these take: of a bit-serial multiplier one for each bit; where a multiplier
            serves the places of a block one after another, whether filled or not, one for each
            place (the places are the elements).
    """

    mac_energy: float
    per_cycle: int = 1
    psum_bits: int | None = None
    cycles: int = 1

    @property
    def rate(self) -> float:
        """MACs per element and cycle."""
        return self.per_cycle / self.cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What clock and control take, whichever words move; energies in the accelerator's unit.

    Args:
        per_cycle: of the whole machine, each cycle.
        per_element: of each element, in use or not, each cycle.
        per_command: of each tile that the outermost level hands inward: one transfer to start,
            one configuration to write.
    """

    per_cycle: float = 0.0
    per_element: float = 0.0
    per_command: float = 0.0


UNSTATED = "unstated"
"""Status of a number of which nobody says where it comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """A component as a machine file names it; what is None there, the machine decides.

    Args:
        kind: of :data:`components.KINDS`.
        node: in nanometres.
        width: bits of one action.
        ports: of an SRAM.
        length: of a wire, in millimetres.
    """

    kind: str
    node: float | None = None
    width: int | None = None
    ports: int | None = None
    length: float | None = None


class Provenance(NamedTuple):
    """Where a number of an accelerator, or a rule of its mappings, comes from."""

    path: str
    value: str
    source: str
    status: str  # "published", "derived", "assumed", "fitted" or UNSTATED
    component: ComponentSpec | None = None  # that the file names in place of a number


def stands_for(policy: str, rules: Sequence[Provenance]) -> str:
    """What numbers stand for: a bound for the machine, or what a chip with these *rules* does.

    >>> stands_for("best", [])
    'a bound for the machine: its best mappings, which a chip may miss'
    """
    if policy == "best":
        return "a bound for the machine: its best mappings, which a chip may miss"
    short = {"rule": "{0.value}", "nest": "{0.path}"}
    kept = ", ".join(short.get(x.path, "{0.path} = {0.value}").format(x) for x in rules)
    return f"what a chip does whose mappings keep to the published rules ({kept})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedChange:
    """What a published mapping uses differently from what the machine could do.

    Args:
        target: a number or option of the machine, as ``changes`` of a machine file name it.
        to: what it is instead, as JSON.
    """

    target: str
    to: str
    source: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """How a machine is used under its published mappings (``--mapping published``).

    Args:
        rules: what mappings keep to, beside those of the machine's dataflow.
        changes: what of the machine is used differently.
    """

    rules: tuple[MappingRule, ...] = ()
    changes: tuple[PublishedChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Accelerator(Displayed):
    """An accelerator: its nest of levels and arrays, outermost first, and its conventions.

    Args:
        energy_unit: "MAC" (multiples of one MAC of ``word_bits``) or "pJ".
        unit_energy: picojoules of the unit "MAC", where somebody says; no search looks at it.
        node: nanometres of the technology that the energies are for; no search looks at it.
        word_bits: the width that all energies refer to.
        resident_images: a batch runs in sets of as many images as the level below the outermost
            can hold the layer's finished output maps of (at least one); weights are fetched anew
            for each set. By default the whole batch is one set.
        charge_padding: the input is stored and moved with its padding zeros, as ISCA'16 does.
        fold_strides: it has no strides of its own: rows and columns side by side are folded into
            channels, with filters filled up with zeros (:func:`equivalents.folded_strides`).
        winograd: 3 x 3 filters of stride 1 run as Winograd's F(2 x 2, 3 x 3)
            (:func:`equivalents.winograd`), after strides are folded.
        control: what clock and control take.
        static_power: watts drawn whatever happens; counted only in pJ with a clock.
        clock: hertz.
        default_between: "keep" tensors on the chip if nobody asks otherwise, or not ("dram").
        compiler: how the machine's own compiler maps a layer, where somebody knows
            (:mod:`processing_passes`); no search looks at it.
        published: how its published mappings use it; :func:`question.ask` puts it in force.
        sources: for every number of the file, where it comes from.
    """

    name: str
    nest: tuple[Level | Array, ...]
    _: KW_ONLY
    compute: Compute
    energy_unit: str = "MAC"
    unit_energy: float | None = None
    node: float | None = None
    word_bits: int = 16
    charging: Charging = Charging.DEARER_END
    charge_padding: bool = False
    fold_strides: bool = False
    winograd: bool = False
    resident_images: bool = False
    sparse: SparseSupport = SparseSupport()
    control: Control = Control()
    static_power: float = 0.0
    clock: float | None = None
    default_dataflow: str = "flexible"
    default_between: str = "dram"
    compiler: str | None = None
    description: str = ""
    published: Published = Published()
    sources: tuple[Provenance, ...] = field(default=(), repr=False, compare=False)

    def __repr__(self) -> str:
        parts = (
            part.name if isinstance(part, Level) else " x ".join(str(x.size) for x in part.axes)
            for part in self.nest
        )
        return f"<Accelerator {self.name}: {' > '.join(parts)}, in {self.energy_unit}>"

    @property
    def levels(self) -> tuple[Level, ...]:
        """Memory levels, outermost first."""
        return tuple(part for part in self.nest if isinstance(part, Level))

    @property
    def arrays(self) -> tuple[Array | None, ...]:
        """For each level, the array between it and the next level (or the multipliers), if any."""
        arrays: list[Array | None] = []
        for part in self.nest:
            if isinstance(part, Level):
                arrays.append(None)
            else:
                arrays[-1] = part
        return tuple(arrays)

    @property
    def elements(self) -> int:
        """Number of processing elements: the product of all arrays."""
        return math.prod(part.size for part in self.nest if isinstance(part, Array))

    @property
    def peak(self) -> float:
        """MACs per cycle of all elements together."""
        return self.elements * self.compute.rate

    @property
    def control_per_cycle(self) -> float:
        """Energy of clock and control in each cycle."""
        return self.control.per_cycle + self.control.per_element * self.elements

    @property
    def static_per_cycle(self) -> float:
        """Energy drawn in each cycle whatever happens."""
        return self.static_power * 1e12 / self.clock if self.clock else 0.0

    @property
    def drawn_per_cycle(self) -> float:
        """Energy that time takes, whatever is done in it."""
        return self.control_per_cycle + self.static_per_cycle

    @property
    def time_costs(self) -> bool:
        """Whether energy depends on how long a layer takes, or in how many pieces."""
        return self.drawn_per_cycle > 0 or self.control.per_command > 0

    def coded(self, coding: Format) -> frozenset[Operand]:
        """Operands that some memory codes so."""
        return frozenset(
            operand
            for memory in (m for level in self.levels for m in level.memories)
            for operand in memory.keeps
            if memory.formats.of(operand) is coding
        )

    def sees_zeros(self, operand: Operand) -> bool:
        """Whether zeros of *operand* change anything: MACs are gated, or a memory codes them."""
        gated = self.sparse.zeros is not ZeroSkip.NONE and operand in self.sparse.of
        formats = (m.formats.of(operand) for x in self.levels if (m := x.holder(operand)))
        return gated or any(coding is not Format.DENSE for coding in formats)

    @property
    def unit_picojoules(self) -> float | None:
        """What one of its units of energy is in picojoules; None where nobody says."""
        return 1.0 if self.energy_unit == "pJ" else self.unit_energy

    @property
    def mac_picojoules(self) -> float | None:
        """What one MAC of ``word_bits`` costs in picojoules; None where nobody says."""
        each = self.unit_picojoules
        return None if each is None else each * self.compute.mac_energy

    @property
    def joules_rest_on(self) -> Provenance:
        """Where the number comes from that its joules rest on: the energy of a MAC."""
        path = "$.compute.mac_energy" if self.energy_unit == "pJ" else "$.unit_energy"
        stated = (origin for origin in self.sources if origin.path == path)
        return next(stated, Provenance(path, "", "", UNSTATED))

    @property
    def bandwidths_known(self) -> bool:
        """Whether any memory or network has a bandwidth; without one, time is computation alone."""
        return any(
            any(memory.bandwidth is not None for memory in part.memories)
            if isinstance(part, Level)
            else any(limit is not None for limit in (part.bandwidth, *part.bandwidths))
            for part in self.nest
        )

    @property
    def input_reuse(self) -> InputReuse:
        """How inputs are reused, level by level."""
        holders = [level.holder(Operand.INPUT) for level in self.levels]
        return InputReuse(
            padded=self.charge_padding,
            refetches=tuple(x.refetches if x else frozenset() for x in holders),
            handed_on=tuple(
                frozenset(TAPS[d] for d in _forwarding(array) if d in TAPS) for array in self.arrays
            ),
        )

    @property
    def priced_in_time(self) -> bool:
        """Whether time costs energy, and bandwidths say what mappings take played through."""
        return self.drawn_per_cycle > 0 and self.bandwidths_known

    @property
    def memories(self) -> Mapping[str, Memory]:
        """All memories by name, outermost first."""
        return MappingProxyType({m.name: m for level in self.levels for m in level.memories})

    def dataflow(self, asked: str | Dataflow | None = None) -> Dataflow:
        """The dataflow *asked* for, by name or as it is; by default the accelerator's own.

        Raises:
            PicojouleError: there is none of that name.
        """
        if isinstance(asked, Dataflow):
            return asked
        return dataflows.dataflow(asked or self.default_dataflow)

    def psum_bits(self, output_bits: int) -> int:
        """Width of a partial sum of outputs of *output_bits*."""
        return self.compute.psum_bits or output_bits

    def problems(self) -> tuple[tuple[str, str], ...]:
        """What makes this accelerator impossible, as (path, message); empty if nothing does."""
        problems: list[tuple[str, str]] = []
        if not self.nest or not isinstance(self.nest[0], Level):
            return (("$.nest", "the outermost part must be a memory level"),)
        if self.levels[0].keeps != frozenset(OPERANDS) or self.levels[0].may_bypass:
            problems.append(("$.nest[0]", "the outermost level must hold all three operands"))
        if any(memory.capacity is not None for memory in self.levels[0].memories):
            problems.append(
                ("$.nest[0]", "the outermost level is unbounded: leave its capacity out")
            )
        names = [part.name for part in self.nest if isinstance(part, Array)]
        names += [memory.name for level in self.levels for memory in level.memories]
        problems += [
            ("$.nest", f"the name {name!r} is used twice")
            for name in sorted(set(names))
            if names.count(name) > 1
        ]
        for index, part in enumerate(self.nest):
            if isinstance(part, Array):
                if isinstance(self.nest[index - 1], Array):
                    problems.append((f"$.nest[{index}]", "two arrays in a row: give one more axes"))
                if any(isinstance(x, Array) for x in self.nest[:index]) and _forwarding(part):
                    inner = "only the outermost array can forward inputs"
                    problems.append((f"$.nest[{index}].axes", inner))
                problems += [
                    (
                        f"$.nest[{index}].axes",
                        f"{dim.value} may run along an axis that forwards inputs and along one "
                        "that does not: say with loops where it runs",
                    )
                    for dim in TAPS
                    if dim in _forwarding(part) & _forwarding(part, forwarding=False)
                ]
            else:
                kept = [operand for memory in part.memories for operand in memory.keeps]
                problems += [
                    (f"$.nest[{index}]", f"two memories of one level keep the {operand.value}")
                    for operand in OPERANDS
                    if kept.count(operand) > 1
                ]
        return tuple(problems)


def _forwarding(array: Array | None, *, forwarding: bool = True) -> frozenset[Dim]:
    """Loops that may run along an axis that forwards inputs, or along one that does not."""
    axes = array.axes if array else ()
    return frozenset[Dim]().union(
        *(axis.dims for axis in axes if (Operand.INPUT in axis.forwards) is forwarding)
    )
