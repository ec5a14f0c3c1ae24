"""Published figures, as ``picojoule validate`` compares them; the slow sections run there only."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from picojoule.validation import cvpr17, isca16, jssc17
from picojoule.validation.figures import PublishedNumber
from tools import make_mappings

Section = Callable[[], Iterable[PublishedNumber]]


def _within_tolerance(rows: list[PublishedNumber]) -> None:
    promised = [row for row in rows if row.tolerance is not None]
    assert promised
    wrong = [f"{r.figure} {r.quantity}: {r.paper} {r.ours}" for r in promised if not r.ok]
    assert not wrong


@pytest.mark.parametrize("section", [isca16.worked_examples, jssc17.jssc17, cvpr17.asilomar])
def test_section(section: Section) -> None:
    _within_tolerance(list(section()))


@pytest.mark.slow
def test_cvpr17_table1() -> None:
    rows = list(cvpr17.cvpr17_table1())
    _within_tolerance(rows)
    ours = {row.quantity: row.ours for row in rows}
    assert 3.3 <= ours["reduction by energy-aware"] <= 4.1


@pytest.mark.slow
def test_fig10_but_for_conv1() -> None:
    """CONV1 misses its 8 % by a tenth of a percent: the README says why."""
    rows = list(isca16.isca16_fig10())
    assert {row.quantity for row in rows if not row.ok} <= {"conv1 energy"}


def test_mappings_are_made_by_their_tool() -> None:
    """The shipped files are what tools/make_mappings.py writes."""
    folder = make_mappings.DATA / "mappings"
    assert {p.name: p.read_text() for p in folder.glob("jssc17-*")} == make_mappings.files()
