"""A compression run as one HTML file, as Markdown, and as what its chart draws."""

from __future__ import annotations

from typing import Any

from picojoule.reports.page import inlined, templates
from picojoule.reports.palette import OPERAND_COLORS
from picojoule.tradeoffs import TradeOff, published_name, published_points
from picojoule.units import show_count, show_energy

WHICH = {"prune": "Pruning", "adapt": "Adaptation"}


def tradeoff_page(tradeoff: TradeOff) -> str:
    """One self-contained HTML file about a run."""
    return (
        templates()
        .get_template("tradeoff.html")
        .render(**tradeoff_values(tradeoff), **inlined(tradeoff_data(tradeoff)))
    )


def tradeoff_values(tradeoff: TradeOff) -> dict[str, Any]:
    """What the templates say about a run."""
    return {
        "title": f"{WHICH[tradeoff.kind]} run {tradeoff.name}",
        "warnings": tradeoff.warnings,
        "run": tradeoff,
        "words": tradeoff_words(tradeoff),
        "published": published_points(tradeoff.kind),
        "paper": published_name(tradeoff.kind),
        "cost": lambda value: show_cost(value, tradeoff.unit),
        "before": before_and_after(tradeoff),
    }


def before_and_after(tradeoff: TradeOff) -> dict[str, Any]:
    """Rows of the first network and of the result: layers, data types, widths; empty if unknown."""
    first, last = tradeoff.moments[0], tradeoff.chosen
    operands = [name for name in OPERAND_COLORS if name in first.by_operand]
    pairs: list[tuple[Any, ...]] = [
        ("all", first.cost, last.cost, first.by_operand, last.by_operand, None, None)
    ]
    pairs += [
        (
            name,
            energy,
            last.layers.get(name, 0.0),
            first.operands.get(name, {}),
            last.operands.get(name, {}),
            last.weights.get(name),
            last.bits.get(name),
        )
        for name, energy in first.layers.items()
    ]
    narrower = {
        name: (first.widths[name], width)
        for name, width in last.widths.items()
        if width < first.widths.get(name, width)
    }
    rows = pairs if first.layers and last is not first else []
    return {"rows": rows, "operands": operands, "narrower": narrower}


def tradeoff_words(tradeoff: TradeOff) -> str:
    """In two sentences, how far the run came."""
    first, last = tradeoff.moments[0], tradeoff.chosen
    steps = len(tradeoff.moments) - 1
    state = "has ended" if tradeoff.ended else "was stopped" if tradeoff.stopped else "goes on"
    again = (
        " No process is at work on it; the command that began it, given again, takes it up."
        if tradeoff.stopped
        else ""
    )
    if not steps:
        return f"The run {state}; only the network as it came has been judged.{again}"
    times = first.cost / last.cost if last.cost else float("inf")
    which = f"Its result, {last.name}," if tradeoff.ended else "The last"
    return (
        f"The run {state} after {steps} judged {'network' if steps == 1 else 'networks'}. {which} "
        f"costs {times:.3g} times less than the first "
        f"({show_cost(first.cost, tradeoff.unit)} before, "
        f"{show_cost(last.cost, tradeoff.unit)} after); accuracy changed by "
        f"{tradeoff.change(last):+.2f} points, from {100 * first.accuracy:.2f} % to "
        f"{100 * last.accuracy:.2f} %.{again}"
    )


def show_cost(value: float, unit: str) -> str:
    """Write a cost in its unit."""
    if unit in ("MAC", "pJ"):
        return show_energy(value, unit)
    return f"{show_count(value)} {unit}".strip()


def tradeoff_data(tradeoff: TradeOff) -> dict[str, Any]:
    """What the chart of a trade-off draws."""
    return {
        "energy_unit": tradeoff.unit,
        "place_colors": {},
        "operand_colors": dict(OPERAND_COLORS),
        "estimates": [],
        "tradeoff": {
            "steps": [
                [tradeoff.relative(moment), tradeoff.change(moment), moment.name]
                for moment in tradeoff.moments
            ],
            "published": [[x.relative, x.change, x.label] for x in published_points(tradeoff.kind)],
        },
    }
