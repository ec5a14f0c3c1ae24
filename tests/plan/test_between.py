"""The bounds of an estimate: of what was priced, in its unit, and below every schedule."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.accelerator import Accelerator
from picojoule.estimate_records import Estimate, load_estimate, parse_estimate
from picojoule.estimation import estimate
from picojoule.frontends import load
from picojoule.plan.bounds import bound
from picojoule.specs import load_accelerator
from picojoule.workload import Layer, Workload
from tests.plan.test_bounds import FLAT, chain, fc
from tests.plan.test_others import residual


def measured(network: Workload, machine: Accelerator = FLAT, **more: str) -> Estimate:
    return estimate(network, machine, dataflow="flexible", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layers", "fused"),
    [
        ((fc("a", 64, 64, 64), fc("b", 64, 64, 64)), 16_433_152),
        (tuple(fc(name, 64, 64, 64) for name in "abc"), 23_805_952),
    ],
)
def test_no_schedule_is_below_and_a_mapper_that_fuses_is_there(
    layers: tuple[Layer, ...], fused: int
) -> None:
    result = measured(chain(*layers))
    bounds = result.between
    assert bounds is not None
    assert bounds == bound(chain(*layers), FLAT)
    assert bounds.fitting == bounds.energy
    assert result.least_kept(bounds) == fused  # AccelForge 1.0.467


def test_what_is_no_least_energy_bounds_none() -> None:
    network = chain(fc("a", 64, 64, 64), fc("b", 64, 64, 64))
    best = measured(network)
    fast = measured(network, objective="latency")
    replayed = estimate(network, FLAT, mappings={x.name: x.mapping for x in best.layers})
    for result in (fast, replayed):
        assert result.between is not None
        assert result.between == best.between
        assert result.least_kept(result.between) is None


def test_a_tensor_that_does_not_fit_saves_nothing_whole() -> None:
    small = replace(FLAT.levels[1].memories[0], capacity=4096.0 * 8)
    machine = replace(FLAT, nest=(FLAT.nest[0], replace(FLAT.levels[1], memories=(small,))))
    bounds = bound(chain(fc("a", 64, 64, 64), fc("b", 64, 64, 64)), machine)
    assert (bounds.fitting, bounds.energy) == (0.0, 412 * 4096)


def test_with_others_counted_what_they_would_be_spared_is_in() -> None:
    apart, counted = (measured(residual(), others=how) for how in ("apart", "count"))
    assert apart.between is not None
    assert counted.between is not None
    assert (apart.between.other > 0, counted.between.other) == (True, 0)
    together = apart.between.energy + apart.between.other
    assert math.isclose(counted.between.energy, together)
    least = [x.least_kept(x.between) for x in (apart, counted)]  # type: ignore[arg-type]
    # Only the pooled output, 32 words, must be stored by an operator.
    assert least[1] == pytest.approx(least[0] + 206 * 32)  # type: ignore[operator]


def test_the_same_in_joules() -> None:
    result = estimate("mobilenetv2", "eyeriss-isca16", others="count")
    shown = result.in_picojoules()
    assert (result.energy_unit, shown.energy_unit) == ("MAC", "pJ")
    own, scaled = result.between, shown.between
    assert own is not None
    assert scaled is not None
    assert (own.energy_unit, scaled.energy_unit) == ("MAC", "pJ")
    assert math.isclose(own.energy / result.energy, scaled.energy / shown.energy)
    assert math.isclose(scaled.tensors[3].energy, 2 * own.tensors[3].energy)
    assert shown.others is not None
    assert math.isclose(shown.by_operand["other"], shown.others.energy)


def test_a_machine_that_runs_other_layers_keeps_the_tensors() -> None:
    """Strides become channels there: another loop nest between the same tensors."""
    machine = load_accelerator("nvdla-2048-like")
    assert machine.fold_strides or machine.winograd
    network = load("mlperf-tiny-ic")
    result = estimate(network, machine)
    assert result.graph == network.graph
    assert result.between is not None
    assert result.workload().graph is None


@pytest.mark.parametrize("others", ["apart", "count"])
def test_a_saved_estimate_says_the_same(others: str, tmp_path: Path) -> None:
    result = measured(residual(), others=others)
    result.save(tmp_path / "run.json")
    again = load_estimate(tmp_path / "run.json")
    assert again == result
    assert again.workload().graph == result.graph
    assert again.energy == result.energy
    assert again.between == result.between
    record = json.loads((tmp_path / "run.json").read_text())
    bounds = result.between
    assert bounds is not None
    assert record["between"]["lower_bound"] == result.least_kept(bounds)
    assert record["between"]["energy"] == bounds.energy
    assert record["others"]["counted"] == (others == "count")


def test_nobody_says() -> None:
    result = measured(replace(residual(), graph=None))
    assert (result.between, result.others, result.graph) == (None, None, None)
    record = result.to_dict()
    assert (record["between"], record["others"]) == (None, None)
    assert "graph" not in record
    # Files of before it was recorded are read as well.
    del record["between"], record["others"]
    assert parse_estimate(record, "old.json") == result


def test_one_layer_of_a_network_lies_between_nothing() -> None:
    from picojoule.question import ask

    question = ask(residual(), FLAT, dataflow="flexible").of_layer("a")
    assert (question.graph, question.network.graph) == (None, None)
