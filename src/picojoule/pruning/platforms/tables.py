"""Tables of what layers cost: measured once, kept in a file, looked up by what the layer is.

A table file is JSON (or Parquet, with the same columns and the head as metadata)::

    {"schema_version": 1, "kind": "picojoule table", "metric": "latency", "unit": "s",
     "provenance": {"device": "...", "tool": "onnxruntime 1.32.0", "date": "...", ...},
     "entries": [{"N": 1, "G": 1, "M": 64, "C": 32, "P": 28, "Q": 28, "R": 3, "S": 3,
                  "stride": [1, 1], "dilation": [1, 1], "padding": [1, 1, 1, 1],
                  "input_size": [28, 28], "value": 1.2e-4, "spread": 2e-6, "runs": 50}]}

The eight bounds are those of :class:`picojoule.Layer` (``M`` and ``C`` per group). ``spread`` and
``runs`` may be missing or null; a ``value`` of null waits to be measured, and a table with one is
not read. Between the widths of a table, values are interpolated linearly, so that no interpolated
value lies outside its neighbours; outside them nothing is guessed.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from picojoule.errors import InputError, Mistake, PicojouleError
from picojoule.files import replacing, write_atomically
from picojoule.frontends.source_file import Findings, read_text
from picojoule.workload import Extents, Layer

SCHEMA_VERSION = 1
_PAIRS = {"stride": 2, "dilation": 2, "padding": 4, "input_size": 2}
_WIDTHS = ("G", "M", "C")

Family = tuple[object, ...]
Width = tuple[int, int, int]


class TableError(PicojouleError):
    """A layer that a table does not cover."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The price of one layer: the median of *runs* measurements, and their spread.

    A value of nan waits to be measured.
    """

    value: float
    spread: float = 0.0
    runs: int = 1


@dataclass
class Table:
    """Prices by layer.

    Args:
        metric, unit: what the values are ("latency" in "s").
        provenance: where they come from: device, tool, date, settings.
    """

    metric: str
    unit: str
    provenance: dict[str, Any] = field(default_factory=dict)
    _entries: dict[Family, dict[Width, Entry]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return sum(len(cells) for cells in self._entries.values())

    def __contains__(self, layer: Layer) -> bool:
        return _width(layer) in self._entries.get(_family(layer), {})

    def add(self, layer: Layer, entry: Entry) -> None:
        self._entries.setdefault(_family(layer), {})[_width(layer)] = entry

    def merge(self, other: Table) -> None:
        """Take over the entries of another table of the same metric."""
        for family, cells in other._entries.items():
            self._entries.setdefault(family, {}).update(cells)

    def get(self, layer: Layer) -> Entry | None:
        """The entry of exactly this layer."""
        return self._entries.get(_family(layer), {}).get(_width(layer))

    def cost(self, layer: Layer) -> float:
        """The layer's price, interpolated between the widths of the table.

        Raises:
            TableError: the table holds no such layer, or only narrower or only wider ones.
        """
        cells = self._entries.get(_family(layer))
        width = _width(layer)
        if not cells:
            raise TableError(
                f"layer {layer.name!r}: the table holds no layer of its kernel, stride and input "
                f"size ({layer.bounds}, input {layer.input_size})"
            )
        if width in cells:
            return cells[width].value
        return _interpolated(cells, width, layer)

    def rows(self) -> list[dict[str, Any]]:
        """One flat record per entry, in a fixed order."""
        rows = []
        for family, cells in sorted(self._entries.items(), key=lambda item: repr(item[0])):
            shape, *lists = family
            for width, entry in sorted(cells.items()):
                row: dict[str, Any] = dict(zip(("N", *_WIDTHS), (shape[0], *width), strict=True))  # type: ignore[index]
                row.update(zip("PQRS", shape[1:], strict=True))  # type: ignore[index]
                row.update(
                    {name: list(value) for name, value in zip(_PAIRS, lists, strict=True)}  # type: ignore[call-overload]
                )
                if math.isnan(entry.value):
                    row.update(value=None)
                else:
                    row.update(value=entry.value, spread=entry.spread, runs=entry.runs)
                rows.append(row)
        return rows

    def head(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "picojoule table",
            "metric": self.metric,
            "unit": self.unit,
            "provenance": self.provenance,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``.json`` or ``.parquet`` (needs pyarrow); replaced whole or not at all."""
        place = Path(path)
        if place.suffix.lower() == ".parquet":
            _write_parquet(self, place)
        else:
            rows = ",\n".join(json.dumps(row) for row in self.rows())
            head = json.dumps(self.head())[:-1]
            write_atomically(place, f'{head}, "entries": [\n{rows}\n]}}\n')


def load_table(path: str | os.PathLike[str]) -> Table:
    """Read a table file.

    Raises:
        InputError: with every mistake of the file, each with its path.
    """
    place = Path(path)
    source = os.fspath(path)
    if place.suffix.lower() == ".parquet":
        raw = _read_parquet(place)
    else:
        try:
            raw = json.loads(read_text(place))
        except (ValueError, RecursionError) as error:
            raise InputError(source, [Mistake("$", f"cannot be read as JSON: {error}")]) from None
    if not isinstance(raw, dict) or raw.get("schema_version") != SCHEMA_VERSION:
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        problem = f"{version!r}; this picojoule reads {SCHEMA_VERSION}"
        raise InputError(source, [Mistake("$.schema_version", problem)])
    findings = Findings(source)
    for name in ("metric", "unit"):
        if not isinstance(raw.get(name), str):
            findings.add(f"$.{name}", "a text is missing")
    for name in raw:
        if name not in ("schema_version", "kind", "metric", "unit", "provenance", "entries"):
            findings.add(f"$.{name}", "unknown key")
    entries = raw.get("entries")
    if not isinstance(entries, list) or not entries:
        findings.add("$.entries", "a list of at least one entry is missing")
        entries = []
    provenance = raw.get("provenance")
    table = Table(
        str(raw.get("metric")),
        str(raw.get("unit")),
        dict(provenance) if isinstance(provenance, dict) else {},
    )
    waiting = [n for n, row in enumerate(entries) if isinstance(row, dict) and _waits(row)]
    if waiting:
        problem = f"null: this layer waits to be measured ({len(waiting)} of {len(entries)} do)"
        findings.add(f"$.entries[{waiting[0]}].value", problem)
    for number, row in enumerate(entries):
        _read_row(table, row, f"$.entries[{number}]", findings)
    findings.raise_if_any()
    return table


def _waits(row: dict[str, Any]) -> bool:
    return "value" in row and row["value"] is None


def _read_row(table: Table, row: object, where: str, findings: Findings) -> None:
    if not isinstance(row, dict):
        findings.add(where, "not a record")
        return
    sizes = {}
    before = len(findings)
    for name in Extents._fields:
        value = row.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 24:
            findings.add(f"{where}.{name}", f"{value!r} is not a whole number from 1")
        else:
            sizes[name] = value
    lists = []
    for name, length in _PAIRS.items():
        default = {"stride": [1, 1], "dilation": [1, 1], "padding": [0, 0, 0, 0]}.get(name)
        value = row.get(name, default)
        if (
            not isinstance(value, list)
            or len(value) != length
            or not all(isinstance(x, int) for x in value)
        ):
            findings.add(f"{where}.{name}", f"{length} whole numbers are wanted")
        else:
            lists.append(tuple(value))
    cost = row.get("value")
    spread = 0.0 if row.get("spread") is None else row["spread"]
    runs = 1 if row.get("runs") is None else row["runs"]
    numbers = {"value": 0.0 if _waits(row) else cost, "spread": spread, "runs": runs}
    for name, number in numbers.items():
        if not _is_number(number):
            findings.add(f"{where}.{name}", f"{number!r} is not a number of at least 0")
    keys = {*Extents._fields, *_PAIRS, "value", "spread", "runs"}
    for name in row:
        if name not in keys:
            findings.add(f"{where}.{name}", "unknown key")
    if len(findings) > before or _waits(row):
        return
    bounds = Extents(**sizes)
    family = ((bounds.N, bounds.P, bounds.Q, bounds.R, bounds.S), *lists)
    cells = table._entries.setdefault(family, {})
    width = (bounds.G, bounds.M, bounds.C)
    if width in cells:
        findings.add(where, "the same layer as an entry before it")
    cells[width] = Entry(float(cost), float(spread), int(runs))  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value) and value >= 0


def table_order(layer: Layer) -> tuple[str, Width]:
    """Layers sorted by it stand as the entries of a table do; equal for what is one entry."""
    return repr(_family(layer)), _width(layer)


def _family(layer: Layer) -> Family:
    b = layer.bounds
    return (
        (b.N, b.P, b.Q, b.R, b.S),
        layer.stride,
        layer.dilation,
        layer.padding,
        layer.input_size,
    )


def _width(layer: Layer) -> Width:
    return layer.bounds.G, layer.bounds.M, layer.bounds.C


def _interpolated(cells: Mapping[Width, Entry], width: Width, layer: Layer) -> float:
    # A dense layer varies in M and C at its own G, a depthwise one (C = 1) in G at its own M.
    groups, outs, ins = width
    kinds: list[tuple[tuple[int, ...], dict[Width, float]]] = [
        ((1, 2), {key: cells[key].value for key in cells if key[0] == groups})
    ]
    if ins == 1 and groups > 1:
        near = {key: cells[key].value for key in cells if key[1:] == (outs, 1)}
        kinds.insert(0, ((0,), near))
    for varying, near in kinds:
        points = [tuple(key[n] for n in varying) for key in near]
        value = _between(points, list(near.values()), tuple(width[n] for n in varying))
        if math.isfinite(value):
            return value
    varying, near = kinds[0]
    wanted = {_WIDTHS[n]: width[n] for n in varying}
    raise TableError(
        f"layer {layer.name!r}: {wanted} lies outside the widths of the table "
        f"({len(near)} entries for layers of its kind)"
    )


def _between(points: list[tuple[int, ...]], values: list[float], wanted: tuple[int, ...]) -> float:
    """The value at *wanted*, linear between the points; nan where they do not surround it."""
    from scipy.interpolate import RegularGridInterpolator

    axes = [sorted(set(axis)) for axis in zip(*points, strict=True)]
    if not axes or not all(a[0] <= x <= a[-1] for a, x in zip(axes, wanted, strict=True)):
        return math.nan
    if len(points) < math.prod(map(len, axes)):  # two axes, and not every pair of their values
        return _scattered(np.array(points), np.array(values), np.array(wanted))
    # An axis of one value cannot be interpolated; it equals the wanted one.
    free = [n for n, axis in enumerate(axes) if len(axis) > 1]
    cells = dict(zip(points, values, strict=True))
    grid = np.array([cells[point] for point in itertools.product(*axes)])
    interpolator = RegularGridInterpolator(
        [axes[n] for n in free], grid.reshape([len(axes[n]) for n in free])
    )
    return float(interpolator([wanted[n] for n in free])[0])


def _scattered(
    points: npt.NDArray[np.int64], values: npt.NDArray[np.float64], wanted: npt.NDArray[np.int64]
) -> float:
    """Linear between points of a plane; nan outside them."""
    from scipy.interpolate import LinearNDInterpolator

    away = points - points[0]
    if np.linalg.matrix_rank(away) > 1:
        return float(LinearNDInterpolator(points, values)(wanted)[0])
    # All on one line, as of a layer whose two sides are one group: M = C.
    line = away[np.abs(away).sum(axis=1).argmax()]
    step = wanted - points[0]
    if line[0] * step[1] != line[1] * step[0]:
        return math.nan
    at = away @ line
    order = at.argsort()
    return float(np.interp(step @ line, at[order], values[order], left=math.nan, right=math.nan))


def _write_parquet(table: Table, path: Path) -> None:
    arrow, parquet = _arrow(path)
    arrow_table = arrow.Table.from_pylist(table.rows())
    arrow_table = arrow_table.replace_schema_metadata({"picojoule": json.dumps(table.head())})
    with replacing(path) as file:
        parquet.write_table(arrow_table, file)


def _read_parquet(path: Path) -> object:
    _, parquet = _arrow(path)
    try:
        with path.open("rb") as file:
            arrow_table = parquet.read_table(file)
        head = json.loads((arrow_table.schema.metadata or {}).get(b"picojoule", b"null"))
    except (OSError, ValueError) as error:
        problem = f"cannot be read as Parquet: {error}"
        raise InputError(str(path), [Mistake("file", problem)]) from None
    if not isinstance(head, dict):
        problem = "its metadata have no head of a table under 'picojoule'"
        raise InputError(str(path), [Mistake("file", problem)])
    # A column that some rows leave out holds nulls there; only a value may be null.
    entries = [
        {name: value for name, value in row.items() if value is not None or name == "value"}
        for row in arrow_table.to_pylist()
    ]
    return {**head, "entries": entries}


def _arrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        problem = "Parquet needs pyarrow: pip install pyarrow; or use a .json table"
        raise InputError(str(path), [Mistake("file", problem)]) from None
    return pyarrow, parquet
