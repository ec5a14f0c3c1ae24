"""The arrays that compiled functions take: what is in them, and how many dimensions they have.

They are contiguous, the last index the fastest.
"""

from __future__ import annotations

import typing
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints1: TypeAlias = Annotated[NDArray[np.int64], 1]
Ints2: TypeAlias = Annotated[NDArray[np.int64], 2]
Ints3: TypeAlias = Annotated[NDArray[np.int64], 3]
Floats1: TypeAlias = Annotated[NDArray[np.float64], 1]
Floats2: TypeAlias = Annotated[NDArray[np.float64], 2]
Bools1: TypeAlias = Annotated[NDArray[np.bool_], 1]
Bools3: TypeAlias = Annotated[NDArray[np.bool_], 3]
Singles1: TypeAlias = Annotated[NDArray[np.float32], 1]
Singles3: TypeAlias = Annotated[NDArray[np.float32], 3]

ITEMS = ("int64", "float64", "bool", "float32")
"""What may be in an array."""


def named_tuples(hint: Any) -> list[Any]:
    """The classes of all named tuples in an annotation, from the outside in.

    >>> named_tuples(tuple[int, float])
    []
    """
    named = isinstance(hint, type) and issubclass(hint, tuple)
    parts = typing.get_type_hints(hint).values() if named else typing.get_args(hint)
    return [hint] * named + [kind for part in parts for kind in named_tuples(part)]
