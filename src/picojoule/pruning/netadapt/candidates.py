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

from picojoule.pruning.datasets import Data, Samples
from picojoule.pruning.graph.channels import Channels, find_channels
from picojoule.pruning.graph.importance import (
    Inputs,
    RemovalOrder,
    compensate,
    gather_inputs,
    reestimate_norms,
)
from picojoule.pruning.graph.masks import mask_of
from picojoule.pruning.graph.records import copied, from_record, to_record
from picojoule.pruning.graph.surgery import shrink
from picojoule.pruning.runs.executors import Done
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
        network = from_record(self.record)
        network.load_state_dict(self.state)
        return network.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How candidates are made and tuned.

    Args:
        short: the fine-tune of each.
        compensate: re-solve the layers that lose inputs, re-estimate batch norms.
        accept: keep the fine-tune only if the held-out data agree.
        calibrate: training images for both.
        finetune, accuracy: the user's own, instead of the plain ones.
    """

    short: Training
    compensate: bool
    accept: bool
    calibrate: int
    finetune: Callable[[nn.Module, int], object] | None = None
    accuracy: Callable[[nn.Module], float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A candidate to work on.

    ``threads`` of torch decide the order of sums: with as many, every process comes to the same.
    """

    keep: npt.NDArray[np.bool_]
    method: Method
    example: tuple[torch.Tensor, ...]
    seed: int
    threads: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it; ``tuned`` says whether the fine-tune was kept."""

    accuracy: float
    loss: float
    tuned: bool
    state: Mapping[str, torch.Tensor]


def step_of(done: Done) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The record and the tensors that a run keeps of a candidate, ended or lost."""
    if done.status != "done":
        return {"status": done.status, "message": done.message}, {}
    outcome: Outcome = done.value
    record = {
        "status": "done",
        "accuracy": outcome.accuracy,
        "loss": outcome.loss,
        "tuned": outcome.tuned,
    }
    return record, dict(outcome.state)


def work_on(task: Task, parent: Parent, data: Data, teacher: Parent) -> Outcome:
    """Cut the parent, compensate, tune, judge."""
    threads = torch.get_num_threads()
    torch.set_num_threads(task.threads)
    try:
        return _worked_on(task, parent, data, teacher)
    finally:
        torch.set_num_threads(threads)


def _worked_on(task: Task, parent: Parent, data: Data, teacher: Parent) -> Outcome:
    network, method = parent.network(), task.method
    channels = find_channels(network, task.example)
    drawn = data.train.drawn(method.calibrate, task.seed)

    def calibration() -> Iterator[Sequence[torch.Tensor]]:
        for inputs, _ in drawn.batches(128):
            yield (inputs,)

    if method.compensate:
        moments = gather_inputs(network, channels, calibration)
        small = made_good(network, channels, moments, task.keep, drawn)
    else:
        small = shrink(network, channels, task.keep)

    def judged(candidate: nn.Module) -> Score:
        if method.accuracy is not None:
            return Score(float(method.accuracy(candidate)), 0.0)
        return score(candidate, data.validate)

    untuned = copied(small).eval() if method.accept and method.short.steps else None
    if method.short.steps:
        if method.finetune is not None:
            method.finetune(small, method.short.steps)
        else:
            taught = teacher.network() if method.short.distilled else None
            train(small, data.train, method.short, seed=task.seed, teacher=taught)
    small.eval()
    scored = judged(small)
    tuned = method.short.steps > 0
    if untuned is not None:
        before = judged(untuned)
        if (before.accuracy, -before.loss) > (scored.accuracy, -scored.loss):
            small, scored, tuned = untuned, before, False
    return Outcome(scored.accuracy, scored.loss, tuned, dict(small.state_dict()))


def made_good(
    network: fx.GraphModule,
    channels: Channels,
    moments: Mapping[str, Inputs],
    keep: npt.NDArray[np.bool_],
    samples: Samples,
) -> fx.GraphModule:
    """The network cut to *keep*, its readers re-solved, its batch norms re-estimated."""
    whole = copied(network)
    compensate(whole, channels, moments, keep)
    small = shrink(whole, channels, keep)
    reestimate_norms(small, lambda: ((inputs,) for inputs, _ in samples.batches(128)))
    return small.eval()


PROBED = 0.6
"""The share of a group's channels kept when its effect on the loss is probed."""


def loss_weights(
    network: fx.GraphModule,
    channels: Channels,
    moments: Mapping[str, Inputs],
    traces: Mapping[str, RemovalOrder],
    samples: Samples,
) -> dict[str, float]:
    """By group, the rise of the loss per error of its readers, from cutting that group alone.

    An error of a layer matters more or less to what the network says; one cut network per group
    tells how much.
    """
    begin = score(network, samples).loss
    weights = {}
    for group in channels.groups:
        width = max(1, round(PROBED * group.width))
        error = float(traces[group.name].errors[group.width - width])
        if width == group.width or error <= 0:
            weights[group.name] = 1.0
            continue
        keep = mask_of(channels, traces, {group.name: width})
        small = made_good(network, channels, moments, keep, samples)
        weights[group.name] = max(score(small, samples).loss - begin, 1e-4) / error
    return weights
