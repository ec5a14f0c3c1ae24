"""One price: a card, prune, profile with estimate, and a file of the network say the same."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("safetensors")

import picojoule  # noqa: E402
from picojoule.cli import main  # noqa: E402
from picojoule.errors import InputError, PicojouleError, WorkloadError  # noqa: E402
from picojoule.frontends import load  # noqa: E402
from picojoule.network_records import network_of, network_record  # noqa: E402
from picojoule.pruning.datasets import Data, Samples  # noqa: E402
from picojoule.pruning.energy_aware.finetuning import FineTuning  # noqa: E402
from picojoule.pruning.energy_aware.options import PruningOptions  # noqa: E402
from picojoule.pruning.energy_aware.pruning import prune  # noqa: E402
from picojoule.pruning.graph.surgery import export_onnx, load_network  # noqa: E402
from picojoule.pruning.layers.profiling import profile  # noqa: E402
from picojoule.pruning.netadapt.adaptation import adapt  # noqa: E402
from picojoule.pruning.netadapt.recipe import Recipe  # noqa: E402
from picojoule.pruning.networks import NETWORKS  # noqa: E402
from picojoule.pruning.released import cards  # noqa: E402
from picojoule.workload import PerOperand  # noqa: E402
from tests.pruning.small import make  # noqa: E402

CHIP = "eyeriss-cvpr17"
CARDS = cards()
EACH = [
    pytest.param(
        card,
        id=card["name"],
        marks=[pytest.mark.slow] if card["name"].startswith(("resnet", "squeezenet")) else [],
    )
    for card in CARDS
]
ROOT = Path(__file__).parents[2]
SAME = 1e-6


def images(card: Mapping[str, Any], count: int = 3) -> Samples:
    _, shape = NETWORKS[card["network"]]
    draw = torch.Generator().manual_seed(0)
    return Samples(torch.rand(count, *shape, generator=draw), torch.arange(count))


# -- released models -------------------------------------------------------------------------------


@pytest.mark.parametrize("card", EACH)
def test_a_card_is_priced_by_the_layers_it_holds(card: Mapping[str, Any]) -> None:
    recipe = card["recipe"]
    found = picojoule.estimate(card["name"], recipe["accelerator"], batch=recipe["batch"])
    assert found.energy == pytest.approx(card["energy"], rel=SAME)
    model = picojoule.load_model(card["name"], narrow=True)
    inputs = images(card, 1).inputs
    again = picojoule.estimate((model, inputs), recipe["accelerator"], profile=card["name"])
    assert again.energy == pytest.approx(card["energy"], rel=SAME)
    priced = {layer.name: layer for layer in load(card["name"])}
    read = load((model, inputs))
    for layer in read:  # the card's weights and widths are those of the weights that are shipped
        assert layer.density.weight == pytest.approx(priced[layer.name].density.weight)
        assert layer.bits == priced[layer.name].bits
    if any(layer.density.input < 1 for layer in priced.values()):
        assert found.energy < picojoule.estimate((model, inputs), recipe["accelerator"]).energy


@pytest.mark.parametrize("card", EACH)
def test_prune_prices_as_profile_and_estimate_do(card: Mapping[str, Any]) -> None:
    model, samples = picojoule.load_model(card["name"]), images(card)
    found = prune(
        model,
        Data(samples, samples),
        accelerator=CHIP,
        energy=0.99,
        options=PruningOptions(rounds=0, narrow=bool(card.get("channels"))),
    )
    delivered = found.narrow or found.model
    measured = profile(delivered, samples)
    assert picojoule.estimate(measured.workload, CHIP).energy == pytest.approx(
        found.after.energy, rel=SAME
    )
    assert picojoule.estimate(found.priced, CHIP).energy == pytest.approx(found.after.energy)


@pytest.mark.slow
@pytest.mark.parametrize("card", EACH)
def test_an_exported_network_has_the_same_price(card: Mapping[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model, samples = picojoule.load_model(card["name"], narrow=True), images(card)
    export_onnx(model, (samples.inputs[:1],), tmp_path / "net.onnx")
    found = profile(model, samples)
    exported = picojoule.estimate(tmp_path / "net.onnx", CHIP, profile=found)
    assert exported.energy == pytest.approx(
        picojoule.estimate(found.workload, CHIP).energy, rel=SAME
    )
    by_card = picojoule.estimate(tmp_path / "net.onnx", CHIP, profile=card["name"])
    assert by_card.energy == pytest.approx(card["energy"], rel=SAME)


def test_the_page_of_the_released_models_is_made_of_their_cards() -> None:
    from experiments import price

    assert price.PAGE.read_text("utf-8") == price.page()
    with price.RESULTS.open(newline="") as file:
        lines = {line["model"]: line for line in csv.DictReader(file)}
    assert set(lines) == {card["name"] for card in CARDS}
    for card in CARDS:
        for column in price.COLUMNS[1:]:
            assert float(lines[card["name"]][column]) == pytest.approx(card["energy"], rel=SAME)


# -- runs ------------------------------------------------------------------------------------------

FAST = PruningOptions(
    calibration=128, profile=128, samples=64, levels=4, attempts=1,
    training=FineTuning(epochs=1, rate=0.02, batch=64, distilled=0.5),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["best", "paper"])
def test_a_run_is_priced_again_from_its_folder(mode: str, tmp_path: Path) -> None:
    model, data = make()
    run = tmp_path / "r"
    found = prune(
        model, data, accelerator=CHIP, energy="50%", mode=mode, batch=4, joint_bits=mode == "best",
        options=FAST, run=run,
    )  # fmt: skip
    assert found.met
    assert found.after.energy <= 0.5 * found.before.energy
    delivered = found.narrow or found.model
    for place in (run, run / "result"):
        again = picojoule.estimate(place, CHIP)
        assert again.batch == 4
        assert again.energy == pytest.approx(found.after.energy)
    measured = profile(delivered, data, samples=FAST.profile)
    anew = picojoule.estimate(measured.workload, CHIP, batch=4)
    assert anew.energy == pytest.approx(found.after.energy, rel=SAME)
    one = data.train.inputs[:1]
    by_profile = picojoule.estimate((delivered, one), CHIP, batch=4, profile=run)
    assert by_profile.energy == pytest.approx(found.after.energy, rel=SAME)
    if mode == "best":
        saved = load_network(run / "result" / "narrow").network
        assert (
            profile(saved, data, samples=FAST.profile).workload.layers == measured.workload.layers
        )
        assert set(found.bits.values()) <= {8, 6, 4}
    out = tmp_path / "answer.json"
    assert main(["estimate", str(run / "result"), "-a", CHIP, "-o", str(out)]) == 0
    energy = json.loads(out.read_text())["total"]["energy"]
    assert energy == pytest.approx(found.after.energy)


@pytest.mark.slow
def test_an_adapted_network_is_priced_again(tmp_path: Path) -> None:
    model, data = make()
    recipe = Recipe(short=1, long=1, batch=32, calibrate=32, step=1)
    found = adapt(
        model, data, platform=f"energy:{CHIP}", budget="80%", recipe=recipe, run=tmp_path / "r"
    )
    again = picojoule.estimate(tmp_path / "r" / "result", CHIP)
    assert again.energy == pytest.approx(found.resource)


def test_a_run_that_has_not_ended_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="the run has not ended"):
        load(tmp_path)
    (tmp_path / "result.json").write_text('{"schema_version": 1}')
    with pytest.raises(InputError, match="written by an earlier version"):
        load(tmp_path)
    (tmp_path / "result.json").write_text('{"priced": {"name": "x"}}')
    with pytest.raises(InputError, match="not a network"):
        load(tmp_path)


# -- what is said of densities ---------------------------------------------------------------------


def test_densities_that_nobody_measured_are_said_to_be_taken() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    source = (model, torch.randn(1, 6))
    taken = "densities of inputs and outputs are taken as 1; picojoule profile measures them"
    assert any(taken in remark for remark in picojoule.estimate(source, CHIP).remarks)
    samples = Samples(torch.randn(20, 6), torch.arange(20) % 3)
    found = profile(model, samples)
    for known in (
        picojoule.estimate(source, CHIP, profile=found),
        picojoule.estimate(source, CHIP, density={"input": 0.5}),
        picojoule.estimate(source, "eyeriss-isca16"),  # zeros save nothing there
        picojoule.estimate(load("lenet5-fashion-best"), CHIP),
    ):
        assert not any(taken in remark for remark in known.remarks)


def test_a_profile_is_of_the_network_it_is_for() -> None:
    network = load("lenet5-fashion-best")
    by_name = picojoule.estimate(network, CHIP, profile="lenet5-fashion-best").energy
    renamed = replace(
        network, layers=tuple(replace(x, name=f"n{n}") for n, x in enumerate(network))
    )
    dense = renamed.with_layers(density=PerOperand(1.0, 1.0, 1.0))
    turned = replace(dense, layers=dense.layers[::-1])
    assert picojoule.estimate(turned, CHIP, profile=network).energy == pytest.approx(by_name)
    with pytest.raises(WorkloadError, match=r"is not of network .* no layer 'conv1'"):
        picojoule.estimate("bvlc-alexnet", CHIP, profile=network)
    less = replace(dense, layers=dense.layers[1:])
    with pytest.raises(WorkloadError, match=r"has layers that network .* has not: conv1"):
        picojoule.estimate(less, CHIP, profile=network)


def test_a_network_goes_through_its_record() -> None:
    network = load("bvlc-alexnet", name="net").with_batch(4)
    record = json.loads(json.dumps(network_record(network)))
    assert replace(network_of(record, "x"), source=network.source) == network


def test_a_wrong_budget_is_found_before_the_run(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    samples = Samples(torch.randn(20, 6), torch.arange(20) % 3)
    for energy in ("140%", "0", "40 ells", "much"):
        with pytest.raises(PicojouleError):
            prune(
                model, Data(samples, samples), accelerator=CHIP, energy=energy, run=tmp_path / "r"
            )
        assert not (tmp_path / "r").exists()
