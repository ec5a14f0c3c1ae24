"""One colour for each operand and each kind of memory, in plots, reports and the web page.

Operands have the colours of Okabe and Ito (2008), made to be told apart by colour-blind readers;
those of places were chosen for the same, red outside, blues between, yellow networks, greens and
purples inside. The tests simulate how both are seen. A memory's colour follows from where it sits,
so that the outermost memory, the buffers, the networks and the registers look alike on every
machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from picojoule.accelerator import Accelerator, Level
from picojoule.estimate_records import Estimate

OPERAND_COLORS: Mapping[str, str] = MappingProxyType(
    {
        "input": "#0072B2",
        "weight": "#E69F00",
        "output": "#009E73",
        "compute": "#8C8C8C",
        "control": "#5E5E66",
        "static": "#C9C9C9",
        "other": "#CC79A7",
    }
)
OF_NO_OPERAND = ("compute", "control", "static")  # what no word moved takes
OUTERMOST = ("#D96A5C", "#A8204A")
BUFFERS = ("#4A6FD0", "#8FC3EE", "#37357F")
NETWORKS = ("#E8D24C", "#8A6A1F")
REGISTERS = ("#135E4B", "#86D46A", "#C4F0D6", "#9C4A9A", "#E58AC0")


def memory_colors(accelerator: Accelerator) -> dict[str, str]:
    """The colour of every place of *machine*: memories, arrays, compute, control, static."""
    first_array = next(
        (n for n, part in enumerate(accelerator.nest) if not isinstance(part, Level)),
        len(accelerator.nest),
    )
    groups: dict[tuple[str, ...], list[str]] = {
        OUTERMOST: [],
        BUFFERS: [],
        NETWORKS: [],
        REGISTERS: [],
    }
    for index, part in enumerate(accelerator.nest):
        if not isinstance(part, Level):
            groups[NETWORKS].append(part.name)
            continue
        colors = OUTERMOST if index == 0 else BUFFERS if index < first_array else REGISTERS
        groups[colors] += [memory.name for memory in part.memories]
    by_memory = {
        name: colors[index % len(colors)]
        for colors, names in groups.items()
        for index, name in enumerate(names)
    }
    return {**by_memory, **_shared()}


def place_colors(estimates: Sequence[Estimate]) -> dict[str, str]:
    """The colour of every place of the *estimates*; one name has one colour in all of them."""
    colors: dict[str, str] = {}
    for estimate in estimates:
        if estimate.machine is not None:
            colors = {**memory_colors(estimate.machine), **colors}
    fallback = (*OUTERMOST, *BUFFERS, *REGISTERS, *NETWORKS)
    names = dict.fromkeys(name for x in estimates for name in x.by_memory)
    for index, name in enumerate(n for n in names if n not in _shared()):
        colors.setdefault(name, fallback[index % len(fallback)])
    return {name: colors.get(name, OPERAND_COLORS.get(name, "#8C8C8C")) for name in names}


def _shared() -> dict[str, str]:
    return {name: OPERAND_COLORS[name] for name in OF_NO_OPERAND}
