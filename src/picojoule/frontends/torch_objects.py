"""Tensors inside the objects that modules take and return, whatever their class.

``torch.export`` follows the containers registered with ``torch.utils._pytree``; caches, model
outputs and other objects are taken apart here by their attributes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree


def replaced_tensors(value: object, replace: Callable[[torch.Tensor], object]) -> Any:
    """*value* with *replace* of every tensor in it, always met in the same order.

    Containers and objects with tensors inside are copied, all others stay what they are.
    """
    return _replaced(value, replace, {})


def tensors_in(value: object) -> list[torch.Tensor]:
    """The tensors in *value*, in the order of :func:`replaced_tensors`."""
    tensors: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        tensors.append(tensor)
        return tensor

    replaced_tensors(value, note)
    return tensors


def _replaced(value: Any, replace: Callable[[torch.Tensor], object], seen: dict[int, Any]) -> Any:
    def leaf(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return replace(part)
        if not _is_object(part):
            return part
        if id(part) not in seen:
            seen[id(part)] = duplicate = copy.copy(part)
            for name, attribute in _attributes(part).items():
                object.__setattr__(duplicate, name, _replaced(attribute, replace, seen))
            if isinstance(part, Mapping) and hasattr(duplicate, "__setitem__"):
                for key in part:
                    duplicate[key] = _replaced(part[key], replace, seen)
        return seen[id(part)]

    return pytree.tree_map(leaf, value)


def _is_object(value: object) -> bool:
    """Whether it may carry tensors in its attributes."""
    plain = (nn.Module, type, torch.device, torch.dtype, torch.Generator)
    return bool(_attributes(value)) and not isinstance(value, plain) and not callable(value)


def _attributes(value: object) -> dict[str, Any]:
    """Those of its dictionary and of its slots."""
    slots = [
        name
        for kind in type(value).__mro__
        for name in (vars(kind).get("__slots__") or ())
        if isinstance(name, str) and hasattr(value, name) and not name.startswith("__")
    ]
    return {name: getattr(value, name) for name in slots} | dict(getattr(value, "__dict__", {}))
