"""The application: routes, pages, and what becomes of errors."""

from __future__ import annotations

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
from picojoule.server.guard import Door, Guard
from picojoule.server.jobs import BusyError
from picojoule.server.limits import ServerLimits
from picojoule.server.processes import DiedError, RefusedError, TooLongError
from picojoule.server.services import Services, StatusError
from picojoule.server.store import Store
from picojoule.version import __version__

LOOPBACK = Door(frozenset({"localhost", "127.0.0.1", "::1"}))
NORMAL = ServerLimits()


def create_app(
    store: Path,
    *,
    door: Door = LOOPBACK,
    limits: ServerLimits = NORMAL,
    runs: tuple[Path, ...] = (),
) -> FastAPI:
    """The web page and its API, remembering in *store*, showing the folders of *runs*.

    Raises:
        InputError: the store cannot be used.
    """
    services = Services(Store(store), limits, runs)

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


def _errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        mistakes = [
            {"path": "$." + ".".join(map(str, x["loc"])), "message": str(x["msg"])}
            for x in error.errors()
        ]
        return refusal(422, f"{len(mistakes)} mistakes in the question", mistakes)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        answer = refusal(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(PicojouleError)
    async def refused(_: Request, error: PicojouleError) -> Response:
        match error:
            case StatusError():
                return refusal(error.status, error.message)
            case RefusedError():
                return refusal(422, error.detail["message"], error.detail["mistakes"])
            case TooLongError():
                return refusal(422, f"this {error}")
            case BusyError():
                return refusal(503, str(error))
            case DiedError():
                return refusal(422, str(error))
        return refusal(422, str(error))
