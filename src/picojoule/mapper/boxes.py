"""Branch and bound over boxes of options: what the dual bound leaves of a programme.

First which *group* each block takes (options alike in their outermost tile count, which decides
the dearest traffic); then, with a dual bound of its own for each such choice, which option. Within
a box, a node of each block's tree, every product is at least the product of the least factors. A
box of single options has its exact value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Floats1, Ints1, Ints3
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.programme import (
    LATENCY,
    NOTHING_BEYOND,
    Beyond,
    Multipliers,
    Options,
    PerBlock,
    Programme,
    dual,
    living,
    log_of,
    value_of,
)
from picojoule.mapper.tuning import TUNING

SMALLEST_GAIN = 1e-12
"""Relative: a better value by less is rounding."""

UNLIMITED = 1 << 62
"""Work without an end."""

A_BOUND, AN_OPTION = 200, 2
"""The work of a dual bound within a search, and for each of its options, in boxes looked at: about
what it takes in time."""


@compiled()
def packable(fans: Ints1, dims: Ints1, axes: Ints1, allowed: Ints1) -> bool:
    """Whether unrollings fit an array: each split over the axes, no axis overfull."""
    count = 0
    need = np.empty(len(fans), np.int64)
    which = np.empty(len(fans), np.int64)
    for i in range(len(fans)):
        if fans[i] > 1:
            need[count], which[count] = fans[i], dims[i]
            count += 1
    if count == 0:
        return True
    k = len(axes)
    # Depth-first over splits; split[i, a] is the factor of dimension i along axis a.
    split = np.ones((count, k), np.int64)
    left = np.empty((count + 1, k), np.int64)
    left[0] = axes
    i = 0
    fresh = True
    while True:
        if i == count:
            return True
        # Next split of dimension i: count up the factors of all axes but the last.
        if fresh:
            split[i] = 1
            more = True
        else:
            more = False
            for a in range(k - 1):
                limit = left[i, a] if allowed[a] >> which[i] & 1 else 1
                if split[i, a] < min(limit, need[i]):
                    split[i, a] += 1
                    for b in range(a):
                        split[i, b] = 1
                    more = True
                    break
        if not more:
            i -= 1
            if i < 0:
                return False
            fresh = False
            continue
        have = 1
        for a in range(k - 1):
            have *= split[i, a]
        last = -(-need[i] // have)
        limit = left[i, k - 1] if allowed[k - 1] >> which[i] & 1 else 1
        if last > limit:
            fresh = False
            continue
        split[i, k - 1] = last
        fits = True
        for a in range(k):
            left[i + 1, a] = left[i, a] // split[i, a]
            if left[i + 1, a] < 1:
                fits = False
        fresh = fits
        if fits:
            i += 1


class _Forest(NamedTuple):
    """A binary tree over the leaves of each block.

    Node i covers leaves ``begin[i]`` to ``end[i]``; the tree of its first half starts at i + 1,
    that of the other half after it. A block's tree starts at twice its first leaf.
    """

    first: Ints  # [blocks + 1] first leaf of each block
    begin: Ints
    end: Ints
    leaf: Ints  # [leaves] which they are
    least: Floats  # [nodes, columns]
    score: Floats  # [nodes] least of what its leaves add to the dual bound
    spread: Floats  # [nodes] how far its leaves differ in the dual bound's terms


@compiled()
def _grow(first: Ints, factors: Floats, logs: Floats, scores: Floats, weights: Floats) -> _Forest:
    """Build the trees over leaves with these factors, ``[leaves, columns]``, and scores.

    A node is split where its leaves differ most in the dual bound's terms.

    Args:
        logs: of the factors.
        weights: of the dual bound.
    """
    leaves, columns = factors.shape
    nodes = 2 * leaves
    begin, end = np.empty(nodes, np.int64), np.empty(nodes, np.int64)
    least, low, high = np.empty((nodes, columns)), np.empty(columns), np.empty(columns)
    score, spread = np.empty(nodes), np.zeros(nodes)
    leaf, aside = np.arange(leaves), np.empty(leaves, np.int64)
    for b in range(len(first) - 1):
        root = 2 * first[b]
        stop = root + 2 * (first[b + 1] - first[b]) - 1
        begin[root], end[root] = first[b], first[b + 1]
        for i in range(root, stop):
            if end[i] - begin[i] == 1:
                continue
            for k in range(columns):
                low[k] = high[k] = logs[leaf[begin[i]], k]
            for j in range(begin[i] + 1, end[i]):
                for k in range(columns):
                    low[k] = min(low[k], logs[leaf[j], k])
                    high[k] = max(high[k], logs[leaf[j], k])
            which, widest = -1, 0.0
            for k in range(columns):
                wide = weights[k] * (high[k] - low[k])
                spread[i] += wide
                if wide > widest:
                    which, widest = k, wide
            middle = (begin[i] + end[i]) // 2
            if which >= 0:
                cut = (low[which] + high[which]) / 2
                middle, n = begin[i], 0
                for j in range(begin[i], end[i]):
                    if logs[leaf[j], which] <= cut:
                        leaf[middle] = leaf[j]
                        middle += 1
                    else:
                        aside[n] = leaf[j]
                        n += 1
                for j in range(n):
                    leaf[middle + j] = aside[j]
            other = i + 2 * (middle - begin[i])
            begin[i + 1], end[i + 1] = begin[i], middle
            begin[other], end[other] = middle, end[i]
        for i in range(stop - 1, root - 1, -1):
            if end[i] - begin[i] == 1:
                score[i] = scores[leaf[begin[i]]]
                for k in range(columns):
                    least[i, k] = factors[leaf[begin[i]], k]
                continue
            other = i + 2 * (end[i + 1] - begin[i])
            score[i] = min(score[i + 1], score[other])
            for k in range(columns):
                least[i, k] = min(least[i + 1, k], least[other, k])
    return _Forest(
        first=first, begin=begin, end=end, leaf=leaf, least=least, score=score, spread=spread
    )


@compiled()
def _multiply(forest: _Forest, box: Ints, line: Floats) -> None:
    """The least products within a box of one node of each block."""
    for k in range(len(line)):
        line[k] = 1.0
    for b in range(len(box)):
        row = forest.least[box[b]]
        for k in range(len(line)):
            line[k] *= row[k]


# 115 lines: one compiled loop, the innermost of the search, where a call costs more than its body.
@compiled()
def _descend(
    programme: Programme,
    forest: _Forest,
    floor: float,
    incumbent: float,
    goal: float,
    fans: Ints,
    dims: Ints,
    room: int,
    most: int,
) -> tuple[float, Ints, Ints, Floats, int, int]:
    """Branch and bound over boxes of leaves.

    Args:
        floor: the dual bound; a leaf's score is what it adds.
        goal: nothing is below: a choice this good ends the search.
        fans: ``[leaves, arrays, 2]``, checked for a place on the array.
        room: if not zero, return every single choice that may be below *incumbent*, that many at
            first, instead of the best.
        most: boxes to look at; with as many the descent ends, whatever is left.

    Returns:
        the best value and its leaf of each block (-1: none); the choices gathered and their
        bounds; boxes looked at and discarded.
    """
    blocks, columns = programme.where.shape
    chosen = np.empty(blocks, np.int64)
    stack, bounds = np.empty((64 * blocks, blocks), np.int64), np.empty(64 * blocks)
    gathered, values = np.empty((room, blocks), np.int64), np.empty(room)
    count = 0
    best, target = incumbent, log_of(programme, incumbent)
    worth = incumbent  # what a choice must be below: less than rounding is no gain
    line = np.empty(columns)
    box = np.empty(blocks, np.int64)
    both = np.empty(2)
    need, which_dim = np.empty(2 * blocks, np.int64), np.empty(2 * blocks, np.int64)
    for b in range(blocks):
        chosen[b] = -1
        stack[0, b] = box[b] = 2 * forest.first[b]
        for i in range(2):
            which_dim[2 * b + i] = max(0, dims[b, i])
    _multiply(forest, box, line)
    bounds[0] = value_of(programme, line)
    explored = pruned = 0
    depth = 1
    while depth > 0 and explored < most:
        depth -= 1
        if bounds[depth] >= worth:
            pruned += 1
            continue
        for b in range(blocks):
            box[b] = stack[depth, b]
        which, widest = -1, -1.0
        for b in range(blocks):
            i = box[b]
            if forest.end[i] - forest.begin[i] > 1 and forest.spread[i] > widest:
                which, widest = b, forest.spread[i]
        if which < 0:
            if room > 0:
                if count == len(values):
                    more, larger = np.empty((2 * count, blocks), np.int64), np.empty(2 * count)
                    for i in range(count):
                        larger[i] = values[i]
                        for b in range(blocks):
                            more[i, b] = gathered[i, b]
                    gathered, values = more, larger
                for b in range(blocks):
                    gathered[count, b] = forest.leaf[forest.begin[box[b]]]
                values[count] = bounds[depth]
                count += 1
                continue
            fits = True
            for a in range(len(programme.axes)):
                for b in range(blocks):
                    need[2 * b] = fans[forest.leaf[forest.begin[box[b]]], a, 0]
                    need[2 * b + 1] = fans[forest.leaf[forest.begin[box[b]]], a, 1]
                if not packable(need, which_dim, programme.axes[a], programme.allowed[a]):
                    fits = False
                    break
            if not fits:
                pruned += 1
                continue
            best = bounds[depth]
            if best <= goal:
                depth = 0
            worth = best * (1 - SMALLEST_GAIN)
            target = log_of(programme, worth)
            for b in range(blocks):
                chosen[b] = forest.leaf[forest.begin[box[b]]]
            continue
        node = box[which]
        halves = (
            node + 1,
            node + 2 * (forest.end[node + 1] - forest.begin[node]),
        )
        for side in range(2):
            explored += 1
            box[which] = halves[side]
            both[side] = np.inf
            total = floor
            for b in range(blocks):
                total += forest.score[box[b]]
            if total >= target:
                continue
            _multiply(forest, box, line)
            both[side] = value_of(programme, line)
        near = 0 if both[0] <= both[1] else 1
        for side in (1 - near, near):
            if both[side] < worth:
                box[which] = halves[side]
                for b in range(blocks):
                    stack[depth, b] = box[b]
                bounds[depth] = both[side]
                depth += 1
            else:
                pruned += 1
    return best, chosen, gathered[:count], values[:count], explored, pruned


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
    groups, none = np.empty(n, np.int64), np.empty(0)
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
        groups[i] = options.groups[kept[i]]
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
            groups=groups,
        ),
        Programme(
            where=where,
            mode=programme.mode,
            constant=programme.constant,
            base=programme.base,
            discount=programme.discount,
            energy=programme.energy,
            drawn=programme.drawn,
            times=programme.times,
            relief=programme.relief,
            cycle_limit=programme.cycle_limit,
            beyond=Beyond(
                words=beyond.words,
                times=beyond.times,
                against=beyond.against,
                coefficients=beyond.coefficients,
                share=share,
            ),
            limits=programme.limits,
            axes=programme.axes,
            allowed=programme.allowed,
        ),
        factors,
    )


@compiled()
def _least(values: Floats) -> float:
    least = np.inf
    for i in range(len(values)):
        least = min(least, values[i])
    return least


@compiled()
def _counting(programme: Programme) -> Ints:
    """The columns that count at all."""
    columns, beyond = programme.where.shape[1], programme.beyond
    counted, n = np.empty(columns, np.int64), 0
    for k in range(columns):
        counts = programme.energy[k] != 0.0
        for t in range(len(programme.times)):
            counts |= programme.times[t, k] != 0.0
        for m in range(len(programme.limits)):
            counts |= programme.limits[m, k] != 0.0
        for part in range(len(beyond.words)):
            counts |= beyond.words[part] == k or beyond.times[part] == k
        if counts:
            counted[n] = k
            n += 1
    return counted[:n]


@compiled()
def _narrowed(programme: Programme, counted: Ints) -> Programme:
    """The programme over the columns that count."""
    blocks, columns = programme.where.shape
    count = len(counted)
    place = np.empty(columns, np.int64)
    where, energy = np.empty((blocks, count), np.int64), np.empty(count)
    times = np.empty((len(programme.times), count + 1))
    limits = np.empty((len(programme.limits), count))
    for n in range(count):
        k = counted[n]
        place[k] = n
        energy[n] = programme.energy[k]
        for b in range(blocks):
            where[b, n] = programme.where[b, k]
        for t in range(len(times)):
            times[t, n] = programme.times[t, k]
        for m in range(len(limits)):
            limits[m, n] = programme.limits[m, k]
    for t in range(len(times)):
        times[t, count] = programme.times[t, columns]
    beyond = programme.beyond
    words, against = np.empty(len(beyond.words), np.int64), np.empty(len(beyond.words), np.int64)
    for n in range(len(words)):
        words[n], against[n] = place[beyond.words[n]], place[beyond.times[n]]
    return Programme(
        where=where,
        mode=programme.mode,
        constant=programme.constant,
        base=programme.base,
        discount=programme.discount,
        energy=energy,
        drawn=programme.drawn,
        times=times,
        relief=programme.relief,
        cycle_limit=programme.cycle_limit,
        beyond=Beyond(
            words=words,
            times=against,
            against=beyond.against,
            coefficients=beyond.coefficients,
            share=beyond.share,
        ),
        limits=limits,
        axes=programme.axes,
        allowed=programme.allowed,
    )


@compiled()
def _leaves(
    options: Options, programme: Programme, kept: Ints, first: Ints
) -> tuple[Floats, Floats, Ints3]:
    """The factors of some options ``[options, columns]``, their logarithms, and unrollings."""
    blocks, columns = programme.where.shape
    factors, logs = np.empty((len(kept), columns)), np.empty((len(kept), columns))
    fans = np.empty((len(kept), options.fans.shape[1], 2), np.int64)
    for b in range(blocks):
        raw, line = options.raw[b], options.logs[b]
        for k in range(columns):
            at = programme.where[b, k] - options.starts[b]
            if programme.where[b, k] < 0:
                for i in range(first[b], first[b + 1]):
                    factors[i, k], logs[i, k] = 1.0, 0.0
            else:
                for i in range(first[b], first[b + 1]):
                    factors[i, k], logs[i, k] = raw[at + kept[i]], line[at + kept[i]]
    for i in range(len(kept)):
        for a in range(fans.shape[1]):
            for j in range(2):
                fans[i, a, j] = options.fans[kept[i], a, j]
    return factors, logs, fans


# It lets go of Python's lock, so that a clock on the terminal goes on.
@compiled(releases_lock=True)
def search(
    options: Options,
    programme: Programme,
    penalty: Floats1,
    weights: Floats1,
    floor: float,
    incumbent: float,
    goal: float,
    most: int,
) -> tuple[float, Ints, int, int, int]:
    """The best choice below *incumbent*, if there is one.

    Args:
        penalty: of each option.
        weights, floor: of the dual bound.
        goal: nothing is below: a choice this good ends the search.
        most: work that may be done, in boxes looked at.

    Returns:
        its value (*incumbent* if none), the option of each block (-1: none), boxes looked at,
        boxes and options discarded, and the work done. With *most* or more of it the search was
        broken off: what it returns may not be the best.
    """
    blocks = len(programme.where)
    chosen = np.empty(blocks, np.int64)
    for b in range(blocks):
        chosen[b] = -1
    target = log_of(programme, incumbent)
    kept, first, lifts = living(options, programme.where, weights, penalty, floor, target)
    pruned = len(penalty) - len(kept)
    for b in range(blocks):
        if first[b] == first[b + 1]:
            return incumbent, chosen, 0, pruned, 0
    counted = _counting(programme)
    narrow, narrow_weights = _narrowed(programme, counted), np.empty(len(counted))
    for n in range(len(counted)):
        narrow_weights[n] = weights[counted[n]]
    factors, logs, fans = _leaves(options, narrow, kept, first)
    nothing = int(np.int64(0))  # not a literal, for which the kernel would be compiled once more
    value, leaves, _, _, looked, cut = _descend(
        narrow,
        _grow(first, factors, logs, lifts, narrow_weights),
        floor,
        incumbent,
        goal,
        fans,
        options.dims,
        nothing,
        most,
    )
    if leaves[0] >= 0:
        for b in range(blocks):
            chosen[b] = kept[leaves[b]]
    return value, chosen, looked, pruned + cut, looked


def fewest(options: Options, where: Ints, limits: Floats, axes: Ints, allowed: Ints) -> float:
    """The least product of the first column, under limits and with a place on the arrays."""
    columns = where.shape[1]
    steps = np.zeros((1, columns + 1))
    steps[0, 0] = 1.0
    problem = Programme(
        where=where,
        mode=LATENCY,
        constant=0.0,
        base=0.0,
        discount=0.0,
        energy=np.zeros(columns),
        drawn=0.0,
        times=steps,
        relief=np.ones(1),
        cycle_limit=np.inf,
        beyond=NOTHING_BEYOND,
        limits=limits,
        axes=axes,
        allowed=allowed,
    )
    count = len(options.groups)
    free, weights = np.zeros(count), np.empty(columns + 1)
    rates = np.concatenate([[0.0, 1.0], np.ones(len(limits))])
    at = Multipliers(np.zeros(columns + 1), rates)
    candidates = np.zeros((len(where), 1 + TUNING.fewest_candidates), np.int64)
    bound, _ = dual(
        options,
        problem,
        free,
        at,
        candidates,
        TUNING.fewest_rounds,
        TUNING.fewest_turns,
        np.inf,
        weights,
    )
    limit = np.inf
    for gap in (*TUNING.fewest_gaps, np.inf):
        limit = np.exp(bound) * (1 + gap)
        value, choice, _, _, _ = search(
            options,
            problem,
            free,
            weights,
            bound,
            limit,
            0.0,
            UNLIMITED,
        )
        if choice[0] >= 0:
            return float(value)
    return float(limit)
