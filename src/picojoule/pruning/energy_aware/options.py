"""How a network is pruned: what its user chooses, and what it tells on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from picojoule.pruning.energy_aware.finetuning import (
    FineTuning,
)

Finetune = Callable[[nn.Module, int], None]
"""A user's own training: changes the network in place; called with the number of the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningOptions:
    """What the papers leave open, and this project's choices.

    Args:
        calibration: training images that layers are fitted on, drawn by the run's seed.
        positions: places of each feature map and image that enter a layer's matrices.
        samples: places in all at which ``eap`` compares outputs one by one.
        ridge: pull towards the present weights, in units of the mean of H's diagonal.
        profile: training images on which activation densities are counted: the first, or drawn
            where the first miss classes.
        rate: paper mode, share of its remaining weights that a layer loses per round.
        refinements: paper mode, how often the rate is halved after a network that lost too much.
        restored: paper mode, share of the kept weights that restoration chooses.
        norm: paper mode, of the residual.
        order: paper mode, "energy" (costliest first, as published), "macs", "weights" or "network".
        step: best mode, the energy of a stage as a share of the stage before.
        levels: best mode, how many densities each layer offers to the allocation.
        attempts: best mode, how often the allocation is solved again with the densities of
            activations it led to.
        selector: the rule of best mode; by default one that suits the layer's size.
        guide: best mode, what the allocation saves: "energy", or, for comparison, "macs" or
            "weights".
        constraint: "unstructured", "N:M" such as "2:4", or "filters": whole channels and nothing
            else, so that what is left is dense.
        narrow: best mode, whether layers may lose channels (not under "N:M"). Without, and where
            the network cannot be followed, filters become zeros in place.
        rounds: at most so many rounds or stages.
        training: the fine-tune of each round or stage.
    """

    calibration: int = 1000
    positions: int = 64
    samples: int = 512
    ridge: float = 1e-4
    profile: int = 1000
    rate: float = 0.3
    refinements: int = 1
    restored: float = 0.3
    norm: int = 1
    order: str = "energy"
    step: float = 0.6
    levels: int = 8
    attempts: int = 2
    selector: str | None = None
    guide: str = "energy"
    constraint: str = "unstructured"
    narrow: bool = True
    rounds: int = 30
    training: FineTuning = field(default_factory=FineTuning)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run is doing: for a display.

    Args:
        what: the step that just ended.
        energy: of the last network that was priced, as a share of the original.
        accuracy: of the last network that was judged.
        left: seconds to the end of this round or stage, where that can be told.
    """

    what: str
    energy: float
    accuracy: float
    left: float | None
