"""The tables of ``side_by_side.py``: their time and energy beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import Row
from picojoule.files import write_atomically

FASTER = 10.0  # than each peer that is not restricted to one dataflow
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
    "ours at least 10x faster",
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
        f"{how['processor']}.",
        "",
        INTRODUCTION.format(limit=limit),
        "",
        "Reached: ours is no dearer than any mapping of the peer, re-priced, and, unless the peer "
        "is restricted to one dataflow, at least 10 times faster on every layer.",
        "",
        *_table([_summary(name, part, limit) for name, part in answer["peers"].items()], SUMMARY),
        "",
        NOTES,
    ]
    for name, part in answer["peers"].items():
        text += [f"## {name}", "", *_table(_layers(part)), ""]
    write_atomically(folder / "peers.md", "\n".join(text))


def cheaper(their: float, our: float) -> bool:
    """Whether a peer's energy is below ours by more than rounding."""
    return their < our * (1 - ROUNDING)


def _summary(name: str, part: Row, limit: float) -> dict[str, str]:
    pairs = list(zip(part["theirs"], part["ours"], strict=True))
    restricted = part["peer"]["restricted"]
    done = [(their, our) for their, our in pairs if their["status"] == "done"]
    speed = [their["cpu"] / our["cpu"] for their, our in done]
    known = [ratio >= FASTER for ratio in speed]
    # One that was stopped would have taken more than the limit.
    known += [limit / our["cpu"] >= FASTER for their, our in pairs if their["status"] == "timeout"]
    own = [not cheaper(their["energy"], our["energy"]) for their, our in done]
    again = [
        not cheaper(their["repriced"], our["energy"])
        for their, our in done
        if their.get("repriced") is not None
    ]
    reached = bool(again) and all(again) and (restricted or all(known))
    cells = {"peer": name, "layers": str(len(pairs)), "finished": str(len(done))}
    cells["ours at least 10x faster"] = "one dataflow" if restricted else _share(known)
    cells["ours no dearer than own count"] = _share(own)
    cells["ours no dearer than re-priced"] = _share(again)
    if done:
        energy = [their["energy"] / our["energy"] for their, our in done]
        cells["time, theirs / ours, median"] = _number(statistics.median(speed))
        cells["own count / ours, median"] = f"{statistics.median(energy):.4f}"
    reasons = {their["reason"] for their, _ in pairs if their["status"] == "not installed"}
    cells["reached"] = "; ".join(sorted(reasons)) or ("yes" if reached else "**no**")
    return cells


def _layers(part: Row) -> list[dict[str, str]]:
    lines = []
    for index, (their, our) in enumerate(zip(part["theirs"], part["ours"], strict=True)):
        cells = {"layer": f"{their['network']}/{their['layer']}"}
        if their["status"] == "done":
            cells["theirs, s"] = _number(their["cpu"])
        else:
            cells["theirs, s"] = their["reason"].replace("|", "/")
        cells["ours, s"] = _number(our["cpu"])
        cells["time, theirs / ours"] = ""
        cells["own count"] = cells["re-priced"] = ""
        if part["peer"]["restricted"]:
            cells["registers"] = str(their.get("registers", ""))
        cells["ours"] = _mega(our["energy"]) + (
            "" if our["status"] == "optimal" else " (not proved)"
        )
        if "ours_rs" in part:
            cells["ours within row-stationary"] = _mega(part["ours_rs"][index]["energy"])
        cells["own count / ours"] = ""
        if their["status"] == "done":
            cells["time, theirs / ours"] = _number(their["cpu"] / our["cpu"])
            cells["own count"] = _mega(their["energy"])
            if their.get("repriced") is not None:
                cells["re-priced"] = _mega(their["repriced"])
            cells["own count / ours"] = f"{their['energy'] / our['energy']:.4f}"
        lines.append(cells)
    return lines


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
