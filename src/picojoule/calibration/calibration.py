"""Constants of a machine from measured rows: mapped, fitted, mapped again, and judged."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from picojoule.accelerator import Accelerator
from picojoule.calibration.constants import Constant, named
from picojoule.calibration.identifiability import condition, entangled, interval
from picojoule.calibration.linear import PULL, WEIGHTS, Floats, LinearFit, weights_of
from picojoule.calibration.machine import recalibrated, rounded
from picojoule.calibration.measurements import Measurement, read_measurements
from picojoule.calibration.pace import TimeFit
from picojoule.calibration.predictions import MappedRow, mapped
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
from picojoule.errors import InputError, Mistake, PicojouleError, did_you_mean
from picojoule.mapper.cache import Cache
from picojoule.question import Progress
from picojoule.specs import load_accelerator

ROUNDS = 8
"""How often mappings are searched at most, until they stay as they are."""


def calibrate(
    accelerator: str | os.PathLike[str] | Accelerator,
    measurements: str | os.PathLike[str],
    *,
    fit: str | Sequence[str],
    measured_time: bool = False,
    weigh: str = "rows",
    dataflow: str | None = None,
    objective: str = "energy",
    factors: str = "all",
    budget: float | None = None,
    cache: Cache = True,
    progress: Progress | None = None,
) -> Calibration:
    """Fit constants of a machine to measured rows, and say how far they can be trusted.

    Args:
        accelerator: a YAML file, a shipped name, or an :class:`Accelerator`.
        measurements: a table of :mod:`calibration.measurements`.
        fit: names of constants, ``"control.per_cycle,dram.read"`` or a list of them.
        measured_time: energies are fitted with the measured times of the rows; by default with
            times that are predicted, as they will be for rows that nobody has measured.
        weigh: "rows": each row's relative error counts alike, however small the layer; "amounts":
            in proportion to its energy or time, so that sums over rows come out.
        dataflow, objective, factors, budget, cache: how mappings are searched, as for ``estimate``.
        progress: called with (rows done, rows in all, row) in each round.

    Raises:
        InputError: the machine or the measurements cannot be read; with every mistake.
        PicojouleError: a name of *fit* is no constant, or no row says anything of it.
        NoMappingError: a layer has no legal mapping.
    """
    if weigh not in WEIGHTS:
        near = did_you_mean(weigh, WEIGHTS)
        raise PicojouleError(f"weigh: no {weigh!r}{near}; there are {', '.join(WEIGHTS)}")
    machine = load_accelerator(accelerator)
    keys = named(fit.split(",") if isinstance(fit, str) else fit, machine)
    if machine.unit_picojoules is None:
        raise PicojouleError(
            f"{machine.name} counts energy in multiples of a MAC, and nobody says what one is in "
            "joules: add unit_energy to its file, or state its energies in pJ"
        )
    file = os.fspath(measurements)
    rows = read_measurements(
        file,
        machine,
        dataflow=dataflow,
        objective=objective,
        factors=factors,
        budget=budget,
        cache=cache,
    )
    question = _Calibrating(machine, keys, rows, file, measured_time, weigh)
    return question.answer(progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """Constants fitted to rows of which each has its mappings."""

    machine: Accelerator
    rows: tuple[MappedRow, ...]
    energy: LinearFit | None
    energy_rows: tuple[MappedRow, ...]
    values: Floats
    times: TimeFit | None
    paces: Floats

    @property
    def error(self) -> float:
        """Root mean square of the relative errors of energies, and of times."""
        energy = self.energy.rms(self.values) if self.energy else 0.0
        return math.hypot(energy, self.times.rms(self.paces) if self.times else 0.0)


class _Calibrating:
    """One calibration on its way."""

    def __init__(
        self,
        machine: Accelerator,
        keys: tuple[Constant, ...],
        rows: tuple[Measurement, ...],
        file: str,
        measured_time: bool,
        weigh: str,
    ) -> None:
        self.before, self.rows, self.file = machine, rows, file
        self.measured_time, self.weigh = measured_time, weigh
        self.energies = tuple(key for key in keys if not key.of_time)
        self.paces = tuple(key for key in keys if key.of_time)
        self._check()

    def answer(self, progress: Progress | None) -> Calibration:
        """Map and fit in turn until the mappings stay, then judge."""
        used = tuple(row for row in self.rows if row.fitted)
        machine, rounds = self.before, list[_Fitted]()
        for _ in range(ROUNDS + 1):
            mappings = self._mapped(used, machine, progress)
            if any(mappings == earlier.rows for earlier in rounds):
                break  # the same again, or in a circle
            if len(rounds) < ROUNDS:
                rounds.append(self._fit(mappings))
                machine = rounds[-1].machine
        again = next((n for n, one in enumerate(rounds) if one.rows == mappings), None)
        circle = rounds if again is None else rounds[again:]
        fitted = min(circle, key=lambda one: one.error)
        aside = tuple(row for row in self.rows if not row.fitted)
        checks = self._mapped(aside, fitted.machine, progress)
        settling = Settling(
            rounds=len(rounds),
            circle=None if again is None else len(circle),
            spread=_spread([np.concatenate([one.values, one.paces]) for one in circle]),
        )
        return self._judged(fitted, checks, settling)

    def _check(self) -> None:
        """Refuse what the rows cannot answer, all at once."""
        used = [row for row in self.rows if row.fitted]
        mistakes = []
        if not used:
            mistakes.append(Mistake("column use", "no row is there to fit: all are to check"))
        if used and self.energies and not any(_has_energy(row) for row in used):
            names = ", ".join(key.key for key in self.energies)
            mistakes.append(Mistake("column energy", f"no row has energy or power to fit {names}"))
        if used and self.paces and not any(row.time for row in used):
            names = ", ".join(key.key for key in self.paces)
            mistakes.append(Mistake("column time", f"no row has a time to fit {names}"))
        if self.measured_time:
            mistakes += [
                Mistake(f"line {row.line}, column time", "is missing: times are to be measured")
                for row in self.rows
                if _has_energy(row) and row.time is None
            ]
        if mistakes:
            raise InputError(self.file, mistakes)

    def _mapped(
        self, rows: Sequence[Measurement], machine: Accelerator, progress: Progress | None
    ) -> tuple[MappedRow, ...]:
        mappings = []
        for done, row in enumerate(rows):
            if progress is not None:
                progress(done, len(rows), row.label)
            mappings.append(mapped(row, machine))
        return tuple(mappings)

    def _fit(self, rows: tuple[MappedRow, ...]) -> _Fitted:
        """Times first: they do not depend on energies, as long as mappings stay."""
        times, paces, machine = None, np.zeros(0), self.before
        if self.paces:
            timed = tuple(row for row in rows if row.row.time is not None)
            times = TimeFit(machine=machine, keys=self.paces, rows=timed, weigh=self.weigh)
            paces = rounded(times.solve(), times.start)
            machine = times.at(paces)
        energy, values = None, np.zeros(0)
        energy_rows = tuple(row for row in rows if _has_energy(row.row))
        if self.energies:
            energy = self._linear(energy_rows, machine)
            values = rounded(energy.solve(), energy.prior)
            for key, value in zip(self.energies, values, strict=True):
                machine = key.put(machine, float(value))
        return _Fitted(
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
            cycles = self._cycles(row, machine)
            each, others = row.coefficients(machine, self.energies, cycles)
            coefficients.append(each)
            rest.append(others)
            measured.append(self._measured_energy(row, machine, cycles))
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

    def _cycles(self, row: MappedRow, machine: Accelerator) -> tuple[float, ...]:
        """Cycles of the row's parts: predicted, or as many as the measured time has."""
        cycles = row.cycles(machine)
        if not self.measured_time or row.row.time is None:
            return cycles
        factor = row.row.time / row.seconds(machine, cycles)
        return tuple(factor * n for n in cycles)

    def _measured_energy(
        self, row: MappedRow, machine: Accelerator, cycles: Sequence[float]
    ) -> float:
        """Joules; of a power without a time, over our time."""
        if row.row.energy is not None:
            return row.row.energy
        assert row.row.power is not None
        return row.row.power * row.seconds(machine, cycles)

    # -- judged --------------------------------------------------------------------------------

    def _judged(
        self, fitted: _Fitted, checks: tuple[MappedRow, ...], settling: Settling
    ) -> Calibration:
        constants = (*self._energy_constants(fitted), *self._time_constants(fitted))
        power = self._constant_power(fitted)
        compared: list[Compared] = []
        for row in sorted((*fitted.rows, *checks), key=lambda one: one.row.line):
            compared += self._compared(fitted, row, power)
        changed = [
            key
            for key, one in zip((*self.energies, *self.paces), constants, strict=True)
            if not one.kept
        ]
        source = f"picojoule calibrate on {Path(self.file).name}: {_named(fitted.rows)}"
        return Calibration(
            machine=recalibrated(fitted.machine, changed, source),
            before=self.before,
            file=self.file,
            constants=constants,
            compared=tuple(compared),
            ambiguities=self._ambiguities(fitted, constants),
            condition=condition(fitted.energy.scaled) if fitted.energy else 1.0,
            settling=settling,
            measured_time=self.measured_time,
            weigh=self.weigh,
            power=power,
            remarks=tuple(self._remarks(fitted, constants)),
        )

    def _energy_constants(self, fitted: _Fitted) -> list[FittedConstant]:
        problem = fitted.energy
        if problem is None:
            return []
        best = problem.rms(problem.solve())
        constants = []
        for index, key in enumerate(self.energies):
            ends = interval(problem, index, best)
            seen = bool(problem.shares[index] > 0)
            constants.append(self._constant(key, float(fitted.values[index]), ends, seen))
        return constants

    def _time_constants(self, fitted: _Fitted) -> list[FittedConstant]:
        problem = fitted.times
        if problem is None:
            return []
        constants = []
        for index, key in enumerate(self.paces):
            seen = problem.is_seen(fitted.paces, index)
            ends = problem.interval(fitted.paces, index)
            constants.append(self._constant(key, float(fitted.paces[index]), ends, seen))
        return constants

    def _constant(
        self, key: Constant, value: float, ends: tuple[float, float], seen: bool
    ) -> FittedConstant:
        return FittedConstant(
            key=key.key,
            unit=key.unit,
            of_time=key.of_time,
            value=value,
            before=key.get(self.before),
            before_status=key.origin(self.before).status,
            low=ends[0],
            high=ends[1],
            seen=seen,
        )

    def _ambiguities(
        self, fitted: _Fitted, constants: tuple[FittedConstant, ...]
    ) -> tuple[Ambiguity, ...]:
        ambiguities = []
        if fitted.energy is not None:
            # What is drawn whatever is done comes last: sums of the others are told in its unit.
            order = sorted(range(len(self.energies)), key=lambda n: _drawn(self.energies[n].key))
            scaled, shares = fitted.energy.scaled[:, order], fitted.energy.shares[order]
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
        if fitted.times is not None and len(self.paces) > 1:
            slopes = fitted.times.slopes(fitted.paces)
            shares = np.sqrt((slopes**2).mean(axis=0))
            scaled = slopes / np.where(shares > 0, shares, 1.0)
            own = constants[len(self.energies) :]
            ambiguities += [
                Ambiguity(
                    keys=tuple(own[n].key for n in group.members),
                    exactly=group.exactly,
                    combinations=(),
                )
                for group in entangled(scaled, shares)
            ]
        return tuple(ambiguities)

    def _constant_power(self, fitted: _Fitted) -> float | None:
        """The one power that, times our time, suits the fitted energies best."""
        if not fitted.energy_rows or not fitted.machine.clock:
            return None
        ratios = []
        for row in fitted.energy_rows:
            cycles = self._cycles(row, fitted.machine)
            energy = self._measured_energy(row, fitted.machine, cycles)
            ratios.append(row.seconds(fitted.machine, cycles) / energy)
        per_watt = np.array(ratios)
        return float(per_watt.sum() / (per_watt**2).sum())

    def _compared(self, fitted: _Fitted, row: MappedRow, power: float | None) -> list[Compared]:
        measured, machine = row.row, fitted.machine
        cycles = self._cycles(row, machine)
        blank = Compared(
            label=measured.label,
            line=measured.line,
            quantity="energy",
            role=PREDICTED if measured.fitted else CHECKED,
            measured=0.0,
            predicted=0.0,
        )
        compared = []
        if _has_energy(measured):
            compared.append(
                replace(
                    blank,
                    role=FITTED if measured.fitted and self.energies else blank.role,
                    measured=self._measured_energy(row, machine, cycles),
                    predicted=row.joules(machine, cycles),
                    left_out=self._left_out_energy(fitted, row),
                    constant_power=None if power is None else power * row.seconds(machine, cycles),
                )
            )
        if measured.time is not None:
            compared.append(
                replace(
                    blank,
                    quantity="time",
                    role=FITTED if measured.fitted and self.paces else blank.role,
                    measured=measured.time,
                    predicted=row.seconds(machine, row.cycles(machine)),
                    left_out=self._left_out_time(fitted, row),
                )
            )
        for memory, amount in measured.bytes.items():
            ours = row.bytes(machine, memory)
            compared.append(
                replace(blank, quantity=f"bytes.{memory}", measured=amount, predicted=ours)
            )
        return compared

    def _left_out_energy(self, fitted: _Fitted, row: MappedRow) -> float | None:
        problem = fitted.energy
        if problem is None or row not in fitted.energy_rows or len(fitted.energy_rows) < 2:
            return None
        place = fitted.energy_rows.index(row)
        values = problem.without(place).solve()
        return float(problem.coefficients[place] @ values + problem.rest[place])

    def _left_out_time(self, fitted: _Fitted, row: MappedRow) -> float | None:
        problem = fitted.times
        if problem is None or row not in problem.rows or len(problem.rows) < 2:
            return None
        machine = problem.at(problem.without(problem.rows.index(row)).solve())
        return row.seconds(machine, row.cycles(machine))

    def _remarks(self, fitted: _Fitted, constants: tuple[FittedConstant, ...]) -> list[str]:
        remarks = []
        count = len(fitted.energy_rows)
        if count < len(self.energies):
            remarks.append(
                f"under-determined: {count} row{'s' * (count != 1)} for {len(self.energies)} "
                "constants; of all values that fit as well, those nearest to the machine's own are "
                "taken, what is published before all (0 where it states none)"
            )
        timed = len(fitted.times.rows) if fitted.times else 0
        if timed < len(self.paces):
            remarks.append(
                f"under-determined: {timed} time{'s' * (timed != 1)} for {len(self.paces)} "
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
        for row in self.rows:
            warnings = told(row.question.network.unmodelled)
            remarks += [f"line {row.line}, {row.label}: {text}" for text in warnings]
        return list(dict.fromkeys(remarks))


def _drawn(key: str) -> int:
    """How far from any action a constant's energy is."""
    return 2 if key == "static_power" else int(key.startswith("control."))


def _spread(values: Sequence[Floats]) -> float:
    """How far the values of some fits are apart at most, relative to the larger."""
    low, high = np.min(values, axis=0), np.max(values, axis=0)
    return float(np.max((high - low) / np.where(high > 0, high, 1.0)))


def _named(rows: Sequence[MappedRow]) -> str:
    """The rows by name, each network once: ``bvlc-alexnet conv1, conv2; vgg16``."""
    layers: dict[str, list[str]] = {}
    for row in rows:
        network, _, layer = row.row.label.partition(" ")
        layers.setdefault(network, []).append(layer)
    return "; ".join(f"{network} {', '.join(names)}".strip() for network, names in layers.items())


def _has_energy(row: Measurement) -> bool:
    return row.energy is not None or row.power is not None
