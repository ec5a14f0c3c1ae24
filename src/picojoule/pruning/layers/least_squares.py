"""Exact least squares on given supports, all filters at once (CVPR'17 §4, step 4)."""

from __future__ import annotations

import torch

_BATCH_ELEMENTS = 1 << 21
"""Numbers in one batch of gathered systems, 16 MiB in double precision: memory that is reused."""


def least_squares(
    gram: torch.Tensor,
    cross: torch.Tensor,
    support: torch.Tensor,
    *,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """The weights on *support* that minimise ``tr(W H W') - 2 tr(W G')``; zero elsewhere.

    Each filter has its own normal equations ``H[S, S] w = g[S]``. They are gathered, padded to the
    largest support among filters of similar support, and factorised in batches. A filter that
    keeps more than half of its weights is solved from the other side: the unrestricted optimum,
    moved so that the removed weights are zero, a system of their number. Where both are large,
    preconditioned conjugate gradients first try to solve all filters together, to the precision of
    the numbers; they may take as long as factorising would, so at worst all takes twice as long.

    Args:
        gram: H, ``[groups, columns, columns]``.
        cross: G, ``[groups, rows, columns]``.
        support: ``[groups, rows, columns]``, true where a weight may be other than zero.
        start: weights near the answer, from which the gradients set out.
    """
    solved = torch.zeros_like(cross)
    for group in range(len(gram)):
        counts = support[group].sum(-1)
        largest = int(counts.max()) if counts.numel() else 0
        if largest == 0:
            continue
        rows, columns = cross.shape[1:]
        smaller = torch.minimum(counts, columns - counts).double()
        # What factorising costs, in products with H.
        worth = float((smaller**3).sum()) / 3 / (2.0 * rows * columns**2)
        if worth > _FEW_PRODUCTS:
            near = None if start is None else start[group]
            weights = _by_gradients(
                gram[group], cross[group], support[group], near, min(int(worth), _MOST_STEPS)
            )
            if weights is not None:
                solved[group] = weights
                continue
        few = counts <= columns // 2
        if bool(few.any()):
            solved[group, few] = _gathered(
                gram[group], cross[group, few], support[group, few], counts[few]
            )
        if not bool(few.all()):
            solved[group, ~few] = _from_optimum(
                gram[group], cross[group, ~few], support[group, ~few]
            )
    return solved


_FEW_PRODUCTS = 15  # with H, in which conjugate gradients never get there
_MOST_STEPS = 1200


def _from_optimum(gram: torch.Tensor, cross: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
    """From the optimum without a constraint, move so that the removed weights become zero.

    With R the removed columns: ``w = w* - K[:, R] K[R, R]^-1 w*[R]``, ``K = H^-1``.
    """
    factor = _factor(gram)
    inverse = torch.cholesky_inverse(factor)
    optimum = torch.cholesky_solve(cross.mT, factor).mT
    removed = ~support
    multipliers = _gathered(inverse, optimum, removed, removed.sum(-1))
    return (optimum - multipliers @ inverse) * support


def _gathered(
    gram: torch.Tensor, cross: torch.Tensor, support: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    solved = torch.zeros_like(cross)
    order = counts.argsort(descending=True, stable=True)
    # The kept columns of each row first, in their order.
    places = support.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    start = 0
    while start < len(order):
        width = int(counts[order[start]])
        if width == 0:
            break
        rows = order[start : start + max(1, _BATCH_ELEMENTS // width**2)]
        start += len(rows)
        picked = places[rows, :width]
        real = torch.arange(width) < counts[rows, None]
        systems = gram[picked[:, :, None], picked[:, None, :]]
        systems *= real[:, :, None] & real[:, None, :]
        systems.diagonal(dim1=-2, dim2=-1).add_((~real).to(gram.dtype))
        sides = cross[rows[:, None], picked] * real
        answer = _solve(systems, sides[..., None])[..., 0]
        solved[rows[:, None], picked] = answer * real
    return solved


def _solve(systems: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    return torch.cholesky_solve(sides, _factor(systems))


def _factor(matrices: torch.Tensor) -> torch.Tensor:
    """Cholesky factors; a matrix that has none is lifted off the edge by the least that helps."""
    factor, failed = torch.linalg.cholesky_ex(matrices)
    size = matrices.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(torch.finfo(matrices.dtype).tiny)
    lift = torch.finfo(matrices.dtype).eps * matrices.shape[-1]
    while bool(failed.any()):
        shifted = matrices.clone()
        shifted.diagonal(dim1=-2, dim2=-1).add_((lift * size * (failed > 0))[..., None])
        factor, failed = torch.linalg.cholesky_ex(shifted)
        lift *= 10
    result: torch.Tensor = factor
    return result


def positive_inverse(matrices: torch.Tensor) -> torch.Tensor:
    """Inverses of symmetric positive matrices; singular ones are lifted off the edge."""
    return torch.cholesky_inverse(_factor(matrices))


def _by_gradients(
    gram: torch.Tensor,
    cross: torch.Tensor,
    support: torch.Tensor,
    start: torch.Tensor | None,
    steps: int,
) -> torch.Tensor | None:
    """Conjugate gradients for all rows together, preconditioned by the diagonal.

    None if so many steps are not enough.
    """
    mask = support.to(gram.dtype)
    diagonal = gram.diagonal().clamp_min(torch.finfo(gram.dtype).tiny)
    goal = (cross * mask).square().sum(-1) * (torch.finfo(gram.dtype).eps * 8) ** 2
    solved = torch.zeros_like(cross) if start is None else start * mask
    residual = (cross - solved @ gram) * mask
    ahead = residual / diagonal
    direction = ahead.clone()
    product = (residual * ahead).sum(-1)
    for _ in range(steps):
        forward = (direction @ gram) * mask
        curvature = (direction * forward).sum(-1)
        step = torch.where(curvature > 0, product / curvature, torch.zeros_like(product))
        solved += step[:, None] * direction
        residual -= step[:, None] * forward
        if bool((residual.square().sum(-1) <= goal).all()):
            return solved
        ahead = residual / diagonal
        fresh = (residual * ahead).sum(-1)
        ratio = torch.where(product > 0, fresh / product, torch.zeros_like(product))
        direction = ahead + ratio[:, None] * direction
        product = fresh
    return None
