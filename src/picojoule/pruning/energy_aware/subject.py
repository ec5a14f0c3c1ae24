"""The network under compression, and all that surrounds it: data, prices, accuracy, its run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from picojoule.frontends.run_results import PRICED
from picojoule.network_records import network_record
from picojoule.pruning.datasets import Data, Samples
from picojoule.pruning.energy_aware.finetuning import (
    Accuracy,
    apply_masks,
    reestimate_batch_norm,
    train_epoch,
)
from picojoule.pruning.energy_aware.narrowing import Narrowing
from picojoule.pruning.energy_aware.options import Finetune, Progress, PruningOptions
from picojoule.pruning.energy_aware.pricing import Price, Pricing, Sides
from picojoule.pruning.layers.capture import (
    Densities,
    Gathered,
    PrunableLayer,
    gather,
    measure_densities,
)
from picojoule.pruning.layers.constraints import Constraint, Filters, Pattern, Unstructured
from picojoule.pruning.runs.runs import Run, RunStep
from picojoule.pruning.training import answers


class State:
    """A network's tensors: a base and finished steps on top, read only when they are needed."""

    def __init__(self, base: Mapping[str, torch.Tensor], *steps: RunStep) -> None:
        self._base = base
        self._steps = steps
        self._whole: dict[str, torch.Tensor] | None = None

    def with_step(self, step: RunStep) -> State:
        """The state after a step that changed some tensors."""
        return State(self._base, *self._steps, step)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors of the network."""
        if self._whole is None:
            whole = dict(self._base)
            for step in self._steps:
                whole |= {k: v for k, v in step.tensors().items() if not k.startswith(MOMENTUM)}
            self._whole = whole
        return self._whole


MOMENTUM = "momentum/"


@dataclass(frozen=True, eq=False, kw_only=True)
class JudgedNetwork:
    """A network on the way, judged.

    Args:
        accuracy: on the validation data.
        densities: of activations, by call, dead channels apart.
        weights: share of the original's weights that are left, by layer.
        bits: of the weights, where they are not the network's.
        widths: channels that are alive, by group; empty if no layer may get narrower.
        priced: the network that the price is of, as plain data.
    """

    name: str
    state: State
    accuracy: float
    price: Price
    densities: Mapping[str, Densities]
    weights: Mapping[str, float]
    bits: Mapping[str, int]
    widths: Mapping[str, int] = field(default_factory=dict)
    priced: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False, kw_only=True)
class Subject:
    """The network and its surroundings; shared by both modes."""

    model: nn.Module
    layers: tuple[PrunableLayer, ...]
    data: Data
    pricing: Pricing
    accuracy: Accuracy
    run: Run
    options: PruningOptions
    finetune: Finetune | None = None
    progress: Callable[[Progress], None] | None = None
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None
    narrowing: Narrowing | None = None
    _dense: nn.Module | None = None
    _answers: torch.Tensor | None = None
    _shown: tuple[float, float] = (1.0, 0.0)
    _original: float = 1.0

    @property
    def constraint(self) -> str:
        """What each layer's weights satisfy; whole filters go as channels, where those can go."""
        return "unstructured" if self.narrowing is not None else self.options.constraint

    @cached_property
    def calibration(self) -> Samples:
        """The training samples that layers are fitted on."""
        return self.data.train.drawn(self.options.calibration, self.run.seed)

    @cached_property
    def profiled(self) -> Samples:
        """The training samples that densities are counted on: those of ``profile``."""
        return self.data.train.representative(self.options.profile, self.run.seed)

    def dense(self) -> nn.Module:
        """The network as it was given."""
        if self._dense is None:
            self._dense = copy.deepcopy(self.model).eval()
        return self._dense

    def network(self, state: State) -> nn.Module:
        """A network with a state's tensors."""
        network = copy.deepcopy(self.dense())
        network.load_state_dict(state.tensors(), strict=False)  # other names of a tensor follow
        return network.eval()

    def gathered(
        self,
        layer: PrunableLayer,
        network: nn.Module,
        teacher: nn.Module,
        seed: int,
        *,
        centre: bool = False,
    ) -> Gathered:
        """A layer's matrices on the calibration data."""
        return self.gathered_all((layer,), network, teacher, seed, centre=centre)[layer.name]

    def gathered_all(
        self,
        layers: tuple[PrunableLayer, ...],
        network: nn.Module,
        teacher: nn.Module,
        seed: int,
        *,
        centre: bool = False,
    ) -> dict[str, Gathered]:
        """Several layers' matrices, in one pass over the calibration data."""
        return gather(
            network,
            layers,
            self.calibration,
            teacher=teacher,
            generator=torch.Generator().manual_seed(seed),
            positions=self.options.positions,
            kept=self.options.samples,
            ridge=self.options.ridge,
            centre=centre,
        )

    def judged(
        self, name: str, state: State, bits: Mapping[str, int] | None = None
    ) -> JudgedNetwork:
        """A network's accuracy, densities and price, as one step."""
        widths = dict(bits or {})

        def judge() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            tensors, sides, alive = self._alive(state.tensors())
            network = self.network(State(tensors))
            densities = measure_densities(network, self.layers, self.profiled)
            weights = self.weight_densities(tensors)
            left, densities = self._of_what_is_left(weights, densities, sides)
            network_now = self.pricing.network(left, densities, widths, sides)
            return {
                "accuracy": self.accuracy(network),
                "densities": {call: [x.input, x.output] for call, x in densities.items()},
                "weights": weights,
                "bits": widths,
                "widths": alive,
                "price": self.pricing.price(network_now).to_dict(),
                PRICED: network_record(network_now),
            }, cloned(tensors)  # whole, so that the steps before it can be forgotten

        step = self.run.step(name, judge)
        candidate = candidate_of(name, step)
        if not self._shown[1]:
            self._original = candidate.price.energy
        self._shown = (candidate.price.energy / self._original, candidate.accuracy)
        self.tell(name)
        return candidate

    def _alive(
        self, tensors: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, Sides], dict[str, int]]:
        """The tensors without what nobody reads, and what is left: by side of layer, by group."""
        if self.narrowing is None:
            return dict(tensors), {}, {}
        cleaned, keep = self.narrowing.cleaned(tensors)
        return cleaned, self.narrowing.sides(keep), self.narrowing.widths.of(keep)

    def _of_what_is_left(
        self,
        weights: Mapping[str, float],
        densities: Mapping[str, Densities],
        sides: Mapping[str, Sides],
    ) -> tuple[dict[str, float], dict[str, Densities]]:
        """Densities without the dead channels, in which all is zero."""
        if not sides:
            return dict(weights), dict(densities)
        left, alive = {}, dict(densities)
        for layer in self.layers:
            near = sides.get(layer.name)
            room = self.pricing.weights_left(layer.calls[0], near)
            left[layer.name] = min(1.0, weights[layer.name] / room)
            if near is None:
                continue
            for call in layer.calls:
                ins, outs = self.pricing.channels(call)
                seen = densities[call]
                alive[call] = Densities(
                    min(1.0, seen.input * ins / near[0]), min(1.0, seen.output * outs / near[1])
                )
        return left, alive

    def weight_densities(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Share of non-zero weights, by layer."""
        return {
            layer.name: int(torch.count_nonzero(tensors[layer.parameter]))
            / tensors[layer.parameter].numel()
            for layer in self.layers
        }

    def tell(self, what: str, left: float | None = None) -> None:
        """Show what is going on."""
        if self.progress is not None:
            self.progress(Progress(what, *self._shown, left))

    def trained(self, name: str, state: State, *, choose: bool) -> State:
        """The state after fine-tuning, epoch by epoch.

        Args:
            choose: of the networks before and after each epoch, take the one with the best
                validation accuracy; without it, the last.
        """
        training = self.options.training
        best, best_accuracy = state, None
        if choose and training.epochs:
            start = self.run.step(
                f"{name}/before", lambda: ({"accuracy": self.accuracy(self.network(state))}, {})
            )
            best_accuracy = start.record["accuracy"]
        current, previous = state, None
        for epoch in range(training.epochs):
            label = f"{name}/epoch {epoch + 1}"
            started = time.monotonic()
            step = self.run.step(
                label,
                lambda current=current, previous=previous, epoch=epoch: self._train(  # type: ignore[misc]
                    current, previous, epoch, choose
                ),
            )
            current = State({}, step)
            if previous is not None and previous is not best_step(best):
                self.run.forget(previous)
            previous = step
            accuracy = step.record.get("accuracy")
            if not choose:
                best = current
            elif best_accuracy is None or accuracy > best_accuracy:
                best, best_accuracy = current, accuracy
            spent = time.monotonic() - started
            self.tell(label, spent * (training.epochs - epoch - 1))
        return best

    def _train(
        self, state: State, previous: RunStep | None, epoch: int, judge: bool
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        network = self.network(state)
        masks = {
            layer.parameter: (state.tensors()[layer.parameter] != 0).to(torch.float32)
            for layer in self.layers
        }
        record: dict[str, Any] = {}
        momenta: dict[str, torch.Tensor] = {}
        if self.finetune is not None:
            self.finetune(network, epoch)
            apply_masks(network, masks)
        else:
            before = {
                key.removeprefix(MOMENTUM): value
                for key, value in (previous.tensors() if previous else {}).items()
                if key.startswith(MOMENTUM)
            }
            record["loss"], momenta = train_epoch(
                network,
                self.data.train,
                self.options.training,
                masks,
                epoch=epoch,
                taught=self._taught(),
                momenta=before or None,
                augment=self.augment,
            )
        if judge:
            record["accuracy"] = self.accuracy(network)
        tensors = state_of(network)
        return record, tensors | {f"{MOMENTUM}{name}": value for name, value in momenta.items()}

    def _taught(self) -> torch.Tensor | nn.Module | None:
        """The first network's answers to the training data; itself, if inputs are augmented."""
        if not self.options.training.distilled:
            return None
        if self.augment is not None:
            return self.dense()
        if self._answers is None:
            self._answers = answers(self.dense(), self.data.train.inputs)
        return self._answers

    def renormalised(self, name: str, state: State) -> State:
        """The state with batch-norm statistics taken anew; as it is, if there are none."""

        def again() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            network = self.network(state)
            if not reestimate_batch_norm(network, self.calibration):
                return {"norms": False}, {}
            fresh, old = state_of(network), state.tensors()
            return {"norms": True}, {
                key: value for key, value in fresh.items() if not torch.equal(value, old[key])
            }

        return state.with_step(self.run.step(name, again))


def best_step(state: State) -> RunStep | None:
    """The last step a state rests on."""
    return state._steps[-1] if state._steps else None


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of a network's tensors; one that modules share is there once, by its first name."""
    tensors, seen = {}, set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach().clone()
    return tensors


def cloned(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of their own memory, as files need them: no strides, no other order of channels."""
    return {
        key: value.detach().clone(memory_format=torch.contiguous_format)
        for key, value in tensors.items()
    }


def candidate_of(name: str, step: RunStep) -> JudgedNetwork:
    """A candidate from the record of the step that judged it."""
    record = step.record
    price = record["price"]
    layers = price["layers"]
    return JudgedNetwork(
        name=name,
        state=State({}, step),
        accuracy=record["accuracy"],
        price=Price(
            energy=price["energy"],
            unit=price["unit"],
            layers={layer: table["energy"] for layer, table in layers.items()},
            operands={layer: t["by_operand"] for layer, t in layers.items() if t["by_operand"]},
            macs=price["macs"],
            effectual_macs=price["effectual_macs"],
        ),
        densities={call: Densities(*pair) for call, pair in record["densities"].items()},
        weights=record["weights"],
        bits=record["bits"],
        widths=record["widths"],
        priced=record[PRICED],
    )


def constraint_of(kind: str, layer: PrunableLayer, density: float) -> Constraint:
    """The constraint of a kind that leaves a layer about *density* of its weights."""
    groups, rows, columns = layer.matrix_shape
    if kind == "filters":
        return Filters(max(1, round(density * groups * rows)))
    if ":" in kind:
        m = int(kind.partition(":")[2])
        return Pattern(max(1, round(density * m)), m)
    return Unstructured(max(1, round(density * groups * rows * columns)))
