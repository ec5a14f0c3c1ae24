"""Every experiment on pruning, one after the other; what is done is not done again.

python -m experiments.all --data FOLDER --out FOLDER

Hours on one core. Stopped and given again, it goes on: networks that are trained are kept, runs are
folders that resume, and a command whose line stands in the results is skipped.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

from experiments.lines import add_line

SEEDS = (0, 1, 2)

# What to ask of experiments/prune.py, for each seed.
RUNS = (
    "--network small-alexnet --mode paper --drop 0.01",
    "--network small-alexnet --mode best --energy 0.155 --epochs 3",
    "--network lenet5 --mode paper --drop 0.01 --epochs 2",
    "--network lenet5 --mode best --drop 0.01 --epochs 2",
    "--network resnet20 --mode paper --drop 0.01",
    "--network resnet20 --mode best --energy 0.38 --epochs 2",
    # what guides the allocation, at one accuracy and at one energy
    "--network lenet5 --mode best --drop 0.01 --epochs 2 --guide macs",
    "--network lenet5 --mode best --drop 0.01 --epochs 2 --guide weights",
    "--network lenet5 --mode best --energy 0.08 --epochs 2",
    "--network lenet5 --mode best --energy 0.08 --epochs 2 --guide macs",
    "--network small-alexnet --mode best --drop 0.01 --epochs 3",
    "--network small-alexnet --mode best --drop 0.01 --epochs 3 --guide macs",
    "--network small-alexnet --mode best --drop 0.01 --epochs 3 --guide weights",
    "--network small-alexnet --mode best --energy 0.155 --epochs 3 --guide macs",
    "--network small-alexnet --mode best --energy 0.155 --epochs 3 --guide weights",
    # the order in which paper mode takes layers
    "--network lenet5 --mode paper --drop 0.01 --epochs 2 --order macs",
    "--network lenet5 --mode paper --drop 0.01 --epochs 2 --order weights",
    # fewer target classes
    "--network lenet5 --mode paper --drop 0.01 --epochs 2 --classes 0,2,4,6,8",
    "--network lenet5 --mode paper --drop 0.01 --epochs 2 --classes 1,3,5,7,9",
    "--network lenet5 --mode paper --drop 0.01 --epochs 2 --classes 0,9",
)
BASELINES = (
    "--network lenet5 --how uniform --epochs 2",
    "--network lenet5 --how global --epochs 2",
    "--network lenet5 --how global --epochs 2 --distilled 0",
    "--network small-alexnet --how uniform --epochs 2",
    "--network small-alexnet --how global --epochs 2",
)


def done(results: Path, asked: str) -> bool:
    """Whether a line of the results has all that was asked for."""
    if not results.exists():
        return False
    with results.open(newline="") as file:
        return any(row["note"] == asked for row in csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    trained = wanted.out / "trained"
    places = ["--data", str(wanted.data), "--trained", str(trained)]

    def run(script: str, *words: str) -> None:
        subprocess.run([sys.executable, "-m", f"experiments.{script}", *words], check=True)

    for seed in SEEDS:
        run("train", "--data", str(wanted.data), "--out", str(trained), "--seeds", str(seed))
    finished = wanted.out / "finished.csv"
    lines = [
        *(("prune", f"{asked} --seed {seed}") for asked in RUNS for seed in SEEDS),
        *(("magnitude", f"{asked} --seed {seed}") for asked in BASELINES for seed in SEEDS),
    ]
    for script, asked in lines:
        if done(finished, f"{script} {asked}"):
            continue
        results = wanted.out / f"{script}.csv"
        words = [*places, "--results", str(results), *asked.split()]
        if script == "prune":
            words += ["--runs", str(wanted.out / "runs")]
        run(script, *words)
        add_line(finished, {"note": f"{script} {asked}"})
    layers = wanted.out / "layers.csv"
    if not layers.exists():
        run("layers", *places, "--results", str(layers))
        run("layers", "--large", "--results", str(layers))


if __name__ == "__main__":
    main()
