"""The search finds the optimum: against exhaustive enumeration, and against random mappings."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest

from picojoule.accelerator import (
    Array,
    Charging,
    HopCharge,
    Level,
    Network,
    SparseSupport,
    ZeroSkip,
)
from picojoule.cost import evaluate
from picojoule.errors import NoMappingError
from picojoule.legality import violations
from picojoule.mapper.solver import search
from picojoule.mapping import Mapping, Stage
from picojoule.workload import DIMS, OPERANDS, Extents, Layer, Operand, PerOperand
from tests.strategies import machine

PROBLEMS = 60


def _layer(rng):
    """Two or three dimensions that matter, small bounds, windows now and then."""
    bounds = dict.fromkeys("NGMCPQRS", 1)
    kind = rng.choice(["window", "window", "gemm", "mixed"])
    names = {"window": "PR", "gemm": "MC", "mixed": rng.choice(["MPR", "CPR", "MCP", "NMC"])}[kind]
    for name in names:
        bounds[name] = rng.randint(2, 5 if len(names) == 2 else 3)
    shape = Extents(**bounds)
    stride, dilation = rng.choice([1, 1, 2]), rng.choice([1, 1, 2])
    whole = (shape.P - 1) * stride + (shape.R - 1) * dilation + 1
    before = rng.randint(0, min(2, whole - 1))
    after = rng.randint(0, min(2, whole - 1 - before))
    return Layer(
        "x",
        shape,
        stride=(stride, 1),
        dilation=(dilation, 1),
        padding=(before, after, 0, 0),
        density=PerOperand(rng.choice([0.4, 1.0]), rng.choice([0.4, 1.0]), 1.0),
    )


def _machine(rng):
    depth = rng.choice([2, 3, 3])
    capacities = [None] + [rng.choice([6, 10, 16, 40]) * 16 for _ in range(depth - 1)]
    arrays = [[] for _ in range(depth)]
    arrays[rng.choice([depth - 2, depth - 2, depth - 1])] = rng.choice([[2], [4], [2, 2], [3, 2]])
    found = machine(
        [OPERANDS] * depth,
        arrays,
        charging=rng.choice(list(Charging)),
        hop_charge=rng.choice(list(HopCharge)),
        padded=rng.random() < 0.3,
        capacities=capacities,
        sparse=SparseSupport(
            zeros=rng.choice(list(ZeroSkip)), of=frozenset({Operand.INPUT, Operand.WEIGHT})
        ),
        bypass=rng.choice([(), (), (Operand.WEIGHT,), (Operand.INPUT, Operand.OUTPUT)]),
    )
    return replace(found, nest=tuple(_narrowed(part, rng) for part in found.nest))


def _narrowed(part, rng):
    """The part with limited bandwidths, now and then."""
    if isinstance(part, Array):
        own = PerOperand(*(rng.choice([None, None, 4.0, 32.0]) for _ in OPERANDS))
        return replace(
            part,
            bandwidth=rng.choice([None, 8.0, 64.0]),
            network=rng.choice(list(Network)),
            bandwidths=own,
        )
    return Level(
        tuple(replace(m, bandwidth=rng.choice([None, None, 16.0, 64.0])) for m in part.memories)
    )


def _every_mapping(layer, accelerator):
    """All legal mappings: every tile, every unrolling, every order, every bypass."""
    depth = len(accelerator.levels)
    live = [n for n in range(8) if layer.bounds[n] > 1]
    orders = list(itertools.permutations([DIMS[n] for n in live]))
    sizes = [math.prod(a.size for a in array.axes) if array else 1 for array in accelerator.arrays]

    def chains(bound):
        def walk(tiles, fans):
            level = len(tiles) - 1
            inner = [1] if level == depth - 1 else range(1, tiles[-1] + 1)
            for piece in inner:
                for fan in range(1, min(sizes[level], -(-tiles[-1] // piece)) + 1):
                    if level == depth - 1:
                        yield tiles, (*fans, fan)
                    else:
                        yield from walk((*tiles, piece), (*fans, fan))

        return list(walk((bound,), ()))

    keeps = [
        [
            level.keeps - frozenset(skipped)
            for n in range(len(level.may_bypass) + 1)
            for skipped in itertools.combinations(sorted(level.may_bypass, key=str), n)
        ]
        for level in accelerator.levels
    ]
    for picked in itertools.product(*(chains(layer.bounds[n]) for n in live)):
        tiles = [[1] * 8 for _ in range(depth)]
        fans = [[1] * 8 for _ in range(depth)]
        for n, (tile, fan) in zip(live, picked, strict=True):
            for level in range(depth):
                tiles[level][n], fans[level][n] = tile[level], fan[level]
        if any(math.prod(fan) > size for fan, size in zip(fans, sizes, strict=True)):
            continue
        spreads = [_spread(fan, array) for fan, array in zip(fans, accelerator.arrays, strict=True)]
        if any(spread is None for spread in spreads):
            continue
        for kept in itertools.product(*keeps):
            stages = [
                Stage(Extents(*tile), (), k, spread)
                for tile, k, spread in zip(tiles, kept, spreads, strict=True)
            ]
            if violations(layer, accelerator, Mapping(tuple(stages))):
                continue
            for order in itertools.product(orders, repeat=depth - 1):
                yield Mapping(
                    tuple(
                        Stage(s.tile, o, s.keeps, s.spatial)
                        for s, o in zip(stages, [*order, ()], strict=True)
                    )
                )


def _spread(fan, array):
    if array is None:
        return ()
    splits = [
        [
            s
            for s in itertools.product(*(range(1, min(f, a.size) + 1) for a in array.axes))
            if math.prod(s) >= f
        ]
        for f in fan
    ]
    for choice in itertools.product(*splits):
        axes = list(zip(*choice, strict=True))
        if all(math.prod(x) <= a.size for x, a in zip(axes, array.axes, strict=True)):
            return tuple(Extents(*x) for x in axes)
    return None


def _value(cost, objective):
    return {"energy": cost.energy, "latency": cost.cycles, "edp": cost.energy * cost.cycles}[
        objective
    ]


@pytest.mark.parametrize("seed", range(8))
def test_front(seed):
    rng = random.Random(1000 + seed)
    layer, accelerator = _layer(rng), _machine(rng)
    points = set()
    for tried, mapping in enumerate(_every_mapping(layer, accelerator), start=1):
        cost = evaluate(layer, accelerator, mapping)
        points.add((cost.cycles, cost.energy))
        if tried > 20_000:
            pytest.skip("too many mappings to enumerate")
    if not points:
        return
    front, least = [], math.inf
    for cycles, energy in sorted(points):
        if energy < least * (1 - 1e-9):
            front.append((energy, cycles))
            least = energy
    found = search(layer, accelerator, "flexible", pareto=True)
    assert all(point.status == "optimal" for point in found.front)
    assert [x for point in found.front for x in (point.cost.energy, point.cost.cycles)] == (
        pytest.approx([x for point in reversed(front) for x in point], rel=1e-9)
    )


@pytest.mark.parametrize("objective", ["energy", "latency", "edp"])
def test_budget_of_nothing(objective):
    """Without any time there is still a mapping, and no wrong claim about it."""
    rng = random.Random(5)
    layer, accelerator = _layer(rng), _machine(rng)
    best = search(layer, accelerator, "flexible", objective)
    hasty = search(layer, accelerator, "flexible", objective, budget=0.0)
    assert hasty.status == "feasible"
    assert hasty.lower_bound <= best.value * (1 + 1e-9) <= hasty.value * (1 + 2e-9)


def _doubled(part):
    if isinstance(part, Array):
        return part
    return Level(tuple(replace(m, capacity=m.capacity and 2 * m.capacity) for m in part.memories))


@pytest.mark.parametrize("seed", range(20))
def test_monotone(seed):
    """More room at the same price, a freer dataflow, or fewer values never cost more."""
    rng = random.Random(2000 + seed)
    layer, accelerator = _layer(rng), _machine(rng)
    try:
        found = search(layer, accelerator, "flexible").value
    except NoMappingError:
        return
    roomy = replace(accelerator, nest=tuple(_doubled(part) for part in accelerator.nest))
    assert search(layer, roomy, "flexible").value <= found * (1 + 1e-9)
    sparser = replace(layer, density=PerOperand(0.3, 0.3, 1.0))
    assert search(sparser, accelerator, "flexible").value <= found * (1 + 1e-9)
    for flow in ("ws", "osa", "nlr"):
        try:
            assert search(layer, accelerator, flow).value >= found * (1 - 1e-9)
        except NoMappingError:
            continue
    assert search(layer, accelerator, factors="perfect", dataflow="flexible").value >= found * (
        1 - 1e-9
    )


@pytest.mark.parametrize("seed", range(PROBLEMS))
def test_exhaustive(seed):
    rng = random.Random(seed)
    layer, accelerator = _layer(rng), _machine(rng)
    objective = rng.choice(["energy", "energy", "energy", "edp", "latency"])
    least = math.inf
    for tried, mapping in enumerate(_every_mapping(layer, accelerator), start=1):
        least = min(least, _value(evaluate(layer, accelerator, mapping), objective))
        if tried > 40_000:
            pytest.skip("too many mappings to enumerate")
    if least == math.inf:
        with pytest.raises(NoMappingError):
            search(layer, accelerator, "flexible", objective)
        return
    found = search(layer, accelerator, "flexible", objective)
    assert found.status == "optimal"
    assert found.lower_bound == found.value
    assert found.value == pytest.approx(least, rel=1e-9)
