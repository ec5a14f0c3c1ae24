"""``picojoule calibrate``: its report, its files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from picojoule.cli import main
from picojoule.specs import load_accelerator
from tests.calibration.conftest import CHIP, Metered, machine, rows
from tests.calibration.test_calibration import with_values

__all__ = ["machine", "rows"]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Metered) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("metered.yaml").write_text(CHIP)
    return rows(with_values(load_accelerator("metered.yaml"), control__per_cycle=50.0))


WORDS = ["calibrate", "metered.yaml", "rows.csv", "--no-cache"]


@pytest.mark.usefixtures("measured")
def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--fit", "control.per_cycle,static_power"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "metered, fitted to 4 rows of rows.csv: control.per_cycle = 50 pJ, static_power = 2 mW",
        "control.per_cycle and static_power cannot be told apart by these rows: 0.1 mW/pJ x",
        "= 7 mW is determined",
        "condition index infinite; above 30",
        "error without",
        "static_power stays as it was",
        "Energy, fitted: root mean square error",
        "One power: ",
    ):
        assert part in " ".join(shown.split()), part


@pytest.mark.usefixtures("measured")
def test_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    fit = ["--fit", "control.per_cycle"]
    assert main([*WORDS, *fit, "-o", "chip.yaml"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    machine = load_accelerator("chip.yaml")
    assert machine.control.per_cycle == pytest.approx(50, rel=1e-3)
    assert machine.name == "chip"
    text = Path("chip.yaml").read_text("utf-8")
    assert text.startswith("# metered, fitted to 4 rows of rows.csv: control.per_cycle = 50 pJ\n")
    assert "\nbased_on: metered.yaml\n" in text
    assert main(["check", "chip.yaml"]) == 0
    assert main([*WORDS, *fit, "-o", "report.txt"]) == 0
    assert main([*WORDS, *fit, "-o", "report.json"]) == 0
    record = json.loads(Path("report.json").read_text())
    assert record["constants"][0]["value"] == pytest.approx(50, rel=1e-3)
    assert {row["quantity"] for row in record["rows"]} == {"energy", "time"}
    capsys.readouterr()
    assert main([*WORDS, *fit, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == record


@pytest.mark.usefixtures("measured")
def test_an_estimate_with_the_file_is_what_was_predicted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*WORDS, "--fit", "control.per_cycle", "-o", "chip.yaml", "--json"]
    assert main(words) == 0
    fitted = json.loads(capsys.readouterr().out)
    predicted = {
        row["row"].removeprefix("net "): row["predicted"]
        for row in fitted["rows"]
        if row["quantity"] == "energy"
    }
    assert main(["estimate", "net.csv", "-a", "chip.yaml", "--no-cache", "--json"]) == 0
    for layer in json.loads(capsys.readouterr().out)["layers"]:
        assert layer["energy"] * 1e-12 == pytest.approx(predicted[layer["name"]], rel=1e-9)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--fit", "control.per_cicle"], "did you mean 'control.per_cycle'?"),
        (["--fit", "static_power", "--time", "mesured"], "did you mean 'measured'?"),
        (["--fit", "static_power", "--weigh", "row"], "did you mean 'rows'?"),
        (["--fit", "static_power", "-o", "metered.yaml"], "this is the chip that is calibrated"),
        (["--fit", "static_power", "-o", "chip.toml"], "unknown ending"),
        (["--fit", ""], "no constant"),
    ],
)
def test_what_is_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, *words]) == 2
    assert told in capsys.readouterr().err
    assert Path("metered.yaml").read_text() == CHIP


@pytest.mark.usefixtures("measured")
def test_measurements_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "metered.yaml", "row.csv", "--fit", "static_power"]) == 2
    assert "row.csv: file: no such file" in capsys.readouterr().err
    assert main(["calibrate", "metered.yaml", "jssc17-eyeris", "--fit", "static_power"]) == 2
    assert "did you mean 'jssc17-eyeriss'?" in capsys.readouterr().err


def test_shipped_measurements_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "measurements", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["measurements"]
    assert [one["name"] for one in listed] == ["jssc17-eyeriss", "mlperf-tiny-gap9"]
    assert listed[0]["title"].startswith("The Eyeriss chip at 1 V and 200 MHz")
