"""The command line: what it says before any work, and whose an error is."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest

from picojoule.mapper import solver
from tests.test_cli import CHIP, ESTIMATE, Run, refused, run

__all__ = ["run"]


def test_a_missing_chip_is_asked_for_with_those_there_are(run: Run) -> None:
    refused(run("estimate", "nets.py:net"), "eyeriss-cvpr17, ", "-a eyeriss-pj")


def test_a_density_without_effect_is_said(run: Run) -> None:
    said = run(*ESTIMATE, "--density", "input=0.5", "--density", "output=0.5")
    assert said.err == (
        "no effect: --density of input and output: tiny neither skips nor codes the zeros there\n"
    )
    assert run("estimate", "nets.py:net", "-a", "eyeriss", "--density", "input=0.5").err == ""


def test_a_dataflow_that_the_chip_cannot_follow_is_refused_unsearched(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solver, "_cheapest", None)
    words = ("estimate", "nets.py:net", "-a", "eyeriss", "--dataflow", "ws", "--no-cache")
    refused(run(*words), "does not store the input, output in level 2", code=1)
    shown = json.loads(run("show", "eyeriss", "--json").out)["accelerator"]["dataflows"]
    assert shown["rs"] == shown["flexible"] == ""
    assert "does not store the input, output" in shown["ws"]


def test_energies_lead_with_joules_where_a_mac_is_known(run: Run) -> None:
    priced = "word_bits: 16 bit\nunit_energy: {value: 2 pJ, source: s, status: assumed}"
    Path("chip.yaml").write_text(CHIP.replace("word_bits: 16 bit", priced))
    said = run(*ESTIMATE)
    first = said.out.splitlines()[0]
    assert first == "net on tiny: 91.7 nJ per inference (2 pJ for a MAC of 16 bit, assumed)"
    assert "x E_MAC" not in said.out
    assert "times the energy of its arithmetic" in said.out
    record = json.loads(run(*ESTIMATE, "--json").out)
    assert record["energy_unit"] == "MAC"
    assert math.isclose(record["joules"]["energy"], 2e-12 * record["total"]["energy"])
    assert (record["joules"]["status"], record["joules"]["source"]) == ("assumed", "s")


def test_completion(run: Run) -> None:
    for shell in ("bash", "zsh", "fish", "powershell"):
        said = run("completion", shell)
        assert said.code == 0
        assert "picojoule" in said.out

    def offered(*words: str) -> list[str]:
        lines = run("__complete", *words).out.splitlines()
        return [line.split("\t")[0] for line in lines[2:]]

    assert "eyeriss-pj" in offered("estimate", "bvlc-alexnet", "-a", "eye")
    assert "chip.yaml" in offered("estimate", "bvlc-alexnet", "-a", "ch")
    assert "resnet18" in offered("estimate", "res")
    assert offered("map", "bvlc-alexnet", "c")[0] == "conv1"
    assert "rs" in offered("estimate", "bvlc-alexnet", "--dataflow", "")
    assert offered("estimate", "bvlc-alexnet", "--objective", "") == ["energy", "latency", "edp"]


@pytest.mark.slow
def test_what_a_users_function_raises_is_theirs(run: Run) -> None:
    Path("late.py").write_text(
        "import torch\n"
        "from picojoule.pruning.datasets import Data, Samples\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.no_such_thing\n"
        "def make():\n"
        "    some = Samples(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))\n"
        "    return Net(), Data(train=some, validate=some)\n"
        "def fails():\n"
        "    raise OSError('no such disk')\n"
    )
    for command in (("profile",), ("prune", "-a", "eyeriss", "--energy", "0.5", "-o", "run")):
        said = run(command[0], "late.py:make", *command[1:])
        refused(said, "late.py: line 5", "no_such_thing")
        assert "bug" not in said.err
    Path("recipe.yaml").write_text("network: late.py:make\ndata: late.py:fails\n")
    refused(run("adapt", "recipe.yaml", "-o", "run"), "late.py: line 10", "OSError: no such disk")
    Path("torn.py").write_text("def make(:\n")
    Path("recipe.yaml").write_text("network: late.py:make\ndata: torn.py:fails\n")
    refused(run("adapt", "recipe.yaml", "-o", "run"), "torn.py: line 1", "SyntaxError")


@pytest.mark.parametrize("energy", ["x", "30 %%", "1.5", "0", "-1", "40 mW", "30 MAC%"])
def test_a_bad_energy_is_found_before_anything_is_run(run: Run, energy: str) -> None:
    Path("nets.py").write_text("raise SystemExit('was run')")
    said = run("prune", "nets.py:make", "-a", "eyeriss-pj", f"--energy={energy}", "-o", "run")
    refused(said, "energy", energy)


def test_torch_is_asked_for_where_it_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a)
    )
    Path("recipe.yaml").write_text("network: nets.py:net\ndata: nets.py:net\n")
    for command in (("adapt", "recipe.yaml"), ("table", "recipe.yaml")):
        refused(run(*command, "-o", "t.json"), "torch not installed", "picojoule[torch]")
