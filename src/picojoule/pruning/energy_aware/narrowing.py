"""Layers made narrower inside a pruning run: channels go, and the tensors keep their shapes.

A channel that no layer reads can be removed from the network without changing what it computes. So
a run holds narrow networks as zeros in tensors of the first shapes: its states stay comparable, the
fine-tune's masks hold the zeros, and what is alive is read off the weights. Prices are of the
network without the dead channels, and :meth:`Narrowing.narrow` builds it.

Groups that one layer reads side by side (concatenations) or that one layer produces (splits) change
width by the same share; such a *bundle* is what gets a width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from picojoule.pruning.graph.channels import ChannelGroup
from picojoule.pruning.graph.importance import (
    Batches,
    RemovalOrder,
    by_reconstruction,
    gather_inputs,
)
from picojoule.pruning.graph.masks import filled
from picojoule.pruning.graph.records import GraphError, copied, tensors_in
from picojoule.pruning.graph.surgery import shrink
from picojoule.pruning.graph.tracing import TracedNetwork
from picojoule.pruning.graph.widths import Widths
from picojoule.pruning.layers.capture import PrunableLayer

Mask = npt.NDArray[np.bool_]
Tensors = Mapping[str, torch.Tensor]

# A narrow network may differ from the one with zeros by so much of its outputs' scale. The probe is
# stricter, so that a run does not end with a network that fails, and looks at large inputs too: a
# response normalisation hardly does anything to small ones.
SAME, PROBED, SCALES = 1e-4, 1e-5, (1, 1000)


class Narrowing:
    """The channels of a network, dead or alive.

    Args:
        traced: the network; its weights do not matter.
        inputs: example inputs, batch first; a few, for the probe.
        layers: those that are pruned; a group is narrowed if only they produce and read it.

    Attributes:
        refused: group -> why its width stays.
        bundles: name -> the groups that change width together.

    Raises:
        GraphError: there is no graph of the network.
    """

    def __init__(
        self, traced: TracedNetwork, inputs: torch.Tensor, layers: Sequence[PrunableLayer]
    ) -> None:
        # Weights of states are loaded into it.
        self.network: fx.GraphModule = copied(traced.graph)
        self._sources = traced.tensors
        # Tensors that the code writes down (a table of scales, say) are in the graph alone.
        self._constants = {
            name: tensor
            for name, tensor in self.network.state_dict().items()
            if name not in self._sources
        }
        self.channels = traced.channels
        self.widths = Widths(traced)
        self.refused = dict(self.channels.fixed)
        self._layers = {
            layer.module: layer
            for layer in layers
            if layer.module is not None and layer.module in self.channels.axes
        }
        groups = []
        written = {
            int(channel): path
            for (path, _), ids in self.channels.tensors.items()
            if path in self._constants
            for channel in ids
        }
        for group in self.channels.groups:
            strange = [
                path for path in (*group.producers, *group.consumers) if path not in self._layers
            ]
            constants = [written[channel] for channel in group.channels if channel in written]
            if constants:
                self.refused[group.name] = (
                    f"{constants[0]}, a constant of the code, has its channels"
                )
            elif strange:
                self.refused[group.name] = f"layer {strange[0]} is not pruned"
            elif not group.consumers:
                self.refused[group.name] = "no layer reads it"
            else:
                groups.append(group)
        self.groups = tuple(self._exact(groups, inputs))
        self.bundles = _bundles(self.groups)

    def _exact(self, groups: Sequence[ChannelGroup], inputs: torch.Tensor) -> list[ChannelGroup]:
        """The groups whose dead channels can go without a change of the outputs, as probed.

        A normalisation across channels, say, sees how many there are.
        """
        state = self.network.state_dict()
        tensors = {source: state[name] for name, source in self._sources.items()}
        # whole numbers, such as those of words, cannot be scaled
        probes = [inputs * scale for scale in SCALES] if inputs.is_floating_point() else [inputs]

        def same(tried: Iterable[ChannelGroup]) -> bool:
            keep = self.channels.all_kept()
            for group in tried:
                keep[list(group.channels[1::2])] = False
            keep = self.filled(keep)
            zeros = {**tensors, **self.swept(tensors, keep)}
            try:
                small = self.narrow(zeros, keep)
            except GraphError:
                return False
            return all(self._agree(zeros, small, probe, PROBED) for probe in probes)

        if same(groups):
            return list(groups)
        good = []
        for group in groups:
            if same([group]):
                good.append(group)
            else:
                self.refused[group.name] = "the outputs depend on how many channels there are"
        return good

    def _agree(
        self, tensors: Tensors, small: nn.Module, inputs: torch.Tensor, within: float
    ) -> bool:
        self._load(tensors)
        with torch.no_grad():
            whole, cut = self.network(inputs), small.eval()(inputs)
        pairs = zip(tensors_in(whole), tensors_in(cut), strict=True)
        return all(
            bool((a - b).abs().max() <= within * a.abs().max().clamp_min(1e-6)) for a, b in pairs
        )

    def _load(self, tensors: Tensors) -> None:
        """The graph has no tensors but those that are used."""
        state = {name: tensors[x] for name, x in self._sources.items()}
        self.network.load_state_dict({**state, **self._constants})

    # -- dead or alive -----------------------------------------------------------------------------

    def alive(self, tensors: Tensors) -> Mask:
        """Channels that are read: some reader has a weight that is not zero for them."""
        keep = self.channels.all_kept()
        for group in self.groups:
            keep[list(group.channels)] = False
        for path in dict.fromkeys(path for group in self.groups for path in group.consumers):
            weight = tensors[self._layers[path].parameter]
            parts = self._layers[path].geometry.groups
            # [groups, filters, inputs of the group]: is any weight of the input not zero?
            read = weight.reshape(parts, -1, weight.shape[1], weight[0, 0].numel()) != 0
            places = read.any(3).any(1).reshape(-1).numpy()
            keep[self.channels.axes[path].inputs[places]] = True
        return self.filled(keep)

    def filled(self, keep: Mask, traces: Mapping[str, RemovalOrder] | None = None) -> Mask:
        """The mask with a channel back, the best of its trace, where nothing would be left."""
        unranked = {g.name: RemovalOrder(g.channels, np.zeros(0)) for g in self.channels.groups}
        return filled(self.channels, {**unranked, **(traces or {})}, keep)

    def support(self, layer: PrunableLayer, keep: Mask) -> torch.Tensor:
        """Where a layer's weight may differ from zero: of the weight's shape, truth values."""
        axes = self.channels.axes.get(layer.module or "")
        if axes is None:
            return torch.ones(layer.shape, dtype=torch.bool)
        parts = layer.geometry.groups
        outs = torch.from_numpy(keep[axes.outputs]).reshape(parts, -1, 1)
        ins = torch.from_numpy(keep[axes.inputs]).reshape(parts, 1, -1)
        flat = (outs & ins).reshape(layer.shape[0], layer.shape[1])
        return flat.reshape(*flat.shape, *(1,) * (len(layer.shape) - 2)).expand(layer.shape)

    def swept(self, tensors: Tensors, keep: Mask) -> dict[str, torch.Tensor]:
        """The tensors that change when all that makes or reads dead channels becomes zero."""
        changed = {}
        for path, axes in self.channels.axes.items():
            outs = torch.from_numpy(keep[axes.outputs])
            if bool(outs.all()) and path not in self._layers:
                continue
            for name, _ in self.network.get_submodule(path).named_parameters(recurse=False):
                key = self._sources[f"{path}.{name}"]
                old = tensors[key]
                if path in self._layers and name == "weight":
                    stay = self.support(self._layers[path], keep)
                else:
                    stay = outs.reshape(-1, *(1,) * (old.dim() - 1)).expand(old.shape)
                if bool((old[~stay] != 0).any()):
                    changed[key] = torch.where(stay, old, torch.zeros_like(old))
        for (path, dim), ids in self.channels.tensors.items():
            if path in self._constants:
                continue  # its channels stay
            dead, key = torch.from_numpy(np.flatnonzero(~keep[ids])), self._sources[path]
            if len(dead) and bool(tensors[key].index_select(dim, dead).any()):
                changed[key] = tensors[key].index_fill(dim, dead, 0)
        return changed

    def cleaned(self, tensors: Tensors) -> tuple[dict[str, torch.Tensor], Mask]:
        """The tensors with zeros for all that nobody reads, and what is alive then.

        Sparse weights leave channels unread by chance; without them others may be unread in turn.
        """
        clean = dict(tensors)
        while True:
            keep = self.alive(clean)
            changed = self.swept(clean, keep)
            if not changed:
                return clean, keep
            clean |= changed

    def sides(self, keep: Mask) -> dict[str, tuple[int, int]]:
        """Input and output channels that are left, by layer."""
        return {
            layer.name: (int(keep[axes.inputs].sum()), int(keep[axes.outputs].sum()))
            for layer, axes in ((x, self.channels.axes[path]) for path, x in self._layers.items())
        }

    # -- what narrower costs -----------------------------------------------------------------------

    def traces(self, tensors: Tensors, batches: Batches, seed: int) -> dict[str, RemovalOrder]:
        """In which order each group gives up channels, and its readers' errors."""
        self._load(tensors)
        moments = gather_inputs(self.network, self.channels, batches, seed=seed)
        return by_reconstruction(self.network, self.channels, moments, groups=self.groups)

    # -- the narrow network ------------------------------------------------------------------------

    def narrow(self, tensors: Tensors, keep: Mask) -> fx.GraphModule:
        """The network without its dead channels."""
        self._load(tensors)
        return shrink(self.network, self.channels, keep).eval()

    def checked(self, tensors: Tensors, inputs: torch.Tensor) -> fx.GraphModule:
        """The narrow network of a state, its outputs compared with those of the whole one.

        Raises:
            GraphError: they differ.
        """
        small = self.narrow(tensors, self.alive(tensors))
        if not self._agree(tensors, small, inputs, SAME):
            raise GraphError("the network without its dead channels computes something else")
        return small


def _bundles(groups: Sequence[ChannelGroup]) -> dict[str, tuple[ChannelGroup, ...]]:
    """Groups that share a reader or a producer, together; named after the first."""
    owner = {group.name: group.name for group in groups}

    def root(name: str) -> str:
        while owner[name] != name:
            name = owner[name]
        return name

    for side in ("producers", "consumers"):
        first: dict[str, str] = {}
        for group in groups:
            for path in getattr(group, side):
                other = root(first.setdefault(path, group.name))
                owner[root(group.name)] = other
    bundles: dict[str, list[ChannelGroup]] = {}
    for group in groups:
        bundles.setdefault(root(group.name), []).append(group)
    return {name: tuple(members) for name, members in bundles.items()}
