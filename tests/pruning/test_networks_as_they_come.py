"""Networks and data as people have them: each is pruned rightly, or refused before the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("safetensors")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402
from torch.nn.utils import prune as masking  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, TensorDataset  # noqa: E402

from picojoule.errors import PicojouleError  # noqa: E402
from picojoule.pruning.datasets import Data, Samples  # noqa: E402
from picojoule.pruning.energy_aware.finetuning import FineTuning  # noqa: E402
from picojoule.pruning.energy_aware.options import PruningOptions  # noqa: E402
from picojoule.pruning.energy_aware.pruning import Pruned, prune  # noqa: E402
from picojoule.pruning.graph.surgery import load_network  # noqa: E402
from picojoule.pruning.graph.tracing import trace  # noqa: E402
from picojoule.pruning.layers.capture import find_layers  # noqa: E402
from picojoule.pruning.layers.real_weights import with_real_weights  # noqa: E402
from picojoule.pruning.netadapt.adaptation import adapt  # noqa: E402
from picojoule.pruning.netadapt.coverage import wanted_layers  # noqa: E402
from picojoule.pruning.netadapt.recipe import Recipe  # noqa: E402
from picojoule.workload import Layer  # noqa: E402

FAST = PruningOptions(
    calibration=48, profile=48, positions=16, samples=32, levels=3, attempts=1, rounds=1,
    training=FineTuning(epochs=1, rate=0.01, batch=16),
)  # fmt: skip


class Net(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, convolution: Callable[..., nn.Module] = nn.Conv2d) -> None:
        super().__init__()
        self.one = convolution(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.two = convolution(6, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.one(x)))
        return self.fc(functional.relu(self.two(x)).mean((2, 3)))


class Standardised(nn.Conv2d):
    """BiT's convolution (Qiao et al., 2019): filters of mean 0 and deviation 1."""

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) / (deviation + 1e-5)
        return functional.conv2d(
            x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Scaled(Net):
    """With a table that is no parameter, and kept out of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(6)[:, None, None] + 0.5, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.one(x))) * self.scale
        return self.fc(functional.relu(self.two(x)).mean((2, 3)))


class Written(Net):
    """With a table that is written in the code, and a number."""

    table = torch.linspace(1, 2, 6)[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.one(x))) * self.table
        return self.fc(functional.relu(self.two(x) * torch.tensor(2.0)).mean((2, 3)))


def network(kind: Callable[[], nn.Module] = Net) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def samples(count: int = 64) -> Samples:
    draw = torch.Generator().manual_seed(1)
    return Samples(torch.randn(count, 1, 8, 8, generator=draw), torch.arange(count) % 3)


def data() -> Data:
    return Data(samples(), samples(24))


def macs(layer: Layer) -> float:
    return layer.effectual_macs + 10 * layer.weights * layer.density.weight


def pruned(model: nn.Module, task: Data | None = None, **more: Any) -> Pruned:
    return prune(model, task or data(), cost=macs, energy="60%", options=FAST, **more)


def refused_at_once(message: str, ask: Callable[[], Any]) -> None:
    started = time.process_time()
    with pytest.raises(PicojouleError, match=message):
        ask()
    assert time.process_time() - started < 1


# -- weights in another order, and strided ---------------------------------------------------------


def strided() -> nn.Module:
    model = network()
    for name in ("one", "two"):
        layer = model.get_submodule(name)
        wide = torch.zeros(*layer.weight.shape[:3], 2 * layer.weight.shape[3])
        wide[..., ::2] = layer.weight.detach()
        layer.weight = nn.Parameter(wide[..., ::2])
    return model


@pytest.mark.parametrize("model", [network().to(memory_format=torch.channels_last), strided()])
def test_weights_lie_in_memory_as_they_like(model: nn.Module, tmp_path: Path) -> None:
    assert not all(x.is_contiguous() for x in model.state_dict().values())
    found = pruned(model, run=tmp_path / "r")
    saved = load_file(tmp_path / "r" / "result" / "weights.safetensors")
    assert saved.keys() == model.state_dict().keys()
    again = network()
    again.load_state_dict(saved)
    with torch.no_grad():
        images = samples(4).inputs
        torch.testing.assert_close(again(images), found.model(images))
    assert pruned(model, run=tmp_path / "r").after.energy == found.after.energy  # taken up again


def test_what_cannot_be_written_is_found_before_the_first_step() -> None:
    model = network()
    model.register_buffer("table", torch.eye(4).to_sparse())
    refused_at_once("table is sparse .*to_dense", lambda: pruned(model))
    with torch.device("meta"):
        empty = Net().eval()
    refused_at_once("one.weight has no values", lambda: pruned(empty))


# -- tensors that are no parameters ----------------------------------------------------------------


def test_a_buffer_outside_the_state_leaves_channels_to_be_pruned(tmp_path: Path) -> None:
    model = network(Scaled)
    found = pruned(model, run=tmp_path / "r")
    assert "one" in found.widths
    assert "one" not in found.refused
    assert found.narrow is not None
    assert "scale" not in found.model.state_dict()
    saved = load_file(tmp_path / "r" / "result" / "weights.safetensors")
    model.load_state_dict(saved)  # strict: the file fits the network that was given
    small = load_network(tmp_path / "r" / "result" / "narrow").network
    with torch.no_grad():
        images = samples(4).inputs
        torch.testing.assert_close(model(images), small(images), atol=1e-4, rtol=1e-4)


def test_a_constant_of_the_code_holds_its_own_channels_only() -> None:
    found = pruned(network(Written))
    assert "a constant of the code, has its channels" in found.refused["one"]
    assert "two" not in found.refused
    assert len(set(found.widths["one"])) == 1


def test_what_is_refused_is_told() -> None:
    class Fixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(len(x), 1, 8, 8))  # len: one batch size only

    found = pruned(network(Fixed))
    assert found.narrow is None
    assert "does not run for one more" in found.refused["all channels"]


# -- frozen weights --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["best", "paper"])
def test_frozen_parameters_stay(mode: str) -> None:
    model = network()
    frozen = ("one.weight", "norm.bias", "two.bias")
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    found = pruned(model, mode=mode)
    for name in frozen:
        assert torch.equal(found.model.get_parameter(name), model.get_parameter(name)), name
    assert set(found.weights) == {"two", "fc"}
    assert found.left_dense == ("one",)
    assert not torch.equal(found.model.get_parameter("two.weight"), model.two.weight)
    if mode == "best":
        assert found.refused["one"] == "one.weight is frozen (requires_grad=False)"


def test_frozen_parameters_stay_when_filters_are_cut() -> None:
    model = network()
    model.one.weight.requires_grad_(False)
    recipe = Recipe(short=2, long=2, batch=16, calibrate=32, step=1)
    found = adapt(model, data(), platform="macs", budget="85%", recipe=recipe)
    assert torch.equal(found.network.get_parameter("one.weight"), model.one.weight)
    assert found.network.get_parameter("two.weight").shape[0] < 8


def test_a_network_that_is_frozen_whole_is_refused() -> None:
    model = network().requires_grad_(False)
    refused_at_once("all weights of Net are frozen .*requires_grad_", lambda: pruned(model))
    refused_at_once(
        "all weights of Net are frozen", lambda: adapt(model, data(), platform="macs", budget="50%")
    )


# -- labels and loaders ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.int16])
def test_labels_are_whole_numbers_of_any_width(kind: torch.dtype) -> None:
    whole = samples()
    narrow = Samples(whole.inputs, whole.labels.to(kind))
    assert narrow.labels.dtype == torch.int64
    found = pruned(network(), Data(narrow, narrow.take(24)))
    assert found.after.energy == pruned(network()).after.energy


def test_loaders_are_read_in_the_order_of_their_set() -> None:
    whole = samples()
    loader = DataLoader(TensorDataset(whole.inputs, whole.labels), batch_size=10, shuffle=True)
    task = Data(loader, samples(24))
    assert torch.equal(task.train.inputs, whole.inputs)
    assert torch.equal(task.train.labels, whole.labels)
    assert pruned(network(), task).after.energy == pruned(network()).after.energy


def test_what_is_no_data_is_refused_with_what_is() -> None:
    class Stream(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter([])

    whole = samples()
    loader = DataLoader(TensorDataset(whole.inputs, whole.labels))
    refused_at_once(r"data is a DataLoader; Data\(train, vali", lambda: pruned(network(), loader))  # type: ignore[arg-type]
    refused_at_once("without a length", lambda: Data(DataLoader(Stream()), samples()))
    alone = DataLoader(TensorDataset(whole.inputs))
    refused_at_once("pairs of inputs and labels", lambda: Data(alone, samples()))
    refused_at_once("train is a list", lambda: Data([], samples()))  # type: ignore[arg-type]


# -- weights that are computed ---------------------------------------------------------------------


def masked() -> nn.Module:
    model = network()
    masking.l1_unstructured(model.two, "weight", amount=0.5)
    model(samples(2).inputs)  # the weight is now a tensor that torch does not copy
    return model


def normalised() -> nn.Module:
    model = network()
    parametrizations.weight_norm(model.one)
    parametrizations.weight_norm(model.two)
    return model


def normalised_by_hooks() -> nn.Module:
    model = network()
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(model.two)
    model(samples(2).inputs)
    return model


def standardised() -> nn.Module:
    return network(lambda: Net(Standardised))


COMPUTED = {
    "masks": masked,
    "weight norm": normalised,
    "weight norm by hooks": normalised_by_hooks,
    "standardised": standardised,
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_weights_are_pruned_as_what_they_are(kind: str) -> None:
    model = COMPUTED[kind]()
    images = samples(4).inputs
    with torch.no_grad():
        before = model(images)
    plain = with_real_weights(model, (images,)).model
    layers = find_layers(trace(plain, (images[:1],)))
    assert [layer.name for layer in layers] == ["one", "two", "fc"]
    with torch.no_grad():
        torch.testing.assert_close(plain(images), before, atol=1e-5, rtol=1e-5)
    found = pruned(model)
    assert set(found.weights) == {"one", "two", "fc"}
    assert found.weights["two"] < 0.6
    assert set(found.widths) == {"one", "two"}
    with torch.no_grad():
        torch.testing.assert_close(model(images), before)  # the given network is untouched
    for layer in layers:
        weight = found.model.get_parameter(layer.parameter)
        share = int(torch.count_nonzero(weight)) / weight.numel()
        assert share == pytest.approx(found.weights[layer.name])


def test_filters_of_standardised_convolutions_are_cut() -> None:
    recipe = Recipe(short=1, long=1, batch=16, calibrate=32, step=1)
    found = adapt(standardised(), data(), platform="macs", budget="50%", recipe=recipe)
    assert found.met
    wanted = wanted_layers(standardised(), (samples(1).inputs,), recipe)
    assert min(layer.bounds.M for layer in wanted if layer.bounds.R == 3) < 6


def test_a_weight_that_depends_on_the_data_is_left_alone() -> None:
    class Dynamic(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return functional.conv2d(x, self.weight * x.mean(), self.bias, padding=1)

    model = network(lambda: Net(lambda *sizes, **_: Dynamic(*sizes, padding=1)))
    plain = with_real_weights(model, (samples(2).inputs,)).model
    assert isinstance(plain.one, Dynamic)


# -- draws -----------------------------------------------------------------------------------------


def test_samples_are_drawn_from_the_whole_set() -> None:
    by_class = Samples(torch.arange(300.0)[:, None], torch.arange(300) // 100)
    drawn = by_class.drawn(60, 0)
    assert torch.bincount(drawn.labels).min() > 10  # sorted by class, and all classes are there
    assert torch.equal(drawn.inputs, by_class.drawn(60, 0).inputs)
    assert not torch.equal(drawn.inputs, by_class.drawn(60, 1).inputs)
    assert by_class.drawn(300, 0) is by_class
    assert torch.equal(by_class.representative(60, 0).labels, drawn.labels)
    mixed = Samples(by_class.inputs, torch.arange(300) % 3)
    assert torch.equal(mixed.representative(60, 0).inputs, mixed.take(60).inputs)
