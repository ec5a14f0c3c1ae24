"""The store: one job for one question, each state reached once, nothing lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from picojoule.errors import InputError
from picojoule.server.questions import BitsOf, QuestionBody
from picojoule.server.store import (
    CANCELLED,
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    Store,
)

ASKED = {"network": "n", "chip": "c"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "folder" / "store.sqlite3")
    yield made
    made.close()


def test_a_job_from_its_question_to_its_result(store: Store) -> None:
    assert store.add_job("a", ASKED, "title")
    assert not store.add_job("a", ASKED, "title")
    assert store.waiting() == 1
    job = store.take_job()
    assert job is not None
    assert (job.state, job.question) == (RUNNING, ASKED)
    assert store.take_job() is None
    assert store.result("a") is None
    assert store.end_job("a", DONE, result={"x": 1})
    assert not store.end_job("a", CANCELLED)
    assert store.result("a") == {"x": 1}
    assert not store.add_job("a", ASKED, "title")


def test_what_failed_can_be_asked_again(store: Store) -> None:
    store.add_job("a", ASKED, "title")
    store.end_job("a", FAILED, error={"message": "no", "mistakes": []})
    found = store.job("a")
    assert found is not None
    assert found.over
    assert found.error == {"message": "no", "mistakes": []}
    assert store.add_job("a", ASKED, "title")
    again = store.job("a")
    assert again is not None
    assert (again.state, again.error) == (QUEUED, None)


def test_a_restart_takes_up_what_ran(store: Store) -> None:
    for name in "abc":
        store.add_job(name, ASKED, name)
    store.take_job()
    store.close()
    again = Store(store.path)
    assert again.requeue_running() == 1
    assert [job.id for job in iter(again.take_job, None)] == ["a", "b", "c"]
    again.close()


def test_clients_take_turns(store: Store) -> None:
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        store.add_job(name, ASKED, "title", client=name[0])
    order = ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert store.queue() == order
    assert (store.waiting(), store.waiting("a"), store.waiting("nobody")) == (6, 3, 0)
    taken = []
    for _ in range(4):
        job = store.take_job()
        assert job is not None
        taken.append(job.id)
    # who comes new, comes before those who had theirs
    store.add_job("d1", ASKED, "title", client="d")
    assert store.queue() == ["d1", "b2", "a3"]
    assert [*taken, "b2", "a3"] == order


def test_no_job_is_taken_twice(store: Store) -> None:
    for number in range(60):
        store.add_job(str(number), ASKED, "title")
    taken: list[str] = []

    def work() -> None:
        while (job := store.take_job()) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(number) for number in range(60)]


def test_the_longest_unused_go_first(store: Store) -> None:
    for number in range(5):
        store.keep_network(f"n{number}", "name", "table", most=3)
        store.add_job(f"j{number}", ASKED, "title")
        store.end_job(f"j{number}", DONE, result={}, most=3)
    assert [name for name, _ in store.networks()] == ["n4", "n3", "n2"]
    assert {job.id for job in store.jobs()} == {"j4", "j3", "j2"}


def test_another_version_is_refused(store: Store) -> None:
    store.close()
    other = sqlite3.connect(store.path)
    other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(InputError, match="version 99"):
        Store(store.path)


def test_equal_questions_have_one_identity() -> None:
    first = QuestionBody(network="n", chip="c", bits=BitsOf(weight=8))
    assert first.identity() == QuestionBody.model_validate(first.plain()).identity()
    assert first.identity() != QuestionBody(network="n", chip="c").identity()
    assert len(first.identity()) == 20
