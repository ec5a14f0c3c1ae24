"""adapt(): rounds, budgets, measured platforms, lost candidates, stopped runs."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from picojoule.cli import main  # noqa: E402
from picojoule.errors import BudgetError, PicojouleError  # noqa: E402
from picojoule.pruning.datasets import Data, Samples  # noqa: E402
from picojoule.pruning.graph.surgery import load_network  # noqa: E402
from picojoule.pruning.netadapt import adaptation  # noqa: E402
from picojoule.pruning.netadapt.adaptation import adapt  # noqa: E402
from picojoule.pruning.netadapt.recipe import Recipe  # noqa: E402
from picojoule.pruning.platforms.platforms import measured  # noqa: E402
from picojoule.pruning.platforms.tables import Entry  # noqa: E402
from picojoule.pruning.runs.executors import Processes, Ray  # noqa: E402
from picojoule.pruning.training import Training, score, train  # noqa: E402
from picojoule.workload import Layer  # noqa: E402
from tests.pruning import jobs  # noqa: E402
from tests.pruning.answers import documented  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def stripes(count: int, seed: int) -> Samples:
    """Images of stripes, lying or standing, thin or thick: four classes, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    shift = torch.randint(0, 8, (count, 1), generator=generator)
    place = torch.arange(8) + shift
    thin, thick = (place % 2 < 1).float(), (place % 4 < 2).float()
    line = torch.where((labels % 2 == 0)[:, None], thin, thick)
    lying = line[:, None, :, None].expand(-1, 1, 8, 8)
    standing = line[:, None, None, :].expand(-1, 1, 8, 8)
    image = torch.where((labels < 2)[:, None, None, None], lying, standing)
    noise = torch.randn(image.shape, generator=generator)
    return Samples((image + 0.5 * noise).contiguous(), labels)


DATA = Data(stripes(512, 0), stripes(256, 1), stripes(256, 2))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    train(model, DATA.train, Training(steps=40, rate=0.1, batch=64), seed=0)
    return model.eval()


MODEL = small_net()
QUICK = Recipe(short=4, long=10, batch=64, calibrate=128, step=2, initial_reduction=0.5)


@pytest.mark.parametrize("mode", ["best", "paper"])
def test_the_budget_is_met(mode: str, tmp_path: Path) -> None:
    before = {name: x.clone() for name, x in MODEL.state_dict().items()}
    recipe = replace(QUICK, mode=mode, initial_reduction=0.35)
    found = adapt(MODEL, DATA, budget="40%", recipe=recipe, run=tmp_path / "run")
    first, last = found.rounds[0], found.rounds[-1]
    assert found.met
    assert found.resource <= found.budget == pytest.approx(0.4 * first.resource)
    assert [r.resource for r in found.rounds[:-1]] == sorted(
        (r.resource for r in found.rounds[:-1]), reverse=True
    )
    assert last.accuracy > 0.8  # of four classes
    assert score(found.network, DATA.validate).accuracy == last.accuracy
    assert last.kind == "long fine-tune"
    assert all(torch.equal(x, before[name]) for name, x in MODEL.state_dict().items())
    # The result needs no code of ours or the user's to be rebuilt from.
    saved = load_network(tmp_path / "run" / "result")
    torch.testing.assert_close(saved.network(DATA.test.inputs), found.network(DATA.test.inputs))
    assert saved.kept == found.kept
    assert [len(saved.kept[name]) for name in ("0", "3", "6")] == list(last.widths.values())
    curve = json.loads((tmp_path / "run" / "result" / "curve.json").read_text())
    assert len(curve["rounds"]) == len(found.rounds)
    assert curve["test"]["accuracy"] == found.test.accuracy


def test_paper_mode_cuts_one_group_a_round() -> None:
    recipe = replace(QUICK, mode="paper", initial_reduction=0.2, decay=1.0, short=0, long=0)
    found = adapt(MODEL, DATA, budget="65%", recipe=recipe)
    for before, after in zip(found.rounds, found.rounds[1:], strict=False):
        changed = [n for n in before.widths if before.widths[n] != after.widths[n]]
        assert changed == [after.chosen]
        assert after.candidates <= len(before.widths)
        # 20 % of the first network less, and not a step of two channels more than needed
        assert after.resource <= max(before.resource - 0.2 * found.rounds[0].resource, found.budget)


def test_selection_by_ratio_and_unknown_words() -> None:
    recipe = replace(QUICK, mode="paper", select="ratio", initial_reduction=0.3, long=0)
    assert adapt(MODEL, DATA, budget="60%", recipe=recipe).met
    with pytest.raises(PicojouleError, match="did you mean 'paper'"):
        adapt(MODEL, DATA, mode="papers")
    with pytest.raises(PicojouleError, match="ratio"):
        adapt(MODEL, DATA, select="rate")
    with pytest.raises(PicojouleError, match="budget"):
        adapt(MODEL, DATA, budget="half")


def test_an_unreachable_budget_is_said() -> None:
    recipe = replace(QUICK, mode="paper", initial_reduction=0.9, short=0, long=0, floor=0.5)
    with pytest.raises(BudgetError, match="smallest") as caught:
        adapt(MODEL, DATA, budget="1%", recipe=recipe)
    with pytest.raises(BudgetError):
        adapt(MODEL, DATA, budget=caught.value.smallest * 0.999, recipe=recipe)
    assert adapt(MODEL, DATA, budget=caught.value.smallest, recipe=recipe).met
    with pytest.raises(BudgetError, match="channels stay in 1: an output of the network"):
        adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), DATA, recipe=recipe)


class Slow:
    """A stopwatch by which whole networks take 1.7 times their layers, and a little more."""

    name, metric, unit = "slow", "latency", "s"

    def layer(self, layer: Layer) -> Entry:
        return Entry(layer.macs * 1e-9, 0.0, 3)

    def network(self, network: Any, inputs: Any) -> Entry:
        from picojoule.frontends import load

        macs = sum(layer.macs for layer in load((network, tuple(inputs))))
        return Entry(self.seconds(macs), 0.0, 3)

    def seconds(self, macs: int) -> float:
        return 1.7e-9 * macs + 1e-5

    def provenance(self) -> dict[str, Any]:
        return {"device": "a test", "tool": "none"}


class Faster(Slow):
    """A stopwatch by which a network of half the size takes a third of the time."""

    def seconds(self, macs: int) -> float:
        return float((1e-9 * macs) ** math.log2(3))


@pytest.mark.slow
def test_a_round_that_went_too_far_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(QUICK, long=0, initial_reduction=0.6)

    def paid(run: str) -> float:
        found = adapt(
            MODEL, DATA, platform=measured(Faster()), budget="45%", recipe=recipe,
            run=tmp_path / run,
        )  # fmt: skip
        assert [r.number for r in found.rounds] == sorted({r.number for r in found.rounds})
        return found.rounds[-1].paid / found.budget

    nearer = paid("as it is")
    assert paid("as it is") == nearer  # read from its folder
    monkeypatch.setattr(adaptation, "NEARER_TRIES", 0)
    far = paid("without")
    assert far < 0.7 < 0.8 < nearer <= 1


@pytest.mark.slow
def test_what_is_measured_must_meet_the_budget(tmp_path: Path) -> None:
    recipe = replace(QUICK, long=0)
    found = adapt(
        MODEL, DATA, platform=measured(Slow()), budget="50%", recipe=recipe, run=tmp_path / "run"
    )
    last = found.rounds[-1]
    assert last.measured is not None
    assert last.measured <= found.budget
    assert last.measured >= 0.75 * found.budget
    assert found.predicted != last.measured
    assert (tmp_path / "run" / "table.json").exists()


class Busier(Slow):
    """A stopwatch of a computer that gets other work whenever a network is measured again."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def seconds(self, macs: int) -> float:
        self.seen.append(macs)
        return super().seconds(macs) * (1 + 0.1 * (self.seen.count(macs) - 1))


@pytest.mark.slow
def test_other_work_at_the_end_does_not_undo_a_met_budget() -> None:
    watch = Busier()
    found = adapt(
        MODEL, DATA, platform=measured(watch), budget="50%", recipe=replace(QUICK, long=0)
    )
    assert watch.seen[-3:] == [watch.seen[-1]] * 3  # asked again, in vain
    assert found.met
    assert found.rounds[-1].measured == pytest.approx(Slow().seconds(watch.seen[-1]))


@pytest.mark.slow
def test_executors_agree() -> None:
    recipe = replace(QUICK, initial_reduction=0.4, long=0)
    here = adapt(MODEL, DATA, budget="50%", recipe=recipe)
    executor = Processes(2)
    try:
        there = adapt(MODEL, DATA, budget="50%", recipe=recipe, executor=executor)
    finally:
        executor.close()
    for name, tensor in here.network.state_dict().items():
        assert torch.equal(tensor, there.network.state_dict()[name])


@pytest.mark.slow
def test_ray_agrees() -> None:
    pytest.importorskip("ray")
    recipe = replace(QUICK, initial_reduction=0.5, long=0, mode="paper")
    here = adapt(MODEL, DATA, budget="60%", recipe=recipe)
    executor = Ray(workers=2)
    try:
        there = adapt(MODEL, DATA, budget="60%", recipe=recipe, executor=executor)
    finally:
        executor.close()
    for name, tensor in here.network.state_dict().items():
        assert torch.equal(tensor, there.network.state_dict()[name])


@pytest.mark.slow
def test_a_crashing_candidate_costs_only_itself() -> None:
    recipe = replace(QUICK, mode="paper", initial_reduction=0.15, long=0, decay=1.0)
    executor = Processes(1)
    try:
        found = adapt(
            MODEL, DATA, budget="80%", recipe=recipe, executor=executor, finetune=jobs.bad_finetune
        )
    finally:
        executor.close()
    assert found.met
    assert found.rounds[1].lost == 1
    assert found.rounds[-1].widths["0"] == 8  # the candidate that narrows the first layer dies


ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from dataclasses import replace
from tests.pruning.netadapt.test_adaptation import DATA, MODEL, QUICK
from picojoule.pruning.netadapt.adaptation import adapt
adapt(MODEL, DATA, budget="40%", recipe=replace(QUICK, initial_reduction=0.5, long=400),
      run=sys.argv[1])
"""


@pytest.mark.slow
def test_killed_and_resumed_it_ends_the_same(tmp_path: Path) -> None:
    recipe = replace(QUICK, initial_reduction=0.5, long=400)
    whole = adapt(MODEL, DATA, budget="40%", recipe=recipe, run=tmp_path / "whole")
    lines = len((tmp_path / "whole" / "history.jsonl").read_text().splitlines())
    run = tmp_path / "killed"
    kills = 0
    for wanted in (2, lines // 2):
        worker = subprocess.Popen([sys.executable, "-c", SCRIPT, str(run)], cwd=ROOT)
        history = run / "history.jsonl"
        while worker.poll() is None:
            done = len(history.read_text().splitlines()) if history.exists() else 0
            if done >= wanted:
                os.kill(worker.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        worker.wait()
    assert kills >= 1
    again = adapt(MODEL, DATA, budget="40%", recipe=recipe, run=run)
    for name in ("weights.safetensors", "recipe.json", "curve.json"):
        assert (run / "result" / name).read_bytes() == (
            tmp_path / "whole" / "result" / name
        ).read_bytes()
    assert again.rounds == whole.rounds


RECIPE = """
network: mine.py:network
data: mine.py:data
platform: macs
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
"""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = str(tmp_path / "recipe.yaml")
    run = ["--workers", "0", "-o", str(tmp_path / "run")]
    assert main(["adapt", recipe, *run, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["met"]
    assert answer["resource"] <= answer["budget"]
    documented(answer, "adapt", "test", "rounds")
    assert main(["adapt", recipe, *run]) == 0  # all is there already
    assert "test accuracy" in capsys.readouterr().out
    assert (
        main(["adapt", recipe, "-o", str(tmp_path / "no"), "--workers", "0", "--budget", "1%"]) == 1
    )
    assert "smallest" in capsys.readouterr().err
    assert main(["adapt", recipe, *run, "--budget", "50%"]) == 2  # of another recipe
    capsys.readouterr()
    (tmp_path / "recipe.yaml").write_text(RECIPE + "shorts: 3\nfloor: wide\n")
    assert main(["adapt", recipe, *run]) == 2
    talk = capsys.readouterr().err
    assert "did you mean 'short'" in talk
    assert "$.floor" in talk
