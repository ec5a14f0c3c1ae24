"""What is compiled together, and when it must be compiled again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from picojoule.compiled import units

PACKAGE = Path(units.__file__).parents[1]


def test_every_module_with_compiled_functions_is_in_a_unit() -> None:
    listed = {module for modules in units.UNITS.values() for module in modules}
    decorated = {
        ".".join(("picojoule", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^@compiled\(", path.read_text("utf-8"), re.MULTILINE)
    }
    assert decorated == listed


@pytest.mark.parametrize(
    ("edited", "stale"),
    [
        ("picojoule.mapper.boxes", {"search"}),
        ("picojoule.mapper.tuning", {"search", "playback"}),  # imported by kernels
        ("picojoule.simulation.playback", {"playback"}),
        ("picojoule.compiled.building", {"search", "playback", "restoring"}),
        ("picojoule.compiled.arrays", {"search", "playback", "restoring"}),
        ("picojoule.mapper.solver", set()),
    ],
)
def test_an_edit_is_noticed(edited: str, stale: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = {unit: units.fingerprint(unit) for unit in units.UNITS}
    read = units._source
    monkeypatch.setattr(
        units, "_source", lambda module: read(module) + (b" " if module == edited else b"")
    )
    after = {unit: units.fingerprint(unit) for unit in units.UNITS}
    assert {unit for unit in units.UNITS if after[unit] != before[unit]} == stale
