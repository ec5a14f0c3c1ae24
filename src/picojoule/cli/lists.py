"""What comes with picojoule, as records and as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from picojoule.completeness import completeness, operator_records
from picojoule.errors import PicojouleError
from picojoule.workload import DIMS, OPERANDS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.accelerator import Accelerator, Array, Memory


def list_chips() -> tuple[list[dict[str, Any]], RenderableType]:
    from picojoule.reports.machines import accelerators_table
    from picojoule.specs import load_accelerator, shipped_accelerators

    machines = [load_accelerator(name) for name in shipped_accelerators()]
    records = [
        {
            "name": x.name,
            "elements": x.elements,
            "energy_unit": x.energy_unit,
            "default_dataflow": x.default_dataflow,
            "description": x.description,
        }
        for x in machines
    ]
    return records, accelerators_table(machines)


def list_networks() -> tuple[list[dict[str, Any]], RenderableType]:
    from picojoule.frontends import load, shipped_networks
    from picojoule.reports.machines import networks_table

    networks = [(name, load(name)) for name in shipped_networks()]
    records = [
        {
            "name": name,
            "layers": len(x),
            "macs": x.macs,
            "weights": x.weights,
            "not_counted": operator_records(x.not_counted),
            **completeness(x.unmodelled, x.remarks),
        }
        for name, x in networks
    ]
    return records, networks_table(networks)


def list_measurements() -> tuple[list[dict[str, Any]], RenderableType]:
    from picojoule.calibration.measurements import shipped_measurements, title_of
    from picojoule.reports.calibration_text import measurements_table

    titles = [(name, title_of(name)) for name in shipped_measurements()]
    return [{"name": name, "title": title} for name, title in titles], measurements_table(titles)


def list_dataflows() -> tuple[list[dict[str, Any]], RenderableType]:
    from picojoule.dataflow import DATAFLOWS
    from picojoule.reports.machines import dataflows_table

    records = [{"name": x.name, "title": x.title, "source": x.source} for x in DATAFLOWS.values()]
    return records, dataflows_table()


def list_rules() -> tuple[list[dict[str, Any]], RenderableType]:
    from picojoule.legality import RULES
    from picojoule.reports.machines import rules_table

    return [{"name": rule.name, "says": rule.says} for rule in RULES], rules_table()


def list_components() -> tuple[list[dict[str, Any]], RenderableType]:
    from picojoule.components.samples import samples
    from picojoule.reports.components import components_report

    shown = tuple(samples())
    records = [
        {
            "name": sample.name,
            "node": node,
            "energies": dict(part.energies),
            "area": part.area,
            "leakage": part.leakage,
            "status": part.status,
            "source": part.source,
        }
        for sample in shown
        for node, part in sample.by_node.items()
    ]
    return records, components_report(shown)


def list_models() -> tuple[list[dict[str, Any]], RenderableType]:
    from picojoule.pruning.released import cards
    from picojoule.reports.pruning import models_table

    records = [dict(card) for card in cards()]
    return records, models_table(records)


def machine_record(accelerator: Accelerator) -> dict[str, Any]:
    """A machine as plain data: capacities in bits, energies in its unit for one word."""
    from picojoule.accelerator import Array
    from picojoule.dataflow import DATAFLOWS
    from picojoule.legality import dataflow_problem

    nest = [
        _array_record(part)
        if isinstance(part, Array)
        else {"memories": [_memory_record(memory) for memory in part.memories]}
        for part in accelerator.nest
    ]
    sparse = accelerator.sparse
    return {
        "name": accelerator.name,
        "description": accelerator.description,
        "elements": accelerator.elements,
        "energy_unit": accelerator.energy_unit,
        "node": accelerator.node,
        "area": _area_records(accelerator),
        "word_bits": accelerator.word_bits,
        "charging": accelerator.charging.value,
        "charge_padding": accelerator.charge_padding,
        "fold_strides": accelerator.fold_strides,
        "winograd": accelerator.winograd,
        "resident_images": accelerator.resident_images,
        "default_dataflow": accelerator.default_dataflow,
        "compiler": accelerator.compiler,
        "dataflows": {
            name: dataflow_problem(accelerator, flow) or "" for name, flow in DATAFLOWS.items()
        },
        "sees_zeros": [o.value for o in OPERANDS if accelerator.sees_zeros(o)],
        "unit_energy": accelerator.unit_energy,
        "mac_picojoules": accelerator.mac_picojoules,
        "mac_status": accelerator.joules_rest_on.status,
        "control": {
            "per_cycle": accelerator.control.per_cycle,
            "per_element": accelerator.control.per_element,
            "per_command": accelerator.control.per_command,
        },
        "static_power": accelerator.static_power,
        "clock": accelerator.clock,
        "compute": {
            "mac_energy": accelerator.compute.mac_energy,
            "per_cycle": accelerator.compute.per_cycle,
            "cycles": accelerator.compute.cycles,
            "psum_bits": accelerator.compute.psum_bits,
        },
        "sparse": {
            "zeros": sparse.zeros.value,
            "of": [o.value for o in OPERANDS if o in sparse.of],
        },
        "nest": nest,
        "sources": [
            {name: getattr(constant, name) for name in ("path", "value", "source", "status")}
            for constant in accelerator.sources
        ],
    }


def _area_records(accelerator: Accelerator) -> list[dict[str, Any]] | None:
    """The area of each part in mm2; None where the machine says no node, or none with numbers."""
    from picojoule.areas import area

    try:
        parts = area(accelerator)
    except PicojouleError:
        return None
    return [{"part": x.name, "copies": x.copies, "area": x.area, "how": x.how} for x in parts]


def _array_record(array: Array) -> dict[str, Any]:
    return {
        "array": array.name,
        "axes": [
            {"name": x.name, "size": x.size, "loops": [d.value for d in DIMS if d in x.dims]}
            for x in array.axes
        ],
        "hop_energy": array.hop_energy,
        "hop_charge": array.hop_charge.value,
        "network": array.network.value,
        "bandwidth": array.bandwidth,
        "bandwidths": array.bandwidths._asdict(),
    }


def _memory_record(memory: Memory) -> dict[str, Any]:
    kept = [o for o in OPERANDS if o in memory.keeps]
    return {
        "name": memory.name,
        "keeps": [o.value for o in kept],
        "may_bypass": [o.value for o in OPERANDS if o in memory.may_bypass],
        "capacity": memory.capacity,
        "read_energy": memory.read_energy,
        "write_energy": memory.write_energy,
        "bandwidth": memory.bandwidth,
        "double_buffered": memory.double_buffered,
        "formats": {o.value: memory.formats.of(o).value for o in kept},
    }
