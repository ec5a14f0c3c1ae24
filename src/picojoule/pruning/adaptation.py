"""NetAdapt where it stood before :mod:`picojoule.pruning.netadapt` had rooms of its own."""

from __future__ import annotations

from picojoule.pruning.netadapt.adaptation import adapt
from picojoule.pruning.netadapt.recipe import Recipe

__all__ = ["Recipe", "adapt"]
