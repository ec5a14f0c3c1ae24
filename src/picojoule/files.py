"""Files written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from picojoule.errors import InputError, Mistake

if TYPE_CHECKING:
    pass


def _mode(path: Path) -> int:
    """The permissions that writing *path* in place would leave it with."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def write_atomically(path: Path, text: str) -> None:
    """Write *text* to *path* so that readers see the old file or the whole new one.

    Raises:
        InputError: if the place cannot be written; nothing is left behind.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_mode(path))
        temporary.replace(path)
    except OSError as error:
        raise InputError(str(path), [Mistake("file", f"cannot be written: {error}")]) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
