"""Write the published mappings of AlexNet on the Eyeriss chip as mapping files.

JSSC'17 Table III gives each layer's mapping as seven numbers: m filters, n images and e output rows
in the buffer; p filters and q channels in an element; r sets of channels and t sets of filters side
by side. Run from the root of the repository: ``python -m tools.make_mappings``.
"""

from __future__ import annotations

import csv
from pathlib import Path

import yaml

from picojoule.files import write_atomically
from picojoule.frontends import load
from picojoule.mapping import Mapping, Stage
from picojoule.workload import OPERANDS, Dim, Extents, Layer, Operand

DATA = Path(__file__).parents[1] / "src" / "picojoule" / "data"
ROWS = 12  # of the chip's array
N, G, M, C, P, Q, R, S = Dim


def published() -> dict[str, dict[str, int]]:
    """The seven numbers of each layer, from the shipped table."""
    table: dict[str, dict[str, int]] = {}
    with (DATA / "published" / "jssc17_table3.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            if row["quantity"].startswith("mapping."):
                table.setdefault(row["layer"], {})[row["quantity"][8:]] = int(row["value"])
    return table


def mapping(layer: Layer, *, m: int, n: int, e: int, p: int, q: int, r: int, t: int) -> Mapping:
    """One layer's mapping as a loop nest.

    An element holds one filter row of p x q filters; filter rows, then what still fits, run along
    the array's rows, output rows along its columns (27 rows of CONV2 fold into two lines of 14).
    Weights stay while a row and the images of the buffer pass.
    """
    shape = layer.bounds
    element = Extents(M=p, C=q, S=shape.S)
    folds = -(-e // 14)
    columns = -(-e // folds)
    rows = {"R": shape.R, "P": folds, "C": r}
    beside = min(t, ROWS // (shape.R * folds * r))
    along_rows = Extents(**rows, M=beside)
    along_columns = Extents(P=columns, M=t // beside)
    buffer = Extents(N=n, M=m, C=q * r, P=e, Q=shape.Q, R=shape.R, S=shape.S)
    return Mapping(
        (
            Stage(shape, (G, N, M, P, C)),
            Stage(
                buffer,
                (M, N, Q),
                frozenset({Operand.INPUT, Operand.OUTPUT}),
                (along_rows, along_columns),
            ),
            Stage(element, (), frozenset(OPERANDS)),
        )
    )


def files() -> dict[str, str]:
    """The text of each file of a layer, by the file's name."""
    network, texts = load("bvlc-alexnet").with_batch(4), {}
    for name, numbers in published().items():
        text = (
            f"# {name} of AlexNet, batch 4, on the Eyeriss chip: "
            "Chen et al., JSSC 2017, Table III:\n"
            f"# {', '.join(f'{k} = {v}' for k, v in numbers.items())}. Made by"
            " tools/make_mappings.py.\n"
        )
        text += yaml.safe_dump(
            mapping(network[name], **numbers).to_dict(), sort_keys=False, default_flow_style=None
        )
        texts[f"jssc17-alexnet-{name}.yaml"] = text
    return texts


def main() -> None:
    """Write one file for each layer."""
    for name, text in files().items():
        write_atomically(DATA / "mappings" / name, text)


if __name__ == "__main__":
    main()
