"""The compiled walk through the visits of a nest (:mod:`simulation` has the rules)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Floats1, Floats2, Ints1, Ints2
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Floats

LEAVE, WAIT, FETCH = 1, 2, 3  # sums leave; a tile moves to where it waits; to where it is used


class Script(NamedTuple):
    """What is played: moves (tiles, by their inner end), then flows (to the multipliers).

    A *part* is what one of them takes of one channel. Tables are over the clocks of the eight
    dimensions; where two dimensions make a window, over both.
    """

    loops: Ints2  # [loops, 3] dimension, stride of its clock, steps; outermost first
    sizes: Ints1  # [8] positions of each clock
    steps: Ints1  # [8] table: compute steps of a visit; none past the end of the dimension
    cycles_per_step: float
    # [moves, 8] innermost loop, slides, double, waits, source, is output, needed, prefetched
    moves: Ints2
    latencies: Floats1  # [moves] cycles before a transfer begins
    flows: int
    summed: Ints2  # [moves + flows, 6] tables over C, R, S: nothing added before; nothing after
    owners: Ints2  # [parts, 2] move or flow; 1: what is not fetched as nothing was added before
    ints: Ints2  # [parts, 14] channel, stage (0: to where it waits), six tables, six if it slides
    scales: Floats2  # [parts, 3] cycles per word that comes; that leaves to return; for good
    data: Floats1  # all tables
    channels: int


@compiled()
def take(ints: Ints2, data: Floats1, sizes: Ints1, clock: Ints1, part: int, slide: bool) -> float:
    """Words of a part at the present clocks."""
    base = 8 if slide else 2
    value = 1.0
    for n in range(4):
        value *= data[ints[part, base + n] + clock[n]]
    value *= data[ints[part, base + 4] + clock[4] * sizes[6] + clock[6]]
    value *= data[ints[part, base + 5] + clock[5] * sizes[7] + clock[7]]
    return float(value)


@compiled()
def holds_in_all(data: Floats1, tables: Ints1, offset: int, clock: Ints1) -> bool:
    """Whether a property holds in all summed dimensions (C, R, S)."""
    return bool(
        data[tables[offset] + clock[3]] > 0
        and data[tables[offset + 1] + clock[6]] > 0
        and data[tables[offset + 2] + clock[7]] > 0
    )


# 172 lines: one compiled walk over a dozen arrays of state, which a part of it would all be handed.
@compiled()
def play(script: Script) -> tuple[Floats, Floats, Floats, int]:
    """Walk the visits.

    Returns:
        (computing, ramp-up, drain), stalls by transfer, time in use by channel, and visits.
    """
    loops, sizes, steps, moves = script.loops, script.sizes, script.steps, script.moves
    latencies = script.latencies
    summed, owners, ints, scales = script.summed, script.owners, script.ints, script.scales
    data, flows = script.data, script.flows
    count, parts = len(moves), len(owners)
    first = np.zeros(count + flows + 1, np.int64)  # part of each move and flow; they stand in order
    for p in range(parts):
        for n in range(owners[p, 0] + 1, len(first)):
            first[n] += 1
    clock = np.zeros(8, np.int64)
    index = np.zeros(len(loops), np.int64)
    used = np.zeros(script.channels)
    free = np.zeros(script.channels)  # when each channel is free
    ready = np.zeros(count)  # when the tile of each move is there
    room = np.zeros(count)  # when the tile before the present one was done with
    left = np.zeros(count)  # when the sums of the last stay had left
    left_before = np.zeros(count)  # and those of the stay before it
    gone = np.zeros(count)  # when the last tile left the place where it waited
    held = np.zeros(parts)  # cycles that the present sums will take to leave
    since = np.zeros(parts)  # when the channel was free for what is fetched ahead
    used_then = np.zeros(parts)  # and what it had been in use by then
    holds = np.zeros(count, np.bool_)
    stalls = np.zeros(count + flows)
    times = np.zeros(parts)  # what the transfer at hand takes of each channel
    todo = np.zeros(count, np.int64)  # WAIT, FETCH, or nothing
    cause = np.zeros(count, np.int64)  # the move whose tile came late, of those further outside
    leaving = np.zeros(count, np.bool_)  # sums that must leave first
    fetching = np.zeros(count, np.bool_)
    waited = np.zeros(count)
    busy = 0.0
    end = ramp = 0.0
    visits = 0
    advanced = -1
    while True:
        # What moves at this visit.
        for m in range(count):
            fetching[m] = advanced <= moves[m, 0]
            todo[m] = 0
            leaving[m] = fetching[m] and holds[m]
            if fetching[m]:
                todo[m] = WAIT if moves[m, 3] else FETCH
        while True:
            # The transfer that is ready first, of those whose source is known.
            m, kind, when = -1, 0, np.inf
            for other in range(count):
                if leaving[other]:  # after the work, and after the sums from further inside
                    at, blocked = end, False
                    for inner in range(count):
                        if moves[inner, 4] == other and fetching[inner]:
                            blocked = blocked or leaving[inner]
                            at = max(at, left[inner])
                    if not blocked and at < when:
                        m, kind, when = other, LEAVE, at
                if todo[other] == WAIT and gone[other] < when:
                    m, kind, when = other, WAIT, gone[other]
                if todo[other] == FETCH:
                    double, source = moves[other, 2], moves[other, 4]
                    if (source >= 0 and todo[source] != 0) or (leaving[other] and not double):
                        continue
                    at = room[other] if double else end
                    # Sums return once they have arrived, and have room once others have left.
                    behind = double and not leaving[other]
                    at = max(at, left_before[other] if behind else left[other])
                    at = max(at, waited[other])
                    cause[other] = other
                    if source >= 0 and ready[source] >= at:
                        at, cause[other] = ready[source], cause[source]
                    if at < when:
                        m, kind, when = other, FETCH, at
            if m < 0:
                break
            slide = bool(moves[m, 1]) and advanced == moves[m, 0] and advanced >= 0
            start = when
            early = visits == 0 and moves[m, 7] > 0  # while the layer before runs
            fetched = not moves[m, 5] or not holds_in_all(data, summed[m], 0, clock)
            moving = False
            for p in range(first[m], first[m + 1]):
                if kind == LEAVE:
                    times[p] = held[p]
                elif fetched and (kind == WAIT) == (ints[p, 1] == 0):
                    words = take(ints, data, sizes, clock, p, slide)
                    times[p] = words * scales[p, 0]
                else:
                    times[p] = 0.0
                moving = moving or times[p] != 0
                if times[p] > 0 and moves[m, 7] == 0:
                    start = max(start, free[ints[p, 0]])
            finish = when
            if moving and not early:
                start += latencies[m]
            for p in range(first[m], first[m + 1]):
                if times[p] > 0:  # two parts of one transfer on one channel follow each other
                    channel = ints[p, 0]
                    used[channel] += times[p]
                    if early:
                        continue
                    if moves[m, 7] > 0:  # first in the time that others left idle
                        idle = free[channel] - since[p] - (used[channel] - times[p] - used_then[p])
                        finish = max(finish, since[p] + latencies[m] + times[p])
                        if idle >= times[p]:
                            continue
                        times[p] -= max(0.0, idle)
                    free[channel] = max(free[channel], start) + times[p]
                    finish = max(finish, free[channel])
            if kind == LEAVE:
                left_before[m], left[m] = left[m], finish
                leaving[m] = False
            elif kind == WAIT:
                waited[m] = finish
                todo[m] = FETCH
            else:
                ready[m] = gone[m] = finish
                todo[m] = 0
        for m in range(count):
            if not fetching[m]:
                continue
            room[m] = end
            for p in range(first[m], first[m + 1]):
                since[p] = max(free[ints[p, 0]], end)
                used_then[p] = used[ints[p, 0]]
            if moves[m, 5]:
                final = holds_in_all(data, summed[m], 3, clock)
                holds[m] = True
                for p in range(first[m], first[m + 1]):
                    words = take(ints, data, sizes, clock, p, False)
                    held[p] = words * (scales[p, 2] if final else scales[p, 1])
        # The work starts when all it needs is there.
        start, blame = end, -1
        for m in range(count):
            if moves[m, 6] and ready[m] > start:
                start, blame = ready[m], cause[m]
        if visits == 0:
            ramp = start
        elif blame >= 0:
            stalls[blame] += start - end
        work = script.cycles_per_step
        for d in range(8):
            work *= data[steps[d] + clock[d]]
        busy += work
        end, blame = start + work, -1
        for p in range(first[count], parts):
            time = take(ints, data, sizes, clock, p, False) * scales[p, 0]
            if owners[p, 1] == 1:
                fresh = holds_in_all(data, summed[owners[p, 0]], 0, clock)
                time = -time if fresh else 0.0
            channel = ints[p, 0]
            free[channel] = max(free[channel], start) + time
            used[channel] += time
        for p in range(first[count], parts):
            if free[ints[p, 0]] > end:
                end, blame = free[ints[p, 0]], owners[p, 0] - count
        if blame >= 0:
            stalls[count + blame] += end - start - work
        visits += 1
        # Next visit: the innermost loop that is not at its end advances.
        advanced = len(loops) - 1
        while advanced >= 0:
            d = loops[advanced, 0]
            index[advanced] += 1
            clock[d] += loops[advanced, 1]
            if index[advanced] < loops[advanced, 2]:
                valid = True
                for other in range(8):
                    valid = valid and data[steps[other] + clock[other]] > 0
                if valid:
                    break
            clock[d] -= index[advanced] * loops[advanced, 1]
            index[advanced] = 0
            advanced -= 1
        if advanced < 0:
            break
    # What is left leaves, from the inside out.
    finish = end
    for m in range(count - 1, -1, -1):
        if holds[m]:
            start = finish
            for p in range(first[m], first[m + 1]):
                start = max(start, free[ints[p, 0]])
            start += latencies[m]
            for p in range(first[m], first[m + 1]):
                if held[p] > 0:
                    free[ints[p, 0]] = max(free[ints[p, 0]], start) + held[p]
                    used[ints[p, 0]] += held[p]
                    finish = max(finish, free[ints[p, 0]])
    return np.array([busy, ramp, finish - end]), stalls, used, visits
