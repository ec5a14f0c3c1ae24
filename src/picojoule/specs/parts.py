"""What every part of an accelerator file's grammar has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from picojoule.specs.document import shortened


class Part(BaseModel):
    """A part of a file: unknown keys are mistakes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )


def all_different(items: Any) -> Any:
    if isinstance(items, list):
        for item in items:
            if items.count(item) > 1:
                raise ValueError(f"{shown(item)} is listed twice")
    return items


def shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(shortened(value))
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list | tuple) else "a mapping"
