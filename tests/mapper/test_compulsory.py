"""What must move: by hand, and never more than any mapping moves."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

import picojoule
from picojoule.accelerator import Level
from picojoule.cost import evaluate
from picojoule.errors import NoMappingError
from picojoule.mapper.compulsory import compulsory
from picojoule.mapper.solver import search
from picojoule.specs import load_accelerator
from picojoule.workload import PerOperand
from tests.properties.test_search import _layer as random_layer
from tests.properties.test_search import _machine as random_machine


def test_a_fully_connected_layer_on_the_chip() -> None:
    """9216 inputs, 4096 outputs and their weights, 16 bit, once over 19.2 bit/cycle."""
    fc6 = picojoule.linear("fc6", in_features=9216, out_features=4096)
    found = compulsory(fc6, load_accelerator("eyeriss"))
    words = 9216 + 4096 + 9216 * 4096
    assert found.channel == "dram"
    assert found.cycles == pytest.approx(words * 16 / 19.2)


def test_the_clusters_of_eyeriss_v2() -> None:
    """8-bit weights over 16 routers of 72 bit/cycle each."""
    fc6 = replace(
        picojoule.linear("fc6", in_features=9216, out_features=4096), bits=PerOperand(8, 8, 8)
    )
    found = compulsory(fc6, load_accelerator("eyeriss-v2"))
    assert found.channel == "clusters.weight"
    assert found.cycles == 9216 * 4096 * 8 / (16 * 72)


def test_rows_between_strides_need_not_move() -> None:
    """1x1 taps at stride 2 on 8 x 8 inputs touch 4 x 4."""
    conv = picojoule.conv(
        "c", input_size=(8, 8), in_channels=1, out_channels=1, kernel=(1, 1), stride=(2, 2)
    )
    words = 16 + 1 + 16
    assert compulsory(conv, load_accelerator("eyeriss")).cycles == pytest.approx(words * 16 / 19.2)


def test_without_bandwidths_nothing_takes_time() -> None:
    fc = picojoule.linear("fc", in_features=8, out_features=8)
    found = compulsory(fc, load_accelerator("eyeriss-isca16"))
    assert (found.cycles, found.channel) == (0.0, "")


@pytest.mark.parametrize("seed", range(20))
def test_no_mapping_is_faster(seed: int) -> None:
    """The fastest of all mappings, with zeros skipped, coded or neither, is no faster."""
    rng = random.Random(seed)
    layer, machine = random_layer(rng), random_machine(rng)
    outer = replace(machine.levels[0].memories[0], bandwidth=rng.choice([0.5, 4.0]))
    machine = replace(machine, nest=(Level((outer,)), *machine.nest[1:]))
    if seed % 2:
        layer = replace(layer, density=PerOperand(0.5, 0.25, 0.9))
        machine = replace(machine, sparse=load_accelerator("eyeriss-v2").sparse)
    try:
        found = search(layer, machine, "flexible", "latency")
    except NoMappingError:
        return
    least = compulsory(layer, machine)
    assert 0 < least.cycles <= found.cost.cycles * (1 + 1e-12)


@pytest.mark.parametrize("name", ["eyeriss", "eyeriss-v2", "nvdla-like", "tpu-v1-like"])
def test_shipped_machines_are_no_faster(name: str) -> None:
    machine = load_accelerator(name)
    conv = picojoule.conv(
        "c", input_size=(12, 12), in_channels=8, out_channels=16, kernel=(3, 3), stride=(2, 2)
    )
    for density in (1.0, 0.3):
        layer = replace(conv, bits=PerOperand(8, 8, 8), density=PerOperand(density, density, 1.0))
        found = search(layer, machine, objective="energy")
        assert compulsory(layer, machine).cycles <= evaluate(layer, machine, found.mapping).cycles
