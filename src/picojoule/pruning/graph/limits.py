"""How narrow the groups of channels of a network may become, and in what steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MOST_OPTIONS = 9
"""Widths per group that the table model tells apart; a pair of groups costs their product."""


@dataclass(frozen=True, slots=True)
class WidthLimits:
    """How narrow groups may become, and in what steps.

    Args:
        step: channels removed at a time; None: :func:`natural_step`.
        floor: share of a group's first width that always stays.
        first: the first width of each group.
    """

    step: int | None
    floor: float
    first: Mapping[str, int]

    def step_of(self, name: str, width: int) -> int:
        if self.step is not None:
            return self.step
        return natural_step(self.first.get(name, width))

    def floor_of(self, name: str, width: int) -> int:
        """The narrowest width of a group, never above its present one."""
        step = self.step_of(name, width)
        first = self.first.get(name, width)
        least = max(1, min(step, first), math.ceil(self.floor * first))
        return min(width, least)

    def below(self, name: str, width: int) -> list[int]:
        """Narrower widths, the widest first: multiples of the step, then the floor."""
        step, floor = self.step_of(name, width), self.floor_of(name, width)
        widths = [w for w in range((width - 1) // step * step, 0, -step) if w > floor]
        return [*widths, floor] if floor < width else []

    def options(self, name: str, width: int, least_share: float) -> list[int]:
        """At most :data:`MOST_OPTIONS` widths from the present one down, evenly spread."""
        floor = max(self.floor_of(name, width), math.floor(least_share * width))
        widths = [width, *(w for w in self.below(name, width) if w >= floor)]
        if widths[-1] != floor and floor >= self.floor_of(name, width):
            widths.append(floor)
        if len(widths) > MOST_OPTIONS:
            picked = np.unique(np.linspace(0, len(widths) - 1, MOST_OPTIONS).round().astype(int))
            widths = [widths[n] for n in picked]
        return widths


def natural_step(width: int) -> int:
    """Channels that are worth removing at a time: 8 from 64 channels on, fewer below."""
    return next((s for s in (8, 4, 2) if width >= 8 * s), 1)
