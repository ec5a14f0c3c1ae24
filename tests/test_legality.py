"""Every rule of legality by its name, and the room that a tile takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.accelerator import Accelerator, Array, Axis, Compute, Level, Memory
from picojoule.cost import evaluate
from picojoule.errors import MappingError
from picojoule.legality import RULES, held_bits, tile_bits, tile_words, violations
from picojoule.mapping import Mapping, Stage
from picojoule.workload import OPERANDS, Dim, Extents, Layer, Operand, PerOperand, conv

ALL = frozenset(OPERANDS)
INPUT, WEIGHT, OUTPUT = OPERANDS

# DRAM > a buffer of 20 words that weights may pass by > 2 rows (M) x 2 columns (any loop) of
# elements > a register for inputs and one for outputs, of 2 words each; no place for weights.
WORD = 16
ACCELERATOR = Accelerator(
    "two by two",
    (
        Level((Memory("dram", keeps=ALL, capacity=None, read_energy=200.0, write_energy=200.0),)),
        Level(
            (
                Memory(
                    "buffer",
                    keeps=ALL,
                    capacity=20 * WORD,
                    read_energy=6.0,
                    write_energy=6.0,
                    may_bypass=frozenset({WEIGHT}),
                ),
            )
        ),
        Array("elements", (Axis("rows", 2, frozenset({Dim.M})), Axis("columns", 2))),
        Level(
            (
                Memory(
                    "inputs",
                    keeps=frozenset({INPUT}),
                    capacity=2 * WORD,
                    read_energy=1.0,
                    write_energy=1.0,
                ),
                Memory(
                    "outputs",
                    keeps=frozenset({OUTPUT}),
                    capacity=2 * WORD,
                    read_energy=1.0,
                    write_energy=1.0,
                ),
            )
        ),
    ),
    compute=Compute(1.0),
)
LAYER = Layer("x", Extents(M=4, C=8))
HELD = frozenset({INPUT, OUTPUT})

DRAM = Stage(LAYER.bounds)
# 2 x 4 weights, 4 inputs and 2 outputs are 14 of the buffer's 20 words.
BUFFER = Stage(Extents(M=2, C=4), spatial=(Extents(M=2), Extents(C=2)))
REGISTERS = Stage(Extents(C=2), keeps=HELD)
LEGAL = Mapping((DRAM, BUFFER, REGISTERS))


def changed(level: int, **changes: object) -> Mapping:
    stages = list(LEGAL.stages)
    stages[level] = replace(stages[level], **changes)  # type: ignore[arg-type]
    return Mapping(tuple(stages))


BREAKS = {
    # Two stages for three levels.
    "stages": Mapping((DRAM, BUFFER)),
    # Half of the filters.
    "whole-layer": changed(0, tile=Extents(M=2, C=8)),
    # One input channel in the buffer, two in each register.
    "nested-tiles": changed(1, tile=Extents(M=2), spatial=(Extents(M=2),)),
    # Inputs in two stages of the buffer's level.
    "nested-levels": Mapping(
        (DRAM, replace(BUFFER, spatial=()), replace(BUFFER, keeps=frozenset({INPUT})), REGISTERS),
        levels=(0, 1, 1, 2),
    ),
    # No memory beside the multipliers takes weights.
    "held-operands": changed(2, keeps=ALL),
    # Only weights may pass the buffer by.
    "bypass": changed(1, keeps=frozenset({WEIGHT, OUTPUT})),
    # 2 x 8 weights, 8 inputs and 2 outputs are 26 words.
    "capacity": changed(1, tile=Extents(M=2, C=8)),
    # The array has two axes.
    "axes": changed(1, spatial=(Extents(M=2), Extents(C=2), Extents(C=1))),
    # Four filters over two rows.
    "axis-length": changed(1, spatial=(Extents(M=4),)),
    # Only filters run along rows.
    "axis-loops": changed(1, spatial=(Extents(C=2),)),
}


def test_the_mapping_that_is_changed_is_legal() -> None:
    assert violations(LAYER, ACCELERATOR, LEGAL) == ()
    evaluate(LAYER, ACCELERATOR, LEGAL)


def test_every_rule_is_tested() -> None:
    assert [rule.name for rule in RULES] == list(BREAKS)


@pytest.mark.parametrize("rule", BREAKS)
def test_a_mapping_that_breaks_one_rule(rule: str) -> None:
    broken = violations(LAYER, ACCELERATOR, BREAKS[rule])
    assert [violation.rule for violation in broken] == [rule]
    with pytest.raises(MappingError, match=f"layer 'x': illegal mapping: {rule}: "):
        evaluate(LAYER, ACCELERATOR, BREAKS[rule])


# Sums of two filters over all channels > [rows of filters] > weights of four channels and inputs of
# two: the buffer holds 4 outputs, and 8 weights and 4 inputs of both elements together.
UNEVEN = Mapping(
    (
        DRAM,
        Stage(Extents(M=4, C=8), (Dim.C,), frozenset({OUTPUT}), (Extents(M=2),)),
        Stage(Extents(M=2, C=4), (Dim.M, Dim.C), frozenset({OUTPUT})),
        Stage(Extents(M=1, C=4), (Dim.C,), frozenset({WEIGHT, INPUT})),
        Stage(Extents(C=2), keeps=frozenset({INPUT})),
    ),
    levels=(0, 1, 2, 1, 2),
)


def test_operands_of_a_level_share_its_capacity() -> None:
    assert violations(LAYER, ACCELERATOR, UNEVEN) == ()
    buffer = [
        held_bits(LAYER, ACCELERATOR, UNEVEN, stage, operand) / WORD
        for stage, operand in ((1, OUTPUT), (3, WEIGHT), (3, INPUT))
    ]
    assert buffer == [4, 2 * 4, 4]
    tight = replace(ACCELERATOR.levels[1].memories[0], capacity=15 * WORD)
    dram, _, array, registers = ACCELERATOR.nest
    chip = replace(ACCELERATOR, nest=(dram, Level((tight,)), array, registers))
    assert [str(violation) for violation in violations(LAYER, chip, UNEVEN)] == [
        "capacity: buffer holds 240 bits; the tile needs 256"
    ]


def test_stages_name_their_levels() -> None:
    # Unrolled beneath the wrong stage: the array lies above the first stage of the level inside it.
    stages = list(UNEVEN.stages)
    stages[3] = replace(stages[3], spatial=(Extents(C=2),))
    broken = violations(LAYER, ACCELERATOR, Mapping(tuple(stages), UNEVEN.levels))
    assert [str(violation) for violation in broken] == [
        "axes: level 1 (buffer), stage 3: unrolling along 1 axes; there are 0"
    ]
    # No level may come before the one outside it, nor be left out.
    for levels in ((0, 2, 1), (0, 1, 1), (0, 0, 1)):
        broken = violations(LAYER, ACCELERATOR, Mapping(LEGAL.stages, levels))
        assert [violation.rule for violation in broken] == ["stages"]


def test_all_breaches_are_said_with_their_places() -> None:
    mapping = Mapping(
        (
            replace(DRAM, keeps=HELD),
            replace(BUFFER, tile=Extents(M=2, C=8), spatial=(Extents(M=3),)),
            REGISTERS,
        )
    )
    assert [str(violation) for violation in violations(LAYER, ACCELERATOR, mapping)] == [
        "bypass: level 0 (dram) may not be bypassed by: weight",
        "capacity: buffer holds 320 bits; the tile needs 416",
        "axis-length: level 1 (buffer): 3 elements along axis 'rows' of 2",
    ]


def test_a_capacity_counts_what_is_kept() -> None:
    # Without its 16 weights the tile of M2 C8 takes 8 + 2 words.
    assert violations(LAYER, ACCELERATOR, changed(1, tile=Extents(M=2, C=8), keeps=HELD)) == ()


def test_words_of_a_tile() -> None:
    # 2 outputs of a 3-row filter 2 apart lie over 5 rows; of 4 columns 1 tap sees 4. Two channels.
    layer = conv(
        "x",
        input_size=(6, 4),
        in_channels=2,
        out_channels=3,
        kernel=(3, 1),
        stride=(2, 1),
        padding=(1, 0, 0, 0),
    )
    tile = Extents(M=3, C=2, P=2, Q=4, R=3)
    assert tile_words(layer, tile, INPUT) == 2 * 5 * 4
    assert tile_words(layer, tile, WEIGHT) == 3 * 2 * 3
    assert tile_words(layer, tile, OUTPUT) == 3 * 2 * 4
    # 3 outputs lie over 7 rows, of which the first is a zero of the padding: 6 are stored.
    whole = Extents(P=3, R=3)
    assert tile_words(layer, whole, INPUT) == 6
    assert tile_words(layer, whole, INPUT, padded=True) == 7


def test_bits_of_a_tile() -> None:
    # 8-bit inputs, 4-bit weights, 16-bit outputs whose partial sums take 24.
    layer = replace(LAYER, bits=PerOperand(8, 4, 16))
    wide = replace(ACCELERATOR, compute=Compute(1.0, psum_bits=24))
    tile = Extents(M=2, C=4)
    bits = [tile_bits(layer, wide, tile, operand) for operand in Operand]
    assert bits == [4 * 8, 8 * 4, 2 * 24]


def test_the_docs_list_the_rules() -> None:
    page = Path(__file__).parents[1] / "docs" / "howto" / "mappings.md"
    text = page.read_text("utf-8")
    assert [rule.name for rule in RULES if f"| `{rule.name}` | {rule.says} |" not in text] == []
