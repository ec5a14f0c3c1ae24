"""A small machine whose constants are known, and what a meter would say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pytest

from picojoule.accelerator import Accelerator
from picojoule.calibration.measurements import read_measurements
from picojoule.calibration.predictions import mapped
from picojoule.specs import parse_accelerator

CHIP = """\
name: metered
energy_unit: pJ
word_bits: 16 bit
clock: 100 MHz
static_power: {value: 2 mW, source: "its data sheet", status: published}
compute: {mac_energy: {value: 2 pJ, source: "a paper", status: published}}
nest:
  - memories:
      - {name: dram, keeps: [input, weight, output], access_energy: 400 pJ, bandwidth: 8 bit/cycle}
  - memories:
      - {name: buffer, keeps: [input, weight, output], capacity: 512 B, access_energy: 12 pJ}
  - array: pes
    axes: [{name: x, size: 4}]
    hop_energy: 3 pJ
  - memories:
      - {name: spad, keeps: [input, weight, output], capacity: 32 B, access_energy: 1 pJ}
"""
TABLE = """\
name,in_channels,out_channels,input_height,input_width,kernel_height,kernel_width
conv1,2,3,5,5,3,3
fc,27,5,1,1,1,1
point,8,8,4,4,1,1
wide,16,4,3,3,3,3
"""
LAYERS = ("conv1", "fc", "point", "wide")


class Metered(Protocol):
    """Writes rows of layers as a machine takes them; the file."""

    def __call__(self, truth: Accelerator, layers: Sequence[str] = ...) -> Path: ...


@pytest.fixture
def machine() -> Accelerator:
    return parse_accelerator(CHIP, "metered.yaml")


@pytest.fixture
def rows(tmp_path: Path) -> Metered:
    """Writes what a machine would be measured to take, under its own best mappings."""
    (tmp_path / "net.csv").write_text(TABLE)

    def write(truth: Accelerator, layers: Sequence[str] = LAYERS) -> Path:
        head = "network,layer,energy (pJ),time (us)"
        plain = tmp_path / "plain.csv"
        plain.write_text(f"{head}\n" + "".join(f"net.csv,{name},1,1\n" for name in layers))
        lines = [head]
        for row in read_measurements(plain, truth, cache=False):
            best = mapped(row, truth)
            cycles = best.cycles(truth)
            energy, time = best.joules(truth, cycles), best.seconds(truth, cycles)
            layer = row.label.rpartition(" ")[2]
            lines.append(f"net.csv,{layer},{energy * 1e12!r},{time * 1e6!r}")
        plain.unlink()
        path = tmp_path / "rows.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
