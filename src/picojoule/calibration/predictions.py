"""What the model says of a measured row: its mappings, its time, its energy by constant.

Energy is linear in the constants that are fitted. So the coefficient of one is the price of the
row's mappings on the machine on which nothing but this constant, being 1, costs energy:
:func:`cost.evaluate` is asked, there is no second cost model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from picojoule.accelerator import Accelerator
from picojoule.calibration.constants import Constant, without_energies
from picojoule.calibration.measurements import Measurement
from picojoule.cost import evaluate
from picojoule.errors import PicojouleError
from picojoule.mapping import Mapping as LoopNest
from picojoule.simulation.simulator import simulate
from picojoule.workload import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Equal layers of a row, of each the part that is on the chip at once.

    Args:
        layer: one of them.
        images: inferences in that part.
        count: how many layers are equal to it.
    """

    layer: Layer
    images: int
    count: int
    nest: LoopNest

    @property
    def each(self) -> float:
        """Of what one such part takes, how much one inference takes in all equal layers."""
        return self.count / self.images


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedRow:
    """A measured row with the mapping of each of its layers."""

    row: Measurement
    parts: tuple[Part, ...]

    def cycles(self, machine: Accelerator) -> tuple[float, ...]:
        """Cycles of each part, for all of its inferences: played through in time."""
        machine = self.row.on(machine).accelerator
        return tuple(_cycles(part, machine) for part in self.parts)

    def seconds(self, machine: Accelerator, cycles: Sequence[float]) -> float:
        """The time of one inference where its parts take so many cycles.

        Raises:
            PicojouleError: the machine states no clock.
        """
        if not machine.clock:
            raise PicojouleError(
                f"{machine.name} states no clock, so its times in seconds are not known; add "
                "clock: to its file"
            )
        each = (n * part.each for n, part in zip(cycles, self.parts, strict=True))
        return math.fsum(each) / machine.clock

    def joules(self, machine: Accelerator, cycles: Sequence[float]) -> float:
        """The energy of one inference, but for memories that the meter did not see."""
        machine = self.row.on(machine).accelerator
        unit = machine.unit_picojoules
        assert unit is not None  # calibrate has seen to it
        energy = 0.0
        for part, taken in zip(self.parts, cycles, strict=True):
            parts = evaluate(part.layer, machine, part.nest, cycles=taken).by_memory
            seen = (value for name, value in parts.items() if name not in self.row.excluding)
            energy += math.fsum(seen) * part.each
        return energy * unit * 1e-12

    def coefficients(
        self, machine: Accelerator, keys: Sequence[Constant], cycles: Sequence[float]
    ) -> tuple[tuple[float, ...], float]:
        """Joules of one inference per unit of each constant, and those of all other constants."""
        nothing, rest = without_energies(machine), machine
        for key in keys:
            rest = key.put(rest, 0.0)
        each = tuple(self.joules(key.put(nothing, 1.0), cycles) for key in keys)
        return each, self.joules(rest, cycles)

    def bytes(self, machine: Accelerator, memory: str) -> float:
        """What enters and leaves *memory* for one inference, whichever end is charged."""
        machine, bits = self.row.on(machine).accelerator, 0.0
        for part in self.parts:
            moved = evaluate(part.layer, machine, part.nest).moved[memory]
            bits += math.fsum(moved.values()) * part.each
        return bits / 8


def mapped(row: Measurement, machine: Accelerator) -> MappedRow:
    """The row with its own mapping, the chip's or the best on *machine*, each distinct layer once.

    Raises:
        NoMappingError: a layer has none.
    """
    question = row.on(machine)
    parts: dict[tuple[object, ...], Part] = {}
    for share in question.shares():
        key = share.part.signature()
        if key in parts:
            parts[key] = replace(parts[key], count=parts[key].count + 1)
            continue
        nest = row.nest or question.compiled(share.part) or question.find(share.part).mapping
        parts[key] = Part(layer=share.part, images=share.images, count=1, nest=nest)
    return MappedRow(row=row, parts=tuple(parts.values()))


def _cycles(part: Part, machine: Accelerator) -> float:
    """Played through, where transfers take time and the layer can be; else the busiest part's."""
    if machine.bandwidths_known:
        with suppress(PicojouleError):  # time steps of rows and columns: nobody plays them through
            return simulate(part.layer, machine, part.nest).cycles
    return evaluate(part.layer, machine, part.nest).cycles
