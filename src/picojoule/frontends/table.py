"""picojoule's own table of layers: a CSV file with one layer per row.

Lines that begin with ``#`` are comments; some kinds of them carry what a row cannot::

    # name: bvlc-alexnet
    # source: onnx 1.23.2, light_bvlc_alexnet.onnx
    # batch: 4
    # not counted: MaxPool 3, Relu 7
    # not modelled: LSTM 2
    # remark: the first dimension is taken for the batch

Four more say what lies between the layers, all of it or nothing; each holds an object of JSON::

    # inputs: ["image"]
    # outputs: ["fc"]
    # tensor: {"name": "conv1", "words": 802816, "bits": 16}
    # node: {"name": "pool", "operators": ["MaxPool"], "reads": ["conv1"], "makes": ["pool"]}

A node with ``"layers"`` stands for these rows. What does not fit the rows is an error.

The first other line names the columns, in any order. ``in_channels`` and ``out_channels`` are
totals over all groups; a matrix product is a 1 x 1 convolution whose rows are ``input_height``.
``kind`` says what the second operand is: ``weight`` (stored with the network) or ``activation``
(computed, as in attention). There may be many remarks. Every
:class:`~picojoule.workload.Layer` can be written and read back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path

from picojoule.errors import WorkloadError, did_you_mean
from picojoule.frontends.graph_comments import NODE, TENSOR, read_graph
from picojoule.frontends.source_file import Findings, read_text, shortened
from picojoule.workload import Layer, PerOperand, Workload, conv

REQUIRED = ("name", "in_channels", "out_channels")
DEFAULTS: Mapping[str, int | float | str] = {
    "batch": 1,
    "groups": 1,
    "input_height": 1,
    "input_width": 1,
    "kernel_height": 1,
    "kernel_width": 1,
    "stride_height": 1,
    "stride_width": 1,
    "dilation_height": 1,
    "dilation_width": 1,
    "pad_top": 0,
    "pad_bottom": 0,
    "pad_left": 0,
    "pad_right": 0,
    "kind": "weight",
    "input_bits": 16,
    "weight_bits": 16,
    "output_bits": 16,
    "input_density": 1.0,
    "weight_density": 1.0,
    "output_density": 1.0,
}
SCALES = ("input_scale_bits", "weight_scale_bits", "output_scale_bits")
"""Columns of bits per value for scales and zero points."""

TIME_STEPS = "time_steps"
RARE = (*SCALES, TIME_STEPS)
"""Columns that are written only where a layer of the network has something to say there."""
COLUMNS = ("name", "batch", "groups", "in_channels", "out_channels", *list(DEFAULTS)[2:])
"""All columns, in the order in which they are written."""

KINDS = ("weight", "activation")
BATCH, NOT_COUNTED, UNMODELLED = "batch", "not counted", "not modelled"
"""Comments that hold numbers."""
REMARK = "remark"
"""What a comment that may occur many times holds: a sentence of the network's reader."""


def read_table(path: str | PathLike[str], *, name: str | None = None) -> Workload:
    """Read a network from picojoule's own CSV file.

    Raises:
        InputError: with every mistake of the file, as ``line 3, column stride_height``.
    """
    return parse_table(read_text(Path(path)), source=fspath(path), name=name)


def parse_table(text: str, *, source: str, name: str | None = None) -> Workload:
    """Read a network from the text of such a file; *source* names it in errors.

    >>> parse_table("name,in_channels,out_channels\\nfc8,4096,1000\\n", source="x.csv").macs
    4096000

    Raises:
        InputError: with every mistake of the text.
    """
    findings = Findings(source)
    comments: dict[str, tuple[int, str]] = {}
    repeated: dict[str, list[tuple[int, str]]] = {REMARK: [], TENSOR: [], NODE: []}
    rows = records(text, findings, comments, repeated)
    header_line, header = next(rows, (1, []))
    if not header:
        findings.add("line 1", f"no row of column names; the columns are {', '.join(COLUMNS)}")
        raise findings.error()
    columns = [cell.strip() for cell in header]
    _check_header(columns, header_line, findings)
    findings.raise_if_any()

    layers: list[Layer] = []
    lines: dict[str, int] = {}
    for line, cells in rows:
        layer = _layer(line, dict(zip(columns, cells, strict=False)), len(columns), cells, findings)
        if layer is None:
            continue
        if layer.name in lines:
            findings.add(
                f"line {line}, column name",
                f"{shortened(layer.name)} is already the name of line {lines[layer.name]}",
            )
            continue
        lines[layer.name] = line
        layers.append(layer)
    batch = 1
    if BATCH in comments:
        at, value = comments[BATCH]
        batch = findings.whole(f"line {at}, batch", value, least=1) or 1
    not_counted, unmodelled = (
        _read_counts(key, *comments.get(key, (0, "")), findings)
        for key in (NOT_COUNTED, UNMODELLED)
    )
    if not layers and not findings:
        findings.add(f"line {header_line}", "the table has no layers")
    findings.raise_if_any()
    workload = Workload(
        name or comments.get("name", (0, ""))[1] or Path(source).stem,
        tuple(layers),
        batch=batch,
        not_counted=not_counted,
        unmodelled=unmodelled,
        remarks=tuple(value for _, value in repeated[REMARK]),
        source=comments.get("source", (0, ""))[1] or source,
    )
    graph = read_graph(comments, repeated, workload.ends(), findings)
    findings.raise_if_any()
    return replace(workload, graph=graph)


def records(
    text: str,
    findings: Findings,
    comments: dict[str, tuple[int, str]],
    repeated: Mapping[str, list[tuple[int, str]]] | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield ``(line number, cells)`` of every row; comment lines go to *comments* by their key.

    Those of keys of which there may be many go to *repeated*.

    What csv itself refuses (an open quote) is noted in *findings* and ends the rows.
    """
    at = 0
    between = True  # a "#" inside a quoted name of several lines begins no comment

    def physical_lines() -> Iterator[str]:
        nonlocal at, between
        for line in io.StringIO(text, newline=""):
            at += 1
            if between and line.lstrip().startswith("#"):
                key, colon, value = line.strip().lstrip("#").partition(":")
                word = key.strip().lower()
                if repeated is not None and word in repeated:
                    repeated[word].append((at, value.strip()))
                elif colon:
                    comments.setdefault(word, (at, value.strip()))
            elif not between or line.strip():
                between = False
                yield line

    reader = csv.reader(physical_lines(), skipinitialspace=True, strict=True)
    while True:
        between = True
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            findings.add(f"line {at}", f"this is not CSV: {error}")
            return
        yield at, cells


def _check_header(columns: list[str], line: int, findings: Findings) -> None:
    for place, column in enumerate(columns):
        if column not in COLUMNS + RARE:
            findings.add(
                f"line {line}, column {place + 1}",
                f"unknown column {shortened(column)}{did_you_mean(column[:40], COLUMNS + RARE)}",
            )
        elif column in columns[:place]:
            findings.add(f"line {line}, column {place + 1}", f"{column} is there twice")
    for column in REQUIRED:
        if column not in columns:
            findings.add(f"line {line}", f"the column {column} is missing")


def _layer(
    line: int, row: dict[str, str], width: int, cells: list[str], findings: Findings
) -> Layer | None:
    if len(cells) != width:
        findings.add(f"line {line}", f"{len(cells)} cells for {width} columns")
        return None
    before = len(findings)
    whole: dict[str, int] = {}
    density: dict[str, float] = {}
    for column in COLUMNS[1:]:
        at, text = f"line {line}, column {column}", row.get(column, "").strip()
        default = DEFAULTS.get(column)
        if column == "kind":
            if text and text not in KINDS:
                findings.add(at, f"{shortened(text)} is neither {' nor '.join(KINDS)}")
        elif isinstance(default, float):
            value = findings.fraction(at, text) if text else default
            density[column] = 1.0 if value is None else value
        elif not text and default is not None:
            whole[column] = int(default)
        else:
            least = 0 if column.startswith("pad_") else 1
            whole[column] = findings.whole(at, text, least) or 0
    scales = [
        findings.real(f"line {line}, column {column}", row[column]) if row.get(column) else 0.0
        for column in SCALES
    ]
    steps = row.get(TIME_STEPS, "").strip()
    time_steps = findings.whole(f"line {line}, column {TIME_STEPS}", steps, 1) if steps else 1
    if len(findings) > before:
        return None
    try:
        return conv(
            row["name"],
            input_size=(whole["input_height"], whole["input_width"]),
            in_channels=whole["in_channels"],
            out_channels=whole["out_channels"],
            kernel=(whole["kernel_height"], whole["kernel_width"]),
            stride=(whole["stride_height"], whole["stride_width"]),
            dilation=(whole["dilation_height"], whole["dilation_width"]),
            padding=(
                whole["pad_top"],
                whole["pad_bottom"],
                whole["pad_left"],
                whole["pad_right"],
            ),
            groups=whole["groups"],
            batch=whole["batch"],
            bits=PerOperand(whole["input_bits"], whole["weight_bits"], whole["output_bits"]),
            density=PerOperand(
                density["input_density"], density["weight_density"], density["output_density"]
            ),
            weight_is_activation=row.get("kind", "").strip() == "activation",
            scale_bits=PerOperand(*(value or 0.0 for value in scales)),
            time_steps=time_steps or 1,
        )
    except WorkloadError as error:
        findings.add(f"line {line}", str(error))
        return None


def _read_counts(key: str, line: int, text: str, findings: Findings) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        op, _, count = item.rpartition(" ")
        value = findings.whole(f"line {line}, {key}", count, least=1)
        if not op.strip():
            findings.add(f"line {line}, {key}", f"{shortened(item)} is not 'Operator count'")
        elif value is not None:
            counts[op.strip()] = counts.get(op.strip(), 0) + value
    return counts
