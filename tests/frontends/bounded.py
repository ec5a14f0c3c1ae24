"""Reading a file that may be damaged: within bounds of time, of memory, and of words."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from picojoule.errors import InputError
from picojoule.frontends import load

MOST_MEMORY = 64 * 1024 * 1024


def quick(examples: int) -> settings:
    """As many examples, none of which takes long."""
    return settings(max_examples=examples, deadline=4000, suppress_health_check=list(HealthCheck))


def load_within_bounds(path: Path, longest: int, **rest: Any) -> None:
    """Load a file: it is read, or refused in fewer than *longest* characters."""
    refused = None
    tracemalloc.start()
    try:
        assert load(path, **rest).macs >= 0
    except InputError as error:
        refused = error
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < MOST_MEMORY
    assert refused is None or 0 < len(str(refused)) < longest
