"""Two results side by side."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from picojoule.server.api.refusals import responses
from picojoule.server.questions import Id
from picojoule.server.services import Served, Services

router = APIRouter(prefix="/compare/{before}/{after}")


@router.get("", responses=responses(404, 409, 422, 503))
async def compare(before: Id, after: Id, services: Served) -> dict[str, Any]:
    """Two results side by side, in the schema of ``picojoule compare --json``."""
    comparison: dict[str, Any] = (await _beside(before, after, services))["comparison"]
    return comparison


@router.get("/charts", responses=responses(404, 409, 422, 503))
async def compare_charts(before: Id, after: Id, services: Served) -> dict[str, Any]:
    """Two results side by side: comparison, words, and the numbers of the charts."""
    return await _beside(before, after, services)


async def _beside(before: str, after: str, services: Services) -> dict[str, Any]:
    results = {"before": services.result(before), "after": services.result(after)}
    return await services.ask({"do": "beside", **results})
