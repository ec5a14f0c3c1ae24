"""Every kind of component, asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from picojoule.components import logic, memories
from picojoule.components.nodes import checked_node, show_node
from picojoule.components.rows import rounded
from picojoule.errors import PicojouleError, did_you_mean
from picojoule.units import show_capacity

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "sram": "an array of SRAM with its decoders, sense amplifiers and wires, from 64 rows",
        "register-file": "the same from 64 words; below, flip-flops alone",
        "mac": "an integer multiplier with the adder of its sums",
        "wire": "a repeated global wire, half of whose bits change",
        **dict.fromkeys(memories.dram_kinds(), "DRAM: device and interface, off the chip"),
    }
)
"""Name -> what it is."""

_BELOW = 22.0  # nm: CACTI and its wires end there
_SRAM = "CACTI 7, interpolated between its runs"
_NARROW = "a row below 32 bit as hwcomponents-cacti has it"
_SHRUNK = "below 22 nm by the square root of the node (IRDS 2022), as hwcomponents-cacti has it"
_LOGIC = "Aladdin (ISCA'14) at 40 nm, by Stillmaker and Baas (2017) at 0.8 V"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """What one component costs.

    Args:
        name: its kind, size and node, for people.
        energies: action ("read", "write", "mac" or "hop") -> pJ.
        area: mm2; 0 off the chip, and of a wire.
        leakage: watts; None where no source says.
        status: "published", "derived" or "assumed".
        source: where the numbers come from.
    """

    name: str
    energies: Mapping[str, float]
    area: float
    leakage: float | None
    status: str
    source: str = field(repr=False)


def component(
    kind: str,
    *,
    node: float,
    width: int,
    capacity: float | None = None,
    ports: int = 1,
    length: float | None = None,
    sum_bits: int | None = None,
) -> Component:
    """The component of a *kind* at *node* nanometres, one action of which is *width* bits.

    Args:
        capacity: bits of a memory on the chip.
        ports: of an SRAM.
        length: millimetres of a wire.
        sum_bits: of a multiplier's adder; by default twice its width.

    >>> component("sram", node=65.0, width=64, capacity=128 * 8192).energies["read"]
    59.3358

    Raises:
        PicojouleError: there is no such kind, or no numbers for this size or node.
    """
    if kind not in KINDS:
        near = did_you_mean(kind, tuple(KINDS))
        raise PicojouleError(f"no component {kind!r}{near}; there are {', '.join(KINDS)}")
    checked_node(node)
    if kind == "mac":
        return _mac(width, sum_bits or 2 * width, node)
    if kind == "wire":
        return _wire(length, width, node)
    if kind in memories.dram_kinds():
        return _dram(kind, width)
    return _memory(kind, capacity, width, ports, node)


def _mac(width: int, sum_bits: int, node: float) -> Component:
    unit = logic.mac(width, sum_bits, node)
    return Component(
        name=f"mac {width} x {width} + {sum_bits} bit at {show_node(node)}",
        energies={"mac": unit.energy},
        area=unit.area,
        leakage=unit.leakage,
        status="derived",
        source=_LOGIC,
    )


def _wire(length: float | None, width: int, node: float) -> Component:
    if length is None:
        raise PicojouleError("a wire needs a length, as in {component: wire, length: 1 mm}")
    below = "" if node >= _BELOW else "; below 22 nm by the square of the supply alone"
    return Component(
        name=f"wire of {length:g} mm, {width} bit at {show_node(node)}",
        energies={"hop": logic.wire(length, width, node)},
        area=0.0,
        leakage=None,
        status="derived" if node >= _BELOW else "assumed",
        source=f"CACTI 7's wires, half of whose bits change{below}",
    )


def _dram(kind: str, width: int) -> Component:
    row, memory = memories.dram_row(kind), memories.dram(kind, width)
    return Component(
        name=f"{kind}, {width} bit",
        energies={"read": memory.read, "write": memory.write},
        area=0.0,
        leakage=None,
        status=row["status"],
        source=row["source"],
    )


def _memory(kind: str, capacity: float | None, width: int, ports: int, node: float) -> Component:
    if capacity is None:
        raise PicojouleError(f"a component {kind!r} needs the capacity of its memory")
    laid_out = memories.sram if kind == "sram" else memories.register_file
    memory = laid_out(capacity, width, node, ports)
    flip_flops = capacity / width < memories.FEWEST_ROWS
    sources = [_LOGIC.replace("Aladdin", "flip-flops of Aladdin") if flip_flops else _SRAM]
    if not flip_flops and width < memories.NARROWEST:
        sources.append(_NARROW)
    if not flip_flops and node < _BELOW:
        sources.append(_SHRUNK)
    several = "" if ports == 1 else f", {ports} ports"
    return Component(
        name=f"{kind} of {show_capacity(capacity)}, {width} bit{several} at {show_node(node)}",
        energies={"read": memory.read, "write": memory.write},
        area=memory.area,
        leakage=memory.leakage,
        status="derived",
        source="; ".join(sources),
    )


def per_word(energy: float, width: int, word: int) -> float:
    """What a word of *word* bits takes of an action of *width* bits.

    >>> per_word(59.3358, 64, 16)
    14.8339
    """
    return rounded(energy * word / width)
