"""What layers may become at the widths around them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

from picojoule.pruning.energy_aware.allocation import Choice  # noqa: E402
from picojoule.pruning.energy_aware.narrowing import Narrowing  # noqa: E402
from picojoule.pruning.energy_aware.offers import menu  # noqa: E402
from picojoule.pruning.energy_aware.pricing import Pricing  # noqa: E402
from picojoule.pruning.graph.importance import RemovalOrder  # noqa: E402
from picojoule.pruning.layers.capture import find_layers  # noqa: E402
from tests.pruning import patterns  # noqa: E402


def test_narrower_layers_are_cheaper_and_hold_fewer_weights() -> None:
    traced = patterns.traced(patterns.Residual)
    layers = find_layers(traced)
    narrowing = Narrowing(traced, patterns.images(3), layers)
    pricing = Pricing(traced, layers, None, cost=lambda x: x.effectual_macs)
    curves = {x.name: [[1.0, None, 0.0], [0.5, None, 0.1], [0.1, None, 0.3]] for x in layers}
    traces = {
        g.name: RemovalOrder(g.channels, np.linspace(0, 1, g.width + 1)) for g in narrowing.groups
    }
    offered = menu(pricing, layers, curves, {}, narrowing, narrowing.widths.full, traces)
    for name, errors in offered.errors.items():
        assert errors[0] == 0
        assert errors == sorted(errors)
        assert len(errors) == len(offered.widths[name]) > 1
    for layer in layers:
        size = math.prod(layer.shape)
        by_cell: dict[Any, list[Choice]] = {}
        for choice in offered.choices[layer.name]:
            by_cell.setdefault(choice.at, []).append(choice)
            assert choice.weights <= size
            assert choice.density == pytest.approx(choice.weights / size)
        whole = by_cell[tuple((b, 0) for b, _ in next(iter(by_cell)))]
        for cell in by_cell.values():
            assert max(c.energy for c in cell) <= max(c.energy for c in whole) * (1 + 1e-9)
