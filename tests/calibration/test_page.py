"""The page on calibration shows what its commands answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import make_measurements
from tools.make_calibrations import BLOCK, PAGE, renewed


def test_the_reports_of_the_page_are_those_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If not: ``python -m tools.make_calibrations``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    page = PAGE.read_text("utf-8")
    assert BLOCK.findall(page)
    assert renewed(page) == page


def test_the_rows_of_the_chip_are_made_by_their_tool() -> None:
    shipped = make_measurements.DATA / "measurements" / "jssc17-eyeriss.csv"
    assert shipped.read_text("utf-8") == make_measurements.table()
