"""Jobs: estimates that were asked for, and how they stand."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from picojoule.server.api.accelerators import shipped_file
from picojoule.server.api.refusals import responses
from picojoule.server.questions import Id, QuestionBody
from picojoule.server.services import Client, Served

router = APIRouter(prefix="/jobs")


class JobRecord(BaseModel):
    """A question and what became of it."""

    id: str
    title: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    question: dict[str, Any]
    created: str
    started: str | None
    ended: str | None
    elapsed: float | None
    error: dict[str, Any] | None
    progress: dict[str, Any] | None


@router.get("")
async def list_jobs(
    services: Served, most: Annotated[int, Query(ge=1, le=200)] = 50
) -> list[JobRecord]:
    """The jobs last used, the newest first."""
    return [JobRecord(**services.jobs.record(job)) for job in services.jobs.jobs(most)]


@router.post("", status_code=202, responses=responses(400, 403, 404, 413, 422, 503, 507))
async def submit(question: QuestionBody, services: Served, client: Client) -> JobRecord:
    """Ask for an estimate. The same question is the same job, and is answered once."""
    table = services.table(question.plain())
    if question.chip is not None:
        shipped_file(question.chip)
        accelerator = question.chip
    else:
        checked = await services.ask({"do": "chip", "yaml": question.chip_yaml})
        accelerator = checked["name"]
    uploaded = services.store.network(question.network) if table else None
    title = question.title(uploaded[0] if uploaded else question.network, accelerator)
    return JobRecord(**services.jobs.record(services.jobs.submit(question, title, client)))


@router.get("/{id}", responses=responses(404, 422))
async def job(id: Id, services: Served) -> JobRecord:
    """How a job stands."""
    return JobRecord(**services.jobs.record(services.job(id)))


@router.delete("/{id}", responses=responses(403, 404, 422))
async def cancel(id: Id, services: Served) -> JobRecord:
    """Cancel a job that waits or runs; one that is over stays as it is."""
    services.job(id)
    await services.jobs.cancel(id)
    return JobRecord(**services.jobs.record(services.job(id)))


@router.get(
    "/{id}/events",
    response_class=StreamingResponse,
    responses={
        **responses(404, 422, 503),
        200: {
            "description": "Server-sent events named `job`; the data are job records.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def events(id: Id, services: Served, client: Client) -> StreamingResponse:
    """Follow a job until it is over."""
    services.job(id)
    slot = contextlib.ExitStack()
    slot.enter_context(services.jobs.stream(client))

    async def lines() -> AsyncIterator[str]:
        with slot:
            async for record in services.jobs.follow(id):
                if record is None:
                    yield ": still here\n\n"
                else:
                    yield f"event: job\ndata: {json.dumps(record)}\n\n"

    return StreamingResponse(
        lines(), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )
