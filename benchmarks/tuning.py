"""What each number of ``mapper/tuning.py`` is worth: searches with it halved, and doubled.

    python -m benchmarks.tuning                writes results/tuning.csv; most of an hour
    python -m benchmarks.tuning --only stale   one number, to standard output

Each build of other numbers is compiled by itself and searches a few layers in turn with the build
as it stands, on the same core; of CPU times the least of several turns counts. A proved optimum is
the same for any numbers, and a difference ends the run.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.builds import Build, Question
from benchmarks.questions import CHIP
from benchmarks.record import Record, Row, conditions, progress
from picojoule.files import write_atomically
from picojoule.mapper.cache import fingerprint
from picojoule.mapper.tuning import TUNING

HERE = Path(__file__).parent
TURNS = 5
COLUMNS = ("number", "value", "searches", "changed", "worst", "total")

# Layers of every kind, quick and slow ones, for energy; a few for the fewest cycles and for both.
LAYERS = (
    ("bvlc-alexnet", "conv1"),
    ("bvlc-alexnet", "conv2"),
    ("bvlc-alexnet", "fc6"),
    ("resnet50", "layer1.0.conv1"),
    ("resnet50", "layer3.0.conv2"),
    ("resnet50", "layer4.0.downsample"),
    ("mobilenetv2", "block2/depthwise"),
    ("mobilenetv2", "block14/project"),
    ("bert-base", "encoder.0.attention.scores"),
    ("bert-base", "encoder.0.mlp.expand"),
)
QUESTIONS: list[Question] = [
    {
        "network": network,
        "layer": layer,
        "chip": CHIP,
        "dataflow": "flexible",
        "factors": factors,
        "objective": objective,
    }
    for layers, factors, objective in (
        (LAYERS, "perfect", "energy"),
        (LAYERS, "all", "energy"),
        (LAYERS[:4], "perfect", "latency"),
        (LAYERS[:4], "perfect", "edp"),
    )
    for network, layer in layers
]


def others(value: Any) -> list[Any]:
    """A number halved and doubled; a tuple of them, each."""
    if isinstance(value, tuple):
        return [tuple(part * scale for part in value) for scale in (0.5, 2)]
    if isinstance(value, int):
        return [max(1, value // 2), value * 2]
    return [value / 2, value * 2]


def worth(name: str, value: Any) -> Row:
    """CPU seconds with one number changed, as ratios to the build as it stands.

    Returns:
        ``total``: of all searches together; ``worst``: the largest of a single one; ``changed``:
        searches that took another way (classes explored or pruned).
    """
    with tempfile.TemporaryDirectory() as folder:
        here = Build(HERE.parent / "src")
        there = Build(HERE.parent / "src", json.dumps({name: value}), Path(folder))
        try:
            least = [(math.inf, math.inf)] * len(QUESTIONS)
            changed = set()
            for turn in range(1 + TURNS):
                for number, question in enumerate(QUESTIONS):
                    first, second = here.ask(question), there.ask(question)
                    values = first["value"], second["value"]
                    if not math.isclose(*values, rel_tol=1e-9):
                        raise SystemExit(f"{name}={value}: {question}: {values}")
                    if any(first[count] != second[count] for count in ("explored", "pruned")):
                        changed.add(number)
                    if turn:  # the first compiles
                        before, after = least[number]
                        least[number] = min(before, first["cpu"]), min(after, second["cpu"])
                progress(f"{name}={value}: {turn}/{TURNS}")
        finally:
            here.end()
            there.end()
    return {
        "number": name,
        "value": json.dumps(value),
        "searches": len(QUESTIONS),
        "changed": len(changed),
        "worst": max(after / before for before, after in least),
        "total": sum(after for _, after in least) / sum(before for before, _ in least),
    }


def table(rows: list[Row]) -> str:
    """The rows as CSV, under a line that says how they came to be."""
    text = io.StringIO()
    text.write(f"# {json.dumps(conditions())}\n")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {name: f"{row[name]:.3f}" for name in ("worst", "total")})
    return text.getvalue()


def main() -> None:
    """Change what is asked for, one number at a time."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=TUNING._fields, help="this number")
    parser.add_argument("--again", action="store_true", help="run what is finished, too")
    args = parser.parse_args()
    record = Record(HERE / ".work" / "tuning.jsonl", fingerprint() or "", again=args.again)
    rows = []
    for name, standing in TUNING._asdict().items():
        if args.only not in (None, name):
            continue
        for value in others(standing):
            part = f"{name}={json.dumps(value)}"
            rows.append(record.once(part, partial(worth, name, value)))
    text = table(rows)
    if args.only is None:
        write_atomically(HERE / "results" / "tuning.csv", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
