"""The studies as pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from picojoule.eyexam.seven_steps import TITLES
from picojoule.reports.plots import STYLE
from picojoule.reports.rooflines import KEPT, STEP_COLORS
from studies.tables import PUBLISHED, distinct, of, speed

Row = dict[str, Any]

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8C8C8C", "#1a1a1a"
LOOK = {**STYLE, "font.size": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8}
LOOK |= {"legend.fontsize": 8, "axes.titlesize": 9, "axes.titlelocation": "left"}


def save(draw: Callable[[list[Row]], Any], rows: list[Row], path: Path) -> None:
    """Draw *rows* into *path* with the ending .svg."""
    import matplotlib as mpl

    with mpl.rc_context(LOOK):
        draw(rows).savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _figure(columns: int, size: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(1, columns, **options)


def sparse(rows: list[Row]) -> Any:
    """Speed against density, a panel for each layer, lines named at their ends."""
    figure, axes = _figure(2, (7.2, 3.5), sharey=True)
    kinds = {"conv3": "convolution", "fc7": "fully connected"}
    for ax, layer in zip(axes, distinct(rows, "layer"), strict=True):
        for machine, colour in (("eyeriss", BLUE), ("eyeriss-v2", ORANGE)):
            mine = of(rows, layer=layer, machine=machine)
            zeros = [100 * (1 - row["density"]) for row in mine]
            dense = mine[0]["bounds"][5]
            for step, style in ((6, "--"), (7, "-")):
                speeds = [row["bounds"][step - 1] / dense for row in mine]
                marker = "o" if step == 7 else None
                ax.plot(zeros, speeds, style, color=colour, marker=marker, markersize=4, lw=1.4)
        ideal = [1 / (1 - zero / 100) for zero in zeros]
        ax.plot(zeros, ideal, ":", color=GREY, lw=1.2, zorder=0)
        ax.set_yscale("log", base=2)
        ax.set_ylim(0.5, 12)
        ax.set_yticks([0.5, 1, 2, 4, 8], ["0.5x", "1x", "2x", "4x", "8x"])
        ax.set_title(f"{layer} of AlexNet ({kinds[layer]}), 8 bit")
        ax.set_xlabel("zeros among the weights, %")
    axes[0].set_ylabel("speed, of step 6 when dense")
    keys = [("-", "o", BLUE), ("-", "o", ORANGE), ("--", None, INK), (":", None, GREY)]
    names = ["Eyeriss gates zeros (step 7)", "Eyeriss v2 skips them (step 7)"]
    names += ["step 6 of each", "every zero saves its cycle"]
    lines = [_key(*key) for key in keys]
    figure.legend(lines, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _key(style: str, marker: str | None, colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], ls=style, marker=marker, color=colour, markersize=4, lw=1.4)


def compact(rows: list[Row]) -> Any:
    """What each layer reaches on each machine, and which step takes the rest of the peak."""
    from matplotlib.patches import Patch

    figure, axes = _figure(4, (7.2, 3.4), sharey=True)
    seen: set[int] = set()
    for ax, machine in zip(axes, distinct(rows, "machine"), strict=True):
        mine = of(rows, machine=machine)
        for x, row in enumerate(mine):
            left = 1.0
            for step, bound in enumerate(row["bounds"], start=1):
                now = min(left, bound / row["peak"])
                if left - now > 1e-9:
                    seen.add(step)
                    ax.bar(x, left - now, 0.78, bottom=now, color=STEP_COLORS[step - 1])
                left = now
            ax.bar(x, left, 0.78, color=KEPT)
            text = f"{100 * left:.2g} %"
            inside = left > 0.09
            ax.text(
                x,
                left - 0.02 if inside else left + 0.015,
                text,
                ha="center",
                va="top" if inside else "bottom",
                color="white" if inside else INK,
                fontsize=8 if left > 1e-2 else 7,
            )
        ax.set_xticks(range(len(mine)), ["3x3", "1x1", "depth-\nwise"])
        ax.set_title(f"{machine}\n{mine[0]['peak']:,.0f} MAC/cycle".replace(",", " "))
        ax.tick_params(length=0)
        ax.set_ylim(0, 1)
    axes[0].set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes[0].set_ylabel("share of the peak")
    keys = [Patch(color=KEPT)] + [Patch(color=STEP_COLORS[n - 1]) for n in sorted(seen)]
    names = ["reached"] + [f"lost at {n} {TITLES[n - 1]}" for n in sorted(seen)]
    figure.legend(keys, names, loc="outside lower center", ncols=3, frameon=False)
    return figure


def precision(rows: list[Row]) -> Any:
    """Speed against bits, a panel for each layer."""
    figure, axes = _figure(2, (7.2, 3.2), sharey=True)
    kinds = {"conv3": "convolution", "fc7": "fully connected"}
    for ax, layer in zip(axes, distinct(rows, "layer"), strict=True):
        for machine, colour, style in (("fixed width", BLUE, "-o"), ("splitting", ORANGE, "--s")):
            mine = of(rows, layer=layer, machine=machine)
            bits = [row["bits"] for row in mine]
            speeds = [row["bounds"][6] / mine[0]["bounds"][6] for row in mine]
            label = {"fixed width": "16-bit multipliers", "splitting": "multipliers that split"}
            ax.plot(bits, speeds, style, color=colour, markersize=4.5, lw=1.4, label=label[machine])
        ax.plot(bits, [16 / b for b in bits], ":", color=GREY, lw=1.2, label="16 / bits", zorder=0)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.set_xticks(bits, [str(b) for b in bits])
        ax.set_yticks([1, 2, 4], ["1x", "2x", "4x"])
        ax.invert_xaxis()
        ax.set_title(f"{layer} of AlexNet ({kinds[layer]})")
        ax.set_xlabel("bits of inputs, weights and outputs")
    note = "both alike: DRAM sets the pace"
    axes[1].text(0.97, 0.06, note, ha="right", color=INK, fontsize=8, transform=axes[1].transAxes)
    axes[0].set_ylabel("speed on the Eyeriss chip,\nof that at 16 bit")
    axes[0].legend(frameon=False)
    return figure


def eyeriss(rows: list[Row]) -> Any:
    """Inferences per second, ours and published, of each network."""
    figure, ax = _figure(1, (6.4, 3.4))
    names = distinct(rows, "network")
    series: tuple[tuple[str, str, Callable[[str], float]], ...] = (
        ("Eyeriss, ours", BLUE, lambda name: speed(of(rows, network=name, machine="eyeriss"), 7)),
        (
            "Eyeriss v2, ours",
            ORANGE,
            lambda name: speed(of(rows, network=name, machine="eyeriss-v2"), 7),
        ),
        ("Eyeriss v2, published", "#BBBBBB", lambda name: PUBLISHED.get(name, 0.0)),
    )
    for k, (label, colour, value) in enumerate(series):
        pairs = [(n + 0.28 * (k - 1), value(name)) for n, name in enumerate(names)]
        places, values = zip(*((x, v) for x, v in pairs if v), strict=True)
        ax.bar(places, values, 0.26, color=colour, label=label)
        for x, v in zip(places, values, strict=True):
            ax.text(x, v * 1.06, f"{v:.3g}" if v < 1000 else f"{v:.0f}", ha="center", fontsize=8)
    ax.set_yscale("log")
    ax.set_ylim(top=6000)
    ax.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("inferences per second (step 7)")
    ax.legend(frameon=False, loc="upper left")
    return figure


PICTURES = {"sparse": sparse, "compact": compact, "precision": precision, "eyeriss": eyeriss}
