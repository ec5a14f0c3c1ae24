"""The machine as data: its parts by level and name, and what makes it impossible."""

from __future__ import annotations

from dataclasses import replace

from picojoule.accelerator import Accelerator, Array, Axis, Compute, Level, Memory
from picojoule.workload import OPERANDS, Dim, Operand

INPUT, WEIGHT, OUTPUT = OPERANDS
ALL = frozenset(OPERANDS)

DRAM = Memory("dram", keeps=ALL, capacity=None, read_energy=200, write_energy=200)
BUFFER = Memory(
    "buffer",
    keeps=frozenset({INPUT, OUTPUT}),
    capacity=8192,
    read_energy=6,
    write_energy=6,
    may_bypass=frozenset({OUTPUT}),
)
FILTERS = Memory("filters", keeps=frozenset({WEIGHT}), capacity=1024, read_energy=6, write_energy=6)
PES = Array("pes", (Axis("rows", 12), Axis("columns", 14, frozenset({Dim.P}))), hop_energy=2)
SPADS = Memory("spads", keeps=ALL, capacity=512, read_energy=1, write_energy=1)
NEST = (Level((DRAM,)), Level((BUFFER, FILTERS)), PES, Level((SPADS,)))
MACHINE = Accelerator("machine", NEST, compute=Compute(1.0))


def problems(*nest: Level | Array) -> str:
    return "\n".join(": ".join(found) for found in replace(MACHINE, nest=nest).problems())


def test_parts() -> None:
    assert [level.name for level in MACHINE.levels] == ["dram", "buffer+filters", "spads"]
    assert MACHINE.arrays == (None, PES, None)
    assert MACHINE.elements == PES.size == 168
    assert list(MACHINE.memories) == ["dram", "buffer", "filters", "spads"]


def test_a_level_knows_which_memory_holds_what() -> None:
    level = NEST[1]
    assert isinstance(level, Level)
    assert level.keeps == ALL
    assert level.may_bypass == {OUTPUT}
    assert level.holder(INPUT) is BUFFER
    assert level.holder(WEIGHT) is FILTERS
    assert Level((FILTERS,)).holder(Operand.OUTPUT) is None


def test_partial_sums_are_as_wide_as_the_output_unless_said() -> None:
    assert MACHINE.psum_bits(16) == 16
    assert replace(MACHINE, compute=Compute(1.0, psum_bits=32)).psum_bits(16) == 32


def test_sources_do_not_make_a_difference() -> None:
    assert replace(MACHINE, sources=()) == MACHINE


def test_a_sound_machine_has_no_problems() -> None:
    assert MACHINE.problems() == ()
    assert replace(MACHINE, nest=NEST[:1]).problems() == ()


def test_problems() -> None:
    outermost = "$.nest: the outermost part must be a memory level"
    assert problems() == outermost
    assert problems(PES, *NEST) == outermost
    incomplete = "$.nest[0]: the outermost level must hold all three operands"
    assert incomplete in problems(Level((FILTERS,)), *NEST[2:])
    bypassed = Level((replace(DRAM, may_bypass=frozenset({INPUT})),))
    assert problems(bypassed, *NEST[1:]) == incomplete
    bounded = Level((replace(DRAM, capacity=1e9),))
    assert "$.nest[0]: the outermost level is unbounded" in problems(bounded, *NEST[1:])
    assert problems(*NEST, Level((DRAM,))) == "$.nest: the name 'dram' is used twice"
    assert "'pes' is used twice" in problems(*NEST, PES, Level((SPADS,)))
    in_a_row = problems(*NEST[:3], replace(PES, name="more"))
    assert in_a_row == "$.nest[3]: two arrays in a row: give one more axes"
    both = Level((BUFFER, SPADS))
    assert "$.nest[1]: two memories of one level keep the input" in problems(NEST[0], both)
