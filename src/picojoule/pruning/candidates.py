"""One candidate of a round: cut, made good for what was cut, tuned a little, judged.

:func:`work_on` runs wherever the executor puts it; everything it needs comes as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from picojoule.pruning.channels import find_channels
from picojoule.pruning.datasets import Data
from picojoule.pruning.graphs import copied, from_record, to_record
from picojoule.pruning.importance import compensate, gather_inputs, reestimate_norms
from picojoule.pruning.surgery import shrink
from picojoule.pruning.training import Score, Training, score, train


@dataclass(frozen=True, slots=True)
class Parent:
    """A network on its way to other processes: record and weights, no code."""

    record: dict[str, Any]
    state: dict[str, torch.Tensor]

    @classmethod
    def of(cls, network: fx.GraphModule) -> Parent:
        state = {name: x.detach().cpu().clone() for name, x in network.state_dict().items()}
        return cls(to_record(network), state)

    def network(self) -> fx.GraphModule:
        made = from_record(self.record)
        made.load_state_dict(self.state)
        return made.eval()


@dataclass(frozen=True, slots=True)
class Method:
    """How candidates are made and tuned.

    Args:
        short: the fine-tune of each.
        compensate: re-solve the layers that lose inputs.
        norms: re-estimate batch norms after cutting.
        accept: keep the fine-tune only if the held-out data agree.
        calibrate: training images for both.
        finetune, accuracy: the user's own, instead of the plain ones.
    """

    short: Training
    compensate: bool
    norms: bool
    accept: bool
    calibrate: int
    finetune: Callable[[nn.Module, int], object] | None = None
    accuracy: Callable[[nn.Module], float] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A candidate to work on."""

    keep: npt.NDArray[np.bool_]
    method: Method
    example: tuple[torch.Tensor, ...]
    seed: int
    hold_out: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it; ``tuned`` says whether the fine-tune was kept."""

    accuracy: float
    loss: float
    tuned: bool
    state: Mapping[str, torch.Tensor]


def work_on(task: Task, parent: Parent, data: Data, teacher: Parent) -> Outcome:
    """Cut the parent, compensate, tune, judge."""
    network, method = parent.network(), task.method
    channels = find_channels(network, task.example)

    def calibration() -> Iterator[Sequence[torch.Tensor]]:
        for inputs, _ in data.train.take(method.calibrate).batches(128):
            yield (inputs,)

    if method.compensate:
        moments = gather_inputs(network, channels, calibration)
        compensate(network, channels, moments, task.keep)
    small = shrink(network, channels, task.keep)
    if method.norms:
        reestimate_norms(small, calibration)
    held_out = data.validate.take(task.hold_out)

    def judged(candidate: nn.Module) -> Score:
        if method.accuracy is not None:
            return Score(float(method.accuracy(candidate)), 0.0)
        return score(candidate, held_out)

    untuned = copied(small).eval() if method.accept and method.short.steps else None
    if method.short.steps:
        if method.finetune is not None:
            method.finetune(small, method.short.steps)
        else:
            taught = teacher.network() if method.short.distill else None
            train(small, data.train, method.short, seed=task.seed, teacher=taught)
    small.eval()
    found = judged(small)
    tuned = method.short.steps > 0
    if untuned is not None:
        before = judged(untuned)
        if (before.accuracy, -before.loss) > (found.accuracy, -found.loss):
            small, found, tuned = untuned, before, False
    return Outcome(found.accuracy, found.loss, tuned, dict(small.state_dict()))
