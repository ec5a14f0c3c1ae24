"""Results as text: tables for a terminal, or for a file without any colour.

Every function returns something that :func:`show` prints and :func:`plain` turns into a string.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from picojoule.accelerator import Accelerator, Array, ZeroSkip
from picojoule.alternatives import Alternative
from picojoule.completeness import left_out, listed
from picojoule.dataflow import DATAFLOWS, Dataflow
from picojoule.estimate_records import Estimate, LayerEstimate, contents
from picojoule.legality import RULES
from picojoule.mapper.found import Found
from picojoule.mapping import Mapping as LoopNest
from picojoule.reports.explanation import (
    alternatives_report,
    edges,
    edges_table,
    front_table,
    loop_nest,
)
from picojoule.reports.scale import Scale
from picojoule.reports.tables import cell as _text
from picojoule.reports.tables import facts_table
from picojoule.reports.tables import percent as _percent
from picojoule.reports.tables import plain as plain
from picojoule.reports.tables import printable as printable
from picojoule.reports.tables import prose as _prose
from picojoule.reports.tables import show as show
from picojoule.reports.tables import table as _table
from picojoule.reports.tables import warning as _warning
from picojoule.units import show_capacity, show_count, show_energy
from picojoule.workload import OPERANDS, Layer, Workload

if TYPE_CHECKING:
    from picojoule.validation import PublishedNumber

_NOT_MODELLED = "control, clock tree and leakage (unless the machine declares static power)"


# -- an estimate ---------------------------------------------------------------------------


def estimate_report(estimate: Estimate) -> Group:
    """A network's price: per layer, in all, what is left out, and what the numbers mean."""
    unit = estimate.energy_unit
    title = (
        f"{estimate.network} on {estimate.accelerator}: "
        f"{show_energy(estimate.energy, unit)} per inference"
    )
    parts: list[RenderableType] = [
        *warning_lines(estimate.warnings),
        _text(title, "bold"),
        *remark_lines(estimate.remarks),
        _layers_table(estimate),
        _places_table(estimate),
        facts_table(_totals(estimate)),
        Text(),
        _prose(not_counted_line(estimate.not_counted)),
        _prose(f"meaning: {estimate.meaning}"),
    ]
    return Group(*parts)


def _layers_table(estimate: Estimate) -> Table:
    scale = Scale(max((x.energy for x in estimate.layers), default=0.0), estimate.energy_unit)
    sparse = any(x.effectual_macs != x.macs for x in estimate.layers)
    table = _table(
        "layer",
        "MACs",
        *(["effectual"] if sparse else []),
        f"energy [{scale.name}]",
        "share",
        "cycles",
        "utilization",
        "limited by",
        "status",
        footer=True,
    )
    for layer in estimate.layers:
        table.add_row(
            _text(layer.name),
            show_count(layer.macs),
            *([show_count(layer.effectual_macs)] if sparse else []),
            scale(layer.energy),
            _percent(layer.energy, estimate.energy),
            show_count(layer.cycles),
            f"{100 * layer.utilization:.0f} %",
            _text(layer.limited_by),
            _text(layer.search.status, "" if layer.search.status == "optimal" else "yellow"),
        )
    footers = [
        "total",
        show_count(estimate.macs),
        *([show_count(estimate.effectual_macs)] if sparse else []),
        scale(estimate.energy),
        _percent(estimate.energy, estimate.energy),
        show_count(estimate.cycles),
    ]
    for column, footer in zip(table.columns, footers, strict=False):
        column.footer = _text(footer, "bold")
    return table


def _places_table(estimate: Estimate) -> Table:
    scale = Scale(max((x.energy for x in estimate.layers), default=0.0), estimate.energy_unit)
    places = list(estimate.by_memory)
    operands = [name for name in estimate.by_operand if name not in ("compute", "static")]
    table = _table(
        f"energy [{scale.name}]",
        *places,
        "|",
        *operands,
        title="at which place | for which operand",
    )
    table.show_footer = True
    for layer in estimate.layers:
        table.add_row(
            _text(layer.name),
            *(scale(layer.by_memory.get(name, 0.0)) for name in places),
            "|",
            *(scale(layer.by_operand.get(name, 0.0)) for name in operands),
        )
    footers = [
        "total",
        *(scale(value) for value in estimate.by_memory.values()),
        "|",
        *(scale(estimate.by_operand[name]) for name in operands),
    ]
    for column, footer in zip(table.columns, footers, strict=True):
        column.footer = _text(footer, "bold")
    return table


def _totals(estimate: Estimate) -> Iterator[tuple[str, str]]:
    unit, energy = estimate.energy_unit, estimate.energy
    per_mac = f" ({energy / estimate.macs:.3g} {unit} for each MAC)" if estimate.macs else ""
    yield "energy", show_energy(energy, unit) + per_mac
    yield "place", _shares(estimate.by_memory, energy)
    yield "operand", _shares(estimate.by_operand, energy)
    macs = show_count(estimate.macs)
    if estimate.effectual_macs != estimate.macs:
        share = _percent(estimate.effectual_macs, estimate.macs)
        macs += f", {show_count(estimate.effectual_macs)} of them done ({share})"
    yield "MACs", macs
    yield "cycles", show_count(estimate.cycles)


def _shares(parts: Mapping[str, float], whole: float) -> str:
    return ", ".join(f"{name} {_percent(value, whole)}" for name, value in parts.items())


def warning_lines(warnings: Iterable[str]) -> Iterator[Text]:
    """What the figures leave out: the first lines of a report; none where there is none."""
    for warning in warnings:
        yield _warning(warning)


def remark_lines(remarks: Iterable[str]) -> Iterator[Text]:
    """What a network's reader assumed, beneath the title."""
    for remark in remarks:
        yield _prose(f"remark: {remark}")


def not_counted_line(not_counted: Mapping[str, int]) -> str:
    """What the estimate leaves out, by name and count."""
    operators = [listed(not_counted)] if not_counted else []
    return f"not counted: {'; '.join([*operators, _NOT_MODELLED])}"


# -- one layer's mapping -------------------------------------------------------------------


def mapping_report(
    estimate: Estimate,
    layer: Layer,
    accelerator: Accelerator,
    alternatives: Sequence[Alternative] = (),
    front: Sequence[Found] = (),
) -> Group:
    """The mapping of the one layer of *estimate*: loop nest, contents, accesses, certificate.

    With *alternatives* also what they would cost; with a *front*, its points.
    """
    priced = estimate.layers[0]
    unit = estimate.energy_unit
    title = f"{layer.name} of {estimate.network} on {accelerator.name}: {layer.bounds}"
    facts = [
        ("energy", f"{show_energy(priced.energy, unit)} per inference"),
        ("place", _shares(priced.by_memory, priced.energy)),
        ("operand", _shares(priced.by_operand, priced.energy)),
        (
            "cycles",
            f"{show_count(priced.cycles)} per inference, limited by {priced.limited_by}; "
            f"utilization {100 * priced.utilization:.0f} %",
        ),
        ("certificate", priced.certificate(estimate.objective)),
    ]
    others: list[RenderableType] = []
    if alternatives:
        others = [Text(), *alternatives_report(alternatives, estimate.objective, unit)]
    if front:
        others += [Text(), front_table(front, estimate.batch, unit)]
    return Group(
        _text(title, "bold"),
        Text(),
        _text(loop_nest(layer, accelerator, priced.mapping)),
        Text(),
        _contents_table(layer, accelerator, priced.mapping),
        edges_table(edges(layer, accelerator, priced.mapping, estimate.batch)),
        _accesses_table(priced, unit),
        facts_table(facts),
        *others,
        Text(),
        _prose(f"meaning: {estimate.meaning}"),
    )


def _contents_table(layer: Layer, accelerator: Accelerator, mapping: LoopNest) -> Table:
    table = _table("memory", "input", "weight", "output", "together", "capacity", "full")
    table.title = _text("what one instance holds", "bold")
    for row in contents(layer, accelerator, mapping):
        capacity = row["capacity"]
        table.add_row(
            _text(row["memory"]),
            *(
                show_capacity(row["holds"][o.value]) if o.value in row["holds"] else "-"
                for o in OPERANDS
            ),
            show_capacity(row["used"]),
            "unbounded" if capacity is None else show_capacity(capacity),
            "" if capacity is None else _percent(row["used"], capacity),
        )
    return table


def _accesses_table(priced: LayerEstimate, unit: str) -> Table:
    scale = Scale(priced.energy, unit)
    heads = [f"{o.value} {way}" for o in OPERANDS for way in ("read", "write")]
    table = _table("charged words", *heads, f"energy [{scale.name}]", "share")
    table.title = _text("accesses per inference", "bold")
    for name, energy in priced.by_memory.items():
        operands = priced.accesses.get(name, {})
        table.add_row(
            _text(name),
            *(
                show_count(operands[o.value][way]) if o.value in operands else ""
                for o in OPERANDS
                for way in ("read", "write")
            ),
            scale(energy),
            _percent(energy, priced.energy),
        )
    return table


# -- machines and lists --------------------------------------------------------------------


def accelerator_report(accelerator: Accelerator) -> Group:
    """A machine: its nest, capacities and energies, and where each number comes from."""
    clock = f"{show_count(accelerator.clock)}Hz" if accelerator.clock else "not given"
    facts = [
        ("elements", f"{accelerator.elements} processing elements"),
        ("energies", f"in {accelerator.energy_unit}, for words of {accelerator.word_bits} bit"),
        ("charging", accelerator.charging.value),
        ("dataflow", accelerator.default_dataflow),
        ("zeros", _zeros(accelerator)),
        ("clock", clock),
    ]
    if accelerator.static_power:
        facts.append(("static", f"{accelerator.static_power:g} W"))
    if accelerator.charge_padding:
        facts.append(("padding", "zeros of the padding are stored and moved"))
    if accelerator.resident_images:
        facts.append(("batch", "in sets whose output maps fit the buffer"))
    parts: list[RenderableType] = [_text(accelerator.name, "bold")]
    if accelerator.description:
        parts.append(_prose(accelerator.description))
    parts += [_nest_table(accelerator), facts_table(facts)]
    if accelerator.sources:
        parts += [Text(), _text("where the numbers come from", "bold")]
        parts += [
            _text(f"{x.path} = {x.value} ({x.status}): {x.source}") for x in accelerator.sources
        ]
    return Group(*parts)


def _zeros(accelerator: Accelerator) -> str:
    sparse = accelerator.sparse
    if sparse.zeros is ZeroSkip.NONE or not sparse.of:
        return "every MAC is done"
    of = " or ".join(o.value for o in OPERANDS if o in sparse.of)
    return f"{sparse.zeros.value}: MACs with a zero {of}"


def _nest_table(accelerator: Accelerator) -> Table:
    table = _table("part", "keeps", "capacity", "read", "write", "bit/cycle", "coding")
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
    per_cycle = accelerator.compute.per_cycle
    table.add_row(
        _text(f"{'  ' * depth}multiplier"),
        "",
        f"{per_cycle}/cycle",
        f"MAC {accelerator.compute.mac_energy:g}",
        "",
        "",
        "",
    )
    return table


def accelerators_table(machines: Sequence[Accelerator]) -> Table:
    """The machines, one a line."""
    table = _table("chip", "elements", "unit", "dataflow", "description")
    _last_is_words(table)
    for x in machines:
        table.add_row(
            _text(x.name),
            str(x.elements),
            x.energy_unit,
            x.default_dataflow,
            _text(x.description),
        )
    return table


def networks_table(networks: Sequence[tuple[str, Workload]]) -> Table:
    """The networks, one a line; MACs of one inference."""
    table = _table("network", "layers", "MACs", "weights", "not counted")
    _last_is_words(table)
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


def dataflows_table(flows: Iterable[Dataflow] = DATAFLOWS.values()) -> Table:
    """The dataflows, one a line."""
    table = _table("dataflow", "what", "source")
    table.columns[1].justify = "left"
    table.columns[1].no_wrap = False
    table.columns[1].max_width = 30
    _last_is_words(table)
    for x in flows:
        table.add_row(_text(x.name), _text(x.title), _text(x.source))
    return table


def rules_table() -> Table:
    """The rules that a legal mapping keeps to, one a line."""
    table = _table("rule", "what a mapping keeps to")
    table.columns[1].justify = "left"
    for rule in RULES:
        table.add_row(_text(rule.name), _text(rule.says))
    return table


def _last_is_words(table: Table) -> None:
    last = table.columns[-1]
    last.justify, last.no_wrap, last.overflow, last.max_width = "left", False, "fold", 52


def validation_table(rows: Sequence[PublishedNumber]) -> Table:
    """What papers print beside what picojoule says; *rows* as ``validation.validate`` gives."""
    table = _table("figure", "quantity", "paper", "ours", "ratio", "note")
    table.columns[1].justify = "left"
    table.columns[1].no_wrap = False
    table.columns[1].max_width = 30
    _last_is_words(table)
    table.columns[-1].max_width = 34
    table.columns[0].max_width = 18
    for row in rows:
        table.add_row(
            _text(row.figure),
            _text(row.quantity),
            _value(row.paper),
            _value(row.ours),
            _value(row.ratio),
            _text(row.note),
            style="" if row.ok else "red",
        )
    return table


def _value(value: object) -> Text:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return _text(show_count(value) if abs(value) >= 1000 else f"{value:.4g}")
    return _text("-" if value is None else value)
