"""How the API says no, and which statuses a route may answer with."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

WORDS = {
    400: "The request cannot be read",
    403: "Not from another site",
    404: "There is no such thing",
    409: "Not in this state",
    413: "Larger than allowed",
    422: "The question is wrong; all its mistakes are listed",
    503: "Too much to do; try again later",
    507: "The disk takes nothing more",
}


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


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Refusals of a route, for the description of the API."""
    return {status: {"model": Problem, "description": WORDS[status]} for status in statuses}


def refusal(
    status: int, message: str, mistakes: list[dict[str, str]] | None = None
) -> JSONResponse:
    """A refusal in the API's form."""
    body = {"error": {"message": message, "mistakes": mistakes or []}}
    return JSONResponse(body, status_code=status)
