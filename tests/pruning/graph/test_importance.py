"""Structured surgery against brute force least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from picojoule.pruning.datasets import Samples  # noqa: E402
from picojoule.pruning.graph import importance  # noqa: E402
from picojoule.pruning.graph.importance import (  # noqa: E402
    by_norm,
    by_reconstruction,
    compensate,
    gather_inputs,
    reestimate_norms,
)
from picojoule.pruning.graph.records import copied  # noqa: E402
from picojoule.pruning.graph.surgery import shrink  # noqa: E402
from picojoule.pruning.netadapt.candidates import loss_weights  # noqa: E402
from tests.pruning import patterns  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def prepared(pattern: Any) -> tuple[Any, Any, Any, Any]:
    traced = patterns.traced(pattern)
    network, channels = copied(traced.graph).eval(), traced.channels
    data = patterns.images(40)
    moments = gather_inputs(network, channels, lambda: ((part,) for part in data.split(10)))
    return network, channels, data, moments


def seen(network: Any, path: str, data: Any) -> Any:
    """What a layer gets."""
    got = []
    hook = network.get_submodule(path).register_forward_pre_hook(lambda _, x: got.append(x[0]))
    network(data)
    hook.remove()
    return got[0].detach()


def test_the_first_error_is_that_of_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "RIDGE", 1e-9)
    monkeypatch.setattr(importance, "POSITIONS", 10**6)
    network, channels, data, moments = prepared(patterns.Separable)
    made = by_reconstruction(network, channels, moments, groups=[channels["pw1.0"]])["pw1.0"]
    # The reader of pw1's channels is the pointwise layer behind the depthwise one.
    inputs = seen(network, "pw2.0", data).permute(0, 2, 3, 1).flatten(0, 2).double()
    inputs = (inputs - inputs.mean(0)).numpy()
    weight = network.get_submodule("pw2.0").weight.detach().flatten(1).double().numpy()
    wanted = inputs @ weight.T
    errors = []
    for channel in channels["pw1.0"].channels:
        left = np.flatnonzero(channels.axes["pw2.0"].inputs != channel)
        fit = np.linalg.lstsq(inputs[:, left], wanted, rcond=None)[0]
        errors.append(((wanted - inputs[:, left] @ fit) ** 2).sum() / (wanted**2).sum())
    chosen = errors[channels["pw1.0"].channels.index(made.order[0])]
    assert chosen == pytest.approx(min(errors), rel=1e-3, abs=1e-6)
    assert made.errors[1] == pytest.approx(chosen, rel=1e-3, abs=1e-6)
    assert made.errors[-1] == pytest.approx(1, rel=1e-3)  # without inputs nothing is left
    assert (np.diff(made.errors) >= 0).all()


def mean_error(pattern: Any) -> tuple[float, float]:
    """The cut network's error at the output, left as cut and compensated."""
    network, channels, data, moments = prepared(pattern)
    traces = by_reconstruction(network, channels, moments)
    keep = channels.all_kept()
    for group in channels.groups:
        trace_of = traces[group.name]
        gone = trace_of.order[: group.width // 4]
        keep[list(gone)] = False
        assert set(trace_of.kept(group.width - len(gone))) == set(group.channels) - set(gone)
    mended = copied(network).eval()
    compensate(mended, channels, moments, keep)
    wanted = network(data)
    left, made = (
        float((shrink(n, channels, keep)(data) - wanted).square().mean()) for n in (network, mended)
    )
    return left, made


def test_compensation_helps() -> None:
    # Each reader is fitted on its own; over a network that is no guarantee, but the rule.
    errors = [mean_error(p) for p in patterns.PATTERNS if p is not patterns.Attending]
    ratios = np.array([made / left for left, made in errors])
    assert (ratios < 1).sum() >= len(ratios) - 2
    assert np.exp(np.log(ratios).mean()) < 0.5


def test_norms_are_joint_over_an_addition() -> None:
    network, channels, _, _ = prepared(patterns.Residual)
    made = by_norm(network, channels)["stem.0"]
    total = sum(
        network.get_submodule(path).weight.detach().double().flatten(1).square().sum(1)
        for path in ("stem.0", "blocks.0.b.0")
    )
    group = channels["stem.0"]
    assert made.order == tuple(group.channels[n] for n in torch.argsort(total).tolist())


def test_large_readers_are_judged_by_their_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "LARGEST_SYSTEM", 10)
    network, channels, _, moments = prepared(patterns.Plain)
    assert moments["fc1"].total.dim() == 2
    before = network.get_submodule("fc1").weight.detach().clone()
    made = by_reconstruction(network, channels, moments)["conv2"]
    keep = channels.all_kept()
    keep[list(made.order[:3])] = False
    compensate(network, channels, moments, keep)
    assert torch.equal(network.get_submodule("fc1").weight, before)
    assert made.errors[-1] == pytest.approx(1)


def test_norms_are_those_of_the_data() -> None:
    network, _, data, _ = prepared(patterns.Separable)
    reestimate_norms(network, lambda: [(data,)])
    norm = network.get_submodule("stem.1")
    torch.testing.assert_close(norm.running_mean, seen(network, "stem.1", data).mean((0, 2, 3)))
    assert norm.momentum == 0.1
    assert not network.training


def test_the_loss_says_which_errors_matter() -> None:
    network, channels, data, moments = prepared(patterns.Separable)
    labels = network(data).argmax(1)
    traces = by_reconstruction(network, channels, moments)
    weights = loss_weights(network, channels, moments, traces, Samples(data, labels))
    assert set(weights) == {group.name for group in channels.groups}
    assert all(weight > 0 for weight in weights.values())
