"""Results: what finished jobs answered."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response

from picojoule.server.api.refusals import responses
from picojoule.server.questions import Id, Repricing
from picojoule.server.services import Served

FORMATS = {
    "json": ("application/json", "json"),
    "html": ("text/html; charset=utf-8", "html"),
    "md": ("text/markdown; charset=utf-8", "md"),
    "csv": ("text/csv; charset=utf-8", "csv"),
    "txt": ("text/plain; charset=us-ascii", "txt"),
    "yaml": ("application/yaml; charset=utf-8", "yaml"),
}

router = APIRouter(prefix="/results")


@router.get("/{id}", responses=responses(404, 409, 422))
async def result(id: Id, services: Served) -> dict[str, Any]:
    """The estimate, in the schema of ``picojoule estimate --json``."""
    return services.result(id)


@router.get("/{id}/{format}", responses=responses(404, 409, 422, 503), response_class=Response)
async def download(
    id: Id, format: Literal["json", "html", "md", "csv", "txt", "yaml"], services: Served
) -> Response:
    """The estimate as a file: html is the report, txt the 25 columns, yaml the machine."""
    estimate = services.result(id)
    if format == "json":
        text = json.dumps(estimate, indent=1) + "\n"
    else:
        request = {"do": "render", "format": format, "result": estimate}
        text = (await services.ask(request))["text"]
    kind, ending = FORMATS[format]
    named = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{estimate['network']}-{estimate['accelerator']}")
    disposition = f'attachment; filename="{named[:80]}.{ending}"'
    return Response(text, media_type=kind, headers={"content-disposition": disposition})


@router.post("/{id}/reprice", responses=responses(400, 403, 404, 409, 413, 422, 503))
async def reprice(id: Id, change: Repricing, services: Served) -> dict[str, Any]:
    """Price the present mappings under other settings, at once; nothing is searched.

    ``misfits`` names the layers whose present mapping is not legal any more; then there is
    nothing else in the answer.
    """
    services.job(id)
    present = services.result(id)
    question = changed(services.job(id).question, change)
    return await services.ask(
        {"do": "reprice", "question": question, "result": present, **services.table(question)}
    )


def changed(question: dict[str, Any], change: Repricing) -> dict[str, Any]:
    """*question* with the settings of *change* in place of its own."""
    settings = change.settings.model_dump(exclude_none=True)
    return {
        **question,
        **({"batch": settings["batch"]} if "batch" in settings else {}),
        "bits": {**question.get("bits", {}), **settings["bits"]},
        "density": {**question.get("density", {}), **settings["density"]},
    }
