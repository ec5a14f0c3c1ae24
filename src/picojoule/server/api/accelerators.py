"""Accelerators: those that are shipped, and files of a client's own."""

from __future__ import annotations

from importlib import resources
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import Response
from pydantic import BaseModel

from picojoule.errors import did_you_mean
from picojoule.server.api.refusals import responses
from picojoule.server.questions import Chip
from picojoule.server.services import Served, StatusError
from picojoule.specs import shipped_accelerators

router = APIRouter(prefix="/chips")


def shipped_file(name: str) -> str:
    """The text of a shipped accelerator's file, or 404."""
    if name not in shipped_accelerators():
        near = did_you_mean(name, shipped_accelerators())
        raise StatusError(404, f"no chip {name!r}{near}")
    place = resources.files("picojoule") / "data" / "accelerators" / f"{name}.yaml"
    return place.read_text("utf-8")


@router.get("/{name}", responses=responses(404), response_class=Response)
async def chip(name: Annotated[str, InPath(max_length=80)]) -> Response:
    """The YAML file of a shipped machine."""
    return Response(shipped_file(name), media_type="application/yaml; charset=utf-8")


class ControlsRecord(BaseModel):
    """What a form needs to know of a machine.

    ``joules`` is what its joules rest on, empty where energies are multiples of a MAC's;
    ``dataflows`` that it refuses and ``densities`` that it does not heed, each with the reason.
    """

    name: str
    elements: int
    unit: str
    joules: str
    bits: int
    dataflow: str
    dataflows: dict[str, str]
    densities: dict[str, str]


@router.get("/{name}/controls", responses=responses(404, 422, 503))
async def controls(name: Annotated[str, InPath(max_length=80)], services: Served) -> ControlsRecord:
    """Which settings a shipped machine heeds, and why it does not heed the others."""
    shipped_file(name)
    return ControlsRecord(**await services.ask({"do": "controls", "name": name}))


@router.post("/check", responses=responses(400, 403, 413, 422, 503))
async def check_chip(chip: Chip, services: Served) -> ControlsRecord:
    """Whether a machine's file is well formed; 422 lists its mistakes, with their lines."""
    return ControlsRecord(**await services.ask({"do": "chip", "yaml": chip.yaml}))
