"""The page on calibration shows what its commands answer."""

from __future__ import annotations

from pathlib import Path

import pytest

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
