"""Plots for papers: vector, legible at one column (3.3 inches), on any axes (extra ``[plots]``).

Every ``plot_*`` takes a result and draws on ``ax``, or on a new figure of one column's width, and
returns the axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, ParamSpec

from picojoule.comparison import Comparison
from picojoule.errors import PicojouleError
from picojoule.estimate_records import Estimate, Part
from picojoule.eyexam.examination import Examination
from picojoule.files import replacing
from picojoule.reports.palette import OPERAND_COLORS, place_colors
from picojoule.reports.roofs import rooflines
from picojoule.reports.scale import Scale
from picojoule.tradeoffs import TradeOff, published_name, published_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from picojoule.validation.figures import PublishedNumber

P = ParamSpec("P")

COLUMN = 3.3  # inches: one column of a two-column conference paper
HEIGHT = 2.3
STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.handlelength": 1.0,
    "legend.columnspacing": 1.0,
    "pdf.fonttype": 42,
    # The same numbers give the same file.
    "svg.hashsalt": "picojoule",
}
FORMATS = (".svg", ".png", ".pdf")
VALIDATION = (5.0, 5.0)
# One marker and colour for each publication; the first eight colours are Okabe and Ito's. More than
# twelve begin anew.
_MARKS = (
    ("o", "#0072B2"),
    ("s", "#D55E00"),
    ("^", "#009E73"),
    ("D", "#CC79A7"),
    ("v", "#000000"),
    ("P", "#E69F00"),
    ("X", "#56B4E9"),
    ("*", "#F0E442"),
    ("<", "#A8204A"),
    (">", "#7A3FA0"),
    ("h", "#135E4B"),
    ("d", "#8A6A1F"),
)
_CROWDED = 12  # layers from which on their names are turned


_LETTERS = 20  # of a warning above a picture, to an inch


def _styled(plot: Callable[P, Axes]) -> Callable[P, Axes]:
    """Draw in this module's style, unless on the caller's own axes."""

    @wraps(plot)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Axes:
        own = len(args) > 1 or kwargs.get("ax") is not None
        _require_matplotlib()
        import matplotlib as mpl

        with nullcontext() if own else mpl.rc_context(STYLE):
            return plot(*args, **kwargs)

    return styled


@_styled
def plot_layers(
    result: Estimate | Comparison, ax: Axes | None = None, *, by: str = "memory"
) -> Axes:
    """Energy per layer, stacked *by* "memory" or "operand"; of a comparison, before and after.

    Raises:
        PicojouleError: *by* is neither.
    """
    if by not in ("memory", "operand"):
        raise PicojouleError(f"energy by {by!r}; there are 'memory' and 'operand'")
    result = result.in_picojoules()
    whole = [result] if isinstance(result, Estimate) else [result.before, result.after]
    columns: Sequence[Sequence[Part | None]]
    if isinstance(result, Estimate):
        names = [part.name for part in result.counted]
        columns = [result.counted]
    else:
        names = [pair.name for pair in result.layers]
        columns = [[p.before for p in result.layers], [p.after for p in result.layers]]
    colors: Mapping[str, str] = place_colors(whole)
    if by == "operand":
        used = dict.fromkeys(name for x in whole for name in x.by_operand)
        colors = {name: OPERAND_COLORS[name] for name in used}
    axes = _axes(ax)
    largest = max((part.energy for x in whole for part in x.counted), default=0.0)
    scale = Scale(largest, whole[0].energy_unit)
    width = 0.78 / len(columns)
    for index, layers in enumerate(columns):
        at = [n + (index - (len(columns) - 1) / 2) * width * 1.06 for n in range(len(names))]
        bottom = [0.0] * len(names)
        last = index == len(columns) - 1
        for part, color in colors.items():
            heights = [
                0.0 if x is None else getattr(x, f"by_{by}").get(part, 0.0) / scale.factor
                for x in layers
            ]
            if any(heights):
                axes.bar(
                    at,
                    heights,
                    width,
                    bottom=bottom,
                    color=color,
                    alpha=1.0 if last else 0.55,
                    edgecolor="white",
                    linewidth=0.2,
                    label=part if last else None,
                )
            bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
    _name_layers(axes, names)
    axes.set_ylabel(f"energy per inference [{scale.name}]")
    title = None if len(whole) == 1 else "pale: before, full: after"
    axes.legend(
        ncols=4 if by == "operand" else 3,
        loc="lower left",
        bbox_to_anchor=(0, 1.02),
        borderaxespad=0,
        title=title,
        alignment="left",
        title_fontsize=STYLE["legend.fontsize"],
    )
    return axes


def plot(result: object, ax: Axes | None = None, **options: Any) -> Axes:
    """What *result* is mostly looked at for: energies per layer, or the seven bounds.

    Raises:
        PicojouleError: it is not plotted.
    """
    if isinstance(result, Estimate | Comparison):
        return plot_layers(result, ax=ax, **options)
    if isinstance(result, Examination):
        from picojoule.reports.rooflines import plot_waterfall

        return plot_waterfall(result, ax=ax, **options)
    raise PicojouleError(f"a {type(result).__name__} is not plotted")


@_styled
def plot_shares(result: Estimate | Comparison, ax: Axes | None = None) -> Axes:
    """Shares of the whole energy by memory and by operand, one bar for each."""
    whole = [result] if isinstance(result, Estimate) else [result.before, result.after]
    axes = _axes(ax)
    labels, row = [], 0
    colors = {**OPERAND_COLORS, **place_colors(whole)}
    for index, estimate in enumerate(whole):
        which = "" if len(whole) == 1 else ("before, ", "after, ")[index]
        for kind, parts in (("memory", estimate.by_memory), ("operand", estimate.by_operand)):
            left = 0.0
            for part, energy in parts.items():
                share = 100 * energy / estimate.energy if estimate.energy else 0.0
                axes.barh(
                    row, share, 0.7, left=left, color=colors[part], edgecolor="white", linewidth=0.2
                )
                if share >= 12:
                    axes.text(
                        left + share / 2,
                        row,
                        part,
                        ha="center",
                        va="center",
                        fontsize=6,
                        color=_readable_on(colors[part]),
                        clip_on=True,
                    )
                left += share
            labels.append(f"{which}by {kind}")
            row += 1
    axes.set_yticks(range(row), labels)
    axes.invert_yaxis()
    axes.set_xlabel("share of the energy [%]")
    return axes


@_styled
def plot_roofline(result: Estimate, ax: Axes | None = None, *, memory: str | None = None) -> Axes:
    """Speed of each layer under the roof of *memory*, by default the outermost with a bandwidth.

    Raises:
        PicojouleError: there is no such memory with a bandwidth.
    """
    roofs = {roof.memory: roof for roof in rooflines(result)}
    if not roofs or (memory is not None and memory not in roofs):
        names = f"; there are {', '.join(roofs)}" if roofs else ""
        wanted = "any memory" if memory is None else repr(memory)
        raise PicojouleError(f"{result.accelerator} declares no bandwidth of {wanted}{names}")
    roof = roofs[memory] if memory is not None else next(iter(roofs.values()))
    axes = _axes(ax)
    ridge = roof.peak / roof.bandwidth
    xs = [point.intensity for point in roof.points]
    ends = [min([*xs, ridge]) / 3, ridge, max([*xs, ridge]) * 3]
    axes.plot(
        ends, [min(roof.peak, roof.bandwidth * x) for x in ends], color="black", linewidth=0.8
    )
    limits = {layer.name: layer.limited_by for layer in result.layers}
    colors = place_colors([result])
    for marker, limit in zip("oD^s" * len(limits), dict.fromkeys(limits.values()), strict=False):
        points = [point for point in roof.points if limits[point.layer] == limit]
        axes.scatter(
            [p.intensity for p in points],
            [p.speed for p in points],
            s=14,
            marker=marker,
            color=colors.get(limit, "#8C8C8C"),
            edgecolors="black",
            linewidths=0.4,
            label=f"limited by {limit}",
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"MAC per byte at {roof.memory}")
    axes.set_ylabel("MAC per cycle")
    axes.legend(loc="lower right")
    return axes


@_styled
def plot_tradeoff(result: TradeOff, ax: Axes | None = None, *, published: bool = True) -> Axes:
    """Cost over that of the first network against the change of accuracy; published points too."""
    axes = _axes(ax)
    axes.plot(
        [result.relative(x) for x in result.moments],
        [result.change(x) for x in result.moments],
        marker="o",
        markersize=3,
        linewidth=0.8,
        color=OPERAND_COLORS["input"],
        label="this run",
    )
    if published:
        points = published_points(result.kind)
        axes.scatter(
            [x.relative for x in points],
            [x.change for x in points],
            s=16,
            marker="D",
            facecolors="none",
            edgecolors=OPERAND_COLORS["weight"],
            linewidths=0.8,
            label=f"published ({published_name(result.kind)})",
        )
    axes.set_xlim(left=0)
    axes.set_xlabel("cost over that of the first network")
    axes.set_ylabel("change of accuracy [points]")
    axes.legend(loc="best")
    return axes


def save_plot(result: Estimate | Comparison | TradeOff, path: Path, *, by: str = "memory") -> None:
    """Write the energy per layer, or a run's trade-off, to *path*.

    Its ending, ``.svg``, ``.png`` or ``.pdf``, says the format. The figure is one column wide, and
    wider where there are many layers.

    Raises:
        InputError: the place cannot be written.
        PicojouleError: matplotlib is not installed.
    """
    _require_matplotlib()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars = 0
    if not isinstance(result, TradeOff):
        bars = len(result.layers) * (1 if isinstance(result, Estimate) else 2)
    width = max(COLUMN, min(7.0, 0.14 * bars))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        if isinstance(result, TradeOff):
            plot_tradeoff(result, figure.subplots())
        else:
            plot_layers(result, figure.subplots(), by=by)
        write_figure(figure, path, dpi=400, warnings=result.warnings)


def plot_validation(
    rows: Sequence[PublishedNumber], axes: Sequence[Axes] | None = None
) -> Sequence[Axes]:
    """Ours against the published, each in its own unit; below, the ratio of the two.

    One marker for each publication; hollow ones are fitted and test nothing.

    Args:
        axes: the two to draw on, the upper first; by default those of a new figure.
    """
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots(2, sharex=True, figsize=VALIDATION, layout="constrained")[1]
    upper, lower = axes
    ends = [min(row.paper for row in rows) / 2, max(row.paper for row in rows) * 2]
    upper.plot(ends, ends, color="#8C8C8C", linewidth=0.6, zorder=0)
    lower.axhline(1, color="#8C8C8C", linewidth=0.6, zorder=0)
    lower.axhspan(0.9, 1.1, color="#8C8C8C", alpha=0.15, linewidth=0, zorder=0)
    sources = dict.fromkeys(row.source for row in rows)
    for source, (marker, color) in zip(sources, itertools.cycle(_MARKS)):
        for fitted in (True, False):
            points = [row for row in rows if (row.source, row.fitted) == (source, fitted)]
            look: dict[str, Any] = {
                "marker": marker,
                "s": 12,
                "linewidths": 0.6,
                "edgecolors": color,
                "facecolors": "none" if fitted else color,
                "alpha": 0.85,
            }
            paper = [row.paper for row in points]
            label = None if fitted else source
            upper.scatter(paper, [row.ours for row in points], label=label, **look)
            lower.scatter(paper, [row.ratio for row in points], **look)
    upper.set(xscale="log", yscale="log", xlim=ends, ylabel="ours")
    lower.set(xscale="log", ylabel="ours / published", xlabel="published, each in its own unit")
    if any(row.fitted for row in rows):
        upper.scatter([], [], marker="o", facecolors="none", edgecolors="#000000", label="fitted")
    upper.legend(loc="upper left")
    return axes


def save_validation(rows: Sequence[PublishedNumber], path: Path) -> None:
    """Write :func:`plot_validation` to *path*; its ending says the format.

    Raises:
        InputError: the place cannot be written.
        PicojouleError: matplotlib is not installed.
    """
    _require_matplotlib()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=VALIDATION, layout="constrained")
        FigureCanvasAgg(figure)
        plot_validation(rows, figure.subplots(2, sharex=True, height_ratios=(3, 2)))
        write_figure(figure, path, dpi=200)


def write_figure(figure: Figure, path: Path, *, dpi: int, warnings: Sequence[str] = ()) -> None:
    """Write *figure* as its ending says; the same figure gives the same bytes on any day.

    Args:
        warnings: what its numbers leave out, written above it.

    Raises:
        InputError: the place cannot be written.
    """
    told = [fill(warning, int(_LETTERS * figure.get_figwidth())) for warning in warnings]
    if told:
        red = "#b3261e"
        figure.suptitle("\n".join(told), x=0.01, ha="left", size=6, color=red, parse_math=False)
    kind = path.suffix[1:].lower()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with replacing(path) as file:
        figure.savefig(file, format=kind, dpi=dpi, metadata=undated.get(kind))


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PicojouleError(
            "plots need matplotlib: pip install 'picojoule[plots]', or write .html, .md or .csv"
        ) from None


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(COLUMN, HEIGHT), layout="constrained")[1]


def _name_layers(axes: Axes, names: Sequence[str]) -> None:
    step = max(1, -(-len(names) // 40))
    shown = [_short(name) if n % step == 0 else "" for n, name in enumerate(names)]
    turned = len(names) > _CROWDED or max(map(len, shown), default=0) > 8
    axes.set_xticks(range(len(names)), shown, rotation=90 if turned else 0, parse_math=False)
    axes.margins(x=0.02)


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:8]}…{name[-8:]}"


def _readable_on(color: str) -> str:
    """Black or white, whichever contrasts more (WCAG relative luminance)."""
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return (
        "black" if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.18 else "white"
    )
