"""Training a pruned network back to its accuracy: zeros held, the dense network as the teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from picojoule.pruning.datasets import Samples
from picojoule.pruning.modes import evaluating
from picojoule.pruning.runs.runs import RunError
from picojoule.pruning.training import answers, loss_of

Accuracy = Callable[[nn.Module], float]
Masks = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """How to fine-tune: SGD with momentum and a cosine from *rate* to nothing.

    Args:
        epochs: passes over the training data, each time the network is fine-tuned.
        distilled: share of the loss that compares with the dense network's outputs, softened by
            *temperature* (Hinton et al., 2015); the rest compares with the labels.
    """

    epochs: int = 2
    rate: float = 0.02
    batch: int = 128
    momentum: float = 0.9
    decay: float = 5e-4
    distilled: float = 0.0
    temperature: float = 2.0


def top1(samples: Samples, *, batch: int = 500) -> Accuracy:
    """A function that tells which share of *samples* a network puts into the right class."""

    def accuracy(model: nn.Module) -> float:
        with evaluating(model), torch.no_grad():
            right = sum(
                int((model(inputs).argmax(1) == labels).sum())
                for inputs, labels in samples.batches(batch)
            )
        return right / len(samples)

    return accuracy


def train_epoch(
    model: nn.Module,
    data: Samples,
    training: FineTuning,
    masks: Masks,
    *,
    epoch: int,
    taught: torch.Tensor | nn.Module | None = None,
    momenta: Mapping[str, torch.Tensor] | None = None,
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> tuple[float, dict[str, torch.Tensor]]:
    """One epoch of fine-tuning; pruned weights stay zero.

    Draws (order, dropout, augmentation) come from torch's seed.

    Args:
        masks: by parameter; where a mask is 0, so is the weight.
        epoch: which of ``training.epochs`` this is, from 0.
        taught: the teacher, or its outputs for every sample of *data*, ``[n, classes]``, which
            saves computing them in every epoch; the teacher itself, if *augment* changes inputs.
        momenta: as the epoch before returned them.

    Returns:
        the mean loss, and the momenta.

    Raises:
        RunError: the loss is not finite.
    """
    generator = torch.Generator().manual_seed(torch.initial_seed())
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    momenta = dict(momenta or {name: torch.zeros_like(p) for name, p in named.items()})
    steps = max(1, len(data) // training.batch)
    losses = 0.0
    model.train()
    for number, picked in enumerate(data.orders(training.batch, generator)):
        inputs, labels = data.inputs[picked], data.labels[picked]
        if augment is not None:
            inputs = augment(inputs)
        done = (epoch + number / steps) / training.epochs
        rate = training.rate * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        wanted = _wanted(taught, inputs, picked)
        loss = loss_of(model(inputs), labels, wanted, training.distilled, training.temperature)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RunError(
                f"fine-tuning: the loss is {value} in step {number + 1} of epoch {epoch + 1}; "
                "nothing of this epoch was kept: lower the learning rate "
                f"(now {training.rate:g}) in a new run"
            )
        losses += value
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        with torch.no_grad():
            for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
                if gradient is None:
                    continue
                moved = gradient.add(parameter, alpha=training.decay)
                if name in masks:
                    moved *= masks[name]
                momentum = momenta[name]
                momentum.mul_(training.momentum).add_(moved)
                parameter.sub_(moved.add(momentum, alpha=training.momentum), alpha=rate)
    model.eval()
    apply_masks(model, masks)
    return losses / steps, momenta


def _wanted(
    taught: torch.Tensor | nn.Module | None, inputs: torch.Tensor, picked: torch.Tensor
) -> torch.Tensor | None:
    if isinstance(taught, nn.Module):
        return answers(taught, inputs)
    return None if taught is None else taught[picked]


def apply_masks(model: nn.Module, masks: Masks) -> None:
    """Set the masked weights to zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in masks:
                parameter.mul_(masks[name])


def reestimate_batch_norm(model: nn.Module, data: Samples, *, batch: int = 256) -> bool:
    """Take the statistics of batch normalisations anew over *data*; whether there were any."""
    norms = [
        part
        for part in model.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    if not norms:
        return False
    kept = [part.momentum for part in norms]
    with evaluating(model), torch.no_grad():
        for part in norms:
            part.reset_running_stats()
            part.momentum = None  # the plain average over all batches
            part.train()
        for inputs, _ in data.batches(batch):
            model(inputs)
    for part, momentum in zip(norms, kept, strict=True):
        part.momentum = momentum
    return True
