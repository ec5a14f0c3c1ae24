"""Which channels of a group to remove, and what their removal costs the layers that read them.

Two answers:

- :func:`by_norm`: the joint L2 norm of the filters that produce a channel, over all producers of
  its group (NetAdapt, ECCV'18, made joint so that added maps stay aligned).
- :func:`by_reconstruction`: structured optimal brain surgery against the *readers'* inputs. A
  reader is linear in its inputs, so with H = X X^T the cost of removing the block of columns M, all
  other weights re-solved, is exactly tr(W_M ([H^-1]_MM)^-1 W_M^T) (the block form of OBS; ZipLM,
  NeurIPS 2023). Channels go greedily; each step updates H^-1 and W, so the cost after n removals is
  known for every n: a curve per group, from one pass.

:func:`compensate` then re-solves the readers' weights on the channels that are left, by least
squares against what they computed before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn
from torch.nn import functional

from picojoule.pruning.graph.channels import ChannelGroup, Channels

Mask = npt.NDArray[np.bool_]

RIDGE = 1e-3
"""Added to H, relative to its mean diagonal, against inputs that are (nearly) dependent."""
LARGEST_SYSTEM = 4608
"""Inputs of a reader (channels x kernel) up to which its system is solved; 512 x 3 x 3 of VGG-16.
Larger ones are judged by the diagonal of H and keep their weights."""
POSITIONS = 64
"""Output positions sampled from each image, at most."""


@dataclass(frozen=True, eq=False)
class RemovalOrder:
    """How a group gives up channels.

    Args:
        order: its channels, the first to go first.
        errors: after n removals, the error of the readers' outputs relative to their energy, summed
            over readers; ``len(order) + 1`` values from 0.
    """

    order: tuple[int, ...]
    errors: npt.NDArray[np.float64]

    def kept(self, width: int) -> tuple[int, ...]:
        """The channels that are left at a width."""
        return self.order[len(self.order) - width :]


def by_norm(network: fx.GraphModule, channels: Channels) -> dict[str, RemovalOrder]:
    """Channels in the order of the joint L2 norm of their filters, the least first.

    The errors are the share of the squared norm that is gone.
    """
    orders = {}
    for group in channels.groups:
        total = dict.fromkeys(group.channels, 0.0)
        for path in group.producers:
            layer: Any = network.get_submodule(path)
            weight = layer.weight.detach().double()
            if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
                weight = weight.transpose(0, 1)
                if layer.groups > 1:
                    weight = weight.repeat(layer.groups, 1, *[1] * (weight.dim() - 2))
            norms = weight.flatten(1).square().sum(1).tolist()
            for channel, norm in zip(channels.axes[path].outputs.tolist(), norms, strict=True):
                if channel in total:
                    total[channel] += norm
        order = tuple(sorted(group.channels, key=lambda channel: (total[channel], channel)))
        gone = np.cumsum([0.0, *(total[channel] for channel in order)])
        orders[group.name] = RemovalOrder(order, gone / max(gone[-1], 1e-30))
    return orders


# -- statistics of inputs --------------------------------------------------------------------------


@dataclass(eq=False)
class Inputs:
    """Moments of what a reader sees: H [groups, d, d], sums [groups, d], and how many samples."""

    total: torch.Tensor
    sums: torch.Tensor
    count: int

    def centred(self) -> torch.Tensor:
        """H about the mean: a constant shift is left to the bias or the batch norm behind."""
        mean = self.sums / max(1, self.count)
        return self.total - self.count * mean.unsqueeze(-1) * mean.unsqueeze(-2)

    def mean(self) -> torch.Tensor:
        return self.sums / max(1, self.count)


Batches = Callable[[], Iterable[Sequence[torch.Tensor]]]


def gather_inputs(
    network: fx.GraphModule, channels: Channels, batches: Batches, *, seed: int = 0
) -> dict[str, Inputs]:
    """Statistics of the inputs of all readers of all groups, from one pass over *batches*.

    Args:
        batches: gives the inputs of the network, batch by batch.
    """
    readers = {path for group in channels.groups for path in group.consumers}
    moments: dict[str, Inputs] = {}
    generator = torch.Generator().manual_seed(seed)
    hooks = []

    def watch(path: str, layer: Any) -> None:
        def see(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            columns = _columns(layer, arguments[0], generator)  # [groups, d, n]
            if columns.shape[1] > LARGEST_SYSTEM:
                second = columns.square().sum(2)
            else:
                second = columns @ columns.transpose(1, 2)
            # sums of many samples lose digits in single precision
            one = Inputs(second.double(), columns.sum(2).double(), columns.shape[2])
            if path in moments:
                total = moments[path]
                total.total += one.total
                total.sums += one.sums
                total.count += one.count
            else:
                moments[path] = one

        hooks.append(layer.register_forward_pre_hook(see))

    for path in sorted(readers):
        layer = network.get_submodule(path)
        if isinstance(layer, (nn.Conv2d, nn.Conv1d, nn.Linear)):
            watch(path, layer)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            for inputs in batches():
                network(*inputs)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return moments


def _columns(layer: Any, data: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The layer's inputs as columns [groups, inputs of a filter, samples of positions]."""
    if isinstance(layer, nn.Linear):
        return data.reshape(1, -1, data.shape[-1]).transpose(1, 2)
    if isinstance(layer, nn.Conv1d):
        data, kernel = data.unsqueeze(2), (1, layer.kernel_size[0])
        stride, dilation = (1, layer.stride[0]), (1, layer.dilation[0])
    else:
        kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    # strings ("same") and tuples alike: the layer knows its own padding
    pads = list(layer._reversed_padding_repeated_twice)
    if isinstance(layer, nn.Conv1d):
        pads += [0, 0]
    data = functional.pad(data, pads)
    if kernel == (1, 1):
        patches = data[:, :, :: stride[0], :: stride[1]].flatten(2)
    else:
        patches = functional.unfold(data, kernel, dilation=dilation, stride=stride)
    positions = patches.shape[2]
    if positions > POSITIONS:
        chosen = torch.randperm(positions, generator=generator)[:POSITIONS].to(patches.device)
        patches = patches.index_select(2, chosen)
    grouped = patches.reshape(patches.shape[0], layer.groups, -1, patches.shape[2])
    return grouped.permute(1, 2, 0, 3).flatten(2)


# -- optimal brain surgery -------------------------------------------------------------------------


@dataclass(eq=False)
class _Reader:
    """One group of channels of a reader: W [o, d], H^-1 [d, d], and the columns of each channel.

    ``blocks`` holds, for each number k of columns that a channel has here, the places of such
    channels in the group and their columns [channels, k].
    """

    weight: torch.Tensor
    inverse: torch.Tensor
    energy: float
    blocks: list[tuple[npt.NDArray[np.int64], torch.Tensor]]

    def costs(self, left: Mask) -> npt.NDArray[np.float64]:
        """The error of removing each channel that is left, relative to the output's energy."""
        errors = np.zeros(len(left))
        for places, columns in self.blocks:
            alive = left[places]
            chosen = columns[torch.from_numpy(alive)]
            if not len(chosen):
                continue
            if chosen.shape[1] == 1:
                flat = chosen[:, 0]
                each = self.weight[:, flat].square().sum(0) / self.inverse[flat, flat]
            else:
                weights = self.weight[:, chosen].permute(1, 2, 0)  # [channels, k, o]
                block = self.inverse[chosen.unsqueeze(2), chosen.unsqueeze(1)]
                each = (weights * torch.linalg.solve(block, weights)).sum((1, 2))
            errors[places[alive]] = (each / self.energy).numpy()
        return errors

    def remove(self, place: int) -> None:
        for places, table in self.blocks:
            rows = np.flatnonzero(places == place)
            if not len(rows):
                continue
            columns = table[int(rows[0])]
            across = self.inverse[:, columns]
            solved = torch.linalg.solve(self.inverse[columns][:, columns], across.T)  # [k, d]
            self.weight -= self.weight[:, columns] @ solved
            self.inverse -= across @ solved
            # exactly gone: what is left of rounding must not come back
            self.weight[:, columns] = 0
            self.inverse[columns] = 0
            self.inverse[:, columns] = 0


def _damped(second: torch.Tensor) -> torch.Tensor:
    size = second.shape[-1]
    ridge = RIDGE * second.diagonal().mean().clamp_min(1e-12)
    return second + ridge * torch.eye(size, dtype=second.dtype)


def by_reconstruction(
    network: fx.GraphModule,
    channels: Channels,
    inputs: Mapping[str, Inputs],
    *,
    groups: Sequence[ChannelGroup] | None = None,
) -> dict[str, RemovalOrder]:
    """The order in which each group gives up channels, and the error after each step."""
    return {
        group.name: _trace(list(_readers(network, channels, group, inputs)), group)
        for group in (channels.groups if groups is None else groups)
    }


def _readers(
    network: fx.GraphModule,
    channels: Channels,
    group: ChannelGroup,
    inputs: Mapping[str, Inputs],
) -> Iterator[_Reader]:
    place = {channel: n for n, channel in enumerate(group.channels)}
    for path in group.consumers:
        if path not in inputs:
            continue
        layer: Any = network.get_submodule(path)
        flat, ids, kernel = _filters(layer, channels, path)
        moments = inputs[path]
        diagonal = moments.total.dim() == 2
        second = moments.total if diagonal else moments.centred()
        for part in range(len(ids)):
            blocks = _blocks(ids[part], kernel, place)
            if diagonal:
                spread = second[part].double().clamp_min(1e-12)
                yield _Diagonal(flat[part], spread, blocks)
                continue
            damped = _damped(second[part].double())
            energy = float(((flat[part] @ damped) * flat[part]).sum().clamp_min(1e-30))
            yield _Reader(flat[part].clone(), torch.linalg.inv(damped), energy, blocks)


def _filters(
    layer: Any, channels: Channels, path: str
) -> tuple[torch.Tensor, npt.NDArray[np.int64], int]:
    """Weights [groups, filters, inputs], channels [groups, inputs / kernel], and kernel size."""
    parts = getattr(layer, "groups", 1)
    ids = channels.axes[path].inputs.reshape(parts, -1)
    weight = layer.weight.detach().double().cpu()
    flat = weight.reshape(parts, weight.shape[0] // parts, -1)
    return flat, ids, flat.shape[2] // ids.shape[1]


class _Diagonal(_Reader):
    """A reader too large for its system: its inputs are taken as independent."""

    def __init__(
        self,
        weight: torch.Tensor,
        spread: torch.Tensor,
        blocks: list[tuple[npt.NDArray[np.int64], torch.Tensor]],
    ) -> None:
        each = weight.square().sum(0) * spread
        super().__init__(weight[:0], each, float(each.sum().clamp_min(1e-30)), blocks)

    def costs(self, left: Mask) -> npt.NDArray[np.float64]:
        errors = np.zeros(len(left))
        for places, columns in self.blocks:
            errors[places] = (self.inverse[columns].sum(1) / self.energy).numpy()
        return errors * left

    def remove(self, place: int) -> None:
        del place


def _blocks(
    ids: npt.NDArray[np.int64], kernel: int, place: Mapping[int, int]
) -> list[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    columns: dict[int, list[int]] = {}
    for position, channel in enumerate(ids.tolist()):
        if channel in place:
            where = range(position * kernel, (position + 1) * kernel)
            columns.setdefault(place[channel], []).extend(where)
    by_size: dict[int, list[int]] = {}
    for which, listed in columns.items():
        by_size.setdefault(len(listed), []).append(which)
    return [
        (np.array(places), torch.tensor([columns[n] for n in places]))
        for places in by_size.values()
    ]


def _trace(readers: list[_Reader], group: ChannelGroup) -> RemovalOrder:
    left = np.ones(group.width, bool)
    order: list[int] = []
    errors = [0.0]
    while left.any():
        costs = sum((reader.costs(left) for reader in readers), np.zeros(len(left)))
        place = int(np.argmin(np.where(left, costs, np.inf)))
        errors.append(errors[-1] + max(0.0, float(costs[place])))
        left[place] = False
        order.append(group.channels[place])
        for reader in readers:
            reader.remove(place)
    return RemovalOrder(tuple(order), np.array(errors))


# -- compensation ----------------------------------------------------------------------------------


def compensate(
    network: fx.GraphModule, channels: Channels, inputs: Mapping[str, Inputs], keep: Mask
) -> None:
    """Re-solve the weights of every reader that loses inputs; the network is still whole.

    ``W_S = W H_:S H_SS^-1`` is the least-squares fit on the inputs S that are left; a bias takes up
    the mean of what is gone (a batch norm behind re-estimates it).
    """
    for path, moments in inputs.items():
        layer: Any = network.get_submodule(path)
        flat, ids, kernel = _filters(layer, channels, path)
        if keep[ids].all() or moments.total.dim() == 2:
            continue
        second, mean = moments.centred().double(), moments.mean().double()
        solved = torch.zeros_like(flat)
        for part in range(len(ids)):
            stay = torch.from_numpy(np.flatnonzero(np.repeat(keep[ids[part]], kernel)))
            damped = _damped(second[part])
            target = flat[part] @ damped[:, stay]
            solved[part][:, stay] = torch.linalg.solve(damped[stay][:, stay], target.T).T
        shift = torch.einsum("pod,pd->po", flat - solved, mean).reshape(-1)
        with torch.no_grad():
            layer.weight.copy_(solved.reshape(layer.weight.shape))
            if layer.bias is not None:
                layer.bias.add_(shift.to(layer.bias))


def reestimate_norms(network: nn.Module, batches: Batches) -> None:
    """Statistics of the batch norms as they are on *batches*; weights stay."""
    norms = [
        part
        for part in network.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    try:
        with torch.no_grad():
            for inputs in batches():
                network(*inputs)
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        for part, training in modes:
            part.training = training
