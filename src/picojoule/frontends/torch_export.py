"""A PyTorch module as the program ``torch.export`` makes of it, and the names of its parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from picojoule.errors import InputError, Mistake


def export_program(
    module: nn.Module, inputs: Sequence[object], *, source: str, free_batch: bool = False
) -> torch.export.ExportedProgram:
    """The program of *module* in evaluation mode; the module is left as it was.

    Args:
        inputs: positional arguments of ``module.forward``; only their shapes and types matter.
        source: what an error calls the module.
        free_batch: leave the first dimension of every input free, where the module does; inputs
            are tensors then, of a batch of at least two.

    Raises:
        InputError: the module cannot be exported.
    """
    with _evaluating(module):
        try:
            dims = tuple({0: torch.export.Dim.AUTO} for _ in inputs) if free_batch else None
            return torch.export.export(module, tuple(inputs), dynamic_shapes=dims)
        except Exception as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                source, [Mistake("forward", f"torch.export cannot follow it: {first_line[:300]}")]
            ) from error


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


def layer_name(parameter: str) -> str:
    """``conv1`` for ``conv1.weight``, ``attention.in_proj`` for ``attention.in_proj_weight``."""
    # Masks and parametrizations keep the original values beside the weight.
    return re.sub(
        r"([._]|parametrizations)*weight([._]orig|\.original\d?|_mask|_[gv])*$", "", parameter
    )


def first_names(module: nn.Module) -> dict[str, str]:
    """Name of a parameter -> the first of its names, where modules share one."""
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    return {
        name: first[id(parameter)]
        for name, parameter in module.named_parameters(remove_duplicate=False)
    }


def batch_of(inputs: Sequence[object]) -> int:
    """The first dimension of the inputs, if all of two or more dimensions agree on it, or 1."""
    firsts = {x.shape[0] for x in inputs if isinstance(x, torch.Tensor) and x.dim() > 1}
    return max(1, firsts.pop()) if len(firsts) == 1 else 1
