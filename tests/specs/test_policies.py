"""What published mappings do with a machine, as its file says it; and arrays that forward."""

from __future__ import annotations

import pytest

from picojoule.accelerator import HopCharge
from picojoule.specs import dump_accelerator, in_use, parse_accelerator
from picojoule.workload import Dim
from tests.test_specs import MACHINE, edited, mistakes

PUBLISHED = """\
published:
  rules: [{rule: on-array-only, loops: [M], source: me, status: derived}]
  changes:
    buffer.capacity: {to: 64 KiB, source: half is idle, status: assumed}
    buffer.refetches: {to: [M, P], source: me, status: derived}
    pe-array.hop_charge: {to: every, source: me, status: fitted}
"""


def test_an_inner_array_cannot_forward() -> None:
    """Elements of the outer one would want a word at different times."""
    outer = "  - array: clusters\n    axes: [{name: cluster, size: 2}]\n"
    inner = edited("size: 14, loops: [M, P]", "size: 14, loops: [P], forwards: [input]")
    inner = inner.replace("size: 12}", "size: 12, loops: [M]}")
    assert in_use(parse_accelerator(inner, "chip.yaml")).input_reuse.handed_on[1] == {Dim.R}
    buffer = "  - memories:\n      - name: buffer"
    found = mistakes(inner.replace(buffer, outer + buffer))
    assert found == {"$.nest[3].axes": found["$.nest[3].axes"]}
    assert "only the outermost array" in found["$.nest[3].axes"]


def test_a_machine_as_its_published_mappings_use_it() -> None:
    machine = parse_accelerator(MACHINE + PUBLISHED, "chip.yaml")
    assert parse_accelerator(dump_accelerator(machine), "copy") == machine
    assert [str(rule) for rule in machine.published.rules] == ["on-array-only M"]
    used = in_use(machine)
    assert used.memories["buffer"].capacity == 64 * 8192
    assert used.memories["buffer"].refetches == {Dim.M, Dim.P}
    assert used.arrays[1].hop_charge is HopCharge.EVERY
    assert machine.memories["buffer"].capacity == 108 * 8192
    source = {constant.path: constant.source for constant in used.sources}
    assert source["$.nest[1].memories[0].capacity"] == "half is idle"


@pytest.mark.parametrize(
    ("old", "new", "path", "part"),
    [
        ("on-array-only", "on-aray-only", "$.published.rules[0].rule", "did you mean"),
        ("on-array-only, loops: [M]", "sums-stay, loops: [M]", "$.published.rules[0]", "no loops"),
        (", loops: [M]", "", "$.published.rules[0]", "needs loops"),
        ("64 KiB", "64 KiBB", '$.published.changes["buffer.capacity"].value', "64 KiBB"),
        ("buffer.refetches", "bufer.x", '$.published.changes["bufer.x"]', "did you mean 'buffer'"),
        (
            ", status: fitted",
            "",
            '$.published.changes["pe-array.hop_charge"].status',
            "is missing",
        ),
    ],
)
def test_mistakes_about_published_mappings(old: str, new: str, path: str, part: str) -> None:
    assert PUBLISHED.count(old) == 1
    found = mistakes(MACHINE + PUBLISHED.replace(old, new))
    assert list(found) == [path]
    assert part in found[path]
