"""What a table must hold: enough for every network that an adaptation may come to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from picojoule.cli import main  # noqa: E402
from picojoule.frontends.torch_module import read_torch as load_torch  # noqa: E402
from picojoule.pruning.graph.surgery import load_network  # noqa: E402
from picojoule.pruning.graph.tracing import trace  # noqa: E402
from picojoule.pruning.graph.widths import Widths  # noqa: E402
from picojoule.pruning.netadapt import coverage  # noqa: E402
from picojoule.pruning.netadapt.coverage import covering  # noqa: E402
from picojoule.pruning.netadapt.recipe import Recipe  # noqa: E402
from picojoule.pruning.platforms import platforms  # noqa: E402
from picojoule.pruning.platforms.tables import Entry, Table, load_table  # noqa: E402
from picojoule.workload import Layer  # noqa: E402
from tests.pruning import patterns  # noqa: E402
from tests.pruning.answers import documented  # noqa: E402
from tests.pruning.netadapt.test_adaptation import DATA, MODEL  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

IMAGE = patterns.images(1)


@pytest.mark.parametrize("pattern", patterns.PATTERNS, ids=lambda p: p.__name__)
def test_every_network_has_a_price(pattern: Any) -> None:
    traced = patterns.traced(pattern)
    channels, widths = traced.channels, Widths(traced)
    rng = np.random.default_rng(0)
    for recipe in (Recipe(), Recipe(mode="paper", step=3)):
        limits = recipe.limits(widths.full)
        table = Table("macs", "MAC")
        for layer in covering(widths, limits, points=3):
            table.add(layer, Entry(layer.macs))
        whole = widths.workload.macs
        assert sum(table.cost(layer) for layer in widths.at({})) == whole
        for number in range(20):
            # Any filters of a group may be the ones that stay, not equally many of each reader's.
            keep = channels.all_kept()
            for group in channels.groups:
                least = limits.floor_of(group.name, group.width)
                stay = least if number % 2 else int(rng.integers(least, group.width + 1))
                keep[rng.permutation(group.channels)[stay:]] = False
            for layer in widths.kept(keep):
                assert 0 < table.cost(layer) <= whole


RECIPE = """
network: mine.py:network
data: mine.py:data
budget: 60%
short: 2
long: 4
batch: 64
calibrate: 64
initial_reduction: 0.4
"""
MINE = """
from tests.pruning.netadapt.test_adaptation import DATA, MODEL
def network():
    return MODEL
def data():
    return DATA
def cost(layer):
    return 3.0 * layer.macs
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return str(tmp_path / "recipe.yaml")


@pytest.mark.slow
def test_a_table_filled_by_hand_drives(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the layers without values, through somebody's measurements, to a network within."""
    place, models = tmp_path / "phone.json", tmp_path / "layers"
    assert main(["table", recipe, "-o", str(place), "--onnx", str(models), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    documented(answer, "table")
    raw = json.loads(place.read_text())
    assert answer["layers"] == len(raw["entries"]) == len(list(models.iterdir()))
    adapt = ["adapt", recipe, "-o", str(tmp_path / "run"), "--workers", "0"]
    assert main([*adapt, "--platform", f"table:{place}"]) == 2
    assert "waits to be measured" in capsys.readouterr().err
    assert main(["table", recipe, "-o", str(place)]) == 2  # nothing is overwritten
    for number, entry in enumerate(raw["entries"]):
        model = onnx.load(models / f"{number:04}.onnx")
        onnx.checker.check_model(model, full_check=True)
        weight = numpy_helper.to_array(model.graph.initializer[0])
        assert weight.size == entry["G"] * entry["M"] * entry["C"] * entry["R"] * entry["S"]
        entry["value"] = weight.size * entry["P"] * entry["Q"] * 1e-9
    place.write_text(json.dumps(raw))
    capsys.readouterr()
    for mode in ("best", "paper"):
        adapt[3] = str(tmp_path / mode)
        words = [*adapt, "--platform", f"table:{place}", "--mode", mode, "--json"]
        assert main(words) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["resource"] <= found["budget"]
        network = load_network(tmp_path / mode / "result").network
        exact = load_torch(network, (DATA.test.inputs[:1],)).macs * 1e-9
        assert found["resource"] == pytest.approx(exact, rel=1e-6)


def test_a_table_measured_here_goes_on_where_it_was(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Layer] = []

    class Watch:
        name, metric, unit = "a watch", "latency", "s"

        def layer(self, layer: Layer) -> Entry:
            asked.append(layer)
            if len(asked) == 30:
                raise KeyboardInterrupt
            return Entry(layer.macs * 1e-9)

        def network(self, network: Any, inputs: Any) -> Entry:
            raise NotImplementedError

        def provenance(self) -> dict[str, Any]:
            return {"device": "a test"}

    monkeypatch.setattr(platforms, "OnnxRuntime", lambda **_: Watch())
    place = tmp_path / "here.json"
    words = ["table", recipe, "-o", str(place), "--platform", "cpu", "--points", "4"]
    assert main(words) == 130
    assert len(load_table(place)) == 29
    assert main(words) == 0
    table = load_table(place)
    assert len(asked) == len(table) + 1
    assert table.provenance == {"device": "a test"}


def test_what_a_table_leaves_out_is_said_first(
    recipe: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def half(model: Any, inputs: Any) -> Any:
        found = trace(model, inputs)
        return replace(found, workload=replace(found.workload, unmodelled={"aten.lstm": 2}))

    monkeypatch.setattr(coverage, "trace", half)
    words = ["table", recipe, "--points", "2", "-o"]
    assert main([*words, str(tmp_path / "no.json")]) == 2
    assert "aten.lstm x2" in capsys.readouterr().err
    assert not (tmp_path / "no.json").exists()
    assert main([*words, str(tmp_path / "a.json"), "--allow-incomplete"]) == 0
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert text.startswith("incomplete: 2 operators of the network")
    assert main([*words, str(tmp_path / "b.json"), "--allow-incomplete", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["complete"], answer["unmodelled"]) == (
        False,
        [{"op": "aten.lstm", "count": 2}],
    )


def test_a_function_of_a_file_is_a_platform(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(recipe)
    path.write_text(RECIPE + "platform: mine.py:cost\n")
    assert main(["adapt", recipe, "-o", str(tmp_path / "a"), "--workers", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["platform"] == "mine.py:cost"
    assert found["rounds"][0]["resource"] == 3 * load_torch(MODEL, (DATA.train.inputs[:1],)).macs
    path.write_text(RECIPE + "platform: hers.py:cost\n")
    assert main(["adapt", recipe, "-o", str(tmp_path / "b"), "--workers", "0"]) == 2
    assert "hers.py: no such Python file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--platform", "macs"],
        ["--platform", "table:here.json"],
        ["--points", "1"],
        ["--platform", "cpu", "--onnx", "layers"],
        ["-o", "no/such/folder/t.json"],
    ],
)
def test_what_makes_no_table(
    words: list[str], recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["table", recipe, "-o", "t.json", *words]) == 2
    assert not list(tmp_path.glob("t.json*"))
