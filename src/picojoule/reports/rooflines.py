"""Plots of an examination: rooflines per operand, and the waterfall of the seven steps.

Every function takes a result and, if wanted, the Axes to draw on, and returns the Axes. They need
matplotlib: ``pip install picojoule[plots]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from picojoule.errors import PicojouleError
from picojoule.eyexam import Examination
from picojoule.seven_steps import TITLES, LayerExamination, Roof

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, KEPT, LOST, GRID = "#1a1a1a", "#2f6f9f", "#e2a13b", "#d9d9d9"
COLOURS = ("#2f6f9f", "#c2542d", "#3f8f5b", "#7a5aa6", "#8a6d3b", "#b0487f", "#5a5a5a", "#1b9aaa")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def plot_waterfall(
    result: Examination | LayerExamination, layer: str | None = None, ax: Axes | None = None
) -> Axes:
    """The seven bounds from top to bottom, and what each step takes away.

    Bars end at the elements' peak: what a layer could do beyond it no step can lose.

    Args:
        result: an examination (of the network, or of the *layer* named), or a layer's.
    """
    ax = _axes(ax, (7.0, 3.6))
    title, whole = f"{getattr(result, 'network', '')}", result
    if isinstance(result, Examination):
        title = f"{result.network} on {result.accelerator}"
        if layer is not None:
            whole, title = result[layer], f"{layer} of {title}"
    else:
        title = result.name
    peak = whole.peak
    bounds = [whole.bound(n) for n in range(1, 8)]
    left = peak
    for row, (name, bound) in enumerate(zip(TITLES, bounds, strict=True)):
        if bound is None:
            ax.text(peak * 0.01, row, "not known: no bandwidth given", va="center", color=INK)
            continue
        now = min(left, bound)
        ax.barh(row, now, color=KEPT, height=0.62)
        ax.barh(row, left - now, left=now, color=LOST, height=0.62)
        lost = f"   −{100 * (left - now) / peak:.2g} %" if left - now > peak * 5e-5 else ""
        text = f"{bound:.4g}{lost}"
        if now > 0.75 * peak and left - now <= 0.25 * peak:
            ax.text(now - peak * 0.01, row, text, va="center", ha="right", color="white")
        else:
            ax.text(left + peak * 0.01, row, text, va="center", color=INK)
        left = now
        del name
    ax.set_yticks(range(7), [f"{n} {name}" for n, name in enumerate(TITLES, start=1)])
    ax.invert_yaxis()
    ax.axvline(peak, color=INK, linewidth=0.8, linestyle=":")
    ax.set_xlim(0, peak * 1.22)
    ax.set_xlabel("MAC/cycle (dotted: every element at work)")
    ax.set_title(title, loc="left", fontsize=10)
    _quiet(ax)
    return ax


def plot_layers(result: Examination, ax: Axes | None = None) -> Axes:
    """All layers side by side: what is reached, and which step takes the rest of the peak."""
    ax = _axes(ax, (max(6.0, 0.32 * len(result.layers) + 2.5), 4.0))
    shades = ("#9e9e9e", "#7a5aa6", "#3f8f5b", "#8a6d3b", "#b0487f", "#e2a13b", "#c2542d")
    named: set[int] = set()
    for column, layer in enumerate(result.layers):
        left = 1.0
        for step in layer.steps:
            if step.bound is None:
                continue
            now = min(left, step.bound / layer.peak)
            label = f"lost at {step.step} {step.title}" if step.step not in named else None
            if left - now > 1e-9:
                named.add(step.step)
                ax.bar(
                    column,
                    left - now,
                    bottom=now,
                    color=shades[step.step - 1],
                    label=label,
                    width=0.8,
                )
            left = now
        ax.bar(column, left, color=KEPT, width=0.8, label="reached" if column == 0 else None)
    ax.set_xticks(
        range(len(result.layers)), [x.name for x in result.layers], rotation=90, fontsize=7
    )
    ax.set_ylim(0, 1)
    ax.set_ylabel("share of the peak MAC/cycle")
    ax.set_title(f"{result.network} on {result.accelerator}", loc="left", fontsize=10)
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda n: (labels[n] != "reached", labels[n]))
    ax.legend(
        [handles[n] for n in order],
        [labels[n] for n in order],
        frameon=False,
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )
    _quiet(ax)
    return ax


def plot_roofline(result: Examination, operand: str, ax: Axes | None = None) -> Axes:
    """One operand's roofline (Eyeriss v2): each layer a point on the slope of what carries it.

    The slope is the bandwidth to the elements in use; the flat roof of each layer is what its
    elements in use can do (step 5), drawn as a tick above its point.
    """
    ax = _axes(ax, (5.4, 4.2))
    found: list[tuple[LayerExamination, Roof]] = []
    for layer in result.layers:
        roofs = [roof for roof in layer.roofs if roof.operand == operand]
        if roofs:
            found.append((layer, min(roofs, key=lambda roof: roof.bound)))
    ax.set_title(f"{operand}: {result.network} on {result.accelerator}", loc="left", fontsize=10)
    if not found:
        text = "no bandwidth is given for what carries it"
        ax.text(0.5, 0.5, text, ha="center", transform=ax.transAxes)
        return ax
    channels = list(dict.fromkeys(roof.channel for _, roof in found))
    xs = [roof.intensity for _, roof in found]
    low, high = min(xs) / 3, max(xs) * 3
    top = max(layer.peak for layer, _ in found)
    ax.axhline(top, color=INK, linewidth=1.0)
    ax.text(low, top * 1.06, f" every element: {top:.4g}", fontsize=8, color=INK)
    for number, channel in enumerate(channels):
        colour, marker = COLOURS[number % 8], MARKERS[number % 8]
        mine = [(layer, roof) for layer, roof in found if roof.channel == channel]
        for bandwidth in sorted({roof.bandwidth for _, roof in mine}):
            knee = top / bandwidth
            end = min(high, knee)
            if end > low:
                ax.plot([low, end], [low * bandwidth, end * bandwidth], color=colour, lw=0.9)
        for layer, roof in mine:
            flat, reached = layer.bound(5), layer.bound(6)
            assert flat is not None
            assert reached is not None  # roofs come with bandwidths
            ax.plot([roof.intensity] * 2, [reached, flat], color=GRID, lw=0.8, zorder=1)
            ax.plot(roof.intensity, flat, marker="_", color=colour, ms=9)
            last = layer.bound(7)
            if last is not None:
                ax.plot(roof.intensity, last, marker=marker, mfc="white", color=colour, ms=4)
        ax.scatter(
            [roof.intensity for _, roof in mine],
            [layer.bound(6) or 0.0 for layer, _ in mine],
            marker=marker,
            color=colour,
            s=26,
            zorder=3,
            label=f"{channel}{' (shared)' if any(r.shared for _, r in mine) else ''}",
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_xlabel(f"MACs per bit of {operand} moved")
    ax.set_ylabel("MAC/cycle (− roof, full: step 6, open: step 7)")
    if len(found) <= 12:
        _label(ax, found)
    ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    _quiet(ax)
    return ax


def _label(ax: Axes, found: Sequence[tuple[LayerExamination, Roof]]) -> None:
    """Name the points; layers that lie on one another share a name."""
    places: dict[tuple[int, int], list[tuple[str, float, float]]] = {}
    for layer, roof in found:
        x, y = roof.intensity, layer.bound(6) or 1.0
        near = round(12 * math.log10(x)), round(12 * math.log10(y))
        places.setdefault(near, []).append((layer.name, x, y))
    for points in places.values():
        name = ", ".join(point[0] for point in points[:3]) + (" …" if len(points) > 3 else "")
        offset, side = (
            ((-5, -10), "right") if points[0][1] > ax.get_xlim()[1] / 30 else ((5, -10), "left")
        )
        ax.annotate(
            name,
            points[0][1:],
            xytext=offset,
            textcoords="offset points",
            fontsize=7,
            color=INK,
            ha=side,
        )


def plot_rooflines(result: Examination, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """The rooflines of all three operands side by side."""
    if axes is None:
        figure = new_figure((15.0, 4.4))
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
