"""The classes of a space, and what stays and slides in each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from picojoule.dataflow import DATAFLOWS
from picojoule.errors import NoMappingError
from picojoule.mapper.mapping_classes import Edge, MappingClass, Order, Runs, empty_levels
from picojoule.mapper.space import Space
from picojoule.workload import DIMS, OPERANDS, Dim, Layer, Operand, conv, linear
from tests.strategies import machine

N, G, M, C, P, Q, R, S = DIMS
INPUT, WEIGHT, OUTPUT = OPERANDS
ALL = frozenset(OPERANDS)
LINEAR = linear("fc", in_features=6, out_features=4)
CONV = conv("conv", input_size=(6, 9), in_channels=2, out_channels=3, kernel=(3, 3))


def space(
    layer: Layer = LINEAR, depth: int = 2, dataflow: str = "flexible", **options: Any
) -> Space:
    accelerator = machine([OPERANDS] * depth, [[] for _ in range(depth)], **options)
    return Space(layer, accelerator, DATAFLOWS[dataflow], timed=False)


def test_two_levels_have_one_class_for_each_operand_that_stays() -> None:
    # No window, so nothing slides: each of the three may stay, and that is all.
    assert [cls.orders[0].stays for cls in space().classes()] == [WEIGHT, INPUT, OUTPUT]


def test_three_levels() -> None:
    # Outside 3. Inside 3 in which any loop runs, one in which none does, and those in which only
    # the staying operand's own loops run: after any order outside for the inputs, which loops over
    # M leave in place; for weights and outputs only where the same one stays outside. 3 x (3 + 1)
    # + 3 + 1 + 1.
    assert len(list(space(depth=3).classes())) == 17


def test_a_window_slides() -> None:
    # Weights stay while P or Q slides, outputs while R or S does, inputs beside any of the four.
    slides: dict[Operand, set[Dim]] = {}
    for cls in space(CONV).classes():
        slides.setdefault(cls.orders[0].stays, set()).add(cls.orders[0].slides)
    assert slides == {WEIGHT: {P, Q}, INPUT: {P, Q, R, S}, OUTPUT: {R, S}}


def test_a_square_layer_is_its_own_mirror() -> None:
    square = replace(CONV, input_size=(6, 6), bounds=CONV.bounds._replace(Q=4))
    assert space(square).mirrored
    assert not space(CONV).mirrored
    # Of Q and P, S and R one each: 1 + 2 + 1.
    assert len(list(space(square).classes())) == 4


def test_bypasses() -> None:
    one = space(depth=3, bypass=(WEIGHT,))
    # Weights may pass by either of two levels: 2 x 2.
    assert len(one.keeps) == 4
    assert empty_levels((ALL, frozenset(), ALL)) == {1}


def test_what_a_dataflow_cannot_keep_out() -> None:
    accelerator = machine([OPERANDS] * 2, [[4], []])
    with pytest.raises(NoMappingError, match="'ws' does not store the input, output in level 1"):
        Space(LINEAR, accelerator, DATAFLOWS["ws"], timed=False)


@pytest.mark.parametrize(
    ("order", "innermost"),
    [
        (Order(WEIGHT, P), (N, Q, P)),  # all that leaves the weights in place, P last
        (Order(INPUT, S), (S, M)),  # the inputs stay over M; next to it the window slides
        (Order(OUTPUT, R), (C, S, R)),
    ],
)
def test_loops(order: Order, innermost: tuple[Dim, ...]) -> None:
    loops = order.loops()
    assert loops[-len(innermost) :] == innermost
    assert sorted(loops, key=str) == sorted(DIMS, key=str)


def test_stays() -> None:
    one = space(CONV, depth=3)
    cls = MappingClass(one.keeps[0], (Order(WEIGHT, P), Order(WEIGHT, Q)), (Runs.ANY, Runs.OWN))
    # Only loops that leave the weights in place run at level 1, so they stay across it and across
    # level 0's own: bits 0 and 1.
    assert one.stay(cls, Edge(WEIGHT, 1, 2)) == (0b11, None)
    # The inputs slide on Q, the innermost loop outside them.
    assert one.stay(cls, Edge(INPUT, 1, 2)) == (0, (1, Q))
    assert one.stay(cls, Edge(INPUT, 0, 1)) == (0, (0, P))
    # A multiplier holds nothing.
    assert one.stay(cls, Edge(WEIGHT, 2, 3)) == (0, None)


def test_the_edges_of_a_bypass() -> None:
    keeps = (ALL, ALL - {WEIGHT}, ALL)
    edges = list(space(depth=3).edges(keeps))
    assert [e[1:] for e in edges if e.operand is WEIGHT] == [(0, 2), (2, 3)]
    assert [e[1:] for e in edges if e.operand is INPUT] == [(0, 1), (1, 2), (2, 3)]


def test_the_largest_tiles_fit() -> None:
    # 5 words at the inner level: with M of 1, a tile of C takes C inputs, C weights and a sum:
    # 2 x 2 + 1. With C of 1, M weights, M sums and an input: 2 x 2 + 1.
    one = space(capacities=[None, 5 * 16])
    assert one.blocks[0][2].key.cuts[0].limits == (4, 2)
    assert one.blocks[0][3].key.cuts[0].limits == (6, 2)


@pytest.mark.parametrize(
    ("rows", "array", "strip"),
    [
        # 11 filter rows fill one axis of 16 once, so strips are at most 16 wide: 55 = 4 x 14 - 1.
        (11, [16, 16], 14),
        # On 12 x 14 the filter rows run along the 12: at most 14 wide, four strips again.
        (11, [12, 14], 14),
        # 23 fit beside 11 on one long axis: three strips.
        (11, [256], 19),
        # Three stacks of 5 rows lie side by side on 16 x 16: 48 wide, two strips.
        (5, [16, 16], 28),
    ],
)
def test_even_strips(rows: int, array: list[int], strip: int) -> None:
    layer = conv("x", input_size=(54 + rows, 9), in_channels=1, out_channels=4, kernel=(rows, 3))
    accelerator = machine([OPERANDS] * 3, [[], array, []])
    published = Space(layer, accelerator, DATAFLOWS["rs"].as_published(), timed=False)
    assert set(published.blocks[0][0].tiles[0][:, 1].tolist()) == {strip}
    free = Space(layer, accelerator, DATAFLOWS["rs"], timed=False)
    assert len(set(free.blocks[0][0].tiles[0][:, 1].tolist())) > 1
