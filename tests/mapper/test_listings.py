"""Of every chain there is, some listed one is as good in all that a class asks of it together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from picojoule.mapper import blocks
from picojoule.mapper.blocks import Block
from picojoule.mapper.chains import Cuts
from picojoule.mapper.families import Families
from picojoule.mapper.kernels import Bools, Floats, Ints
from picojoule.mapper.programme import EDP, ENERGY
from picojoule.mapper.relaxation import Relaxation
from picojoule.mapper.space import Space
from picojoule.specs import load_accelerator
from picojoule.workload import DIMS, Extents, Layer
from tests.mapper.test_deep_listings import every_chain


def every(cuts: Cuts) -> tuple[Ints, Ints]:
    """Every chain that limits, arrays and the dataflow allow."""
    tiles, fans = every_chain(list(cuts.limits), list(cuts.fans))
    if cuts.rules is None:
        return tiles, fans
    keep = cuts.rules.allowed(tiles, fans)
    return tiles[keep], fans[keep]


def asks(families: Families, family: int, pattern: Ints) -> tuple[tuple[int, ...], ...]:
    """The numbers of the columns that count for a class, and those that must not differ."""
    first, end = families.columns[family], families.columns[family + 1]
    times = families.time[families.times[family] : families.times[family + 1]]
    limits = families.limit[families.limits[family] : families.limits[family + 1]]
    counts = families.energy[first:end] != 0
    counts |= times.reshape(-1, end - first + 1)[:, :-1].any(axis=0)
    counts |= limits.reshape(-1, end - first).any(axis=0)
    counts[families.part[families.parts[family] : families.parts[family + 1]]] = True
    numbers = []
    for k in first + np.flatnonzero(counts):
        at = families.numbers[k]
        if families.edge[k] >= 0:
            at += pattern[families.edge[k]] * families.stride[k]
        if families.other[k] >= 0:
            at += pattern[families.other[k]]
        numbers.append(int(families.number[at]))
    hops = families.hop[families.hops[family] : families.hops[family + 1]]
    same = [
        (int(families.number[before + pattern[edge]]), int(families.number[after + pattern[edge]]))
        for edge, before, after in hops.tolist()
    ]
    return (tuple(sorted(set(numbers))), *same)


class _Counts:
    """What the options of a block count."""

    def __init__(self, block: Block, gaps: list[int], columns: list[blocks.Column]) -> None:
        self.block, self.columns = block, columns
        self.fans = np.stack([fan[:, gap] for fan in block.fans for gap in gaps], axis=1)
        self._values: dict[int, Floats] = {}

    def values(self, number: int) -> Floats:
        if number not in self._values:
            self._values[number] = self.block._values(self.columns[number])
        return self._values[number]

    def table(self, numbers: tuple[int, ...], allowed: Bools) -> Floats:
        parts = [self.values(number)[:, None] for number in numbers]
        return np.unique(np.concatenate([*parts, self.fans], axis=1)[allowed].round(9), axis=0)

    def allowed(self, held: int, same: tuple[tuple[int, ...], ...]) -> Bools:
        keep = self.block.runs & held == 0
        for before, after in same:
            keep &= self.values(before) == self.values(after)
        return np.asarray(keep)


def unlisted(space: Space, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where some chain is better than all that are listed."""
    relaxation, problems = Relaxation(space), []
    for which in range(len(space.shapes)):
        classes = relaxation.classes(which, EDP if space.timed else ENERGY, math.inf)
        families, members = classes.families, classes.members
        columns = list(relaxation._banks[which]._numbers)
        questions = {
            (asks(families, family, pattern), tuple(held.tolist()))
            for first, pattern, held in zip(*members, strict=True)
            for family in (first, *range(*families.variants[first]))
        }
        for b, block in enumerate(space.blocks[which]):
            listed = _Counts(block, space.array_gaps, columns)
            with monkeypatch.context() as patch:
                patch.setattr(blocks, "chains", every)
                brute = _Counts(Block(block.key), space.array_gaps, columns)
            for numbers, *same, held in {
                (
                    tuple(n for n in one[0] if np.ptp(brute.values(n))),
                    *one[1:],
                    held[b],
                )
                for one, held in questions
            }:
                have = listed.table(numbers, listed.allowed(held, tuple(same)))
                for line in brute.table(numbers, brute.allowed(held, tuple(same))):
                    if not (have <= line).all(axis=1).any():
                        problems.append(f"{block.dims}: {line} of {[columns[n] for n in numbers]}")
                        break
    return problems


def layer(stride: int = 1, padding: int = 0, dilation: int = 1, **bounds: int) -> Layer:
    shape = Extents(**(dict.fromkeys((dim.value for dim in DIMS), 1) | bounds))
    return Layer(
        "x", shape, stride=(stride, 1), padding=(padding, padding, 0, 0), dilation=(dilation, 1)
    )


LAYERS = [
    layer(M=13, C=14),
    layer(N=6, M=7, P=5, R=2),
    layer(M=9, P=6, R=3, padding=1),
    layer(P=6, R=3, dilation=2),
]
LONGER = [layer(P=7, R=4, stride=2), layer(P=5, R=6, stride=3)]


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("one", LAYERS)
@pytest.mark.parametrize("dataflow", ["flexible", "rs"])
def test_three_levels(
    dataflow: str, one: Layer, timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator = load_accelerator("eyeriss")
    space = Space(one, accelerator, accelerator.dataflow(dataflow), timed=timed)
    assert space.complete
    assert not unlisted(space, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("one", LONGER)
def test_strides(one: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = load_accelerator("eyeriss")
    space = Space(one, accelerator, accelerator.dataflow("flexible"), timed=True)
    assert not unlisted(space, monkeypatch)


@pytest.mark.parametrize("one", [*LAYERS[:3], layer(P=6, R=3, padding=2)])
def test_padding_that_is_not_charged(one: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = replace(load_accelerator("eyeriss"), charge_padding=False)
    space = Space(one, accelerator, accelerator.dataflow("flexible"), timed=False)
    assert not unlisted(space, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("one", LAYERS[:3])
def test_memories_that_may_be_passed_by(one: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = load_accelerator("eyeriss-isca16")
    space = Space(one, accelerator, accelerator.dataflow("flexible"), timed=False)
    assert not unlisted(space, monkeypatch)


DEEP = [layer(M=6, C=5), layer(M=5, P=4, R=3), layer(P=6, R=3, padding=1)]


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize(
    "name", ["tpu-v1-like", "simba-like", "eyeriss-v2", "nvdla-512-like", "gap9-ne16-like"]
)
def test_two_arrays_or_four_levels(name: str, timed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = load_accelerator(name)
    for one in DEEP:
        space = Space(one, accelerator, accelerator.dataflow("flexible"), timed=timed)
        assert space.complete
        assert not unlisted(space, monkeypatch)
