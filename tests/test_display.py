"""Results draw themselves in a notebook through whoever was made to draw."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

import picojoule
from picojoule import display
from picojoule.errors import PicojouleError
from picojoule.estimate_records import Estimate
from picojoule.reports.notebook import NotebookBar
from picojoule.workload import Workload, linear

EVIL = "fc<i>"


@pytest.fixture
def own_drawers() -> Iterator[list[object]]:
    """Drawers of the test's own in place of the package's; the objects they were given."""
    before, drawn = list(display._drawers), list[object]()

    def render(result: object, *rest: object, **options: object) -> str:
        drawn.append(result)
        return f"<b>own</b>{rest}{options}"

    told: dict[str, Any] = {"progress": drawn.append, "watch": None}
    display.drawn_by(display.Drawers(html=render, plot=render, progress=lambda: nullcontext(told)))
    yield drawn
    display._drawers[:] = before


class Result(display.Plotted):
    __slots__ = ()


def test_the_last_drawers_draw(own_drawers: list[object]) -> None:
    result = Result()
    assert result._repr_html_() == "<b>own</b>(){}"
    assert result.plot("axes", by="operand") == "<b>own</b>('axes',){'by': 'operand'}"
    assert own_drawers == [result, result]


@pytest.fixture(scope="module")
def estimate() -> Estimate:
    network = Workload("net", (linear(EVIL, in_features=4, out_features=2),))
    return picojoule.estimate(network, "eyeriss", cache=False)


def shown(estimate: Estimate) -> dict[str, Any]:
    assert estimate.machine is not None
    exam = picojoule.examine(estimate.workload(), estimate.machine, cache=False)
    return {
        "<Estimate net on eyeriss: 5.72 nJ per inference, 1 layers>": estimate,
        "<LayerEstimate fc<i>: energy ": estimate.layers[0],
        "<Comparison net on eyeriss 5.72 nJ, net on eyeriss 5.72 nJ>": picojoule.compare(
            estimate, estimate
        ),
        "<Mapping M2 C4 > ": estimate.layers[0].mapping,
        "<Accelerator eyeriss: dram > buffer+filter-buffer > 12 x 14 > input-spad": (
            estimate.machine
        ),
        "<Examination net on eyeriss: ": exam,
    }


def test_results_have_short_names_and_pictures(estimate: Estimate) -> None:
    for start, result in shown(estimate).items():
        assert repr(result).startswith(start), repr(result)
        assert len(repr(result)) < 120
        html = result._repr_html_()
        assert "<svg" in html
        assert "<script" not in html
        assert EVIL not in html
        assert "http" not in html.replace("http://www.w3.org/2000/svg", "")


def test_results_that_are_plotted(estimate: Estimate) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    results = shown(estimate)
    for start, result in results.items():
        if start.startswith(("<Estimate", "<Comparison", "<Exam")):
            pyplot.close(result.plot().get_figure(root=True))
    axes = pyplot.figure().subplots()
    assert estimate.plot(axes, by="operand") is axes
    pyplot.close("all")
    with pytest.raises(PicojouleError, match="a Result is not plotted"):
        Result().plot()


def in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_notebook_shows_progress_unless_the_caller_does(
    own_drawers: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Workload("net", (linear("fc", in_features=4, out_features=2),))
    own: list[str] = []

    def price(progress: Any = None) -> None:
        picojoule.estimate(network, "eyeriss", progress=progress)

    with display.shown(None, None) as told:
        assert told == {"progress": None, "watch": None}
    in_a_notebook(monkeypatch)
    with display.shown(None, None) as told:
        assert told["progress"] == own_drawers.append
    with display.shown(own.append, None) as told:
        assert told["progress"] == own.append
    price(progress=lambda done, total, layer: own.append(f"{done}/{total} {layer}"))
    assert own == ["0/1 fc"]
    assert own_drawers == []


def test_a_notebooks_bar() -> None:
    pictures: list[str] = []
    bar = NotebookBar(pictures.append)
    bar.update(0, 8, "conv<1>")
    assert "0 of 8 layers" in pictures[0]
    assert "conv&lt;1&gt;" in pictures[0]
    bar.update(2, 8, "conv3")  # too soon for another picture
    assert len(pictures) == 1
    bar.watch(1.05, 1.0)
    assert "about 30 s left, gap 5 %" in bar.html(10.0)


def test_names_are_offered() -> None:
    assert {"estimate", "prune", "compare", "load_model", "Estimate"} <= set(dir(picojoule))
    assert "annotations" not in dir(picojoule)
    assert "_LAZY" not in dir(picojoule)
