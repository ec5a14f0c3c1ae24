"""No random legal mapping of a real layer is cheaper than what the search calls optimal."""

from __future__ import annotations

import random

import pytest

from picojoule.cost import evaluate, violations
from picojoule.frontends import load
from picojoule.mapper import search
from picojoule.mapping import Mapping, Stage
from picojoule.specs import load_accelerator
from picojoule.workload import DIMS, Extents

MAPPINGS = 300


def _random_mapping(rng, layer, machine):
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


@pytest.mark.parametrize(
    ("network", "index"), [("squeezenet1.1", 1), ("squeezenet1.1", 3), ("resnet18", 12)]
)
def test_never_cheaper(network, index):
    rng = random.Random(index)
    layer, machine = list(load(network))[index], load_accelerator("eyeriss")
    found = search(layer, machine, "flexible")
    assert found.status == "optimal"
    rows = search(layer, machine, "rs")
    assert found.value <= rows.value * (1 + 1e-12)
    for _ in range(MAPPINGS):
        mapping = _random_mapping(rng, layer, machine)
        assert evaluate(layer, machine, mapping).energy >= found.value * (1 - 1e-12)
