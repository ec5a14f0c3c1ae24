"""Mappings: tiles, steps and loops by hand, the picture, and what is read and written."""

from __future__ import annotations

import json

import pytest

from picojoule.errors import InputError
from picojoule.mapping import ONES, Mapping, Stage, parse_mapping
from picojoule.workload import Dim, Extents, Operand

# Five filters of six channels. Two elements side by side take one filter and three channels each.
WHOLE = Stage(Extents(M=5, C=6), (Dim.M, Dim.C), spatial=(Extents(M=2),))
MAPPING = Mapping((WHOLE, Stage(Extents(C=3), keeps=frozenset({Operand.OUTPUT}))))


def test_steps_and_loops() -> None:
    # Filters advance by 2 elements of 1: 5 take 3 steps, the last with one. Channels by 3: 2 steps.
    assert MAPPING.step(0) == Extents(M=2, C=3)
    assert MAPPING.loops(0) == ((Dim.M, 3), (Dim.C, 2))
    assert MAPPING.active(0) == Extents(M=2)
    # The innermost level steps through single MACs.
    assert MAPPING.tile(2) == ONES
    assert MAPPING.loops(1) == ((Dim.C, 3),)


def test_a_step_is_no_larger_than_the_tile() -> None:
    # 4 elements of 2 filters could take 8; there are 5, in 3 elements.
    mapping = Mapping((Stage(Extents(M=5), spatial=(Extents(M=4),)), Stage(Extents(M=2))))
    assert mapping.step(0) == Extents(M=5)
    assert mapping.loops(0) == ()
    assert mapping.active(0) == Extents(M=3)


def test_dimensions_left_out_of_the_order_run_outside() -> None:
    stage = Stage(Extents(M=2, C=3, P=4), (Dim.M,))
    assert Mapping((stage,)).loops(0) == ((Dim.C, 3), (Dim.P, 4), (Dim.M, 2))


def test_fanout_multiplies_over_axes() -> None:
    stage = Stage(Extents(M=12, C=2), spatial=(Extents(M=3), Extents(M=2, C=2)))
    assert stage.fanout == Extents(M=6, C=2)


def test_the_picture() -> None:
    # The last step of the spatial loop is not drawn apart: [0:2) is what a full step uses.
    assert MAPPING.text(["DRAM", "Registers"]).splitlines() == [
        "DRAM",
        "----",
        "| for M in [0:3)",
        "|   for C in [0:2)",
        "|     for M in [0:2) (Spatial-X)",
        "",
        "Registers",
        "---------",
        "|       for C in [0:3)",
        "|         multiply and accumulate",
    ]


def test_a_mapping_is_read_as_it_was_written() -> None:
    plain = MAPPING.to_dict()
    assert plain["stages"][0]["spatial"] == [{"M": 2}]
    assert plain["stages"][1]["keeps"] == ["output"]
    assert parse_mapping(json.loads(json.dumps(plain)), "mapping.json") == MAPPING


UNEVEN = Mapping(
    (
        Stage(Extents(M=4, C=6), (Dim.M,)),
        Stage(Extents(M=2, C=6), (Dim.C,), frozenset({Operand.OUTPUT})),
        Stage(Extents(M=2, C=2), (), frozenset({Operand.INPUT, Operand.WEIGHT})),
    ),
    levels=(0, 1, 1),
)


def test_an_uneven_mapping_names_the_levels_of_its_stages() -> None:
    plain = UNEVEN.to_dict()
    assert [stage["level"] for stage in plain["stages"]] == [0, 1, 1]
    assert parse_mapping(plain, "mapping.json") == UNEVEN
    # A stage without one is of the next level inward.
    del plain["stages"][1]["level"]
    assert parse_mapping(plain, "mapping.json") == UNEVEN
    # Those of an even mapping may name them, and are written without.
    even = {"stages": [{"level": 0, "tile": {"M": 2}}, {"level": 1, "tile": {}}]}
    assert parse_mapping(even, "mapping.json").even
    assert "level" not in parse_mapping(even, "mapping.json").to_dict()["stages"][1]


@pytest.mark.parametrize("level", [-1, 2, "buffer", True])
def test_a_level_that_cannot_be(level: object) -> None:
    data = {"stages": [{"tile": {"M": 4}}, {"level": level, "tile": {}}]}
    with pytest.raises(InputError, match=r"stages\[1\]\.level: .* is no level"):
        parse_mapping(data, "mapping.yaml")


def test_the_picture_of_an_uneven_mapping() -> None:
    assert UNEVEN.text(UNEVEN.titles).splitlines() == [
        "level 0",
        "-------",
        "| for M in [0:2)",
        "",
        "level 1: output",
        "---------------",
        "|   for C in [0:3)",
        "",
        "level 1: input, weight",
        "----------------------",
        "|     for M in [0:2)",
        "|       for C in [0:2)",
        "|         multiply and accumulate",
    ]


def test_what_is_left_out_has_its_default() -> None:
    mapping = parse_mapping({"stages": [{"tile": {"M": 4}}]}, "mapping.yaml")
    assert mapping == Mapping((Stage(Extents(M=4)),))


def test_all_mistakes_of_a_file_at_once() -> None:
    stages = [
        {"tile": {"M": 0, "X": 2}, "order": ["M", "M", "Z"]},
        {"keeps": "input", "spatial": {"M": 2}, "tiel": {}},
        "whole",
    ]
    with pytest.raises(InputError) as caught:
        parse_mapping({"stages": stages}, "mapping.yaml")
    assert [mistake.path for mistake in caught.value.mistakes] == [
        "$.stages[0].tile.M",
        "$.stages[0].tile.X",
        "$.stages[0].order",
        "$.stages[0].order",
        "$.stages[1].tiel",
        "$.stages[1].tile",
        "$.stages[1].keeps",
        "$.stages[1].spatial",
        "$.stages[2]",
    ]
    assert "did you mean 'tile'" in str(caught.value)


@pytest.mark.parametrize("data", [None, [], {"stages": {}}, {"stages": [], "name": "x"}])
def test_what_is_no_mapping_at_all(data: object) -> None:
    with pytest.raises(InputError, match="one key, 'stages'"):
        parse_mapping(data, "mapping.yaml")
