"""A few components of each kind at every node, to be printed side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from picojoule.components.catalogue import Component, component
from picojoule.components.memories import dram_kinds
from picojoule.components.nodes import NODES

_KIB = 8192  # bits
_SIZES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("register-file", {"capacity": _KIB / 2, "width": 16}),
    ("sram", {"capacity": 8 * _KIB, "width": 64}),
    ("sram", {"capacity": 128 * _KIB, "width": 64}),
    ("sram", {"capacity": 1024 * _KIB, "width": 64}),
    ("mac", {"width": 8, "sum_bits": 32}),
    ("mac", {"width": 16, "sum_bits": 32}),
    ("wire", {"width": 16, "length": 1.0}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One component by node; a DRAM, which no node of the chip changes, under the first alone.

    Args:
        name: without a node.
        by_node: nanometres -> the component.
    """

    name: str
    by_node: dict[float, Component]

    @property
    def actions(self) -> tuple[str, ...]:
        """What one can do with it."""
        return tuple(next(iter(self.by_node.values())).energies)


def samples() -> Iterator[Sample]:
    """The components, from the smallest memory to DRAM."""
    for kind, size in _SIZES:
        by_node = {node: component(kind, node=node, **size) for node in NODES}
        name = next(iter(by_node.values())).name.partition(" at ")[0]
        yield Sample(name=name, by_node=by_node)
    for kind in dram_kinds():
        bit = component(kind, node=NODES[0], width=1)
        bit = replace(bit, energies={"bit": bit.energies["read"]})
        yield Sample(name=kind, by_node={NODES[0]: bit})
