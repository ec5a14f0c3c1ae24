"""Flat records as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of one


def csv_text(rows: Sequence[dict[str, Any]], warnings: Sequence[str] = ()) -> str:
    """One line per record; a column that a record lacks is 0.

    A text that a spreadsheet would take for a formula (a layer may have any name) is quoted by an
    apostrophe.

    Args:
        warnings: said first, each as a line of comment; there are none of a complete network, so
            that any program reads its table.

    >>> csv_text([{"layer": "a", "energy": 1}])
    'layer,energy\\r\\na,1\\r\\n'
    >>> csv_text([{"layer": "=1+1"}])
    "layer\\r\\n'=1+1\\r\\n"
    >>> csv_text([{"layer": "a"}], ["incomplete: ..."])
    '# incomplete: ...\\r\\nlayer\\r\\na\\r\\n'
    """
    file = StringIO()
    file.writelines(f"# {warning}\r\n" for warning in warnings)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(file, columns, restval=0.0)
    writer.writeheader()
    writer.writerows({name: _harmless(cell) for name, cell in row.items()} for row in rows)
    return file.getvalue()


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
