"""The source archive: what is unpacked elsewhere passes its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Those that read files outside src and tests.
READERS = (
    "test_benchmarks", "test_experiments", "test_networks", "test_public", "test_readme",
    "test_studies",
)  # fmt: skip


def run(*words: str, folder: Path, **environment: str) -> str:
    """What a process of this interpreter prints; what it says comes with the error."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_is_unpacked_passes_its_tests(tmp_path: Path) -> None:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    run("-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), folder=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    words = ("-m", "pytest", "-q", "-m", "not slow", *(f"tests/{name}.py" for name in READERS))
    sources = os.pathsep.join([str(unpacked / "src"), str(unpacked)])
    said = run(*words, folder=unpacked, PYTHONPATH=sources)
    assert "passed" in said
    where = "import picojoule; print(picojoule.__file__)"
    assert run("-c", where, folder=unpacked, PYTHONPATH=sources).startswith(str(unpacked))
