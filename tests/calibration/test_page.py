"""The page on calibration shows what its commands answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from picojoule.calibration.calibration import calibrate
from picojoule.calibration.records import total
from tools import make_measurements
from tools.make_calibrations import BLOCK, PAGE, renewed


@pytest.mark.slow
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


def test_eyeriss_is_within_what_is_promised() -> None:
    """Control from AlexNet's five rows, times predicted: VGG-16's thirteen within 8 % in all."""
    result = calibrate(
        "eyeriss-pj", "jssc17-eyeriss", fit="control.per_cycle", weigh="amounts", cache=False
    )
    assert not result.measured_time
    assert total(result.of("energy", "fitted")) == pytest.approx(1, abs=0.05)
    assert total(result.of("energy", "checked")) == pytest.approx(1, abs=0.08)
    beyond = {row.label for row in result.of("energy") if abs(row.error) > 0.20}
    assert beyond == {"bvlc-alexnet conv5", "vgg16 conv1_1"}  # their times are 9 and -22 % off
    moved = result.of("bytes.buffer")
    assert len(moved) == 18
    assert all(abs(row.error) < 0.05 for row in moved)


@pytest.mark.parametrize(
    ("more", "constant", "others"),
    [
        ({"weigh": "amounts", "measured_time": True}, 742, 0.998),
        ({"weigh": "rows"}, 682, 0.873),
    ],
)
def test_what_the_page_says_of_other_ways_to_fit(
    more: dict[str, Any], constant: float, others: float
) -> None:
    result = calibrate("eyeriss-pj", "jssc17-eyeriss", fit="control.per_cycle", cache=False, **more)
    assert result.constants[0].value == pytest.approx(constant, abs=0.5)
    assert total(result.of("energy", "checked")) == pytest.approx(others, abs=0.0005)


@pytest.mark.slow
def test_gap9_is_within_what_is_promised() -> None:
    """One network of MLPerf Tiny is fitted; the energy of the three others is within 20 %.

    The times are those of the best mappings, shorter than the chip's by up to 35 %.
    """
    result = calibrate("gap9-ne16-like", "mlperf-tiny-gap9", fit="control.per_cycle")
    energies, times = result.of("energy", "checked"), result.of("time")
    assert len(energies) == 3
    assert len(times) == 4
    assert all(abs(row.error) < 0.20 for row in energies)
    assert all(-0.35 < row.error < 0 for row in times)
    assert all(abs(row.error) < abs(row.constant_power_error) for row in energies)
    assert result.ambiguities == ()
