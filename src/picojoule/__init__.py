"""picojoule: what one inference of a neural network costs in energy, and where it goes.

>>> import picojoule
>>> layer = picojoule.linear("fc8", in_features=4096, out_features=1000)
>>> layer.macs
4096000
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from picojoule.workload import (
    Extents,
    Layer,
    Operand,
    PerOperand,
    Workload,
    conv,
    depthwise,
    linear,
    matmul,
    transposed_conv,
)

if TYPE_CHECKING:
    from picojoule.accelerator import Accelerator
    from picojoule.comparison import Comparison, compare
    from picojoule.cost import Cost, evaluate
    from picojoule.errors import PicojouleError
    from picojoule.estimation import Estimate, estimate, load_estimate
    from picojoule.frontends import load
    from picojoule.mapper import Found, search
    from picojoule.mapping import Mapping, Stage
    from picojoule.specs import load_accelerator

__version__ = "0.1.0"

# Loaded on first use, so that ``import picojoule`` stays light.
_LAZY = {
    "Accelerator": "accelerator",
    "Comparison": "comparison",
    "Cost": "cost",
    "Estimate": "estimation",
    "Found": "mapper",
    "Mapping": "mapping",
    "PicojouleError": "errors",
    "Stage": "mapping",
    "compare": "comparison",
    "estimate": "estimation",
    "evaluate": "cost",
    "load": "frontends",
    "load_accelerator": "specs",
    "load_estimate": "estimation",
    "search": "mapper",
}

__all__ = [
    # workloads
    "Extents",
    "Layer",
    "Operand",
    "PerOperand",
    "Workload",
    "conv",
    "depthwise",
    "linear",
    "load",
    "matmul",
    "transposed_conv",
    # machines and mappings
    "Accelerator",
    "Mapping",
    "Stage",
    "load_accelerator",
    # verbs and their results
    "Comparison",
    "Cost",
    "Estimate",
    "Found",
    "PicojouleError",
    "compare",
    "estimate",
    "evaluate",
    "load_estimate",
    "search",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"picojoule.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'picojoule' has no attribute {name!r}")
