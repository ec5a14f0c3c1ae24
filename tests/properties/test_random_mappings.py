"""No random legal mapping of a real layer is cheaper than what the search calls optimal."""

from __future__ import annotations

import os
import random
from collections.abc import Hashable
from dataclasses import replace

import pytest

from picojoule.accelerator import Accelerator
from picojoule.cost import evaluate
from picojoule.frontends import load
from picojoule.legality import violations
from picojoule.mapper.solver import search
from picojoule.mapping import Mapping, Stage
from picojoule.specs import load_accelerator
from picojoule.workload import DIMS, Extents, Layer

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


def _random_mapping(rng: random.Random, layer: Layer, machine: Accelerator) -> Mapping:
    """Random tiles, shrunk until they fit; a random unrolling along each axis; random orders."""
    depth = len(machine.levels)
    keeps = [
        level.keeps - {o for o in sorted(level.may_bypass, key=str) if rng.random() < 0.3}
        for level in machine.levels
    ]
    while True:
        tiles = [list(layer.bounds)]
        for _ in range(1, depth):
            tiles.append([max(1, int(size ** rng.random())) for size in tiles[-1]])
        stages = []
        for level, tile in enumerate(tiles):
            inner = tiles[level + 1] if level + 1 < depth else [1] * 8
            room = [-(-t // i) for t, i in zip(tile, inner, strict=True)]
            spatial = []
            for axis in machine.arrays[level].axes if machine.arrays[level] else ():
                n = DIMS.index(rng.choice(sorted(axis.dims, key=str)))
                factor = rng.randint(1, min(axis.size, room[n]))
                room[n] = -(-room[n] // factor)
                spatial.append(Extents(**{DIMS[n].value: factor}))
            order = tuple(rng.sample(DIMS, 8))
            stages.append(Stage(Extents(*tile), order, keeps[level], tuple(spatial)))
        mapping = Mapping(tuple(stages))
        if not violations(layer, machine, mapping):
            return mapping


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
        mapping = _random_mapping(rng, layer, machine)
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
