"""Branch and bound over boxes of options: what the dual bound leaves of a programme.

First which *group* each block takes (options alike in their outermost tile count, which decides
the dearest traffic); then, with a dual bound of its own for each such choice, which option. Within
a box, a node of each block's tree, every product is at least the product of the least factors. A
box of single options has its exact value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Floats1, Ints1
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Floats, Ints, ceiling
from picojoule.mapper.programme import (
    LATENCY,
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

UNLIMITED = 1 << 62
"""Work without an end."""

A_BOX, A_BOUND, AN_OPTION = 12, 1500, 1
"""The work of looking at a box, of a dual bound within a search, and of each of its options: about
what they take in time, 30 ns each."""


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
    least: Floats  # [nodes, columns]
    score: Floats  # [nodes] least of what its leaves add to the dual bound
    spread: Floats  # [nodes] how far its leaves differ in the dual bound's terms


@compiled()
def _grow(first: Ints, factors: Floats, scores: Floats, weights: Floats) -> _Forest:
    """Build the trees over leaves with these factors, ``[leaves, columns]``, and scores."""
    columns = factors.shape[1]
    nodes = 2 * len(factors)
    begin, end = np.empty(nodes, np.int64), np.empty(nodes, np.int64)
    least, most = np.empty((nodes, columns)), np.empty((nodes, columns))
    score, spread = np.empty(nodes), np.zeros(nodes)
    for b in range(len(first) - 1):
        root = 2 * first[b]
        stop = root + 2 * (first[b + 1] - first[b]) - 1
        begin[root], end[root] = first[b], first[b + 1]
        for i in range(root, stop):
            if end[i] - begin[i] > 1:
                middle = (begin[i] + end[i]) // 2
                other = i + 2 * (middle - begin[i])
                begin[i + 1], end[i + 1] = begin[i], middle
                begin[other], end[other] = middle, end[i]
        for i in range(stop - 1, root - 1, -1):
            if end[i] - begin[i] == 1:
                score[i] = scores[begin[i]]
                for k in range(columns):
                    least[i, k] = most[i, k] = factors[begin[i], k]
                continue
            other = i + 2 * ((begin[i] + end[i]) // 2 - begin[i])
            score[i] = min(score[i + 1], score[other])
            for k in range(columns):
                least[i, k] = min(least[i + 1, k], least[other, k])
                most[i, k] = max(most[i + 1, k], most[other, k])
                if weights[k] > 0 and most[i, k] > least[i, k]:
                    spread[i] += weights[k] * np.log(most[i, k] / least[i, k])
    return _Forest(first=first, begin=begin, end=end, least=least, score=score, spread=spread)


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
        if bounds[depth] >= best:
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
                    gathered[count, b] = forest.begin[box[b]]
                values[count] = bounds[depth]
                count += 1
                continue
            fits = True
            for a in range(len(programme.axes)):
                for b in range(blocks):
                    need[2 * b] = fans[forest.begin[box[b]], a, 0]
                    need[2 * b + 1] = fans[forest.begin[box[b]], a, 1]
                if not packable(need, which_dim, programme.axes[a], programme.allowed[a]):
                    fits = False
                    break
            if not fits:
                pruned += 1
                continue
            best = bounds[depth]
            if best <= goal:
                depth = 0
            target = log_of(programme, best)
            for b in range(blocks):
                chosen[b] = forest.begin[box[b]]
            continue
        node = box[which]
        halves = (
            node + 1,
            node + 2 * ((forest.begin[node] + forest.end[node]) // 2 - forest.begin[node]),
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
            if both[side] < best:
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


# It lets go of Python's lock, so that a clock on the terminal goes on.
# 120 lines: one compiled loop; its parts share the boxes, the best choice and the counts.
@compiled(releases_lock=True)
def search(
    options: Options,
    programme: Programme,
    penalty: Floats1,
    weights: Floats1,
    floor: float,
    at: Multipliers,
    rounds: int,
    turns: int,
    incumbent: float,
    goal: float,
    most: int,
) -> tuple[float, Ints, int, int, int]:
    """The best choice below *incumbent*, if there is one.

    First which group each block takes; then, with a dual bound of its own for each such choice,
    the options.

    Args:
        penalty: of each option.
        weights, floor: of the dual bound.
        rounds, turns: of the dual bound for each choice of groups.
        goal: nothing is below: a choice this good ends the search.
        most: work that may be done (:data:`A_BOX`).

    Returns:
        its value (*incumbent* if none), the option of each block (-1: none), boxes looked at,
        boxes and options discarded, and the work done. With *most* or more of it the search was
        broken off: what it returns may not be the best.
    """
    blocks, columns = programme.where.shape
    best, chosen = incumbent, np.empty(blocks, np.int64)
    for b in range(blocks):
        chosen[b] = -1
    target = log_of(programme, best)
    kept, first, lifts = living(options, programme.where, weights, penalty, floor, target)
    nothing = int(np.int64(0))  # not a literal, for which the kernel would be compiled once more
    explored, pruned, work = 0, len(penalty) - len(kept), 0
    for b in range(blocks):
        if first[b] == first[b + 1]:
            return best, chosen, explored, pruned, work
    # Groups: the least of their options.
    edge = np.empty(len(kept) + 1, np.int64)
    first_group = np.zeros(blocks + 1, np.int64)
    groups = 0
    for b in range(blocks):
        for i in range(first[b], first[b + 1]):
            if i == first[b] or options.groups[kept[i]] != options.groups[kept[i - 1]]:
                edge[groups] = i
                groups += 1
        first_group[b + 1] = groups
    edge[groups] = len(kept)
    lowest, lift = np.empty((groups, columns)), np.empty(groups)
    for b in range(blocks):
        raw = options.raw[b]
        for g in range(first_group[b], first_group[b + 1]):
            lift[g] = _least(lifts[edge[g] : edge[g + 1]])
            for k in range(columns):
                lowest[g, k] = 1.0
                if programme.where[b, k] >= 0:
                    shift = programme.where[b, k] - options.starts[b]
                    least = np.inf
                    for i in range(edge[g], edge[g + 1]):
                        least = min(least, raw[shift + kept[i]])
                    lowest[g, k] = least
    forest = _grow(first_group, lowest, lift, weights)
    _, _, boxes, bounds, looked, cut = _descend(
        *(programme, forest, floor, best, goal, options.fans, options.dims, len(lift)),
        ceiling(most, A_BOX),
    )
    explored += looked
    pruned += cut
    work += A_BOX * looked
    part = np.empty(len(kept), np.int64)
    part_first = np.zeros(blocks + 1, np.int64)
    inner_weights = np.empty(columns + 1)
    for n in range(len(bounds)):
        box = boxes[n]
        if work >= most:
            break
        if bounds[n] >= best or best <= goal:
            pruned += 1
            continue
        size = 0
        for b in range(blocks):
            for i in range(edge[box[b]], edge[box[b] + 1]):
                part[size] = kept[i]
                size += 1
            part_first[b + 1] = size
        inside, closer, _ = _part(options, programme, part[:size], part_first)
        target = log_of(programme, best)
        here = Multipliers(at.means.copy(), at.rates.copy())
        free = np.zeros(size)
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
        work += A_BOUND + AN_OPTION * size
        if bound >= target:
            pruned += 1
            continue
        alive, alive_first, alive_lifts = living(
            inside, closer.where, inner_weights, free, bound, target
        )
        pruned += size - len(alive)
        tiny, last, last_factors = _part(inside, closer, alive, alive_first)
        forest = _grow(alive_first, last_factors, alive_lifts, inner_weights)
        value, leaves, _, _, looked, cut = _descend(
            *(last, forest, bound, best, goal, tiny.fans, tiny.dims, nothing),
            ceiling(most - work, A_BOX),
        )
        explored += looked
        pruned += cut
        work += A_BOX * looked
        if leaves[0] >= 0:
            best = value
            for b in range(blocks):
                chosen[b] = part[alive[leaves[b]]]
    return best, chosen, explored, pruned, work


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
            at,
            TUNING.box_rounds,
            TUNING.box_turns,
            limit,
            0.0,
            UNLIMITED,
        )
        if choice[0] >= 0:
            return float(value)
    return float(limit)
