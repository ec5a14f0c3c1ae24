"""Write what papers print of measured rows as tables that ``picojoule calibrate`` reads.

JSSC'17 Tables V and VI: the Eyeriss chip, AlexNet's five rows to fit and VGG-16's thirteen to
check, under the mappings of ``data/mappings``. Run from the root of the repository:
``python -m tools.make_measurements``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from picojoule.files import write_atomically

DATA = Path(__file__).parents[1] / "src" / "picojoule" / "data"
HEAD = """\
# The Eyeriss chip at 1 V and 200 MHz: Chen et al., JSSC 2017, Tables V (AlexNet, batch 4) and VI
# (VGG-16, batch 3). Time, bytes and power are of the batch; the power is the core's, without DRAM.
# Input densities: the same tables, of the padded input. Output densities, which only the traffic to
# DRAM depends on: AlexNet, CNNergy (data/published/alexnet_densities.csv); VGG-16, the input of the
# layer that follows. MB are 2^20 bytes. AlexNet is fitted, so that VGG-16 judges the fit.
# Made by tools/make_measurements.py.
"""
COLUMNS = (
    "network",
    "layer",
    "batch",
    "mapping",
    "density.input",
    "density.output",
    "power (mW)",
    "time (ms)",
    "bytes.buffer (MB)",
    "bytes.dram (MB)",
    "excluding",
    "per",
    "use",
    "source",
)
CHIP = (
    ("bvlc-alexnet", "jssc17_table5", "jssc17-alexnet", 4, "fit", "JSSC'17 Table V"),
    ("vgg16", "jssc17_table6", "jssc17-vgg16", 3, "check", "JSSC'17 Table VI"),
)
AS_RUN = {"jssc17-alexnet-conv3": "jssc17-alexnet-conv3-as-run"}
"""Mappings other than printed: what the buffer's counter says."""


def published(name: str, **wanted: str) -> dict[str, dict[str, float]]:
    """Values of a shipped table by layer and quantity."""
    table: dict[str, dict[str, float]] = {}
    with (DATA / "published" / f"{name}.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            if row["layer"] and all(row[column] == value for column, value in wanted.items()):
                table.setdefault(row["layer"], {})[row["quantity"]] = float(row["value"])
    return table


def rows() -> Iterator[tuple[object, ...]]:
    """The eighteen rows."""
    zeros = published("alexnet_densities", figure="CNNergy")
    for network, table, mapping, batch, use, source in CHIP:
        measured = published(table)
        layers = list(measured)
        for layer, after in zip(layers, [*layers[1:], layers[-1]], strict=True):
            row, name = measured[layer], f"{mapping}-{layer}"
            if network == "vgg16":
                nonzero = 1 - measured[after]["input_zeros"] / 100
            else:
                nonzero = 1 - zeros[layer]["output_zeros"]
            yield (
                network,
                layer,
                batch,
                f"../mappings/{AS_RUN.get(name, name)}.yaml",
                f"{1 - row['input_zeros'] / 100:.6g}",
                f"{nonzero:.6g}",
                f"{row['power']:g}",
                f"{row['latency']:g}",
                f"{row['buffer_accesses']:g}",
                f"{row['dram_accesses']:g}",
                "dram",
                "batch",
                use,
                source,
            )


def table() -> str:
    """The text of the table."""
    text = io.StringIO()
    text.write(HEAD)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows())
    return text.getvalue()


def main() -> None:
    """Write the table."""
    write_atomically(DATA / "measurements" / "jssc17-eyeriss.csv", table())


if __name__ == "__main__":
    main()
