"""Tables of what moves at each visit, by hand."""

from __future__ import annotations

import pytest

from picojoule.mapping import Mapping, Stage
from picojoule.simulation.visit_tables import PAIRS, SINGLE, VisitTables
from picojoule.workload import OPERANDS, Dim, Extents, Layer, conv

INPUT, WEIGHT, OUTPUT = OPERANDS
N, G, M, C, P, Q, R, S = Dim


def filters() -> VisitTables:
    """Five filters of six channels; tiles of two filters and three channels, visited in order."""
    layer = Layer("x", Extents(M=5, C=6))
    mapping = Mapping((Stage(layer.bounds, (M, C)), Stage(Extents(M=2, C=3))))
    return VisitTables(layer, mapping, False, ((0, M, 3), (0, C, 2)))


def test_steps_of_a_visit() -> None:
    # Tiles of 2, 2 and 1 filters; 3 channels each time; nothing along the others.
    assert filters().steps(M).tolist() == [2, 2, 1]
    assert filters().steps(C).tolist() == [3, 3]
    assert filters().steps(N).tolist() == [1]


def test_words_of_a_visit() -> None:
    factors = filters().factors(WEIGHT, 1, 0, "distinct", None)
    assert len(factors) == len(SINGLE) + len(PAIRS)
    assert [factor.tolist() for factor in factors] == [[1], [1], [2, 2, 1], [3, 3], [1], [1]]
    # An input is indexed by channels alone: along the filters it is there once a visit.
    inputs = filters().factors(INPUT, 1, 0, "distinct", None)
    assert [factor.tolist() for factor in inputs] == [[1], [1], [1, 1, 1], [3, 3], [1], [1]]


def test_first_and_last_along_a_dimension() -> None:
    # Channels are added up: at their first tile nothing has been, at their last all will be.
    assert filters().first(C, 1).tolist() == [1, 0]
    assert filters().final(C, frozenset({0})).tolist() == [0, 1]
    # Seen from outside the loop both tiles are the last.
    assert filters().final(C, frozenset()).tolist() == [1, 1]


def test_a_clock_counts_all_visited_loops_of_its_dimension() -> None:
    # Eight filters in tiles of four, those in tiles of two: the outer loop advances by two visits.
    layer = Layer("x", Extents(M=8))
    stages = (Stage(layer.bounds), Stage(Extents(M=4)), Stage(Extents(M=2)))
    tables = VisitTables(layer, Mapping(stages), False, ((0, M, 2), (1, M, 2)))
    assert (tables.stride(M, 0), tables.stride(M, 1)) == (2, 1)
    assert tables.steps(M).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("padded", "whole", "new"),
    [(False, [2, 3, 3, 3, 2], [2, 1, 1, 1, 0]), (True, [3, 3, 3, 3, 3], [3, 1, 1, 1, 1])],
)
def test_a_window_that_slides(padded: bool, whole: list[int], new: list[int]) -> None:
    # 3 taps over 5 rows with a zero at either end, an output a visit: of 7 padded rows the first
    # and the last are not stored. Once it slides, only the row that is new comes.
    layer = conv(
        "x", input_size=(5, 1), in_channels=1, out_channels=1, kernel=(3, 1), padding=(1, 1, 0, 0)
    )
    mapping = Mapping((Stage(layer.bounds, (P,)), Stage(Extents(R=3))))
    tables = VisitTables(layer, mapping, padded, ((0, P, 5),))
    assert tables.factors(INPUT, 1, 0, "distinct", None)[4].tolist() == whole
    assert tables.factors(INPUT, 1, 0, "distinct", (0, P))[4].tolist() == new


def test_elements_that_share_rows() -> None:
    # Two outputs side by side, one an element: 4 distinct rows, 3 + 3 delivered one by one.
    layer = conv("x", input_size=(4, 1), in_channels=1, out_channels=1, kernel=(3, 1))
    mapping = Mapping((Stage(layer.bounds, spatial=(Extents(P=2),)), Stage(Extents(R=3))))
    tables = VisitTables(layer, mapping, False, ())
    assert tables.factors(INPUT, 1, 0, "distinct", None)[4].tolist() == [4]
    assert tables.factors(INPUT, 1, 0, "delivered", None)[4].tolist() == [6]
    # Both elements hold the same three weights.
    assert tables.factors(WEIGHT, 1, 0, "distinct", None)[4].tolist() == [3]
    assert tables.factors(WEIGHT, 1, 0, "delivered", None)[4].tolist() == [6]
    assert tables.factors(OUTPUT, 1, 0, "distinct", None)[4].tolist() == [2]


def test_what_flows_to_the_multipliers_has_a_moment_for_each_step() -> None:
    # A visit of two filters and three channels is 6 steps; each takes one weight and one input.
    weights = filters().factors(WEIGHT, 2, 1, "distinct", None)
    assert weights[2].tolist() == [2, 2, 1]
    assert weights[3].tolist() == [3, 3]
    inputs = filters().factors(INPUT, 2, 1, "distinct", None)
    assert inputs[2].tolist() == [2, 2, 1]
    # Of the sums of a visit the first of each filter is not fetched: once instead of three times.
    assert filters().factors(OUTPUT, 2, 1, "distinct", None)[3].tolist() == [3, 3]
    assert filters().factors(OUTPUT, 2, 1, "first", None)[3].tolist() == [1, 1]
