"""A PyTorch module as the program ``torch.export`` makes of it, and the names of its parts."""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from picojoule.errors import InputError, Mistake
from picojoule.frontends.torch_objects import replaced_tensors, tensors_in


def export_program(
    module: nn.Module,
    inputs: Sequence[object],
    keywords: Mapping[str, object] | None = None,
    *,
    source: str,
    free_batch: bool = False,
) -> torch.export.ExportedProgram:
    """The program of *module* in evaluation mode; the module is left as it was.

    The inputs of the program are the tensors of the inputs, its outputs those of the outputs,
    in whatever objects they come.

    Args:
        inputs, keywords: arguments of ``module.forward``; of tensors in them only shapes and types
            matter.
        source: what an error calls the module.
        free_batch: leave the first dimension of every input free, where the module does; inputs
            are of a batch of at least two then.

    Raises:
        InputError: the module cannot be exported.
    """
    arguments = (tuple(inputs), dict(keywords or {}))
    tensors = tuple(tensors_in(arguments))
    free = tuple({0: torch.export.Dim.AUTO} if x.dim() else {} for x in tensors)
    with _evaluating(module), _of_tensors(module, arguments), quietly():
        try:
            program = torch.export.export(
                module, tensors, dynamic_shapes=(free,) if free_batch else None
            )
            return _without_vmap(program)
        except Exception as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                source, [Mistake("forward", f"torch.export cannot follow it: {first_line[:300]}")]
            ) from error


def split_arguments(
    module: nn.Module, arguments: Sequence[Any]
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Positional and keyword arguments, from inputs alone or from both.

    One dictionary is of keywords, unless ``forward`` has no arguments of these names.
    """
    inputs, keywords = arguments[0], dict(arguments[1]) if len(arguments) > 1 else {}
    if isinstance(inputs, Mapping) and not keywords and _takes_keywords(module, list(inputs)):
        return (), dict(inputs)
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,), keywords


def _takes_keywords(module: nn.Module, names: Sequence[object]) -> bool:
    parameters = inspect.signature(module.forward).parameters
    any_name = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return bool(names) and all(
        isinstance(name, str) and (any_name or name in parameters) for name in names
    )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    before = [(part, part.training) for part in module.modules()]
    try:
        try:
            module.eval()
        except NotImplementedError:  # of an exported program, which has one mode only
            for part, _ in before:
                part.training = False
        yield
    finally:
        for part, training in before:
            part.training = training


@contextmanager
def quietly() -> Iterator[None]:
    """Without torch's log and warnings: what it says of a failure, the error says as well."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _of_tensors(
    module: nn.Module, arguments: tuple[tuple[object, ...], dict[str, object]]
) -> Iterator[None]:
    """Give *module* a ``forward`` from tensors to tensors while it lasts."""
    original: Callable[..., Any] = module.forward
    own = vars(module).get("forward")

    def forward(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        following = iter(tensors)
        positional, keywords = replaced_tensors(arguments, lambda _: next(following))
        return tuple(tensors_in(original(*positional, **keywords)))

    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if own is not None:
            module.__dict__["forward"] = own


def _without_vmap(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with mapped dimensions in its shapes.

    Between the marks of ``torch.vmap`` the program shows one sample. The empty table keeps all
    other operators as they are.
    """
    marked = any(
        getattr(node.target, "__name__", "") == "_add_batch_dim" for node in program.graph.nodes
    )
    return program.run_decompositions({}) if marked else program


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


def batch_of(inputs: Sequence[object], axis: int = 0) -> int:
    """The first dimension of the inputs (or another), if all of two or more agree on it, or 1."""
    firsts = {
        x.shape[axis] for x in inputs if isinstance(x, torch.Tensor) and x.dim() > max(axis, 1)
    }
    return max(1, firsts.pop()) if len(firsts) == 1 else 1
