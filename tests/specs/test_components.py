"""Components that a chip file names in place of energies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.accelerator import Array
from picojoule.components import component
from picojoule.errors import InputError
from picojoule.specs import dump_accelerator, load_accelerator, parse_accelerator

COMPONENTS = """\
name: named
energy_unit: pJ
node: 45 nm
word_bits: 8 bit
charging: both-ends
compute: {mac_energy: {component: mac}, psum_bits: 24 bit}
nest:
  - memories:
      - {name: dram, keeps: [input, weight, output], access_energy: {component: lpddr4}}
  - memories:
      - name: buffer
        keeps: [input, weight, output]
        capacity: 128 KiB
        access_energy: {component: sram, width: 64 bit, ports: 2}
  - array: grid
    axes: [{name: rows, size: 8}]
    hop_energy: {component: wire, length: 0.5 mm}
  - memories:
      - name: registers
        keeps: [input, weight, output]
        capacity: 64 B
        read_energy: {component: register-file, node: 22 nm}
        write_energy: 0.5 pJ
"""


def mistakes(text: str) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        parse_accelerator(text, "chip.yaml")
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


def test_components_stand_for_their_energies() -> None:
    machine = parse_accelerator(COMPONENTS, "chip.yaml")
    assert (
        machine.compute.mac_energy
        == component("mac", node=45, width=8, sum_bits=24).energies["mac"]
    )
    assert machine.memories["dram"].read_energy == machine.memories["dram"].write_energy == 64
    buffer = component("sram", node=45, width=64, capacity=128 * 8192, ports=2).energies
    assert machine.memories["buffer"].read_energy == pytest.approx(buffer["read"] / 8, rel=1e-5)
    assert machine.memories["buffer"].write_energy == pytest.approx(buffer["write"] / 8, rel=1e-5)
    file = component("register-file", node=22, width=8, capacity=512).energies
    assert machine.memories["registers"].read_energy == file["read"]
    assert machine.memories["registers"].write_energy == 0.5
    hop = component("wire", node=45, width=8, length=0.5).energies
    grid = machine.nest[2]
    assert isinstance(grid, Array)
    assert grid.hop_energy == hop["hop"]
    origin = {x.path: x for x in machine.sources}["$.nest[1].memories[0].read_energy"]
    assert origin.status == "derived"
    assert origin.source.startswith("sram of 128 KiB, 64 bit, 2 ports at 45 nm: CACTI 7")


@pytest.mark.parametrize("node", [None, "45nm", "16nm"])
def test_components_are_written_as_such(node: str | None) -> None:
    """Also at another node, where a wire is shorter."""
    machine = load_accelerator(parse_accelerator(COMPONENTS, "chip.yaml"), node=node)
    text = dump_accelerator(machine)
    assert "access_energy: {component: sram, width: 64 bit, ports: 2}" in text
    again = parse_accelerator(text, "copy")
    assert again == machine
    assert set(machine.sources) <= set(again.sources)


def test_a_changed_number_is_no_component_any_more() -> None:
    machine = parse_accelerator(COMPONENTS, "chip.yaml")
    changed = replace(machine, compute=replace(machine.compute, mac_energy=1.0))
    assert "mac_energy: 1 pJ" in dump_accelerator(changed)
    assert parse_accelerator(dump_accelerator(changed), "copy") == changed


def test_a_variant_resolves_its_components_anew(tmp_path: Path) -> None:
    (tmp_path / "named.yaml").write_text(COMPONENTS)
    (tmp_path / "large.yaml").write_text(
        "name: large\nbased_on: named.yaml\n"
        "changes: {buffer.capacity: 1 MiB, node: 65 nm, compute.mac_energy: 1 pJ}\n"
    )
    large = load_accelerator(tmp_path / "large.yaml")
    buffer = component("sram", node=65, width=64, capacity=1024 * 8192, ports=2).energies
    assert large.memories["buffer"].read_energy == pytest.approx(buffer["read"] / 8, rel=1e-5)
    assert large.compute.mac_energy == 1


def test_a_plain_number_of_a_variant_may_become_a_component() -> None:
    text = (
        "name: x\nbased_on: eyeriss\nchanges:\n"
        "  weight-spad.access_energy: {component: register-file}\n"
    )
    machine = parse_accelerator(text, "x.yaml")
    file = component("register-file", node=65, width=16, capacity=224 * 16.0).energies
    # In MACs of 2 pJ.
    assert machine.memories["weight-spad"].read_energy == pytest.approx(file["read"] / 2)


def test_mistakes_in_components_come_at_once() -> None:
    text = (
        COMPONENTS.replace("node: 45 nm\n", "")
        .replace("{component: mac}", "{component: wire, length: 1 mm}")
        .replace("component: lpddr4", "component: lpdr4")
        .replace("length: 0.5 mm", "ports: 2")
        .replace("energy: 0.5 pJ", "energy: {component: sram, node: 22 nm, length: 1 mm}")
        + "control: {per_cycle: {component: mac}}\n"
    )
    assert mistakes(text) == {
        "$.compute.mac_energy": "a component 'wire' has no energy of this kind (line 5)",
        "$.nest[0].memories[0].access_energy": (
            "no component 'lpdr4' (did you mean 'lpddr4'?); there are sram, register-file, mac, "
            "wire, lpddr, lpddr4, ddr3, hbm2, hbm3, hbm4 (line 8)"
        ),
        "$.nest[1].memories[0].access_energy": (
            "say the node: in the component, or for the whole machine (node: 65nm) (line 13)"
        ),
        "$.nest[2].hop_energy": "ports has no effect on a component 'wire' (line 16)",
        "$.nest[3].memories[0].write_energy": (
            "length has no effect on a component 'sram' (line 22)"
        ),
        "$.control.per_cycle": "no component stands for control: give an energy (line 23)",
    }


@pytest.mark.parametrize(
    ("energy", "place", "said"),
    [
        ("{component: sram, widht: 64 bit}", ".widht", "did you mean 'width'"),
        ("{component: sram, value: 1 pJ}", "", "leave them out"),
        ("{value: 1 pJ, source: x, status: assumed, ports: 2}", "", "without a component"),
        ("{component: sram, node: 3 nm}", "", "7 to 90 nm"),
        ("{component: sram, width: 64 pJ}", ".width", "a capacity needs"),
        ('""', "", "needs a number with its unit, or a component"),
        ("{component: [sram]}", ".component", "must be a text"),
    ],
)
def test_a_wrong_component_is_refused(energy: str, place: str, said: str) -> None:
    text = COMPONENTS.replace("{component: sram, width: 64 bit, ports: 2}", energy)
    found = mistakes(text)
    assert said in found[f"$.nest[1].memories[0].access_energy{place}"]


def test_components_need_joules() -> None:
    text = (
        COMPONENTS.replace("energy_unit: pJ", "energy_unit: MAC")
        .replace("{component: mac}", "1 MAC")
        .replace("0.5 pJ", "1 MAC")
    )
    assert (
        "say what a MAC is (unit_energy)" in mistakes(text)["$.nest[1].memories[0].access_energy"]
    )
