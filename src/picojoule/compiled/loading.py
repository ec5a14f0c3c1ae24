"""Machine code: where it is kept, and how it becomes functions of Python."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import platformdirs

from picojoule.compiled.arrays import ITEMS
from picojoule.compiled.units import fingerprint
from picojoule.files import write_atomically

INSTALLED = Path(__file__).parent / "code"
"""Where an installation keeps what it compiled."""

_LEVEL_3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_ARRAY_RESULT = tuple(functools.partial(np.empty, dtype=np.dtype(item)) for item in ITEMS)
_METH_VARARGS = 1


class _Method(ctypes.Structure):
    """``PyMethodDef`` of Python's C interface."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    ]


def target() -> str:
    """The processor to compile for: the oldest that is about as quick as the one at hand.

    >>> target() in ("x86-64", "x86-64-v3", "generic")
    True
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return "generic"
    features = llvm.get_host_cpu_features()
    return "x86-64-v3" if all(features.get(name) for name in _LEVEL_3) else "x86-64"


def file_name(unit: str, processor: str) -> str:
    """What the machine code of a unit is called, as long as nothing that goes into it changes."""
    platform_ = f"{sys.platform}-{platform.machine()}-{object.__basicsize__}".lower()
    return f"{unit}-{platform_}-{processor}-{fingerprint(unit)}.o"


def function(unit: str, symbol: str) -> Callable[..., Any]:
    """A compiled function, to be called from Python."""
    address = _engine(unit).get_function_address(symbol)
    method = _Method(symbol.encode(), address, _METH_VARARGS, None)
    _METHODS.append(method)  # Python keeps only where it is
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype, new.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p],
    )
    bound: Callable[..., Any] = new(
        ctypes.addressof(method), (np.ndarray, TypeError, MemoryError, *_ARRAY_RESULT), None
    )
    return bound


_METHODS: list[_Method] = []
_LOCK = threading.Lock()


def _engine(unit: str) -> Any:
    with _LOCK:
        return _loaded(unit)


@functools.cache
def _loaded(unit: str) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(_code_of(unit)))
    engine.finalize_object()
    return engine


def _code_of(unit: str) -> bytes:
    processor = target()
    name = file_name(unit, processor)
    with suppress(OSError):
        return (INSTALLED / name).read_bytes()
    kept = Path(platformdirs.user_cache_dir("picojoule")) / "compiled" / name
    with suppress(OSError):
        return kept.read_bytes()
    code = compile_unit(unit, processor)
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, code, durable=False, as_mistake=False)
    return code


def compile_unit(unit: str, processor: str) -> bytes:
    """Compile a unit in a process of its own, so that this one need not hold a compiler."""
    source = str(Path(__file__).parents[2])
    paths = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")},
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": "",
        "PYTHONPATH": paths,
    }
    command = [sys.executable, "-m", "picojoule.compiled.building", unit]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
