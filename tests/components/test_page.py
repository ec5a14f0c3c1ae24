"""docs/explanation/nodes.md says what the components say."""

from __future__ import annotations

import pytest

from tools import make_components


def test_the_page_has_the_components() -> None:
    assert make_components.PAGE.read_text("utf-8").endswith("".join(make_components.components()))


@pytest.mark.slow  # three searches of AlexNet, 10 s
def test_the_page_has_alexnet() -> None:
    text = make_components.page(make_components.alexnet())
    assert make_components.PAGE.read_text("utf-8").startswith(text)
