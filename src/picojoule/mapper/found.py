"""What a search may be asked for, and what it returns: a mapping, its price, what is proved of it.

Apart from the search itself, so that results read from a file need not load it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from picojoule.cost import Cost
from picojoule.mapping import Mapping

FACTORS = ("all", "perfect")
"""Tile sizes: all, or only those that divide the tile outside them."""

SPACES = ("even", "uneven")
"""Mappings whose operands share the tiles of a memory, or also those in which they do not."""

Watch = Callable[[float, float], object]
"""Called a few times a second with the least value so far (infinite where there is none yet) and
what no mapping is below; a true answer ends the search with the best so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The result of a search.

    Args:
        mapping, cost: the best mapping found and its price.
        objective, value: what was minimised, and its value for this mapping.
        status: "optimal" if proved (nothing left to look at), else "feasible".
        lower_bound: no legal mapping of the space is below; equals ``value`` if optimal, but
            for what slack allows.
        explored, pruned: choices looked at, and those discarded with all they contain.
        space: the set of mappings that the statement is about, in words.
        seconds: time the search took.
        front: if asked for, the mappings that none beats in both energy and cycles, from the
            cheapest to the fastest; complete if the last one is "optimal".
    """

    mapping: Mapping
    cost: Cost
    objective: str
    value: float
    status: str
    lower_bound: float
    explored: int
    pruned: int
    space: str
    seconds: float
    front: tuple[Found, ...] = ()

    @property
    def gap(self) -> float:
        """How far the value may be above the optimum, relative to the bound."""
        return self.value / self.lower_bound - 1 if self.lower_bound > 0 else 0.0


class _Priced(Protocol):
    """What has an energy and takes cycles."""

    @property
    def energy(self) -> float: ...
    @property
    def cycles(self) -> float: ...


def value_of(cost: _Priced, objective: str) -> float:
    """What *objective* minimises: the energy, the cycles, or their product."""
    return {
        "energy": cost.energy,
        "latency": cost.cycles,
        "edp": cost.energy * cost.cycles,
    }[objective]
