"""Where the rows come from: CACTI's runs, and hwcomponents where it is installed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from benchmarks import components as beside
from picojoule.components.rows import rows
from picojoule.validation.components import hwcomponents, isca16_areas, nvdla_areas, of_row
from picojoule.validation.figures import published
from tools.make_sram import Run, asked, runs


def test_the_table_of_memories_is_what_cacti_is_asked_for() -> None:
    kept = {
        Run(
            int(row["node_nm"]),
            int(row["bytes"]),
            int(row["width_bits"]),
            int(row["ports"]),
            row["use"],
        )
        for row in rows("sram")
    }
    assert kept == set(runs())
    assert "-size (bytes) 2048\n" in asked(Run(45, 2048, 64, 2, "grid"))


def test_without_hwcomponents_its_recorded_numbers_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "hwcomponents_cacti", None)
    assert beside.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "needs Python 3.12 or newer" in said.err
    assert "picojoule validate compares with that" in said.err


class _Memory:
    """A memory of hwcomponents that answers as the recorded rows do, times *by*."""

    def __init__(self, by: float, **asked: Any) -> None:
        self.by, self.asked = by, asked

    def _energy(self, action: str) -> SimpleNamespace:
        row = next(
            x
            for x in published("hwcomponents")
            if x["action"] == action
            and x["capacity_bits"] == str(self.asked["size"])
            and x["node_nm"] == f"{self.asked['tech_node'] * 1e9:.0f}"
        )
        return SimpleNamespace(energy=self.by * of_row(row).energies[action] * 1e-12)

    def read(self) -> SimpleNamespace:
        return self._energy("read")

    def write(self) -> SimpleNamespace:
        return self._energy("write")


@pytest.mark.parametrize(("by", "code"), [(1.0, 0), (1.2, 1)])
def test_hwcomponents_is_asked_row_by_row(
    by: float,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cacti, library = ModuleType("hwcomponents_cacti"), ModuleType("aladdin")
    cacti.SRAM = lambda **asked: _Memory(by, **asked)  # type: ignore[attr-defined]
    prices = {"LPDDR4": 8.0, "DDR3": 70.0, "HBM2": 6.25, "HBM4": 3.2}
    for name, price in prices.items():

        def made(width: int, price: float = price) -> SimpleNamespace:
            return SimpleNamespace(read=lambda: SimpleNamespace(energy=price * width * 1e-12))

        setattr(cacti, name, made)

    def unit(metres: float, _: int) -> SimpleNamespace:
        row = next(
            x
            for x in published("hwcomponents")
            if x["component"] == "mac" and x["node_nm"] == f"{metres * 1e9:.0f}"
        )
        share = of_row(row).energies["mac"] / 2 * 1e-12  # half for the product, half for the sum
        return SimpleNamespace(
            add=lambda: SimpleNamespace(energy=share),
            multiply=lambda: SimpleNamespace(energy=share),
        )

    library.AladdinAdder = library.AladdinMultiplier = unit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hwcomponents_cacti", cacti)
    monkeypatch.setitem(sys.modules, "hwcomponents_library", ModuleType("hwcomponents_library"))
    monkeypatch.setitem(
        sys.modules, "hwcomponents_library.library", ModuleType("hwcomponents_library.library")
    )
    monkeypatch.setitem(sys.modules, "hwcomponents_library.library.aladdin", library)
    assert beside.main() == code
    assert len(capsys.readouterr().out.splitlines()) == len(published("hwcomponents"))


def test_every_recorded_energy_is_within_a_hundredth() -> None:
    """A tenth is promised; both rest on CACTI and Aladdin, so they hardly differ."""
    found = list(hwcomponents())
    assert len(found) == 29
    assert max(x.error for x in found) < 0.01
    assert all(x.tolerance == 0.10 for x in found)


def test_the_areas_of_sizes_that_the_factor_has_not_seen() -> None:
    found = list(nvdla_areas())
    unseen = [x for x in found if not x.fitted]
    assert (len(found), len(unseen)) == (14, 8)
    assert all(x.ok for x in unseen)
    assert max(x.error for x in unseen) == pytest.approx(0.186, abs=0.001)


def test_the_buffer_that_isca16_gives_for_registers() -> None:
    (row,) = isca16_areas()
    assert row.ours == pytest.approx(2.18, abs=0.01)
    assert row.tolerance is None
