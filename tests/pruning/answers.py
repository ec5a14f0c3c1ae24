"""What the commands' JSON holds, beside what docs/json.md says of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def documented(record: dict[str, Any], command: str, *inner: str) -> None:
    """Each field of an answer, and of these fields of it, stands in the command's table."""
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text("utf-8")
    part = next(x for x in text.split("\n## ") if x.startswith(f"`picojoule {command} "))
    known = {"schema_version", "picojoule", *re.findall(r"`([a-z_]+)`", part)}
    for value in (record, *(record[name] for name in inner)):
        found = value[0] if isinstance(value, list) else value
        assert set(found) <= known, set(found) - known
