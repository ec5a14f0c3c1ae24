"""One published number beside ours, and where the published ones are read."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from picojoule.estimate_records import Estimate
from picojoule.estimation import estimate

Kind = Literal["energy", "power", "time", "traffic", "size", "area", "relative"]
"""What sort of quantity: ``time`` of any rate too, ``size`` of what is held or in use at a time,
``relative`` of one such number over another."""

Origin = Literal["silicon", "layout", "simulator", "example"]
"""Where the published number comes from: a chip that was measured, a design after layout, another
program's answer, or an example worked out on paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedNumber:
    """One published number and ours.

    Args:
        tolerance: relative, None where nothing is promised.
        fitted: a constant or mapping behind ours was chosen with this number in sight: shown, but
            no test of anything, and counted nowhere.
    """

    figure: str
    quantity: str
    kind: Kind
    origin: Origin
    paper: float
    ours: float
    tolerance: float | None = None
    fitted: bool = False
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours over the paper's."""
        return self.ours / self.paper if self.paper else math.inf

    @property
    def error(self) -> float:
        """How far ours is from the paper's, relative to it."""
        return abs(self.ratio - 1)

    @property
    def promised(self) -> bool:
        """Whether anything is promised of it."""
        return self.tolerance is not None and not self.fitted

    @property
    def ok(self) -> bool:
        """Whether ours is as near as promised."""
        return self.fitted or self.tolerance is None or self.error <= self.tolerance

    @property
    def source(self) -> str:
        """The publication, without the place in it.

        >>> place = {"figure": "JSSC'17 Table V", "quantity": "total, ms"}
        >>> PublishedNumber(**place, kind="time", origin="silicon", paper=2.0, ours=1.9).source
        "JSSC'17"
        """
        return self.figure.split()[0].rstrip(",")


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
