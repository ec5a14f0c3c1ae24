"""picojoule: what one inference of a neural network costs in energy, and where it goes.

>>> import picojoule
>>> layer = picojoule.linear("fc8", in_features=4096, out_features=1000)
>>> layer.macs
4096000
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from picojoule import display as _display
from picojoule.transposed import transposed_conv
from picojoule.version import __version__ as __version__
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
    recurrent,
)

if TYPE_CHECKING:
    from picojoule.accelerator import Accelerator
    from picojoule.alternatives import Alternative, alternatives
    from picojoule.calibration.calibration import calibrate
    from picojoule.calibration.records import Calibration
    from picojoule.comparison import Comparison, compare
    from picojoule.cost import Cost, evaluate
    from picojoule.errors import PicojouleError
    from picojoule.estimate_records import Estimate, load_estimate
    from picojoule.estimation import estimate
    from picojoule.eyexam.examination import Examination, examine
    from picojoule.frontends import load
    from picojoule.mapper.cache import find
    from picojoule.mapper.found import Found
    from picojoule.mapper.solver import search
    from picojoule.mapping import Mapping, Stage
    from picojoule.pruning.energy_aware.pruning import Pruned, prune
    from picojoule.pruning.netadapt.adaptation import adapt
    from picojoule.pruning.netadapt.recipe import Adapted
    from picojoule.pruning.released import load_model
    from picojoule.specs import load_accelerator

# Loaded on first use, so that ``import picojoule`` stays light.
_LAZY = {
    "Accelerator": "accelerator",
    "Adapted": "pruning.netadapt.recipe",
    "adapt": "pruning.netadapt.adaptation",
    "Alternative": "alternatives",
    "Comparison": "comparison",
    "Cost": "cost",
    "Estimate": "estimate_records",
    "Examination": "eyexam.examination",
    "Found": "mapper.found",
    "Mapping": "mapping",
    "PicojouleError": "errors",
    "Pruned": "pruning.energy_aware.pruning",
    "Stage": "mapping",
    "alternatives": "alternatives",
    "Calibration": "calibration.records",
    "calibrate": "calibration.calibration",
    "compare": "comparison",
    "estimate": "estimation",
    "evaluate": "cost",
    "examine": "eyexam.examination",
    "find": "mapper.cache",
    "load": "frontends",
    "load_accelerator": "specs",
    "load_estimate": "estimate_records",
    "load_model": "pruning.released",
    "prune": "pruning.energy_aware.pruning",
    "search": "mapper.solver",
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
    "recurrent",
    "transposed_conv",
    # machines and mappings
    "Accelerator",
    "Mapping",
    "Stage",
    "load_accelerator",
    # verbs and their results
    "Alternative",
    "Calibration",
    "Comparison",
    "Cost",
    "Estimate",
    "Examination",
    "Found",
    "PicojouleError",
    "alternatives",
    "calibrate",
    "compare",
    "estimate",
    "evaluate",
    "examine",
    "find",
    "load_estimate",
    "search",
    # networks made smaller (needs picojoule[torch])
    "Adapted",
    "Pruned",
    "adapt",
    "load_model",
    "prune",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"picojoule.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'picojoule' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", "__doc__", "__file__", "__name__", "__path__"})


def _html(result: object) -> str:
    from picojoule.reports.html import fragment

    return fragment(result)


def _plot(result: Any, ax: Any, **options: Any) -> Any:
    from picojoule.reports.plots import plot

    return plot(result, ax, **options)


def _progress() -> AbstractContextManager[dict[str, Any]]:
    from picojoule.reports.notebook import progress_bar

    return progress_bar()


_display.drawn_by(_display.Drawers(html=_html, plot=_plot, progress=_progress))
