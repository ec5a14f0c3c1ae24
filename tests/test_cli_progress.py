"""What a terminal is told while it waits."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from picojoule.cli.adapt_commands import _Told
from picojoule.cli.progress import _Shown, clock, progress_bar


def test_a_bar_tells_layer_time_and_gap() -> None:
    shown = _Shown()
    shown.update(0, 8, "conv1")
    assert shown.words(5.0) == "0/8  0:05  conv1"
    shown.update(2, 8, "conv3")
    shown.watch(math.inf, 0.0)
    assert shown.words(10.0) == "2/8  0:10  about 0:30 left  gap not known yet  conv3"
    shown.watch(1.05, 1.0)
    assert "gap 5 %" in shown.words(10.0)
    shown.update(3, 8, "conv4")  # of the next layer nothing is known yet
    assert "gap" not in shown.words(10.0)


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as told_by:
        assert told_by == {}
    assert capsys.readouterr().err == ""


def test_clocks() -> None:
    assert [clock(x) for x in (0, 59.9, 61, 3725)] == ["0:00", "0:59", "1:01", "1:02:05"]


def test_rounds_of_adapt_have_units_a_budget_and_time_left() -> None:
    told = _Told(SimpleNamespace(unit="ms", metric="latency"), "50%", began=0.0)

    def ended(number: int, paid: float, kind: str = "round") -> SimpleNamespace:
        return SimpleNamespace(
            number=number, paid=paid, kind=kind, accuracy=0.9, chosen="", note="", lost=0
        )

    line, _ = told.lines(ended(0, 8.0), 10.0)  # type: ignore[arg-type]
    assert line == "round 0: 8 ms (100.0 % of the original; budget 4 ms), accuracy 90.00 %"
    # A quarter of the way took a minute: three are left.
    _, following = told.lines(ended(1, 7.0), 70.0)  # type: ignore[arg-type]
    assert following == "round 2, about 3:00 to the budget"
    _, following = told.lines(ended(2, 4.0), 99.0)  # type: ignore[arg-type]
    assert following.startswith("long fine-tune")
