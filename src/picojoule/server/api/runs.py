"""Compression runs that the server was started with."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as InPath

from picojoule.server.api.refusals import responses
from picojoule.server.services import Served

router = APIRouter(prefix="/runs")


@router.get("")
async def runs(services: Served) -> list[str]:
    """The names of the compression runs that the server was started with."""
    return [folder.name for folder in services.runs]


@router.get("/{number}", responses=responses(404))
async def run(number: Annotated[int, InPath(ge=0, lt=1 << 31)], services: Served) -> dict[str, Any]:
    """A run as it stands now: what each step cost, and how accurate it was."""
    return await services.ask({"do": "run", "folder": str(services.run(number))})
