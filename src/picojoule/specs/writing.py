"""From an accelerator to a file that reads as an equal one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from picojoule.accelerator import (
    UNSTATED,
    Accelerator,
    Array,
    Axis,
    ComponentSpec,
    Format,
    Level,
    Memory,
    Published,
    SparseSupport,
)
from picojoule.errors import UnitError
from picojoule.specs.quantities import (
    Bandwidth,
    Capacity,
    Count,
    Cycles,
    Energy,
    Frequency,
    Length,
    Node,
    Picojoules,
    Power,
    Quantity,
    RowWidth,
    Width,
)
from picojoule.workload import DIMS, OPERANDS


def dump_accelerator(accelerator: Accelerator) -> str:
    """What :func:`machines.dump_accelerator` returns."""
    written = _Written(accelerator)
    number = written.number
    power = accelerator.static_power if written.unit == "pJ" and accelerator.clock else 0.0
    stated = power or "$.static_power" in written.sources
    between = accelerator.default_between
    document = _given(
        name=accelerator.name,
        description=accelerator.description or None,
        energy_unit=written.unit,
        unit_energy=number(Picojoules, "$.unit_energy", accelerator.unit_energy),
        node=number(Node, "$.node", accelerator.node),
        word_bits=number(Width, "$.word_bits", accelerator.word_bits),
        charging=accelerator.charging.value,
        charge_padding=accelerator.charge_padding,
        fold_strides=True if accelerator.fold_strides else None,
        winograd=True if accelerator.winograd else None,
        resident_images=accelerator.resident_images,
        clock=number(Frequency, "$.clock", accelerator.clock),
        static_power=number(Power, "$.static_power", power if stated else None),
        control=written.control(),
        default_dataflow=accelerator.default_dataflow,
        default_between=between if between != "dram" else None,
        compiler=accelerator.compiler,
        sparse=written.sparse(),
        compute=written.compute(),
        nest=[
            written.level(part, f"$.nest[{index}]")
            if isinstance(part, Level)
            else written.array(part, f"$.nest[{index}]")
            for index, part in enumerate(accelerator.nest)
        ],
        published=_published(accelerator.published),
    )
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Written:
    """The parts of an accelerator as a file holds them, each number with where it comes from."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.unit = accelerator.energy_unit
        self.sources = {origin.path: origin for origin in accelerator.sources}

    def number(self, kind: type[Quantity], path: str, amount: float | None) -> Any:
        """The number at *path*: in its author's words where they still say it."""
        if amount is None:
            return None
        origin = self.sources.get(path)
        if origin is None or not _still(kind, origin.value, amount, self.unit):
            text = kind.write(amount, self.unit)
            return int(text) if kind is Count else text
        if origin.component is not None:
            return _named(origin.component)
        value = int(origin.value) if kind is Count else origin.value
        if origin.status == UNSTATED:
            return value
        return _Flow(value=value, source=origin.source, status=origin.status)

    def level(self, level: Level, path: str) -> dict[str, Any]:
        memories = enumerate(level.memories)
        return {"memories": [self.memory(one, f"{path}.memories[{i}]") for i, one in memories]}

    def memory(self, memory: Memory, path: str) -> dict[str, Any]:
        both = memory.read_energy == memory.write_energy
        read = self.number(
            Energy, f"{path}.{'access' if both else 'read'}_energy", memory.read_energy
        )
        write = self.number(Energy, f"{path}.write_energy", memory.write_energy)
        both = both or ("component" in read and read == write)
        return _given(
            name=memory.name,
            keeps=_names(memory.keeps, OPERANDS),
            may_bypass=_names(memory.may_bypass, OPERANDS) if memory.may_bypass else None,
            capacity=self.number(Capacity, f"{path}.capacity", memory.capacity),
            access_energy=read if both else None,
            read_energy=None if both else read,
            write_energy=None if both else write,
            bandwidth=self.number(Bandwidth, f"{path}.bandwidth", memory.bandwidth),
            refetches=_names(memory.refetches, DIMS) if memory.refetches else None,
            charge_drains=None if memory.charge_drains else False,
            double_buffered=True if memory.double_buffered else None,
            prefetched=True if memory.prefetched else None,
            latency=self.number(Cycles, f"{path}.latency", memory.latency or None),
            formats=_Flow(
                {
                    operand.value: coding.value
                    for operand, coding in zip(OPERANDS, memory.formats, strict=True)
                    if coding is not Format.DENSE
                }
            )
            or None,
        )

    def array(self, array: Array, path: str) -> dict[str, Any]:
        stated = array.hop_energy or f"{path}.hop_energy" in self.sources
        bandwidths = {
            operand.value: self.number(Bandwidth, f"{path}.bandwidths.{operand.value}", own)
            for operand, own in zip(OPERANDS, array.bandwidths, strict=True)
        }
        return _given(
            array=array.name,
            axes=[self.axis(axis, f"{path}.axes[{i}]") for i, axis in enumerate(array.axes)],
            hop_energy=self.number(
                Energy, f"{path}.hop_energy", array.hop_energy if stated else None
            ),
            hop_charge=array.hop_charge.value,
            network=array.network.value,
            bandwidth=self.number(Bandwidth, f"{path}.bandwidth", array.bandwidth),
            bandwidths=_given(**bandwidths) or None,
        )

    def axis(self, axis: Axis, path: str) -> dict[str, Any]:
        return _given(
            name=axis.name,
            size=self.number(Count, f"{path}.size", axis.size),
            loops=None if axis.dims == set(DIMS) else _names(axis.dims, DIMS),
            forwards=_names(axis.forwards, OPERANDS) if axis.forwards else None,
        )

    def sparse(self) -> dict[str, Any] | None:
        sparse, memories = self.accelerator.sparse, self.accelerator.memories.values()
        coded = {coding for memory in memories for coding in memory.formats}
        run = sparse.run_bits if Format.RUN_LENGTH in coded else None
        count = sparse.count_bits if Format.CSC in coded else None
        if sparse == SparseSupport() and run is None and count is None:
            return None
        return _given(
            zeros=sparse.zeros.value,
            of=_names(sparse.of, OPERANDS),
            run_bits=self.number(Width, "$.sparse.run_bits", run),
            count_bits=self.number(Width, "$.sparse.count_bits", count),
            charge_register_reads_of=_names(sparse.charge_register_reads_of, OPERANDS),
        )

    def control(self) -> dict[str, Any] | None:
        control, stated = self.accelerator.control, {}
        for name in ("per_cycle", "per_element", "per_command"):
            path, amount = f"$.control.{name}", getattr(control, name)
            if amount or path in self.sources:
                stated[name] = self.number(Energy, path, amount)
        return stated or None

    def compute(self) -> dict[str, Any]:
        compute = self.accelerator.compute
        several = compute.per_cycle > 1 or "$.compute.per_cycle" in self.sources
        serial = compute.cycles > 1 or "$.compute.cycles" in self.sources
        return _given(
            mac_energy=self.number(Energy, "$.compute.mac_energy", compute.mac_energy),
            per_cycle=self.number(
                Count, "$.compute.per_cycle", compute.per_cycle if several else None
            ),
            cycles=self.number(Count, "$.compute.cycles", compute.cycles if serial else None),
            psum_bits=self.number(Width, "$.compute.psum_bits", compute.psum_bits),
        )


def _published(published: Published) -> dict[str, Any] | None:
    rules = [
        _given(
            rule=x.rule.value,
            loops=_names(x.loops, DIMS) if x.loops else None,
            source=x.source,
            status=x.status,
        )
        for x in published.rules
    ]
    changes = {
        x.target: {"to": json.loads(x.to), "source": x.source, "status": x.status}
        for x in published.changes
    }
    return _given(rules=rules or None, changes=changes or None) or None


def _named(spec: ComponentSpec) -> dict[str, Any]:
    """A component as an entry of the file."""
    kinds = {"node": Node, "width": RowWidth, "length": Length}
    said = {
        key: kind.write(amount, "")
        for key, kind in kinds.items()
        if (amount := getattr(spec, key)) is not None
    }
    return _Flow(_given(component=spec.kind, **said, ports=spec.ports))


def _still(kind: type[Quantity], text: str, amount: float, unit: str) -> bool:
    """Whether *text* reads as *amount*."""
    try:
        return bool(kind.read(text, unit) == amount)
    except UnitError:
        return False


def _given(**entries: Any) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value is not None}


def _names(chosen: frozenset[Any], order: Sequence[Any]) -> _FlowList:
    return _FlowList(item.value for item in order if item in chosen)


class _Flow(dict[str, Any]):
    """A mapping written on one line."""


class _FlowList(list[str]):
    """A list written on one line."""


class _Dumper(yaml.SafeDumper):
    """Writes numbers with their sources, and lists of words, on one line; no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


_Dumper.add_representer(
    _Flow,
    lambda dumper, data: dumper.represent_mapping(
        "tag:yaml.org,2002:map", data.items(), flow_style=True
    ),
)
_Dumper.add_representer(
    _FlowList,
    lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True),
)
