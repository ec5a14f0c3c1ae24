"""The best plan of a network: as good as the best of all plans, one by one."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from picojoule.accelerator import Accelerator, Charging, Compute, Control, Level, Memory
from picojoule.errors import NoMappingError
from picojoule.estimate_records import Estimate
from picojoule.estimation import estimate
from picojoule.graph import Graph
from picojoule.mapper.found import value_of
from picojoule.mapper.solver import search
from picojoule.plan.others import OperatorPrices
from picojoule.plan.placement import seen_from
from picojoule.workload import OPERANDS, Layer, Operand, Workload
from tests.plan.networks import random_network
from tests.plan.test_bounds import FLAT, attention, chain, fc, window

EVERYTHING = frozenset(OPERANDS)


def memory(name: str, capacity: float | None, energy: float, **rest: object) -> Memory:
    return Memory(
        name,
        keeps=rest.pop("keeps", EVERYTHING),  # type: ignore[arg-type]
        capacity=capacity,
        read_energy=energy,
        write_energy=1.25 * energy,
        **rest,  # type: ignore[arg-type]
    )


def machine(*inside: Memory, **rest: object) -> Accelerator:
    """A DRAM, and these memories in it, one within the other."""
    nest = (memory("dram", None, 200.0, bandwidth=rest.pop("bandwidth", None)), *inside)
    return Accelerator(
        "small",
        tuple(Level((x,)) for x in nest),
        compute=rest.pop("compute", Compute(1.0)),  # type: ignore[arg-type]
        **rest,  # type: ignore[arg-type]
    )


def random_machine(rng: random.Random) -> Accelerator:
    """One or two memories in which tensors may stay, some of them tight."""
    word = 16
    bypass = rng.choice([(), (Operand.WEIGHT,), (Operand.INPUT, Operand.OUTPUT)])
    bandwidth = rng.choice([None, 32.0])
    inside = [
        memory(
            "buffer",
            rng.choice([20, 40, 60, 120]) * word,
            6.0,
            may_bypass=frozenset(bypass),
            bandwidth=None if bandwidth is None else rng.choice([None, 64.0]),
        )
    ]
    if rng.random() < 0.4:
        inside.append(memory("local", rng.choice([12, 24, 40]) * word, 1.0))
    return machine(
        *inside,
        bandwidth=bandwidth,
        charging=rng.choice(list(Charging)),
        compute=Compute(1.0, psum_bits=rng.choice([None, 16, 32])),
        control=rng.choice([Control(), Control(per_cycle=3.0), Control(per_command=40.0)]),
    )


# -- all plans, one by one -------------------------------------------------------------------


def all_plans(graph: Graph, chip: Accelerator) -> Iterator[dict[str, str]]:
    """Where each tensor that is made lies: concatenations lie where what they join does."""
    near = [x.name for level in chip.levels[1:] for x in level.memories]
    anew = [name for node in graph.nodes if not node.in_place for name in node.makes]
    for choice in itertools.product(["", *near], repeat=len(anew)):
        lies = dict.fromkeys(graph.inputs, "") | dict(zip(anew, choice, strict=True))
        for node in graph.nodes:
            if node.in_place:
                where = {lies[name] for name in node.reads}
                lies[node.makes[0]] = where.pop() if len(where) == 1 else "torn"
        products = [node for node in graph.nodes if node.layers]
        torn = any(lies[x] == "torn" for node in products for x in node.reads)
        if not torn and all(not _outside(graph, name) or not lies[name] for name in lies):
            yield lies


def _outside(graph: Graph, name: str) -> bool:
    """Whether a tensor, or what it is a part of, leaves the network."""
    if name in graph.outputs:
        return True
    return any(_outside(graph, node.makes[0]) for node in graph.readers[name] if node.in_place)


def last_read(graph: Graph, name: str) -> int:
    """The number of the node that reads a tensor, or what it is a part of, last."""
    order = [node.name for node in graph.nodes]
    return max(
        last_read(graph, node.makes[0]) if node.in_place else order.index(node.name)
        for node in graph.readers[name]
    )


def least_of_all(
    network: Workload, chip: Accelerator, objective: str, others: str = "apart"
) -> float:
    """The least sum over the layers of any plan, each layer searched in the room that is left."""
    graph, best = network.graph, math.inf
    assert graph is not None
    memo: dict[object, float] = {}
    prices = OperatorPrices(chip, network.batch)
    for lies in all_plans(graph, chip):
        total = 0.0
        for n, node in enumerate(graph.nodes):
            if node.in_place:
                continue
            room = dict.fromkeys((x.name for level in chip.levels[1:] for x in level.memories), 0.0)
            for m, other in enumerate(graph.nodes):
                for name in () if other.in_place else other.makes:
                    if lies[name] and m <= n <= last_read(graph, name):
                        room[lies[name]] += graph.tensors[name].size or 0.0
            if any(room[x] > (chip.memories[x].capacity or math.inf) for x in room):
                total = math.inf
                break
            if not node.layers and others == "count":
                near = {name for name, place in lies.items() if place not in ("", "torn")}
                total += value_of(prices.of(node, graph, near), objective)
            if node.layers:
                layer = network[node.layers[0]]
                ends = [lies[node.reads[0]], "", lies[node.makes[0]]]
                if layer.weight_is_activation:
                    ends[1] = lies[node.reads[1]]
                key = (layer.signature(), *ends, *room.values())
                if key not in memo:
                    memo[key] = least_of_layer(layer, chip, ends, room, objective)
                total += memo[key]
        best = min(best, total)
    return best


def least_of_layer(
    layer: Layer, chip: Accelerator, ends: list[str], room: dict[str, float], objective: str
) -> float:
    """A layer's optimum; sums that go where the output lies are as wide as they are there."""
    homes = {o: x for o, x in zip(OPERANDS, ends, strict=True) if x}
    wide = chip.psum_bits(layer.bits.output) - layer.bits.output
    if wide <= 0 or not ends[2]:
        return searched(layer, chip, homes, room, objective)
    whole = dict(room)
    whole[ends[2]] += wide * layer.size(Operand.OUTPUT)
    return min(
        searched(layer, chip, homes, room, objective, sums_stay=True),
        searched(layer, chip, homes, whole, objective),
    )


def searched(
    layer: Layer,
    chip: Accelerator,
    homes: dict[Operand, str],
    room: dict[str, float],
    objective: str,
    sums_stay: bool = False,
) -> float:
    if any(x and x >= (chip.memories[name].capacity or math.inf) for name, x in room.items()):
        return math.inf
    dataflow = replace(chip.dataflow(None), sums_stay=sums_stay)
    try:
        return search(layer, seen_from(chip, homes, room), dataflow, objective).value
    except NoMappingError:
        return math.inf


@pytest.mark.parametrize("seed", range(24))
def test_no_plan_is_better(seed: int) -> None:
    check_all_plans(seed, products=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_no_plan_is_better_of_longer_ones(seed: int) -> None:
    check_all_plans(seed, products=5)


def check_all_plans(seed: int, products: int) -> None:
    rng = random.Random(seed)
    network, chip = random_network(rng, products), random_machine(rng)
    objective = rng.choice(["energy", "energy", "latency", "edp"])
    asked = {"objective": objective, "others": rng.choice(["apart", "count"]), "cache": False}
    try:
        alone = estimate(network, chip, **asked)
    except NoMappingError:
        return
    kept = estimate(network, chip, between="keep", **asked)
    assert kept.plan is not None
    assert kept.plan.value <= total(alone, objective) * (1 + 1e-9)
    assert kept.plan.value >= kept.plan.lower_bound * (1 - 1e-9)
    assert kept.plan.lower_bound >= kept.plan.least * (1 - 1e-9)
    assert kept.plan.outside["energy"] == pytest.approx(alone.energy)
    if chip.priced_in_time:
        return  # what a search finds is priced at the time that it takes
    assert kept.plan.status == "optimal"
    least = least_of_all(network, chip, objective, asked["others"])
    assert kept.plan.value == pytest.approx(least, rel=1e-9)
    assert total(kept, objective) == pytest.approx(least, rel=1e-9)


def total(estimated: Estimate, objective: str) -> float:
    """The objective summed over all that counts."""
    others = estimated.others
    operators = others.operators if others is not None and others.counted else ()
    return math.fsum(
        {"energy": x.energy, "latency": x.cycles, "edp": x.energy * x.cycles}[objective]
        for x in (*estimated.layers, *operators)
    )


# Each layer alone and the chain, free to fuse, on the same machine: AccelForge 1.0.467.
@pytest.mark.parametrize(
    ("layers", "fused"),
    [
        ((fc("a", 64, 64, 64), fc("b", 64, 64, 64)), 16_433_152),
        ([fc(name, 64, 64, 64) for name in "abc"], 23_805_952),
        (attention(), 59_031_552),
        ((window("a", 12), window("b", 10)), 2_933_824),
    ],
)
def test_where_tensors_fit_nothing_that_fuses_is_better(
    layers: Sequence[Layer], fused: int
) -> None:
    plan = estimate(chain(*layers), FLAT, between="keep", cache=False).plan
    assert plan is not None
    assert plan.value == plan.lower_bound == plan.least == fused
    assert plan.status == "optimal"


def test_where_they_do_not_fit_bands_could_help() -> None:
    # DeiT-tiny's FFN on 65,536 words; AccelForge gets 1,566,600,960 band by band.
    layers = (fc("a", 197, 192, 768), fc("b", 197, 768, 192))
    plan = estimate(chain(*layers), FLAT, between="keep", cache=False).plan
    assert plan is not None
    assert not plan.stays
    assert plan.least < 1_566_600_960 < plan.value == 1_589_976_192
