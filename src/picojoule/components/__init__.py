"""Energy and area of components by node, size and width: published rows, and curves through them.

Nothing is extrapolated: what no row encloses is refused.
"""

from __future__ import annotations

from picojoule.components.catalogue import (
    KINDS,
    Component,
    component,
)
from picojoule.components.memories import accuracy
from picojoule.components.nodes import NODES, checked_node, show_node

__all__ = [
    "KINDS",
    "NODES",
    "Component",
    "accuracy",
    "checked_node",
    "component",
    "show_node",
]
