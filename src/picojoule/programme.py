"""Discrete geometric programmes, solved with a proof.

The search problem, whatever the machine: choose one option for each *block* (a dimension, or a
window pair). Every quantity is a product over the blocks of one factor per option, its *column*;
the objective and the limits are sums of such products with positive coefficients.

Two bounds work together:

- The dual of the relaxed programme. For any weights w that sum to one, a sum of terms is at least
  ``prod (term / w) ** w`` (arithmetic and geometric mean), and a limit times a multiplier may be
  added; the logarithm of that is a sum over blocks, so its least is found block by block
  (geometric programming duality). Weights come from averaging the best options seen, multipliers
  from a subgradient. One pass bounds the programme; what each option adds to it drops options.
- Within a box of options (a node of each block's tree), every product is at least the product of
  the least factors.

A branch-and-bound over boxes ends with single options, whose value is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from picojoule.tilings import Bools, Floats, Ints

ENERGY, LATENCY, EDP = 0, 1, 2


class Options(NamedTuple):
    """The options of all blocks, one block after the other, and their columns."""

    starts: Ints  # [blocks + 1] first option of each block
    raw: Floats  # factors, one column after the other
    logs: Floats  # their logarithms
    fans: Ints  # [options, arrays, 2] unrolling of the block's dimensions
    dims: Ints  # [blocks, 2] index of those dimensions (-1: none)
    groups: Ints  # [options] those alike in what counts most stand together, under one number


class Programme(NamedTuple):
    """What to minimise, under which limits, over the columns at ``where``.

    A negative coefficient belongs to a column that holds reciprocals: it divides.
    """

    where: Ints  # [blocks, columns] offset of a block's column in ``raw``; -1: all ones
    mode: int
    constant: float
    base: float  # the least of the energy's constant and its negative parts
    discount: float  # logarithm of the least share that negative parts leave, EDP only
    energy: Floats  # [columns]
    static: float  # energy per cycle
    times: Floats  # [memories and networks, columns + 1] cycles; last: constant
    plain: Bools  # [memories and networks] no negative coefficient
    cycle_limit: float
    limits: Floats  # [limits, columns] coefficients of sums that may not exceed 1
    axes: Ints  # [arrays, axes] length; 0: no such axis
    allowed: Ints  # [arrays, axes] bit mask of dimensions


class Multipliers(NamedTuple):
    """Where the dual bound stands; updated in place, and a good start for a similar programme."""

    means: Floats  # [columns + 1] logarithm of each product, averaged over the best options seen
    rates: Floats  # [1 + times + limits] weight of the energy and each time, price of each limit


@njit(cache=True)
def packable(fans: Ints, dims: Ints, axes: Ints, allowed: Ints) -> bool:
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
            found = True
        else:
            found = False
            for a in range(k - 1):
                limit = left[i, a] if allowed[a] >> which[i] & 1 else 1
                if split[i, a] < min(limit, need[i]):
                    split[i, a] += 1
                    for b in range(a):
                        split[i, b] = 1
                    found = True
                    break
        if not found:
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


class _Sums(NamedTuple):
    """The sums of a programme, sparse: the energy, then the times, then the limits."""

    start: Ints  # [sums + 1] first term of each
    column: Ints  # [terms]; one more than there are columns: a constant
    log: Floats  # [terms] logarithm of the coefficient


@njit(cache=True)
def _sums(programme: Programme) -> _Sums:
    """The positive terms; what is negative counts in ``programme.base``."""
    columns, times = len(programme.energy), len(programme.times)
    count = 1 + times + len(programme.limits)
    start = np.zeros(count + 1, np.int64)
    column = np.empty(count * (columns + 1), np.int64)
    log = np.empty(count * (columns + 1))
    n = 0
    for r in range(count):
        for k in range(columns + 1):
            if r == 0:
                c = programme.energy[k] if k < columns else 0.0
                if k < columns and programme.static > 0:
                    c += programme.static * programme.times[0, k]
                if k == columns and programme.mode == EDP:
                    c = programme.base
            elif r <= times:
                c = programme.times[r - 1, k]
            else:
                c = programme.limits[r - 1 - times, k] if k < columns else 0.0
            if c > 0:
                column[n], log[n] = k, np.log(c)
                n += 1
        start[r + 1] = n
    return _Sums(start, column[:n], log[:n])


@njit(cache=True)
def _log_sum(sums: _Sums, r: int, at: Floats) -> float:
    """The logarithm of a sum, its products given by their logarithms."""
    top = -np.inf
    for i in range(sums.start[r], sums.start[r + 1]):
        top = max(top, sums.log[i] + at[sums.column[i]])
    if sums.start[r + 1] - sums.start[r] < 2:
        return top
    total = 0.0
    for i in range(sums.start[r], sums.start[r + 1]):
        total += np.exp(sums.log[i] + at[sums.column[i]] - top)
    return top + float(np.log(total))


@njit(cache=True)
def _tangent(sums: _Sums, r: int, at: Floats, share: float, weights: Floats) -> float:
    """A linear function below *share* times the logarithm of a sum, equal to it at *at*.

    Adds its slopes to *weights* and returns its constant.
    """
    height = _log_sum(sums, r, at)
    constant = height
    for i in range(sums.start[r], sums.start[r + 1]):
        k = sums.column[i]
        weight = np.exp(sums.log[i] + at[k] - height)
        constant -= weight * at[k]
        weights[k] += share * weight
    return share * constant


@njit(cache=True)
def _score(options: Options, where: Ints, weights: Floats, penalty: Floats, scores: Floats) -> None:
    """What each option adds to the logarithm."""
    for b in range(len(options.starts) - 1):
        low, high = options.starts[b], options.starts[b + 1]
        for o in range(low, high):
            scores[o] = penalty[o]
        for k in range(where.shape[1]):
            if where[b, k] >= 0 and weights[k] != 0.0:
                base, weight = where[b, k] - low, weights[k]
                for o in range(low, high):
                    scores[o] += weight * options.logs[base + o]


@njit(cache=True)
def _constant(programme: Programme, sums: _Sums, at: Multipliers, weights: Floats) -> float:
    """The part of the bound that no option adds to; *weights* receives what columns count."""
    weights[:] = 0.0
    bound = programme.discount if programme.mode == EDP else 0.0
    for r in range(len(at.rates)):
        if at.rates[r] > 0:
            bound += _tangent(sums, r, at.means, at.rates[r], weights)
    return bound


@njit(cache=True)
def _advance(programme: Programme, sums: _Sums, at: Multipliers, picked: Floats, turn: int) -> None:
    """Move the multipliers towards what the options picked."""
    times = len(programme.times)
    pull = max(0.02, 1.0 / (turn + 2.0))
    at.means[:] += pull * (picked - at.means)
    step = 0.1 / (1.0 + 0.1 * turn)
    for r in range(1 + times, len(at.rates)):
        over = _log_sum(sums, r, picked)
        at.rates[r] = max(0.0, at.rates[r] + step * min(2.0, max(-2.0, over)))
    if programme.mode != ENERGY:
        longest, slowest = -np.inf, 1
        for r in range(1, 1 + times):
            time = _log_sum(sums, r, at.means)
            if programme.plain[r - 1] and time > longest:
                longest, slowest = time, r
        at.rates[1 : 1 + times] *= 1 - pull
        at.rates[slowest] += pull


@njit(cache=True)
def dual(
    options: Options,
    programme: Programme,
    penalty: Floats,
    at: Multipliers,
    candidates: Ints,
    rounds: int,
    turns: int,
    target: float,
    scores: Floats,
    weights: Floats,
) -> tuple[float, bool]:
    """A lower bound on the logarithm of the objective (ENERGY: of what it has beyond ``base``).

    Each round scores all options, which gives the bound, and adds the best of each block to the
    candidates; between rounds the multipliers move by what is best among the candidates.

    Args:
        at, candidates: updated in place, a good start for a similar programme.
        target: stop once the bound reaches it.
        scores, weights: receive what options and columns add to the best bound found.

    Returns:
        the bound, and whether it has settled.
    """
    blocks, columns = programme.where.shape
    sums = _sums(programme)
    best = -np.inf
    trial = np.zeros(columns + 1)
    picked = np.zeros(columns + 1)
    room = candidates.shape[1] - 1
    small = np.zeros((blocks, room, columns))
    top = Multipliers(at.means.copy(), at.rates.copy())
    settled = False
    for turn in range(rounds):
        bound = _constant(programme, sums, at, trial)
        _score(options, programme.where, trial, penalty, scores)
        new = False
        for b in range(blocks):
            low, high = options.starts[b], options.starts[b + 1]
            least, pick = np.inf, low
            for o in range(low, high):
                if scores[o] < least:
                    least, pick = scores[o], o
            bound += least
            known = False
            for i in range(min(room, candidates[b, room])):
                if candidates[b, i] == pick:
                    known = True
            if not known:
                new = True
                candidates[b, candidates[b, room] % room] = pick
                candidates[b, room] += 1
        if bound > best:
            best = bound
            weights[:] = trial
            if best >= target:
                return best, False
        settled = not new and turn > 0
        if settled or turn == rounds - 1:
            break
        for b in range(blocks):
            low = options.starts[b]
            for i in range(min(room, candidates[b, room])):
                for k in range(columns):
                    where = programme.where[b, k]
                    small[b, i, k] = (
                        options.logs[where + candidates[b, i] - low] if where >= 0 else 0.0
                    )
        inner = -np.inf
        for t in range(turns):
            bound = _constant(programme, sums, at, trial)
            picked[:] = 0.0
            for b in range(blocks):
                least, pick = np.inf, 0
                for i in range(min(room, candidates[b, room])):
                    s = penalty[candidates[b, i]]
                    for k in range(columns):
                        s += trial[k] * small[b, i, k]
                    if s < least:
                        least, pick = s, i
                bound += least
                for k in range(columns):
                    picked[k] += small[b, pick, k]
            if bound > inner:
                inner = bound
                top.means[:] = at.means
                top.rates[:] = at.rates
            _advance(programme, sums, at, picked, t)
        at.means[:] = top.means
        at.rates[:] = top.rates
    _score(options, programme.where, weights, penalty, scores)
    return best, settled


@njit(cache=True)
def value_of(programme: Programme, least: Floats) -> float:
    """The objective where every product is *least*; inf beyond a limit or without a mapping."""
    columns = len(programme.energy)
    for m in range(len(programme.limits)):
        need = 0.0
        for k in range(columns):
            need += programme.limits[m, k] * least[k]
        if need > 1.0 + 1e-9:
            return np.inf
    energy = programme.constant
    for k in range(columns):
        c = programme.energy[k]
        energy += c * least[k] if c >= 0 else c / least[k]
    if len(programme.times) == 0:
        return energy
    cycles = 0.0
    for t in range(len(programme.times)):
        time = programme.times[t, columns]
        for k in range(columns):
            c = programme.times[t, k]
            time += c * least[k] if c >= 0 else c / least[k]
        cycles = max(cycles, time)
    if cycles > programme.cycle_limit:
        return np.inf
    energy += programme.static * cycles
    if programme.mode == ENERGY:
        return energy
    return cycles if programme.mode == LATENCY else energy * cycles


@njit(cache=True)
def log_of(programme: Programme, value: float) -> float:
    """Where the dual bound must get to rule out all objectives from *value* on."""
    rest = value - programme.base if programme.mode == ENERGY else value
    return np.log(rest) if rest > 0 else -np.inf


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


@njit(cache=True)
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
                least[i] = factors[begin[i]]
                most[i] = factors[begin[i]]
                continue
            other = i + 2 * ((begin[i] + end[i]) // 2 - begin[i])
            score[i] = min(score[i + 1], score[other])
            for k in range(columns):
                least[i, k] = min(least[i + 1, k], least[other, k])
                most[i, k] = max(most[i + 1, k], most[other, k])
                if weights[k] > 0 and most[i, k] > least[i, k]:
                    spread[i] += weights[k] * np.log(most[i, k] / least[i, k])
    return _Forest(first, begin, end, least, score, spread)


@njit(cache=True)
def _descend(
    programme: Programme,
    forest: _Forest,
    floor: float,
    incumbent: float,
    fans: Ints,
    dims: Ints,
    room: int,
) -> tuple[float, Ints, Ints, Floats, int, int]:
    """Branch and bound over boxes of leaves.

    Args:
        floor: the dual bound; a leaf's score is what it adds.
        fans: ``[leaves, arrays, 2]``, checked for a place on the array.
        room: if not zero, return every single choice that may be below *incumbent*, that many at
            first, instead of the best.

    Returns:
        the best value and its leaf of each block (-1: none); the choices gathered and their
        bounds; boxes looked at and discarded.
    """
    blocks, columns = programme.where.shape
    chosen = np.full(blocks, -1, np.int64)
    stack, bounds = np.empty((64 * blocks, blocks), np.int64), np.empty(64 * blocks)
    gathered, values = np.empty((room, blocks), np.int64), np.empty(room)
    found = 0
    best, target = incumbent, log_of(programme, incumbent)
    line = np.ones(columns)
    box = np.empty(blocks, np.int64)
    both = np.empty(2)
    need, which_dim = np.ones(2 * blocks, np.int64), np.zeros(2 * blocks, np.int64)
    for b in range(blocks):
        stack[0, b] = 2 * forest.first[b]
        line *= forest.least[2 * forest.first[b]]
        for i in range(2):
            which_dim[2 * b + i] = max(0, dims[b, i])
    bounds[0] = value_of(programme, line)
    explored = pruned = 0
    depth = 1
    while depth > 0:
        depth -= 1
        if bounds[depth] >= best:
            pruned += 1
            continue
        box[:] = stack[depth]
        which, widest = -1, -1.0
        for b in range(blocks):
            i = box[b]
            if forest.end[i] - forest.begin[i] > 1 and forest.spread[i] > widest:
                which, widest = b, forest.spread[i]
        if which < 0:
            if room > 0:
                if found == len(values):
                    more, larger = np.empty((2 * found, blocks), np.int64), np.empty(2 * found)
                    more[:found], larger[:found] = gathered, values
                    gathered, values = more, larger
                for b in range(blocks):
                    gathered[found, b] = forest.begin[box[b]]
                values[found] = bounds[depth]
                found += 1
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
            for k in range(columns):
                line[k] = forest.least[box[0], k]
            for b in range(1, blocks):
                for k in range(columns):
                    line[k] *= forest.least[box[b], k]
            both[side] = value_of(programme, line)
        near = 0 if both[0] <= both[1] else 1
        for side in (1 - near, near):
            if both[side] < best:
                box[which] = halves[side]
                stack[depth] = box
                bounds[depth] = both[side]
                depth += 1
            else:
                pruned += 1
    return best, chosen, gathered[:found], values[:found], explored, pruned


@njit(cache=True)
def _part(
    options: Options, programme: Programme, kept: Ints, first: Ints
) -> tuple[Options, Programme, Floats]:
    """The programme over some of its options, and their factors ``[options, columns]``."""
    blocks, columns = programme.where.shape
    n = len(kept)
    raw, logs = np.ones(n * columns), np.zeros(n * columns)
    where = np.empty((blocks, columns), np.int64)
    factors = np.ones((n, columns))
    fans = np.empty((n, options.fans.shape[1], 2), np.int64)
    groups = np.empty(n, np.int64)
    for b in range(blocks):
        for k in range(columns):
            at = programme.where[b, k]
            where[b, k] = -1 if at < 0 else k * n + first[b]
            if at >= 0:
                for i in range(first[b], first[b + 1]):
                    o = at + kept[i] - options.starts[b]
                    raw[k * n + i] = factors[i, k] = options.raw[o]
                    logs[k * n + i] = options.logs[o]
    for i in range(n):
        fans[i], groups[i] = options.fans[kept[i]], options.groups[kept[i]]
    return (
        Options(first, raw, logs, fans, options.dims, groups),
        Programme(
            where,
            programme.mode,
            programme.constant,
            programme.base,
            programme.discount,
            programme.energy,
            programme.static,
            programme.times,
            programme.plain,
            programme.cycle_limit,
            programme.limits,
            programme.axes,
            programme.allowed,
        ),
        factors,
    )


@njit(cache=True)
def _alive(starts: Ints, scores: Floats, floor: float, target: float) -> tuple[Ints, Ints, Floats]:
    """Options that do not lift the dual bound to *target*, and by how much they lift it."""
    blocks = len(starts) - 1
    kept, lifts = np.empty(len(scores), np.int64), np.empty(len(scores))
    first = np.zeros(blocks + 1, np.int64)
    n = 0
    for b in range(blocks):
        least = np.inf
        for o in range(starts[b], starts[b + 1]):
            least = min(least, scores[o])
        for o in range(starts[b], starts[b + 1]):
            if floor + (scores[o] - least) < target:
                kept[n], lifts[n] = o, scores[o] - least
                n += 1
        first[b + 1] = n
    return kept[:n].copy(), first, lifts[:n].copy()


@njit(cache=True)
def search(
    options: Options,
    programme: Programme,
    scores: Floats,
    weights: Floats,
    floor: float,
    at: Multipliers,
    rounds: int,
    turns: int,
    incumbent: float,
) -> tuple[float, Ints, int, int]:
    """The best choice below *incumbent*, if there is one.

    First which group each block takes; then, with a dual bound of its own for each such choice,
    the options.

    Args:
        scores, weights, floor: of the dual bound.
        rounds, turns: of the dual bound for each choice of groups.

    Returns:
        its value (*incumbent* if none), the option of each block (-1: none), boxes looked at, and
        boxes and options discarded.
    """
    blocks, columns = programme.where.shape
    best, chosen = incumbent, np.full(blocks, -1, np.int64)
    kept, first, lifts = _alive(options.starts, scores, floor, log_of(programme, best))
    explored, pruned = 0, len(scores) - len(kept)
    for b in range(blocks):
        if first[b] == first[b + 1]:
            return best, chosen, explored, pruned
    small, problem, factors = _part(options, programme, kept, first)
    # Groups: the least of their options.
    edge = np.empty(len(kept) + 1, np.int64)
    first_group = np.zeros(blocks + 1, np.int64)
    groups = 0
    for b in range(blocks):
        for i in range(first[b], first[b + 1]):
            if i == first[b] or small.groups[i] != small.groups[i - 1]:
                edge[groups] = i
                groups += 1
        first_group[b + 1] = groups
    edge[groups] = len(kept)
    lowest, lift = np.empty((groups, columns)), np.empty(groups)
    for g in range(groups):
        lowest[g], lift[g] = factors[edge[g]], lifts[edge[g]]
        for i in range(edge[g] + 1, edge[g + 1]):
            lift[g] = min(lift[g], lifts[i])
            for k in range(columns):
                lowest[g, k] = min(lowest[g, k], factors[i, k])
    forest = _grow(first_group, lowest, lift, weights)
    _, _, boxes, bounds, looked, cut = _descend(
        problem, forest, floor, best, small.fans, small.dims, groups
    )
    explored += looked
    pruned += cut
    part = np.empty(len(kept), np.int64)
    part_first = np.zeros(blocks + 1, np.int64)
    inner_weights = np.empty(columns + 1)
    for n in range(len(bounds)):
        box = boxes[n]
        if bounds[n] >= best:
            pruned += 1
            continue
        size = 0
        for b in range(blocks):
            for i in range(edge[box[b]], edge[box[b] + 1]):
                part[size] = i
                size += 1
            part_first[b + 1] = size
        inside, closer, _ = _part(small, problem, part[:size], part_first)
        target = log_of(programme, best)
        here = Multipliers(at.means.copy(), at.rates.copy())
        inner_scores = np.empty(size)
        bound, _ = dual(
            inside,
            closer,
            np.zeros(size),
            here,
            np.zeros((blocks, 17), np.int64),
            rounds,
            turns,
            target,
            inner_scores,
            inner_weights,
        )
        explored += 1
        if bound >= target:
            pruned += 1
            continue
        alive, alive_first, alive_lifts = _alive(part_first, inner_scores, bound, target)
        pruned += size - len(alive)
        tiny, last, last_factors = _part(inside, closer, alive, alive_first)
        forest = _grow(alive_first, last_factors, alive_lifts, inner_weights)
        value, leaves, _, _, looked, cut = _descend(
            last, forest, bound, best, tiny.fans, tiny.dims, min(0, looked)
        )
        explored += looked
        pruned += cut
        if leaves[0] >= 0:
            best = value
            for b in range(blocks):
                chosen[b] = kept[part[alive[leaves[b]]]]
    return best, chosen, explored, pruned
