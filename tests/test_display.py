"""Results draw themselves in a notebook through whoever was made to draw."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import picojoule
from picojoule import display
from picojoule.estimate_records import Estimate
from picojoule.workload import Workload, linear


@pytest.fixture
def own_renderer() -> Iterator[list[object]]:
    """A renderer of the test's own in place of the package's; the objects it was given."""
    before, drawn = list(display._renderers), list[object]()

    def render(result: object) -> str:
        drawn.append(result)
        return "<b>own</b>"

    display.drawn_by(render)
    yield drawn
    display._renderers[:] = before


class Result(display.Displayed):
    __slots__ = ()


def test_the_last_renderer_draws(own_renderer: list[object]) -> None:
    result = Result()
    assert result._repr_html_() == "<b>own</b>"
    assert own_renderer == [result]


def test_the_package_draws_an_estimate() -> None:
    network = Workload("net", (linear("fc<i>", in_features=4, out_features=2),))
    estimate = picojoule.estimate(network, "eyeriss", cache=False)
    assert isinstance(estimate, Estimate)
    html = estimate._repr_html_()
    assert "<table" in html
    assert "fc&lt;i&gt;" in html
