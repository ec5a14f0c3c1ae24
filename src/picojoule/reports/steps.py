"""An examination as text: the seven bounds, what binds, and what would lift it."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.text import Text

from picojoule.eyexam.examination import Examination
from picojoule.eyexam.seven_steps import LayerExamination
from picojoule.reports.tables import Column, Grid, cell, prose
from picojoule.reports.text import not_counted_line, remark_lines, warning_lines
from picojoule.units import show_count

_SPARE = (7, 6, 5, 4, 0, 0, 0)  # in want of width the steps that are tightest stay
_HEADS = ("1 shape", "2 dataflow", "3 PEs", "4 array", "5 storage", "6 bandwidth", "7 in time")


def eyexam_report(result: Examination) -> Group:
    """A network's bounds layer by layer, and the step that costs each layer most."""
    title = (
        f"{result.network} on {result.accelerator}: MAC/cycle that {result.elements} elements can "
        f"reach, dataflow {result.dataflow}, batch {result.batch}"
    )
    steps = [Column(head=head, spare=rank) for head, rank in zip(_HEADS, _SPARE, strict=True)]
    heads = [
        Column(head="layer", words=True, widest=24),
        Column(head="peak"),
        *steps,
        Column(head="of peak"),
    ]
    bounds = Grid(heads, ruled=False)
    for layer in result.layers:
        bounds.add_row(*_bounds_row(layer.name, layer.peak, [s.bound for s in layer.steps]))
    bounds.add_row()
    bounds.add_row(
        *_bounds_row("network", result.peak, [result.bound(n) for n in range(1, 8)]), style="bold"
    )
    parts: list[RenderableType] = [
        *warning_lines(result.warnings),
        cell(title, "bold"),
        *remark_lines(result.remarks),
        bounds,
        Text(),
        _reasons(result),
        Text(),
    ]
    parts += [prose(f"note: {note}") for note in result.notes]
    if result.policy != "best":
        parts.append(prose(f"meaning: {result.stands_for}"))
    unproved = [x.name for x in result.layers if x.search and x.search.status != "optimal"]
    if unproved:
        names = ", ".join(unproved)
        parts.append(prose(f"step 6 is the best found, not proved best, for: {names}"))
    undecided = [x.name for x in result.layers if x.search and not x.cheapest]
    if undecided:
        names = ", ".join(undecided)
        parts.append(
            prose(
                f"step 7 plays one of the fastest mappings, perhaps not the cheapest, for: {names}"
            )
        )
    parts.append(prose(not_counted_line(result.not_counted)))
    return Group(*parts)


def headline(result: Examination) -> str:
    """How fast the network runs, in one line."""
    last = next(b for b in map(result.bound, range(7, 0, -1)) if b is not None)
    share = f", {100 * last / result.peak:.3g} % of the peak" if 0 < result.peak < math.inf else ""
    return f"{result.network} on {result.accelerator}: {_number(last)} MAC/cycle{share}"


def layer_report(result: Examination, layer: LayerExamination) -> Group:
    """The seven steps of one layer."""
    title = f"{layer.name} of {result.network} on {result.accelerator}, dataflow {result.dataflow}"
    columns = [
        Column(head="step", words=True, widest=18),
        Column(head="MAC/cycle"),
        Column(head="limited by", words=True, widest=34),
        Column(head="lift", words=True, widest=34),
    ]
    table = Grid(columns, ruled=False)
    for step in layer.steps:
        style = "bold" if step is layer.worst else ""
        number = f"{step.step} {step.title}"
        table.add_row(number, _number(step.bound), step.limited_by, step.lift, style=style)
    share = f"{100 * layer.last / layer.peak:.3g} % of the peak of {layer.peak:.4g} MAC/cycle"
    if not 0 < layer.peak < math.inf:
        share = "no MAC is left to do"
    last = f"{share}; bold: what costs most"
    remarks = remark_lines(result.remarks)
    return Group(cell(title, "bold"), *remarks, table, Text(), prose(last))


def _reasons(result: Examination) -> Grid:
    """Per layer the step that takes most, why, and what would lift it; equal layers once."""
    widths = (("layer", 24), ("worst step", 18), ("limited by", 28), ("lift", 28))
    columns = [Column(head=name, words=True, widest=width) for name, width in widths]
    table = Grid(columns, ruled=False)
    told: dict[tuple[object, ...], list[str]] = {}
    for layer in result.layers:
        told.setdefault((layer.worst, layer.macs), []).append(layer.name)
    by_name = {layer.name: layer for layer in result.layers}
    for names in told.values():
        step = by_name[names[0]].worst
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        table.add_row(names[0] + more, f"{step.step} {step.title}", step.limited_by, step.lift)
    return table


def _bounds_row(name: str, peak: float, bounds: list[float | None]) -> list[str]:
    finite = [bound for bound in bounds if bound is not None]
    share = f"{100 * finite[-1] / peak:.3g} %" if 0 < peak < math.inf else "-"
    return [name, _number(peak), *map(_number, bounds), share]


def _number(bound: float | None) -> str:
    if bound is None:
        return "-"
    return show_count(bound) if 1e5 <= bound < math.inf else f"{bound:.4g}"
