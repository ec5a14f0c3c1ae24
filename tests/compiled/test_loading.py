"""Where machine code is looked for and kept, and that nothing but whole and current code runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from picojoule.compiled import loading
from picojoule.errors import PicojouleError
from picojoule.mapper import kernels

UNIT = "playback"


class Compiler:
    """Stands for the one that takes seconds; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, unit: str, compiled_for: str) -> bytes:
        self.calls += 1
        return f"{unit} for {compiled_for}".encode()


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """An installation in tmp_path/code without machine code, and a checkout around it."""
    stand_in = Compiler()
    monkeypatch.setattr(loading, "compile_unit", stand_in)
    monkeypatch.setattr(loading, "INSTALLED", tmp_path / "code")
    monkeypatch.setattr(loading, "is_checkout", lambda: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return stand_in


def test_it_is_compiled_once(compiler: Compiler, caplog: pytest.LogCaptureFixture) -> None:
    first = loading._code(UNIT)
    assert "compiling" in caplog.text
    caplog.clear()
    assert loading._code(UNIT) == first
    assert caplog.text == ""
    assert compiler.calls == 1


def test_an_installed_copy_is_left_alone(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "is_checkout", lambda: False)
    loading._code(UNIT)
    assert not (tmp_path / "code").exists()
    assert len(list((tmp_path / "cache" / "picojoule" / "compiled").iterdir())) == 1
    loading._code(UNIT)
    assert compiler.calls == 1


def test_where_nothing_can_be_written_it_is_compiled_in_memory(
    compiler: Compiler, tmp_path: Path
) -> None:
    (tmp_path / "code").write_text("a file")
    (tmp_path / "cache").write_text("a file")
    assert loading._code(UNIT).startswith(b"playback for")
    assert compiler.calls == 1


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 100], ids=len)
def test_what_is_damaged_is_compiled_again(
    damage: bytes, compiler: Compiler, tmp_path: Path
) -> None:
    whole = loading._code(UNIT)
    (file,) = (tmp_path / "code").iterdir()
    file.write_bytes(damage)
    assert loading._code(UNIT) == whole
    assert compiler.calls == 2
    assert loading._code(UNIT) == whole
    assert compiler.calls == 2


def test_an_edit_is_compiled_and_the_oldest_states_go(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "code" / "search-here-0.code"
    other.parent.mkdir()
    other.touch()
    for state in range(loading.KEPT + 2):
        monkeypatch.setattr(loading, "fingerprint", lambda unit, state=state: f"{unit}{state}")
        loading._code(UNIT)
        newest = max((tmp_path / "code").glob(f"{UNIT}-*"), key=lambda file: file.stat().st_mtime)
        os.utime(newest, (state, state))
    assert compiler.calls == loading.KEPT + 2
    assert len(list((tmp_path / "code").glob(f"{UNIT}-*"))) == loading.KEPT
    assert other.exists()


def test_a_compiler_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PicojouleError, match=r"playback functions are not compiled.*ended with 1"):
        loading.compile_unit(UNIT, loading.processor())


def test_older_processors_get_code_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"avx": True})
    assert loading.processor() == "x86-64"
    assert loading.shipped_processor() == loading.LEVEL_3
    names = {loading.file_name(UNIT, name) for name in ("x86-64", loading.LEVEL_3)}
    assert len(names) == 2


@pytest.mark.slow
def test_code_of_another_processor_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compiled in truth, by a process of its own, for the oldest there is."""
    rows = np.array([[9, 4, 1], [9, 3, 1]]), np.array([[1, 2], [1, 1]])
    ours = kernels.repeats(*rows, 2, 0, 0)
    oldest = "x86-64" if loading.shipped_processor() == loading.LEVEL_3 else "generic"
    code = loading.compile_unit("search", oldest)
    monkeypatch.setattr(loading, "_code", {"search": code}.__getitem__)
    loading._engine.cache_clear()
    again = loading.function("search", "picojoule.mapper.kernels.repeats")
    loading._engine.cache_clear()
    assert np.array_equal(again(*rows, 2, 0, 0), ours)
