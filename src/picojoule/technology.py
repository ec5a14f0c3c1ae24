"""An accelerator at another node of technology.

Every number is scaled by what :mod:`picojoule.components` says of a component of its kind and size
at both nodes, each kind by its own ratio. What is off the chip stays as it is: a DRAM is a die of
its own, and which one it is decides. An outermost memory whose bits cost less than those of any
DRAM is on the chip. Time is left alone: clock and bandwidths stay as stated.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace

from picojoule.accelerator import (
    UNSTATED,
    Accelerator,
    Array,
    ComponentSpec,
    Compute,
    Control,
    Level,
    Memory,
    Provenance,
)
from picojoule.components import Component, checked_node, component, show_node
from picojoule.components.catalogue import per_word
from picojoule.components.memories import LARGEST, dram, dram_kinds
from picojoule.components.nodes import logic_area, logic_energy
from picojoule.components.rows import rounded
from picojoule.errors import PicojouleError

_UNBOUNDED = 2.0**23  # bits: what a memory on the chip without a capacity scales as
_ONE_WORD_A_ROW = 2.0**16  # bits, 8 KiB: a larger memory has rows of 64 bit, if nobody says


def resolved(
    spec: ComponentSpec,
    node: float | None,
    *,
    word: int,
    capacity: float | None = None,
    sum_bits: int | None = None,
) -> Component:
    """The component that *spec* names in a machine of *node*, energies for a word of *word* bits.

    Raises:
        PicojouleError: neither says the node, or there are no numbers for it.
    """
    width = spec.width or word
    at = spec.node or node
    if at is None:
        raise PicojouleError(
            "say the node: in the component, or for the whole machine (node: 65nm)"
        )
    part = component(
        spec.kind,
        node=at,
        width=width,
        capacity=capacity,
        ports=spec.ports or 1,
        length=spec.length,
        sum_bits=sum_bits,
    )
    energies = {action: per_word(x, width, word) for action, x in part.energies.items()}
    return replace(part, energies=energies)


def taken_as(memory: Memory, word: int) -> ComponentSpec:
    """What a memory on the chip is taken as that names no component: its row is a word, or 64 bit.

    >>> taken_as(Memory("m", keeps=frozenset(), capacity=2**20, read_energy=1, write_energy=1), 16)
    ComponentSpec(kind='register-file', node=None, width=64, ports=None, length=None)
    """
    small = memory.capacity is not None and memory.capacity <= _ONE_WORD_A_ROW
    return ComponentSpec(kind="register-file", width=word if small else max(word, 64))


# -- another node ----------------------------------------------------------------------------------


def at_node(accelerator: Accelerator, node: float) -> Accelerator:
    """*accelerator* made at *node* nanometres, with energies in pJ.

    Raises:
        PicojouleError: it does not say which node its numbers are for, or nobody says what its unit
            of energy is in joules, or there are no numbers for one of the nodes.
    """
    checked_node(node)
    if accelerator.node is None:
        raise PicojouleError(
            f"{accelerator.name} does not say which node its numbers are for, so they cannot be "
            "scaled to another; add it to its file, as in node: 65nm"
        )
    checked_node(accelerator.node)
    if accelerator.unit_picojoules is None:
        raise PicojouleError(
            f"nobody says what {accelerator.name}'s unit of energy is in joules, so it cannot be "
            "taken to another node; add unit_energy to its file"
        )
    return _Scaling(accelerator, node).accelerator()


@dataclass
class _Scaling:
    """One machine on its way to *node*."""

    machine: Accelerator
    node: float
    stated: dict[str, Provenance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stated = {origin.path: origin for origin in self.machine.sources}
        assert self.machine.node is not None  # at_node has seen to it
        assert self.machine.unit_picojoules is not None
        self.before, self.each = self.machine.node, self.machine.unit_picojoules

    def accelerator(self) -> Accelerator:
        machine = self.machine
        nest = tuple(
            self._array(part, f"$.nest[{n}]")
            if isinstance(part, Array)
            else Level(
                tuple(
                    self._memory(
                        memory,
                        f"$.nest[{n}].memories[{i}]",
                        outside=n == 0 and self._is_dram(memory),
                    )
                    for i, memory in enumerate(part.memories)
                )
            )
            for n, part in enumerate(machine.nest)
        )
        compute = self._compute(machine.compute)
        power = self._logic("$.static_power", machine.static_power, 1.0, "W")
        control = Control(
            **{
                key: self._logic(f"$.control.{key}", amount, self.each, "pJ")
                for key, amount in asdict(machine.control).items()
            }
        )
        self.stated.pop("$.unit_energy", None)
        self.stated["$.node"] = Provenance(
            "$.node",
            show_node(self.node),
            f"asked for; the file is for {show_node(self.before)}",
            "derived",
        )
        stem = machine.name.removesuffix(f"-{self.before:g}nm")
        return replace(
            machine,
            name=f"{stem[:50]}-{self.node:g}nm",
            description=f"{machine.description} Here taken to {show_node(self.node)}, in joules.",
            nest=nest,
            compute=compute,
            static_power=power,
            control=control,
            energy_unit="pJ",
            unit_energy=None,
            node=self.node,
            sources=tuple(self.stated.values()),
        )

    def _is_dram(self, memory: Memory) -> bool:
        """Whether a bit costs as much as that of some DRAM, or more: no SRAM on the chip does."""
        cheapest = min(dram(kind, 1).read for kind in dram_kinds())
        return self.each * memory.read_energy / self.machine.word_bits >= cheapest

    def _memory(self, memory: Memory, path: str, *, outside: bool) -> Memory:
        if memory.read_energy == memory.write_energy and f"{path}.read_energy" not in self.stated:
            keys = {"access_energy": "read"}
        else:
            keys = {"read_energy": "read", "write_energy": "write"}
        amounts = {"read": memory.read_energy, "write": memory.write_energy}
        energies = {}
        for key, action in keys.items():
            place = f"{path}.{key}"
            if outside:
                energies[action] = self._kept(place, amounts[action])
            else:
                spec = self._spec(place) or taken_as(memory, self.machine.word_bits)
                energies[action] = self._energy(
                    place, amounts[action], spec, action, capacity=_size(memory)
                )
        read = energies["read"]
        return replace(memory, read_energy=read, write_energy=energies.get("write", read))

    def _array(self, array: Array, path: str) -> Array:
        place = f"{path}.hop_energy"
        if not array.hop_energy:
            return array
        spec = self._spec(place) or ComponentSpec(kind="wire", length=1.0)
        return replace(array, hop_energy=self._energy(place, array.hop_energy, spec, "hop"))

    def _compute(self, compute: Compute) -> Compute:
        place = "$.compute.mac_energy"
        spec = self._spec(place) or ComponentSpec(kind="mac")
        energy = self._energy(place, compute.mac_energy, spec, "mac", sum_bits=compute.psum_bits)
        return replace(compute, mac_energy=energy)

    def _spec(self, path: str) -> ComponentSpec | None:
        return self.stated[path].component if path in self.stated else None

    def _energy(
        self,
        path: str,
        amount: float,
        spec: ComponentSpec,
        action: str,
        *,
        capacity: float | None = None,
        sum_bits: int | None = None,
    ) -> float:
        """What stands at *path*, which scales as *spec* does, in pJ at the new node."""
        word = self.machine.word_bits
        before = resolved(spec, self.before, word=word, capacity=capacity, sum_bits=sum_bits)
        moved = self._moved(spec)
        after = resolved(moved, self.node, word=word, capacity=capacity, sum_bits=sum_bits)
        ratio = after.energies[action] / before.energies[action]
        exact = rounded(self.each * amount) == before.energies[action]
        energy = after.energies[action] if exact else rounded(self.each * amount * ratio)
        how = f"{ratio:.3g} times, as a {before.name}: {after.source}"
        if exact and self._spec(path):
            self.stated[path] = Provenance(
                path, _picojoules(energy), f"{after.name}: {after.source}", after.status, moved
            )
        else:
            self._note(path, _picojoules(energy), how, after.status)
        return energy

    def _moved(self, spec: ComponentSpec) -> ComponentSpec:
        """*spec* at the new node: a wire is as much shorter as what lies between its ends."""
        node = self.node if spec.node else None
        if spec.length is None:
            return replace(spec, node=node)
        shrunk = math.sqrt(logic_area(self.node, spec.node or self.before))
        return replace(spec, node=node, length=rounded(spec.length * shrunk))

    def _kept(self, path: str, amount: float) -> float:
        energy = rounded(self.each * amount)
        spec = self._spec(path)
        if spec is None:
            how = "unchanged: off the chip, where its kind decides and not the chip's node"
            self._note(path, _picojoules(energy), how, "derived")
        else:
            self.stated[path] = self.stated[path]._replace(value=_picojoules(energy))
        return energy

    def _logic(self, path: str, amount: float, each: float, unit: str) -> float:
        """What scales as logic does, for want of a better source."""
        if not amount:
            return amount
        ratio = logic_energy(self.node, self.before)
        value = rounded(amount * each * ratio)
        how = f"{ratio:.3g} times, as the energy of logic (Stillmaker and Baas 2017)"
        self._note(path, f"{value!r} {unit}", how, "assumed")
        return value

    def _note(self, path: str, value: str, how: str, status: str) -> None:
        """Say at *path* what was done there, and what it was done to."""
        origin = self.stated.get(path)
        was = f"; at {show_node(self.before)}: "
        if origin is None or origin.status == UNSTATED:
            was += "of no stated source"
            status = "assumed"
        else:
            was += f"{origin.value} ({origin.status}), {origin.source}"
            status = "assumed" if "assumed" in (status, origin.status) else "derived"
        what = f"from {show_node(self.before)} to {show_node(self.node)} {how}{was}"
        if self.node == self.before:
            what = f"in joules{was}"
        self.stated[path] = Provenance(path, value, what, status)


def _size(memory: Memory) -> float:
    """The capacity that a memory scales as."""
    return min(memory.capacity or _UNBOUNDED, LARGEST / 2)


def _picojoules(energy: float) -> str:
    return f"{energy:g} pJ" if float(f"{energy:g}") == energy else f"{energy!r} pJ"
