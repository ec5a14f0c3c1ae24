"""A slow, obvious interpreter of a mapping, to hold ``traffic`` and ``cost`` to account.

It walks the loop nest one step at a time with real sets of indices, and books a word whenever an
index enters or leaves a tile. It shares no formula with the package: only the rules.

1. Time advances by one step of the innermost loop that is not at its end; loops inside it restart.
2. A child's tile is (re)loaded if a loop outside the child that indexes the operand advanced or
   restarted; otherwise it stays. A loop that takes one step in a full tile does not run.
3. If the advanced loop is the innermost one outside the child that indexes the input and it moves
   the window, only indices that the child did not hold are loaded.
4. A multiplier holds nothing: it is loaded at every step.
5. A layer of several steps walks its nest once for each, on other inputs and outputs. Weights
   that no loop outside a child changes stay in it.
6. Partial sums leave a child before its next load and at the end. A child is handed a partial sum
   only if its parent has one. Of the children that add up one sum, only one is handed it.
7. A memory that refetches inputs when a certain loop advances loads all of its tile then, whether
   or not that loop indexes the inputs.
8. A memory that lies outside an array holds what all elements of that array need of it, also where
   its tile is cut inside the array.
9. Elements of an array that hands inputs on remember together what any of them has had, until
   another loop than the taps it hands on advances; these taps must run right above the array and
   inside all other loops. What they remember does not come from outside.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

from picojoule.accelerator import PLAIN_REUSE, InputReuse
from picojoule.mapping import Mapping
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Layer, Operand

Edge = tuple[Operand, int, int]  # operand, parent and child: stages, the last the multipliers
Loop = tuple[int, Dim]
Path = tuple[tuple[int, ...], ...]  # by array, where the element is along each dimension
Word = tuple[int, ...]  # the indices of one word of an operand
Ranges = list[tuple[int, int]]
Clock = list[list[int]]

WINDOW = (Dim.P, Dim.Q, Dim.R, Dim.S)


@dataclass
class Tally:
    """Words by (operand, parent, child), the latter two as levels."""

    # (edge, level) -> words down (or sums up) at the memories of a level
    loads: Counter[tuple[Edge, int]] = field(default_factory=Counter)
    reads: Counter[Edge] = field(default_factory=Counter)  # edge -> sums handed down
    steps: int = 0
    most: Counter[tuple[Operand, int]] = field(default_factory=Counter)  # words, by stage, at once

    def accesses(
        self, depth: int, homes: dict[Operand, int] | None = None
    ) -> dict[tuple[int, Operand], list[int]]:
        """Words read and written, by level and operand.

        Args:
            homes: levels at which operands lie that the interpreter has in the outermost one.
        """
        words: dict[tuple[int, Operand], list[int]] = {}
        for operand, parent, child in {edge for edge, _ in self.loads}:
            at_parent = self.loads[(operand, parent, child), parent]
            at_child = self.loads[(operand, parent, child), child]
            outer = parent or (homes or {}).get(operand, 0)
            above = words.setdefault((outer, operand), [0, 0])
            below = words.setdefault((child, operand), [0, 0]) if child < depth else [0, 0]
            if operand is Operand.OUTPUT:
                down = self.reads[operand, parent, child]
                above[0] += down
                above[1] += at_parent
                below[0] += at_child
                below[1] += down
            else:
                above[0] += at_parent
                below[1] += at_child
        return words


def interpret(layer: Layer, mapping: Mapping, reuse: InputReuse = PLAIN_REUSE) -> Tally:
    """Count the words of every edge of *mapping*."""
    return _Interpreter(layer, mapping, reuse).run()


class _Interpreter:
    def __init__(self, layer: Layer, mapping: Mapping, reuse: InputReuse) -> None:
        self.layer, self.mapping, self.reuse = layer, mapping, reuse
        self.depth = len(mapping.stages)
        self.levels = (*mapping.levels, max(mapping.levels) + 1)
        self.fanouts = [stage.fanout for stage in mapping.stages]
        self.steps = [mapping.step(level) for level in range(self.depth)]
        self.tiles = [mapping.tile(level) for level in range(self.depth + 1)]
        self.tally = Tally()
        # Dimensions of one index, never unrolled, are the same in every tile.
        self.live = [
            index
            for index, bound in enumerate(layer.bounds)
            if bound > 1 or any(fanout[index] > 1 for fanout in self.fanouts)
        ]
        # Loops that run, outermost first: (level, dim).
        self.nest = [(level, dim) for level in range(self.depth) for dim, _ in mapping.loops(level)]
        self.edges: list[Edge] = []
        for operand in OPERANDS:
            holders = [n for n, stage in enumerate(mapping.stages) if operand in stage.keeps]
            self.edges += [
                (operand, a, b) for a, b in zip(holders, [*holders[1:], self.depth], strict=True)
            ]
        # The loops outside each child that change its tile, outermost first.
        self.outside = {
            (operand, a, b): [
                x
                for x in self.nest
                if x[0] < b and (x[1] in RELEVANT[operand] or x[1] in self.anew(operand, b))
            ]
            for operand, a, b in self.edges
        }
        self.remembered: dict[Edge, dict[Path, set[Word]]] = {}  # by array that hands on
        self.held: dict[Edge, dict[Path, set[Word]]] = {edge: {} for edge in self.edges}  # by child
        self.paths: dict[int, list[Path]] = {}  # level -> paths of elements
        self.sums: dict[tuple[int, Path], set[Word]] = {}  # partial sums that are there, by level

    def arrays_outside(self, level: int) -> int:
        """Stages whose arrays lie outside a memory of *level*: all before the first inside them."""
        stage = 0
        while stage < self.depth and self.levels[stage] < level:
            stage += 1
        return stage

    def memory(self, path: Path, stage: int) -> Path:
        """The memory of a stage that serves the element at *path*."""
        return path[: self.arrays_outside(self.levels[stage])]

    def grains(self, edge: Edge) -> list[int]:
        """Stages whose arrays are counted, for each level from the parent to the child."""
        _, parent, child = edge
        return [
            self.arrays_outside(level)
            for level in range(self.levels[parent], self.levels[child] + 1)
        ]

    def anew(self, operand: Operand, child: int) -> frozenset[Dim]:
        """Loops with which the child loads all of its inputs."""
        level = self.levels[child]
        if operand is not Operand.INPUT or level >= len(self.reuse.refetches):
            return frozenset()
        return self.reuse.refetches[level]

    def handing(self, edge: Edge) -> list[Loop]:
        """Loops inside all others on the edge whose inputs the array right beneath hands on."""
        operand, parent, child = edge
        inside = [loop for loop in self.nest if loop[0] < child]
        loops: list[Loop] = []
        while operand is Operand.INPUT and self.reuse.handed_on and inside:
            stage, dim = inside.pop()
            if stage < parent or dim not in self.handed_on(stage, edge):
                break
            if loops and stage != loops[-1][0]:
                break
            loops.append((stage, dim))
        return loops

    def handed_on(self, stage: int, edge: Edge) -> frozenset[Dim]:
        """Taps that the array right beneath a stage hands on, if an edge leads through it."""
        levels = range(self.levels[edge[1]], self.levels[edge[2]])
        arrays = [level for level in levels if self.arrays_outside(level + 1) == stage + 1]
        return self.reuse.handed_on[arrays[0]] if arrays else frozenset()

    def elements(self, level: int) -> list[Path]:
        """All paths of elements down to *level* (those of arrays outside it)."""
        if level not in self.paths:
            ranges = [itertools.product(*map(range, self.fanouts[outer])) for outer in range(level)]
            self.paths[level] = list(itertools.product(*ranges))
        return self.paths[level]

    def clock(self, time: dict[Loop, int]) -> Clock:
        """The step each level's loop over each dimension is in."""
        return [[time.get((level, dim), 0) for dim in DIMS] for level in range(self.depth)]

    def tile(self, now: Clock, path: Path, level: int) -> Ranges | None:
        """Per dimension the half-open range that the instance at *path* works on, or None."""
        ranges = [(0, 1)] * 8
        for index in self.live:
            low, high = 0, self.layer.bounds[index]
            for outer in range(level):
                step, inner = self.steps[outer][index], self.tiles[outer + 1][index]
                low += now[outer][index] * step
                high = min(high, low + step)
                low += path[outer][index] * inner
                high = min(high, low + inner)
                if low >= high:
                    return None
            ranges[index] = (low, high)
        return ranges

    def indices(self, ranges: Ranges, operand: Operand) -> set[Word]:
        """The set of an operand's indices in a tile."""
        span = dict(zip(DIMS, ranges, strict=True))
        if operand is not Operand.INPUT:
            dims = [d for d in DIMS if d in RELEVANT[operand]]
            return set(itertools.product(*(range(*span[d]) for d in dims)))
        found = []
        for axis, (outer, tap) in enumerate(((Dim.P, Dim.R), (Dim.Q, Dim.S))):
            before, after = self.layer.padding[2 * axis : 2 * axis + 2]
            rows = set()
            for p in range(*span[outer]):
                for r in range(*span[tap]):
                    row = p * self.layer.stride[axis] + r * self.layer.dilation[axis] - before
                    low, high = 0, self.layer.input_size[axis]
                    if self.reuse.padded:
                        low, high = -before, high + after
                    if low <= row < high:
                        rows.add(row)
            found.append(rows)
        ngc = [range(*span[d]) for d in (Dim.N, Dim.G, Dim.C)]
        return set(itertools.product(*ngc, *found))

    def run(self) -> Tally:
        counts = {
            (level, dim): count
            for level in range(self.depth)
            for dim, count in self.mapping.loops(level)
        }
        for step in range(self.layer.time_steps):
            self.walk(counts, first=step == 0)
        return self.tally

    def walk(self, counts: dict[Loop, int], *, first: bool) -> None:
        """One step of the layer: the whole nest."""
        time = dict.fromkeys(self.nest, 0)
        if not first:
            self.sums = {}
        self.load(time, None, first)
        self.tally.steps += 1
        while True:
            for loop in reversed(self.nest):
                time[loop] += 1
                if time[loop] < counts[loop] and self.first_works(time):
                    break
                time[loop] = 0
            else:
                break
            self.load(time, loop)
            self.tally.steps += 1
        self.finish()

    def first_works(self, time: dict[Loop, int]) -> bool:
        """Whether anything is left to do at this time: the first element always has most."""
        first = tuple((0,) * 8 for _ in range(self.depth))
        return self.tile(self.clock(time), first, self.depth) is not None

    def load(self, time: dict[Loop, int], advanced: Loop | None, first: bool = False) -> None:
        moved = self.nest if advanced is None else self.nest[self.nest.index(advanced) :]
        changed = []
        for edge in self.edges:
            operand, _, child = edge
            outside = self.outside[edge]
            stays = operand is Operand.WEIGHT and not outside and not first
            begins = advanced is None and not stays
            if child == self.depth or begins or any(loop in moved for loop in outside):
                slides = (
                    advanced is not None
                    and child < self.depth
                    and operand is Operand.INPUT
                    and bool(outside)
                    and advanced == outside[-1]
                    and advanced[1] in WINDOW
                    and advanced[1] not in self.anew(operand, child)
                )
                if advanced not in self.handing(edge):
                    self.remembered[edge] = {}
                changed.append((edge, slides))
        # Sums leave from the inside out, then tiles are filled from the outside in.
        for edge, _ in sorted(changed, key=lambda x: -x[0][2]):
            if edge[0] is Operand.OUTPUT:
                self.leave(edge)
        clock = self.clock(time)
        for edge, slides in sorted(changed, key=lambda x: x[0][1]):
            self.enter(edge, clock, slides)

    def enter(self, edge: Edge, clock: Clock, slides: bool) -> None:
        operand, parent, child = edge
        old = self.held[edge]
        now: dict[Path, set[Word]] = {}
        self.held[edge] = now
        for path in self.elements(child):
            ranges = self.tile(clock, path, child)
            if ranges is not None:
                now.setdefault(self.memory(path, child), set()).update(
                    self.indices(ranges, operand)
                )
        most = max(map(len, now.values()), default=0)
        self.tally.most[operand, child] = max(self.tally.most[operand, child], most)
        fresh = {
            path: words - old.get(path, set()) if slides else words for path, words in now.items()
        }
        if operand is Operand.OUTPUT:
            self.hand_down(edge, fresh)
            return
        entering, arrays = self.entering(edge, fresh)
        for level, grain in enumerate(self.grains(edge), start=self.levels[parent]):
            groups: dict[Path, set[Word]] = {}
            for path, words in (entering if grain < arrays else fresh).items():
                groups.setdefault(path[:grain], set()).update(words)
            self.tally.loads[self.counted(edge), level] += sum(map(len, groups.values()))

    def counted(self, edge: Edge) -> Edge:
        """An edge with the levels of its stages."""
        operand, parent, child = edge
        return operand, self.levels[parent], self.levels[child]

    def entering(
        self, edge: Edge, fresh: dict[Path, set[Word]]
    ) -> tuple[dict[Path, set[Word]], int]:
        """What comes into the array that hands inputs on, for whom, and the levels outside it."""
        handing = self.handing(edge)
        if not handing:
            return fresh, 0
        arrays = handing[0][0] + 1
        entering: dict[Path, set[Word]] = {}
        memory = self.remembered[edge]
        for path, words in self.held[edge].items():
            entering[path] = words - memory.get(path[: arrays - 1], set())
        for path, words in self.held[edge].items():
            memory.setdefault(path[: arrays - 1], set()).update(words)
        return entering, arrays

    def hand_down(self, edge: Edge, fresh: dict[Path, set[Word]]) -> None:
        _, parent, child = edge
        for path in fresh:
            self.sums[child, path] = set()
        taken = set()
        for path, words in fresh.items():
            up = self.memory(path, parent)
            there = self.there(parent, up)
            for word in words:
                if word in there and (up, word) not in taken:
                    taken.add((up, word))
                    self.tally.reads[self.counted(edge)] += 1
                    self.sums[child, path].add(word)

    def there(self, level: int, path: Path) -> set[Word]:
        return self.sums.setdefault((level, path), set())

    def leave(self, edge: Edge) -> None:
        _, parent, _ = edge
        for level, grain in enumerate(self.grains(edge), start=self.levels[parent]):
            groups: dict[Path, set[Word]] = {}
            for path, words in self.held[edge].items():
                groups.setdefault(path[:grain], set()).update(words)
            self.tally.loads[self.counted(edge), level] += sum(map(len, groups.values()))
        for path, words in self.held[edge].items():
            self.there(parent, self.memory(path, parent)).update(words)
        self.held[edge] = {}

    def finish(self) -> None:
        for edge in sorted(self.edges, key=lambda e: -e[2]):
            if edge[0] is Operand.OUTPUT:
                self.leave(edge)
