"""Densities of a network on data, as its workload gets them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

from torch import nn  # noqa: E402

from picojoule.pruning.datasets import Samples  # noqa: E402
from picojoule.pruning.layers.profiling import profile, run_length_bits  # noqa: E402


def test_a_profile_by_hand() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.ReLU(), nn.Linear(2, 3))
    model[0].weight = nn.Parameter(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]))
    inputs = torch.tensor([[1.0, 0, 0, 0], [-1.0, 2, 0, 0], [3.0, 1, 0, 1]])
    measured = profile(model, Samples(inputs, torch.zeros(3, dtype=torch.long)))
    first, second = measured.workload
    assert first.density.input == pytest.approx(6 / 12)
    assert first.density.output == pytest.approx(0.5)  # one of two behind the ReLU
    assert second.density.input == pytest.approx(0.5)
    assert first.density.weight == 0.25
    assert [row["layer"] for row in measured.rows()] == ["0", "2"]


def test_run_lengths_grow_with_what_is_not_zero() -> None:
    draw = np.random.default_rng(0)
    bits = [run_length_bits(draw.random(500) < share) for share in (0.05, 0.3, 0.9)]
    assert bits == sorted(bits)
    assert all(n % 64 == 0 for n in bits)
