"""An accelerator at another node: every number by its own ratio, and what cannot be scaled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import picojoule
from picojoule.accelerator import Accelerator, Array, Control, Memory
from picojoule.areas import area
from picojoule.components import component
from picojoule.components.logic import wire
from picojoule.components.nodes import logic_area, logic_energy
from picojoule.errors import PicojouleError, UnitError
from picojoule.mapper.cache import problem_text
from picojoule.specs import (
    dump_accelerator,
    in_use,
    load_accelerator,
    parse_accelerator,
    shipped_accelerators,
)
from picojoule.technology import at_node

KIB = 8192


def array(accelerator: Accelerator) -> Array:
    return next(part for part in accelerator.nest if isinstance(part, Array))


def memory(accelerator: Accelerator, name: str) -> Memory:
    return accelerator.memories[name]


def test_each_kind_has_its_own_ratio() -> None:
    """Eyeriss at 65 nm: 2 pJ for a MAC, the others in multiples of it."""
    small = load_accelerator("eyeriss", node="7nm")
    logic = logic_energy(7, 65)
    assert (small.energy_unit, small.unit_energy, small.node) == ("pJ", None, 7.0)
    assert small.compute.mac_energy == pytest.approx(2 * logic, rel=1e-5)
    assert memory(small, "dram").read_energy == 400
    arrays = [component("sram", node=n, width=64, capacity=100.0 * KIB) for n in (65.0, 7.0)]
    ratio = arrays[1].energies["read"] / arrays[0].energies["read"]
    assert memory(small, "buffer").read_energy == pytest.approx(12 * ratio, rel=1e-5)
    assert memory(small, "input-spad").read_energy == pytest.approx(2 * logic, rel=1e-5)
    # A hop's wire is as much shorter as logic takes less area.
    wires = wire(logic_area(7, 65) ** 0.5, 16, 7.0) / wire(1.0, 16, 65.0)
    assert array(small).hop_energy == pytest.approx(4 * wires, rel=1e-4)


def test_its_own_node_only_turns_it_into_joules() -> None:
    same = load_accelerator("eyeriss", node="65 nm")
    assert same.compute.mac_energy == 2
    assert memory(same, "buffer").read_energy == 12
    assert array(same).hop_energy == 4
    origin = next(x for x in same.sources if x.path == "$.compute.mac_energy")
    assert origin.source.startswith("in joules; at 65 nm: 1 MAC (published), ISCA'16")


def test_an_outermost_memory_too_cheap_for_dram_is_on_the_chip() -> None:
    """GAP9's L2: 0.08 pJ a bit. Ethos-U55's flash costs 8 pJ, the SRAM beside it 0.4."""
    l2 = memory(load_accelerator("gap9-ne16-like", node="7nm"), "l2")
    assert l2.read_energy < 0.61
    ethos, small = (load_accelerator("ethos-u55-128-like", node=node) for node in (None, "7nm"))
    assert memory(small, "flash").read_energy == memory(ethos, "flash").read_energy
    assert memory(small, "sram").read_energy < memory(ethos, "sram").read_energy


def test_control_and_static_power_follow_logic_by_assumption() -> None:
    chip = load_accelerator("eyeriss-pj")
    clocked = replace(chip, control=Control(per_cycle=860.0, per_command=1e4))
    small = at_node(clocked, 22.0)
    ratio = logic_energy(22, 65)
    assert small.control.per_cycle == pytest.approx(860 * ratio, rel=1e-5)
    assert small.control.per_element == 0
    assert small.static_power == pytest.approx(0.030 * ratio, rel=1e-5)
    statuses = {x.path: x.status for x in small.sources}
    assert statuses["$.static_power"] == statuses["$.control.per_cycle"] == "assumed"


def test_a_scaled_number_says_what_it_was() -> None:
    small = load_accelerator("eyeriss", node="7nm")
    origin = {x.path: x for x in small.sources}
    buffer = origin["$.nest[1].memories[0].access_energy"]
    assert buffer.status == "derived"
    assert "from 65 nm to 7 nm" in buffer.source
    assert "at 65 nm: 6 MAC (published), ISCA'16 Table IV" in buffer.source
    spad = origin["$.nest[3].memories[0].access_energy"]
    assert spad.status == "assumed"  # as it was
    assert "unchanged: off the chip" in origin["$.nest[0].memories[0].access_energy"].source


@pytest.mark.parametrize("name", shipped_accelerators())
def test_every_shipped_machine_goes_to_another_node(name: str) -> None:
    """And is written and read without loss; each number says where it comes from."""
    small = load_accelerator(name, node="16nm")
    again = parse_accelerator(dump_accelerator(small), "copy")
    assert again == small
    assert set(again.sources) >= set(small.sources)
    assert all(origin.status != "unstated" for origin in small.sources)
    assert all(part.area for part in area(load_accelerator(name)))


def test_what_published_mappings_change_goes_along() -> None:
    """ISCA'16's weight-stationary machine has another nest in use, energies and all."""
    chip = load_accelerator("eyeriss-isca16-ws")
    small = load_accelerator(chip, node="22nm")
    used = in_use(small)
    assert used.nest != small.nest
    assert used.memories.keys() == in_use(chip).memories.keys()
    assert memory(used, "dram").read_energy == memory(small, "dram").read_energy == 400
    assert memory(used, "window").read_energy < 12 / 2
    assert used.compute == small.compute


def test_there_and_back() -> None:
    """Through another node or not: the same numbers, but for the sixth digit."""
    direct = load_accelerator("eyeriss", node="22nm")
    detour = at_node(at_node(load_accelerator("eyeriss"), 45.0), 22.0)
    assert direct.name == detour.name == "eyeriss-22nm"
    for name in direct.memories:
        here, there = memory(direct, name), memory(detour, name)
        assert there.read_energy == pytest.approx(here.read_energy, rel=1e-4)


def test_a_machine_that_says_no_node_is_refused() -> None:
    nameless = replace(load_accelerator("eyeriss"), node=None)
    with pytest.raises(PicojouleError, match=r"does not say which node.*node: 65nm"):
        at_node(nameless, 22.0)
    with pytest.raises(PicojouleError, match="does not say which node"):
        area(nameless)
    with pytest.raises(PicojouleError, match="unit of energy is in joules"):
        at_node(replace(load_accelerator("eyeriss"), unit_energy=None), 22.0)


@pytest.mark.parametrize("node", ["3nm", "180nm"])
def test_a_node_without_numbers_is_refused(node: str) -> None:
    with pytest.raises(PicojouleError, match="7 to 90 nm"):
        load_accelerator("eyeriss", node=node)


@pytest.mark.parametrize("node", ["22", "small", "22 kB"])
def test_what_is_no_node_is_refused(node: str) -> None:
    with pytest.raises(UnitError, match=r"node|number with a unit"):
        picojoule.estimate("bvlc-alexnet", "eyeriss", node=node)


def test_another_node_is_another_problem_of_the_cache() -> None:
    layer = picojoule.load("bvlc-alexnet")["conv3"]
    nodes = (None, "65nm", "7nm")
    asked = {
        problem_text(layer, chip, chip.dataflow(), "energy", factors="all")
        for chip in (load_accelerator("eyeriss", node=node) for node in nodes)
    }
    assert len(asked) == 3


def test_an_estimate_records_its_node(tmp_path: Path) -> None:
    network = picojoule.load("bvlc-alexnet")
    one = replace(network, layers=(network["conv5"],))
    result = picojoule.estimate(one, "eyeriss", node="22nm")
    assert result.energy_unit == "pJ"
    assert result.to_dict()["node"] == 22.0
    result.save(tmp_path / "run.json")
    again = picojoule.load_estimate(tmp_path / "run.json")
    assert again.machine == result.machine
    assert again.to_dict()["node"] == 22.0
    assert again.accelerator == "eyeriss-22nm"


def test_the_area_counts_every_copy() -> None:
    parts = {part.name: part for part in area(load_accelerator("eyeriss"))}
    assert "dram" not in parts  # off the chip
    spad = component("register-file", node=65.0, width=16, capacity=448 * 8.0)
    assert parts["weight-spad"].copies == parts["compute"].copies == 168
    assert parts["weight-spad"].area == pytest.approx(168 * spad.area)


def test_an_area_without_numbers_says_why() -> None:
    huge = parse_accelerator(
        dump_accelerator(load_accelerator("eyeriss")).replace("value: 100 kB", "value: 1 GB"), "x"
    )
    buffer = next(part for part in area(huge) if part.name == "buffer")
    assert buffer.area is None
    assert "none is extrapolated" in buffer.how
