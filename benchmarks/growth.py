"""How the time of a search grows: with the divisors of the bounds, with levels, with elements.

Levels are buffers more or fewer between the DRAM and the array (:data:`machines.BUFFERS`) of the
machine that other mappers are compared on, elements an array of another size in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import picojoule
from benchmarks.builds import Question
from benchmarks.record import Row, progress
from benchmarks.rows import Bench

MACHINE = "benchmarks/peers/both-ends.yaml"
PATIENCE = 5.0  # seconds for one layer on one machine
LAYERS = (
    ("bvlc-alexnet", "conv3"),
    ("bvlc-alexnet", "fc7"),
    ("resnet50", "layer2.0.conv3"),
    ("mobilenetv2", "block2/depthwise"),
)
LEVELS = (2, 3, 4, 5, 6)
SIZES = (4, 8, 16, 32, 64, 128, 256)
FACTORS = ("perfect", "all")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


class Kind(NamedTuple):
    """What is changed of the machine, over what, and what the axis of its plot says."""

    change: str
    values: tuple[int, ...]
    label: str


KINDS = {
    "levels": Kind("levels", LEVELS, "levels of memories"),
    "elements": Kind("array", SIZES, "elements"),
}


def questions(kind: Kind, *, quick: bool) -> Iterator[Question]:
    """Each layer on each machine, over divisors and over every factor."""
    for factors in FACTORS[:1] if quick else FACTORS:
        for network, layer in LAYERS[:1] if quick else LAYERS:
            for value in kind.values[:3] if quick else kind.values:
                yield {
                    "network": network,
                    "layer": layer,
                    "chip": MACHINE,
                    "dataflow": "flexible",
                    "factors": factors,
                    "budget": PATIENCE,
                    "machine": {kind.change: value},
                }


def measure(bench: Bench) -> dict[str, list[Row]]:
    """The times on machines with more levels, and with more elements; of two turns the quicker."""
    answer: dict[str, list[Row]] = {}
    for name, kind in KINDS.items():
        answer[name] = []
        for question in questions(kind, quick=bench.quick):
            try:
                row = bench.one(question, turns=2)
            except SystemExit as error:  # a build ended: a point is missing, and no more
                bench.anew()
                row = {"failed": str(error)}
            answer[name].append({**question, **row})
            progress(f"{name} {question['machine']} {question['layer']}")
    return answer


def divisors(bounds: tuple[int, ...]) -> int:
    """Divisors of all bounds together: the tile sizes that a level could have without rests."""
    return math.prod(sum(n % d == 0 for d in range(1, n + 1)) for n in bounds)


def draw(folder: Path, layers: dict[str, list[Row]], grown: dict[str, list[Row]]) -> list[str]:
    """Plot the three, as SVG and PNG; return the names of the pictures.

    Args:
        layers: by factors, the rows of every layer, with the answers of both builds.
        grown: what :func:`measure` returned.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "picojoule"
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name in ("divisors", *KINDS):
        figure, axes = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
        if name == "divisors":
            _scatter(axes, layers)
        else:
            _lines(axes, KINDS[name], grown[name])
        _in_decades(axes)
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        names.append(f"search-growth-{name}")
        figure.savefig(folder / f"{names[-1]}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{names[-1]}.png", dpi=120)
        plt.close(figure)
    return names


def _in_decades(axes: Any) -> None:
    """Times on a logarithmic axis of whole decades, named as people say them."""
    axes.set(yscale="log", ylabel="CPU time of the search")
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    ends = range(math.floor(low), max(math.ceil(high), math.floor(low) + 1) + 1)
    axes.set_ylim(10.0 ** ends[0], 10.0 ** ends[-1])
    axes.set_yticks([10.0**n for n in ends], [_said(10.0**n) for n in ends])
    axes.yaxis.set_minor_formatter("")


def _said(seconds: float) -> str:
    """A time in the unit that fits.

    >>> [_said(seconds) for seconds in (0.001, 0.1, 10.0)]
    ['1 ms', '100 ms', '10 s']
    """
    return f"{1000 * seconds:g} ms" if seconds < 1 else f"{seconds:g} s"


def _scatter(axes: Any, layers: dict[str, list[Row]]) -> None:
    """Each layer of the networks: its time over the divisors of its bounds."""
    for (factors, rows), marker, colour in zip(layers.items(), "so", COLOURS, strict=False):
        points = [
            (
                divisors(picojoule.load(row["network"])[row["layer"]].bounds),
                row["new"].get("cpu", row["new"].get("stopped")),
                row["new"].get("status") == "optimal",
            )
            for row in rows
        ]
        for proved in (True, False):
            part = [point for point in points if point[2] == proved]
            if part:
                axes.scatter(
                    [point[0] for point in part],
                    [point[1] for point in part],
                    s=18,
                    marker=marker,
                    edgecolors=colour,
                    facecolors=colour if proved else "none",
                    linewidths=0.8,
                    alpha=0.8,
                    label=f"{factors} factors" + ("" if proved else ", given up"),
                )
    axes.set(xscale="log", xlabel="divisors of the loop bounds (product over the dimensions)")
    low, high = (math.log10(limit) for limit in axes.get_xlim())
    if high - low < 2:  # not a decade on either side: say where between two powers of ten
        places = [m * 10.0**n for n in range(math.floor(low), math.ceil(high)) for m in (1, 2, 5)]
        places = [place for place in places if low <= math.log10(place) <= high]
        axes.set_xticks(places, [f"{place:,.0f}" for place in places])
        axes.minorticks_off()


def _lines(axes: Any, kind: Kind, rows: list[Row]) -> None:
    """A line for each layer, dashed over divisors alone; hollow where it is not proved."""
    series: dict[tuple[str, str, str], list[tuple[int, float, bool]]] = {}
    values = sorted({row["machine"][kind.change] for row in rows if "cpu" in row})
    for row in rows:
        if "cpu" in row:
            value = row["machine"][kind.change]
            at = value**2 if kind.change == "array" else value
            point = (at, row["cpu"], row["status"] == "optimal" and row["whole"])
            series.setdefault((row["network"], row["layer"], row["factors"]), []).append(point)
    colours = dict(zip(dict.fromkeys(name[:2] for name in series), COLOURS, strict=False))
    shown = sorted({factors for _, _, factors in series})
    for (network, layer, factors), points in series.items():
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            color=colours[network, layer],
            linestyle="-" if factors == "all" else "--",
            linewidth=1.2,
            label=f"{network} {layer}" if factors == shown[0] else None,
        )
        for proved in (True, False):
            part = [point for point in points if point[2] == proved]
            axes.plot(
                [point[0] for point in part],
                [point[1] for point in part],
                "o",
                color=colours[network, layer],
                markerfacecolor=colours[network, layer] if proved else "white",
                markersize=4,
            )
    for factors, style in (("all", "-"), ("perfect", "--")):
        if factors in shown:
            axes.plot([], [], style, color="grey", linewidth=1.2, label=f"{factors} factors")
    if not all(point[2] for points in series.values() for point in points):
        label = "not proved, or among even splits"
        axes.plot([], [], "o", color="grey", markerfacecolor="white", markersize=4, label=label)
    if kind.change == "array":
        axes.set(xscale="log")
        places = [size**2 for size in values]
        axes.set_xticks(places, [f"{size} x {size}" for size in values], fontsize=7)
        axes.minorticks_off()
    else:
        axes.set_xticks(values)
    axes.set(xlabel=kind.label)
