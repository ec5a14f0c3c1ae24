"""The tables of ``side_by_side.py``: their time and energy beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.record import Row
from picojoule.files import write_atomically

ROUNDING = 1e-6  # relative: energies nearer than this are the same

INTRODUCTION = """\
Machine: 12 x 14 elements with 260 words of registers each, a buffer of 108 kB, 16-bit words; DRAM
200, buffer 6, registers 1, MAC 1. Beside nn-dataflow a transfer is paid once, each word into or
out of an element 2 more, and the padded input is charged (`peers/dearer-end.yaml`); beside the
others both ends pay and the network is free (`peers/both-ends.yaml`). ZigZag cannot pass by the
buffer, so beside it ours may not either; AccelForge charges the padded input, so beside it ours
does, too.

Times are CPU seconds of the search alone on one core; with the start of the peer they are in
`peers.json`. A peer is stopped after {limit} s of CPU time for a layer, its start included.
Beside nn-dataflow, which searches row-stationary mappings alone, ours is timed within them, too.
"Own count" is what the peer says its mapping costs; "re-priced" is that mapping under our cost
model, of nn-dataflow the cheapest legal one near it; none where its tiles do not fit. Energies are
in millions of MACs."""

NOTES = """\
## What the energies mean

- **nn-dataflow** keeps one partial sum per filter in an element while a row of outputs streams
  through, and counts the row as if it stayed, also where input channels change between two passes.
  "Registers" are the words that an element then needs; where they are more than 260, the mapping
  cannot be run at the energy printed, and "re-priced" is far above it. It charges the delivery of
  an input row once for all sets of elements that work on other filters.
- **ZigZag** is run with every register read charged; its own entry point charges none that
  repeats. Where a bound does not divide, it prices the loop as if it did, a few thousandths above
  or below what the loop takes: on fc7 and fc8 its own count is below the price of its mapping by
  that. In an element it reads a partial sum also before the first addition; where bounds divide
  (mobilenetv2's block2/project) its count is ours to the unit but for that. *Even* mappings have
  one set of tile boundaries for all operands, *uneven* ones a set for each. In the latter ZigZag
  looks at three spatial mappings and cuts time into at most six loops.
- **AccelForge** places each tensor by itself, too. It looks at tile sizes that divide. Its counts
  are ours to the unit, except that it hands a partial sum that comes back to every element that
  adds to it, where ours hands it to one.
"""

SUMMARY = (
    "peer",
    "layers",
    "finished",
    "theirs / ours, target",
    "so on",
    "time, theirs / ours, least",
    "time, theirs / ours, median",
    "ours no dearer than own count",
    "ours no dearer than re-priced",
    "own count / ours, median",
    "reached",
)


def write_tables(folder: Path, answer: Row) -> None:
    """Write ``peers.md``."""
    how, limit = answer["conditions"], answer["limit"]
    text = [
        "# Other mappers",
        "",
        f"`{how['command']}`, picojoule {how['picojoule']} (sources {how['sources']}), "
        f"{how['processor']}. {_when(answer)}",
        "",
        INTRODUCTION.format(limit=limit),
        "",
        "Reached, on a layer and on all: ours is no dearer than the mapping of the peer (re-priced "
        "where that is possible; in the uneven space where the peer's is uneven and ours is "
        "searched), and the peer takes as many times as long as its target says.",
        "",
        *_table([_summary(name, part, limit) for name, part in answer["peers"].items()], SUMMARY),
        "",
        NOTES,
    ]
    for name, part in answer["peers"].items():
        text += [f"## {name}", "", *_table(_layers(part, limit)), ""]
    write_atomically(folder / "peers.md", "\n".join(text))


def cheaper(their: float, our: float) -> bool:
    """Whether a peer's energy is below ours by more than rounding."""
    return their < our * (1 - ROUNDING)


def _when(answer: Row) -> str:
    """Whether the peers ran beside ours or in an earlier run, and then where."""
    if "recorded" not in answer:
        return "The peers ran in the same run."
    how = answer["recorded"]
    return (
        f"**The peers' times are those of an earlier run** (`{how['command']}`, beside sources "
        f"{how['sources']}, {how['processor']}), not scaled."
    )


class Line(NamedTuple):
    """A layer by a peer, and by us in the space that the peer's mappings are of."""

    their: Row
    our: Row
    ratio: float | None  # of times, theirs by ours; of what was stopped, at least
    energy: float | None  # of theirs, to be compared with ours
    reached: bool | None


def lines_of(part: Row, limit: float) -> list[Line]:
    """Each layer: how many times as long the peer took, and whether that is enough."""
    lines = []
    matched = part["ours_rs"] if part["peer"]["restricted"] else part["ours"]
    for index, (their, our) in enumerate(zip(part["theirs"], matched, strict=True)):
        least = part["ours"][index]["energy"]
        if "ours_uneven" in part and part["ours_uneven"][index]["energy"] is not None:
            our = part["ours_uneven"][index]
            least = our["energy"]
        ratio = energy = reached = None
        if their["status"] == "done":
            ratio = their["cpu"] / our["cpu"]
            energy = their["repriced"] if "repriced" in their else their["energy"]
            dearer = energy is not None and cheaper(energy, least)
            reached = not dearer and ratio >= part["peer"]["faster"]
        elif their["status"] == "timeout":
            ratio = their.get("limit", limit) / our["cpu"]
            reached = ratio >= part["peer"]["faster"]
        lines.append(Line(their, our, ratio, energy, reached))
    return lines


def _summary(name: str, part: Row, limit: float) -> dict[str, str]:
    lines = lines_of(part, limit)
    done = [line for line in lines if line.their["status"] == "done"]
    ratios = [line.ratio for line in lines if line.ratio is not None]
    target = part["peer"]["faster"]
    pairs = [
        (their, our["energy"])
        for their, our in zip(part["theirs"], part["ours"], strict=True)
        if their["status"] == "done"
    ]
    own = [not cheaper(their["energy"], energy) for their, energy in pairs]
    again = [
        not cheaper(their["repriced"], energy)
        for their, energy in pairs
        if their.get("repriced") is not None
    ]
    cells = {"peer": name, "layers": str(len(lines)), "finished": str(len(done))}
    cells["theirs / ours, target"] = f"{target:g}"
    cells["so on"] = _share([ratio >= target for ratio in ratios])
    cells["ours no dearer than own count"] = _share(own)
    cells["ours no dearer than re-priced"] = _share(again)
    if done:
        energy = [their["energy"] / our for their, our in pairs]
        cells["time, theirs / ours, least"] = _number(min(ratios))
        cells["time, theirs / ours, median"] = _number(statistics.median(ratios))
        cells["own count / ours, median"] = f"{statistics.median(energy):.4f}"
    reasons = {line.their["reason"] for line in lines if line.their["status"] == "not installed"}
    known = [line.reached for line in lines if line.reached is not None]
    reached = "yes" if known and all(known) else f"**no** ({_share(known)})"
    cells["reached"] = "; ".join(sorted(reasons)) or reached
    return cells


def _layers(part: Row, limit: float) -> list[dict[str, str]]:
    rows = []
    for index, line in enumerate(lines_of(part, limit)):
        their, flexible = line.their, part["ours"][index]
        stopped = their["status"] == "timeout"
        done = their["status"] == "done"
        cells = {"layer": f"{their['network']}/{their['layer']}"}
        cells["theirs, s"] = _number(their["cpu"]) if done else their["reason"].replace("|", "/")
        cells["ours, s"] = _number(flexible["cpu"])
        if "ours_rs" in part:
            cells["ours within row-stationary, s"] = _number(part["ours_rs"][index]["cpu"])
        if "ours_uneven" in part:
            cells["ours, uneven, s"] = _seconds(part["ours_uneven"][index])
        cells["time, theirs / ours"] = (
            "" if line.ratio is None else "> " * stopped + _number(line.ratio)
        )
        cells["own count"] = _mega(their["energy"]) if done else ""
        again = their.get("repriced")
        cells["re-priced"] = "" if again is None else _mega(again)
        if part["peer"]["restricted"]:
            cells["registers"] = str(their.get("registers", ""))
        cells["ours"] = _energy(flexible)
        if "ours_rs" in part:
            cells["ours within row-stationary"] = _energy(part["ours_rs"][index])
        if "ours_uneven" in part:
            cells["ours, uneven"] = _energy(part["ours_uneven"][index])
        cells["own count / ours"] = f"{their['energy'] / flexible['energy']:.4f}" if done else ""
        cells["reached"] = {True: "yes", False: "**no**", None: ""}[line.reached]
        rows.append(cells)
    return rows


def _seconds(answer: Row) -> str:
    return _number(answer["cpu"]) if "cpu" in answer else ""


def _energy(answer: Row) -> str:
    if answer["energy"] is None:
        return ""
    return _mega(answer["energy"]) + ("" if answer["status"] == "optimal" else " (not proved)")


def _table(rows: list[dict[str, str]], columns: Sequence[str] = ()) -> list[str]:
    columns = columns or tuple(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return lines + ["| " + " | ".join(row.get(name, "") for name in columns) + " |" for row in rows]


def _share(facts: list[bool]) -> str:
    return f"{sum(facts)} of {len(facts)}" if facts else ""


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _mega(energy: float) -> str:
    return f"{energy / 1e6:.2f}"
