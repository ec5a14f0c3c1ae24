"""A network as a graph of modules and ATen operators, from ``torch.export``.

A user's model runs arbitrary Python; a graph can be cut smaller, written as JSON and rebuilt
without the model's source. :func:`trace` makes it: convolutions, linear layers, normalisations and
dropout are modules under the names they had (so ``state_dict`` keys are the model's, and
``train()`` works), everything else is an ATen operator. Operators that depend on how channels are
counted take one form: a channel shuffle is one :class:`Reorder`, ``chunk`` and ``split`` are
``split_with_sizes``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from picojoule.frontends.torch_export import first_names
from picojoule.pruning.graph.records import GraphError, Reorder, attach, finish, tensors_in
from picojoule.pruning.modes import evaluating

# Checks of the exporter, without effect on values.
_ASSERTIONS = frozenset(
    ["_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size", "_assert_async"]
)


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


_SAME = 1e-3  # of the largest output: one network, in another order of operations


def trace(model: nn.Module, inputs: Sequence[torch.Tensor]) -> fx.GraphModule:
    """The model as a graph; it computes what the model computes in evaluation mode.

    In training mode its normalisations and dropouts behave as they do in the model.

    Args:
        inputs: example arguments of ``forward``, the batch in their first dimension; at least two
            images, so that the batch stays free.

    Raises:
        GraphError: the model cannot be exported, or its batch size is built in.
    """
    if isinstance(model, fx.GraphModule) and getattr(model, "picojoule_network", False):
        return model
    examples = tuple(torch.cat([x, x]) if x.shape[0] == 1 else x for x in inputs)
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        dims = tuple({0: torch.export.Dim.AUTO} for _ in examples)
        program = torch.export.export(model, examples, dynamic_shapes=dims)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise GraphError(
            f"{type(model).__name__}: torch.export cannot follow forward(): {first[:300]}"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    network = _Build(program, first_names(model)).network
    network.train(model.training)
    _check_batch(network, examples, type(model).__name__)
    _check_values(network, model, examples)
    return network


def _check_batch(network: fx.GraphModule, examples: Sequence[torch.Tensor], name: str) -> None:
    wider = tuple(torch.cat([x, x[:1]]) for x in examples)
    try:
        annotate(network, wider)
    except Exception as error:
        raise GraphError(
            f"{name}: traced for a batch of {examples[0].shape[0]}, it does not run for one more; "
            "use -1 or x.shape[0] for the batch in view(), reshape() and expand(), not len(x)"
        ) from error


def _check_values(
    network: fx.GraphModule, model: nn.Module, examples: Sequence[torch.Tensor]
) -> None:
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        return
    with evaluating(model), evaluating(network), torch.no_grad():
        pairs = zip(tensors_in(model(*examples)), tensors_in(network(*examples)), strict=True)
        for wanted, given in pairs:
            room = _SAME * max(float(wanted.abs().max()), 1e-6)
            if not torch.allclose(given, wanted, rtol=0, atol=room, equal_nan=True):
                raise GraphError(f"{type(model).__name__}: as a graph it computes something else")


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


class _Build:
    """Rewrites an exported program as a graph of modules."""

    def __init__(
        self, program: torch.export.ExportedProgram, first_names: Mapping[str, str]
    ) -> None:
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._values: dict[fx.Node, Any] = {}
        self._tensors = _stored(program, first_names)
        self._uses = _uses(program.graph, self._tensors)
        self._norms: dict[str, fx.Node] = {}
        self._shuffles = 0
        for node in program.graph.nodes:
            self._add(node)
        self._graph.lint()
        self.network = fx.GraphModule(self._root, self._graph)
        _join_shuffles(self.network)
        finish(self.network)

    def _add(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if node.name not in self._tensors:
                self._values[node] = self._graph.placeholder(node.name)
            return
        if node.op == "output":
            given: Any = fx.map_arg(node.args[0], self._values.__getitem__)
            single = isinstance(given, (list, tuple)) and len(given) == 1
            self._graph.output(given[0] if single else given)
            return
        if node.op != "call_function":
            raise GraphError(f"the graph holds {node.format_node()}, which cannot be followed")
        if op_name(node) in _ASSERTIONS:
            return
        path = self._response_norm(node)
        if path is not None:
            # The nodes of one LocalResponseNorm become the module again; its last one stands.
            self._values[node] = self._norms[path]
            return
        made = self._module(node)
        if made is None:
            target: Any = node.target
            made = self._graph.call_function(
                target, self._arguments(node.args), self._arguments(node.kwargs)
            )
        self._values[node] = made

    def _arguments(self, given: Any) -> Any:
        return fx.map_arg(given, self._value)

    def _value(self, node: fx.Node) -> Any:
        """What stands for a node: a stored tensor is attached where it is first asked for."""
        if node not in self._values:
            path, tensor = self._tensors[node.name]
            if not _has(self._root, path):
                attach(self._root, path, tensor)
            self._values[node] = self._graph.get_attr(path)
        return self._values[node]

    def _module(self, node: fx.Node) -> fx.Node | None:
        op = op_name(node).removesuffix("_")
        given = arguments(node)
        if op in _CONVOLUTIONS or op == "linear":
            return self._weighted(op, given)
        if op == "batch_norm":
            return self._batch_norm(given)
        if op in ("group_norm", "layer_norm"):
            return self._norm(op, given)
        if op in ("dropout", "feature_dropout"):
            path = self._free(_stack(node)[0] or node.name)
            return self._call(path, nn.Dropout(float(given["p"])), (node.args[0],))
        if op in ("chunk", "split", "split_with_sizes", "tensor_split") and _is_tensor(given):
            return self._split(node, given)
        return None

    def _stored_at(self, argument: Any) -> tuple[str, torch.Tensor] | None:
        return self._tensors.get(argument.name) if isinstance(argument, fx.Node) else None

    def _weighted(self, op: str, given: Mapping[str, Any]) -> fx.Node | None:
        weight, bias = self._stored_at(given["weight"]), self._stored_at(given.get("bias"))
        if weight is None or (given.get("bias") is not None and bias is None):
            return None  # a weight that is computed: not ours to cut
        path = weight[0].removesuffix(".weight").removesuffix("weight") or op
        if len(self._uses[weight[0]]) > 1:
            return None  # one weight, used in several ways: no one module does all of them
        has_bias = bias is not None
        if bias is not None and bias[0] != f"{path}.bias":
            return None
        size = weight[1].shape
        made: nn.Module
        if op == "linear":
            if len(size) != 2:
                return None
            with torch.device("meta"):
                made = nn.Linear(size[1], size[0], has_bias)
        else:
            dims = len(size) - 2
            transposed = op.startswith("conv_transpose")
            groups = int(given.get("groups", 1))
            padding = given.get("padding", 0)
            settings: dict[str, Any] = {
                "stride": _tuple(given.get("stride", 1), dims),
                "padding": padding if isinstance(padding, str) else _tuple(padding, dims),
                "dilation": _tuple(given.get("dilation", 1), dims),
                "groups": groups,
                "bias": has_bias,
            }
            if transposed:
                settings["output_padding"] = _tuple(given.get("output_padding", 0), dims)
            ins, outs = (size[0], size[1] * groups) if transposed else (size[1] * groups, size[0])
            with torch.device("meta"):
                made = _CONVOLUTIONS[op](ins, outs, tuple(size[2:]), **settings)
        tensors = {"weight": weight[1], **({"bias": bias[1]} if bias else {})}
        return self._call(path, _filled(made, tensors), (given["input"],))

    def _batch_norm(self, given: Mapping[str, Any]) -> fx.Node | None:
        parts = {
            name: self._stored_at(given.get(name))
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        first = next((part for part in parts.values() if part is not None), None)
        if first is None:
            return None
        path, _, _ = first[0].rpartition(".")
        with torch.device("meta"):
            made = _BATCH_NORMS[given["input"].meta["val"].dim()](
                first[1].shape[0],
                eps=given["eps"],
                momentum=given["momentum"],
                affine=parts["weight"] is not None,
                track_running_stats=parts["running_mean"] is not None,
            )
        tensors = {name: part[1] for name, part in parts.items() if part is not None}
        if parts["running_mean"] is not None:
            tensors["num_batches_tracked"] = torch.tensor(0)
        return self._call(path, _filled(made, tensors), (given["input"],))

    def _norm(self, op: str, given: Mapping[str, Any]) -> fx.Node | None:
        weight, bias = self._stored_at(given.get("weight")), self._stored_at(given.get("bias"))
        if weight is None or bias is None:
            return None
        path, _, _ = weight[0].rpartition(".")
        eps = given.get("eps", 1e-5)
        made: nn.Module
        with torch.device("meta"):
            if op == "group_norm":
                made = nn.GroupNorm(int(given["num_groups"]), weight[1].shape[0], eps)
            else:
                made = nn.LayerNorm(list(given["normalized_shape"]), eps)
        filled = _filled(made, {"weight": weight[1], "bias": bias[1]})
        return self._call(path, filled, (given["input"],))

    def _split(self, node: fx.Node, given: Mapping[str, Any]) -> fx.Node | None:
        data = given.get("self", given.get("tensor"))
        pieces = node.meta.get("val")
        dim = given.get("dim", 0)
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
            found = _response_norm_settings(node, path)
            made = nn.LocalResponseNorm(**found)
            self._norms[path] = self._call(path, made, (data,))
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
            made = graph.call_module(path, (source,))
        last.replace_all_uses_with(made)
        graph.erase_node(last)
    graph.eliminate_dead_code()


def _through(node: Any, names: Sequence[str]) -> fx.Node | None:
    while isinstance(node, fx.Node) and node.op == "call_function" and op_name(node) in names:
        node = node.args[0]
    return node if isinstance(node, fx.Node) and node.op == "call_function" else None


# -- small things of the ATen graph ----------------------------------------------------------------


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
    given = {x.name: x.default_value for x in schema.arguments if x.has_default_value()}
    names = [x.name for x in schema.arguments]
    return {**given, **dict(zip(names, node.args, strict=False)), **node.kwargs}


def _is_tensor(given: Mapping[str, Any]) -> bool:
    data = given.get("self", given.get("tensor"))
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
    program: torch.export.ExportedProgram, first_names: Mapping[str, str]
) -> dict[str, tuple[str, torch.Tensor]]:
    signature = program.graph_signature
    found: dict[str, tuple[str, torch.Tensor]] = {}
    for table, tensors in (
        (signature.inputs_to_parameters, program.state_dict),
        (signature.inputs_to_buffers, {**program.constants, **program.state_dict}),
        (signature.inputs_to_lifted_tensor_constants, program.constants),
    ):
        for placeholder, path in table.items():
            value = tensors.get(path)
            if isinstance(value, torch.Tensor):
                found[placeholder] = (first_names.get(path, path), value)
    return found


def _uses(
    graph: fx.Graph, tensors: Mapping[str, tuple[str, torch.Tensor]]
) -> dict[str, set[tuple[str, ...]]]:
    """In which ways each stored tensor is used: an operator and its arguments but the first."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for node in graph.nodes:
        if node.op == "placeholder" and node.name in tensors:
            ways = found.setdefault(tensors[node.name][0], set())
            for user in node.users:
                given = {name: str(x) for name, x in arguments(user).items() if name != "input"}
                given["weight"] = ""  # one tensor may come in by several placeholders
                ways.add((op_name(user), *(f"{name}={x}" for name, x in sorted(given.items()))))
    return found


def _filled(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """The module with copies of these tensors as its own."""
    for name, tensor in tensors.items():
        value = tensor.detach().clone()
        if name in module._parameters:
            module._parameters[name] = nn.Parameter(value)
        else:
            module._buffers[name] = value
    return module


def _has(root: nn.Module, path: str) -> bool:
    place: Any = root
    for name in path.split("."):
        if not isinstance(place, nn.Module) or not hasattr(place, name):
            return False
        place = getattr(place, name)
    return True


def _tuple(value: Any, length: int) -> tuple[int, ...]:
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    return tuple(int(x) for x in (given if len(given) == length else given * length))
