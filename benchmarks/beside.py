"""Two builds beside each other: is any search slower, and is any answer another?

    python -m benchmarks.beside 4f142df            writes results/beside.csv
    python -m benchmarks.beside 4f142df --network bvlc-alexnet

Each layer in turn by both (:mod:`builds`), compiled code warm and no answer kept. Of CPU times the
least of several turns counts; a row where the new build looks slower than ``LIMIT`` is given more
turns, for both, until it does not or ``MOST`` are done, since the least of more turns only comes
nearer to what a build needs; and then the same in processes begun anew, ``PROCESSES`` at most:
where a process has its memory is chance and may make a tenth. Ends with 1 if an answer differs
(value, lower bound, classes explored and pruned) or a row stays above ``LIMIT``.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.builds import Asked, Build, Question, sources_of
from benchmarks.questions import CHIP, NETWORKS, distinct_layers
from benchmarks.record import Record, Row, conditions, progress
from picojoule.files import write_atomically
from picojoule.mapper.cache import fingerprint

HERE = Path(__file__).parent
LIMIT = 1.05
TURNS, MOST = 5, 60
PROCESSES = 4
SAID = ("value", "lower_bound", "explored", "pruned")  # what must be the same
COLUMNS = ("network", "layer", "dataflow", "factors", "before", "after", "ratio", "turns")


def questions(networks: list[str]) -> list[Question]:
    """Every distinct layer, over divisors and over every factor; AlexNet row-stationary too."""
    asked: list[Question] = [
        {**row, "chip": CHIP, "dataflow": "flexible", "factors": factors}
        for network in networks
        for factors in ("perfect", "all")
        for row in distinct_layers(network)
    ]
    if NETWORKS[0] in networks:
        rows = distinct_layers(NETWORKS[0])
        asked += [{**row, "chip": CHIP, "dataflow": "rs", "factors": "all"} for row in rows]
    return asked


def compare(before: Asked, after: Asked, question: Question) -> Row:
    """Turns of both builds at one question; the least CPU seconds of each."""
    before.ask(question)  # compiles what this shape needs
    after.ask(question)
    least = [float("inf"), float("inf")]
    turns = 0
    while turns < TURNS or (turns < MOST and least[1] > LIMIT * least[0]):
        first, second = before.ask(question), after.ask(question)
        said = [[answer[name] for name in SAID] for answer in (first, second)]
        if said[0] != said[1]:
            raise SystemExit(f"{question}: {said[0]} before, {said[1]} after")
        least = [min(least[0], first["cpu"]), min(least[1], second["cpu"])]
        turns += 1
    return {
        **{name: question[name] for name in COLUMNS[:4]},
        "before": least[0],
        "after": least[1],
        "ratio": least[1] / least[0],
        "turns": turns,
    }


def least(one: Row, other: Row) -> Row:
    """The least times of two comparisons of the same search."""
    before, after = (min(one[name], other[name]) for name in ("before", "after"))
    turns = one["turns"] + other["turns"]
    return one | {"before": before, "after": after, "ratio": after / before, "turns": turns}


def table(rows: Iterable[Row], revision: str) -> str:
    """The rows as CSV, under lines that say how they came to be."""
    text = io.StringIO()
    known: dict[str, Any] = conditions() | {"before": revision}
    text.write(f"# {json.dumps({name: known[name] for name in sorted(known)})}\n")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {name: f"{row[name]:.5f}" for name in ("before", "after", "ratio")})
    return text.getvalue()


def main() -> None:
    """Compare; print the summary; write the table when every network was asked."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", help="of git: the build before")
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one")
    parser.add_argument("--again", action="store_true", help="run what is finished, too")
    args = parser.parse_args()
    before = sources_of(args.revision)
    version = f"{before.parent.name} {fingerprint()}"
    record = Record(HERE / ".work" / "beside.jsonl", version, again=args.again)
    asked = questions(args.network or list(NETWORKS))
    rows: dict[int, Row] = {}
    for again in range(PROCESSES):
        numbers = [n for n in range(len(asked)) if not again or rows[n]["ratio"] > LIMIT]
        if not numbers:
            break
        builds = Build(before), Build(HERE.parent / "src")
        try:
            for done, n in enumerate(numbers, 1):
                part = json.dumps([*asked[n], again])
                row = record.once(part, partial(compare, *builds, asked[n]))
                rows[n] = row if n not in rows else least(rows[n], row)
                progress(f"{done}/{len(numbers)} {row['layer']} {rows[n]['ratio']:.3f}")
        finally:
            for build in builds:
                build.end()
    if not args.network:
        write_atomically(HERE / "results" / "beside.csv", table(rows.values(), args.revision))
    ratios = [row["ratio"] for row in rows.values()]
    total = sum(row["after"] for row in rows.values()) / sum(x["before"] for x in rows.values())
    slower = [row for row in rows.values() if row["ratio"] > LIMIT]
    sys.stdout.write(
        f"{len(rows)} searches, all answers equal; after / before: median "
        f"{statistics.median(ratios):.3f}, total {total:.3f}, worst {max(ratios):.3f}; "
        f"{len(slower)} above {LIMIT}\n"
    )
    for row in slower:
        sys.stdout.write(
            f"  {row['network']} {row['layer']} {row['factors']}: {row['ratio']:.3f}\n"
        )
    raise SystemExit(bool(slower))


if __name__ == "__main__":
    main()
