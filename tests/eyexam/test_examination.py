"""The seven steps: never rising, exact where they claim to be, and lifts that do lift."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

import picojoule
from picojoule.accelerator import Array, Axis, Compute, Level, Memory, SparseSupport, ZeroSkip
from picojoule.cli import main
from picojoule.cost import evaluate
from picojoule.dataflow import DATAFLOWS
from picojoule.errors import NoMappingError
from picojoule.eyexam.examination import examine
from picojoule.eyexam.parallelism import Limit, Parallelism
from picojoule.mapper.solver import search
from picojoule.simulation.simulator import simulate
from picojoule.specs import load_accelerator
from picojoule.workload import OPERANDS, Extents, Layer, Operand, PerOperand, Workload
from tests.properties.test_search import _layer as random_layer
from tests.properties.test_search import _machine as random_machine
from tests.strategies import machine

CONV = picojoule.conv(
    "conv", input_size=(12, 12), in_channels=8, out_channels=16, kernel=(3, 3), padding=(1, 1, 1, 1)
)


def network(*layers: Layer, batch: int = 1) -> Workload:
    return Workload("net", layers, batch=batch)


@pytest.mark.parametrize("seed", range(30))
def test_no_step_rises_and_the_sixth_is_the_latency_model(seed: int) -> None:
    rng = random.Random(seed)
    layer, accelerator = random_layer(rng), random_machine(rng)
    if seed % 3 == 0:
        sparse = SparseSupport(zeros=ZeroSkip.SKIP, of=frozenset({Operand.INPUT, Operand.WEIGHT}))
        accelerator = replace(accelerator, sparse=sparse, compute=Compute(1.0, per_cycle=2))
    nest = list(accelerator.nest)
    nest[0] = Level(
        (replace(accelerator.levels[0].memories[0], bandwidth=rng.choice([8.0, 64.0])),)
    )
    accelerator = replace(accelerator, nest=tuple(nest))
    try:
        found = search(layer, accelerator, "flexible", "latency")
    except NoMappingError:
        with pytest.raises(NoMappingError):
            examine(network(layer), accelerator)
        return
    steps = examine(network(layer), accelerator).layers[0].steps
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6, 7]
    for before, after in itertools.pairwise(steps):
        assert after.bound <= before.bound * (1 + 1e-12), after
    assert found.status == "optimal"
    assert steps[5].bound == pytest.approx(layer.macs / found.cost.cycles)
    played = simulate(layer, accelerator, found.mapping).cycles
    assert steps[6].bound == pytest.approx(layer.macs / max(played, found.cost.cycles))


def test_without_bandwidths_there_are_five_steps_and_a_note() -> None:
    result = examine(network(CONV), "eyeriss-isca16")
    assert [step.bound is None for step in result.layers[0].steps] == [False] * 5 + [True] * 2
    assert result.bound(6) is None
    assert result.notes == ("steps 6 and 7: not known: the accelerator's file gives no bandwidth",)
    assert result.layers[0].mapping is None
    assert json.loads(json.dumps(result.to_dict()))["layers"][0]["steps"][6]["bound"] is None


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"\d+(?:\.\d+)?(?:e[+-]\d+)?", text)]


def test_the_lift_of_elements_is_the_fewest_that_lift() -> None:
    chip = load_accelerator("eyeriss")
    conv2 = picojoule.load("bvlc-alexnet")["conv2"]
    step = examine(network(conv2), load_accelerator("eyeriss-isca16")).layers[0].steps[2]
    more, now, bound = numbers(step.lift)
    assert now == 256
    space = Parallelism(conv2, load_accelerator("eyeriss-isca16"), DATAFLOWS["rs"])

    def rate(elements: int) -> float:
        return conv2.macs / space.widest(Limit.ELEMENTS, elements=elements).steps

    assert rate(int(more)) == pytest.approx(bound, rel=1e-3)
    assert rate(int(more)) > rate(int(more) - 1) == step.bound
    assert chip.elements == 168


def test_the_lift_of_storage_is_the_smallest_memory_that_lifts() -> None:
    """Four filters side by side want 2*4 + 1 words of the buffer; eight words hold three."""
    nest = machine([OPERANDS] * 3, [[], [4], []], capacities=[None, 8 * 16, None])
    result = examine(network(Layer("x", Extents(M=4))), nest).layers[0]
    step = result.steps[4]
    assert (result.bound(4), step.bound) == (4, 2)
    assert step.limited_by == "m1 of 16 B"
    assert step.lift == "m1 of 18 B instead of 16 B: 4 MAC/cycle"


def test_the_lift_of_an_array_is_a_shape_that_lifts() -> None:
    """Seven filters on 2 x 6 take two steps; on 1 x 12, or in one long array, one."""
    layer = Layer("x", Extents(M=7))
    array = Array("a", (Axis("rows", 2, frozenset()), Axis("columns", 6)))
    free = machine([OPERANDS] * 2, [[], []])
    chip = replace(free, nest=(free.nest[0], array, free.nest[1]))
    step = examine(network(layer), chip).layers[0].steps[3]
    assert step.bound == 3.5
    assert step.lift == "the same 12 elements as 1 x 12: 7 MAC/cycle"


def test_the_lift_of_a_bandwidth_lifts_to_what_it_says() -> None:
    """A fully connected layer waits for its weights."""
    fc = picojoule.linear("fc", in_features=256, out_features=128)
    chip = load_accelerator("eyeriss")
    result = examine(network(fc), chip).layers[0]
    step = result.steps[5]
    assert step.limited_by == "dram at 19.2 bit/cycle"
    assert result.worst is step
    needed, now, bound = numbers(step.lift)[:3]
    assert now == 19.2
    dram = replace(chip.memories["dram"], bandwidth=needed * 1.001)
    faster = replace(chip, nest=(Level((dram,)), *chip.nest[1:]))
    cost = evaluate(fc, faster, result.mapping)
    assert fc.macs / cost.cycles == pytest.approx(bound, rel=2e-3)
    assert cost.limited_by != "dram"


def test_channels_that_tie_are_lifted_together() -> None:
    """Inputs and weights, as many of each, over networks of their own that are equally slow."""
    nest = (
        Level(
            (
                Memory(
                    "dram", keeps=frozenset(OPERANDS), capacity=None, read_energy=1, write_energy=1
                ),
            )
        ),
        Array("a", (Axis("x", 4),), bandwidths=PerOperand(1, 1, None)),
        Level(
            (Memory("rf", keeps=frozenset(OPERANDS), capacity=None, read_energy=1, write_energy=1),)
        ),
    )
    chip = picojoule.Accelerator("x", nest, compute=Compute(1.0), default_dataflow="flexible")
    layer = examine(network(Layer("dot", Extents(C=64))), chip).layers[0]
    step = layer.steps[5]
    assert step.limited_by == "a.input at 1 bit/cycle and a.weight at 1 bit/cycle"
    # 64 words of 16 bit each way; 16 steps of four elements.
    assert step.bound == 64 / (64 * 16)
    assert step.lift == (
        "a.input of 64 bit/cycle instead of 1 and a.weight of 64 bit/cycle instead of 1: "
        "4 MAC/cycle by the same mapping, then limited by compute"
    )


def test_the_lift_of_access_patterns_lifts() -> None:
    """What step 7 proposes is played through: conv2 of AlexNet waits for DRAM."""
    conv2 = picojoule.load("bvlc-alexnet")["conv2"]
    layer = examine(network(conv2), "eyeriss").layers[0]
    step = layer.steps[6]
    assert step.lift.startswith("dram of 38.4 bit/cycle instead of 19.2: ")
    chip = load_accelerator("eyeriss")
    dram = replace(chip.memories["dram"], bandwidth=38.4)
    faster = replace(chip, nest=(Level((dram,)), *chip.nest[1:]))
    reached = conv2.macs / simulate(conv2, faster, layer.mapping).cycles
    assert numbers(step.lift)[2] == pytest.approx(reached, rel=1e-3)
    assert reached > step.bound * 1.001


def test_roofs_bound_what_is_reached() -> None:
    result = examine(network(CONV), "eyeriss")
    layer = result.layers[0]
    assert {roof.operand for roof in layer.roofs} == {"input", "weight", "output"}
    for roof in layer.roofs:
        assert roof.bound >= layer.bound(6) * (1 - 1e-12)
    assert any(roof.shared for roof in layer.roofs if roof.channel == "dram")


def test_a_network_is_as_fast_as_its_layers_one_after_another() -> None:
    second = replace(CONV, name="again")
    fc = picojoule.linear("fc", in_features=256, out_features=128)
    result = examine(network(CONV, second, fc), "eyeriss")
    assert result["conv"].steps == result["again"].steps
    for step in range(1, 8):
        time = sum(layer.macs / layer.bound(step) for layer in result.layers)
        assert result.bound(step) == pytest.approx(result.macs / time)
    with pytest.raises(picojoule.PicojouleError, match="did you mean"):
        result["convv"]


def test_a_batch_counts_per_inference() -> None:
    one, two = (examine(network(CONV), "eyeriss", batch=batch).layers[0] for batch in (1, 2))
    assert one.macs == two.macs == CONV.macs
    assert two.bound(1) == 2 * one.bound(1)


def test_zeros_that_are_skipped_raise_the_peak() -> None:
    fc = picojoule.linear("fc", in_features=64, out_features=16)
    dense = examine(network(fc), "eyeriss-v2", bits=8).layers[0]
    sparse = examine(network(fc), "eyeriss-v2", bits=8, density={"weight": 0.5}).layers[0]
    assert dense.peak == 192 * 2
    # But for pairs that only pad a run of more than fifteen zeros, once in 2 ** 16 weights.
    assert sparse.peak == pytest.approx(2 * dense.peak, rel=2**-15)
    assert sparse.peak < 2 * dense.peak


def test_nothing_to_do_takes_no_time() -> None:
    fc = picojoule.linear("fc", in_features=64, out_features=16)
    result = examine(network(fc), "eyeriss-v2", bits=8, density={"weight": 0.0})
    made = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(made)["layers"][0]["steps"][0]["bound"] is None


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = tmp_path / "net.csv"
    columns = "name,in_channels,out_channels,input_height,input_width,kernel_height,kernel_width"
    table.write_text(f"{columns}\nconv,4,8,8,8,3,3\n")
    code = main(["eyexam", str(table), "-a", "eyeriss", "--json"])
    out, _ = capsys.readouterr()
    assert code == 0
    answer = json.loads(out)
    assert answer["unit"] == "MAC/cycle"
    assert [step["step"] for step in answer["layers"][0]["steps"]] == [1, 2, 3, 4, 5, 6, 7]
    assert set(answer["layers"][0]["steps"][0]) == {"step", "title", "bound", "limited_by", "lift"}
    code = main(["eyexam", str(table), "conv", "-a", "eyeriss"])
    out, _ = capsys.readouterr()
    assert code == 0
    assert "7 access patterns" in out
    assert "network" in _run(capsys, "eyexam", str(table), "-a", "eyeriss-isca16")
    for ending in ("csv", "txt", "json"):
        target = tmp_path / f"out.{ending}"
        assert main(["eyexam", str(table), "-a", "eyeriss", "-o", str(target)]) == 0
        assert target.stat().st_size > 100
    assert main(["eyexam", str(table), "-a", "eyeriss", "--plot", "roofline"]) == 2
    assert "did you mean 'rooflines'" in capsys.readouterr().err


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from picojoule.reports.rooflines import plot_layers, plot_rooflines, plot_waterfall

    fc = picojoule.linear("fc", in_features=256, out_features=128)
    result = examine(network(CONV, fc), "eyeriss")
    for number, made in enumerate(
        [
            plot_waterfall(result),
            plot_waterfall(result, "fc"),
            plot_waterfall(result.layers[0]),
            plot_layers(result),
            *plot_rooflines(result),
        ]
    ):
        file = tmp_path / f"{number}.png"
        made.get_figure(root=True).savefig(file)
        assert file.stat().st_size > 2000
    bare = examine(network(CONV), "eyeriss-isca16")
    plot_waterfall(bare)
    plot_rooflines(bare)
    points = plot_rooflines(result)[1].get_lines()
    assert any(line.get_marker() == "_" for line in points)


def test_pictures_of_nothing_to_do(tmp_path: Path) -> None:
    """All MACs are skipped: bounds without end, and still pictures and a report."""
    pytest.importorskip("matplotlib")
    from picojoule.cli.answers import plain_text
    from picojoule.reports.rooflines import plot_layers, plot_rooflines, plot_waterfall
    from picojoule.reports.steps import eyexam_report, layer_report

    density = {"input": 0.0, "weight": 0.0}
    result = examine(network(CONV), "eyeriss-v2", bits=8, density=density)
    for number, made in enumerate(
        [plot_waterfall(result), plot_layers(result), *plot_rooflines(result)]
    ):
        made.get_figure(root=True).savefig(tmp_path / f"{number}.png")
    assert "inf T" not in plain_text(eyexam_report(result))
    assert "no MAC is left to do" in plain_text(layer_report(result, result.layers[0]))


def test_pictures_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    from picojoule.reports.rooflines import plot_waterfall

    with pytest.raises(picojoule.PicojouleError, match=r"picojoule\[plots\]"):
        plot_waterfall(examine(network(CONV), "eyeriss-isca16"))


def test_an_operand_without_a_limit_has_no_roof() -> None:
    nest = (
        Level(
            (
                Memory(
                    "dram", keeps=frozenset(OPERANDS), capacity=None, read_energy=1, write_energy=1
                ),
            )
        ),
        Array("a", (Axis("x", 4),), bandwidths=PerOperand(16, None, None)),
        Level(
            (Memory("rf", keeps=frozenset(OPERANDS), capacity=None, read_energy=1, write_energy=1),)
        ),
    )
    chip = picojoule.Accelerator("x", nest, compute=Compute(1.0))
    roofs = examine(network(CONV), chip).layers[0].roofs
    assert {roof.channel for roof in roofs} == {"a.input"}


@pytest.mark.parametrize("seed", range(12))
def test_a_start_and_a_floor_change_no_answer(seed: int) -> None:
    """The search for the fastest ends the same from anywhere, and earlier at the floor."""
    rng = random.Random(seed)
    layer, accelerator = random_layer(rng), random_machine(rng)
    try:
        found = search(layer, accelerator, "flexible", "latency")
    except NoMappingError:
        return
    space = Parallelism(layer, accelerator, DATAFLOWS["flexible"])
    start = space.widest(Limit.STORAGE).mapping
    explored = math.inf
    for floor in (0.0, found.value * 0.99, found.value):
        again = search(layer, accelerator, "flexible", "latency", start=start, floor=floor)
        assert again.status == "optimal"
        assert again.value == pytest.approx(found.value, rel=1e-12)
        assert again.cost.energy == pytest.approx(found.cost.energy, rel=1e-12)
        assert again.explored <= explored
        explored = again.explored


def test_out_of_time_the_sixth_step_may_be_proved_all_the_same() -> None:
    """A fully connected layer is as fast as its weights come, whatever else is not decided."""
    fc = picojoule.linear("fc", in_features=9216, out_features=4096)
    layer = examine(network(fc), "eyeriss-v2", bits=8, budget=0.0, cache=False).layers[0]
    assert layer.search
    assert layer.search.status == "optimal"
    assert not layer.cheapest
    assert layer.to_dict()["search"]["cheapest"] is False
    assert layer.bound(6) == pytest.approx(16 * 72 / 8)
