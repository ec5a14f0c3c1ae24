"""The baselines: magnitude pruning of torch.nn.utils.prune, at uniform and at global thresholds.

python experiments/magnitude.py --data FOLDER --trained FOLDER --results FILE.csv
    --network lenet5 --how uniform|global --energy 0.1 [--seed 0] [--batch 1] [--epochs 1]

The same data, the same number of epochs and the same energies of stages as experiments/prune.py in
best mode: in each stage the amount that is pruned is found by bisection so that the network costs
the stage's energy, then it is fine-tuned with the zeros held, the unpruned network as the teacher.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import prune

from picojoule.pruning.capture import find_layers, measure_densities
from picojoule.pruning.datasets import fashion_mnist
from picojoule.pruning.finetuning import Training, top1, train_epoch
from picojoule.pruning.networks import NETWORKS
from picojoule.pruning.pricing import Pricing

STEP = 0.6  # as picojoule.pruning.subject.Options.step


def pruned(model: nn.Module, names: list[str], how: str, amount: float) -> nn.Module:
    """A copy with a share *amount* of all weights set to zero."""
    made = copy.deepcopy(model)
    places = [(made.get_submodule(name), "weight") for name in names]
    if how == "global":
        prune.global_unstructured(places, prune.L1Unstructured, amount=amount)
    for module, parameter in places:
        if how == "uniform":
            prune.l1_unstructured(module, parameter, amount=amount)
        prune.remove(module, parameter)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "trained", "results"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--network", required=True, choices=tuple(NETWORKS))
    parser.add_argument("--how", choices=("uniform", "global"), required=True)
    parser.add_argument("--energy", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.02)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(wanted.seed)
    started = time.monotonic()
    data = fashion_mnist(wanted.data)
    dense = NETWORKS[wanted.network][0](10)
    dense.load_state_dict(load_file(wanted.trained / f"{wanted.network}-{wanted.seed}.safetensors"))
    dense.eval()
    example = data.train.inputs[:1]
    layers = find_layers(dense, example)
    names = [layer.name for layer in layers]
    pricing = Pricing(dense, example, layers, "eyeriss-cvpr17", batch=wanted.batch)

    def energy(model: nn.Module) -> float:
        weights = {
            layer.name: float((model.get_parameter(layer.parameter) != 0).float().mean())
            for layer in layers
        }
        found = measure_densities(model, layers, data.train.take(200))
        return pricing.network(weights, found).energy

    training = Training(epochs=wanted.epochs, rate=wanted.rate, distilled=0.5)
    accuracy = top1(data.validate)
    original = energy(dense)
    whole = math.log(wanted.energy)
    stages = max(1, math.ceil(whole / math.log(STEP) - 0.01))
    model = dense
    for stage in range(1, stages + 1):
        goal = original * math.exp(whole * stage / stages)
        low, high = 0.0, 0.999
        for _ in range(9):
            middle = (low + high) / 2
            low, high = (
                (middle, high)
                if energy(pruned(model, names, wanted.how, middle)) > goal
                else (low, middle)
            )
        model = pruned(model, names, wanted.how, high)
        masks = {x.parameter: (model.get_parameter(x.parameter) != 0).float() for x in layers}
        best, reached, momenta = copy.deepcopy(model), accuracy(model), None
        for epoch in range(training.epochs):
            _, momenta = train_epoch(
                model, data.train, training, masks, epoch=epoch, teacher=dense, momenta=momenta
            )
            if accuracy(model) > reached:
                best, reached = copy.deepcopy(model), accuracy(model)
        model = best
    row = {
        "network": wanted.network,
        "how": wanted.how,
        "seed": wanted.seed,
        "batch": wanted.batch,
        "reduction": round(original / energy(model), 4),
        "validation_before": round(accuracy(dense), 5),
        "validation_after": round(accuracy(model), 5),
        "test_before": round(top1(data.test)(dense), 5) if data.test else "",
        "test_after": round(top1(data.test)(model), 5) if data.test else "",
        "seconds": round(time.monotonic() - started),
        "command": f"--network {wanted.network} --how {wanted.how} --energy {wanted.energy} "
        f"--seed {wanted.seed} --batch {wanted.batch} --epochs {wanted.epochs}",
    }
    new = not wanted.results.exists()
    with wanted.results.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
