"""Branch and bound on what a dual bound leaves: each half with a dual bound of its own.

:mod:`boxes` walks all that is left with one dual bound, which is quick where that is near the
least. Where several arrays and levels count it is not. Here a set of options is halved where its
columns differ most in the dual's terms, a half gets its own dual bound, which leaves fewer of its
options, and so on until few choices are left, which :mod:`boxes` walks.
"""

from __future__ import annotations

import numpy as np

from picojoule.compiled.arrays import Floats1
from picojoule.compiled.functions import compiled
from picojoule.mapper.boxes import A_BOUND, A_BOX, AN_OPTION, counting, descend, plant
from picojoule.mapper.kernels import Floats, Ints, ceiling
from picojoule.mapper.options import Bars, Options, PerBlock, no_bars
from picojoule.mapper.programme import (
    Beyond,
    Multipliers,
    Programme,
    dual,
    living,
    log_of,
    rewritten,
)
from picojoule.mapper.tuning import TUNING


@compiled()
def _part(
    options: Options, programme: Programme, kept: Ints, first: Ints
) -> tuple[Options, Programme, Floats]:
    """The programme over some of its options, and their factors ``[options, columns]``."""
    blocks, columns = programme.where.shape
    n = len(kept)
    raw, logs = np.empty(n * columns), np.empty(n * columns)
    where = np.empty((blocks, columns), np.int64)
    factors = np.empty((n, columns))
    fans = np.empty((n, options.fans.shape[1], 2), np.int64)
    none = np.empty(0)
    for b in range(blocks):
        values, logarithms = options.raw[b], options.logs[b]
        for k in range(columns):
            at = programme.where[b, k]
            where[b, k] = -1 if at < 0 else k * n + first[b]
            if at < 0:
                for i in range(first[b], first[b + 1]):
                    factors[i, k] = 1.0
            else:
                for i in range(first[b], first[b + 1]):
                    o = at + kept[i] - options.starts[b]
                    raw[k * n + i] = factors[i, k] = values[o]
                    logs[k * n + i] = logarithms[o]
    beyond = programme.beyond
    share = np.empty(len(beyond.words))
    for part in range(len(share)):
        most = beyond.against[part]
        for b in range(blocks):
            least = 1.0 if programme.where[b, beyond.times[part]] < 0 else np.inf
            for i in range(first[b], first[b + 1]):
                least = min(least, factors[i, beyond.times[part]])
            most /= least
        share[part] = max(0.0, 1.0 - most)
    for i in range(n):
        for a in range(fans.shape[1]):
            for j in range(2):
                fans[i, a, j] = options.fans[kept[i], a, j]
    return (
        Options(
            starts=first,
            raw=PerBlock(raw, raw, raw, raw, raw, raw),
            logs=PerBlock(logs, logs, logs, logs, logs, logs),
            lows=PerBlock(none, none, none, none, none, none),
            runs=kept,
            fans=fans,
            dims=options.dims,
        ),
        rewritten(
            *(programme, where, programme.energy, programme.times, programme.limits),
            Beyond(
                words=beyond.words,
                times=beyond.times,
                against=beyond.against,
                coefficients=beyond.coefficients,
                share=share,
            ),
        ),
        factors,
    )


@compiled()
def _undominated(
    options: Options, programme: Programme, kept: Ints, first: Ints, lifts: Floats
) -> tuple[Ints, Ints, Floats]:
    """Of the options *kept*, those that no other of their block beats in all that counts here.

    What counts are the columns with a coefficient, and the unrolling of each dimension. One that
    beats another lifts the bound no more, so each is compared with those that lift it less, the
    :attr:`Tuning.rivals` first of them: some that are beaten may stay, which costs only time.
    """
    blocks, counted = len(programme.where), counting(programme)
    arrays = options.fans.shape[1]
    keep = np.ones(len(kept), np.bool_)
    for b in range(blocks):
        low, high = first[b], first[b + 1]
        if high - low < 2:
            continue
        raw = options.raw[b]
        where = np.empty(len(counted), np.int64)
        wide = 0
        for k in counted:
            if programme.where[b, k] >= 0:
                where[wide] = programme.where[b, k] - options.starts[b]
                wide += 1
        rivals = np.empty((TUNING.rivals, wide + 2 * arrays))
        line = np.empty(wide + 2 * arrays)
        have = 0
        for i in np.argsort(lifts[low:high], kind="mergesort"):
            o = kept[low + i]
            for k in range(wide):
                line[k] = raw[where[k] + o]
            for a in range(arrays):
                for j in range(2):
                    line[wide + 2 * a + j] = options.fans[o, a, j]
            for r in range(have):
                beaten = True
                for k in range(len(line)):
                    if rivals[r, k] > line[k]:
                        beaten = False
                        break
                if beaten:
                    keep[low + i] = False
                    break
            if keep[low + i] and have < len(rivals):
                for k in range(len(line)):
                    rivals[have, k] = line[k]
                have += 1
    left, left_first = np.empty(len(kept), np.int64), np.zeros(blocks + 1, np.int64)
    left_lifts, n = np.empty(len(kept)), 0
    for b in range(blocks):
        for i in range(first[b], first[b + 1]):
            if keep[i]:
                left[n], left_lifts[n] = kept[i], lifts[i]
                n += 1
        left_first[b + 1] = n
    return left[:n], left_first, left_lifts[:n]


@compiled()
def _widest(first: Ints, factors: Floats, weights: Floats) -> tuple[int, int]:
    """The block whose options differ most in the dual's terms, and the column that does most.

    Args:
        factors: ``[options, columns]``.
    """
    columns = factors.shape[1]
    block, column, widest = -1, -1, 0.0
    for b in range(len(first) - 1):
        spread, most, which = 0.0, 0.0, -1
        for k in range(columns):
            if weights[k] <= 0 or first[b + 1] - first[b] < 2:
                continue
            low = high = factors[first[b], k]
            for i in range(first[b] + 1, first[b + 1]):
                low, high = min(low, factors[i, k]), max(high, factors[i, k])
            if high > low:
                wide = weights[k] * np.log(high / low)
                spread += wide
                if wide > most:
                    most, which = wide, k
        if which >= 0 and spread > widest:
            block, column, widest = b, which, spread
    return block, column


@compiled()
def _halved(first: Ints, factors: Floats, block: int, column: int) -> tuple[Ints, int]:
    """The options of a block by a column, and how many of them are below its middle.

    Without a column by their place, in two halves.
    """
    low, high = first[block], first[block + 1]
    if column < 0:
        return np.arange(low, high), (high - low) // 2
    values = factors[low:high, column]
    order = np.argsort(values, kind="mergesort")
    middle = np.sqrt(values[order[0]] * values[order[-1]])
    below = 0
    while below < high - low and values[order[below]] <= middle:
        below += 1
    return low + order, below


@compiled()
def _leverage(
    programme: Programme, first: Ints, factors: Floats, bound: float, weights: Floats
) -> Floats:
    """How much the columns decide: their weights in the dual, or what could count of words.

    Of words that count only beyond others the dual has what counts at least. How many times the
    others they are decides about the rest, so it weighs as much as they would.
    """
    leverage = weights[: len(programme.energy)].copy()
    beyond = programme.beyond
    for n in range(len(beyond.words)):
        words = 1.0
        for b in range(len(first) - 1):
            least = np.inf
            for i in range(first[b], first[b + 1]):
                least = min(least, factors[i, beyond.words[n]])
            words *= least
        leverage[beyond.times[n]] += min(1.0, beyond.coefficients[0, n] * words / np.exp(bound))
    return leverage


@compiled()
def _store(at: Multipliers, means: Floats, rates: Floats, place: int) -> None:
    """Keep multipliers at a place of these arrays."""
    for k in range(len(at.means)):
        means[place, k] = at.means[k]
    for k in range(len(at.rates)):
        rates[place, k] = at.rates[k]


# 100 lines: one compiled loop; its parts share the stack of sets, the best choice and the counts.
@compiled(releases_lock=True)
def search(
    options: Options,
    programme: Programme,
    bars: Bars,
    weights: Floats1,
    floor: float,
    at: Multipliers,
    rounds: int,
    turns: int,
    incumbent: float,
    goal: float,
    most: int,
) -> tuple[float, Ints, int, int, int]:
    """What :func:`boxes.search` returns, for the same arguments."""
    blocks, columns = programme.where.shape
    best, chosen = incumbent, np.empty(blocks, np.int64)
    for b in range(blocks):
        chosen[b] = -1
    target = log_of(programme, best)
    alive, first, lifts = living(options, programme.where, weights, bars, floor, target)
    kept, first, lifts = _undominated(options, programme, alive, first, lifts)
    explored, pruned, work = 0, options.starts[-1] - len(kept), 0
    for b in range(blocks):
        if first[b] == first[b + 1]:
            return best, chosen, explored, pruned, work
    # A stack of sets: their options lie one after the other in the pool.
    pool = np.empty(4 * len(kept) + 64, np.int64)
    for i in range(len(kept)):
        pool[i] = kept[i]
    starts = np.zeros((TUNING.sets, blocks + 1), np.int64)
    for b in range(blocks + 1):
        starts[0, b] = first[b]
    bounds = np.empty(TUNING.sets)
    bounds[0] = floor
    means = np.empty((TUNING.sets, columns + 1))
    rates = np.empty((TUNING.sets, len(at.rates)))
    _store(at, means, rates, 0)
    inner_weights = np.empty(columns + 1)
    depth = 1
    while depth > 0 and work < most and best > goal:
        depth -= 1
        target = log_of(programme, best)
        begin = starts[depth, 0]
        ids = pool[begin : starts[depth, blocks]].copy()
        ends = starts[depth] - begin
        if bounds[depth] >= target:
            pruned += 1
            continue
        inside, closer, _ = _part(options, programme, ids, ends)
        here = Multipliers(means[depth].copy(), rates[depth].copy())
        free = no_bars(blocks)
        bound, _ = dual(
            inside,
            closer,
            free,
            here,
            np.zeros((blocks, 1 + TUNING.box_candidates), np.int64),
            rounds,
            turns,
            target,
            inner_weights,
        )
        explored += 1
        work += A_BOUND + AN_OPTION * len(ids)
        if bound >= target:
            pruned += 1
            continue
        left, left_first, left_lifts = living(
            inside, closer.where, inner_weights, free, bound, target
        )
        pruned += len(ids) - len(left)
        tiny, last, factors = _part(inside, closer, left, left_first)
        choices = 1.0
        for b in range(blocks):
            choices *= left_first[b + 1] - left_first[b]
        leverage = _leverage(last, left_first, factors, bound, inner_weights)
        block, column = _widest(left_first, factors, leverage)
        if choices <= TUNING.leaf or block < 0 or depth + 2 > TUNING.sets:
            forest = plant(tiny, last, np.arange(len(left)), left_first, left_lifts, inner_weights)
            value, leaves, looked, cut = descend(
                *(tiny, last, forest, inner_weights, bound, best, goal),
                ceiling(most - work, A_BOX),
            )
            explored += looked
            pruned += cut
            work += A_BOX * looked
            if leaves[0] >= 0:
                best = value
                for b in range(blocks):
                    chosen[b] = ids[left[leaves[b]]]
            continue
        order, below = _halved(left_first, factors, block, column)
        top = begin
        if top + 2 * len(left) > len(pool):
            more = np.empty(2 * (top + 2 * len(left)), np.int64)
            for i in range(top):
                more[i] = pool[i]
            pool = more
        # The half that is better in that column is looked at first: it lies on top.
        for half in range(2):
            low, high = (below, len(order)) if half == 0 else (0, below)
            starts[depth, 0] = top
            for b in range(blocks):
                if b == block:
                    for i in range(low, high):
                        pool[top] = ids[left[order[i]]]
                        top += 1
                else:
                    for i in range(left_first[b], left_first[b + 1]):
                        pool[top] = ids[left[i]]
                        top += 1
                starts[depth, b + 1] = top
            bounds[depth] = bound
            _store(here, means, rates, depth)
            depth += 1
    return best, chosen, explored, pruned, work
