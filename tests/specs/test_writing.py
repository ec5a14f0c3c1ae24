"""What is written of an accelerator reads as an equal one, whatever its parts are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from picojoule.accelerator import (
    Accelerator,
    Array,
    Axis,
    Compute,
    Control,
    Format,
    HopCharge,
    Level,
    Memory,
    Network,
    SparseSupport,
    ZeroSkip,
)
from picojoule.specs import dump_accelerator, load_accelerator, parse_accelerator
from picojoule.workload import OPERANDS, Dim, Operand, PerOperand

ALL = frozenset(OPERANDS)


def dram(write_energy: float) -> Level:
    memory = Memory("dram", keeps=ALL, capacity=None, read_energy=200.0, write_energy=write_energy)
    return Level((memory,))


DRAM = dram(200.0)
PLAIN = Accelerator("plain", (DRAM,), compute=Compute(1.0))
SPAD = Memory("spad", keeps=ALL, capacity=256.0, read_energy=1.0, write_energy=1.0)
PES = Array("pes", (Axis("x", 4),))

PARTS = {
    "reads and writes that differ": replace(PLAIN, nest=(dram(150.5),)),
    "a memory that may be passed by": replace(
        PLAIN,
        nest=(DRAM, Level((replace(SPAD, may_bypass=ALL, bandwidth=32.0, double_buffered=True),))),
    ),
    "codings": replace(
        PLAIN,
        nest=(
            DRAM,
            Level(
                (replace(SPAD, formats=PerOperand(Format.RUN_LENGTH, Format.CSC, Format.BITMAP)),)
            ),
        ),
        sparse=SparseSupport(run_bits=6, count_bits=3),
    ),
    "an array with loops of its own": replace(
        PLAIN,
        nest=(
            DRAM,
            replace(
                PES,
                axes=(Axis("x", 3, frozenset({Dim.M, Dim.C})), Axis("y", 5)),
                hop_energy=2.0,
                hop_charge=HopCharge.EVERY,
                network=Network.MESH,
                bandwidths=PerOperand(16.0, None, 48.0),
            ),
            Level((SPAD,)),
        ),
    ),
    "zeros that are skipped": replace(
        PLAIN,
        sparse=SparseSupport(
            zeros=ZeroSkip.SKIP,
            of=frozenset({Operand.INPUT, Operand.WEIGHT}),
            charge_register_reads_of=frozenset({Operand.WEIGHT}),
        ),
    ),
    "a multiplier that does several": replace(PLAIN, compute=Compute(0.5, 8, 32)),
    "static power": replace(PLAIN, energy_unit="pJ", clock=2e8, static_power=0.125),
    "control": replace(PLAIN, control=Control(per_cycle=860.0, per_element=5.1, per_command=1e4)),
    "conventions": replace(PLAIN, charge_padding=True, resident_images=True, word_bits=8),
}


@pytest.mark.parametrize("what", PARTS)
def test_it_reads_as_an_equal_accelerator(what: str) -> None:
    accelerator = PARTS[what]
    again = parse_accelerator(dump_accelerator(accelerator), "copy")
    assert again == accelerator
    assert again.nest == accelerator.nest


def test_only_what_is_there_is_written() -> None:
    written = yaml.safe_load(dump_accelerator(PLAIN))
    assert "sparse" not in written
    assert "static_power" not in written
    assert written["nest"] == [
        {
            "memories": [
                {
                    "name": "dram",
                    "keeps": ["input", "weight", "output"],
                    "access_energy": "200 MAC",
                }
            ]
        }
    ]


def test_a_number_keeps_its_words_and_source_until_it_changes() -> None:
    eyeriss = load_accelerator("eyeriss")
    origin = next(x for x in eyeriss.sources if x.path == "$.clock")
    written = yaml.safe_load(dump_accelerator(eyeriss))["clock"]
    assert written == {"value": origin.value, "source": origin.source, "status": origin.status}
    assert eyeriss.clock is not None
    faster = replace(eyeriss, clock=2 * eyeriss.clock)
    assert isinstance(yaml.safe_load(dump_accelerator(faster))["clock"], str)
