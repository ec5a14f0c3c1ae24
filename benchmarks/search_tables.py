"""The tables of ``search.py``: old, new, ratio, target, reached or not, and if not, why."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.record import Row
from benchmarks.rows import TARGETS, Target
from picojoule.files import write_atomically

REASONS = Path(__file__).parent / "reasons.yaml"  # row: why it is not reached
SAME = 1e-9  # relative: values nearer than this are one


def reached(target: Target, row: Row) -> bool:
    """Whether the target is.

    Ratios count: where the issue has a time of the old build, that of this run stands for it, and
    the target is as much less.
    """
    if "failed" in row:
        return False
    if "reached" in row:
        return bool(row["reached"])
    limit = target.target
    if target.today is not None and row["old"] is not None:
        limit *= row["old"] / target.today
    return bool(row["new"] <= limit)


def write_tables(folder: Path, answer: Row, pictures: list[str]) -> None:
    """Write ``search.md``."""
    how = answer["conditions"]
    text = [
        "# Search",
        "",
        f"`{how['command']}`, picojoule {how['picojoule']} (sources {how['sources']}) beside "
        f"{how['before']}, Python {how['python']}, {how['processor']}.",
        "",
        "CPU seconds on one core, both builds in turn on the same one, the least of several turns. "
        "Layers are of the chip `eyeriss`, batch 1, flexible dataflow unless said; every distinct "
        "shape counts once. A target is reached where old / new is at least what the issue asks "
        "for; where the issue has no time of the old build, where new is at most the target.",
        "",
        *text_of_rows(answer["rows"]),
        "",
        *_same(answer["layers"]),
        "",
        "## Networks",
        "",
        *_table(
            (
                *("network", "factors", "layers", "proved", "median, old", "median, new"),
                *("worst, old", "worst, new", "worst layer", "total, old", "total, new"),
            ),
            (
                _network(network, factors, rows)
                for factors, layers in answer["layers"].items()
                for network, rows in _by_network(layers).items()
            ),
        ),
        "",
        "## Growth",
        "",
        *(f"![{name.replace('-', ' ')}]({name}.svg)" for name in pictures),
        "",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "search.md", "\n".join(text))


def text_of_rows(rows: dict[str, Row]) -> list[str]:
    """The table of targets; after it, of each that is missed, why and where the time goes."""
    lines = _table(
        ("", "old", "new", "old / new", "target", "reached", ""),
        (_cells(TARGETS[name], row) for name, row in rows.items()),
    )
    reasons = yaml.safe_load(REASONS.read_text(encoding="utf-8")) or {}
    for name, row in rows.items():
        if "profile" in row:
            reason = reasons.get(name, "No reason is written down yet (`benchmarks/reasons.yaml`).")
            lines += ["", f"### Not reached: {TARGETS[name].what}", "", reason.strip(), ""]
            lines += _profile(row["profile"])
    return lines


def _cells(target: Target, row: Row) -> Iterator[str]:
    yield target.what
    if "failed" in row:
        yield from ("", "", "", _number(target.target, target.unit), "**failed**", row["failed"])
        return
    old, new = row["old"], row["new"]
    yield row.get("old_text") or _number(old, target.unit)
    yield row.get("new_text") or _number(new, target.unit)
    yield f"{old / new:.2f}" if old else ""
    less = f" ({target.today / target.target:.2g} times less)" if target.today else ""
    yield _number(target.target, target.unit) + less
    yield "yes" if reached(target, row) else "**no**"
    yield row["note"]


def _profile(profile: Row) -> list[str]:
    if "failed" in profile or "stopped" in profile:
        return [f"No profile: {profile}."]
    lines = [f"Own time, of {profile['seconds']:.2f} s:", ""]
    rows = (
        (f"`{row['function']}`", "compiled" if row["compiled"] else "", f"{row['share']:.0%}")
        for row in profile["rows"]
    )
    return lines + _table(("function", "", "share"), rows)


def _same(layers: dict[str, list[Row]]) -> list[str]:
    """Whether both builds gave the same answers."""
    lower, dearer, same = 0, [], 0
    for rows in layers.values():
        for row in rows:
            old, new = row["old"].get("value"), row["new"].get("value")
            if old is None or new is None:
                continue
            if new > old * (1 + SAME):
                dearer.append(f"{row['network']} {row['layer']} {row['factors']}")
            elif new < old * (1 - SAME):
                lower += 1
            else:
                same += 1
    text = f"Answers: {same} are the same in both builds, {lower} lower in the new one, "
    return [text + f"{len(dearer)} dearer" + (f": {', '.join(dearer)}." if dearer else ".")]


def _by_network(rows: Iterable[Row]) -> dict[str, list[Row]]:
    networks: dict[str, list[Row]] = {}
    for row in rows:
        networks.setdefault(row["network"], []).append(row)
    return networks


def _network(network: str, factors: str, rows: list[Row]) -> tuple[str, ...]:
    def seconds(side: str) -> list[float]:
        return [row[side].get("cpu", row[side].get("stopped", math.nan)) for row in rows]

    old, new = seconds("old"), seconds("new")
    proved = sum(row["new"].get("status") == "optimal" for row in rows)
    return (
        *(network, factors, str(len(rows)), str(proved)),
        *(_number(1e3 * statistics.median(times), "ms") for times in (old, new)),
        *(_number(1e3 * max(times), "ms") for times in (old, new)),
        rows[new.index(max(new))]["layer"],
        *(_number(sum(times), "s") for times in (old, new)),
    )


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return f"{text} {unit}".strip()


def _table(head: tuple[str, ...], rows: Any) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
