"""What the routes of the API and the pages work with."""

from __future__ import annotations

import contextlib
import ipaddress
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from picojoule.errors import PicojouleError, did_you_mean
from picojoule.frontends import shipped_networks
from picojoule.server.jobs import BusyError, Jobs
from picojoule.server.limits import ServerLimits
from picojoule.server.processes import Pool
from picojoule.server.store import Job, Store

TEXTS = (".csv", ".txt")


class StatusError(PicojouleError):
    """A refusal with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


class Services:
    """The store, the jobs, and processes that read for clients.

    Each kind of work has processes of its own, so that none waits for another: pages least of all
    for what clients bring.
    """

    def __init__(self, store: Store, limits: ServerLimits, runs: tuple[Path, ...] = ()) -> None:
        self.store, self.limits, self.runs = store, limits, runs
        self.jobs = Jobs(store, limits)
        memory = limits.process_memory
        # A large model may leave memory behind: its process serves once.
        self.models = Pool(1, memory, ("picojoule.frontends.onnx_graph",), once=True)
        self.texts = Pool(1, memory, ("picojoule.specs", "picojoule.frontends"))
        self.readers = Pool(limits.readers, memory, ("picojoule.server.rendering",))
        self.pages = Pool(limits.pages, memory, ("picojoule.server.rendering",))
        self._uploading: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to work."""
        self.jobs.start()
        for pool in self._pools:
            pool.warm()

    async def stop(self) -> None:
        """End every process; what runs stays in the store."""
        await self.jobs.stop()
        for pool in self._pools:
            await pool.close()
        self.store.close()

    @property
    def _pools(self) -> tuple[Pool, ...]:
        return (self.models, self.texts, self.readers, self.pages)

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have a process answer: of pages, of clients' texts, or of all else."""
        own = {"page": self.pages, "chip": self.texts}
        pool = own.get(request["do"], self.readers)
        return await pool.ask(request, self.limits.answer_time)

    async def read(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have the network of an upload read."""
        text = Path(request["path"]).suffix in TEXTS
        pool = self.texts if text else self.models
        return await pool.ask(request, self.limits.parse_time)

    @contextlib.contextmanager
    def upload(self, client: str) -> Iterator[None]:
        """Count an upload while it is received and read.

        Raises:
            BusyError: there are too many, or too many of this client.
        """
        if self._uploading.total() >= self.limits.uploads:
            raise BusyError(f"{self.limits.uploads} networks are being read already; try again")
        if self._uploading[client] >= self.limits.uploads_each:
            raise BusyError(f"{self.limits.uploads_each} networks of yours are being read already")
        self._uploading[client] += 1
        try:
            yield
        finally:
            self._uploading[client] -= 1
            self._uploading += Counter()  # who uploads nothing is not remembered

    def job(self, id_: str) -> Job:
        """The job of that id, or 404."""
        job = self.jobs.job(id_)
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


def _client_of(request: Request) -> str:
    """Who asks, as far as an address tells: of IPv6 the network, which one household has whole."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False))


Client = Annotated[str, Depends(_client_of)]
"""A parameter of a route: who asks, so that none takes what is there for all."""

Served = Annotated[Services, Depends(_of_the_application)]
"""A parameter of a route: the services of the application that serves it."""
