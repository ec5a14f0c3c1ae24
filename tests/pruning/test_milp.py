"""What HiGHS prints stays out of the answers of commands."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

np = pytest.importorskip("numpy")
optimize = pytest.importorskip("scipy.optimize")

from picojoule.pruning.milp import milp  # noqa: E402


def noisy(value: int) -> int:
    """Prints as C does (into its own buffer), as Python does, and straight into the file."""
    ctypes.CDLL(None).puts(b"HighsMipSolverData::transformNewIntegerFeasibleSolution ...")
    sys.stdout.write("said\n")
    os.write(1, b"written\n")
    if value < 0:
        raise ValueError(value)
    return value


def test_only_its_lines_are_gone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(optimize, "milp", noisy)
    sys.stdout.write("before\n")
    assert milp(3) == 3
    with pytest.raises(ValueError, match="-1"):
        milp(-1)
    sys.stdout.write("after\n")
    lines = capfd.readouterr().out.split()
    assert sorted(lines) == sorted(["before", *2 * ["written", "said"], "after"])
    assert lines[0] == "before"
    assert lines[-1] == "after"


def test_it_solves_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "dup", lambda _: os.close(-1))  # EBADF
    found = milp(np.array([-1.0, -2.0]), integrality=np.ones(2), bounds=optimize.Bounds(0, 3.5))
    assert found.x.tolist() == [3.0, 3.0]
