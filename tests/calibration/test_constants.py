"""Constants by name: looked up, put in, told from words that are none."""

from __future__ import annotations

import pytest

from picojoule.accelerator import Accelerator
from picojoule.calibration.constants import constants, named, without_energies
from picojoule.errors import PicojouleError
from picojoule.specs import load_accelerator, shipped_accelerators


@pytest.mark.parametrize("name", shipped_accelerators())
def test_what_is_put_in_can_be_got_and_changes_nothing_else(name: str) -> None:
    machine = load_accelerator(name)
    for key, constant in constants(machine).items():
        changed = constant.put(machine, 7.5)
        assert constant.get(changed) == 7.5, key
        before = constant.get(machine)
        if before is not None and not key.endswith(".access"):
            assert constant.put(changed, before) == machine, key


def test_an_access_is_both_ends(machine: Accelerator) -> None:
    (access,) = named(["dram.access"], machine)
    memory = access.put(machine, 5.0).memories["dram"]
    assert (memory.read_energy, memory.write_energy) == (5.0, 5.0)


def test_the_names_of_variant_files_mean_the_same(machine: Accelerator) -> None:
    longer = ["dram.read_energy", "pes.hop_energy", "compute.mac_energy", "buffer.access_energy"]
    short = ["dram.read", "pes.hop", "compute.mac", "buffer.access"]
    assert [x.key for x in named(longer, machine)] == short


def test_nothing_costs_energy_where_all_is_taken_out(machine: Accelerator) -> None:
    nothing = without_energies(machine)
    table = constants(machine)
    assert not any(table[key].get(nothing) for key in table if not table[key].of_time)


def test_all_mistakes_at_once(machine: Accelerator) -> None:
    asked = ["dram.raed", "dram.read", "dram.access", "compute.mac", "compute.mac", "powr"]
    with pytest.raises(PicojouleError) as caught:
        named(asked, machine)
    for part in (
        "'dram.raed' is no constant of metered (did you mean 'dram.read'?)",
        "dram.access is dram.read as well: name one of them",
        "compute.mac is there twice",
        "'powr' is no constant",
        "there are dram.read,",
    ):
        assert part in str(caught.value)


def test_static_power_needs_joules_and_a_clock() -> None:
    with pytest.raises(PicojouleError, match=r"'static_power' .*: it needs energies in pJ and"):
        named(["static_power"], load_accelerator("eyeriss-isca16"))


def test_where_a_number_comes_from(machine: Accelerator) -> None:
    table = constants(machine)
    assert table["static_power"].origin(machine).source == "its data sheet"
    assert table["control.per_cycle"].origin(machine).status == "unstated"
