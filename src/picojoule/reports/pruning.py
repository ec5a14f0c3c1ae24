"""Pruning for people: what a run saved, where, and at what accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from picojoule.completeness import told
from picojoule.reports.tables import Column, Grid, facts_table, grid, prose
from picojoule.reports.text import warning_lines
from picojoule.units import show_count, show_energy

OPERANDS = ("input", "weight", "output", "compute")


def pruning_report(
    result: Mapping[str, Any], unit_picojoules: float | None = None
) -> RenderableType:
    """A pruning run's result, as ``result/result.json`` holds it.

    Args:
        unit_picojoules: what a unit of its energies is, where the machine says so.
    """
    unit = result["energy_unit"]

    def priced(value: float) -> str:
        if unit_picojoules is not None:
            return show_energy(unit_picojoules * value, "pJ")
        return show_energy(value, unit) if unit in ("MAC", "pJ") else show_count(value)

    before, after = result["before"], result["after"]
    accuracy = result["accuracy"]
    facts = [
        (
            "energy",
            f"{priced(before['energy'])} -> {priced(after['energy'])}, "
            f"{result['reduction']:.2f} times less",
        ),
        (
            "MACs done",
            f"{show_count(before['effectual_macs'])} -> {show_count(after['effectual_macs'])}",
        ),
    ]
    for kind in ("validation", "test"):
        if f"{kind}_before" in accuracy:
            was, is_now = accuracy[f"{kind}_before"], accuracy[f"{kind}_after"]
            points = f"{100 * (is_now - was):+.2f} points"
            facts.append((kind, f"{_share(was, 2)} -> {_share(is_now, 2)} ({points})"))
    narrower = [f"{n} {a} -> {b}" for n, (a, b) in result.get("widths", {}).items() if b < a]
    if narrower:
        facts.append(("channels", ", ".join(narrower)))
    dense = ", ".join(result["left_dense"])
    unmodelled = {x["op"]: x["count"] for x in result.get("unmodelled", ())}
    return Group(
        *warning_lines(told(unmodelled)),
        facts_table(facts),
        *([prose(f"left as they are: {dense}")] if dense else []),
        Text(),
        _layers_table(result, priced),
        _curve_table(result, priced),
    )


def _share(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def _layers_table(result: Mapping[str, Any], priced: Any) -> Grid:
    before, after = result["before"], result["after"]
    shown = [name for name in OPERANDS if name in before["by_operand"]]
    columns = [
        Column(head="layer", footer="all", words=True),
        Column(head="weights\nkept"),
        Column(head="bits", spare=3),
        Column(head="before", footer=priced(before["energy"]), spare=1),
        Column(head="after", footer=priced(after["energy"])),
        Column(head="share", footer=_share(after["energy"] / before["energy"])),
        *(
            Column(head=f"{name}\nafter", footer=priced(after["by_operand"][name]), spare=2)
            for name in shown
        ),
    ]
    table = Grid(columns, title="Layers")
    for name, layer in after["layers"].items():
        was = before["layers"][name]["energy"]
        density = result["weights"].get(name)
        bits = result["bits"].get(name)
        table.add_row(
            name,
            "" if density is None else _share(density),
            "" if bits is None else str(bits),
            priced(was),
            priced(layer["energy"]),
            _share(layer["energy"] / was) if was else "",
            *(priced(layer["by_operand"].get(operand, 0.0)) for operand in shown),
        )
    return table


def _curve_table(result: Mapping[str, Any], priced: Any) -> Grid:
    columns = [
        Column(head="network", words=True),
        *(Column(head=x) for x in ("energy", "of original", "validation\naccuracy")),
        Column(head="", words=True),
    ]
    table = Grid(columns, title="Networks on the way")
    whole = result["before"]["energy"]
    for point in result["curve"]:
        chosen = point["name"] == result["chosen"]
        table.add_row(
            point["name"],
            priced(point["energy"]),
            _share(point["energy"] / whole),
            _share(point["accuracy"], 2),
            "chosen" if chosen else "" if point["kept"] else "too inaccurate",
        )
    return table


def profile_table(rows: Sequence[Mapping[str, Any]], samples: int) -> RenderableType:
    """What ``picojoule profile`` recorded."""
    heads = ("input\ndensity", "run-\nlength", "output\ndensity", "run-\nlength")
    title = f"Activations on {samples} samples (run-length: times smaller)"
    table = grid("layer", *heads, title=title)
    for row in rows:
        table.add_row(
            str(row["layer"]),
            f"{row['input_density']:.3f}",
            f"{row['input_run_length_ratio']:.2f}",
            f"{row['output_density']:.3f}",
            f"{row['output_run_length_ratio']:.2f}",
        )
    return table


def models_table(records: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The released models."""
    columns = [
        *(Column(head=x, words=True) for x in ("model", "network", "data")),
        Column(head="energy"),
        Column(head="weights\nkept", spare=2),
        Column(head="accuracy"),
        Column(head="unpruned", spare=1),
    ]
    table = Grid(columns)
    for card in records:
        agrees = str(card["measure"]).startswith("agreement")  # with the unpruned network
        table.add_row(
            card["name"],
            card["network"],
            card["data"],
            f"1/{card['reduction']:.2f}",
            _share(card["weights_kept"]),
            _share(card["accuracy"], 2),
            "agreement" if agrees else _share(card["accuracy_unpruned"], 2),
        )
    return table
