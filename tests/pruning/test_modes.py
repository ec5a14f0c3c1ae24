"""Looking at a network leaves it as it was."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from picojoule.pruning.modes import evaluating  # noqa: E402


def test_modes_come_back_even_after_an_error() -> None:
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3))
    model[1].eval()
    fused = torch.backends.mha.get_fastpath_enabled()
    inside: list[bool] = []

    def look() -> None:
        with evaluating(model):
            inside.extend([model.training, model[0].training])
            inside.append(torch.backends.mha.get_fastpath_enabled())
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        look()
    assert inside == [False, False, False]
    assert [part.training for part in model.modules()] == [True, True, False]
    assert torch.backends.mha.get_fastpath_enabled() == fused
