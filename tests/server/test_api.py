"""The JSON API: answers, refusals, downloads, and what survives."""

from __future__ import annotations

import json
import math
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

import picojoule
from picojoule.estimate_records import parse_estimate
from picojoule.reports.network_table import format_table
from tests.plan.test_others import residual
from tests.server.conftest import SLOW, Server, Start
from tests.server_files import CHIP, TABLE


def problem(answer: Any, status: int, *parts: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    said = error["message"] + " ".join(x["path"] + x["message"] for x in error["mistakes"])
    for part in parts:
        assert part in said


@pytest.fixture(scope="module")
def network(server: Server) -> str:
    answer = server.upload("small.csv", TABLE)
    assert answer.status_code == 201, answer.text
    record = answer.json()
    assert (record["name"], record["layers"]) == ("small", 2)
    assert record["not_counted"] == [{"op": "Relu", "count": 2}]
    assert (record["complete"], record["unmodelled"], record["remarks"]) == (True, [], [])
    name: str = record["id"]
    return name


@pytest.fixture(scope="module")
def done(server: Server, network: str) -> dict[str, Any]:
    job = server.finished({"network": network, "chip_yaml": CHIP})
    assert job["state"] == "done", job
    return job


# -- networks and chips --------------------------------------------------------------------


def test_what_there_is(server: Server) -> None:
    about = server.call("GET", "/api/about").json()
    assert "eyeriss" in about["chips"]
    assert "bvlc-alexnet" in server.call("GET", "/api/networks").json()["shipped"]
    assert server.call("GET", "/api/networks/bvlc-alexnet").json()["macs"] == 724_406_816
    assert "JSSC'17" in server.call("GET", "/api/chips/eyeriss").text


def test_every_kind_of_network_file(server: Server) -> None:
    network = picojoule.Workload(
        "x", (picojoule.conv("c", input_size=(6, 6), in_channels=2, out_channels=4, kernel=(3, 3)),)
    )
    from picojoule.frontends.energy_site import format_energy_site

    scale_sim = (
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, "
        "Num Filter, Strides,\nc, 6, 6, 3, 3, 2, 4, 1,\n"
    )
    for name, content in (("x.txt", format_energy_site(network)), ("x.csv", scale_sim)):
        answer = server.upload(name, content)
        assert answer.status_code == 201, answer.text
        assert answer.json()["macs"] == network.macs


def test_onnx_with_named_sizes(server: Server) -> None:
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [8, 4], [1.0] * 16 + [0.0] * 16)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "fc")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "tokens", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "tokens", 4])],
        [weight],
    )
    content = helper.make_model(graph).SerializeToString()
    problem(server.upload("m.onnx", content), 422, "tokens")
    answer = server.upload("m.onnx", content, dim="tokens=5")
    assert answer.status_code == 201, answer.text
    assert answer.json()["macs"] == 5 * 8 * 4
    # only structure and densities are kept
    kept = sqlite3.connect(server.store).execute(
        "SELECT content FROM networks WHERE id = ?", (answer.json()["id"],)
    )
    table = kept.fetchone()[0]
    assert ",0.5," in table
    assert len(table) < 2000


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("x.exe", "hello", "must end in"),
        ("x.csv", "", "column names"),
        ("x.csv", "name,in_channels,out_channels\na,1,zero\n", "line 2"),
        ("x.csv", b"\xff\xfe\x00", "UTF-8"),
        ("x.txt", "1,2,3\n", "25"),
        ("x.onnx", "not onnx", "not an ONNX model"),
        ("x.onnx", b"", "x"),
    ],
)
def test_broken_uploads(server: Server, name: str, content: bytes | str, part: str) -> None:
    answer = server.upload(name, content)
    assert answer.status_code == 422, answer.text
    if name != "x.onnx" or content:
        problem(answer, 422, part)
    assert "/tmp" not in answer.text  # no path of the server


def test_a_client_opens_no_path(server: Server) -> None:
    for name in ("../../etc/passwd.csv", "/etc/passwd.csv", "a\\b.csv"):
        problem(server.upload(name, TABLE), 422, "file")
    problem(
        server.call("POST", "/api/jobs", json={"network": "/etc/passwd", "chip": "eyeriss"}), 422
    )
    missing = {"network": "nets.py:net", "chip": "eyeriss"}
    problem(server.call("POST", "/api/jobs", json=missing), 422)
    problem(server.call("POST", "/api/jobs", json={"network": "vgg61", "chip": "eyeriss"}), 404)
    based = "name: x\nbased_on: /etc/hostname.yaml\nchanges: {}\n"
    answer = server.call("POST", "/api/chips/check", json={"yaml": based})
    problem(answer, 422, "$.based_on", "only a shipped machine", "line 2")
    assert server.call("GET", "/static/../pages.py").status_code == 404
    assert server.call("GET", "/static/%2e%2e%2fpages.py").status_code == 404


def test_chips_are_checked_with_lines(server: Server) -> None:
    good = server.call("POST", "/api/chips/check", json={"yaml": CHIP})
    found = good.json()
    told = {name: found[name] for name in ("name", "elements", "unit", "bits")}
    assert told == {"name": "tiny", "elements": 4, "unit": "MAC", "bits": 16}
    assert set(found["dataflows"]) == {"ws", "osa", "osb", "osc", "is", "nlr"}
    assert found["densities"] == {
        "output": "tiny neither skips nor codes zeros of the output: they cost what other values "
        "cost"
    }
    bad = CHIP.replace("capacity", "capcity").replace("6 MAC", "6 pJ")
    problem(
        server.call("POST", "/api/chips/check", json={"yaml": bad}),
        422,
        "capcity",
        "line 15",
        "line 20",
    )
    variant = "name: mine\nbased_on: eyeriss\nchanges: {buffer.capacity: 200 kB}\n"
    assert server.call("POST", "/api/chips/check", json={"yaml": variant}).status_code == 200


def test_what_a_chip_heeds(server: Server) -> None:
    found = server.call("GET", "/api/chips/tpu-v1-like/controls").json()
    assert found["bits"] == 8
    assert set(found["densities"]) == {"input", "weight", "output"}
    assert "does not store the weight in level" in found["dataflows"]["osa"]
    assert "ws" not in found["dataflows"]
    problem(server.call("GET", "/api/chips/tpu/controls"), 404, "tpu")


# -- jobs and results ----------------------------------------------------------------------


def test_a_result_is_that_of_the_package(server: Server, done: dict[str, Any]) -> None:
    record = server.call("GET", f"/api/results/{done['id']}").json()
    found = parse_estimate(record, "answer")
    from picojoule.frontends import parse_table
    from picojoule.specs import parse_accelerator

    ours = picojoule.estimate(parse_table(TABLE, source="t"), parse_accelerator(CHIP, "c"))
    assert found.energy == ours.energy
    assert [x.mapping for x in found.layers] == [x.mapping for x in ours.layers]
    assert record["total"]["energy"] == math.fsum(x["energy"] for x in record["layers"])


def test_the_same_question_is_the_same_job(server: Server, done: dict[str, Any]) -> None:
    again = server.call("POST", "/api/jobs", json={**done["question"]})
    assert again.json()["id"] == done["id"]
    assert again.json()["state"] == "done"
    assert again.json()["ended"] == done["ended"]


def test_eyexam_goes_with_the_estimate(server: Server, done: dict[str, Any]) -> None:
    from picojoule.eyexam.saved import parse_examination
    from picojoule.frontends import parse_table
    from picojoule.specs import parse_accelerator

    plain = server.call("POST", "/api/jobs", json={**done["question"], "eyexam": False})
    assert plain.json()["id"] == done["id"]
    asked = server.call("POST", "/api/jobs", json={**done["question"], "eyexam": True}).json()
    assert asked["id"] != done["id"]
    assert asked["title"].endswith("Eyexam")
    server.call("GET", f"/api/jobs/{asked['id']}/events")
    result = server.call("GET", f"/api/results/{asked['id']}").json()
    found = parse_examination(result["eyexam"], "answer")
    ours = picojoule.examine(parse_table(TABLE, source="t"), parse_accelerator(CHIP, "c"))
    assert [found.bound(step) for step in range(1, 5)] == [ours.bound(n) for n in range(1, 5)]
    report = server.call("GET", f"/api/results/{asked['id']}/html").text
    assert "Where the speed goes" in report
    assert "Where the speed goes" not in server.call("GET", f"/api/results/{done['id']}/html").text
    change = {"settings": {"density": {"weight": 0.5}}}
    repriced = server.call("POST", f"/api/results/{asked['id']}/reprice", json=change)
    assert repriced.json()["misfits"] == []


def test_what_lies_between_the_layers(server: Server, done: dict[str, Any]) -> None:
    network = server.upload("residual.csv", format_table(residual())).json()["id"]
    question = {"network": network, "chip_yaml": CHIP}
    apart = server.finished(question)
    assert server.finished({**question, "others": "apart"})["id"] == apart["id"]
    counted = server.finished({**question, "others": "count"})
    assert counted["title"].endswith("others counted")
    records = [server.call("GET", f"/api/results/{x['id']}").json() for x in (apart, counted)]
    assert [x["others"]["counted"] for x in records] == [False, True]
    energies = [x["total"]["energy"] for x in records]
    assert math.isclose(energies[1], energies[0] + records[0]["others"]["energy"])
    assert [x["tensor"] for x in records[0]["between"]["tensors"]][:2] == ["in", "a"]
    page = server.call("GET", f"/r/{apart['id']}").text
    assert "Between the layers" in page
    assert "Keeping tensors on chip could save at most" in page
    # Of a table without such lines nobody says.
    assert server.call("GET", f"/api/results/{done['id']}").json()["between"] is None
    assert "Nobody says which layer" in server.call("GET", f"/r/{done['id']}").text
    refused = server.finished({**done["question"], "others": "count"})
    assert refused["state"] == "failed"
    assert "nobody says which layer" in refused["error"]["message"]


def test_events_end_with_the_job(server: Server, network: str) -> None:
    question = {"network": network, "chip_yaml": CHIP, "batch": 2}
    id_ = server.call("POST", "/api/jobs", json=question).json()["id"]
    lines = server.call("GET", f"/api/jobs/{id_}/events").text.splitlines()
    jobs = [json.loads(x.removeprefix("data: ")) for x in lines if x.startswith("data: ")]
    assert jobs[-1]["state"] == "done"
    assert all(x.startswith(("event: job", "data: ", ":", "")) for x in lines)


def test_downloads(server: Server, done: dict[str, Any]) -> None:
    parts = {
        "json": '"schema_version"',
        "html": "<!doctype html>",
        "md": "# small on tiny",
        "csv": "layer,macs",
        "txt": "1,5,5,2,1,",
        "yaml": "name: tiny",
    }
    for ending, part in parts.items():
        answer = server.call("GET", f"/api/results/{done['id']}/{ending}")
        assert answer.status_code == 200, answer.text
        assert part in answer.text
        assert answer.headers["content-disposition"].endswith(f'small-tiny.{ending}"')


def test_an_incomplete_network_says_so_everywhere(server: Server) -> None:
    lines = "# not modelled: LSTM 2\n# remark: weights are not there\n"
    record = server.upload("half.csv", lines + TABLE).json()
    lost = [{"op": "LSTM", "count": 2}]
    assert (record["complete"], record["unmodelled"]) == (False, lost)
    assert record["remarks"] == ["weights are not there"]
    job = server.finished({"network": record["id"], "chip_yaml": CHIP})
    path = f"/api/results/{job['id']}"
    result = server.call("GET", path).json()
    assert (result["complete"], result["unmodelled"]) == (False, lost)
    sentence = "2 operators of the network multiply, or may, and are in no layer: LSTM x2"
    for page in (f"/r/{job['id']}", f"{path}/html", f"/compare/{job['id']}/{job['id']}"):
        text = server.call("GET", page).text
        start = text[text.index("<main") : text.index("</h1>")]
        assert "LSTM x2" in start
        assert 'role="alert"' in start
    for ending in ("csv", "md"):
        assert sentence in server.call("GET", f"{path}/{ending}").text.splitlines()[0]
    problem(server.call("GET", f"{path}/txt"), 422, "25 columns cannot say", "LSTM x2")
    assert f"{path}/txt" not in server.call("GET", f"/r/{job['id']}").text
    same = server.call("POST", f"{path}/reprice", json={"settings": {}}).json()["comparison"]
    assert (same["complete"], same["after"]["unmodelled"]) == (False, lost)


def test_repricing_is_the_price_of_the_same_mappings(server: Server, done: dict[str, Any]) -> None:
    path = f"/api/results/{done['id']}/reprice"
    same = server.call("POST", path, json={"settings": {}}).json()
    assert same["comparison"]["total"]["energy"]["ratio"] == 1.0
    less = server.call("POST", path, json={"settings": {"density": {"weight": 0.25}}}).json()
    assert less["misfits"] == []
    assert less["comparison"]["total"]["effectual_macs"]["ratio"] == 0.25
    assert less["comparison"]["total"]["energy"]["ratio"] < 1
    searched = server.finished({**done["question"], "density": {"weight": 0.25}})
    best = server.call("GET", f"/api/results/{searched['id']}").json()["total"]["energy"]
    assert best <= less["comparison"]["total"]["energy"]["after"] * (1 + 1e-12)
    wide = server.call("POST", path, json={"settings": {"bits": {"input": 64}}}).json()
    assert wide["misfits"], "wider inputs cannot fit a full scratchpad"
    batch = server.call("POST", path, json={"settings": {"batch": 4}}).json()
    assert batch["misfits"] == []
    assert batch["comparison"]["after"]["batch"] == 4


def test_two_results_compared(server: Server, done: dict[str, Any]) -> None:
    other = server.finished({**done["question"], "bits": {"weight": 8}})
    found = server.call("GET", f"/api/compare/{done['id']}/{other['id']}").json()
    assert found["changed"] == [{"what": "weight bits", "before": "16", "after": "8"}]
    assert found["total"]["energy"]["ratio"] < 1
    missing = "0" * 20
    problem(server.call("GET", f"/api/compare/{done['id']}/{missing}"), 404, missing)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"batch": "two"},
        {"bits": {"weight": 65}},
        {"bits": {"psum": 8}},
        {"density": {"weight": 1.5}},
        {"density": {"weight": -0.1}},
        {"dataflow": "xyz"},
        {"objective": "beauty"},
        {"budget": 0},
        {"chip": "eyeriss"},
        {"unknown": 1},
    ],
)
def test_wrong_questions(server: Server, done: dict[str, Any], wrong: dict[str, Any]) -> None:
    answer = server.call("POST", "/api/jobs", json={**done["question"], **wrong})
    problem(answer, 422)


def test_another_node(server: Server, network: str) -> None:
    """The machine of the result is the one at that node; a node without numbers fails the job."""
    question = {"network": network, "chip": "eyeriss", "node": "22nm"}
    job = server.finished(question)
    assert job["title"].endswith("on eyeriss, 22nm")
    result = server.call("GET", f"/api/results/{job['id']}").json()
    assert (result["node"], result["energy_unit"]) == (22.0, "pJ")
    assert server.finished({**question, "node": "3nm"})["state"] == "failed"
    problem(server.call("POST", "/api/jobs", json={**question, "node": "small"}), 422)


def test_no_mapping_is_a_failed_job(server: Server, network: str) -> None:
    small = CHIP.replace("capacity: 32 B", "capacity: 1 bit")
    job = server.finished({"network": network, "chip_yaml": small})
    assert job["state"] == "failed"
    assert "no mapping fits" in job["error"]["message"]
    problem(server.call("GET", f"/api/results/{job['id']}"), 409, "failed")


def test_cancel_a_running_and_a_waiting_job(server: Server, network: str) -> None:
    running = server.call("POST", "/api/jobs", json=SLOW).json()["id"]
    waiting = server.call("POST", "/api/jobs", json={**SLOW, "batch": 2}).json()["id"]
    time.sleep(1)
    assert server.call("GET", f"/api/jobs/{waiting}").json()["state"] == "queued"
    for id_ in (waiting, running):
        assert server.call("DELETE", f"/api/jobs/{id_}").json()["state"] == "cancelled"
    # and the server goes on
    assert server.finished({"network": network, "chip_yaml": CHIP, "batch": 3})["state"] == "done"
    assert server.over(running)["state"] == "cancelled"


def offspring(pid: int) -> list[int]:
    """The processes that *pid* started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        pytest.skip("this system does not tell")
    return [int(word) for word in text.split()]


def running(pid: int) -> bool:
    """Whether a process is there and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_restart_loses_nothing(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path / "store.sqlite3")
    uploaded = first.upload("small.csv", TABLE).json()["id"]
    questions = [{"network": uploaded, "chip_yaml": CHIP, "batch": n} for n in (1, 2, 3)]
    kept = first.finished(questions[0])
    slow = first.call("POST", "/api/jobs", json=SLOW).json()["id"]
    later = [first.call("POST", "/api/jobs", json=q).json()["id"] for q in questions[1:]]
    time.sleep(0.5)
    children = offspring(first.process.pid)
    assert children
    first.stop(signal.SIGKILL)
    time.sleep(0.5)
    assert [pid for pid in children if running(pid)] == []
    second = start(tmp_path / "store.sqlite3")
    assert second.call("GET", f"/api/jobs/{kept['id']}").json() == kept
    assert second.call("GET", f"/api/jobs/{slow}").json()["state"] in ("queued", "running")
    second.call("DELETE", f"/api/jobs/{slow}")
    assert [second.over(id_)["state"] for id_ in later] == ["done", "done"]
    assert second.call("GET", f"/r/{kept['id']}").status_code == 200
    assert second.stop() == 130


def test_pages(server: Server, done: dict[str, Any]) -> None:
    page = server.call("GET", f"/r/{done['id']}")
    assert page.status_code == 200
    assert "small on tiny" in page.text
    assert "https:" not in page.text
    assert "http:" not in page.text
    home = server.call("GET", f"/?from={done['id']}").text
    assert done["title"] in home
    assert server.call("GET", "/r/" + "0" * 20).status_code == 404
    assert server.call("GET", "/r/nonsense").status_code == 404
    assert server.call("GET", f"/compare?r={done['id']}").status_code == 422
