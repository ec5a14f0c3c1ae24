"""Machine code: where it is kept, and how it becomes functions of Python.

A unit's machine code is an object file, as compilers write, behind a digest of it. Its name says
all that it depends on, so what an edit has made stale is never looked at. It is looked for where
the installation keeps it, then in the user's cache folder. What is in neither is compiled and kept:
beside the sources in a checkout, else in the cache folder; where nothing can be written, in memory.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from picojoule.compiled.arrays import ITEMS
from picojoule.compiled.units import fingerprint
from picojoule.errors import PicojouleError
from picojoule.files import cache_folder, write_atomically

INSTALLED = Path(__file__).parent / "code"
"""Where an installation keeps machine code."""

LEVEL_3 = "x86-64-v3"
"""The processors of Intel since 2013 and of AMD since 2015."""

KEPT = 4
"""States of the sources whose machine code stays beside them, or in the cache folder."""

_LEVEL_3_FEATURES = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_METH_VARARGS = 1
_DIGEST = 32  # bytes
_BOUND = (
    np.ndarray,
    TypeError,
    MemoryError,
    *(functools.partial(np.empty, dtype=np.dtype(item)) for item in ITEMS),
)
"""What every entry is handed, by its place (:class:`building._Entry`); named tuples follow."""

_BUILDING = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('picojoule.compiled.building', run_name='__main__')"
)
"""Not by PYTHONPATH alone: where a wheel is built, folders go from it that the environment has an
editable install of."""

_log = logging.getLogger(__name__)


class _Method(ctypes.Structure):
    """``PyMethodDef`` of Python's C interface."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    ]


_IN_USE: list[tuple[_Method, Any]] = []  # Python keeps only where they are
_LOCK = threading.Lock()


def function(unit: str, symbol: str, named: Sequence[Any] = ()) -> Callable[..., Any]:
    """A compiled function, to be called from Python; *named* tuples are among what it returns.

    Raises:
        PicojouleError: there is no machine code, and it cannot be compiled.
    """
    with _LOCK:
        engine = _engine(unit)
        address = engine.get_function_address(symbol)
    method = _Method(symbol.encode(), address, _METH_VARARGS, None)
    _IN_USE.append((method, engine))
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    bound: Callable[..., Any] = new(ctypes.addressof(method), (*_BOUND, *named), None)
    return bound


@functools.cache
def _engine(unit: str) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(_code(unit)))
    engine.finalize_object()
    return engine


def processor() -> str:
    """What to compile for: the oldest processor that is about as quick as the one at hand.

    >>> processor() in ("x86-64", LEVEL_3, "generic")
    True
    """
    if shipped_processor() != LEVEL_3:
        return "generic"
    features = llvm.get_host_cpu_features()
    return LEVEL_3 if all(features.get(name) for name in _LEVEL_3_FEATURES) else "x86-64"


def shipped_processor() -> str:
    """What a wheel's machine code is for; others compile at the first call."""
    return LEVEL_3 if platform.machine().lower() in ("x86_64", "amd64") else "generic"


def file_name(unit: str, compiled_for: str) -> str:
    """What a unit's machine code is called: another name for all that would change it."""
    where = f"{sys.platform}-{platform.machine()}-{object.__basicsize__}".lower()
    return f"{unit}-{where}-{compiled_for}-{fingerprint(unit)}.code"


def _code(unit: str) -> bytes:
    compiled_for = processor()
    name = file_name(unit, compiled_for)
    cache = cache_folder()
    folders = [INSTALLED] if cache is None else [INSTALLED, cache / "compiled"]
    for folder in folders:
        code = _read(folder / name)
        if code is not None:
            return code
    _log.warning("compiling the %s functions of picojoule once, in up to half a minute", unit)
    code = compile_unit(unit, compiled_for)
    for folder in folders if is_checkout() else folders[1:]:
        try:
            keep(folder / name, code)
        except OSError:
            continue
        break
    return code


def is_checkout() -> bool:
    """Whether the sources are a checkout of the project, and no installed copy."""
    return (Path(__file__).parents[3] / "pyproject.toml").is_file()


def keep(path: Path, code: bytes) -> None:
    """Write a unit's machine code, and delete that of all but the newest states of its sources.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = hashlib.sha256(code).digest() + code
    write_atomically(path, content, durable=False, as_mistake=False)
    kind = path.name.rpartition("-")[0]
    alike = [file for file in path.parent.glob("*.code") if file.name.rpartition("-")[0] == kind]
    for old in sorted(alike, key=lambda file: file.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    """The machine code in a file; None if it is not there, or not whole."""
    with suppress(OSError):
        content = path.read_bytes()
        code = content[_DIGEST:]
        if hashlib.sha256(code).digest() == content[:_DIGEST]:
            return code
    return None


def compile_unit(unit: str, compiled_for: str) -> bytes:
    """Compile a unit in a process of its own, so that this one never holds a compiler.

    Raises:
        PicojouleError: numba is not there, or refuses.
    """
    sources = str(Path(__file__).parents[2])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")},
        "NUMBA_CPU_NAME": compiled_for,
        "NUMBA_CPU_FEATURES": "",
        "PYTHONPATH": os.pathsep.join([sources, *filter(None, sys.path)]),
    }
    command = [sys.executable, "-c", _BUILDING, sources, unit]
    compiler = subprocess.run(command, env=environment, capture_output=True)
    if compiler.returncode:
        words = compiler.stderr.decode(errors="replace").strip().splitlines()
        raise PicojouleError(
            f"picojoule's {unit} functions are not compiled, and cannot be: {sys.executable} -m "
            f"picojoule.compiled.building {unit} ended with {compiler.returncode}: "
            f"{words[-1] if words else 'no word'}; pip install --force-reinstall picojoule numba "
            "may help"
        )
    return compiler.stdout
