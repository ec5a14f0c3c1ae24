"""What each ATen operator does to the channels of a value: the rules of :mod:`channels`.

A rule is a function ``(walk, node) -> state``: the line of labels of the node's value, a list of
lines for an operator with several values, None for a value without channels, or a refusal with the
reason, which fixes all labels that come in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import fx

from picojoule.pruning.graph.operators import arguments, op_name

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Line:
    """Labels along one dimension of a value."""

    dim: int
    ids: Ids


State = Line | list[Line] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An operator that is not followed, and why; ``{op}`` stands for its name."""

    why: str


class Walk(Protocol):
    """What rules may ask of the pass over the graph, and tell it."""

    def shape(self, node: Any) -> Any: ...

    def line(self, node: Any) -> Line | None: ...

    def fresh(self, size: int, reason: str | None = None) -> Ids: ...

    def unite(self, left: Ids, right: Ids) -> None: ...

    def fix(self, ids: Ids, reason: str) -> None: ...

    def edit(self, node: fx.Node, place: tuple[int, ...], ids: Ids) -> None: ...

    def stored(self, node: fx.Node, dim: int, ids: Ids) -> None: ...


Rule = Callable[[Walk, fx.Node], State | Refusal]

_POINTWISE = frozenset(
    [
        "relu",
        "relu6",
        "hardtanh",
        "silu",
        "sigmoid",
        "hardswish",
        "hardsigmoid",
        "gelu",
        "tanh",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "mish",
        "softplus",
        "softsign",
        "clamp",
        "clamp_min",
        "clamp_max",
        "abs",
        "neg",
        "exp",
        "log",
        "sqrt",
        "rsqrt",
        "square",
        "pow",
        "reciprocal",
        "clone",
        "contiguous",
        "alias",
        "detach",
        "to",
        "_to_copy",
        "type_as",
        "lift_fresh_copy",
        "identity",
        "float",
        "threshold",
    ]
)
_TWO_OPERANDS = frozenset(["add", "sub", "mul", "div", "maximum", "minimum", "rsub", "pow"])
_POOLS = {
    **{f"{kind}_pool{n}d": n for kind in ("max", "avg") for n in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{n}d": n for kind in ("max", "avg") for n in (1, 2, 3)},
    "upsample_nearest2d": 2,
    "upsample_bilinear2d": 2,
    "upsample_bicubic2d": 2,
}
_REDUCTIONS = frozenset(["mean", "sum", "amax", "amin", "prod", "var", "std"])
_VIEWS = frozenset(["view", "reshape", "flatten", "unflatten", "_unsafe_view"])


def rule_of(walk: Walk, node: fx.Node) -> Rule | None:
    """The rule of a node's operator; None if it has none."""
    op = op_name(node).removesuffix("_")
    rule = _RULES.get(op)
    if rule is None and op in _POINTWISE and len(_tensor_inputs(walk, node)) <= 1:
        rule = _pointwise
    if rule is None and op in _TWO_OPERANDS:
        rule = _elementwise
    if rule is None and op in _POOLS:
        rule = _pool
    if rule is None and op in _REDUCTIONS:
        rule = _reduction
    if rule is None and op in _VIEWS:
        rule = _view
    return rule


def _tensor_inputs(walk: Walk, node: fx.Node) -> list[fx.Node]:
    return [x for x in node.all_input_nodes if isinstance(walk.shape(x), tuple)]


def _pointwise(walk: Walk, node: fx.Node) -> State:
    return walk.line(node.args[0])


def _elementwise(walk: Walk, node: fx.Node) -> State | Refusal:
    rank = len(walk.shape(node) or ())
    sources = _tensor_inputs(walk, node)
    lines = [(x, line) for x in sources if (line := walk.line(x)) is not None]
    if not lines:
        return None
    aligned = {line.dim + rank - len(walk.shape(x)) for x, line in lines}
    if len(aligned) > 1:
        return Refusal("{op} joins values whose channels lie along different dimensions")
    (dim,) = aligned
    size = walk.shape(node)[dim]
    full = [line.ids for _, line in lines if len(line.ids) == size]
    if not full:
        return Refusal("{op} spreads one channel over several")
    for ids in full[1:]:
        walk.unite(full[0], ids)
    for source in sources:
        line, own = walk.line(source), dim - rank + len(walk.shape(source))
        if line is not None and len(line.ids) != size:
            walk.fix(line.ids, f"{node.name}: one channel is spread over several")
        if line is None and own >= 0 and walk.shape(source)[own] == size and size > 1:
            if source.op == "get_attr":
                walk.stored(source, own, full[0])
            else:
                walk.fix(full[0], f"{node.name}: joined with a value that is not followed")
    return Line(dim, full[0])


def _pool(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    spatial = _POOLS[op_name(node).removesuffix("_")]
    if line.dim >= len(walk.shape(node.args[0])) - spatial:
        return Refusal("{op} pools over channels")
    return line


def _reduction(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    rank = len(walk.shape(node.args[0]))
    operands = arguments(node)
    dims = operands.get("dim")
    if dims is None:
        return Refusal("{op} runs over all dimensions")
    over = {int(x) % rank for x in (dims if isinstance(dims, (list, tuple)) else [dims])}
    if line.dim in over:
        return Refusal("{op} runs over channels")
    shift = 0 if operands.get("keepdim") else sum(x < line.dim for x in over)
    return Line(line.dim - shift, line.ids)


def _cat(walk: Walk, node: fx.Node) -> State | Refusal:
    parts: Any = node.args[0]
    dim = int(arguments(node).get("dim", 0)) % len(walk.shape(node))
    lines = [walk.line(part) for part in parts]
    if all(line is None for line in lines):
        return None
    if all(line is None or line.dim == dim for line in lines):
        pieces = [
            line.ids
            if line is not None
            else walk.fresh(walk.shape(part)[dim], f"{node.name}: a value that is not followed")
            for part, line in zip(parts, lines, strict=True)
        ]
        return Line(dim, np.concatenate(pieces))
    along = {line.dim for line in lines if line is not None}
    if len(along) > 1 or any(line is None for line in lines):
        return Refusal("{op} joins values whose channels lie along different dimensions")
    followed = [line for line in lines if line is not None]
    for line in followed[1:]:
        walk.unite(followed[0].ids, line.ids)
    return followed[0]


def _split(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    operands = arguments(node)
    sizes = [int(x) for x in operands["split_sizes"]]
    dim = int(operands.get("dim", 0)) % len(walk.shape(node.args[0]))
    if dim != line.dim:
        return [line for _ in sizes]
    pieces = np.split(line.ids, np.cumsum(sizes)[:-1])
    for number, piece in enumerate(pieces):
        walk.edit(node, (1, number), piece)
    return [Line(dim, piece) for piece in pieces]


def _slice(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    operands = arguments(node)
    dim = int(operands.get("dim", 0)) % len(walk.shape(node.args[0]))
    if dim != line.dim:
        return line
    size = len(line.ids)
    start, end, step = operands.get("start"), operands.get("end"), operands.get("step", 1)
    start = 0 if start is None else start
    end = size if end is None else end
    if step != 1 or not isinstance(start, int) or not isinstance(end, int):
        return Refusal("{op} takes channels in steps")
    start = min(size, start + size if start < 0 else start)
    end = min(size, end + size if end < 0 else end)
    if len(node.args) > 2:
        walk.edit(node, (2,), line.ids[:start])
    if len(node.args) > 3:
        walk.edit(node, (3,), line.ids[:end])
    return Line(dim, line.ids[start:end])


def _permute(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    rank = len(walk.shape(node.args[0]))
    order = list(range(rank))
    if op_name(node) == "permute":
        order = [int(x) % rank for x in node.args[1]]  # type: ignore[union-attr,arg-type]
    else:
        a, b = (int(x) % rank for x in node.args[1:3])  # type: ignore[arg-type]
        order[a], order[b] = order[b], order[a]
    return Line(order.index(line.dim), line.ids)


def _unsqueeze(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    dim = int(node.args[1]) % len(walk.shape(node))  # type: ignore[arg-type]
    return Line(line.dim + (dim <= line.dim), line.ids)


def _squeeze(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    shape = walk.shape(node.args[0])
    argument: Any = node.args[1] if len(node.args) > 1 else range(len(shape))
    listed = argument if isinstance(argument, (list, tuple, range)) else [argument]
    dims = {int(x) % len(shape) for x in listed}
    gone = {x for x in dims if shape[x] == 1}
    if line.dim in gone:
        return Refusal("{op} drops the dimension of channels")
    return Line(line.dim - sum(x < line.dim for x in gone), line.ids)


def _pad(walk: Walk, node: fx.Node) -> State | Refusal:
    """Zeros before and after channels are channels too: they go when those they are added to go."""
    line = walk.line(node.args[0])
    if line is None:
        return None
    pads: Any = arguments(node)["pad"]
    back = len(walk.shape(node.args[0])) - 1 - line.dim
    if 2 * back >= len(pads):
        return line
    before, after = pads[2 * back], pads[2 * back + 1]
    if (
        before < 0
        or after < 0
        or (op_name(node) == "pad" and arguments(node)["mode"] != "constant")
    ):
        return Refusal("{op} crops or repeats channels")
    left, right = walk.fresh(before), walk.fresh(after)
    walk.edit(node, (1, 2 * back), left)
    walk.edit(node, (1, 2 * back + 1), right)
    return Line(line.dim, np.concatenate([left, line.ids, right]))


def _softmax(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    if int(node.args[1]) % len(walk.shape(node.args[0])) == line.dim:  # type: ignore[arg-type]
        return Refusal("{op} runs over channels")
    return line


def _select(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    dim = int(node.args[1]) % len(walk.shape(node.args[0]))  # type: ignore[arg-type]
    if dim == line.dim:
        return Refusal("{op} picks single channels")
    return Line(line.dim - (dim < line.dim), line.ids)


def _expand(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    dim = line.dim + len(walk.shape(node)) - len(walk.shape(node.args[0]))
    if walk.shape(node)[dim] != len(line.ids):
        return Refusal("{op} spreads one channel over several")
    if op_name(node) == "expand_as":
        other = walk.line(node.args[1])
        if other is None or other.dim != dim:
            return Refusal("{op} takes its shape from a value that is not followed")
        walk.unite(line.ids, other.ids)
    else:
        size: Any = node.args[1][dim]  # type: ignore[index]
        if not isinstance(size, int):
            return Refusal("{op} to a size that is computed")
        if size != -1:
            walk.edit(node, (1, dim), line.ids)
    return Line(dim, line.ids)


def _number(walk: Walk, node: fx.Node) -> None:
    """A size, not a tensor."""
    del walk, node


def _pixel_shuffle(walk: Walk, node: fx.Node) -> State | Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    area = int(node.args[1]) ** 2  # type: ignore[arg-type]
    blocks = line.ids.reshape(-1, area)
    for column in range(1, area):
        walk.unite(blocks[:, 0], blocks[:, column])
    return Line(line.dim, blocks[:, 0])


def _view(walk: Walk, node: fx.Node) -> State | Refusal:
    """A new shape keeps the dimension of channels, merges it with those behind, or parts it."""
    line = walk.line(node.args[0])
    if line is None:
        return None
    old, new = walk.shape(node.args[0]), walk.shape(node)
    before = int(np.prod(old[: line.dim]))
    for dim in range(len(new)):
        if int(np.prod(new[:dim])) != before:
            continue
        behind = 1
        if new[dim] == len(line.ids):
            return _sized(walk, node, dim, line.ids)
        for size in old[line.dim + 1 :]:
            behind *= size
            if new[dim] == len(line.ids) * behind:
                return _sized(walk, node, dim, np.repeat(line.ids, behind))
        if new[dim] > 1 and len(line.ids) % new[dim] == 0:
            each = len(line.ids) // new[dim]
            blocks = line.ids.reshape(new[dim], each)
            if (blocks == blocks[:, :1]).all():  # flattened before, now as it was
                return _sized(walk, node, dim, blocks[:, 0])
    return Refusal("{op} takes channels apart")


def _sized(walk: Walk, node: fx.Node, dim: int, ids: Ids) -> State | Refusal:
    if op_name(node) == "flatten":
        return Line(dim, ids)
    if op_name(node) == "unflatten":
        return Refusal("{op} takes channels apart")
    size: Any = node.args[1][dim]  # type: ignore[index]
    if not isinstance(size, int):
        return Refusal("{op} to a size that is computed")
    if size != -1:
        walk.edit(node, (1, dim), ids)
    elif any(isinstance(x, int) and x == -1 for x in node.args[1][:dim]):  # type: ignore
        return Refusal("{op} with two free sizes")
    return Line(dim, ids)


_RULES: dict[str, Rule] = {
    "cat": _cat,
    "concat": _cat,
    "split_with_sizes": _split,
    "slice": _slice,
    "permute": _permute,
    "transpose": _permute,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "select": _select,
    "expand": _expand,
    "expand_as": _expand,
    "pixel_shuffle": _pixel_shuffle,
    "sym_size": _number,
}
