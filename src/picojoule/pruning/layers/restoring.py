"""The restoration of CVPR'17 §4, step 3, compiled: thousands of small greedy choices."""

from __future__ import annotations

import numpy as np

from picojoule.compiled.arrays import Bools3, Singles1, Singles3
from picojoule.compiled.functions import compiled

# Sums may be taken in any order, so that they run in parallel; infinities keep their meaning.
ANY_ORDER = frozenset({"reassoc", "contract", "nsz"})


@compiled(fastmath=ANY_ORDER)
def restore_greedily(
    weights: Singles3,
    inputs: Singles3,
    residual: Singles3,
    support: Bools3,
    left: Bools3,
    missing: int,
    at_once: int,
    norm: int,
) -> None:
    """Grow *support* by *missing* weights; *residual* and *left* follow.

    Args:
        weights: ``[groups, rows, columns]``, the values that come back.
        inputs: X, ``[groups, columns, n]``.
        residual: outputs minus what the support gives, ``[groups, rows, n]``.
        support, left: kept weights, and those that may come back.
        at_once: weights restored to the filter with the largest residual, before the next is
            looked for.
        norm: 1 or 2, of residuals.
    """
    groups, rows, columns = weights.shape
    n = inputs.shape[2]
    sizes = np.full((groups, rows), -np.inf, np.float32)
    for g in range(groups):
        for r in range(rows):
            for c in range(columns):
                if left[g, r, c]:
                    sizes[g, r] = _size(residual[g, r], norm)
                    break
    after = np.empty(columns, np.float32)
    while missing > 0:
        place = np.argmax(sizes)
        g, r = place // rows, place % rows
        if sizes[g, r] == -np.inf:
            return
        for c in range(columns):
            after[c] = np.inf
            if left[g, r, c]:
                total = np.float32(0)
                value = weights[g, r, c]
                if norm == 1:
                    for i in range(n):
                        total += abs(residual[g, r, i] - value * inputs[g, c, i])
                else:
                    for i in range(n):
                        moved = residual[g, r, i] - value * inputs[g, c, i]
                        total += moved * moved
                after[c] = total
        for _ in range(at_once):
            best = np.argmin(after)
            if after[best] == np.inf or missing == 0:
                break
            after[best] = np.inf
            support[g, r, best] = True
            left[g, r, best] = False
            for i in range(n):
                residual[g, r, i] -= weights[g, r, best] * inputs[g, best, i]
            missing -= 1
        sizes[g, r] = -np.inf
        for c in range(columns):
            if left[g, r, c]:
                sizes[g, r] = _size(residual[g, r], norm)
                break


@compiled(fastmath=ANY_ORDER)
def _size(values: Singles1, norm: int) -> float:
    total = np.float32(0)
    for value in values:
        total += abs(value) if norm == 1 else value * value
    return float(total)
