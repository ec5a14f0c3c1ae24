"""Jobs without a search: what becomes of them on a full disk, and who may ask how much."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from picojoule.server import jobs as jobs_module
from picojoule.server.database import NoRoomError
from picojoule.server.jobs import BusyError, Jobs
from picojoule.server.limits import ServerLimits
from picojoule.server.questions import QuestionBody
from picojoule.server.store import Store

LONG = "".join(random.Random(1).choices(string.printable, k=200_000))  # nothing shortens it much


class Answers:
    """In place of the processes: every question has the same long answer."""

    def __init__(self, store: Store) -> None:
        self.store, self.full = store, True

    def warm(self) -> None:
        pass

    async def close(self) -> None:
        pass

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Answers]:
        yield self

    async def ask(self, *_: object) -> dict[str, Any]:
        (pages,) = self.store._file.row("PRAGMA page_count")
        room = pages + 8 if self.full else 1 << 20
        self.store._file.row(f"PRAGMA max_page_count = {room}")
        return {"answer": LONG}


def question(batch: int) -> QuestionBody:
    return QuestionBody(network="n", chip="c", batch=batch)


async def over(jobs: Jobs, id_: str) -> Any:
    while True:
        job = jobs.job(id_)
        assert job is not None
        if job.over:
            return job
        await asyncio.sleep(0.01)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setattr(jobs_module, "RETRY", 0.02)
    made = Jobs(Store(tmp_path / "store.sqlite3"), ServerLimits(queue=5, queue_each=3))
    made.pool = Answers(made.store)  # type: ignore[assignment]
    yield made
    made.store.close()


def test_a_full_disk_fails_one_job_and_the_next_is_answered(jobs: Jobs) -> None:
    async def life() -> None:
        jobs.start()
        first = jobs.submit(question(1), "first")
        failed = await asyncio.wait_for(over(jobs, first.id), 10)
        assert failed.state == "failed"
        assert "make room on it; ask again then" in failed.error["message"]
        jobs.pool.full = False  # type: ignore[attr-defined]
        jobs.store._file.row("PRAGMA max_page_count = 1000000")
        second = jobs.submit(question(2), "second")
        assert (await asyncio.wait_for(over(jobs, second.id), 10)).state == "done"
        # the failed one may be asked again, and it is kept that it failed
        stored = jobs.store.job(first.id)
        assert stored is not None
        assert stored.state == "failed"
        jobs.submit(question(1), "first")
        assert (await asyncio.wait_for(over(jobs, first.id), 10)).state == "done"
        await jobs.stop()

    asyncio.run(life())


def test_without_room_nothing_begins_and_that_is_said(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    async def life() -> None:
        waiting = jobs.submit(question(1), "first")
        take, room = jobs.store.take_job, False

        def take_if_there_is_room() -> Any:
            if not room:
                raise NoRoomError("the disk takes nothing more: make room on it")
            return take()

        jobs.store.take_job = take_if_there_is_room  # type: ignore[method-assign]
        jobs.start()
        await asyncio.sleep(0.1)
        record = jobs.record(waiting)
        assert record["progress"]["place"] == 1
        assert "make room" in record["progress"]["held_up"]
        room = True
        jobs.pool.full = False  # type: ignore[attr-defined]
        assert (await asyncio.wait_for(over(jobs, waiting.id), 10)).state == "done"
        await jobs.stop()

    asyncio.run(life())
    assert len(caplog.messages) == 1  # not one for each try
    assert "the queue goes on then" in caplog.messages[0]


def test_one_client_does_not_follow_all_jobs_there_may_be(tmp_path: Path) -> None:
    jobs = Jobs(Store(tmp_path / "store.sqlite3"), ServerLimits(streams=3, streams_each=2))
    with jobs.stream("greedy"), jobs.stream("greedy"):
        with pytest.raises(BusyError, match="you follow 2 jobs already"), jobs.stream("greedy"):
            pass
        full = pytest.raises(BusyError, match="3 clients follow")
        with jobs.stream("modest"), full, jobs.stream("another"):
            pass
    with jobs.stream("greedy"):
        pass
    jobs.store.close()


def test_one_client_does_not_fill_the_queue(jobs: Jobs) -> None:
    for batch in (1, 2, 3):
        jobs.submit(question(batch), "title", "greedy")
    jobs.submit(question(3), "title", "greedy")  # known already
    with pytest.raises(BusyError, match="3 questions of yours wait already"):
        jobs.submit(question(4), "title", "greedy")
    modest = jobs.submit(question(5), "title", "modest")
    assert jobs.record(modest)["progress"]["place"] == 2
    jobs.submit(question(6), "title", "modest")
    with pytest.raises(BusyError, match="5 questions wait already"):
        jobs.submit(question(7), "title", "another")
