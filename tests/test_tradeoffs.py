"""Compression runs read from their folders, as they are written step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from picojoule.cli import main
from picojoule.errors import InputError
from picojoule.reports.tradeoff_page import tradeoff_words
from picojoule.tradeoffs import published_points, read_run
from tests.reports.test_page import Reader


def judged(energy: float, accuracy: float) -> dict[str, Any]:
    layers = {"conv1": {"energy": 0.4 * energy, "by_operand": {}}}
    layers["</script>"] = {"energy": 0.6 * energy, "by_operand": {}}
    price = {"energy": energy, "unit": "MAC", "macs": 10, "layers": layers}
    return {"accuracy": accuracy, "price": price, "densities": {}, "weights": {}, "bits": {}}


PRUNED: list[tuple[str, dict[str, Any]]] = [
    ("original", judged(8e6, 0.92)),
    ("stage 1/curves", {"conv1": [[1.0, None, 0.1]]}),
    ("stage 1/attempt 1", judged(4e6, 0.915)),
    ("stage 2/before", {"accuracy": 0.9}),
    ("stage 2", judged(2e6, 0.90)),
]
ADAPTED: list[tuple[str, dict[str, Any]]] = [
    ("start", {"predicted": 100.0, "measured": 200.0, "accuracy": 0.92, "widths": {}}),
    ("round 1 plan", {"target": 90, "candidates": [{"name": "a"}, {"name": "b"}]}),
    ("round 1 candidate 0", {"status": "done", "accuracy": 0.91, "loss": 1.0}),
    ("round 1 candidate 1", {"status": "done", "accuracy": 0.90, "loss": 1.1}),
    ("round 1 chosen", {"chosen": "b", "predicted": 80.0, "measured": None}),
    ("round 2 plan", {"target": 70, "candidates": [{"name": "a"}]}),
    ("round 2 candidate 0", {"status": "done", "accuracy": 0.89, "loss": 1.2}),
    ("round 2 chosen", {"chosen": "a", "predicted": 60.0, "measured": 90.0}),
    ("long fine-tune to 3", {"accuracy": 0.93, "loss": 1.0}),
]


def written(folder: Path, kind: str, steps: list[tuple[str, dict[str, Any]]]) -> Path:
    folder.mkdir()
    recipe = {"accelerator": "eyeriss", "platform": "cpu", "unit": "ms"}
    head = {"schema_version": 1, "kind": kind, "recipe": recipe}
    (folder / "run.json").write_text(json.dumps(head))
    lines = [json.dumps({"step": name, "record": record}) + "\n" for name, record in steps]
    (folder / "history.jsonl").write_text("".join(lines))
    return folder


def test_a_pruning_run(tmp_path: Path) -> None:
    found = read_run(written(tmp_path / "p", "prune", PRUNED))
    assert [x.name for x in found.moments] == ["original", "stage 2"]
    assert [found.relative(x) for x in found.moments] == [1.0, 0.25]
    assert found.change(found.moments[-1]) == pytest.approx(-2.0)
    assert found.unit == "MAC"
    assert not found.ended
    (tmp_path / "p" / "result").mkdir()
    assert read_run(tmp_path / "p").ended


def test_an_adaptation_run_scales_predictions_to_the_last_measurement(tmp_path: Path) -> None:
    found = read_run(written(tmp_path / "a", "adapt", ADAPTED))
    assert [x.cost for x in found.moments] == [200.0, 160.0, 90.0, 90.0]
    assert [x.accuracy for x in found.moments] == [0.92, 0.90, 0.89, 0.93]
    assert found.moments[1].name == "round 1: b"
    assert found.unit == "ms"


def test_counted_macs_are_no_energies(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", "adapt", ADAPTED)
    head = json.loads((folder / "run.json").read_text())
    head["recipe"] |= {"platform": "macs", "unit": "MAC"}
    (folder / "run.json").write_text(json.dumps(head))
    assert main(["report", str(folder), "-o", str(tmp_path / "run.md")]) == 0
    text = (tmp_path / "run.md").read_text()
    assert "200 MACs" in text
    assert "E\\_MAC" not in text


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    folder = written(tmp_path / "p", "prune", PRUNED)
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"step": "stage 3", "rec')
    assert len(read_run(folder).moments) == 2


def test_published_points_are_those_of_the_paper() -> None:
    found = {x.label: x for x in published_points("prune")}
    assert found["bvlc-alexnet-eap"].relative == pytest.approx(1.06 / 3.97)
    assert found["bvlc-alexnet-eap"].change == pytest.approx(79.56 - 80.43)
    assert len(found) == 5
    adapted = {x.label: x for x in published_points("adapt")}
    assert adapted["mobilenetv1-netadapt"].relative == pytest.approx(284.3 / 569)
    assert adapted["mobilenetv1-netadapt"].change == pytest.approx(69.1 - 70.6)
    assert all(x.source.endswith("recalled") for x in adapted.values())


def test_reports_of_a_run(tmp_path: Path) -> None:
    folder = written(tmp_path / "p", "prune", PRUNED)
    page = tmp_path / "run.html"
    assert main(["report", str(folder), "-o", str(page)]) == 0
    text = page.read_text()
    assert "The last costs 4 times less" in text
    assert "-2.00 points" in text
    assert Reader(text).scripts == 4
    assert "</script>" in Reader(text).text
    assert main(["report", str(folder), "-o", str(tmp_path / "run.csv")]) == 0
    assert main(["report", str(folder), "-o", str(tmp_path / "run.md")]) == 0
    assert "| stage 2 | 2 M x E\\_MAC | 0.250 | 90.00 % |" in (tmp_path / "run.md").read_text()
    pytest.importorskip("matplotlib")
    assert main(["report", str(folder), "-o", str(tmp_path / "run.svg")]) == 0


def test_a_run_that_nobody_works_on_does_not_go_on(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    folder = written(tmp_path / "p", "prune", PRUNED)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        at_work = read_run(folder)
        assert not at_work.stopped
        assert tradeoff_words(at_work).startswith("The run goes on after 1 judged network. ")
    stopped = read_run(folder)
    assert stopped.stopped
    assert tradeoff_words(stopped).startswith("The run was stopped after 1 judged network. ")
    assert tradeoff_words(stopped).endswith("given again, takes it up.")
    (folder / "result").mkdir()
    assert "has ended" in tradeoff_words(read_run(folder))


def test_a_run_that_ended_is_told_by_its_result(tmp_path: Path) -> None:
    """The result need not be the last network; its layers and data types stand beside the first."""

    def network(energy: float, accuracy: float, width: int) -> dict[str, Any]:
        parts = {"input": 0.25 * energy, "weight": 0.75 * energy}
        made = judged(energy, accuracy)
        made["price"]["layers"] = {"conv1": {"energy": energy, "by_operand": parts}}
        return made | {"weights": {"conv1": 0.125}, "widths": {"conv1": width}}

    steps = [
        ("original", network(8e6, 0.92, 16)),
        ("stage 1", network(4e6, 0.915, 12)),
        ("stage 2", network(2e6, 0.5, 3)),
    ]
    folder = written(tmp_path / "p", "prune", steps)
    (folder / "result").mkdir()
    (folder / "result" / "result.json").write_text(json.dumps({"after": {"energy": 4e6}}))
    found = read_run(folder)
    assert found.chosen.name == "stage 1"
    assert found.to_dict()["chosen"] == "stage 1"
    for name in ("run.html", "run.md"):
        assert main(["report", str(folder), "-o", str(tmp_path / name)]) == 0
        text = Reader((tmp_path / name).read_text()).text.replace("\u00a0", " ")
        assert "Its result, stage 1, costs 2 times less" in text
        assert "Channels that change together: conv1 16 to 12." in text
        assert "12.5 %" in text
        assert "6 M x E_MAC" in text.replace("\\_", "_")  # weights before
        assert "3 M x E_MAC" in text.replace("\\_", "_")  # and after


@pytest.mark.parametrize(
    ("steps", "head", "part"),
    [
        ([], {"kind": "prune"}, "no network has been judged"),
        (PRUNED, {"kind": "train"}, "no kind of run"),
        (PRUNED, [], "not the head"),
        ([("original", {"accuracy": 0.9, "price": {}})], {"kind": "prune"}, "not the history"),
        ([("x chosen", {"predicted": 1, "measured": None})], {"kind": "adapt"}, "not the history"),
    ],
)
def test_what_is_no_run(tmp_path: Path, steps: Any, head: Any, part: str) -> None:
    folder = written(tmp_path / "x", "prune", steps)
    (folder / "run.json").write_text(json.dumps(head))
    with pytest.raises(InputError, match=part):
        read_run(folder)
    with pytest.raises(InputError):
        read_run(tmp_path / "nothing")
