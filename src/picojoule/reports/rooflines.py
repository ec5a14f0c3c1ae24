"""Plots of an examination: rooflines per operand, and the waterfall of the seven steps.

Every function takes a result and, if wanted, the Axes to draw on, and returns the Axes. They need
matplotlib: ``pip install picojoule[plots]``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple

from picojoule.errors import PicojouleError
from picojoule.eyexam.examination import Examination
from picojoule.eyexam.seven_steps import TITLES, LayerExamination, Roof
from picojoule.units import show_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, GRID = "#1a1a1a", "#5a5a5a", "#d9d9d9"
KEPT = "#1f5a93"
# What each step takes; told apart by colour-blind readers, and from what is kept.
STEP_COLORS = ("#c9c9c9", "#cc79a7", "#8fd3c8", "#009e73", "#f0e442", "#e69f00", "#d55e00")
CHANNEL_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d3b", "#5a5a5a")
MARKERS = ("o", "s", "^", "D", "v", "P")
_FEW = 12  # layers that are all named


def plot_waterfall(
    result: Examination | LayerExamination, layer: str | None = None, ax: Axes | None = None
) -> Axes:
    """The seven bounds from top to bottom, what each step takes away, and of a layer why.

    Bars end at the elements' peak: what a layer could do beyond it no step can lose.

    Args:
        result: an examination (of the network, or of the *layer* named), or a layer's.
    """
    ax = _axes(ax, (7.6, 3.8))
    whole, title = result, result.name if isinstance(result, LayerExamination) else ""
    if isinstance(result, Examination):
        title = f"{result.network} on {result.accelerator}"
        if layer is not None:
            whole, title = result[layer], f"{layer} of {title}"
    reasons = (
        [step.limited_by for step in whole.steps] if isinstance(whole, LayerExamination) else None
    )
    peak = left = _finite_peak(whole.peak, [whole.bound(n) for n in range(1, 8)])
    for row, color in enumerate(STEP_COLORS):
        bound = whole.bound(row + 1)
        if bound is None:
            ax.text(peak * 0.01, row, "not known: no bandwidth given", va="center", color=INK)
            continue
        now = min(left, bound)
        ax.barh(row, now, color=KEPT, height=0.66)
        ax.barh(row, left - now, left=now, color=color, height=0.66)
        ax.text(peak * 1.02, row, _count(bound), va="center", ha="left", color=INK, fontsize=9)
        if left - now > peak * 5e-5:
            lost = f"−{100 * (left - now) / peak:.2g} %"
            ax.text(peak * 1.17, row, lost, va="center", ha="left", color=INK, fontsize=9)
        if reasons is not None and left - now > peak * 5e-5:
            # Where there is most room: on what is kept, on what is lost, or beside both.
            places = ((0.0, now, "white"), (now, left, INK), (left, peak, FAINT))
            start, end, ink = max(places, key=lambda place: place[1] - place[0])
            text = shorten(reasons[row], int(72 * (end - start) / peak), placeholder=" …")
            ax.text(start + 0.01 * peak, row, text, va="center", color=ink, fontsize=7.5)
        if row < 6 and left > 0:
            ax.plot([now, now], [row + 0.33, row + 0.67], color=FAINT, lw=0.7)
        left = now
    ax.set_yticks(range(7), [f"{n} {name}" for n, name in enumerate(TITLES, start=1)])
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.axvline(peak, color=INK, linewidth=0.8, linestyle=":")
    ax.text(peak, -0.62, f"peak {_count(peak)}", ha="right", va="bottom", color=INK, fontsize=8)
    ax.set_xlim(0, peak * 1.3)
    ax.set_xticks([tick for tick in ax.get_xticks() if tick <= peak])
    ax.spines["bottom"].set_bounds(0, peak)
    ax.set_xlabel("MAC/cycle")
    ax.xaxis.set_label_coords(0.5 / 1.3, -0.1)
    ax.set_title(title, loc="left", fontsize=10)
    _quiet(ax)
    return ax


def _finite_peak(peak: float, bounds: Sequence[float | None]) -> float:
    """The peak, or where no MAC is left to do the highest bound that is finite."""
    finite = [bound for bound in bounds if bound is not None and math.isfinite(bound)]
    return peak if math.isfinite(peak) else max(finite, default=1.0)


def _count(value: float) -> str:
    """A number of at most six characters: 13.57, 7776, 22 M."""
    return f"{value:.4g}" if value < 1e4 or math.isinf(value) else show_count(value)


def plot_layers(result: Examination, ax: Axes | None = None) -> Axes:
    """All layers side by side: what is reached, and which step takes the rest of the peak."""
    count = len(result.layers)
    ax = _axes(ax, (max(7.0, 0.21 * count + 1.2), 4.2))
    named: dict[int, Any] = {}
    for column, layer in enumerate(result.layers):
        left = 1.0
        peak = _finite_peak(layer.peak, [step.bound for step in layer.steps])
        for step in layer.steps:
            if step.bound is None:
                continue
            now = min(left, step.bound / peak)
            if left - now > 1e-9:
                color = STEP_COLORS[step.step - 1]
                bar = ax.bar(column, left - now, 0.82, bottom=now, color=color)
                named.setdefault(step.step, bar)
            left = now
        named.setdefault(0, ax.bar(column, left, 0.82, color=KEPT))
        if count <= _FEW:
            inside = left > 0.08
            ax.text(
                column,
                left - 0.015 if inside else left + 0.01,
                f"{100 * left:.2g} %",
                ha="center",
                va="top" if inside else "bottom",
                color="white" if inside else INK,
                fontsize=7.5,
            )
    ax.set_xticks(range(count), [x.name for x in result.layers], fontsize=7)
    if count > _FEW:
        ax.tick_params(axis="x", labelrotation=90)
    ax.set_xlim(-0.6, count - 0.4)
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    ax.set_ylabel("share of the peak MAC/cycle")
    ax.set_title(f"{result.network} on {result.accelerator}", loc="left", fontsize=10)
    order = sorted(named)
    ax.legend(
        [named[n] for n in order],
        ["lost at " * (n > 0) + (f"{n} {TITLES[n - 1]}" if n else "reached") for n in order],
        frameon=False,
        fontsize=8,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.06),
        borderaxespad=0.0,
        ncols=3,
    )
    _quiet(ax)
    ax.tick_params(axis="x", length=0, labelsize=7)
    return ax


def plot_roofline(result: Examination, operand: str, ax: Axes | None = None) -> Axes:
    """One operand's roofline (Eyeriss v2): each layer a point under the slope of what carries it.

    The slope is the bandwidth to the elements in use; the flat roof of each layer is what its
    elements in use can do (step 5), drawn as a tick above its point. What is reached is a full
    mark (step 6) and, played through in time, an open one (step 7).
    """
    ax = _axes(ax, (5.4, 4.6))
    points: list[tuple[LayerExamination, Roof]] = []
    for layer in result.layers:
        roofs = [r for r in layer.roofs if r.operand == operand and 0 < r.intensity < math.inf]
        if roofs and math.isfinite(layer.peak) and math.isfinite(layer.last):
            points.append((layer, min(roofs, key=lambda roof: roof.bound)))
    ax.set_title(f"{operand}: {result.network} on {result.accelerator}", loc="left", fontsize=10)
    if not points:
        text = "nothing carries it at a bandwidth that is known"
        ax.text(0.5, 0.5, text, ha="center", transform=ax.transAxes)
        ax.set_axis_off()
        return ax
    xs = [roof.intensity for _, roof in points]
    low, high = min(xs) / 4, max(xs) * 4
    top = max(layer.peak for layer, _ in points)
    floor = min(layer.bound(7) or layer.last for layer, _ in points) / 2.5
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(floor, top * 1.6)
    ax.plot([low, high], [top, top], color=INK, linewidth=1.0)
    ax.text(high, top * 1.06, f"all elements: {top:.4g}", fontsize=8, color=INK, ha="right")
    keys = _colors(result)
    for channel in dict.fromkeys(roof.channel for _, roof in points):
        color, marker = keys[channel.partition(".")[0]]
        mine = [(layer, roof) for layer, roof in points if roof.channel == channel]
        for bandwidth in sorted({roof.bandwidth for _, roof in mine}):
            start, end = max(low, floor / bandwidth), min(high, top / bandwidth)
            if end > start:
                ax.plot([start, end], [start * bandwidth, end * bandwidth], color=color, lw=1.0)
        for layer, roof in mine:
            x = roof.intensity
            bounds = (layer.bound(step) for step in (5, 6, 7))
            flat, sixth, last = (math.nan if bound is None else bound for bound in bounds)
            lowest = sixth if math.isnan(last) else last
            ax.plot([x, x], [lowest, flat], color=GRID, lw=0.8, zorder=1)
            ax.plot(x, flat, marker="_", color=color, ms=9, mew=1.4, zorder=2)
            ax.plot(x, last, marker=marker, mfc="white", color=color, ms=4.5, zorder=3)
            ax.plot(x, sixth, marker=marker, color=color, ms=5, zorder=4, ls="")
    _name(ax, points)
    ax.set_xlabel(f"MACs per bit of {operand} moved")
    ax.set_ylabel("MAC/cycle")
    _explain(ax, points, keys)
    _quiet(ax)
    return ax


def _colors(result: Examination) -> dict[str, tuple[str, str]]:
    """The colour and mark of every memory and array that carries something: the same everywhere."""
    names = dict.fromkeys(
        roof.channel.partition(".")[0] for layer in result.layers for roof in layer.roofs
    )
    return {
        name: (CHANNEL_COLORS[n % len(CHANNEL_COLORS)], MARKERS[n % len(MARKERS)])
        for n, name in enumerate(names)
    }


def _explain(
    ax: Axes,
    points: Sequence[tuple[LayerExamination, Roof]],
    keys: dict[str, tuple[str, str]],
) -> None:
    """The legend: what carries the operand, and what the marks are."""
    from matplotlib.lines import Line2D

    lines, names = [], []
    for channel in dict.fromkeys(roof.channel for _, roof in points):
        color, marker = keys[channel.partition(".")[0]]
        rates = sorted({roof.bandwidth for _, roof in points if roof.channel == channel})
        shared = any(roof.shared for _, roof in points if roof.channel == channel)
        most = f"{rates[0]:.4g}" if len(rates) == 1 else f"{rates[0]:.4g} to {rates[-1]:.4g}"
        lines.append(Line2D([], [], color=color, marker=marker, ms=5, lw=1.0))
        names.append(f"{channel}, {most} bit/cycle{', shared' if shared else ''}")
    for marker, face, name in (
        ("_", INK, "elements in use (step 5)"),
        ("o", INK, "bandwidth (step 6)"),
        ("o", "white", "in time (step 7)"),
    ):
        lines.append(Line2D([], [], color=INK, marker=marker, mfc=face, ms=5, mew=1.2, ls=""))
        names.append(name)
    ax.legend(
        lines,
        names,
        frameon=False,
        fontsize=7.5,
        loc="upper left",
        bbox_to_anchor=(0.0, -0.14),
        borderaxespad=0.0,
    )


class _Group(NamedTuple):
    """Layers that lie so near one another that they share a name."""

    x: float  # as shares of the axes' width and height
    y: float
    names: tuple[str, ...]

    @property
    def kinds(self) -> frozenset[str]:
        """The last parts of the names: ``depthwise`` of ``block3/depthwise``."""
        return frozenset(name.rpartition("/")[2] for name in self.names)

    @property
    def text(self) -> str:
        if len(self.names) > 2 and len(self.kinds) == 1:
            return f"{len(self.names)} x {next(iter(self.kinds))}"
        return _condensed(self.names)

    @property
    def width(self) -> float:
        return 0.02 * len(self.text)  # of the axes, at this size of letters

    @property
    def left(self) -> float:
        """Where the text begins, so that it stays within the axes."""
        return min(max(self.x - self.width / 2, 0.0), 1 - self.width)


def _condensed(names: Sequence[str]) -> str:
    """Names with runs of numbers drawn together.

    >>> _condensed(["conv5", "conv1", "conv3", "conv4", "head"])
    'conv1,3-5, head'
    """
    numbers: dict[str, list[int]] = {}
    plain = []
    for name in names:
        match = re.fullmatch(r"(.*?)(\d+)", name)
        if match:
            numbers.setdefault(match[1], []).append(int(match[2]))
        else:
            plain.append(name)
    parts = []
    for stem, values in numbers.items():
        runs: list[list[int]] = []
        for number in sorted(values):
            if runs and runs[-1][-1] == number - 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        parts.append(stem + ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs))
    return ", ".join([*parts, *plain])


def _name(ax: Axes, points: Sequence[tuple[LayerExamination, Roof]]) -> None:
    """Name the layers below their points, those that lie together with one name.

    Of many layers only those are named that there is room for, and that a short name describes.
    """
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()

    def place(x: float, y: float) -> tuple[float, float]:
        return math.log(x / left) / math.log(right / left), math.log(y / bottom) / math.log(
            top / bottom
        )

    many = len(points) > _FEW
    groups: list[_Group] = []
    for layer, roof in sorted(points, key=lambda pair: (pair[1].intensity, pair[0].last)):
        x, y = place(roof.intensity, layer.last)
        new = _Group(x, y, (layer.name,))
        for n, group in enumerate(groups):
            together = _Group((x + group.x) / 2, min(y, group.y), (*group.names, layer.name))
            gap = 0.06 if many else (group.width + new.width) / 2 + 0.01
            if abs(y - group.y) < 0.055 and abs(x - group.x) < gap:
                groups[n] = together
                break
        else:
            groups.append(new)
    marks = [
        place(roof.intensity, bound)
        for layer, roof in points
        for bound in (layer.bound(6), layer.bound(7))
        if bound is not None
    ]
    for group in sorted(groups, key=lambda group: (-len(group.names), group.y)):
        start, under = group.left, group.y - 0.02
        box = (start - 0.01, start + group.width + 0.01, under - 0.04, under)
        covered = any(box[0] < x < box[1] and box[2] < y < box[3] for x, y in marks)
        if many and (covered or len(group.kinds) > 1):
            continue
        marks += [(start + share * group.width, under - 0.02) for share in (0, 0.25, 0.5, 0.75, 1)]
        ax.text(
            start, under, group.text, transform=ax.transAxes, fontsize=7, color=INK, va="top",
            zorder=5,
        )  # fmt: skip


def plot_rooflines(result: Examination, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """The rooflines of all three operands side by side."""
    if axes is None:
        figure = new_figure((10.8, 5.0))
        axes = [figure.add_subplot(1, 3, n) for n in (1, 2, 3)]
    return [
        plot_roofline(result, operand, ax)
        for operand, ax in zip(("input", "weight", "output"), axes, strict=True)
    ]


def new_figure(size: tuple[float, float]) -> Any:
    """A figure that belongs to no window, so that drawing needs no display.

    Raises:
        PicojouleError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PicojouleError("plots need matplotlib: pip install 'picojoule[plots]'") from None
    return Figure(figsize=size, layout="constrained")


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return new_figure(size).add_subplot() if ax is None else ax


def _quiet(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
