"""Memories: arrays of SRAM as CACTI has them, flip-flops, and DRAM.

CACTI 7 was run for memories of powers of two (``data/components/sram.csv``). Between them, in
rows, width and node, logarithms are interpolated; how far that is off is measured on runs that
are no part of it (:func:`accuracy`). Two rules of hwcomponents-cacti 1.0.40 go beyond CACTI: a row
narrower than 32 bit costs 0.3 + 0.7 x width / 32 of one of 32 bit; and below 22 nm energy falls
with the square root of the node, area with the node (IRDS 2022).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from picojoule.components.nodes import logic_area, logic_energy
from picojoule.components.rows import between, rounded, rows
from picojoule.errors import PicojouleError
from picojoule.units import show_capacity

FEWEST_ROWS = 64  # of an array that CACTI lays out
LARGEST = 2.0**29  # bits, 64 MiB
NARROWEST, WIDEST = 32, 256  # bits of a row that CACTI was run for
PORTS = (1, 2)

_CACTI_ENDS = 22.0  # nm
_FINFET_LEAKAGE = 0.79  # Parvais et al., VLSI-TSA 2009; as in hwcomponents-cacti


@dataclass(frozen=True, slots=True)
class MemoryCost:
    """A memory: pJ for a read and a write of one row, mm2, and watts that leak (None: unknown)."""

    read: float
    write: float
    area: float
    leakage: float | None

    def times(self, energy: float, area: float, leakage: float) -> MemoryCost:
        """The same with each number scaled."""
        return MemoryCost(
            self.read * energy,
            self.write * energy,
            self.area * area,
            None if self.leakage is None else self.leakage * leakage,
        )

    def rounded(self) -> MemoryCost:
        """The same with six digits each."""
        leakage = None if self.leakage is None else rounded(self.leakage)
        return MemoryCost(rounded(self.read), rounded(self.write), rounded(self.area), leakage)


def sram(capacity: float, width: int, node: float, ports: int = 1) -> MemoryCost:
    """An SRAM of *capacity* bits in rows of *width* bits with *ports* to read or write.

    A row wider than 256 bit lies in several arrays side by side.

    >>> memory = sram(128 * 8192, 64, 65.0)
    >>> memory.read, memory.write
    (59.3358, 49.595)

    Raises:
        PicojouleError: it is smaller or larger than what CACTI was run for, or has more ports.
    """
    if ports not in PORTS:
        raise PicojouleError(f"an SRAM of {ports} ports: CACTI was run for 1 and 2")
    if width > WIDEST:
        part = math.ceil(width / math.ceil(width / WIDEST))
        arrays = width / part
        return sram(capacity / arrays, part, node, ports).times(arrays, arrays, arrays).rounded()
    depth, laid_out = capacity / width, max(width, NARROWEST)
    neighbour = between(laid_out, _axes()[1]).high
    if depth < FEWEST_ROWS:
        raise PicojouleError(
            f"an SRAM of {depth:g} rows of {width} bit: CACTI lays out {FEWEST_ROWS} rows and "
            "more; take a register-file"
        )
    if depth * neighbour > LARGEST:
        raise PicojouleError(
            f"an SRAM of {show_capacity(capacity)} in rows of {width} bit: CACTI was run up to "
            f"{show_capacity(LARGEST)}, and none is extrapolated; say how many memories it is"
        )
    array = _laid_out(depth, laid_out, max(node, _CACTI_ENDS), ports)
    if node < _CACTI_ENDS:
        shrunk = node / _CACTI_ENDS
        array = array.times(shrunk**0.5, shrunk, shrunk**0.5 * _FINFET_LEAKAGE)
    share = width / laid_out
    return array.times(0.3 + 0.7 * share, share, share).rounded()


def register_file(capacity: float, width: int, node: float, ports: int = 1) -> MemoryCost:
    """A register file: an SRAM's array from 64 words, flip-flops alone below.

    >>> file = register_file(512 * 8, 16, 65.0)
    >>> file.read, file.write
    (1.17742, 3.41814)
    """
    if capacity / width >= FEWEST_ROWS:
        return sram(capacity, width, node, ports)
    row = next(row for row in rows("logic") if row["part"] == "register")
    reference = float(row["node_nm"])
    energy = float(row["energy_pj"]) * width * logic_energy(node, reference)
    area = float(row["area_um2"]) / 1e6 * capacity * logic_area(node, reference)
    return MemoryCost(energy, energy, area, None).rounded()


def dram(kind: str, width: int) -> MemoryCost:
    """A DRAM, which has no area on the chip; *width* bits to or from it."""
    energy = width * float(dram_row(kind)["energy_pj_per_bit"])
    return MemoryCost(energy, energy, 0.0, None).rounded()


def dram_row(kind: str) -> dict[str, str]:
    """The row of a kind of DRAM."""
    return next(row for row in rows("dram") if row["kind"] == kind)


def dram_kinds() -> tuple[str, ...]:
    """The kinds of DRAM there are numbers for."""
    return tuple(row["kind"] for row in rows("dram"))


# -- CACTI's runs ----------------------------------------------------------------------------------

_QUANTITIES = ("read_pj", "write_pj", "area_mm2", "leakage_mw")
_Point = tuple[float, ...]  # the logarithms of the four


@cache
def _grid() -> dict[tuple[float, int, int, int], _Point]:
    """By node, ports, width in bits, and bytes."""
    return {
        (
            float(row["node_nm"]),
            int(row["ports"]),
            int(row["width_bits"]),
            int(row["bytes"]),
        ): tuple(math.log(float(row[name])) for name in _QUANTITIES)
        for row in rows("sram")
        if row["use"] == "grid"
    }


@cache
def _axes() -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The nodes and widths of the grid."""
    nodes, _, widths, _ = (sorted(set(values)) for values in zip(*_grid(), strict=True))
    return tuple(nodes), tuple(widths)


def _laid_out(depth: float, width: int, node: float, ports: int) -> MemoryCost:
    """What CACTI says of *depth* rows of *width* bits, within its grid."""
    nodes, _ = _axes()
    place = between(node, nodes)
    low, high = (_at_node(depth, width, end, ports) for end in (place.low, place.high))
    read, write, area, leakage = (math.exp(x) for x in _mixed(low, high, place.share))
    return MemoryCost(read, write, area, leakage / 1e3)


def _at_node(depth: float, width: int, node: float, ports: int) -> _Point:
    _, widths = _axes()
    place = between(width, widths)
    low, high = (_of_depth(depth, int(end), node, ports) for end in (place.low, place.high))
    return _mixed(low, high, place.share)


def _of_depth(depth: float, width: int, node: float, ports: int) -> _Point:
    size = depth * width / 8
    below = 2 ** math.floor(math.log2(size))
    low = _grid()[node, ports, width, below]
    if below == size:
        return low
    return _mixed(low, _grid()[node, ports, width, 2 * below], math.log2(size / below))


def _mixed(low: _Point, high: _Point, share: float) -> _Point:
    return tuple(a + share * (b - a) for a, b in zip(low, high, strict=True))


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far the interpolation is off on runs of CACTI that are no part of it, relative."""

    quantity: str
    runs: int
    median: float
    ninth_decile: float
    largest: float


def accuracy() -> Iterator[Accuracy]:
    """The errors of each quantity; on the runs that are interpolated between there are none."""
    unseen = [row for row in rows("sram") if row["use"] == "check"]
    ours = [
        _laid_out(
            int(row["bytes"]) * 8 / int(row["width_bits"]),
            int(row["width_bits"]),
            float(row["node_nm"]),
            int(row["ports"]),
        )
        for row in unseen
    ]
    for quantity, name in zip(("read", "write", "area"), _QUANTITIES, strict=False):
        errors = sorted(
            abs(getattr(memory, quantity) / float(row[name]) - 1)
            for memory, row in zip(ours, unseen, strict=True)
        )
        yield Accuracy(
            quantity,
            len(errors),
            errors[len(errors) // 2],
            errors[len(errors) * 9 // 10],
            errors[-1],
        )
