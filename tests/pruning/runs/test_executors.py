"""Executors: the same results everywhere, and what a crash costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from picojoule.errors import PicojouleError
from picojoule.pruning.runs.executors import FromFile, Here, Processes, Ray
from tests.pruning import jobs


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    executor = Processes(2)
    yield executor
    executor.close()


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Ray]:
    pytest.importorskip("ray")
    executor = Ray(workers=2)
    yield executor
    executor.close()


def run(
    executor: Any, function: Any, tasks: list[Any], seconds: float | None = None
) -> dict[int, Any]:
    shared = executor.share(3)
    return {done.number: done for done in executor.run(function, tasks, (shared,), seconds)}


def check_triples(executor: Any) -> None:
    found = run(executor, jobs.triple, [1, 13, 3, 4])
    assert {n: done.value for n, done in found.items()} == {0: 3, 1: None, 2: 9, 3: 12}
    assert found[1].status == "failed"
    assert "ValueError: thirteen" in found[1].message


def test_here() -> None:
    check_triples(Here())


@pytest.mark.slow
def test_processes(processes: Processes, tmp_path: Path) -> None:
    check_triples(processes)
    tasks = [(n, str(tmp_path)) for n in range(5)]
    found = run(processes, jobs.die_once, tasks)  # a lost worker's task is begun again
    assert {n: done.value for n, done in found.items()} == {n: 3 * n for n in range(5)}
    found = run(processes, jobs.die_always, [0, 1, 2])
    assert [found[n].status for n in range(3)] == ["done", "crashed", "done"]
    found = run(processes, jobs.hang, [0, 1, 2], seconds=20)
    assert [found[n].status for n in range(3)] == ["late", "done", "done"]
    check_triples(processes)  # and goes on


def test_what_cannot_be_sent_is_refused(processes: Processes) -> None:
    with pytest.raises(PicojouleError, match="worker process"):
        processes.share(lambda: 0)


@pytest.mark.slow
def test_ray_with_a_killed_worker(ray_here: Ray, tmp_path: Path) -> None:
    check_triples(ray_here)
    tasks = [(n, str(tmp_path)) for n in range(5)]
    found = run(ray_here, jobs.die_once, tasks)
    assert (tmp_path / "died").exists()
    assert {n: done.value for n, done in found.items()} == {n: 3 * n for n in range(5)}
    found = run(ray_here, jobs.die_always, [0, 1, 2])
    assert [found[n].status for n in range(3)] == ["done", "crashed", "done"]


def test_functions_of_files(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def double(x):\n    return 2 * x\nvalue = 3\n")
    assert FromFile(str(tmp_path / "mine.py"), "double")(4) == 8
    for name, place in (("value", "mine.py"), ("no", "mine.py"), ("double", "no.py")):
        with pytest.raises(PicojouleError):
            FromFile(str(tmp_path / place), name)(4)
