"""PyTorch modules as workloads, by way of ``torch.export``: nothing is run, shapes are exact.

Layers are the operators of the exported ATen graph that multiply
(:mod:`picojoule.frontends.torch_layers`), named by the submodule or the parameter they come from,
those of branches and loops included. What every other operator is stands in
:mod:`picojoule.frontends.aten_operators`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from picojoule.errors import InputError, Mistake
from picojoule.frontends.torch_batch import Batch, batch_in
from picojoule.frontends.torch_declared import as_declared
from picojoule.frontends.torch_export import export_program, first_names, split_arguments
from picojoule.frontends.torch_program import ReadProgram, read_nodes
from picojoule.workload import Workload

__all__ = ["ReadProgram", "read_nodes", "read_torch", "split_arguments"]


def read_torch(
    module: nn.Module,
    inputs: Sequence[object],
    keywords: Mapping[str, object] | None = None,
    *,
    name: str | None = None,
    dims: Mapping[str, int] | None = None,
    values: bool = True,
) -> Workload:
    """The workload of a PyTorch module, in evaluation mode, for example inputs.

    The module is left as it was. The batch is the first dimension of the inputs (or the second),
    if all of two or more dimensions agree on it and the network does for each index of it what it
    does for one alone; a remark says what one inference is.

    Args:
        inputs, keywords: arguments of ``module.forward``; only their shapes and types matter.
        name: of the network; by default the module's class.
        dims: sizes that depend on data and runs of loops, by the names that remarks give.
        values: look at the values of weights; without them all are dense.

    Raises:
        InputError: the module cannot be exported, a layer cannot exist, or nothing multiplies.
    """
    source = f"torch:{type(module).__qualname__}"
    names = first_names(module)
    arguments = (tuple(inputs), dict(keywords or {}))

    def export(example: Any) -> torch.export.ExportedProgram:
        return export_program(module, *example, source=source)

    def read(program: torch.export.ExportedProgram, **options: Any) -> ReadProgram:
        return read_nodes(
            program, name=name or "", source=source, names=names, dims=dims, **options
        )

    program = export(arguments)
    whole = read(program, values=False)
    batch = batch_in(arguments, whole, lambda example: read(export(example), values=False))
    workload = read(program, values=values, batch=batch.size).workload
    if not workload.layers and workload.complete:
        raise InputError(source, [Mistake("forward", "nothing in it multiplies: nothing to price")])
    if workload.batch != batch.size:
        batch = Batch(
            1, f"what is done for {batch.size} at once does not divide into as many parts"
        )
    remarks = (batch.remark, *workload.remarks) if batch.remark else workload.remarks
    workload = as_declared(module, workload)
    return replace(workload, name=name or type(module).__name__, remarks=remarks)
