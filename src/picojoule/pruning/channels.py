"""Which channels of a network live and die together, found on its graph.

Every value of the graph has at most one dimension that counts channels; its positions carry labels.
A convolution makes new labels, an addition declares labels equal, a concatenation lines them up, a
shuffle moves them. Labels that were declared equal are one *channel* of the network: removing it
removes every position that carries it, from every tensor. A :class:`ChannelGroup` holds the channels
that the same layers produce; it is what changes width.

Operators that mix channels in ways not known here fix the labels they touch, with the reason kept:
nothing is skipped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from picojoule.pruning.graphs import Reorder, annotate, arguments, op_name

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Axes:
    """The channels along a module's inputs and outputs, one per position."""

    inputs: Ids
    outputs: Ids


@dataclass(frozen=True, eq=False)
class Edit:
    """A number in a node's arguments that counts channels: the kept ones of *ids*."""

    node: str
    place: tuple[int, ...]
    ids: Ids


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that the same layers produce.

    Args:
        name: the first of the layers that produce it.
        channels: their numbers, in the order of the first producer's outputs.
        producers: layers with these channels as outputs (more than one across an addition).
        consumers: layers that mix these channels into others.
    """

    name: str
    channels: tuple[int, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]

    @property
    def width(self) -> int:
        return len(self.channels)


@dataclass(frozen=True, eq=False)
class Channels:
    """All channels of a network.

    Args:
        count: how many there are.
        groups: those that can be removed, by the layers that produce them.
        fixed: producer -> why its channels stay.
        axes: module -> the channels along its tensors.
        orders: shuffle -> the channels along its input.
        tensors: (parameter or buffer used directly, dimension) -> channels along it.
        edits: counts of channels in the arguments of operators.
    """

    count: int
    groups: tuple[ChannelGroup, ...]
    fixed: Mapping[str, str]
    axes: Mapping[str, Axes]
    orders: Mapping[str, Ids]
    tensors: Mapping[tuple[str, int], Ids]
    edits: tuple[Edit, ...]

    def __getitem__(self, name: str) -> ChannelGroup:
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def all_kept(self) -> npt.NDArray[np.bool_]:
        """A mask over the channels that keeps every one."""
        return np.ones(self.count, bool)

    def removed_with(self, channel: int) -> dict[tuple[str, str], tuple[int, ...]]:
        """What goes with a channel: (module, "in" or "out") -> positions."""
        found = {}
        for path, axes in self.axes.items():
            for side, ids in (("in", axes.inputs), ("out", axes.outputs)):
                positions = np.flatnonzero(ids == channel)
                if len(positions):
                    found[path, side] = tuple(int(x) for x in positions)
        return found


def find_channels(network: fx.GraphModule, inputs: Sequence[torch.Tensor]) -> Channels:
    """Follow the channels through a network (of :func:`graphs.trace`).

    Args:
        inputs: example arguments; only their shapes matter.
    """
    walk = _Walk(network, inputs)
    walk.run()
    return walk.result()


@dataclass(frozen=True, eq=False)
class _Line:
    """Labels along one dimension of a value."""

    dim: int
    ids: Ids


_State = _Line | list[_Line] | None

_POINTWISE = frozenset(
    "relu relu6 hardtanh silu sigmoid hardswish hardsigmoid gelu tanh leaky_relu elu selu celu mish "
    "softplus softsign clamp clamp_min clamp_max abs neg exp log sqrt rsqrt square pow reciprocal "
    "clone contiguous alias detach detach_ to _to_copy type_as lift_fresh_copy dropout identity "
    "float threshold".split()
)
_TWO_OPERANDS = frozenset("add sub mul div maximum minimum rsub pow".split())
_POOLS = {
    **{f"{kind}_pool{n}d": n for kind in ("max", "avg") for n in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{n}d": n for kind in ("max", "avg") for n in (1, 2, 3)},
    "upsample_nearest2d": 2,
    "upsample_bilinear2d": 2,
    "upsample_bicubic2d": 2,
}
_REDUCTIONS = frozenset("mean sum amax amin prod var std".split())
_VIEWS = frozenset("view reshape flatten unflatten _unsafe_view".split())


class _Walk:
    """One pass over the graph in the order of execution."""

    def __init__(self, network: fx.GraphModule, inputs: Sequence[torch.Tensor]) -> None:
        self._network = network
        self._shapes = annotate(network, inputs)
        self._parents: list[int] = []
        self._reasons: list[tuple[Ids, str]] = []
        self._states: dict[str, _State] = {}
        self._axes: dict[str, Axes] = {}
        self._orders: dict[str, Ids] = {}
        self._tensors: dict[tuple[str, int], Ids] = {}
        self._edits: list[Edit] = []
        self._producers: dict[str, None] = {}
        self._consumers: dict[str, None] = {}

    # -- labels ------------------------------------------------------------------------------------

    def fresh(self, size: int, reason: str | None = None) -> Ids:
        """New labels; fixed if there is a reason."""
        ids = np.arange(len(self._parents), len(self._parents) + size)
        self._parents.extend(ids.tolist())
        if reason is not None:
            self.fix(ids, reason)
        return ids

    def root(self, label: int) -> int:
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = self._parents[label]
        return label

    def unite(self, left: Ids, right: Ids) -> None:
        """Declare labels equal, position by position."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            a, b = self.root(a), self.root(b)
            if a != b:
                self._parents[max(a, b)] = min(a, b)

    def tie(self, ids: Ids, groups: int) -> None:
        """Declare equal what has the same place in each of some groups of equal size."""
        table = ids.reshape(groups, -1)
        for row in table[1:]:
            self.unite(table[0], row)

    def fix(self, ids: Ids, reason: str) -> None:
        self._reasons.append((ids, reason))

    # -- the graph ---------------------------------------------------------------------------------

    def run(self) -> None:
        for node in self._network.graph.nodes:
            if node.op == "placeholder":
                shape = self.shape(node)
                known = shape is not None and len(shape) > 1
                ids = self.fresh(shape[1], "an input of the network") if known else None
                self._states[node.name] = None if ids is None else _Line(1, ids)
            elif node.op == "output":
                for source in node.all_input_nodes:
                    self._fix_state(source, "an output of the network")
            elif node.op == "call_module":
                self._states[node.name] = self._module(node)
            elif node.op == "call_function":
                self._states[node.name] = self._function(node)
            else:
                self._states[node.name] = None

    def shape(self, node: Any) -> Any:
        return self._shapes.get(node.name) if isinstance(node, fx.Node) else None

    def line(self, node: Any) -> _Line | None:
        state = self._states.get(node.name) if isinstance(node, fx.Node) else None
        return state if isinstance(state, _Line) else None

    def edit(self, node: fx.Node, place: tuple[int, ...], ids: Ids) -> None:
        self._edits.append(Edit(node.name, place, ids))

    def _lines(self, node: fx.Node) -> Iterator[_Line]:
        state = self._states.get(node.name)
        yield from state if isinstance(state, list) else [state] if state else []

    def _fix_state(self, node: fx.Node, reason: str) -> None:
        for line in self._lines(node):
            self.fix(line.ids, reason)

    def _function(self, node: fx.Node) -> _State:
        op = op_name(node).removesuffix("_") if op_name(node) != "detach_" else "detach"
        if op == "getitem":
            source, index = node.args
            state = self._states.get(source.name) if isinstance(source, fx.Node) else None
            if isinstance(state, list) and isinstance(index, int):
                return state[index]
            return None
        handler = _HANDLERS.get(op)
        if handler is None and op in _POINTWISE and len(_tensor_inputs(self, node)) <= 1:
            handler = _pointwise
        if handler is None and op in _TWO_OPERANDS:
            handler = _elementwise
        if handler is None and op in _POOLS:
            handler = _pool
        if handler is None and op in _REDUCTIONS:
            handler = _reduction
        if handler is None and op in _VIEWS:
            handler = _view
        state = handler(self, node) if handler is not None else _REFUSED
        if isinstance(state, _Refusal):
            for source in node.all_input_nodes:
                self._fix_state(source, f"{node.name}: {state.why.format(op=op)}")
            return None
        return state

    # -- modules -----------------------------------------------------------------------------------

    def _module(self, node: fx.Node) -> _State:
        path = str(node.target)
        module = self._network.get_submodule(path)
        source = node.args[0]
        line, rank = self.line(source), len(self.shape(source))
        if isinstance(module, Reorder):
            if line is None or line.dim != module.dim:
                return line
            self._same_as_before(self._orders, path, line.ids)
            return _Line(line.dim, line.ids[module.order.numpy()])
        if isinstance(module, (nn.Dropout, nn.LocalResponseNorm)):
            return line
        if isinstance(module, nn.Linear):
            return self._mix(path, line, rank - 1, module.in_features, module.out_features, 1)
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) or isinstance(
            module, (nn.ConvTranspose1d, nn.ConvTranspose2d)
        ):
            dim = rank - 1 - len(module.kernel_size)
            return self._mix(
                path, line, dim, module.in_channels, module.out_channels, module.groups
            )
        if line is None:
            return None
        if isinstance(module, nn.LayerNorm):
            first = rank - len(module.normalized_shape)
            if line.dim < first:
                return line
            if len(module.normalized_shape) > 1:
                self.fix(line.ids, f"{path} normalises over several dimensions")
                return line
        elif isinstance(module, nn.GroupNorm):
            self.tie(line.ids, module.num_groups)
        elif line.dim != 1:
            self.fix(line.ids, f"{path} normalises another dimension")
            return line
        self._register(path, line.ids, line.ids)
        return line

    def _mix(
        self, path: str, line: _Line | None, dim: int, ins: int, outs: int, groups: int
    ) -> _Line:
        if line is None or line.dim != dim:
            if line is not None:
                self.fix(line.ids, f"{path} mixes another dimension")
            ids = self.fresh(ins, f"{path} reads values whose channels are not known")
        else:
            ids = line.ids
        if groups > 1 and groups == ins:
            made = np.repeat(ids, outs // ins)  # depthwise: an output lives and dies with its input
        else:
            known = self._axes.get(path)
            made = known.outputs if known else self.fresh(outs)
            self._producers[path] = None
            self._consumers[path] = None
            if groups > 1:
                self.tie(ids, groups)
                self.tie(made, groups)
        self._register(path, ids, made)
        return _Line(dim, made)

    def _register(self, path: str, ins: Ids, outs: Ids) -> None:
        known = self._axes.get(path)
        if known is None:
            self._axes[path] = Axes(ins, outs)
        else:  # one module called twice: both calls see the same tensors
            self.unite(known.inputs, ins)
            self.unite(known.outputs, outs)

    def _same_as_before(self, table: dict[Any, Ids], key: Any, ids: Ids) -> None:
        if key in table:
            self.unite(table[key], ids)
        else:
            table[key] = ids

    def stored(self, node: fx.Node, dim: int, ids: Ids) -> None:
        """A parameter or buffer used directly has these channels along a dimension."""
        self._same_as_before(self._tensors, (str(node.target), dim), ids)

    # -- the result --------------------------------------------------------------------------------

    def result(self) -> Channels:
        roots = np.array([self.root(label) for label in range(len(self._parents))], np.int64)
        _, numbers = np.unique(roots, return_inverse=True)
        count = int(numbers.max()) + 1 if len(numbers) else 0
        axes = {
            path: Axes(numbers[found.inputs], numbers[found.outputs])
            for path, found in self._axes.items()
        }
        why: dict[int, str] = {}
        for ids, reason in self._reasons:
            for channel in np.unique(numbers[ids]).tolist():
                why.setdefault(channel, reason)
        made_by: dict[int, list[str]] = {}
        for path in self._producers:
            for channel in dict.fromkeys(axes[path].outputs.tolist()):
                made_by.setdefault(channel, []).append(path)
        members: dict[tuple[str, ...], list[int]] = {}
        fixed: dict[str, str] = {}
        for channel, producers in made_by.items():
            if channel in why:
                for path in producers:
                    fixed.setdefault(path, why[channel])
            else:
                members.setdefault(tuple(producers), []).append(channel)
        return Channels(
            count,
            tuple(self._groups(members, axes)),
            fixed,
            axes,
            {path: numbers[ids] for path, ids in self._orders.items()},
            {key: numbers[ids] for key, ids in self._tensors.items()},
            tuple(Edit(e.node, e.place, numbers[e.ids]) for e in self._edits),
        )

    def _groups(
        self, members: Mapping[tuple[str, ...], list[int]], axes: Mapping[str, Axes]
    ) -> Iterator[ChannelGroup]:
        order = {path: n for n, path in enumerate(self._producers)}
        taken: dict[str, int] = {}
        inputs = {path: frozenset(axes[path].inputs.tolist()) for path in self._consumers}
        for producers in sorted(members, key=lambda paths: [order[path] for path in paths]):
            channels = members[producers]
            taken[producers[0]] = taken.get(producers[0], 0) + 1
            number = taken[producers[0]]
            name = producers[0] + (f"#{number}" if number > 1 else "")
            readers = tuple(p for p, ids in inputs.items() if not ids.isdisjoint(channels))
            yield ChannelGroup(name, tuple(channels), producers, readers)


# -- operators -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Refusal:
    why: str


_REFUSED = _Refusal("{op} is not followed")
_Handler = Callable[[_Walk, fx.Node], "_State | _Refusal"]


def _tensor_inputs(walk: _Walk, node: fx.Node) -> list[fx.Node]:
    return [x for x in node.all_input_nodes if isinstance(walk.shape(x), tuple)]


def _pointwise(walk: _Walk, node: fx.Node) -> _State:
    return walk.line(node.args[0])


def _elementwise(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    rank = len(walk.shape(node) or ())
    sources = _tensor_inputs(walk, node)
    lines = [(x, line) for x in sources if (line := walk.line(x)) is not None]
    if not lines:
        return None
    aligned = {line.dim + rank - len(walk.shape(x)) for x, line in lines}
    if len(aligned) > 1:
        return _Refusal("{op} joins values whose channels lie along different dimensions")
    (dim,) = aligned
    size = walk.shape(node)[dim]
    full = [line.ids for _, line in lines if len(line.ids) == size]
    if not full:
        return _Refusal("{op} spreads one channel over several")
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
    return _Line(dim, full[0])


def _pool(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    spatial = _POOLS[op_name(node).removesuffix("_")]
    if line.dim >= len(walk.shape(node.args[0])) - spatial:
        return _Refusal("{op} pools over channels")
    return line


def _reduction(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    rank = len(walk.shape(node.args[0]))
    given = arguments(node)
    dims = given.get("dim")
    if dims is None:
        return _Refusal("{op} runs over all dimensions")
    over = {int(x) % rank for x in (dims if isinstance(dims, (list, tuple)) else [dims])}
    if line.dim in over:
        return _Refusal("{op} runs over channels")
    shift = 0 if given.get("keepdim") else sum(x < line.dim for x in over)
    return _Line(line.dim - shift, line.ids)


def _cat(walk: _Walk, node: fx.Node) -> _State | _Refusal:
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
        return _Line(dim, np.concatenate(pieces))
    along = {line.dim for line in lines if line is not None}
    if len(along) > 1 or any(line is None for line in lines):
        return _Refusal("{op} joins values whose channels lie along different dimensions")
    known = [line for line in lines if line is not None]
    for line in known[1:]:
        walk.unite(known[0].ids, line.ids)
    return known[0]


def _split(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    given = arguments(node)
    sizes = [int(x) for x in given["split_sizes"]]
    dim = int(given.get("dim", 0)) % len(walk.shape(node.args[0]))
    if dim != line.dim:
        return [line for _ in sizes]
    pieces = np.split(line.ids, np.cumsum(sizes)[:-1])
    for number, piece in enumerate(pieces):
        walk.edit(node, (1, number), piece)
    return [_Line(dim, piece) for piece in pieces]


def _slice(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    given = arguments(node)
    dim = int(given.get("dim", 0)) % len(walk.shape(node.args[0]))
    if dim != line.dim:
        return line
    size = len(line.ids)
    start, end, step = given.get("start"), given.get("end"), given.get("step", 1)
    start = 0 if start is None else start
    end = size if end is None else end
    if step != 1 or not isinstance(start, int) or not isinstance(end, int):
        return _Refusal("{op} takes channels in steps")
    start = min(size, start + size if start < 0 else start)
    end = min(size, end + size if end < 0 else end)
    if len(node.args) > 2:
        walk.edit(node, (2,), line.ids[:start])
    if len(node.args) > 3:
        walk.edit(node, (3,), line.ids[:end])
    return _Line(dim, line.ids[start:end])


def _permute(walk: _Walk, node: fx.Node) -> _State | _Refusal:
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
    return _Line(order.index(line.dim), line.ids)


def _unsqueeze(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    dim = int(node.args[1]) % len(walk.shape(node))  # type: ignore[arg-type]
    return _Line(line.dim + (dim <= line.dim), line.ids)


def _squeeze(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    shape = walk.shape(node.args[0])
    given: Any = node.args[1] if len(node.args) > 1 else range(len(shape))
    listed = given if isinstance(given, (list, tuple, range)) else [given]
    dims = {int(x) % len(shape) for x in listed}
    gone = {x for x in dims if shape[x] == 1}
    if line.dim in gone:
        return _Refusal("{op} drops the dimension of channels")
    return _Line(line.dim - sum(x < line.dim for x in gone), line.ids)


def _pad(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    """Zeros before and after channels are channels too: they go when those they are added to go."""
    line = walk.line(node.args[0])
    if line is None:
        return None
    pads: Any = arguments(node)["pad"]
    back = len(walk.shape(node.args[0])) - 1 - line.dim
    if 2 * back >= len(pads):
        return line
    before, after = pads[2 * back], pads[2 * back + 1]
    if before < 0 or after < 0 or op_name(node) == "pad" and arguments(node)["mode"] != "constant":
        return _Refusal("{op} crops or repeats channels")
    left, right = walk.fresh(before), walk.fresh(after)
    walk.edit(node, (1, 2 * back), left)
    walk.edit(node, (1, 2 * back + 1), right)
    return _Line(line.dim, np.concatenate([left, line.ids, right]))


def _softmax(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    if int(node.args[1]) % len(walk.shape(node.args[0])) == line.dim:  # type: ignore[arg-type]
        return _Refusal("{op} runs over channels")
    return line


def _select(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    dim = int(node.args[1]) % len(walk.shape(node.args[0]))  # type: ignore[arg-type]
    if dim == line.dim:
        return _Refusal("{op} picks single channels")
    return _Line(line.dim - (dim < line.dim), line.ids)


def _expand(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    dim = line.dim + len(walk.shape(node)) - len(walk.shape(node.args[0]))
    if walk.shape(node)[dim] != len(line.ids):
        return _Refusal("{op} spreads one channel over several")
    if op_name(node) == "expand_as":
        other = walk.line(node.args[1])
        if other is None or other.dim != dim:
            return _Refusal("{op} takes its shape from a value that is not followed")
        walk.unite(line.ids, other.ids)
    else:
        size: Any = node.args[1][dim]  # type: ignore[index]
        if not isinstance(size, int):
            return _Refusal("{op} to a size that is computed")
        if size != -1:
            walk.edit(node, (1, dim), line.ids)
    return _Line(dim, line.ids)


def _pixel_shuffle(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    line = walk.line(node.args[0])
    if line is None:
        return None
    area = int(node.args[1]) ** 2  # type: ignore[arg-type]
    blocks = line.ids.reshape(-1, area)
    for column in range(1, area):
        walk.unite(blocks[:, 0], blocks[:, column])
    return _Line(line.dim, blocks[:, 0])


def _view(walk: _Walk, node: fx.Node) -> _State | _Refusal:
    """A new shape keeps the dimension of channels, merges it with those behind, or splits it off."""
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
    return _Refusal("{op} takes channels apart")


def _sized(walk: _Walk, node: fx.Node, dim: int, ids: Ids) -> _State | _Refusal:
    if op_name(node) == "flatten":
        return _Line(dim, ids)
    if op_name(node) == "unflatten":
        return _Refusal("{op} takes channels apart")
    size: Any = node.args[1][dim]  # type: ignore[index]
    if not isinstance(size, int):
        return _Refusal("{op} to a size that is computed")
    if size != -1:
        walk.edit(node, (1, dim), ids)
    elif any(isinstance(x, int) and x == -1 for x in node.args[1][:dim]):  # type: ignore
        return _Refusal("{op} with two free sizes")
    return _Line(dim, ids)


_HANDLERS: dict[str, _Handler] = {
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
    "sym_size": lambda walk, node: None,
}
