"""Networks: those that are shipped, and those that clients uploaded."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from picojoule.frontends import shipped_networks
from picojoule.server.api.refusals import responses
from picojoule.server.bundle import FILE_NAME, MOST_FILES, bundle_of
from picojoule.server.services import Client, Served, StatusError

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
    bits: dict[str, int]
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
    responses=responses(400, 403, 413, 422, 503, 507),
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
    client: Client,
    file: Annotated[
        list[Annotated[str, Query(pattern=FILE_NAME)]],
        Query(
            min_length=1,
            max_length=MOST_FILES,
            description="The files' names; their endings say what they are.",
        ),
    ],
    size: Annotated[
        list[Annotated[int, Query(ge=0, lt=1 << 40)]],
        Query(
            max_length=MOST_FILES,
            description="The bytes of each file, where there are several: they follow each other.",
        ),
    ] = [],  # noqa: B006
    name: Annotated[
        str | None, Query(pattern=FILE_NAME, description="What to call the network.")
    ] = None,
    dim: Annotated[
        list[Annotated[str, Query(pattern=DIMENSION)]],
        Query(max_length=MOST_DIMS, description="A size that a file only names: name=8."),
    ] = [],  # noqa: B006
    context: Annotated[
        int | None, Query(ge=1, lt=1 << 31, description="Tokens that a transformer attends to.")
    ] = None,
    phase: Annotated[
        Literal["prefill", "decode"] | None,
        Query(description="A transformer's: all tokens of its context at once, or one after them."),
    ] = None,
) -> NetworkRecord:
    """Read a network: the files as the body, one after the other.

    A model (.onnx, .tflite, .pt2, .gguf), a table of layers (.csv, ours or SCALE-Sim's; .txt of 25
    columns), or config.json with safetensors files, of which the headers are enough. Beside a model
    may stand the files with its weights.
    """
    bundle = bundle_of(file, size)
    dims = {key: int(value) for key, _, value in (pair.rpartition("=") for pair in dim)}
    reading = {"dims": dims or None, "context": context, "phase": phase}
    asked = [file, size, name, sorted(dims.items()), context, phase]
    digest = hashlib.sha256(json.dumps(asked).encode())
    with (
        services.upload(client),
        tempfile.TemporaryDirectory(prefix="picojoule-") as folder,
    ):
        try:
            place = await bundle.receive(Path(folder), request.stream(), digest)
        except ClientDisconnect:
            raise StatusError(400, "the upload broke off") from None
        answer = await services.read(
            {
                "do": "network",
                "path": str(place),
                "name": name or bundle.title,
                "file": bundle.main,
                "reading": {key: value for key, value in reading.items() if value is not None},
                "most_layers": services.limits.layers,
            }
        )
    id_ = f"upload-{digest.hexdigest()[:20]}"
    most = services.limits.networks
    services.store.keep_network(id_, answer["name"], answer.pop("table"), most)
    return NetworkRecord(id=id_, **answer)
