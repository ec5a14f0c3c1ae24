"""Topology files of SCALE-Sim (versions 1 to 3): convolutions, or GEMMs as M, N, K.

The meaning is SCALE-Sim's own (its ``topology_utils.py``):

- ``Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter,
  Strides`` and optionally a sparsity ``N:M`` (N of every M weights are not zero) or a batch size.
  The ifmap includes its padding. The number of outputs is rounded *up*: a last window that hangs
  over the edge counts; here it becomes padding at the bottom and on the right. A name with ``DP``
  in it is a depthwise convolution with ``Num Filter`` filters for each channel.
- ``Layer, M, N, K``, optionally a sparsity ``N:M`` and a number of heads: an M x K ifmap times
  K x N weights. With more than one head both factors are per head, as in attention, so the
  second one is an activation.

The first line is a header, cells are apart by commas or by tabs, rows may end in a comma. As its
own tool does, what stands behind the last comma is dropped, and layers may share a name. Rows of
one cell are titles; other cells that mean nothing are dropped too, which a remark says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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


def read_scale_sim(
    path: str | PathLike[str], *, name: str | None = None, dims: Mapping[str, int] | None = None
) -> Workload:
    """Read a network from a SCALE-Sim topology file.

    Raises:
        InputError: with every mistake of the file, as ``line 3, column Strides``.
    """
    return parse_scale_sim(read_text(Path(path)), source=fspath(path), name=name, dims=dims)


def parse_scale_sim(
    text: str, *, source: str, name: str | None = None, dims: Mapping[str, int] | None = None
) -> Workload:
    """Read a network from the text of such a file; *source* names it in errors.

    Args:
        dims: sizes that a template only names (``{"H": 1024}``).

    >>> parse_scale_sim("Layer,M,N,K,\\nfc,1,1000,4096,\\n", source="x.csv").macs
    4096000

    Raises:
        InputError: with every mistake of the text.
    """
    findings = Findings(source)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if "\t" in first and "," not in first:
        text = text.replace("\t", ",")
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
    reader = _Rows(fields, _has_batch(header), dims or {}, findings)
    for line, cells in rows:
        reader.read(line, [cell.strip() for cell in cells])
    if not reader.layers and not findings:
        findings.add(f"line {line}", "the file has no layers")
    for word in sorted(set(dims or {}) - reader.used):
        findings.add(f"dims {shortened(word)}", "no cell is called so")
    findings.raise_if_any()
    batch = reader.batches.pop() if len(reader.batches) == 1 else 1
    return Workload(
        name or Path(source).stem,
        tuple(reader.layers),
        batch=batch,
        source=source,
        remarks=tuple(reader.remarks()),
    )


def is_scale_sim_header(cells: list[str]) -> bool:
    """Whether this row of cells is the first line of a SCALE-Sim topology file."""
    return _fields(cells) is not None


def _fields(header: list[str]) -> tuple[str, ...] | None:
    if len(header) == 1:
        header = header[0].split("\t")
    words = [re.sub(r"[^a-z]", "", cell.lower()) for cell in header]
    if words[1:4] == ["m", "n", "k"]:
        return GEMM_FIELDS
    if len(words) > 2 and words[1].startswith("ifmap") and words[2].startswith("ifmap"):
        return CONV_FIELDS
    return None


def _has_batch(header: list[str]) -> bool:
    """Whether the ninth column is the batch size."""
    return len(header) > len(CONV_FIELDS) and "batch" in header[len(CONV_FIELDS)].lower()


@dataclass
class _Rows:
    """Reads rows into layers one by one."""

    fields: tuple[str, ...]
    has_batch: bool
    dims: Mapping[str, int]
    findings: Findings
    layers: list[Layer] = field(default_factory=list)
    batches: set[int] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)
    _titles: int = 0
    _dropped: int = 0

    def remarks(self) -> list[str]:
        """What was not read."""
        said = []
        if self._titles:
            said.append(f"{self._titles} rows of one cell are taken for titles")
        if self._dropped:
            said.append(
                f"cells behind the last one that means something: dropped from {self._dropped} rows"
            )
        return said

    def read(self, line: int, row: list[str]) -> None:
        """Take the layer of a row; none of an empty row or a title."""
        while row and not row[-1]:
            row.pop()
        if not row:
            return
        if len(row) == 1:
            self._titles += 1
            return
        layer = self._layer(line, row)
        if layer is None:
            return
        name, number = layer.name, 2
        while name in self._names:
            name, number = f"{layer.name}_{number}", number + 1
        self._names.add(name)
        self.layers.append(replace(layer, name=name))

    def _layer(self, line: int, row: list[str]) -> Layer | None:
        fields, findings = self.fields, self.findings
        before = len(findings)
        if len(row) < len(fields):
            findings.add(f"line {line}", f"{len(row)} cells where {', '.join(fields)} are needed")
            return None
        values = {
            name: self._size(f"line {line}, column {name}", cell)
            for name, cell in zip(fields[1:], row[1:], strict=False)
        }
        density, heads, batch = 1.0, 1, 1
        for place, cell in enumerate(row[len(fields) :], start=len(fields) + 1):
            at = f"line {line}, column {place}"
            if self.has_batch and place == len(fields) + 1:
                batch = self._size(at, cell)
            elif re.match(r"\d+\s*:", cell):
                density = _sparsity(at, cell, findings)
            elif fields is GEMM_FIELDS and place <= len(fields) + 2 and cell.isdigit():
                heads = findings.whole(at, cell, least=1) or 1
            else:
                self._dropped += place == len(row)
        if len(findings) > before:
            return None
        self.batches.add(batch)
        try:
            layer = _build(row[0], values, fields, PerOperand(1.0, density, 1.0), heads)
            return layer.with_batch(batch)
        except WorkloadError as error:
            findings.add(f"line {line}", str(error))
            return None

    def _size(self, at: str, cell: str) -> int:
        if cell.isidentifier() and cell in self.dims:
            self.used.add(cell)
            cell = str(self.dims[cell])
        elif cell.isidentifier() and len(cell) <= 40:
            self.findings.add(
                at, f"{cell} is not in the file: say it with dims={{{cell!r}: …}} or --dim {cell}=…"
            )
            return 1
        return self.findings.whole(at, cell, least=1) or 1


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
