"""prune() from end to end on a small task; killed and resumed; asked wrong questions."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("safetensors")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from picojoule.errors import InputError, PicojouleError  # noqa: E402
from picojoule.pruning.datasets import Data, Samples  # noqa: E402
from picojoule.pruning.energy_aware import best_stages  # noqa: E402
from picojoule.pruning.energy_aware.finetuning import FineTuning, top1  # noqa: E402
from picojoule.pruning.energy_aware.options import PruningOptions  # noqa: E402
from picojoule.pruning.energy_aware.pruning import prune  # noqa: E402
from picojoule.pruning.runs.runs import RunError  # noqa: E402
from picojoule.specs import load_accelerator  # noqa: E402
from picojoule.workload import Layer  # noqa: E402
from tests.pruning.runs.test_runs import tree  # noqa: E402
from tests.pruning.small import make  # noqa: E402

FAST = PruningOptions(
    calibration=128, profile=128, samples=64, levels=4, attempts=2,
    training=FineTuning(epochs=1, rate=0.02, batch=64, distilled=0.5),
)  # fmt: skip


def weights_and_macs(layer: Layer) -> float:
    """A price that needs no machine, for speed: reading weights and inputs, and multiplying."""
    return 20 * layer.weights * layer.density.weight + layer.effectual_macs


@pytest.fixture(scope="module")
def task() -> Any:
    return make()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["paper", "best"])
def test_a_budget_is_met(task: Any, mode: str, tmp_path: Path) -> None:
    model, data = task
    untouched = copy.deepcopy(model.state_dict())
    found = prune(
        model, data, cost=weights_and_macs, mode=mode, energy=0.4, options=FAST, run=tmp_path / "r"
    )
    assert all(torch.equal(value, untouched[key]) for key, value in model.state_dict().items())
    assert found.met
    assert found.after.energy <= 0.4 * found.before.energy
    assert found.accuracy["validation_after"] == top1(data.validate)(found.model)
    assert found.accuracy["validation_before"] > 0.85  # the task was learned
    assert found.accuracy["validation_after"] > found.accuracy["validation_before"] - 0.08
    assert found.accuracy["test_after"] == top1(data.test)(found.model)
    for name, density in found.weights.items():
        weight = found.model.get_parameter(f"{name}.weight")
        assert density == pytest.approx(float((weight != 0).float().mean()))
        assert density <= 1
        if mode == "paper":
            assert density < 0.8  # every round takes from every layer
    saved = load_file(tmp_path / "r" / "result" / "weights.safetensors")
    assert all(torch.equal(value, saved[key]) for key, value in found.model.state_dict().items())
    record = json.loads((tmp_path / "r" / "result" / "result.json").read_text())
    assert record["after"]["energy"] == found.after.energy
    assert sum(row["energy_after"] for row in found.rows()) == pytest.approx(found.after.energy)


def test_a_described_machine_prices_it(task: Any) -> None:
    model, data = task
    found = prune(model, data, accelerator="eyeriss-cvpr17", mode="paper", energy=0.7, options=FAST)
    assert found.met
    assert found.before.unit == "MAC"
    assert sum(found.after.by_operand.values()) == pytest.approx(found.after.energy)
    assert set(found.after.by_operand) == {"input", "weight", "output", "compute"}


@pytest.mark.parametrize("mode", ["paper", pytest.param("best", marks=pytest.mark.slow)])
def test_the_last_network_within_tolerance_is_kept(task: Any, mode: str) -> None:
    model, data = task
    found = prune(
        model, data, cost=weights_and_macs, mode=mode, max_accuracy_drop=0.03, options=FAST
    )
    least = found.accuracy["validation_before"] - 0.03
    assert found.accuracy["validation_after"] >= least
    kept = [point for point in found.curve if point.kept]
    assert found.after.energy == min(point.energy for point in kept)
    if mode == "paper":
        assert not found.curve[-1].kept  # it went on until one failed
    assert found.reduction > 1.5


@pytest.mark.parametrize("share", [0.7, 0.36, 0.155])
def test_no_stage_is_spent_on_a_hair(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def network(energy: float) -> Any:
        return SimpleNamespace(price=SimpleNamespace(energy=energy), accuracy=0.9)

    def stage(_subject: Any, _label: str, _before: Any, goal: float, _widths: Any) -> Any:
        return network(goal * 1.004)  # the fine-tune filled the activations a little

    monkeypatch.setattr(best_stages, "_stage", stage)
    subject: Any = SimpleNamespace(options=FAST)
    found = best_stages.prune_by_stages(subject, network(100.0), 100 * share, None)
    energies = [candidate.price.energy for candidate in found]
    assert len(energies) == 1 + math.ceil(math.log(share) / math.log(FAST.step))
    assert 0.98 * share <= energies[-1] / 100 <= share


@pytest.mark.slow
def test_an_impossible_budget_is_answered_no(task: Any) -> None:
    model, data = task
    found = prune(model, data, cost=lambda layer: 1.0 + 0 * layer.macs, energy=0.5, options=FAST)
    assert not found.met


def test_patterns(task: Any) -> None:
    model, data = task
    options = replace(FAST, constraint="2:4")
    found = prune(model, data, cost=weights_and_macs, energy=0.6, options=options)
    assert found.met
    for name in found.weights:
        weight = found.model.get_parameter(f"{name}.weight").detach()
        flat = weight.reshape(*weight.shape[:2], -1).mT.reshape(weight.shape[0], -1)
        blocks = nn.functional.pad(flat, (0, -flat.shape[1] % 4)).reshape(len(flat), -1, 4)
        assert int((blocks != 0).sum(-1).max()) in (1, 2, 3, 4)
        assert len({round(found.weights[name] * 4)}) == 1


def test_whole_filters_leave_a_smaller_dense_network(task: Any) -> None:
    model, data = task
    options = replace(FAST, constraint="filters")
    found = prune(model, data, cost=weights_and_macs, energy=0.4, options=options)
    assert found.met
    assert found.narrow is not None
    assert any(left < first for first, left in found.widths.values())
    for name, weight in found.narrow.named_parameters():
        assert bool((weight != 0).all()), name
    size = sum(weight.numel() for weight in found.narrow.parameters())
    assert size < 0.7 * sum(weight.numel() for weight in model.parameters())


def test_filters_become_zeros_where_widths_are_kept(task: Any) -> None:
    model, data = task
    options = replace(FAST, constraint="filters", narrow=False)
    found = prune(model, data, cost=weights_and_macs, energy=0.6, options=options)
    assert found.met
    for name in found.weights:
        weight = found.model.get_parameter(f"{name}.weight").detach()
        rows = (weight.flatten(1) != 0).any(1)
        full = (weight.flatten(1) != 0).float().mean(1)
        assert bool(((full > 0.9) == rows).all())


@pytest.mark.slow
def test_joint_bits(task: Any) -> None:
    model, data = task

    def in_bits(layer: Layer) -> float:
        return layer.weights * layer.density.weight * layer.bits.weight + layer.effectual_macs

    found = prune(model, data, cost=in_bits, energy=0.25, joint_bits=True, options=FAST)
    assert found.met
    assert set(found.bits.values()) <= {8, 6, 4}
    assert found.bits
    for name, bits in found.bits.items():
        weight = found.model.get_parameter(f"{name}.weight").detach().flatten(1)
        for row in weight:
            values = row[row != 0].unique()
            assert len(values) < 2**bits
    assert found.accuracy["validation_after"] > found.accuracy["validation_before"] - 0.08


@pytest.mark.slow
def test_classes_keep_their_outputs(task: Any) -> None:
    model, data = task
    found = prune(model, data, cost=weights_and_macs, energy=0.5, classes=(3, 1), options=FAST)
    with torch.no_grad():
        assert found.model(data.train.inputs[:5]).shape == (5, 2)
        assert model(data.train.inputs[:5]).shape == (5, 4)
    assert found.accuracy["validation_after"] > 0.9


def test_users_own_finetune_and_accuracy(task: Any) -> None:
    model, data = task
    calls: list[int] = []

    def spoil(network: nn.Module, epoch: int) -> None:
        calls.append(epoch)
        with torch.no_grad():
            network.get_parameter("fc1.weight").add_(1.0)  # would fill every zero

    found = prune(
        model, data, cost=weights_and_macs, mode="paper", energy=0.8, options=FAST,
        finetune=spoil, accuracy=lambda _: 0.5,
    )  # fmt: skip
    assert calls
    assert found.weights["fc1"] < 0.9
    assert found.accuracy["validation_after"] == 0.5


SCRIPT = """
import torch
torch.set_num_threads(1)
from tests.pruning.small import make
from tests.pruning.energy_aware.test_pruning import FAST, weights_and_macs
from picojoule.pruning.energy_aware.pruning import prune
model, data = make()
prune(model, data, cost=weights_and_macs, mode={mode!r}, energy=0.35, options=FAST, run={run!r})
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["paper", "best"])
def test_killed_and_resumed_ends_with_the_same_bytes(mode: str, tmp_path: Path) -> None:
    """SIGKILL at random moments; the folder at the end is that of the run nobody touched."""
    root = str(Path(__file__).parents[3])

    def start(run: str) -> subprocess.Popen[bytes]:
        code = SCRIPT.format(mode=mode, run=str(tmp_path / run))
        return subprocess.Popen([sys.executable, "-c", code], cwd=root)

    assert start("whole").wait() == 0
    draw = random.Random(mode)
    history = tmp_path / "killed" / "history.jsonl"
    for _ in range(int(os.environ.get("PICOJOULE_KILLS", "1"))):
        process = start("killed")
        # Wait for a number of new steps, then for a random moment within the next.
        known = len(history.read_bytes().splitlines()) if history.exists() else 0
        wanted = known + draw.randint(1, 4)
        while process.poll() is None:
            if history.exists() and len(history.read_bytes().splitlines()) >= wanted:
                break
            time.sleep(0.01)
        time.sleep(draw.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start("killed").wait() == 0
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_a_loss_that_is_not_finite_stops_with_the_folder_intact(task: Any, tmp_path: Path) -> None:
    model, data = task
    wild = replace(FAST, training=FineTuning(epochs=2, rate=1e12, batch=64))
    for _ in range(2):  # given again, it goes on to the same place
        with pytest.raises(RunError, match=r"the loss is (nan|inf)"):
            prune(
                model, data, cost=weights_and_macs, mode="paper", energy=0.5, options=wild,
                run=tmp_path,
            )  # fmt: skip
        steps = [json.loads(x)["step"] for x in (tmp_path / "history.jsonl").open()]
        assert steps[-1] == "round 1/norms"
        assert not (tmp_path / "result").exists()


def test_other_data_is_another_run(task: Any, tmp_path: Path) -> None:
    model, data = task
    prune(model, data, cost=weights_and_macs, mode="paper", energy=0.8, options=FAST, run=tmp_path)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.fc2.bias.add_(1e-3)
    with pytest.raises(InputError, match=r"\$\.inputs\.model"):
        prune(
            other, data, cost=weights_and_macs, mode="paper", energy=0.8, options=FAST,
            run=tmp_path,
        )  # fmt: skip


class Unsupported(nn.Module):
    """Data-dependent control flow, which no graph holds."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x.flatten(1))
        return y if float(y.sum()) > 0 else -y


def test_a_network_that_cannot_be_followed(task: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"torch\.export cannot follow"):
        prune(Unsupported(), task[1], accelerator="eyeriss-cvpr17", energy=0.5, run=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_layers(task: Any) -> None:
    with pytest.raises(PicojouleError, match="Flatten runs no convolution or linear layer"):
        prune(nn.Flatten(), task[1], accelerator="eyeriss-cvpr17")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "papr"}, r"no mode 'papr' \(did you mean 'paper'\?\)"),
        ({"energy": 1.5}, "a share of the original is above 0 and below 1"),
        ({"energy": "40 µJ"}, "have no unit"),
        ({"max_accuracy_drop": 2}, "0.01 is one point"),
        ({"joint_bits": True, "mode": "paper"}, "no effect in paper mode"),
        ({"options": PruningOptions(constraint="4:2")}, "no constraint '4:2'"),
        ({"options": PruningOptions(selector="obs")}, "no selector 'obs'"),
        ({"classes": (0, 9)}, "distinct numbers from 0 to 3"),
        ({"accelerator": "eyeriss-cvpr17"}, "one of the two"),
    ],
)
def test_wrong_questions(task: Any, wrong: dict[str, Any], message: str) -> None:
    model, data = task
    asked = {"cost": weights_and_macs, "energy": 0.5, "options": FAST, **wrong}
    with pytest.raises(PicojouleError, match=message):
        prune(model, data, **asked)


def test_joules_need_a_machine_whose_unit_is_known(task: Any) -> None:
    chip = replace(load_accelerator("eyeriss-cvpr17"), unit_energy=None)
    with pytest.raises(PicojouleError, match="in joules"):
        prune(*task, accelerator=chip, energy="40 µJ", options=FAST)


def test_a_transformer_is_pruned_whole() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True),
        nn.Flatten(),
        nn.Linear(64, 2),
    )
    inputs = torch.randn(192, 4, 16)
    samples = Samples(inputs, (inputs[:, 0, 0] > 0).long())
    data = Data(samples, samples.take(64))
    found = prune(model, data, cost=weights_and_macs, energy=0.5, options=FAST)
    assert found.met
    for name in ("self_attn.in_proj_weight", "self_attn.out_proj.weight"):
        kept = float((found.model.get_parameter(f"0.{name}") != 0).float().mean())
        assert kept < 0.9
        assert found.weights[f"0.{name}"[:-7].rstrip(".")] == pytest.approx(kept)


class Uncommon(nn.Module):
    """Layers that share a weight, a weight used again without its bias, a layer never used."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 3)
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.wide = nn.Linear(16, 24)
        self.again = nn.Linear(24, 20)
        self.last = nn.Linear(20, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        x = torch.relu(self.wide(x))
        return self.last(nn.functional.linear(x, self.again.weight) + self.again(x))


@pytest.mark.parametrize("mode", ["paper", "best"])
def test_shared_and_unused_weights(mode: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Uncommon()
    inputs = torch.randn(192, 16)
    samples = Samples(inputs, (inputs[:, 0] > 0).long())
    data = Data(samples, samples.take(64))
    found = prune(
        model, data, cost=weights_and_macs, mode=mode, energy=0.5, options=FAST, run=tmp_path / "r"
    )
    assert found.met
    shared = found.model.get_parameter("first.weight")
    assert found.model.get_parameter("second.weight") is shared
    assert model.first.weight.count_nonzero() == 256  # the given network is untouched
    for name, density in found.weights.items():
        weight = found.model.get_parameter(f"{name}.weight")
        assert density == pytest.approx(float((weight != 0).float().mean()))
    assert found.accuracy["validation_after"] == top1(data.validate)(found.model)
    model.load_state_dict(load_file(tmp_path / "r" / "result" / "weights.safetensors"))
    assert torch.equal(model(inputs), found.model(inputs))
    if found.narrow is not None:
        torch.testing.assert_close(found.narrow(inputs), model(inputs), rtol=1e-4, atol=1e-5)


class Reads(nn.Module):
    """Words in, the next word out, by one table."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 16)
        self.widen, self.join = nn.Linear(16, 32), nn.Linear(32, 16)
        self.next = nn.Linear(16, 12, bias=False)
        self.next.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x).mean(1)
        return self.next(x + self.join(torch.relu(self.widen(x))))


def test_words_are_no_numbers_to_be_scaled() -> None:
    torch.manual_seed(0)
    inputs = torch.randint(0, 12, (192, 5))
    samples = Samples(inputs, inputs[:, 0])
    data = Data(samples, samples.take(64))
    found = prune(Reads(), data, cost=weights_and_macs, energy=0.6, options=FAST)
    assert found.met
    assert found.widths["widen"][0] == 32
    words = found.model.get_parameter("words.weight")
    assert found.model.get_parameter("next.weight") is words


@pytest.mark.slow
def test_an_energy_not_reached_has_its_reasons(task: Any) -> None:
    model, data = task
    kept = replace(FAST, narrow=False)
    found = prune(model, data, cost=lambda layer: 1.0 * layer.macs, energy=0.3, options=kept)
    assert not found.met
    assert found.chosen == "original"
    nothing, widths = found.obstacles
    assert nothing.startswith("zeros among the weights save nothing here")
    assert widths == "no channels were removed: all widths were to be kept"
    found = prune(model, data, cost=lambda _: 1.0, energy=0.3, options=FAST)
    assert any(x.startswith("channels stay in") for x in found.obstacles)


def test_paper_mode_ends_where_nothing_is_left(task: Any) -> None:
    model, data = task
    eager = replace(FAST, rate=0.9, training=replace(FAST.training, epochs=0))
    found = prune(model, data, cost=weights_and_macs, mode="paper", energy=1e-6, options=eager)
    assert not found.met
    assert len(found.curve) < eager.rounds
