"""AccelForge 1.0.467 and we prove the same optima, to the unit.

Its mapper (run once, with Python 3.12; ``benchmarks/peers`` can repeat it) gives the total of a
chain of layers without fusion; each of ours is searched by itself. Two machines: ``flat-65536``
(DRAM 200, a buffer of 65,536 words 6, a MAC 1, no array), and the common machine of
``benchmarks/side_by_side.py`` (12 x 14 elements with registers of 520 B, hops free).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from picojoule.frontends import load
from picojoule.mapper.solver import search
from picojoule.specs import load_accelerator
from picojoule.workload import Layer, conv, linear

HERE = Path(__file__).parent
FLAT = load_accelerator(HERE / "flat-65536.yaml")
COMMON = load_accelerator(HERE.parents[1] / "benchmarks" / "peers" / "both-ends.yaml")


def matmul(rows: int, inner: int, columns: int) -> Layer:
    return linear("x", rows=rows, in_features=inner, out_features=columns)


def window(rows: int) -> Layer:
    return conv("x", input_size=(rows, rows), in_channels=8, out_channels=8, kernel=(3, 3))


@pytest.mark.parametrize(
    ("chain", "energy"),
    [
        ([matmul(64, 64, 64)] * 2, 18_120_704),
        ([matmul(64, 64, 64)] * 3, 27_181_056),
        ([matmul(128, 64, 128), matmul(128, 128, 64)], 65_781_760),  # attention: QK, then AV
        ([matmul(197, 192, 768), matmul(197, 768, 192)], 1_589_976_192),  # DeiT-tiny, FFN
        ([window(12), window(10)], 3_263_424),
    ],
    ids=["matmul twice", "three times", "attention", "feed forward", "convolutions"],
)
def test_chains_without_fusion(chain: Sequence[Layer], energy: int) -> None:
    searched = [search(layer, FLAT) for layer in chain]
    assert all(x.status == "optimal" for x in searched)
    assert sum(x.cost.energy for x in searched) == energy


@pytest.mark.parametrize(
    ("layer", "energy"),
    [(matmul(64, 64, 64), 3_776_512), (load("bvlc-alexnet")["fc8"], 844_799_296)],
    ids=["matmul", "fc8"],
)
def test_an_array_of_registers(layer: Layer, energy: int) -> None:
    best = search(layer, COMMON)
    assert best.status == "optimal"
    assert best.cost.energy == energy
