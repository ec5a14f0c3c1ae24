"""The JSON API, one module per noun. Results have the schema of ``picojoule estimate --json``."""

from __future__ import annotations

from fastapi import APIRouter

from picojoule.server.api import accelerators, comparisons, jobs, networks, results, runs, shipped
from picojoule.server.api.refusals import responses

router = APIRouter(prefix="/api", responses=responses(422))
for noun in (shipped, accelerators, networks, runs, jobs, results, comparisons):
    router.include_router(noun.router)
