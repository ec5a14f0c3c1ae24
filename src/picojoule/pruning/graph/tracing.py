"""A network traced once: its graph, its layers, its channels, and how they belong together.

A user's model runs arbitrary Python. :func:`trace` lets ``torch.export`` follow it, once, and keeps
all that compression asks of it in one record: the graph that can be cut, written as JSON and
rebuilt without the model's source; the layers an accelerator prices; and for every call of a layer
the parameter it reads and the module of the graph that stands for it, as the exported program's
signature tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import fx, nn

from picojoule.frontends.torch_declared import as_declared
from picojoule.frontends.torch_export import batch_of, export_program, first_names
from picojoule.frontends.torch_module import read_nodes
from picojoule.frontends.torch_sizes import runs_for, set_sizes
from picojoule.pruning.graph.channels import Channels, find_channels
from picojoule.pruning.graph.operators import arguments, op_name
from picojoule.pruning.graph.rebuilding import RebuiltNetwork, rebuild
from picojoule.pruning.graph.records import GraphError, tensors_in
from picojoule.pruning.modes import evaluating
from picojoule.workload import Workload

_SAME = 1e-3  # of the largest output: one network, in another order of operations


@dataclass(frozen=True, eq=False, kw_only=True)
class Call:
    """One use of an operator that multiplies.

    Args:
        layers: the workload's layers it stands for; several for attention and the phases of a
            transposed convolution.
        operator: its ATen name.
        settings: its arguments that are no tensors, by name.
        weight, bias: the model's parameters it reads as they are; None where they are computed.
        module: path in the graph of the module that stands for it, if one does.
    """

    layers: tuple[str, ...]
    operator: str
    settings: Mapping[str, Any]
    weight: str | None
    bias: str | None
    module: str | None


@dataclass(frozen=True, eq=False, kw_only=True)
class TracedNetwork:
    """A network, its layers and channels, from one export.

    Args:
        name: of the model's class.
        example: the arguments of ``forward`` it was traced with.
        workload: the layers of one call with the example.
        calls: what the layers come from, in the order in which they run.
        followed: the graph and its channels; or why there is no graph of the network.
        tensors: tensor of the graph -> its name in the model, for those the model has.
        shapes: of the model's parameters that calls read.
    """

    name: str
    example: tuple[torch.Tensor, ...]
    workload: Workload
    calls: tuple[Call, ...]
    followed: tuple[fx.GraphModule, Channels] | GraphError
    tensors: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def graph(self) -> fx.GraphModule:
        """The network as a graph of modules, in evaluation mode.

        Raises:
            GraphError: the network is none.
        """
        return self._followed[0]

    @property
    def channels(self) -> Channels:
        """The channels of the graph.

        Raises:
            GraphError: the network is no graph.
        """
        return self._followed[1]

    def module_of_layer(self) -> dict[str, str]:
        """Layer of the workload -> path of the module in the graph that it is, if it is one."""
        axes = self.channels.axes
        return {
            layer: call.module
            for call in self.calls
            for layer in call.layers
            if call.module is not None and call.module in axes
        }

    @property
    def _followed(self) -> tuple[fx.GraphModule, Channels]:
        if isinstance(self.followed, GraphError):
            raise self.followed
        return self.followed


def trace(model: nn.Module, example: Sequence[torch.Tensor]) -> TracedNetwork:
    """Follow the model through one export; it is left as it was.

    The graph computes what the model computes in evaluation mode. In training mode its
    normalisations and dropouts behave as they do in the model.

    Args:
        example: arguments of ``forward``, the batch in their first dimension.

    Raises:
        InputError: ``torch.export`` cannot follow the model, or a layer cannot exist.
    """
    name = type(model).__name__
    source = f"torch:{type(model).__qualname__}"
    names = first_names(model)
    # Of one image the export would take the batch for a constant.
    several = tuple(torch.cat([x, x]) if x.shape[0] == 1 else x for x in example)
    with evaluating(model):
        program = export_program(model, several, source=source, free_batch=True)
    modules: Mapping[str, str] = {}
    tensors: Mapping[str, str] = {}
    followed: tuple[fx.GraphModule, Channels] | GraphError
    try:
        rebuilt = rebuild(program, names, model.state_dict().keys())
        followed = _followed(rebuilt, model, several)
        modules, tensors = rebuilt.modules, rebuilt.tensors
    except GraphError as error:
        followed = error
    counted = tuple(example)
    if not runs_for(program, tuple(torch.cat([x, x[:1]]) for x in several)):
        counted = several
        followed = GraphError(
            f"{name}: traced for a batch of {len(several[0])}, it does not run for one more; "
            "use -1 or x.shape[0] for the batch in view(), reshape() and expand(), not len(x)"
        )
    set_sizes(program, counted)
    read = read_nodes(program, name=name, source=source, batch=batch_of(counted), names=names)
    return TracedNetwork(
        name=name,
        example=tuple(example),
        workload=_share(as_declared(model, read.workload), batch_of(example)),
        calls=tuple(_calls(program, read.workload, read.nodes, names, modules)),
        followed=followed,
        tensors=tensors,
        shapes={key: tuple(tensor.shape) for key, tensor in model.named_parameters()},
    )


def _followed(
    rebuilt: RebuiltNetwork, model: nn.Module, examples: Sequence[torch.Tensor]
) -> tuple[fx.GraphModule, Channels]:
    """The graph, found to compute what the model does, and its channels."""
    graph = rebuilt.graph.eval()
    _check_values(graph, model, examples)
    return graph, find_channels(graph, examples)


def _share(workload: Workload, batch: int) -> Workload:
    """The workload for a batch, of a network whose batch is built in."""
    if workload.batch in (1, batch):
        return workload
    layers = tuple(layer.with_batch_share(batch, workload.batch) for layer in workload)
    return replace(workload, layers=layers, batch=batch)


def _calls(
    program: torch.export.ExportedProgram,
    workload: Workload,
    nodes: Sequence[str],
    names: Mapping[str, str],
    modules: Mapping[str, str],
) -> Iterator[Call]:
    parameters = program.graph_signature.inputs_to_parameters
    by_name = {node.name: node for node in program.graph.nodes}

    def parameter(argument: object) -> str | None:
        if not isinstance(argument, fx.Node) or argument.name not in parameters:
            return None
        return names[parameters[argument.name]]

    of_layer = list(zip((layer.name for layer in workload), nodes, strict=True))
    for node_name, group in groupby(of_layer, lambda pair: pair[1]):
        node = by_name[node_name]
        operands = arguments(node)
        yield Call(
            layers=tuple(layer for layer, _ in group),
            operator=op_name(node),
            settings={key: x for key, x in operands.items() if not isinstance(x, fx.Node)},
            weight=parameter(operands.get("weight")),
            bias=parameter(operands.get("bias")),
            module=modules.get(node_name),
        )


def _check_values(
    network: fx.GraphModule, model: nn.Module, examples: Sequence[torch.Tensor]
) -> None:
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        return
    with evaluating(model), evaluating(network), torch.no_grad():
        pairs = zip(tensors_in(model(*examples)), tensors_in(network(*examples)), strict=True)
        for expected, computed in pairs:
            room = _SAME * max(float(expected.abs().max()), 1e-6)
            if not torch.allclose(computed, expected, rtol=0, atol=room, equal_nan=True):
                raise GraphError(f"{type(model).__name__}: as a graph it computes something else")
