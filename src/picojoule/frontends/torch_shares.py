"""Sizes that depend on data, where what is expected of them can be read off the program.

A mixture of experts picks the rows whose router chose an expert: of all choices, each of the
experts is expected to get the same share.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import torch
from torch import fx

from picojoule.frontends.aten_operators import family_of, words
from picojoule.frontends.products import ProblemError

_ROWS = frozenset(["nonzero", "nonzero_numpy", "where", "argwhere", "masked_select"])
_SAME_CHOICES = words(
    "view reshape to _to alias detach flatten unsqueeze squeeze expand contiguous clone transpose "
    "permute t unflatten bool gt ne float long int any sum"
)


def expected_size(
    node: fx.Node, shape_of: Callable[[object], tuple[int, ...]]
) -> dict[str, int] | None:
    """Symbol -> size, if *node* picks what a router chose for one of its experts."""
    name = family_of(node.target)
    if name not in _ROWS and not (name == "index" and _mask(node) is not None):
        return None
    if name == "where" and len(node.args) != 1:
        return None
    mask = _mask(node) if name == "index" else node.args[-1 if name == "masked_select" else 0]
    symbols = _symbols(node)
    if not symbols or not isinstance(mask, fx.Node):
        return None
    choice = _choice(mask)
    if choice is None:
        return None
    chosen, experts, expert = choice
    try:
        choices = math.prod(shape_of(chosen))
    except ProblemError:
        return None
    expert = min(max(expert, 0), experts - 1)
    share = choices * (expert + 1) // experts - choices * expert // experts
    return dict.fromkeys(symbols, share)


def _symbols(node: fx.Node) -> list[str]:
    value = node.meta.get("val")
    values = value if isinstance(value, (tuple, list)) else [value]
    symbols: dict[str, None] = {}
    for each in values:
        if isinstance(each, torch.Tensor):
            for size in each.shape:
                expression = getattr(getattr(size, "node", None), "expr", None)
                if expression is not None and expression.is_symbol:
                    symbols[str(expression)] = None
    return list(symbols)


def _mask(node: fx.Node) -> fx.Node | None:
    """The mask of ``x[mask]``."""
    indices = node.args[1] if len(node.args) > 1 else None
    masks = [
        index
        for index in (indices if isinstance(indices, (tuple, list)) else [])
        if isinstance(index, fx.Node)
        and isinstance(index.meta.get("val"), torch.Tensor)
        and index.meta["val"].dtype is torch.bool
    ]
    return masks[0] if len(masks) == 1 else None


def _choice(node: fx.Node) -> tuple[fx.Node, int, int] | None:
    """The chosen indices, the number of experts and the expert that a mask asks for."""
    expert = 0
    while node.op == "call_function" and node.all_input_nodes:
        name = family_of(node.target)
        source = node.all_input_nodes[0]
        if name == "eq":
            number = node.args[1]
            router = _router(source)
            return None if router is None else (*router, number if isinstance(number, int) else 0)
        if name == "one_hot":
            value = node.meta.get("val")
            experts = value.shape[-1] if isinstance(value, torch.Tensor) else None
            if not isinstance(experts, int) or _router(source) is None:
                return None
            return source, experts, expert
        if name == "select":
            index = node.args[2]
            expert = index if isinstance(index, int) else 0
        elif name not in _SAME_CHOICES:
            return None
        node = source
    return None


def _router(node: fx.Node) -> tuple[fx.Node, int] | None:
    """The indices that a router gives, and among how many it chooses."""
    chosen = node
    while node.op == "call_function" and node.all_input_nodes:
        name = family_of(node.target)
        source = node.all_input_nodes[0]
        if name in ("topk", "argmax", "max", "sort", "argsort"):
            scores = source.meta.get("val")
            position = 2 if name == "topk" else 1
            dim = node.args[position] if len(node.args) > position else -1
            dim = node.kwargs.get("dim", dim)
            if not isinstance(scores, torch.Tensor) or not isinstance(dim, int):
                return None
            among = scores.shape[dim]
            return (chosen, among) if isinstance(among, int) and among > 0 else None
        if name not in _SAME_CHOICES and node.target is not operator.getitem:
            return None
        node = source
    return None
