"""Run ``picojoule validate`` and write what README and documentation print of it.

The rows go to ``benchmarks/results/validation.csv``; from them come the table of the README, the
summary and the picture of ``docs/explanation/trust.md``. Tests hold that they agree. Run from the
root of the repository: ``python -m tools.make_validation`` (two minutes of a core).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from picojoule.files import write_atomically
from picojoule.reports.plots import save_validation
from picojoule.units import show_count
from picojoule.validation.figures import PublishedNumber
from picojoule.validation.sections import validate
from picojoule.validation.summary import errors

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "results" / "validation.csv"
PAGES = (ROOT / "README.md", ROOT / "docs" / "explanation" / "trust.md")
PICTURE = ROOT / "docs" / "explanation" / "validation.svg"
COLUMNS = tuple(field.name for field in fields(PublishedNumber))
MOST_LINES = 16  # of one figure in the README's table; one with more has a line for each kind
PART = re.compile(r"(<!-- (validation-\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def text_of(rows: Iterable[PublishedNumber]) -> str:
    """Rows as a CSV file, numbers to five digits."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(record(row) for row in rows)
    return file.getvalue()


def record(row: PublishedNumber) -> dict[str, str]:
    """A row as the file has it."""
    values = {name: getattr(row, name) for name in COLUMNS}
    values["fitted"] = "fitted" if row.fitted else ""
    return {
        name: "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
    }


def kept() -> list[PublishedNumber]:
    """The rows of the file."""
    with KEPT.open(encoding="utf-8") as file:
        return [_row(record) for record in csv.DictReader(file)]


def _row(record: dict[str, str]) -> PublishedNumber:
    values: dict[str, Any] = dict(record)
    values["paper"], values["ours"] = float(record["paper"]), float(record["ours"])
    values["tolerance"] = float(record["tolerance"]) if record["tolerance"] else None
    values["fitted"] = bool(record["fitted"])
    return PublishedNumber(**values)


def table(rows: Sequence[PublishedNumber]) -> str:
    """The README's table: a line for each quantity of a figure, all layers in one."""
    lines = [
        "| figure | quantity | rows | published | ours | ours / published | promised |",
        "|---|---|---|---|---|---|---|",
    ]
    before = ""
    for (figure, quantity), alike in _groups(rows):
        ratios = sorted(row.ratio for row in alike)
        shown = [_span([getattr(row, x) for row in alike]) for x in ("paper", "ours")]
        ratio = " to ".join(dict.fromkeys(f"{x:.3f}" for x in (ratios[0], ratios[-1])))
        name = figure if figure != before else ""
        cells = (name, quantity, str(len(alike)), *shown, ratio, _promise(alike))
        lines.append(f"| {' | '.join(cells)} |")
        before = figure
    return "\n".join(lines) + "\n"


def _groups(
    rows: Sequence[PublishedNumber],
) -> Iterator[tuple[tuple[str, str], list[PublishedNumber]]]:
    """Rows of a figure that tell the same of several layers, dataflows or places, and single ones.

    Fitted rows stand apart from those that test something.
    """
    alike: dict[tuple[str, str, bool], list[PublishedNumber]] = {}
    lines = Counter(figure for figure, _ in {(row.figure, _told(row.quantity)) for row in rows})
    for row in rows:
        told = f"{row.kind}, all rows" if lines[row.figure] > MOST_LINES else _told(row.quantity)
        alike.setdefault((row.figure, told, row.fitted), []).append(row)
    for (figure, told, fitted), group in alike.items():
        several = len(group) > 2
        for part in [group] if several else [[row] for row in group]:
            quantity = told if several else part[0].quantity
            yield (figure, f"{quantity} (fitted)" if fitted else quantity), part


def _told(quantity: str) -> str:
    """What a row tells of a layer, dataflow or place, whose name stands first.

    >>> _told("conv1_1 buffer, MB"), _told("total energy"), _told("ws, energy / RS")
    ('buffer, MB', 'total energy', 'energy / RS')
    """
    first, _, rest = quantity.partition(" ")
    whole = first in ("total", "all", "reduction", "energy")
    return quantity if whole or not rest else rest


def _span(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(_shown(x) for x in (min(values), max(values))))


def _shown(value: float) -> str:
    return show_count(value) if abs(value) >= 1000 else f"{value:.3g}"


def _promise(rows: Sequence[PublishedNumber]) -> str:
    promised = sorted({row.tolerance for row in rows if row.promised and row.tolerance is not None})
    if not promised:
        return ""
    ends = dict.fromkeys((promised[0], promised[-1]))
    shown = " to ".join(f"{x * 100:.3g}" for x in ends) + " %" if promised[-1] > 1e-6 else "exact"
    some = "" if all(row.promised for row in rows) else f", {sum(x.promised for x in rows)} rows"
    missed = sum(not row.ok for row in rows)
    return f"{shown}{some}" + (f"; **{missed} missed**" if missed else "")


def summary(rows: Sequence[PublishedNumber]) -> str:
    """Errors by origin and kind, as the command ends with."""
    lines = [
        "| published by | quantity | rows | median error | worst | promised | kept | fitted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in errors(rows):
        apart = ["" if x is None else f"{x * 100:.1f} %" for x in (line.median, line.worst)]
        counts = (line.promised, line.kept, line.fitted)
        cells = (line.origin, line.kind, str(line.count), *apart, *map(str, counts))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page_with(text: str, rows: Sequence[PublishedNumber]) -> str:
    """A page with its marked parts made anew."""
    made = {"validation-table": table(rows), "validation-summary": summary(rows)}
    return PART.sub(lambda part: f"{part[1]}{made[part[2]]}{part[3]}", text)


def main() -> None:
    """Write the rows, the pages and the picture."""
    write_atomically(KEPT, text_of(validate()))
    rows = kept()
    for page in PAGES:
        write_atomically(page, page_with(page.read_text("utf-8"), rows))
    save_validation(rows, PICTURE)


if __name__ == "__main__":
    main()
