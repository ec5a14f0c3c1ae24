"""The studies as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]

# Inferences per second of Eyeriss v2 (JETCAS 2019); recalled, not checked against the paper.
PUBLISHED = {"AlexNet": 102.1, "sparse AlexNet": 278.7, "MobileNet, no zeros": 1282.1}


def speed(rows: Iterable[Row], step: int) -> float:
    """Inferences per second of a network by the bound of a step."""
    rows = list(rows)
    cycles = math.fsum(row["macs"] / row["bounds"][step - 1] for row in rows)
    return float(rows[0]["clock"]) / cycles


def of(rows: Iterable[Row], **case: object) -> list[Row]:
    """The rows of a case."""
    return [row for row in rows if all(row[key] == value for key, value in case.items())]


def distinct(rows: Iterable[Row], key: str) -> list[Any]:
    """The values of *key*, in their order."""
    return list(dict.fromkeys(row[key] for row in rows))


def sparse(answer: Row) -> str:
    """A line for every density."""
    rows = answer["rows"]
    heads = [
        f"{machine}, {layer}, step {step}"
        for machine in distinct(rows, "machine")
        for layer in distinct(rows, "layer")
        for step in (6, 7)
    ]
    lines = []
    for density in distinct(rows, "density"):
        cells = [f"{density:g}"]
        for row in of(rows, density=density):
            cells += [_sixth(row), _seventh(row)]
        lines.append(cells)
    return _page("Sparse weights, MAC/cycle", answer, ["density", *heads], lines)


def compact(answer: Row) -> str:
    """A line for every machine and layer."""
    heads = ["machine", "layer", "peak", "step 5", "step 6", "step 7", "of the peak", "worst step"]
    lines = [
        [
            row["machine"],
            row["layer"],
            f"{row['peak']:.4g}",
            f"{row['bounds'][4]:.4g}",
            _sixth(row),
            _seventh(row),
            f"{100 * row['bounds'][6] / row['peak']:.2g} %",
            row["worst"],
        ]
        for row in answer["rows"]
    ]
    return _page("Compact layers, MAC/cycle", answer, heads, lines)


def precision(answer: Row) -> str:
    """A line for every layer, width and machine."""
    heads = ["layer", "bits", "multipliers", "step 5", "step 6", "step 7", "limited by"]
    lines = [
        [
            row["layer"],
            str(row["bits"]),
            row["machine"],
            f"{row['bounds'][4]:.4g}",
            _sixth(row),
            _seventh(row),
            row["limited_by"],
        ]
        for row in sorted(answer["rows"], key=lambda row: (row["layer"], -row["bits"]))
    ]
    return _page("Few bits, MAC/cycle", answer, heads, lines)


def eyeriss(answer: Row) -> str:
    """A line for every network: speeds, their ratio, and what is published."""
    heads = ["network", "MMAC", "Eyeriss, 1/s", "Eyeriss v2, 1/s", "v2 / v1", "v2 published, 1/s"]
    heads += ["ours / published"]
    lines = []
    for name in distinct(answer["rows"], "network"):
        mine = of(answer["rows"], network=name)
        first, second = (of(mine, machine=m) for m in ("eyeriss", "eyeriss-v2"))
        v1, v2 = speed(first, 7), speed(second, 7)
        mark = "" if all(row["proved"] for row in mine) else "~"
        lines.append(
            [
                name,
                f"{sum(row['macs'] for row in first) / 1e6:.4g}",
                f"{v1:.4g}{mark}",
                f"{v2:.4g}{mark}",
                f"{v2 / v1:.3g}",
                f"{PUBLISHED[name]:g}" if name in PUBLISHED else "",
                f"{v2 / PUBLISHED[name]:.3g}" if name in PUBLISHED else "",
            ]
        )
    return _page("Eyeriss and Eyeriss v2, inferences per second (step 7)", answer, heads, lines)


def _sixth(row: Row) -> str:
    return f"{row['bounds'][5]:.4g}{'' if row['proved'] else '~'}"


def _seventh(row: Row) -> str:
    """Step 7, marked where the mapping is not proved the cheapest of the fastest."""
    return f"{row['bounds'][6]:.4g}{'' if row['cheapest'] else '*'}"


def _page(title: str, answer: Row, heads: list[str], lines: list[list[str]]) -> str:
    made = [f"# {title}", "", f"`{answer['command']}`, picojoule {answer['picojoule']}.", ""]
    made += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    made += [f"| {' | '.join(cells)} |" for cells in lines]
    notes = []
    if not all(row["proved"] for row in answer["rows"]):
        notes.append("`~`: the best found, not proved best.")
    if any(not row["cheapest"] for row in answer["rows"]):
        notes.append(
            "`*`: step 7 plays one of the fastest mappings, which is not proved to be the cheapest "
            "of them."
        )
    return "\n".join([*made, *(["", *notes] if notes else [])]) + "\n"


TABLES = {"sparse": sparse, "compact": compact, "precision": precision, "eyeriss": eyeriss}
