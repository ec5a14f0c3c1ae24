"""Words charged to memories, and bytes that counters on the chip would see there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from picojoule.estimate_records import Estimate, LayerEstimate, Part
from picojoule.plan.others import Others
from picojoule.reports.scale import Scale, percent
from picojoule.reports.tables import Column, Grid, cell, grid
from picojoule.units import show_capacity, show_count
from picojoule.workload import OPERANDS

CHARGED, PHYSICAL = "charged", "physical"
KINDS = (CHARGED, PHYSICAL)


def layer_table(priced: LayerEstimate, unit: str, kind: str = CHARGED) -> Grid:
    """One layer's accesses at each place: words that are paid for, or bytes that move."""
    if kind == PHYSICAL:
        return _moved_at(priced)
    scale = Scale(priced.energy, unit)
    heads = [f"{o.value}\n{way}" for o in OPERANDS for way in ("read", "write")]
    heads += [f"energy\n[{scale.name}]", "share"]
    table = grid("charged\nwords", *heads, title="accesses per inference")
    for name, energy in priced.by_memory.items():
        operands = priced.accesses.get(name, {})
        table.add_row(
            cell(name),
            *(
                show_count(operands[o.value][way]) if o.value in operands else ""
                for o in OPERANDS
                for way in ("read", "write")
            ),
            scale(energy),
            percent(energy, priced.energy),
        )
    return table


def _moved_at(priced: LayerEstimate) -> Grid:
    heads = (*(o.value for o in OPERANDS), "together")
    table = grid("bytes in\nand out", *heads, title="physical accesses per inference")
    for name, moved in priced.bytes_moved.items():
        table.add_row(
            cell(name),
            *(_bytes(moved[o.value]) if o.value in moved else "" for o in OPERANDS),
            _bytes(sum(moved.values())),
        )
    return table


def network_table(estimate: Estimate, kind: str) -> Grid:
    """All layers' accesses at each place: words that are paid for, or bytes that move."""
    name, show = ("charged words", show_count) if kind == CHARGED else ("bytes moved", _bytes)
    sums = [_sums(part, kind) for part in estimate.counted]
    places = list(dict.fromkeys(place for row in sums for place in row))
    total = {place: sum(row.get(place, 0.0) for row in sums) for place in places}
    columns = [
        Column(head=name, footer="total", words=True),
        *(Column(head=x.replace("-", "-\n", 1), footer=show(total[x])) for x in places),
    ]
    table = Grid(columns, title=f"{kind} accesses per inference")
    for part, row in zip(estimate.counted, sums, strict=True):
        table.add_row(part.name, *(show(row.get(place, 0.0)) for place in places))
    return table


def _sums(part: Part, kind: str) -> Mapping[str, float]:
    if isinstance(part, Others):
        sums: Counter[str] = Counter()
        for each in part.operators:
            sums.update(
                each.bytes_moved
                if kind == PHYSICAL
                else {name: sum(words.values()) for name, words in each.accesses.items()}
            )
        return sums
    if kind == PHYSICAL:
        return {name: sum(moved.values()) for name, moved in part.bytes_moved.items()}
    return {
        name: sum(words["read"] + words["write"] for words in operands.values())
        for name, operands in part.accesses.items()
    }


def _bytes(count: float) -> str:
    return show_capacity(8 * count)
