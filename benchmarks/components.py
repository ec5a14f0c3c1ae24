"""Energies of components beside those of hwcomponents: ``python -m benchmarks.components``.

It asks hwcomponents for every row of ``data/published/hwcomponents.csv`` and prints its number,
the one recorded there, and ours. hwcomponents needs Python 3.12 or newer and runs CACTI, which has
to be built anew where glibc is older than 2.38; its library imports hwcomponents-neurosim, which
it does not name::

    python3.12 -m pip install hwcomponents-cacti==1.0.40 hwcomponents-library==1.0.58 \\
        hwcomponents-neurosim

Ends with 1 if one of ours is more than a tenth away, with 2 where hwcomponents cannot be asked.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from picojoule.validation.components import of_row
from picojoule.validation.figures import published

FARTHEST = 0.10
_DRAM = {
    "lpddr4": ("LPDDR4", 64),
    "ddr3": ("DDR3", 64),
    "hbm2": ("HBM2", 2048),
    "hbm4": ("HBM4", 4096),
}


def asked(row: dict[str, str], cacti: Any, library: Any) -> float:
    """hwcomponents' energy of a row, in pJ."""
    kind, width = row["component"], int(row["width_bits"])
    if kind in _DRAM:
        name, lanes = _DRAM[kind]
        return float(getattr(cacti, name)(width=lanes).read().energy) * 1e12 / lanes
    metres = float(row["node_nm"]) * 1e-9
    if kind == "mac":
        adder = library.AladdinAdder(metres, int(row["sum_bits"])).add()
        product = library.AladdinMultiplier(metres, width).multiply()
        return float(adder.energy + product.energy) * 1e12
    memory = cacti.SRAM(tech_node=metres, width=width, size=int(row["capacity_bits"]))
    return float(getattr(memory, row["action"])().energy) * 1e12


def main() -> int:
    """Print the table; the exit code."""
    try:
        cacti = importlib.import_module("hwcomponents_cacti")
        library = importlib.import_module("hwcomponents_library.library.aladdin")
    except (ImportError, SyntaxError) as error:
        sys.stderr.write(
            f"hwcomponents cannot be asked here: {error}. It needs Python 3.12 or newer (this is "
            f"{sys.version.split()[0]}) and pip install hwcomponents-cacti hwcomponents-library "
            "hwcomponents-neurosim. What it said before is recorded: picojoule validate compares "
            "with that.\n"
        )
        return 2
    far = 0
    for row in published("hwcomponents"):
        theirs, recorded = asked(row, cacti, library), float(row["value"])
        mine = of_row(row).energies[row["action"]]
        apart = mine / theirs - 1
        far += abs(apart) > FARTHEST
        what = f"{row['component']} {row['capacity_bits']} {row['node_nm']} {row['action']}"
        sys.stdout.write(f"{what:<34} {theirs:9.4g} {recorded:9.4g} {mine:9.4g} {apart:+7.1%}\n")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
