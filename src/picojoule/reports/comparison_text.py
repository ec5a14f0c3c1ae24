"""Two estimates side by side, as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group

from picojoule.comparison import Change, Comparison
from picojoule.reports.scale import Scale
from picojoule.reports.tables import Grid, cell, grid
from picojoule.reports.text import remark_lines, warning_lines


def comparison_report(comparison: Comparison) -> Group:
    """What was asked differently, totals, and every layer."""
    comparison = comparison.in_picojoules()
    before, after, unit = comparison.before, comparison.after, comparison.before.energy_unit
    whole = [Change("total", before.energy, after.energy)]
    layers = [pair.energy for pair in comparison.layers]
    changed = [cell(f"{what}: {b} before, {a} after") for what, b, a in comparison.changed]
    return Group(
        *warning_lines(comparison.warnings),
        cell(f"before: {before.network} on {before.accelerator}", "bold"),
        *remark_lines(before.remarks),
        cell(f"after:  {after.network} on {after.accelerator}", "bold"),
        *remark_lines(after.remarks),
        *changed,
        _changes_table("layer", [*layers, *whole], unit),
        _changes_table("place", comparison.by_memory, unit),
        _changes_table("operand", comparison.by_operand, unit),
    )


def _changes_table(name: str, changes: Sequence[Change], unit: str) -> Grid:
    values = [x for change in changes for x in (change.before, change.after) if x is not None]
    scale = Scale(max(values, default=0.0), unit)
    rows = grid(name, f"before\n[{scale.name}]", f"after\n[{scale.name}]", "after / before")
    for change in changes:
        rows.add_row(
            cell(change.name),
            *("-" if x is None else scale(x) for x in (change.before, change.after)),
            "-" if change.ratio is None else f"{change.ratio:.3f}",
        )
    return rows
