"""What the routes of the API and the pages work with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from picojoule.errors import PicojouleError, did_you_mean
from picojoule.frontends import shipped_networks
from picojoule.server.jobs import Jobs
from picojoule.server.limits import ServerLimits
from picojoule.server.processes import Pool
from picojoule.server.store import Job, Store


class StatusError(PicojouleError):
    """A refusal with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


class Services:
    """The store, the jobs, and processes that read for clients."""

    def __init__(self, store: Store, limits: ServerLimits, runs: tuple[Path, ...] = ()) -> None:
        self.store, self.limits, self.runs = store, limits, runs
        self.jobs = Jobs(store, limits)
        memory = limits.process_memory
        self.uploads = Pool(1, memory, ("picojoule.frontends.onnx_graph",), once=True)
        self.readers = Pool(limits.readers, memory, ("picojoule.server.rendering",))

    def start(self) -> None:
        """Begin to work."""
        self.jobs.start()
        self.uploads.warm()
        self.readers.warm()

    async def stop(self) -> None:
        """End every process; what runs stays in the store."""
        await self.jobs.stop()
        await self.uploads.close()
        await self.readers.close()
        self.store.close()

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have one of the readers answer."""
        return await self.readers.ask(request, self.limits.answer_time)

    def job(self, id_: str) -> Job:
        """The job of that id, or 404."""
        job = self.store.job(id_)
        if job is None:
            raise StatusError(404, f"no job {id_!r}")
        return job

    def result(self, id_: str) -> dict[str, Any]:
        """The result of a finished job, or 404, or 409 where there is none yet."""
        result = self.store.result(id_)
        if result is None:
            job = self.job(id_)
            raise StatusError(409, f"the job is {job.state}; it has no result")
        return result

    def run(self, number: int) -> Path:
        """The folder of a run that the server was started with, or 404."""
        if number >= len(self.runs):
            raise StatusError(404, f"no run {number}")
        return self.runs[number]

    def table(self, question: dict[str, Any]) -> dict[str, Any]:
        """The uploaded network of a question, if it is one; 404 where there is no network."""
        name = question["network"]
        uploaded = self.store.network(name)
        if uploaded is not None:
            return {"table": uploaded[1]}
        if name not in shipped_networks():
            near = did_you_mean(name, shipped_networks())
            raise StatusError(404, f"no network {name!r}{near}")
        return {}


def _of_the_application(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Served = Annotated[Services, Depends(_of_the_application)]
"""A parameter of a route: the services of the application that serves it."""
