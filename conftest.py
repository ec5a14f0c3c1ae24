"""Every test, doctests too: searches are kept in a folder of the test run, never in the user's.

And one thread each, child processes included: the order of a sum, and so the last bit of a trained
weight, depends on their number; and two test processes of as many threads as there are cores wait
for each other's barriers ten times as long as they compute.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_run() -> Iterator[Path]:
    """For fixtures that outlive a test; in the environment, so that child processes follow."""
    with tempfile.TemporaryDirectory(prefix="picojoule-tests-") as folder:
        before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = folder
        yield Path(folder)
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test, so that what it searches is searched."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """What a test sets (a command of experiments does) is not left to the next one."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
