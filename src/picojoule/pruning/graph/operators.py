"""The nodes of a graph of ATen operators: their names, arguments, and the shapes of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx


def op_name(node: fx.Node) -> str:
    """``conv2d`` for ``torch.ops.aten.conv2d.default``; in-place operators keep their ``_``."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return str(getattr(node.target, "__name__", node.target))
    return str(schema.name).removeprefix("aten::").replace("::", ".")


def arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments of an ATen node by name; those left at their defaults included."""
    target: Any = node.target
    schema = getattr(target, "_schema", None)
    if schema is None:
        return {}
    defaults = {x.name: x.default_value for x in schema.arguments if x.has_default_value()}
    names = [x.name for x in schema.arguments]
    return {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}


def annotate(network: fx.GraphModule, inputs: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Shapes of all values, by node name, for these inputs; nothing is computed."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    training = network.training
    network.eval()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with torch.no_grad():
            FakeTensorProp(network, mode).propagate(*inputs)
    finally:
        network.train(training)
    return {node.name: _shape(node.meta.get("val")) for node in network.graph.nodes}


def _shape(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return tuple(int(size) for size in value.shape)
    if isinstance(value, (list, tuple)):
        return [_shape(part) for part in value]
    return None
