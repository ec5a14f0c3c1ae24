"""Energy-aware pruning: a network made cheap on a described machine, at little or no accuracy.

``mode="paper"`` is CVPR'17 as published; ``mode="best"`` chooses supports by optimisation and
shares the energy among layers by an integer programme.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import fx, nn

from picojoule.accelerator import Accelerator
from picojoule.completeness import NOTHING, as_recorded, operator_records
from picojoule.errors import PicojouleError, did_you_mean
from picojoule.frontends.run_results import PRICED
from picojoule.frontends.torch_declared import (
    WEIGHT_BITS,
    with_declared_widths,
    without_declared_widths,
)
from picojoule.network_records import network_of, network_record
from picojoule.pruning.checks import check_complete, check_task, check_trained
from picojoule.pruning.datasets import Data, check_data
from picojoule.pruning.energy_aware.best_stages import prune_by_stages
from picojoule.pruning.energy_aware.finetuning import Accuracy, top1
from picojoule.pruning.energy_aware.narrowing import Narrowing
from picojoule.pruning.energy_aware.obstacles import obstacles
from picojoule.pruning.energy_aware.options import Finetune, Progress, PruningOptions
from picojoule.pruning.energy_aware.paper_rounds import prune_by_rounds
from picojoule.pruning.energy_aware.pricing import Cost, Price, Pricing
from picojoule.pruning.energy_aware.subject import JudgedNetwork, State, Subject, cloned, state_of
from picojoule.pruning.graph.records import GraphError
from picojoule.pruning.graph.surgery import network_files
from picojoule.pruning.graph.tracing import TracedNetwork, trace
from picojoule.pruning.layers.capture import PrunableLayer, find_layers, last_layer
from picojoule.pruning.layers.real_weights import PlainNetwork, copied, with_real_weights
from picojoule.pruning.layers.selectors import SELECTORS
from picojoule.pruning.runs.runs import digest, open_run
from picojoule.units import listed
from picojoule.workload import Workload

MODES = ("best", "paper")
ALL_CHANNELS = "all channels"
"""Of ``refused``, where no channel can go."""
WIDTHS = (8, 6, 4)
"""What ``joint_bits`` may choose for the weights of a layer."""


@dataclass(frozen=True, slots=True)
class Point:
    """A network of the trade-off: accuracy is on validation data."""

    name: str
    energy: float
    accuracy: float
    kept: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Pruned:
    """The outcome of :func:`prune`.

    Args:
        model: the pruned network; the one that was given is untouched.
        met: whether energy and accuracy are what was asked for.
        budget: the energy that was asked for, if one was.
        before, after: prices of the original and of the pruned network.
        accuracy: validation and test accuracy, before and after.
        weights, bits: density and width of the weights, by layer.
        widths: channels before and after, by group of channels that change together.
        narrow: the network without its dead channels, as a graph; what *after* prices. None where
            no layer may get narrower.
        refused: group of channels (or all of them) -> why its width stays.
        curve: all networks on the way; ``chosen`` is the name of this one.
        obstacles: if the energy was not reached, what kept it up.
        left_dense: layers of the workload that pruning does not reach.
        unmodelled: operators that multiply, or may, and are not in the prices.
        priced: the network that *after* is the price of, as ``estimate`` takes it.
    """

    model: nn.Module
    met: bool
    budget: float | None
    before: Price
    after: Price
    accuracy: Mapping[str, float]
    weights: Mapping[str, float]
    bits: Mapping[str, int]
    curve: tuple[Point, ...]
    left_dense: tuple[str, ...]
    folder: Path | None
    widths: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    narrow: nn.Module | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    chosen: str = ""
    obstacles: tuple[str, ...] = ()
    unmodelled: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    priced: Workload | None = None

    @property
    def reduction(self) -> float:
        """How many times less energy."""
        return self.before.energy / self.after.energy

    def rows(self) -> list[dict[str, Any]]:
        """One record per layer: energies before and after, by operand, and densities."""
        records = []
        for name, energy in self.after.layers.items():
            row: dict[str, Any] = {
                "layer": name,
                "weight_density": self.weights.get(name),
                "bits": self.bits.get(name),
                "energy_before": self.before.layers[name],
                "energy_after": energy,
            }
            for moment, price in (("before", self.before), ("after", self.after)):
                for operand, value in price.operands.get(name, {}).items():
                    row[f"{operand}_{moment}"] = value
            records.append(row)
        return records

    def to_dict(self) -> dict[str, Any]:
        """Plain data: ``result/result.json``."""
        return {
            "schema_version": 1,
            "complete": not self.unmodelled,
            "unmodelled": operator_records(self.unmodelled),
            "met": self.met,
            "budget": self.budget,
            "energy_unit": self.after.unit,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "reduction": self.reduction,
            "accuracy": dict(self.accuracy),
            "weights": dict(self.weights),
            "bits": dict(self.bits),
            "widths": {name: list(pair) for name, pair in self.widths.items()},
            "refused": dict(self.refused),
            "curve": [asdict(point) for point in self.curve],
            "chosen": self.chosen,
            "obstacles": list(self.obstacles),
            "left_dense": list(self.left_dense),
            **({} if self.priced is None else {PRICED: network_record(self.priced)}),
        }


# 108 lines: 58 of them are the arguments and what they mean, the rest puts the parts together.
def prune(
    model: nn.Module,
    data: Data,
    *,
    accelerator: str | os.PathLike[str] | Accelerator | None = None,
    cost: Cost | None = None,
    mode: str = "best",
    energy: float | str | None = None,
    max_accuracy_drop: float | None = None,
    classes: Sequence[int] | None = None,
    joint_bits: bool = False,
    batch: int = 1,
    dataflow: str | None = None,
    options: PruningOptions | None = None,
    seed: int = 0,
    run: str | os.PathLike[str] | None = None,
    finetune: Finetune | None = None,
    accuracy: Accuracy | None = None,
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
    progress: Callable[[Progress], None] | None = None,
    allow_incomplete: bool = False,
) -> Pruned:
    """Prune a network until it costs what it may cost, or loses more accuracy than it may.

    Args:
        model: any torch module; its convolutions and linear layers are pruned, but those whose
            weights are frozen. Weights that are computed before each use (masks, weight
            normalisation, standardisation) are pruned as what is computed, in a plain layer.
        data: see :class:`Data`; test data is looked at once, at the end.
        accelerator: what one inference is priced on; or *cost*, a function ``Layer -> cost``.
        mode: "best", or "paper" (CVPR'17 as published).
        energy: what the pruned network may cost: a share of the original (0.3, "30%"), or an amount
            with its unit ("40 µJ", "12e6 MAC").
        max_accuracy_drop: how much lower the validation accuracy may be, 0.01 for one point. The
            default, where no energy is given, is 0.01.
        classes: keep only these outputs of the network, in this order, and prune for them.
        joint_bits: let the allocation choose the width of each layer's weights too (best mode).
        batch: inferences at once, for the price.
        dataflow: of the accelerator; by default its own.
        options: what the papers leave open.
        seed: of every draw.
        run: the run's folder. A run that was stopped goes on from where it was; without a folder
            the run is kept nowhere.
        finetune: the user's own training, called with (network, epoch); zeros are put back after.
        accuracy: the user's own judgement of a network, higher is better; by default the share of
            validation samples put into the right class.
        augment: changes a training batch; draws from torch's global generator.
        progress: called after each step.
        allow_incomplete: go on where operators that multiply, or may, are not in the price.

    Returns:
        the cheapest network that satisfies *max_accuracy_drop*; ``met`` tells whether *energy* is
        satisfied as well.

    Raises:
        PicojouleError: the question cannot be answered as it was asked.
        RunError: the run stopped (a full disk, a loss that is not finite); its folder is intact.
    """
    options = options or PruningOptions()
    _check(mode, energy, max_accuracy_drop, joint_bits, options)
    if energy is None and max_accuracy_drop is None:
        max_accuracy_drop = 0.01
    check_data(data)
    model = copied(model)
    own_training = finetune is not None or not options.training.epochs
    check_task(model, data, judged=accuracy is None or not own_training)
    check_trained(model)
    plain = with_real_weights(model, (data.train.inputs[:2],))
    model = without_declared_widths(plain.model)  # what is trained anew is on no grid
    if classes is not None:
        model, data = _with_classes(model, data, tuple(classes))
    traced = trace(model, (data.train.inputs[:1],))
    check_complete(traced.workload, allow_incomplete=allow_incomplete)
    frozen = frozenset(name for name, x in model.named_parameters() if not x.requires_grad)
    layers = _trained_layers(model, traced, frozen)
    pricing = Pricing(traced, layers, accelerator, batch=batch, dataflow=dataflow, cost=cost)
    if energy is not None:
        pricing.budget(energy, 1.0)  # a mistake in it is found before the run begins
    recipe = {
        "mode": mode,
        "energy": energy,
        "max_accuracy_drop": max_accuracy_drop,
        "classes": None if classes is None else list(classes),
        "joint_bits": joint_bits,
        "batch": batch,
        "dataflow": dataflow,
        "accelerator": "cost function" if pricing.machine is None else pricing.machine.name,
        "options": asdict(options),
        "samples": "drawn by the seed",
        **as_recorded(traced.workload.unmodelled),
    }
    parts = {"model": digest(model), "data": digest(data.train.inputs, data.train.labels)}
    parts |= {"validation": digest(data.validate.inputs, data.validate.labels)}
    narrowing, all_widths = _narrowing(traced, data, layers, mode, options)
    with open_run(run, "prune", recipe, seed=seed, inputs=parts) as opened:
        subject = Subject(
            model=model,
            layers=layers,
            data=data,
            pricing=pricing,
            accuracy=accuracy or top1(data.validate),
            run=opened,
            options=options,
            finetune=finetune,
            progress=progress,
            augment=augment,
            narrowing=narrowing,
        )
        start = subject.judged("original", State(state_of(model)))
        budget = None if energy is None else pricing.budget(energy, start.price.energy)
        least = None if max_accuracy_drop is None else start.accuracy - max_accuracy_drop
        if mode == "paper":
            tried = prune_by_rounds(subject, start, budget, least)
        else:
            tried = prune_by_stages(subject, start, budget, least, WIDTHS if joint_bits else ())
        return _finished(
            subject, tried, budget, least, None if run is None else Path(run), all_widths, plain
        )


def _check(
    mode: str,
    energy: float | str | None,
    drop: float | None,
    joint_bits: bool,
    options: PruningOptions,
) -> None:
    if mode not in MODES:
        raise PicojouleError(f"no mode {mode!r}{did_you_mean(mode, MODES)}; there are best, paper")
    if isinstance(energy, (int, float)) and not 0 < energy < 1:
        raise PicojouleError(f"energy {energy}: a share of the original is above 0 and below 1")
    if drop is not None and not 0 <= drop < 1:
        raise PicojouleError(f"max_accuracy_drop {drop}: a share from 0 to 1; 0.01 is one point")
    if joint_bits and mode == "paper":
        raise PicojouleError("joint_bits has no effect in paper mode; take mode='best'")
    kind = options.constraint
    n, colon, m = kind.partition(":")
    pattern = bool(colon) and n.isdigit() and m.isdigit() and 0 < int(n) < int(m) <= 64
    if kind not in ("unstructured", "filters") and not pattern:
        raise PicojouleError(
            f"no constraint {kind!r}; there are unstructured, filters, and patterns such as 2:4"
        )
    if kind != "unstructured" and mode == "paper":
        raise PicojouleError(f"constraint {kind!r} has no effect in paper mode; take mode='best'")
    if options.selector is not None and options.selector not in SELECTORS:
        rules = tuple(SELECTORS)
        raise PicojouleError(
            f"no selector {options.selector!r}{did_you_mean(options.selector, rules)}; "
            f"there are {', '.join(rules)}"
        )


def _trained_layers(
    model: nn.Module, traced: TracedNetwork, frozen: Collection[str]
) -> tuple[PrunableLayer, ...]:
    """The layers whose weights may be chosen anew; a frozen bias stays as well."""
    name, layers = type(model).__name__, find_layers(traced)
    if not layers:
        raise PicojouleError(f"{name} runs no convolution or linear layer with weights of its own")
    trained = [layer for layer in layers if layer.parameter not in frozen]
    if not trained:
        raise PicojouleError(
            f"the weights of {listed([layer.name for layer in layers])} are frozen "
            "(requires_grad=False), and no others can be pruned"
        )
    return tuple(replace(layer, bias=None) if layer.bias in frozen else layer for layer in trained)


def _narrowing(
    traced: TracedNetwork,
    data: Data,
    layers: Sequence[PrunableLayer],
    mode: str,
    options: PruningOptions,
) -> tuple[Narrowing | None, str | None]:
    """How channels go; or that none goes, and why."""
    if mode == "paper":
        return None, "paper mode takes weights alone, as published"
    if not options.narrow:
        return None, "all widths were to be kept"
    if ":" in options.constraint:
        return None, f"the constraint is {options.constraint}"
    try:
        return Narrowing(traced, data.train.inputs[:4], layers), None
    except GraphError as error:
        return None, str(error)


def _with_classes(model: nn.Module, data: Data, classes: tuple[int, ...]) -> tuple[nn.Module, Data]:
    """The network with some of its outputs only, and the data for them (CVPR'17 §6)."""
    example = data.train.inputs[:1]
    model.eval()
    with torch.no_grad():
        outputs = model(example).shape[-1]
    if (
        len(set(classes)) != len(classes)
        or not classes
        or not all(0 <= number < outputs for number in classes)
    ):
        raise PicojouleError(
            f"classes {list(classes)}: distinct numbers from 0 to {outputs - 1} are needed"
        )
    parameter, owner = last_layer(model, example)
    if not isinstance(owner, (nn.Linear, nn.Conv2d)) or owner.weight.shape[0] != outputs:
        raise PicojouleError(
            f"classes: the last layer, with {parameter!r}, does not give the {outputs} outputs "
            "itself"
        )
    with torch.no_grad():
        picked = torch.tensor(classes)
        owner.weight = nn.Parameter(owner.weight[picked].clone())
        if owner.bias is not None:
            owner.bias = nn.Parameter(owner.bias[picked].clone())
    if isinstance(owner, nn.Linear):
        owner.out_features = len(classes)
    else:
        owner.out_channels = len(classes)
    return model, data.of_classes(classes)


def _finished(
    subject: Subject,
    tried: Sequence[JudgedNetwork],
    budget: float | None,
    least: float | None,
    folder: Path | None,
    all_widths: str | None,
    plain: PlainNetwork,
) -> Pruned:
    passed = [x for x in tried if least is None or x.accuracy >= least] or [tried[0]]
    chosen = min(passed, key=lambda candidate: candidate.price.energy)
    if budget is not None:
        within = [x for x in passed if x.price.energy <= budget]
        # Of the networks within the budget, the most accurate.
        chosen = max(within, key=lambda x: x.accuracy) if within else chosen
    network = with_declared_widths(plain.as_given(subject.network(chosen.state)), chosen.bits)
    start = tried[0]
    accuracy = {"validation_before": start.accuracy, "validation_after": chosen.accuracy}
    test = subject.data.test
    if test is not None:

        def judge() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            accuracy_of = top1(test)
            return {"before": accuracy_of(subject.dense()), "after": accuracy_of(network)}, {}

        step = subject.run.step("test", judge)
        accuracy |= {f"test_{moment}": step.record[moment] for moment in ("before", "after")}
    narrowing, narrow = subject.narrowing, None
    if narrowing is not None:
        narrow = narrowing.checked(chosen.state.tensors(), subject.data.validate.inputs[:16])
        narrow = with_declared_widths(narrow, chosen.bits)
    met = budget is None or chosen.price.energy <= budget
    outcome = Pruned(
        model=network,
        met=met,
        budget=budget,
        before=start.price,
        after=chosen.price,
        accuracy=accuracy,
        weights=chosen.weights,
        bits=chosen.bits,
        curve=tuple(Point(x.name, x.price.energy, x.accuracy, x in passed) for x in tried),
        left_dense=subject.pricing.unpruned,
        folder=folder,
        widths={name: (start.widths[name], width) for name, width in chosen.widths.items()},
        narrow=narrow,
        refused={ALL_CHANNELS: all_widths or ""} if narrowing is None else narrowing.refused,
        chosen=chosen.name,
        obstacles=() if met else obstacles(subject, start, all_widths),
        unmodelled=subject.pricing.workload.unmodelled,
        priced=network_of(chosen.priced, PRICED),
    )
    files: dict[str, bytes | str] = {
        "weights.safetensors": save_tensors(cloned(network.state_dict())),
        "result.json": json.dumps(outcome.to_dict(), indent=1) + "\n",
    }
    if isinstance(narrow, fx.GraphModule):
        shapes = [tuple(subject.data.train.inputs[:1].shape)]
        notes = {WEIGHT_BITS: dict(chosen.bits)} if chosen.bits else {}
        for name, content in network_files(narrow, shapes, notes=notes).items():
            files[f"narrow/{name}"] = content
    subject.run.finish(files)
    return outcome
