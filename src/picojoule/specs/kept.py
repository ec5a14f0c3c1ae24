"""Machines that come with the package, kept as they were read.

To read one takes a grammar and a reader of YAML, which take longer to import than the answer to a
question that was asked before. So a machine is kept as the records it became, under a digest of all
that decides how it is read: the package's files of machines and components, and the sources that
read them.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from picojoule import accelerator as records
from picojoule import dataflow, workload
from picojoule.accelerator import Accelerator
from picojoule.files import cache_folder, write_atomically

_PACKAGE = Path(__file__).parents[1]
_READ_BY = ("*.py", "specs/*.py", "components/*.py", "data/accelerators/*", "data/components/*")


def recall(name: str) -> Accelerator | None:
    """The shipped machine *name* as it was read before; None if that is not kept."""
    folder = cache_folder()
    # Whatever a file holds that is not what was written: the machine is read anew.
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        if folder is not None:
            machine = _from_json(json.loads(_place(folder, name).read_bytes()))
            if isinstance(machine, Accelerator):
                return machine
    return None


def keep(name: str, machine: Accelerator) -> None:
    """Keep what was read, where it can be written."""
    folder = cache_folder()
    with suppress(OSError):
        if folder is not None:
            place = _place(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            for old in place.parent.glob(f"{name}.*.json"):
                old.unlink(missing_ok=True)
            text = json.dumps(_to_json(machine))
            write_atomically(place, text, durable=False, as_mistake=False)


def _place(folder: Path, name: str) -> Path:
    return folder / "machines" / f"{name}.{_digest()}.json"


@functools.cache
def _digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(_read_by()):
        digest.update(b"%s %d " % (path.name.encode(), path.stat().st_size))
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _read_by() -> Iterator[Path]:
    for pattern in _READ_BY:
        yield from _PACKAGE.glob(pattern)


_CLASSES = {
    name: kind
    for module in (records, dataflow, workload)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and kind.__module__ == module.__name__
}


def _to_json(value: Any) -> Any:
    """*value* as JSON: every record, set and member of an enumeration behind its class."""
    if isinstance(value, Enum):
        return {type(value).__name__: value.name}
    if is_dataclass(value):
        parts = [_to_json(getattr(value, x.name)) for x in fields(value)]
        return {type(value).__name__: parts}
    if isinstance(value, frozenset):
        return {"frozenset": sorted(map(_to_json, value), key=str)}
    if isinstance(value, tuple):
        parts = [_to_json(part) for part in value]
        return parts if type(value) is tuple else {type(value).__name__: parts}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_from_json, value))
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    if name == "frozenset":
        return frozenset(map(_from_json, content))
    kind: Any = _CLASSES[name]
    if issubclass(kind, Enum):
        return kind[content]
    parts = map(_from_json, content)
    names = kind._fields if issubclass(kind, tuple) else [x.name for x in fields(kind)]
    return kind(**dict(zip(names, parts, strict=True)))
