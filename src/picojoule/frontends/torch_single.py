"""A program that was exported for several inferences at once, as it would be for one.

A saved program has its sizes written into it: into its inputs, and into the arguments of the
operators that shape values or make them. Here its inputs lose all but one index of their first
dimension, and what follows gets the shapes it then has, on tensors without values. Only operators
that do nothing but arithmetic are asked for shapes, as the file may come from anybody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode

from picojoule.frontends.aten_operators import family_of, words
from picojoule.frontends.torch_regions import graph_module_of, region_run_once
from picojoule.frontends.torch_sizes import is_assertion
from picojoule.frontends.torch_tensors import is_plain

_RESHAPES = words("view reshape _unsafe_view")
_REPEATS = words("expand repeat")
_MADE = words(
    """
    zeros ones full empty rand randn new_zeros new_ones new_full new_empty empty_permuted
    """
)
_CUTS = words("split split_with_sizes unbind chunk tensor_split unsafe_split unsafe_chunk")
_GROUPED = frozenset({"transformers::grouped_mm_fallback"})
"""Rows shared out over matrices by an operator of a package, which is not asked."""

MOST_PIECES = 1 << 12


class _NotForOneError(Exception):
    """The program has no shapes for one inference."""


def set_for_one(program: torch.export.ExportedProgram, size: int) -> bool:
    """Give every value of a program the shape that it has where *size* inferences become one.

    Returns:
        whether there are such shapes; if not, the program is of no more use.
    """
    inputs = set(program.graph_signature.user_inputs)
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=False) as mode:
        walk = _Walk(mode, size)
        try:
            for node in program.graph.nodes:
                if node.op == "placeholder":
                    walk.enter(node, single=node.name in inputs)
            walk.follow(program.graph)
        except _NotForOneError:
            return False
        except Exception:  # whatever an operator says to sizes it cannot have
            return False
    return True


class _Walk:
    """Follows the operators of a program on tensors without values."""

    def __init__(self, mode: FakeTensorMode, size: int) -> None:
        self._mode = mode
        self._size = size
        self._before: dict[fx.Node, Any] = {}
        self._inner: dict[fx.Node, int] = {}
        """Of a dimension that holds more than the inferences: its size within one of them."""

    def enter(self, node: fx.Node, *, single: bool) -> None:
        """Take an input, of which all but the first index of its first dimension go."""
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            if value is not None and not isinstance(value, (int, float, bool, str)):
                raise _NotForOneError
            return
        shape = list(_whole(value.shape))
        if single and len(shape) > 1 and shape[0] == self._size:
            shape[0] = 1
        self._set(node, torch.empty(shape, dtype=value.dtype))

    def follow(self, graph: fx.Graph) -> Any:
        """Give the nodes of a graph their shapes; return its outputs."""
        for node in graph.nodes:
            if node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                return fx.map_arg(node.args[0], _value_of)
            elif node.op == "get_attr" and graph_module_of(node) is None:
                raise _NotForOneError
        return None

    def _call(self, node: fx.Node) -> None:
        if is_assertion(node):
            return
        region = region_run_once(node)
        if region is not None:
            for placeholder, outer in region.inputs:
                self._set(placeholder, _value_of(outer) if isinstance(outer, fx.Node) else outer)
            self._set(node, self.follow(region.graph))
            return
        name = family_of(node.target)
        if name in _GROUPED:
            rows, matrices = (_value_of(source) for source in node.all_input_nodes[:2])
            self._set(node, rows.new_empty((rows.shape[0], matrices.shape[-1])))
            return
        if not is_plain(node) or not _is_short(node, name):
            raise _NotForOneError
        arguments = list(node.args)
        if name in _RESHAPES:
            arguments[1] = self._reshaped(node, arguments[1])
        elif name in _REPEATS and _numbers(arguments[1])[:1] == [self._size]:
            (source,) = node.all_input_nodes
            if _whole(source.meta["val"].shape)[0] == 1:
                arguments[1] = [1, *_numbers(arguments[1])[1:]]
        elif name in _MADE:
            place = 1 if name.startswith("new_") else 0
            arguments[place] = self._one_of(_numbers(arguments[place]))
        elif name == "arange" and arguments[:1] == [self._size] and len(node.args) == 1:
            arguments[0] = 1
        node.args = tuple(arguments)
        if name not in _RESHAPES:
            inner = [
                self._inner[source] for source in node.all_input_nodes if source in self._inner
            ]
            if inner:
                self._inner[node] = inner[0]
        target: Any = node.target
        positional, keywords = fx.map_arg((node.args, dict(node.kwargs)), _value_of)
        self._set(node, target(*positional, **keywords))

    def _set(self, node: fx.Node, value: Any) -> None:
        self._before[node] = node.meta.get("val")
        node.meta["val"] = value

    def _one_of(self, sizes: Sequence[int]) -> list[int]:
        """Sizes without the inferences: the first that is as many."""
        if self._size not in sizes:
            return list(sizes)
        place = sizes.index(self._size)
        return [*sizes[:place], 1, *sizes[place + 1 :]]

    def _reshaped(self, node: fx.Node, shape: object) -> list[int]:
        """The sizes of a view, of which the one that holds the inferences gets smaller."""
        sizes = _numbers(shape)
        axis = self._axis_of(node.all_input_nodes[0])
        if axis is None:
            return sizes
        source = node.all_input_nodes[0]
        old = _whole(self._before[source].shape)
        whole = [math.prod(old) // -math.prod(sizes) if size == -1 else size for size in sizes]
        # Where one inference follows the other, in elements.
        stride = self._inner.get(source, 1) * math.prod(old[axis + 1 :])
        for place, size in enumerate(whole):
            below = math.prod(whole[place + 1 :])
            if below <= stride < below * size and not size % self._size and not stride % below:
                self._inner[node] = stride // below
                return [*whole[:place], size // self._size, *whole[place + 1 :]]
        raise _NotForOneError

    def _axis_of(self, node: fx.Node) -> int | None:
        """The dimension of a value that holds the inferences; None if it is for all of them."""
        before, after = self._before.get(node), node.meta["val"]
        if not isinstance(before, torch.Tensor) or not isinstance(after, torch.Tensor):
            return None
        old, new = _whole(before.shape), _whole(after.shape)
        if len(old) != len(new):
            raise _NotForOneError
        changed = [axis for axis in range(len(old)) if old[axis] != new[axis]]
        if len(changed) > 1 or any(old[axis] != new[axis] * self._size for axis in changed):
            raise _NotForOneError
        return changed[0] if changed else None


def _value_of(node: fx.Node) -> Any:
    return node.meta["val"]


def _whole(shape: Sequence[Any]) -> tuple[int, ...]:
    if not all(isinstance(size, int) for size in shape):
        raise _NotForOneError
    return tuple(shape)


def _numbers(argument: object) -> list[int]:
    if not isinstance(argument, (list, tuple)) or not all(
        isinstance(size, int) for size in argument
    ):
        raise _NotForOneError
    return list(argument)


def _is_short(node: fx.Node, name: str) -> bool:
    """Whether an operator that cuts a value makes no more pieces than a network has."""
    if name not in _CUTS:
        return True
    value = node.all_input_nodes[0].meta["val"] if node.all_input_nodes else None
    return isinstance(value, torch.Tensor) and max(value.shape, default=0) <= MOST_PIECES
