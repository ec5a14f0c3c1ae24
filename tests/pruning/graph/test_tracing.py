"""A network traced once: layers, calls, parameters and modules of the graph belong together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from picojoule.errors import InputError  # noqa: E402
from picojoule.frontends import load  # noqa: E402
from picojoule.pruning.datasets import Data  # noqa: E402
from picojoule.pruning.energy_aware.finetuning import FineTuning  # noqa: E402
from picojoule.pruning.energy_aware.options import PruningOptions  # noqa: E402
from picojoule.pruning.energy_aware.pruning import prune  # noqa: E402
from picojoule.pruning.graph.records import GraphError  # noqa: E402
from picojoule.pruning.graph.surgery import cut  # noqa: E402
from picojoule.pruning.graph.tracing import trace  # noqa: E402
from picojoule.pruning.layers.capture import find_layers  # noqa: E402
from picojoule.pruning.layers.profiling import profile  # noqa: E402
from picojoule.pruning.netadapt.adaptation import adapt  # noqa: E402
from picojoule.pruning.netadapt.recipe import Recipe  # noqa: E402
from tests.pruning import patterns  # noqa: E402
from tests.pruning.small import SmallNet, bright_quarters  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
DATA = Data(bright_quarters(96, 1), bright_quarters(48, 2))


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The classes of the modules that torch.export was asked to follow."""
    asked: list[str] = []
    export = torch.export.export

    def counted(module: nn.Module, *args: Any, **settings: Any) -> Any:
        asked.append(type(module).__name__)
        return export(module, *args, **settings)

    monkeypatch.setattr(torch.export, "export", counted)
    return asked


@pytest.mark.parametrize("mode", ["paper", "best"])
def test_pruning_exports_once(mode: str, exports: list[str], tmp_path: Path) -> None:
    options = PruningOptions(
        calibration=32, profile=32, samples=16, levels=2, attempts=1,
        training=FineTuning(epochs=1, batch=48),
    )  # fmt: skip
    outcome = prune(
        SmallNet(), DATA, cost=lambda layer: layer.effectual_macs, mode=mode, energy=0.7,
        options=options, classes=(0, 2), run=tmp_path / "run",
    )  # fmt: skip
    assert outcome.met
    assert exports == ["SmallNet"]


@pytest.mark.parametrize("mode", ["paper", "best"])
def test_adapting_exports_once(mode: str, exports: list[str]) -> None:
    recipe = Recipe(
        mode=mode, short=1, long=1, batch=48, calibrate=32, step=2, initial_reduction=0.3
    )
    outcome = adapt(SmallNet(), DATA, budget="60%", recipe=recipe)
    assert outcome.met
    assert len(outcome.rounds) > 2  # cut, and cut again
    assert exports == ["SmallNet"]


def test_profiling_exports_once(exports: list[str]) -> None:
    profile(SmallNet(), DATA.validate.take(8))
    assert exports == ["SmallNet"]


QUICK = (patterns.Residual, patterns.Shuffled, patterns.Decoder)


@pytest.mark.parametrize(
    "pattern",
    [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in patterns.PATTERNS],
    ids=lambda p: p.__name__,
)
def test_layers_are_those_of_an_export_of_the_model_and_of_what_is_left(pattern: Any) -> None:
    model, image = patterns.made(pattern), patterns.images(3)
    traced = trace(model, (image,))
    # What one inference is was said by who traced it; a module is asked.
    alone = load((model, (image,)))
    assert traced.workload.graph is not None
    assert alone.graph is not None
    assert replace(traced.workload, graph=None) == replace(
        alone, remarks=traced.workload.remarks, graph=None
    )
    # Exports name what has no module differently.
    assert [x.operators for x in traced.workload.graph.nodes] == [
        x.operators for x in alone.graph.nodes
    ]
    assert [x for call in traced.calls for x in call.layers] == [
        layer.name for layer in traced.workload
    ]
    keep = traced.channels.all_kept()
    for group in traced.channels.groups:
        keep[list(group.channels[::2])] = False
    small = cut(traced, keep)
    if small.channels.groups:
        keep = small.channels.all_kept()
        keep[small.channels.groups[0].channels[0]] = False
        small = cut(small, keep)
    anew = trace(small.graph, small.example)
    assert [x.signature() for x in small.workload] == [x.signature() for x in anew.workload]
    assert small.module_of_layer() == anew.module_of_layer()
    assert small.channels.groups == anew.channels.groups


class Mixed(nn.Module):
    """Weights without modules, one used twice and one by two operators, and a shared one."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(6, 3, 3, 3))
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.again.weight = self.conv.weight
        self.both = nn.Linear(6, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.kernel, stride=2)
        x = self.again(self.conv(x).relu()).relu().mean((2, 3))
        return self.both(x @ self.both.weight)


def test_parameters_come_from_the_signature() -> None:
    traced = trace(Mixed(), (patterns.images(1),))
    assert [(call.operator, call.weight, call.bias, call.layers) for call in traced.calls] == [
        ("conv2d", "kernel", None, ("kernel",)),
        ("conv2d", "conv.weight", "conv.bias", ("conv",)),
        ("conv2d", "conv.weight", "again.bias", ("conv_2",)),
        ("matmul", None, None, ("both",)),
        ("linear", "both.weight", None, ("both_2",)),
    ]
    layers = find_layers(traced)
    assert {layer.parameter: layer.calls for layer in layers} == {
        "kernel": ("kernel",),
        "conv.weight": ("conv", "conv_2"),
        "both.weight": ("both_2",),  # by name the product before it would have been taken
    }


def test_a_graph_is_traced_as_itself() -> None:
    traced = patterns.traced(patterns.Shuffled)
    again = trace(traced.graph, (patterns.images(1),))
    assert again.channels.groups == traced.channels.groups
    assert set(again.channels.orders) == set(traced.channels.orders)
    data = patterns.images(3)
    assert torch.equal(again.graph(data), traced.graph(data))


def test_a_model_is_left_as_it_was() -> None:
    model = patterns.made(patterns.Residual).train()
    model.get_submodule("stem").eval()
    before = [part.training for part in model.modules()]
    state = {name: x.clone() for name, x in model.state_dict().items()}
    traced = trace(model, (patterns.images(1),))
    assert [part.training for part in model.modules()] == before
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())
    assert traced.tensors == {name: name for name in model.state_dict()}


class Counted(nn.Module):
    """The batch is built in: the export takes len() for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).view(len(x), 4 * 256)


def test_layers_of_a_batch_that_is_built_in_are_shared_out() -> None:
    traced = trace(Counted(), (patterns.images(1),))
    assert [x.bounds for x in traced.workload] == [
        x.bounds for x in load((Counted(), (patterns.images(1),)))
    ]
    with pytest.raises(GraphError, match=r"not len\(x\)"):
        _ = traced.graph


def test_what_cannot_be_exported_says_so() -> None:
    class Asks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(InputError, match=r"torch\.export cannot follow"):
        trace(Asks(), (patterns.images(1),))
