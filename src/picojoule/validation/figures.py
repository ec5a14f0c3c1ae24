"""One published number beside ours, and where the published ones are read."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources

from picojoule.estimate_records import Estimate
from picojoule.estimation import estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedNumber:
    """One published number and ours; ``tolerance`` is relative, None where nothing is promised."""

    figure: str
    quantity: str
    paper: float
    ours: float
    tolerance: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours over the paper's."""
        return self.ours / self.paper if self.paper else math.inf

    @property
    def ok(self) -> bool:
        """Whether ours is as near as promised."""
        return self.tolerance is None or abs(self.ratio - 1) <= self.tolerance


@cache
def published(name: str) -> tuple[dict[str, str], ...]:
    """The rows of ``data/published/NAME.csv``."""
    path = resources.files("picojoule") / "data" / "published" / f"{name}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(csv.DictReader(line for line in lines if not line.startswith("#")))


def figure(name: str, **wanted: str) -> dict[tuple[str, str], float]:
    """Published values by (layer, quantity), of the rows whose columns have the *wanted* values."""
    return {
        (row["layer"], row["quantity"]): float(row["value"])
        for row in published(name)
        if all(row[column] == value for column, value in wanted.items())
    }


@cache
def estimated(network: str, accelerator: str, batch: int, policy: str = "published") -> Estimate:
    """An estimate that several comparisons share."""
    return estimate(network, accelerator, batch=batch, policy=policy)
