"""Reports for a terminal: complete, legible in its width, harmless."""

from __future__ import annotations

from dataclasses import replace

import pytest

from picojoule.accelerator import Control
from picojoule.dataflow import DATAFLOWS
from picojoule.estimate_records import Estimate
from picojoule.estimation import estimate
from picojoule.legality import contents
from picojoule.reports.machines import accelerator_report, dataflows_table, networks_table
from picojoule.reports.text import (
    estimate_report,
    mapping_report,
    not_counted_line,
    plain,
)
from picojoule.specs import load_accelerator, shipped_accelerators
from picojoule.units import show_capacity
from picojoule.workload import Workload

WIDTH = 100


def legible(text: str) -> None:
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_an_estimate_is_shown_with_all_its_layers(dense: Estimate) -> None:
    text = plain(estimate_report(dense))
    legible(text)
    for name in ("conv1", "fc", "total", "dram", "buffer", "spad", "not counted: Relu x2"):
        assert name in text
    assert "effectual" not in text
    assert f"meaning: {dense.meaning}"[:60] in text


def test_macs_that_are_skipped_have_a_column(sparse: Estimate) -> None:
    text = plain(estimate_report(sparse))
    legible(text)
    assert "effectual" in text
    assert "of them done (25" in text


def test_names_cannot_do_anything(evil: Estimate) -> None:
    text = plain(estimate_report(replace(evil, network="\x1b[2J[red]x")))
    assert "\x1b" not in text
    assert "[red]x" in text


def test_a_mapping_is_shown_with_what_is_proved(dense: Estimate) -> None:
    (priced, _), machine = dense.layers, dense.machine
    assert machine is not None
    assert priced.layer is not None
    one = replace(dense, layers=(priced,))
    text = plain(mapping_report(one, priced.layer, machine))
    assert "\x1b" not in text
    assert priced.certificate("energy").split(" (")[0] in " ".join(text.split())
    for row in contents(priced.layer, machine, priced.mapping):
        assert row["memory"] in text
        assert sum(row["holds"].values()) == row["used"]


@pytest.mark.parametrize("name", shipped_accelerators())
def test_every_shipped_accelerator_is_shown(name: str) -> None:
    machine = load_accelerator(name)
    text = plain(accelerator_report(machine))
    assert "\x1b" not in text
    for memory in machine.memories:
        assert memory in text
    assert ("where the numbers come from" in text) is bool(machine.sources)


def test_lists(dense: Estimate) -> None:
    text = plain(dataflows_table())
    assert all(name in text for name in DATAFLOWS)
    text = plain(networks_table([("small", dense.workload())]))
    assert "small" in text
    legible(text)


def test_what_is_not_counted_is_named_and_counted() -> None:
    assert not_counted_line({"Relu": 2, "Add": 1}).startswith("not counted: Add x1, Relu x2; ")
    assert not_counted_line({}).startswith("not counted: control")


def test_an_estimate_of_nothing(dense: Estimate) -> None:
    legible(plain(estimate_report(replace(dense, layers=()))))
    assert Workload("empty", ()).macs == 0


def test_accesses_as_charged_and_as_counters_see_them() -> None:
    result = estimate("mlperf-tiny-kws", "eyeriss")
    assert "physical accesses" not in plain(estimate_report(result))
    physical = plain(estimate_report(result, "physical"), width=200)
    assert "physical accesses per inference" in physical
    first = result.layers[0]
    assert show_capacity(8 * sum(first.bytes_moved["dram"].values())) in physical
    charged = plain(estimate_report(result, "charged"), width=200)
    assert "charged accesses per inference" in charged


def test_a_machine_says_what_its_control_takes() -> None:
    chip = replace(load_accelerator("eyeriss"), control=Control(per_cycle=430.0, per_element=0.5))
    assert "430 x E_MAC a cycle" in plain(accelerator_report(chip))
    assert "0.5 x E_MAC a cycle for each of 168 elements" in plain(accelerator_report(chip))
    assert "control and clock tree" in not_counted_line({}, load_accelerator("eyeriss"))
    assert "control" not in not_counted_line({}, chip)
