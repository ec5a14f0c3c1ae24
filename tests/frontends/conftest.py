"""What tests of several readers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from picojoule.frontends.tflite_graph import read_tflite
from picojoule.workload import Workload


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """A function that reads the bytes of a TFLite file."""

    def load_bytes(content: bytes, **rest: Any) -> Workload:
        path = tmp_path / "net.tflite"
        path.write_bytes(content)
        return read_tflite(path, **rest)

    return load_bytes
