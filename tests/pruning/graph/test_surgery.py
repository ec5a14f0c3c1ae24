"""What :mod:`picojoule.pruning.graph.surgery` cuts, traced again without an export."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from picojoule.pruning.graph.surgery import cut  # noqa: E402
from tests.pruning import patterns  # noqa: E402


def test_densities_are_those_of_the_weights_that_are_left() -> None:
    traced = patterns.traced(patterns.Plain)
    keep = traced.channels.all_kept()
    keep[list(traced.channels["conv1"].channels[:4])] = False
    dense = cut(traced, keep)
    tensors = {name: x.clone() for name, x in dense.graph.state_dict().items()}
    tensors["conv2.weight"][:, 1:] = 0
    sparse = cut(traced, keep, tensors)
    assert dense.workload["conv2"].density.weight == 1
    assert sparse.workload["conv2"].density.weight == 0.25
    assert sparse.workload["conv2"].bounds == dense.workload["conv2"].bounds
    assert traced.workload["conv2"].bounds.C == 8  # the network that was cut is untouched
