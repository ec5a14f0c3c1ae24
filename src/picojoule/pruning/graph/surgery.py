"""Networks cut to the channels that are kept, and their files.

Cutting edits the network's record and slices its tensors: the result is physically smaller, and
its record (JSON) with its weights (safetensors) rebuilds it without the source it came from.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from picojoule.errors import InputError, Mistake
from picojoule.files import write_atomically
from picojoule.frontends.source_file import read_text
from picojoule.frontends.torch_declared import WEIGHT_BITS, with_declared_widths
from picojoule.pruning.graph.channels import Axes, Channels, find_channels
from picojoule.pruning.graph.records import GraphError, from_record, to_record
from picojoule.pruning.graph.tracing import TracedNetwork
from picojoule.pruning.graph.widths import resized

Mask = npt.NDArray[np.bool_]


def shrink(network: fx.GraphModule, channels: Channels, keep: Mask) -> fx.GraphModule:
    """The network without the channels that *keep* does not keep.

    Args:
        channels: of this network, from :func:`channels.find_channels`.
        keep: one truth value per channel.

    Raises:
        GraphError: a value would be left without channels, or a fixed channel would go.
    """
    removable = np.zeros(channels.count, bool)
    for group in channels.groups:
        removable[list(group.channels)] = True
    if (~keep & ~removable).any():
        raise GraphError("channels that are fixed cannot be removed")
    record = copy.deepcopy(to_record(network))
    for path, axes in channels.axes.items():
        _resize(record["modules"][path], axes, keep, path)
    for path, ids in channels.orders.items():
        module = record["modules"][path]
        place = np.cumsum(keep[ids]) - 1  # new position of every kept old one
        module["order"] = [int(place[old]) for old in module["order"] if keep[ids[old]]]
    for (path, dim), ids in channels.tensors.items():
        record["tensors"][path]["shape"][dim] = _count(keep, ids, path)
    nodes = {item["name"]: item for item in record["nodes"]}
    for edit in channels.edits:
        place_of: Any = nodes[edit.node]["args"]
        for step in edit.place[:-1]:
            place_of = place_of[step]
        place_of[edit.place[-1]] = int(keep[edit.ids].sum())
        if nodes[edit.node]["target"].startswith("aten.split"):
            _count(keep, edit.ids, edit.node)
    made_network = from_record(record)
    made_network.load_state_dict(_sliced(network, channels, keep))
    made_network.train(network.training)
    return made_network


def cut(
    traced: TracedNetwork, keep: Mask, tensors: Mapping[str, torch.Tensor] | None = None
) -> TracedNetwork:
    """What :func:`shrink` makes of a traced network, traced: its layers follow without an export.

    Args:
        keep: one truth value per channel.
        tensors: all tensors of the smaller network, where they were trained since.
    """
    small = shrink(traced.graph, traced.channels, keep).eval()
    if tensors is not None:
        small.load_state_dict(tensors)
    state, calls = small.state_dict(), []
    stored: dict[str, str] = {}
    for call in traced.calls:
        weight = call.weight if call.module is None else f"{call.module}.weight"
        bias = call.bias if call.module is None else f"{call.module}.bias"
        calls.append(replace(call, weight=weight, bias=bias if bias in state else None))
        stored |= dict.fromkeys(call.layers, weight) if weight in state else {}
    modules = traced.module_of_layer()
    layers = []
    for layer in traced.workload:
        if layer.name in modules:
            axes = traced.channels.axes[modules[layer.name]]
            layer = resized(layer, int(keep[axes.inputs].sum()), int(keep[axes.outputs].sum()))
        if layer.name in stored:
            weights = state[stored[layer.name]]
            density = int(torch.count_nonzero(weights)) / weights.numel()
            layer = replace(layer, density=layer.density._replace(weight=density))
        layers.append(layer)
    return replace(
        traced,
        workload=replace(traced.workload, layers=tuple(layers)),
        calls=tuple(calls),
        followed=(small, find_channels(small, traced.example)),
        tensors={name: name for name in state},
        shapes={name: tuple(tensor.shape) for name, tensor in state.items()},
    )


def _count(keep: Mask, ids: npt.NDArray[np.int64], where: str) -> int:
    count = int(keep[ids].sum())
    if count == 0 and len(ids):
        raise GraphError(f"{where} would be left without channels")
    return count


def _resize(record: dict[str, Any], axes: Axes, keep: Mask, path: str) -> None:
    ins, outs = _count(keep, axes.inputs, path), _count(keep, axes.outputs, path)
    kind = record["kind"]
    if kind == "Linear":
        record["in_features"], record["out_features"] = ins, outs
    elif "Conv" in kind:
        if record["groups"] > 1 and record["groups"] == record["in_channels"]:
            record["groups"] = ins
        record["in_channels"], record["out_channels"] = ins, outs
    elif kind == "GroupNorm":
        record["num_channels"] = outs
    elif kind == "LayerNorm":
        record["normalized_shape"] = [outs]
    else:
        record["num_features"] = outs


def _sliced(network: fx.GraphModule, channels: Channels, keep: Mask) -> dict[str, torch.Tensor]:
    state = dict(network.state_dict())
    for path, axes in channels.axes.items():
        module: Any = network.get_submodule(path)
        outs = torch.from_numpy(np.flatnonzero(keep[axes.outputs]))
        groups = getattr(module, "groups", 1)
        each = len(axes.inputs) // groups
        ins = torch.from_numpy(np.flatnonzero(keep[axes.inputs[:each]]))
        depthwise = groups > 1 and groups == len(axes.inputs)
        transposed = type(module).__name__.startswith("ConvTranspose")
        for name, tensor in module.state_dict().items():
            key = f"{path}.{name}"
            device = tensor.device
            if tensor.dim() == 0:
                continue
            if name == "weight" and tensor.dim() > 1 and transposed:
                kept_in = torch.from_numpy(np.flatnonzero(keep[axes.inputs])).to(device)
                per_group = outs if groups == 1 else outs[outs < len(axes.outputs) // groups]
                tensor = tensor.index_select(0, kept_in)
                if not depthwise:
                    tensor = tensor.index_select(1, per_group.to(device))
            else:
                tensor = tensor.index_select(0, outs.to(device))
                if name == "weight" and tensor.dim() > 1 and not depthwise:
                    tensor = tensor.index_select(1, ins.to(device))
            state[key] = tensor.detach().clone()
    for (path, dim), ids in channels.tensors.items():
        kept = torch.from_numpy(np.flatnonzero(keep[ids]))
        state[path] = state[path].index_select(dim, kept.to(state[path].device)).clone()
    return state


# -- files -----------------------------------------------------------------------------------------

RECIPE, WEIGHTS = "recipe.json", "weights.safetensors"
RECIPE_VERSION = 1


@dataclass(frozen=True)
class SavedNetwork:
    """A network read from its folder.

    Args:
        network: ready to run, in evaluation mode.
        input_shapes: of one inference (batch 1).
        kept: layer -> the output channels of the original network that are left.
        notes: what the writer added.
    """

    network: fx.GraphModule
    input_shapes: tuple[tuple[int, ...], ...]
    kept: Mapping[str, tuple[int, ...]]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def example(self, batch: int = 1) -> tuple[torch.Tensor, ...]:
        """Zeros of the shapes the network takes."""
        return tuple(torch.zeros((batch, *shape[1:])) for shape in self.input_shapes)


def save_network(
    folder: str | os.PathLike[str],
    network: fx.GraphModule,
    input_shapes: Sequence[Sequence[int]],
    *,
    kept: Mapping[str, Sequence[int]] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write ``recipe.json`` and ``weights.safetensors``; each is replaced whole or not at all."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    files = network_files(network, input_shapes, kept=kept, notes=notes)
    for name in (WEIGHTS, RECIPE):
        write_atomically(place / name, files[name], as_mistake=False)


def network_files(
    network: fx.GraphModule,
    input_shapes: Sequence[Sequence[int]],
    *,
    kept: Mapping[str, Sequence[int]] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """The contents of ``recipe.json`` and ``weights.safetensors``, by name."""
    recipe = {
        "schema_version": RECIPE_VERSION,
        "kind": "picojoule network",
        "input_shapes": [[1, *shape[1:]] for shape in input_shapes],
        "weights": WEIGHTS,
        "kept": {path: [int(x) for x in positions] for path, positions in (kept or {}).items()},
        "notes": dict(notes or {}),
        "network": to_record(network),
    }
    return {RECIPE: (json.dumps(recipe) + "\n").encode(), WEIGHTS: to_bytes(network)}


def load_network(folder: str | os.PathLike[str]) -> SavedNetwork:
    """Rebuild what :func:`save_network` wrote; no code of the original model is needed.

    Raises:
        InputError: a file is missing, malformed, or does not fit the other.
    """
    place = Path(folder)
    source = str(place / RECIPE)
    try:
        recipe = json.loads(read_text(place / RECIPE))
    except ValueError as error:
        raise InputError(source, [Mistake("$", f"cannot be read as JSON: {error}")]) from None
    version = recipe.get("schema_version") if isinstance(recipe, dict) else None
    if version != RECIPE_VERSION:
        problem = f"{version!r}; this picojoule reads {RECIPE_VERSION}"
        raise InputError(source, [Mistake("$.schema_version", problem)])
    try:
        network = from_record(recipe["network"], source)
        shapes = tuple(tuple(int(x) for x in shape) for shape in recipe["input_shapes"])
        kept = {path: tuple(positions) for path, positions in recipe["kept"].items()}
        weights = place / Path(recipe["weights"]).name
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(source, [Mistake("$", f"not a network recipe: {error!r}")]) from None
    try:
        load_bytes(network, weights.read_bytes())
    except (OSError, ValueError, RuntimeError) as error:
        problem = f"does not hold this network's weights: {str(error).splitlines()[0]}"
        raise InputError(str(weights), [Mistake("file", problem)]) from None
    network.eval()
    notes = recipe.get("notes", {})
    with_declared_widths(network, notes.get(WEIGHT_BITS, {}))
    return SavedNetwork(network, shapes, kept, notes)


def to_bytes(network: torch.nn.Module) -> bytes:
    """The weights in the safetensors format."""
    from safetensors.torch import save

    state = {name: x.detach().cpu().contiguous() for name, x in network.state_dict().items()}
    return bytes(save(state))


def load_bytes(network: torch.nn.Module, weights: bytes) -> None:
    """Set the weights from what :func:`to_bytes` made; all of them, and no others."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = load(weights)
    except SafetensorError as error:
        raise ValueError(f"not in the safetensors format: {error}") from None
    network.load_state_dict(state)


def export_onnx(
    network: torch.nn.Module, inputs: Sequence[torch.Tensor], path: str | os.PathLike[str]
) -> None:
    """Write the network as ONNX, in evaluation mode, the batch left free.

    Needs ``onnxscript`` (in the extra ``picojoule[torch]``).
    """
    import logging
    import warnings

    mode = network.training
    network.eval()
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dims = tuple({0: torch.export.Dim.AUTO} for _ in inputs)
            wide = tuple(torch.cat([x, x]) if x.shape[0] == 1 else x for x in inputs)
            program = torch.onnx.export(
                network, wide, dynamo=True, dynamic_shapes=dims, verbose=False
            )
        assert program is not None
        write_atomically(Path(path), program.model_proto.SerializeToString(), as_mistake=False)
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        network.train(mode)


def onnx_files(network: fx.GraphModule, example: Sequence[torch.Tensor]) -> dict[str, bytes]:
    """The network as ``network.onnx``; nothing, where the exporter is not installed."""
    if importlib.util.find_spec("onnxscript") is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, example, path)
        return {"network.onnx": path.read_bytes()}
