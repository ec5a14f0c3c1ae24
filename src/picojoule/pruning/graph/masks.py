"""Which channels of a network stay: a mask over all of them, and sentences on those that must."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from picojoule.pruning.graph.channels import Channels
from picojoule.pruning.graph.importance import RemovalOrder
from picojoule.units import listed

Mask = npt.NDArray[np.bool_]


def mask_of(
    channels: Channels, traces: Mapping[str, RemovalOrder], widths: Mapping[str, int]
) -> Mask:
    """The mask that leaves each group the best channels of its trace."""
    keep = channels.all_kept()
    for group in channels.groups:
        width = widths.get(group.name, group.width)
        if width < group.width:
            trace = traces[group.name]
            keep[list(trace.order)] = False
            keep[list(trace.kept(width))] = True
    return keep


def filled(channels: Channels, traces: Mapping[str, RemovalOrder], keep: Mask) -> Mask:
    """The mask with the best channel back wherever a layer or a part of a split would be empty."""
    keep = keep.copy()
    rank = {c: n for trace in traces.values() for n, c in enumerate(trace.order)}
    needed = [ids for axes in channels.axes.values() for ids in (axes.inputs, axes.outputs)]
    needed += [edit.ids for edit in channels.edits if len(edit.ids)]
    for ids in needed:
        if not keep[ids].any():
            keep[max(ids.tolist(), key=lambda channel: rank.get(channel, 0))] = True
    return keep


def staying_channels(refused: Mapping[str, str]) -> list[str]:
    """A sentence for each reason of *refused*, group of channels -> why its width stays."""
    reasons: dict[str, list[str]] = {}
    for group, reason in refused.items():
        reasons.setdefault(reason, []).append(group)
    return [f"channels stay in {listed(names)}: {reason}" for reason, names in reasons.items()]
