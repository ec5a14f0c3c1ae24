"""What stands beside published figures; the figures themselves are tried in tests/paper."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import resources

import pytest

from picojoule.errors import PicojouleError
from picojoule.specs import load_accelerator
from picojoule.validation.cvpr17_networks import googlenet, squeezenet
from picojoule.validation.figures import PublishedNumber, estimated, figure, published
from picojoule.validation.isca16 import worked_examples
from picojoule.validation.jssc17 import shipped_mapping
from picojoule.validation.sections import SECTIONS
from picojoule.validation.summary import errors, measured

NUMBER = PublishedNumber(
    figure="x", quantity="y", kind="energy", origin="silicon", paper=100.0, ours=90.0
)


@pytest.mark.parametrize(
    ("ours", "tolerance", "ok"),
    [(102.9, 0.03, True), (97.1, 0.03, True), (104.0, 0.03, False), (1e9, None, True)],
)
def test_a_number_is_ok_as_near_as_promised(ours: float, tolerance: float | None, ok: bool) -> None:
    number = replace(NUMBER, ours=ours, tolerance=tolerance)
    assert number.ratio == ours / 100
    assert number.ok is ok


def test_nothing_is_infinitely_far_from_zero() -> None:
    number = replace(NUMBER, paper=0.0, ours=1.0, tolerance=1.0)
    assert math.isinf(number.ratio)
    assert not number.ok


def test_the_worked_examples_of_isca16_are_exact() -> None:
    """Eq. 3 and 4 of the paper: 248 and 708 times the energy of a MAC."""
    assert [(x.paper, x.ours, x.ok) for x in worked_examples()] == [
        (248.0, 248.0, True),
        (708.0, 708.0, True),
    ]


def test_every_published_row_is_a_number_with_a_place() -> None:
    folder = resources.files("picojoule") / "data" / "published"
    files = [x.name.removesuffix(".csv") for x in folder.iterdir() if x.name.endswith(".csv")]
    assert files
    for name in files:
        rows = published(name)
        assert rows, name
        for row in rows:
            if "value" in row:
                float(row["value"])


def test_a_figure_is_chosen_by_its_columns() -> None:
    values = figure("isca16_worked_examples")
    assert values["input", "energy"] == 248
    assert figure("isca16_worked_examples", layer="input") == {
        place: value for place, value in values.items() if place[0] == "input"
    }
    assert figure("isca16_worked_examples", layer="none") == {}


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(PicojouleError, match="no policy"):
        estimated("squeezenet1.1", "eyeriss", 1, "sr")
    assert len(SECTIONS) == len(set(SECTIONS))


def test_a_shipped_mapping_is_one_of_the_accelerator() -> None:
    mapping = shipped_mapping("jssc17-alexnet-conv1")
    assert len(mapping.stages) == len(load_accelerator("eyeriss").levels)


def test_a_fitted_number_is_no_test() -> None:
    number = replace(NUMBER, ours=1e9, tolerance=0.1, fitted=True)
    assert number.ok
    assert not number.promised
    assert measured([number, NUMBER, replace(NUMBER, origin="simulator")]) == 1


def test_errors_are_summed_up_by_origin_and_kind() -> None:
    rows = [
        replace(NUMBER, ours=90.0, tolerance=0.2),
        replace(NUMBER, ours=130.0, tolerance=0.2),
        replace(NUMBER, ours=101.0),
        replace(NUMBER, ours=500.0, fitted=True),
        replace(NUMBER, origin="layout", fitted=True),
    ]
    silicon, layout = errors(rows)
    assert (silicon.count, silicon.promised, silicon.kept, silicon.fitted) == (3, 2, 1, 1)
    assert silicon.median == pytest.approx(0.1)
    assert silicon.worst == pytest.approx(0.3)
    assert (layout.count, layout.median, layout.worst, layout.fitted) == (0, None, None, 1)


def test_squeezenet_has_the_zeros_of_real_feature_maps() -> None:
    """Every layer of 1.0 finds its namesake in 1.1; a rectified map is half zeros and more."""
    network = squeezenet()
    assert all(0 < x.density.input < 1 for x in network)
    assert network["conv10"].density.input < 0.1
    densities = {x.density.input for x in googlenet()}
    assert len(densities) == 1
    assert 0.4 < densities.pop() < 0.5
