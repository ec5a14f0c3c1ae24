"""Components beside what others give for them: hwcomponents' energies, areas of NVDLA, ISCA'16."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from picojoule.components import Component, component
from picojoule.validation.figures import PublishedNumber, published

_KIB = 8192.0  # bits


def hwcomponents() -> Iterator[PublishedNumber]:
    """Energies of components at five nodes, and of DRAM, as hwcomponents 1.0.114 gives them."""
    for row in published("hwcomponents"):
        part = of_row(row)
        yield PublishedNumber(
            figure="hwcomponents 1.0.114",
            quantity=f"{part.name}, {row['action']}, pJ",
            kind="energy",
            origin="simulator",
            paper=float(row["value"]),
            ours=part.energies[row["action"]],
            tolerance=0.10,
        )


def of_row(row: dict[str, str]) -> Component:
    """Our component of a row of hwcomponents'."""
    return component(
        row["component"],
        node=float(row["node_nm"] or 22),  # no node changes a DRAM
        width=int(row["width_bits"]),
        capacity=float(row["capacity_bits"]) if row["capacity_bits"] else None,
        sum_bits=int(row["sum_bits"]) if row["sum_bits"] else None,
    )


def nvdla_areas() -> Iterator[PublishedNumber]:
    """The areas of NVDLA's seven sizes: memories and multipliers, times one factor for each node.

    The factor is fitted on three sizes; the other four say how good it is.
    """
    rows = published("nvdla_areas")
    for node in dict.fromkeys(row["node_nm"] for row in rows):
        sizes = [row for row in rows if row["node_nm"] == node]
        seen = [row for row in sizes if row["use"] == "fitted"]
        factor = fmean(float(row["area_mm2"]) / _parts(row) for row in seen)
        for row in sizes:
            yield PublishedNumber(
                figure="NVDLA Primer",
                quantity=f"{row['macs']} MACs, {row['buffer_kb']} KB at {node} nm, mm2",
                kind="area",
                origin="layout",
                paper=float(row["area_mm2"]),
                ours=factor * _parts(row),
                tolerance=0.20,
                fitted=row["use"] == "fitted",
                note=f"{factor:.2f} times memories and multipliers, fitted on three sizes",
            )


def _parts(row: dict[str, str]) -> float:
    """mm2 of the convolution buffer, and of the multipliers with two registers of 8 bit each."""
    node = float(row["node_nm"])
    buffer = component("sram", node=node, width=64, capacity=float(row["buffer_kb"]) * _KIB)
    multiplier = component("mac", node=node, width=8, sum_bits=32)
    register = component("register-file", node=node, width=8, capacity=8)
    return buffer.area + int(row["macs"]) * (multiplier.area + 2 * register.area)


def isca16_areas() -> Iterator[PublishedNumber]:
    """ISCA'16 Eq. 2: how large the buffer gets where the area of the registers goes to it."""
    file = component("register-file", node=65.0, width=16, capacity=_KIB / 2)
    budget = 256 * file.area + _buffer(128.0)
    low, high = 128.0, 1024.0
    while high - low > 0.1:
        middle = (low + high) / 2
        low, high = (middle, high) if _buffer(middle) < budget else (low, middle)
    yield PublishedNumber(
        figure="ISCA'16 Eq. 2",
        quantity="buffer without register files, relative",
        kind="area",
        origin="simulator",
        paper=2.6,
        ours=low / 128,
        note="the paper's register files are dearer by the byte than CACTI's arrays",
    )


def _buffer(kilobytes: float) -> float:
    return component("sram", node=65.0, width=64, capacity=kilobytes * _KIB).area
