"""Energies and areas of components: what they are, how they grow, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picojoule.components import KINDS, NODES, accuracy, component
from picojoule.components.logic import mac, wire
from picojoule.components.memories import register_file, sram
from picojoule.components.nodes import logic_area, logic_energy
from picojoule.components.rows import rows
from picojoule.components.samples import samples
from picojoule.errors import PicojouleError

KIB = 8192


def test_every_row_has_a_source_and_a_status() -> None:
    for name in ("logic", "scaling", "wires", "dram"):
        for row in rows(name):
            assert row["source"]
            assert row["status"] in ("published", "derived", "assumed")
    assert {row["source"] for row in rows("sram")} == {"CACTI 7"}


def test_a_memory_of_the_grid_is_what_cacti_says() -> None:
    row = next(
        x
        for x in rows("sram")
        if (x["node_nm"], x["bytes"], x["width_bits"], x["ports"]) == ("32", "131072", "64", "2")
    )
    memory = sram(128 * KIB, 64, 32.0, ports=2)
    assert memory.read == pytest.approx(float(row["read_pj"]))
    assert memory.area == pytest.approx(float(row["area_mm2"]))
    assert memory.leakage == pytest.approx(float(row["leakage_mw"]) / 1e3)


def test_between_two_memories_lies_their_geometric_mean() -> None:
    # Rows of 64 bit, sqrt(2) x 128 KiB: halfway between 128 and 256 KiB.
    low, high = sram(128 * KIB, 64, 45.0), sram(256 * KIB, 64, 45.0)
    middle = sram(128 * KIB * math.sqrt(2), 64, 45.0)
    assert middle.read == pytest.approx(math.sqrt(low.read * high.read), rel=1e-5)
    assert middle.area == pytest.approx(math.sqrt(low.area * high.area), rel=1e-5)


def test_a_narrow_row_and_what_is_below_22_nm_follow_hwcomponents() -> None:
    # 512 words of 16 bit take 0.3 + 0.7 / 2 of 512 words of 32.
    wide, narrow = sram(2 * KIB, 32, 22.0), sram(KIB, 16, 22.0)
    assert narrow.read == pytest.approx(0.65 * wide.read, rel=1e-5)
    assert narrow.area == pytest.approx(0.5 * wide.area, rel=1e-5)
    small = sram(KIB, 16, 7.0)
    assert small.read == pytest.approx(math.sqrt(7 / 22) * narrow.read, rel=1e-5)
    assert small.area == pytest.approx(7 / 22 * narrow.area, rel=1e-5)


def test_a_wide_row_lies_in_arrays_side_by_side() -> None:
    half = sram(32 * KIB, 256, 45.0)
    whole = sram(64 * KIB, 512, 45.0)
    assert whole.read == pytest.approx(2 * half.read)
    assert whole.area == pytest.approx(2 * half.area)


def test_few_words_are_flip_flops() -> None:
    # Aladdin: 0.009 pJ and 5.98 um2 for a bit at 40 nm.
    file = register_file(24 * 16, 16, 40.0)
    assert file.read == file.write == pytest.approx(0.009 * 16)
    assert file.area == pytest.approx(5.98e-6 * 24 * 16)
    assert file.leakage is None


def test_a_mac_is_aladdins_at_its_own_node() -> None:
    # 12.68 pJ for 32 x 32, a quarter for 16 x 16; 0.21 pJ for a sum of 32 bit.
    assert mac(16, 32, 40.0).energy == pytest.approx(12.68 / 4 + 0.21)
    assert mac(32, 32, 40.0).area == pytest.approx((6350 + 278) / 1e6)


def test_logic_scales_as_published() -> None:
    """Stillmaker and Baas: at 0.8 V, 0.8598 at 65 nm and 0.06536 at 7, in arbitrary units."""
    large = 3.755 * 0.64 - 4.398 * 0.8 + 1.975
    small = 0.1776 * 0.64 - 0.09097 * 0.8 + 0.02447
    assert logic_energy(7, 65) == pytest.approx(small / large)
    assert logic_area(7, 65) == pytest.approx(0.039)
    assert logic_energy(28, 28) == logic_area(28, 28) == 1


def test_a_wire_costs_by_length_and_width() -> None:
    assert wire(2.0, 16, 45.0) == pytest.approx(2 * wire(1.0, 16, 45.0), rel=1e-5)
    assert wire(1.0, 8, 45.0) == pytest.approx(wire(1.0, 16, 45.0) / 2, rel=1e-5)
    # Half of the wires change: 0.375659 pJ each.
    assert wire(1.0, 1, 45.0) == pytest.approx(0.375659 / 2, rel=1e-5)


def test_a_smaller_node_never_costs_more() -> None:
    for sample in samples():
        for action in sample.actions:
            energies = [part.energies[action] for part in sample.by_node.values()]
            assert energies == sorted(energies, reverse=True), sample.name


def test_what_no_curve_has_seen_is_near() -> None:
    found = {x.quantity: x for x in accuracy()}
    assert set(found) == {"read", "write", "area"}
    for x in found.values():
        assert x.runs == 224
        assert x.median < 0.05
        assert x.ninth_decile < 0.16
        assert x.largest < 0.25


@settings(max_examples=60, deadline=None)
@given(
    node=st.sampled_from(NODES),
    width=st.integers(1, 1024),
    depth=st.integers(64, 8192),
    ports=st.sampled_from([1, 2]),
)
def test_more_rows_hardly_ever_cost_less(node: float, width: int, depth: int, ports: int) -> None:
    """CACTI's choice of banks makes small steps down, never large ones."""
    small, large = (sram(float(width * n), width, node, ports) for n in (depth, 2 * depth))
    assert 0 < small.read < 1.1 * large.read
    assert 0 < small.area < large.area


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "srma", "node": 45.0}, "did you mean 'sram'"),
        ({"kind": "mac", "node": 5.0}, "7 to 90 nm"),
        ({"kind": "mac", "node": 130.0}, "7 to 90 nm"),
        ({"kind": "sram", "node": 45.0}, "needs the capacity"),
        ({"kind": "sram", "node": 45.0, "capacity": 512.0}, "take a register-file"),
        ({"kind": "sram", "node": 45.0, "capacity": 2.0**30}, "none is extrapolated"),
        ({"kind": "sram", "node": 45.0, "capacity": 2.0**20, "ports": 4}, "1 and 2"),
        ({"kind": "wire", "node": 45.0}, "needs a length"),
    ],
)
def test_what_no_row_encloses_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(PicojouleError, match=said):
        component(asked.pop("kind"), width=16, **asked)


def test_every_kind_answers() -> None:
    for kind in KINDS:
        part = component(kind, node=28.0, width=16, capacity=float(KIB), length=1.0)
        assert all(energy > 0 for energy in part.energies.values())
        assert part.status in ("published", "derived", "assumed")
        assert part.source
