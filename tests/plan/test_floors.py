"""No plan is below what a network takes wherever tensors lie, at no search."""

from __future__ import annotations

import math
import random

import pytest

from picojoule.errors import NoMappingError
from picojoule.estimate_records import Estimate
from picojoule.estimation import estimate
from picojoule.frontends import load
from picojoule.plan.floors import floor
from picojoule.specs import load_accelerator
from tests.plan.networks import Sketch, random_network
from tests.plan.test_residency import random_machine
from tests.plan.test_spared import FLAT, chain, fc


def both(seed: int, products: int) -> tuple[Estimate, Estimate] | None:
    """The same network with all outside and with the best plan; None where no mapping fits."""
    rng = random.Random(seed)
    network, chip = random_network(rng, products), random_machine(rng)
    others = rng.choice(["apart", "count"])
    try:
        return (
            estimate(network, chip, others=others, cache=False),
            estimate(network, chip, others=others, between="keep", cache=False),
        )
    except NoMappingError:
        return None


def check(seed: int, products: int) -> None:
    """What is printed of a network holds of its best plan."""
    pair = both(seed, products)
    if pair is None:
        return
    alone, kept = pair
    assert kept.plan is not None
    least = alone.least_kept()
    assert least is not None
    assert kept.energy >= kept.plan.least * (1 - 1e-9)
    assert kept.energy >= alone.to_dict()["between"]["lower_bound"] == least
    # Nor is it above the bound that takes searches.
    assert least <= kept.plan.least * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(200, 230))
def test_no_plan_is_below(seed: int) -> None:
    check(seed, products=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_no_plan_of_many_is_below(seed: int) -> None:
    check(seed, products=random.Random(seed).choice([2, 3, 4]))


@pytest.mark.parametrize("seed", [205, 220])
def test_what_is_spared_bounds_no_plan(seed: int) -> None:
    """Layers mapped anew around what stays can save more than the stores and loads."""
    pair = both(seed, products=3)
    assert pair is not None
    alone, kept = pair
    assert alone.between is not None
    assert kept.energy < alone.energy - alone.between.energy


def test_by_hand() -> None:
    layers = (fc("a", 64, 64, 64), fc("b", 64, 64, 64))
    network = chain(*layers)
    assert network.graph is not None
    least = floor(network.graph, {x.name: x for x in layers}, FLAT, batch=1)
    # Out of DRAM, into the buffer and out of it: an input and two weights; one output goes back.
    # What lies between is written to the buffer once, and read.
    assert least == 2 * 64**3 + 4096 * ((200 + 6 + 6) * 4 + 6 + 6)


def test_what_others_read_too_is_loaded_by_one_of_them() -> None:
    """An input of the network with two readers may be there for the second."""
    sketch = Sketch()
    sketch.given("x", 4, 6)
    sketch.added(sketch.product("x", 5), sketch.product("x", 5))
    network = sketch.network()
    assert network.graph is not None
    least = floor(network.graph, {x.name: x for x in network}, FLAT, batch=1)
    weights, inputs, made = 2 * 6 * 5 * 212, 2 * 4 * 6 * 6, 2 * 4 * 5 * 6
    assert least == 2 * 4 * 5 * 6 + weights + inputs + made


@pytest.mark.parametrize("chip", ["tpu-v1-like", "gap9-ne16-like", "eyeriss-pj"])
def test_on_a_chip(chip: str) -> None:
    kept = estimate("mlperf-tiny-ic", chip, between="keep", others="count")
    least = kept.least_kept()
    assert kept.plan is not None
    assert least is not None
    assert 0.3 * kept.plan.least < least <= kept.plan.least <= kept.energy * (1 + 1e-9)


def test_a_batch_is_told_per_inference() -> None:
    network = load("gpt2-decode")
    chip = load_accelerator("eyeriss-isca16")
    one, four = (
        floor(x.graph, {layer.name: layer for layer in x}, chip, batch=x.batch)
        for x in (network, network.with_batch(4))
    )
    assert 0 < four < one  # weights are loaded once for all
    assert math.isfinite(one)
