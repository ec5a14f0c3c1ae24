"""Weights on grids of few bits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from picojoule.pruning.layers.quantising import quantise  # noqa: E402
from picojoule.pruning.layers.selectors import error  # noqa: E402


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_a_grid_that_is_never_worse_than_rounding(bits: int) -> None:
    draw = torch.Generator().manual_seed(bits)
    weights = torch.randn(1, 4, 6, generator=draw, dtype=torch.float64)
    weights[0, :, ::3] = 0
    x = torch.randn(1, 6, 40, generator=draw, dtype=torch.float64).cumsum(1)  # dependent inputs
    gram = x @ x.mT
    cross = weights @ gram
    grid = quantise(weights, gram, cross, bits)
    step = weights.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    torch.testing.assert_close((grid / step).round(), grid / step, rtol=0, atol=1e-9)
    assert bool((grid[weights == 0] == 0).all())
    plain = (weights / step).round() * step
    assert error(grid, gram, cross) <= error(plain, gram, cross) + 1e-9
