"""A network's price: sums, batches, repeated layers, files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.accelerator import Accelerator, Array, Axis, Compute, Control, Level, Memory
from picojoule.cost import evaluate
from picojoule.errors import InputError, NoMappingError, PicojouleError
from picojoule.estimate_records import Estimate, LayerEstimate, load_estimate
from picojoule.estimation import estimate
from picojoule.frontends import load
from picojoule.mapper import solver
from picojoule.question import prepared
from picojoule.reports.html import estimate_fragment
from picojoule.reports.text import estimate_report, plain
from picojoule.simulation.simulator import simulate
from picojoule.specs import load_accelerator
from picojoule.workload import OPERANDS, PerOperand, Workload, conv, linear, matmul

ALL = frozenset(OPERANDS)
MACHINE = Accelerator(
    "tiny",
    (
        Level((Memory("dram", keeps=ALL, capacity=None, read_energy=200.0, write_energy=200.0),)),
        Level((Memory("buffer", keeps=ALL, capacity=4096.0, read_energy=6.0, write_energy=6.0),)),
        Array("pes", (Axis("x", 4),), hop_energy=2.0),
        Level((Memory("spad", keeps=ALL, capacity=256.0, read_energy=1.0, write_energy=1.0),)),
    ),
    compute=Compute(1.0),
)
CONV = conv("conv", input_size=(5, 5), in_channels=2, out_channels=3, kernel=(3, 3))
NETWORK = Workload(
    "net",
    (
        CONV,
        linear("fc", in_features=12, out_features=5),
        replace(CONV, name="again"),
        matmul("scores", rows=3, inner=4, columns=3, heads=2),
    ),
    not_counted={"Relu": 2},
)


@pytest.fixture(scope="module")
def priced() -> Estimate:
    return estimate(NETWORK, MACHINE)


def test_sums(priced: Estimate) -> None:
    parts: tuple[Estimate | LayerEstimate, ...] = (priced, *priced.layers)
    for part in parts:
        assert math.isclose(sum(part.by_operand.values()), part.energy)
        assert math.isclose(sum(part.by_memory.values()), part.energy)
    assert math.isclose(sum(x.energy for x in priced.layers), priced.energy)
    assert priced.macs == NETWORK.macs
    assert priced.not_counted == {"Relu": 2}


def test_layers_are_proved_optimal(priced: Estimate) -> None:
    for layer in priced.layers:
        assert layer.search.status == "optimal"
        assert math.isclose(layer.search.lower_bound, layer.energy, rel_tol=1e-6)


def test_equal_layers_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = solver.search, []

    def counting(layer, *rest, **named):  # type: ignore[no-untyped-def]
        seen.append(layer.name)
        return real(layer, *rest, **named)

    monkeypatch.setattr(solver, "search", counting)
    made = estimate(NETWORK, MACHINE)
    assert seen == ["conv", "fc", "scores"]
    assert made["conv"].energy == made["again"].energy


def test_energies_are_per_inference(priced: Estimate) -> None:
    batched = estimate(NETWORK, MACHINE, batch=3)
    assert batched.macs == priced.macs
    assert batched["conv"].macs == priced["conv"].macs
    # Weights are shared by the batch; the cheapest mapping of three can only gain by that.
    assert batched.energy <= priced.energy * (1 + 1e-9)
    for layer in batched.layers:
        assert math.isclose(layer.search.lower_bound, layer.energy, rel_tol=1e-6)


def test_a_given_mapping_is_priced_as_it_is(priced: Estimate) -> None:
    mapping = priced["fc"].mapping
    made = estimate(Workload("one", (NETWORK["fc"],)), MACHINE, mappings={"fc": mapping})
    assert made["fc"].search.status == "given"
    assert math.isclose(made.energy, evaluate(NETWORK["fc"], MACHINE, mapping).energy)
    with pytest.raises(PicojouleError, match="no layer 'fd'"):
        estimate(NETWORK, MACHINE, mappings={"fd": mapping})


def test_options(priced: Estimate) -> None:
    narrow = estimate(NETWORK, MACHINE, bits=8)
    assert narrow.energy < priced.energy
    mixed = prepared(NETWORK, bits={"weight": 4})
    assert {layer.bits for layer in mixed} == {PerOperand(16, 4, 16)}
    assert {x.bits for x in prepared(NETWORK, bits=PerOperand(8, 4, 2))} == {PerOperand(8, 4, 2)}
    with pytest.raises(PicojouleError, match="bits of 'wait'"):
        prepared(NETWORK, bits={"wait": 4})
    assert prepared(NETWORK, density={"weight": 0.5})["fc"].effectual_macs == 30
    with pytest.raises(PicojouleError, match="density of 'wait'"):
        prepared(NETWORK, density={"wait": 0.5})
    with pytest.raises(PicojouleError):
        estimate(NETWORK, MACHINE, dataflow="sr")


def test_nothing_fits() -> None:
    small = replace(
        MACHINE,
        nest=(
            *MACHINE.nest[:3],
            Level((Memory("spad", keeps=ALL, capacity=8.0, read_energy=1, write_energy=1),)),
        ),
    )
    with pytest.raises(NoMappingError):
        estimate(NETWORK, small)


def test_progress() -> None:
    calls: list[tuple[int, int, str]] = []
    estimate(NETWORK, MACHINE, progress=lambda *call: calls.append(call))
    assert [call[0] for call in calls] == [0, 1, 2, 3]
    assert {call[1] for call in calls} == {4}


def test_round_trip(priced: Estimate, tmp_path: Path) -> None:
    priced.save(tmp_path / "run.json")
    back = load_estimate(tmp_path / "run.json")
    assert back.to_dict() == priced.to_dict()
    assert back.layers == priced.layers
    assert [x.name for x in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema_version": 2}', '{"schema_version": 1}', "[" * 100_000]
)
def test_files_that_are_no_estimate(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"run\.json"):
        load_estimate(path)


def test_rows(priced: Estimate) -> None:
    rows = priced.rows()
    assert [row["layer"] for row in rows] == ["conv", "fc", "again", "scores"]
    for row in rows:
        assert math.isclose(
            sum(v for k, v in row.items() if k.startswith("energy_at_")), row["energy"]
        )
    json.dumps(rows)


def test_names_are_harmless(priced: Estimate) -> None:
    evil = "<b>[red]\x1b[31m"
    renamed = replace(priced, network=evil, layers=(replace(priced.layers[0], name=evil),))
    html = estimate_fragment(renamed)
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    text = plain(estimate_report(renamed))
    assert "\x1b" not in text
    assert "<b>[red]" in text


def test_the_report_says_what_it_is(priced: Estimate) -> None:
    text = plain(estimate_report(priced))
    assert "not counted: Relu x2" in text
    assert "per inference" in text
    assert "proved optimal" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100


def test_where_time_costs_the_price_is_at_the_time_played_through() -> None:
    """What is proved is at the time of the busiest part; the answer says how far apart they are."""
    chip = replace(load_accelerator("eyeriss-pj"), control=Control(per_cycle=860.0))
    network = load("bvlc-alexnet")
    one = replace(network, layers=(network["conv5"],))
    (layer,) = estimate(one, chip, cache=False).layers
    played = simulate(network["conv5"], chip, layer.mapping)
    assert layer.cycles == played.cycles
    assert layer.by_memory["control"] == 860 * played.cycles
    assert layer.search.status == "feasible"
    assert 0 < layer.gap("energy") < 0.3
    assert "at most" in layer.certificate("energy")
    again = estimate(one, chip, mappings={"conv5": layer.mapping}).layers[0]
    assert again.energy == layer.energy
