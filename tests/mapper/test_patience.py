"""A search whose time is over, on a clock that goes on by one with every question."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import picojoule
from picojoule.cost import evaluate
from picojoule.mapper import patience as patience_module
from picojoule.mapper import programme, solver
from picojoule.mapper.best_first import Solver
from picojoule.mapper.boxes import UNLIMITED
from picojoule.mapper.chains import Cuts, chains
from picojoule.mapper.compulsory import least_cycles, least_energy
from picojoule.mapper.listings import Asked
from picojoule.mapper.patience import HURRIED, OutOfTimeError, Patience, check, pieces
from picojoule.mapper.relaxation import Relaxation
from picojoule.mapper.solver import search
from picojoule.mapper.space import Space
from picojoule.mapper.tuning import TUNING
from picojoule.specs import load_accelerator
from picojoule.workload import PerOperand

OVER = Patience(-math.inf)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What time it is: as many questions as were asked."""
    solver._load_compiled()
    seen = SimpleNamespace(now=0)

    def tick() -> int:
        seen.now += 1
        return int(seen.now)

    monkeypatch.setattr(patience_module, "time", SimpleNamespace(perf_counter=tick))
    return seen


def test_who_asks_is_told_of_the_innermost() -> None:
    check()  # nobody's time is over
    with Patience().kept():
        check()
        with OVER.kept(), pytest.raises(OutOfTimeError):
            check()
        check()
    assert list(pieces(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_pieces_are_smaller_where_time_counts() -> None:
    with Patience().kept():
        assert len(list(pieces(64, 32))) == 2
    for patience in (Patience(deadline=math.inf, watch=lambda *_: False), Patience(1e18)):
        with patience.kept():
            assert len(list(pieces(64, 32))) == 2 * HURRIED


def test_a_share_leaves_a_reserve(ticking: SimpleNamespace) -> None:
    whole = Patience(ticking.now + 1000.0)
    assert whole.share(0.5).deadline == pytest.approx(ticking.now + 500, abs=5)
    assert whole.share(0.5, reserve=800).deadline == pytest.approx(ticking.now + 200, abs=5)
    assert whole.share(0.5, reserve=2000).deadline == ticking.now


def test_uneven_mappings_are_set_up_only_while_there_is_time() -> None:
    layer = picojoule.linear("fc", in_features=30, out_features=42)
    chip = load_accelerator("eyeriss-isca16")
    space = Space(layer, chip, chip.dataflow("flexible"), timed=False, uneven=True)
    whole = len(solver._relaxed(space).nested)
    broken = solver._relaxed(space)
    for _ in range(3):
        with OVER.kept(), pytest.raises(OutOfTimeError):
            broken.nested  # noqa: B018
    assert len(broken._nested) == 3
    assert len(broken.nested) == whole > 3


def test_a_turn_ends_when_half_the_time_may_be_over(ticking: SimpleNamespace) -> None:
    layer, chip = picojoule.load("bvlc-alexnet")["conv3"], load_accelerator("eyeriss")
    space = Space(layer, chip, chip.dataflow(None), timed=False)
    search_over = Solver(Relaxation(space), programme.ENERGY, Patience(ticking.now + 101))
    most, pause = search_over._affordable()
    assert most == pytest.approx(100 * TUNING.margin * TUNING.first_pace, rel=0.02)
    assert pause == most // 2
    search_over.patience = Patience()
    assert search_over._affordable() == (UNLIMITED, UNLIMITED)


@pytest.mark.parametrize(
    "cuts",
    [
        Cuts((60, 60, 12), (0, 4, 0), 0, False, None),
        Cuts((60, 60, 12, 4), (0, 4, 0, 0), 0, False, None),
        Cuts((60, 60, 12), (0, 4, 0), 0, True, None),
    ],
    ids=["every", "balanced", "dividing"],
)
def test_chains_are_listed_only_while_there_is_time(cuts: Cuts) -> None:
    with OVER.kept(), pytest.raises(OutOfTimeError):
        chains(cuts)


def test_chains_in_pieces_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = Cuts((90, 90, 40), (0, 6, 0), 2, False, None, asked=Asked(turns=True), more=True)
    whole = np.unique(np.concatenate(chains(cuts), axis=1), axis=0)
    monkeypatch.setattr("picojoule.mapper.chains.AT_A_TIME", 1)
    pieces_of_it = np.concatenate(chains(cuts), axis=1)
    assert (np.unique(pieces_of_it, axis=0) == whole).all()
    assert len(pieces_of_it) == len(whole)


@pytest.mark.parametrize("after", range(5, 200, 13))
def test_what_was_broken_off_goes_on(after: int, ticking: SimpleNamespace) -> None:
    layer = picojoule.linear("fc", in_features=30, out_features=42)
    chip = load_accelerator("eyeriss")
    best = search(layer, chip)
    space = Space(layer, chip, chip.dataflow(None), timed=False)
    broken = Solver(Relaxation(space), programme.ENERGY, Patience(ticking.now + after))
    first = broken.solve()
    assert first.complete or first.bound <= best.value <= first.value
    broken.patience = Patience()
    last = broken.solve()
    assert (last.complete, last.value) == (True, best.value)


CHIPS = (
    "eyeriss",
    "eyeriss-v2",
    "simba-like",
    "tpu-v1-like",
    "eyeriss-isca16",
    "ethos-u55-128-like",
)


@pytest.mark.parametrize(
    ("chip", "objective"),
    [*((chip, "energy") for chip in CHIPS), ("simba-like", "latency"), ("eyeriss-v2", "edp")],
)
def test_there_is_a_mapping_however_short_the_time(
    chip: str, objective: str, ticking: SimpleNamespace
) -> None:
    accelerator = load_accelerator(chip)
    network = picojoule.load("bvlc-alexnet").with_layers(bits=PerOperand(8, 8, 8))
    for layer in (network["conv2"], network["fc6"]):
        for budget in (0, 60):
            began = ticking.now
            found = search(layer, accelerator, None, objective, budget=budget)
            # A mapping takes a few questions more: those of the sizes that divide.
            assert ticking.now - began < budget + 500
            assert found.status == "feasible"
            assert 0 < found.lower_bound <= found.value
            assert evaluate(layer, accelerator, found.mapping) == found.cost


@pytest.mark.usefixtures("ticking")
def test_so_do_a_front_and_slack() -> None:
    layer, accelerator = picojoule.load("bvlc-alexnet")["conv3"], load_accelerator("eyeriss")
    best = search(layer, accelerator, pareto=True)
    for budget in (0, 400, 1600):
        front = search(layer, accelerator, pareto=True, budget=budget)
        assert front.lower_bound <= best.value <= front.value
        for one, other in itertools.pairwise(front.front):
            assert one.cost.energy < other.cost.energy
            assert one.cost.cycles > other.cost.cycles
        slack = search(layer, accelerator, slack=0.01, budget=budget)
        assert slack.lower_bound <= best.value <= slack.value


def test_a_watch_ends_it_while_it_still_prepares(ticking: SimpleNamespace) -> None:
    layer, accelerator = picojoule.load("bvlc-alexnet")["fc6"], load_accelerator("eyeriss-v2")
    told: list[tuple[float, float]] = []

    def watch(best: float, below: float) -> bool:
        told.append((best, below))
        return True

    found = search(layer, accelerator, watch=watch)
    assert found.status == "feasible"
    assert told[0] == (math.inf, 0.0)
    assert ticking.now < 500


@pytest.mark.parametrize("chip", CHIPS)
def test_no_mapping_is_below_what_must_be(chip: str) -> None:
    accelerator = load_accelerator(chip)
    layer = picojoule.conv("c", input_size=(9, 9), in_channels=8, out_channels=6, kernel=(3, 3))
    layer = replace(layer, bits=PerOperand(8, 8, 8))
    found = search(layer, accelerator, "flexible", factors="perfect")
    assert 0 < least_energy(layer, accelerator) <= found.value
    assert 0 < least_cycles(layer, accelerator) <= found.cost.cycles


def test_no_budget_pays_for_compilation() -> None:
    """What Python calls of the compiled code is there before the clock starts."""
    code = """
from picojoule.mapper import best_first, blocks, chains, dive, frontier, options
from picojoule.mapper import programme, relaxation, solver
solver._load_compiled()
called = (
    chains.complete_chains, chains.counted_chains, chains.weighed, chains.front,
    blocks.repeats, blocks.window_words,
    best_first.least_values, frontier.advance, relaxation.assemble, relaxation.barred,
    programme.dual, options.allowed, dive.packable,
)
assert all("_code" in vars(kernel) for kernel in called)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
