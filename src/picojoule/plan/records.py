"""A network's plan as plain data: what stays where, from when to when, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A tensor that stays on the chip, with whatever is a part of it.

    Args:
        room: bits that it takes, for all inferences.
        first, last: names of the nodes that make it and that read it last.
    """

    tensor: str
    memory: str
    room: float
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """A node that runs: a layer, or an operator without products.

    Args:
        homes: of its operands that lie on the chip, by name, the memory.
        rooms: memory -> bits that tensors take there meanwhile.
        tiles: memory -> bits that tiles of its layers take beside them, at most.
    """

    node: str
    layers: tuple[str, ...]
    homes: Mapping[str, str]
    rooms: Mapping[str, float]
    tiles: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which tensors stay on the chip between layers, and what is proved of that.

    Args:
        objective: what the plan has the least of.
        value, lower_bound: of the objective, per inference; no plan of the space is below.
        capacities: bits of each memory in which tensors may stay, by name.
        outside: energy and cycles where nothing stays, per inference.
        least: what no schedule of such mappings is below, whether tensors stay whole or band by
            band: each layer with its operands as near by as they may lie, and all room its own.
        searched: problems that were searched.
    """

    objective: str
    value: float
    lower_bound: float
    status: str
    capacities: Mapping[str, float | None]
    stays: tuple[Stay, ...]
    steps: tuple[PlanStep, ...]
    outside: Mapping[str, float]
    least: float
    searched: int

    @property
    def gap(self) -> float:
        """How far the value may be above the best plan of the space, relative to the bound."""
        return max(0.0, self.value / self.lower_bound - 1) if self.lower_bound > 0 else math.inf

    def rooms(self, layer: str) -> Mapping[str, float]:
        """Bits that tensors take in each memory while a layer runs."""
        return next(step.rooms for step in self.steps if layer in step.layers)

    def scaled(self, factor: float) -> Plan:
        """The same with energies in another unit, of which the present one is *factor*."""
        each = 1.0 if self.objective == "latency" else factor
        return replace(
            self,
            value=each * self.value,
            lower_bound=each * self.lower_bound,
            least=each * self.least,
            outside={**self.outside, "energy": factor * self.outside["energy"]},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in ``estimate --json``."""
        return asdict(self) | {
            "capacities": dict(self.capacities),
            "outside": dict(self.outside),
            "stays": [asdict(stay) for stay in self.stays],
            "steps": [
                {
                    "node": step.node,
                    "layers": list(step.layers),
                    "homes": dict(step.homes),
                    "rooms": dict(step.rooms),
                    "tiles": dict(step.tiles),
                }
                for step in self.steps
            ],
        }


def plan_of(record: Mapping[str, Any]) -> Plan:
    """The plan that :meth:`Plan.to_dict` made.

    Raises:
        KeyError, TypeError: it is none.
    """
    steps = (PlanStep(**{**step, "layers": tuple(step["layers"])}) for step in record["steps"])
    stays = (Stay(**stay) for stay in record["stays"])
    return Plan(**{**record, "steps": tuple(steps), "stays": tuple(stays)})
