"""Dead channels: what is alive is read off the weights, and what is dead can go."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("safetensors")

from torch import nn  # noqa: E402

from picojoule.estimation import estimate  # noqa: E402
from picojoule.pruning.energy_aware.finetuning import FineTuning, top1  # noqa: E402
from picojoule.pruning.energy_aware.narrowing import Narrowing  # noqa: E402
from picojoule.pruning.energy_aware.options import PruningOptions  # noqa: E402
from picojoule.pruning.energy_aware.pruning import prune  # noqa: E402
from picojoule.pruning.graph.surgery import load_network  # noqa: E402
from picojoule.pruning.graph.tracing import trace  # noqa: E402
from picojoule.pruning.layers.capture import find_layers  # noqa: E402
from picojoule.pruning.layers.profiling import profile  # noqa: E402
from tests.pruning import patterns  # noqa: E402
from tests.pruning.published import SOME_QUICK, published  # noqa: E402
from tests.pruning.small import make  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
every_pattern = pytest.mark.parametrize("pattern", patterns.PATTERNS, ids=lambda p: p.__name__)
COUNTED = "the outputs depend on how many channels there are"
REFUSED = {
    patterns.ResponseNorm: {"conv1": COUNTED},
    patterns.Normalised: {"stem": COUNTED},
    patterns.Decoder: {"stem.0": "layer up is not pruned", "up": "layer up is not pruned"},
}


@cache
def narrowing_of(pattern: Callable[[], nn.Module]) -> tuple[nn.Module, Narrowing]:
    model = patterns.made(pattern)
    data = patterns.images(3)
    traced = patterns.traced(pattern)
    return model, Narrowing(traced, data, find_layers(traced))


def some_removed(narrowing: Narrowing, seed: int) -> Any:
    """Channels gone at random, at least one of each group left."""
    keep = narrowing.channels.all_kept()
    rng = np.random.default_rng(seed)
    for group in narrowing.groups:
        gone = rng.integers(0, group.width)
        keep[rng.permutation(group.channels)[:gone]] = False
    return narrowing.filled(keep)


@every_pattern
def test_a_network_with_dead_channels_can_lose_them(pattern: Any) -> None:
    model, narrowing = narrowing_of(pattern)
    tensors = model.state_dict()
    read = narrowing.alive(tensors)  # the decoder slices a channel away that nobody reads
    assert read.sum() == len(read) - (pattern is patterns.Decoder)
    for seed in range(3):
        keep = some_removed(narrowing, seed)
        zeros = {**tensors, **narrowing.swept(tensors, keep)}
        assert (narrowing.alive(zeros) == (keep & read)).all()
        assert narrowing.swept(zeros, keep) == {}
        whole = copy.deepcopy(model)
        whole.load_state_dict(zeros)
        small = narrowing.checked(zeros, patterns.images(3))
        with torch.no_grad():
            expected, got = whole(patterns.images(5)), small(patterns.images(5))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        left = sum(p.numel() for p in small.parameters())
        total = sum(p.numel() for p in model.parameters())
        assert left < total or not narrowing.groups or keep.all()


@pytest.mark.parametrize("name", SOME_QUICK)
def test_published_networks_lose_channels_exactly(name: str) -> None:
    model, data = published(name)
    traced = trace(model, (data[:1],))
    narrowing = Narrowing(traced, data, find_layers(traced))
    named = {group.name for group in narrowing.channels.groups}
    assert named == {group.name for group in narrowing.groups}  # none is refused
    keep = some_removed(narrowing, 0)
    tensors = model.state_dict()
    zeros = {**tensors, **narrowing.swept(tensors, keep)}
    assert (narrowing.alive(zeros) == keep).all()
    narrowing.checked(zeros, data)  # raises if the outputs differ


@every_pattern
def test_what_cannot_get_narrower_says_why(pattern: Any) -> None:
    _, narrowing = narrowing_of(pattern)
    named = {group.name for group in narrowing.channels.groups}
    refused = {name: why for name, why in narrowing.refused.items() if name in named}
    assert refused == REFUSED.get(pattern, {})
    assert {g.name for g in narrowing.groups} == named - set(refused)


def test_groups_read_side_by_side_are_one_bundle() -> None:
    _, narrowing = narrowing_of(patterns.Inception)
    bundles = {frozenset(g.name for g in groups) for groups in narrowing.bundles.values()}
    assert frozenset({"one.0", "three.1.0", "pooled.1.0"}) in bundles
    assert frozenset({"stem.0"}) in bundles
    assert sum(map(len, bundles)) == len(narrowing.groups)


def test_what_is_unread_by_chance_is_swept_and_takes_others_along() -> None:
    model, narrowing = narrowing_of(patterns.Plain)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors["conv2.weight"][:, 3] = 0  # channel 3 of conv1 is unread
    tensors["fc1.weight"].reshape(20, 12, 16)[1:, 5] = 0  # channel 5 of conv2 by unit 0 alone
    tensors["fc2.weight"][:, 0] = 0  # and nobody reads that unit
    cleaned, keep = narrowing.cleaned(tensors)
    assert narrowing.widths.of(keep) == {"conv1": 7, "conv2": 11, "fc1": 19}
    for name, place in (("conv1", 3), ("conv2", 5), ("fc1", 0)):
        assert not cleaned[f"{name}.weight"][place].any()
        assert cleaned[f"{name}.bias"][place] == 0
    before, after = copy.deepcopy(model), copy.deepcopy(model)
    before.load_state_dict(tensors)
    after.load_state_dict(cleaned)
    with torch.no_grad():
        images = patterns.images(4)
        torch.testing.assert_close(after(images), before(images))


# -- a run -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_price_is_of_the_network_that_is_delivered(tmp_path: Path) -> None:
    model, data = make()
    options = PruningOptions(
        calibration=128, profile=128, samples=64, levels=4, attempts=2,
        training=FineTuning(epochs=1, rate=0.02, batch=64, distilled=0.5),
    )  # fmt: skip
    found = prune(
        model, data, accelerator="eyeriss-cvpr17", energy=0.3, options=options, run=tmp_path / "r"
    )
    assert found.met
    assert any(after < before for before, after in found.widths.values())
    assert found.narrow is not None
    assert top1(data.validate)(found.narrow) == found.accuracy["validation_after"]
    small = load_network(tmp_path / "r" / "result" / "narrow").network
    sizes = [sum(p.numel() for p in network.parameters()) for network in (model, small)]
    assert sizes[1] < sizes[0]
    # Priced anew, from the files alone.
    measured = profile(small, data.train.take(options.profile))
    anew = estimate(measured.workload, "eyeriss-cvpr17")
    assert anew.energy == pytest.approx(found.after.energy, rel=1e-6)
    assert anew.macs == pytest.approx(found.after.macs)
    # Without narrower layers the same budget leaves more channels and more feature maps to move.
    apart = prune(
        model,
        data,
        accelerator="eyeriss-cvpr17",
        energy=0.3,
        options=PruningOptions(**{**_fields(options), "narrow": False}),
    )
    assert apart.narrow is None
    assert apart.widths == {}


def _fields(options: PruningOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in PruningOptions.__dataclass_fields__}
