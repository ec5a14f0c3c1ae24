"""Two builds beside each other: is any search slower, and is any answer another?

    python -m benchmarks.beside 4f142df            writes results/beside.csv
    python -m benchmarks.beside 4f142df --network bvlc-alexnet

The sources of a git revision are laid into ``.work/`` and searched with beside those of the working
tree: each layer in turn by both, each build in a process of its own on the same core, compiled
code warm and no answer kept. Of CPU times the least of several turns counts; a row where the new
build looks slower than ``LIMIT`` is given more turns, for both, until it does not or ``MOST`` are
done, since the least of more turns only comes nearer to what a build needs; and then the same in
processes begun anew, ``PROCESSES`` at most: where a process has its memory is chance and may make
a tenth. Ends with 1 if an answer differs (value, lower bound, classes explored and pruned) or a row
stays above ``LIMIT``.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from benchmarks.record import Record, Row, conditions
from benchmarks.search import CHIP, NETWORKS, distinct_layers, progress
from picojoule.files import write_atomically
from picojoule.mapper.cache import fingerprint

HERE = Path(__file__).parent
LIMIT = 1.05
TURNS, MOST = 5, 60
PROCESSES = 4
COLUMNS = ("network", "layer", "dataflow", "factors", "before", "after", "ratio", "turns")


Question = list[str | None]  # network, layer, chip, dataflow, factors, objective


class Asked(Protocol):
    """What answers a question with CPU seconds, value, lower bound, classes explored and pruned."""

    def ask(self, question: Question) -> list[float]:
        """Search once."""


class Build:
    """A process that searches with one build's sources, the first core its own.

    Args:
        sources: the folder that holds the package.
        tuning: numbers in place of the build's own, as JSON.
        compiled: where compiled code is kept; None: beside the sources.
    """

    def __init__(self, sources: Path, tuning: str = "", compiled: Path | None = None) -> None:
        kept = {} if compiled is None else {"NUMBA_CACHE_DIR": str(compiled)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.searches_asked", *([tuning] if tuning else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
            env={
                **os.environ,
                "PYTHONPATH": str(sources),
                "OMP_NUM_THREADS": "1",
                "NUMBA_NUM_THREADS": "1",
                **kept,
            },
        )
        if hasattr(os, "sched_setaffinity"):  # the same core for both: they take turns
            os.sched_setaffinity(self._process.pid, {min(os.sched_getaffinity(0))})

    def ask(self, question: Question) -> list[float]:
        """CPU seconds, value, lower bound, classes explored, classes pruned."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(json.dumps(question) + "\n")
        asked.flush()
        line = answered.readline()
        if not line:
            raise SystemExit(f"a build ended while it searched {question}")
        return list(json.loads(line))

    def end(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.wait()


def sources_of(revision: str) -> Path:
    """The folder ``src`` of a git revision."""
    name = subprocess.run(
        ["git", "rev-parse", "--short", f"{revision}^{{commit}}"],
        cwd=HERE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    place = HERE / ".work" / name
    if not (place / "src").exists():
        packed = subprocess.run(
            ["git", "archive", name, "src"], cwd=HERE.parent, check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(place, filter="data")
    return place / "src"


def questions(networks: list[str]) -> list[Question]:
    """Every distinct layer, over divisors and over every factor; AlexNet row-stationary too."""
    asked: list[Question] = [
        [network, row["layer"], CHIP, None, factors, "energy"]
        for network in networks
        for factors in ("perfect", "all")
        for row in distinct_layers(network)
    ]
    if NETWORKS[0] in networks:
        rows = distinct_layers(NETWORKS[0])
        asked += [[NETWORKS[0], row["layer"], CHIP, "rs", "all", "energy"] for row in rows]
    return asked


def compare(before: Asked, after: Asked, question: Question) -> Row:
    """Turns of both builds at one question; the least CPU seconds of each."""
    before.ask(question)  # compiles what this shape needs
    after.ask(question)
    least = [float("inf"), float("inf")]
    turns = 0
    while turns < TURNS or (turns < MOST and least[1] > LIMIT * least[0]):
        first, second = before.ask(question), after.ask(question)
        if first[1:] != second[1:]:
            raise SystemExit(f"{question}: {first[1:]} before, {second[1:]} after")
        least = [min(least[0], first[0]), min(least[1], second[0])]
        turns += 1
    network, layer, _, dataflow, factors, _ = question
    return {
        "network": network,
        "layer": layer,
        "dataflow": dataflow or "flexible",
        "factors": factors,
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
