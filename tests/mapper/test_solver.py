"""The search over classes: what it is given, what it returns, and that it repeats itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import picojoule
from picojoule.accelerator import (
    Accelerator,
    Array,
    Axis,
    Charging,
    Compute,
    Control,
    Level,
    Memory,
)
from picojoule.cost import evaluate
from picojoule.errors import NoMappingError, PicojouleError
from picojoule.mapper import blocks, programme
from picojoule.mapper.best_first import Result, Solver
from picojoule.mapper.found import Found
from picojoule.mapper.patience import Patience
from picojoule.mapper.relaxation import Relaxation
from picojoule.mapper.solver import _priced, search
from picojoule.mapper.space import Space
from picojoule.mapping import Mapping, Stage
from picojoule.specs import load_accelerator
from picojoule.workload import DIMS, OPERANDS, Extents, Layer, conv, linear

ALL = frozenset(OPERANDS)
LAYER = linear("fc", in_features=4, out_features=2)


def _memory(name: str, capacity: float | None, energy: float) -> Memory:
    return Memory(name, keeps=ALL, capacity=capacity, read_energy=energy, write_energy=energy)


def two_levels(words: int) -> Accelerator:
    """A memory of 100 a word over registers of *words* words at 1 a word; a MAC costs 1."""
    return Accelerator(
        "two",
        (
            Level((_memory("dram", None, 100.0),)),
            Level((_memory("registers", 16.0 * words, 1.0),)),
        ),
        compute=Compute(1.0),
        charging=Charging.BOTH_ENDS,
    )


def solver(accelerator: Accelerator, **given: Any) -> Solver:
    space = Space(LAYER, accelerator, picojoule.dataflow.DATAFLOWS["flexible"], timed=False)
    return Solver(Relaxation(space), programme.ENERGY, Patience(), **given)


def test_what_fits_is_fetched_once() -> None:
    # 4 inputs, 8 weights and 2 outputs fit 14 words: each crosses once.
    # DRAM: 4 + 8 read, 2 written = 14 x 100. Registers, both ends charged: 12 written, 2 read up;
    # each of 8 MACs reads an input, a weight and a sum and writes the sum, but the first MAC of
    # each of 2 outputs reads none: 4 x 8 - 2 = 30. Compute: 8. Together 1400 + 14 + 30 + 8.
    found = search(LAYER, two_levels(14), "flexible")
    assert found.value == found.lower_bound == 1452.0
    assert found.status == "optimal"
    assert found.cost == evaluate(LAYER, two_levels(14), found.mapping)


def test_three_words_are_enough_for_a_stream() -> None:
    # One input, one weight, one sum. Holding a sum while C runs reads the 4 inputs once for each of
    # 2 outputs: 8 x 100. Holding an input while M runs writes 4 x 2 sums and reads 3 x 2 back.
    held = search(LAYER, two_levels(3), "flexible")
    # 8 inputs + 8 weights read, 2 sums written: 1800; registers 16 + 2 + 30; compute 8.
    assert held.value == 1856.0


def test_nothing_fits_no_room() -> None:
    with pytest.raises(NoMappingError, match="no mapping fits 'two' with the dataflow 'flexible'"):
        search(LAYER, two_levels(2), "flexible")


def test_a_class_without_a_mapping_is_bounded_by_no_number() -> None:
    # The dual of such a class passes what a float can hold; others of the space have mappings.
    chip = load_accelerator("eyeriss-isca16-ws")
    layer = picojoule.load("bvlc-alexnet").with_batch(64)["conv1"]
    found = search(layer, chip, budget=0.05)
    assert found.mapping.stages[0].tile == layer.bounds
    assert 0 < found.lower_bound <= found.value


def test_a_bound_below_nothing_is_left_behind() -> None:
    # Sums that are never fetched count as saved, so that the bound of a class may be negative; a
    # step above it is one upwards all the same.
    chip = load_accelerator("eyeriss-v2")
    network = picojoule.load("gpt2").with_layers(bits=picojoule.PerOperand(8, 8, 8))
    found = search(network["h.0.attention.qkv"], chip, budget=0.1)
    assert (found.status, found.value > 0) == ("feasible", True)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(PicojouleError, match="no objective 'speed'; there are energy, latency"):
        search(LAYER, two_levels(3), "flexible", "speed")
    with pytest.raises(PicojouleError, match="no space 'odd'; there are even, uneven"):
        search(LAYER, two_levels(3), "flexible", space="odd")
    with pytest.raises(PicojouleError, match="layer 'fc': the dataflow 'ws' rules tiles"):
        search(LAYER, two_levels(3), "ws", space="uneven")
    with pytest.raises(PicojouleError, match="no factors 'prime'; there are all, perfect"):
        search(LAYER, two_levels(3), "flexible", factors="prime")


def test_a_floor_that_is_met_ends_the_search() -> None:
    whole = Mapping((Stage(LAYER.bounds), Stage(Extents())))
    result = solver(two_levels(14), best=5.0, mapping=whole, floor=5.0).solve()
    assert (result.value, result.mapping, result.complete) == (5.0, whole, True)
    assert result.explored == 0


def test_what_is_to_be_beaten_is_beaten_or_stays() -> None:
    assert solver(two_levels(14), best=1453.0).solve().value == 1452.0
    kept = solver(two_levels(14), best=1452.0).solve()
    assert (kept.value, kept.mapping, kept.complete) == (1452.0, None, True)
    assert kept.pruned > 0


@pytest.mark.parametrize("objective", ["latency", "edp"])
def test_a_search_repeats_itself(objective: str) -> None:
    """To the last count, also where a class has no dual bound."""
    layer: Layer = next(iter(picojoule.load("bvlc-alexnet")))
    accelerator = load_accelerator("eyeriss")
    answers = []
    for _ in range(3):
        blocks.trim(0)
        answers.append(_told(search(layer, accelerator, "rs", objective)))
    assert answers[0] == answers[1] == answers[2]


def _told(found: Found) -> tuple[object, ...]:
    return found.value, found.mapping, found.lower_bound, found.explored, found.pruned


def test_a_mapping_dearer_than_its_programme_is_not_called_proved() -> None:
    """As where 3 elements on 2 x 2 had to become 4: what was proved is the programme's value."""
    layer, accelerator = linear("x", in_features=4, out_features=2), two_levels(8)
    best = search(layer, accelerator)
    relaxation = Relaxation(Space(layer, accelerator, accelerator.dataflow(), timed=False))
    result = Result(
        value=best.value, mapping=best.mapping, bound=0.0, explored=1, pruned=0, complete=True
    )
    assert _priced(relaxation, result, "energy", 0.0).status == "optimal"
    cheaper = Result(
        value=0.995 * best.value,
        mapping=best.mapping,
        bound=0.0,
        explored=1,
        pruned=0,
        complete=True,
    )
    dearer = _priced(relaxation, cheaper, "energy", 0.0)
    assert (dearer.status, dearer.value) == ("feasible", best.value)
    assert dearer.lower_bound == 0.995 * best.value


def test_time_that_costs_is_part_of_what_is_proved() -> None:
    """Energy and control are minimised together: below the sum of both minima nothing is proved."""
    layer = picojoule.load("bvlc-alexnet")["conv5"]
    plain = load_accelerator("eyeriss-pj")
    clocked = replace(plain, control=Control(per_cycle=860.0, per_command=1e4))
    with_control, without = search(layer, clocked), search(layer, plain)
    fastest = search(layer, plain, objective="latency")
    assert with_control.status == "optimal"
    assert with_control.value == with_control.cost.energy
    assert with_control.cost.control > 860 * fastest.value
    moved = with_control.value - with_control.cost.control
    assert moved >= without.value * (1 - 1e-9)
    assert with_control.value <= evaluate(layer, clocked, without.mapping).energy


# Layers and objectives for which chains count that save no step: sums spread wider, time saved.
ADDING_UP = [
    ("energy", linear("fc", in_features=23, out_features=5), 1.5),
    ("energy", linear("fc", in_features=7, out_features=13), 0.9),
    pytest.param(
        *(
            "energy",
            conv("c", input_size=(5, 5), in_channels=8, out_channels=3, kernel=(2, 2)),
            1.1,
        ),
        marks=pytest.mark.slow,
    ),
    ("edp", linear("fc", in_features=7, out_features=13), 1.9),
    ("latency", linear("fc", in_features=7, out_features=13), 1.3),
    ("latency", linear("fc", in_features=31, out_features=3), 1.1),
]


@pytest.mark.parametrize(("objective", "layer", "hop"), ADDING_UP)
def test_no_chain_is_missed_where_adding_up_pays(
    objective: str, layer: Layer, hop: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hop costs less than a read and a write: as cheap as with every chain there is."""
    spads = (("i", OPERANDS[0], 3), ("w", OPERANDS[1], 4), ("o", OPERANDS[2], 4))
    accelerator = Accelerator(
        "spads",
        (
            Level((_memory("dram", None, 200.0),)),
            Level((_memory("buffer", 16.0 * 128, 3.0),)),
            Array("array", (Axis("x", 2), Axis("y", 3)), hop_energy=hop),
            Level(
                tuple(
                    replace(_memory(name, 16.0 * words, 1.0), keeps=frozenset({operand}))
                    for name, operand, words in spads
                )
            ),
        ),
        compute=Compute(1.0),
    )
    fewer = search(layer, accelerator, objective=objective)
    cuts = Space._cuts
    monkeypatch.setattr(
        Space,
        "_cuts",
        lambda self, dim, empty: cuts(self, dim, empty)._replace(
            edge=self.layer.bounds[DIMS.index(dim)]
        ),
    )
    every = search(layer, accelerator, objective=objective)
    assert fewer.status == every.status == "optimal"
    assert fewer.value == pytest.approx(every.value, rel=1e-12)
    assert fewer.cost.energy == pytest.approx(every.cost.energy, rel=1e-12)


@pytest.mark.slow  # 3 s, and 600 MB
def test_a_large_sum_that_is_cheap_to_add_up_is_searched() -> None:
    """9216 inputs of fc6: with every chain there is, memory ran out."""
    layer = picojoule.load("bvlc-alexnet")["fc6"]
    assert search(layer, load_accelerator("eyeriss", node="7nm")).status == "optimal"


@pytest.mark.parametrize("slack", [1e-9, 0.01, 0.2])
def test_of_equals_within_a_share_the_fastest_is_taken(slack: float) -> None:
    """Held against the front of energy and cycles, which is searched another way."""
    layer, chip = picojoule.load("mlperf-tiny-kws")["conv"], load_accelerator("eyeriss")
    front = search(layer, chip, pareto=True).front
    least = front[0].value
    within = [point for point in front if point.value <= least * (1 + slack) * (1 + 1e-12)]
    best = search(layer, chip, slack=slack)
    assert best.status == "optimal"
    assert best.cost.cycles == pytest.approx(min(point.cost.cycles for point in within), rel=1e-9)
    assert best.lower_bound == pytest.approx(least, rel=1e-9)
    assert best.value <= least * (1 + slack) * (1 + 1e-9)
    assert "the fastest of those within" in best.space
