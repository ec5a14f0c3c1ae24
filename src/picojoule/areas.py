"""The area that an accelerator's parts take on its chip, by the components they are."""

from __future__ import annotations

from dataclasses import dataclass

from picojoule.accelerator import Accelerator, Array, ComponentSpec, Memory
from picojoule.components import checked_node
from picojoule.errors import PicojouleError
from picojoule.technology import resolved, taken_as


@dataclass(frozen=True, slots=True, kw_only=True)
class PartArea:
    """The area of all copies of one part.

    Args:
        name: of the memory; "compute" for the multipliers.
        copies: on the chip.
        area: mm2 of all of them; None where there are no numbers for its size.
        how: the component it was taken as, or why there are no numbers.
    """

    name: str
    copies: int
    area: float | None
    how: str


def area(accelerator: Accelerator) -> tuple[PartArea, ...]:
    """The area of every memory on the chip and of the multipliers, outermost first.

    Networks, control, pads and whatever the machine does not name take none.

    Raises:
        PicojouleError: it does not say its node, or there are no numbers for it.
    """
    if accelerator.node is None:
        raise PicojouleError(
            f"{accelerator.name} does not say which node it is for; add it to its file, as in "
            "node: 65nm"
        )
    checked_node(accelerator.node)
    specs = {origin.path: origin.component for origin in accelerator.sources}
    parts, copies = list[PartArea](), 1
    for n, part in enumerate(accelerator.nest):
        if isinstance(part, Array):
            copies *= part.size
            continue
        for i, memory in enumerate(part.memories if n else ()):
            path = f"$.nest[{n}].memories[{i}]"
            named = specs.get(f"{path}.access_energy") or specs.get(f"{path}.read_energy")
            spec = named or taken_as(memory, accelerator.word_bits)
            parts.append(_part(accelerator, memory.name, copies, spec, memory))
    spec = specs.get("$.compute.mac_energy") or ComponentSpec(kind="mac")
    units = copies * accelerator.compute.per_cycle
    return (*parts, _part(accelerator, "compute", units, spec, None))


def _part(
    accelerator: Accelerator, name: str, copies: int, spec: ComponentSpec, memory: Memory | None
) -> PartArea:
    try:
        part = resolved(
            spec,
            accelerator.node,
            word=accelerator.word_bits,
            capacity=memory.capacity if memory else None,
            sum_bits=accelerator.compute.psum_bits,
        )
    except PicojouleError as error:
        return PartArea(name=name, copies=copies, area=None, how=str(error))
    return PartArea(name=name, copies=copies, area=copies * part.area, how=part.name)
