"""What ``eyexam --json`` wrote, in a report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from picojoule.cli import main
from picojoule.errors import InputError
from picojoule.estimate_records import Estimate
from picojoule.eyexam.saved import load_examination
from tests.reports.conftest import EVIL, dense
from tests.reports.test_page import Reader

__all__ = ["dense"]

TITLES = ("layer shape", "dataflow", "number of PEs", "array", "storage", "bandwidth", "patterns")


def examined(name: str, macs: float, bounds: list[float | None]) -> dict[str, Any]:
    steps = [
        {"step": n, "title": title, "bound": bound, "limited_by": "x", "lift": EVIL}
        for n, (title, bound) in enumerate(zip(TITLES, bounds, strict=True), start=1)
    ]
    return {"name": name, "macs": macs, "peak": 4.0, "steps": steps}


RECORD = {
    "schema_version": 1,
    "network": "small",
    "accelerator": "tiny",
    "layers": [
        examined("conv1", 300, [486, 300, 4, 4, 4, 3, 2]),
        examined("fc", 100, [135, 100, 4, 4, 2, 1, None]),
    ],
}


def test_the_network_takes_the_sum_of_its_layers_times(tmp_path: Path) -> None:
    place = tmp_path / "exam.json"
    place.write_text(json.dumps(RECORD))
    found = load_examination(place)
    assert found.peak == 4.0
    assert math.isclose(found.bound(6) or 0, 400 / (300 / 3 + 100 / 1))
    assert found.bound(7) is None
    assert found.titles == TITLES


def test_it_is_part_of_the_report(dense: Estimate, tmp_path: Path) -> None:
    dense.save(tmp_path / "run.json")
    (tmp_path / "exam.json").write_text(json.dumps(RECORD))
    words = ["report", str(tmp_path / "run.json"), "--eyexam", str(tmp_path / "exam.json")]
    assert main([*words, "-o", str(tmp_path / "run.html")]) == 0
    read = Reader((tmp_path / "run.html").read_text())
    assert "Where the speed goes" in read.text
    assert "6 bandwidth" in read.text
    assert EVIL in read.text
    assert read.scripts == 4
    assert json.loads(read.data)["waterfall"]["bounds"][6] is None
    assert main([*words, "-o", str(tmp_path / "run.md")]) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"layers": []},
        {"layers": [examined("a", 1, [1.0] * 7) | {"steps": []}]},
        {"layers": [{"name": "a"}]},
        {"layers": 3},
    ],
)
def test_what_is_no_examination(tmp_path: Path, change: dict[str, Any]) -> None:
    place = tmp_path / "exam.json"
    place.write_text(json.dumps({**RECORD, **change}))
    with pytest.raises(InputError):
        load_examination(place)
