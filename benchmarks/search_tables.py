"""The tables and the plot of ``search.py``: target, seen, reached or not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import picojoule
from picojoule.files import write_atomically

MEBI = 1 << 20
Row = dict[str, Any]

# Targets by factors: seconds of the median layer, of the worst, and of ResNet-50 as a whole.
MEDIAN = {"perfect": 0.01, "all": 0.1}
WORST = {"perfect": 0.2, "all": 1.0}
RESNET = 3.0
MEMORY = 1 << 30
ROW_STATIONARY = 0.2
VARIANTS = 20.0
FIRST, WARM = 5.0, 0.5


class Line(NamedTuple):
    """One target: seen must be at most that."""

    what: str
    target: str
    seen: str
    reached: bool


def targets(answer: Row) -> list[Line]:
    """Every target of the benchmark, with what was seen."""
    lines = []
    for factors, networks in answer["networks"].items():
        rows = [row for part in networks.values() for row in part["layers"]]
        lines += _layers(factors, rows)
        if factors == "all" and "resnet50" in networks:
            total = networks["resnet50"]["summary"]["total"]
            lines.append(_seconds("ResNet-50 as a whole, all factors", RESNET, total))
        most = max(row["memory"] for row in rows)
        lines.append(
            Line(
                f"peak memory, {factors} factors",
                f"{MEMORY // MEBI} MiB",
                f"{most // MEBI} MiB",
                most < MEMORY,
            )
        )
    lines.append(
        _seconds(
            "AlexNet as a whole, row-stationary", ROW_STATIONARY, answer["rs"]["summary"]["total"]
        )
    )
    variants = answer["variants"]["summary"]
    lines.append(
        _seconds(f"{variants['layers']} channel variants of ResNet-50", VARIANTS, variants["total"])
    )
    first = answer["first_call"]
    lines += [
        _seconds("first call, nothing compiled", FIRST, first["nothing_kept"]["cpu"]),
        _seconds("first call, compiled code kept", WARM, first["code_kept"]["cpu"]),
        _seconds("first call, answer kept", WARM, first["answer_kept"]["cpu"]),
    ]
    return lines


def _layers(factors: str, rows: list[Row]) -> list[Line]:
    times = sorted(row["cpu"] for row in rows)
    proved = sum(row["status"] == "optimal" for row in rows)
    return [
        Line(
            f"layers proved optimal, {factors} factors",
            str(len(rows)),
            str(proved),
            proved == len(rows),
        ),
        _seconds(f"median layer, {factors} factors", MEDIAN[factors], times[len(times) // 2]),
        _seconds(f"worst layer, {factors} factors", WORST[factors], times[-1]),
    ]


def _seconds(what: str, target: float, seen: float) -> Line:
    return Line(what, f"{target:g} s", f"{seen:.3g} s", seen <= target)


def write_tables(folder: Path, answer: Row, *, plot: bool) -> None:
    """Write ``search.md`` and the plot of search time against divisors."""
    text = [
        "# Search",
        "",
        f"`{answer['conditions']['command']}`, picojoule {answer['conditions']['picojoule']} "
        f"(sources {answer['conditions']['sources']}), "
        f"Python {answer['conditions']['python']}, {answer['conditions']['processor']}.",
        "",
        f"Chip `eyeriss`, batch 1, flexible dataflow unless said, one core, CPU seconds; "
        f"a layer is given up after {answer['budget']:g} s. Every distinct shape counts once.",
        "",
        *_table(("", "target", "seen", "reached"), (_cells(line) for line in targets(answer))),
        "",
        *(f"Not run: {why}." for why in answer["unavailable"].values()),
        "",
        "## Networks",
        "",
        *_table(
            ("network", "factors", "layers", "proved", "median", "worst", "worst layer", "total"),
            (
                _network(network, factors, part["summary"])
                for factors, networks in answer["networks"].items()
                for network, part in networks.items()
            ),
        ),
        "",
    ]
    text += [
        "## Where the time goes",
        "",
        "ResNet-50, own time; compiled code counts for the function that calls it.",
        "",
        *_table(("factors", "function", "share"), _profiles(answer["profiles"])),
        "",
    ]
    if plot:
        draw_growth(folder, answer)
        text += [
            "## Growth",
            "",
            "![search time against the divisors of the loop bounds](search-growth.svg)",
            "",
        ]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "search.md", "\n".join(text))


def _profiles(profiles: Row) -> Iterator[tuple[str, ...]]:
    for factors, rows in profiles.items():
        for row in rows:
            yield factors, f"`{row['function']}`", f"{row['share']:.0%}"


def _cells(line: Line) -> tuple[str, ...]:
    return line.what, line.target, line.seen, "yes" if line.reached else "**no**"


def _network(network: str, factors: str, summary: Row) -> tuple[str, ...]:
    return (
        network,
        factors,
        str(summary["layers"]),
        str(summary["proved"]),
        f"{summary['median']:.3g} s",
        f"{summary['worst']:.3g} s",
        summary["worst_layer"],
        f"{summary['total']:.3g} s",
    )


def _table(head: tuple[str, ...], rows: Any) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def divisors(bounds: tuple[int, ...]) -> int:
    """Divisors of all bounds together: the tile sizes that a level could have without rests."""
    return math.prod(sum(n % d == 0 for d in range(1, n + 1)) for n in bounds)


def draw_growth(folder: Path, answer: Row) -> None:
    """Plot each layer's search time against the divisors of its bounds."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "picojoule"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for factors, marker in (("all", "o"), ("perfect", "s")):
        rows = [
            (divisors(picojoule.load(network)[row["layer"]].bounds), row["cpu"], row["status"])
            for network, part in answer["networks"].get(factors, {}).items()
            for row in part["layers"]
        ]
        colour = {"all": "#0072b2", "perfect": "#d55e00"}[factors]
        for proved in (True, False):
            points = [row for row in rows if (row[2] == "optimal") == proved]
            if points:
                axes.scatter(
                    [p[0] for p in points],
                    [p[1] for p in points],
                    s=18,
                    marker=marker,
                    edgecolors=colour,
                    facecolors=colour if proved else "none",
                    linewidths=0.8,
                    alpha=0.8,
                    label=f"{factors} factors" + ("" if proved else ", given up"),
                )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="divisors of the loop bounds (product over the dimensions)",
        ylabel="CPU seconds of the search",
    )
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "search-growth.svg", metadata={"Date": None})
    figure.savefig(folder / "search-growth.png", dpi=120)
    plt.close(figure)
