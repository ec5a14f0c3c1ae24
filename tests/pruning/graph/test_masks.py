"""Masks over the channels of a network."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from picojoule.pruning.graph.importance import RemovalOrder  # noqa: E402
from picojoule.pruning.graph.masks import filled, mask_of, staying_channels  # noqa: E402
from tests.pruning import patterns  # noqa: E402


def test_the_best_channels_of_an_order_stay() -> None:
    channels = patterns.traced(patterns.Plain).channels
    orders = {g.name: RemovalOrder(g.channels[::-1], np.zeros(0)) for g in channels.groups}
    keep = mask_of(channels, orders, {"conv1": 3, "conv2": 12})
    assert keep[list(channels["conv1"].channels)].tolist() == [True] * 3 + [False] * 5
    assert keep[list(channels["conv2"].channels)].all()


def test_no_layer_is_left_without_channels() -> None:
    channels = patterns.traced(patterns.Inception).channels
    orders = {g.name: RemovalOrder(g.channels, np.zeros(0)) for g in channels.groups}
    keep = channels.all_kept()
    keep[list(channels["three.0.0"].channels)] = False
    whole = filled(channels, orders, keep)
    kept = np.flatnonzero(whole[list(channels["three.0.0"].channels)])
    assert kept.tolist() == [5]  # the last to go
    assert not keep[list(channels["three.0.0"].channels)].any()  # the mask given is untouched


def test_reasons_are_told_once() -> None:
    refused = {"a": "an output of the network", "b": "an input", "c": "an output of the network"}
    assert staying_channels(refused) == [
        "channels stay in a, c: an output of the network",
        "channels stay in b: an input",
    ]
