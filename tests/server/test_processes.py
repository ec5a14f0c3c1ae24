"""Processes are ended at their limits, and the next request finds a fresh one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("fastapi")

from picojoule.mapper import best_first
from picojoule.server import child
from picojoule.server.limits import MIB
from picojoule.server.processes import (
    DiedError,
    Pool,
    RefusedError,
    TooLongError,
)
from tests.server_files import CHIP

GOOD = {"do": "chip", "yaml": CHIP}
LONG = {"do": "estimate", "question": {"network": "resnet50", "chip": "eyeriss-v2"}}


def ask(pool: Pool, *requests: tuple[dict[str, Any], float]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        found: list[Any] = []
        for request, seconds in requests:
            try:
                found.append(await pool.ask(request, seconds))
            except (RefusedError, TooLongError, DiedError) as error:
                found.append(error)
        await pool.close()
        return found

    return asyncio.run(all_of_them())


def test_what_takes_too_long_is_ended() -> None:
    late, good = ask(Pool(1, 4096 * MIB), (LONG, 1.0), (GOOD, 30))
    assert isinstance(late, TooLongError)
    assert good["name"] == "tiny"


def test_a_mistake_is_an_answer_and_the_process_goes_on() -> None:
    bad = {"do": "chip", "yaml": "name: x"}
    wrong, good = ask(Pool(1, 4096 * MIB), (bad, 30), (GOOD, 30))
    assert isinstance(wrong, RefusedError)
    assert [x["path"] for x in wrong.detail["mistakes"]] == ["$.compute", "$.nest"]
    assert good["name"] == "tiny"


def test_a_bug_in_the_process_is_no_answer_but_the_next_is() -> None:
    died, good = ask(Pool(1, 4096 * MIB), ({"do": "nothing of the kind"}, 30), (GOOD, 30))
    assert isinstance(died, DiedError)
    assert good["name"] == "tiny"


def test_too_little_memory_is_said() -> None:
    # the interpreter starts within this, a network's search does not
    (died,) = ask(Pool(1, 300 * MIB, ()), (LONG, 60))
    assert isinstance(died, DiedError | RefusedError)


def test_a_search_says_its_layer_and_how_good_it_is_by_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "OFTEN", 0.0)
    monkeypatch.setattr(best_first, "WATCHED", 0.0)
    told: list[dict[str, Any]] = []
    question = {"network": "bvlc-alexnet", "chip": "eyeriss", "budget": 0.3, "eyexam": False}
    child.search_all({"question": question}, lambda x: told.append(dict(x["progress"])))
    assert told[0]["layer"] == "conv1"
    assert {(x["done"], x["layer"]) for x in told} >= {(0, "conv1"), (7, "fc8")}
    gaps = [x["gap"] for x in told if x["gap"] is not None]
    assert gaps
    assert min(gaps) >= 0


def test_once_means_once() -> None:
    async def twice() -> list[int]:
        pool = Pool(1, 4096 * MIB, once=True)
        numbers = []
        for _ in range(2):
            async with pool.process() as process:
                await process.ask(GOOD, 30)
                assert process._process is not None
                numbers.append(process._process.pid)
        await pool.close()
        return numbers

    first, second = asyncio.run(twice())
    assert first != second
