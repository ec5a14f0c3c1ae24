"""A network's plan, for people: what lies where while each node runs, drawn in text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Group, RenderableType

from picojoule.accelerator import Accelerator
from picojoule.estimate_records import Estimate, LayerEstimate
from picojoule.plan.placement import seen_from
from picojoule.plan.records import Plan, PlanStep
from picojoule.reports.graph import repeats
from picojoule.reports.tables import Column, Grid
from picojoule.reports.tables import cell as _text
from picojoule.reports.tables import prose as _prose
from picojoule.units import show_capacity, show_count, show_energy, show_seconds
from picojoule.workload import Operand

LEGEND = (
    "A lane is a tensor that lies in the memory, from the node that makes it (┌) to the last that "
    "reads it (└). A bar shows tensors (█), tiles of the layer that runs (▒) and what is free (·)."
)
BAR = 10
"""Cells of the bar that shows how full a memory is."""


class _Row(NamedTuple):
    """A node that runs: where its operands lie; lanes of tensors and how full, by memory."""

    node: str
    reads: str
    makes: str
    memories: tuple[tuple[str, str], ...]


def seen_by(estimate: Estimate, layer: LayerEstimate) -> Accelerator | None:
    """The machine as a layer sees it from where its operands lie."""
    machine, plan = estimate.machine, estimate.plan
    if machine is None or plan is None or not layer.homes:
        return machine
    homes = {Operand(name): memory for name, memory in layer.homes.items()}
    return seen_from(machine, homes, plan.rooms(layer.name))


def plan_words(estimate: Estimate, plan: Plan) -> str:
    """In a few words, what stays on the chip and what that saves."""
    count = len(plan.stays)
    stay = f"{count} tensor{' stays' if count == 1 else 's stay'} on chip"
    less = _less(estimate.energy, plan.outside["energy"])
    return f"{stay}: {less} energy than where nothing stays, {plan.status}"


def plan_headline(estimate: Estimate) -> str:
    """What the plan takes, and what it saves, in one line."""
    shown = estimate.in_picojoules()
    energy = show_energy(shown.energy, shown.energy_unit)
    less = _less(shown.energy, _plan(shown).outside["energy"])
    head = f"{estimate.network} on {estimate.accelerator}"
    return f"{head}: {energy} per inference, {less} than where nothing stays"


def plan_report(estimate: Estimate) -> Group:
    """The plan of an estimate: node by node what lies in which memory, then what that is worth."""
    shown = estimate.in_picojoules()
    plan = _plan(shown)
    parts: list[RenderableType] = [_text(plan_headline(estimate), "bold")]
    if plan.stays:
        parts += [picture(plan), _prose(LEGEND)]
    parts += map(_prose, plan_sentences(shown))
    return Group(*parts)


def plan_sentences(estimate: Estimate) -> Iterator[str]:
    """What the plan saves, and what is proved of it."""
    plan = _plan(estimate)
    outside = plan.outside
    energy = show_energy(outside["energy"], estimate.energy_unit)
    yield (
        f"Where nothing stays: {energy} and {_time(outside['cycles'], estimate)}. The plan: "
        f"{show_energy(estimate.energy, estimate.energy_unit)} "
        f"({_less(estimate.energy, outside['energy'])}) and {_time(estimate.cycles, estimate)} "
        f"({_less(estimate.cycles, outside['cycles'])})."
    )
    if not plan.stays:
        yield "No tensor between layers fits on the chip, or is worth the room it takes there."
    value = {"latency": "cycles", "edp": "energy times delay"}.get(plan.objective, plan.objective)
    if plan.status == "optimal":
        yield f"Optimal: no plan that keeps tensors whole takes less {value}, each layer searched."
    else:
        yield (
            f"Feasible: at most {100 * plan.gap:.2g} % more {value} than the best plan that keeps "
            "tensors whole. What is not proved is of layers: where time costs energy they are "
            "priced at the time that they take, played through, and proved at that of the busiest "
            "part."
        )
    above = plan.value / plan.least - 1 if plan.least > 0 else 0.0
    yield (
        "No schedule of such mappings, whether tensors stay whole or band by band, has less "
        f"{value} than {_value(plan.least, plan, estimate)}: each layer with all near by that may "
        f"be, and all room its own. The plan is {100 * max(above, 0.0):.3g} % above that."
    )
    counted = estimate.others is not None and estimate.others.counted
    yield (
        "Inputs of the network are loaded and outputs stored all the same; weights are loaded in "
        "every inference. What operators without products make takes room"
        + (", and what they move is counted." if counted else "; what they move is not counted.")
    )


def _plan(estimate: Estimate) -> Plan:
    assert estimate.plan is not None  # of who asks for one
    return estimate.plan


def _less(value: float, than: float) -> str:
    if not than or abs(value / than - 1) < 5e-4:
        return "no less"
    return (
        f"{100 * (1 - value / than):.1f} % less"
        if value < than
        else f"{100 * (value / than - 1):.1f} % more"
    )


def _time(cycles: float, estimate: Estimate) -> str:
    machine = estimate.machine
    if machine is not None and machine.clock:
        return show_seconds(cycles / machine.clock)
    return f"{show_count(cycles)} cycles"


def _value(value: float, plan: Plan, estimate: Estimate) -> str:
    if plan.objective == "energy":
        return show_energy(value, estimate.energy_unit)
    return _time(value, estimate) if plan.objective == "latency" else show_count(value)


def picture(plan: Plan) -> Grid:
    """Node by node what lies in which memory, and how full that is; repeated blocks once."""
    used = [name for name in plan.capacities if any(stay.memory == name for stay in plan.stays)]
    columns = [
        Column(head="node", words=True),
        Column(head="reads from", words=True, spare=2),
        Column(head="makes in", words=True, spare=2),
    ]
    for name in used:
        capacity = plan.capacities[name]
        size = "" if capacity is None else f"\n{show_capacity(capacity)}"
        columns += [Column(head=name, words=True), Column(head=f"full{size}", spare=1)]
    table = Grid(columns)
    rows = list(_rows(plan, used))
    at = 0
    while at < len(rows):
        period, more = repeats([row[1:] for row in rows], at)
        for row in rows[at : at + max(period, 1)]:
            cells = [cell for pair in row.memories for cell in pair]
            table.add_row(row.node, row.reads, row.makes, *cells)
        if more:
            table.add_row(_text(f"… these {period} {more} more", "dim"))
        at += max(period, 1) * (more + 1)
    return table


def _rows(plan: Plan, used: list[str]) -> Iterator[_Row]:
    lanes: dict[str, list[str]] = {name: [] for name in used}  # memory -> tensor of each lane
    last = {stay.tensor: stay.last for stay in plan.stays}
    for step in plan.steps:
        made = [stay for stay in plan.stays if stay.first == step.node]
        for stay in made:
            lane = lanes[stay.memory]
            free = next((n for n, tensor in enumerate(lane) if not tensor), len(lane))
            lane[free : free + 1] = [stay.tensor]
        names = {stay.tensor for stay in made}
        memories = []
        for name in used:
            drawn = (
                " " if not x else "┌" if x in names else "└" if last[x] == step.node else "│"
                for x in lanes[name]
            )
            memories.append(("".join(drawn).rstrip(), _bar(plan, step, name)))
            lanes[name] = [x if x and last[x] != step.node else "" for x in lanes[name]]
        reads = dict.fromkeys(x for o, x in step.homes.items() if o != "output")
        makes = step.homes.get("output", "" if step.layers else ", ".join(x.memory for x in made))
        yield _Row(step.node, ", ".join(reads), makes, tuple(memories))


def _bar(plan: Plan, step: PlanStep, name: str) -> str:
    capacity = plan.capacities[name]
    if capacity is None:
        return show_capacity(step.rooms[name])
    lying, tiles = step.rooms[name] / capacity, step.tiles[name] / capacity
    dark = min(BAR, round(BAR * lying))
    light = min(BAR, round(BAR * (lying + tiles))) - dark
    bar = "█" * dark + "▒" * light + "·" * (BAR - dark - light)
    return f"{bar} {100 * (lying + tiles):3.0f} %"
