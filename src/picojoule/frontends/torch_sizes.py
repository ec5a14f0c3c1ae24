"""An exported program at other sizes than those it was exported for."""

from __future__ import annotations

from collections.abc import Sequence
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


def free_batch(program: torch.export.ExportedProgram) -> bool:
    """Whether the first dimension of every input was left free by the export."""
    firsts = [
        node.meta["val"].shape[0]
        for node in program.graph.nodes
        if node.op == "placeholder"
        and node.name in program.graph_signature.user_inputs
        and isinstance(node.meta.get("val"), torch.Tensor)
    ]
    return all(isinstance(size, torch.SymInt) for size in firsts)


def set_sizes(program: torch.export.ExportedProgram, inputs: Sequence[torch.Tensor]) -> None:
    """Give every value of the program the shape it has for *inputs*; nothing is computed.

    Numbers that the program derives from sizes become constants, as if it had been exported for
    these inputs alone.
    """
    stored = {**program.constants, **program.state_dict}
    given = iter(inputs)
    arguments = [
        next(given) if spec.target is None else stored[spec.target]
        for spec in program.graph_signature.input_specs
    ]
    with torch.no_grad():
        _Sizes(program.graph_module, FakeTensorMode(allow_non_fake_inputs=True)).propagate(
            *arguments
        )
    graph = program.graph
    for node in list(graph.nodes):
        numbers = {
            source: source.meta["val"]
            for source in node.all_input_nodes
            if isinstance(source.meta.get("val"), (int, float, bool))
        }
        if numbers:
            node.args = fx.map_arg(node.args, lambda x, n=numbers: n.get(x, x))
            node.kwargs = fx.map_arg(node.kwargs, lambda x, n=numbers: n.get(x, x))
    for node in reversed(list(graph.nodes)):
        unread = node.op == "call_function" and not node.users
        if unread and (is_assertion(node) or isinstance(node.meta.get("val"), (int, float, bool))):
            graph.erase_node(node)


class _Sizes(FakeTensorProp):
    """Shapes of all values; what was checked for the sizes of the export is not checked again."""

    def run_node(self, n: fx.Node) -> Any:
        return None if is_assertion(n) else super().run_node(n)
