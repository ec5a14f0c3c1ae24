"""How long searches take: every layer of four networks, sweeps of channels, first calls.

    python -m benchmarks.search                          everything; writes results/search.{json,md}
    python -m benchmarks.search --network resnet50 --json     one network, to standard output

What is finished stays in ``.work/`` and is not run again while the sources of the search are the
same (``--again`` runs it all the same), so a run may be interrupted at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import picojoule
from benchmarks.first_call import first_calls
from benchmarks.record import Record, conditions, write_json
from benchmarks.search_tables import write_tables
from picojoule.mapper.cache import fingerprint

HERE = Path(__file__).parent
CHIP = "eyeriss"
NETWORKS = ("bvlc-alexnet", "resnet50", "mobilenetv2", "bert-base")
BUDGET = 60.0  # seconds of a layer, after which it counts as not proved
VARIANTS = 1000
CHANNEL_STEP, STEPS = 8, 7  # a sweep: the full count and six reductions, in both directions

Row = dict[str, Any]


def distinct_layers(network: str) -> list[Row]:
    """One layer of each shape, and how often the shape occurs."""
    found: dict[object, Row] = {}
    for layer in picojoule.load(network):
        row = found.setdefault(
            layer.signature(), {"network": network, "layer": layer.name, "times": 0}
        )
        row["times"] += 1
    return list(found.values())


def channel_variants() -> list[Row]:
    """Shapes as a table of NetAdapt holds them: fewer filters, fewer input channels, or both.

    Every distinct convolution of ResNet-50 with both counts lowered in steps of eight channels;
    the first 1,000, layer by layer, each layer from the full size down.
    """
    rows = []
    for row in distinct_layers("resnet50"):
        bounds = picojoule.load("resnet50")[row["layer"]].bounds
        for m in range(STEPS):
            for c in range(STEPS):
                channels = {"M": bounds.M - CHANNEL_STEP * m, "C": bounds.C - CHANNEL_STEP * c}
                if min(channels.values()) > 0:
                    rows.append(
                        {"network": "resnet50", "layer": row["layer"], "channels": channels}
                    )
    return rows[:VARIANTS]


def run(
    rows: list[Row],
    dataflow: str,
    factors: str,
    budget: float,
    chip: str = CHIP,
    **options: object,
) -> Iterator[Row]:
    """Search *rows* in a process of their own; yield each as soon as it is finished.

    ``timed_search.py`` says what other *options* there are.
    """
    job = {
        **options,
        "chip": chip,
        "dataflow": dataflow,
        "factors": factors,
        "budget": budget,
        "layers": rows,
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.timed_search"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        try:
            json.dump(job, child.stdin)
            child.stdin.close()
            for line in child.stdout:
                row = json.loads(line)
                if "unavailable" in row:
                    raise SystemExit(row["unavailable"])
                if "layer" in row or "profile" in row:
                    yield row
        finally:
            child.kill()
    if child.returncode not in (0, -9):
        raise SystemExit(f"the search ended with {child.returncode}")


def timed(
    record: Record, name: str, rows: list[Row], dataflow: str, factors: str, budget: float
) -> list[Row]:
    """The rows of one part of the benchmark: those kept, and those still to run."""
    done = record.rows(name)
    kept = {json.dumps([r["layer"], r.get("channels")]): r for r in done}
    missing = [r for r in rows if json.dumps([r["layer"], r.get("channels")]) not in kept]
    if missing:
        for number, row in enumerate(run(missing, dataflow, factors, budget), 1):
            record.add(name, row)
            done.append(row)
            progress(f"{name}: {number}/{len(missing)} {row['layer']} {row['cpu']:.3f} s")
    order = {json.dumps([r["layer"], r.get("channels")]): n for n, r in enumerate(rows)}
    return sorted(done, key=lambda r: order[json.dumps([r["layer"], r.get("channels")])])


def summary(rows: list[Row]) -> Row:
    """Median, worst and total of the CPU seconds, and what was proved."""
    times = [row["cpu"] for row in rows]
    return {
        "layers": len(rows),
        "proved": sum(row["status"] == "optimal" for row in rows),
        "median": statistics.median(times),
        "worst": max(times),
        "worst_layer": max(rows, key=lambda row: row["cpu"])["layer"],
        "total": sum(times),
        "wall": sum(row["wall"] for row in rows),
        "memory": max(row["memory"] for row in rows),
    }


def profile_of(factors: str) -> Row:
    """Where the time of searching ResNet-50 goes."""
    rows = run(distinct_layers("resnet50"), "flexible", factors, BUDGET, profile=True)
    return next(iter(rows))


def progress(text: str) -> None:
    """A line for people on a terminal, overwritten by the next one."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def parse() -> argparse.Namespace:
    """The command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one")
    parser.add_argument("--factors", action="append", choices=["all", "perfect"])
    parser.add_argument("--dataflow", default="flexible", help="with --network")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for a layer")
    parser.add_argument("--json", action="store_true", help="print the answer; write no results")
    parser.add_argument("--again", action="store_true", help="run what is finished, too")
    parser.add_argument("--quick", action="store_true", help="AlexNet, 100 variants, no plot")
    return parser.parse_args()


def one_part(args: argparse.Namespace, record: Record) -> dict[str, Any]:
    """Layers of the networks asked for, row by row."""
    answer: dict[str, Any] = {"conditions": conditions(), "parts": {}}
    for network in args.network or (NETWORKS[:1] if args.quick else NETWORKS):
        for factors in args.factors or ("all",):
            name = f"{network}/{args.dataflow}/{factors}/{args.budget:g}"
            rows = timed(
                record, name, distinct_layers(network), args.dataflow, factors, args.budget
            )
            answer["parts"][name] = {"summary": summary(rows), "layers": rows}
    return answer


def everything(args: argparse.Namespace, record: Record) -> dict[str, Any]:
    """All parts that the targets speak of."""
    answer: dict[str, Any] = {
        "conditions": conditions(),
        "budget": args.budget,
        "networks": {},
        "unavailable": {},
    }
    for factors in ("perfect", "all"):
        for network in NETWORKS[:1] if args.quick else NETWORKS:
            name = f"{network}/flexible/{factors}/{args.budget:g}"
            try:
                rows = timed(
                    record, name, distinct_layers(network), "flexible", factors, args.budget
                )
            except SystemExit as error:
                answer["unavailable"][factors] = str(error)
                break
            answer["networks"].setdefault(factors, {})[network] = {
                "summary": summary(rows),
                "layers": rows,
            }
    rows = timed(
        record,
        f"bvlc-alexnet/rs/all/{args.budget:g}",
        distinct_layers("bvlc-alexnet"),
        "rs",
        "all",
        args.budget,
    )
    answer["rs"] = {"summary": summary(rows), "layers": rows}
    variants = channel_variants()[: VARIANTS // 10 if args.quick else VARIANTS]
    rows = timed(record, f"variants/{args.budget:g}", variants, "flexible", "all", args.budget)
    answer["variants"] = {"summary": summary(rows)}
    answer["profiles"] = {
        factors: record.once(f"profile/{factors}", partial(profile_of, factors))["profile"]
        for factors in answer["networks"]
    }
    answer["first_call"] = record.once("first call", first_calls)
    return answer


def main() -> None:
    """Run what the command line asks for."""
    args = parse()
    if "picojoule" not in fingerprint.__module__:  # pragma: no cover - a guard for odd paths
        raise SystemExit("run this with picojoule installed, or PYTHONPATH=src")
    record = Record(HERE / ".work" / "search.jsonl", fingerprint() or "", again=args.again)
    if args.json or args.network:
        answer = one_part(args, record)
        sys.stdout.write(json.dumps(answer, indent=1) + "\n")
        return
    answer = everything(args, record)
    folder = HERE / ".work" / "quick" if args.quick else HERE / "results"
    write_json(folder / "search.json", answer)
    write_tables(folder, answer, plot=not args.quick)
    sys.stdout.write((folder / "search.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
