"""The walk through visits, on scripts written by hand: one transfer at a time."""

from __future__ import annotations

import numpy as np
import pytest

from picojoule.simulation.playback import Script, holds_in_all, play, take

# Two visits along M (dimension 2), each of 2 compute steps along C (dimension 3). The tables hold
# two ones, then a two.
ONES, TWO = 0, 2
DATA = np.array([1.0, 1.0, 2.0])
SIZES = np.array([1, 1, 2, 1, 1, 1, 1, 1])
STEPS = np.array([ONES, ONES, ONES, TWO, ONES, ONES, ONES, ONES])
WORK = 2  # cycles of a visit


def script(
    *, cycles: float, moves: list[list[int]], flows: int = 0, latency: float = 0.0
) -> Script:
    """One channel, with one transfer of one word that takes so many *cycles*."""
    return Script(
        loops=np.array([[2, 1, 2]]),
        sizes=SIZES,
        steps=STEPS,
        cycles_per_step=1.0,
        moves=np.array(moves, np.int64).reshape(-1, 8),
        latencies=np.full(len(moves), latency),
        flows=flows,
        summed=np.full((len(moves) + flows, 6), ONES),
        owners=np.array([[0, 0]]),
        ints=np.array([[0, 1, *[ONES] * 6, *[ONES] * 6]]),
        scales=np.array([[cycles, 0.0, 0.0]]),
        data=DATA,
        channels=1,
    )


def move(*, last: int = 0, double: bool = False, early: bool = False) -> list[int]:
    """A tile that changes with loop *last* and that the elements work on."""
    return [last, 0, int(double), 0, -1, 0, 1, int(early)]


def played(case: Script) -> tuple[list[float], list[float], list[float], int]:
    times, stalls, used, visits = play(case)
    return times.tolist(), stalls.tolist(), used.tolist(), visits


def test_a_single_buffer_waits_for_the_work() -> None:
    # Tile 0-3, work 3-5, tile 5-8, work 8-10.
    times, stalls, used, visits = played(script(cycles=3.0, moves=[move()]))
    assert times == [2 * WORK, 3, 0]
    assert stalls == [3]
    assert used == [6]
    assert visits == 2


def test_a_prefetched_tile_is_there_at_the_start() -> None:
    # Work 0-2, while the next tile comes 0-3, work 3-5; the channel was in use for both tiles.
    times, stalls, used, _ = played(script(cycles=3.0, moves=[move(double=True, early=True)]))
    assert (times, stalls, used) == ([2 * WORK, 0, 0], [1], [6])


def test_a_double_buffer_is_filled_during_the_work() -> None:
    # Tile 0-3, work 3-5 while the next tile comes 3-6, work 6-8.
    times, stalls, used, _ = played(script(cycles=3.0, moves=[move(double=True)]))
    assert times == [2 * WORK, 3, 0]
    assert stalls == [1]
    assert used == [6]


def test_a_tile_that_no_loop_changes_comes_once() -> None:
    times, stalls, used, _ = played(script(cycles=3.0, moves=[move(last=-1)]))
    assert times == [2 * WORK, 3, 0]
    assert stalls == [0]
    assert used == [3]


@pytest.mark.parametrize(("cycles", "stall"), [(1.0, 0), (2.0, 0), (5.0, 6)])
def test_what_flows_while_the_elements_work_slows_them_down(cycles: float, stall: int) -> None:
    # A visit takes as long as what flows to it: 5 instead of 2 cycles, twice.
    times, stalls, used, _ = played(script(cycles=cycles, moves=[], flows=1))
    assert times == [2 * WORK, 0, 0]
    assert stalls == [stall]
    assert used == [2 * cycles]


def test_sums_leave_after_each_stay() -> None:
    # Fetched never (nothing was added before), 4 cycles to leave for good, after each visit:
    # work 0-2, sums 2-6, work 6-8, sums 8-12 after the last work.
    case = script(cycles=0.0, moves=[[0, 0, 0, 0, -1, 1, 1, 0]])
    case = case._replace(scales=np.array([[0.0, 1.0, 4.0]]))
    times, stalls, used, _ = played(case)
    assert times == [2 * WORK, 0, 4]
    assert sum(stalls) == 4
    assert used == [8]


def test_words_are_a_product_of_one_factor_for_each_dimension() -> None:
    # M has words 2 and 3 by its clock; P and R share a table of 2 x 2, Q and S one of 1.
    data = np.array([1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 8.0])
    sizes = np.array([1, 1, 2, 1, 2, 1, 2, 1])
    part = np.array([[0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0]])
    clock = np.zeros(8, np.int64)
    assert take(part, data, sizes, clock, 0, False) == 2 * 5
    clock[[2, 4, 6]] = 1, 1, 0
    assert take(part, data, sizes, clock, 0, False) == 3 * 7
    clock[6] = 1
    assert take(part, data, sizes, clock, 0, False) == 3 * 8
    # The other six tables are for a window that slides.
    assert take(part, data, sizes, clock * 0, 0, True) == 1


def test_a_property_holds_in_all_summed_dimensions() -> None:
    # True at the first clock of C (dimension 3), not at the second; always along R and S.
    data = np.array([1.0, 0.0])
    clock = np.zeros(8, np.int64)
    assert holds_in_all(data, np.array([0, 0, 0]), 0, clock)
    clock[3] = 1
    assert not holds_in_all(data, np.array([0, 0, 0]), 0, clock)
