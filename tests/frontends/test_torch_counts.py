"""MACs of recurrent PyTorch modules; those of all kinds are in test_counts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from picojoule.frontends import load

torch = pytest.importorskip("torch")
nn = torch.nn
LSTM, R = nn.LSTM, torch.randn
Module: Any = nn.Module

pytestmark = pytest.mark.filterwarnings("ignore")


def test_steps_grow_the_work_of_a_recurrence() -> None:
    short, long = (load((LSTM(4, 4), (R(steps, 1, 4),))).macs for steps in (10, 100))
    assert long == 10 * short


def test_the_state_of_a_recurrence_waits_for_the_step_before() -> None:
    network = load((LSTM(8, 6, proj_size=3), (R(9, 2, 8),)))
    steps = {layer.name: (layer.time_steps, layer.bounds.P, layer.bounds.N) for layer in network}
    assert steps == {
        "lstm.l0.input": (1, 9, 2),
        "lstm.l0.recurrent": (9, 1, 2),
        "lstm.l0.projection": (9, 1, 2),
    }


def test_a_cell_in_a_loop_is_a_layer_for_each_step() -> None:
    class Loop(Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(4, 5)

        def forward(self, x: Any) -> Any:
            state = x.new_zeros(1, 5), x.new_zeros(1, 5)
            for step in x:
                state = self.cell(step, state)
            return state[0]

    network = load((Loop(), (R(7, 1, 4),)))
    assert network.macs == 7 * 4 * 5 * 9
    assert network.batch == 1
    assert math.prod(network["cell.input"].bounds) == 4 * 4 * 5
