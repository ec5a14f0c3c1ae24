"""The JSON API. Results have the schema of ``picojoule estimate --json``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from picojoule.dataflow import DATAFLOWS
from picojoule.errors import PicojouleError, did_you_mean
from picojoule.frontends import shipped_networks
from picojoule.server.jobs import Jobs
from picojoule.server.limits import Limits
from picojoule.server.processes import Pool
from picojoule.server.questions import Chip, JobId, Question, Repricing
from picojoule.server.store import Job, Store
from picojoule.specs import shipped_accelerators
from picojoule.version import __version__

FORMATS = {
    "json": ("application/json", "json"),
    "html": ("text/html; charset=utf-8", "html"),
    "md": ("text/markdown; charset=utf-8", "md"),
    "csv": ("text/csv; charset=utf-8", "csv"),
    "txt": ("text/plain; charset=us-ascii", "txt"),
    "yaml": ("application/yaml; charset=utf-8", "yaml"),
}
ENDINGS = (".onnx", ".csv", ".txt")
FILE_NAME = r"^[^/\\\x00-\x1f\x7f]{1,200}$"
DIMENSION = r"^[^=\x00-\x1f]{1,80}=[1-9][0-9]{0,8}$"
MOST_DIMS = 32


class ProblemError(PicojouleError):
    """A refusal with its HTTP status."""

    def __init__(self, status: int, message: str, mistakes: tuple[Any, ...] = ()) -> None:
        self.status, self.message, self.mistakes = status, message, list(mistakes)
        super().__init__(message)


class MistakeRecord(BaseModel):
    """Where, and what."""

    path: str
    message: str


class ErrorRecord(BaseModel):
    """Why not."""

    message: str
    mistakes: list[MistakeRecord]


class Problem(BaseModel):
    """The body of every refusal."""

    error: ErrorRecord


class NetworkRecord(BaseModel):
    """A network that can be asked about."""

    id: str
    name: str
    layers: int
    batch: int
    macs: int
    weights: int
    not_counted: list[dict[str, Any]]


class JobRecord(BaseModel):
    """A question and what became of it."""

    id: str
    title: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    question: dict[str, Any]
    created: str
    ended: str | None
    error: dict[str, Any] | None
    progress: dict[str, Any] | None


class Services:
    """What the routes work with."""

    def __init__(self, store: Store, limits: Limits, runs: tuple[Path, ...] = ()) -> None:
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
            raise ProblemError(404, f"no job {id_!r}")
        return job

    def result(self, id_: str) -> dict[str, Any]:
        """The result of a finished job, or 404, or 409 where there is none yet."""
        result = self.store.result(id_)
        if result is None:
            job = self.job(id_)
            raise ProblemError(409, f"the job is {job.state}; it has no result")
        return result

    def run(self, number: int) -> Path:
        """The folder of a run that the server was started with, or 404."""
        if number >= len(self.runs):
            raise ProblemError(404, f"no run {number}")
        return self.runs[number]

    def table(self, question: dict[str, Any]) -> dict[str, Any]:
        """The uploaded network of a question, if it is one; 404 where there is no network."""
        name = question["network"]
        found = self.store.network(name)
        if found is not None:
            return {"table": found[1]}
        if name not in shipped_networks():
            near = did_you_mean(name, shipped_networks())
            raise ProblemError(404, f"no network {name!r}{near}")
        return {}


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    words = {
        400: "The request cannot be read",
        403: "Not from another site",
        404: "There is no such thing",
        409: "Not in this state",
        413: "Larger than allowed",
        422: "The question is wrong; all its mistakes are listed",
        503: "Too much to do; try again later",
    }
    return {status: {"model": Problem, "description": words[status]} for status in statuses}


Id = Annotated[JobId, InPath(description="The id of a job and of its result.")]


def routes(services: Services) -> APIRouter:
    """The routes of the API, on *services*."""
    router = APIRouter(prefix="/api", responses=_responses(422))
    store, jobs = services.store, services.jobs

    # -- what there is ---------------------------------------------------------------------

    @router.get("/about")
    async def about() -> dict[str, Any]:
        """Version, limits, and what comes with picojoule."""
        return {
            "picojoule": __version__,
            "chips": list(shipped_accelerators()),
            "networks": list(shipped_networks()),
            "dataflows": [
                {"name": x.name, "title": x.title, "source": x.source} for x in DATAFLOWS.values()
            ],
            "largest_upload": services.limits.upload,
        }

    @router.get("/chips/{name}", responses=_responses(404), response_class=Response)
    async def chip(name: Annotated[str, InPath(max_length=80)]) -> Response:
        """The YAML file of a shipped machine."""
        return Response(chip_text(name), media_type="application/yaml; charset=utf-8")

    @router.post("/chips/check", responses=_responses(400, 403, 413, 422, 503))
    async def check_chip(chip: Chip) -> dict[str, Any]:
        """Whether a machine's file is well formed; 422 lists its mistakes, with their lines."""
        return await services.ask({"do": "chip", "yaml": chip.yaml})

    # -- networks --------------------------------------------------------------------------

    @router.get("/networks")
    async def networks() -> dict[str, Any]:
        """The networks that come with picojoule, and those uploaded."""
        return {
            "shipped": list(shipped_networks()),
            "uploaded": [{"id": id_, "name": name} for id_, name in store.networks()],
        }

    @router.get("/networks/{id}", responses=_responses(404, 422, 503))
    async def network(id: Annotated[str, InPath(max_length=80)]) -> NetworkRecord:
        """A network's size, and what is not counted of it."""
        question = {"network": id}
        answer = await services.ask(
            {"do": "describe", "question": question, **services.table(question)}
        )
        return NetworkRecord(id=id, **answer)

    @router.post(
        "/networks",
        status_code=201,
        responses=_responses(400, 403, 413, 422, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
                },
            }
        },
    )
    async def upload(
        request: Request,
        file: Annotated[
            str, Query(pattern=FILE_NAME, description="The file's name; its ending says what.")
        ],
        dim: Annotated[
            list[Annotated[str, Query(pattern=DIMENSION)]],
            Query(max_length=MOST_DIMS, description="A size that an ONNX file only names: name=8."),
        ] = [],  # noqa: B006
    ) -> NetworkRecord:
        """Read a network: .onnx, .csv (ours or SCALE-Sim's) or 25-column .txt, as the body."""
        ending = Path(file).suffix.lower()
        if ending not in ENDINGS:
            raise ProblemError(422, f"the name must end in {', '.join(ENDINGS)}")
        dims = {}
        for pair in dim:
            key, _, value = pair.rpartition("=")
            dims[key] = int(value)
        with tempfile.TemporaryDirectory(prefix="picojoule-") as folder:
            # The client's name is shown, never opened.
            place = Path(folder) / f"network{ending}"
            digest = hashlib.sha256(json.dumps([file, sorted(dims.items())]).encode())
            with place.open("wb") as stream:
                try:
                    async for chunk in request.stream():
                        stream.write(chunk)
                        digest.update(chunk)
                except ClientDisconnect:
                    raise ProblemError(400, "the upload broke off") from None
            # A large model may leave memory behind: its process serves once.
            pool = services.uploads if ending == ".onnx" else services.readers
            answer = await pool.ask(
                {
                    "do": "network",
                    "path": str(place),
                    "name": Path(file).stem or "network",
                    "file": file,
                    "dims": dims,
                    "most_layers": services.limits.layers,
                },
                services.limits.parse_time,
            )
        id_ = f"upload-{digest.hexdigest()[:20]}"
        store.keep_network(id_, answer["name"], answer.pop("table"), services.limits.networks)
        return NetworkRecord(id=id_, **answer)

    # -- compression runs ------------------------------------------------------------------

    @router.get("/runs")
    async def runs() -> list[str]:
        """The names of the compression runs that the server was started with."""
        return [folder.name for folder in services.runs]

    @router.get("/runs/{number}", responses=_responses(404))
    async def run(number: Annotated[int, InPath(ge=0, lt=1 << 31)]) -> dict[str, Any]:
        """A run as it stands now: what each step cost, and how accurate it was."""
        return await services.ask({"do": "run", "folder": str(services.run(number))})

    # -- jobs ------------------------------------------------------------------------------

    @router.get("/jobs")
    async def list_jobs(most: Annotated[int, Query(ge=1, le=200)] = 50) -> list[JobRecord]:
        """The jobs last used, the newest first."""
        return [JobRecord(**jobs.record(job)) for job in store.jobs(most)]

    @router.post("/jobs", status_code=202, responses=_responses(400, 403, 404, 413, 422, 503))
    async def submit(question: Question) -> JobRecord:
        """Ask for an estimate. The same question is the same job, and is answered once."""
        plain = question.plain()
        table = services.table(plain)
        if question.chip is not None:
            chip_text(question.chip)
            machine = question.chip
        else:
            checked = await services.ask({"do": "chip", "yaml": question.chip_yaml})
            machine = checked["name"]
        found = store.network(question.network) if table else None
        title = question.title(found[0] if found else question.network, machine)
        return JobRecord(**jobs.record(jobs.submit(question, title)))

    @router.get("/jobs/{id}", responses=_responses(404, 422))
    async def job(id: Id) -> JobRecord:
        """How a job stands."""
        return JobRecord(**jobs.record(services.job(id)))

    @router.delete("/jobs/{id}", responses=_responses(403, 404, 422))
    async def cancel(id: Id) -> JobRecord:
        """Cancel a job that waits or runs; one that is over stays as it is."""
        services.job(id)
        await jobs.cancel(id)
        return JobRecord(**jobs.record(services.job(id)))

    @router.get(
        "/jobs/{id}/events",
        response_class=StreamingResponse,
        responses={
            **_responses(404, 422, 503),
            200: {
                "description": "Server-sent events named `job`; the data are job records.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
        },
    )
    async def events(id: Id) -> StreamingResponse:
        """Follow a job until it is over."""
        services.job(id)
        slot = contextlib.ExitStack()
        slot.enter_context(jobs.stream())

        async def lines() -> AsyncIterator[str]:
            with slot:
                async for record in jobs.follow(id):
                    if record is None:
                        yield ": still here\n\n"
                    else:
                        yield f"event: job\ndata: {json.dumps(record)}\n\n"

        return StreamingResponse(
            lines(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    # -- results ---------------------------------------------------------------------------

    @router.get("/results/{id}", responses=_responses(404, 409, 422))
    async def result(id: Id) -> dict[str, Any]:
        """The estimate, in the schema of ``picojoule estimate --json``."""
        return services.result(id)

    @router.get(
        "/results/{id}/{format}", responses=_responses(404, 409, 422, 503), response_class=Response
    )
    async def download(
        id: Id,
        format: Literal["json", "html", "md", "csv", "txt", "yaml"],
    ) -> Response:
        """The estimate as a file: html is the report, txt the 25 columns, yaml the machine."""
        estimate = services.result(id)
        if format == "json":
            text = json.dumps(estimate, indent=1) + "\n"
        else:
            text = (await services.ask({"do": "render", "format": format, "result": estimate}))[
                "text"
            ]
        kind, ending = FORMATS[format]
        named = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{estimate['network']}-{estimate['accelerator']}")
        disposition = f'attachment; filename="{named[:80]}.{ending}"'
        return Response(text, media_type=kind, headers={"content-disposition": disposition})

    @router.post("/results/{id}/reprice", responses=_responses(400, 403, 404, 409, 413, 422, 503))
    async def reprice(id: Id, change: Repricing) -> dict[str, Any]:
        """Price the present mappings under other settings, at once; nothing is searched.

        ``misfits`` names the layers whose present mapping is not legal any more; then there is
        nothing else in the answer.
        """
        services.job(id)
        present = services.result(id)
        question = changed(services.job(id).question, change)
        return await services.ask(
            {
                "do": "reprice",
                "question": question,
                "result": present,
                **services.table(question),
            }
        )

    @router.get("/compare/{before}/{after}", responses=_responses(404, 409, 422, 503))
    async def compare(before: Id, after: Id) -> dict[str, Any]:
        """Two results side by side, in the schema of ``picojoule compare --json``."""
        answer = await services.ask(
            {
                "do": "beside",
                "before": services.result(before),
                "after": services.result(after),
            }
        )
        comparison: dict[str, Any] = answer["comparison"]
        return comparison

    @router.get("/compare/{before}/{after}/charts", responses=_responses(404, 409, 422, 503))
    async def compare_charts(before: Id, after: Id) -> dict[str, Any]:
        """Two results side by side: comparison, words, and the numbers of the charts."""
        return await services.ask(
            {
                "do": "beside",
                "before": services.result(before),
                "after": services.result(after),
            }
        )

    return router


def changed(question: dict[str, Any], change: Repricing) -> dict[str, Any]:
    """*question* with the settings of *change* in place of its own."""
    settings = change.settings.model_dump(exclude_none=True)
    return {
        **question,
        **({"batch": settings["batch"]} if "batch" in settings else {}),
        "bits": {**question.get("bits", {}), **settings["bits"]},
        "density": {**question.get("density", {}), **settings["density"]},
    }


def chip_text(name: str) -> str:
    """The file of a shipped machine, or 404."""
    if name not in shipped_accelerators():
        near = did_you_mean(name, shipped_accelerators())
        raise ProblemError(404, f"no chip {name!r}{near}")
    from importlib import resources

    place = resources.files("picojoule") / "data" / "accelerators" / f"{name}.yaml"
    return place.read_text("utf-8")


def refusal(status: int, message: str, mistakes: list[Any] | None = None) -> JSONResponse:
    """A refusal in the API's form."""
    body = {"error": {"message": message, "mistakes": mistakes or []}}
    return JSONResponse(body, status_code=status)
