"""The search over uneven mappings finds the optimum: against all of them, one by one."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from picojoule.accelerator import Accelerator, Charging, Control, HopCharge, SparseSupport
from picojoule.cost import Cost, evaluate
from picojoule.errors import NoMappingError
from picojoule.legality import violations
from picojoule.mapper.solver import search
from picojoule.mapping import Mapping, Stage
from picojoule.traffic import Chain
from picojoule.workload import DIMS, OPERANDS, Extents, Layer, Operand
from tests.strategies import machine

PROBLEMS = 16
MAPPINGS = 600  # of a problem, at most; slow tests take larger ones

Kept = frozenset[Operand]


def _layer(rng: random.Random) -> Layer:
    """Two or three dimensions that matter, small bounds with few divisors, windows now and then."""
    names = rng.choice(["MC", "MP", "CP", "MCP", "MCP", "MCQ", "PR", "PRM", "PRC", "NMC"])
    sizes = [2, 3, 4] if len(names) == 2 else [2, 3]
    shape = Extents(**{name: rng.choice(sizes) for name in names})
    stride, dilation = rng.choice([1, 1, 2]), rng.choice([1, 1, 2])
    whole = (shape.P - 1) * stride + (shape.R - 1) * dilation + 1
    before = rng.randint(0, min(1, whole - 1))
    after = rng.randint(0, min(1, whole - 1 - before))
    padding = (before, after, 0, 0) if shape.R > 1 else (0, 0, 0, 0)
    return Layer("x", shape, stride=(stride, 1), dilation=(dilation, 1), padding=padding)


def _machine(rng: random.Random) -> Accelerator:
    depth = rng.choice([2, 2, 3])
    arrays: list[list[int]] = [[] for _ in range(depth)]
    arrays[depth - rng.choice([1, 2, 2])] = rng.choice([[], [2], [3]])
    bypass: tuple[Operand, ...] = ()
    if depth == 3:
        bypass = rng.choice([(), (), (Operand.WEIGHT,), OPERANDS])
    found = machine(
        [OPERANDS] * depth,
        arrays,
        charging=rng.choice(list(Charging)),
        hop_charge=rng.choice(list(HopCharge)),
        padded=rng.random() < 0.3,
        capacities=[None] + [rng.choice([3, 4, 6, 10]) * 16 for _ in range(depth - 1)],
        sparse=SparseSupport(),
        bypass=bypass,
    )
    control = rng.choice([Control(), Control(), Control(per_command=30.0), Control(per_cycle=9.0)])
    return replace(found, control=control)


def _splits(kept: Kept) -> list[tuple[Kept, ...]]:
    """All ordered partitions of a set, by taking any part of it first."""
    if not kept:
        return [()]
    members = sorted(kept, key=str)
    return [
        (frozenset(first), *rest)
        for size in range(1, len(members) + 1)
        for first in itertools.combinations(members, size)
        for rest in _splits(kept - frozenset(first))
    ]


def _nests(accelerator: Accelerator) -> Iterator[tuple[list[int], list[Kept]]]:
    """Levels and operands of the stages of all mappings, level by level."""
    choices: list[list[tuple[Kept, ...]]] = []
    for level in accelerator.levels:
        skipped = [
            frozenset(some)
            for size in range(len(level.may_bypass) + 1)
            for some in itertools.combinations(sorted(level.may_bypass, key=str), size)
        ]
        choices.append([parts for skip in skipped for parts in _splits(level.keeps - skip) or [()]])
    choices[0] = [(frozenset(OPERANDS),)]
    for picked in itertools.product(*choices):
        parts = [part or (frozenset(),) for part in picked]
        yield (
            [level for level, part in enumerate(parts) for _ in part],
            [kept for part in parts for kept in part],
        )


def _chains(bound: int, sizes: Sequence[int]) -> list[Chain]:
    """Every way to cut a dimension without a rest, over stages with so many elements beneath."""

    def walk(tiles: tuple[int, ...], fans: tuple[int, ...]) -> Iterator[Chain]:
        if len(fans) == len(sizes):
            yield Chain(tiles, fans)
            return
        last = len(fans) == len(sizes) - 1
        for inner in [1] if last else range(1, tiles[-1] + 1):
            for fan in range(1, sizes[len(fans)] + 1):
                step = inner * fan
                if step <= tiles[-1] and tiles[-1] % step == 0:
                    yield from walk((*tiles, inner), (*fans, fan))

    return list(walk((bound,), ()))


def _mappings(layer: Layer, accelerator: Accelerator) -> Iterator[Mapping]:
    """All legal mappings; loops that take one step have no place in an order."""
    arrays = [math.prod(a.size for a in x.axes) if x else 1 for x in accelerator.arrays]
    live = [n for n in range(8) if layer.bounds[n] > 1]
    for levels, keeps in _nests(accelerator):
        depth = len(levels)
        sizes = [
            arrays[level] if n + 1 == depth or levels[n + 1] > level else 1
            for n, level in enumerate(levels)
        ]
        for picked in itertools.product(*(_chains(layer.bounds[n], sizes) for n in live)):
            stages = []
            for stage in range(depth):
                chains = dict(zip((DIMS[n].value for n in live), picked, strict=True))
                tile = Extents(**{name: chain.tiles[stage] for name, chain in chains.items()})
                fans = Extents(**{name: chain.fanouts[stage] for name, chain in chains.items()})
                spatial = (fans,) if sizes[stage] > 1 else ()
                stages.append(Stage(tile, (), keeps[stage], spatial))
            if violations(layer, accelerator, Mapping(tuple(stages), tuple(levels))):
                continue
            running = [
                [dim for n, dim in enumerate(DIMS) if n in live and _steps(picked, live, n, s) > 1]
                for s in range(depth - 1)
            ]
            for orders in itertools.product(*map(itertools.permutations, running)):
                ordered = [
                    replace(stage, order=order)
                    for stage, order in zip(stages, (*orders, ()), strict=True)
                ]
                yield Mapping(tuple(ordered), tuple(levels))


def _steps(picked: Sequence[Chain], live: Sequence[int], dim: int, stage: int) -> int:
    chain = picked[live.index(dim)]
    return -(-chain.tiles[stage] // chain.step(stage))


def _problem(
    rng: random.Random, most: int
) -> tuple[Layer, Accelerator, list[tuple[Mapping, Cost]]]:
    """A layer, an accelerator and the costs of all mappings, of which there are not too many."""
    while True:
        layer, accelerator = _layer(rng), _machine(rng)
        listed = list(itertools.islice(_mappings(layer, accelerator), most + 1))
        if len(listed) <= most:
            return layer, accelerator, [(x, evaluate(layer, accelerator, x)) for x in listed]


def _value(cost: Cost, objective: str) -> float:
    values = {"energy": cost.energy, "latency": cost.cycles, "edp": cost.energy * cost.cycles}
    return values[objective]


def compare_with_all(seed: int, most: int = MAPPINGS) -> tuple[float, float]:
    """The least over all mappings and over the even ones of a random problem; checks the search."""
    rng = random.Random(seed)
    layer, accelerator, priced = _problem(rng, most)
    objective = rng.choice(["energy", "energy", "edp", "latency"])
    if not priced:
        with pytest.raises(NoMappingError):
            search(layer, accelerator, "flexible", objective, space="uneven", factors="perfect")
        return math.inf, math.inf
    least = min(_value(cost, objective) for _, cost in priced)
    even = [_value(cost, objective) for mapping, cost in priced if mapping.even]
    best = search(layer, accelerator, "flexible", objective, space="uneven", factors="perfect")
    assert best.status == "optimal"
    assert best.value == pytest.approx(least, rel=1e-9), (layer, accelerator, objective)
    if even:
        shared = search(layer, accelerator, "flexible", objective, factors="perfect")
        assert shared.value == pytest.approx(min(even), rel=1e-9)
    return least, min(even, default=math.inf)


@pytest.mark.parametrize("seed", range(PROBLEMS))
def test_exhaustive(seed: int) -> None:
    compare_with_all(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_exhaustive_larger(seed: int) -> None:
    compare_with_all(1000 + seed, 20_000)


def test_operands_with_tiles_of_their_own_cost_less() -> None:
    """Of some problems, or nothing is tested here."""
    assert all(least < even * (1 - 1e-9) for least, even in map(compare_with_all, (4, 10)))
