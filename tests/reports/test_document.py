"""What a report says in words."""

from __future__ import annotations

from dataclasses import replace

from picojoule.accelerator import Control
from picojoule.estimation import estimate
from picojoule.reports.document import document
from picojoule.specs import load_accelerator


def test_control_is_no_operand_in_the_summary() -> None:
    chip = replace(load_accelerator("eyeriss-pj"), control=Control(per_cycle=1e6))
    summary = " ".join(document(estimate("mlperf-tiny-ad", chip)).summary)
    assert "goes to clock and control" in summary
    assert "controls" not in summary
