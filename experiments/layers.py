"""Output error and time of each rule, layer by layer, and one layer of ResNet-50's size.

python -m experiments.layers --data FOLDER --trained FOLDER --results FILE.csv
    [--networks lenet5,small-alexnet] [--seed 0] [--widest 900]
python -m experiments.layers --large --results FILE.csv

Calibration is on 1,000 training images, errors on 500 held-out ones: |Y - W X|^2 / |Y|^2, with the
inputs and outputs of the unpruned network. ``obc`` is left out where a layer has more columns than
--widest. Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from experiments.lines import add_line
from picojoule.pruning.datasets import fashion_mnist
from picojoule.pruning.graph.tracing import trace
from picojoule.pruning.layers.capture import Gathered, find_layers, gather
from picojoule.pruning.layers.constraints import Unstructured
from picojoule.pruning.layers.selectors import SELECTORS, error, select
from picojoule.pruning.networks import NETWORKS

COLUMNS = "network layer rows columns sparsity rule error held_out seconds wall peak_mb".split()  # noqa: SIM905


def relative(weights: torch.Tensor, of: Gathered) -> float:
    found = error(weights.to(of.gram.dtype), of.gram, of.cross)
    return max(0.0, (found + of.energy) / of.energy)


def networks(wanted: argparse.Namespace) -> None:
    data = fashion_mnist(wanted.data)
    for name in wanted.networks.split(","):
        model = NETWORKS[name][0](10)
        model.load_state_dict(load_file(wanted.trained / f"{name}-{wanted.seed}.safetensors"))
        layers = find_layers(trace(model, (data.train.inputs[:1],)))
        fitted = gather(model, layers, data.train.take(1000))
        held_out = gather(model, layers, data.validate.take(500), ridge=0.0)
        for layer in layers:
            groups, rows, columns = layer.matrix_shape
            weights = layer.to_matrices(model.get_parameter(layer.parameter).detach()).double()
            of = fitted[layer.name]
            for sparsity in (0.7, 0.9, 0.95):
                constraint = Unstructured(round((1 - sparsity) * weights.numel()))
                for rule in SELECTORS:
                    if rule == "obc" and columns > wanted.widest:
                        continue
                    started = time.process_time()
                    found = select(rule, weights, of.gram, of.cross, constraint, samples=of.samples)
                    row = {
                        "network": name,
                        "layer": layer.name,
                        "rows": groups * rows,
                        "columns": columns,
                        "sparsity": sparsity,
                        "rule": rule,
                        "error": f"{relative(found, of):.5f}",
                        "held_out": f"{relative(found, held_out[layer.name]):.5f}",
                        "seconds": f"{time.process_time() - started:.2f}",
                    }
                    add_line(wanted.results, dict.fromkeys(COLUMNS, "") | row)


def large(wanted: argparse.Namespace) -> None:
    """512 filters of 512 x 3 x 3: the widest convolution of ResNet-50."""
    torch.manual_seed(0)
    torch.set_num_threads(2)
    rows, columns, n = 512, 4608, 16384
    weights = torch.randn(1, rows, columns) / columns**0.5
    gram = torch.zeros(1, columns, columns)
    mixing = torch.randn(columns, 512) / 512**0.5
    for _ in range(n // 2048):
        x = (mixing @ torch.randn(512, 2048) + 0.5 * torch.randn(columns, 2048)).relu()
        gram += x @ x.T
    gram.diagonal(dim1=1, dim2=2).add_(1e-4 * float(gram.diagonal(dim1=1, dim2=2).mean()))
    cross = weights @ gram
    energy = float((cross * weights).sum())
    of = Gathered(
        gram=gram,
        cross=cross,
        energies=torch.tensor([[energy]]),
        samples=(torch.empty(0), torch.empty(0)),
    )
    for sparsity in (0.7, 0.9):
        constraint = Unstructured(round((1 - sparsity) * weights.numel()))
        for rule in ("alps", "sparsegpt"):
            started, wall = time.process_time(), time.monotonic()
            found = select(rule, weights, gram, cross, constraint)
            row = {
                "network": "(drawn)",
                "layer": "512x4608",
                "rows": rows,
                "columns": columns,
                "sparsity": sparsity,
                "rule": rule,
                "error": f"{relative(found, of):.5f}",
                "seconds": f"{time.process_time() - started:.1f}",
                "wall": f"{time.monotonic() - wall:.1f}",
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
            add_line(wanted.results, dict.fromkeys(COLUMNS, "") | row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--networks", default="lenet5,small-alexnet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--widest", type=int, default=600)
    parser.add_argument("--large", action="store_true")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    if wanted.large:
        large(wanted)
    elif wanted.data is None or wanted.trained is None:
        parser.error("--data and --trained are needed, or --large")
    else:
        networks(wanted)


if __name__ == "__main__":
    main()
