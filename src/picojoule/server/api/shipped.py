"""What comes with picojoule, and what this server takes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from picojoule.dataflow import DATAFLOWS
from picojoule.frontends import shipped_networks
from picojoule.server.services import Served
from picojoule.specs import shipped_accelerators
from picojoule.version import __version__

router = APIRouter()


@router.get("/about")
async def about(services: Served) -> dict[str, Any]:
    """Version, limits, and what comes with picojoule."""
    return {
        "picojoule": __version__,
        "chips": list(shipped_accelerators()),
        "networks": list(shipped_networks()),
        "dataflows": [
            {"name": x.name, "title": x.title, "source": x.source} for x in DATAFLOWS.values()
        ],
        "largest_upload": services.limits.upload,
    }
