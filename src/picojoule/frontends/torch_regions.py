"""Graphs inside a program: branches, loops, and regions that only carry a setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from picojoule.frontends.aten_operators import words
from picojoule.frontends.products import ProblemError
from picojoule.frontends.torch_tensors import ProgramTensors

MOST_TRIPS = 100_000

_ONCE = words(
    """
    wrap wrap_with_set_grad_enabled wrap_with_autocast wrap_activation_checkpoint
    tag_activation_checkpoint invoke_subgraph strict_mode hints_wrapper run_const_graph
    inductor_compiled_code inline_asm_elementwise local_map_hop
    """
)
"""Operators that run one graph once, its inputs last among their arguments."""


@dataclass(frozen=True, slots=True)
class Region:
    """A graph inside another.

    Args:
        graph: of the region.
        inputs: its placeholders, and what they stand for outside (None where nothing is known).
        times: how often it runs each time it is met.
        sliced: nodes outside of which each run sees another slice.
        mapped: no run needs another, so runs may be those of the batch.
    """

    graph: fx.Graph
    inputs: tuple[tuple[fx.Node, object], ...]
    times: int = 1
    sliced: frozenset[object] = frozenset()
    mapped: bool = False


@dataclass(frozen=True, slots=True)
class Branches:
    """The regions of a control operator.

    Args:
        exclusive: only one of them runs.
        remarks: what had to be assumed.
        lengths: runs of loops whose runs need the one before.
        unmodelled: the operator, if it is not known how often it runs.
    """

    regions: tuple[Region, ...]
    exclusive: bool = False
    remarks: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    unmodelled: tuple[str, ...] = ()


def control_of(node: fx.Node, tensors: ProgramTensors, trips: Mapping[str, int]) -> Branches | None:
    """What a control operator runs; None for every other operator."""
    name = _control_name(node)
    if name == "cond":
        return _cond(node, tensors)
    if name in ("scan", "associative_scan"):
        return _scan(node, tensors, name)
    if name in ("map_impl", "map"):
        return _map(node, tensors)
    if name in ("while_loop", "while_loop_stack_output"):
        return _while_loop(node, tensors, trips)
    if name in _ONCE:
        return Branches(tuple(inner_graphs(node)))
    return None


def region_run_once(node: fx.Node) -> Region | None:
    """The one graph that an operator runs once; None for every other operator."""
    regions = list(inner_graphs(node)) if _control_name(node) in _ONCE else []
    return regions[0] if len(regions) == 1 else None


def inner_graphs(node: fx.Node) -> Iterator[Region]:
    """The graphs among the arguments of an operator, their inputs last among the others."""
    flat, _ = pytree.tree_flatten((node.args, node.kwargs))
    operands = [each for each in flat if graph_module_of(each) is None]
    for each in flat:
        inner = graph_module_of(each)
        if inner is not None:
            yield _region(inner, operands)


def _control_name(node: fx.Node) -> str:
    """What an operator is called if it may run graphs."""
    if isinstance(node.target, torch._ops.OpOverload):
        return ""
    return str(getattr(node.target, "_name", "") or getattr(node.target, "__name__", ""))


def graph_module_of(argument: object) -> fx.GraphModule | None:
    """The graph that an argument of an operator stands for, if it does."""
    if not isinstance(argument, fx.Node) or argument.op != "get_attr":
        return None
    module: Any = argument.graph.owning_module
    for part in str(argument.target).split("."):
        module = getattr(module, part, None)
    return module if isinstance(module, fx.GraphModule) else None


def _region(
    inner: fx.GraphModule,
    operands: Sequence[object],
    times: int = 1,
    sliced: Sequence[object] = (),
) -> Region:
    placeholders = [node for node in inner.graph.nodes if node.op == "placeholder"]
    missing = len(placeholders) - len(operands)
    outer = [None] * missing + list(operands)[max(-missing, 0) :]
    nodes = frozenset(each for each in sliced if isinstance(each, fx.Node))
    return Region(inner.graph, tuple(zip(placeholders, outer, strict=False)), times, nodes)


def _cond(node: fx.Node, tensors: ProgramTensors) -> Branches:
    predicate, *branches = node.args[:3]
    group = node.args[3] if len(node.args) > 3 else ()
    operands = list(group) if isinstance(group, (tuple, list)) else []
    inner = [graph_module_of(branch) for branch in branches]
    if tensors.is_stored(predicate) and isinstance(predicate, fx.Node):
        value = tensors.value(predicate)
        inner = inner[:1] if value is None or bool(value) else inner[1:]
    elif isinstance(predicate, bool):
        inner = inner[:1] if predicate else inner[1:]
    regions = tuple(_region(each, operands) for each in inner if each is not None)
    return Branches(regions, exclusive=True)


def _scan(node: fx.Node, tensors: ProgramTensors, name: str) -> Branches | None:
    inner = graph_module_of(node.args[0])
    groups = [list(arg) for arg in node.args[1:] if isinstance(arg, (tuple, list))]
    if inner is None:
        return None
    carried, scanned, constant = ([], *groups[:2]) if name == "associative_scan" else groups[:3]
    try:
        steps = tensors.shape(scanned[0])[0]
    except (ProblemError, IndexError):
        return Branches((_region(inner, [*carried, *scanned, *constant]),), unmodelled=(name,))
    if name == "associative_scan":  # combines pairs: one less than there are
        operands = [None] * (2 * len(scanned)) + constant
        return Branches((_region(inner, operands, max(steps - 1, 0)),), lengths=(steps,))
    # What is carried differs from run to run, even if its first value is stored.
    operands = [None] * len(carried) + scanned + constant
    return Branches((_region(inner, operands, steps, scanned),), lengths=(steps,))


def _map(node: fx.Node, tensors: ProgramTensors) -> Branches | None:
    inner = graph_module_of(node.args[0])
    groups = [list(arg) for arg in node.args[1:] if isinstance(arg, (tuple, list))]
    if inner is None or not groups or not groups[0]:
        return None
    mapped, constant = groups[0], [each for group in groups[1:] for each in group]
    try:
        times = tensors.shape(mapped[0])[0]
    except ProblemError:
        return Branches((_region(inner, [*mapped, *constant]),), unmodelled=("map",))
    region = _region(inner, [*mapped, *constant], times, mapped)
    return Branches((replace(region, mapped=True),))


def _while_loop(
    node: fx.Node, tensors: ProgramTensors, trips: Mapping[str, int]
) -> Branches | None:
    condition, body = (graph_module_of(each) for each in node.args[:2])
    groups = [list(arg) for arg in node.args[2:4] if isinstance(arg, (tuple, list))]
    if condition is None or body is None or not groups:
        return None
    carried, constant = groups[0], groups[1] if len(groups) > 1 else []
    times = trips.get(node.name)
    if times is None:
        times = _counted_trips(condition, body, carried, constant, tensors)
    operands = [None] * len(carried) + constant
    if times is None:
        return Branches(
            (_region(body, operands), _region(condition, operands)),
            remarks=(
                f"how often {node.name} runs depends on data: one run is priced; "
                f"give it ({node.name}=N)",
            ),
            lengths=(1,),
            unmodelled=("while_loop",),
        )
    regions = (_region(body, operands, times), _region(condition, operands, times + 1))
    return Branches(regions, lengths=(times,))


# -- loops that count --------------------------------------------------------------------------

_UNKNOWN = object()


def _counted_trips(
    condition: fx.GraphModule,
    body: fx.GraphModule,
    carried: Sequence[object],
    constant: Sequence[object],
    tensors: ProgramTensors,
) -> int | None:
    """How often a loop runs whose condition hangs only on what is known before it."""
    state = [_known(each, tensors) for each in carried]
    fixed = [_known(each, tensors) for each in constant]
    for trip in range(MOST_TRIPS):
        goes_on = _run(condition.graph, [*state, *fixed])
        goes_on = goes_on[0] if isinstance(goes_on, (tuple, list)) else goes_on
        if goes_on is _UNKNOWN:
            return None
        if not bool(goes_on):
            return trip
        state = list(_run(body.graph, [*state, *fixed]))
    return None


def _known(argument: object, tensors: ProgramTensors) -> Any:
    """The value of what a loop starts with, if it is one number that is known."""
    if isinstance(argument, (int, float, bool)):
        return argument
    if not isinstance(argument, fx.Node):
        return _UNKNOWN
    value = argument.meta.get("val")
    if isinstance(value, torch.Tensor) and value.numel() != 1:
        return _UNKNOWN
    if tensors.is_stored(argument):
        stored = tensors.value(argument)
        return stored.clone() if isinstance(stored, torch.Tensor) else _UNKNOWN
    if argument.op == "call_function" and not argument.all_input_nodes:
        return _called(argument, {})  # torch.zeros(()) and the like
    return _UNKNOWN


def _run(graph: fx.Graph, inputs: Sequence[object]) -> Any:
    """The outputs of a graph, each unknown that hangs on something unknown."""
    values: dict[fx.Node, Any] = {}
    following = iter(inputs)
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = next(following, _UNKNOWN)
        elif node.op == "call_function":
            values[node] = _called(node, values)
        elif node.op == "output":
            return fx.map_arg(node.args[0], lambda source: values.get(source, _UNKNOWN))
    return _UNKNOWN


def _called(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    inputs = [values.get(source, _UNKNOWN) for source in node.all_input_nodes]
    if any(each is _UNKNOWN for each in inputs):
        return _UNKNOWN
    schema = getattr(node.target, "_schema", None)
    if schema is None and node.target.__module__ != "_operator":
        return _UNKNOWN
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor) and value.numel() > 1:
        return _UNKNOWN
    target: Any = node.target
    try:
        with torch.no_grad():
            return target(
                *fx.map_arg(node.args, values.__getitem__),
                **fx.map_arg(dict(node.kwargs), values.__getitem__),
            )
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return _UNKNOWN
