"""Which weights of a layer stay, and with which values: one interface, several rules.

A layer is linear in its weights. With its inputs X (``[columns, samples]``, im2col for a
convolution) and the outputs Y it should give, everything a rule needs is in two matrices::

    H = X X'        G = Y X'        error(W) = |Y - W X|^2 = tr(W H W') - 2 tr(W G') + |Y|^2

Every rule is a function ``(W, H, G, constraint) -> W`` on ``W [groups, rows, columns]``,
``H [groups, columns, columns]``, ``G [groups, rows, columns]``; all but plain magnitude end in the
exact least squares on the support they chose (CVPR'17 §4, step 4).

- ``eap``: CVPR'17 §4, faithful: prune by magnitude beyond the target, restore greedily.
- ``alps``: operator splitting (ADMM) on the support, after Meng et al., ALPS (NeurIPS 2024).
- ``obc``: exact greedy removal per row, after Frantar et al., Optimal Brain Compression (2022).
- ``sparsegpt``: one pass in a fixed order of columns, after Frantar and Alistarh (2023).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import torch

from picojoule.errors import PicojouleError, did_you_mean
from picojoule.pruning.layers.constraints import Constraint, Filters, Pattern, Unstructured
from picojoule.pruning.layers.least_squares import least_squares, positive_inverse
from picojoule.pruning.layers.restoring import restore_greedily

Matrices = tuple[torch.Tensor, torch.Tensor]


class Selector(Protocol):
    """The one interface of all rules."""

    def __call__(
        self,
        weights: torch.Tensor,
        gram: torch.Tensor,
        cross: torch.Tensor,
        constraint: Constraint,
        *,
        samples: Matrices | None = None,
    ) -> torch.Tensor: ...


def error(weights: torch.Tensor, gram: torch.Tensor, cross: torch.Tensor) -> float:
    """``|Y - W X|^2 - |Y|^2``: negative where the layer explains its outputs at all."""
    product = weights @ gram
    return float((product * weights).sum() - 2 * (cross * weights).sum())


def select(
    rule: str,
    weights: torch.Tensor,
    gram: torch.Tensor,
    cross: torch.Tensor,
    constraint: Constraint,
    *,
    samples: Matrices | None = None,
) -> torch.Tensor:
    """The weights a rule chooses, never worse on the calibration data than magnitude's.

    ``eap`` and ``magnitude`` are given as published, without that comparison.

    Raises:
        PicojouleError: there is no such rule.
    """
    if rule not in SELECTORS:
        names = tuple(SELECTORS)
        raise PicojouleError(
            f"no selector {rule!r}{did_you_mean(rule, names)}; there are {', '.join(names)}"
        )
    choice = SELECTORS[rule](weights, gram, cross, constraint, samples=samples)
    if rule in ("eap", "magnitude", "magnitude-ls"):
        return choice
    plain = magnitude_ls(weights, gram, cross, constraint)
    return min((choice, plain), key=lambda candidate: error(candidate, gram, cross))


def magnitude(
    weights: torch.Tensor,
    gram: torch.Tensor,
    cross: torch.Tensor,
    constraint: Constraint,
    *,
    samples: Matrices | None = None,
) -> torch.Tensor:
    """The largest weights, unchanged: the baseline of the field."""
    del gram, cross, samples
    return weights * constraint.support(weights.abs())


def magnitude_ls(
    weights: torch.Tensor,
    gram: torch.Tensor,
    cross: torch.Tensor,
    constraint: Constraint,
    *,
    samples: Matrices | None = None,
) -> torch.Tensor:
    """The largest weights, solved again."""
    del samples
    return least_squares(gram, cross, constraint.support(weights.abs()))


RESTORED = 0.3
"""Share of the kept weights that come back by restoration; the paper says only "e.g. 5 of 35 %"."""


def eap(
    weights: torch.Tensor,
    gram: torch.Tensor,
    cross: torch.Tensor,
    constraint: Constraint,
    *,
    samples: Matrices | None = None,
    restored: float = RESTORED,
    norm: int = 1,
    at_once: int = 2,
) -> torch.Tensor:
    """Magnitude beyond the target, greedy restoration, least squares (CVPR'17 §4, steps 2 to 4).

    Args:
        samples: X ``[groups, columns, n]`` and Y ``[groups, rows, n]``: the restoration measures
            residuals position by position.
        restored: share of the kept weights that are chosen by restoration.
        norm: of the residual; the paper takes 1.
        at_once: weights restored to a filter before the next filter is looked at (the paper's g).
    """
    if not isinstance(constraint, Unstructured):
        # Patterns and filters leave nothing to restore beyond their own target.
        return magnitude_ls(weights, gram, cross, constraint)
    if samples is None:
        raise PicojouleError("eap needs samples: it measures residuals position by position")
    keep = min(constraint.keep, int((weights != 0).sum()))
    first = keep - round(restored * keep)
    support = Unstructured(first).support(weights.abs())
    support = restore(weights, support, samples, keep, norm=norm, at_once=at_once)
    return least_squares(gram, cross, support)


def restore(
    weights: torch.Tensor,
    support: torch.Tensor,
    samples: Matrices,
    keep: int,
    *,
    norm: int = 1,
    at_once: int = 2,
) -> torch.Tensor:
    """The support grown to *keep* weights, where their return lowers the residual most.

    The filter with the largest residual is served first; of its pruned weights those come back
    whose return *at the original value* lowers the residual's norm most (CVPR'17 §4, step 3).
    """
    inputs, outputs = (part.to(torch.float32) for part in samples)
    original = weights.to(torch.float32)
    support = support & (weights != 0)
    residual = outputs - (original * support) @ inputs
    left = ~support & (weights != 0)
    missing = keep - int(support.sum())
    if missing > 0:
        restore_greedily(
            original.contiguous().numpy(),
            inputs.contiguous().numpy(),
            residual.contiguous().numpy(),
            support.numpy(),
            left.numpy(),
            missing,
            at_once,
            norm,
        )
    return support


def alps(
    weights: torch.Tensor,
    gram: torch.Tensor,
    cross: torch.Tensor,
    constraint: Constraint,
    *,
    samples: Matrices | None = None,
    iterations: int = 120,
) -> torch.Tensor:
    """Splitting: one copy of the weights fits the outputs, the other obeys the constraint.

    Columns are scaled to unit input energy first. The pull ``rho`` between the copies grows as long
    as the support still moves, and the search ends when it has not moved for a while. Large layers
    let ``rho`` grow in larger steps: each step costs a factorisation of H.
    """
    del samples
    if isinstance(constraint, Filters):
        return _whole_filters(weights, gram, cross, constraint)
    scale = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))[:, None, :]
    # Single precision finds the support; the weights on it are solved in the precision of H.
    h = (gram / scale.mT / scale).to(torch.float32)
    g = (cross / scale).to(torch.float32)
    columns = weights.shape[-1]
    large = columns > _LARGE
    growth, hold = (3.0, 4) if large else (1.3, 3)
    if large:
        iterations = min(iterations, 32)
    rho = 0.1
    inverse = positive_inverse(_shifted(h, rho))
    start = (weights * scale).to(torch.float32)
    support = constraint.support(start.abs())
    sparse = start * support
    dual = torch.zeros_like(start)
    before, still = support, 0
    for number in range(1, iterations + 1):
        free = (g - dual + rho * sparse) @ inverse
        support = constraint.support((free + dual / rho).abs())
        sparse = (free + dual / rho) * support
        dual += rho * (free - sparse)
        if number % hold:
            continue
        moved = int((support != before).sum()) // 2
        before = support
        if moved == 0:
            still += 1
            if still == 2:
                break
        elif moved * 200 < int(support.sum()):  # slows down near the end, as ALPS does
            still = 0
            growth = min(growth, 2.0 if large else 1.2)
        rho *= growth
        inverse = positive_inverse(_shifted(h, rho))
    return least_squares(gram, cross, support, start=(sparse / scale).to(cross.dtype))


_LARGE = 1200  # columns from which a factorisation dominates


def _shifted(matrices: torch.Tensor, shift: float) -> torch.Tensor:
    copies = matrices.clone()
    copies.diagonal(dim1=-2, dim2=-1).add_(shift)
    return copies


def obc(
    weights: torch.Tensor,
    gram: torch.Tensor,
    cross: torch.Tensor,
    constraint: Constraint,
    *,
    samples: Matrices | None = None,
) -> torch.Tensor:
    """Remove one weight at a time, the one that costs least, the others always at their optimum.

    Rows are traced independently to the end; their traces are merged by cost for a budget of the
    whole layer. Time grows with rows x columns^3: for layers of some hundred columns.
    """
    del samples
    if isinstance(constraint, Filters):
        return _whole_filters(weights, gram, cross, constraint)
    groups, rows, columns = weights.shape
    order = torch.empty((groups, rows, columns), dtype=torch.long)
    costs = torch.empty((groups, rows, columns), dtype=weights.dtype)
    at_once = max(1, _BATCH_ELEMENTS // columns**2)
    for group in range(groups):
        inverse = positive_inverse(gram[group])
        optimum = cross[group] @ inverse
        for first in range(0, rows, at_once):
            part = slice(first, first + at_once)
            order[group, part], costs[group, part] = _trace(optimum[part], inverse, constraint)
    if isinstance(constraint, Pattern):
        support = torch.ones_like(weights, dtype=torch.bool)
        removed = torch.isfinite(costs)
        g, r, s = removed.nonzero(as_tuple=True)
        support[g, r, order[g, r, s]] = False
    else:
        # The cheapest next removals over all rows, each row in its own order: a running maximum
        # puts a cheap removal that follows a dear one behind it.
        running = costs.cummax(-1).values
        stays = Unstructured(constraint.keep).support(running)
        support = torch.zeros_like(stays)
        support.scatter_(-1, order, stays)
    return least_squares(gram, cross, support)


_BATCH_ELEMENTS = 1 << 22


def _trace(optimum: torch.Tensor, inverse: torch.Tensor, constraint: Constraint) -> Matrices:
    """For each row, in which order weights go and what each removal costs (inf: not allowed)."""
    rows, columns = optimum.shape
    w = optimum.clone()
    h = inverse.expand(rows, -1, -1).clone()
    gone = torch.zeros_like(w, dtype=torch.bool)
    order = torch.zeros((rows, columns), dtype=torch.long)
    costs = torch.full_like(w, float("inf"))
    lines = torch.arange(rows)
    for step in range(columns):
        diagonal = h.diagonal(dim1=-2, dim2=-1)
        price = (w.square() / diagonal).masked_fill(gone | _blocked(gone, constraint), float("inf"))
        price = torch.nan_to_num(price, nan=float("inf"), posinf=float("inf"))
        cost, place = price.min(-1)
        if not torch.isfinite(cost).any():
            break
        allowed = torch.isfinite(cost)
        order[:, step] = place
        costs[:, step] = torch.where(allowed, cost, costs[:, step])
        pivot = h[lines, place, place]
        column = h[lines, :, place]
        factor = torch.where(allowed, 1 / pivot, torch.zeros_like(pivot))
        w -= (w[lines, place] * factor)[:, None] * column
        h -= (column * factor[:, None])[:, :, None] * column[:, None, :]
        gone[lines[allowed], place[allowed]] = True
        w.masked_fill_(gone, 0.0)
    if isinstance(constraint, Unstructured):
        # Every weight goes at the end; those a singular H left over go last.
        for row in (~torch.isfinite(costs)).any(-1).nonzero()[:, 0].tolist():
            rest = (~gone[row]).nonzero()[:, 0]
            order[row, columns - len(rest) :] = rest
    return order, costs


def _blocked(gone: torch.Tensor, constraint: Constraint) -> torch.Tensor:
    """Weights that must stay, since their neighbours went."""
    if not isinstance(constraint, Pattern):
        return torch.zeros_like(gone)
    columns, m = gone.shape[-1], constraint.m
    missing = -columns % m
    # What is missing from the last block counts as gone.
    padded = torch.nn.functional.pad(gone, (0, missing), value=True).reshape(len(gone), -1, m)
    full = (padded.sum(-1) >= m - constraint.n)[..., None].expand(padded.shape)
    return full.flatten(1)[:, :columns]


def sparsegpt(
    weights: torch.Tensor,
    gram: torch.Tensor,
    cross: torch.Tensor,
    constraint: Constraint,
    *,
    samples: Matrices | None = None,
    block: int = 128,
) -> torch.Tensor:
    """One pass over blocks of columns; what a removal breaks, the columns to the right mend.

    One factorisation and one pass: for layers too wide for the other rules.
    """
    del samples
    if isinstance(constraint, Filters):
        return _whole_filters(weights, gram, cross, constraint)
    columns = weights.shape[-1]
    if isinstance(constraint, Pattern):
        block = max(constraint.m, block // constraint.m * constraint.m)
    inverse = positive_inverse(gram)
    w = cross @ inverse
    upper = torch.linalg.cholesky(inverse, upper=True)
    support = torch.zeros_like(w, dtype=torch.bool)
    for first in range(0, columns, block):
        last = min(first + block, columns)
        scores = (
            w[..., first:last].square()
            / upper.diagonal(dim1=-2, dim2=-1)[:, None, first:last].square()
        )
        if isinstance(constraint, Pattern):
            kept = constraint.support(scores)
        else:
            share = constraint.keep * last // columns - constraint.keep * first // columns
            kept = Unstructured(share).support(scores)
        support[..., first:last] = kept
        for column in range(first, last):
            wrong = w[..., column] * ~kept[..., column - first]
            factor = wrong / upper[:, column, column, None]
            w[..., column:] -= factor[..., None] * upper[:, None, column, column:]
    return least_squares(gram, cross, support)


def _whole_filters(
    weights: torch.Tensor, gram: torch.Tensor, cross: torch.Tensor, constraint: Filters
) -> torch.Tensor:
    """Rows do not share inputs' weights, so the best rows are those that explain most output."""
    full = least_squares(gram, cross, torch.ones_like(weights, dtype=torch.bool))
    explained = (full * cross).sum(-1).clamp_min(0).sqrt()
    scores = (explained / weights.shape[-1] ** 0.5)[..., None].expand(weights.shape)
    return full * constraint.support(scores)


SELECTORS: Mapping[str, Callable[..., torch.Tensor]] = MappingProxyType(
    {
        "magnitude": magnitude,
        "magnitude-ls": magnitude_ls,
        "eap": eap,
        "alps": alps,
        "obc": obc,
        "sparsegpt": sparsegpt,
    }
)


def fitting_rule(shape: torch.Size) -> str:
    """The rule best mode takes for weights of a shape ``[groups, rows, columns]``.

    ``obc`` errs a tenth less than ``alps``, in a hundred times the time; beyond ``alps``' reach,
    the one pass of ``sparsegpt`` is left.
    """
    _, _, columns = shape
    return "alps" if columns <= _WIDEST_FOR_ALPS else "sparsegpt"


_WIDEST_FOR_ALPS = 6000
