"""Branch and bound over boxes of options: what the dual bound leaves of a programme.

Within a box, a node of each block's tree, every product is at least the product of the least
factors. A box of single options has its exact value. Few of the nodes of a tree over thousands of
options are ever looked at, so each is split, where its options differ most in the dual bound's
terms, when it is first asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Floats1, Floats2, Ints1
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Floats, Ints, ceiling
from picojoule.mapper.options import Bars, Options, no_bars
from picojoule.mapper.programme import (
    LATENCY,
    NOTHING_BEYOND,
    Beyond,
    Multipliers,
    Programme,
    dual,
    living,
    log_of,
    rewritten,
    value_of,
)
from picojoule.mapper.tuning import TUNING

SMALLEST_GAIN = 1e-12
"""Relative: a better value by less is rounding."""

ROUNDING = 1e-15
"""Relative: of a root of a product."""

UNLIMITED = 1 << 62
"""Work without an end."""

A_BOX, A_BOUND, AN_OPTION = 12, 1500, 1
"""The work of looking at a box, of a dual bound, and of each option looked at: about what they take
in time, 30 ns each."""


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


class Forest(NamedTuple):
    """A binary tree over some options of each block; a node is split when it is first asked for.

    Nodes stand side by side, the roots of the blocks first.
    """

    leaf: Ints1  # [leaves] the options, those of a node side by side
    lift: Floats1  # [leaves] what each adds to the dual bound
    block: Ints1  # [nodes]
    begin: Ints1  # [nodes] first leaf
    end: Ints1  # [nodes]
    inner: Ints1  # [nodes] the first of the two nodes within; 0: it is not split yet
    column: Ints1  # [nodes] the column in which its leaves differ most; -1: in none
    middle: Floats1  # [nodes] where it is split there
    least: Floats2  # [nodes, columns]
    score: Floats1  # [nodes] least of what its leaves add to the dual bound
    spread: Floats1  # [nodes] how far its leaves differ in the dual bound's terms
    nodes: Ints1  # [1] how many there are so far


@compiled()
def plant(
    options: Options,
    programme: Programme,
    kept: Ints1,
    first: Ints1,
    lifts: Floats1,
    weights: Floats1,
) -> Forest:
    """The trees over the options *kept*, of each block from *first* on.

    Args:
        lifts, weights: of the dual bound.
    """
    blocks, columns = programme.where.shape
    leaves = len(kept)
    nodes = 2 * leaves + blocks
    forest = Forest(
        leaf=kept.copy(),
        lift=lifts.copy(),
        block=np.empty(nodes, np.int64),
        begin=np.empty(nodes, np.int64),
        end=np.empty(nodes, np.int64),
        inner=np.empty(nodes, np.int64),
        column=np.empty(nodes, np.int64),
        middle=np.empty(nodes),
        least=np.empty((nodes, columns)),
        score=np.empty(nodes),
        spread=np.empty(nodes),
        nodes=np.zeros(1, np.int64),
    )
    for b in range(blocks):
        _add(options, programme, forest, weights, b, first[b], first[b + 1])
    return forest


@compiled()
def _add(
    options: Options,
    programme: Programme,
    forest: Forest,
    weights: Floats,
    b: int,
    begin: int,
    end: int,
) -> None:
    """Add a node over these leaves of a block."""
    node = forest.nodes[0]
    forest.nodes[0] += 1
    forest.block[node], forest.begin[node], forest.end[node] = b, begin, end
    forest.inner[node], forest.column[node] = 0, -1
    leaf, raw = forest.leaf[begin:end], options.raw[b]
    score = np.inf
    for lift in forest.lift[begin:end]:
        score = min(score, lift)
    forest.score[node] = score
    spread = widest = 0.0
    for k in range(programme.where.shape[1]):
        if programme.where[b, k] < 0:
            forest.least[node, k] = 1.0
            continue
        shift = programme.where[b, k] - options.starts[b]
        low, high = np.inf, -np.inf
        for option in leaf:
            value = raw[shift + option]
            low, high = min(low, value), max(high, value)
        forest.least[node, k] = low
        if weights[k] > 0 and high > low:
            wide = weights[k] * np.log(high / low)
            spread += wide
            if wide > widest:
                widest = wide
                forest.column[node] = k
                forest.middle[node] = max(low, min(np.sqrt(low * high), high * (1 - ROUNDING)))
    forest.spread[node] = spread


@compiled()
def _split(
    options: Options, programme: Programme, forest: Forest, weights: Floats, node: int
) -> int:
    """The first of the two nodes within a node; the other follows it."""
    if forest.inner[node] > 0:
        return int(forest.inner[node])
    b, begin, end = forest.block[node], forest.begin[node], forest.end[node]
    middle, k = (begin + end) // 2, forest.column[node]
    if k >= 0:
        raw, shift = options.raw[b], programme.where[b, k] - options.starts[b]
        leaf, lift, n = np.empty(end - begin, np.int64), np.empty(end - begin), 0
        middle = begin
        for i in range(begin, end):
            if raw[shift + forest.leaf[i]] <= forest.middle[node]:
                forest.leaf[middle], forest.lift[middle] = forest.leaf[i], forest.lift[i]
                middle += 1
            else:
                leaf[n], lift[n] = forest.leaf[i], forest.lift[i]
                n += 1
        for i in range(n):
            forest.leaf[middle + i], forest.lift[middle + i] = leaf[i], lift[i]
    inner = forest.inner[node] = forest.nodes[0]
    _add(options, programme, forest, weights, b, begin, middle)
    _add(options, programme, forest, weights, b, middle, end)
    return int(inner)


@compiled()
def _multiply(forest: Forest, box: Ints, line: Floats) -> None:
    """The least products within a box of one node of each block."""
    for k in range(len(line)):
        line[k] = 1.0
    for b in range(len(box)):
        row = forest.least[box[b]]
        for k in range(len(line)):
            line[k] *= row[k]


@compiled()
def _fits(options: Options, programme: Programme, forest: Forest, box: Ints) -> bool:
    """Whether a choice of options, a box of single leaves, finds a place on the arrays."""
    blocks = len(box)
    need, dims = np.empty(2 * blocks, np.int64), np.empty(2 * blocks, np.int64)
    for a in range(len(programme.axes)):
        for b in range(blocks):
            option = forest.leaf[forest.begin[box[b]]]
            for i in range(2):
                need[2 * b + i] = options.fans[option, a, i]
                dims[2 * b + i] = max(0, options.dims[b, i])
        if not packable(need, dims, programme.axes[a], programme.allowed[a]):
            return False
    return True


# 85 lines: one compiled loop, the innermost of the search, where a call costs more than its body.
@compiled()
def descend(
    options: Options,
    programme: Programme,
    forest: Forest,
    weights: Floats1,
    floor: float,
    incumbent: float,
    goal: float,
    most: int,
) -> tuple[float, Ints, int, int]:
    """Branch and bound over boxes of leaves.

    Args:
        weights, floor: of the dual bound; a leaf's score is what it adds.
        goal: nothing is below: a choice this good ends the search.
        most: boxes to look at; with as many the descent ends, whatever is left.

    Returns:
        the best value and its option of each block (-1: none); boxes looked at and discarded.
    """
    blocks, columns = programme.where.shape
    chosen = np.empty(blocks, np.int64)
    stack, bounds = np.empty((64 * blocks, blocks), np.int64), np.empty(64 * blocks)
    best, target = incumbent, log_of(programme, incumbent)
    worth = incumbent  # what a choice must be below: less than rounding is no gain
    line, box, both = np.empty(columns), np.empty(blocks, np.int64), np.empty(2)
    for b in range(blocks):
        chosen[b] = -1
        stack[0, b] = box[b] = b
    _multiply(forest, box, line)
    bounds[0] = value_of(programme, line)
    explored = pruned = 0
    depth = 1
    while depth > 0 and explored < most:
        depth -= 1
        if bounds[depth] >= worth:
            pruned += 1
            continue
        which, widest = -1, -1.0
        for b in range(blocks):
            i = box[b] = stack[depth, b]
            if forest.end[i] - forest.begin[i] > 1 and forest.spread[i] > widest:
                which, widest = b, forest.spread[i]
        if which < 0:
            if not _fits(options, programme, forest, box):
                pruned += 1
                continue
            best = bounds[depth]
            worth = best * (1 - SMALLEST_GAIN) if best > 0 else best
            target = log_of(programme, worth)
            for b in range(blocks):
                chosen[b] = forest.leaf[forest.begin[box[b]]]
            if best <= goal:
                break
            continue
        inner = _split(options, programme, forest, weights, box[which])
        for side in range(2):
            explored += 1
            box[which] = inner + side
            both[side] = np.inf
            total = floor
            for b in range(blocks):
                total += forest.score[box[b]]
            if total >= target:
                continue
            _multiply(forest, box, line)
            both[side] = value_of(programme, line)
        if depth + 2 > len(bounds):  # trees are as deep as their options are uneven
            more, higher = np.empty((2 * depth, blocks), np.int64), np.empty(2 * depth)
            for i in range(depth):
                higher[i] = bounds[i]
                for b in range(blocks):
                    more[i, b] = stack[i, b]
            stack, bounds = more, higher
        near = 0 if both[0] <= both[1] else 1
        for side in (1 - near, near):
            if both[side] < worth:
                box[which] = inner + side
                for b in range(blocks):
                    stack[depth, b] = box[b]
                bounds[depth] = both[side]
                depth += 1
            else:
                pruned += 1
    return best, chosen, explored, pruned


@compiled()
def counting(programme: Programme) -> Ints1:
    """The columns that count at all: each with a coefficient, and words beyond others."""
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
    rest = Beyond(
        words=words,
        times=against,
        against=beyond.against,
        coefficients=beyond.coefficients,
        share=beyond.share,
    )
    return rewritten(programme, where, energy, times, limits, rest)


# It lets go of Python's lock, so that a clock on the terminal goes on.
@compiled(releases_lock=True)
def search(
    options: Options,
    programme: Programme,
    bars: Bars,
    weights: Floats1,
    floor: float,
    incumbent: float,
    goal: float,
    most: int,
) -> tuple[float, Ints, int, int, int]:
    """The best choice below *incumbent*, if there is one.

    Args:
        bars: what the class forbids.
        weights, floor: of the dual bound.
        goal: nothing is below: a choice this good ends the search.
        most: work that may be done (:data:`A_BOX`).

    Returns:
        its value (*incumbent* if none), the option of each block (-1: none), boxes looked at,
        boxes and options discarded, and the work done. With *most* or more of it the search was
        broken off: what it returns may not be the best.
    """
    target = log_of(programme, incumbent)
    kept, first, lifts = living(options, programme.where, weights, bars, floor, target)
    pruned = options.starts[-1] - len(kept)
    for b in range(len(programme.where)):
        if first[b] == first[b + 1]:
            return incumbent, np.full(len(programme.where), -1), 0, pruned, 0
    counted = counting(programme)
    narrow, narrow_weights = _narrowed(programme, counted), np.empty(len(counted))
    for n in range(len(counted)):
        narrow_weights[n] = weights[counted[n]]
    forest = plant(options, narrow, kept, first, lifts, narrow_weights)
    value, chosen, looked, cut = descend(
        *(options, narrow, forest, narrow_weights, floor, incumbent, goal),
        ceiling(most, A_BOX),
    )
    return value, chosen, looked, pruned + cut, A_BOX * looked + AN_OPTION * len(kept)


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
    free, weights = Bars(*no_bars(len(where))), np.empty(columns + 1)
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
