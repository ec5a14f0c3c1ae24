"""Which functions are compiled together, and what tells whether their machine code is current."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

UNITS = {
    "search": (
        "picojoule.mapper.kernels",
        "picojoule.mapper.listings",
        "picojoule.mapper.deep_listings",
        "picojoule.mapper.options",
        "picojoule.mapper.programme",
        "picojoule.mapper.boxes",
        "picojoule.mapper.halving",
        "picojoule.mapper.families",
        "picojoule.mapper.frontier",
    ),
    "playback": ("picojoule.simulation.playback",),
    "restoring": ("picojoule.pruning.layers.restoring",),
}
"""The modules of each unit; each function in them belongs to it."""

_IMPORTS = re.compile(rb"^from (picojoule\.[\w.]+) import|^import (picojoule\.[\w.]+)", re.M)


def unit_of(module: str) -> str:
    """The unit that a module's functions are compiled with; where there is none, its own name."""
    return next((unit for unit, modules in UNITS.items() if module in modules), module)


def fingerprint(unit: str) -> str:
    """A digest of all sources that a unit's machine code depends on.

    Those of its modules, of whatever picojoule's they import, and of what compiles them.
    """
    digest = hashlib.sha256()
    waiting = sorted({*UNITS[unit], "picojoule.compiled.building"}, reverse=True)
    seen = set(waiting)
    while waiting:
        module = waiting.pop()
        text = _source(module)
        digest.update(b"%s %d %s" % (module.encode(), len(text), text))
        for match in _IMPORTS.finditer(text):
            imported = (match[1] or match[2]).decode()
            if imported not in seen:
                seen.add(imported)
                waiting.append(imported)
    return digest.hexdigest()[:32]


def _source(module: str) -> bytes:
    path = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    try:
        return path.read_bytes()
    except FileNotFoundError:  # an installation without sources
        return path.with_suffix(".pyc").read_bytes()
