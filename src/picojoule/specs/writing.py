"""From the machine to a file that reads as an equal machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import yaml

from picojoule.accelerator import Accelerator, Format, Level, Memory, SparseSupport
from picojoule.errors import UnitError
from picojoule.specs.grammar import (
    Bandwidth,
    Capacity,
    Count,
    Energy,
    Frequency,
    Power,
    Quantity,
    Width,
)
from picojoule.specs.reading import UNSTATED
from picojoule.workload import DIMS, OPERANDS


def dump_accelerator(accelerator: Accelerator) -> str:
    """Return *accelerator* as YAML; reading it gives an equal machine with the same sources.

    A number that was changed since it was read loses its source, and is written exactly.

    >>> from picojoule.specs import load_accelerator, parse_accelerator
    >>> machine = load_accelerator("eyeriss")
    >>> parse_accelerator(dump_accelerator(machine), "copy") == machine
    True
    """
    unit = accelerator.energy_unit
    sources = {constant.path: constant for constant in accelerator.sources}

    def number(kind: type[Quantity], path: str, amount: float | None) -> Any:
        if amount is None:
            return None
        constant = sources.get(path)
        if constant is None or not _still(kind, constant.value, amount, unit):
            text = kind.write(amount, unit)
            return int(text) if kind is Count else text
        value = int(constant.value) if kind is Count else constant.value
        if constant.status == UNSTATED:
            return value
        return _Flow(value=value, source=constant.source, status=constant.status)

    compute, sparse, plain = accelerator.compute, accelerator.sparse, SparseSupport()
    nest: list[Any] = []
    for index, part in enumerate(accelerator.nest):
        path = f"$.nest[{index}]"
        if isinstance(part, Level):
            nest.append(
                {
                    "memories": [
                        _memory_out(memory, f"{path}.memories[{i}]", number)
                        for i, memory in enumerate(part.memories)
                    ]
                }
            )
            continue
        hop = part.hop_energy if part.hop_energy or f"{path}.hop_energy" in sources else None
        axes = [
            _given(
                name=axis.name,
                size=number(Count, f"{path}.axes[{i}].size", axis.size),
                loops=None if axis.dims == set(DIMS) else _names(axis.dims, DIMS),
            )
            for i, axis in enumerate(part.axes)
        ]
        nest.append(
            _given(
                array=part.name,
                axes=axes,
                hop_energy=number(Energy, f"{path}.hop_energy", hop),
                hop_charge=part.hop_charge.value,
                network=part.network.value,
                bandwidth=number(Bandwidth, f"{path}.bandwidth", part.bandwidth),
                bandwidths=_given(
                    **{
                        o.value: number(Bandwidth, f"{path}.bandwidths.{o.value}", own)
                        for o, own in zip(OPERANDS, part.bandwidths, strict=True)
                    }
                )
                or None,
            )
        )
    coded = {coding for memory in accelerator.memories.values() for coding in memory.formats}
    run = sparse.run_bits if Format.RUN_LENGTH in coded else None
    count = sparse.count_bits if Format.CSC in coded else None
    many = compute.per_cycle if compute.per_cycle > 1 or "$.compute.per_cycle" in sources else None
    power = accelerator.static_power if unit == "pJ" and accelerator.clock else 0.0
    document = _given(
        name=accelerator.name,
        description=accelerator.description or None,
        energy_unit=unit,
        word_bits=number(Width, "$.word_bits", accelerator.word_bits),
        charging=accelerator.charging.value,
        charge_padding=accelerator.charge_padding,
        resident_images=accelerator.resident_images,
        clock=number(Frequency, "$.clock", accelerator.clock),
        static_power=number(Power, "$.static_power", power)
        if power or "$.static_power" in sources
        else None,
        default_dataflow=accelerator.default_dataflow,
        sparse=None
        if sparse == plain and run is None and count is None
        else _given(
            zeros=sparse.zeros.value,
            of=_names(sparse.of, OPERANDS),
            run_bits=number(Width, "$.sparse.run_bits", run),
            count_bits=number(Width, "$.sparse.count_bits", count),
            charge_register_reads_of=_names(sparse.charge_register_reads_of, OPERANDS),
        ),
        compute=_given(
            mac_energy=number(Energy, "$.compute.mac_energy", compute.mac_energy),
            per_cycle=number(Count, "$.compute.per_cycle", many),
            psum_bits=number(Width, "$.compute.psum_bits", compute.psum_bits),
        ),
        nest=nest,
    )
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _memory_out(
    memory: Memory, path: str, number: Callable[[type[Quantity], str, float | None], Any]
) -> dict[str, Any]:
    both = memory.read_energy == memory.write_energy
    return _given(
        name=memory.name,
        keeps=_names(memory.keeps, OPERANDS),
        may_bypass=_names(memory.may_bypass, OPERANDS) if memory.may_bypass else None,
        capacity=number(Capacity, f"{path}.capacity", memory.capacity),
        access_energy=number(Energy, f"{path}.access_energy", memory.read_energy) if both else None,
        read_energy=None if both else number(Energy, f"{path}.read_energy", memory.read_energy),
        write_energy=None if both else number(Energy, f"{path}.write_energy", memory.write_energy),
        bandwidth=number(Bandwidth, f"{path}.bandwidth", memory.bandwidth),
        double_buffered=True if memory.double_buffered else None,
        formats=_Flow(
            {
                operand.value: coding.value
                for operand, coding in zip(OPERANDS, memory.formats, strict=True)
                if coding is not Format.DENSE
            }
        )
        or None,
    )


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
