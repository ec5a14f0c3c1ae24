"""The factors of all options, side by side: where a column's are, and which options are allowed."""

from __future__ import annotations

import numpy as np

from picojoule.dataflow import DATAFLOWS
from picojoule.mapper.bank import Bank
from picojoule.mapper.blocks import Column, Elements, Tile, Total, Words, loop_bit
from picojoule.mapper.solver import search
from picojoule.mapper.space import Space
from picojoule.workload import OPERANDS, linear
from tests.strategies import machine

INPUT, WEIGHT, OUTPUT = OPERANDS
LAYER = linear("fc", in_features=6, out_features=4)
MS, CS = 2, 3  # blocks of these dimensions; the windows come before them


def bank(arrays: list[list[int]]) -> Bank:
    accelerator = machine([OPERANDS] * 2, arrays, capacities=[None, 16 * 40])
    space = Space(LAYER, accelerator, DATAFLOWS["flexible"], timed=True)
    return Bank(space, 0)


def column(one: Bank, block: int, what: Column) -> list[float]:
    """The factors of one block in a column."""
    number = one.number(what)
    start, size = one.columns().where[number, block], one.blocks[block].size
    return [1.0] * size if start < 0 else one.options().raw[block][start : start + size].tolist()


def test_steps_and_tiles() -> None:
    one = bank([[], []])
    tiles = one.blocks[CS].tiles[0][:, 1]
    # Of the ways to cut C, 6, into as many tiles that with the smallest: 6 / k, rounded up.
    assert sorted(tiles.tolist()) == [1, 2, 3, 6]
    assert column(one, CS, Column(Tile(1, INPUT))) == tiles.tolist()
    # An output's tile does not know C.
    assert column(one, CS, Column(Tile(1, OUTPUT))) == [1.0] * 4
    # Nothing is unrolled: 6 steps whatever the tile; the constant part is 4 x 6.
    number = one.number(Column(Total.STEPS))
    columns = one.columns()
    assert (columns.where[number] == -1).all()
    assert (columns.scale[number], columns.least[number]) == (24.0, 1.0)


def test_words_and_how_often() -> None:
    one = bank([[], []])
    count = Column(Words(operand=OUTPUT, child=1, grain=0, still=0, slide=None))
    tiles = one.blocks[CS].tiles[0][:, 1]
    # As often as C is cut, tile by tile: 6 / tile, rounded up.
    assert column(one, CS, count) == [-(-6 // tile) for tile in tiles.tolist()]
    # All 4 outputs, whatever M's tile.
    assert one.columns().scale[one.number(count)] == 4.0
    # Unless they stay while level 0 runs.
    held = Column(Words(operand=OUTPUT, child=1, grain=0, still=1, slide=None))
    assert column(one, CS, held) == [1.0] * 4


def test_columns_are_computed_once() -> None:
    one = bank([[], []])
    first = one.number(Column(Tile(1, INPUT)))
    assert one.number(Column(Tile(1, OUTPUT))) == first + 1
    assert one.number(Column(Tile(1, INPUT))) == first


def test_reciprocals() -> None:
    one = bank([[4], []])
    plain = column(one, MS, Column(Elements(0)))
    assert set(plain) == {1.0, 2.0, 4.0}  # three take as many steps as two
    inverse = column(one, MS, Column(Elements(0), inverse=True))
    np.testing.assert_array_equal(inverse, 1 / np.array(plain))


def test_loops_that_run() -> None:
    # Where level 0 may not loop over C, only the whole tile is left, of 6.
    one = bank([[], []])
    options = one.options()
    still = options.runs[options.starts[CS] : options.starts[CS + 1]] & loop_bit(0, 0) == 0
    assert one.blocks[CS].tiles[0][still][:, 1].tolist() == [6]


def test_the_fewest_steps() -> None:
    # 24 MACs on 4 elements: 6 steps. On 5: M 4 times leaves 6; C 5 times is 2 x 4 = 8; 5 = 5 x 1
    # and 2 x 2 do no better than 6.
    assert bank([[4], []]).fewest_steps() == 6.0
    assert bank([[5], []]).fewest_steps() == 6.0
    # On 3 x 2: C over 3 and M over 2, 2 x 2 steps.
    assert bank([[3, 2], []]).fewest_steps() == 4.0


def test_where_nothing_is_kept_inside_there_is_nothing_to_count() -> None:
    layer = linear("x", rows=2, in_features=3, out_features=3)
    chip = machine([OPERANDS] * 2, [[]] * 2, capacities=[None, 8], bypass=OPERANDS)
    best = search(layer, chip)
    assert best.status == "optimal"
    assert not best.mapping.stages[1].keeps
