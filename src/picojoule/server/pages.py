"""The pages people open.

Those with the numbers of a result are made in a process of their own. The others are made at once
and wait for nothing: the form, a job that waits, and why there is no page.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from picojoule.frontends import shipped_networks
from picojoule.server.questions import Id, JobId
from picojoule.server.rendering import PAGES
from picojoule.server.services import Served, Services, StatusError
from picojoule.server.store import DONE

KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
MOST_PAGES = 64  # results and comparisons, which never change, kept as HTML


@cache
def static_files() -> dict[str, tuple[str, bytes]]:
    """Name -> kind and content of every script and style; nothing else can be asked for."""
    files = {}
    for package, folder in (("picojoule.reports", "assets"), ("picojoule.server", "static")):
        for entry in (resources.files(package) / folder).iterdir():
            kind = KINDS.get(PurePosixPath(entry.name).suffix)
            if kind is not None:
                files[entry.name] = (kind, entry.read_bytes())
    return files


class PageMemory:
    """Pages that never change, of results and of comparisons, as HTML; the longest unused go."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[str, ...], str] = OrderedDict()

    async def recall(
        self, key: tuple[str, ...], services: Services, page: str, **values: Any
    ) -> HTMLResponse:
        """The page of *key*, made if it is not there."""
        if key not in self._pages:
            self._pages[key] = await _made(services, page, **values)
            while len(self._pages) > MOST_PAGES:
                self._pages.popitem(last=False)
        self._pages.move_to_end(key)
        return HTMLResponse(self._pages[key])


def _of_the_application(request: Request) -> PageMemory:
    memory: PageMemory = request.app.state.page_memory
    return memory


Remembered = Annotated[PageMemory, Depends(_of_the_application)]
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


async def _made(services: Services, page: str, **values: Any) -> str:
    answer = await services.ask({"do": "page", "page": page, **values})
    text: str = answer["text"]
    return text


def problem(status: int, message: str) -> HTMLResponse:
    """The page that says why there is no other."""
    return HTMLResponse(PAGES["problem"]({"message": message})["text"], status_code=status)


@router.get("/static/{name}")
async def static(name: str) -> Response:
    files = static_files()
    if name not in files:
        raise StatusError(404, "no such file")
    kind, content = files[name]
    return Response(content, media_type=kind, headers={"cache-control": "max-age=300"})


@router.get("/favicon.ico")
async def icon() -> Response:
    return await static("icon.svg")


@router.get("/")
async def home(
    services: Served, from_: Annotated[JobId | None, Query(alias="from")] = None
) -> HTMLResponse:
    job = services.jobs.job(from_) if from_ else None
    shown = {
        "networks": list(shipped_networks()),
        "uploads": services.store.networks(),
        "jobs": [services.jobs.record(x) for x in services.jobs.jobs(30)],
        "question": {} if job is None else job.question,
        "largest": services.limits.upload,
        "runs": [folder.name for folder in services.runs],
    }
    return HTMLResponse(PAGES["home"]({"shown": shown})["text"])


@router.get("/r/{id}")
async def result(id: Id, services: Served, memory: Remembered) -> HTMLResponse:
    job = services.jobs.job(id)
    if job is None:
        return problem(404, "There is no such result. It may be on another server, or was too old.")
    record = services.jobs.record(job)
    if job.state != DONE:
        return HTMLResponse(PAGES["job"]({"job": record})["text"])
    estimate = services.result(id)
    return await memory.recall(("r", id), services, "result", job=record, result=estimate)


@router.get("/runs/{number}")
async def run(number: Annotated[int, Path(ge=0, lt=1 << 31)], services: Served) -> HTMLResponse:
    return HTMLResponse(await _made(services, "run", folder=str(services.run(number))))


@router.get("/compare")
async def pick(
    services: Served,
    r: Annotated[list[JobId], Query(max_length=20)] = [],  # noqa: B006
) -> Response:
    jobs = [job for id_ in r if (job := services.jobs.job(id_)) is not None]
    if len(jobs) != 2:
        return problem(
            422, "Choose two results to compare; the one asked earlier is taken as before."
        )
    first, last = sorted(jobs, key=lambda job: job.created)
    return Response(status_code=303, headers={"location": f"/compare/{first.id}/{last.id}"})


@router.get("/compare/{before}/{after}")
async def compare(before: Id, after: Id, services: Served, memory: Remembered) -> HTMLResponse:
    results = {"before": services.result(before), "after": services.result(after)}
    key = ("compare", before, after)
    return await memory.recall(key, services, "compare", **results, ids=[before, after])
