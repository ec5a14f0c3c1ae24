"""``picojoule report`` and ``picojoule compare``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from picojoule.cli import main
from picojoule.estimate_records import Estimate, load_estimate
from tests.reports.conftest import dense, sparse
from tests.server_files import CHIP, TABLE

__all__ = ["dense", "sparse"]


@pytest.fixture
def runs(
    dense: Estimate, sparse: Estimate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dense.save("a.json")
    sparse.save("b.json")


@pytest.mark.usefixtures("runs")
def test_a_saved_estimate_is_read_back_whole(dense: Estimate) -> None:
    assert load_estimate("a.json") == dense
    assert load_estimate("a.json").workload().layers == dense.workload().layers


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("ending", "start"), [("html", "<!doctype html>"), ("md", "# small on tiny"), ("csv", "layer,")]
)
def test_reports(ending: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "a.json", "-o", f"out.{ending}"]) == 0
    assert Path(f"out.{ending}").read_text().startswith(start)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"written: out.{ending}\n")


@pytest.mark.usefixtures("runs")
def test_a_report_of_an_examination_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chip.yaml").write_text(CHIP)
    (tmp_path / "net.csv").write_text(TABLE)
    assert main(["eyexam", "net.csv", "-a", "chip.yaml", "-o", "exam.json"]) == 0
    assert main(["report", "exam.json", "-o", "exam.html"]) == 0
    page = Path("exam.html").read_text("utf-8")
    assert "small on tiny" in page
    assert "Where the speed goes" in page
    for words in (["-o", "exam.csv"], ["-o", "exam.html", "--before", "a.json"]):
        capsys.readouterr()
        assert main(["report", "exam.json", *words]) == 2
        assert "examination" in capsys.readouterr().err


@pytest.mark.usefixtures("runs")
def test_plots() -> None:
    pytest.importorskip("matplotlib")
    assert main(["report", "a.json", "--by", "operand", "-o", "a.svg"]) == 0
    assert main(["compare", "a.json", "b.json", "-o", "b.png"]) == 0
    assert Path("a.svg").exists()
    assert Path("b.png").exists()


@pytest.mark.usefixtures("runs")
def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a.json", "b.json"]) == 0
    shown = capsys.readouterr().out
    assert "weight density: 1.0 before, 0.25 after" in shown
    assert main(["compare", "a.json", "b.json", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema_version"] == 1
    assert record["total"]["energy"]["ratio"] < 1
    for ending in ("html", "md", "csv", "json", "txt"):
        assert main(["compare", "a.json", "b.json", "-o", f"c.{ending}"]) == 0
        assert Path(f"c.{ending}").stat().st_size > 100


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["report", "a.json", "-o", "x.docx"], "unknown ending '.docx'"),
        (["report", "a.json", "-o", "no/x.html"], "no folder"),
        (["report", "none.json", "-o", "x.html"], "none.json"),
        (["report", "a.json", "-o", "x.html", "--by", "operand"], "no effect"),
        (["report", "a.json", "-o", "x.svg", "--by", "layers"], "memory and operand"),
        (["report", "a.json", "-o", "x.csv", "--before", "b.json"], "no effect"),
        (["compare", "a.json", "none.json"], "none.json"),
    ],
)
def test_wrong_words(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert part in said.err
    assert not list(Path().glob("x.*"))


@pytest.mark.usefixtures("runs")
def test_a_result_of_an_impossible_layer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads(Path("a.json").read_text())
    record["layers"][0]["shape"]["bounds"]["P"] = 7
    Path("bad.json").write_text(json.dumps(record))
    assert main(["report", "bad.json", "-o", "x.html"]) == 2
    assert "not an estimate" in capsys.readouterr().err
