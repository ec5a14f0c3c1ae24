"""The table of published numbers, its summary, and the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from picojoule.errors import PicojouleError
from picojoule.reports.tables import plain
from picojoule.reports.validation_text import summary_table, validation_report, validation_table
from picojoule.validation.figures import PublishedNumber

ROW = PublishedNumber(
    figure="A'16 Fig. 1",
    quantity="energy",
    kind="energy",
    origin="silicon",
    paper=2e6,
    ours=1.9e6,
    tolerance=0.1,
)
ROWS = [
    ROW,
    replace(ROW, ours=1e6, quantity="missed"),
    replace(ROW, ours=4e6, fitted=True, quantity="chosen"),
    replace(ROW, figure="B'17", kind="time", origin="simulator", tolerance=None, note="[b]why"),
    replace(ROW, figure="B'17", paper=708.0, ours=708.0, origin="example", tolerance=1e-12),
]


def test_a_row_says_what_is_promised() -> None:
    lines = plain(validation_table(ROWS)).splitlines()
    for name, promise in (("missed", "10 %"), ("chosen", "fitted"), ("[b]why", " - ")):
        assert any(name in line and promise in line for line in lines)
    assert "exact" in lines[-2]


def test_the_summary_counts_no_fit() -> None:
    text = plain(summary_table(ROWS))
    silicon = next(line for line in text.splitlines() if "silicon" in line)
    assert silicon.split() == ["silicon", "energy", "2", "27.5", "%", "50", "%", "2", "1", "1"]


def test_the_report_ends_with_what_is_kept() -> None:
    text = " ".join(plain(validation_report(ROWS)).split())
    assert "4 rows, 2 of them from silicon or layout" in text
    assert "promised for 3: all but 1 are kept. 1 more rows are fitted" in text


def test_the_picture_has_a_marker_for_each_publication(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from picojoule.reports.plots import plot_validation, save_validation

    upper, lower = plot_validation(ROWS)
    legend = [text.get_text() for text in upper.get_legend().get_texts()]
    assert legend == ["A'16", "B'17", "fitted"]
    assert upper.get_xscale() == upper.get_yscale() == lower.get_xscale() == "log"
    drawn = sum(np.asarray(points.get_offsets()).shape[0] for points in lower.collections)
    assert drawn >= len(ROWS)
    for name in ("a.svg", "a.png"):
        save_validation(ROWS, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


def test_without_matplotlib_the_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from picojoule.reports.plots import save_validation

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PicojouleError, match="plots need matplotlib"):
        save_validation(ROWS, Path("x.svg"))
