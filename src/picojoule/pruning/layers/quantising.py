"""Weights on a grid of few bits, each filter with its own step, fitted to the layer's outputs."""

from __future__ import annotations

import torch


def quantise(
    weights: torch.Tensor,
    gram: torch.Tensor,
    cross: torch.Tensor,
    bits: int,
    *,
    sweeps: int = 3,
) -> torch.Tensor:
    """The weights rounded to *bits*, zeros kept, the rounding errors made up for.

    Each filter has one step size, its largest weight over the largest number of the grid. From
    plain rounding, one weight after the other moves to the grid point that is best given all
    others (coordinate descent on ``tr(W H W') - 2 tr(W G')``), all filters at once; so the result
    is never worse than plain rounding.

    Args:
        weights: ``[groups, rows, columns]``; zeros stay zero.
        gram, cross: H and G of :mod:`picojoule.pruning.layers.selectors`.
    """
    largest = 2 ** (bits - 1) - 1
    step = weights.abs().amax(-1, keepdim=True) / largest
    step = torch.where(step > 0, step, torch.ones_like(step))
    support = weights != 0
    grid = (weights / step).round().clamp(-largest, largest) * step
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    slope = cross - grid @ gram  # half the negative gradient
    for _ in range(sweeps):
        moved = False
        for column in range(weights.shape[-1]):
            curvature = diagonal[:, None, column]
            wish = grid[..., column] + slope[..., column] / curvature.clamp_min(1e-30)
            put = (wish / step[..., 0]).round().clamp(-largest, largest) * step[..., 0]
            put = torch.where(support[..., column] & (curvature > 0), put, grid[..., column])
            change = put - grid[..., column]
            if not bool(change.any()):
                continue
            moved = True
            grid[..., column] = put
            slope -= change[..., None] * gram[:, None, column, :]
        if not moved:
            break
    return grid
