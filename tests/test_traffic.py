"""Words over edges, by hand, one factor at a time and then together."""

from __future__ import annotations

import pytest

from picojoule.accelerator import InputReuse
from picojoule.mapping import Mapping, Stage
from picojoule.traffic import (
    Chain,
    chains_of,
    compute_steps,
    flow_of,
    flows,
    repeats,
    rows_under,
    stay,
    window_words,
)
from picojoule.workload import OPERANDS, Dim, Extents, WindowAxis, conv

INPUT, WEIGHT, OUTPUT = OPERANDS

# A 3-row filter over 5 outputs; of its 7 padded rows, the first and the last are zeros.
AXIS = WindowAxis(outputs=5, taps=3, stride=1, dilation=1, stored=range(1, 6))
ALL_STORED = AXIS._replace(stored=range(7))
OUTPUTS_ONE_BY_ONE = Chain((5, 1, 1), (1, 1))
TAPS_AT_ONCE = Chain((3, 3, 1), (1, 1))


def test_chains_of_a_mapping() -> None:
    mapping = Mapping((Stage(Extents(M=5, C=6), spatial=(Extents(M=2),)), Stage(Extents(C=3))))
    chains = chains_of(mapping)
    assert chains[Dim.M] == Chain((5, 1, 1), (2, 1))
    assert chains[Dim.C] == Chain((6, 3, 1), (1, 1))
    assert (chains[Dim.M].step(0), chains[Dim.C].step(0)) == (2, 3)


@pytest.mark.parametrize(
    ("chain", "child", "grain", "still", "times"),
    [
        (Chain((5, 2, 1), (1, 1)), 1, 0, (), 3),  # tiles of 2, 2 and 1
        (Chain((5, 2, 1), (1, 1)), 2, 0, (), 5),  # and one by one inside them
        (Chain((5, 2, 1), (1, 1)), 2, 0, (1,), 3),  # unless the inner loop leaves it in place
        (Chain((5, 2, 1), (1, 1)), 2, 0, (0,), 2),  # or the outer one
        (Chain((4, 1), (4,)), 1, 0, (), 1),  # four elements, served at once
        (Chain((4, 1), (4,)), 1, 1, (), 4),  # and each for itself
        (Chain((5, 1), (4,)), 1, 1, (), 5),  # four of them, then one
    ],
)
def test_repeats(chain: Chain, child: int, grain: int, still: tuple[int, ...], times: int) -> None:
    assert repeats(chain, 0, child, grain, still) == times


def test_a_window_that_does_not_slide_loads_all_its_rows() -> None:
    # 5 times 3 rows; of those, one zero at either end is not stored.
    assert window_words(OUTPUTS_ONE_BY_ONE, TAPS_AT_ONCE, ALL_STORED, 0, 1, 0, None) == 15
    assert window_words(OUTPUTS_ONE_BY_ONE, TAPS_AT_ONCE, AXIS, 0, 1, 0, None) == 13


def test_a_window_that_slides_loads_what_is_new() -> None:
    # 3 rows, then 4 times the next; without padding 2, 1, 1, 1 and none.
    slide = (0, 0)
    assert window_words(OUTPUTS_ONE_BY_ONE, TAPS_AT_ONCE, ALL_STORED, 0, 1, 0, slide) == 7
    assert window_words(OUTPUTS_ONE_BY_ONE, TAPS_AT_ONCE, AXIS, 0, 1, 0, slide) == 5


def test_elements_with_neighbouring_windows_share_rows() -> None:
    # All five outputs side by side: 7 rows are read, 15 delivered.
    side_by_side = Chain((5, 1, 1), (5, 1))
    assert window_words(side_by_side, TAPS_AT_ONCE, ALL_STORED, 0, 1, 0, None) == 7
    assert window_words(side_by_side, TAPS_AT_ONCE, ALL_STORED, 0, 1, 1, None) == 15


def test_one_tap_with_a_stride_leaves_rows_out() -> None:
    # Outputs at rows 0, 2 and 4, of which the first is padding.
    axis = WindowAxis(outputs=3, taps=1, stride=2, dilation=1, stored=range(1, 5))
    one_tap = Chain((1, 1), (1,))
    assert window_words(Chain((3, 1), (1,)), one_tap, axis, 0, 1, 0, None) == 2


def test_rows_under_dilated_taps() -> None:
    # Outputs 0 and 1 are 3 rows apart, taps 0 to 2 are 2 apart: rows 0 2 4 and 3 5 7.
    axis = WindowAxis(outputs=2, taps=3, stride=3, dilation=2, stored=range(2, 7))
    assert rows_under(axis, 0, 2, 0, 3) == {2, 3, 4, 5}
    assert rows_under(axis, 1, 2, 1, 3) == {5}


def test_what_stays_and_what_slides() -> None:
    whole = Extents(M=2, C=3, P=4)
    by_channel = Mapping((Stage(whole, (Dim.P, Dim.M, Dim.C)), Stage(Extents())))
    # Innermost the channels: sums stay over them, the others do not.
    assert stay(by_channel, OUTPUT, 1) == (((0, Dim.C),), None)
    assert stay(by_channel, INPUT, 1) == ((), None)
    # Innermost the filters, then the rows: the input stays over filters and slides along rows.
    by_filter = Mapping((Stage(whole, (Dim.C, Dim.P, Dim.M)), Stage(Extents())))
    assert stay(by_filter, INPUT, 1) == (((0, Dim.M),), (0, Dim.P))
    # A multiplier holds nothing.
    assert stay(by_filter, INPUT, 2) == ((), None)


def test_compute_steps() -> None:
    # 5 filters on 2 elements take 3 steps, for each of 4 channels.
    mapping = Mapping((Stage(Extents(M=5, C=4), spatial=(Extents(M=2),)), Stage(Extents())))
    assert compute_steps(mapping) == 12


def test_flows_of_a_mapping() -> None:
    # 5 outputs, 3 taps, 2 filters, one on each of 2 elements, which slide down the 7 rows.
    layer = conv("x", input_size=(7, 1), in_channels=1, out_channels=2, kernel=(3, 1))
    mapping = Mapping((Stage(layer.bounds, (Dim.P,), spatial=(Extents(M=2),)), Stage(Extents(R=3))))
    edges = {(flow.operand, flow.parent): flow for flow in flows(layer, mapping)}
    # Every row is read once and goes to both elements; each of the 30 MACs takes its own.
    assert edges[INPUT, 0].words == (7, 14)
    assert edges[INPUT, 0].shared(0) == 14
    assert edges[INPUT, 1].words == (30, 30)
    # Weights stay over all rows, sums over all taps: 6 come, 10 leave, none shared.
    assert edges[WEIGHT, 0].words == (6, 6)
    assert edges[WEIGHT, 0].shared(0) == 0
    assert edges[OUTPUT, 0].words == (10, 10)
    assert [flow.child for flow in edges.values()] == [1, 2, 1, 2, 1, 2]


def test_padding_is_moved_only_where_it_is_charged() -> None:
    layer = conv(
        "x", input_size=(5, 1), in_channels=1, out_channels=1, kernel=(3, 1), padding=(1, 1, 0, 0)
    )
    mapping = Mapping((Stage(layer.bounds), Stage(Extents(R=3))))
    assert flows(layer, mapping)[0].words == (5, 5)
    assert flows(layer, mapping, InputReuse(padded=True))[0].words == (7, 7)


# 3 x 3 outputs on as many elements, 3 x 3 taps one after the other, 2 filters outside them.
PIXELS = conv("x", input_size=(5, 5), in_channels=1, out_channels=2, kernel=(3, 3))
BY_PIXEL = Extents(P=3), Extents(Q=3)


def _inputs(order: tuple[Dim, ...], reuse: InputReuse) -> tuple[int, ...]:
    whole = Stage(PIXELS.bounds, order, spatial=BY_PIXEL)
    bare = Stage(Extents(), keeps=frozenset({OUTPUT}))
    [inputs] = [x for x in flows(PIXELS, Mapping((whole, bare)), reuse) if x.operand is INPUT]
    return inputs.words


def test_neighbours_hand_inputs_on() -> None:
    # 9 taps need 9 inputs each, 81 a filter; the window's 25 rows and columns come in but once.
    taps = (Dim.M, Dim.R, Dim.S)
    assert _inputs(taps, InputReuse()) == (162, 162, 162)
    both = InputReuse(handed_on=(frozenset({Dim.R, Dim.S}), frozenset()))
    assert _inputs(taps, both) == (50, 162, 162)
    # Only along rows: for each of 3 columns of taps the 5 rows come in once, 3 pixels of each.
    rows = InputReuse(handed_on=(frozenset({Dim.R}), frozenset()))
    assert _inputs((Dim.M, Dim.S, Dim.R), rows) == (2 * 3 * 5 * 3, 162, 162)
    # They must run inside all other loops: after one of columns, or of filters, all comes anew.
    assert _inputs(taps, rows) == (162, 162, 162)
    assert _inputs((Dim.R, Dim.S, Dim.M), both) == (162, 162, 162)


def test_a_memory_may_fetch_inputs_anew() -> None:
    # Two filters one after the other; the tile of inputs is all 25 and stays, unless M refetches.
    tile = PIXELS.bounds._replace(M=1)
    mapping = Mapping((Stage(PIXELS.bounds, (Dim.M,)), Stage(tile)))
    assert flows(PIXELS, mapping)[0].words == (25, 25)
    anew = InputReuse(refetches=(frozenset(), frozenset({Dim.M})))
    assert flows(PIXELS, mapping, anew)[0].words == (50, 50)
    assert stay(mapping, INPUT, 1, anew) == ((), None)
    # One row of windows slides down the rows: 5 + 5 + 5 words more come in than without overlap.
    rows = Mapping((Stage(PIXELS.bounds, (Dim.P,)), Stage(PIXELS.bounds._replace(P=1))))
    assert flows(PIXELS, rows)[0].words == (25, 25)
    whole = InputReuse(refetches=(frozenset(), frozenset({Dim.P})))
    assert flows(PIXELS, rows, whole)[0].words == (45, 45)


def test_a_flow_over_two_arrays() -> None:
    # 3 words leave, 6 pass the outer array, 6 the inner: only the outer one shares.
    flow = flow_of(INPUT, 0, 2, (3, 6, 6))
    assert (flow.at_parent, flow.at_child) == (3, 6)
    assert (flow.passed(0), flow.passed(1)) == ((3, 6), (6, 6))
    assert (flow.shared(0), flow.shared(1)) == (6, 0)
