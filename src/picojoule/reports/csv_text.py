"""Flat records as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """One line per record; a column that a record lacks is 0.

    >>> csv_text([{"layer": "a", "energy": 1}])
    'layer,energy\\r\\na,1\\r\\n'
    """
    file = StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(file, columns, restval=0.0)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
