"""Components that a machine file names in place of energies: each becomes the number it stands for.

What the entry leaves open the machine decides: its node, its words, a memory's capacity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from picojoule.accelerator import ComponentSpec
from picojoule.components import KINDS, Component
from picojoule.errors import PicojouleError, did_you_mean
from picojoule.specs.document import child
from picojoule.specs.grammar import ArrayPart, LevelPart, MachineFile
from picojoule.specs.quantities import Energy
from picojoule.technology import resolved

# What a key of the file is the energy of, and what may be said of such a component.
_ACTIONS = {
    "read_energy": "read",
    "write_energy": "write",
    "hop_energy": "hop",
    "mac_energy": "mac",
}
_SAID: Mapping[str, tuple[str, ...]] = {
    "sram": ("node", "width", "ports"),
    "register-file": ("node", "width", "ports"),
    "mac": ("node",),
    "wire": ("node", "length"),
}
_STANDS_FOR = {"mac": ("mac",), "wire": ("hop",)}  # all others: reads and writes


def with_components(file: MachineFile) -> tuple[MachineFile, tuple[tuple[str, str], ...]]:
    """*file* with every component resolved, and the mistakes in them as (path, message)."""
    mistakes = list[tuple[str, str]]()
    word = int(file.word_bits.amount("")) if file.word_bits else 16
    node = file.node.amount("") if file.node else None

    def part(
        entry: BaseModel, path: str, *, capacity: float | None = None, sum_bits: int | None = None
    ) -> dict[str, Any]:
        """What changes in *entry*."""
        changes: dict[str, Any] = {}
        for key, energy in _entries(entry):
            place = child(path, key)
            try:
                spec = _spec(energy, key)
                component = resolved(spec, node, word=word, capacity=capacity, sum_bits=sum_bits)
                changes |= _numbers(energy, key, component, file)
            except PicojouleError as error:
                mistakes.append((place, str(error)))
        return changes

    nest = list[Any]()
    for n, item in enumerate(file.nest):
        path = f"$.nest[{n}]"
        if isinstance(item, ArrayPart):
            nest.append(item.model_copy(update=part(item, path)))
            continue
        memories = []
        for i, memory in enumerate(item.memories):
            size = memory.capacity.amount("") if memory.capacity else None
            changes = part(memory, f"{path}.memories[{i}]", capacity=size)
            memories.append(memory.model_copy(update=changes))
        nest.append(LevelPart.model_construct(memories=tuple(memories)))
    compute, bits = file.compute, file.compute.psum_bits
    changes = part(compute, "$.compute", sum_bits=bits.amount("") if bits else None)
    update = {"nest": tuple(nest), "compute": compute.model_copy(update=changes)}
    for key, _ in _entries(file.control):
        mistakes.append((f"$.control.{key}", "no component stands for control: give an energy"))
    return file.model_copy(update=update), tuple(mistakes)


def _entries(entry: BaseModel) -> Iterator[tuple[str, Energy]]:
    """The energies of *entry* that name a component."""
    for key in type(entry).model_fields:
        value = getattr(entry, key)
        if isinstance(value, Energy) and value.component is not None:
            yield key, value


def _spec(energy: Energy, key: str) -> ComponentSpec:
    """The component as a record.

    Raises:
        PicojouleError: there is none such, it does not stand for such an energy, or something is
            said that has no effect.
    """
    kind = energy.component or ""
    if kind not in KINDS:
        near = did_you_mean(kind, tuple(KINDS))
        raise PicojouleError(f"no component {kind!r}{near}; there are {', '.join(KINDS)}")
    action = _ACTIONS.get(key, "read")
    if action not in _STANDS_FOR.get(kind, ("read", "write")):
        raise PicojouleError(f"a component {kind!r} has no energy of this kind")
    for name in ("node", "width", "ports", "length"):
        if getattr(energy, name) is not None and name not in _SAID.get(kind, ()):
            raise PicojouleError(f"{name} has no effect on a component {kind!r}")
    return energy.spec()


def _numbers(
    energy: Energy, key: str, component: Component, file: MachineFile
) -> dict[str, Energy | None]:
    """The entries of the file that *component* fills in for that of *key*."""
    if key != "access_energy":
        return {key: _number(energy, component, _ACTIONS[key], file)}
    read, write = (_number(energy, component, action, file) for action in ("read", "write"))
    if read.value == write.value:
        return {key: read}
    return {key: None, "read_energy": read, "write_energy": write}


def _number(energy: Energy, component: Component, action: str, file: MachineFile) -> Energy:
    amount = component.energies[action]
    if file.energy_unit == "MAC":
        if file.unit_energy is None:
            raise PicojouleError(
                "components are in joules: say what a MAC is (unit_energy), or count in pJ "
                "(energy_unit)"
            )
        amount /= file.unit_energy.amount("")
    return energy.model_copy(
        update={
            "value": Energy.write(amount, file.energy_unit),
            "source": f"{component.name}: {component.source}",
            "status": component.status,
        }
    )
