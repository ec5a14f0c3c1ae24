"""The rows of the table of targets: how each is measured, with both builds where it can be.

A row's answer has ``old`` and ``new`` (None: not measured, or stopped), ``note``: how the old one
was, and perhaps ``reached`` where that is more than a number.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any, NamedTuple

from benchmarks.builds import ROOT, WORK, Build, Question, digest_of, installed, laid_out
from benchmarks.first_call import LAYER, NETWORK, WITHOUT_ANSWERS, Installed, first_calls
from benchmarks.questions import CHIP, NETWORKS, channel_variants, distinct_layers, layers_of
from benchmarks.record import Record, Row, progress
from picojoule.frontends import shipped_networks
from picojoule.mapper.cache import fingerprint
from picojoule.specs import shipped_accelerators

TURNS = 3  # of each build, after one that compiles
LENGTHY = 1.0  # seconds of CPU time: what takes as long is asked once
LIMIT = 60.0  # CPU seconds for a layer, then it is given up
OLD_LIMIT = 10.0  # the same for the old build where it is known to take long
DEEP = ("eyeriss-v2", "tpu-v1-like", "simba-like")  # two arrays, or four levels
DEEP_SECONDS = 2.0
SHARED = "eyeriss-isca16"  # one register file of 512 B in an element, for all operands
BUDGET = 1.0
BUDGETED = (
    ("vgg16", "conv1_2"),
    ("bvlc-alexnet", "conv1"),
    ("bvlc-alexnet", "fc6"),
    ("gpt2", "lm_head"),
)
SOME = (("bvlc-alexnet", "conv2"), ("bvlc-alexnet", "fc6"), ("resnet50", "layer3.0.conv2"))
# Of every kind of layer and objective, so that what is compiled is compiled before a clock runs.
WARM_UP: list[Question] = [
    {"network": network, "layer": layer, "chip": CHIP, "dataflow": flow, "objective": objective}
    for network, layer, flow, objective in (
        ("bvlc-alexnet", "conv3", "flexible", "energy"),
        ("bvlc-alexnet", "conv1", "rs", "latency"),
        ("mobilenetv2", "block2/depthwise", "flexible", "energy"),
        ("bert-base", "encoder.0.attention.scores", "flexible", "edp"),
    )
]


class Sides(NamedTuple):
    """What belongs to the old build, and to the new one."""

    old: Any
    new: Any


class Bench:
    """Two builds on one core, and what was measured of them already.

    Args:
        revision: of git: the old build; the working tree is the new one.
        quick: few layers, to try the benchmark itself.
        thorough: every shipped network on every deep machine.
    """

    def __init__(
        self, revision: str, *, again: bool = False, quick: bool = False, thorough: bool = False
    ) -> None:
        self.quick, self.thorough = quick, thorough
        self.trees = Sides(laid_out(revision), ROOT)
        self.revision = self.trees.old.name
        version = f"{self.revision} {fingerprint()}"
        self.record = Record(WORK / "search.jsonl", version, again=again)
        self.builds = Sides(*(Build(tree / "src", warm_up=WARM_UP) for tree in self.trees))

    def networks(self) -> tuple[str, ...]:
        """Those that the targets speak of."""
        return NETWORKS[:1] if self.quick else NETWORKS

    def some(self, rows: list[Row], most: int = 3) -> list[Row]:
        """All rows, or a few of them in a quick run."""
        return rows[:: max(1, len(rows) // most)][:most] if self.quick else rows

    def both(self, question: Question) -> Row:
        """The answers of both builds; of several turns that with the least CPU time counts."""
        return self.record.once(_part("both", question), partial(self._both, question))

    def one(self, question: Question, *, old: bool = False, turns: int = 1) -> Row:
        """The answer of one build; of several turns that with the least CPU time counts."""
        build = self.builds.old if old else self.builds.new

        def ask() -> Row:
            answer: Row = build.ask(question)
            for _ in range(turns - 1 if answer.get("cpu", LENGTHY) < LENGTHY else 0):
                answer = min(answer, build.ask(question), key=lambda one: float(one["cpu"]))
            return answer

        return self.record.once(_part("old" if old else "new", question), ask)

    def _both(self, question: Question) -> Row:
        answers = [build.ask(question) for build in self.builds]
        turns = TURNS if all(answer.get("cpu", LENGTHY) < LENGTHY for answer in answers) else 0
        for _ in range(turns):
            for n, build in enumerate(self.builds):
                answers[n] = min(answers[n], build.ask(question), key=lambda answer: answer["cpu"])
        return dict(zip(Sides._fields, answers, strict=True))

    def profile(self, questions: Iterable[Question]) -> Row:
        """Where the new build's time for some searches goes."""
        question = {"profile": [*questions]}
        return self.record.once(_part("new", question), lambda: self.builds.new.ask(question))

    def anew(self) -> None:
        """Have both processes begun anew: what they hold is then of what comes."""
        for build in self.builds:
            build.end()

    @cached_property
    def sites(self) -> dict[str, Any]:
        """Where each build is installed."""
        return dict(zip(Sides._fields, map(installed, self.trees), strict=True))

    @cached_property
    def first(self) -> Row:
        """The first calls of both builds: they depend on all sources, not on the search's alone."""
        part = f"first calls {[digest_of(tree) for tree in self.trees]} {self.quick}"
        turns = 1 if self.quick else 2
        return self.record.once(part, lambda: first_calls(self.sites, turns))


def _part(kind: str, question: Question) -> str:
    return f"{kind} {json.dumps(question, sort_keys=True)}"


class Target(NamedTuple):
    """A row of the table.

    Args:
        what: is measured, in words.
        unit: of the numbers: "s", "ms", "MB" or "" (a ratio).
        today: of the old build, as the issue has it; None: it was not measured.
        target: for the new one.
        measure: the row's answer.
        explain: where the new build's time goes, if the target is missed.
    """

    what: str
    unit: str
    today: float | None
    target: float
    measure: Callable[[Bench], Row]
    explain: Callable[[Bench], Row]


# -- layers ------------------------------------------------------------------------------------


def layer_questions(bench: Bench, factors: str) -> list[Question]:
    """Each distinct layer of the networks."""
    return [
        {**row, "chip": CHIP, "dataflow": "flexible", "factors": factors, "limit": LIMIT}
        for row in bench.some(layers_of(bench.networks()), 6)
    ]


def _asked(bench: Bench, questions: list[Question]) -> list[Row]:
    rows = []
    for number, question in enumerate(questions, 1):
        rows.append({**question, **bench.both(question)})
        progress(f"{number}/{len(questions)} {question['layer']} {rows[-1]['new'].get('cpu')}")
    return rows


def _seconds(rows: list[Row], side: str) -> list[float]:
    """CPU seconds; what was stopped took at least as long."""
    return [row[side].get("cpu", row[side].get("stopped", LIMIT)) for row in rows]


def _over(
    bench: Bench, factors: str, of: Callable[[list[float]], float], scale: float = 1.0
) -> Row:
    rows = _asked(bench, layer_questions(bench, factors))
    old, new = (scale * of(_seconds(rows, side)) for side in Sides._fields)
    proved = sum(row["new"].get("status") == "optimal" for row in rows)
    return {"old": old, "new": new, "note": f"{proved} of {len(rows)} layers proved"}


def _slowest(bench: Bench, factors: str) -> Row:
    rows = _asked(bench, layer_questions(bench, factors))
    slowest = sorted(rows, key=lambda row: -row["new"].get("cpu", LIMIT))[:5]
    return bench.profile(_plain(row) for row in slowest)


def _plain(row: Row) -> Question:
    return {name: value for name, value in row.items() if name not in Sides._fields}


def _rs_questions(bench: Bench) -> list[Question]:
    rows = bench.some(distinct_layers(NETWORKS[0]))
    return [{**row, "chip": CHIP, "dataflow": "rs", "limit": LIMIT} for row in rows]


def _resnet_questions(bench: Bench) -> list[Question]:
    rows = bench.some(distinct_layers("resnet50"))
    flexible = {"chip": CHIP, "dataflow": "flexible", "factors": "all", "limit": LIMIT}
    return [{**row, **flexible} for row in rows]


def _total(bench: Bench, questions: list[Question]) -> Row:
    rows = _asked(bench, questions)
    old, new = (sum(_seconds(rows, side)) for side in Sides._fields)
    return {"old": old, "new": new, "note": f"{len(rows)} distinct layers"}


def _variants(bench: Bench) -> Row:
    """The sweep as one goes through it: each shape once, by both builds in turn."""
    chosen = channel_variants()[:20] if bench.quick else channel_variants()
    questions = [{**row, "chip": CHIP, "dataflow": "flexible", "limit": LIMIT} for row in chosen]

    def swept() -> Row:
        total = {"old": 0.0, "new": 0.0, "proved": 0}
        for number, question in enumerate(questions, 1):
            for side, build in zip(Sides._fields, bench.builds, strict=True):
                answer = build.ask(question)
                total[side] += answer.get("cpu", LIMIT)
            total["proved"] += answer.get("status") == "optimal"
            progress(f"variants {number}/{len(questions)} {total['new']:.2f} s")
        return total

    row = bench.record.once(f"variants {len(questions)}", swept)
    note = f"{row['proved']} of {len(questions)} proved"
    return {"old": row["old"], "new": row["new"], "note": note}


def _variants_profile(bench: Bench) -> Row:
    rows = channel_variants()[:20]
    return bench.profile({**row, "chip": CHIP, "dataflow": "flexible"} for row in rows)


def _memory(bench: Bench) -> Row:
    """Peak memory of a process that searches one network, the most over the networks."""
    peaks = {}
    for network in bench.networks():

        def peak(network: str = network) -> Row:
            bench.anew()
            answers = Sides({}, {})
            for row in bench.some(distinct_layers(network)):
                question = {**row, "chip": CHIP, "dataflow": "flexible", "limit": LIMIT}
                answers = Sides(*(build.ask(question) for build in bench.builds))
                progress(f"memory {network} {row['layer']}")
            return {
                side: answer.get("memory", 0)
                for side, answer in zip(Sides._fields, answers, strict=True)
            }

        peaks[network] = bench.record.once(f"memory {network} {bench.quick}", peak)
    old, new = (max(row[side] for row in peaks.values()) / 1e6 for side in Sides._fields)
    most = max(peaks, key=lambda network: float(peaks[network]["new"]))
    return {"old": old, "new": new, "note": f"most for {most}, all factors"}


# -- first calls -------------------------------------------------------------------------------


def _first(kind: str, bench: Bench) -> Row:
    old, new = (bench.first[side][kind]["cpu"] for side in Sides._fields)
    wall = bench.first["new"][kind]["wall"]
    return {"old": old, "new": new, "note": f"{wall:.2f} s on the clock"}


def _first_profile(kind: str, bench: Bench) -> Row:
    """By package; where nothing is kept, also by kernel compiled."""
    part = f"profile {kind} {digest_of(ROOT)}"

    def make() -> Row:
        copy = Installed(bench.sites["new"])
        try:
            command = NETWORK if kind == "nothing_kept" else LAYER
            kernels = {}
            if kind == "nothing_kept":
                kernels = json.loads(copy.profile("kernels", *command, WITHOUT_ANSWERS))["compiled"]
            else:
                copy.run(*LAYER)
            last = [] if kind == "answer_kept" else [WITHOUT_ANSWERS]
            seen = json.loads(copy.profile("packages", *command, *last))
        finally:
            copy.end()
        places = {**seen["packages"], **{f"compiling {name}": s for name, s in kernels.items()}}
        total = sum(kernels.values()) + seen["seconds"]
        longest = sorted(places.items(), key=lambda item: -item[1])[:12]
        return {
            "seconds": total,
            "rows": [
                {"function": name, "compiled": name.startswith("compiling"), "share": s / total}
                for name, s in longest
            ],
        }

    return bench.record.once(part, make)


# -- where the old build does not get to an end ---------------------------------------------------


def _deep_questions(bench: Bench) -> list[Question]:
    networks = shipped_networks() if bench.thorough else bench.networks()
    rows = bench.some(distinct_layers(*networks))
    return [{**row, "chip": chip, "budget": DEEP_SECONDS} for chip in DEEP for row in rows]


def _in_time(bench: Bench, questions: list[Question], old: list[Question], seconds: float) -> Row:
    """How many the new build proves in time; the old one is given longer, on some."""
    rows = []
    for number, question in enumerate(questions, 1):
        rows.append({**question, "new": bench.one(question)})
        progress(f"{number}/{len(questions)} {question['chip']} {question['layer']}")
    before = [bench.one({**question, "limit": OLD_LIMIT}, old=True) for question in old]
    proved = [row for row in rows if _proved(row["new"], seconds)]
    slowest = max(rows, key=lambda row: row["new"].get("cpu", seconds))
    first = sum(_proved(answer, OLD_LIMIT) for answer in before)
    text = f"{len(proved)} of {len(rows)} proved, worst {slowest['new'].get('cpu', seconds):.2f} s"
    missed = [f"{row['chip']} {row['layer']}" for row in rows if row not in proved]
    return {
        "old": None,
        "new": slowest["new"].get("cpu", seconds),
        "old_text": f"{first} of {len(before)} proved in {OLD_LIMIT:g} s",
        "new_text": text,
        "reached": len(proved) == len(rows),
        "note": "not proved: " + _listed(missed) if missed else f"worst: {slowest['layer']}",
    }


def _proved(answer: Row, seconds: float) -> bool:
    """Whether it is proved over the whole space within that time."""
    proved = answer.get("status") == "optimal" and answer["whole"]
    return bool(proved and answer["cpu"] <= seconds)


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")


def _deep(bench: Bench) -> Row:
    chips = DEEP[:1] if bench.quick else DEEP
    old: list[Question] = [
        {"network": network, "layer": layer, "chip": chip}
        for chip in chips
        for network, layer in (SOME[:1] if bench.quick else SOME)
    ]
    return _in_time(bench, _deep_questions(bench), old, DEEP_SECONDS)


def _deep_profile(bench: Bench) -> Row:
    rows = [{**q, **bench.one(q)} for q in _deep_questions(bench)]
    missed = [row for row in rows if not _proved(row, DEEP_SECONDS)]
    names = ("network", "layer", "chip", "budget")
    return bench.profile({name: row[name] for name in names} for row in missed[:6])


def _shared_questions(bench: Bench, seconds: float) -> list[Question]:
    rows = [row for row in distinct_layers(NETWORKS[0]) if row["layer"].startswith("conv")]
    flexible = {"chip": SHARED, "dataflow": "flexible", "budget": seconds}
    return [{**row, **flexible} for row in bench.some(rows, 2)]


def _shared(bench: Bench) -> Row:
    questions = _shared_questions(bench, 5 * DEEP_SECONDS)
    old = [{name: q[name] for name in q if name != "budget"} for q in questions]
    return _in_time(bench, questions, old, DEEP_SECONDS)


def _shared_profile(bench: Bench) -> Row:
    return bench.profile(_shared_questions(bench, 5 * DEEP_SECONDS))


def _budget_questions(bench: Bench) -> list[Question]:
    chips = ("eyeriss-v2", "simba-like") if bench.quick else shipped_accelerators()
    layers = BUDGETED[1:3] if bench.quick else BUDGETED
    return [
        {"network": network, "layer": layer, "chip": chip, "budget": BUDGET}
        for chip in chips
        for network, layer in layers
    ]


def _budget(bench: Bench) -> Row:
    rows = [{**question, **bench.one(question)} for question in _budget_questions(bench)]
    answered = [row for row in rows if "wall" in row]
    worst = max(answered, key=lambda row: row["wall"])
    old = [
        bench.one({**question, "limit": 3 * OLD_LIMIT}, old=True)
        for question in _budget_questions(bench)
        if question["chip"] == "eyeriss-v2" and question["layer"] in ("conv1", "fc6")
    ]
    longest = max(answer.get("wall", 3 * OLD_LIMIT) for answer in old)
    none = sorted({row["failed"] for row in rows if "failed" in row})
    unbounded = [row for row in answered if not 0 < row["lower_bound"] <= row["value"]]
    note = f"{len(answered)} searches; worst {worst['chip']} {worst['layer']}"
    return {
        "old": longest / BUDGET,
        "new": worst["wall"] / BUDGET,
        "note": "; ".join([note, "the old one on eyeriss-v2", *none]),
        "reached": worst["wall"] <= 1.2 * BUDGET and not none and not unbounded,
    }


def _budget_profile(bench: Bench) -> Row:
    rows = [{**question, **bench.one(question)} for question in _budget_questions(bench)]
    late = sorted(rows, key=lambda row: -row.get("wall", 0.0))[:2]
    names = ("network", "layer", "chip", "budget")
    return bench.profile({name: row[name] for name in names} for row in late)


TARGETS: dict[str, Target] = {
    "first-install": Target(
        "first call of a fresh install: AlexNet on Eyeriss",
        "s",
        22.0,
        5.0,
        partial(_first, "nothing_kept"),
        partial(_first_profile, "nothing_kept"),
    ),
    "code-kept": Target(
        "first call of a process, compiled code kept",
        "s",
        1.27,
        0.4,
        partial(_first, "code_kept"),
        partial(_first_profile, "code_kept"),
    ),
    "answer-kept": Target(
        "first call of a process, answer kept",
        "s",
        0.45,
        0.25,
        partial(_first, "answer_kept"),
        partial(_first_profile, "answer_kept"),
    ),
    "median-perfect": Target(
        "median layer, perfect factors",
        "ms",
        21.0,
        5.0,
        partial(_over, factors="perfect", of=statistics.median, scale=1e3),
        partial(_slowest, factors="perfect"),
    ),
    "median-all": Target(
        "median layer, all factors",
        "ms",
        62.0,
        15.0,
        partial(_over, factors="all", of=statistics.median, scale=1e3),
        partial(_slowest, factors="all"),
    ),
    "worst-all": Target(
        "worst layer, all factors",
        "s",
        0.62,
        0.2,
        partial(_over, factors="all", of=max),
        partial(_slowest, factors="all"),
    ),
    "row-stationary": Target(
        "AlexNet as a whole, row-stationary",
        "s",
        0.78,
        0.1,
        lambda bench: _total(bench, _rs_questions(bench)),
        lambda bench: bench.profile(_rs_questions(bench)),
    ),
    "variants": Target(
        "1,000 channel variants of ResNet-50", "s", 50.0, 8.0, _variants, _variants_profile
    ),
    "resnet50": Target(
        "ResNet-50 as a whole, all factors",
        "s",
        2.1,
        0.7,
        lambda bench: _total(bench, _resnet_questions(bench)),
        lambda bench: bench.profile(_resnet_questions(bench)),
    ),
    "deep": Target(
        "deep machines, whole space: every layer", "s", None, DEEP_SECONDS, _deep, _deep_profile
    ),
    "shared": Target(
        f"flexible on {SHARED}: convolutions of AlexNet",
        "s",
        None,
        DEEP_SECONDS,
        _shared,
        _shared_profile,
    ),
    "budget": Target(
        "`--budget 1s` on every chip: worst time over budget",
        "",
        None,
        1.2,
        _budget,
        _budget_profile,
    ),
    "memory": Target(
        "peak memory, four networks", "MB", None, 256.0, _memory, partial(_slowest, factors="all")
    ),
}
