"""NetAdapt in both modes beside uniform scaling and torch-pruning, on Fashion-MNIST.

python -m experiments.netadapt --data FOLDER --work FOLDER --results FILE.csv [--trained FOLDER]
    [--protocol small|trained|full] [--networks mobilenet,resnet20] [--metrics latency,energy]
    [--budgets 75,50,25] [--seeds 0,1,2]
    [--methods best,paper,uniform,tp-taylor,tp-l2,by-macs,fewer-macs]
    [--clock wall|cpu] [--table]

One line per network, seed, metric, budget and method; lines that are there are not done again, and
a run that was stopped goes on where it was. Every method starts from the same trained network
(experiments/train.py's, except in the protocol `small`) and has the same number of fine-tuning
steps at the end; best and paper mode also tune their candidates.
The torch-pruning rows are cut to the MACs of best mode's network, then priced by the metric;
torch-pruning 1.6 is needed for them (`pip install torch-pruning`). `by-macs` is best mode driven by
MACs to the same share of them, then priced by the metric; `fewer-macs` is best mode driven to 2 %
fewer MACs than best mode's own network has. Latency is that of a batch of 16
images, one thread, by onnxruntime; energy is Eyeriss' for one image.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.lines import add_line
from experiments.tables import Row, grouped, mean, rows
from picojoule.errors import BudgetError
from picojoule.pruning.datasets import Data, fashion_mnist
from picojoule.pruning.graph.importance import by_norm
from picojoule.pruning.graph.limits import WidthLimits
from picojoule.pruning.graph.masks import filled, mask_of
from picojoule.pruning.graph.surgery import load_bytes, shrink, to_bytes
from picojoule.pruning.graph.tracing import trace
from picojoule.pruning.graph.widths import Widths
from picojoule.pruning.netadapt.adaptation import adapt
from picojoule.pruning.netadapt.plans import uniform_widths
from picojoule.pruning.netadapt.recipe import Adapted, Recipe
from picojoule.pruning.networks import NETWORKS
from picojoule.pruning.platforms.platforms import Platform, accelerator, measured
from picojoule.pruning.platforms.stopwatches import OnnxRuntime
from picojoule.pruning.training import Training, score, train

COLUMNS = (
    "protocol", "network", "seed", "metric", "budget", "method", "resource_share",
    "predicted_share", "resource", "unit", "macs_share", "weights_share", "test_before",
    "validation", "test", "rounds", "seconds", "note",
)  # fmt: skip

FLOOR = 0.05  # share of its width that no group goes below
FEWER = 0.98  # of the MACs of best mode's network, for ``fewer-macs``
METHODS = "best,paper,uniform,tp-taylor,tp-l2,by-macs,fewer-macs"


@dataclass(frozen=True)
class Protocol:
    """How much of everything: ``full`` is what a claim rests on, the others fit a busy laptop.

    Args:
        base: steps that train the networks to begin with; None: experiments/train.py's.
    """

    train: int
    held_out: int
    test: int
    base: int | None
    short: int
    long: int
    paper_reduction: float
    calibrate: int


PROTOCOLS = {
    "small": Protocol(12_000, 3_000, 10_000, 600, 20, 400, 0.1, 512),
    "trained": Protocol(55_000, 3_000, 10_000, None, 20, 400, 0.1, 512),
    "full": Protocol(55_000, 5_000, 10_000, None, 200, 4_300, 0.025, 2_048),
}


class Bench:
    """One network of one seed on one metric, and all methods on it."""

    def __init__(self, options: argparse.Namespace, network: str, seed: int, metric: str) -> None:
        self.protocol = PROTOCOLS[options.protocol]
        self.options, self.name, self.seed, self.metric = options, network, seed, metric
        self.data = _data(options.data, self.protocol)
        self.base = self._trained()
        self.example = (self.data.train.inputs[: 16 if metric == "latency" else 1],)
        self.traced = trace(self.base, self.example)
        self.first = self.traced.graph
        self.platform = self._platform()
        self.whole = self._price(self.first)
        self.test_before = score(self.first, self.data.test).accuracy  # type: ignore[arg-type]

    def _trained(self) -> nn.Module:
        torch.manual_seed(self.seed)
        model = NETWORKS[self.name][0](10)
        steps = self.protocol.base
        if steps is None:
            path = self.options.trained / f"{self.name}-{self.seed}.safetensors"
        else:
            path = (
                self.options.work / f"{self.options.protocol}-{self.name}-{self.seed}.safetensors"
            )
        if steps is None or path.exists():
            load_bytes(model, path.read_bytes())
        else:
            train(model, self.data.train, Training(steps=steps, rate=0.1), seed=self.seed)
            path.write_bytes(to_bytes(model))
        return model.eval()

    def _platform(self) -> Platform:
        table = self.options.work / f"{self.metric}-{self.options.clock}.json"
        if self.metric == "latency":
            return measured(OnnxRuntime(clock=self.options.clock), path=table)
        return accelerator("eyeriss", "energy", budget=self.options.search, path=table)

    def _price(self, network: Any) -> tuple[float, float]:
        """What the metric charges, and the MACs of one image."""
        layers = trace(network, self.example).workload.layers
        macs = sum(layer.macs for layer in layers) / len(self.example[0])
        entry = self.platform.measure(network, self.example)
        if entry is not None:
            return entry.value, macs
        return math.fsum(map(self.platform.cost, layers)), macs

    def row(self, method: str, budget: int) -> dict[str, Any]:
        """Do it, and say what came out."""
        begun = time.monotonic()
        found: Adapted | None = None
        note = ""
        try:
            if method in ("best", "paper"):
                found = self._adapted(method, f"{budget}%")
                small = found.network
            elif method == "by-macs":  # driven by MACs to the budget's share of them
                small = self._adapted(method, f"{budget}%").network
            elif method == "fewer-macs":  # by MACs, to fewer than best mode's network has
                macs = self._price(self._adapted("best", f"{budget}%").network)[1]
                small = self._adapted(method, FEWER * macs * len(self.example[0])).network
            elif method == "uniform":
                small = self._tuned(self._uniform(budget / 100))
            else:
                target = self._adapted("best", f"{budget}%")
                small = self._tuned(self._torch_pruned(method, self._price(target.network)[1]))
        except BudgetError as error:
            return {"note": str(error), "seconds": round(time.monotonic() - begun)}
        resource, macs = self._price(small)
        whole = self.whole[0]
        if found is not None:  # both measured by the run itself
            resource, whole = found.resource, found.rounds[0].paid
        count = [sum(p.numel() for p in n.parameters()) for n in (small, self.first)]
        return {
            "resource_share": round(resource / whole, 4),
            "predicted_share": round(found.predicted / whole, 4) if found else "",
            "resource": f"{resource:.6g}",
            "unit": self.platform.unit,
            "macs_share": round(macs / self.whole[1], 4),
            "weights_share": round(count[0] / count[1], 4),
            "test_before": round(self.test_before, 4),
            "validation": round(score(small, self.data.validate).accuracy, 4),
            "test": round(score(small, self.data.test).accuracy, 4),  # type: ignore[arg-type]
            "rounds": len(found.rounds) - 2 if found else 1,
            "seconds": round(time.monotonic() - begun),
            "note": note,
        }

    def _key(self, method: str, budget: str | float) -> str:
        share = budget.rstrip("%") if isinstance(budget, str) else f"{budget:.0f}"
        return "-".join(
            str(part)
            for part in (self.options.protocol, self.name, self.seed, self.metric, share, method)
        )

    def _adapted(self, method: str, budget: str | float) -> Adapted:
        p = self.protocol
        recipe = Recipe(
            mode="paper" if method == "paper" else "best",
            initial_reduction=p.paper_reduction if method == "paper" else None,
            floor=FLOOR,
            short=p.short,
            long=p.long,
            calibrate=p.calibrate,
        )
        return adapt(
            self.base,
            self.data,
            platform="macs" if method in ("by-macs", "fewer-macs") else self.platform,
            budget=budget,
            recipe=recipe,
            run=self.options.work / "runs" / self._key(method, budget),
            inputs=self.example,
            seed=self.seed,
        )

    def _uniform(self, share: float) -> Any:
        """All groups by the same share, filters by norm: the widest the metric finds within it."""
        channels, widths = self.traced.channels, Widths(self.traced)
        limits = WidthLimits(None, FLOOR, dict(widths.full))
        norms = by_norm(self.first, channels)
        whole = math.fsum(map(self.platform.cost, widths.at({})))
        allowed = share * self.whole[0]
        kept, least = None, math.inf
        met, missed, target = 0.0, whole, share * whole  # of the table, which errs a little
        for _ in range(8):
            chosen = uniform_widths(widths, limits, self.platform.cost, target)
            keep = filled(channels, norms, mask_of(channels, norms, chosen))
            small = shrink(self.first, channels, keep)
            price = self._price(small)[0]
            least = min(least, price)
            if price > allowed:
                missed = target
            else:
                kept, met = small, target
                if price > 0.98 * allowed:
                    break
            target = (met + missed) / 2
        if kept is None:
            raise BudgetError(f"at the least {least:.6g} {self.platform.unit}", least)
        return kept

    def _torch_pruned(self, method: str, macs: float) -> nn.Module:
        """torch-pruning 1.6, group norm or first-order Taylor, step by step down to the MACs."""
        import copy

        import torch_pruning as pruning

        model = copy.deepcopy(self.base)
        taylor = method == "tp-taylor"
        kind = pruning.importance.GroupTaylorImportance if taylor else None
        importance = kind() if kind else pruning.importance.GroupMagnitudeImportance(p=2)
        image = self.example[0][:1]
        last = [part for part in model.modules() if isinstance(part, nn.Linear)][-1]
        steps = 60
        pruner = pruning.pruner.BasePruner(
            model,
            image,
            importance,
            global_pruning=True,
            pruning_ratio=0.95,
            max_pruning_ratio=0.9,
            iterative_steps=steps,
            ignored_layers=[last],
            round_to=8,  # other widths leave onnxruntime's fast kernels: slower than unpruned
        )
        for _ in range(steps):
            if pruning.utils.count_ops_and_params(model, image)[0] <= macs:
                break
            if taylor:
                model.zero_grad()
                for inputs, labels in self.data.train.take(self.protocol.calibrate).batches(128):
                    functional.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
            pruner.step()
        model.zero_grad()
        return trace(model.eval(), self.example).graph

    def _tuned(self, network: Any) -> Any:
        training = Training(steps=self.protocol.long, rate=0.05)
        train(network, self.data.train, training, seed=self.seed)
        return network.eval()


def _data(folder: Path, protocol: Protocol) -> Data:
    whole = fashion_mnist(folder, held_out=5_000)
    assert whole.test is not None
    return Data(
        whole.train.take(protocol.train),
        whole.validate.take(protocol.held_out),
        whole.test.take(protocol.test),
    )


def _missing(options: argparse.Namespace) -> Iterator[tuple[str, int, str, int, str]]:
    done = {tuple(row[k] for k in COLUMNS[:6]) for row in rows(options.results)}
    for seed in options.seeds:
        for network in options.networks:
            for metric in options.metrics:
                for budget in options.budgets:
                    for method in options.methods:
                        key = (options.protocol, network, seed, metric, budget, method)
                        if tuple(map(str, key)) not in done:
                            yield network, seed, metric, budget, method


def table(results: Path) -> str:
    """The results as Markdown: test accuracy, mean and spread over seeds, and what was paid."""
    lines = [
        "| protocol | network | metric | budget % | method | seeds | paid % | MACs % "
        "| test before % | test % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]

    def percent(lines: list[Row], name: str, digits: int) -> str:
        values = [100 * float(line[name]) for line in lines if line[name]]
        return mean(values, digits) if values else "not reachable"

    digits = {"resource_share": 1, "macs_share": 1, "test_before": 2, "test": 2}
    for key, same in grouped(rows(results), *COLUMNS[:2], *COLUMNS[3:6]).items():
        cells = [*key, str(len(same)), *(percent(same, *column) for column in digits.items())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--trained", type=Path, help="where experiments/train.py left its networks")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), default="full")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--search", type=float, help="seconds to search each distinct layer")

    def words(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[int]:
        return [int(word) for word in text.split(",")]

    parser.add_argument("--networks", type=words, default=words("mobilenet,resnet20"))
    parser.add_argument("--metrics", type=words, default=words("latency,energy"))
    parser.add_argument("--budgets", type=numbers, default=numbers("75,50,25"))
    parser.add_argument("--methods", type=words, default=words(METHODS))
    parser.add_argument("--seeds", type=numbers, default=numbers("0,1,2"))
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    if options.table:
        sys.stdout.write(table(options.results))
        return
    if options.trained is None and PROTOCOLS[options.protocol].base is None:
        parser.error(f"protocol {options.protocol}: --trained FOLDER, of experiments/train.py")
    options.work.mkdir(parents=True, exist_ok=True)
    bench: Bench | None = None
    for network, seed, metric, budget, method in list(_missing(options)):
        if bench is None or (bench.name, bench.seed, bench.metric) != (network, seed, metric):
            bench = Bench(options, network, seed, metric)
        row = {
            "protocol": options.protocol,
            "network": network,
            "seed": seed,
            "metric": metric,
            "budget": budget,
            "method": method,
            **bench.row(method, budget),
        }
        add_line(options.results, dict.fromkeys(COLUMNS, "") | row)
        sys.stderr.write(" ".join(f"{k}={v}" for k, v in row.items() if v != "") + "\n")


if __name__ == "__main__":
    main()
