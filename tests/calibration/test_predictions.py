"""Coefficients: the energy is their sum, on every kind of machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from picojoule.calibration.constants import constants
from picojoule.calibration.measurements import parse_measurements
from picojoule.calibration.predictions import mapped
from picojoule.estimation import estimate
from picojoule.specs import load_accelerator
from tests.calibration.conftest import TABLE

MACHINES = ("eyeriss-measured", "eyeriss", "nvdla-like", "gap9-ne16-like", "tpu-v1-like")


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("excluding", ["", "first"])
def test_energy_is_linear_in_its_constants(name: str, excluding: str, tmp_path: Path) -> None:
    machine = load_accelerator(name)
    outermost = next(iter(machine.memories)) if excluding else ""
    (tmp_path / "net.csv").write_text(TABLE)
    text = f"network,layer,batch,excluding,energy\nnet.csv,point,2,{outermost},1 uJ\n"
    (row,) = parse_measurements(text, "rows.csv", machine, tmp_path)
    best = mapped(row, machine)
    cycles = best.cycles(machine) if machine.clock else (1000.0,)
    keys = [
        key
        for key in constants(machine).values()
        if not (key.of_time or key.key.endswith(".access"))
    ]
    each, rest = best.coefficients(machine, keys, cycles)
    values = [key.get(machine) or 0.0 for key in keys]
    whole = best.joules(machine, cycles)
    assert rest == 0.0
    assert sum(a * x for a, x in zip(each, values, strict=True)) == pytest.approx(whole)
    if not excluding and machine.clock:
        alone = estimate(tmp_path / "net.csv", machine, batch=2)
        (layer,) = (x for x in alone.layers if x.name == "point")
        unit = machine.unit_picojoules * 1e-12
        assert whole == pytest.approx(layer.energy * unit, rel=1e-9)


def test_a_row_takes_what_an_estimate_says_moves(tmp_path: Path) -> None:
    machine = load_accelerator("eyeriss-measured")
    (tmp_path / "net.csv").write_text(TABLE)
    (row,) = parse_measurements("network,energy\nnet.csv,1 uJ\n", "rows.csv", machine, tmp_path)
    best = mapped(row, machine)
    alone = estimate(tmp_path / "net.csv", machine)
    for memory in machine.memories:
        moved = sum(sum(x.bytes_moved.get(memory, {}).values()) for x in alone.layers)
        assert best.bytes(machine, memory) == pytest.approx(moved)
