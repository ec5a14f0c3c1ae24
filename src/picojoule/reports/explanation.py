"""Why a mapping costs what it does: its loop nest, the words it moves, what else would cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType

from picojoule.accelerator import Accelerator
from picojoule.alternatives import Alternative
from picojoule.mapper.found import Found
from picojoule.mapping import Mapping as LoopNest
from picojoule.question import images_at_once
from picojoule.reports.tables import Column, Grid, cell, facts_table, grid
from picojoule.traffic import Flow, flows, held_words
from picojoule.units import show_count, show_energy
from picojoule.workload import OPERANDS, Layer, Operand

MULTIPLIERS = "multipliers"


def loop_nest(layer: Layer, accelerator: Accelerator, mapping: LoopNest) -> str:
    """The loop nest as Timeloop draws it, with the words that one instance of each level holds.

    Where operands of a level have tiles of their own, each stage has the name of its memories.
    """
    titles = []
    for n, (level, stage) in enumerate(zip(mapping.levels, mapping.stages, strict=True)):
        words = [
            f"{o.value}:{held_words(layer, mapping, n, o, padded=accelerator.charge_padding)}"
            for o in OPERANDS
            if o in stage.keeps
        ]
        name = accelerator.levels[level].name
        if mapping.levels.count(level) > 1:
            memories = (x.name for x in accelerator.levels[level].memories if x.keeps & stage.keeps)
            name = "+".join(memories) or name
        titles.append(f"{name} [ {' '.join(words) or 'nothing'} ; tile {stage.tile} ]")
    return mapping.text(titles)


# -- words moved ---------------------------------------------------------------------------


def edges(
    layer: Layer, accelerator: Accelerator, mapping: LoopNest, batch: int = 1
) -> list[dict[str, Any]]:
    """Words moved per inference, for each operand and each edge from a memory to the next inward.

    ``down`` leaves the outer memory, ``up`` reaches it; ``inside`` is what all receivers (or
    senders) at the inner end handle together, so multicast or spatial accumulation makes up the
    difference. Values are counted before coding and before gating by zeros.

    Args:
        layer: for *batch* inferences, as the network has it.
    """
    images = images_at_once(layer, accelerator, batch)
    part = layer.with_batch_share(images, batch)
    every = flows(part, mapping, accelerator.input_reuse)
    records: list[dict[str, Any]] = []
    for operand in OPERANDS:
        chain = [dataflow for dataflow in every if dataflow.operand is operand]
        for dataflow, (down, up) in zip(chain, _ends(part, operand, chain), strict=True):
            outer = accelerator.levels[dataflow.parent].holder(operand)
            inner = (
                accelerator.levels[dataflow.child].holder(operand)
                if _inside(dataflow, accelerator)
                else None
            )
            records.append(
                {
                    "operand": operand.value,
                    "from": "" if outer is None else outer.name,
                    "to": MULTIPLIERS if inner is None else inner.name,
                    "down": down / images,
                    "up": up / images,
                    "inside": dataflow.at_child / images,
                }
            )
    return records


def _inside(flow: Flow[int], accelerator: Accelerator) -> bool:
    return flow.child < len(accelerator.levels)


def _ends(layer: Layer, operand: Operand, chain: Sequence[Flow[int]]) -> Iterator[tuple[int, int]]:
    """For each edge of an operand, outermost first, the words (down, up) at its outer end.

    Partial sums come down again unless they start afresh: at the outermost memory once for each
    output, further in for each stay to which none was handed down (DESIGN: first touch).
    """
    fresh = layer.size(operand)
    for dataflow in chain:
        if operand is not Operand.OUTPUT:
            yield dataflow.at_parent, 0
            continue
        down = dataflow.at_parent - fresh
        yield down, dataflow.at_parent
        fresh = dataflow.at_child - down


def edges_table(rows: Sequence[dict[str, Any]]) -> Grid:
    heads = ("operand", "down", "up", "at the\ninner end", "shared by")
    shown = grid("edge", *heads, title="words moved per inference, edge by edge")
    for row in rows:
        outside = row["up"] if row["operand"] == Operand.OUTPUT.value else row["down"]
        shown.add_row(
            f"{row['from']} - {row['to']}",
            row["operand"],
            show_count(row["down"]),
            show_count(row["up"]),
            show_count(row["inside"]),
            f"{row['inside'] / outside:.3g}" if outside else "-",
        )
    return shown


# -- other choices -------------------------------------------------------------------------


def alternatives_report(
    alternatives: Sequence[Alternative], objective: str, unit: str, each: float = 1.0
) -> list[RenderableType]:
    """What else would cost, as a table, and why some choices have no mapping.

    Args:
        each: what an energy of the alternatives is in *unit*.
    """
    columns = [
        Column(head="one thing different", words=True, widest=56),
        *(Column(head=x) for x in ("energy", "energy ratio", "cycles ratio")),
        Column(head="status", words=True, widest=36),
        *([Column(head="edp ratio")] if objective == "edp" else []),
    ]
    shown = Grid(columns, title="what other choices would cost, each with its best mapping")
    for x in alternatives:
        if x.estimate is None:
            continue
        proved = x.ratio_range is not None and x.ratio_range[1] - x.ratio_range[0] < 1e-9
        ends = "" if proved or x.ratio_range is None else _range(x.ratio_range, objective)
        shown.add_row(
            cell(x.change),
            show_energy(each * x.estimate.energy, unit),
            _times(x.energy_ratio),
            _times(x.cycles_ratio),
            cell(x.estimate.search.status + ends, "" if proved else "yellow"),
            *([_times(x.ratio)] if objective == "edp" else []),
        )
    parts: list[RenderableType] = [shown]
    without = [(x.change, x.reason) for x in alternatives if x.estimate is None]
    if without:
        parts += [cell("no mapping", "bold"), facts_table(without)]
    return parts


# -- the front of energy and cycles --------------------------------------------------------


def front_rows(front: Sequence[Found], batch: int) -> list[dict[str, Any]]:
    """The points of a front, per inference, as ``--json`` has them."""
    return [
        {
            "energy": point.cost.energy / batch,
            "cycles": point.cost.cycles / batch,
            "utilization": point.cost.utilization,
            "limited_by": point.cost.limited_by,
            "status": point.status,
            "mapping": point.mapping.to_dict(),
        }
        for point in front
    ]


def front_table(front: Sequence[Found], batch: int, unit: str, each: float = 1.0) -> RenderableType:
    """The points of a front: none is beaten in both energy and cycles.

    Args:
        each: what an energy of theirs is in *unit*.
    """
    heads = ("energy", "energy\nratio", "utilization", "limited by", "status")
    title = "energy against cycles: no mapping beats one of these in both"
    shown = grid("cycles", *heads, title=title)
    for point in front:
        shown.add_row(
            show_count(point.cost.cycles / batch),
            show_energy(each * point.cost.energy / batch, unit),
            _times(point.cost.energy / front[0].cost.energy),
            f"{100 * point.cost.utilization:.0f} %",
            cell(point.cost.limited_by),
            cell(point.status, "" if point.status == "optimal" else "yellow"),
        )
    return shown


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"


def _range(ends: tuple[float, float], objective: str) -> str:
    most = f"{ends[1]:.3f}" if math.isfinite(ends[1]) else "unknown"
    return f", {objective} ratio {ends[0]:.3f} to {most}"


# -- what no word moved takes --------------------------------------------------------------


def control_facts(accelerator: Accelerator) -> Iterator[tuple[str, str]]:
    """What clock and control take, where the machine says so."""
    control, unit = accelerator.control, accelerator.energy_unit
    each = {
        "a cycle": control.per_cycle,
        f"a cycle for each of {accelerator.elements} elements": control.per_element,
        "a command": control.per_command,
    }
    said = [f"{show_energy(energy, unit)} {what}" for what, energy in each.items() if energy]
    if said:
        yield "control", ", ".join(said)


def unsaid(accelerator: Accelerator | None) -> Iterator[str]:
    """What the machine says nothing of, so that it is not in the figures."""
    if accelerator is None or not accelerator.control_per_cycle:
        yield "control and clock tree (the machine states none)"
    if accelerator is None or not accelerator.static_per_cycle:
        yield "leakage (the machine states no static power)"
