"""MACs beside those of another count, and the page that shows both."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tools.counts.rows import ROWS, Row
from tools.make_counts import HEAD, PAGE, line

pytestmark = pytest.mark.filterwarnings("ignore")

WRITTEN = PAGE.read_text(encoding="utf-8")
LINES = {text.split(" | ")[0].removeprefix("| "): text for text in WRITTEN.splitlines(True)}


def test_the_page_has_every_network_and_no_difference() -> None:
    assert WRITTEN.startswith(HEAD), "run python -m tools.make_counts"
    table = WRITTEN.removeprefix(HEAD).splitlines()
    assert [text.split(" | ")[0].removeprefix("| ") for text in table] == list(ROWS)
    assert {text.split(" | ")[4] for text in table} == {"0"}
    assert len(table) >= 60


GROUPS: dict[str, list[Row]] = defaultdict(list)
for each in ROWS.values():
    GROUPS[each.group or each.name].append(each)


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(group, marks=[] if rows[0].quick else [pytest.mark.slow])
        for group, rows in GROUPS.items()
    ],
)
def test_macs_are_those_of_another_count(group: str) -> None:
    for row in GROUPS[group]:
        ours, theirs = row.count()
        assert ours == theirs, row.name
        assert line(row, ours, theirs) == LINES[row.name], "run python -m tools.make_counts"
