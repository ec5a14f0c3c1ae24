"""The studies' tables and pictures, from the results that are kept."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from studies import limitations, pictures, tables

STUDIES = Path(__file__).parent.parent / "studies"
NAMES = ("sparse", "compact", "precision", "eyeriss")


def results(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((STUDIES / "results" / f"{name}.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_those_of_the_results(name: str) -> None:
    kept = (STUDIES / "results" / f"{name}.md").read_text("utf-8")
    assert tables.TABLES[name](results(name)) == kept


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_drawn(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for file in ("once", "again"):
        pictures.save(pictures.PICTURES[name], results(name)["rows"], tmp_path / file)
    once, again = ((tmp_path / f"{file}.svg").read_bytes() for file in ("once", "again"))
    assert once == again
    assert len(once) > 10_000


@pytest.mark.parametrize("name", NAMES)
def test_no_step_rises(name: str) -> None:
    for row in results(name)["rows"]:
        bounds = row["bounds"]
        assert all(a >= b * (1 - 1e-12) for a, b in itertools.pairwise(bounds)), row


def test_what_the_studies_say() -> None:
    """Gated zeros save no cycle; depthwise layers idle wired arrays; splitting pays on conv3."""
    gated = {r["bounds"][6] for r in results("sparse")["rows"] if r["machine"] == "eyeriss"}
    assert len(gated) == 2  # one speed for each layer, whatever its density
    share = {
        (r["machine"], r["layer"]): r["bounds"][6] / r["peak"] for r in results("compact")["rows"]
    }
    depthwise = "depthwise (MobileNet)"
    assert share["nvdla-like", depthwise] < 1e-3 < share["eyeriss-v2", depthwise]
    conv3 = {
        r["machine"]: r["bounds"][6]
        for r in results("precision")["rows"]
        if r["layer"] == "conv3" and r["bits"] == 4
    }
    assert conv3["splitting"] > 3 * conv3["fixed width"]


def test_a_study_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["limitations.py", "dense"])
    with pytest.raises(SystemExit):
        limitations.main()
    assert "no study 'dense'; there are sparse, compact" in capsys.readouterr().err
