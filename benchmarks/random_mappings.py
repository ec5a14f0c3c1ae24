"""No random mapping is cheaper than a proved optimum, on every kind of machine, even and uneven.

    python -m benchmarks.random_mappings             writes results/random-mappings.csv
    python -m benchmarks.random_mappings --mappings 300 --chip eyeriss

For each row the optimum is searched and proved, then as many random mappings are priced that the
accelerator and the dataflow allow, and as many beside the optimum, where a mistake of a per cent
would show. They share nothing with the search: tiles, unrollings, orders and stages are drawn from
what :mod:`picojoule.legality` and a dataflow's own words allow. What is finished is kept in
``.work/`` and not run again while the sources of the search are the same. Ends with 1 if a mapping
is cheaper than an optimum, or than what a search says nothing is below.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import random
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import picojoule
from benchmarks.builds import HERE, WORK
from benchmarks.record import Record, Row, progress
from picojoule.accelerator import Accelerator, Array
from picojoule.cost import evaluate
from picojoule.dataflow import DATAFLOWS, Dataflow, Size
from picojoule.files import write_atomically
from picojoule.legality import violations
from picojoule.mapper.cache import fingerprint
from picojoule.mapper.solver import search
from picojoule.mapping import Mapping, Stage
from picojoule.specs import load_accelerator
from picojoule.workload import DIMS, Dim, Extents, Layer, Operand

MAPPINGS = 10_000
SEED = 0
PATIENCE = 300.0  # seconds for a proof
ROUNDING = 1e-12  # relative
SKIPS = 0.3  # how often an operand passes by a memory that may be bypassed
REORDERED = 0.2  # how often a stage beside the optimum has another order
COLUMNS = (
    *("chip", "kind", "dataflow", "space", "network", "layer", "status", "optimum", "lower_bound"),
    *("best_random", "best_beside", "random_over_optimum", "beside_over_optimum", "below"),
    *("mappings", "seed"),
)


class Case(NamedTuple):
    """A machine of some kind, under a dataflow, and layers to map on it."""

    chip: str
    kind: str
    dataflow: str
    spaces: tuple[str, ...]
    layers: tuple[tuple[str, str], ...]


CONV = ("bvlc-alexnet", "conv3")
FC = ("bvlc-alexnet", "fc8")
DEPTHWISE = ("mobilenetv2", "block14/depthwise")
SCORES = ("bert-base", "encoder.0.attention.scores")
EVEN, BOTH = ("even",), ("even", "uneven")
CASES = (
    Case("eyeriss", "row-stationary", "rs", EVEN, (CONV, DEPTHWISE)),
    Case("eyeriss", "flexible", "flexible", BOTH, (CONV,)),
    Case("eyeriss-isca16", "one shared register file", "flexible", BOTH, (CONV, SCORES)),
    Case("eyeriss-pj", "time that costs", "rs", EVEN, (CONV,)),
    Case("eyeriss-pj", "time that costs", "flexible", BOTH, (CONV,)),
    Case("gap9-ne16-like", "time that costs, three axes", "flexible", BOTH, (CONV,)),
    Case("eyeriss-v2", "two arrays", "rs", EVEN, (CONV, DEPTHWISE)),
    Case("simba-like", "two arrays, four levels", "lockstep", EVEN, (CONV, FC)),
    Case("tpu-v1-like", "four levels", "flexible", EVEN, (CONV, FC)),
)


# -- random mappings ---------------------------------------------------------------------------


def random_mapping(
    rng: random.Random,
    layer: Layer,
    accelerator: Accelerator,
    dataflow: Dataflow,
    *,
    uneven: bool = False,
) -> Mapping:
    """A random mapping that the accelerator and the dataflow allow.

    Args:
        dataflow: any but one that says how often an operand enters an element.
        uneven: with a stage of its own for every operand of a memory; every tile divides the one
            outside it, as in the space of uneven mappings.
    """
    while True:
        draw = _Draw(rng, layer, accelerator, dataflow, uneven)
        mapping = draw.mapping()
        if mapping is not None and not violations(layer, accelerator, mapping):
            return mapping


def mapping_beside(
    rng: random.Random,
    layer: Layer,
    accelerator: Accelerator,
    dataflow: Dataflow,
    best: Mapping,
    *,
    uneven: bool = False,
) -> Mapping:
    """The mapping *best* with one or two dimensions cut another way, or loops in another order."""
    while True:
        draw = _Draw(rng, layer, accelerator, dataflow, uneven, best)
        other = draw.mapping()
        if other is None:
            continue
        changed = set(rng.sample(range(len(DIMS)), rng.randint(0, 2)))
        stages = []
        for one, two in zip(best.stages, other.stages, strict=True):
            spatial = tuple(
                _crossed(a, b, changed) for a, b in zip(one.spatial, two.spatial, strict=True)
            )
            order = two.order if rng.random() < REORDERED else one.order
            tile = _crossed(one.tile, two.tile, changed)
            stages.append(replace(one, tile=tile, spatial=spatial, order=order))
        mapping = Mapping(tuple(stages), best.levels)
        if not violations(layer, accelerator, mapping):
            return mapping


def _crossed(one: Extents, other: Extents, changed: Collection[int]) -> Extents:
    return Extents(*(other[n] if n in changed else one[n] for n in range(len(DIMS))))


class _Draw:
    """One attempt at a random mapping.

    Args:
        like: the mapping has the stages of this one.
    """

    def __init__(
        self,
        rng: random.Random,
        layer: Layer,
        accelerator: Accelerator,
        dataflow: Dataflow,
        uneven: bool,
        like: Mapping | None = None,
    ) -> None:
        self.rng, self.layer, self.dataflow, self.uneven = rng, layer, dataflow, uneven
        self.accelerator = accelerator
        self.arrays = accelerator.arrays
        self.element = max((n for n, array in enumerate(self.arrays) if array), default=-1)
        self.levels, self.keeps = self._stages()
        if like is not None:
            self.levels = list(like.levels)
            self.keeps = [stage.keeps for stage in like.stages]

    def _stages(self) -> tuple[list[int], list[frozenset[Operand]]]:
        """Levels and operands of the stages."""
        levels, keeps = [], []
        for number, level in enumerate(self.accelerator.levels):
            skips = {o for o in sorted(level.may_bypass, key=str) if self.rng.random() < SKIPS}
            kept = level.keeps - skips
            if self.dataflow.element_keeps is not None and number > self.element:
                kept = level.keeps & self.dataflow.element_keeps
            parts = [kept]
            if self.uneven and number and len(kept) > 1:
                parts = [frozenset({o}) for o in self.rng.sample(sorted(kept, key=str), len(kept))]
            levels += [number] * len(parts)
            keeps += parts
        return levels, keeps

    def mapping(self) -> Mapping | None:
        """The mapping, if what was drawn is one."""
        tiles, stages = [list(self.layer.bounds)], []
        for stage in range(len(self.levels)):
            array = self._beneath(stage)
            if stage + 1 < len(self.levels):
                tiles.append(self._inner(tiles[-1], self.levels[stage + 1]))
            inner = tiles[stage + 1] if stage + 1 < len(self.levels) else [1] * len(DIMS)
            spatial = self._spread(array, tiles[stage], inner)
            if spatial is None:
                return None
            stages.append((spatial, self._order(stage)))
        return Mapping(
            tuple(
                Stage(Extents(*tile), order, keeps, spatial)
                for tile, keeps, (spatial, order) in zip(tiles, self.keeps, stages, strict=True)
            ),
            tuple(self.levels),
        )

    def _beneath(self, stage: int) -> Array | None:
        level = self.levels[stage]
        last = stage + 1 == len(self.levels) or self.levels[stage + 1] > level
        return self.arrays[level] if last else None

    def _inner(self, tile: Sequence[int], level: int) -> list[int]:
        """Tiles inside a tile: random, but for what the dataflow asks of that level."""
        return [self._size(dim, size, level) for dim, size in zip(DIMS, tile, strict=True)]

    def _size(self, dim: Dim, outer: int, level: int) -> int:
        dataflow, bound = self.dataflow, self.layer.bounds[DIMS.index(dim)]
        asked = {self.element: dataflow.buffer_tile, self.element + 1: dataflow.element_tile}
        if any(level <= place and of.get(dim) is Size.FULL for place, of in asked.items()):
            return bound  # what is whole further in is whole here
        if level == self.element + 1 and dim in dataflow.unrolled:
            return 1
        if asked.get(level, {}).get(dim) is Size.ONE:
            return 1
        if level <= self.element and (dim in dataflow.unrolled or self._whole(dim)):
            return bound
        if level == self.element and dim in dataflow.spanned:  # a strip that fits an axis
            return self.rng.randint(1, min(outer, self._longest(dim)))
        if self.uneven:
            return self.rng.choice(_divisors(outer))
        return max(1, int(outer ** self.rng.random()))

    def _whole(self, dim: Dim) -> bool:
        """Whether the array has room for the whole set that a dimension is part of."""
        array = self.arrays[self.element]
        assert array is not None
        beside = math.prod(self.layer.bounds[DIMS.index(d)] for d in self.dataflow.unrolled)
        bound = self.layer.bounds[DIMS.index(dim)]
        return dim in self.dataflow.spanned and beside * bound <= array.size

    def _longest(self, dim: Dim) -> int:
        array = self.arrays[self.element]
        assert array is not None
        return max(axis.size for axis in array.axes if dim in axis.dims)

    def _spread(
        self, array: Array | None, tile: Sequence[int], inner: Sequence[int]
    ) -> tuple[Extents, ...] | None:
        """An unrolling along each axis: what the dataflow unrolls whole, then what comes."""
        if array is None:
            return ()
        elements = array is self.arrays[self.element]
        left = [axis.size for axis in array.axes]
        need = [-(-t // i) for t, i in zip(tile, inner, strict=True)]
        fans = [[1] * len(DIMS) for _ in array.axes]
        whole = self.dataflow.unrolled | self.dataflow.spanned if elements else frozenset()
        for dim in sorted(whole, key=str):
            n = DIMS.index(dim)
            room = [a for a, axis in enumerate(array.axes) if dim in axis.dims]
            room = [a for a in room if left[a] >= need[n]]
            if not room:
                return None
            a = self.rng.choice(room)
            fans[a][n], left[a], need[n] = need[n], left[a] // need[n], 1
        for a, axis in enumerate(array.axes):
            dims = sorted(axis.dims & self.dataflow.spatial if elements else axis.dims, key=str)
            for dim in self.rng.sample(dims, min(2, len(dims))):
                n = DIMS.index(dim)
                factors = list(range(1, min(left[a], need[n]) + 1))
                if self.uneven:  # steps divide, too
                    factors = [f for f in factors if need[n] % f == 0]
                factor = self.rng.choice(factors)
                fans[a][n] *= factor
                left[a], need[n] = left[a] // factor, -(-need[n] // factor)
        return tuple(Extents(*fan) for fan in fans)

    def _order(self, stage: int) -> tuple[Dim, ...]:
        order = self.rng.sample(DIMS, len(DIMS))
        inner = self.dataflow.inner_loop
        if inner is not None and self.levels[stage] == self.element:
            order.remove(inner)
            order.append(inner)
        return tuple(order)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


# -- the table ---------------------------------------------------------------------------------


def questions(chips: Sequence[str]) -> Iterator[tuple[Case, str, str, str]]:
    """Case, space, network and layer of every row."""
    for case in CASES:
        if not chips or case.chip in chips:
            for space in case.spaces:
                for network, layer in case.layers:
                    yield case, space, network, layer


def asked(case: Case, network: str, name: str) -> tuple[Layer, Accelerator, Dataflow]:
    """The layer, as narrow as the words of the machine, and what it is mapped on."""
    accelerator = load_accelerator(case.chip)
    layer = picojoule.load(network)[name]
    if accelerator.word_bits < max(layer.bits):
        layer = replace(layer, bits=type(layer.bits)(*([int(accelerator.word_bits)] * 3)))
    return layer, accelerator, DATAFLOWS[case.dataflow]


def check(case: Case, space: str, network: str, name: str, mappings: int) -> Row:
    """Search one layer, and price as many random mappings beside what is proved."""
    layer, accelerator, dataflow = asked(case, network, name)
    best = search(layer, accelerator, dataflow, space=space, budget=PATIENCE)
    whole = "balanced" not in best.space
    proved = best.status == "optimal" and whole
    rng = random.Random(f"{SEED} {case.chip} {case.dataflow} {space} {network} {name}")
    uneven = space == "uneven"
    drawn, beside = [], []
    for number in range(mappings):
        mapping = random_mapping(rng, layer, accelerator, dataflow, uneven=uneven)
        drawn.append(evaluate(layer, accelerator, mapping).energy)
        mapping = mapping_beside(rng, layer, accelerator, dataflow, best.mapping, uneven=uneven)
        beside.append(evaluate(layer, accelerator, mapping).energy)
        if number % 100 == 0:
            progress(f"{case.chip} {case.dataflow} {space} {name} {number}")
    floor = best.value if proved else best.lower_bound if whole else 0.0
    return {
        "chip": case.chip,
        "kind": case.kind,
        "dataflow": case.dataflow,
        "space": space,
        "network": network,
        "layer": name,
        "status": "proved" if proved else "not proved" if whole else "among even splits",
        "optimum": f"{best.value:.8g}",
        "lower_bound": f"{best.lower_bound:.8g}",
        "best_random": f"{min(drawn):.8g}",
        "best_beside": f"{min(beside):.8g}",
        "random_over_optimum": f"{min(drawn) / best.value:.6f}",
        "beside_over_optimum": f"{min(beside) / best.value:.6f}",
        "below": sum(cost < floor * (1 - ROUNDING) for cost in drawn + beside),
        "mappings": mappings,
        "seed": SEED,
    }


def main() -> None:
    """Check the rows that the command line asks for."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mappings", type=int, default=MAPPINGS, help="random ones of each row")
    parser.add_argument("--chip", action="append", default=[], help="only this one; no file")
    parser.add_argument("--again", action="store_true", help="run what is finished, too")
    args = parser.parse_args()
    record = Record(WORK / "random-mappings.jsonl", str(fingerprint()), again=args.again)
    rows = []
    for question in questions(args.chip):
        part = " ".join([*map(str, question), str(args.mappings)])
        rows.append(record.once(part, partial(check, *question, args.mappings)))
        sys.stdout.write(" ".join(str(rows[-1][column]) for column in COLUMNS) + "\n")
        sys.stdout.flush()
    if not args.chip and args.mappings == MAPPINGS:
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(HERE / "results" / "random-mappings.csv", table.getvalue())
    sys.exit(any(row["below"] for row in rows))


if __name__ == "__main__":
    main()
