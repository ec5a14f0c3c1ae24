"""What Python hands to a compiled function arrives, and what comes back is Python's."""

from __future__ import annotations

import math
import os
import random
import resource
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from picojoule.compiled.functions import CompiledFunction
from picojoule.mapper import boxes, kernels, listings, programme
from picojoule.mapper import options as options_module
from picojoule.pruning.layers import restoring


def _python(function: object) -> CompiledFunction:
    assert isinstance(function, CompiledFunction)
    return function


ASKED = listings.Asked(turns=True)


def _ints(*shape: int) -> kernels.Ints:
    return np.ones(shape, np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_machine_code_does_what_python_does(seed: int) -> None:
    rng = random.Random(seed)
    asked = rng.randint(2, 20), 1, rng.randint(1, 8), rng.randint(1, 8)
    for also in (ASKED, listings.Asked(turns=True, more=True), listings.Asked(reach=3, steps=True)):
        listed = listings.counted_chains(*asked, also)
        plain = _python(listings.counted_chains).function(*asked, also)
        assert listed.dtype == plain.dtype == np.int64
        assert np.array_equal(listed, plain)


def test_each_kind_of_result_is_pythons() -> None:
    ceiling, fits = kernels.ceiling(7, 2), boxes.packable(*(_ints(1) for _ in range(4)))
    assert (ceiling, type(ceiling)) == (4, int)
    assert fits is True
    sizes = kernels.repeats(np.array([[8, 2, 1]]), _ints(1, 2), 2, 0, 0)
    assert (type(sizes), sizes.flags.owndata, sizes.flags.writeable) == (np.ndarray, True, True)
    part = np.zeros((1, 1, 1), np.float32), np.zeros((1, 1, 1), bool)
    assert restoring.restore_greedily(part[0], part[0], part[0], part[1], part[1], 0, 1, 1) is None


def _store(values: ArrayLike) -> options_module.PerBlock:
    return options_module.PerBlock(np.asarray(values), *(np.empty(0) for _ in range(5)))


def test_arrays_are_changed_in_place_through_tuples() -> None:
    means, rates = np.zeros(2), np.array([1.0, 0.0])
    candidates = np.zeros((1, 3), np.int64)
    options = options_module.Options(
        starts=np.array([0, 2]),
        raw=_store([2.0, 1.0]),
        logs=_store(np.log([2.0, 1.0])),
        lows=options_module.NO_LOWS,
        runs=_ints(2),
        fans=_ints(2, 1, 2),
        dims=_ints(1, 2),
    )
    problem = programme.Programme(
        where=np.zeros((1, 1), np.int64),
        mode=programme.ENERGY,
        constant=0.0,
        base=0.0,
        discount=0.0,
        energy=np.array([3.0]),
        drawn=0.0,
        times=np.zeros((0, 2)),
        relief=np.zeros(0),
        cycle_limit=math.inf,
        beyond=programme.NOTHING_BEYOND,
        limits=np.zeros((0, 1)),
        axes=_ints(1, 1),
        allowed=_ints(1, 1),
    )
    free, weights = options_module.Bars(*options_module.no_bars(1)), np.zeros(2)
    at = programme.Multipliers(means, rates[:1].copy())
    bound, _ = programme.dual(options, problem, free, at, candidates, 4, 10, math.inf, weights)
    one_by_one = programme.living(options, problem.where, weights, free, bound, bound + 0.1)
    assert [array.tolist() for array in one_by_one] == [[1], [0, 1], [0.0]]
    assert math.exp(bound) == pytest.approx(3.0)
    assert candidates[0, 0] == 1  # the option of factor 1
    assert weights[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "tiles",
    [
        _ints(1, 3).astype(np.int32),
        _ints(1, 3).astype(float),
        _ints(3),
        _ints(3, 4)[:, ::2],
        _ints(3, 2).T,
        [[8, 2, 1]],
        None,
    ],
)
def test_no_other_array_is_taken(tiles: Any) -> None:
    with pytest.raises(TypeError, match=r"repeats: argument 1 must be a contiguous array of int64"):
        kernels.repeats(tiles, _ints(1, 2), 2, 0, 0)


def test_other_mistakes_are_type_errors() -> None:
    ceiling, value_of = _python(kernels.ceiling), _python(programme.value_of)
    with pytest.raises(TypeError, match="takes 2 values"):
        ceiling(1)
    with pytest.raises(TypeError):
        ceiling("one", 2)
    with pytest.raises(TypeError, match="argument 1 has 14 values"):
        value_of((1, 2), np.zeros(1))


def test_too_large_a_number_is_an_overflow() -> None:
    with pytest.raises(OverflowError):
        kernels.ceiling(1 << 70, 2)


def test_memory_that_cannot_be_had() -> None:
    with pytest.raises(MemoryError, match="counted_chains"):
        listings.counted_chains(1 << 58, 1, 1, 1, ASKED)


def test_what_was_returned_is_released() -> None:
    arguments = 600, 1, 8, 16, 0  # a list of 1.3 MB
    listings.complete_chains(*arguments)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(30):
        listings.complete_chains(*arguments)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 12_000  # KiB


def test_threads_run_beside_each_other() -> None:
    results: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(len(listings.counted_chains(60, 1, 8, 8, ASKED)))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len(set(results)) == 1


def test_numbas_own_switch_leaves_python() -> None:
    code = (
        "from picojoule.mapper.kernels import ceiling; "
        "assert ceiling(7, 2) == 4; print(type(ceiling._code).__name__)"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["function"]
