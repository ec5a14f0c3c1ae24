"""What a fit says and what it leaves open: each constant, each row, and the rows as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from picojoule.calibration.constants import Constant
from picojoule.calibration.fits import Fit, Fitting, has_energy
from picojoule.calibration.identifiability import condition, entangled, interval
from picojoule.calibration.linear import weights_of
from picojoule.calibration.machine import recalibrated
from picojoule.calibration.predictions import MappedRow
from picojoule.calibration.records import (
    CHECKED,
    FITTED,
    PREDICTED,
    Ambiguity,
    Calibration,
    Combination,
    Compared,
    FittedConstant,
    Settling,
)
from picojoule.completeness import told


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A fit, what was asked of it, and the rows that were kept aside.

    Args:
        file: of the measurements.
    """

    asked: Fitting
    fit: Fit
    checks: tuple[MappedRow, ...]
    file: str

    def calibration(self, settling: Settling) -> Calibration:
        """All of it, as it is shown and saved."""
        constants = (*self._energy_constants(), *self._time_constants())
        power = self._constant_power()
        compared: list[Compared] = []
        for row in sorted((*self.fit.rows, *self.checks), key=lambda one: one.row.line):
            compared += self._compared(row, power)
        changed = [
            key
            for key, one in zip((*self.asked.energies, *self.asked.paces), constants, strict=True)
            if not one.kept
        ]
        source = f"picojoule calibrate on {Path(self.file).name}: {_named(self.fit.rows)}"
        return Calibration(
            machine=recalibrated(self.fit.machine, changed, source),
            before=self.asked.before,
            file=self.file,
            constants=constants,
            compared=tuple(compared),
            ambiguities=self._ambiguities(constants),
            condition=condition(self.fit.energy.scaled) if self.fit.energy else 1.0,
            settling=settling,
            measured_time=self.asked.measured_time,
            weigh=self.asked.weigh,
            power=power,
            remarks=tuple(self._remarks(constants)),
        )

    def _energy_constants(self) -> list[FittedConstant]:
        problem = self.fit.energy
        if problem is None:
            return []
        best = problem.rms(problem.solve())
        constants = []
        for index, key in enumerate(self.asked.energies):
            ends = interval(problem, index, best)
            seen = bool(problem.shares[index] > 0)
            constants.append(self._constant(key, float(self.fit.values[index]), ends, seen))
        return constants

    def _time_constants(self) -> list[FittedConstant]:
        problem = self.fit.times
        if problem is None:
            return []
        constants = []
        for index, key in enumerate(self.asked.paces):
            seen = problem.is_seen(self.fit.paces, index)
            ends = problem.interval(self.fit.paces, index)
            constants.append(self._constant(key, float(self.fit.paces[index]), ends, seen))
        return constants

    def _constant(
        self, key: Constant, value: float, ends: tuple[float, float], seen: bool
    ) -> FittedConstant:
        return FittedConstant(
            key=key.key,
            unit=key.unit,
            of_time=key.of_time,
            value=value,
            before=key.get(self.asked.before),
            before_status=key.origin(self.asked.before).status,
            low=ends[0],
            high=ends[1],
            seen=seen,
        )

    def _ambiguities(self, constants: tuple[FittedConstant, ...]) -> tuple[Ambiguity, ...]:
        ambiguities = []
        if self.fit.energy is not None:
            # What is drawn whatever is done comes last: sums of the others are told in its unit.
            order = sorted(
                range(len(self.asked.energies)), key=lambda n: _drawn(self.asked.energies[n].key)
            )
            scaled, shares = self.fit.energy.scaled[:, order], self.fit.energy.shares[order]
            for group in entangled(scaled, shares):
                members = [constants[order[n]] for n in group.members]
                ambiguities.append(
                    Ambiguity(
                        keys=tuple(one.key for one in members),
                        exactly=group.exactly,
                        combinations=tuple(
                            Combination(
                                terms=tuple(
                                    (coefficient, one)
                                    for coefficient, one in zip(row, members, strict=True)
                                    if coefficient
                                )
                            )
                            for row in group.combinations
                        ),
                    )
                )
        if self.fit.times is not None and len(self.asked.paces) > 1:
            slopes = self.fit.times.slopes(self.fit.paces)
            shares = np.sqrt((slopes**2).mean(axis=0))
            scaled = slopes / np.where(shares > 0, shares, 1.0)
            own = constants[len(self.asked.energies) :]
            ambiguities += [
                Ambiguity(
                    keys=tuple(own[n].key for n in group.members),
                    exactly=group.exactly,
                    combinations=(),
                )
                for group in entangled(scaled, shares)
            ]
        return tuple(ambiguities)

    def _constant_power(self) -> float | None:
        """The one power that, times our time, suits the fitted energies best."""
        if not self.fit.energy_rows or not self.fit.machine.clock:
            return None
        times, energies = [], []
        for row in self.fit.energy_rows:
            cycles = self.asked.cycles(row, self.fit.machine)
            times.append(row.seconds(self.fit.machine, cycles))
            energies.append(self.asked.measured_energy(row, self.fit.machine, cycles))
        measured = np.array(energies)
        per_watt = np.array(times) / measured
        weights = weights_of(measured, self.asked.weigh)
        return float((weights * per_watt).sum() / (weights * per_watt**2).sum())

    def _compared(self, row: MappedRow, power: float | None) -> list[Compared]:
        measured, machine = row.row, self.fit.machine
        cycles = self.asked.cycles(row, machine)
        blank = Compared(
            label=measured.label,
            line=measured.line,
            quantity="energy",
            role=PREDICTED if measured.fitted else CHECKED,
            measured=0.0,
            predicted=0.0,
        )
        compared = []
        if has_energy(measured):
            compared.append(
                replace(
                    blank,
                    role=FITTED if measured.fitted and self.asked.energies else blank.role,
                    measured=self.asked.measured_energy(row, machine, cycles),
                    predicted=row.joules(machine, cycles),
                    left_out=self._left_out_energy(row),
                    constant_power=None if power is None else power * row.seconds(machine, cycles),
                )
            )
        if measured.time is not None:
            compared.append(
                replace(
                    blank,
                    quantity="time",
                    role=FITTED if measured.fitted and self.asked.paces else blank.role,
                    measured=measured.time,
                    predicted=row.seconds(machine, row.cycles(machine)),
                    left_out=self._left_out_time(row),
                )
            )
        for memory, amount in measured.bytes.items():
            ours = row.bytes(machine, memory)
            compared.append(
                replace(blank, quantity=f"bytes.{memory}", measured=amount, predicted=ours)
            )
        return compared

    def _left_out_energy(self, row: MappedRow) -> float | None:
        problem = self.fit.energy
        if problem is None or row not in self.fit.energy_rows or len(self.fit.energy_rows) < 2:
            return None
        place = self.fit.energy_rows.index(row)
        values = problem.without(place).solve()
        return float(problem.coefficients[place] @ values + problem.rest[place])

    def _left_out_time(self, row: MappedRow) -> float | None:
        problem = self.fit.times
        if problem is None or row not in problem.rows or len(problem.rows) < 2:
            return None
        machine = problem.at(problem.without(problem.rows.index(row)).solve())
        return row.seconds(machine, row.cycles(machine))

    def _remarks(self, constants: tuple[FittedConstant, ...]) -> list[str]:
        remarks = []
        count = len(self.fit.energy_rows)
        if count < len(self.asked.energies):
            remarks.append(
                f"under-determined: {count} row{'s' * (count != 1)} for {len(self.asked.energies)} "
                "constants; of all values that fit as well, those nearest to the machine's own are "
                "taken, what is published before all (0 where it states none)"
            )
        timed = len(self.fit.times.rows) if self.fit.times else 0
        if timed < len(self.asked.paces):
            remarks.append(
                f"under-determined: {timed} time{'s' * (timed != 1)} for {len(self.asked.paces)} "
                "constants; the search begins at the machine's own values and stops at the first "
                "that fit"
            )
        unseen = [constant.key for constant in constants if not constant.seen]
        if unseen:
            remarks.append(f"no row depends on {', '.join(unseen)}: as the machine has it")
        kept = [one.key for one in constants if one.kept and one.value > 0 and one.seen]
        if kept:
            stay = "stays" if len(kept) == 1 else "stay"
            remarks.append(f"{', '.join(kept)} {stay} as it was: the rows leave it open, or agree")
        at_zero = [one.key for one in constants if one.value == 0 and one.seen]
        if at_zero:
            remarks.append(f"{', '.join(at_zero)}: 0 fits best, since none may be below")
        for row in (one.row for one in (*self.fit.rows, *self.checks)):
            warnings = told(row.question.network.unmodelled)
            remarks += [f"line {row.line}, {row.label}: {text}" for text in warnings]
        return list(dict.fromkeys(remarks))


def _drawn(key: str) -> int:
    """How far from any action a constant's energy is."""
    return 2 if key == "static_power" else int(key.startswith("control."))


def _named(rows: Sequence[MappedRow]) -> str:
    """The rows by name, each network once: ``bvlc-alexnet conv1, conv2; vgg16``."""
    layers: dict[str, list[str]] = {}
    for row in rows:
        network, _, layer = row.row.label.partition(" ")
        layers.setdefault(network, []).append(layer)
    return "; ".join(f"{network} {', '.join(names)}".strip() for network, names in layers.items())
