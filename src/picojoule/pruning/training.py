"""Training in steps that can be stopped between any two, and what a network gets right.

Step *n* of a training sees the same batch and draws the same random numbers whether or not the
training was stopped before it: both follow from the seed and *n* alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from picojoule.errors import PicojouleError
from picojoule.pruning.datasets import Samples
from picojoule.pruning.modes import evaluating

EVALUATION_BATCH = 256


class DivergedError(PicojouleError):
    """A loss that is not a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a network is trained.

    Args:
        steps: batches in all.
        rate: learning rate of SGD; by *schedule* "cosine" it falls to zero over the steps, with
            "constant" it stays.
        momentum, weight_decay: of SGD (NetAdapt's public code: 0.9 and 1e-4).
        batch: images per step.
        distilled, temperature: see :func:`loss_of`.
    """

    steps: int
    rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch: int = 128
    schedule: str = "cosine"
    distilled: float = 0.0
    temperature: float = 3.0

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        if self.schedule == "constant":
            return self.rate
        return self.rate * 0.5 * (1 + math.cos(math.pi * step / max(1, self.steps)))


def train(
    network: nn.Module,
    samples: Samples,
    training: Training,
    *,
    seed: int,
    first: int = 0,
    last: int | None = None,
    momenta: Mapping[str, torch.Tensor] | None = None,
    teacher: nn.Module | None = None,
) -> dict[str, torch.Tensor]:
    """Do the steps *first* to *last* of a training; the network is left in evaluation mode.

    Args:
        momenta: what an earlier call returned, to go on from it.
        teacher: for ``distilled``.

    Returns:
        The optimizer's momentum by parameter name.

    Raises:
        DivergedError: the loss is not finite.
    """
    last = training.steps if last is None else last
    names = {parameter: name for name, parameter in network.named_parameters()}
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=training.rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    for parameter, name in names.items():
        if momenta and name in momenta:
            optimizer.state[parameter]["momentum_buffer"] = momenta[name].clone()
    network.train()
    order = _Order(len(samples), training.batch, seed)
    for step in range(first, last):
        inputs, labels = order.batch(samples, step)
        torch.manual_seed((seed * 1_000_003 + step) % (1 << 62))  # dropout
        for group in optimizer.param_groups:
            group["lr"] = training.rate_at(step)
        outputs = network(inputs)
        taught = answers(teacher, inputs) if teacher is not None and training.distilled else None
        loss = loss_of(outputs, labels, taught, training.distilled, training.temperature)
        if not torch.isfinite(loss):
            network.eval()
            raise DivergedError(f"step {step}: the loss is {float(loss)}; a lower rate may help")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    return {
        name: optimizer.state[parameter]["momentum_buffer"].detach().clone()
        for parameter, name in names.items()
        if optimizer.state[parameter].get("momentum_buffer") is not None
    }


def loss_of(
    outputs: torch.Tensor,
    labels: torch.Tensor,
    taught: torch.Tensor | None,
    distilled: float,
    temperature: float,
) -> torch.Tensor:
    """The mean cross-entropy, with a teacher's answers in part (Hinton et al., 2015).

    Args:
        outputs: what the network made of the batch, before the softmax.
        taught: what the teacher made of it.
        distilled: share of the loss, 0 to 1, that compares with *taught*, both softened by
            *temperature*; the labels have the rest.
    """
    loss = functional.cross_entropy(outputs, labels)
    if taught is None or distilled == 0:
        return loss
    wanted = functional.log_softmax(taught / temperature, 1)
    predictions = functional.log_softmax(outputs / temperature, 1)
    distance = functional.kl_div(predictions, wanted, reduction="batchmean", log_target=True)
    return (1 - distilled) * loss + distilled * temperature**2 * distance


def answers(teacher: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """What a network in evaluation mode makes of *inputs*, batch by batch: without gradients."""
    starts = range(0, len(inputs), EVALUATION_BATCH)
    with evaluating(teacher), torch.no_grad():
        return torch.cat([teacher(inputs[at : at + EVALUATION_BATCH]) for at in starts])


class _Order:
    """Which samples each step sees: epochs in drawn orders, whole batches only."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self._count, self._batch, self._seed = count, min(batch, count), seed
        self._per_epoch = max(1, count // self._batch)
        self._epoch = -1
        self._order = torch.empty(0)

    def batch(self, samples: Samples, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, place = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self._seed * 7919 + epoch) % (1 << 62))
            self._order = torch.randperm(self._count, generator=generator)
            self._epoch = epoch
        picked = self._order[place * self._batch : (place + 1) * self._batch]
        return samples.inputs[picked], samples.labels[picked]


@dataclass(frozen=True, slots=True)
class Score:
    """What a network gets right: the share of samples, and the mean cross-entropy."""

    accuracy: float
    loss: float


def score(network: nn.Module, samples: Samples) -> Score:
    """Accuracy and loss in evaluation mode."""
    right, loss = 0, 0.0
    with evaluating(network), torch.no_grad():
        for inputs, labels in samples.batches(EVALUATION_BATCH):
            outputs = network(inputs)
            right += int((outputs.argmax(1) == labels).sum())
            loss += float(functional.cross_entropy(outputs, labels, reduction="sum"))
    return Score(right / len(samples), loss / len(samples))
