"""Prune the trained networks of experiments/train.py, one run, one line of results.

python -m experiments.prune --data FOLDER --trained FOLDER --runs FOLDER --results FILE.csv
    --network small-alexnet --mode best --energy 0.16 [--drop 0.01] [--seed 0] [--batch 1]
    [--epochs 2] [--guide energy] [--order energy] [--selector alps] [--classes 0,3,7]

Stopped and given again, a run goes on where it was. The line holds the energy of the pruned network
at the batch it was pruned for and, for comparison, at batches of 1 and 44.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from experiments.lines import add_line
from picojoule.pruning.datasets import Data, fashion_mnist
from picojoule.pruning.energy_aware.finetuning import FineTuning
from picojoule.pruning.energy_aware.options import Progress, PruningOptions
from picojoule.pruning.energy_aware.pricing import Pricing
from picojoule.pruning.energy_aware.pruning import Pruned, prune
from picojoule.pruning.graph.tracing import trace
from picojoule.pruning.layers.capture import find_layers, measure_densities
from picojoule.pruning.networks import NETWORKS

CHIP = "eyeriss-cvpr17"
CURVE = ("network", "mode", "guide", "order", "seed", "classes")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "trained", "runs", "results"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--network", required=True, choices=tuple(NETWORKS))
    parser.add_argument("--mode", default="best")
    parser.add_argument("--energy", type=float)
    parser.add_argument("--drop", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--guide", default="energy")
    parser.add_argument("--order", default="energy")
    parser.add_argument("--selector")
    parser.add_argument("--classes")
    return parser.parse_args()


def reductions(pruned: Pruned, model: nn.Module, data: Data) -> dict[int, float]:
    """Energy of *model* over that of the pruned network, by batch."""
    at = {}
    for batch in (1, 44):
        energies = []
        for network in (model, pruned.narrow or pruned.model):
            traced = trace(network, (data.train.inputs[:1],))
            layers = find_layers(traced)
            pricing = Pricing(traced, layers, CHIP, batch=batch)
            densities = measure_densities(network, layers, data.train.take(1000))
            state = network.state_dict()
            weights = {
                layer.name: int(torch.count_nonzero(state[layer.parameter]))
                / state[layer.parameter].numel()
                for layer in layers
            }
            energies.append(pricing.price(pricing.network(weights, densities)).energy)
        at[batch] = energies[0] / energies[1]
    return at


def main() -> None:
    wanted = arguments()
    torch.set_num_threads(1)
    data = fashion_mnist(wanted.data)
    make, _ = NETWORKS[wanted.network]
    model = make(10)
    model.load_state_dict(load_file(wanted.trained / f"{wanted.network}-{wanted.seed}.safetensors"))
    classes = None if wanted.classes is None else tuple(map(int, wanted.classes.split(",")))
    training = FineTuning(
        epochs=wanted.epochs,
        rate=wanted.rate,
        distilled=0.5 if wanted.mode == "best" else 0.0,
    )
    asked = {
        key: value
        for key, value in vars(wanted).items()
        if key not in ("data", "trained", "runs", "results") and value is not None
    }
    started = time.monotonic()

    def show(progress: Progress) -> None:
        if progress.what.count("/") == 0:
            sys.stderr.write(
                f"{time.monotonic() - started:7.0f} s  {progress.what}: energy "
                f"{progress.energy:.3f}, accuracy {progress.accuracy:.4f}\n"
            )

    name = "-".join(f"{key}={value}" for key, value in sorted(asked.items()))
    found = prune(
        model,
        data,
        accelerator=CHIP,
        mode=wanted.mode,
        energy=wanted.energy,
        max_accuracy_drop=wanted.drop,
        classes=classes,
        batch=wanted.batch,
        options=PruningOptions(
            training=training, guide=wanted.guide, order=wanted.order, selector=wanted.selector
        ),
        seed=wanted.seed,
        run=wanted.runs / name,
        progress=show,
    )
    at = reductions(found, model, data)
    layers = find_layers(trace(found.model, (data.train.inputs[:1],)))
    sizes = {x.name: found.model.get_parameter(x.parameter).numel() for x in layers}
    row = {
        "network": wanted.network,
        "mode": wanted.mode,
        "guide": wanted.guide,
        "order": wanted.order,
        "selector": wanted.selector or "",
        "seed": wanted.seed,
        "batch": wanted.batch,
        "classes": wanted.classes or "",
        "energy_before": round(found.before.energy),
        "energy_after": round(found.after.energy),
        "reduction": round(found.reduction, 4),
        "reduction_at_1": round(at[1], 4),
        "reduction_at_44": round(at[44], 4),
        "weights_kept": round(
            sum(found.weights[n] * size for n, size in sizes.items()) / sum(sizes.values()), 5
        ),
        "macs_kept": round(found.after.effectual_macs / found.before.effectual_macs, 5),
        **{key: round(value, 5) for key, value in found.accuracy.items()},
        "seconds": round(time.monotonic() - started),
        "command": " ".join(f"--{key} {value}" for key, value in asked.items()),
    }
    add_line(wanted.results, row)
    curve = wanted.results.with_name(f"{wanted.results.stem}-curve.csv")
    for point in found.curve:
        answer = {
            "point": point.name,
            "energy": round(point.energy / found.before.energy, 5),
            "validation": round(point.accuracy, 5),
            "kept": point.kept,
        }
        add_line(curve, {name: row[name] for name in CURVE} | answer | {"command": row["command"]})


if __name__ == "__main__":
    main()
