"""Run CACTI 7 for ``data/components/sram.csv``: ``python -m tools.make_sram FOLDER``.

FOLDER holds CACTI, built: ``git clone https://github.com/HewlettPackard/cacti``, commit 1ffd8df,
then ``make opt``. Half an hour on one core; the rows are printed on stdout, without the head of the
file.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NODES = (90, 65, 45, 32, 28, 22)
WIDTHS = (32, 64, 128, 256)
LARGEST = 2**26  # bytes
FEWEST_ROWS = 64
COLUMNS = (
    " Dynamic read energy (nJ)",
    " Dynamic write energy (nJ)",
    " Standby leakage per bank(mW)",
    " Area (mm2)",
)

# One bank of plain SRAM, low standby power, laid out for least dynamic energy; as
# hwcomponents-cacti 1.0.40 asks. After the blank line: what CACTI reads whether it needs it or not.
FIXED = """\
-cache type "ram"
-associativity 1
-tag size (b) 0
-UCA bank count 1
-exclusive read port 0
-exclusive write port 0
-single ended read ports 0
-Data array cell type - "itrs-lstp"
-Data array peripheral type - "itrs-lstp"
-Tag array cell type - "itrs-lstp"
-Tag array peripheral type - "itrs-lstp"
-operating temperature (K) 300
-access mode (normal, sequential, fast) - "fast"
-design objective (weight delay, dynamic power, leakage power, cycle time, area) 0:0:1000000:0:0
-deviate (delay, dynamic power, leakage power, cycle time, area) 20:10:100000:100:100
-Optimize ED or ED^2 (ED, ED^2, NONE): "ED^2"
-Cache model (NUCA, UCA)  - "UCA"
-Wire signaling (fullswing, lowswing, default) - "Global_30"
-Wire inside mat - "semi-global"
-Wire outside mat - "semi-global"
-Interconnect projection - "normal"
-Add ECC - "false"
-Print level (DETAILED, CONCISE) - "DETAILED"
-Print input parameters - "true"
-Force cache config - "false"

-Array Power Gating - "false"
-WL Power Gating - "false"
-CL Power Gating - "false"
-Bitline floating - "false"
-Interconnect Power Gating - "false"
-Power Gating Performance Loss "default"
-page size (bits) 0
-burst length 8
-internal prefetch width 8
-NUCAdesign objective (weight delay, dynamic power, leakage power, cycle time, area) 100:100:0:0:100
-NUCAdeviate (delay, dynamic power, leakage power, cycle time, area) 10:10000:10000:10000:10000
-NUCA bank count 0
-Core count 1
-Ndwl 1
-Ndbl 1
-Nspd 0
-Ndcm 1
-Ndsam1 0
-Ndsam2 0
-dram_type "DDR3"
-io state "WRITE"
-addr_timing 1.0
-mem_density 4 Gb
-bus_freq 800 MHz
-duty_cycle 1.0
-activity_dq 1.0
-activity_ca 0.5
-num_dq 72
-num_dqs 18
-num_ca 25
-num_clk  2
-num_mem_dq 2
-mem_data_width 8
-rtt_value 10000
-ron_value 34
-tflight_value
-num_bobs 1
-capacity 80
-num_channels_per_bob 1
-first metric "Cost"
-second metric "Bandwidth"
-third metric "Energy"
-DIMM model "ALL"
-mirror_in_bob "F"
"""


class Run(NamedTuple):
    """A memory that CACTI is asked for; *use* says what its row is for."""

    node: int
    size: int  # bytes
    width: int  # bits
    ports: int
    use: str


def runs() -> Iterator[Run]:
    """The grid that is interpolated in, and memories between its points."""
    sizes = [2**n for n in range(8, LARGEST.bit_length())]
    for node in NODES:
        for ports in (1, 2):
            for width in WIDTHS:
                for size in sizes:
                    if size * 8 // width >= FEWEST_ROWS:
                        yield Run(node, size, width, ports, "grid")
    yield from _between()


def _between() -> Iterator[Run]:
    for node in (65, 45, 32, 22):
        for width in (32, 64, 128):
            for size in (3 * 2**n for n in range(7, 21)):
                if size * 8 // width >= FEWEST_ROWS:
                    yield Run(node, size, width, 1, "check")
        for width, size in ((48, 12288), (96, 98304), (192, 196608), (96, 49152), (48, 1536)):
            yield Run(node, size, width, 1, "check")
    for node in (78, 55, 40, 36, 25):
        for size, width in ((2**10, 32), (2**13, 64), (2**16, 64), (2**17, 64), (2**20, 64)):
            yield Run(node, size, width, 1, "check")
        yield Run(node, 2**16, 128, 1, "check")
    for node in (65, 28, 22):
        for size in (3 * 2**23, 3 * 2**24):
            yield Run(node, size, 64, 1, "check")
    for node in (65, 45, 22):
        for size, width in ((1536, 32), (24576, 64), (196608, 128)):
            yield Run(node, size, width, 2, "check")
    for size, width in ((3072, 32), (98304, 64), (393216, 128)):
        yield Run(28, size, width, 1, "check")


def asked(run: Run) -> str:
    """The configuration file of a run."""
    return FIXED + (
        f"-size (bytes) {run.size}\n"
        f"-read-write port  {run.ports}\n"
        f"-block size (bytes) {run.width // 8}\n"
        f"-technology (u) {run.node / 1000}\n"
        f"-output/input bus width  {run.width}\n"
    )


def answered(run: Run, cacti: Path) -> list[str]:
    """The row of a run."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "memory.cfg"
        file.write_text(asked(run), encoding="utf-8")
        command = ["./cacti", "-infile", str(file)]
        subprocess.run(command, cwd=cacti, check=True, stdout=subprocess.DEVNULL)
        with Path(f"{file}.out").open(encoding="utf-8") as table:
            row = list(csv.DictReader(table))[-1]
    read, write, leakage, area = (float(row[name]) for name in COLUMNS)
    numbers = [f"{x:.6g}" for x in (read * 1e3, write * 1e3, leakage, area)]
    return [*map(str, run[:4]), *numbers, run.use, "CACTI 7"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cacti", type=Path)
    folder = parser.parse_args().cacti.resolve()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for memory in runs():
        writer.writerow(answered(memory, folder))
