"""The files of energyestimation.mit.edu, the public estimator of Asilomar'17: 25 numbers a layer.

Columns (from 0), as a public script that writes such files describes them:

====== =============================================================================
0      layer index, from 1
1-6    ifmap: height, width, channels, number of maps, number of zeros, bits
7-12   filter: height, width, channels, number of filters, number of zeros, bits
13-18  ofmap: height, width, channels, number of maps, number of zeros, bits
19-20  stride, vertical and horizontal
21-24  padding at the top, bottom, left, right
====== =============================================================================

The ifmap is unpadded. A fully connected layer is a convolution whose filter is as large as the
ifmap. Filters with fewer channels than the ifmap make a grouped convolution. "Number of maps" of
the feature maps is the batch. Commas or blanks separate the numbers.
The format has no names (layers are called ``layer1``, ``layer2``, …), no dilation, no time steps,
no scales of blocks, and no products of two activations; :func:`write_energy_site` refuses what it
cannot express.
"""

from __future__ import annotations

import re
from os import PathLike, fspath
from pathlib import Path

from picojoule.completeness import listed
from picojoule.errors import WorkloadError
from picojoule.frontends.source_file import Findings, read_text
from picojoule.workload import OPERANDS, Layer, Operand, PerOperand, Workload, conv

FIELDS = (
    "index",
    *(
        f"{tensor} {field}"
        for tensor in ("ifmap", "filter", "ofmap")
        for field in ("height", "width", "channels", "count", "zeros", "bits")
    ),
    "stride height",
    "stride width",
    *(f"pad {side}" for side in ("top", "bottom", "left", "right")),
)
"""What the 25 columns are called in error messages."""

_MAY_BE_ZERO = tuple(i for i, field in enumerate(FIELDS) if "zeros" in field or "pad" in field)


def read_energy_site(path: str | PathLike[str], *, name: str | None = None) -> Workload:
    """Read a network from a file of energyestimation.mit.edu.

    Raises:
        InputError: with every mistake of the file, as ``line 3, column 21 (pad top)``.
    """
    return parse_energy_site(read_text(Path(path)), source=fspath(path), name=name)


def parse_energy_site(text: str, *, source: str, name: str | None = None) -> Workload:
    """Read a network from the text of such a file; *source* names it in errors.

    Raises:
        InputError: with every mistake of the text.
    """
    findings = Findings(source)
    layers: list[Layer] = []
    rows = 0
    for line, content in enumerate(text.splitlines(), start=1):
        cells = re.split(r"\s*,\s*|\s+", content.strip())
        if cells and not cells[-1]:
            cells.pop()  # a blank line, or a comma at the end
        if not cells or cells[0].startswith(("#", "%")):
            continue
        rows += 1
        layer = _layer(line, rows, cells, findings)
        if layer is not None:
            layers.append(layer)
    if not rows:
        findings.add("line 1", f"no layers; a layer is a line of {len(FIELDS)} numbers")
    batches = sorted({layer.bounds.N for layer in layers})
    if len(batches) > 1:
        findings.add(
            "column 4 (ifmap count)", f"layers of different batches: {', '.join(map(str, batches))}"
        )
    findings.raise_if_any()
    return Workload(name or Path(source).stem, tuple(layers), batch=batches[0], source=source)


def _at(line: int, column: int) -> str:
    return f"line {line}, column {column} ({FIELDS[column]})"


def _layer(line: int, index: int, cells: list[str], findings: Findings) -> Layer | None:
    if len(cells) != len(FIELDS):
        findings.add(f"line {line}", f"{len(cells)} numbers where {len(FIELDS)} are needed")
        return None
    numbers = [
        findings.whole(_at(line, column), cell, least=0 if column in _MAY_BE_ZERO else 1)
        for column, cell in enumerate(cells)
    ]
    values = [value for value in numbers if value is not None]
    if len(values) < len(numbers):
        return None
    before = len(findings)
    ifmap, weight, ofmap = values[1:7], values[7:13], values[13:19]
    if values[0] != index:
        findings.add(_at(line, 0), f"{values[0]} on the line of layer {index}")
    groups, rest = divmod(ifmap[2], weight[2])
    if rest or not groups:
        findings.add(
            _at(line, 9), f"{weight[2]} does not divide the {ifmap[2]} channels of the ifmap"
        )
    density = []
    for start, (height, width, channels, count, zeros, _) in zip(
        (1, 7, 13), (ifmap, weight, ofmap), strict=True
    ):
        size = height * width * channels * count
        if zeros > size:
            findings.add(_at(line, start + 4), f"{zeros} zeros among {size} values")
        density.append((size - zeros) / size)
    if len(findings) > before:
        return None
    try:
        layer = conv(
            f"layer{index}",
            input_size=(ifmap[0], ifmap[1]),
            in_channels=ifmap[2],
            out_channels=weight[3],
            kernel=(weight[0], weight[1]),
            stride=(values[19], values[20]),
            padding=(values[21], values[22], values[23], values[24]),
            groups=groups,
            batch=ifmap[3],
            bits=PerOperand(ifmap[5], weight[5], ofmap[5]),
            density=PerOperand(*density),
        )
    except WorkloadError as error:
        findings.add(f"line {line}", str(error))
        return None
    expected = (layer.bounds.P, layer.bounds.Q, weight[3], ifmap[3])
    for column, (stated, computed) in enumerate(zip(ofmap, expected, strict=False), start=13):
        if stated != computed:
            findings.add(_at(line, column), f"{stated}, but the other columns give {computed}")
    return layer if len(findings) == before else None


def write_energy_site(
    workload: Workload, path: str | PathLike[str], *, allow_incomplete: bool = False
) -> None:
    """Write *workload* as a 25-column file, commas between the numbers.

    Densities become whole numbers of zeros, names and operators not counted are lost; all else
    is read back as it was.

    Args:
        allow_incomplete: write the layers though operators that multiply, or may, are in none of
            them, which the file cannot say.

    Raises:
        InputError: a layer cannot be expressed in the format, or the network is incomplete;
            nothing is written.
    """
    text = format_energy_site(workload, source=fspath(path), allow_incomplete=allow_incomplete)
    Path(path).write_text(text, encoding="ascii", newline="")


def format_energy_site(
    workload: Workload, *, source: str = "25 columns", allow_incomplete: bool = False
) -> str:
    """The 25-column text of *workload*; *source* names it in errors.

    Raises:
        InputError: a layer cannot be expressed in the format, or the network is incomplete and
            that is not allowed.
    """
    findings = Findings(source)
    if not workload.complete and not allow_incomplete:
        # Who reads it back would take the layers for the whole network.
        findings.add(
            "unmodelled",
            f"{listed(workload.unmodelled)} multiply, or may, and are in no layer, which "
            "25 columns cannot say (in Python allow_incomplete=True writes the layers alone)",
        )
    for layer in workload:
        for problem in _not_expressible(layer, workload.batch):
            findings.add(f"layer {layer.name!r}", problem)
    if not workload.layers:
        findings.add("layers", "there are none to write")
    findings.raise_if_any()
    return "".join(
        ",".join(map(str, _numbers(index, layer))) + "\n"
        for index, layer in enumerate(workload, start=1)
    )


def _not_expressible(layer: Layer, batch: int) -> list[str]:
    problems = []
    if layer.weight_is_activation:
        problems.append("a product of two activations has no place in this format")
    if any(axis.dilation > 1 and axis.taps > 1 for axis in (layer.axis(0), layer.axis(1))):
        problems.append(f"dilation {layer.dilation} has no place in this format")
    if layer.time_steps > 1:
        problems.append(f"{layer.time_steps} time steps have no place in this format")
    if any(layer.scale_bits):
        problems.append("scales of blocks of values have no place in this format")
    if batch != layer.bounds.N:
        problems.append(f"{layer.bounds.N} maps in a network for a batch of {batch}")
    return problems


def _numbers(index: int, layer: Layer) -> list[int]:
    b = layer.bounds
    shapes = (
        (*layer.input_size, b.G * b.C, b.N),
        (b.R, b.S, b.C, b.G * b.M),
        (b.P, b.Q, b.G * b.M, b.N),
    )
    numbers = [index]
    for operand, shape in zip(OPERANDS, shapes, strict=True):
        numbers += [*shape, _zeros(layer, operand), layer.bits.of(operand)]
    return [*numbers, *layer.stride, *layer.padding]


def _zeros(layer: Layer, operand: Operand) -> int:
    size = layer.size(operand)
    return size - round(layer.density.of(operand) * size)
