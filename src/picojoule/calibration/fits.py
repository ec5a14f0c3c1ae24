"""Constants fitted to rows of which each has its mappings: times first, then energies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from picojoule.accelerator import Accelerator
from picojoule.calibration.constants import Constant
from picojoule.calibration.linear import PULL, Floats, LinearFit, weights_of
from picojoule.calibration.machine import rounded
from picojoule.calibration.measurements import Measurement
from picojoule.calibration.pace import TimeFit
from picojoule.calibration.predictions import MappedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A machine with fitted constants, and the problems that they solve.

    Args:
        machine: with the constants.
        rows: that were fitted, each with its mappings.
        energy_rows: those of them whose energy was measured.
        energy, values: the energies' problem and its solution; None where no energy is fitted.
        times, paces: the same of times.
    """

    machine: Accelerator
    rows: tuple[MappedRow, ...]
    energy_rows: tuple[MappedRow, ...]
    energy: LinearFit | None
    values: Floats
    times: TimeFit | None
    paces: Floats

    @property
    def error(self) -> float:
        """Root mean square of the relative errors of energies, and of times."""
        energy = self.energy.rms(self.values) if self.energy else 0.0
        return math.hypot(energy, self.times.rms(self.paces) if self.times else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """What is to be fitted, and how.

    Args:
        before: the machine as it was.
        energies, paces: the constants to fit, of energy and of time.
        measured_time: energies rest on the measured times of the rows, not on predicted ones.
        weigh: how rows count (:func:`linear.weights_of`).
    """

    before: Accelerator
    energies: tuple[Constant, ...]
    paces: tuple[Constant, ...]
    measured_time: bool
    weigh: str

    def fit(self, rows: tuple[MappedRow, ...]) -> Fit:
        """Times first: they do not depend on energies, as long as mappings stay."""
        times, paces, machine = None, np.zeros(0), self.before
        if self.paces:
            timed = tuple(row for row in rows if row.row.time is not None)
            times = TimeFit(machine=machine, keys=self.paces, rows=timed, weigh=self.weigh)
            paces = rounded(times.solve(), times.start)
            machine = times.at(paces)
        energy, values = None, np.zeros(0)
        energy_rows = tuple(row for row in rows if has_energy(row.row))
        if self.energies:
            energy = self._linear(energy_rows, machine)
            values = rounded(energy.solve(), energy.prior)
            for key, value in zip(self.energies, values, strict=True):
                machine = key.put(machine, float(value))
        return Fit(
            machine=machine,
            rows=rows,
            energy=energy,
            energy_rows=energy_rows,
            values=values,
            times=times,
            paces=paces,
        )

    def _linear(self, rows: Sequence[MappedRow], machine: Accelerator) -> LinearFit:
        """The energies of the rows as a linear problem; times are those of *machine*."""
        coefficients, rest, measured = [], [], []
        for row in rows:
            cycles = self.cycles(row, machine)
            each, others = row.coefficients(machine, self.energies, cycles)
            coefficients.append(each)
            rest.append(others)
            measured.append(self.measured_energy(row, machine, cycles))
        prior = [key.get(self.before) or 0.0 for key in self.energies]
        pull = [PULL[key.origin(self.before).status] for key in self.energies]
        return LinearFit(
            coefficients=np.array(coefficients),
            rest=np.array(rest),
            measured=np.array(measured),
            weights=weights_of(np.array(measured), self.weigh),
            prior=np.array(prior),
            pull=np.array(pull),
        )

    def cycles(self, row: MappedRow, machine: Accelerator) -> tuple[float, ...]:
        """Cycles of the row's parts: predicted, or as many as the measured time has."""
        cycles = row.cycles(machine)
        if not self.measured_time or row.row.time is None:
            return cycles
        factor = row.row.time / row.seconds(machine, cycles)
        return tuple(factor * n for n in cycles)

    def measured_energy(
        self, row: MappedRow, machine: Accelerator, cycles: Sequence[float]
    ) -> float:
        """Joules; of a power without a time, over our time."""
        if row.row.energy is not None:
            return row.row.energy
        assert row.row.power is not None
        return row.row.power * row.seconds(machine, cycles)


def has_energy(row: Measurement) -> bool:
    """Whether a row's energy was measured, or the power that it comes of."""
    return row.energy is not None or row.power is not None
