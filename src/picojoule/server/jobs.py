"""Searches as jobs: queued in the store, run in processes, followed by clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from picojoule.errors import PicojouleError
from picojoule.server.limits import ServerLimits
from picojoule.server.processes import Pool, RefusedError, TooLongError
from picojoule.server.questions import QuestionBody
from picojoule.server.store import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job, Store

PULSE = 15.0  # seconds after which a silent stream shows that it lives


class BusyError(PicojouleError):
    """More jobs or streams than are allowed."""


class Jobs:
    """Runs what waits in the store, oldest first."""

    def __init__(self, store: Store, limits: ServerLimits) -> None:
        self.store, self.limits = store, limits
        self.pool = Pool(limits.searches, limits.process_memory, ("picojoule.mapper.solver",))
        self._progress: dict[str, dict[str, Any]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._work = asyncio.Event()
        self._changed = asyncio.Condition()
        self._version = 0
        self._streams = 0
        self._tellers: set[asyncio.Task[None]] = set()

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what a server that went down had begun, and what waits."""
        self.store.requeue_running()
        self.pool.warm()
        self._work.set()
        self._loops = [asyncio.create_task(self._loop()) for _ in range(self.limits.searches)]

    async def stop(self) -> None:
        """Stop working; what runs is taken up by the next server."""
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.pool.close()

    async def _loop(self) -> None:
        while True:
            job = self.store.take_job()
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
                message = f"a bug of picojoule: {task.exception()!r}"
                self.store.end_job(job.id, FAILED, error={"message": message, "mistakes": []})
            await self._tell()

    async def _run(self, job: Job) -> None:
        self._progress[job.id] = {"done": 0, "total": 0, "layer": ""}
        await self._tell()
        request: dict[str, Any] = {"do": "estimate", "question": job.question}
        network = self.store.network(job.question["network"])
        if network is not None:
            request["table"] = network[1]
        try:
            async with self.pool.process() as process:
                result = await process.ask(
                    request, self.limits.job_time, lambda news: self._advance(job.id, news)
                )
        except TooLongError as error:
            message = f"the search {error}; set a time for each layer, or a smaller network"
            self.store.end_job(job.id, FAILED, error={"message": message, "mistakes": []})
        except RefusedError as error:
            self.store.end_job(job.id, FAILED, error=error.detail)
        except PicojouleError as error:
            self.store.end_job(job.id, FAILED, error={"message": str(error), "mistakes": []})
        else:
            self.store.end_job(job.id, DONE, result=result, most=self.limits.results)

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

    def submit(self, question: QuestionBody, title: str) -> Job:
        """Queue a question, unless it is known; the same question is the same job.

        Raises:
            BusyError: too many jobs wait.
        """
        id_ = question.identity()
        earlier = self.store.job(id_)
        fresh = earlier is None or earlier.state in (FAILED, CANCELLED)
        if fresh and self.store.waiting() >= self.limits.queue:
            raise BusyError(f"{self.limits.queue} jobs wait already; try again later")
        self.store.add_job(id_, question.plain(), title)
        self._work.set()
        job = self.store.job(id_)
        assert job is not None
        return job

    async def cancel(self, id_: str) -> None:
        """End a job that waits or runs; nothing happens to one that is over."""
        self.store.end_job(id_, CANCELLED)
        task = self._running.get(id_)
        if task is not None:
            task.cancel()
        await self._tell()

    def progress(self, job: Job) -> dict[str, Any]:
        """How far a job is: layers done, layers in all, the layer at work."""
        return self._progress.get(job.id, {"done": 0, "total": 0, "layer": ""})

    def record(self, job: Job) -> dict[str, Any]:
        """A job as plain data."""
        return {
            "id": job.id,
            "title": job.title,
            "state": job.state,
            "question": job.question,
            "created": job.created,
            "ended": job.ended,
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
            version, job = self._version, self.store.job(id_)
            if job is None:
                return
            record = self.record(job)
            if record != last:
                last = record
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
    def stream(self) -> Any:
        """Count a client that follows a job.

        Raises:
            BusyError: too many do.
        """
        if self._streams >= self.limits.streams:
            raise BusyError(f"{self.limits.streams} clients follow jobs already")
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1
