"""The API against its own OpenAPI description: whatever is sent, nothing breaks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from tests.server.conftest import Server, Start

schemathesis = pytest.importorskip("schemathesis")
GenerationMode = schemathesis.GenerationMode
checks = pytest.importorskip("schemathesis.specs.openapi.checks")


@pytest.fixture(scope="module")
def server(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Questions that fuzzing invents may be large ones; none may hold the others up for long.
    made = start(tmp_path_factory.mktemp("fuzzed") / "store.sqlite3")
    yield made
    made.stop()


@pytest.mark.slow
def test_the_api_does_as_it_says(server: Server) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/api/openapi.json")
    # A stream of events ends with its job, which may be long.
    for operation in schema.exclude(path_regex="/events$").get_all_operations():
        fuzz(operation.ok())
    assert server.call("GET", "/api/about").status_code == 200


def fuzz(operation: Any) -> None:
    """Send what the description allows and what it forbids; every answer must be as described."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def allowed(case: Any) -> None:
        # That a text is YAML of a machine, or a name one of a network, no schema can say.
        case.call_and_validate(timeout=30, excluded_checks=[checks.positive_data_acceptance])

    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def forbidden(case: Any) -> None:
        answer = case.call(timeout=30)
        excluded = [checks.positive_data_acceptance]
        if answer.status_code == 413:  # a refusal too, which the checks do not know
            excluded.append(checks.negative_data_rejection)
        case.validate_response(answer, excluded_checks=excluded)

    allowed()
    with contextlib.suppress(Unsatisfiable, SkipTest):  # where nothing can be wrong
        forbidden()


def test_the_description_names_every_refusal(server: Server, tmp_path: Path) -> None:
    description = server.call("GET", "/api/openapi.json").json()
    assert description["info"]["title"] == "picojoule"
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            for status, answer in operation["responses"].items():
                if status >= "400":
                    told = answer["content"]["application/json"]["schema"]["$ref"]
                    assert told.endswith("/Problem"), (method, path, status)
    assert not (tmp_path / "anything").exists()
