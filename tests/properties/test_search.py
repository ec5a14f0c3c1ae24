"""The search finds the optimum: against exhaustive enumeration, and against random mappings."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from picojoule.accelerator import (
    Accelerator,
    Array,
    Charging,
    Control,
    HopCharge,
    Level,
    Network,
    SparseSupport,
    ZeroSkip,
)
from picojoule.cost import Cost, evaluate
from picojoule.errors import NoMappingError
from picojoule.legality import violations
from picojoule.mapper.solver import search
from picojoule.mapping import Mapping, Stage
from picojoule.traffic import Chain
from picojoule.workload import DIMS, OPERANDS, Dim, Extents, Layer, Operand, PerOperand
from tests.strategies import machine

PROBLEMS = 60
MAPPINGS = 1500  # of a problem, at most; slow tests take larger ones

CONTROLS = (
    Control(),
    Control(),
    Control(per_cycle=20.0),
    Control(per_element=0.7, per_command=30.0),
    Control(per_command=400.0),
)


def _layer(rng: random.Random) -> Layer:
    """Two or three dimensions that matter, small bounds, windows now and then."""
    bounds = dict.fromkeys("NGMCPQRS", 1)
    kind = rng.choice(["window", "window", "gemm", "mixed"])
    time_steps = rng.choice([1, 1, 1, 2, 20])
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
        time_steps=time_steps,
    )


def _machine(rng: random.Random) -> Accelerator:
    depth = rng.choice([2, 3, 3])
    capacities = [None] + [rng.choice([6, 10, 16, 40]) * 16 for _ in range(depth - 1)]
    arrays: list[list[int]] = [[] for _ in range(depth)]
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
    nest = tuple(_narrowed(part, rng) for part in found.nest)
    return replace(found, nest=nest, control=rng.choice(CONTROLS))


def _narrowed(part: Level | Array, rng: random.Random) -> Level | Array:
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


def _chains(bound: int, sizes: Sequence[int]) -> list[Chain]:
    """Every tile and every unrolling of one dimension at every level."""

    def walk(tiles: tuple[int, ...], fans: tuple[int, ...]) -> Iterator[Chain]:
        level = len(tiles) - 1
        last = level == len(sizes) - 1
        for piece in [1] if last else range(1, tiles[-1] + 1):
            for fan in range(1, min(sizes[level], -(-tiles[-1] // piece)) + 1):
                if last:
                    yield Chain(tiles, (*fans, fan))
                else:
                    yield from walk((*tiles, piece), (*fans, fan))

    return list(walk((bound,), ()))


def _keeps(accelerator: Accelerator) -> list[list[frozenset[Operand]]]:
    """Every bypass at every level."""
    return [
        [
            level.keeps - frozenset(skipped)
            for n in range(len(level.may_bypass) + 1)
            for skipped in itertools.combinations(sorted(level.may_bypass, key=str), n)
        ]
        for level in accelerator.levels
    ]


class _Enumeration:
    """All legal mappings of a problem: every tile, unrolling, order and bypass."""

    def __init__(self, layer: Layer, accelerator: Accelerator) -> None:
        self.layer, self.accelerator = layer, accelerator
        self.depth = len(accelerator.levels)
        self.live = [n for n in range(8) if layer.bounds[n] > 1]
        orders = list(itertools.permutations([DIMS[n] for n in self.live]))
        self.orders = list(itertools.product(orders, repeat=self.depth - 1))
        self.sizes = [
            math.prod(axis.size for axis in array.axes) if array else 1
            for array in accelerator.arrays
        ]
        self.chains = [_chains(layer.bounds[n], self.sizes) for n in self.live]
        self.keeps = list(itertools.product(*_keeps(accelerator)))

    def stages(self, most: int) -> list[list[Stage]] | None:
        """The stages of all mappings, without their orders; None if there are too many."""
        if math.prod(map(len, self.chains)) > 8 * most:
            return None  # not even worth counting
        found: list[list[Stage]] = []
        for picked in itertools.product(*self.chains):
            found += self._legal(picked)
            if len(found) * len(self.orders) > most:
                return None
        return found

    def _legal(self, picked: Sequence[Chain]) -> Iterator[list[Stage]]:
        tiles = [[1] * 8 for _ in range(self.depth)]
        fans = [[1] * 8 for _ in range(self.depth)]
        for n, (tile, fan) in zip(self.live, picked, strict=True):
            for level in range(self.depth):
                tiles[level][n], fans[level][n] = tile[level], fan[level]
        if any(math.prod(fan) > size for fan, size in zip(fans, self.sizes, strict=True)):
            return
        arrays = self.accelerator.arrays
        spreads = [_spread(fan, array) for fan, array in zip(fans, arrays, strict=True)]
        if any(spread is None for spread in spreads):
            return
        for kept in self.keeps:
            stages = [
                Stage(Extents(*tile), (), k, spread)
                for tile, k, spread in zip(tiles, kept, spreads, strict=True)
            ]
            if not violations(self.layer, self.accelerator, Mapping(tuple(stages))):
                yield stages

    def costs(self, most: int) -> list[Cost] | None:
        """The costs of all mappings; None if there are more than *most*."""
        legal = self.stages(most)
        if legal is None:
            return None
        return [
            evaluate(self.layer, self.accelerator, Mapping(tuple(map(_ordered, stages, order))))
            for stages in legal
            for order in ((*outer, ()) for outer in self.orders)
        ]


def _ordered(stage: Stage, order: tuple[Dim, ...]) -> Stage:
    return Stage(stage.tile, order, stage.keeps, stage.spatial)


def _problem(
    rng: random.Random,
    most: int,
    draw_layer: Callable[[random.Random], Layer] = _layer,
    draw_machine: Callable[[random.Random], Accelerator] = _machine,
) -> tuple[Layer, Accelerator, list[Cost]]:
    """A layer, an accelerator, and the costs of all mappings, which are at most *most*.

    They are counted before one is priced, and of those with too many another is drawn.
    """
    while True:
        layer, accelerator = draw_layer(rng), draw_machine(rng)
        costs = _Enumeration(layer, accelerator).costs(most)
        if costs is not None:
            return layer, accelerator, costs


def _spread(fan: Sequence[int], array: Array | None) -> tuple[Extents, ...] | None:
    if array is None:
        return ()
    splits = [
        [
            s
            for s in itertools.product(
                *(range(1, (min(f, a.size) if dim in a.dims else 1) + 1) for a in array.axes)
            )
            if math.prod(s) >= f
        ]
        for dim, f in zip(DIMS, fan, strict=True)
    ]
    for choice in itertools.product(*splits):
        axes = list(zip(*choice, strict=True))
        if all(math.prod(x) <= a.size for x, a in zip(axes, array.axes, strict=True)):
            return tuple(Extents(*x) for x in axes)
    return None


def _value(cost: Cost, objective: str) -> float:
    return {"energy": cost.energy, "latency": cost.cycles, "edp": cost.energy * cost.cycles}[
        objective
    ]


@pytest.mark.parametrize("seed", range(8))
def test_front(seed: int) -> None:
    layer, accelerator, costs = _problem(random.Random(1000 + seed), MAPPINGS)
    points = {(cost.cycles, cost.energy) for cost in costs}
    if not points:
        with pytest.raises(NoMappingError):
            search(layer, accelerator, "flexible", pareto=True)
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
def test_budget_of_nothing(objective: str) -> None:
    """Without any time there is still a mapping, and no wrong claim about it."""
    rng = random.Random(5)
    layer, accelerator = _layer(rng), _machine(rng)
    best = search(layer, accelerator, "flexible", objective)
    hasty = search(layer, accelerator, "flexible", objective, budget=0.0)
    assert hasty.status == "feasible"
    assert hasty.lower_bound <= best.value * (1 + 1e-9) <= hasty.value * (1 + 2e-9)


def _doubled(part: Level | Array) -> Level | Array:
    if isinstance(part, Array):
        return part
    return Level(tuple(replace(m, capacity=m.capacity and 2 * m.capacity) for m in part.memories))


@pytest.mark.parametrize("seed", range(20))
def test_monotone(seed: int) -> None:
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


def _window_layer(rng: random.Random) -> Layer:
    """A window, and perhaps one more dimension, so that inputs can be handed on or fetched anew."""
    names = rng.choice(["PR", "PR", "QS", "PRM", "PRC", "PRQ", "PRS", "QSR"])
    bounds = dict.fromkeys("NGMCPQRS", 1)
    for name in names:
        bounds[name] = rng.randint(2, 4 if len(names) == 2 else 3)
    shape = Extents(**bounds)
    stride, dilation = (rng.choice([1, 1, 2]), rng.choice([1, 1, 2])), (rng.choice([1, 1, 2]), 1)
    padding: list[int] = []
    for axis in (0, 1):
        window = (shape[6 + axis] - 1) * dilation[axis] + 1
        whole = (shape[4 + axis] - 1) * stride[axis] + window
        before = rng.randint(0, min(1, whole - 1))
        padding += [before, rng.randint(0, min(1, whole - 1 - before))]
    return Layer(
        "x",
        shape,
        stride=stride,
        dilation=dilation,
        padding=(padding[0], padding[1], padding[2], padding[3]),
    )


def _handing_machine(rng: random.Random) -> Accelerator:
    """Few memories for inputs; arrays hand them on, memories fetch them anew, now and then."""
    input_, weight, output = OPERANDS
    depth = rng.choice([2, 2, 3])
    inside = ([output], [output, weight], [weight], [output, input_], OPERANDS)
    keeps: list[Sequence[Operand]] = [OPERANDS, *(rng.choice(inside) for _ in range(depth - 1))]
    if depth == 3:
        keeps[1] = rng.choice([OPERANDS, [input_, output]])
    arrays: list[list[int]] = [[] for _ in range(depth)]
    arrays[rng.choice([depth - 2, depth - 1])] = rng.choice([[2], [3], [4], [2, 2], [3, 2]])
    found = machine(
        keeps,
        arrays,
        charging=rng.choice(list(Charging)),
        hop_charge=rng.choice(list(HopCharge)),
        padded=rng.random() < 0.4,
        capacities=[None] + [rng.choice([4, 8, 16, 40]) * 16 for _ in range(depth - 1)],
    )
    nest: list[Level | Array] = []
    for index, part in enumerate(found.nest):
        if isinstance(part, Array):
            nest.append(_handing(part, rng) if rng.random() < 0.85 else part)
        elif index and rng.random() < 0.5:
            anew = frozenset(rng.sample([Dim.M, Dim.P, Dim.Q, Dim.R, Dim.S], rng.randint(1, 3)))
            nest.append(Level(tuple(replace(m, refetches=anew) for m in part.memories)))
        else:
            nest.append(part)
    accelerator = replace(found, nest=tuple(nest))
    assert not accelerator.problems()
    return accelerator


def _handing(array: Array, rng: random.Random) -> Array:
    """The array with inputs handed on along all axes, or along one of two."""
    axes = [replace(axis, forwards=frozenset({Operand.INPUT})) for axis in array.axes]
    if len(axes) == 2 and rng.random() < 0.4:
        axes = [
            replace(axes[0], dims=frozenset(DIMS) - {Dim.Q}),
            replace(array.axes[1], dims=frozenset(DIMS) - {Dim.P}),
        ]
    return replace(array, axes=tuple(axes), hop_energy=rng.choice([0.1, 2.0]))


@pytest.mark.parametrize("seed", range(PROBLEMS))
def test_exhaustive_where_inputs_are_handed_on_or_fetched_anew(seed: int) -> None:
    rng = random.Random(seed)
    _compare_with_all(rng, MAPPINGS, _window_layer, _handing_machine)


@pytest.mark.parametrize("seed", range(PROBLEMS))
def test_exhaustive(seed: int) -> None:
    _compare_with_all(random.Random(seed), MAPPINGS)


def _deep_layer(rng: random.Random) -> Layer:
    """One dimension or two, so that all mappings of a deep machine can be walked."""
    names = rng.choice(["M", "C", "P", "MC", "PR", "PM", "CR", "NC"])
    bounds = dict.fromkeys("NGMCPQRS", 1)
    for name in names:
        bounds[name] = rng.randint(4, 9) if len(names) == 1 else rng.randint(2, 3)
    shape = Extents(**bounds)
    return Layer("x", shape, time_steps=rng.choice([1, 1, 1, 2]))


def _deep_machine(rng: random.Random) -> Accelerator:
    """Three levels with two arrays, or four; memories keep some operands, or may pass them by."""
    depth = rng.choice([3, 4])
    arrays: list[list[int]] = [[] for _ in range(depth)]
    for level in rng.sample(range(depth), 2 if depth == 3 else rng.choice([0, 1])):
        arrays[level] = rng.choice([[2], [3], [4], [2, 2]])
    inside = [rng.choice([OPERANDS, OPERANDS, OPERANDS[:2], OPERANDS[1:]]) for _ in range(depth)]
    found = machine(
        [OPERANDS, *inside[1:]],
        arrays,
        charging=rng.choice(list(Charging)),
        hop_charge=rng.choice(list(HopCharge)),
        capacities=[None] + [rng.choice([3, 5, 9, 16, 40]) * 16 for _ in range(depth - 1)],
        bypass=rng.choice([(), (), (Operand.WEIGHT,)]),
    )
    return replace(found, nest=tuple(_narrowed(part, rng) for part in found.nest))


@pytest.mark.parametrize("seed", range(PROBLEMS))
def test_exhaustive_on_deep_machines(seed: int) -> None:
    _compare_with_all(random.Random(5000 + seed), 2 * MAPPINGS, _deep_layer, _deep_machine)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_exhaustive_larger(seed: int) -> None:
    _compare_with_all(random.Random(3000 + seed), 20_000)


def _compare_with_all(
    rng: random.Random,
    most: int,
    draw_layer: Callable[[random.Random], Layer] = _layer,
    draw_machine: Callable[[random.Random], Accelerator] = _machine,
) -> None:
    layer, accelerator, costs = _problem(rng, most, draw_layer, draw_machine)
    objective = rng.choice(["energy", "energy", "energy", "edp", "latency"])
    if not costs:
        with pytest.raises(NoMappingError):
            search(layer, accelerator, "flexible", objective)
        return
    least = min(_value(cost, objective) for cost in costs)
    found = search(layer, accelerator, "flexible", objective)
    assert found.status == "optimal"
    assert found.lower_bound == found.value
    assert found.value == pytest.approx(least, rel=1e-9)


def test_an_unrolling_that_no_axes_multiply_to_is_not_priced() -> None:
    """Three elements on two times two are four: one copy more of a weight, which costs."""
    layer = Layer("x", Extents(P=5), input_size=(5, 1))
    chip = machine(
        [OPERANDS] * 3,
        [[], [2, 2], []],
        charging=Charging.BOTH_ENDS,
        hop_charge=HopCharge.EVERY,
        padded=False,
        capacities=[None, 640, 96],
        sparse=SparseSupport(),
        bypass=(),
    )
    found = search(layer, chip, "flexible", "edp")
    costs = _Enumeration(layer, chip).costs(100_000)
    assert costs is not None
    assert found.status == "optimal"
    assert found.value == pytest.approx(min(_value(cost, "edp") for cost in costs), rel=1e-12)
