"""The decorator of compiled functions, and what calls them."""

from __future__ import annotations

import functools
import os
import typing
from collections.abc import Callable
from typing import Any, TypeVar, cast

from picojoule.compiled import loading
from picojoule.compiled.arrays import named_tuples
from picojoule.compiled.units import unit_of

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., object])


def compiled(
    *, releases_lock: bool = False, fastmath: frozenset[str] = frozenset()
) -> Callable[[AnyFunction], AnyFunction]:
    """Have a function run as machine code.

    One whose name begins with an underscore is compiled into those that call it, and runs as Python
    where Python calls it; the annotations of any other must be complete. A named tuple that it
    returns comes back without the names.

    Args:
        releases_lock: other threads of Python run while it does.
        fastmath: what LLVM may take for granted of its floating-point numbers.
    """

    def decorate(function: AnyFunction) -> AnyFunction:
        return cast(AnyFunction, CompiledFunction(function, releases_lock, fastmath))

    return decorate


class CompiledFunction:
    """A function of Python's that runs as machine code, loaded when it is first called."""

    def __init__(
        self, function: Callable[..., Any], releases_lock: bool, fastmath: frozenset[str]
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.unit = unit_of(function.__module__)
        self.releases_lock, self.fastmath = releases_lock, fastmath
        # Its name in the machine code; none where only compiled functions call it.
        public = not function.__name__.startswith("_")
        self.symbol = f"{function.__module__}.{function.__name__}" if public else None

    def __call__(self, *arguments: Any) -> Any:
        return self._code(*arguments)

    @functools.cached_property
    def _code(self) -> Callable[..., Any]:
        # Numba's own switch, for who looks at coverage or steps through in a debugger.
        if self.symbol is None or os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
            return self.function
        returns = typing.get_type_hints(self.function, include_extras=True)["return"]
        return loading.function(self.unit, self.symbol, named_tuples(returns))

    @functools.cached_property
    def dispatcher(self) -> Any:
        """What numba makes of it."""
        # Numba takes longer to import than a search to run, and only who compiles needs it.
        import numba

        options: dict[str, Any] = {
            "no_cpython_wrapper": True,
            "no_cfunc_wrapper": True,
            "error_model": "numpy",  # no division raises
            "fastmath": set(self.fastmath),
        }
        return numba.njit(**options)(self.function)

    @property
    def _numba_type_(self) -> Any:
        """What numba takes it for where a compiled function calls it: one of its own."""
        return self.dispatcher._numba_type_
