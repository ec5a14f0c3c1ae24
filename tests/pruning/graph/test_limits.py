"""How narrow groups may become."""

from __future__ import annotations

import pytest

from picojoule.pruning.graph.limits import MOST_OPTIONS, WidthLimits, natural_step


def test_natural_steps_grow_with_the_width() -> None:
    assert [natural_step(n) for n in (1, 15, 16, 31, 32, 63, 64, 512)] == [1, 1, 2, 2, 4, 4, 8, 8]


def test_widths_are_multiples_of_the_step_and_end_at_the_floor() -> None:
    limits = WidthLimits(step=4, floor=0.3, first={"a": 20})
    assert limits.floor_of("a", 20) == 6  # 0.3 x 20, rounded up
    assert limits.below("a", 20) == [16, 12, 8, 6]
    assert limits.below("a", 18) == [16, 12, 8, 6]
    assert limits.below("a", 6) == []
    assert limits.floor_of("a", 5) == 5  # never above the present width


@pytest.mark.parametrize("width", [2, 9, 64, 500])
def test_options_are_few_and_go_from_all_to_the_floor(width: int) -> None:
    limits = WidthLimits(step=1, floor=0.1, first={"a": width})
    options = limits.options("a", width, 0.0)
    assert options[0] == width
    assert options[-1] == limits.floor_of("a", width)
    assert options == sorted(set(options), reverse=True)
    assert len(options) <= MOST_OPTIONS
    assert min(limits.options("a", width, 0.5)) >= width // 2
