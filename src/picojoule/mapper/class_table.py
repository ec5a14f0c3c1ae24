"""The classes of a space side by side, as numbers.

What a class fixes depends on the machine, the dataflow and few things of the layer (which loops run
at all, whether its window slides), so the classes of one layer are mostly those of the next, and
the last tables are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from picojoule.mapper.blocks import BLOCKS, loop_bit
from picojoule.mapper.kernels import Ints
from picojoule.mapper.mapping_classes import Edge, MappingClass, Runs, Stay
from picojoule.mapper.patience import check
from picojoule.mapper.space import Space
from picojoule.workload import DIMS, RELEVANT, Dim, Operand

KEPT = 32  # tables
AT_A_TIME = 64  # classes listed between two questions whether there is time


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Classes that keep the same operands, and their weights as long over time steps.

    Args:
        lasting: weights down to this level are fetched in the first time step alone.
        stays: for each edge, every way in which its tile stays in one of the classes.
    """

    keeps: tuple[frozenset[Operand], ...]
    lasting: int
    edges: tuple[Edge, ...]
    stays: tuple[tuple[Stay, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTable:
    """All classes of a space.

    Args:
        kind: ``[classes]`` number of each class's kind.
        patterns: ``[classes, most edges]`` which of its kind's stays each edge has.
        held: ``[classes, blocks]`` bit mask of the loops that may not run (:func:`loop_bit`).
    """

    classes: dict[MappingClass, int]  # and their numbers
    kinds: tuple[Kind, ...]
    kind: Ints
    patterns: Ints
    held: Ints


_kept: OrderedDict[object, ClassTable] = OrderedDict()


def class_table(space: Space) -> ClassTable:
    """The table of a space's classes, perhaps one that an earlier search has made."""
    key = space.structure
    table = _kept.pop(key, None)
    if table is None:
        table = _tabulate(space)
    _kept[key] = table
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return table


def _tabulate(space: Space) -> ClassTable:
    classes: dict[MappingClass, int] = {}
    for cls in space.classes():
        if len(classes) % AT_A_TIME == 0:
            check()
        classes[cls] = len(classes)
    numbers: dict[tuple[tuple[frozenset[Operand], ...], int], int] = {}
    edges: list[tuple[Edge, ...]] = []
    stays: list[list[dict[Stay, int]]] = []
    kind, held = np.zeros(len(classes), np.int64), np.zeros((len(classes), len(BLOCKS)), np.int64)
    rows = []
    for n, cls in enumerate(classes):
        if n % AT_A_TIME == 0:
            check()
        key = (cls.keeps, space.lasting(cls))
        if key not in numbers:
            numbers[key] = len(numbers)
            edges.append(tuple(space.edges(cls.keeps)))
            stays.append([{} for _ in edges[-1]])
        kind[n] = numbers[key]
        rows.append(
            [
                seen.setdefault((*space.stay(cls, edge), space.handed_on(cls, edge)), len(seen))
                for edge, seen in zip(edges[kind[n]], stays[kind[n]], strict=True)
            ]
        )
        for level, dims in _held(space, cls):
            for b, block in enumerate(BLOCKS):
                for place, dim in enumerate(block):
                    if dim in dims:
                        held[n, b] |= loop_bit(level, place)
    patterns = np.zeros((len(classes), max(map(len, rows), default=0)), np.int64)
    for n, row in enumerate(rows):
        patterns[n, : len(row)] = row
    kinds = tuple(
        Kind(keeps=keeps, lasting=lasting, edges=of, stays=tuple(tuple(seen) for seen in known))
        for (keeps, lasting), of, known in zip(numbers, edges, stays, strict=True)
    )
    return ClassTable(classes=classes, kinds=kinds, kind=kind, patterns=patterns, held=held)


def _held(space: Space, cls: MappingClass) -> list[tuple[int, frozenset[Dim]]]:
    """Levels of a class, and dimensions that may have no loop there."""
    return [
        *(
            (level, frozenset(DIMS) if runs is Runs.NONE else RELEVANT[order.stays])
            for level, (order, runs) in enumerate(zip(cls.orders, cls.runs, strict=True))
            if runs is not Runs.ANY
        ),
        *((level, frozenset(DIMS)) for level in space.idle(cls)),
    ]
