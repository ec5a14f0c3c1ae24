"""The tables of ``side_by_side.py``: their time and energy beside ours."""

from __future__ import annotations

import statistics
from pathlib import Path

from record import Row

from picojoule.estimation import write_atomically

FASTER = 10.0  # than each peer that is not restricted to one dataflow
ROUNDING = 1e-6  # relative: energies nearer than this are the same

INTRODUCTION = """\
Machine: 12 x 14 elements with 260 words of registers each, a buffer of 108 kB, 16-bit words; DRAM
200, buffer 6, registers 1, MAC 1. Beside nn-dataflow a transfer is paid once, each word into or out
of an element 2 more, and the padded input is charged (`peers/dearer-end.yaml`); beside the others
both ends pay and the network is free (`peers/both-ends.yaml`). ZigZag cannot pass by the buffer, so
beside it ours may not either.

Times are CPU seconds of the search alone on one core; with a peer's start and reading they are in
`peers.json`. A peer is stopped after {limit} s of CPU time for a layer, its start included.
"Re-priced" is the peer's mapping under our cost model, or the cheapest mapping near it that can be
built; both are explained below."""

NOTES = """\
## What the energies mean

- **nn-dataflow** keeps one partial sum per filter in an element while a row of outputs streams
  through, and charges the row as if it never left, also where input channels change between two
  passes. Where the row does not fit into the registers, the mapping cannot be run at the energy
  printed; "re-priced" is then far above it. It charges the delivery of an input row once for all
  sets of elements that work on other filters.
- **ZigZag** is run with every register read charged; its own entry point charges none that repeats.
  Where a bound does not divide, it prices the loop as if it did. *Even* mappings have one set of
  tile boundaries for all operands, as ours; *uneven* ones a set for each operand, a larger space
  than ours, which our mapping cannot describe. Within it, ZigZag looks at three spatial mappings
  and cuts time into at most six loops.
- **AccelForge** also places each tensor by itself, so its mappings are not re-priced. It looks at
  tile sizes that divide.
"""


def write_tables(folder: Path, answer: Row) -> None:
    """Write ``peers.md``."""
    how = answer["conditions"]
    text = [
        "# Other mappers",
        "",
        f"`{how['command']}`, picojoule {how['picojoule']}, {how['processor']}.",
        "",
        INTRODUCTION.format(limit=answer["limit"]),
        "",
        "| peer | layers | finished | ours at least 10x faster | theirs / ours in time, median "
        "| ours no dearer | theirs / ours in energy, median | reached |",
        "|---|---|---|---|---|---|---|---|",
        *(_summary(name, part) for name, part in answer["peers"].items()),
        "",
        NOTES,
    ]
    for name, part in answer["peers"].items():
        text += [f"## {name}", "", *_layers(part), ""]
    write_atomically(folder / "peers.md", "\n".join(text))


def _pairs(part: Row) -> list[tuple[Row, Row]]:
    return list(zip(part["theirs"], part["ours"], strict=True))


def cheaper_than_ours(their: Row, our: Row) -> bool:
    """Whether a peer's energy, by its own count, is below ours."""
    return bool(their["energy"] < our["energy"] * (1 - ROUNDING))


def _summary(name: str, part: Row) -> str:
    pairs = _pairs(part)
    done = [(their, our) for their, our in pairs if their["status"] == "done"]
    stopped = [our for their, our in pairs if their["status"] == "timeout"]
    reasons = {their["reason"] for their, _ in pairs if their["status"] == "not installed"}
    if reasons:
        return f"| {name} | {len(pairs)} | not installed: {'; '.join(sorted(reasons))} | | | | | |"
    speed = [their["cpu"] / our["cpu"] for their, our in done]
    energy = [their["energy"] / our["energy"] for their, our in done]
    # A peer that was stopped took at least the limit, less what ours took.
    fast = sum(ratio >= FASTER for ratio in speed) + len(stopped)
    no_dearer = sum(not cheaper_than_ours(their, our) for their, our in done)
    reached = no_dearer == len(done)
    restricted = part["peer"]["restricted"]
    if not restricted:
        reached = reached and fast == len(done) + len(stopped)
    return (
        f"| {name} | {len(pairs)} | {len(done)} "
        f"| {'(one dataflow)' if restricted else f'{fast} of {len(done) + len(stopped)}'} "
        f"| {_number(statistics.median(speed)) if speed else ''} "
        f"| {no_dearer} of {len(done)} "
        f"| {f'{statistics.median(energy):.4f}' if energy else ''} "
        f"| {'yes' if reached else '**no**'} |"
    )


def _layers(part: Row) -> list[str]:
    rs = part.get("ours_rs")
    head = ["layer", "theirs, s", "ours, s", "ratio", "theirs, M", "re-priced, M", "ours, M"]
    head += ["ours within row-stationary, M"] if rs else []
    head += ["theirs / ours"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for index, (their, our) in enumerate(_pairs(part)):
        cells = [f"{their['network']}/{their['layer']}"]
        proved = "" if our["status"] == "optimal" else " (not proved)"
        if their["status"] == "done":
            again = their.get("repriced")
            cells += [
                _number(their["cpu"]),
                _number(our["cpu"]),
                _number(their["cpu"] / our["cpu"]),
                _mega(their["energy"]),
                _mega(again) if again else "—",
                _mega(our["energy"]) + proved,
            ]
            cells += [_mega(rs[index]["energy"])] if rs else []
            cells += [f"{their['energy'] / our['energy']:.4f}"]
        else:
            cells += [
                their["reason"].replace("|", "/"),
                _number(our["cpu"]),
                "",
                "",
                "",
                _mega(our["energy"]) + proved,
            ]
            cells += [_mega(rs[index]["energy"])] if rs else []
            cells += [""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _mega(energy: float) -> str:
    return f"{energy / 1e6:.2f}"
