"""The benchmarks' own logic: what is kept, and how other mappers' mappings are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import picojoule
from benchmarks import (
    beside,
    builds,
    eyexam,
    growth,
    machines,
    peer_tables,
    questions,
    replay,
    rows,
    search,
    search_tables,
    searches_asked,
    tuning,
)
from benchmarks.peers import nests, translation
from benchmarks.record import Record
from picojoule.accelerator import Array
from picojoule.errors import PicojouleError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

# What nn-dataflow 2.1 finds for AlexNet's conv3 on 16 x 16 elements with 256 words of registers
# and a buffer of 64 K words; it says 976,956,672.
CONV3: dict[str, Any] = {
    "factors": {"ti": [1, 256, 1], "to": [1, 7, 11], "tb": [1, 1, 1]},
    "orders": [[0, 1, 2], [0, 1, 2]],
    "buffered": [False, True, False],
    "fold": [1, 1],
    "unit": {"C": 1, "M": 5},
}
# What ZigZag 3.9.1 finds for AlexNet's fc8 with even mappings; it says 893,986,606.
FC8: dict[str, Any] = {
    "temporal": {
        operand: [[["K", 7.0], ["K", 3.0], ["K", 2.0], ["K", 2.0]], [], [["C", 293.0]]]
        for operand in "IWO"
    },
    "spatial": {"D1": {"K": 12.0}, "D2": {"C": 14.0}},
}


def machine(name: str) -> picojoule.Accelerator:
    return picojoule.load_accelerator(str(BENCHMARKS / "peers" / f"{name}.yaml"))


def isca16(chip: picojoule.Accelerator) -> picojoule.Accelerator:
    """The same machine in the sizes of CONV3."""
    dram, buffer, array, registers = chip.nest

    def sized(level: Any, words: int) -> Any:
        return replace(level, memories=(replace(level.memories[0], capacity=words * 16.0),))

    assert isinstance(array, Array)
    array = replace(array, axes=tuple(replace(axis, size=16) for axis in array.axes))
    return replace(chip, nest=(dram, sized(buffer, 1 << 16), array, sized(registers, 256)))


def test_nn_dataflow_s_mapping_costs_what_it_says() -> None:
    layer = picojoule.load("bvlc-alexnet")["conv3"]
    ours = translation.priced("nn-dataflow", layer, isca16(machine("dearer-end")), CONV3)
    # It charges the input's delivery once for the five sets of elements side by side, we each.
    delivered = 1_048_320 * 4 * 2
    assert ours == pytest.approx(976_956_672 + delivered, rel=1e-3)


def test_nn_dataflow_s_partial_sums_need_a_row_of_registers() -> None:
    layer = picojoule.load("bvlc-alexnet")["conv3"]
    stays = {"array": [11_501_568, 1_048_320, 194_688]}  # once out: each sum is moved 3 times
    assert translation.registers_needed(layer, CONV3, stays) == 3 * (1 + 11) + 11 * 13
    travels = {"array": [11_501_568, 1_048_320, 194_688 * (2 * 256 - 1)]}
    assert translation.registers_needed(layer, CONV3, travels) == 3 * (1 + 11) + 11


def test_zigzag_s_even_mapping_costs_what_it_says() -> None:
    layer = picojoule.load("bvlc-alexnet")["fc8"]
    ours = translation.priced("zigzag", layer, machine("both-ends"), FC8)
    # 293 x 14 = 4102 input channels there, 4096 here.
    assert ours == pytest.approx(893_986_606, rel=2e-4)


# What ZigZag 3.9.1 finds with uneven mappings for ResNet-50's layer4.0.downsample. Its count of the
# words of each operand, from the registers out; 1024 channels in 171 turns of 6 are 1026 to it.
DOWNSAMPLE: dict[str, Any] = {
    "temporal": {
        "I": [[["K", 16], ["OY", 7]], [["C", 19], ["C", 3], ["C", 3], ["K", 32]], []],
        "O": [[["K", 16], ["OY", 7], ["C", 19], ["C", 3], ["C", 3]], [], [["K", 32]]],
        "W": [[["K", 16], ["OY", 7]], [], [["C", 19], ["C", 3], ["C", 3], ["K", 32]]],
    },
    "spatial": {"D1": {"C": 3, "K": 4}, "D2": {"OX": 7, "C": 2}},
}
ITS_ENERGIES = {
    "output": (206_524_416, 1_204_224, 20_070_400),
    "weight": (117_669_888, 25_182_144, 419_155_200),
    "input": (109_396_224, 9_953_664, 10_035_200),
}


def test_zigzag_s_uneven_mapping_costs_what_it_says() -> None:
    layer = picojoule.load("resnet50")["layer4.0.downsample"]
    mapping = nests.zigzag(layer.bounds, DOWNSAMPLE)
    chip = machine("both-ends")
    cost = picojoule.evaluate(layer, chip, mapping)
    for operand in picojoule.workload.OPERANDS:
        ours = [cost.accesses[name][operand].energy for name in reversed(list(cost.accesses))]
        its = list(ITS_ENERGIES[operand.value])
        if operand is picojoule.workload.Operand.OUTPUT:
            # It reads a sum in a register also before the first addition: six parts of each.
            its[0] -= 6 * layer.bounds.M * layer.bounds.P * layer.bounds.Q
        assert ours == pytest.approx(its, rel=2.1 / 1024)
    # No even mapping costs as little: that is what the search proves of them.
    assert cost.energy == 1_020_745_728 < 1_029_626_880


def test_zigzag_s_count_is_ours_to_the_unit_where_bounds_divide() -> None:
    inner_first = [["C", 4], ["C", 4], ["K", 12], ["OY", 4], ["OY", 2], ["OX", 28]]
    answer = {
        "temporal": {
            "I": [inner_first[:4], inner_first[4:5], inner_first[5:]],
            "O": [inner_first[:2], inner_first[2:5], inner_first[5:]],
            "W": [inner_first, [], []],
        },
        "spatial": {"D1": {"OX": 2, "C": 6}, "D2": {"K": 2, "OY": 7}},
    }
    layer = picojoule.load("mobilenetv2")["block2/project"]
    ours = translation.priced("zigzag", layer, machine("both-ends"), answer)
    first_reads = 6 * layer.bounds.M * layer.bounds.P * layer.bounds.Q  # of sums in six elements
    assert ours == 117_480_960 - first_reads


def test_zigzag_s_tile_in_the_buffer_may_be_cut_inside_the_array() -> None:
    # Sums stay in the elements over three times four filters, for which weights pass the buffer.
    inner_first = [["C", 3], ["K", 6], ["C", 19], ["K", 4], ["K", 3], ["C", 6]]
    answer = {
        "temporal": {
            "I": [inner_first[:5], inner_first[5:], []],
            "O": [inner_first, [], []],
            "W": [inner_first[:2], [], inner_first[2:]],
        },
        "spatial": {"D1": {"C": 12}, "D2": {"K": 14}},
    }
    layer = picojoule.load("bvlc-alexnet")["fc8"]
    mapping = nests.zigzag(layer.bounds, answer)
    assert mapping.levels == (0, 1, 2, 2, 2, 1, 2)
    # It says 893,941,748, of filters and channels that are not 1000 and 4096 to it.
    ours = translation.priced("zigzag", layer, machine("both-ends"), answer)
    assert ours == pytest.approx(893_941_748, rel=2e-4)


# What AccelForge 1.0.467 finds for ResNet-50's layer4.0.downsample; it says 1,011,335,168.
ACCELFORGE = (
    "[W,O,I in MainMemory] W,O,I reserves MainMemory T-m in [0..4) shape=512 "
    "S-columns-q in [0..7) shape=1 S-columns-m in [0..2) shape=256 S-rows-m in [0..8) shape=32 "
    "[O in Registers] O reserves Registers T-c in [0..1024) shape=1 "
    "[W in Registers] W reserves Registers T-p in [0..7) shape=1 "
    "[I in Registers] I reserves Registers T-m in [0..32) shape=1 MAC computes Layer"
)


def test_accelforge_s_mapping_costs_what_it_says_to_the_unit() -> None:
    layer = picojoule.load("resnet50")["layer4.0.downsample"]
    ours = translation.priced("accelforge", layer, machine("both-ends"), ACCELFORGE)
    assert ours == 1_011_335_168


def test_finished_rows_are_kept_for_the_same_version(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Record(path, "1").add("part", {"layer": "a"})
    with path.open("a") as file:
        file.write('{"version": "1", "part"')  # killed while writing
    assert Record(path, "1").rows("part") == [{"layer": "a"}]
    assert Record(path, "2").rows("part") == []
    assert Record(path, "1", again=True).rows("part") == []


def test_a_row_after_a_torn_one_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"version": "1", "part"')
    Record(path, "1").add("part", {"layer": "a"})
    assert Record(path, "1").rows("part") == [{"layer": "a"}]


def test_variants_are_a_thousand_distinct_shapes() -> None:
    asked = questions.channel_variants()
    assert len(asked) == 1000
    assert len({json.dumps(row, sort_keys=True) for row in asked}) == 1000
    assert all(min(row["channels"].values()) > 0 for row in asked)


def test_a_missed_target_is_said_to_be_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ratios count where the issue has a time of the old build; else the number itself."""
    code, deep, memory = (rows.TARGETS[name] for name in ("code-kept", "deep", "memory"))
    assert (code.today, code.target) == (1.27, 0.4)
    assert search_tables.reached(code, {"old": 2.54, "new": 0.8})  # a machine half as quick
    assert not search_tables.reached(code, {"old": 1.0, "new": 0.39})
    assert not search_tables.reached(memory, {"old": 1000.0, "new": 257.0})
    assert not search_tables.reached(deep, {"old": None, "new": 1.0, "reached": False})
    profile = {"seconds": 2.0, "rows": [{"function": "f", "compiled": True, "share": 0.5}]}
    missed = {"old": 1.0, "new": 0.5, "note": "", "profile": profile}
    monkeypatch.setattr(search_tables, "REASONS", tmp_path / "reasons.yaml")
    search_tables.REASONS.write_text("code-kept: Imports take it.")
    said = "\n".join(search_tables.text_of_rows({"code-kept": missed}))
    assert "| 1 s | 0.5 s | 2.00 | 0.4 s (3.2 times less) | **no** |  |" in said
    assert "Imports take it." in said
    assert "| `f` | compiled | 50% |" in said


def peer_part(**of: Any) -> dict[str, Any]:
    """A peer that took 2 s for a mapping of 100, beside us with half a second for one of 99."""
    their = {"network": "n", "layer": "l", "status": "done", "cpu": 2.0, "energy": 100.0}
    peer = {"restricted": False, "faster": 4.0, **of}
    ours = {"cpu": 0.5, "energy": 99.0, "status": "optimal"}
    return {"peer": peer, "theirs": [their], "ours": [ours]}


def test_a_peer_is_beaten_in_time_and_energy() -> None:
    assert peer_tables.cheaper(0.99, 1.0)
    assert not peer_tables.cheaper(1.0, 1.0)
    [line] = peer_tables.lines_of(peer_part(), 120)
    assert (line.ratio, line.reached) == (4.0, True)
    [line] = peer_tables.lines_of(peer_part(faster=4.1), 120)
    assert line.reached is False
    dearer = peer_part()
    dearer["ours"][0]["energy"] = 101.0
    [line] = peer_tables.lines_of(dearer, 120)
    assert line.reached is False
    # Where it searches one dataflow, our time within that counts, and our energy without.
    within = peer_part(restricted=True)
    within["ours_rs"] = [{"cpu": 1.0, "energy": 120.0, "status": "optimal"}]
    [line] = peer_tables.lines_of(within, 120)
    assert (line.ratio, line.reached) == (2.0, False)
    # Its uneven mappings are held against ours, once ours are searched.
    uneven = peer_part()
    uneven["ours_uneven"] = [{"energy": None}]
    assert peer_tables.lines_of(uneven, 120) == peer_tables.lines_of(peer_part(), 120)
    uneven["ours_uneven"] = [{"cpu": 0.25, "energy": 90.0, "status": "optimal"}]
    [line] = peer_tables.lines_of(uneven, 120)
    assert (line.ratio, line.reached) == (8.0, True)
    stopped = peer_part()
    stopped["theirs"] = [{"network": "n", "layer": "l", "status": "timeout", "limit": 30}]
    [line] = peer_tables.lines_of(stopped, 120)
    assert (line.ratio, line.reached) == (60.0, True)


def _failing(_: object) -> Any:
    raise SystemExit("a build ended")


def test_a_row_that_fails_loses_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = rows.TARGETS
    fine = {"old": 2.0, "new": 1.0, "note": "", "reached": True}
    kept = {
        "memory": targets["memory"]._replace(measure=_failing),
        "budget": targets["budget"]._replace(measure=lambda _: fine),
        "shared": targets["shared"]._replace(measure=lambda _: {}),
    }
    monkeypatch.setattr(search, "TARGETS", kept)
    bench: Any = SimpleNamespace(anew=lambda: None)
    measured = search.measured(bench, ["memory", "shared", "budget"])
    assert measured["memory"] == {"failed": "SystemExit: a build ended"}
    assert "failed" in measured["shared"]  # of another form than a row
    assert measured["budget"] == fine
    assert search.failures(measured) == 1
    assert search.failures({"budget": fine}) == 0
    assert "a build ended" in capsys.readouterr().err
    table = "\n".join(search_tables.text_of_rows(measured))
    assert "**failed** | SystemExit: a build ended" in table


def test_how_time_grows_is_drawn_whatever_is_missing(tmp_path: Path) -> None:
    layer = {"network": "bvlc-alexnet", "layer": "conv3", "factors": "perfect"}
    layers = {"perfect": [{**layer, "new": {"cpu": 0.03, "status": "optimal"}}]}
    answer = {"cpu": 0.02, "status": "optimal", "whole": True}
    grown: dict[str, Any] = {
        name: [{**layer, "machine": {kind.change: value}, **answer} for value in kind.values[:2]]
        for name, kind in growth.KINDS.items()
    }
    grown["levels"][1] = {**layer, "machine": {"levels": 3}, "failed": "a build ended"}
    for name in growth.draw(tmp_path, layers, grown):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        assert "10 ms" in (tmp_path / f"{name}.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("levels", growth.LEVELS)
def test_machines_with_more_levels_are_larger_outside(levels: int) -> None:
    chip = machines.varied(machine("both-ends"), levels=levels)
    sizes = [level.memories[0].capacity for level in chip.levels]
    assert len(sizes) == levels
    assert sizes[1:] == sorted(sizes[1:], key=lambda size: -(size or 0.0))
    layer = picojoule.linear("fc", in_features=16, out_features=8)
    if levels <= 4:  # of more the classes alone take long
        assert picojoule.search(layer, chip, "flexible", factors="perfect", budget=1.0).value > 0


def test_an_array_of_another_size() -> None:
    chip = machines.varied(picojoule.load_accelerator("eyeriss"), array=32)
    assert [array.size for array in chip.arrays if array] == [1024]


def test_what_a_build_is_asked_is_answered() -> None:
    question = {
        "network": "bvlc-alexnet",
        "layer": "conv3",
        "chip": "eyeriss-v2",
        "factors": "perfect",
    }
    answer = searches_asked.answer(picojoule.search, question)
    assert (answer["status"], answer["whole"]) == ("optimal", True)
    assert searches_asked.asked_layer(question, 8).bits == (8, 8, 8)
    with pytest.raises(PicojouleError, match="search has no space"):
        searches_asked.answer(picojoule.load, {**question, "factors": "", "space": "uneven"})
    said = searches_asked.profile(picojoule.search, {"profile": [question]})
    assert any(row["compiled"] for row in said["rows"])


def test_a_build_that_takes_too_long_is_stopped() -> None:
    build = builds.Build(builds.ROOT / "src")
    question = {"network": "bvlc-alexnet", "layer": "conv3", "chip": "eyeriss"}
    assert build.ask({**question, "limit": 1e-3}) == {"stopped": 1e-3}
    assert build.ask({**question, "chip": "eyeriss-v9"}).keys() == {"failed"}
    build.end()


def test_the_tables_of_eyexam_say_what_is_reached(tmp_path: Path) -> None:
    """A target missed is said so; networks without a target have none."""
    row = {"cpu": 6.0, "wall": 6.0, "layers": 8, "distinct": 8, "proved": 8}
    searched = {"floor": 1.0, "plain": 2.0, "layers": 8}
    answer = {
        "conditions": {
            "command": "c",
            "picojoule": "0",
            "sources": "s",
            "python": "3",
            "processor": "p",
            "load": 0.5,
        },
        "examined": {case.name: row for case in eyexam.CASES[:3]},
        "searched": {eyexam.CASES[0].name: searched},
    }
    eyexam.write_table(tmp_path, answer)
    lines = (tmp_path / "eyexam.md").read_text().splitlines()
    assert "| bvlc-alexnet | eyeriss | 16 | 8 | 8 | 8 | 6.00 s | 5 s | **no** |" in lines
    assert "| resnet50 | eyeriss | 16 | 8 | 8 | 8 | 6.00 s | 30 s | yes |" in lines
    assert "| mobilenetv2 | eyeriss | 16 | 8 | 8 | 8 | 6.00 s |  |  |" in lines
    assert "| bvlc-alexnet | eyeriss | 8 | 1.00 s | 2.00 s | 2.00 |" in lines


ROW = replay.Row(
    accelerator="a",
    network="n",
    bits="",
    layers="all",
    energy="200.0",
    cycles="8.0",
    status="optimal",
    digest="0",
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"energy": "201.0"}, "a/n: energy 200.0 -> 201.0 (x 1.005)"),
        ({"status": "bounded", "cycles": "4.0"}, "optimal -> bounded; cycles 8.0 -> 4.0 (x 0.5)"),
        ({"status": "refused", "energy": ""}, "energy 200.0 -> (none)"),
        ({"digest": "1"}, "a/n: the same totals, other parts or mappings"),
    ],
)
def test_a_result_that_differs_is_said_with_its_ratio(
    change: dict[str, str], said: str | None
) -> None:
    found = replay.difference(ROW, replace(ROW, **change))
    assert (found is None) if said is None else (said in (found or ""))
    assert replay.difference(None, ROW) == "a/n: not in the table"


def test_replayed_results_are_those_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pair as in the committed table; then one that differs, and one that nobody ships."""

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["replay", *words, "--only", "cvpr17/squeezenet1.1"])
        return replay.main()

    assert run() == 0
    pair = "eyeriss-cvpr17/squeezenet1.1"
    table = tmp_path / "replay.csv"
    kept = replay.read(replay.TABLE)[pair]
    replay.write(table, [replace(kept, energy="1.0"), ROW])
    assert run("--table", str(table)) == 1
    said = capsys.readouterr().out
    assert f"{pair}: energy 1.0 -> " in said
    assert "a/n: no longer shipped" in said
    assert run("--table", str(table), "--write") == 0
    assert replay.read(table) == {pair: kept}
    assert run("--table", str(table)) == 0


def test_the_table_holds_what_is_shipped() -> None:
    assert replay.read(replay.TABLE).keys() == set(replay.pairs())


def test_a_slow_pair_stands_for_few_layers() -> None:
    network = picojoule.load("squeezenet1.1")
    assert replay.chosen("eyeriss", network) is network
    few = replay.chosen("eyeriss-v2", network)
    assert [layer.name for layer in few] == ["conv1", "fire6/expand3x3"]
    assert not replay.chosen("eyeriss-v2", picojoule.load("gpt2")).layers


class Turns:
    """A build whose searches take what is said, one after the other."""

    def __init__(self, *seconds: float, value: float = 3.0) -> None:
        self.left, self.value = list(seconds), value

    def ask(self, _: object) -> dict[str, Any]:
        seconds = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return {"cpu": seconds, "value": self.value, "lower_bound": 2.0, "explored": 5, "pruned": 4}


QUESTION: builds.Question = {
    "network": "bvlc-alexnet",
    "layer": "conv1",
    "chip": "eyeriss",
    "dataflow": "flexible",
    "factors": "all",
}


def test_a_row_that_looks_slower_is_given_more_turns() -> None:
    row = beside.compare(Turns(9, 1.0), Turns(9, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.02), QUESTION)
    assert (row["before"], row["after"], row["turns"]) == (1.0, 1.02, 7)
    assert beside.compare(Turns(1.0), Turns(1.2), QUESTION)["turns"] == beside.MOST
    assert beside.compare(Turns(1.0), Turns(0.9), QUESTION)["turns"] == beside.TURNS


def test_builds_that_answer_differently_end_the_comparison() -> None:
    with pytest.raises(SystemExit, match="before"):
        beside.compare(Turns(1.0), Turns(1.0, value=3.1), QUESTION)


def test_every_number_of_the_search_is_halved_and_doubled() -> None:
    assert tuning.others(8) == [4, 16]
    assert tuning.others(1) == [1, 2]
    assert tuning.others((0.01, 1.0)) == [(0.005, 0.5), (0.02, 2.0)]
    assert tuning.others(0.5) == [0.25, 1.0]
    for question in tuning.QUESTIONS:
        assert picojoule.load(question["network"])[question["layer"]]
        assert question["chip"] == questions.CHIP
