"""What is seen of a network on data: layers, matrices, densities."""

from __future__ import annotations

from typing import TypeAlias

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from picojoule.frontends import load  # noqa: E402
from picojoule.pruning.datasets import Samples  # noqa: E402
from picojoule.pruning.graph.tracing import trace  # noqa: E402
from picojoule.pruning.layers.capture import find_layers, gather, measure_densities  # noqa: E402


def samples(*shape: int, count: int = 6) -> Samples:
    draw = torch.Generator().manual_seed(0)
    return Samples(torch.randn(count, *shape, generator=draw), torch.zeros(count, dtype=torch.long))


Weighted: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Linear
SHAPES: list[tuple[Weighted, tuple[int, ...]]] = [
    (nn.Conv2d(3, 8, 3), (3, 9, 9)),
    (nn.Conv2d(4, 8, 3, stride=2, padding=1), (4, 9, 8)),
    (nn.Conv2d(4, 6, (3, 2), padding=(2, 1), dilation=(2, 1)), (4, 9, 7)),
    (nn.Conv2d(6, 9, 3, groups=3, padding="same"), (6, 7, 7)),
    (nn.Conv2d(6, 12, 3, groups=6, stride=2), (6, 9, 9)),
    (nn.Conv2d(5, 4, 1, bias=False), (5, 6, 6)),
    (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (3, 6, 6)),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (4, 11)),
    (nn.Linear(7, 5), (7,)),
    (nn.Linear(7, 5, bias=False), (3, 7)),
]


@pytest.mark.parametrize(("layer", "shape"), SHAPES, ids=lambda x: str(x)[:60])
def test_matrices_reproduce_the_layer(layer: Weighted, shape: tuple[int, ...]) -> None:
    """W X = Y for every kind of layer, so H and G are the layer's own."""
    model, data = nn.Sequential(layer), samples(*shape)
    (found,) = find_layers(trace(model, (data.inputs[:1],)))
    assert found.name == "0"
    gathered = gather(model, (found,), data, ridge=0.0, positions=10**6, kept=50)["0"]
    weight = layer.weight.detach()
    matrices = found.to_matrices(weight).double()
    assert torch.equal(found.from_matrices(found.to_matrices(weight)), weight)
    torch.testing.assert_close(matrices @ gathered.gram, gathered.cross, rtol=1e-4, atol=1e-4)
    x, y = gathered.samples
    assert x.shape[-1] == 50 or x.shape[-1] == y.shape[-1] < 50
    torch.testing.assert_close(found.to_matrices(weight) @ x, y, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        outputs = model(data.inputs)
        if layer.bias is not None:
            outputs = outputs - layer.bias.reshape(-1, *(1,) * (outputs.dim() - 2))
    assert gathered.energy == pytest.approx(float(outputs.square().sum()), rel=1e-4)


def test_columns_run_tap_by_tap_with_channels_innermost() -> None:
    (layer,) = find_layers(trace(nn.Conv2d(4, 1, 3), (torch.zeros(1, 4, 5, 5),)))
    weight = torch.arange(36.0).reshape(1, 4, 3, 3)
    assert layer.to_matrices(weight)[0, 0, :4].tolist() == [0, 9, 18, 27]


def test_targets_come_from_the_teacher_and_inputs_from_the_network() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    data = samples(5, count=40)
    layers = find_layers(trace(model, (data.inputs[:1],)))
    found = gather(model, layers[1:], data, teacher=teacher, ridge=0.0)["2"]
    with torch.no_grad():
        x = functional.relu(model[0](data.inputs)).double()
        y = (teacher(data.inputs) - teacher[2].bias).double()
    torch.testing.assert_close(found.gram[0], x.T @ x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.cross[0], y.T @ x, rtol=1e-5, atol=1e-5)


class Twice(nn.Module):
    """One weight used twice, one by function, a branch, an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.side = nn.Parameter(torch.randn(4, 4, 1, 1))
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(self.shared(x)))
        y = functional.relu(self.shared(y)) + functional.conv2d(x, self.side)
        return self.fc(y.mean((2, 3)))


def test_names_are_those_of_the_workload() -> None:
    data = samples(4, 6, 6)
    layers = find_layers(trace(Twice(), (data.inputs[:1],)))
    assert [layer.calls for layer in layers] == [("shared", "shared_2"), ("side",), ("fc",)]
    workload = load((Twice(), (data.inputs[:1],)))
    assert {call for layer in layers for call in layer.calls} == {x.name for x in workload}


def test_densities_are_counted_after_what_an_accelerator_fuses() -> None:
    torch.manual_seed(0)
    model, data = Twice().eval(), samples(4, 6, 6)
    layers = find_layers(trace(model, (data.inputs[:1],)))
    found = measure_densities(model, layers, data, batch=4)
    with torch.no_grad():
        first = functional.relu(model.norm(model.shared(data.inputs)))
        second = functional.relu(model.shared(first))
    share = float((first != 0).float().mean())
    assert found["shared"].output == pytest.approx(share)
    assert found["shared"].input == 1.0
    assert found["shared_2"].input == pytest.approx(share)
    assert found["shared_2"].output == pytest.approx(float((second != 0).float().mean()))
    assert found["side"].output == 1.0  # nothing between it and the addition
    assert 0.2 < share < 0.8


def test_the_modes_of_a_network_are_left_as_they_were() -> None:
    model = Twice()
    model.norm.eval()
    before = [part.training for part in model.modules()]
    find_layers(trace(model, (torch.zeros(1, 4, 6, 6),)))
    assert [part.training for part in model.modules()] == before


class Attends(nn.Module):
    """Self-attention as torch has it, in its fused layer too; cross-attention; own key widths."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True)
        self.narrow = nn.MultiheadAttention(8, 2, kdim=4, vdim=6, batch_first=True, bias=False)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        x = self.cross(x, 2 * x, 2 * x, need_weights=False)[0]
        x = self.narrow(x, x[..., :4], x[..., 2:])[0]
        return self.fc(x.mean(1))


def test_projections_of_attention_are_layers() -> None:
    torch.manual_seed(0)
    model, data = Attends().eval(), samples(5, 8, count=12)
    layers = find_layers(trace(model, (data.inputs[:1],)))
    seen = {layer.name: layer for layer in layers}
    assert list(seen) == [
        "layer.self_attn.in_proj", "layer.self_attn.out_proj", "layer.linear1", "layer.linear2",
        "cross.out_proj", "narrow.q_proj", "narrow.k_proj", "narrow.v_proj", "narrow.out_proj",
        "fc",
    ]  # fmt: skip
    assert seen["layer.self_attn.in_proj"].parameter == "layer.self_attn.in_proj_weight"
    assert seen["layer.self_attn.in_proj"].bias == "layer.self_attn.in_proj_bias"
    assert seen["cross.out_proj"].bias == "cross.out_proj.bias"
    assert set(seen) <= {x.name for x in load((model, (data.inputs[:1],)))}
    gathered = gather(model, layers, data, ridge=0.0, positions=10**6, kept=7)
    for name, layer in seen.items():
        matrices = layer.to_matrices(model.get_parameter(layer.parameter).detach()).double()
        found = gathered[name]
        torch.testing.assert_close(matrices @ found.gram, found.cross, rtol=1e-4, atol=1e-4)
    with torch.no_grad():  # each sees what torch gives it, however torch computes it
        inner = model.layer.norm1(data.inputs + model.layer._sa_block(data.inputs, None, None))
        x = inner.reshape(-1, 8).double()
    torch.testing.assert_close(gathered["layer.linear1"].gram[0], x.T @ x, rtol=1e-4, atol=1e-4)


def test_watching_changes_nothing() -> None:
    torch.manual_seed(0)
    model, data = Attends().eval(), samples(5, 8, count=4)
    layers = find_layers(trace(model, (data.inputs[:1],)))
    fused = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        wanted = model(data.inputs)
        given = []
        model.fc.register_forward_hook(lambda *args: given.append(args[2]))
        measure_densities(model, layers, data)
    torch.testing.assert_close(given[0], wanted, rtol=1e-5, atol=1e-6)
    assert torch.backends.mha.get_fastpath_enabled() == fused


def test_a_weight_with_two_names_has_the_first() -> None:
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    model = nn.Sequential(first, nn.ReLU(), second)
    (layer,) = find_layers(trace(model, (torch.zeros(1, 6),)))
    assert layer.calls == ("0", "0_2")
    assert [x.name for x in load((model, (torch.zeros(1, 6),)))] == ["0", "0_2"]
