"""Two estimates side by side."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from picojoule.comparison import VARIES, Change, compare, settings
from picojoule.errors import PicojouleError
from picojoule.estimate_records import Estimate
from tests.reports.conftest import dense, estimated, network, sparse

__all__ = ["dense", "sparse"]  # the fixtures


def test_parts_sum_to_the_totals(dense: Estimate, sparse: Estimate) -> None:
    found = compare(dense, sparse)
    total = found.totals[0]
    assert (total.before, total.after) == (dense.energy, sparse.energy)
    for changes in (found.by_memory, found.by_operand, [pair.energy for pair in found.layers]):
        assert math.isclose(math.fsum(x.before or 0 for x in changes), dense.energy)
        assert math.isclose(math.fsum(x.after or 0 for x in changes), sparse.energy)


def test_what_was_asked_differently(dense: Estimate, sparse: Estimate) -> None:
    assert compare(dense, sparse).changed == (("weight density", "1.0", "0.25"),)
    assert compare(dense, dense).changed == ()
    other = replace(dense, batch=4, objective="latency")
    assert [what for what, _, _ in compare(dense, other).changed] == ["batch", "objective"]


def test_layers_are_matched_by_name_or_else_by_position(dense: Estimate) -> None:
    renamed = estimated(network(names=("a", "b")))
    assert [pair.name for pair in compare(dense, renamed).layers] == ["conv1 / a", "fc / b"]
    half = replace(dense, layers=dense.layers[1:])
    pairs = compare(dense, half).layers
    assert [(pair.name, pair.after is None) for pair in pairs] == [("conv1", True), ("fc", False)]
    assert pairs[0].energy.ratio is None
    assert [pair.name for pair in compare(half, dense).layers] == ["fc", "conv1"]


def test_units_that_nothing_joins_are_not_compared(dense: Estimate) -> None:
    with pytest.raises(PicojouleError, match="unit_energy: 2 pJ"):
        compare(dense, replace(dense, energy_unit="pJ"))


def with_mac_of(picojoules: float, estimate: Estimate) -> Estimate:
    assert estimate.machine is not None
    return replace(estimate, machine=replace(estimate.machine, unit_energy=picojoules))


def test_chips_in_different_units_are_compared_in_picojoules(dense: Estimate) -> None:
    relative = with_mac_of(2.0, dense)
    joules = relative.in_picojoules()
    assert compare(relative, joules).before == joules
    assert [pair.energy.ratio for pair in compare(joules, relative).layers] == [1.0, 1.0]
    # Multiples of two different MACs are not one unit either.
    halved = compare(relative, with_mac_of(1.0, dense))
    assert halved.to_dict()["energy_unit"] == "pJ"
    assert [pair.energy.ratio for pair in halved.layers] == [0.5, 0.5]
    # The same unit stays what it is, and is shown in joules.
    same = compare(relative, relative)
    assert same.before is relative
    assert same.in_picojoules().before == joules
    assert compare(dense, dense).in_picojoules().before is dense


def test_settings(dense: Estimate) -> None:
    assert settings(dense, "bits") == {"input": 16, "weight": 16, "output": 16}
    first = dense.layers[0].layer
    assert first is not None
    odd = replace(dense.layers[0], layer=replace(first, bits=first.bits._replace(weight=8)))
    mixed = replace(dense, layers=(odd, dense.layers[1]))
    assert settings(mixed, "bits")["weight"] == VARIES
    assert compare(dense, mixed).changed == (("weight bits", "16", VARIES),)


def test_a_ratio_to_nothing_says_nothing() -> None:
    assert Change("x", 0.0, 1.0).ratio is None
    assert Change("x", 2.0, 1.0).to_dict() == {"before": 2.0, "after": 1.0, "ratio": 0.5}
