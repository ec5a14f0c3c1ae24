"""In what mode a network is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the modes there were afterwards.

    Attention runs as it does in training: in evaluation mode torch has one fused operator for it,
    in which the layers cannot be seen.
    """
    before = [(part, part.training) for part in model.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for part, training in before:
            part.training = training
