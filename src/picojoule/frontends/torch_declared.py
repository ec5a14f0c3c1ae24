"""Widths that a network of floating-point weights declares.

A network whose weights lie on grids of few bits still computes in floating point in torch. What
delivers such a network (``prune`` with the bits chosen too, a released model) writes the widths
beside it, as an attribute, and every reader of the network takes them from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from torch import nn

from picojoule.workload import Workload

WEIGHT_BITS = "picojoule_weight_bits"
"""Attribute of the outermost module: layer -> bits of its weights."""

Module = TypeVar("Module", bound=nn.Module)


def with_declared_widths(module: Module, bits: Mapping[str, int]) -> Module:
    """The module, with the widths of its weights declared, by layer."""
    if bits:
        module.__dict__[WEIGHT_BITS] = dict(bits)
    return module


def without_declared_widths(module: Module) -> Module:
    """The module without such a declaration."""
    module.__dict__.pop(WEIGHT_BITS, None)
    return module


def declared_widths(module: nn.Module) -> Mapping[str, int]:
    """The widths that a module declares, by layer; of most modules none."""
    bits: Mapping[str, int] = module.__dict__.get(WEIGHT_BITS, {})
    return bits


def as_declared(module: nn.Module, network: Workload) -> Workload:
    """What was read of *module*, with the widths that it declares; further uses of a layer too."""
    bits = declared_widths(module)
    if not bits:
        return network
    layers = []
    for layer in network:
        name = layer.name if layer.name in bits else re.sub(r"_\d+$", "", layer.name)
        layers.append(layer.with_widths(weight=bits[name]) if name in bits else layer)
    return replace(network, layers=tuple(layers))
