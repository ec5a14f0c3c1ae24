"""Components by node, and what a machine's parts take of its chip, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from picojoule.areas import PartArea, area
from picojoule.components import NODES, accuracy, show_node
from picojoule.components.samples import Sample
from picojoule.errors import PicojouleError
from picojoule.reports.tables import Column, Grid, prose

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.accelerator import Accelerator


def errors_text() -> str:
    """How far the curves are off where they can be checked, in a sentence."""
    parts = [
        f"{x.quantity} {x.median:.1%} in the median, {x.ninth_decile:.0%} in nine of ten, "
        f"{x.largest:.0%} at most"
        for x in accuracy()
    ]
    runs = next(accuracy()).runs
    return (
        f"Off the {runs} runs of CACTI that the curves have not seen: {'; '.join(parts)}. "
        "On the runs they were drawn through: nothing, they pass through them."
    )


def components_report(samples: Sequence[Sample]) -> Group:
    """Energy for an action, by node; then areas."""
    heads = [Column(head=show_node(node)) for node in NODES]
    energies = Grid(
        [Column(head="component", words=True, widest=30), Column(head="pJ for a"), *heads]
    )
    areas = Grid([Column(head="component", words=True, widest=30), Column(head="mm2"), *heads])
    for sample in samples:
        for action in sample.actions:
            cells = [f"{x.energies[action]:.3g}" for x in sample.by_node.values()]
            energies.add_row(sample.name, action, *cells)
        if any(x.area for x in sample.by_node.values()):
            cells = [f"{x.area:.3g}" for x in sample.by_node.values()]
            areas.add_row(sample.name, "area", *cells)
    note = "A DRAM is a die of its own: no node of the chip changes it."
    return Group(energies, prose(note), Text(), areas, prose(errors_text()))


def area_table(parts: Sequence[PartArea]) -> Grid:
    """The area of each part on the chip, and of all."""
    total = sum(part.area or 0.0 for part in parts)
    table = Grid(
        [
            Column(head="part", footer="total"),
            Column(head="copies"),
            Column(head="area\n[mm2]", footer=f"{total:.3g}"),
            Column(head="taken as", words=True, widest=48),
        ],
        title="area of memories and multipliers alone",
    )
    for part in parts:
        size = "-" if part.area is None else f"{part.area:.3g}"
        table.add_row(part.name, f"{part.copies:,}", size, part.how)
    return table


def area_parts(accelerator: Accelerator) -> list[RenderableType]:
    """The area of a machine, where it says for which node it is and there are numbers for it."""
    try:
        parts = area(accelerator)
    except PicojouleError as error:
        return [prose(f"area: {error}", "dim")] if accelerator.node else []
    return [Text(), area_table(parts)]
