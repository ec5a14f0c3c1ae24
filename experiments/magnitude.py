"""The baselines: magnitude pruning of torch.nn.utils.prune, at uniform and at global thresholds.

python -m experiments.magnitude --data FOLDER --trained FOLDER --results FILE.csv
    --network lenet5 --how uniform|global [--drop 0.01] [--step 0.75] [--seed 0] [--batch 1]
    [--epochs 2] [--distilled 0.5]

Stage by stage down in energy, each *step* of the one before: the amount that is pruned is found by
bisection so that the network costs what is asked, then it is fine-tuned with the zeros held, the
unpruned network as the teacher. When a stage loses more than *drop* of the validation accuracy,
stages half as large (in the logarithm) are tried from the last that did not, three times. The last
network within the tolerance is the answer, and only it is tested. FILE.csv has a line for it,
FILE-curve.csv one for each stage.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import prune

from experiments.lines import add_line
from picojoule.pruning.datasets import Data, fashion_mnist
from picojoule.pruning.energy_aware.finetuning import FineTuning, top1, train_epoch
from picojoule.pruning.energy_aware.pricing import Pricing
from picojoule.pruning.graph.tracing import trace
from picojoule.pruning.layers.capture import find_layers, measure_densities
from picojoule.pruning.networks import NETWORKS
from picojoule.pruning.training import answers

MISSES = 4  # stages that lose too much, before it ends
BISECTIONS = 10


def pruned(model: nn.Module, names: list[str], how: str, amount: float) -> nn.Module:
    """A copy with a share *amount* of all weights set to zero."""
    made = copy.deepcopy(model)
    places = [(made.get_submodule(name), "weight") for name in names]
    if how == "global":
        prune.global_unstructured(places, prune.L1Unstructured, amount=amount)
    for module, parameter in places:
        if how == "uniform":
            prune.l1_unstructured(module, parameter, amount=amount)  # type: ignore[no-untyped-call]
        prune.remove(module, parameter)  # type: ignore[no-untyped-call]
    return made


@dataclass(frozen=True)
class Stage:
    """A network on the way down: its energy as a share of the first, and what it gets right."""

    model: nn.Module
    energy: float
    accuracy: float


class Baseline:
    """One network, its prices, and how it is pruned and trained."""

    def __init__(self, dense: nn.Module, data: Data, how: str, batch: int, training: FineTuning):
        self._dense, self._data, self._how, self._training = dense, data, how, training
        traced = trace(dense, (data.train.inputs[:1],))
        self._layers = find_layers(traced)
        self._pricing = Pricing(traced, self._layers, "eyeriss-cvpr17", batch=batch)
        self._accuracy = top1(data.validate)
        self._taught = answers(dense, data.train.inputs)
        self._whole = self._energy(dense)

    def _energy(self, model: nn.Module) -> float:
        found = measure_densities(model, self._layers, self._data.train.take(200))
        return self._pricing.price(self._pricing.network(self.weights(model), found)).energy

    def weights(self, model: nn.Module) -> Mapping[str, float]:
        """Density of each layer's weights."""
        return {
            layer.name: float((model.get_parameter(layer.parameter) != 0).float().mean())
            for layer in self._layers
        }

    def kept(self, model: nn.Module) -> float:
        """Share of all layers' weights that is left."""
        sizes = {x.name: model.get_parameter(x.parameter).numel() for x in self._layers}
        found = self.weights(model)
        return sum(found[name] * size for name, size in sizes.items()) / sum(sizes.values())

    def judged(self, model: nn.Module) -> Stage:
        return Stage(model, self._energy(model) / self._whole, self._accuracy(model))

    def cheaper(self, stage: Stage, goal: float) -> Stage:
        """Pruned to *goal* of the first network's energy and fine-tuned: the best epoch."""
        names = [layer.name for layer in self._layers]
        low, high = 0.0, 1.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if self._energy(pruned(stage.model, names, self._how, middle)) > goal * self._whole:
                low = middle
            else:
                high = middle
        model = pruned(stage.model, names, self._how, high)
        masks = {x.parameter: (model.get_parameter(x.parameter) != 0).float() for x in self._layers}
        best, momenta = self.judged(model), None
        for epoch in range(self._training.epochs):
            _, momenta = train_epoch(
                model,
                self._data.train,
                self._training,
                masks,
                epoch=epoch,
                taught=self._taught,
                momenta=momenta,
            )
            accuracy = self._accuracy(model)
            if accuracy > best.accuracy:
                best = Stage(copy.deepcopy(model), self._energy(model) / self._whole, accuracy)
        return best

    def stages(self, step: float, drop: float) -> Iterator[tuple[Stage, bool]]:
        """Every stage that was tried, the first network before all, and whether it is kept."""
        kept = first = self.judged(self._dense)
        yield first, True
        misses = 0
        while misses < MISSES:
            tried = self.cheaper(kept, kept.energy * step)
            passed = tried.accuracy >= first.accuracy - drop
            yield tried, passed
            if passed:
                kept = tried
            else:
                misses, step = misses + 1, step**0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "trained", "results"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--network", required=True, choices=tuple(NETWORKS))
    parser.add_argument("--how", choices=("uniform", "global"), required=True)
    parser.add_argument("--drop", type=float, default=0.01)
    parser.add_argument("--step", type=float, default=0.75)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--distilled", type=float, default=0.5, help="0: without the teacher")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(wanted.seed)
    started = time.monotonic()
    data = fashion_mnist(wanted.data)
    dense = NETWORKS[wanted.network][0](10)
    dense.load_state_dict(load_file(wanted.trained / f"{wanted.network}-{wanted.seed}.safetensors"))
    dense.eval()
    training = FineTuning(epochs=wanted.epochs, rate=wanted.rate, distilled=wanted.distilled)
    baseline = Baseline(dense, data, wanted.how, wanted.batch, training)
    names = ("network", "how", "distilled", "seed", "batch")
    what = {name: getattr(wanted, name) for name in names}
    curve = wanted.results.with_name(f"{wanted.results.stem}-curve.csv")
    tried: list[tuple[Stage, bool]] = []
    for stage, passed in baseline.stages(wanted.step, wanted.drop):
        tried.append((stage, passed))
        answer = {
            "energy": round(stage.energy, 5),
            "weights_kept": round(baseline.kept(stage.model), 5),
            "validation": round(stage.accuracy, 5),
        }
        add_line(curve, what | {"stage": len(tried) - 1} | answer | {"kept": passed})
    last = [stage for stage, passed in tried if passed][-1]
    test = top1(data.test) if data.test else None
    row = {
        "reduction": round(1 / last.energy, 4),
        "weights_kept": round(baseline.kept(last.model), 5),
        "validation_before": round(tried[0][0].accuracy, 5),
        "validation_after": round(last.accuracy, 5),
        "test_before": round(test(dense), 5) if test else "",
        "test_after": round(test(last.model), 5) if test else "",
        "seconds": round(time.monotonic() - started),
        "command": " ".join(
            f"--{name} {getattr(wanted, name)}" for name in (*names, "drop", "step", "epochs")
        ),
    }
    add_line(wanted.results, what | row)


if __name__ == "__main__":
    main()
