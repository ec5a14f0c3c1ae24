"""The layers of a network at other widths than its own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from picojoule.pruning.graph.widths import Widths, resized  # noqa: E402
from picojoule.workload import conv, depthwise  # noqa: E402
from tests.pruning import patterns  # noqa: E402


def test_layers_follow_the_groups_on_both_sides() -> None:
    widths = Widths(patterns.traced(patterns.Plain))
    assert widths.full == {"conv1": 8, "conv2": 12, "fc1": 20}
    sizes = {x.name: (x.bounds.C, x.bounds.M) for x in widths.at({"conv2": 3})}
    assert sizes == {"conv1": (3, 8), "conv2": (8, 3), "fc1": (3 * 16, 20), "fc2": (20, 10)}
    assert [widths.layers[n].layer.name for n in widths.touching("conv2")] == ["conv2", "fc1"]


def test_a_mask_and_its_widths_agree() -> None:
    traced = patterns.traced(patterns.Residual)
    widths, keep = Widths(traced), traced.channels.all_kept()
    for group in traced.channels.groups:
        keep[list(group.channels[::4])] = False
    assert widths.kept(keep) == widths.at(widths.of(keep))


def test_products_of_activations_keep_their_size() -> None:
    widths = Widths(patterns.traced(patterns.Attending))
    assert [x.layer.name for x in widths.layers if x.path is None] == [
        x.name for x in widths.workload if x.weight_is_activation
    ]


def test_groups_are_resized_as_groups() -> None:
    grouped = conv("g", input_size=(4, 4), in_channels=12, out_channels=18, kernel=(3, 3), groups=3)
    bounds = resized(grouped, 6, 9).bounds
    assert (bounds.G, bounds.C, bounds.M) == (3, 2, 3)
    deep = depthwise("d", input_size=(4, 4), channels=8, kernel=(3, 3))
    assert resized(deep, 5, 5).bounds.G == 5
