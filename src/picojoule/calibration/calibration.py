"""Constants of a machine from measured rows: mapped, fitted, mapped again, and judged."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from picojoule.accelerator import Accelerator
from picojoule.calibration.constants import named
from picojoule.calibration.fits import Fit, Fitting, has_energy
from picojoule.calibration.judgement import Judgement
from picojoule.calibration.linear import WEIGHTS
from picojoule.calibration.measurements import Measurement, read_measurements
from picojoule.calibration.predictions import MappedRow, mapped
from picojoule.calibration.records import Calibration, Settling
from picojoule.display import shown
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
    policy: str = "best",
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
            its error in joules and seconds, as in the sum over rows.
        dataflow, objective, factors, budget, cache, policy: how mappings are searched, as for
            ``estimate``, where a row does not say so itself.
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
    file = os.fspath(measurements)
    rows = read_measurements(
        file,
        machine,
        dataflow=dataflow,
        objective=objective,
        factors=factors,
        budget=budget,
        cache=cache,
        policy=policy,
    )
    asked = Fitting(
        before=machine,
        energies=tuple(key for key in keys if not key.of_time),
        paces=tuple(key for key in keys if key.of_time),
        measured_time=measured_time,
        weigh=weigh,
    )
    _check(asked, rows, file)
    with shown(progress, None) as told_by:
        return _answer(asked, rows, file, told_by["progress"])


def _answer(
    asked: Fitting, rows: Sequence[Measurement], file: str, progress: Progress | None
) -> Calibration:
    """Map and fit in turn until the mappings stay, then judge."""
    used = [row for row in rows if row.fitted]
    machine, fits = asked.before, list[Fit]()
    for _ in range(ROUNDS + 1):
        mappings = _mapped(used, machine, progress)
        if any(mappings == earlier.rows for earlier in fits):
            break  # the same again, or in a circle
        if len(fits) < ROUNDS:
            fits.append(asked.fit(mappings))
            machine = fits[-1].machine
    again = next((n for n, one in enumerate(fits) if one.rows == mappings), None)
    circle = fits if again is None else fits[again:]
    best = min(circle, key=lambda one: one.error)
    aside = [row for row in rows if not row.fitted]
    checks = _mapped(aside, best.machine, progress)
    settling = Settling(
        rounds=len(fits),
        circle=None if again is None else len(circle),
        spread=_spread(circle),
    )
    return Judgement(asked=asked, fit=best, checks=checks, file=file).calibration(settling)


def _check(asked: Fitting, rows: Sequence[Measurement], file: str) -> None:
    """Refuse what the rows cannot answer, all at once."""
    used = [row for row in rows if row.fitted]
    mistakes = []
    if not used:
        mistakes.append(Mistake("column use", "no row is there to fit: all are to check"))
    if used and asked.energies and not any(map(has_energy, used)):
        names = ", ".join(key.key for key in asked.energies)
        mistakes.append(Mistake("column energy", f"no row has energy or power to fit {names}"))
    if used and asked.paces and not any(row.time for row in used):
        names = ", ".join(key.key for key in asked.paces)
        mistakes.append(Mistake("column time", f"no row has a time to fit {names}"))
    if asked.measured_time:
        mistakes += [
            Mistake(f"line {row.line}, column time", "is missing: times are to be measured")
            for row in rows
            if has_energy(row) and row.time is None
        ]
    if mistakes:
        raise InputError(file, mistakes)
    machine = asked.before
    if machine.unit_picojoules is None and any(map(has_energy, rows)):
        raise PicojouleError(
            f"{machine.name} counts energy in multiples of a MAC, and nobody says what one is in "
            "joules: add unit_energy to its file, or state its energies in pJ"
        )


def _mapped(
    rows: Sequence[Measurement], machine: Accelerator, progress: Progress | None
) -> tuple[MappedRow, ...]:
    mappings = []
    for done, row in enumerate(rows):
        if progress is not None:
            progress(done, len(rows), row.label)
        mappings.append(mapped(row, machine))
    return tuple(mappings)


def _spread(fits: Sequence[Fit]) -> float:
    """How far the constants of some fits are apart at most: energies as shares of the rows' energy,
    what sets times relative to the larger.
    """
    apart = [0.0]
    if fits[0].energy is not None:
        values = np.array([one.values for one in fits])
        apart += list(np.ptp(values, axis=0) * fits[0].energy.shares)
    paces = np.array([one.paces for one in fits])
    if paces.size:
        apart += list(np.ptp(paces, axis=0) / np.maximum(paces.max(axis=0), 1.0))
    return float(max(apart))
