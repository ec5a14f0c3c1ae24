"""An examination as text: the seven bounds, what binds, and what would lift it."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from picojoule.eyexam.examination import Examination
from picojoule.eyexam.seven_steps import LayerExamination
from picojoule.reports.tables import WIDTH, printable
from picojoule.reports.text import not_counted_line, remark_lines, warning_lines
from picojoule.units import show_count

_HEADS = ("1 shape", "2 dataflow", "3 PEs", "4 array", "5 storage", "6 bandwidth", "7 in time")


def eyexam_report(result: Examination) -> Group:
    """A network's bounds layer by layer, and the step that costs each layer most."""
    title = (
        f"{result.network} on {result.accelerator}: MAC/cycle that {result.elements} elements can "
        f"reach, dataflow {result.dataflow}, batch {result.batch}"
    )
    bounds = _table("layer", "peak", *_HEADS, "of peak")
    for layer in result.layers:
        bounds.add_row(*_bounds_row(layer.name, layer.peak, [s.bound for s in layer.steps]))
    bounds.add_section()
    bounds.add_row(
        *_bounds_row("network", result.peak, [result.bound(n) for n in range(1, 8)]), style="bold"
    )
    parts: list[RenderableType] = [
        *warning_lines(result.warnings),
        Text(printable(title), "bold"),
        *remark_lines(result.remarks),
        bounds,
        _reasons(result),
    ]
    parts += [Text(f"note: {printable(note)}") for note in result.notes]
    unproved = [x.name for x in result.layers if x.search and x.search.status != "optimal"]
    if unproved:
        names = printable(", ".join(unproved))
        parts.append(Text(f"step 6 is the best found, not proved best, for: {names}"))
    undecided = [x.name for x in result.layers if x.search and not x.cheapest]
    if undecided:
        names = printable(", ".join(undecided))
        parts.append(
            Text(
                f"step 7 plays one of the fastest mappings, perhaps not the cheapest, for: {names}"
            )
        )
    parts.append(Text(not_counted_line(result.not_counted)))
    return Group(*parts)


def layer_report(result: Examination, layer: LayerExamination) -> Group:
    """The seven steps of one layer."""
    title = f"{layer.name} of {result.network} on {result.accelerator}, dataflow {result.dataflow}"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, width in (("step", 18), ("MAC/cycle", 9), ("limited by", 34), ("lift", 34)):
        justify = "right" if name == "MAC/cycle" else "left"
        table.add_column(name, justify=justify, max_width=width, overflow="fold")  # type: ignore[arg-type]
    for step in layer.steps:
        style = "bold" if step is layer.worst else ""
        cells = (f"{step.step} {step.title}", _number(step.bound), step.limited_by, step.lift)
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    share = f"{100 * layer.last / layer.peak:.3g} % of the peak of {layer.peak:.4g} MAC/cycle"
    if not 0 < layer.peak < math.inf:
        share = "no MAC is left to do"
    last = f"{share}; bold: what costs most"
    remarks = remark_lines(result.remarks)
    return Group(Text(printable(title), "bold"), *remarks, table, Text(last))


def _reasons(result: Examination) -> Table:
    """Per layer the step that takes most, why, and what would lift it; equal layers once."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, width in (("layer", 24), ("worst step", 18), ("limited by", 28), ("lift", 28)):
        table.add_column(name, max_width=width, overflow="fold")
    told: dict[tuple[object, ...], list[str]] = {}
    for layer in result.layers:
        told.setdefault((layer.worst, layer.macs), []).append(layer.name)
    by_name = {layer.name: layer for layer in result.layers}
    for names in told.values():
        step = by_name[names[0]].worst
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        cells = (names[0] + more, f"{step.step} {step.title}", step.limited_by, step.lift)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, name in enumerate(columns):
        if index:
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold", max_width=WIDTH - 76)
    return table


def _bounds_row(name: str, peak: float, bounds: list[float | None]) -> list[Text]:
    finite = [bound for bound in bounds if bound is not None]
    share = f"{100 * finite[-1] / peak:.3g} %" if 0 < peak < math.inf else "-"
    cells = [name, _number(peak), *map(_number, bounds), share]
    return [Text(printable(cell)) for cell in cells]


def _number(bound: float | None) -> str:
    if bound is None:
        return "-"
    return show_count(bound) if 1e5 <= bound < math.inf else f"{bound:.4g}"
