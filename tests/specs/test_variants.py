"""Variants: one end of a memory that has one energy, and groups that the machine leaves out."""

from __future__ import annotations

import pytest

from picojoule.accelerator import Accelerator
from picojoule.errors import InputError
from picojoule.specs import parse_accelerator


def variant(*changes: str, base: str = "eyeriss-pj") -> Accelerator:
    lines = "".join(f"  {change}\n" for change in changes)
    return parse_accelerator(f"name: other\nbased_on: {base}\nchanges:\n{lines}", "other.yaml")


def test_one_end_of_a_memory() -> None:
    memory = variant("dram.read_energy: 300 pJ").memories["dram"]
    assert (memory.read_energy, memory.write_energy) == (300.0, 460.0)


def test_both_ends_of_a_memory_become_one_energy() -> None:
    both = ("dram.read_energy: 300 pJ", "dram.write_energy: 500 pJ")
    memory = variant(*both).memories["dram"]
    assert (memory.read_energy, memory.write_energy) == (300.0, 500.0)
    memory = variant(*both, "dram.access_energy: 7 pJ").memories["dram"]
    assert (memory.read_energy, memory.write_energy) == (7.0, 7.0)


def test_the_end_that_stays_keeps_its_source() -> None:
    machine = variant('dram.read_energy: {value: 300 pJ, source: "my rows", status: fitted}')
    sources = {origin.path: origin for origin in machine.sources}
    assert sources["$.nest[0].memories[0].read_energy"].status == "fitted"
    assert sources["$.nest[0].memories[0].write_energy"].source == "nn_dataflow, per 16 bit"


def test_groups_that_the_machine_leaves_out() -> None:
    machine = variant(
        "control.per_cycle: 5 pJ", "filter-buffer.formats.weight: bitmap", base="eyeriss-pj"
    )
    assert machine.control.per_cycle == 5.0
    assert machine.memories["filter-buffer"].formats.weight.value == "bitmap"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("dram.control.per_cycle: 5 pJ", "there is no 'control'"),
        ("control.per_cicle: 5 pJ", "unknown key"),
        ("dram.bandwidths.input: 5 bit/cycle", "there is no 'bandwidths'"),
    ],
)
def test_what_is_no_place(change: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        variant(change)
