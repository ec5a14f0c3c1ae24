"""A network as picojoule's own CSV table, which :mod:`picojoule.frontends.table` reads.

Every :class:`~picojoule.workload.Layer` can be written and read back.
"""

from __future__ import annotations

import csv
import io
from os import PathLike
from pathlib import Path

from picojoule.files import write_atomically
from picojoule.frontends.graph_comments import format_graph
from picojoule.frontends.table import (
    BATCH,
    COLUMNS,
    KINDS,
    NOT_COUNTED,
    RARE,
    REMARK,
    SCALES,
    TIME_STEPS,
    UNMODELLED,
)
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
    for key, counts in ((NOT_COUNTED, workload.not_counted), (UNMODELLED, workload.unmodelled)):
        comments[key] = ", ".join(f"{op.replace(',', ';')} {n}" for op, n in counts.items())
    for key, value in (*comments.items(), *((REMARK, each) for each in workload.remarks)):
        if value:
            text.write(f"# {key}: {' '.join(value.split())}\n")
    plain = csv.writer(text, lineterminator="\n")
    rare = _rare_columns(workload)
    plain.writerow((*COLUMNS, *rare))
    for layer in workload:
        cells = io.StringIO(newline="")
        seldom = [_rare_cell(layer, column) for column in rare]
        csv.writer(cells, lineterminator="\n").writerow([*_cells(layer)[1:], *seldom])
        text.write(f"{_quoted(layer.name)},{cells.getvalue()}")
    if workload.graph is not None:
        text.writelines(format_graph(workload.graph))
    return text.getvalue()


def _rare_columns(workload: Workload) -> tuple[str, ...]:
    """Those of :data:`RARE` that say something of a layer."""
    scaled = any(any(layer.scale_bits) for layer in workload)
    stepped = any(layer.time_steps > 1 for layer in workload)
    return tuple(c for c in RARE if (scaled if c in SCALES else stepped))


def _rare_cell(layer: Layer, column: str) -> str:
    if column == TIME_STEPS:
        return str(layer.time_steps)
    return repr(float(layer.scale_bits[SCALES.index(column)]))


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
