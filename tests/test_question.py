"""A question: read and checked once, the same however it is asked."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from picojoule.alternatives import alternatives
from picojoule.dataflow import DATAFLOWS
from picojoule.errors import InputError, NoMappingError, PicojouleError, WorkloadError
from picojoule.estimate_records import parse_estimate
from picojoule.estimation import estimate, price
from picojoule.eyexam.examination import examine, find_bounds
from picojoule.mapper import solver
from picojoule.mapper.cache import find
from picojoule.mapper.found import FACTORS, Found
from picojoule.processing_passes import chip_mapping
from picojoule.question import OBJECTIVES, Question, ask, images_at_once
from picojoule.specs import load_accelerator, parse_accelerator
from picojoule.workload import Operand, PerOperand, Workload, conv, linear, matmul
from tests.server_files import CHIP

LAYERS = (
    conv("conv", input_size=(5, 5), in_channels=2, out_channels=3, kernel=(3, 3)),
    linear("fc", in_features=27, out_features=5),
)
NETWORK = Workload("small", LAYERS)
TINY = parse_accelerator(CHIP, "tiny.yaml")


def test_what_is_asked_takes_the_place_of_the_networks_own() -> None:
    question = ask(
        NETWORK,
        TINY,
        batch=4,
        bits={"weight": 8},
        density={"input": 0.5},
        dataflow="ws",
        objective="edp",
        factors="perfect",
        budget=3.0,
        cache=False,
    )
    assert question.network.batch == 4
    for layer in question.network:
        assert layer.bounds.N == 4
        assert layer.bits == PerOperand(16, 8, 16)
        assert layer.density == PerOperand(0.5, 1.0, 1.0)
    assert question.accelerator is TINY
    assert question.dataflow is DATAFLOWS["ws"]
    assert (question.objective, question.factors) == ("edp", "perfect")
    assert (question.budget, question.cache) == (3.0, False)
    with pytest.raises(FrozenInstanceError):
        question.budget = None  # type: ignore[misc]


def test_what_is_not_asked_is_as_the_network_and_the_accelerator_say() -> None:
    question = ask("bvlc-alexnet", "eyeriss")
    assert question.dataflow is DATAFLOWS["rs"]
    assert question.accelerator == load_accelerator("eyeriss")
    defaults = {name: x.default for name, x in Question.__dataclass_fields__.items()}
    for answer in (ask, estimate, alternatives, examine):
        for name, parameter in inspect.signature(answer).parameters.items():
            if name in ("objective", "factors", "budget", "cache"):
                assert parameter.default == defaults[name], (answer.__name__, name)


def test_a_dataflow_of_ones_own_is_taken_as_it_is() -> None:
    own = replace(DATAFLOWS["ws"], name="own")
    assert ask(NETWORK, TINY, dataflow=own).dataflow is own
    assert TINY.dataflow(own) is own
    assert TINY.dataflow("os" + "a") is DATAFLOWS["osa"]
    assert TINY.dataflow() is TINY.dataflow(None) is DATAFLOWS[TINY.default_dataflow]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"objective": "enrgy"}, r"no objective 'enrgy' \(did you mean 'energy'\?\); there are"),
        ({"factors": "perfekt"}, r"no factors 'perfekt' \(did you mean 'perfect'\?\)"),
        ({"dataflow": "rss"}, r"no dataflow 'rss' \(did you mean 'rs'\?\)"),
    ],
)
def test_an_unknown_word_is_found_before_any_file_is_read(
    words: dict[str, str], message: str
) -> None:
    with pytest.raises(PicojouleError, match=message):
        ask("none.onnx", "none.yaml", **words)  # type: ignore[arg-type]


def test_the_words_are_those_of_the_search() -> None:
    assert tuple(solver.OBJECTIVES) == OBJECTIVES
    assert solver.FACTORS == FACTORS  # type: ignore[attr-defined]


def test_sizes_are_for_files_that_name_them() -> None:
    with pytest.raises(InputError, match="only an ONNX, TFLite or SCALE-Sim file"):
        ask(NETWORK, TINY, reading={"dims": {"sequence": 3}})


def test_one_layer_of_it() -> None:
    one = ask(NETWORK, TINY, batch=2).of_layer("fc")
    assert [layer.name for layer in one.network] == ["fc"]
    assert one.network.batch == 2
    with pytest.raises(WorkloadError, match="fd"):
        one.of_layer("fd")


def test_images_share_the_chip_as_far_as_their_outputs_fit() -> None:
    """conv has 3 x 3 x 3 outputs of 16 bit, 432 bit an image; the buffer has 512 B = 4096 bit."""
    sets = replace(TINY, resident_images=True)
    assert images_at_once(LAYERS[0], TINY, 1) == images_at_once(LAYERS[0], sets, 1) == 1
    batch = 12  # 9 images fit; 6 is the largest divisor of 12 among 1 to 9
    whole = NETWORK.with_batch(batch)
    assert images_at_once(whole["conv"], TINY, batch) == 12
    assert images_at_once(whole["conv"], sets, batch) == 6
    assert images_at_once(whole["fc"], sets, batch) == 12
    shares = list(ask(NETWORK, sets, batch=batch).shares())
    assert [share.images for share in shares] == [6, 12]
    assert [share.part.bounds.N for share in shares] == [6, 12]
    assert [share.layer.bounds.N for share in shares] == [12, 12]


def test_heads_are_shared_out_where_the_second_operand_is_an_activation() -> None:
    scores = matmul("scores", rows=3, inner=4, columns=5, heads=2, weight_is_activation=True)
    sets = replace(TINY, resident_images=True)
    (share,) = ask(Workload("attention", (scores,)), sets, batch=4).shares()
    assert 2 * share.images == share.part.bounds.G


def test_every_way_of_asking_gives_the_same_answer(tmp_path: Path) -> None:
    question = ask(NETWORK, TINY, bits=8, cache=tmp_path)
    again = estimate(NETWORK, TINY, bits=8, cache=tmp_path)
    assert price(question).to_dict() == again.to_dict()
    timed = replace(question, objective="latency")
    first = examine(NETWORK, TINY, bits=8, cache=tmp_path)
    assert find_bounds(timed).to_dict() == first.to_dict()


def test_a_questions_search_is_found_and_recalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []

    def noted(*given: Any, **named: Any) -> Found:
        calls.append(given)
        return find(*given, **named)

    monkeypatch.setattr("picojoule.question.find", noted)
    question = ask(NETWORK, TINY, dataflow="rs", objective="edp", cache=tmp_path)
    assert question.find(LAYERS[1]).objective == "edp"
    assert calls == [(LAYERS[1], TINY, DATAFLOWS["rs"], "edp")]


def test_published_mappings_keep_to_published_rules() -> None:
    asked = ask("bvlc-alexnet", "eyeriss-isca16", policy="published")
    assert asked.dataflow.even_strips
    assert [(x.path, x.value, x.status) for x in asked.rules] == [
        ("rule", "sums-stay", "published"),
        ("rule", "even-strips", "derived"),
    ]
    best = ask("bvlc-alexnet", "eyeriss-isca16")
    assert (best.policy, best.rules, best.dataflow) == ("best", (), DATAFLOWS["rs"])


def test_nobody_published_how_this_machine_is_mapped() -> None:
    with pytest.raises(PicojouleError, match="no mapping policy was published for 'nvdla-like'"):
        ask("bvlc-alexnet", "nvdla-like", policy="published")
    with pytest.raises(PicojouleError, match="did you mean 'published'"):
        ask("bvlc-alexnet", "eyeriss", policy="publisht")


def test_an_answer_says_whether_it_is_a_bound() -> None:
    wide = conv("wide", input_size=(65, 5), in_channels=2, out_channels=3, kernel=(11, 3))
    network = Workload("wide", (wide,))
    best = estimate(network, "eyeriss-isca16", cache=False)
    chip = estimate(network, "eyeriss-isca16", policy="published", cache=False)
    assert best.energy < chip.energy
    assert "a bound for the machine" in best.meaning
    assert "what a chip does" in chip.meaning
    assert parse_estimate(chip.to_dict(), "saved") == chip
    given = estimate(
        network, "eyeriss-isca16", mappings={"wide": chip.layers[0].mapping}, cache=False
    )
    assert given.energy == chip.energy
    assert "what the machine does with these mappings" in given.meaning


def test_a_machine_is_used_as_its_published_mappings_use_it() -> None:
    asked = ask("bvlc-alexnet", "eyeriss-isca16-ws", policy="published")
    assert [level.name for level in asked.accelerator.levels] == [
        *("dram", "buffer", "window", "register"),
    ]
    assert asked.accelerator.elements == 256
    assert ask("bvlc-alexnet", "eyeriss-isca16-ws").accelerator == load_accelerator(
        "eyeriss-isca16-ws"
    )
    # What the machine's file says is about its own dataflow.
    other = ask("bvlc-alexnet", "eyeriss-isca16-ws", dataflow="rs", policy="published")
    assert other.accelerator == load_accelerator("eyeriss-isca16-ws")
    assert [x.value for x in other.rules] == ["sums-stay", "even-strips"]


def test_sums_of_64_images_fit_no_buffer() -> None:
    """ISCA'16 Fig. 11: weight-stationary cannot run at this batch."""
    asked = ask("bvlc-alexnet", "eyeriss-isca16-ws", batch=64, policy="published", cache=False)
    with pytest.raises(NoMappingError, match="no mapping fits"):
        price(asked.of_layer("conv1"))


def test_a_chip_with_a_compiler_does_what_that_does() -> None:
    asked = ask("bvlc-alexnet", "eyeriss", batch=4, policy="published", cache=False)
    chip = price(asked.of_layer("conv3")).layers[0]
    assert chip.search.status == "given"
    assert chip.mapping == chip_mapping(asked.accelerator, asked.network["conv3"])
    best = estimate(asked.of_layer("conv3").network, "eyeriss", cache=False)
    assert best.energy < chip.energy


def test_a_machine_without_strides_folds_them_and_says_so() -> None:
    strided = conv(
        "x", input_size=(8, 8), in_channels=2, out_channels=3, kernel=(1, 1), stride=(2, 2)
    )
    question = ask(Workload("net", (strided, LAYERS[1])), replace(TINY, fold_strides=True))
    folded, other = question.network.layers
    assert (folded.bounds.C, folded.stride, folded.input_size) == (8, (1, 1), (4, 4))
    assert folded.size(Operand.OUTPUT) == strided.size(Operand.OUTPUT)
    assert other == LAYERS[1]
    assert "1 layers have 288 MACs more" in question.network.remarks[-1]


def test_winograd_comes_after_folded_strides() -> None:
    machine = replace(TINY, fold_strides=True, winograd=True)
    plain = conv("x", input_size=(5, 5), in_channels=2, out_channels=3, kernel=(3, 3))
    bounds = plain.bounds._replace(P=2, Q=2)
    strided = replace(plain, name="strided", stride=(2, 2), bounds=bounds)
    fast, folded = ask(Workload("net", (plain, strided)), machine).network
    assert (fast.bounds.P, fast.bounds.R, fast.stride) == (2, 4, (2, 2))  # the fourth row is padded
    assert (folded.bounds.C, folded.bounds.R, folded.stride) == (8, 2, (1, 1))
    assert ask(NETWORK, TINY).network == NETWORK


def test_slack_is_of_the_energy() -> None:
    assert ask("mlperf-tiny-kws", "eyeriss", slack=0.01).slack == 0.01
    with pytest.raises(PicojouleError, match="no effect on the objective 'latency'"):
        ask("mlperf-tiny-kws", "eyeriss", slack=0.01, objective="latency")
    with pytest.raises(PicojouleError, match="not within 0 to 1"):
        ask("mlperf-tiny-kws", "eyeriss", slack=2.0)
