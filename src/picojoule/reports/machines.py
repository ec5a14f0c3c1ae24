"""Machines, and lists of what is shipped, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from picojoule.accelerator import Accelerator, Array, ZeroSkip
from picojoule.completeness import left_out, listed
from picojoule.components import show_node
from picojoule.dataflow import DATAFLOWS, Dataflow
from picojoule.legality import RULES
from picojoule.reports.components import area_parts
from picojoule.reports.explanation import (
    control_facts,
)
from picojoule.reports.tables import Column, Grid, facts_table
from picojoule.reports.tables import cell as _text
from picojoule.reports.tables import prose as _prose
from picojoule.units import show_capacity, show_count, show_energy
from picojoule.workload import OPERANDS, Workload


def accelerator_report(accelerator: Accelerator) -> Group:
    """A machine: its nest, capacities and energies, and where each number comes from."""
    clock = f"{show_count(accelerator.clock)}Hz" if accelerator.clock else "not given"
    facts = [
        ("elements", f"{accelerator.elements} processing elements"),
        ("energies", _energies(accelerator)),
        ("node", "not given" if accelerator.node is None else show_node(accelerator.node)),
        ("charging", accelerator.charging.value),
        ("dataflow", accelerator.default_dataflow),
        ("zeros", _zeros(accelerator)),
        ("clock", clock),
    ]
    if accelerator.compiler:
        facts.append(("compiler", accelerator.compiler))
    facts += control_facts(accelerator)
    if accelerator.static_power:
        facts.append(("static", f"{accelerator.static_power:g} W"))
    if accelerator.charge_padding:
        facts.append(("padding", "zeros of the padding are stored and moved"))
    if accelerator.fold_strides:
        facts.append(("strides", "folded into channels, with filters filled up with zeros"))
    if accelerator.winograd:
        facts.append(("3 x 3 filters", "run as Winograd's F(2 x 2, 3 x 3)"))
    if accelerator.resident_images:
        facts.append(("batch", "in sets whose output maps fit the buffer"))
    parts: list[RenderableType] = [_text(accelerator.name, "bold")]
    if accelerator.description:
        parts.append(_prose(accelerator.description))
    parts += [_nest_table(accelerator), facts_table(facts), *area_parts(accelerator)]
    if accelerator.sources:
        parts += [Text(), _text("where the numbers come from", "bold")]
        parts += [
            _text(f"{x.path} = {x.value} ({x.status}): {x.source}") for x in accelerator.sources
        ]
    return Group(*parts)


def _energies(accelerator: Accelerator) -> str:
    words = f"for words of {accelerator.word_bits} bit"
    if accelerator.energy_unit == "pJ":
        return f"in pJ, {words}"
    if accelerator.mac_picojoules is None:
        return f"in multiples of E_MAC, the energy of one MAC, {words}; it says no joules"
    each, origin = show_energy(accelerator.mac_picojoules, "pJ"), accelerator.joules_rest_on
    return f"in multiples of E_MAC, the energy of one MAC ({each}, {origin.status}), {words}"


def _zeros(accelerator: Accelerator) -> str:
    sparse = accelerator.sparse
    if sparse.zeros is ZeroSkip.NONE or not sparse.of:
        return "every MAC is done"
    of = " or ".join(o.value for o in OPERANDS if o in sparse.of)
    return f"{sparse.zeros.value}: MACs with a zero {of}"


def _nest_table(accelerator: Accelerator) -> Grid:
    columns = [
        Column(head="part", words=True),
        Column(head="keeps", words=True, widest=20),
        Column(head="capacity"),
        Column(head="read"),
        Column(head="write"),
        Column(head="bit/cycle", spare=1),
        Column(head="coding", spare=2),
    ]
    table = Grid(columns)
    depth = 0
    for part in accelerator.nest:
        if isinstance(part, Array):
            size = " x ".join(f"{axis.size}" for axis in part.axes)
            table.add_row(
                _text(f"{'  ' * depth}{part.name} [{size}]"),
                "",
                f"{part.size} copies",
                f"hop {part.hop_energy:g}",
                part.hop_charge.value,
                "" if part.bandwidth is None else f"{part.bandwidth:g}",
                "",
            )
            depth += 1
            continue
        for memory in part.memories:
            codes = dict.fromkeys(
                memory.formats[OPERANDS.index(o)].value for o in OPERANDS if o in memory.keeps
            )
            table.add_row(
                _text(f"{'  ' * depth}{memory.name}"),
                ", ".join(o.value for o in OPERANDS if o in memory.keeps),
                "unbounded" if memory.capacity is None else show_capacity(memory.capacity),
                f"{memory.read_energy:g}",
                f"{memory.write_energy:g}",
                "" if memory.bandwidth is None else f"{memory.bandwidth:g}",
                ", ".join(codes),
            )
        depth += 1
    compute = accelerator.compute
    rate = f"{compute.per_cycle}/cycle"
    if compute.cycles > 1:
        rate = f"{compute.per_cycle} in {compute.cycles} cycles"
    table.add_row(
        _text(f"{'  ' * depth}multiplier"),
        "",
        rate,
        f"MAC {compute.mac_energy:g}",
        "",
        "",
        "",
    )
    return table


def accelerators_table(machines: Sequence[Accelerator]) -> Grid:
    """The machines, one a line."""
    columns = [
        Column(head="chip", words=True),
        Column(head="elements"),
        Column(head="one MAC"),
        Column(head="which is", spare=1),
        Column(head="dataflow"),
        Column(head="description", words=True, widest=52),
    ]
    table = Grid(columns)
    for x in machines:
        table.add_row(
            _text(x.name),
            str(x.elements),
            "E_MAC" if x.mac_picojoules is None else show_energy(x.mac_picojoules, "pJ"),
            "" if x.mac_picojoules is None else x.joules_rest_on.status,
            x.default_dataflow,
            _text(x.description),
        )
    return table


def networks_table(networks: Sequence[tuple[str, Workload]]) -> Grid:
    """The networks, one a line; MACs of one inference."""
    columns = [
        Column(head="network", words=True),
        *(Column(head=x) for x in ("layers", "MACs", "weights")),
        Column(head="not counted", words=True, widest=52),
    ]
    table = Grid(columns)
    for name, x in networks:
        parts = [left_out(x.unmodelled), listed(x.not_counted)]
        table.add_row(
            _text(name),
            str(len(x)),
            show_count(x.macs),
            show_count(x.weights),
            _text("; ".join(filter(None, parts)), "" if x.complete else "red"),
        )
    return table


def dataflows_table(flows: Iterable[Dataflow] = DATAFLOWS.values()) -> Grid:
    """The dataflows, one a line."""
    columns = [
        Column(head="dataflow", words=True),
        Column(head="what", words=True),
        Column(head="source", words=True, widest=52),
    ]
    table = Grid(columns)
    for x in flows:
        table.add_row(_text(x.name), _text(x.title), _text(x.source))
    return table


def rules_table() -> Grid:
    """The rules that a legal mapping keeps to, one a line."""
    columns = [
        Column(head="rule", words=True),
        Column(head="what a mapping keeps to", words=True, widest=72),
    ]
    table = Grid(columns)
    for rule in RULES:
        table.add_row(_text(rule.name), _text(rule.says))
    return table
