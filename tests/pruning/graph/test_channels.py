"""Channels on the graph, and networks cut to those that are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from picojoule.errors import InputError  # noqa: E402
from picojoule.pruning.graph.channels import Channels, find_channels  # noqa: E402
from picojoule.pruning.graph.records import GraphError, copied, from_record, to_record  # noqa: E402
from picojoule.pruning.graph.surgery import (  # noqa: E402
    export_onnx,
    load_network,
    save_network,
    shrink,
)
from picojoule.pruning.graph.tracing import trace  # noqa: E402
from tests.pruning import patterns  # noqa: E402
from tests.pruning.published import PUBLISHED, SOME_QUICK, published  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
every_pattern = pytest.mark.parametrize("pattern", patterns.PATTERNS, ids=lambda p: p.__name__)


def half_removed(channels: Channels, seed: int = 0) -> Any:
    """Half of every group gone, at random."""
    keep = channels.all_kept()
    rng = np.random.default_rng(seed)
    for group in channels.groups:
        keep[rng.permutation(group.channels)[: group.width // 2]] = False
    return keep


def silenced(network: Any, channels: Channels, keep: Any) -> Any:
    """The whole network, its layers deaf to the removed channels: what the cut one must compute."""
    with torch.no_grad():
        for path, axes in channels.axes.items():
            layer = network.get_submodule(path)
            weight = layer.weight
            if weight.dim() < 2 or path not in {c for g in channels.groups for c in g.consumers}:
                continue
            groups = getattr(layer, "groups", 1)
            gone = np.flatnonzero(~keep[axes.inputs[: len(axes.inputs) // groups]])
            if isinstance(layer, nn.ConvTranspose2d):
                weight[gone] = 0
            else:
                weight[:, gone] = 0
    return network


@every_pattern
def test_a_traced_network_computes_the_same(pattern: Any) -> None:
    model = patterns.made(pattern)
    network = trace(model, (patterns.images(1),)).graph
    rebuilt = from_record(json.loads(json.dumps(to_record(network))))
    rebuilt.load_state_dict(network.state_dict())
    rebuilt.eval()
    data = patterns.images(3)
    torch.testing.assert_close(network(data), model(data))
    torch.testing.assert_close(rebuilt(data), model(data), rtol=0, atol=0)
    assert set(network.state_dict()) <= set(model.state_dict())


@every_pattern
def test_a_cut_network_computes_what_is_left(pattern: Any) -> None:
    traced = patterns.traced(pattern)
    network, channels = traced.graph, traced.channels
    keep = half_removed(channels)
    small = shrink(network, channels, keep)
    parameters = [sum(p.numel() for p in n.parameters()) for n in (network, small)]
    if pattern is patterns.Attending:
        assert not channels.groups
        assert parameters[1] == parameters[0]
    else:
        assert parameters[1] < 0.85 * parameters[0]
    data = patterns.images(3)
    if pattern not in patterns.NORMALISING:
        whole = silenced(copied(network).eval(), channels, keep)
        torch.testing.assert_close(small(data), whole(data), rtol=1e-4, atol=1e-5)
    # It can be cut again, and trained.
    again = find_channels(small, (data,))
    assert {g.name for g in again.groups} <= {g.name for g in channels.groups}
    smaller = shrink(small, again, half_removed(again)).train()
    smaller(data).square().mean().backward()


@every_pattern
def test_a_saved_network_is_the_same(pattern: Any, tmp_path: Path) -> None:
    traced = patterns.traced(pattern)
    network, channels = traced.graph, traced.channels
    small = shrink(network, channels, half_removed(channels))
    save_network(tmp_path, small, [(1, 3, 16, 16)], kept={"stem": [0, 2]}, notes={"by": "test"})
    saved = load_network(tmp_path)
    data = patterns.images(3)
    torch.testing.assert_close(saved.network(data), small(data), rtol=0, atol=0)
    assert saved.kept == {"stem": (0, 2)}
    assert saved.notes == {"by": "test"}
    assert saved.network(*saved.example(2)).shape == small(data[:2]).shape


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern", [patterns.Separable, patterns.Grouped], ids=lambda p: p.__name__
)
def test_onnx_agrees(pattern: Any, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    traced = patterns.traced(pattern)
    network, channels = traced.graph, traced.channels
    small = shrink(network, channels, half_removed(channels))
    export_onnx(small, (patterns.images(1),), tmp_path / "small.onnx")
    session = runtime.InferenceSession(tmp_path / "small.onnx")
    for count in (1, 3):  # the batch is free
        data = patterns.images(count)
        found = session.run(None, {session.get_inputs()[0].name: data.numpy()})[0]
        np.testing.assert_allclose(found, small(data).detach().numpy(), rtol=0, atol=1e-4)


def test_a_residual_group_by_hand() -> None:
    traced = patterns.traced(patterns.Residual)
    channels = traced.channels
    assert {g.name: (g.width, g.producers, g.consumers) for g in channels.groups} == {
        "stem.0": (
            8,
            ("stem.0", "blocks.0.b.0"),
            ("blocks.0.a.0", "blocks.1.a.0", "blocks.1.down"),
        ),
        "blocks.0.a.0": (8, ("blocks.0.a.0",), ("blocks.0.b.0",)),
        "blocks.1.a.0": (12, ("blocks.1.a.0",), ("blocks.1.b.0",)),
        "blocks.1.b.0": (
            12,
            ("blocks.1.b.0", "blocks.1.down", "blocks.2.b.0"),
            ("blocks.2.a.0", "fc"),
        ),
        "blocks.2.a.0": (12, ("blocks.2.a.0",), ("blocks.2.b.0",)),
    }
    assert channels.fixed == {"fc": "an output of the network"}


def test_a_flattened_channel_is_a_block_of_inputs() -> None:
    traced = patterns.traced(patterns.Plain)
    channels = traced.channels
    gone = channels.removed_with(channels["conv2"].channels[5])
    assert gone["conv2", "out"] == (5,)
    assert gone["fc1", "in"] == tuple(range(80, 96))  # 4 x 4 pixels each


def test_what_is_not_followed_is_fixed_with_a_reason() -> None:
    traced = patterns.traced(patterns.Attending)
    network, channels = traced.graph, traced.channels
    assert "matmul" in channels.fixed["stem.0"]
    assert "not followed" in channels.fixed["free.0"]
    keep = channels.all_kept()
    keep[channels.axes["stem.0"].outputs[0]] = False
    with pytest.raises(GraphError, match="fixed"):
        shrink(network, channels, keep)


def test_nothing_is_left_without_channels() -> None:
    traced = patterns.traced(patterns.Separable)
    network, channels = traced.graph, traced.channels
    keep = channels.all_kept()
    keep[list(channels["pw1.0"].channels)] = False
    with pytest.raises(GraphError, match="without channels"):
        shrink(network, channels, keep)


def test_a_batch_that_is_built_in_is_refused() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Any) -> Any:
            return self.conv(x).view(2, 4 * 256)

    with pytest.raises(GraphError, match=r"batch|forward"):
        trace(Fixed(), (patterns.images(2),)).graph.eval()


def test_rubbish_is_refused(tmp_path: Path) -> None:
    network = patterns.traced(patterns.Separable).graph
    save_network(tmp_path, network, [(1, 3, 16, 16)])
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    for change, where in (
        ({"schema_version": 99}, "schema_version"),
        ({"network": {**recipe["network"], "nodes": [{}]}}, r"\$"),
        ({"network": []}, r"\$"),
        ({"kept": 3}, r"\$"),
    ):
        (tmp_path / "recipe.json").write_text(json.dumps({**recipe, **change}))
        with pytest.raises(InputError, match=where):
            load_network(tmp_path)
    bad = json.loads(json.dumps(recipe))
    bad["network"]["nodes"][-2]["op"] = "call_function"
    for target in ("os.system", "aten.from_file.default", "operator.attrgetter", "aten.no"):
        bad["network"]["nodes"][-2]["target"] = target
        (tmp_path / "recipe.json").write_text(json.dumps(bad))
        with pytest.raises(InputError, match="unknown"):
            load_network(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    (tmp_path / "weights.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="weights"):
        load_network(tmp_path)


@pytest.mark.parametrize("name", SOME_QUICK)
def test_published_networks_shrink_and_run(name: str, tmp_path: Path) -> None:
    model, data = published(name)
    traced = trace(model, (data[:1],))
    network, channels = traced.graph, traced.channels
    with torch.no_grad():
        torch.testing.assert_close(network(data), model(data))
    keep = half_removed(channels)
    small = shrink(network, channels, keep)
    with torch.no_grad():
        found = small(data)
        whole = silenced(network, channels, keep)(data)
        torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-4 * float(whole.abs().max()))
    assert sum(p.numel() for p in small.parameters()) < 0.5 * sum(
        p.numel() for p in model.parameters()
    )
    save_network(tmp_path, small, [(1, *data.shape[1:])])
    with torch.no_grad():
        torch.testing.assert_close(load_network(tmp_path).network(data), found, rtol=0, atol=0)


# The others hold no block that is not in one of these.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["googlenet", "squeezenet", "resnet50", "densenet121", "efficientnet_b0", "shufflenet_v2"],
)
def test_published_networks_agree_as_onnx(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, data = published(name)
    traced = trace(model, (data[:1],))
    small = shrink(traced.graph, traced.channels, half_removed(traced.channels))
    export_onnx(small, (data[:1],), tmp_path / "small.onnx")
    session = runtime.InferenceSession(tmp_path / "small.onnx")
    outputs = session.run(None, {session.get_inputs()[0].name: data.numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(outputs, small(data).numpy(), rtol=0, atol=1e-4)


# Where torch-pruning 1.6 cannot answer, or answers what cannot run. There, the comparison with the
# silenced whole network (above) is the proof.
_BY_PRUNER = "leaves equal numbers per group to its pruner"
DIFFERS: dict[Any, str] = {
    patterns.ResponseNorm: _BY_PRUNER,
    patterns.Grouped: _BY_PRUNER,
    patterns.Normalised: _BY_PRUNER,
    patterns.PaddedShortcut: "takes channel 2 for channel 2 although zeros come before it",
    patterns.Shuffled: "does not follow the shuffle",
    patterns.Decoder: "takes channels of a pixel shuffle one by one",
    "shufflenet_v2": "fails",
}


def compared(whole: Sequence[Any]) -> list[Any]:
    """Parameters of a test, those that torch-pruning fails expected to."""
    return [
        pytest.param(one, marks=pytest.mark.xfail(reason=f"torch-pruning: {DIFFERS[one]}"))
        if one in DIFFERS
        else one
        for one in whole
    ]


# In Attending no channel can go, so there is nothing to compare.
@pytest.mark.parametrize(
    "pattern",
    compared([p for p in patterns.PATTERNS if p is not patterns.Attending]),
    ids=lambda p: p.__name__,
)
def test_groups_agree_with_torch_pruning(pattern: Any) -> None:
    agree_with_torch_pruning(patterns.made(pattern), patterns.images(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", compared(PUBLISHED))
def test_published_groups_agree_with_torch_pruning(name: str) -> None:
    model, data = published(name)
    agree_with_torch_pruning(model, data[:1])


def agree_with_torch_pruning(model: Any, data: Any) -> None:
    """For one channel of every layer, both name the same positions of the same layers."""
    pruning = pytest.importorskip("torch_pruning")
    traced = trace(model, (data,))
    channels = traced.channels
    graph = pruning.DependencyGraph().build_dependency(model, example_inputs=data)
    names = {module: name for name, module in model.named_modules()}
    rng = np.random.default_rng(0)
    checked = 0
    for group in channels.groups:
        for path in group.producers:
            position = int(
                rng.choice(np.flatnonzero(np.isin(channels.axes[path].outputs, group.channels)))
            )
            layer = model.get_submodule(path)
            cut = (
                pruning.prune_linear_out_channels
                if isinstance(layer, nn.Linear)
                else pruning.prune_conv_out_channels
            )
            theirs: dict[tuple[str, str], set[int]] = {}
            for dependency, positions in graph.get_pruning_group(layer, cut, idxs=[position]):
                name = names.get(dependency.target.module)
                if name is None or name not in channels.axes:
                    continue
                sides = ["out"] if "out_channels" in dependency.handler.__name__ else ["in"]
                theirs.setdefault((name, sides[0]), set()).update(int(x) for x in positions)
            ours: dict[tuple[str, str], set[int]] = {}
            channel = int(channels.axes[path].outputs[position])
            for (name, side), ids in channels.removed_with(channel).items():
                ours[name, side] = set(ids)
            for key, found in theirs.items():
                assert ours.get(key) == found, (path, position, key)
                checked += 1
    assert checked >= len(channels.groups)
