"""No random legal mapping of a real layer is cheaper than what the search calls optimal."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Hashable
from dataclasses import replace

import pytest

from benchmarks.random_mappings import CASES, Case, asked, check, mapping_beside, random_mapping
from picojoule.accelerator import Accelerator
from picojoule.cost import evaluate
from picojoule.dataflow import DATAFLOWS
from picojoule.frontends import load
from picojoule.legality import violations
from picojoule.mapper.solver import search
from picojoule.mapping import Mapping
from picojoule.specs import load_accelerator
from picojoule.workload import Extents, Layer

# `make nightly` sets this to 10,000 and takes every layer of four networks.
MAPPINGS = int(os.environ.get("PICOJOULE_RANDOM_MAPPINGS", "300"))
EVERY = "PICOJOULE_RANDOM_MAPPINGS" in os.environ
NETWORKS = ("bvlc-alexnet", "resnet50", "mobilenetv2", "bert-base")


def _layers() -> list[tuple[str, int]]:
    """(network, index) of the layers to try: of each shape one."""
    if not EVERY:
        return [("squeezenet1.1", 1), ("squeezenet1.1", 3), ("resnet18", 12)]
    seen: dict[Hashable, tuple[str, int]] = {}
    for network in NETWORKS:
        for index, layer in enumerate(load(network)):
            seen.setdefault(layer.signature(), (network, index))
    return list(seen.values())


def _neighbour(
    rng: random.Random, layer: Layer, machine: Accelerator, mapping: Mapping
) -> Mapping | None:
    """A mapping with one or two things changed, or None if that is not legal."""
    stages = list(mapping.stages)
    for _ in range(rng.randint(1, 2)):
        level, n = rng.randrange(len(stages)), rng.randrange(8)
        stage = stages[level]
        kind = rng.randrange(3)
        if kind == 0 and level > 0:
            tile = list(stage.tile)
            tile[n] = max(1, rng.choice([tile[n] - 1, tile[n] + 1, tile[n] // 2, tile[n] * 2]))
            stage = replace(stage, tile=Extents(*tile))
        elif kind == 1 and stage.order:
            order = list(stage.order)
            i, j = rng.randrange(len(order)), rng.randrange(len(order))
            order[i], order[j] = order[j], order[i]
            stage = replace(stage, order=tuple(order))
        elif stage.spatial:
            axis = rng.randrange(len(stage.spatial))
            fan = list(stage.spatial[axis])
            fan[n] = max(1, rng.choice([fan[n] - 1, fan[n] + 1, fan[n] * 2, fan[n] // 2]))
            spatial = list(stage.spatial)
            spatial[axis] = Extents(*fan)
            stage = replace(stage, spatial=tuple(spatial))
        stages[level] = stage
    changed = Mapping(tuple(stages))
    return None if violations(layer, machine, changed) else changed


@pytest.mark.parametrize(("network", "index"), _layers())
def test_never_cheaper(network: str, index: int) -> None:
    rng = random.Random(index)
    layer, machine = list(load(network))[index], load_accelerator("eyeriss")
    found = search(layer, machine, "flexible")
    assert found.status == "optimal"
    rows = search(layer, machine, "rs")
    assert found.value <= rows.value * (1 + 1e-12)
    for _ in range(MAPPINGS):
        mapping = random_mapping(rng, layer, machine, DATAFLOWS["flexible"])
        assert evaluate(layer, machine, mapping).energy >= found.value * (1 - 1e-12)
    # Around the optimum, where a mistake of a per cent would show.
    mapping, legal = found.mapping, 0
    for _ in range(MAPPINGS):
        changed = _neighbour(rng, layer, machine, mapping)
        if changed is None:
            mapping = found.mapping
            continue
        legal += 1
        assert evaluate(layer, machine, changed).energy >= found.value * (1 - 1e-12)
        mapping = changed if rng.random() < 0.5 else found.mapping
    assert legal > MAPPINGS // 20


@pytest.mark.parametrize("space", ["even", "uneven"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.chip}-{case.dataflow}")
def test_random_mappings_keep_to_the_rules(case: Case, space: str) -> None:
    """Legal ones, with the tiles that the dataflow asks for, and uneven ones where searched."""
    if space not in case.spaces:
        return
    rng, uneven = random.Random(1), space == "uneven"
    layer, accelerator, dataflow = asked(case, *case.layers[0])
    mapping = random_mapping(rng, layer, accelerator, dataflow, uneven=uneven)
    levels = {mapping.levels}
    for _ in range(20):
        mapping = random_mapping(rng, layer, accelerator, dataflow, uneven=uneven)
        assert not violations(layer, accelerator, mapping)
        levels.add(mapping.levels)
        near = mapping_beside(rng, layer, accelerator, dataflow, mapping, uneven=uneven)
        assert not violations(layer, accelerator, near)
        assert near.levels == mapping.levels
        if case.dataflow == "rs":  # an element has one filter row, all rows of it stand together
            assert mapping.stages[-1].tile[4:] == (1, 1, 1, layer.bounds.S)
            rows = [fan.R for stage in mapping.stages for fan in stage.spatial]
            assert math.prod(rows) == layer.bounds.R
    assert mapping.even != uneven
    assert uneven == any(len(set(of)) < len(of) for of in levels)


def test_what_is_checked_of_a_row() -> None:
    case = next(case for case in CASES if case.chip == "eyeriss-isca16")
    row = check(case, "uneven", *case.layers[1], mappings=40)
    assert (row["status"], row["below"], row["mappings"]) == ("proved", 0, 40)
    assert float(row["beside_over_optimum"]) >= 1 - 1e-6
    assert float(row["random_over_optimum"]) > 1
