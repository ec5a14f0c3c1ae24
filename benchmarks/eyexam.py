"""How long the seven steps of a network take, and what the floor of the search saves.

    python -m benchmarks.eyexam            everything; writes results/eyexam.{json,md}
    python -m benchmarks.eyexam --quick    AlexNet on the Eyeriss chip alone; writes into .work/

Each network is examined by the command itself, in a process of its own on one core, with no search
kept from earlier runs; what numba compiles is compiled before. What is finished stays in ``.work/``
and is not run again while the sources are the same (``--again`` runs it all the same).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import picojoule
from benchmarks.questions import distinct_layers
from benchmarks.record import Record, conditions, progress, write_json
from picojoule.cost import Ledger
from picojoule.dataflow import dataflow
from picojoule.eyexam.parallelism import Limit, Parallelism
from picojoule.files import write_atomically
from picojoule.mapper.cache import fingerprint
from picojoule.mapper.compulsory import compulsory
from picojoule.workload import Layer, PerOperand

HERE = Path(__file__).parent
EXAMINED = ("compulsory", "eyexam", "parallelism", "playback", "seven_steps", "simulation")

RUNS = 3

Row = dict[str, Any]


# Small layers of every kind, so that whatever is compiled is compiled before a clock runs.
WARM_UP = (
    picojoule.conv("c", input_size=(9, 9), in_channels=4, out_channels=6, kernel=(3, 3)),
    picojoule.conv(
        "s", input_size=(9, 9), in_channels=4, out_channels=6, kernel=(3, 3), stride=(2, 2)
    ),
    picojoule.depthwise("d", channels=4, input_size=(8, 8), kernel=(3, 3), padding=(1, 1, 1, 1)),
    picojoule.linear("l", in_features=12, out_features=10),
    picojoule.matmul("m", rows=6, inner=4, columns=6, heads=2),
)


class Case(NamedTuple):
    """A network on a machine, and the seconds it should take at most."""

    network: str
    chip: str
    bits: int
    target: float | None = None

    @property
    def name(self) -> str:
        return f"{self.network}/{self.chip}/{self.bits}"


CASES = (
    Case("bvlc-alexnet", "eyeriss", 16, 5.0),
    Case("resnet50", "eyeriss", 16, 30.0),
    Case("mobilenetv2", "eyeriss", 16),
    Case("bvlc-alexnet", "eyeriss-pj", 16),
    Case("bvlc-alexnet", "nvdla-like", 8),
    Case("resnet50", "nvdla-like", 8),
    Case("bvlc-alexnet", "tpu-v1-like", 8),
    Case("resnet50", "tpu-v1-like", 8),
)


def use_one_core() -> None:
    """Keep this process and its threads on one of the cores it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def command(case: Case) -> list[str]:
    """What a user types, without ``picojoule``."""
    question = ["eyexam", case.network, "-a", case.chip, "--bits", str(case.bits)]
    return [*question, "--no-cache", "--json"]


def examined(case: Case) -> Row:
    """The quickest of a few runs of the command: other work on a machine only ever adds to it."""
    return min((examined_once(case) for _ in range(RUNS)), key=lambda row: float(row["cpu"]))


def examined_once(case: Case) -> Row:
    """CPU seconds and time on the clock of the command, and what it proves."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "picojoule", *command(case)],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    layers = json.loads(done.stdout)["layers"]
    return {
        "case": case.name,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall": wall,
        "layers": len(layers),
        "distinct": len(distinct_layers(case.network)),
        "proved": sum(layer["search"]["status"] == "optimal" for layer in layers),
    }


def searched(case: Case) -> Row:
    """CPU seconds of the searches for step 6: with the floor, and from the cheapest mapping."""
    machine = picojoule.load_accelerator(case.chip)
    flow = dataflow(machine.default_dataflow)

    def timed(layer: Layer, *, floor: bool) -> tuple[float, picojoule.Found]:
        layer = replace(layer, bits=PerOperand(case.bits, case.bits, case.bits))
        started = time.process_time()
        options: dict[str, Any] = {}
        if floor:
            spread = Parallelism(layer, machine, flow).widest(Limit.STORAGE)
            compute = spread.steps * Ledger(layer, machine, one=1.0).cycles_per_step
            least = max(compute, compulsory(layer, machine).cycles)
            options = {"start": spread.mapping, "floor": least}
        found = picojoule.search(layer, machine, flow, "latency", **options)
        return time.process_time() - started, found

    for layer in WARM_UP:
        for floor in (True, False):
            timed(layer, floor=floor)
    plain = with_floor = 0.0
    rows = distinct_layers(case.network)
    for row in rows:
        layer = picojoule.load(case.network)[row["layer"]]
        seconds, found = timed(layer, floor=True)
        with_floor += seconds
        seconds, same = timed(layer, floor=False)
        plain += seconds
        if abs(found.value / same.value - 1) > 1e-9:
            raise SystemExit(f"{layer.name}: {found.value} cycles, {same.value} without the floor")
    return {"case": case.name, "floor": with_floor, "plain": plain, "layers": len(rows)}


def write_table(folder: Path, answer: Row) -> None:
    """``eyexam.md``: targets, networks, and the floor beside the plain search."""
    how = answer["conditions"]
    lines = [
        "# Eyexam",
        "",
        f"`{how['command']}`, picojoule {how['picojoule']} (sources {how['sources']}), "
        f"Python {how['python']}, {how['processor']}, load {how['load'] or 0:.1f} at the start.",
        "",
        "CPU seconds of `picojoule eyexam NET -a CHIP --bits B --no-cache` as a whole, start-up of "
        f"Python included, on one core, least of {RUNS} runs; equal layers are examined once.",
        "",
        "| network | chip | bits | layers | distinct | step 6 proved | CPU | target | reached |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        row = answer["examined"].get(case.name)
        if row is None:
            continue
        target = "" if case.target is None else f"{case.target:g} s"
        reached = "" if case.target is None else "yes" if row["cpu"] < case.target else "**no**"
        lines.append(
            f"| {case.network} | {case.chip} | {case.bits} | {row['layers']} | {row['distinct']} "
            f"| {row['proved']} | {row['cpu']:.2f} s | {target} | {reached} |"
        )
    lines += [
        "",
        "## What the floor saves",
        "",
        "The searches for step 6 alone, every distinct layer: from the widest spread with a floor "
        "of cycles (`parallelism`, `compulsory`), and from the cheapest mapping without. Both find "
        "the same cycles.",
        "",
        "| network | chip | layers | with floor | without | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        row = answer["searched"].get(case.name)
        if row is not None:
            lines.append(
                f"| {case.network} | {case.chip} | {row['layers']} | {row['floor']:.2f} s "
                f"| {row['plain']:.2f} s | {row['plain'] / row['floor']:.2f} |"
            )
    write_atomically(folder / "eyexam.md", "\n".join(lines) + "\n")


def sources() -> str:
    """A hash of what decides the times: the search's sources, and Eyexam's own."""
    digest = hashlib.sha256((fingerprint() or "").encode())
    folder = Path(picojoule.__file__).parent
    for name in EXAMINED:
        digest.update((folder / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    """Run what the command line asks for."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", action="store_true", help="run what is finished, too")
    parser.add_argument("--quick", action="store_true", help="AlexNet on the Eyeriss chip alone")
    args = parser.parse_args()
    use_one_core()
    record = Record(HERE / ".work" / "eyexam.jsonl", sources(), again=args.again)
    answer: Row = {"conditions": conditions(), "examined": {}, "searched": {}}
    for case in CASES[:1] if args.quick else CASES:
        progress(f"examine {case.name}")
        if not record.rows(f"examined/{case.name}"):
            examined_once(CASES[0])  # compiles what is not compiled yet
        answer["examined"][case.name] = record.once(
            f"examined/{case.name}", partial(examined, case)
        )
    for case in CASES[:1] if args.quick else CASES:
        progress(f"search {case.name}")
        answer["searched"][case.name] = record.once(
            f"searched/{case.name}", partial(searched, case)
        )
    folder = HERE / ".work" / "quick" if args.quick else HERE / "results"
    write_json(folder / "eyexam.json", answer)
    write_table(folder, answer)
    sys.stdout.write((folder / "eyexam.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
