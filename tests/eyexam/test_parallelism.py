"""The fewest compute steps: by hand, and against every legal mapping."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from picojoule.accelerator import Accelerator, Array, Axis, Level
from picojoule.dataflow import DATAFLOWS, Dataflow
from picojoule.errors import NoMappingError
from picojoule.eyexam.parallelism import Limit, Parallelism
from picojoule.legality import violations
from picojoule.mapper.solver import search
from picojoule.mapping import Mapping, Stage
from picojoule.specs import load_accelerator
from picojoule.traffic import compute_steps
from picojoule.workload import DIMS, OPERANDS, Dim, Extents, Layer, Operand
from tests.strategies import machine

FLEXIBLE = DATAFLOWS["flexible"]

Tiles = tuple[int, ...]  # of one dimension, from the outside in
Fans = tuple[tuple[int, ...], ...]  # by level, the factor along each axis
Chain = tuple[Tiles, Fans]


def steps(layer: Layer, accelerator: Accelerator, flow: Dataflow = FLEXIBLE) -> list[int]:
    space = Parallelism(layer, accelerator, flow)
    return [space.widest(limit).steps for limit in Limit]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        # 12 elements for 5 filters by 7 channels, one axis each (the example of Eyexam's step 4).
        # One long array of 12: ceil(5/a) ceil(7/b) with ab <= 12 is least at a=3, b=4: 2*2 = 4
        # (a=5, b=2: 1*4; a=1, b=7: 5*1).
        ((3, 4), (1, 1, 4, 4)),
        # 2 x 6: ceil(5/2) ceil(7/6) = 6.
        ((2, 6), (1, 1, 4, 6)),
        # 4 x 3: ceil(5/4) ceil(7/3) = 6.
        ((4, 3), (1, 1, 4, 6)),
    ],
)
def test_twelve_elements(axes: tuple[int, int], expected: tuple[int, ...]) -> None:
    layer = Layer("x", Extents(M=5, C=7))
    wired = Array(
        "pes",
        (Axis("rows", axes[0], frozenset({Dim.M})), Axis("columns", axes[1], frozenset({Dim.C}))),
    )
    free = machine([OPERANDS, OPERANDS], [[], []])
    accelerator = replace(free, nest=(free.nest[0], wired, free.nest[1]))
    assert tuple(steps(layer, accelerator)[:4]) == expected


def test_row_stationary_on_the_chip() -> None:
    """JSSC'17 Table V: 154 (151 on average), 135 and 156 of 168 elements at work."""
    chip, flow = load_accelerator("eyeriss"), DATAFLOWS["rs"]
    # conv1: 11 rows of taps by 14 of 55 output rows: 4 strips for 55, so 55/4 * 11 = 151.25.
    conv1 = Layer("conv1", Extents(M=96, C=3, P=55, Q=55, R=11, S=11), stride=(4, 4))
    spread = Parallelism(conv1, chip, flow).widest(Limit.AXES)
    assert conv1.macs / spread.steps == 151.25
    # In one long array of 168: 5 output rows by 11 by 3 channels.
    assert conv1.macs / Parallelism(conv1, chip, flow).widest(Limit.ELEMENTS).steps == 165
    # conv3: 3 x 13 by 4 sets.
    conv3 = Layer("conv3", Extents(M=384, C=256, P=13, Q=13, R=3, S=3))
    assert conv3.macs / Parallelism(conv3, chip, flow).widest(Limit.STORAGE).steps == 156


def test_without_limits_every_mac_is_done_at_once() -> None:
    """Whatever a dataflow wants an element to hold (rows of taps) is no limit of the shape."""
    chip = load_accelerator("eyeriss")
    conv1 = Layer("conv1", Extents(M=96, C=3, P=55, Q=55, R=11, S=11), stride=(4, 4))
    for name in ("rs", "flexible"):
        assert Parallelism(conv1, chip, DATAFLOWS[name]).widest(Limit.LAYER).steps == 1


def test_a_capacity_that_binds() -> None:
    """Four elements want four partial sums in the buffer; it holds three words beside the input."""
    layer = Layer("x", Extents(M=4))
    accelerator = machine([OPERANDS, OPERANDS, OPERANDS], [[], [4], []], capacities=[None, 0, None])

    def with_room(words: int) -> Accelerator:
        level = accelerator.levels[1].memories[0]
        nest = (accelerator.nest[0], Level((replace(level, capacity=words * 16),)))
        return replace(accelerator, nest=(*nest, *accelerator.nest[2:]))

    # A tile of m filters takes m weights, m sums and one input: 2m + 1 words.
    assert steps(layer, with_room(9)) == [1, 1, 1, 1, 1]
    assert steps(layer, with_room(8)) == [1, 1, 1, 1, 2]  # m = 3 still takes two steps
    assert steps(layer, with_room(5)) == [1, 1, 1, 1, 2]
    assert steps(layer, with_room(4)) == [1, 1, 1, 1, 4]
    with pytest.raises(NoMappingError, match="nothing fits"):
        steps(layer, with_room(2))


MOST = 60_000  # mappings, orders aside, that a problem here may have


def _problem(seed: int) -> tuple[Layer, Accelerator]:
    """The first problem of a seed's that can be enumerated, with its axes and with a long one."""
    rng = random.Random(seed)
    while True:
        layer, accelerator = _drawn(rng)
        if max(_count(layer, accelerator), _count(layer, _with_long_axis(accelerator))) <= MOST:
            return layer, accelerator


def _drawn(rng: random.Random) -> tuple[Layer, Accelerator]:
    bounds = dict.fromkeys("NGMCPQRS", 1)
    for name in rng.sample("NGMCPQRS", rng.choice([2, 3])):
        bounds[name] = rng.randint(2, 4)
    layer = Layer("x", Extents(**bounds), stride=(rng.choice([1, 2]), 1))
    depth = rng.choice([2, 3])
    capacities: list[int | None] = [None]
    capacities += [rng.choice([3, 5, 8, 14, None]) for _ in range(depth - 1)]
    arrays: list[list[int]] = [[] for _ in range(depth)]
    for level in rng.sample(range(depth), rng.choice([1, 1, 2])):
        arrays[level] = rng.choice([[2], [3], [2, 2], [3, 2]])
    accelerator = machine(
        [OPERANDS] * depth,
        arrays,
        capacities=[None if c is None else 16 * c for c in capacities],
        bypass=rng.choice([(), (Operand.WEIGHT,), (Operand.INPUT, Operand.OUTPUT)]),
    )
    return layer, accelerator


def _options(layer: Layer, accelerator: Accelerator) -> list[list[Chain]]:
    """For each dimension above 1 its tiles, and for each level the factor along each axis."""
    depth = len(accelerator.levels)
    sizes = [[axis.size for axis in a.axes] if a else [] for a in accelerator.arrays]

    def chains(bound: int) -> list[Chain]:
        def walk(level: int, tiles: Tiles, fans: Fans) -> Iterator[Chain]:
            if level == depth:
                yield tiles, fans
                return
            for inner in range(1, tiles[-1] + 1) if level < depth - 1 else [1]:
                for fan in splits(sizes[level]):
                    yield from walk(level + 1, (*tiles, inner), (*fans, fan))

        def splits(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
            if not axes:
                yield ()
                return
            for factor in range(1, min(axes[0], bound) + 1):
                for rest in splits(axes[1:]):
                    yield (factor, *rest)

        return list(walk(0, (bound,), ()))

    return [chains(bound) for bound in layer.bounds if bound > 1]


def _count(layer: Layer, accelerator: Accelerator) -> int:
    return math.prod(map(len, _options(layer, accelerator)))


def _least_steps(layer: Layer, accelerator: Accelerator) -> float:
    """The fewest steps of any legal mapping, by trying them all (orders take no steps)."""
    depth = len(accelerator.levels)
    keeps = [level.keeps - level.may_bypass for level in accelerator.levels]
    sizes = [[axis.size for axis in a.axes] if a else [] for a in accelerator.arrays]
    options = _options(layer, accelerator)
    least: float = math.inf
    live = [n for n in range(8) if layer.bounds[n] > 1]

    def choose(index: int, picked: list[Chain]) -> None:
        nonlocal least
        for level in range(depth):
            for axis, size in enumerate(sizes[level]):
                if math.prod(fans[level][axis] for _, fans in picked) > size:
                    return
        if index < len(live):
            for option in options[index]:
                choose(index + 1, [*picked, option])
            return
        stages = []
        for level in range(depth):
            tile = {DIMS[n].value: t[level] for n, (t, _) in zip(live, picked, strict=True)}
            spatial = tuple(
                Extents(
                    **{DIMS[n].value: f[level][a] for n, (_, f) in zip(live, picked, strict=True)}
                )
                for a in range(len(sizes[level]))
            )
            stages.append(Stage(Extents(**tile), (), keeps[level], spatial))
        mapping = Mapping(tuple(stages))
        taken = compute_steps(mapping)
        if taken < least and not violations(layer, accelerator, mapping):
            least = taken

    choose(0, [])
    return least


@pytest.mark.parametrize("seed", range(40))
def test_no_legal_mapping_takes_fewer_steps(seed: int) -> None:
    layer, accelerator = _problem(seed)
    least = _least_steps(layer, accelerator)
    space = Parallelism(layer, accelerator, FLEXIBLE)
    if least == math.inf:
        with pytest.raises(NoMappingError):
            space.widest(Limit.STORAGE)
        return
    spread = space.widest(Limit.STORAGE)
    assert spread.steps == least == compute_steps(spread.mapping)
    assert not violations(layer, accelerator, spread.mapping)
    # Without capacities; and with one long axis instead of each array's.
    roomy = replace(accelerator, nest=tuple(_unbounded(part) for part in accelerator.nest))
    assert space.widest(Limit.AXES).steps == _least_steps(layer, roomy)
    if sum(isinstance(part, Array) for part in accelerator.nest) == 1:
        long = _with_long_axis(roomy)
        assert space.widest(Limit.ELEMENTS).steps == _least_steps(layer, long)


def _with_long_axis(accelerator: Accelerator) -> Accelerator:
    """Each array as one axis of all its elements."""
    nest = (
        replace(part, axes=(Axis("long", part.size),)) if isinstance(part, Array) else part
        for part in accelerator.nest
    )
    return replace(accelerator, nest=tuple(nest))


def _unbounded(part: Level | Array) -> Level | Array:
    if isinstance(part, Array):
        return part
    return Level(tuple(replace(memory, capacity=None) for memory in part.memories))


@pytest.mark.parametrize("flow", ["rs", "ws", "osa", "osb", "osc", "is"])
@pytest.mark.parametrize("seed", range(3))
def test_the_mapper_agrees(flow: str, seed: int) -> None:
    """Without bandwidths the least latency is the fewest steps, whatever the dataflow demands."""
    rng = random.Random(f"{flow}{seed}")
    bounds = Extents(
        N=rng.randint(1, 2),
        M=rng.randint(1, 6),
        C=rng.randint(1, 6),
        P=rng.randint(1, 7),
        Q=rng.randint(1, 4),
        R=rng.randint(1, 3),
        S=rng.randint(1, 3),
    )
    layer = Layer("x", bounds)
    accelerator = machine(
        [OPERANDS] * 3,
        [[], rng.choice([[4], [3, 4], [2, 6]]), []],
        capacities=[None, rng.choice([40, 100, 400]) * 16, rng.choice([6, 12, 40]) * 16],
        bypass=OPERANDS,
    )
    try:
        found = search(layer, accelerator, flow, "latency")
    except NoMappingError:
        with pytest.raises(NoMappingError):
            Parallelism(layer, accelerator, DATAFLOWS[flow]).widest(Limit.STORAGE)
        return
    taken = steps(layer, accelerator, DATAFLOWS[flow])
    assert found.cost.compute_cycles == taken[-1]
    assert taken == sorted(taken)
