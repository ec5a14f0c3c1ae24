"""Networks: those that are shipped, and those that clients uploaded."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from picojoule.frontends import shipped_networks
from picojoule.server.api.refusals import responses
from picojoule.server.services import Served, Services, StatusError

ENDINGS = (".onnx", ".csv", ".txt")
FILE_NAME = r"^[^/\\\x00-\x1f\x7f]{1,200}$"
DIMENSION = r"^[^=\x00-\x1f]{1,80}=[1-9][0-9]{0,8}$"
MOST_DIMS = 32

router = APIRouter(prefix="/networks")


class NetworkRecord(BaseModel):
    """A network that can be asked about."""

    id: str
    name: str
    layers: int
    batch: int
    macs: int
    weights: int
    not_counted: list[dict[str, Any]]
    complete: bool
    unmodelled: list[dict[str, Any]]
    remarks: list[str]


@router.get("")
async def networks(services: Served) -> dict[str, Any]:
    """The networks that come with picojoule, and those uploaded."""
    return {
        "shipped": list(shipped_networks()),
        "uploaded": [{"id": id_, "name": name} for id_, name in services.store.networks()],
    }


@router.get("/{id}", responses=responses(404, 422, 503))
async def network(id: Annotated[str, InPath(max_length=80)], services: Served) -> NetworkRecord:
    """A network's size, what is not counted of it, and whether all that multiplies is."""
    question = {"network": id}
    answer = await services.ask(
        {"do": "describe", "question": question, **services.table(question)}
    )
    return NetworkRecord(id=id, **answer)


@router.post(
    "",
    status_code=201,
    responses=responses(400, 403, 413, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def upload(
    request: Request,
    services: Served,
    file: Annotated[
        str, Query(pattern=FILE_NAME, description="The file's name; its ending says what.")
    ],
    dim: Annotated[
        list[Annotated[str, Query(pattern=DIMENSION)]],
        Query(max_length=MOST_DIMS, description="A size that an ONNX file only names: name=8."),
    ] = [],  # noqa: B006
) -> NetworkRecord:
    """Read a network: .onnx, .csv (ours or SCALE-Sim's) or 25-column .txt, as the body."""
    ending = Path(file).suffix.lower()
    if ending not in ENDINGS:
        raise StatusError(422, f"the name must end in {', '.join(ENDINGS)}")
    dims = {name: int(size) for name, _, size in (pair.rpartition("=") for pair in dim)}
    digest = hashlib.sha256(json.dumps([file, sorted(dims.items())]).encode())
    with tempfile.TemporaryDirectory(prefix="picojoule-") as folder:
        # The client's name is shown, never opened.
        place = Path(folder) / f"network{ending}"
        with place.open("wb") as stream:
            try:
                async for chunk in request.stream():
                    stream.write(chunk)
                    digest.update(chunk)
            except ClientDisconnect:
                raise StatusError(400, "the upload broke off") from None
        answer = await _read(place, file, dims, services)
    id_ = f"upload-{digest.hexdigest()[:20]}"
    most = services.limits.networks
    services.store.keep_network(id_, answer["name"], answer.pop("table"), most)
    return NetworkRecord(id=id_, **answer)


async def _read(place: Path, file: str, dims: dict[str, int], services: Services) -> dict[str, Any]:
    """What a process of its own makes of the file at *place*, which the client calls *file*."""
    # A large model may leave memory behind: its process serves once.
    pool = services.uploads if place.suffix == ".onnx" else services.readers
    request = {
        "do": "network",
        "path": str(place),
        "name": Path(file).stem or "network",
        "file": file,
        "dims": dims,
        "most_layers": services.limits.layers,
    }
    return await pool.ask(request, services.limits.parse_time)
