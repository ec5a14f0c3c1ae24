"""An exported program at other sizes than those it was exported for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

_ASSERTIONS = frozenset(
    ["_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size", "_assert_async"]
)
"""Checks of the exporter, without effect on values."""


def is_assertion(node: fx.Node) -> bool:
    """Whether a node only checks what the exporter took for granted."""
    packet = getattr(node.target, "overloadpacket", None)
    return getattr(packet, "__name__", "") in _ASSERTIONS


def runs_for(program: torch.export.ExportedProgram, inputs: Sequence[torch.Tensor]) -> bool:
    """Whether the program has shapes for these inputs, or was made for others alone."""
    try:
        _propagate(program, inputs)
    except Exception:  # whatever an operator says to sizes it cannot have
        return False
    return True


def set_sizes(program: torch.export.ExportedProgram, inputs: Sequence[torch.Tensor]) -> None:
    """Give every value of the program the shape it has for *inputs*; nothing is computed.

    Numbers that the program derives from sizes become constants, and slices that take all of a
    value go, as if it had been exported for these inputs alone.
    """
    _propagate(program, inputs)
    graph = program.graph
    for node in list(graph.nodes):
        numbers = {
            source: source.meta["val"]
            for source in node.all_input_nodes
            if isinstance(source.meta.get("val"), (int, float, bool))
        }
        if _takes_all(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
        if numbers:
            node.args = _replaced(node.args, numbers)
            node.kwargs = _replaced(node.kwargs, numbers)
    for node in reversed(list(graph.nodes)):
        unread = node.op == "call_function" and not node.users
        number = isinstance(node.meta.get("val"), (int, float, bool))
        if unread and (number or is_assertion(node) or _takes_all(node)):
            graph.erase_node(node)


def _replaced(arguments: Any, numbers: Mapping[fx.Node, float]) -> Any:
    return fx.map_arg(arguments, lambda node: numbers.get(node, node))


def _takes_all(node: fx.Node) -> bool:
    """Whether a node is a slice of the whole of its input."""
    if node.target is not torch.ops.aten.slice.Tensor:
        return False
    return bool(node.meta["val"].shape == node.all_input_nodes[0].meta["val"].shape)


def _propagate(program: torch.export.ExportedProgram, inputs: Sequence[torch.Tensor]) -> None:
    stored = {**program.constants, **program.state_dict}
    following = iter(inputs)
    arguments = [
        next(following) if spec.target is None else stored[spec.target]
        for spec in program.graph_signature.input_specs
    ]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad():
        _Sizes(program.graph_module, mode).propagate(*arguments)


class _Sizes(FakeTensorProp):
    """Shapes of all values; what was checked for the sizes of the export is not checked again."""

    def run_node(self, n: fx.Node) -> Any:
        return None if is_assertion(n) else super().run_node(n)
