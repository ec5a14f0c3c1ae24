"""Tables that grow by a line for each thing that was done."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path


def add_line(path: Path, row: Mapping[str, object]) -> None:
    """A line more; the names above the first."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
