"""Which channels of a network live and die together, found on its graph.

Every value of the graph has at most one dimension that counts channels; its positions carry labels.
A convolution makes new labels, an addition declares labels equal, a concatenation lines them up, a
shuffle moves them. Labels that were declared equal are one *channel* of the network: removing it
removes every position that carries it, from every tensor. A :class:`ChannelGroup` holds the
channels that the same layers produce; it is what changes width.

Operators that mix channels in ways not known here fix the labels they touch, with the reason kept:
nothing is skipped silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from picojoule.pruning.graph.channel_rules import Ids, Line, Refusal, State, rule_of
from picojoule.pruning.graph.operators import annotate, op_name
from picojoule.pruning.graph.records import Reorder


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


@dataclass(frozen=True, eq=False, kw_only=True)
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
        gone = {}
        for path, axes in self.axes.items():
            for side, ids in (("in", axes.inputs), ("out", axes.outputs)):
                positions = np.flatnonzero(ids == channel)
                if len(positions):
                    gone[path, side] = tuple(int(x) for x in positions)
        return gone


def find_channels(network: fx.GraphModule, inputs: Sequence[torch.Tensor]) -> Channels:
    """Follow the channels through a network that is a graph.

    Args:
        inputs: example arguments; only their shapes matter.
    """
    walk = _Walk(network, inputs)
    walk.run()
    return walk.result()


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)


class _Walk:
    """One pass over the graph in the order of execution."""

    def __init__(self, network: fx.GraphModule, inputs: Sequence[torch.Tensor]) -> None:
        self._network = network
        self._shapes = annotate(network, inputs)
        self._parents: list[int] = []
        self._reasons: list[tuple[Ids, str]] = []
        self._states: dict[str, State] = {}
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
                counted = shape is not None and len(shape) > 1
                ids = self.fresh(shape[1], "an input of the network") if counted else None
                self._states[node.name] = None if ids is None else Line(1, ids)
            elif node.op == "output":
                for source in node.all_input_nodes:
                    self._fix_state(source, "an output of the network")
            elif node.op == "call_module":
                self._states[node.name] = self._module(node)
            elif node.op == "call_function":
                self._states[node.name] = self._function(node)
            else:
                self._states[node.name] = None
        self._fix_frozen()

    def _fix_frozen(self) -> None:
        """Channels that a frozen parameter has stay, as its values do."""
        for path, axes in self._axes.items():
            for name, parameter in self._network.get_submodule(path).named_parameters():
                if not parameter.requires_grad:
                    reason = f"{path}.{name} is frozen (requires_grad=False)"
                    self.fix(axes.outputs, reason)
                    if parameter.dim() > 1:
                        self.fix(axes.inputs, reason)
        parameters = dict(self._network.named_parameters())
        for (path, _), ids in self._tensors.items():
            if path in parameters and not parameters[path].requires_grad:
                self.fix(ids, f"{path} is frozen (requires_grad=False)")

    def shape(self, node: Any) -> Any:
        return self._shapes.get(node.name) if isinstance(node, fx.Node) else None

    def line(self, node: Any) -> Line | None:
        state = self._states.get(node.name) if isinstance(node, fx.Node) else None
        return state if isinstance(state, Line) else None

    def edit(self, node: fx.Node, place: tuple[int, ...], ids: Ids) -> None:
        self._edits.append(Edit(node.name, place, ids))

    def _lines(self, node: fx.Node) -> Iterator[Line]:
        state = self._states.get(node.name)
        yield from state if isinstance(state, list) else [state] if state else []

    def _fix_state(self, node: fx.Node, reason: str) -> None:
        for line in self._lines(node):
            self.fix(line.ids, reason)

    def _function(self, node: fx.Node) -> State:
        op = op_name(node).removesuffix("_")
        if op == "getitem":
            source, index = node.args
            parts = self._states.get(source.name) if isinstance(source, fx.Node) else None
            return parts[index] if isinstance(parts, list) and isinstance(index, int) else None
        rule = rule_of(self, node)
        state = Refusal("{op} is not followed") if rule is None else rule(self, node)
        if isinstance(state, Refusal):
            for source in node.all_input_nodes:
                self._fix_state(source, f"{node.name}: {state.why.format(op=op)}")
            return None
        return state

    # -- modules -----------------------------------------------------------------------------------

    def _module(self, node: fx.Node) -> State:
        path = str(node.target)
        module = self._network.get_submodule(path)
        source = node.args[0]
        line, rank = self.line(source), len(self.shape(source))
        if isinstance(module, Reorder):
            if line is None or line.dim != module.dim:
                return line
            self._same_as_before(self._orders, path, line.ids)
            return Line(line.dim, line.ids[module.order.numpy()])
        if isinstance(module, (nn.Dropout, nn.LocalResponseNorm)):
            return line
        if isinstance(module, nn.Linear):
            return self._mix(path, line, rank - 1, module.in_features, module.out_features, 1)
        if isinstance(module, _CONVOLUTIONS):
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
        self, path: str, line: Line | None, dim: int, ins: int, outs: int, groups: int
    ) -> Line:
        if line is None or line.dim != dim:
            if line is not None:
                self.fix(line.ids, f"{path} mixes another dimension")
            ids = self.fresh(ins, f"{path} reads values whose channels are not known")
        else:
            ids = line.ids
        if groups > 1 and groups == ins:
            results = np.repeat(
                ids, outs // ins
            )  # depthwise: an output lives and dies with its input
        else:
            before = self._axes.get(path)
            results = before.outputs if before else self.fresh(outs)
            self._producers[path] = None
            self._consumers[path] = None
            if groups > 1:
                self.tie(ids, groups)
                self.tie(results, groups)
        self._register(path, ids, results)
        return Line(dim, results)

    def _register(self, path: str, ins: Ids, outs: Ids) -> None:
        before = self._axes.get(path)
        if before is None:
            self._axes[path] = Axes(ins, outs)
        else:  # one module called twice: both calls see the same tensors
            self.unite(before.inputs, ins)
            self.unite(before.outputs, outs)

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
            path: Axes(numbers[labels.inputs], numbers[labels.outputs])
            for path, labels in self._axes.items()
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
            count=count,
            groups=tuple(self._groups(members, axes)),
            fixed=fixed,
            axes=axes,
            orders={path: numbers[ids] for path, ids in self._orders.items()},
            tensors={key: numbers[ids] for key, ids in self._tensors.items()},
            edits=tuple(Edit(e.node, e.place, numbers[e.ids]) for e in self._edits),
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
