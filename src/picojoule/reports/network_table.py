"""A network as picojoule's own CSV table, which :mod:`picojoule.frontends.table` reads.

Every :class:`~picojoule.workload.Layer` can be written and read back.
"""

from __future__ import annotations

import csv
import io
from os import PathLike
from pathlib import Path

from picojoule.files import write_atomically
from picojoule.frontends.table import BATCH, COLUMNS, KINDS, NOT_COUNTED
from picojoule.workload import Layer, Workload


def write_table(workload: Workload, path: str | PathLike[str]) -> None:
    """Write *workload* as a CSV file that :func:`~picojoule.frontends.read_table` reads back.

    Raises:
        InputError: the place cannot be written.
    """
    write_atomically(Path(path), format_table(workload))


def format_table(workload: Workload) -> str:
    """The text of *workload* as picojoule's own CSV table.

    >>> from picojoule.workload import linear
    >>> print(format_table(Workload("net", (linear("fc", in_features=3, out_features=2),))))
    ... # doctest: +ELLIPSIS
    # name: net
    name,batch,groups,in_channels,out_channels,...
    fc,1,1,3,2,...
    <BLANKLINE>
    """
    text = io.StringIO(newline="")
    comments = {"name": workload.name, "source": workload.source}
    if workload.batch != 1:
        comments[BATCH] = str(workload.batch)
    # A comma separates operators, so one inside an operator's name becomes a semicolon.
    comments[NOT_COUNTED] = ", ".join(
        f"{op.replace(',', ';')} {count}" for op, count in workload.not_counted.items()
    )
    for key, value in comments.items():
        if value:
            text.write(f"# {key}: {' '.join(value.split())}\n")
    plain = csv.writer(text, lineterminator="\n")
    plain.writerow(COLUMNS)
    for layer in workload:
        cells = io.StringIO(newline="")
        csv.writer(cells, lineterminator="\n").writerow(_cells(layer)[1:])
        text.write(f"{_quoted(layer.name)},{cells.getvalue()}")
    return text.getvalue()


def _quoted(name: str) -> str:
    # csv.writer does not protect a leading "#" or blanks, which here mean something.
    special = name != name.strip() or name.startswith("#") or set(name) & set(',"\r\n') or not name
    return '"' + name.replace('"', '""') + '"' if special else name


def _cells(layer: Layer) -> list[object]:
    b = layer.bounds
    return [
        layer.name,
        b.N,
        b.G,
        b.G * b.C,
        b.G * b.M,
        *layer.input_size,
        b.R,
        b.S,
        *layer.stride,
        *layer.dilation,
        *layer.padding,
        KINDS[layer.weight_is_activation],
        *layer.bits,
        *(repr(float(value)) for value in layer.density),
    ]
