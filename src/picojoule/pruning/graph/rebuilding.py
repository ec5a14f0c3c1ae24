"""An exported program as a graph of modules and ATen operators, which can be cut and trained.

Convolutions, linear layers, normalisations and dropout are modules under the names they had (so
``state_dict`` keys are the model's, and ``train()`` works), everything else is an ATen operator.
Operators that depend on how channels are counted take one form: a channel shuffle is one
:class:`Reorder`, ``chunk`` and ``split`` are ``split_with_sizes``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from picojoule.frontends.torch_sizes import is_assertion
from picojoule.pruning.graph.operators import arguments, op_name
from picojoule.pruning.graph.records import GraphError, Reorder, attach, finish

_CONVOLUTIONS = {
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv3d": nn.Conv3d,
    "conv_transpose1d": nn.ConvTranspose1d,
    "conv_transpose2d": nn.ConvTranspose2d,
}
_BATCH_NORMS: dict[int, type[nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


@dataclass(frozen=True, eq=False)
class RebuiltNetwork:
    """A program as a graph.

    Args:
        modules: node of the program -> path of the module that stands for it.
        tensors: tensor of the graph -> its name in the model.
    """

    graph: fx.GraphModule
    modules: Mapping[str, str]
    tensors: Mapping[str, str]


def rebuild(
    program: torch.export.ExportedProgram, names: Mapping[str, str], state: Collection[str]
) -> RebuiltNetwork:
    """The program as a graph.

    Args:
        names: parameter -> the first of its names.
        state: names of all tensors of the model.

    Raises:
        GraphError: the program holds what no graph of ours holds.
    """
    build = _Build(program, names)
    graph = build.network
    modules = {
        node.name: str(value.target)
        for node, value in build.values.items()
        if isinstance(value, fx.Node) and value.op == "call_module"
    }
    own = {name: build.sources.get(name, name) for name in graph.state_dict()}
    return RebuiltNetwork(
        graph, modules, {name: source for name, source in own.items() if source in state}
    )


class _Build:
    """Rewrites an exported program as a graph of modules."""

    def __init__(self, program: torch.export.ExportedProgram, names: Mapping[str, str]) -> None:
        self._root = nn.Module()
        self._graph = fx.Graph()
        self.values: dict[fx.Node, Any] = {}
        self.sources: dict[str, str] = {}
        self._tensors = _stored(program, names)
        self._uses = _uses(program.graph, self._tensors)
        self._norms: dict[str, fx.Node] = {}
        for node in program.graph.nodes:
            self._add(node)
        self._graph.lint()
        self.network = fx.GraphModule(self._root, self._graph)
        _join_shuffles(self.network)
        finish(self.network)

    def _add(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if node.name not in self._tensors:
                self.values[node] = self._graph.placeholder(node.name)
            return
        if node.op == "output":
            outputs: Any = fx.map_arg(node.args[0], self.values.__getitem__)
            single = isinstance(outputs, (list, tuple)) and len(outputs) == 1
            self._graph.output(outputs[0] if single else outputs)
            return
        if node.op != "call_function":
            raise GraphError(f"the graph holds {node.format_node()}, which cannot be followed")
        if is_assertion(node):
            return
        path = self._response_norm(node)
        if path is not None:
            # The nodes of one LocalResponseNorm become the module again; its last one stands.
            self.values[node] = self._norms[path]
            return
        call = self._module(node)
        if call is None:
            target: Any = node.target
            call = self._graph.call_function(
                target, self._arguments(node.args), self._arguments(node.kwargs)
            )
        self.values[node] = call

    def _arguments(self, values: Any) -> Any:
        return fx.map_arg(values, self._value)

    def _value(self, node: fx.Node) -> Any:
        """What stands for a node: a stored tensor is attached where it is first asked for."""
        if node not in self.values:
            path, tensor = self._tensors[node.name]
            if not _has(self._root, path):
                attach(self._root, path, tensor)
            self.values[node] = self._graph.get_attr(path)
        return self.values[node]

    def _module(self, node: fx.Node) -> fx.Node | None:
        op = op_name(node).removesuffix("_")
        by_name = arguments(node)
        if op in _CONVOLUTIONS or op == "linear":
            return self._weighted(op, by_name)
        if op == "batch_norm":
            return self._batch_norm(by_name)
        if op in ("group_norm", "layer_norm"):
            return self._norm(op, by_name)
        if op in ("dropout", "feature_dropout"):
            path = self._free(_stack(node)[0] or node.name)
            return self._call(path, nn.Dropout(float(by_name["p"])), (node.args[0],))
        if op in ("chunk", "split", "split_with_sizes", "tensor_split") and _is_tensor(by_name):
            return self._split(node, by_name)
        if op == "index_select" and _stack(node)[1] == Reorder.__name__:
            return self._reorder(node)
        return None

    def _reorder(self, node: fx.Node) -> fx.Node | None:
        """A shuffle of a network that was a graph already."""
        data, dim, order = node.args
        positions = self._stored_at(order)
        if positions is None or not isinstance(dim, int):
            return None
        module = Reorder(dim, positions[1].tolist())
        return self._call(_stack(node)[0], module, (data,))

    def _stored_at(self, argument: Any) -> tuple[str, torch.Tensor] | None:
        return self._tensors.get(argument.name) if isinstance(argument, fx.Node) else None

    def _weighted(self, op: str, by_name: Mapping[str, Any]) -> fx.Node | None:
        weight, bias = self._stored_at(by_name["weight"]), self._stored_at(by_name.get("bias"))
        if weight is None or (by_name.get("bias") is not None and bias is None):
            return None  # a weight that is computed: not ours to cut
        path = weight[0].removesuffix(".weight").removesuffix("weight") or op
        if len(self._uses[weight[0]]) > 1:
            return None  # one weight, used in several ways: no one module does all of them
        has_bias = bias is not None
        if bias is not None and bias[0] != f"{path}.bias":
            return None
        size = weight[1].shape
        module: nn.Module
        if op == "linear":
            if len(size) != 2:
                return None
            with torch.device("meta"):
                module = nn.Linear(size[1], size[0], has_bias)
        else:
            dims = len(size) - 2
            transposed = op.startswith("conv_transpose")
            groups = int(by_name.get("groups", 1))
            padding = by_name.get("padding", 0)
            settings: dict[str, Any] = {
                "stride": _tuple(by_name.get("stride", 1), dims),
                "padding": padding if isinstance(padding, str) else _tuple(padding, dims),
                "dilation": _tuple(by_name.get("dilation", 1), dims),
                "groups": groups,
                "bias": has_bias,
            }
            if transposed:
                settings["output_padding"] = _tuple(by_name.get("output_padding", 0), dims)
            ins, outs = (size[0], size[1] * groups) if transposed else (size[1] * groups, size[0])
            with torch.device("meta"):
                module = _CONVOLUTIONS[op](ins, outs, tuple(size[2:]), **settings)
        tensors = {"weight": weight, **({"bias": bias} if bias else {})}
        return self._call(path, self._filled(path, module, tensors), (by_name["input"],))

    def _batch_norm(self, by_name: Mapping[str, Any]) -> fx.Node | None:
        parts = {
            name: self._stored_at(by_name.get(name))
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        first = next((part for part in parts.values() if part is not None), None)
        if first is None:
            return None
        path, _, _ = first[0].rpartition(".")
        if not path:
            return None
        with torch.device("meta"):
            module = _BATCH_NORMS[by_name["input"].meta["val"].dim()](
                first[1].shape[0],
                eps=by_name["eps"],
                momentum=by_name["momentum"],
                affine=parts["weight"] is not None,
                track_running_stats=parts["running_mean"] is not None,
            )
        tensors = {name: part for name, part in parts.items() if part is not None}
        if parts["running_mean"] is not None:
            tensors["num_batches_tracked"] = (f"{path}.num_batches_tracked", torch.tensor(0))
        return self._call(path, self._filled(path, module, tensors), (by_name["input"],))

    def _norm(self, op: str, by_name: Mapping[str, Any]) -> fx.Node | None:
        weight, bias = self._stored_at(by_name.get("weight")), self._stored_at(by_name.get("bias"))
        if weight is None or bias is None:
            return None
        path, _, _ = weight[0].rpartition(".")
        if not path:
            return None
        eps = by_name.get("eps", 1e-5)
        module: nn.Module
        with torch.device("meta"):
            if op == "group_norm":
                module = nn.GroupNorm(int(by_name["num_groups"]), weight[1].shape[0], eps)
            else:
                module = nn.LayerNorm(list(by_name["normalized_shape"]), eps)
        filled = self._filled(path, module, {"weight": weight, "bias": bias})
        return self._call(path, filled, (by_name["input"],))

    def _filled(
        self, path: str, module: nn.Module, tensors: Mapping[str, tuple[str, torch.Tensor]]
    ) -> nn.Module:
        """The module with copies of these tensors, (name in the model, values), as its own."""
        for name, (source, tensor) in tensors.items():
            self.sources[f"{path}.{name}"] = source
            value = tensor.detach().clone()
            if name in module._parameters:
                module._parameters[name] = nn.Parameter(value, tensor.requires_grad)
            else:
                module._buffers[name] = value
        return module

    def _split(self, node: fx.Node, by_name: Mapping[str, Any]) -> fx.Node | None:
        data = by_name.get("self", by_name.get("tensor"))
        pieces = node.meta.get("val")
        dim = by_name.get("dim", 0)
        if not isinstance(dim, int) or not isinstance(pieces, (list, tuple)):
            return None
        sizes = [piece.shape[dim] for piece in pieces]
        if not all(isinstance(size, int) for size in sizes):
            return None
        return self._graph.call_function(
            torch.ops.aten.split_with_sizes.default, (self._value(data), sizes, dim)
        )

    def _response_norm(self, node: fx.Node) -> str | None:
        path, kind = _stack(node)
        if kind != "LocalResponseNorm" or not path:
            return None
        if path not in self._norms:
            data = next(x for x in node.all_input_nodes if _stack(x)[0] != path)
            # size, alpha, beta and k stand in the operators; the module's own are not exported.
            module = nn.LocalResponseNorm(**_response_norm_settings(node, path))
            self._norms[path] = self._call(path, module, (data,))
        return path

    def _call(self, path: str, module: nn.Module, inputs: tuple[Any, ...]) -> fx.Node:
        if not _has(self._root, path):
            attach(self._root, path, module)
        return self._graph.call_module(path, tuple(self._value(x) for x in inputs))

    def _free(self, path: str) -> str:
        free, number = path, 1
        while _has(self._root, free):
            number += 1
            free = f"{path}_{number}"
        return free


def _response_norm_settings(first: fx.Node, path: str) -> dict[str, Any]:
    nodes = [n for n in first.graph.nodes if _stack(n)[0] == path]
    by_name = {op_name(n): n for n in nodes}
    pool = by_name.get("avg_pool3d") or by_name["avg_pool2d"]
    muls = [n for n in nodes if op_name(n) == "mul" and isinstance(n.args[1], (int, float))]
    kernel, alpha, beta, k = (_second(n) for n in (pool, muls[0], by_name["pow"], by_name["add"]))
    return {"size": int(kernel[0]), "alpha": float(alpha), "beta": float(beta), "k": float(k)}


def _second(node: fx.Node) -> Any:
    return node.args[1]


def _join_shuffles(network: fx.GraphModule) -> None:
    """``view`` to [.., g, c, ..], ``transpose`` and ``view`` back, as one :class:`Reorder`."""
    graph, count = network.graph, 0
    for last in list(graph.nodes):
        if last.op != "call_function" or op_name(last) not in ("view", "reshape", "flatten"):
            continue
        middle = _through(last.args[0], ("contiguous", "clone"))
        if middle is None or op_name(middle) not in ("transpose", "permute"):
            continue
        first = middle.args[0]
        if not isinstance(first, fx.Node) or op_name(first) not in ("view", "reshape"):
            continue
        source: Any = first.args[0]
        wide = first.args[1]
        if not isinstance(wide, (list, tuple)) or len(wide) < 3:
            continue
        groups, each = wide[1], wide[2]
        swapped = list(range(len(wide)))
        swapped[1], swapped[2] = 2, 1
        if op_name(middle) == "transpose":
            dims: Any = middle.args[1:3]
            pair = {int(x) % len(wide) for x in dims}
            matches = pair == {1, 2}
        else:
            matches = [int(x) % len(wide) for x in _second(middle)] == swapped
        target = last.args[1] if op_name(last) != "flatten" else None
        if target is None:
            same_rank = last.args[1:3] == (1, 2)
        else:
            same_rank = len(target) == len(wide) - 1 and list(target[2:]) == list(wide[3:])
        if not (matches and same_rank and isinstance(groups, int) and isinstance(each, int)):
            continue
        if groups < 0 or each < 0:
            continue
        order = np.arange(groups * each).reshape(groups, each).T.reshape(-1)
        path = f"shuffle_{count}"
        count += 1
        network.add_submodule(path, Reorder(1, order.tolist()))
        with graph.inserting_before(last):
            shuffle = graph.call_module(path, (source,))
        last.replace_all_uses_with(shuffle)
        graph.erase_node(last)
    graph.eliminate_dead_code()


def _through(node: Any, names: Sequence[str]) -> fx.Node | None:
    while isinstance(node, fx.Node) and node.op == "call_function" and op_name(node) in names:
        node = node.args[0]
    return node if isinstance(node, fx.Node) and node.op == "call_function" else None


# -- small things of the ATen graph ----------------------------------------------------------------


def _is_tensor(by_name: Mapping[str, Any]) -> bool:
    data = by_name.get("self", by_name.get("tensor"))
    return isinstance(data, fx.Node) and isinstance(data.meta.get("val"), torch.Tensor)


def _stack(node: fx.Node) -> tuple[str, str]:
    """Path and class of the module a node comes from."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return "", ""
    path, kind = list(stack.values())[-1]
    word = kind if isinstance(kind, str) else kind.__name__
    return str(path), word.rpartition(".")[2]


def _stored(
    program: torch.export.ExportedProgram, names: Mapping[str, str]
) -> dict[str, tuple[str, torch.Tensor]]:
    signature = program.graph_signature
    tensors_by_node: dict[str, tuple[str, torch.Tensor]] = {}
    for table, tensors in (
        (signature.inputs_to_parameters, program.state_dict),
        (signature.inputs_to_buffers, {**program.constants, **program.state_dict}),
        (signature.inputs_to_lifted_tensor_constants, program.constants),
    ):
        for placeholder, path in table.items():
            value = tensors.get(path)
            if isinstance(value, torch.Tensor):
                tensors_by_node[placeholder] = (names.get(path, path), value)
    return tensors_by_node


def _uses(
    graph: fx.Graph, tensors: Mapping[str, tuple[str, torch.Tensor]]
) -> dict[str, set[tuple[str, ...]]]:
    """In which ways each stored tensor is used: an operator and its arguments but the first."""
    uses: dict[str, set[tuple[str, ...]]] = {}
    for node in graph.nodes:
        if node.op == "placeholder" and node.name in tensors:
            ways = uses.setdefault(tensors[node.name][0], set())
            for user in node.users:
                by_name = {name: str(x) for name, x in arguments(user).items() if name != "input"}
                by_name["weight"] = ""  # one tensor may come in by several placeholders
                ways.add((op_name(user), *(f"{name}={x}" for name, x in sorted(by_name.items()))))
    return uses


def _has(root: nn.Module, path: str) -> bool:
    place: Any = root
    for name in path.split("."):
        if not isinstance(place, nn.Module) or not hasattr(place, name):
            return False
        place = getattr(place, name)
    return True


def _tuple(value: Any, length: int) -> tuple[int, ...]:
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return tuple(int(x) for x in (numbers if len(numbers) == length else numbers * length))
