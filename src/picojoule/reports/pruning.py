"""Pruning for people: what a run saved, where, and at what accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from picojoule.completeness import told
from picojoule.reports.text import printable, warning_lines
from picojoule.units import show_count, show_energy

OPERANDS = ("input", "weight", "output", "compute")


def pruning_report(result: Mapping[str, Any]) -> RenderableType:
    """A pruning run's result, as ``result/result.json`` holds it."""
    unit = result["energy_unit"]

    def priced(value: float) -> str:
        return show_energy(value, unit) if unit in ("MAC", "pJ") else show_count(value)

    before, after = result["before"], result["after"]
    accuracy = result["accuracy"]
    lines = [
        f"energy    {priced(before['energy'])} -> {priced(after['energy'])}, "
        f"{result['reduction']:.2f} times less",
        f"MACs done {show_count(before['effectual_macs'])} -> "
        f"{show_count(after['effectual_macs'])}",
    ]
    for kind in ("validation", "test"):
        if f"{kind}_before" in accuracy:
            was, is_now = accuracy[f"{kind}_before"], accuracy[f"{kind}_after"]
            lines.append(
                f"{kind:<9} {was:.2%} -> {is_now:.2%} ({100 * (is_now - was):+.2f} points)"
            )
    narrower = [f"{n} {a} -> {b}" for n, (a, b) in result.get("widths", {}).items() if b < a]
    if narrower:
        lines.append(f"channels  {printable(', '.join(narrower))}")
    if result["left_dense"]:
        lines.append(f"left as they are: {printable(', '.join(result['left_dense']))}")
    unmodelled = {x["op"]: x["count"] for x in result.get("unmodelled", ())}
    return Group(
        *warning_lines(told(unmodelled)),
        Text("\n".join(lines)),
        Text(),
        _layers_table(result, priced),
        Text(),
        _curve_table(result, priced),
    )


def _layers_table(result: Mapping[str, Any], priced: Any) -> Table:
    before, after = result["before"], result["after"]
    table = Table(box=box.SIMPLE_HEAD, title="Layers", title_justify="left")
    table.add_column("layer")
    shown = [name for name in OPERANDS if name in before["by_operand"]]
    for heading in (
        "weights kept",
        "bits",
        "before",
        "after",
        "share",
        *(f"{n} after" for n in shown),
    ):
        table.add_column(heading, justify="right")
    for name, layer in after["layers"].items():
        was = before["layers"][name]["energy"]
        density = result["weights"].get(name)
        bits = result["bits"].get(name)
        table.add_row(
            Text(printable(name)),
            "" if density is None else f"{density:.1%}",
            "" if bits is None else str(bits),
            priced(was),
            priced(layer["energy"]),
            f"{layer['energy'] / was:.1%}" if was else "",
            *(priced(layer["by_operand"].get(operand, 0.0)) for operand in shown),
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        "",
        priced(before["energy"]),
        priced(after["energy"]),
        f"{after['energy'] / before['energy']:.1%}",
        *(priced(after["by_operand"][operand]) for operand in shown),
    )
    return table


def _curve_table(result: Mapping[str, Any], priced: Any) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Networks on the way", title_justify="left")
    table.add_column("network")
    for heading in ("energy", "of original", "validation accuracy"):
        table.add_column(heading, justify="right")
    table.add_column("")
    whole = result["before"]["energy"]
    for point in result["curve"]:
        chosen = point["name"] == result["chosen"]
        table.add_row(
            point["name"],
            priced(point["energy"]),
            f"{point['energy'] / whole:.1%}",
            f"{point['accuracy']:.2%}",
            "chosen" if chosen else "" if point["kept"] else "too inaccurate",
        )
    return table


def profile_table(rows: Sequence[Mapping[str, Any]], samples: int) -> RenderableType:
    """What ``picojoule profile`` recorded."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"Activations on {samples} samples (run-length: times smaller)",
        title_justify="left",
    )
    table.add_column("layer")
    for heading in ("input density", "run-length", "output density", "run-length"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            Text(printable(str(row["layer"]))),
            f"{row['input_density']:.3f}",
            f"{row['input_run_length_ratio']:.2f}",
            f"{row['output_density']:.3f}",
            f"{row['output_run_length_ratio']:.2f}",
        )
    return table


def models_table(records: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The released models."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("model", "network", "data"):
        table.add_column(heading)
    for heading in ("energy", "weights kept", "accuracy", "unpruned"):
        table.add_column(heading, justify="right")
    for card in records:
        agrees = str(card["measure"]).startswith("agreement")  # with the unpruned network
        table.add_row(
            card["name"],
            card["network"],
            card["data"],
            f"1/{card['reduction']:.2f}",
            f"{card['weights_kept']:.1%}",
            f"{card['accuracy']:.2%}",
            "agreement" if agrees else f"{card['accuracy_unpruned']:.2%}",
        )
    return table
