"""The options of one dimension, or of the pair of a window, and what each adds to every count.

A count is a product of one factor per block (:mod:`traffic`). A :class:`Column` names a count, and
a :class:`Block` computes its factors for all of its options, once. Blocks are the same for every
layer that has the same bound on the same accelerator, so :func:`block` keeps the last ones: in a
sweep over channels, or of one layer under other densities, little is counted anew.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np

from picojoule.mapper.chains import Cuts, chains
from picojoule.mapper.kernels import Floats, Ints, repeats, window_words
from picojoule.mapper.options import BUCKET
from picojoule.mapper.patience import check, pieces
from picojoule.traffic import HandedOn
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Operand, WindowAxis

P, R = Dim.P, Dim.R
INPUT = OPERANDS[0]
IRRELEVANT = {o: frozenset(DIMS) - RELEVANT[o] for o in OPERANDS}
AT_A_TIME = 1 << 16  # chains counted between two questions whether there is time
POSITIONS = 1 << 20  # the same for a window: chains times the outputs that each passes
COPIED = 1 << 22  # factors copied between two questions
BLOCKS = ((Dim.P, Dim.R), (Dim.Q, Dim.S), (Dim.M,), (Dim.C,), (Dim.N,), (Dim.G,))
"""The dimensions that choose together: outputs and taps of a window share rows."""
TINY = 1e-30
ROOM = 192 << 20  # bytes of factors kept from one search to the next


class Words(NamedTuple):
    """The words of an edge at a grain, under a pattern of stays."""

    operand: Operand
    child: int
    grain: int
    still: int  # bit mask of levels
    slide: tuple[int, Dim] | None
    handed: HandedOn | None = None  # taps that come all in one step


class Ratio(NamedTuple):
    """How many times some words are others, of which they are no fewer."""

    words: Words
    others: Words


class Tile(NamedTuple):
    """The words of an operand's tile at a level."""

    level: int
    operand: Operand


class Elements(NamedTuple):
    """The unrolling over one array."""

    gap: int


class Total(Enum):
    """A count of the nest as a whole; no tuple, since tuples without fields are all equal."""

    STEPS = "steps of all loops"
    COMMANDS = "steps of the outermost level's loops"
    ONE = "nothing to count"


class Column(NamedTuple):
    """A count, whose factors are known for every option of every block."""

    what: Words | Ratio | Tile | Elements | Total
    divided: int = 0  # by the elements in use of that many of the outermost arrays
    inverse: bool = False  # the reciprocal: a larger count lowers what it enters


class Place(NamedTuple):
    """Where a block keeps the factors of a column."""

    offset: int  # in its store; -1: nowhere, all options have the same
    same: float  # the factor that all options have; 1 where they differ
    least: float  # of those that differ


class Window(NamedTuple):
    """One axis of a sliding window.

    Args:
        room: for each level, the most rows that its memory holds, if it holds inputs at all.
    """

    axis: WindowAxis
    room: tuple[int | None, ...]

    def extent(self, outputs: Ints, taps: Ints) -> Ints:
        """Input rows (columns) under tiles of outputs and taps; at most what is stored."""
        return np.asarray(np.minimum(self.axis.extent(outputs, taps), len(self.axis.stored)))


class Key(NamedTuple):
    """What the options of a block follow from.

    Args:
        dims: one dimension, or outputs and taps of a window.
        cuts: of each dimension.
        arrays: elements of the array beneath each level; 0: none.
        window: for a pair.
        handing: levels whose loops the outermost one hands tiles inward for.
    """

    dims: tuple[Dim, ...]
    cuts: tuple[Cuts, ...]
    arrays: tuple[int, ...]
    window: Window | None = None
    handing: int = 1


def loop_bit(level: int, place: int) -> int:
    """The bit of a loop: at a level, of the dimension at this place of its block."""
    return 1 << (2 * level + place)


class Block:
    """A dimension, or the pair of a window, with all its options.

    Attributes:
        tiles: for each dimension ``[options, levels + 1]``.
        fans: for each dimension ``[options, levels]``.
        runs: ``[options]`` bit mask of the loops that run (:func:`loop_bit`).
        raw, logs: the factors of columns asked for so far, and their logarithms.
        lows: the least logarithm of each bucket of options, column by column.
        nbytes: memory that options and factors take.
    """

    def __init__(self, key: Key, twin: Block | None = None) -> None:
        self.key, self.dims = key, key.dims
        self.depth = len(key.arrays)
        self._gaps = [gap for gap, size in enumerate(key.arrays) if size]
        self._chains: list[tuple[Ints, Ints]]
        self._pick: list[Ints]  # which chain of each dimension an option takes
        self._windows: dict[tuple[int, int, int, bool, int], Floats]
        if twin is None:
            self._chains = [chains(cuts) for cuts in key.cuts]
            pick = self._pairs() if key.window else [np.arange(len(self._chains[0][0]))]
            picked = zip(self._chains, pick, strict=True)
            check()
            # Side by side those that cut the outermost level into as many tiles: they are alike.
            cuts = _outermost([tiles[which] for (tiles, _), which in picked])
            check()
            order = np.argsort(cuts, kind="stable")
            check()
            self._pick = [which[order] for which in pick]
            self._windows = {}
        else:
            self._chains, self._pick = twin._chains, twin._pick
            self._windows = twin._windows
        check()
        chosen = list(zip(self._chains, self._pick, strict=True))
        self.tiles = tuple(tiles[which] for (tiles, _), which in chosen)
        check()
        self.fans = tuple(fans[which] for (_, fans), which in chosen)
        check()
        self.raw, self.logs, self.lows = np.empty(0), np.empty(0), np.empty(0)
        self.runs = self._running()
        self._places: dict[Column, Place] = {}
        self._alike: dict[float, list[Place]] = {}  # many columns have the same factors: by sum
        self._words: dict[Words, Floats] = {}
        self._times: dict[tuple[int, int, int, int], Floats] = {}
        tables = (*self.tiles, *self.fans, *self._pick)
        self.nbytes = sum(table.nbytes for table in tables)

    @property
    def size(self) -> int:
        """How many options there are."""
        return len(self._pick[0])

    def _running(self) -> Ints:
        runs = np.zeros(self.size, np.int64)
        for place, (tiles, fans) in enumerate(zip(self.tiles, self.fans, strict=True)):
            for level in range(self.depth):
                check()
                loops = tiles[:, level + 1] * fans[:, level] < tiles[:, level]
                runs |= np.where(loops, loop_bit(level, place), 0)
        return runs

    def _pairs(self) -> list[Ints]:
        """Which chains of both dimensions go together."""
        window = self.key.window
        assert window is not None
        (tiles, fans), (tap_tiles, tap_fans) = self._chains
        a = np.repeat(np.arange(len(tiles)), len(tap_tiles))
        b = np.tile(np.arange(len(tap_tiles)), len(tiles))
        keep = np.ones(len(a), bool)
        for gap in self._gaps:
            keep &= fans[a, gap] * tap_fans[b, gap] <= self.key.arrays[gap]
        for level, most in enumerate(window.room):
            if most is not None:
                keep &= window.extent(tiles[a, level], tap_tiles[b, level]) <= most
        return [a[keep], b[keep]]

    def unrolled(self, gap: int) -> Floats:
        """Elements of the array beneath a level that each option uses."""
        return np.asarray(math.prod(fans[:, gap] for fans in self.fans) * 1.0)

    def places(self, columns: Sequence[Column]) -> list[Place]:
        """Where the factors of columns are kept; those asked for first are computed.

        Without options there are none, and whatever is said of them is never read.
        """
        new = [column for column in dict.fromkeys(columns) if column not in self._places]
        if not self.size:
            return [Place(-1, 1.0, 1.0)] * len(columns)
        kept = at = len(self.raw)
        raw, logs = np.empty(kept + len(new) * self.size), np.empty(kept + len(new) * self.size)
        for part in pieces(kept, COPIED):
            raw[part], logs[part] = self.raw[part], self.logs[part]
        lows, buckets = [self.lows], np.arange(0, self.size, BUCKET)
        try:
            for column in new:
                check()
                values = self._values(column)
                check()
                least = float(values.min(initial=math.inf))
                if not self.size:  # nothing fits: no choice is below
                    self._places[column] = Place(-1, 1.0, math.inf)
                    continue
                if least == values.max():
                    self._places[column] = Place(-1, least, 1.0)
                    continue
                alike = self._alike.setdefault(float(values.sum()), [])
                for place in alike:
                    if np.array_equal(values, raw[place.offset : place.offset + self.size]):
                        break
                else:
                    place = Place(at, 1.0, least)
                    raw[at : at + self.size] = values
                    np.log(values, out=logs[at : at + self.size])
                    lows.append(np.minimum.reduceat(logs[at : at + self.size], buckets))
                    alike.append(place)
                    at += self.size
                self._places[column] = place
        finally:  # also what there is when the time is over
            self.raw, self.logs, self.lows = raw[:at], logs[:at], np.concatenate(lows)
            self.nbytes += 16 * (at - kept)
        return [self._places[column] for column in columns]

    def _values(self, column: Column) -> Floats:
        count = column.what
        if isinstance(count, Words):
            values = self.words(count)
        elif isinstance(count, Ratio):
            words, others = self.words(count.words), self.words(count.others)
            # Where there are no others all words count; where there are none, none do.
            values = np.where(words > 0, words / np.maximum(others, TINY), 1.0)
        elif isinstance(count, Tile):
            values = self._tile(count)
        elif isinstance(count, Elements):
            values = self.unrolled(count.gap)
        elif count is Total.STEPS:
            values = self.steps()
        elif count is Total.COMMANDS:
            values = self._commands()
        else:
            values = np.ones(self.size)
        for gap in self._gaps[: column.divided]:
            values = values / self.unrolled(gap)
        return 1 / values if column.inverse else values

    def steps(self) -> Floats:
        """Steps of the loops."""
        total = np.ones(self.size)
        for n in range(len(self.dims)):
            total = total * self._repeats(n, self.depth, 0, 0)
        return total

    def _commands(self) -> Floats:
        """Steps of the loops that the outermost level hands tiles inward for."""
        total = np.ones(self.size)
        for tiles, fans in zip(self.tiles, self.fans, strict=True):
            for level in range(self.key.handing):
                total = total * -(-tiles[:, level] // (fans[:, level] * tiles[:, level + 1]))
        return total

    def words(self, words: Words) -> Floats:
        """The factor in a count of words."""
        if words not in self._words:
            self._words[words] = self._count(words)
            self.nbytes += self._words[words].nbytes
        return self._words[words]

    def _count(self, words: Words) -> Floats:
        if words.operand is INPUT and self.key.window:
            level, tap = -1, False
            if words.slide is not None and words.slide[1] in self.dims:
                level, tap = words.slide[0], words.slide[1] is self.dims[1]
            swept = -1
            if words.handed is not None and self.dims[1] in words.handed.taps:
                swept = words.handed.gap
            return self._window(words.child, words.grain, level, tap, swept)
        total = self.repeats(0, words)
        return total if len(self.dims) == 1 else total * self.repeats(1, words)

    def repeats(self, n: int, words: Words) -> Floats:
        """How often the loops of the *n*-th dimension ask for the words, or how many these are."""
        bound = self.key.cuts[n].bound
        if self.dims[n] in RELEVANT[words.operand]:
            return np.full(self.size, float(bound))
        if bound == 1:
            return np.ones(self.size)
        return self._repeats(n, words.child, words.grain, words.still)

    def _repeats(self, n: int, child: int, grain: int, still: int) -> Floats:
        key = (n, child, grain, still)
        if key not in self._times:
            tiles, fans = self._chains[n]
            times = np.concatenate(
                [
                    repeats(tiles[part], fans[part], child, grain, still)
                    for part in pieces(len(tiles), AT_A_TIME)
                ]
            )
            check()
            self._times[key] = np.asarray(times[self._pick[n]])
            self.nbytes += self._times[key].nbytes
        return self._times[key]

    def _window(self, child: int, grain: int, level: int, tap: bool, swept: int) -> Floats:
        """Window words of a pair that slides at a level; equal prefixes of chains count once.

        At the level *swept*, if there is one, all taps come in one step (:func:`traffic.sweep`).
        """
        key = (child, grain, level, tap, swept)
        if key in self._windows:
            return self._windows[key]
        window = self.key.window
        assert window is not None
        if window.axis.taps == 1:  # every output touches a row of its own, once
            self._windows[key] = np.full(self.size, float(window.axis.rows_of_one_tap()))
            return self._windows[key]
        picks, inverses = [], []
        chains = list(self._chains)
        if swept >= 0:
            tap_tiles, tap_fans = chains[1][0], chains[1][1].copy()
            tap_fans[:, swept] = -(-tap_tiles[:, swept] // tap_tiles[:, swept + 1])
            chains[1] = (tap_tiles, tap_fans)
        for tiles, fans in chains:
            # Only what lies outside the child matters.
            columns = np.concatenate([tiles[:, 1 : child + 1], fans[:, :child]], axis=1)
            _, first, inverse = np.unique(columns, axis=0, return_index=True, return_inverse=True)
            inverses.append(inverse.ravel())
            picks.append((tiles[first], fans[first]))
        table = _table(window.axis, picks, child, grain, level, tap, self._open(child))
        check()
        words = np.asarray(table[inverses[0][self._pick[0]], inverses[1][self._pick[1]]])
        self._windows[key] = words
        return words

    def _open(self, child: int) -> list[int]:
        """Levels outside the child at which chains may have a loop; none where all may."""
        if not all(cuts.barred for cuts in self.key.cuts):
            return []
        runs = (
            any(not cuts.barred[level] or cuts.fans[level] for cuts in self.key.cuts)
            for level in range(child)
        )
        return [level for level, running in enumerate(runs) if running] or [0]

    def _tile(self, tile: Tile) -> Floats:
        """The factor in the words of a tile."""
        sizes = [tiles[:, tile.level] for tiles in self.tiles]
        if tile.operand is INPUT and self.key.window:
            return self.key.window.extent(*sizes).astype(float)
        total = np.ones(self.size)
        for dim, size in zip(self.dims, sizes, strict=True):
            if dim in RELEVANT[tile.operand]:
                total = total * size
        return total


def _table(
    axis: WindowAxis,
    chains: Sequence[tuple[Ints, Ints]],
    child: int,
    grain: int,
    level: int,
    tap: bool,
    running: Sequence[int],
) -> Floats:
    """Window words of all pairs of chains; nests that differ in other levels share a table."""
    parts = [x for pair in chains for x in pair]
    if not running:
        return _counted(axis, parts, child, grain, level, tap)
    parts = [part[:, [*running, child] if n % 2 == 0 else running] for n, part in enumerate(parts)]
    grain = int(np.searchsorted(running, grain))
    level, tap = (running.index(level), tap) if level in running else (-1, False)
    key = (axis, *(part.tobytes() for part in parts), len(running), grain, level, tap)
    if key not in _tables:
        if len(_tables) >= TABLES:
            _tables.clear()
        _tables[key] = _counted(axis, parts, len(running), grain, level, tap)
    return _tables[key]


def _counted(
    axis: WindowAxis, parts: Sequence[Ints], child: int, grain: int, level: int, tap: bool
) -> Floats:
    stored = axis.stored
    outputs, fans, taps, tap_fans = map(np.ascontiguousarray, parts)
    return np.concatenate(
        [
            window_words(
                outputs[part],
                fans[part],
                taps,
                tap_fans,
                axis.stride,
                axis.dilation,
                stored.start,
                stored.stop,
                child,
                grain,
                level,
                tap,
            )
            for part in pieces(len(outputs), max(1, POSITIONS // int(outputs[0, 0])))
        ]
    )


TABLES = 1 << 10  # of window words, kept from one nest to the next
_tables: dict[object, Floats] = {}
_kept: OrderedDict[Key, Block] = OrderedDict()


def block(key: Key) -> Block:
    """The block of a key, perhaps one that an earlier search has worked with."""
    check()
    kept = _kept.pop(key, None)
    if kept is None:  # rows and columns often have the same window
        kept = Block(key, _kept.get(key._replace(dims=(P, R))))
    _kept[key] = kept
    return kept


def trim(room: int = ROOM) -> None:
    """Let go of the blocks used longest ago, until the others take no more than *room* bytes."""
    for key in reversed(list(_kept)):
        room -= _kept[key].nbytes
        if room < 0:
            _kept.pop(key, None)


def _outermost(tiles: Sequence[Ints]) -> Ints:
    """A number for how many tiles the outermost level is cut into."""
    key = np.zeros(len(tiles[0]), np.int64)
    for table in tiles:
        counts = -(-table[:, 0] // table[:, 1])
        key = key * (int(counts.max(initial=0)) + 1) + counts
    return key
