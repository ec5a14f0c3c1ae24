"""The command line: answers on stdout, talk on stderr, exit codes."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest

from picojoule import estimation
from picojoule.cli import main
from picojoule.cli.questions import read_bits, read_densities, read_seconds
from picojoule.errors import PicojouleError
from picojoule.estimate_records import load_estimate
from picojoule.validation.figures import PublishedNumber
from picojoule.version import __version__

CHIP = """\
name: tiny
energy_unit: MAC
word_bits: 16 bit
compute: {mac_energy: 1 MAC}
nest:
  - memories:
      - {name: dram, keeps: [input, weight, output], access_energy: 200 MAC}
  - memories:
      - {name: buffer, keeps: [input, weight, output], capacity: 512 B, access_energy: 6 MAC}
  - array: pes
    axes: [{name: x, size: 4}]
    hop_energy: 2 MAC
  - memories:
      - {name: spad, keeps: [input, weight, output], capacity: 32 B, access_energy: 1 MAC}
"""
NETWORK = """\
from picojoule import Workload, conv, linear

def net():
    return Workload(
        "net",
        (
            conv("conv[1]", input_size=(5, 5), in_channels=2, out_channels=3, kernel=(3, 3)),
            linear("fc", in_features=12, out_features=5),
        ),
        not_counted={"Relu": 2},
    )

def broken():
    return 1 / 0
"""


@dataclass
class Said:
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")  # as without a terminal
    Path("chip.yaml").write_text(CHIP)
    Path("nets.py").write_text(NETWORK)

    def call(*words: str) -> Said:
        code = main(words)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


ESTIMATE = ("estimate", "nets.py:net", "-a", "chip.yaml")


def refused(said: Said, *parts: str, code: int = 2) -> None:
    assert said.code == code, said
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    for part in parts:
        assert part in said.err


# -- estimate ------------------------------------------------------------------------------


def test_estimate_prints_a_report(run: Run) -> None:
    said = run(*ESTIMATE)
    assert said.code == 0
    assert said.err == ""
    assert "\x1b" not in said.out
    for part in ("conv[1]", "fc", "dram", "not counted: Relu x2", "proved optimal", "batch 1"):
        assert part in " ".join(said.out.split())
    assert max(map(len, said.out.splitlines())) <= 100


def test_estimate_json_adds_up(run: Run) -> None:
    said = run(*ESTIMATE, "--batch", "2", "--density", "weight=0.5", "--json")
    record = json.loads(said.out)
    assert record["schema_version"] == 1
    assert (record["network"], record["accelerator"], record["batch"]) == ("net", "tiny", 2)
    assert record["energy_unit"] == "MAC"
    for part in (record["total"], *record["layers"]):
        assert math.isclose(sum(part["by_operand"].values()), part["energy"])
        assert math.isclose(sum(part["by_memory"].values()), part["energy"])
        assert part["effectual_macs"] <= part["macs"]
    assert math.isclose(sum(x["energy"] for x in record["layers"]), record["total"]["energy"])
    assert record["not_counted"] == [{"op": "Relu", "count": 2}]
    first = record["layers"][0]
    assert first["macs"] == 3 * 3 * 3 * 2 * 9
    assert {"read", "write"} == set(first["accesses"]["dram"]["input"])
    assert first["search"]["status"] == "optimal"
    assert len(first["mapping"]["stages"]) == 3


def test_estimate_writes_files(run: Run) -> None:
    for name in ("run.json", "run.csv", "run.txt"):
        said = run(*ESTIMATE, "-o", name)
        assert said.code == 0
        assert said.out == "net on tiny: 45.8 k x E_MAC per inference\n"
        assert name in said.err
    assert load_estimate("run.json").network == "net"
    with Path("run.csv").open(newline="") as file:
        assert [row["layer"] for row in csv.DictReader(file)] == ["conv[1]", "fc"]
    assert "conv[1]" in Path("run.txt").read_text("utf-8")
    assert run("check", "run.json").code == 0


def test_widths_and_densities(run: Run) -> None:
    def energy(*options: str) -> float:
        return float(json.loads(run(*ESTIMATE, "--json", *options).out)["total"]["energy"])

    assert energy("--bits", "8") < energy("--bits", "weight=8") < energy()
    assert energy("--bits", "8", "--bits", "weight=16") > energy("--bits", "8")


def test_searches_are_kept_where_the_user_says(run: Run, cache_home: Path) -> None:
    plain = run(*ESTIMATE, "--no-cache").out
    assert list(cache_home.iterdir()) == []
    for _ in range(2):
        said = run(*ESTIMATE, "--cache", "kept")
        assert (said.code, said.out, said.err) == (0, plain, "")
    assert len(list(Path("kept").rglob("*.json"))) == 2
    assert list(cache_home.iterdir()) == []
    assert run(*ESTIMATE).out == plain
    assert len(list(cache_home.rglob("*.json"))) == 2
    assert run(*ESTIMATE[:1], "nets.py:net", "-a", "chip.yaml", "--cache", "chip.yaml").code == 2


def test_the_cache_command(run: Run) -> None:
    run(*ESTIMATE, "--cache", "kept")
    said = run("cache", "--cache", "kept")
    assert said.code == 0
    assert said.out.startswith("kept: 2 searches, ")
    assert json.loads(run("cache", "--json").out)["usable"] == 0
    said = run("cache", "--cache", "kept", "--clear", "--json")
    assert said.err == "2 searches deleted\n"
    record = json.loads(said.out)
    assert (record["folder"], record["usable"], record["outdated"]) == ("kept", 0, 0)
    assert list(Path("kept").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_talk(run: Run) -> None:
    Path("folder").mkdir()
    Path("folder/searches").write_text("in the way")
    said = run(*ESTIMATE, "--cache", "folder")
    assert said.code == 0
    assert said.out == run(*ESTIMATE, "--no-cache").out


@pytest.mark.usefixtures("run")
def test_an_answer_does_not_depend_on_the_hash_seed() -> None:
    """Two processes that both search say the same, but for the time they took."""
    code = "import sys; from picojoule.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *ESTIMATE, "--json", "--no-cache"]
    made = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        text = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        made.append(re.sub(r'"seconds": [0-9.e-]+', "", text))
        assert made[-1] != text
    assert made[0] == made[1]


def test_sizes_of_named_dimensions(run: Run) -> None:
    from onnx import TensorProto, helper, save

    a = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, "rows", 4])
    b = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, "rows", 6])
    node = helper.make_node("MatMul", ["a", "w"], ["b"])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 6], [1.0] * 24)
    graph = helper.make_graph([node], "g", [a], [b], [weights])
    save(helper.make_model(graph), "net.onnx")
    for options in (["--dim", "rows=5"], ["--dim", "a[1]=5"]):
        said = run("estimate", "net.onnx", "-a", "chip.yaml", "--json", *options)
        assert json.loads(said.out)["total"]["macs"] == 120, said
    refused(run("estimate", "net.onnx", "-a", "chip.yaml", "--dim", "row=5"), "'rows'")
    refused(run("estimate", "net.onnx", "-a", "chip.yaml"), "--dim rows=")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--bits", "x"], "width"),
        (["--bits", "0"], "1 to 64"),
        (["--bits", "8", "--bits", "9"], "two widths"),
        (["--bits", "wieght=8"], "did you mean 'weight'"),
        (["--bits", "weight=8", "--bits", "weight=8"], "twice"),
        (["--density", "0.4"], "weight=0.4"),
        (["--density", "weight=1.5"], "0 to 1"),
        (["--density", "weight=nan"], "0 to 1"),
        (["--budget", "soon"], "0.5s"),
        (["--budget", "0s"], "0.5s"),
        (["--dim", "sequence"], "NAME=SIZE"),
        (["--dim", "=3"], "NAME=SIZE"),
        (["--dim", "sequence=0"], "whole number"),
        (["--dim", "sequence=many"], "whole number"),
        (["--dim", "a=1", "--dim", "a=1"], "twice"),
        (["--dim", "a=1"], "only an ONNX, TFLite or SCALE-Sim file"),
        (["--trips", "loop"], "--trips: 'loop' is not NAME=SIZE"),
        (["--trips", "loop=3"], "only an ONNX or TFLite file has loops"),
        (["--shape", "x=1x"], "TENSOR=SHAPE"),
        (["--shape", "x=1", "--shape", "x=2"], "twice"),
        (["--shape", "x=1x2"], "only an ONNX file has tensors"),
        (["--context", "8"], "Hugging Face folder"),
        (["--phase", "decode"], "has phases"),
        (["--no-values"], "only files with weights in them"),
        (["--cache", "a", "--no-cache"], "give one of them"),
        (["--cache", "chip.yaml"], "no folder"),
        (["--batch", "0"], "batch"),
        (["--batch", "x"], "batch"),
        (["--dataflow", "rss"], "did you mean 'rs'"),
        (["--objective", "enrgy"], "did you mean 'energy'"),
        (["--factors", "perfekt"], "did you mean 'perfect'"),
        (["--nonsense"], "nonsense"),
        (["extra"], "extra"),
        (["-o", "run.pdf"], ".json, .csv, .txt"),
        (["-o", "run"], "unknown ending"),
        (["-o", "none/run.json"], "no folder"),
    ],
)
def test_wrong_questions(run: Run, options: list[str], part: str) -> None:
    refused(run(*ESTIMATE, *options), part)


def test_a_bad_output_stops_before_the_work(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("worked")

    monkeypatch.setattr(estimation, "price", never)
    refused(run(*ESTIMATE, "-o", "none/run.json"))
    assert sorted(x.name for x in Path().iterdir()) == ["chip.yaml", "nets.py"]


MALFORMED = {
    "bad.csv": "name,batch\nconv1,0\n",
    "bad.txt": "1,2,3\n",
    "bad.onnx": "not a protobuf",
    "empty.csv": "",
    "bad.yaml": "name: x\nnest: 3\ncolour: red\n",
    "list.yaml": "- 1\n- 2\n",
    "broken.yaml": "a: [1, 2\nb: }",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files(run: Run, name: str) -> None:
    Path(name).write_text(MALFORMED[name])
    if name.endswith(".yaml"):
        refused(run("estimate", "nets.py:net", "-a", name, "-o", "run.json"), name)
        refused(run("show", name), name)
    else:
        refused(run("estimate", name, "-a", "chip.yaml", "-o", "run.json"), name)
    assert not Path("run.json").exists()
    said = run("check", name)
    assert said.code == 1
    assert "no well-formed" in said.out
    record = json.loads(run("check", name, "--json").out)
    assert record["ok"] is False
    assert record["mistakes"]


def test_other_bad_sources(run: Run) -> None:
    refused(run("estimate", "nets.py:broken", "-a", "chip.yaml"), "ZeroDivisionError")
    refused(run("estimate", "resnet-50", "-a", "chip.yaml"), "did you mean 'resnet50'")
    refused(run("estimate", "nets.py:net", "-a", "eyeris"), "did you mean 'eyeriss")
    refused(run("estimate", "nets.py:net"), "accelerator")
    refused(run("map", "nets.py:net", "fd", "-a", "chip.yaml"), "no layer 'fd'")
    refused(run("estimat"), "estimat")
    refused(run("check", "nowhere.csv"), "no such file")
    refused(run("check", "nets.py"), "unknown ending")
    refused(run("list", "chip"), "did you mean 'chips'")


def test_no_mapping_is_the_answer_no(run: Run) -> None:
    Path("chip.yaml").write_text(CHIP.replace("32 B", "1 B"))
    refused(run(*ESTIMATE), "no mapping fits", code=1)


def test_wide_words_on_a_machine_of_narrow_ones_take_its_width(run: Run) -> None:
    Path("chip.yaml").write_text(CHIP.replace("word_bits: 16", "word_bits: 8"))
    said = run(*ESTIMATE)
    assert said.code == 0
    assert "remark: priced at 8 bit, the width of tiny's words" in said.out
    own, asked = (run(*ESTIMATE, "--json", *bits).out for bits in ((), ("--bits", "8")))
    assert json.loads(own)["total"] == json.loads(asked)["total"]
    assert "remark" not in run(*ESTIMATE, "--bits", "16").out


# -- map and price -------------------------------------------------------------------------


def test_map_then_price(run: Run) -> None:
    ask = ("nets.py:net", "conv[1]", "-a", "chip.yaml")
    found = json.loads(run("map", *ask, "-o", "mapping.yaml", "--json").out)
    assert found["layer"]["search"]["status"] == "optimal"
    assert found["contents"][1]["used"] <= found["contents"][1]["capacity"]
    priced = json.loads(run("price", *ask, "-m", "mapping.yaml", "--json").out)
    assert math.isclose(priced["layer"]["energy"], found["layer"]["energy"])
    assert priced["layer"]["mapping"] == found["layer"]["mapping"]
    assert priced["layer"]["search"]["status"] == "given"
    said = run("check", "mapping.yaml").out
    assert "well-formed mapping" in said
    assert "whole-layer" in said
    rules = json.loads(run("check", "mapping.yaml", "--json").out)["rules"]
    assert "capacity" in [rule["name"] for rule in rules]
    other = ("nets.py:net", "fc", "-a", "chip.yaml")
    refused(run("price", *other, "-m", "mapping.yaml"), "illegal mapping: whole-layer: ")
    run("map", *ask, "-o", "mapping.json")
    assert run("price", *ask, "-m", "mapping.json").code == 0


def test_operands_may_have_tiles_of_their_own(run: Run) -> None:
    sizes = "input_size=(2, 2), in_channels=32, out_channels=32, kernel=(1, 1)"
    Path("wide.py").write_text(
        "from picojoule import Workload, conv\n"
        f"def net():\n    return Workload('net', (conv('wide', {sizes}),))\n"
    )
    ask = ["map", "wide.py:net", "wide", "-a", "chip.yaml", "--json", "--factors", "perfect"]
    even, uneven = (
        json.loads(run(*ask, "--space", space).out)["layer"] for space in ("even", "uneven")
    )
    assert "level" not in even["mapping"]["stages"][1]
    assert len({stage["level"] for stage in uneven["mapping"]["stages"]}) == 3
    assert uneven["search"]["status"] == even["search"]["status"] == "optimal"
    assert "of each operand its own" in uneven["search"]["space"]
    assert uneven["energy"] < even["energy"]


def test_perfect_factors_divide(run: Run) -> None:
    ask = ("map", "bvlc-alexnet", "conv3", "-a", "eyeriss", "--json")
    every = json.loads(run(*ask).out)["layer"]
    perfect = json.loads(run(*ask, "--factors", "perfect").out)["layer"]
    assert every["search"]["status"] == perfect["search"]["status"] == "optimal"
    assert perfect["energy"] > every["energy"]
    tiles = [stage["tile"] for stage in perfect["mapping"]["stages"]]
    for outer, inner in itertools.pairwise(tiles):
        assert all(outer[dim] % size == 0 for dim, size in inner.items() if dim in outer)


def test_map_prints_the_nest_and_the_proof(run: Run) -> None:
    said = run("map", "nets.py:net", "fc", "-a", "chip.yaml")
    assert said.code == 0
    for part in ("multiply and accumulate", "unbounded", "no mapping of the space has less energy"):
        assert part in " ".join(said.out.split())
    assert "other choices" not in said.out


MAP = ("map", "nets.py:net", "fc", "-a", "chip.yaml", "--dataflow", "rs", "--budget", "20s")


def test_explain(run: Run) -> None:
    plain = json.loads(run(*MAP, "--json").out)
    assert "alternatives" not in plain
    said = run(*MAP, "--explain", "--json")
    assert (said.code, said.err) == (0, "")
    record = json.loads(said.out)
    others = record.pop("alternatives")
    for answer in (plain, record):
        answer["layer"]["search"].pop("seconds")
    assert record == plain
    changes = [x["change"] for x in others]
    for part in ("dataflow flexible", "buffer of 1 KiB, not 512 B", "pes of 8, not 4"):
        assert part in changes
    shown = run(*MAP, "--explain").out
    assert "what other choices would cost" in shown
    for x in others:
        assert x["change"] in shown
        assert (x["status"] == "none") == bool(x["reason"]) == (x["energy"] is None)


def test_every_field_is_documented(run: Run) -> None:
    """Every key of the JSON that is a name of ours, not of the user's, stands in docs/json.md."""
    text = (Path(__file__).parents[1] / "docs" / "json.md").read_text("utf-8")
    known = set(re.findall(r"`([a-z_]+)`", text))
    places = {"dram", "buffer", "spad", "pes", *"NGMCPQRS"}

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(keys, value.values()))
        return set().union(*map(keys, value)) if isinstance(value, list) else set()

    for command in (ESTIMATE, (*MAP, "--explain")):
        found = keys(json.loads(run(*command, "--json").out)) - places
        head = {"schema_version", "picojoule"}
        assert head <= found
        assert found - head <= known


@pytest.mark.parametrize(
    "text", ["", "stages: 3", "stages: [{tile: {X: 1}}]", "stages: [1]", "a: [", "stages: []"]
)
def test_mappings_that_cannot_be(run: Run, text: str) -> None:
    Path("m.yaml").write_text(text)
    refused(run("price", "nets.py:net", "fc", "-a", "chip.yaml", "-m", "m.yaml"))


# -- the rest ------------------------------------------------------------------------------


def test_lists(run: Run) -> None:
    record = json.loads(run("list", "--json").out)
    assert {"chips", "networks", "dataflows"} <= set(record)
    assert "eyeriss" in [chip["name"] for chip in record["chips"]]
    assert "bvlc-alexnet" in run("list", "networks").out
    assert "row-stationary" in run("list", "dataflows").out
    assert "axis-length" in run("list", "rules").out


def test_show(run: Run) -> None:
    said = run("show", "chip.yaml")
    assert said.code == 0
    for part in ("buffer", "512 B", "pes", "every MAC is done"):
        assert part in said.out
    record = json.loads(run("show", "eyeriss", "--json").out)["accelerator"]
    assert record["elements"] == 168
    assert record["sources"]
    assert "area" not in said.out  # it says no node
    assert {part["part"] for part in record["area"]} >= {"buffer", "compute"}


def test_another_node(run: Run) -> None:
    said = run("show", "eyeriss", "--node", "22nm")
    assert said.code == 0
    for part in ("eyeriss-22nm", "from 65 nm to 22 nm", "unchanged: off the chip"):
        assert part in said.out
    record = json.loads(run("show", "eyeriss", "--node", "22nm", "--json").out)["accelerator"]
    assert (record["node"], record["energy_unit"]) == (22.0, "pJ")
    for words in (["estimate"], ["eyexam"], ["map", "fc1"]):
        command, *rest = words
        where = ("nets.py:net", *rest, "-a", "chip.yaml", "--node", "22nm")
        refused(run(command, *where), "tiny does not say which node")
    answer = json.loads(
        run("estimate", "nets.py:net", "-a", "eyeriss", "--node", "7nm", "--json").out
    )
    assert (answer["accelerator"], answer["node"]) == ("eyeriss-7nm", 7.0)
    assert answer["joules"]["energy"] > 0
    refused(run("estimate", "nets.py:net", "-a", "eyeriss", "--node", "3nm"), "7 to 90 nm")


def test_components_are_listed(run: Run) -> None:
    said = run("list", "components")
    assert "register-file of 512 B" in said.out
    assert "runs of CACTI that the curves have not seen" in said.out
    records = json.loads(run("list", "components", "--json").out)["components"]
    sram = next(x for x in records if x["name"] == "sram of 128 KiB, 64 bit" and x["node"] == 65)
    assert sram["energies"]["read"] == pytest.approx(59.3, rel=1e-2)


def test_validate(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("picojoule.validation.sections")
    monkeypatch.setitem(sys.modules, "picojoule.validation.sections", module)
    row = PublishedNumber(
        figure="F", quantity="q", kind="time", origin="silicon", paper=2.0, ours=3.0, tolerance=1.0
    )
    for tolerance, code in ((1.0, 0), (0.1, 1)):
        rows = [replace(row, tolerance=tolerance), replace(row, fitted=True, tolerance=0.1)]
        module.validate = lambda rows=rows: iter(rows)  # type: ignore[attr-defined]
        said = run("validate")
        assert said.code == code
        assert "1.5" in said.out
        assert "1 rows, 1 of them from silicon" in said.out
        answer = json.loads(run("validate", "--json").out)
        assert answer["ok"] is (code == 0)
        assert [x["ok"] for x in answer["rows"]] == [code == 0, True]
        assert answer["rows"][0]["kind"] == "time"
        assert [(x["count"], x["fitted"]) for x in answer["summary"]] == [(1, 1)]
    assert run("validate", "--plot", "picture.txt").code == 2


def test_help_and_version(run: Run) -> None:
    assert "exit codes" in " ".join(run("--help").out.lower().split())
    assert "--density" in run("estimate", "--help").out
    assert run("--version").out.strip() == __version__


def test_a_bug_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimation, "price", "no function")
    said = run(*ESTIMATE)
    refused(said, "TypeError: 'str' object is not callable", "--traceback", code=101)
    assert said.err.count("\n") == 1
    traced = run(*ESTIMATE, "--traceback")
    assert traced.code == 101
    assert "Traceback" in traced.err


def test_interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(estimation, "price", interrupt)
    said = run(*ESTIMATE, "-o", "run.json")
    assert said.code == 130
    assert not Path("run.json").exists()


def test_a_reader_that_leaves() -> None:
    code = "import sys; from picojoule.cli import main; sys.exit(main(['list']))"
    reading, writing = os.pipe()
    os.close(reading)
    made = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert made.returncode == 0
    assert made.stderr == b""


def test_options_are_read() -> None:
    assert read_bits(None) == {}
    assert read_bits(["output=32"]) == {"output": 32}
    assert read_densities(["weight=.5", "output=0"]) == {"weight": 0.5, "output": 0.0}
    assert read_seconds("500 ms") == 0.5
    for text in ("-1s", "1h", "", "1e3"):
        with pytest.raises(PicojouleError):
            read_seconds(text)
