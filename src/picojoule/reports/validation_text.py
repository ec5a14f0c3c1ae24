"""Published numbers beside ours as text: row by row, and their errors by origin and kind."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType

from picojoule.reports.tables import Column, Grid, cell, prose
from picojoule.units import show_count
from picojoule.validation.figures import PublishedNumber
from picojoule.validation.summary import errors, measured


def validation_report(rows: Sequence[PublishedNumber]) -> Group:
    """All of it; *rows* as ``validate`` gives."""
    parts: list[RenderableType] = [
        validation_table(rows),
        summary_table(rows),
        prose(verdict(rows)),
    ]
    return Group(*parts)


def validation_table(rows: Sequence[PublishedNumber]) -> Grid:
    """What papers print beside what picojoule says."""
    columns = [
        Column(head="figure", words=True, widest=18),
        Column(head="quantity", words=True),
        *(Column(head=x) for x in ("paper", "ours", "ratio", "promised")),
        Column(head="note", words=True, widest=34),
    ]
    table = Grid(columns)
    for row in rows:
        table.add_row(
            cell(row.figure),
            cell(row.quantity),
            *(cell(_number(x)) for x in (row.paper, row.ours, row.ratio)),
            cell(_promise(row)),
            cell(row.note),
            style="dim" if row.fitted else "" if row.ok else "red",
        )
    return table


def summary_table(rows: Sequence[PublishedNumber]) -> Grid:
    """The errors of *rows* by where the published number comes from and what it is."""
    columns = [
        Column(head="published by", words=True),
        Column(head="quantity", words=True),
        *(Column(head=x) for x in ("rows", "median error", "worst", "promised", "kept", "fitted")),
    ]
    table = Grid(columns)
    for line in errors(rows):
        table.add_row(
            cell(line.origin),
            cell(line.kind),
            cell(line.count),
            *(cell("-" if x is None else f"{x * 100:.3g} %") for x in (line.median, line.worst)),
            *(cell(x) for x in (line.promised, line.kept, line.fitted)),
        )
    return table


def verdict(rows: Sequence[PublishedNumber]) -> str:
    """How much of it is a test, and what of what is promised is kept, in a sentence or two."""
    tests = [row for row in rows if not row.fitted]
    promised = [row for row in tests if row.promised]
    missed = [row for row in promised if not row.ok]
    kept = f"all but {len(missed)} are kept" if missed else "all are kept"
    return (
        f"{len(tests)} rows, {measured(rows)} of them from silicon or layout; a tolerance is "
        f"promised for {len(promised)}: {kept}. {len(rows) - len(tests)} more rows are fitted: a "
        "constant or a mapping was chosen with them in sight, so they test nothing."
    )


def _promise(row: PublishedNumber) -> str:
    if row.fitted:
        return "fitted"
    if row.tolerance is None:
        return "-"
    return f"{row.tolerance * 100:.3g} %" if row.tolerance > 1e-6 else "exact"


def _number(value: float) -> str:
    return show_count(value) if abs(value) >= 1000 else f"{value:.4g}"
