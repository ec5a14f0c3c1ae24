"""Plots for papers: vector, one column wide, on the caller's axes."""

from __future__ import annotations

from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from picojoule.comparison import compare  # noqa: E402
from picojoule.errors import PicojouleError  # noqa: E402
from picojoule.estimate_records import Estimate  # noqa: E402
from picojoule.reports.plots import (  # noqa: E402
    COLUMN,
    plot_layers,
    plot_roofline,
    plot_shares,
    save_plot,
)


def test_bars_add_up_to_the_energies(dense: Estimate) -> None:
    for by in ("memory", "operand"):
        axes = plot_layers(dense, by=by)
        heights = [0.0] * len(dense.layers)
        for bars in axes.containers:
            for n, bar in enumerate(bars):
                heights[n] += bar.get_height()
        shown = [tick.get_text() for tick in axes.get_xticklabels()]
        assert shown == [layer.name for layer in dense.layers]
        unit = axes.get_ylabel().partition("[")[2].rstrip("]")
        factor = {"k x E_MAC": 1e3, "x E_MAC": 1.0}[unit]
        expected = [layer.energy / factor for layer in dense.layers]
        assert heights == pytest.approx(expected)
        pyplot.close(axes.get_figure(root=True))


def test_the_callers_axes_are_used(dense: Estimate, sparse: Estimate) -> None:
    figure, places = pyplot.subplots(1, 3)
    assert plot_layers(compare(dense, sparse), places[0]) is places[0]
    assert plot_shares(dense, ax=places[1]) is places[1]
    assert plot_roofline(dense, ax=places[2], memory="dram") is places[2]
    pyplot.close(figure)


def test_text_is_legible_at_one_column(dense: Estimate) -> None:
    axes = plot_layers(dense)
    figure = axes.get_figure(root=True)
    assert figure.get_size_inches()[0] == pytest.approx(COLUMN)
    figure.canvas.draw()
    texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.get_legend().get_texts()]
    assert min(float(text.get_fontsize()) for text in texts if text.get_text()) >= 6
    edge = figure.bbox
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= edge.x0 - 1
        assert box.x1 <= edge.x1 + 1
    pyplot.close(figure)


def test_files_are_vector_and_reproducible(
    dense: Estimate, sparse: Estimate, tmp_path: Path
) -> None:
    for name in ("a.svg", "b.svg"):
        save_plot(compare(dense, sparse), tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert "<image" not in text
    save_plot(dense, tmp_path / "c.pdf", by="operand")
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")
    save_plot(dense, tmp_path / "d.png")
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_said(dense: Estimate) -> None:
    with pytest.raises(PicojouleError, match="'memory' and 'operand'"):
        plot_layers(dense, by="layer")
    with pytest.raises(PicojouleError, match="no bandwidth of 'buffer'; there are dram"):
        plot_roofline(dense, memory="buffer")
