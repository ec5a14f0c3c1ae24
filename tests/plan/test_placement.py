"""A layer whose operands lie on the chip: its words walked one by one, and by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picojoule.accelerator import Accelerator, Charging
from picojoule.cost import evaluate
from picojoule.legality import violations
from picojoule.mapper.solver import search
from picojoule.mapping import Mapping, Stage
from picojoule.plan.placement import places, seen_from
from picojoule.simulation.simulator import price_in_time
from picojoule.specs import load_accelerator
from picojoule.workload import DEFAULT_BITS, DENSE, OPERANDS, Dim, conv, linear
from tests.interpreter import interpret
from tests.strategies import layers, machine, mappings

INPUT, WEIGHT, OUTPUT = OPERANDS


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_words_of_placed_layers_agree(data: st.DataObject) -> None:
    """Accesses of every memory as the interpreter walks them, those of a home at its own name."""
    layer = replace(data.draw(layers(largest=32)), bits=DEFAULT_BITS, density=DENSE)
    mapping = data.draw(mappings(layer, levels=data.draw(st.integers(2, 4))))
    depth = len(mapping.stages)
    homes = {o: data.draw(st.integers(0, depth - 1)) for o in OPERANDS}
    stages = tuple(
        replace(
            stage,
            keeps=frozenset(o for o in stage.keeps if not n or homes[o] < n),
            spatial=(),
        )
        for n, stage in enumerate(mapping.stages)
    )
    mapping = Mapping(stages)
    chip = machine([OPERANDS] * depth, [[]] * depth, bypass=OPERANDS)
    there = seen_from(chip, {o: f"m{level}" for o, level in homes.items() if level}, {})
    cost, tally = evaluate(layer, there, mapping), interpret(layer, mapping)
    expected = tally.accesses(depth, homes)
    for (level, operand), (read, write) in expected.items():
        access = cost.accesses[f"m{level}"][operand]
        assert (access.read, access.write) == (read, write), (level, operand)
    booked = {(name, o) for name, operands in cost.accesses.items() for o in operands}
    assert booked == {(f"m{level}", operand) for level, operand in expected}


def small(charging: Charging = Charging.BOTH_ENDS) -> Accelerator:
    return machine([OPERANDS] * 3, [[]] * 3, charging=charging, capacities=[None, 4096, 512])


def test_a_whole_input_near_by_is_spared_its_load() -> None:
    # 3 x 4 inputs of one word; a load: 200 out of DRAM, 7.5 into the buffer (6 x 1.25).
    layer = linear("x", rows=3, in_features=4, out_features=2)
    outside = Stage(layer.bounds)
    inside = Stage(layer.bounds, (Dim.M, Dim.P))
    nest = (outside, inside, Stage(layer.bounds._replace(M=1, P=1)))
    alone = evaluate(layer, small(), Mapping(nest))
    passed = replace(inside, keeps=frozenset({WEIGHT, OUTPUT}))
    near = seen_from(small(), {INPUT: "m1"}, {"m1": 12 * 16})
    there = evaluate(layer, near, Mapping((outside, passed, nest[2])))
    assert alone.energy - there.energy == pytest.approx(12 * (200 + 7.5))
    assert there.accesses["m1"][INPUT].read == alone.accesses["m1"][INPUT].read
    assert INPUT not in there.accesses["m0"]


def test_what_lies_there_takes_room_from_tiles() -> None:
    layer = linear("x", rows=3, in_features=4, out_features=2)
    whole = Mapping((Stage(layer.bounds),) * 2)
    chip = machine([OPERANDS] * 2, [[]] * 2, capacities=[None, 26 * 16])
    assert not violations(layer, chip, whole)
    less = seen_from(chip, {}, {"m1": 16.0})
    assert [broken.rule for broken in violations(layer, less, whole)] == ["capacity"]


def test_no_operand_passes_where_it_does_not_go() -> None:
    layer = linear("x", rows=3, in_features=4, out_features=2)
    near = seen_from(small(), {INPUT: "m1"}, {})
    broken = violations(layer, near, Mapping((Stage(layer.bounds),) * 3))
    assert [one.rule for one in broken] == ["held-operands"]
    assert broken[0].message == "level 1 (m1) cannot keep: input"


def test_homes_share_the_port_of_their_memory() -> None:
    chip = load_accelerator("eyeriss-pj")
    layer = conv(
        "x", input_size=(14, 14), in_channels=32, out_channels=32, kernel=(3, 3), padding=(1,) * 4
    )
    homes = {INPUT: "buffer", OUTPUT: "buffer"}
    near = seen_from(chip, homes, {"buffer": 2 * 32 * 14 * 14 * 16})
    best = search(layer, near)
    moved = best.cost.moved["buffer"]
    assert set(moved) == {INPUT, OUTPUT}
    assert set(best.cost.moved["dram"]) == {WEIGHT}
    assert best.cost.energy < search(layer, chip).cost.energy
    assert price_in_time(layer, near, best.mapping).cycles >= best.cost.cycles


def test_tensors_lie_outside_every_array() -> None:
    names = [memory.name for memory in places(load_accelerator("tpu-v1-like"))]
    assert names == ["unified-buffer", "weight-fifo", "accumulators"]
    assert [m.name for m in places(load_accelerator("gap9-ne16-like"))] == ["l1"]


def test_where_nothing_lies_on_the_chip_it_is_itself() -> None:
    chip = small()
    assert seen_from(chip, {}, {"m1": 0.0}) is chip
