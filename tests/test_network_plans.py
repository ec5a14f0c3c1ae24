"""Plans of whole networks: what stays, what that saves, and how it is told and saved."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.accelerator import Accelerator, Level, Memory
from picojoule.cli import main
from picojoule.cost import evaluate
from picojoule.errors import InputError, WorkloadError
from picojoule.estimate_records import Estimate, load_estimate
from picojoule.estimation import estimate
from picojoule.frontends import load
from picojoule.plan.placement import seen_from
from picojoule.question import ask
from picojoule.reports.document import document
from picojoule.reports.markdown import estimate_markdown
from picojoule.reports.page import estimate_page
from picojoule.reports.plans import plan_report
from picojoule.reports.text import estimate_report, plain
from picojoule.specs import dump_accelerator, load_accelerator, parse_accelerator
from picojoule.workload import OPERANDS, Operand, Workload, linear
from tests.plan.networks import Sketch

TINY = ("mlperf-tiny-ic", "mlperf-tiny-kws", "mlperf-tiny-vww", "mlperf-tiny-ad")


@pytest.fixture(scope="module")
def kept() -> Estimate:
    return estimate("mlperf-tiny-ic", "tpu-v1-like", between="keep", cache=False)


def test_activations_never_leave_a_large_buffer(kept: Estimate) -> None:
    # 32 x 32 x 3 inputs and 10 outputs of one byte; what they take of the host's memory.
    words = [x.accesses["host-memory"] for x in kept.layers if "host-memory" in x.accesses]
    moved = sum(n for layer in words for access in layer.values() for n in access.values())
    assert moved == 32 * 32 * 3 + 0  # the last layer's output goes to the softmax on the chip
    alone = estimate("mlperf-tiny-ic", "tpu-v1-like", cache=False)
    assert kept.plan is not None
    assert kept.plan.status == "optimal"
    assert kept.plan.outside["energy"] == pytest.approx(alone.energy)
    assert kept.energy == pytest.approx(kept.plan.value)
    assert kept.energy < 0.52 * alone.energy


def test_a_layer_is_priced_where_it_is_placed(kept: Estimate) -> None:
    """One price: that of ``evaluate``, on the machine as it is seen from there."""
    assert kept.plan is not None
    assert kept.machine is not None
    rooms = {step.node: step.rooms for step in kept.plan.steps}
    for layer in kept.layers:
        homes = {Operand(name): memory for name, memory in layer.homes.items()}
        there = seen_from(kept.machine, homes, rooms[layer.name])
        assert layer.layer is not None
        cost = evaluate(layer.layer, there, layer.mapping)
        assert math.fsum(cost.by_memory.values()) == pytest.approx(layer.energy)


@pytest.mark.parametrize(
    "network", [pytest.param(x, marks=pytest.mark.slow) for x in TINY[:3]] + [TINY[3]]
)
def test_as_the_chip_does(network: str) -> None:
    """GAP9 runs MLPerf Tiny out of its 1.5 MB of L2: of activations only ends lie further out.

    Where an operator without products comes first, not even the first layer loads from there.
    """
    chip = with_emram(load_accelerator("gap9-ne16-like"))
    result = estimate(network, chip, between="keep", cache=False)
    graph = load(network).graph
    assert graph is not None
    read = dict.fromkeys(OPERANDS, 0.0)
    for layer in result.layers:
        for operand in OPERANDS:
            access = layer.accesses["emram"].get(operand.value, {"read": 0, "write": 0})
            read[operand] += access["read"] + access["write"]
    given = sum(graph.tensors[name].words or 0 for name in graph.inputs)
    taken = sum(
        graph.tensors[name].words or 0 for name in graph.outputs if graph.maker[name].layers
    )
    first = graph.readers[graph.inputs[0]]
    assert read[Operand.INPUT] == (given if any(node.layers for node in first) else 0)
    assert read[Operand.OUTPUT] == taken
    assert read[Operand.WEIGHT] == sum(layer.weights for layer in load(network))
    assert result.plan is not None
    assert all(sum(step.rooms.values()) <= 1.5e6 * 8 for step in result.plan.steps)


def with_emram(chip: Accelerator) -> Accelerator:
    """The chip with a memory outside its L2, which has the size that it has: 1.5 MB."""
    (l2,) = chip.levels[0].memories
    emram = Memory("emram", keeps=l2.keeps, capacity=None, read_energy=20.0, write_energy=20.0)
    inside = Level((replace(l2, capacity=1.5e6 * 8),))
    return replace(chip, nest=(Level((emram,)), inside, *chip.nest[1:]))


# -- rules, each by hand -----------------------------------------------------------------------


def flat(words: int, **rest: object) -> Accelerator:
    """A DRAM at 200 a word, and a buffer of so many words at 6."""
    chip = load_accelerator(Path(__file__).parent / "paper" / "flat-65536.yaml")
    dram, buffer = chip.levels[0], chip.levels[1].memories[0]
    return replace(chip, nest=(dram, Level((replace(buffer, capacity=16.0 * words),))), **rest)  # type: ignore[arg-type]


def stays(network: Workload, chip: Accelerator, **rest: object) -> set[str]:
    result = estimate(network, chip, between="keep", cache=False, **rest)  # type: ignore[arg-type]
    assert result.plan is not None
    return {stay.tensor for stay in result.plan.stays}


def test_what_everything_fits_saves_a_store_and_a_load() -> None:
    sketch = Sketch()
    sketch.product(sketch.product(sketch.given("x", 8, 8), 8), 8)
    network, chip = sketch.network(), flat(65536)
    alone = estimate(network, chip, cache=False)
    near = estimate(network, chip, between="keep", cache=False)
    assert alone.energy - near.energy == 64 * (2 * 200 + 2 * 6)


def test_a_shortcut_holds_its_room() -> None:
    """Two tensors of 64 words and a third cannot lie in 190; without the shortcut two can."""
    sketch = Sketch()
    first = sketch.product(sketch.given("x", 8, 8), 8)
    second = sketch.product(first, 8)
    third = sketch.product(second, 8)
    sketch.product(third, 8)
    assert stays(sketch.network(), flat(190)) == {first, second, third}
    sketch.product(sketch.added(first, third), 8)
    assert not stays(sketch.network(), flat(190)) >= {first, second, third}
    assert stays(sketch.network(), flat(280)) >= {first, second, third}


def test_parts_of_a_tensor_lie_together() -> None:
    sketch = Sketch()
    source = sketch.given("x", 8, 8)
    one, two = sketch.product(source, 8), sketch.product(source, 8)
    sketch.product(sketch.joined(one, two), 8)
    assert stays(sketch.network(), flat(100)) == set()
    assert stays(sketch.network(), flat(200)) == {one, two}


def test_ends_of_the_network_lie_outside() -> None:
    sketch = Sketch()
    one = sketch.product(sketch.given("x", 8, 8), 8)
    sketch.product(one, 8)
    assert stays(sketch.network(), flat(65536)) == {one}
    assert stays(sketch.network(one), flat(65536)) == set()


def test_a_batch_lies_there_whole() -> None:
    sketch = Sketch()
    one = sketch.product(sketch.given("x", 8, 8), 8)
    sketch.product(one, 8)
    network = sketch.network()
    assert stays(network, flat(100)) == {one}
    assert stays(network, flat(100), batch=4) == set()
    assert stays(network, flat(300), batch=4) == {one}


def test_a_layer_whose_mapping_is_given_lies_outside() -> None:
    sketch = Sketch()
    one = sketch.product(sketch.given("x", 8, 8), 8)
    two = sketch.product(one, 8)
    sketch.product(two, 8)
    network, chip = sketch.network(), flat(65536)
    nest = estimate(network, chip, cache=False)[one].mapping
    result = estimate(network, chip, between="keep", mappings={one: nest}, cache=False)
    assert result[one].search.status == "given"
    assert not result[one].homes
    assert result[two].homes == {"output": "buffer"}


def test_wide_sums_take_room_while_they_are_made() -> None:
    """64 outputs of 16 bit; sums of 32 that go back and forth where they lie take twice that."""
    sketch = Sketch()
    one = sketch.product(sketch.given("x", 8, 8), 8)
    sketch.product(one, 8)
    network = sketch.network()
    wide = replace(flat(120).compute, psum_bits=32)
    assert stays(network, flat(120)) == {one}
    assert stays(network, flat(120, compute=wide)) == set()
    assert stays(network, flat(160, compute=wide)) == {one}


def test_nothing_is_kept_of_what_nobody_tells() -> None:
    network = Workload("rows", (linear("a", in_features=4, out_features=4),))
    with pytest.raises(WorkloadError, match="nothing can be kept between its layers"):
        estimate(network, flat(100), between="keep")


# -- files and words ---------------------------------------------------------------------------


def test_it_is_saved_and_read(kept: Estimate, tmp_path: Path) -> None:
    kept.save(tmp_path / "kept.json")
    again = load_estimate(tmp_path / "kept.json")
    assert again.plan == kept.plan
    assert [x.homes for x in again.layers] == [x.homes for x in kept.layers]
    assert again.to_dict() == kept.to_dict()


def test_a_machine_may_say_its_default() -> None:
    chip = replace(load_accelerator("tpu-v1-like"), default_between="keep")
    again = parse_accelerator(dump_accelerator(chip), "again")
    assert again.default_between == "keep"
    assert ask("mlperf-tiny-ic", again).between == "keep"
    assert ask("mlperf-tiny-ic", again, between="dram").between == "dram"
    assert ask("mlperf-tiny-ic", again).of_layer("dense").between == "dram"
    assert "default_between" not in dump_accelerator(load_accelerator("tpu-v1-like"))
    wrong = dump_accelerator(chip).replace("default_between: keep", "default_between: kept")
    with pytest.raises(InputError, match="default_between"):
        parse_accelerator(wrong, "wrong")


def test_energies_of_a_plan_follow_the_unit() -> None:
    result = estimate("mlperf-tiny-ic", "eyeriss", between="keep")
    shown = result.in_picojoules()
    assert result.plan is not None
    assert shown.plan is not None
    assert shown.plan.value == pytest.approx(shown.energy)
    assert shown.plan.outside["energy"] == pytest.approx(2 * result.plan.outside["energy"])


def test_the_picture(kept: Estimate) -> None:
    text = plain(plan_report(kept))
    assert "stage1.conv2       unified-buffer  unified-buffer  │└┌" in text
    assert "Optimal: no plan that keeps tensors whole takes less energy" in text
    assert "48.5 % less than where nothing stays" in text


def test_reports_have_the_picture(kept: Estimate) -> None:
    for text in (estimate_markdown(kept), estimate_page(kept)):
        assert "unified-buffer  │└┌" in text
        assert "--between keep" in text
        assert "14 tensors stay on chip" in text
    nests = {page.name: page.loop_nest for page in document(kept).layers}
    assert nests["stage1.conv1"].startswith("weight-dram+host-memory+unified-buffer [")
    assert "14 tensors stay on chip" in plain(estimate_report(kept))


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "mlperf-tiny-ic", "-a", "tpu-v1-like", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["plan"]["value"] == pytest.approx(record["energy"])
    assert main(["estimate", "mlperf-tiny-ic", "-a", "tpu-v1-like", "--between", "keep"]) == 0
    assert "27.3 µJ" in capsys.readouterr().out
    assert main(["estimate", "mlperf-tiny-ic", "-a", "tpu-v1-like", "--between", "kept"]) == 2
    assert "no between 'kept' (did you mean 'keep'?)" in capsys.readouterr().err
