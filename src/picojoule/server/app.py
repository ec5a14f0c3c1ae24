"""The application: routes, pages, and what becomes of errors."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from picojoule.errors import PicojouleError
from picojoule.server import api, pages
from picojoule.server.api.refusals import refusal
from picojoule.server.database import NoRoomError, StoreError
from picojoule.server.guard import Door, Guard, is_page
from picojoule.server.jobs import BusyError
from picojoule.server.limits import ServerLimits
from picojoule.server.processes import RefusedError, TooLongError
from picojoule.server.services import Services, StatusError
from picojoule.server.store import Store
from picojoule.version import __version__

LOOPBACK = Door(frozenset({"localhost", "127.0.0.1", "::1"}))
NORMAL = ServerLimits()
NO_PAGE = "There is no such page."

_log = logging.getLogger(__name__)


def create_app(
    store: Path,
    *,
    door: Door = LOOPBACK,
    limits: ServerLimits = NORMAL,
    runs: tuple[Path, ...] = (),
) -> FastAPI:
    """The web page and its API, remembering in *store*, showing the folders of *runs*.

    A damaged store is set aside, which is said in the log.

    Raises:
        InputError: the store cannot be used.
    """
    kept = Store(store)
    if kept.set_aside is not None:
        _log.warning(
            "the store %s was damaged: it is set aside as %s, and a new one begins",
            store,
            kept.set_aside.name,
        )
    services = Services(kept, limits, runs)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        services.start()
        yield
        await services.stop()

    app = FastAPI(
        title="picojoule",
        version=__version__,
        summary="What one inference of a neural network costs in energy, and where it goes.",
        lifespan=life,
        docs_url=None,  # its scripts would come from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.services = services
    app.state.page_memory = pages.PageMemory()
    app.include_router(api.router)
    app.include_router(pages.router)
    _errors(app)
    app.add_middleware(Guard, door=door, limits=limits)
    return app


def _refused(
    request: Request, status: int, message: str, mistakes: list[dict[str, str]] | None = None
) -> Response:
    """A refusal: a page where people look, JSON where programs do."""
    if is_page(request.url.path):
        return pages.problem(status, message)
    return refusal(status, message, mistakes)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        if is_page(request.url.path):
            return pages.problem(404, NO_PAGE)
        mistakes = [
            {"path": "$." + ".".join(map(str, x["loc"])), "message": str(x["msg"])}
            for x in error.errors()
        ]
        return refusal(422, f"{len(mistakes)} mistakes in the question", mistakes)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        missing = error.status_code == 404 and is_page(request.url.path)
        message = NO_PAGE if missing else str(error.detail)
        answer = _refused(request, error.status_code, message)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(PicojouleError)
    async def refused(request: Request, error: PicojouleError) -> Response:
        match error:
            case StatusError():
                return _refused(request, error.status, error.message)
            case RefusedError():
                return _refused(request, 422, error.detail["message"], error.detail["mistakes"])
            case TooLongError():
                return _refused(request, 422, f"this {error}")
            case NoRoomError():
                return _refused(request, 507, str(error))
            case BusyError() | StoreError():
                return _refused(request, 503, str(error))
        return _refused(request, 422, str(error))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        message = f"a bug of picojoule: {error!r}; the server's terminal shows where"
        return _refused(request, 500, message)
