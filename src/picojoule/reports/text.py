"""Results as text: tables for a terminal, or for a file without any colour.

Every function returns something that :func:`show` prints and :func:`plain` turns into a string.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from picojoule.accelerator import Accelerator
from picojoule.alternatives import Alternative
from picojoule.completeness import listed
from picojoule.estimate_records import Estimate, Joules
from picojoule.legality import contents
from picojoule.mapper.found import Found
from picojoule.mapping import Mapping as LoopNest
from picojoule.plan.others import Others
from picojoule.reports.accesses import CHARGED, layer_table, network_table
from picojoule.reports.between import ASK, COUNT, others_words, saving_words
from picojoule.reports.explanation import (
    alternatives_report,
    edges,
    edges_table,
    front_table,
    loop_nest,
    unsaid,
)
from picojoule.reports.palette import OF_NO_OPERAND
from picojoule.reports.plans import plan_words
from picojoule.reports.scale import Scale
from picojoule.reports.tables import Column, Grid, Picture, facts_table, grid
from picojoule.reports.tables import cell as _text
from picojoule.reports.tables import percent as _percent
from picojoule.reports.tables import plain as plain
from picojoule.reports.tables import printable as printable
from picojoule.reports.tables import prose as _prose
from picojoule.reports.tables import show as show
from picojoule.reports.tables import warning as _warning
from picojoule.units import show_capacity, show_count, show_energy
from picojoule.workload import OPERANDS, Layer, Operand

# -- an estimate ---------------------------------------------------------------------------


def estimate_report(estimate: Estimate, accesses: str | None = None) -> Group:
    """A network's price: per layer, in all, what is left out, and what the numbers mean.

    Args:
        accesses: also those of each layer, "charged" or "physical".
    """
    shown = estimate.in_picojoules()
    moved = [] if accesses is None else [network_table(shown, accesses)]
    parts: list[RenderableType] = [
        *warning_lines(estimate.warnings),
        _text(headline(estimate), "bold"),
        *remark_lines(estimate.remarks),
        _layers_table(shown),
        _places_table(shown),
        *moved,
        facts_table(_totals(shown)),
        Text(),
        _prose(not_counted_line(estimate.not_counted, estimate.machine, estimate.others)),
        _prose(f"meaning: {shown.meaning}"),
    ]
    return Group(*parts)


def headline(estimate: Estimate) -> str:
    """What one inference costs, in one line; what its joules rest on, where that is assumed."""
    shown, joules = estimate.in_picojoules(), estimate.joules
    energy = show_energy(shown.energy, shown.energy_unit)
    rests_on = "" if joules is None or joules.sure else f" ({joules})"
    return f"{estimate.network} on {estimate.accelerator}: {energy} per inference{rests_on}"


def layer_headline(estimate: Estimate) -> str:
    """What the one layer of *estimate* costs, in one line."""
    (layer,) = estimate.layers
    status = layer.search.status
    return f"{layer.name} of {headline(estimate)}, {show_count(layer.cycles)} cycles, {status}"


def _layers_table(estimate: Estimate) -> Grid:
    scale = Scale(max((x.energy for x in estimate.layers), default=0.0), estimate.energy_unit)
    sparse = any(x.effectual_macs != x.macs for x in estimate.layers)
    proved = all(x.search.status == "optimal" for x in estimate.layers)
    done = Column(head="effectual", footer=show_count(estimate.effectual_macs), spare=2)
    whole = _percent(estimate.energy, estimate.energy)
    columns = [
        Column(head="layer", footer="total", words=True),
        Column(head="MACs", footer=show_count(estimate.macs)),
        *([done] if sparse else []),
        Column(head=f"energy\n[{scale.name}]", footer=scale(estimate.energy)),
        Column(head="share", footer=whole),
        Column(head="cycles", footer=show_count(estimate.cycles), spare=1),
        Column(head="utilization", spare=4),
        Column(head="limited by", spare=3),
        Column(head="status", spare=5 if proved else 0.5),
    ]
    table = Grid(columns)
    for layer in estimate.layers:
        table.add_row(
            layer.name,
            show_count(layer.macs),
            *([show_count(layer.effectual_macs)] if sparse else []),
            scale(layer.energy),
            _percent(layer.energy, estimate.energy),
            show_count(layer.cycles),
            f"{100 * layer.utilization:.0f} %",
            layer.limited_by,
            _text(layer.search.status, "" if layer.search.status == "optimal" else "yellow"),
        )
    others = estimate.others
    if others is not None and others.counted:
        table.add_row(
            others.name,
            "",
            *([""] if sparse else []),
            scale(others.energy),
            _percent(others.energy, estimate.energy),
            show_count(others.cycles),
        )
    return table


def _places_table(estimate: Estimate) -> Grid:
    """Where the energy goes; in want of width the two dearest places stay, and the operands."""
    scale = Scale(max((x.energy for x in estimate.layers), default=0.0), estimate.energy_unit)
    places = estimate.by_memory
    operands = [name for name in estimate.by_operand if name not in OF_NO_OPERAND]
    dear = sorted(places, key=lambda name: -places[name])
    columns = [
        Column(head=f"energy [{scale.name}]", footer="total", words=True),
        *(
            Column(
                head=x.replace("-", "-\n", 1),
                footer=scale(places[x]),
                spare=max(0, dear.index(x) - 1),
            )
            for x in places
        ),
        Column(head="|", footer="|"),
        *(Column(head=x, footer=scale(estimate.by_operand[x])) for x in operands),
    ]
    table = Grid(columns, title="at which place | for which operand")
    for part in estimate.counted:
        table.add_row(
            part.name,
            *(scale(part.by_memory.get(name, 0.0)) for name in places),
            "|",
            *(scale(part.by_operand.get(name, 0.0)) for name in operands),
        )
    return table


def _totals(estimate: Estimate) -> Iterator[tuple[str, str]]:
    unit, energy = estimate.energy_unit, estimate.energy
    yield "energy", f"{show_energy(energy, unit)} per inference{beside(estimate)}"
    if estimate.joules is not None:
        yield "joules", _rests_on(estimate.joules)
    yield "place", _shares(estimate.by_memory, energy)
    yield "operand", _shares(estimate.by_operand, energy)
    macs = show_count(estimate.macs)
    if estimate.effectual_macs != estimate.macs:
        share = _percent(estimate.effectual_macs, estimate.macs)
        macs += f", {show_count(estimate.effectual_macs)} of them done ({share})"
    yield "MACs", macs
    yield "cycles", show_count(estimate.cycles)
    others, bounds = estimate.others, estimate.between
    if others is not None and others.operators:
        hint = "" if others.counted else f"; {COUNT}"
        yield "other", others_words(others, estimate) + hint
    if estimate.plan is not None:
        yield "between", f"{plan_words(estimate, estimate.plan)}: picojoule plan NET -a CHIP"
    if bounds is not None:
        hint = f": {ASK}" if bounds.energy else ""
        yield "between", saving_words(estimate, bounds) + hint


def _rests_on(joules: Joules) -> str:
    return f"{joules}: {joules.origin.source or 'no source is given'}"


def beside(estimate: Estimate) -> str:
    """The energy over that of the MACs alone, as it stands beside the energy."""
    times = estimate.times_arithmetic
    return "" if times is None else f", {times:.3g} times the energy of its arithmetic"


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


def not_counted_line(
    not_counted: Mapping[str, int],
    accelerator: Accelerator | None = None,
    others: Others | None = None,
) -> str:
    """What the estimate leaves out: operators by name and count, and what the machine omits.

    Args:
        others: what the operators move, which may be counted though what they do is not.
    """
    moved = others is not None and others.counted
    of = "the arithmetic of " if moved else ""
    operators = [of + listed(not_counted)] if not_counted else []
    return f"not counted: {'; '.join([*operators, *unsaid(accelerator)]) or 'nothing'}"


# -- one layer's mapping -------------------------------------------------------------------


def mapping_report(
    estimate: Estimate,
    layer: Layer,
    accelerator: Accelerator,
    alternatives: Sequence[Alternative] = (),
    front: Sequence[Found] = (),
    accesses: str = CHARGED,
) -> Group:
    """The mapping of the one layer of *estimate*: loop nest, contents, accesses, certificate.

    With *alternatives* also what they would cost; with a *front*, its points.
    """
    shown = estimate.in_picojoules()
    priced, unit = shown.layers[0], shown.energy_unit
    each = 1.0 if shown is estimate or estimate.joules is None else 1e12 * estimate.joules.per_unit
    moved = edges(layer, accelerator, priced.mapping, estimate.batch)
    title = f"{layer.name} of {estimate.network} on {accelerator.name}: {layer.bounds}"
    facts = [
        ("energy", f"{show_energy(priced.energy, unit)} per inference{beside(shown)}"),
        ("place", _shares(priced.by_memory, priced.energy)),
        ("operand", _shares(priced.by_operand, priced.energy)),
        (
            "cycles",
            f"{show_count(priced.cycles)} per inference, limited by {priced.limited_by}; "
            f"utilization {100 * priced.utilization:.0f} %",
        ),
        ("certificate", priced.certificate(estimate.objective)),
    ]
    if estimate.joules is not None:
        facts.insert(1, ("joules", _rests_on(estimate.joules)))
    facts += _spilled(accelerator, moved)
    others: list[RenderableType] = []
    if alternatives:
        others = [Text(), *alternatives_report(alternatives, estimate.objective, unit, each)]
    if front:
        others += [Text(), front_table(front, estimate.batch, unit, each)]
    return Group(
        _text(title, "bold"),
        Text(),
        Picture(loop_nest(layer, accelerator, priced.mapping)),
        Text(),
        _contents_table(layer, accelerator, priced.mapping),
        edges_table(moved),
        layer_table(priced, unit, accesses),
        facts_table(facts),
        *others,
        Text(),
        _prose(f"meaning: {shown.meaning}"),
    )


def _spilled(
    accelerator: Accelerator, moved: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """That partial sums leave the chip, where they do."""
    outside = {memory.name for memory in accelerator.levels[0].memories}
    for edge in moved:
        if edge["operand"] == Operand.OUTPUT.value and edge["from"] in outside and edge["down"]:
            yield (
                "spilled",
                f"{show_count(edge['down'])} partial sums per inference go out to {edge['from']} "
                "and come back",
            )


def _contents_table(layer: Layer, accelerator: Accelerator, mapping: LoopNest) -> Grid:
    heads = ("input", "weight", "output", "together", "capacity", "full")
    table = grid("memory", *heads, title="what one instance holds")
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
