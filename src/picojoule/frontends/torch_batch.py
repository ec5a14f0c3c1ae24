"""Which dimension of a module's inputs is the batch: asked of the module, not guessed.

A dimension is a batch if the network does for each index of it what it does for one alone: the
program for one index has the same layers with that share of the work, no recurrence or loop runs
along it, and it is there in the outputs. Attention over tokens grows with their square, a loop over
steps has a layer for each, and what is pooled over positions has lost them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from picojoule.errors import PicojouleError
from picojoule.frontends.products import ONE_MORE
from picojoule.frontends.torch_export import batch_of
from picojoule.frontends.torch_objects import replaced_tensors, tensors_in
from picojoule.frontends.torch_program import ReadProgram

_ORDINAL = ("first", "second")


@dataclass(frozen=True, slots=True)
class Batch:
    """Inferences in the inputs, and a sentence on why, where it could be doubted."""

    size: int
    remark: str = ""


def batch_in(arguments: Any, whole: ReadProgram, read: Callable[[Any], ReadProgram]) -> Batch:
    """The batch of the inputs of a module.

    Args:
        arguments: of the module, with tensors anywhere in them.
        whole: the program for them.
        read: reads the program for other arguments.
    """
    tensors = tensors_in(arguments)
    firsts = {x.shape[0] for x in tensors if x.dim() > 1}
    reasons: list[str] = []
    if not firsts - {1}:
        return Batch(1)
    for axis, ordinal in enumerate(_ORDINAL):
        size = batch_of(tensors, axis)
        if size == 1 or (axis == 1 and not all(_may_be_second(x) for x in tensors)):
            continue
        reason = _objection(arguments, whole, read, axis, size)
        if reason is None:
            one = ", ".join(_shape(_first(x, axis, size)) for x in tensors)
            return Batch(
                size,
                f"the {ordinal} dimension of the inputs, {size}, is taken for the batch: "
                f"one inference is {one}",
            )
        if not reasons:
            reasons.append(f"the {ordinal} dimension of the inputs, {size}, is no batch ({reason})")
    everything = ", ".join(_shape(x) for x in tensors)
    reason = reasons[0] if reasons else "the first dimensions of the inputs differ"
    return Batch(1, f"{reason}: one inference is all of {everything}")


def _objection(
    arguments: Any,
    whole: ReadProgram,
    read: Callable[[Any], ReadProgram],
    axis: int,
    size: int,
) -> str | None:
    """Why a dimension is no batch; None if it is one."""
    try:
        one = read(replaced_tensors(arguments, lambda x: _first(x, axis, size)))
    except (PicojouleError, RuntimeError):
        return "the network does not take one alone"
    return differences(whole, one, size)


def differences(whole: ReadProgram, one: ReadProgram, size: int) -> str | None:
    """Why the program for *size* indices is not that of one, *size* times; None if it is."""
    if whole.lengths != one.lengths:
        return "a recurrence or a loop runs along it"
    works = [_works(each) for each in (whole, one)]
    if works[0].keys() != works[1].keys():
        return "the network has other layers for one alone"
    if any(macs != size * works[1][name] for name, macs in works[0].items()):
        return "the work does not grow in step with it"
    kept = [
        ours != theirs for ours, theirs in zip(whole.outputs, one.outputs, strict=False) if ours
    ]
    return None if any(kept) or not kept else "no output has it"


def _works(program: ReadProgram) -> Counter[str]:
    """MACs by the name of a layer, experts that get one row more together with the others."""
    works: Counter[str] = Counter()
    for layer in program.workload:
        works[layer.name.removesuffix(ONE_MORE)] += layer.macs
    return works


def _may_be_second(tensor: torch.Tensor) -> bool:
    """Whether its second dimension is not that of features: words, or [steps, batch, features]."""
    return tensor.dim() != 2 or not tensor.is_floating_point()


def _first(tensor: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """The first of the indices of *tensor* along *axis*, if it has that dimension."""
    if tensor.dim() <= axis or tensor.shape[axis] != size:
        return tensor
    return tensor.narrow(axis, 0, 1).contiguous()


def _shape(tensor: torch.Tensor) -> str:
    sizes: Sequence[int] = tensor.shape
    return " x ".join(str(size) for size in sizes) or "one number"
