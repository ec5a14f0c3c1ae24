"""The limitations of existing designs (SysML 2018), as studies that anyone can repeat.

Sze, Yang, Chen: Understanding the Limitations of Existing Energy-Efficient Design Approaches for
Deep Neural Networks. SysML 2018. Techniques that shrink a network (sparse weights, compact layers,
few bits) make its layers diverse, and machines rely on properties that then no longer hold. Each
study takes one technique to a machine that was built for large dense layers and to a flexible one::

    python studies/limitations.py sparse    -o sparse.png
    python studies/limitations.py compact   -o compact.png
    python studies/limitations.py precision -o precision.png
    python studies/limitations.py eyeriss   -o eyeriss.png

Step 6 of each layer is searched for at most ``--budget`` seconds; what is not proved best by then
is marked with ``~`` in the tables. Plots need ``pip install picojoule[plots]``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import picojoule
from picojoule.accelerator import Accelerator, Level
from picojoule.eyexam import Examination, examine
from picojoule.reports.rooflines import new_figure
from picojoule.seven_steps import LayerExamination
from picojoule.workload import Layer, PerOperand, Workload

BLUE, ORANGE, GREEN = "#2f6f9f", "#c2542d", "#3f8f5b"
LOSSES = ("", "", "#7a5aa6", "#3f8f5b", "#8a6d3b", "#b0487f", "#e2a13b", "#c2542d")


def row(*cells: object) -> None:
    """One line of a table on stdout."""
    words = [f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells]
    sys.stdout.write("".join(f"{word:<18}" for word in words).rstrip() + "\n")


def proved(layer: LayerExamination) -> str:
    """A mark for bounds of step 6 that are not proved."""
    return "" if layer.search is None or layer.search.status == "optimal" else "~"


def without_dram_limit(machine: Accelerator) -> Accelerator:
    """The machine with as much bandwidth to DRAM as it likes, to compare chips alone."""
    outer = machine.levels[0]
    free = Level(tuple(replace(memory, bandwidth=None) for memory in outer.memories))
    return replace(machine, nest=(free, *machine.nest[1:]))


def of(network: str, *names: str) -> Workload:
    """Some layers of a shipped network."""
    whole = picojoule.load(network)
    return replace(whole, layers=tuple(whole[name] for name in names))


def sparse(budget: float, output: Path) -> None:
    """Zeros that are gated save energy, not time; a machine that skips them runs faster."""
    network = of("bvlc-alexnet", "conv3")
    machines = {
        name: without_dram_limit(picojoule.load_accelerator(name))
        for name in ("eyeriss", "eyeriss-v2")
    }
    densities = (1.0, 0.8, 0.6, 0.4, 0.2)
    figure = new_figure((6.4, 4.0))
    ax = figure.add_subplot()
    row("weight density", *(f"{name}, step {n}" for name in machines for n in (6, 7)))
    found: dict[str, list[Examination]] = {name: [] for name in machines}
    for density in densities:
        for name, machine in machines.items():
            given = {"weight": density}
            found[name].append(examine(network, machine, bits=8, density=given, budget=budget))
        last = [found[name][-1].layers[0] for name in machines]
        row(density, *(f"{x.bound(n) or 0:.4g}{proved(x)}" for x in last for n in (6, 7)))
    for (name, results), colour in zip(found.items(), (BLUE, ORANGE), strict=True):
        base = results[0].bound(6) or 1.0
        for step, style in ((6, "-o"), (7, "--s")):
            speed = [(result.bound(step) or 0.0) / base for result in results]
            label = f"{name}, step {step}"
            ax.plot(densities, speed, style, color=colour, label=label, markersize=4)
    ideal = [1 / density for density in densities]
    ax.plot(densities, ideal, ":", color="#777777", label="every zero saves its cycle")
    ax.set_xlabel("density of the weights (conv3 of AlexNet, 8 bit)")
    ax.set_ylabel("speed, of step 6 when dense")
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=150)


def compact(budget: float, output: Path) -> None:
    """Depthwise and 1x1 layers have no channels, or no windows, to spread over a wired array."""
    layers = (
        replace(picojoule.load("vgg16")["conv3_2"], name="3x3, 256 ch (VGG)"),
        replace(picojoule.load("mobilenetv1")["conv_7_pointwise"], name="1x1 (MobileNet)"),
        replace(picojoule.load("mobilenetv1")["conv_7_depthwise"], name="depthwise (MobileNet)"),
    )
    network = Workload("compact", layers)
    names = ("nvdla-like", "tpu-v1-like", "eyeriss", "eyeriss-v2")
    figure = new_figure((8.6, 4.2))
    ax = figure.add_subplot()
    row("machine", "layer", "step 5", "step 6", "step 7", "of the peak", "worst step")
    named: set[int] = set()
    places, labels = [], []
    for group, name in enumerate(names):
        result = examine(network, name, bits=8, budget=budget)
        for n, layer in enumerate(result.layers):
            bounds = [f"{layer.bound(k):.4g}{proved(layer) if k == 6 else ''}" for k in (5, 6, 7)]
            row(name, layer.name, *bounds, layer.last / layer.peak, layer.worst.title)
            x, left = group * (len(layers) + 1) + n, 1.0
            for step in layer.steps:
                now = min(left, (step.bound or 0.0) / layer.peak)
                if left - now > 1e-9:
                    label = f"lost at {step.step} {step.title}"
                    shown = None if step.step in named else label
                    named.add(step.step)
                    ax.bar(x, left - now, bottom=now, color=LOSSES[step.step], label=shown)
                left = now
            ax.bar(x, left, color=BLUE, label="reached" if not places else None)
            places.append(x)
            labels.append(layer.name.split(" (")[0])
        ax.text(group * (len(layers) + 1) + 1, 1.02, name, ha="center", fontsize=9)
    ax.set_xticks(places, labels, rotation=60, ha="right", fontsize=8)
    ax.set_ylim(0, 1.08)
    ax.set_ylabel("share of the peak MAC/cycle")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=150)


def precision(budget: float, output: Path) -> None:
    """Fewer bits relieve memories and networks; multipliers of fixed width are no faster.

    The flexible machine is the same with multipliers that split: twice as many products of half
    the width (both operands as wide), in each element.
    """
    network = of("bvlc-alexnet", "conv3", "fc7")
    chip = picojoule.load_accelerator("eyeriss")
    widths = (16, 8, 4)
    row("bits", "machine", *(f"{x.name}, step {n}" for x in network for n in (5, 6, 7)))
    speeds: dict[tuple[str, str], list[float]] = {}
    for bits in widths:
        split = replace(chip, compute=replace(chip.compute, per_cycle=16 // bits))
        for name, machine in (("fixed width", chip), ("splitting", split)):
            result = examine(network, machine, bits=bits, budget=budget)
            cells = [f"{x.bound(n):.4g}{proved(x)}" for x in result.layers for n in (5, 6, 7)]
            row(bits, name, *cells)
            for layer in result.layers:
                speeds.setdefault((layer.name, name), []).append(layer.bound(7) or 0.0)
    figure = new_figure((8.0, 3.8))
    for n, layer in enumerate(network, start=1):
        ax = figure.add_subplot(1, 2, n)
        for name, colour in (("fixed width", BLUE), ("splitting", ORANGE)):
            mine = speeds[layer.name, name]
            ax.plot(widths, [speed / mine[0] for speed in mine], "-o", color=colour, label=name)
        ax.plot(widths, [16 / bits for bits in widths], ":", color="#777777", label="16 / bits")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.set_xticks(widths, [str(bits) for bits in widths])
        ax.invert_xaxis()
        ax.set_title(f"{layer.name} of AlexNet on the Eyeriss chip", loc="left", fontsize=10)
        ax.set_xlabel("bits of inputs, weights and outputs")
        ax.set_ylabel("speed (step 7), of that at 16 bit")
        ax.legend(frameon=False, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=150)


def small_mobilenet() -> Workload:
    """MobileNetV1, width 0.5, 128 x 128 inputs: 49 M MACs, the one of Eyeriss v2's figures."""
    size, channels = 64, 16
    layers: list[Layer] = [
        picojoule.conv(
            "conv_0", input_size=(128, 128), in_channels=3, out_channels=16, kernel=(3, 3),
            stride=(2, 2), padding=(0, 1, 0, 1),
        )
    ]  # fmt: skip
    plan = [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2)]
    plan += [(256, 1)] * 5 + [(512, 2), (512, 1)]
    for n, (out, stride) in enumerate(plan, start=1):
        pads = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
        layers.append(
            picojoule.depthwise(
                f"depthwise_{n}", channels=channels, input_size=(size, size), kernel=(3, 3),
                stride=(stride, stride), padding=pads,
            )
        )  # fmt: skip
        size //= stride
        layers.append(
            picojoule.conv(
                f"pointwise_{n}", input_size=(size, size), in_channels=channels, out_channels=out,
                kernel=(1, 1),
            )
        )  # fmt: skip
        channels = out
    layers.append(picojoule.linear("classifier", in_features=512, out_features=1000))
    return Workload("mobilenet-0.5-128", tuple(layers))


def eyeriss(budget: float, output: Path) -> None:
    """The Eyeriss chip and the Eyeriss-v2-like machine, 8 bit, batch 1, DRAM as fast as they like.

    Published (JETCAS 2019): 12.6 times the speed on sparse MobileNet (printed in the abstract); in
    inferences a second 102.1 on dense and 278.7 on sparse AlexNet, 1282.1 on dense MobileNet
    (recalled). Its first Eyeriss is scaled to the second's size; ours is the chip as it was built.
    """
    v1 = without_dram_limit(picojoule.load_accelerator("eyeriss"))
    v2 = picojoule.load_accelerator("eyeriss-v2")
    cases = (
        ("AlexNet", picojoule.load("bvlc-alexnet"), 102.1),
        ("sparse AlexNet", picojoule.load("bvlc-alexnet-eap"), 278.7),
        ("MobileNet", small_mobilenet(), 1282.1),
    )
    row("network", "v1, 1/s", "v2, 1/s", "v2 published", "ratio", "v2 / v1", "MMACs")
    figure = new_figure((6.4, 3.8))
    ax = figure.add_subplot()
    for n, (name, network, printed) in enumerate(cases):
        widths = PerOperand(8, 8, 8)
        speeds, marks = [], ""
        for machine in (v1, v2):
            result = examine(network, machine, batch=1, bits=widths, budget=budget)
            speeds.append((machine.clock or 0.0) * (result.bound(7) or 0.0) / result.macs)
            marks = "~" if any(map(proved, result.layers)) else marks
        row(
            name, speeds[0], f"{speeds[1]:.4g}{marks}", printed, speeds[1] / printed,
            speeds[1] / speeds[0], network.macs / 1e6,
        )  # fmt: skip
        bars = zip((*speeds, printed), (BLUE, ORANGE, "#bbbbbb"), strict=True)
        for k, (speed, colour) in enumerate(bars):
            label = ("Eyeriss, ours", "Eyeriss v2, ours", "Eyeriss v2, published")[k]
            ax.bar(n + 0.27 * (k - 1), speed, 0.25, color=colour, label=label if n == 0 else None)
    ax.set_yscale("log")
    ax.set_xticks(range(len(cases)), [name for name, _, _ in cases])
    ax.set_ylabel("inferences per second (step 7)")
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=150)


STUDIES = {"sparse": sparse, "compact": compact, "precision": precision, "eyeriss": eyeriss}


def main() -> None:
    """Run one study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("-o", "--output", type=Path, required=True, help=".png, .svg or .pdf")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of search per layer")
    given = parser.parse_args()
    STUDIES[given.study](given.budget, given.output)


if __name__ == "__main__":
    main()
