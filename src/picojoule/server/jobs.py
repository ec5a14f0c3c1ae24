"""Searches as jobs: queued in the store, run in processes, followed by clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from picojoule.errors import PicojouleError
from picojoule.server.database import NoRoomError, StoreError
from picojoule.server.limits import ServerLimits
from picojoule.server.processes import Pool, RefusedError, TooLongError
from picojoule.server.questions import QuestionBody
from picojoule.server.store import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job, Store

PULSE = 15.0  # seconds after which a silent stream shows that it lives
RETRY = 1.0  # seconds until a store that could not be used is tried again
NO_PROGRESS: dict[str, Any] = {"done": 0, "total": 0, "layer": "", "gap": None}

_log = logging.getLogger(__name__)


class BusyError(PicojouleError):
    """More jobs or streams than are allowed."""


class Jobs:
    """Runs what waits in the store, each client's in turn.

    Where the disk takes nothing more, a job that ends has failed of that, and no other begins
    until there is room.
    """

    def __init__(self, store: Store, limits: ServerLimits) -> None:
        self.store, self.limits = store, limits
        self.pool = Pool(limits.searches, limits.process_memory, ("picojoule.mapper.solver",))
        self._progress: dict[str, dict[str, Any]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._unkept: dict[str, tuple[str, dict[str, Any] | None]] = {}
        self._held_up: str | None = None
        self._work = asyncio.Event()
        self._changed = asyncio.Condition()
        self._version = 0
        self._streams: Counter[str] = Counter()
        self._tellers: set[asyncio.Task[None]] = set()

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what a server that went down had begun, and what waits."""
        self.pool.warm()
        self._work.set()
        self._worker = asyncio.create_task(self._work_on())

    async def stop(self) -> None:
        """Stop working; what runs is taken up by the next server."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        await self.pool.close()

    async def _work_on(self) -> None:
        await self._until_kept(self.store.requeue_running)
        async with asyncio.TaskGroup() as loops:
            for _ in range(self.limits.searches):
                loops.create_task(self._loop())

    async def _until_kept(self, write: Callable[[], Any]) -> Any:
        """What *write* gives, as soon as the store can be written."""
        while True:
            try:
                self._keep_ends()
                result = write()
            except StoreError as error:
                if self._held_up is None:
                    _log.warning("%s; the queue goes on then", error)
                    self._held_up = str(error)
                    await self._tell()
                await asyncio.sleep(RETRY)
            else:
                self._held_up = None
                return result

    async def _loop(self) -> None:
        while True:
            job = await self._until_kept(self.store.take_job)
            if job is None:
                self._work.clear()
                # A job may have been added between the two lines above.
                if not self.store.waiting():
                    await self._work.wait()
                continue
            task = asyncio.create_task(self._run(job))
            self._running[job.id] = task
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:  # the server stops, not the job
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise
            finally:
                self._running.pop(job.id, None)
                self._progress.pop(job.id, None)
            if not task.cancelled() and task.exception() is not None:
                self._end(job.id, FAILED, error=_plain(f"a bug of picojoule: {task.exception()!r}"))
            await self._tell()

    async def _run(self, job: Job) -> None:
        self._progress[job.id] = NO_PROGRESS
        await self._tell()
        request: dict[str, Any] = {"do": "estimate", "question": job.question}
        try:
            network = self.store.network(job.question["network"])
            if network is not None:
                request["table"] = network[1]
            async with self.pool.process() as process:
                result = await process.ask(
                    request, self.limits.job_time, lambda news: self._advance(job.id, news)
                )
        except TooLongError as error:
            message = f"the search {error}; set a time for each layer, or a smaller network"
            self._end(job.id, FAILED, error=_plain(message))
        except RefusedError as error:
            self._end(job.id, FAILED, error=error.detail)
        except PicojouleError as error:
            self._end(job.id, FAILED, error=_plain(str(error)))
        else:
            self._end(job.id, DONE, result=result)

    def _end(
        self,
        id_: str,
        state: str,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        """Note the end of a job; on a full disk it is remembered here until there is room."""
        try:
            self.store.end_job(id_, state, result=result, error=error, most=self.limits.results)
        except NoRoomError as full:
            if state == DONE:
                state, error = FAILED, _plain(f"{full}; ask again then, this answer is lost")
            self._unkept[id_] = (state, error)

    def _keep_ends(self) -> None:
        """Note the ends for which there was no room."""
        for id_, (state, error) in list(self._unkept.items()):
            self.store.end_job(id_, state, error=error)
            del self._unkept[id_]

    def _advance(self, id_: str, news: dict[str, Any]) -> None:
        self._progress[id_] = news
        teller = asyncio.create_task(self._tell())
        self._tellers.add(teller)
        teller.add_done_callback(self._tellers.discard)

    async def _tell(self) -> None:
        self._version += 1
        async with self._changed:
            self._changed.notify_all()

    # -- what clients do -------------------------------------------------------------------

    def job(self, id_: str) -> Job | None:
        """The job of that id, as it stands."""
        job = self.store.job(id_)
        return None if job is None else self._standing(job)

    def _standing(self, job: Job) -> Job:
        if job.over or job.id not in self._unkept:
            return job
        state, error = self._unkept[job.id]
        return replace(job, state=state, error=error)

    def jobs(self, most: int) -> list[Job]:
        """The jobs last used, the newest first, as they stand."""
        return [self._standing(job) for job in self.store.jobs(most)]

    def submit(self, question: QuestionBody, title: str, client: str = "") -> Job:
        """Queue a question, unless it is known; the same question is the same job.

        Raises:
            BusyError: too many jobs wait, or too many of this client.
            NoRoomError: it cannot be kept.
        """
        self._keep_ends()
        id_ = question.identity()
        earlier = self.store.job(id_)
        if earlier is None or earlier.state in (FAILED, CANCELLED):
            most, each = self.limits.queue, self.limits.queue_each
            if self.store.waiting() >= most:
                raise BusyError(f"{most} questions wait already; try again later")
            if self.store.waiting(client) >= each:
                raise BusyError(
                    f"{each} questions of yours wait already; ask when one of them is answered"
                )
        self.store.add_job(id_, question.plain(), title, client)
        self._work.set()
        job = self.store.job(id_)
        assert job is not None
        return job

    async def cancel(self, id_: str) -> None:
        """End a job that waits or runs; nothing happens to one that is over."""
        self._end(id_, CANCELLED)
        task = self._running.get(id_)
        if task is not None:
            task.cancel()
        await self._tell()

    def progress(self, job: Job) -> dict[str, Any]:
        """How far a job is: its place among those that wait, or layers done, in all, and at work.

        ``gap`` is how far what is found for the layer at work may be above the optimum, None where
        that is not known yet; ``held_up`` says why nothing goes on.
        """
        queue = self.store.queue() if job.state == QUEUED else []
        return {
            **self._progress.get(job.id, NO_PROGRESS),
            "place": queue.index(job.id) + 1 if job.id in queue else None,
            "held_up": self._held_up,
        }

    def record(self, job: Job) -> dict[str, Any]:
        """A job as plain data; ``elapsed`` are seconds since it was begun."""
        return {
            "id": job.id,
            "title": job.title,
            "state": job.state,
            "question": job.question,
            "created": job.created,
            "started": job.started,
            "ended": job.ended,
            "elapsed": _since(job.started) if job.state == RUNNING else None,
            "error": job.error,
            "progress": self.progress(job) if job.state in (QUEUED, RUNNING) else None,
        }

    async def follow(self, id_: str) -> AsyncIterator[dict[str, Any] | None]:
        """The job's record, now and after each change, until it is over; None is a pulse.

        Raises:
            BusyError: too many clients follow jobs.
        """
        last = None
        while True:
            version, job = self._version, self.job(id_)
            if job is None:
                return
            record = self.record(job)
            timeless = {**record, "elapsed": None}
            if timeless != last:
                last = timeless
                yield record
                if job.over:
                    return
                continue
            try:
                async with asyncio.timeout(PULSE), self._changed:
                    await self._changed.wait_for(lambda seen=version: self._version != seen)  # type: ignore[misc]
            except TimeoutError:
                yield None

    @contextlib.contextmanager
    def stream(self, client: str = "") -> Iterator[None]:
        """Count a client that follows a job.

        Raises:
            BusyError: too many do, or this one follows too many.
        """
        if self._streams.total() >= self.limits.streams:
            raise BusyError(f"{self.limits.streams} clients follow jobs already")
        if self._streams[client] >= self.limits.streams_each:
            raise BusyError(f"you follow {self.limits.streams_each} jobs already")
        self._streams[client] += 1
        try:
            yield
        finally:
            self._streams[client] -= 1
            self._streams += Counter()  # who follows nothing is not remembered


def _plain(message: str) -> dict[str, Any]:
    return {"message": message, "mistakes": []}


def _since(moment: str | None) -> float | None:
    if moment is None:
        return None
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
