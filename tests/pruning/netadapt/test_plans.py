"""Candidates of a round: what the published method and the optimum propose."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

from picojoule.pruning.graph.importance import RemovalOrder, by_norm  # noqa: E402
from picojoule.pruning.graph.limits import WidthLimits  # noqa: E402
from picojoule.pruning.graph.widths import Widths  # noqa: E402
from picojoule.pruning.netadapt.plans import (  # noqa: E402
    best_candidates,
    least_cost,
    paper_candidates,
    uniform_widths,
)
from picojoule.workload import Layer  # noqa: E402
from tests.pruning import patterns  # noqa: E402

Orders = dict[str, RemovalOrder]


def macs(layer: Layer) -> float:
    return float(layer.macs)


@pytest.fixture(scope="module")
def widths() -> Widths:
    return Widths(patterns.traced(patterns.Plain))


@pytest.fixture(scope="module")
def orders() -> Orders:
    traced = patterns.traced(patterns.Plain)
    return by_norm(traced.graph, traced.channels)


def test_the_paper_removes_no_filter_more_than_needed(widths: Widths, orders: Orders) -> None:
    limits = WidthLimits(step=1, floor=0.0, first=widths.full)
    whole = math.fsum(map(macs, widths.at({})))
    target = 0.8 * whole
    candidates = {c.name: c for c in paper_candidates(widths, orders, limits, macs, target)}
    assert set(candidates) == {"conv1", "conv2", "fc1"}
    conv1 = candidates["conv1"]
    assert conv1.meets
    width = widths.of(conv1.keep)["conv1"]
    assert math.fsum(map(macs, widths.at({"conv1": width}))) == conv1.resource <= target
    assert math.fsum(map(macs, widths.at({"conv1": width + 1}))) > target
    assert not candidates["fc1"].meets  # the linear layers are too cheap; cut to its floor
    assert widths.of(candidates["fc1"].keep)["fc1"] == 1


def test_best_candidates_meet_the_target_and_differ(widths: Widths, orders: Orders) -> None:
    limits = WidthLimits(step=None, floor=0.1, first=widths.full)
    target = 0.6 * math.fsum(map(macs, widths.at({})))
    candidates = best_candidates(widths, orders, limits, macs, target)
    assert candidates[0].name == "optimum"
    assert all(c.meets and c.resource <= target * (1 + 1e-9) for c in candidates)
    assert len({c.keep.tobytes() for c in candidates}) == len(candidates)
    assert least_cost(widths, limits, macs) <= min(c.resource for c in candidates)


def test_uniform_widths_are_the_widest_within_the_target(widths: Widths) -> None:
    limits = WidthLimits(step=1, floor=0.0, first=widths.full)
    target = 0.5 * math.fsum(map(macs, widths.at({})))
    chosen = uniform_widths(widths, limits, macs, target)
    assert math.fsum(map(macs, widths.at(chosen))) <= target
    wider = {name: min(widths.full[name], n + 1) for name, n in chosen.items()}
    assert math.fsum(map(macs, widths.at(wider))) > target
