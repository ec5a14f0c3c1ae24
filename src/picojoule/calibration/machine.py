"""The machine after a fit: its numbers with their new source, and the file that says so."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from picojoule.accelerator import Accelerator, Provenance
from picojoule.calibration.constants import Constant, constants
from picojoule.calibration.linear import Floats
from picojoule.calibration.records import Calibration
from picojoule.specs import dump_accelerator

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,63}")
_DIGITS = 5  # more than any meter has; the file and the machine have the same number


def rounded(values: Floats, before: Floats) -> Floats:
    """The values as they are written; one that is, so far, what it was *before* stays just that."""

    def one(value: float, was: float) -> float:
        written_so, was_so = (float(f"{number:.{_DIGITS}g}") for number in (value, was))
        return was if written_so == was_so else written_so

    return np.array([one(*pair) for pair in zip(values, before, strict=True)])


def written(value: float, unit: str) -> str:
    """A number with its unit, which reads as the same number."""
    return f"{value:.{_DIGITS}g} {unit}"


def recalibrated(accelerator: Accelerator, keys: Sequence[Constant], source: str) -> Accelerator:
    """The machine, its fitted numbers said to be fitted and on what."""
    sources = list(accelerator.sources)
    for key in keys:
        own, value = key.paths[0], key.get(accelerator)
        assert value is not None  # it was fitted
        kept = []
        for origin in sources:
            if origin.path not in key.paths:
                kept.append(origin)
            elif origin.path.endswith(".access_energy") and own != origin.path:
                kept.append(origin._replace(path=_other_end(own)))
        sources = [*kept, Provenance(own, written(value, key.unit), source, "fitted")]
    return replace(accelerator, sources=tuple(sources))


def _other_end(path: str) -> str:
    """The writing end of a memory that is read, the reading end of one that is written."""
    place, _, end = path.rpartition(".")
    return f"{place}.{'write' if end == 'read_energy' else 'read'}_energy"


def chip_file(
    calibration: Calibration, base: str | None, output: Path, comment: Sequence[str] = ()
) -> str:
    """The YAML file of the machine: what was changed of *base*, or, without one, all of it.

    Args:
        base: the file of the machine before, or its shipped name.
        output: where the text goes: *base* is named from there, and the machine after the file.
        comment: lines to stand at the top.
    """
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment)
    name = output.stem if _NAME.fullmatch(output.stem) else f"{calibration.before.name}-calibrated"
    machine = replace(calibration.machine, name=name)
    if base is None:
        return head + dump_accelerator(machine)
    named = base
    if Path(base).suffix.lower() in (".yaml", ".yml"):
        named = os.path.relpath(Path(base).resolve(), output.resolve().parent)
    sources = {origin.path: origin for origin in machine.sources if origin.status == "fitted"}
    table = constants(machine)
    changes = {}
    for key in (table[one.key] for one in calibration.constants if not one.kept):
        origin = sources[key.paths[0]]
        changes[key.change] = {
            "value": origin.value,
            "source": origin.source,
            "status": origin.status,
        }
    document = {
        "name": name,
        "description": f"{calibration.before.name}, calibrated on {Path(calibration.file).name}.",
        "based_on": named,
        "changes": changes,
    }
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
