"""Measurements as a table: one network or layer per row, with what a meter said of it.

A CSV file; lines that begin with ``#`` are comments. The columns, in any order:

====================== ===========================================================================
``network``            a file, looked for beside the table, or a shipped name; always needed
``layer``              one layer of it; by default the whole network
``batch``, ``bits``    instead of the network's own; ``bits.weight`` for one operand
``density.input`` ...  share of non-zero values, of ``input``, ``weight`` or ``output``
``profile``            densities of every layer, as ``picojoule profile`` writes them
``dataflow``           instead of the machine's own
``mapping``            ``best`` (by default) or ``published``; of a layer, a file beside the table
``energy``             of one inference: ``27.7 uJ``
``power``              drawn meanwhile: ``332 mW``
``time``               of one inference: ``20.9 ms``, or ``1.2e6 cycles``
``inferences_per_second``  instead of the time
``bytes.NAME``         in and out of a memory, compared and never fitted: ``18.5 MB``
``excluding``          memories that the meter did not see, as in ``dram``
``per``                ``inference`` (by default), or ``batch``: what energy, time and bytes are of
``use``                ``fit`` (by default), or ``check``: predicted, never fitted
``source``             where the numbers come from
====================== ===========================================================================

A unit stands in the cell, or in the column's name: ``energy (uJ)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import yaml

from picojoule import units
from picojoule.accelerator import Accelerator
from picojoule.errors import InputError, Mistake, PicojouleError, UnitError, did_you_mean
from picojoule.frontends import FORMATS, load
from picojoule.frontends.source_file import Findings, read_text, shortened
from picojoule.frontends.table import records
from picojoule.legality import violations
from picojoule.mapping import Mapping as LoopNest
from picojoule.mapping import parse_mapping
from picojoule.question import POLICIES, Question, as_published, ask
from picojoule.workload import OPERANDS, Workload

_SHIPPED = Path(__file__).parents[1] / "data" / "measurements"
_OPERANDS = tuple(operand.value for operand in OPERANDS)
_QUANTITIES = ("energy", "power", "time", "inferences_per_second")
_COLUMNS = (
    "network",
    "layer",
    "batch",
    "bits",
    *(f"bits.{operand}" for operand in _OPERANDS),
    *(f"density.{operand}" for operand in _OPERANDS),
    "profile",
    "dataflow",
    "mapping",
    *_QUANTITIES,
    "excluding",
    "per",
    "use",
    "source",
)
_MEANT = {
    "latency": "time",
    "inferences/s": "inferences_per_second",
    "frames_per_second": "inferences_per_second",
    "fps": "inferences_per_second",
    "note": "source",
}
_EMPTY = ("", "-", "n/a")
_HEADER = re.compile(r"([^()\[\]]+?)\s*(?:[(\[]\s*([^()\[\]]*?)\s*[)\]])?")
_BYTES = "bytes."
_LEAST, _MOST = 1e-30, 1e30  # beyond, sums of squares might overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row: what was run, and what a meter said; all amounts are of one inference.

    Args:
        line: of the file.
        label: the network, and the layer, for people.
        question: the network, or the one layer, and how its mappings are searched.
        published: its mappings are those of the chip, not the best.
        nest: the mapping of the one layer; None where it is searched.
        excluding: memories whose energy the meter did not see.
        energy: joules.
        power: watts.
        time: seconds.
        bytes: by memory, in and out.
        fitted: used by the fit; else only predicted.
        source: where the numbers come from.
    """

    line: int
    label: str
    question: Question
    published: bool
    nest: LoopNest | None
    excluding: tuple[str, ...]
    energy: float | None
    power: float | None
    time: float | None
    bytes: Mapping[str, float]
    fitted: bool
    source: str

    def on(self, machine: Accelerator) -> Question:
        """The same asked of *machine*, which may be another than it was as its mappings use it."""
        question = replace(self.question, accelerator=machine)
        return as_published(question) if self.published else question


def read_measurements(
    path: str | PathLike[str], accelerator: Accelerator, **search: Any
) -> tuple[Measurement, ...]:
    """Read the rows of a table that were measured on *accelerator*.

    Args:
        path: a .csv file, or the name of a table that comes with the package.
        search: how mappings are searched, as :func:`question.ask` takes it.

    Raises:
        InputError: with every mistake of the file, as ``line 3, column energy``.
    """
    place = measurement_file(path)
    return parse_measurements(read_text(place), fspath(path), accelerator, place.parent, **search)


def shipped_measurements() -> tuple[str, ...]:
    """Names of the tables of measurements that come with the package."""
    return tuple(sorted(entry.stem for entry in _SHIPPED.glob("*.csv")))


def title_of(name: str) -> str:
    """What a table that comes with the package says of itself, in its first sentence."""
    lines = (_SHIPPED / f"{name}.csv").read_text("utf-8").splitlines()
    head = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    return head.partition(". ")[0]


def measurement_file(path: str | PathLike[str]) -> Path:
    """The file of a table, which may be one of those that come with the package."""
    name = fspath(path)
    shipped = name in shipped_measurements()
    if shipped or Path(name).suffix or Path(name).exists():
        return _SHIPPED / f"{name}.csv" if shipped else Path(name)
    near = did_you_mean(name, shipped_measurements())
    there = ", ".join(shipped_measurements())
    message = f"no such measurements{near}; there are {there}, or give a .csv file"
    raise InputError(name, [Mistake("measurements", message)])


def parse_measurements(
    text: str, source: str, accelerator: Accelerator, folder: Path, **search: Any
) -> tuple[Measurement, ...]:
    """The same from the text of such a file; *source* names it, and files are in *folder*.

    Raises:
        InputError: with every mistake of the text.
    """
    findings = Findings(source)
    rows = records(text, findings, {})
    line, header = next(rows, (1, []))
    reader = _Reader(folder, accelerator, search, findings)
    columns = reader.header(line, header)
    measured = list[Measurement]()
    for line, cells in rows:
        if len(cells) != len(columns):
            findings.add(f"line {line}", f"{len(cells)} cells for {len(columns)} columns")
            continue
        named = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
        row = _Row(
            line, {column: cell for column, cell in named.items() if cell not in _EMPTY}, reader
        )
        if (measurement := row.measurement()) is not None:
            measured.append(measurement)
    if not measured and not findings:
        findings.add(f"line {line}", "the table has no rows")
    findings.raise_if_any()
    return tuple(measured)


class _Reader:
    """What all rows share: the header's units, the folder of the files, networks read once."""

    def __init__(
        self, folder: Path, accelerator: Accelerator, search: dict[str, Any], findings: Findings
    ) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.policy = search.get("policy", POLICIES[0])
        self.search = {name: value for name, value in search.items() if name != "policy"}
        self.findings = findings
        self.units: dict[str, str] = {}
        self._networks: dict[str, Workload | PicojouleError] = {}

    def header(self, line: int, cells: Sequence[str]) -> tuple[str, ...]:
        """The names of the columns, their units put aside."""
        columns = list[str]()
        known = (*_COLUMNS, *(f"{_BYTES}{name}" for name in self.accelerator.memories))
        for place, cell in enumerate(cells):
            at = f"line {line}, column {place + 1}"
            match = _HEADER.fullmatch(cell.strip())
            name = match[1] if match else cell.strip()
            if name not in known and name.lower() in (*known, *_MEANT):
                name = name.lower()
            name = _MEANT.get(name, name)
            if name not in known:
                near = did_you_mean(name[:40], (*known, *_MEANT))
                self.findings.add(at, f"unknown column {shortened(name)}{near}")
            elif name in columns:
                self.findings.add(at, f"{name} is there twice")
            if match and match[2]:
                self.units[name] = match[2]
            columns.append(name)
        if "network" not in columns:
            self.findings.add(
                f"line {line}", f"the column network is missing; columns are {', '.join(_COLUMNS)}"
            )
        if not any(name in _QUANTITIES for name in columns):
            self.findings.add(
                f"line {line}", f"nothing is measured: no column {', '.join(_QUANTITIES)}"
            )
        self.findings.raise_if_any()
        return tuple(columns)

    def network(self, text: str) -> Workload:
        """The network of that name, or of that file beside the table.

        Raises:
            PicojouleError: it cannot be read.
        """
        if text not in self._networks:
            try:
                self._networks[text] = load(self.place(text))
            except PicojouleError as error:
                self._networks[text] = error
        network = self._networks[text]
        if isinstance(network, PicojouleError):
            raise network
        return network

    def place(self, text: str) -> str:
        """A file beside the table; a text that names none, as it is."""
        beside = self.folder / text
        is_file = Path(text.partition(".py:")[0]).suffix.lower() in FORMATS or ".py:" in text
        try:
            return fspath(beside) if is_file or beside.exists() else text
        except (OSError, ValueError):  # no usable name of a file
            return text


class _Row:
    """One line of the table as it is read; mistakes go to the findings of all."""

    def __init__(self, line: int, cells: Mapping[str, str], reader: _Reader) -> None:
        self.line, self.cells, self.reader = line, cells, reader
        self.findings, self.accelerator = reader.findings, reader.accelerator

    def measurement(self) -> Measurement | None:
        before = len(self.findings)
        question = self._question()
        published = self._published(question)
        nest = self._nest(question)
        per_batch = self._word("per", ("inference", "batch")) == "batch"
        share = question.network.batch if question is not None and per_batch else 1
        energy = self._amount("energy", lambda text: units.picojoules(text) * 1e-12)
        power = self._amount("power", units.watts)
        time = self._amount("time", self._seconds)
        rate = self._amount("inferences_per_second", float)
        if time is not None and rate is not None:
            self._mistake("time", "there are inferences_per_second as well: give one of them")
        if energy is not None and power is not None and time is not None:
            self._mistake("power", "there are energy and time as well: give two of the three")
        excluding = tuple(self._excluding())
        moved = dict(self._bytes())
        if not any(c in _QUANTITIES or c.startswith(_BYTES) for c in self.cells):
            self.findings.add(f"line {self.line}", f"nothing is measured: {', '.join(_QUANTITIES)}")
        fitted = self._word("use", ("fit", "check")) != "check"
        if question is None or len(self.findings) > before:
            return None
        time = 1 / rate if rate is not None else None if time is None else time / share
        layer = self.cells.get("layer")
        return Measurement(
            line=self.line,
            label=" ".join(filter(None, [question.network.name, layer])),
            question=question,
            published=published,
            nest=nest,
            excluding=excluding,
            energy=power * time
            if power is not None and time is not None
            else (None if energy is None else energy / share),
            power=power,
            time=time,
            bytes={name: value / share for name, value in moved.items()},
            fitted=fitted,
            source=self.cells.get("source", ""),
        )

    def _mistake(self, column: str, message: str) -> None:
        self.findings.add(f"line {self.line}, column {column}", message)

    def _question(self) -> Question | None:
        """What was run; None where that cannot be said."""
        before = len(self.findings)
        options = dict(self.reader.search)
        network: Workload | None = None
        if "network" not in self.cells:
            self._mistake("network", "is missing")
        else:
            try:
                network = self.reader.network(self.cells["network"])
            except PicojouleError as error:
                self._mistake("network", str(error))
        if "batch" in self.cells:
            at = f"line {self.line}, column batch"
            options["batch"] = self.findings.whole(at, self.cells["batch"], 1)
        options["bits"] = dict(self._bits())
        options["density"] = {
            name: value
            for name in _OPERANDS
            if (text := self.cells.get(f"density.{name}"))
            and (value := self._fraction(f"density.{name}", text)) is not None
        }
        if "profile" in self.cells:
            options["profile"] = self.reader.place(self.cells["profile"])
        if "dataflow" in self.cells:
            options["dataflow"] = self.cells["dataflow"]
        if network is None or len(self.findings) > before:
            return None
        try:
            question = ask(network, self.accelerator, **options)
            return question.of_layer(self.cells["layer"]) if "layer" in self.cells else question
        except PicojouleError as error:
            column = next((c for c in ("layer", "dataflow", "profile") if c in self.cells), "")
            column = "layer" if "no layer" in str(error) else column
            self.findings.add(f"line {self.line}" + f", column {column}" * bool(column), str(error))
        return None

    def _published(self, question: Question | None) -> bool:
        """Whether the chip's own mappings are meant."""
        policy = self.cells.get("mapping", self.reader.policy)
        if policy != "published" or question is None:
            return False
        try:
            as_published(question)
        except PicojouleError as error:
            self._mistake("mapping", str(error))
        return True

    def _nest(self, question: Question | None) -> LoopNest | None:
        if self.cells.get("mapping") in (None, *POLICIES):
            return None
        if not Path(self.cells["mapping"]).suffix:
            near = did_you_mean(self.cells["mapping"], POLICIES)
            what = shortened(self.cells["mapping"])
            self._mistake("mapping", f"{what} is neither best, nor published, nor a file{near}")
            return None
        if "layer" not in self.cells:
            self._mistake("mapping", "a mapping is of one layer: name it in column layer")
            return None
        place = Path(self.reader.place(self.cells["mapping"]))
        try:
            nest = parse_mapping(yaml.safe_load(read_text(place)), fspath(place))
        except PicojouleError as error:
            self._mistake("mapping", str(error))
            return None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self._mistake("mapping", f"not readable as YAML: {' '.join(str(error).split())}")
            return None
        if question is not None:
            (share,) = question.shares()
            for broken in violations(share.part, self.accelerator, nest):
                self._mistake("mapping", f"not legal here: {broken}")
        return nest

    def _bits(self) -> Iterator[tuple[str, int]]:
        for column in ("bits", *(f"bits.{name}" for name in _OPERANDS)):
            if text := self.cells.get(column):
                at = f"line {self.line}, column {column}"
                width = self.findings.whole(at, text.removesuffix("bit"), 1)
                if width is not None and width > 64:
                    self.findings.add(at, f"{width} is more than 64 bits")
                elif width is not None:
                    own = _OPERANDS if column == "bits" else (column.removeprefix("bits."),)
                    yield from ((name, width) for name in own)

    def _fraction(self, column: str, text: str) -> float | None:
        return self.findings.fraction(f"line {self.line}, column {column}", text)

    def _word(self, column: str, words: tuple[str, ...]) -> str:
        word = self.cells.get(column, words[0])
        if word not in words:
            near = did_you_mean(word, words)
            self._mistake(column, f"{shortened(word)} is neither {' nor '.join(words)}{near}")
        return word

    def _excluding(self) -> Iterator[str]:
        memories = tuple(self.accelerator.memories)
        for name in re.split(r"[\s;,+]+", self.cells.get("excluding", "")):
            if name and name not in memories:
                near = did_you_mean(name, memories)
                there = f"{near}; there are {', '.join(memories)}"
                self._mistake("excluding", f"no memory {shortened(name)}{there}")
            elif name:
                yield name

    def _bytes(self) -> Iterator[tuple[str, float]]:
        for name in self.accelerator.memories:
            amount = self._amount(f"{_BYTES}{name}", lambda text: units.bits(text) / 8)
            if amount is not None:
                yield name, amount

    def _seconds(self, text: str) -> float:
        number = text.removesuffix("cycles")
        if number == text:
            return units.seconds(text)
        if not self.accelerator.clock:
            raise UnitError(f"{text!r}: {self.accelerator.name} states no clock")
        return units.hertz(f"{number.strip()} Hz") / self.accelerator.clock

    def _amount(self, column: str, read: Callable[[str], float]) -> float | None:
        """The number of a cell, with the unit of its column where it has none of its own."""
        if column not in self.cells:
            return None
        text, unit = self.cells[column], self.reader.units.get(column, "")
        bare = re.fullmatch(r"[+-]?[\d._]+(?:[eE][+-]?\d+)?", text, re.ASCII) is not None
        try:
            value = read(f"{text} {unit}".strip() if bare and read is not float else text)
        except (UnitError, ValueError) as error:
            where = "" if unit or not bare else f"; or name it in the header: {column} (unit)"
            self._mistake(
                column,
                f"{error}{where}"
                if isinstance(error, UnitError)
                else f"{shortened(text)} is not a number",
            )
            return None
        if not _LEAST < value < _MOST:
            self._mistake(column, f"{shortened(text)} is not above 0")
            return None
        return value
