"""How far published numbers and ours are apart, by where they come from and what they are."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from picojoule.validation.figures import Kind, Origin, PublishedNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """The errors of the numbers of one kind from one origin; fitted ones are only counted.

    Args:
        count: numbers that are no fit.
        median, worst: relative errors of these; None where all are fitted.
        promised, kept: for how many a tolerance is promised, and how many are within it.
        fitted: numbers that a constant or mapping was chosen by.
    """

    origin: Origin
    kind: Kind
    count: int
    median: float | None
    worst: float | None
    promised: int
    kept: int
    fitted: int


def errors(rows: Sequence[PublishedNumber]) -> Iterator[Errors]:
    """One line for each origin and kind that *rows* have, measured ones first."""
    for origin in get_args(Origin):
        for kind in get_args(Kind):
            alike = [row for row in rows if (row.origin, row.kind) == (origin, kind)]
            tests = [row for row in alike if not row.fitted]
            apart = [row.error for row in tests]
            promised = [row for row in tests if row.promised]
            if alike:
                yield Errors(
                    origin=origin,
                    kind=kind,
                    count=len(tests),
                    median=statistics.median(apart) if apart else None,
                    worst=max(apart) if apart else None,
                    promised=len(promised),
                    kept=sum(row.ok for row in promised),
                    fitted=len(alike) - len(tests),
                )


def measured(rows: Sequence[PublishedNumber]) -> int:
    """How many of *rows* are a test by a chip or its layout: fitted ones are none."""
    return sum(row.origin in ("silicon", "layout") and not row.fitted for row in rows)
