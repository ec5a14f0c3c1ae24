"""Numbers worked out by hand. Read this first: it says what is counted.

The machine is ISCA'16's: DRAM 200, buffer 6, a hop 2, register file 1, a MAC 1; a transfer is paid
once, at the memory further out.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from picojoule.accelerator import (
    Accelerator,
    Array,
    Charging,
    Format,
    Level,
    SparseSupport,
    ZeroSkip,
)
from picojoule.cost import evaluate
from picojoule.mapping import Mapping, Stage
from picojoule.specs import load_accelerator
from picojoule.validation.isca16 import worked_examples
from picojoule.workload import Dim, Extents, Layer, Operand, PerOperand, conv

MACHINE = load_accelerator("eyeriss-isca16")
INPUT, WEIGHT, OUTPUT = Operand


def words(
    layer: Layer, mapping: Mapping, machine: Accelerator = MACHINE
) -> dict[tuple[str, Operand], tuple[float, float]]:
    cost = evaluate(layer, machine, mapping)
    return {
        (memory, operand): (access.read, access.write)
        for memory, operands in cost.accesses.items()
        for operand, access in operands.items()
    }


def test_worked_examples() -> None:
    # Eq. 3: 24 uses = 1 * 2 * 3 * 4:  1*200 + 2*6 + 6*2 + 24*1 = 248
    # Eq. 4: 36 sums = 2 * 3 * 3 * 2:  (2*2-1)*200 + 2*2*(3-1)*6 + 6*(3-1)*2 + 2*18*(2-1)*1 = 708
    assert [row.ours for row in worked_examples()] == [248, 708]


def test_loops_that_do_not_index_an_operand_leave_it_in_place() -> None:
    # 4 outputs x 3 inputs channels, one step each. DRAM loops: M outside, C inside.
    # weights: each once, 12. inputs: the M loop brings all 3 again, 3 * 4 = 12.
    # outputs: C runs inside, the sum stays: 4 written, none read back.
    layer = Layer("x", Extents(M=4, C=3))
    one = Stage(Extents())
    inside = words(layer, Mapping((Stage(layer.bounds, (Dim.M, Dim.C)), one, one)))
    assert inside["dram", WEIGHT] == (12, 0)
    assert inside["dram", INPUT] == (12, 0)
    assert inside["dram", OUTPUT] == (0, 4)
    # The other way round the input stays (3), and each sum leaves 3 times and returns twice.
    outside = words(layer, Mapping((Stage(layer.bounds, (Dim.C, Dim.M)), one, one)))
    assert outside["dram", INPUT] == (3, 0)
    assert outside["dram", OUTPUT] == (8, 12)


def test_a_sliding_window_loads_only_new_rows() -> None:
    # 5 outputs of a 3-row filter over 7 rows, one output at a time: 3 rows, then 1 new row each.
    layer = conv("x", input_size=(7, 1), in_channels=1, out_channels=1, kernel=(3, 1))
    tile = Stage(Extents(R=3))
    assert words(layer, Mapping((Stage(layer.bounds), tile, tile)))["dram", INPUT] == (7, 0)
    # In tiles of 2, 2 and 1 outputs: 4 rows, then 2, then 1.
    tile = Stage(Extents(P=2, R=3))
    assert words(layer, Mapping((Stage(layer.bounds), tile, tile)))["dram", INPUT] == (7, 0)


def test_halo_is_loaded_again_where_the_window_does_not_slide() -> None:
    # Tiles of 3 and 2 outputs, but the filter loop runs inside: 5 + 4 rows for each of 2 filters.
    layer = conv("x", input_size=(7, 1), in_channels=1, out_channels=2, kernel=(3, 1))
    order = (Dim.P, Dim.C, Dim.M)
    tile = Stage(Extents(P=3, R=3))
    mapping = Mapping((Stage(layer.bounds, (Dim.M, Dim.P)), tile, tile))
    # M outside P: the P loop slides (5 + 2 new rows) and restarts whole for the second filter.
    assert words(layer, mapping)["dram", INPUT] == (14, 0)
    # M inside P: the input stays over both filters.
    mapping = Mapping((Stage(layer.bounds, order), tile, tile))
    assert words(layer, mapping)["dram", INPUT] == (7, 0)


def test_elements_share_rows_along_diagonals() -> None:
    # 4 elements, one output each, 3-row filter: 6 rows are read once, 4 * 3 delivered.
    layer = conv("x", input_size=(6, 1), in_channels=1, out_channels=1, kernel=(3, 1))
    mapping = Mapping(
        (
            Stage(layer.bounds),
            Stage(layer.bounds, spatial=(Extents(P=4),)),
            Stage(Extents(R=3)),
        )
    )
    cost = evaluate(layer, MACHINE, mapping)
    assert cost.accesses["buffer"][INPUT].read == 6
    assert cost.hops["pe-array"][INPUT].read == 12
    assert cost.hops["pe-array"][WEIGHT].read == 12  # 3 weights, to 4 elements
    assert cost.accesses["buffer"][WEIGHT].read == 3


def test_an_edge_tile_has_its_true_size() -> None:
    # 5 filters in tiles of 2: 2 + 2 + 1, never 6; time is rounded up to 3 steps of 2.
    layer = Layer("x", Extents(M=5))
    mapping = Mapping(
        (
            Stage(layer.bounds),
            Stage(layer.bounds, spatial=(Extents(M=2),)),
            Stage(Extents()),
        )
    )
    cost = evaluate(layer, MACHINE, mapping)
    assert cost.accesses["dram"][WEIGHT].read == 5
    assert cost.compute_cycles == 3
    assert cost.active_elements == 2


def test_zeros_bits_and_coding() -> None:
    layer = Layer("x", Extents(M=10, C=10), density=PerOperand(0.5, 0.4, 1.0))
    mapping = Mapping((Stage(layer.bounds), Stage(layer.bounds), Stage(Extents())))
    machine = replace(
        MACHINE,
        sparse=SparseSupport(zeros=ZeroSkip.GATE, of=frozenset({INPUT, WEIGHT})),
        charging=Charging.BOTH_ENDS,
        nest=tuple(
            Level(
                tuple(
                    replace(m, formats=PerOperand(Format.DENSE, Format.BITMAP, Format.DENSE))
                    if m.name == "dram"
                    else m
                    for m in part.memories
                )
            )
            if isinstance(part, Level)
            else part
            for part in MACHINE.nest
        ),
    )
    cost = evaluate(layer, machine, mapping)
    assert cost.effectual_macs == pytest.approx(100 * 0.5 * 0.4)
    assert cost.compute == pytest.approx(20)
    # 100 weights of 1 + 0.4 * 16 = 7.4 bits: 46.25 words of 16 bits at 200.
    assert cost.accesses["dram"][WEIGHT].energy == pytest.approx(46.25 * 200)
    # Half the width: data half as dear, a MAC 8 * 8 / 256 of its energy.
    narrow = replace(layer, bits=PerOperand(8, 8, 8), density=PerOperand(1.0, 1.0, 1.0))
    plain = replace(narrow, bits=PerOperand(16, 16, 16))
    half, full = (evaluate(x, MACHINE, mapping) for x in (narrow, plain))
    assert half.compute == full.compute / 4
    assert half.energy - half.compute == pytest.approx((full.energy - full.compute) / 2)
    # 4-bit weights with half a bit of scales each: 4.5 / 16 of a word to move, a MAC of 16 x 4.
    block = replace(plain, bits=PerOperand(16, 4, 16), scale_bits=PerOperand(0.0, 0.5, 0.0))
    coded = evaluate(block, MACHINE, mapping)
    assert coded.compute == full.compute / 4
    for memory in ("dram", "buffer"):
        whole = full.accesses[memory][WEIGHT].energy
        assert coded.accesses[memory][WEIGHT].energy == pytest.approx(whole * 4.5 / 16)


def test_parts_sum_to_the_whole() -> None:
    assert any(isinstance(part, Array) for part in MACHINE.nest)
    layer = conv("x", input_size=(6, 6), in_channels=4, out_channels=4, kernel=(3, 3))
    mapping = Mapping((Stage(layer.bounds), Stage(layer.bounds), Stage(Extents(S=3))))
    cost = evaluate(layer, MACHINE, mapping)
    assert sum(cost.by_memory.values()) == pytest.approx(cost.energy, rel=1e-12)
    assert sum(cost.by_operand.values()) == pytest.approx(cost.energy, rel=1e-12)
