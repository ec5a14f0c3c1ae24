"""What a sparse layer must satisfy: a number of weights, a pattern, or whole filters.

A constraint turns scores into a support. Scores and supports are ``[groups, rows, columns]``: one
row per filter, one column per input of the filter, channels innermost (tap by tap), so that a
pattern along columns is a pattern along channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from picojoule.errors import PicojouleError


@dataclass(frozen=True, slots=True)
class Unstructured:
    """At most *keep* weights, anywhere in the layer."""

    keep: int

    def support(self, scores: torch.Tensor) -> torch.Tensor:
        """The *keep* largest scores of the whole layer."""
        return _largest(scores.reshape(1, -1), self.keep).reshape(scores.shape)

    def satisfied(self, support: torch.Tensor) -> bool:
        return int(support.sum()) <= self.keep


@dataclass(frozen=True, slots=True)
class Pattern:
    """At most *n* of every *m* neighbours in a row (2:4 and the like); a shorter rest keeps n."""

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 0 < self.n <= self.m:
            raise PicojouleError(f"pattern {self.n}:{self.m}: 0 < n <= m is needed")

    def support(self, scores: torch.Tensor) -> torch.Tensor:
        """The *n* largest scores of every *m* neighbours."""
        blocks = self._blocks(scores, float("-inf"))
        picked = _largest(blocks.reshape(-1, self.m), min(self.n, self.m)).reshape(blocks.shape)
        return picked.flatten(-2)[..., : scores.shape[-1]]

    def satisfied(self, support: torch.Tensor) -> bool:
        return bool((self._blocks(support.to(torch.float32), 0.0).sum(-1) <= self.n).all())

    def _blocks(self, values: torch.Tensor, fill: float) -> torch.Tensor:
        missing = -values.shape[-1] % self.m
        padded = torch.nn.functional.pad(values, (0, missing), value=fill)
        return padded.reshape(*values.shape[:-1], -1, self.m)


@dataclass(frozen=True, slots=True)
class Filters:
    """At most *keep* whole filters; the others are zero throughout."""

    keep: int

    def support(self, scores: torch.Tensor) -> torch.Tensor:
        """The *keep* rows with the largest sums of squared scores."""
        rows = scores.square().sum(-1)
        picked = _largest(rows.reshape(1, -1), self.keep).reshape(rows.shape)
        return picked[..., None].expand(scores.shape).clone()

    def satisfied(self, support: torch.Tensor) -> bool:
        return int(support.any(-1).sum()) <= self.keep


Constraint = Unstructured | Pattern | Filters


def _largest(scores: torch.Tensor, keep: int) -> torch.Tensor:
    """Per row, a mask of the *keep* largest; of equal scores, the earlier ones."""
    keep = max(0, min(keep, scores.shape[-1]))
    mask = torch.zeros_like(scores, dtype=torch.bool)
    if keep:
        order = torch.sort(scores, dim=-1, descending=True, stable=True).indices[:, :keep]
        mask.scatter_(1, order, True)
    return mask
