"""How many words a mapping moves over every edge of the accelerator.

An *edge* joins a level that keeps an operand to the next level inward that keeps it, or to the
multipliers. Within this module parent and child of an edge are stages of the mapping, the last one
standing for the multipliers; in a :class:`Flow` they are the levels of these. What is counted
(DESIGN: "What is counted, and how"):

- A child's tile is loaded again only when a loop that changes it advances. The innermost run of
  loops that do not index the operand leaves it in place, across levels too. The nest is static: a
  loop counts as running if a full tile takes more than one step, even where an edge tile takes one.
- If the innermost loop that indexes the input moves its window (P, Q, R or S), each step of that
  loop loads only the rows or columns that the child does not already hold.
- A layer of several steps runs its whole nest for each. Weights stay over the steps wherever no
  loop outside the child changes them.
- A memory may refetch inputs: then a loop that it names changes the tile, and none of it is kept.
- An array may hand inputs on: while taps run that it hands on for, innermost of all loops outside
  the edge's child and right above the array, a word enters it once, whichever elements need it.
- An edge tile has its true size. Words for several elements of an array are read once outside it.

Because the nest is a Cartesian product, every count is a product of one factor per dimension, or
per pair (P, R), (Q, S) for the input.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from picojoule.accelerator import PLAIN_REUSE, InputReuse
from picojoule.mapping import Mapping
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Layer, Operand, WindowAxis

_WINDOW = ((Dim.P, Dim.R), (Dim.Q, Dim.S))

_Time = tuple[int, ...]
_Path = tuple[int, ...]
_Range = tuple[int, int]


class Chain(NamedTuple):
    """One dimension of a mapping: tiles of the stages and the MAC, and the unrolling below each."""

    tiles: tuple[int, ...]
    fanouts: tuple[int, ...]

    def step(self, stage: int) -> int:
        """By how much the loop of a stage advances."""
        return min(self.tiles[stage], self.fanouts[stage] * self.tiles[stage + 1])


Words_co = TypeVar("Words_co", covariant=True)
"""A number of words, or one that is not known yet (the mapper's coefficients of counts)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(Generic[Words_co]):
    """Words over one edge in the whole layer (all batches).

    Args:
        operand: whose words they are.
        parent, child: the levels that the edge joins; beneath the innermost are the multipliers.
        words: counted at the granularity of ``parent``, ``parent + 1``, ... ``child``: the first
            is what the parent sends or receives, the last what all children together receive or
            send, those between what the elements of arrays in between handle.
        sharing: for each level from the parent to above the child, the words at the elements of
            the array beneath it if some are shared there, else none.
    """

    operand: Operand
    parent: int
    child: int
    words: tuple[Words_co, ...]
    sharing: tuple[Words_co, ...]

    @property
    def at_parent(self) -> Words_co:
        return self.words[0]

    @property
    def at_child(self) -> Words_co:
        return self.words[-1]

    def passed(self, level: int) -> tuple[Words_co, Words_co]:
        """Words outside the array beneath *level*, and at its elements."""
        return self.words[level - self.parent], self.words[level + 1 - self.parent]

    def shared(self, level: int) -> Words_co:
        """Words at the elements of the array beneath *level* if some are shared, else none."""
        return self.sharing[level - self.parent]


def flow_of(operand: Operand, parent: int, child: int, words: tuple[int, ...]) -> Flow[int]:
    """The flow of counted *words*: they are shared where elements get more than comes in.

    >>> flow_of(Operand.WEIGHT, 0, 2, (3, 3, 12)).sharing
    (0, 12)
    """
    sharing = tuple(
        inside if inside != outside else 0 for outside, inside in itertools.pairwise(words)
    )
    return Flow(operand=operand, parent=parent, child=child, words=words, sharing=sharing)


def chains_of(mapping: Mapping) -> dict[Dim, Chain]:
    """The tiles and unrollings of each dimension."""
    tiles = zip(*(stage.tile for stage in mapping.stages), strict=True)
    fanouts = zip(*(stage.fanout for stage in mapping.stages), strict=True)
    return {
        dim: Chain((*sizes, 1), fans) for dim, sizes, fans in zip(DIMS, tiles, fanouts, strict=True)
    }


def flows(layer: Layer, mapping: Mapping, reuse: InputReuse = PLAIN_REUSE) -> tuple[Flow[int], ...]:
    """All edges of a mapping with their words, operand by operand, outermost edge first.

    Args:
        reuse: how the machine reuses inputs (:attr:`Accelerator.input_reuse`).
    """
    chains = chains_of(mapping)
    axes = (layer.axis(0, padded=reuse.padded), layer.axis(1, padded=reuse.padded))
    levels = (*mapping.levels, mapping.depth)
    edges = []
    for operand in OPERANDS:
        holders = mapping.holders(operand)
        for parent, child in zip(holders, [*holders[1:], len(mapping.stages)], strict=True):
            outer, inner = levels[parent], levels[child]
            still, slide = stay(mapping, operand, child, reuse)
            handed = handed_on(mapping, operand, parent, child, reuse)
            anew = operand is Operand.WEIGHT and not lasts(mapping, operand, child)
            times = layer.time_steps if anew else 1
            words = tuple(
                times
                * _indexed_words(
                    layer,
                    axes,
                    swept(chains, handed) if handed and grain <= handed.gap else chains,
                    operand,
                    slide,
                    parent,
                    child,
                    grain,
                    mapping.first(inner),
                )
                * _repeated(chains, operand, still, parent, child, grain)
                for grain in map(mapping.first, range(outer, inner + 1))
            )
            edges.append(flow_of(operand, outer, inner, words))
    return tuple(edges)


def lasts(mapping: Mapping, operand: Operand, child: int) -> bool:
    """Whether *operand*'s tile in *child* stays over the steps of a layer.

    Steps run outside all loops, so only weights can, and only where no loop outside changes them.
    """
    return (
        operand is Operand.WEIGHT
        and child < len(mapping.stages)
        and not any(
            dim in RELEVANT[operand] for level in range(child) for dim, _ in mapping.loops(level)
        )
    )


def compute_steps(mapping: Mapping) -> int:
    """Steps in which all elements work side by side; each element does one MAC a step."""
    depth = len(mapping.stages)
    return math.prod(repeats(chain, 0, depth, 0, ()) for chain in chains_of(mapping).values())


def commands(layer: Layer, mapping: Mapping) -> int:
    """Tiles that the outermost level hands inward, one for each step of its loops.

    Of an uneven mapping, for each step of the loops outside the last stage of the level beneath it.
    """
    last = max((n for n, level in enumerate(mapping.levels) if level == 1), default=1)
    outside = (mapping.loops(stage) for stage in range(last))
    return layer.time_steps * math.prod(count for loops in outside for _, count in loops)


def _repeated(
    chains: dict[Dim, Chain],
    operand: Operand,
    still: tuple[tuple[int, Dim], ...],
    parent: int,
    child: int,
    grain: int,
) -> int:
    """How often the dimensions that do not index the operand make the edge move its tile."""
    times = 1
    for dim in DIMS:
        if dim not in RELEVANT[operand]:
            levels = tuple(level for level, d in still if d is dim)
            times *= repeats(chains[dim], parent, child, grain, levels)
    return times


def _indexed_words(
    layer: Layer,
    axes: tuple[WindowAxis, WindowAxis],
    chains: dict[Dim, Chain],
    operand: Operand,
    slide: tuple[int, Dim] | None,
    parent: int,
    child: int,
    grain: int,
    apart: int,
) -> int:
    """Words over an edge if the dimensions (and time steps) that index the operand were all."""
    if operand is not Operand.INPUT:
        return layer.size(operand)
    words = layer.time_steps * layer.bounds.N * layer.bounds.G * layer.bounds.C
    for axis, (outer, tap) in zip(axes, _WINDOW, strict=True):
        along = None
        if slide is not None and slide[1] in (outer, tap):
            along = (slide[0], 0 if slide[1] is outer else 1)
        words *= window_words(chains[outer], chains[tap], axis, parent, child, grain, along, apart)
    return words


def held_words(
    layer: Layer, mapping: Mapping, stage: int, operand: Operand, *, padded: bool = False
) -> int:
    """Words of *operand* in a stage's tile; of the input at most what is stored of it.

    Where arrays outside the stage lie inside its memory, in the tiles of all elements together.
    """
    apart, chains = mapping.first(mapping.levels[stage]), chains_of(mapping)
    inputs = operand is Operand.INPUT
    words = 1
    for dim in RELEVANT[operand]:
        if not (inputs and any(dim in dims for dims in _WINDOW)):
            words *= sum(end - start for start, end in _first_ranges(chains[dim], stage, apart))
    for n, (outer, tap) in enumerate(_WINDOW if inputs else ()):
        axis = layer.axis(n, padded=padded)
        rows: set[int] = set()
        for p0, p1 in _first_ranges(chains[outer], stage, apart):
            for r0, r1 in _first_ranges(chains[tap], stage, apart):
                first = p0 * axis.stride + r0 * axis.dilation
                rows |= set(range(first, first + axis.extent(p1 - p0, r1 - r0)))
        words *= min(len(rows), len(axis.stored))
    return words


def _first_ranges(dim: Chain, stage: int, apart: int) -> list[_Range]:
    """What a stage's memory holds of a dimension in the first step of all loops, at their fullest.

    Of arrays outside *apart* the first element, of those from there to the stage every one.
    """
    ranges = [(0, dim.tiles[0])]
    for level in range(stage):
        inner = dim.tiles[level + 1]
        ranges = [
            (low, min(low + inner, end))
            for start, stop in ranges
            for end in [min(start + dim.step(level), stop)]
            for low in range(start, end, inner)[: 1 if level < apart else None]
        ]
    return ranges


def stay(
    mapping: Mapping, operand: Operand, child: int, reuse: InputReuse = PLAIN_REUSE
) -> tuple[tuple[tuple[int, Dim], ...], tuple[int, Dim] | None]:
    """Loops that leave *operand*'s tile in *child* in place, and the loop its window slides on.

    A multiplier holds nothing, so nothing stays there.
    """
    if child == len(mapping.stages):
        return (), None
    anew = refetched(operand, mapping.levels[child], reuse)
    still: list[tuple[int, Dim]] = []
    for level in reversed(range(child)):
        for dim, _ in reversed(mapping.loops(level)):
            if dim in RELEVANT[operand] | anew:
                windowed = operand is Operand.INPUT and dim in (Dim.P, Dim.Q, Dim.R, Dim.S)
                return tuple(still), (level, dim) if windowed and dim not in anew else None
            still.append((level, dim))
    return tuple(still), None


def refetched(operand: Operand, level: int, reuse: InputReuse) -> frozenset[Dim]:
    """Loops with which *level* fetches its tile of *operand* anew, whatever it holds of it."""
    if operand is not Operand.INPUT or level >= len(reuse.refetches):
        return frozenset()
    return reuse.refetches[level]


class HandedOn(NamedTuple):
    """Taps that run right above the array beneath stage *gap*, which hands their inputs on."""

    gap: int
    taps: frozenset[Dim]


def handed_on(
    mapping: Mapping, operand: Operand, parent: int, child: int, reuse: InputReuse
) -> HandedOn | None:
    """The array on an edge that hands inputs on, if one does: no loop may run further inside."""
    if operand is not Operand.INPUT:
        return None
    outer, inner = mapping.levels[parent], (*mapping.levels, mapping.depth)[child]
    arrays = {
        mapping.first(level + 1) - 1: taps
        for level, taps in enumerate(reuse.handed_on[:inner])
        if level >= outer
    }
    for stage in reversed(range(parent, child)):
        running = [dim for dim, _ in reversed(mapping.loops(stage))]
        taps = itertools.takewhile(arrays.get(stage, frozenset()).__contains__, running)
        if running:
            handed = HandedOn(stage, frozenset(taps))
            return handed if handed.taps else None
    return None


def swept(chains: dict[Dim, Chain], handed: HandedOn) -> dict[Dim, Chain]:
    """The chains as if all taps that are handed on were there in one step."""
    return chains | {dim: sweep(chains[dim], handed.gap) for dim in handed.taps}


def sweep(chain: Chain, gap: int) -> Chain:
    """The chain with all steps of the loop of level *gap* side by side.

    >>> sweep(Chain((6, 6, 2), (1, 1)), 1)
    Chain(tiles=(6, 6, 2), fanouts=(1, 3))
    """
    fanouts = list(chain.fanouts)
    fanouts[gap] = -(-chain.tiles[gap] // chain.tiles[gap + 1])
    return chain._replace(fanouts=tuple(fanouts))


@lru_cache(maxsize=1 << 16)
def repeats(dim: Chain, parent: int, child: int, grain: int, still: tuple[int, ...]) -> int:
    """How often a dimension that does not index an operand makes the edge move its tile.

    Loops of the levels in *still* count once. Arrays outside *grain* count every element in use,
    those from *grain* to the child once (multicast, or accumulation on the way).
    """

    def count(level: int, size: int) -> int:
        if level == child:
            return 1
        total = 0
        for step, times in _pieces(size, dim.step(level)):
            inner = dim.tiles[level + 1]
            if level < grain:
                below = sum(n * count(level + 1, piece) for piece, n in _pieces(step, inner))
            else:
                below = count(level + 1, min(step, inner))
            if level in still:
                return below
            total += times * below
        return total

    del parent  # the arrays outside the parent lie outside the grain as well
    return count(0, dim.tiles[0])


def _pieces(size: int, piece: int) -> Iterator[tuple[int, int]]:
    """Cut *size* into pieces: (length, how many), the full ones first."""
    full, rest = divmod(size, piece)
    if full:
        yield piece, full
    if rest:
        yield rest, 1


@lru_cache(maxsize=1 << 16)
def window_words(
    outputs: Chain,
    taps: Chain,
    axis: WindowAxis,
    parent: int,
    child: int,
    grain: int,
    slide: tuple[int, int] | None,
    apart: int | None = None,
) -> int:
    """Rows (or columns) moved over an edge, summed over all positions of both loops.

    Args:
        axis: of the layer, whose outputs and taps the chains cut.
        slide: (stage, 0 for outputs or 1 for taps) of the loop the window slides on.
        apart: the stage outside which arrays part the memories that are filled: elements of arrays
            from there to the child fill one together. By default all lie outside the child.
    """
    del parent  # the arrays outside the parent lie outside the grain as well
    if taps.tiles[0] == 1:  # each output touches a row of its own, whatever the loops
        return axis.rows_of_one_tap()
    visits = (_visits(outputs, child, grain), _visits(taps, child, grain))
    total = 0
    for key_p, children_p in visits[0].items():
        for key_r, children_r in visits[1].items():
            before_p, before_r = children_p, children_r
            moving = False
            if slide is not None:
                level, which = slide
                key = (key_p, key_r)[which]
                if key[0][level] > 0:
                    moving = True
                    previous = visits[which][
                        ((*key[0][:level], key[0][level] - 1, *key[0][level + 1 :]), key[1])
                    ]
                    if which == 0:
                        before_p = previous
                    else:
                        before_r = previous
            if moving and apart is not None and apart < child:
                now_of = _rows_of_memories(axis, children_p, children_r, apart - grain)
                before_of = _rows_of_memories(axis, before_p, before_r, apart - grain)
                fresh = (rows - before_of.get(key, set()) for key, rows in now_of.items())
                total += len(set[int]().union(*fresh))
                continue
            rows: set[int] = set()
            for path_p, (p0, p1) in children_p.items():
                for path_r, (r0, r1) in children_r.items():
                    now = _rows(axis, p0, p1, r0, r1)
                    if moving:
                        q0, q1 = before_p.get(path_p, (0, 0))
                        s0, s1 = before_r.get(path_r, (0, 0))
                        now = now - _rows(axis, q0, q1, s0, s1)
                    rows |= now
            total += len(rows)
    return total


def _rows_of_memories(
    axis: WindowAxis,
    outputs: MappingABC[_Path, _Range],
    taps: MappingABC[_Path, _Range],
    arrays: int,
) -> dict[tuple[_Path, _Path], set[int]]:
    """Rows that elements hold together, by where they are in the outermost *arrays*."""
    together: dict[tuple[_Path, _Path], set[int]] = {}
    for (path_p, (p0, p1)), (path_r, (r0, r1)) in itertools.product(outputs.items(), taps.items()):
        held = together.setdefault((path_p[:arrays], path_r[:arrays]), set())
        held |= _rows(axis, p0, p1, r0, r1)
    return together


def rows_under(axis: WindowAxis, p0: int, p1: int, r0: int, r1: int) -> frozenset[int]:
    """Stored rows under the outputs from *p0* to before *p1* and the taps from *r0* to before *r1*.

    >>> axis = WindowAxis(outputs=3, taps=3, stride=1, dilation=1, stored=range(1, 4))
    >>> sorted(rows_under(axis, 0, 1, 0, 3))
    [1, 2]
    """
    stride, dilation, stored = axis.stride, axis.dilation, axis.stored
    low, high = stored.start, stored.stop
    return frozenset(
        row
        for p in range(p0, p1)
        for row in range(p * stride + r0 * dilation, p * stride + r1 * dilation, dilation)
        if low <= row < high
    )


_rows = lru_cache(maxsize=1 << 14)(rows_under)


def _visits(dim: Chain, child: int, grain: int) -> dict[tuple[_Time, _Path], dict[_Path, _Range]]:
    """What the children hold of one dimension, step by step.

    For each moment (step index at every level) and each instance outside *grain*, the range that
    each child inside holds.
    """
    visits: dict[tuple[_Time, _Path], dict[_Path, _Range]] = {}

    def walk(level: int, start: int, size: int, time: _Time, outer: _Path, inner: _Path) -> None:
        if level == child:
            visits.setdefault((time, outer), {})[inner] = (start, start + size)
            return
        step, tile = dim.step(level), dim.tiles[level + 1]
        for now, first in enumerate(range(start, start + size, step)):
            end = min(first + step, start + size)
            for element, low in enumerate(range(first, end, tile)):
                here = (*outer, element) if level < grain else outer
                path = inner if level < grain else (*inner, element)
                walk(level + 1, low, min(tile, end - low), (*time, now), here, path)

    walk(0, 0, dim.tiles[0], (), (), ())
    return visits
