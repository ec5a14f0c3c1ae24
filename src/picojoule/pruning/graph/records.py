"""Networks as records: plain data for JSON, from which a graph is rebuilt without any source.

A record names modules of ``torch.nn``, operators of ATen and a few of Python's, and nothing else;
so reading one runs no code of whoever wrote it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from picojoule.errors import InputError, Mistake, PicojouleError

SCHEMA_VERSION = 1

_OPERATORS = {
    name: getattr(operator, name)
    for name in ("getitem", "add", "sub", "mul", "floordiv", "truediv", "neg", "mod", "pow")
}
_FIELDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("Conv1d", "Conv2d", "Conv3d"),
        ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    ),
    **dict.fromkeys(
        ("ConvTranspose1d", "ConvTranspose2d"),
        (
            "in_channels",
            "out_channels",
            "kernel_size",
            "stride",
            "padding",
            "output_padding",
            "groups",
            "dilation",
        ),
    ),
    "Linear": ("in_features", "out_features"),
    **dict.fromkeys(
        ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
        ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    ),
    "GroupNorm": ("num_groups", "num_channels", "eps", "affine"),
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine"),
    "LocalResponseNorm": ("size", "alpha", "beta", "k"),
    "Dropout": ("p",),
}
"""The modules of a graph, and what rebuilds them."""


class GraphError(PicojouleError):
    """A model that cannot be followed, or a record that is no network."""


class Reorder(nn.Module):
    """Picks positions of one dimension: a channel shuffle, as data.

    Args:
        dim: the dimension.
        order: for each output position, the input position it shows.
    """

    def __init__(self, dim: int, order: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.order: torch.Tensor
        self.register_buffer("order", torch.as_tensor(list(order)), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.index_select(self.dim, self.order)


def to_record(network: fx.GraphModule) -> dict[str, Any]:
    """The network without its weights, as plain data for JSON."""
    modules = {
        str(node.target): _module_record(network.get_submodule(str(node.target)))
        for node in network.graph.nodes
        if node.op == "call_module"
    }
    tensors = {}
    for node in network.graph.nodes:
        if node.op == "get_attr":
            value = _tensor_at(network, str(node.target))
            tensors[str(node.target)] = {
                "shape": list(value.shape),
                "dtype": str(value.dtype).removeprefix("torch."),
                "parameter": isinstance(value, nn.Parameter),
            }
    frozen = [name for name, x in network.named_parameters() if not x.requires_grad]
    return {
        "schema_version": SCHEMA_VERSION,
        **({"frozen": frozen} if frozen else {}),
        "modules": modules,
        "tensors": tensors,
        "nodes": [
            {
                "name": node.name,
                "op": node.op,
                "target": _target_name(node),
                "args": _encode(node.args),
                "kwargs": _encode(dict(node.kwargs)),
            }
            for node in network.graph.nodes
        ],
    }


def from_record(record: Mapping[str, Any], source: str = "network") -> fx.GraphModule:
    """The network of a record, its weights not yet set (zero).

    Raises:
        InputError: the record is malformed, of another version, or names an operator that is not
            one of ATen's.
    """
    if record.get("schema_version") != SCHEMA_VERSION:
        version = record.get("schema_version")
        raise InputError(
            source, [Mistake("$.schema_version", f"{version!r}; {SCHEMA_VERSION} is read")]
        )
    try:
        root = nn.Module()
        for path, part in record["modules"].items():
            attach(root, path, _module_from(part))
        for path, part in record["tensors"].items():
            tensor = torch.zeros(part["shape"], dtype=getattr(torch, part["dtype"]))
            attach(root, path, nn.Parameter(tensor) if part["parameter"] else tensor)
        graph = fx.Graph()
        nodes: dict[str, fx.Node] = {}
        for item in record["nodes"]:
            node = graph.create_node(
                item["op"],
                _target_from(item, source),
                tuple(_decode(item["args"], nodes)),
                _decode(item["kwargs"], nodes),
                item["name"],
            )
            nodes[item["name"]] = node
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        problem = f"not a network record: {type(error).__name__}: {error}"
        raise InputError(source, [Mistake("$", problem)]) from error
    network = fx.GraphModule(root, graph)
    finish(network)
    frozen = set(record.get("frozen", ()))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return network


def copied(network: fx.GraphModule) -> fx.GraphModule:
    """An independent network with the same weights and mode."""
    copy = from_record(to_record(network))
    copy.load_state_dict(network.state_dict())
    copy.train(network.training)
    return copy


def _module_record(module: nn.Module) -> dict[str, Any]:
    if isinstance(module, Reorder):
        return {"kind": "Reorder", "dim": module.dim, "order": module.order.tolist()}
    kind = type(module).__name__
    record: dict[str, Any] = {"kind": kind}
    for name in _FIELDS[kind]:
        value = getattr(module, name)
        record[name] = list(value) if isinstance(value, tuple) else value
    if "Conv" in kind or kind == "Linear":
        record["bias"] = module.bias is not None
    return record


def _module_from(record: Mapping[str, Any]) -> nn.Module:
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.items()
        if name != "kind"
    }
    if record["kind"] == "Reorder":
        return Reorder(settings["dim"], settings["order"])
    if record["kind"] not in _FIELDS:
        raise ValueError(f"unknown module {record['kind']!r}")
    module: nn.Module = getattr(nn, record["kind"])(**settings)
    return module


def _target_name(node: fx.Node) -> str:
    if node.op != "call_function":
        return str(node.target)
    target: Any = node.target
    for name, function in _OPERATORS.items():
        if target is function:
            return f"operator.{name}"
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        raise GraphError(f"{node.format_node()}: only ATen operators can be written down")
    return str(target)


def _target_from(item: Mapping[str, Any], source: str) -> Any:
    target = str(item["target"])
    if item["op"] != "call_function":
        return target
    first, _, rest = target.partition(".")
    name, _, overload = rest.partition(".")
    if first == "operator" and name in _OPERATORS:
        return _OPERATORS[name]
    if first == "aten" and name != "from_file" and not name.startswith("__"):
        packet = getattr(torch.ops.aten, name, None)
        overloaded = getattr(packet, overload, None) if packet is not None else None
        if isinstance(overloaded, torch._ops.OpOverload):
            return overloaded
    raise InputError(source, [Mistake(f"$.nodes[{item['name']!r}].target", f"{target!r} unknown")])


_NAMED = {
    "dtype": torch.dtype,
    "memory_format": torch.memory_format,
    "layout": torch.layout,
}


def _encode(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, (list, tuple)):
        return [_encode(part) for part in value]
    if isinstance(value, dict):
        return {"dict": {key: _encode(part) for key, part in value.items()}}
    for name, kind in _NAMED.items():
        if isinstance(value, kind):
            return {name: str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": value.type}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise GraphError(f"{value!r} cannot be written down")


def _decode(value: Any, nodes: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decode(part, nodes) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return nodes[content]
    if kind == "dict":
        return {key: _decode(part, nodes) for key, part in content.items()}
    if kind == "float":
        return float(content)
    if kind == "device":
        return torch.device(content)
    constant = getattr(torch, content)
    if not isinstance(constant, _NAMED[kind]):
        raise ValueError(f"{content!r} is no {kind}")
    return constant


def finish(network: fx.GraphModule) -> None:
    """Tidy a graph that was built, and mark it as one of ours."""
    network.graph.eliminate_dead_code()
    network.graph.lint()
    network.recompile()
    network.picojoule_network = True  # type: ignore[assignment]


def attach(root: nn.Module, path: str, value: nn.Module | torch.Tensor) -> None:
    """Put a module or tensor at a dotted path beneath *root*."""
    *parents, name = path.split(".")
    place = root
    for parent in parents:
        if parent not in place._modules:
            place.add_module(parent, nn.Module())
        place = place.get_submodule(parent)
    if isinstance(value, nn.Module):
        place.add_module(name, value)
    elif isinstance(value, nn.Parameter):
        place.register_parameter(name, nn.Parameter(value.detach().clone(), value.requires_grad))
    else:
        place.register_buffer(name, value.detach().clone())


def _tensor_at(network: nn.Module, path: str) -> torch.Tensor:
    parent, _, name = path.rpartition(".")
    value = getattr(network.get_submodule(parent), name)
    assert isinstance(value, torch.Tensor)
    return value


def tensors_in(outputs: object) -> list[torch.Tensor]:
    """All tensors of what a network gives, whatever holds them."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, Mapping):
        return [tensor for value in outputs.values() for tensor in tensors_in(value)]
    if isinstance(outputs, Sequence):
        return [tensor for value in outputs for tensor in tensors_in(value)]
    return []
