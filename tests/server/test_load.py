"""Fifty clients at once: no error, no lost job."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.conftest import Start
from tests.server_files import CHIP, TABLE

CLIENTS = 50


async def client(url: str, number: int) -> dict[str, Any]:
    """Upload, ask, follow, read the page and the result, re-price: all as one person would."""
    async with httpx.AsyncClient(base_url=url, timeout=120) as http:

        async def get(method: str, path: str, **more: Any) -> httpx.Response:
            answer = await http.request(method, path, **more)
            assert answer.status_code < 300, (path, answer.status_code, answer.text[:300])
            return answer

        await get("GET", "/")
        table = TABLE.replace("fc,27,5", f"fc,27,{5 + number % 10}")
        uploaded = await get(
            "POST", "/api/networks", params={"file": f"n{number % 10}.csv"}, content=table
        )
        question = {"network": uploaded.json()["id"], "chip_yaml": CHIP, "batch": 1 + number % 3}
        job = (await get("POST", "/api/jobs", json=question)).json()
        state = ""
        async with http.stream("GET", f"/api/jobs/{job['id']}/events") as stream:
            assert stream.status_code == 200
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    state = json.loads(line.removeprefix("data: "))["state"]
        assert state == "done", state
        page = await get("GET", f"/r/{job['id']}")
        assert "One inference" in page.text
        result = (await get("GET", f"/api/results/{job['id']}")).json()
        settings = {"settings": {"density": {"weight": 0.5}}}
        priced = await get("POST", f"/api/results/{job['id']}/reprice", json=settings)
        assert priced.json()["comparison"]["total"]["energy"]["ratio"] <= 1
        return {"id": job["id"], "energy": result["total"]["energy"], "batch": question["batch"]}


@pytest.mark.slow
def test_fifty_clients_at_once(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path / "store.sqlite3", "--searches", "2")

    async def everyone() -> list[dict[str, Any]]:
        return await asyncio.gather(*(client(server.url, n) for n in range(CLIENTS)))

    started = time.monotonic()
    answers = asyncio.run(everyone())
    took = time.monotonic() - started
    assert len(answers) == CLIENTS
    # equal questions were one job with one answer, different questions were not
    by_id: dict[str, set[float]] = {}
    for answer in answers:
        by_id.setdefault(answer["id"], set()).add(answer["energy"])
    assert len(by_id) == 30
    assert all(len(energies) == 1 for energies in by_id.values())
    jobs = server.call("GET", "/api/jobs", params={"most": 200}).json()
    assert {job["id"] for job in jobs} == set(by_id)
    assert {job["state"] for job in jobs} == {"done"}
    assert took < 300, took
    assert server.stop() == 130
