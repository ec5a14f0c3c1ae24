"""How long searches take, beside an older build: the targets, and how the time grows.

    python -m benchmarks.search                everything; writes results/search.{json,md} and plots
    python -m benchmarks.search --row shared   one row of the table, to standard output
    python -m benchmarks.search --thorough     deep machines with every shipped network

What is finished stays in ``.work/`` and is not run again while the sources of the search are the
same (``--again`` runs it all the same), so a run may be interrupted at any time. A row that fails
says so in the table, does not keep the others from being measured, and ends the run with 1.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from functools import partial

from benchmarks import growth
from benchmarks.builds import HERE, WORK
from benchmarks.record import Row, conditions, progress, write_json
from benchmarks.rows import TARGETS, Bench, Target, layer_questions
from benchmarks.search_tables import reached, text_of_rows, write_tables

BEFORE = "4f142df"  # the build that the targets compare with


def parse() -> argparse.Namespace:
    """The command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", action="append", choices=TARGETS, help="only this row")
    parser.add_argument("--before", default=BEFORE, help="the revision to compare with")
    parser.add_argument("--again", action="store_true", help="run what is finished, too")
    parser.add_argument("--quick", action="store_true", help="few layers; writes into .work/ only")
    parser.add_argument("--thorough", action="store_true", help="every network on deep machines")
    return parser.parse_args()


def measured(bench: Bench, names: list[str]) -> dict[str, Row]:
    """The rows of the table; where a target is missed, where the time goes."""
    rows = {}
    for name in names:
        progress(name)
        rows[name] = attempted(bench, partial(_measured, TARGETS[name]))
    return rows


def _measured(target: Target, bench: Bench) -> Row:
    row = target.measure(bench)
    if reached(target, row):
        return row
    progress(f"{target.what}: where the time goes")
    return {**row, "profile": attempted(bench, target.explain)}


def attempted(bench: Bench, measure: Callable[[Bench], Row]) -> Row:
    """What is measured; ``failed`` alone, with the reason, where that comes to no end.

    Whatever goes wrong in one row (a build that ends, an answer of another form) is no reason to
    lose the others, which take long: it is told in full, and the processes begin anew.
    """
    try:
        return measure(bench)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        bench.anew()
        return {"failed": f"{type(error).__name__}: {error}"}


def failures(rows: dict[str, Row]) -> int:
    """1 if a row failed, else 0: how the run ends."""
    return int(any("failed" in row for row in rows.values()))


def main() -> None:
    """Run what the command line asks for."""
    args = parse()
    bench = Bench(args.before, again=args.again, quick=args.quick, thorough=args.thorough)
    try:
        rows = measured(bench, args.row or list(TARGETS))
        if args.row:
            sys.stdout.write("\n".join(text_of_rows(rows)) + "\n")
            sys.exit(failures(rows))
        answer: Row = {
            "conditions": conditions() | {"before": bench.revision},
            "rows": rows,
            "layers": {
                factors: [
                    {**question, **row}
                    for question in layer_questions(bench, factors)
                    if "failed"
                    not in (row := attempted(bench, partial(Bench.both, question=question)))
                ]
                for factors in growth.FACTORS
            },
            "growth": growth.measure(bench),
        }
    finally:
        bench.anew()
    folder = WORK / "quick" if args.quick else HERE / "results"
    write_json(folder / "search.json", answer)
    pictures = growth.draw(folder, answer["layers"], answer["growth"])
    write_tables(folder, answer, pictures)
    sys.stdout.write((folder / "search.md").read_text(encoding="utf-8"))
    sys.exit(failures(rows))


if __name__ == "__main__":
    main()
