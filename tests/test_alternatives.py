"""What other choices would cost: each is priced as if it had been the choice."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.accelerator import Accelerator, Array, Axis, Compute, Level, Memory
from picojoule.alternatives import Alternative, alternatives
from picojoule.dataflow import DATAFLOWS
from picojoule.errors import NoMappingError
from picojoule.estimate_records import Estimate, LayerEstimate
from picojoule.estimation import estimate
from picojoule.mapper.cache import Cache
from picojoule.workload import OPERANDS, Operand, Workload, conv

ALL = frozenset(OPERANDS)
DRAM = Level((Memory("dram", keeps=ALL, capacity=None, read_energy=200.0, write_energy=200.0),))
BUFFER = Memory(
    "buffer",
    keeps=ALL,
    capacity=2048.0,
    read_energy=6.0,
    write_energy=6.0,
    may_bypass=frozenset({Operand.WEIGHT, Operand.OUTPUT}),
)
PES = Array("pes", (Axis("rows", 2), Axis("columns", 3)), hop_energy=2.0)
SPAD = Memory("spad", keeps=ALL, capacity=128.0, read_energy=1.0, write_energy=1.0)
MACHINE = Accelerator(
    "tiny",
    (DRAM, Level((BUFFER,)), PES, Level((SPAD,))),
    compute=Compute(1.0),
    default_dataflow="rs",
)
SMALL = replace(MACHINE, nest=(DRAM, PES, Level((SPAD,))))
CONV = conv("conv", input_size=(4, 3), in_channels=2, out_channels=3, kernel=(2, 2))


def energy(
    machine: Accelerator, dataflow: str = "rs", batch: int = 1, cache: Cache = True
) -> float:
    network = Workload("net", (CONV.with_batch(batch),), batch=batch)
    return estimate(network, machine, dataflow=dataflow, cache=cache).energy


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def found(kept: Path) -> tuple[Alternative, ...]:
    return alternatives(CONV, MACHINE, cache=kept)


def of_kind(found: tuple[Alternative, ...], kind: str) -> dict[str, Alternative]:
    return {x.change: x for x in found if x.kind == kind}


def test_every_choice_is_there_once(found: tuple[Alternative, ...]) -> None:
    assert set(of_kind(found, "dataflow")) == {
        f"dataflow {name}" for name in DATAFLOWS if name != "rs"
    }
    assert list(of_kind(found, "capacity")) == [
        "buffer of 512 B, not 256 B",
        "buffer of 128 B, not 256 B",
        "spad of 32 B, not 16 B",
        "spad of 8 B, not 16 B",
    ]
    assert list(of_kind(found, "array")) == [
        "pes of 4 x 3, not 2 x 3",
        "pes of 1 x 3, not 2 x 3",
        "pes of 2 x 6, not 2 x 3",
        "pes of 2 x 1, not 2 x 3",
    ]
    assert len(of_kind(found, "bypass")) == 2
    assert len({x.change for x in found}) == len(found) == len(DATAFLOWS) - 1 + 4 + 2 + 4


def test_each_is_priced_as_if_it_were_the_choice(
    found: tuple[Alternative, ...], kept: Path
) -> None:
    made = energy(MACHINE, cache=kept)
    larger = replace(
        MACHINE, nest=(DRAM, Level((replace(BUFFER, capacity=4096.0),)), PES, Level((SPAD,)))
    )
    longer = replace(PES, axes=(Axis("rows", 4), Axis("columns", 3)))
    longer_machine = replace(MACHINE, nest=(DRAM, Level((BUFFER,)), longer, Level((SPAD,))))
    for change, expected in {
        "buffer of 512 B, not 256 B": energy(larger, cache=kept),
        "pes of 4 x 3, not 2 x 3": energy(longer_machine, cache=kept),
        "dataflow flexible": energy(MACHINE, "flexible", cache=kept),
    }.items():
        other = next(x for x in found if x.change == change)
        assert other.estimate is not None
        assert other.estimate.energy == expected
        assert other.energy_ratio == other.ratio == expected / made


def test_more_freedom_never_costs_more(found: tuple[Alternative, ...]) -> None:
    for x in found:
        if x.ratio is None:
            continue
        if x.kind == "dataflow":
            assert (x.ratio <= 1 + 1e-9) if x.change == "dataflow flexible" else x.ratio > 0
        elif x.kind == "bypass":
            assert x.ratio >= 1 - 1e-9, x.change
        elif x.kind == "capacity":
            larger = x.change.startswith(("buffer of 512", "spad of 32"))
            assert (x.ratio <= 1 + 1e-9) if larger else (x.ratio >= 1 - 1e-9), x.change


def test_proved_choices_have_one_ratio(found: tuple[Alternative, ...]) -> None:
    for x in found:
        if x.estimate is None:
            continue
        assert x.estimate.search.status == "optimal"
        assert x.ratio is not None
        assert x.ratio_range is not None
        for end in x.ratio_range:
            assert math.isclose(end, x.ratio, rel_tol=1e-9)


def test_a_bypass_is_forced_the_other_way(found: tuple[Alternative, ...]) -> None:
    made = estimate(Workload("net", (CONV,)), MACHINE).layers[0]
    for operand in (Operand.WEIGHT, Operand.OUTPUT):
        kept = operand in made.mapping.stages[1].keeps
        change = f"{operand.value} past buffer" if kept else f"{operand.value} kept in buffer"
        other = of_kind(found, "bypass")[change]
        assert other.estimate is not None
        assert (operand in other.estimate.mapping.stages[1].keeps) is not kept


@pytest.fixture
def unsearched(found: tuple[Alternative, ...], monkeypatch: pytest.MonkeyPatch) -> LayerEstimate:
    """The layer's estimate, for tests of which choices there are: all cost the same then."""
    made = found[0].estimate or found[-1].estimate
    assert made is not None
    whole = Estimate(
        network="conv",
        accelerator="tiny",
        batch=1,
        energy_unit="MAC",
        dataflow="rs",
        objective="energy",
        layers=(made,),
    )
    monkeypatch.setattr("picojoule.alternatives.price", lambda *_, **__: whole)
    return made


def test_no_bypass_against_the_dataflow(unsearched: LayerEstimate) -> None:
    """Row-stationary elements store all three operands, whatever the machine would allow."""
    open_spad = replace(SPAD, may_bypass=ALL)
    machine = replace(MACHINE, nest=(*MACHINE.nest[:3], Level((open_spad,))))
    assert len(of_kind(alternatives(CONV, machine, chosen=unsearched), "bypass")) == 2
    free = replace(DATAFLOWS["rs"], element_keeps=None)
    others = alternatives(CONV, machine, dataflow=free, chosen=unsearched)
    assert len(of_kind(others, "bypass")) == 5


def test_what_cannot_run_says_why(found: tuple[Alternative, ...]) -> None:
    without = of_kind(found, "dataflow")["dataflow ws"]
    assert without.estimate is None
    assert "does not store the input, output" in without.reason
    assert "conv" not in without.reason  # the reader knows which layer
    record = without.to_dict()
    assert (record["status"], record["ratio"], record["energy"]) == ("none", None, None)


def test_a_choice_without_a_mapping_is_no_choice() -> None:
    small = replace(SMALL, nest=(DRAM, PES, Level((replace(SPAD, capacity=8.0),))))
    with pytest.raises(NoMappingError):
        alternatives(CONV, small)
    # One word of the input, two of the weights (a row), one of the outputs: half is too small.
    tight = replace(SMALL, nest=(DRAM, PES, Level((replace(SPAD, capacity=80.0),))))
    halved = of_kind(alternatives(CONV, tight), "capacity")
    assert halved["spad of 5 B, not 10 B"].estimate is None


def test_what_is_not_proved_has_a_range(unsearched: LayerEstimate) -> None:
    bound = replace(unsearched.search, status="feasible", lower_bound=unsearched.energy / 4)
    chosen = replace(unsearched, search=bound)
    for x in alternatives(CONV, MACHINE, chosen=chosen):
        assert x.ratio == 1
        assert x.ratio_range is not None
        # The other is proved: its optimum is its energy, and the chosen may have a quarter of it.
        assert math.isclose(x.ratio_range[0], 1)
        assert math.isclose(x.ratio_range[1], 4)
    unbound = replace(chosen, search=replace(bound, lower_bound=0.0))
    record = alternatives(CONV, MACHINE, chosen=unbound)[0].to_dict()
    assert record["ratio_range"][1] is None


@pytest.mark.parametrize("objective", ["latency", "edp"])
def test_ratios_are_of_the_objective(objective: str) -> None:
    for x in alternatives(CONV, SMALL, objective=objective):
        if x.estimate is None:
            continue
        assert x.energy_ratio is not None
        assert x.cycles_ratio is not None
        both = x.energy_ratio * x.cycles_ratio
        expected = x.cycles_ratio if objective == "latency" else both
        assert x.ratio is not None
        assert math.isclose(x.ratio, expected)


def test_ratios_of_a_batch_are_per_inference() -> None:
    """A buffer that holds twice the maps lets more images run together; energies stay of one."""
    sets = replace(SMALL, resident_images=True)
    found = alternatives(CONV.with_batch(4), sets, batch=4)
    other = of_kind(found, "dataflow")["dataflow flexible"]
    assert other.estimate is not None
    assert other.estimate.macs == CONV.macs
    assert math.isclose(other.estimate.energy, energy(sets, "flexible", 4))


def test_progress(found: tuple[Alternative, ...], unsearched: LayerEstimate) -> None:
    calls: list[tuple[int, int, str]] = []
    made = alternatives(CONV, MACHINE, chosen=unsearched, progress=lambda *call: calls.append(call))
    assert calls == [(n, len(found), x.change) for n, x in enumerate(made)]


def test_plain_data(found: tuple[Alternative, ...]) -> None:
    assert json.loads(json.dumps([x.to_dict() for x in found])) == [x.to_dict() for x in found]
