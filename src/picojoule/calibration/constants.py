"""The constants of a machine by name: ``dram.read``, ``pe-array.hop``, ``control.per_cycle``.

One table says how each is looked up, put in, and written in a variant file. Energy is linear in the
energies of this table as long as mappings and times stay; time is not linear in bandwidths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from picojoule.accelerator import UNSTATED, Accelerator, Array, Level, Memory, Provenance
from picojoule.errors import PicojouleError, did_you_mean
from picojoule.workload import OPERANDS

_LONGER = {
    ".read_energy": ".read",
    ".write_energy": ".write",
    ".access_energy": ".access",
    ".hop_energy": ".hop",
    ".mac_energy": ".mac",
}
"""Endings of variant files, which mean the same."""

_NEEDS = {
    "static_power": ": it needs energies in pJ and a clock",
    "clock": ": its file states none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One number of a machine that can be fitted.

    Args:
        key: its name: ``dram.read``.
        change: its name among the changes of a variant file: ``dram.read_energy``.
        unit: of the number: pJ, MAC, W, bit/cycle, cycles or Hz.
        of_time: it sets how long things take, not what they cost.
        paths: where a machine file may state it.
        get: the number in a machine; None where it is unbounded.
        put: the machine with another number.
    """

    key: str
    change: str
    unit: str
    of_time: bool
    paths: tuple[str, ...]
    get: Callable[[Accelerator], float | None]
    put: Callable[[Accelerator, float], Accelerator]

    def origin(self, accelerator: Accelerator) -> Provenance:
        """Where the machine's number comes from."""
        stated = (origin for origin in accelerator.sources if origin.path in self.paths)
        return next(stated, Provenance(self.paths[0], "", "", UNSTATED))


def constants(accelerator: Accelerator) -> dict[str, Constant]:
    """All constants of *accelerator* by name: energies first, then what sets times.

    >>> from picojoule.specs import load_accelerator
    >>> table = constants(load_accelerator("eyeriss-pj"))
    >>> table["dram.access"].get(load_accelerator("eyeriss-pj")), table["dram.access"].unit
    (460.0, 'pJ')
    """
    table = [*_energies(accelerator), *_times(accelerator)]
    return {constant.key: constant for constant in table}


def named(keys: Sequence[str], accelerator: Accelerator) -> tuple[Constant, ...]:
    """The constants of *accelerator* that *keys* name, by a short name or that of variant files.

    Raises:
        PicojouleError: with every name that is none, is there twice, or says what another does.
    """
    table = constants(accelerator)
    chosen: dict[str, Constant] = {}
    problems = []
    for asked in keys:
        key = _short(asked.strip())
        if key not in table:
            why = _NEEDS.get(key) or did_you_mean(key, tuple(table))
            problems.append(f"{asked!r} is no constant of {accelerator.name}{why}")
        elif key in chosen:
            problems.append(f"{key} is there twice")
        else:
            chosen[key] = table[key]
    for key in chosen:
        part, _, end = key.rpartition(".")
        if end in ("read", "write") and f"{part}.access" in chosen:
            problems.append(f"{part}.access is {key} as well: name one of them")
    if not keys:
        problems.append("no constant is named")
    if problems:
        raise PicojouleError(f"{'; '.join(problems)}; there are {', '.join(table)}")
    return tuple(chosen.values())


def without_energies(accelerator: Accelerator) -> Accelerator:
    """The machine on which nothing costs energy."""
    for constant in _energies(accelerator):
        accelerator = constant.put(accelerator, 0.0)
    return accelerator


def _short(key: str) -> str:
    for longer, short in _LONGER.items():
        if key.endswith(longer):
            return key.removesuffix(longer) + short
    return key


def _energies(accelerator: Accelerator) -> Iterator[Constant]:
    unit = accelerator.energy_unit
    for path, part in _parts(accelerator):
        if isinstance(part, Array):
            yield _of_array(part.name, path, "hop_energy", unit)
        else:
            yield from _of_memory(part.name, path, unit)
    yield Constant(
        key="compute.mac",
        change="compute.mac_energy",
        unit=unit,
        of_time=False,
        paths=("$.compute.mac_energy",),
        get=lambda machine: machine.compute.mac_energy,
        put=lambda machine, value: replace(
            machine, compute=replace(machine.compute, mac_energy=value)
        ),
    )
    for name in ("per_cycle", "per_element", "per_command"):
        yield _of_control(name, unit)
    if unit == "pJ" and accelerator.clock:
        yield Constant(
            key="static_power",
            change="static_power",
            unit="W",
            of_time=False,
            paths=("$.static_power",),
            get=lambda machine: machine.static_power,
            put=lambda machine, value: replace(machine, static_power=value),
        )


def _times(accelerator: Accelerator) -> Iterator[Constant]:
    for path, part in _parts(accelerator):
        if isinstance(part, Memory):
            yield _time_of_memory(part.name, path, "bandwidth", "bit/cycle")
            yield _time_of_memory(part.name, path, "latency", "cycles")
            continue
        yield _of_array(part.name, path, "bandwidth", "bit/cycle", of_time=True)
        for index, operand in enumerate(OPERANDS):
            if part.bandwidths[index] is not None:
                yield _bandwidth_of_operand(part.name, path, operand.value)
    if accelerator.clock:
        yield Constant(
            key="clock",
            change="clock",
            unit="Hz",
            of_time=True,
            paths=("$.clock",),
            get=lambda machine: machine.clock,
            put=lambda machine, value: replace(machine, clock=value),
        )


def _parts(accelerator: Accelerator) -> Iterator[tuple[str, Array | Memory]]:
    """Arrays and memories with their places in the file, outermost first."""
    for index, part in enumerate(accelerator.nest):
        path = f"$.nest[{index}]"
        if isinstance(part, Array):
            yield path, part
        else:
            yield from ((f"{path}.memories[{n}]", one) for n, one in enumerate(part.memories))


def _changed(accelerator: Accelerator, name: str, **values: Any) -> Accelerator:
    """The machine with other values at the array or memory of that name."""

    def part(old: Level | Array) -> Level | Array:
        if isinstance(old, Array):
            return replace(old, **values) if old.name == name else old
        memories = (replace(one, **values) if one.name == name else one for one in old.memories)
        return Level(tuple(memories))

    return replace(accelerator, nest=tuple(part(old) for old in accelerator.nest))


def _of_memory(name: str, path: str, unit: str) -> Iterator[Constant]:
    for end in ("read", "write"):
        attribute = f"{end}_energy"

        def get(machine: Accelerator, attribute: str = attribute) -> float:
            return float(getattr(machine.memories[name], attribute))

        def put(machine: Accelerator, value: float, attribute: str = attribute) -> Accelerator:
            return _changed(machine, name, **{attribute: value})

        yield Constant(
            key=f"{name}.{end}",
            change=f"{name}.{attribute}",
            unit=unit,
            of_time=False,
            paths=(f"{path}.{attribute}", f"{path}.access_energy"),
            get=get,
            put=put,
        )

    def both(machine: Accelerator) -> float:
        memory = machine.memories[name]
        return (memory.read_energy + memory.write_energy) / 2

    yield Constant(
        key=f"{name}.access",
        change=f"{name}.access_energy",
        unit=unit,
        of_time=False,
        paths=tuple(f"{path}.{end}_energy" for end in ("access", "read", "write")),
        get=both,
        put=lambda machine, value: _changed(machine, name, read_energy=value, write_energy=value),
    )


def _of_array(
    name: str, path: str, attribute: str, unit: str, *, of_time: bool = False
) -> Constant:
    return Constant(
        key=f"{name}.{attribute.removesuffix('_energy')}",
        change=f"{name}.{attribute}",
        unit=unit,
        of_time=of_time,
        paths=(f"{path}.{attribute}",),
        get=lambda machine: getattr(_array(machine, name), attribute),
        put=lambda machine, value: _changed(machine, name, **{attribute: value}),
    )


def _array(accelerator: Accelerator, name: str) -> Array:
    """The array of that name."""
    parts = accelerator.nest
    return next(part for part in parts if isinstance(part, Array) and part.name == name)


def _of_control(name: str, unit: str) -> Constant:
    return Constant(
        key=f"control.{name}",
        change=f"control.{name}",
        unit=unit,
        of_time=False,
        paths=(f"$.control.{name}",),
        get=lambda machine: float(getattr(machine.control, name)),
        put=lambda machine, value: replace(
            machine, control=replace(machine.control, **{name: value})
        ),
    )


def _time_of_memory(name: str, path: str, attribute: str, unit: str) -> Constant:
    return Constant(
        key=f"{name}.{attribute}",
        change=f"{name}.{attribute}",
        unit=unit,
        of_time=True,
        paths=(f"{path}.{attribute}",),
        get=lambda machine: getattr(machine.memories[name], attribute),
        put=lambda machine, value: _changed(machine, name, **{attribute: value}),
    )


def _bandwidth_of_operand(name: str, path: str, operand: str) -> Constant:
    def put(machine: Accelerator, value: float) -> Accelerator:
        own = _array(machine, name).bandwidths._replace(**{operand: value})
        return _changed(machine, name, bandwidths=own)

    return Constant(
        key=f"{name}.bandwidths.{operand}",
        change=f"{name}.bandwidths.{operand}",
        unit="bit/cycle",
        of_time=True,
        paths=(f"{path}.bandwidths.{operand}",),
        get=lambda machine: getattr(_array(machine, name).bandwidths, operand),
        put=put,
    )
