"""The pages people open. Their numbers come from the store, their HTML from a reader process."""

from __future__ import annotations

from collections import OrderedDict
from importlib import resources
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import HTMLResponse, Response

from picojoule.frontends import shipped_networks
from picojoule.server.api import Id, ProblemError, Services
from picojoule.server.processes import RefusedError
from picojoule.server.questions import JobId
from picojoule.server.store import DONE

KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
MOST_PAGES = 64  # results and comparisons, which never change, kept as HTML


def static_files() -> dict[str, tuple[str, bytes]]:
    """Name -> kind and content of every script and style; nothing else can be asked for."""
    found = {}
    for package, folder in (("picojoule.reports", "assets"), ("picojoule.server", "static")):
        for entry in (resources.files(package) / folder).iterdir():
            kind = KINDS.get(PurePosixPath(entry.name).suffix)
            if kind is not None:
                found[entry.name] = (kind, entry.read_bytes())
    return found


def pages(services: Services) -> APIRouter:
    """The routes of the pages, on *services*."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    files = static_files()
    kept: OrderedDict[tuple[str, ...], str] = OrderedDict()

    async def made(page: str, **values: Any) -> str:
        answer = await services.ask({"do": "page", "page": page, **values})
        text: str = answer["text"]
        return text

    async def lasting(key: tuple[str, ...], page: str, **values: Any) -> HTMLResponse:
        if key not in kept:
            kept[key] = await made(page, **values)
            while len(kept) > MOST_PAGES:
                kept.popitem(last=False)
        kept.move_to_end(key)
        return HTMLResponse(kept[key])

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in files:
            raise ProblemError(404, "no such file")
        kind, content = files[name]
        return Response(content, media_type=kind, headers={"cache-control": "max-age=300"})

    @router.get("/favicon.ico")
    async def icon() -> Response:
        return await static("icon.svg")

    @router.get("/")
    async def home(
        from_: Annotated[JobId | None, Query(alias="from")] = None,
    ) -> HTMLResponse:
        job = services.store.job(from_) if from_ else None
        listed = services.store.jobs(30)
        shown = {
            "networks": list(shipped_networks()),
            "uploads": services.store.networks(),
            "jobs": [services.jobs.record(x) for x in listed],
            "question": {} if job is None else job.question,
            "largest": services.limits.upload,
            "runs": [folder.name for folder in services.runs],
        }
        return HTMLResponse(await made("home", shown=shown))

    @router.get("/r/{id}")
    async def result(id: Id) -> HTMLResponse:
        job = services.store.job(id)
        if job is None:
            message = "There is no such result. It may be on another server, or was too old."
            return HTMLResponse(await made("problem", message=message), status_code=404)
        record = services.jobs.record(job)
        if job.state != DONE:
            return HTMLResponse(await made("job", job=record))
        estimate = services.result(id)
        return await lasting(("r", id), "result", job=record, result=estimate)

    @router.get("/runs/{number}")
    async def run(number: Annotated[int, Path(ge=0, lt=1 << 31)]) -> HTMLResponse:
        try:
            return HTMLResponse(await made("run", folder=str(services.run(number))))
        except ProblemError as error:
            message, status = error.message, error.status
        except RefusedError as error:
            message, status = error.detail["message"], 422
        return HTMLResponse(await made("problem", message=message), status_code=status)

    @router.get("/compare")
    async def pick(r: Annotated[list[JobId], Query(max_length=20)] = []) -> Response:  # noqa: B006
        jobs = [job for id_ in r if (job := services.store.job(id_)) is not None]
        if len(jobs) != 2:
            message = "Choose two results to compare; the one asked earlier is taken as before."
            return HTMLResponse(await made("problem", message=message), status_code=422)
        first, last = sorted(jobs, key=lambda job: job.created)
        return Response(status_code=303, headers={"location": f"/compare/{first.id}/{last.id}"})

    @router.get("/compare/{before}/{after}")
    async def compare(before: Id, after: Id) -> HTMLResponse:
        try:
            both = [services.result(before), services.result(after)]
        except ProblemError as error:
            return HTMLResponse(
                await made("problem", message=error.message), status_code=error.status
            )
        return await lasting(
            ("compare", before, after),
            "compare",
            before=both[0],
            after=both[1],
            ids=[before, after],
        )

    return router
