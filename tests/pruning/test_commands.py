"""picojoule prune and profile, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("safetensors")

from picojoule.cli import main  # noqa: E402
from picojoule.frontends import load  # noqa: E402
from picojoule.pruning.layers.profiling import run_length_bits  # noqa: E402
from tests.pruning.answers import documented  # noqa: E402

SMALL = f"{Path(__file__).with_name('small.py')}:make"


def test_prune_resumes_and_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prune", SMALL, "-a", "eyeriss-cvpr17", "--mode", "paper", "--energy", "0.8",
             "--epochs", "1", "-o", str(tmp_path / "run")]  # fmt: skip
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "times less" in shown.out
    assert "conv3" in shown.out
    assert "chosen" in shown.out
    assert "round 1: energy" in shown.err
    result = (tmp_path / "run" / "result" / "result.json").read_bytes()
    assert main([*words, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["after"] == json.loads(result)["after"]
    assert (tmp_path / "run" / "result" / "result.json").read_bytes() == result
    documented(again, "prune", "before", "after", "accuracy", "curve")


def test_an_energy_that_cannot_be_reached_is_a_no(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prune", SMALL, "-a", "eyeriss-cvpr17", "--mode", "paper", "--energy", "0.001",
             "--max-accuracy-drop", "0", "--epochs", "0", "-o", str(tmp_path / "run")]  # fmt: skip
    assert main(words) == 1
    assert "was not reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["net.onnx"], "give a Python file and its function"),
        (["nowhere.py:make"], "no such file"),
        ([SMALL.replace(":make", ":mak")], "did you mean 'make'"),
        ([SMALL.replace(":make", ":SmallNet")], "it returns a SmallNet; a torch module and a"),
        ([SMALL, "--joint", "widths"], "only 'bits'"),
        ([SMALL, "--classes", "0;3"], "numbers with commas"),
        ([SMALL, "--mode", "bst"], "did you mean 'best'"),
        ([SMALL, "--energy", "40 ells"], "give a share of the original"),
        ([SMALL, "--energy", "2"], "above 0 and below 1"),
        ([SMALL, "--constraint", "5:4"], "no constraint"),
    ],
)
def test_wrong_questions(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["prune", *words, "-a", "eyeriss-cvpr17", "-o", str(tmp_path / "run")])
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_profile_is_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.csv"
    assert main(["profile", SMALL, "--samples", "50", "-o", str(file), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    documented(record, "profile", "layers")
    assert record["samples"] == 50
    layers = {row["layer"]: row for row in record["layers"]}
    found = load(str(file))
    assert [layer.name for layer in found] == list(layers)
    for layer in found:
        assert layer.density.input == pytest.approx(layers[layer.name]["input_density"], abs=1e-4)
    assert layers["conv1"]["input_density"] == 1.0
    assert layers["conv1"]["input_run_length_ratio"] == pytest.approx(16 * 64 / (22 * 64))
    assert layers["fc1"]["input_density"] < 1


def decoded(nonzero: np.ndarray) -> int:
    """The chip's code written pair by pair; returns its bits."""
    pairs, run = 0, 0
    for value in nonzero:
        if value or run == 31:  # 31 zeros and then a value, which may be zero
            pairs, run = pairs + 1, 0
        else:
            run += 1
    pairs += run > 0
    return -(-pairs // 3) * 64


def test_run_length_bits_pair_by_pair() -> None:
    draw = np.random.default_rng(0)
    for density in (0.0, 0.01, 0.03, 0.3, 1.0):
        for length in (1, 31, 32, 33, 64, 500):
            row = draw.random(length) < density
            assert run_length_bits(row) == decoded(row), (density, length)
