"""Topology files of SCALE-Sim (versions 1 to 3): convolutions, or GEMMs as M, N, K.

The meaning is SCALE-Sim's own (its ``topology_utils.py``):

- ``Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter,
  Strides`` and optionally a sparsity ``N:M`` (N of every M weights are not zero). The ifmap
  includes its padding. The number of outputs is rounded *up*: a last window that hangs over the
  edge counts; here it becomes padding at the bottom and on the right. A name with ``DP`` in it
  is a depthwise convolution with ``Num Filter`` filters for each channel.
- ``Layer, M, N, K``, optionally a sparsity ``N:M`` and a number of heads: an M x K ifmap times
  K x N weights. With more than one head both factors are per head, as in attention, so the
  second one is an activation.

The first line is a header and rows may end in a comma.
"""

from __future__ import annotations

import re
from os import PathLike, fspath
from pathlib import Path

from picojoule.errors import WorkloadError
from picojoule.frontends.source_file import Findings, read_text, shortened
from picojoule.frontends.table import records
from picojoule.workload import Layer, PerOperand, Workload, conv, depthwise, linear, matmul

CONV_FIELDS = (
    "Layer name",
    "IFMAP Height",
    "IFMAP Width",
    "Filter Height",
    "Filter Width",
    "Channels",
    "Num Filter",
    "Strides",
)
GEMM_FIELDS = ("Layer", "M", "N", "K")


def read_scale_sim(path: str | PathLike[str], *, name: str | None = None) -> Workload:
    """Read a network from a SCALE-Sim topology file.

    Raises:
        InputError: with every mistake of the file, as ``line 3, column Strides``.
    """
    return parse_scale_sim(read_text(Path(path)), source=fspath(path), name=name)


def parse_scale_sim(text: str, *, source: str, name: str | None = None) -> Workload:
    """Read a network from the text of such a file; *source* names it in errors.

    >>> parse_scale_sim("Layer,M,N,K,\\nfc,1,1000,4096,\\n", source="x.csv").macs
    4096000

    Raises:
        InputError: with every mistake of the text.
    """
    findings = Findings(source)
    rows = records(text, findings, {})
    line, header = next(rows, (1, []))
    fields = _fields(header)
    if fields is None:
        findings.add(
            f"line {line}",
            f"neither the header of a convolution file ({', '.join(CONV_FIELDS)}) "
            f"nor of a GEMM file ({', '.join(GEMM_FIELDS)})",
        )
        raise findings.error()
    layers: list[Layer] = []
    lines: dict[str, int] = {}
    for line, cells in rows:
        row = [cell.strip() for cell in cells]
        while row and not row[-1]:
            row.pop()
        if not row:
            continue
        layer = _layer(line, row, fields, findings)
        if layer is None:
            continue
        if layer.name in lines:
            findings.add(
                f"line {line}, column {fields[0]}",
                f"{shortened(layer.name)} is already the name of line {lines[layer.name]}",
            )
        lines[layer.name] = line
        layers.append(layer)
    if not layers and not findings:
        findings.add(f"line {line}", "the file has no layers")
    findings.raise_if_any()
    return Workload(name or Path(source).stem, tuple(layers), source=source)


def is_scale_sim_header(cells: list[str]) -> bool:
    """Whether this row of cells is the first line of a SCALE-Sim topology file."""
    return _fields(cells) is not None


def _fields(header: list[str]) -> tuple[str, ...] | None:
    words = [re.sub(r"[^a-z]", "", cell.lower()) for cell in header]
    if words[1:4] == ["m", "n", "k"]:
        return GEMM_FIELDS
    if len(words) > 2 and words[1].startswith("ifmap") and words[2].startswith("ifmap"):
        return CONV_FIELDS
    return None


def _layer(line: int, row: list[str], fields: tuple[str, ...], findings: Findings) -> Layer | None:
    before = len(findings)
    extra = row[len(fields) :]
    most = 2 if fields is GEMM_FIELDS else 1
    if len(row) < len(fields) or len(extra) > most:
        findings.add(
            f"line {line}",
            f"{len(row)} cells where {', '.join(fields)} and at most {most} more are needed",
        )
        return None
    values = {
        field: findings.whole(f"line {line}, column {field}", cell, least=1) or 1
        for field, cell in zip(fields[1:], row[1:], strict=False)
    }
    density, heads = 1.0, 1
    for place, cell in enumerate(extra, start=len(fields) + 1):
        at = f"line {line}, column {place}"
        if fields is GEMM_FIELDS and ":" not in cell:
            heads = findings.whole(at, cell, least=1) or 1
        else:
            density = _sparsity(at, cell, findings)
    if len(findings) > before:
        return None
    try:
        return _build(row[0], values, fields, PerOperand(1.0, density, 1.0), heads)
    except WorkloadError as error:
        findings.add(f"line {line}", str(error))
        return None


def _sparsity(at: str, cell: str, findings: Findings) -> float:
    match = re.fullmatch(r"(\d{1,9})\s*:\s*(\d{1,9})", cell, re.ASCII)
    if match is None or not 0 <= int(match[1]) <= int(match[2]) or int(match[2]) == 0:
        findings.add(at, f"{shortened(cell)} is not a sparsity N:M with N at most M")
        return 1.0
    return int(match[1]) / int(match[2])


def _build(
    name: str,
    values: dict[str, int],
    fields: tuple[str, ...],
    density: PerOperand[float],
    heads: int,
) -> Layer:
    if fields is GEMM_FIELDS:
        rows, columns, inner = values["M"], values["N"], values["K"]
        if heads > 1:
            return matmul(
                name, rows=rows, inner=inner, columns=columns, heads=heads, density=density
            )
        return linear(name, in_features=inner, out_features=columns, rows=rows, density=density)
    stride = values["Strides"]
    size = values["IFMAP Height"], values["IFMAP Width"]
    kernel = values["Filter Height"], values["Filter Width"]
    for axis, of in enumerate(("height", "width")):
        if kernel[axis] > size[axis]:
            raise WorkloadError(
                f"layer {name!r}: the filter's {of} {kernel[axis]} exceeds the ifmap's {size[axis]}"
            )
    # ceil((ifmap - filter) / stride) + 1 outputs: pad up to the end of the last window.
    bottom, right = ((filt - ifmap) % stride for ifmap, filt in zip(size, kernel, strict=True))
    shape = {
        "input_size": size,
        "kernel": kernel,
        "stride": (stride, stride),
        "padding": (0, bottom, 0, right),
        "density": density,
    }
    if "DP" in name:
        return depthwise(
            name, channels=values["Channels"], multiplier=values["Num Filter"], **shape
        )
    return conv(
        name,
        in_channels=values["Channels"],
        out_channels=values["Num Filter"],
        **shape,  # type: ignore[arg-type]
    )
