"""From annotations to what Python can call."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from picojoule.compiled import loading, units

TRIALS = "tests.compiled.trials"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(units.UNITS, TRIALS, (TRIALS,))
    return importlib.import_module(TRIALS)


def test_all_kinds_of_values_go_in_and_out(trials: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from picojoule.compiled.building import build

    monkeypatch.setattr(loading, "_code", build)
    inner = trials.Inner(np.array([True, False]), 10.0)
    outer = trials.Outer(inner, np.array([1, 0]), True)
    table = np.arange(4.0).reshape(2, 2)
    singles = np.array([1.5, 2.5], np.float32)
    total, (count, positive), rest, more, places = trials.everything(
        outer, (3, 0.5), singles, table
    )
    assert total == 2 * (3 * 0.5 + 10 * 2)
    assert (count, positive) == (2, True)
    assert (rest.dtype, rest.tolist()) == (np.float32, [2.5])
    assert more.tolist() == [[1.5, 2.5]]
    assert places.tolist() == [1, 0]
    assert not np.shares_memory(places, outer.places)  # nobody shares what comes back
    assert table[0, 0] == -1
    number, other = trials.swapped(inner, 1)
    assert (number, type(other), other.scale) == (2, trials.Inner, -10.0)
    assert other.flags.tolist() == [False]
    with pytest.raises(TypeError, match=r"argument 1\.inner\.flags must be a contiguous .* bool"):
        trials.everything(outer._replace(inner=(table, 1.0)), (3, 0.5), singles, table)


def test_what_needs_more_of_numba_is_refused() -> None:
    code = f"""
from picojoule.compiled import building, units
units.UNITS[{TRIALS!r}] = ({TRIALS!r},)
from tests.compiled import trials
trials._of_lists.symbol = "tests.of_lists"
building.build({TRIALS!r})
"""
    root = str(Path(__file__).parents[2])
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert "TypeError: functions of unit tests.compiled.trials ask numba itself for" in said.stderr


def test_other_annotations_are_refused() -> None:
    from picojoule.compiled.building import _type_of

    with pytest.raises(TypeError, match="nothing that a compiled function can take"):
        _type_of(str)
