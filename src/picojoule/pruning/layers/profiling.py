"""A network on real data: densities of its activations, and what run-length coding saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from picojoule.pruning.checks import check_complete, check_task
from picojoule.pruning.datasets import Data, Samples
from picojoule.pruning.graph.tracing import trace
from picojoule.pruning.layers.capture import Densities, find_layers, watch_values
from picojoule.pruning.layers.real_weights import with_real_weights
from picojoule.workload import Workload

RUN_BITS, VALUE_BITS, PAIRS_PER_WORD, WORD_BITS = 5, 16, 3, 64
"""The chip's run-length code (JSSC'17 §III): three pairs of a run and a value in 64 bits."""


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """One layer on real data.

    Args:
        densities: shares of non-zero values of input and stored output.
        input_ratio, output_ratio: how many times smaller run-length coding makes them.
    """

    name: str
    densities: Densities
    input_ratio: float
    output_ratio: float


@dataclass(frozen=True, eq=False)
class Profile:
    """A network on real data; ``workload`` is the network with the densities found."""

    samples: int
    layers: tuple[LayerProfile, ...]
    workload: Workload

    def rows(self) -> list[dict[str, object]]:
        """One flat record per layer."""
        return [
            {
                "layer": x.name,
                "input_density": x.densities.input,
                "output_density": x.densities.output,
                "input_run_length_ratio": x.input_ratio,
                "output_run_length_ratio": x.output_ratio,
            }
            for x in self.layers
        ]


def profile(
    model: nn.Module,
    data: Samples | Data,
    *,
    samples: int = 1000,
    seed: int = 0,
    batch: int = 128,
    progress: Callable[[int, int, str], None] | None = None,
    allow_incomplete: bool = False,
) -> Profile:
    """Run samples through a network and record its activations.

    An output is recorded as it is stored, behind its batch norm and ReLU where it has them. The
    workload that is found is what ``estimate`` prices, and what :func:`~energy_aware.pruning.prune`
    with the same data, samples and seed has priced.

    Args:
        data: samples, all of which are run; or a task's data, of whose training samples the first
            *samples* are run, or, where these miss classes, as many drawn by *seed*.
        allow_incomplete: go on where operators that multiply, or may, are in no layer.
    """
    drawn = data.train.representative(samples, seed) if isinstance(data, Data) else data
    check_task(model, Data(drawn, drawn), judged=False)
    model = with_real_weights(model, (drawn.inputs[:2],)).model
    traced = trace(model, (drawn.inputs[:1],))
    check_complete(traced.workload, allow_incomplete=allow_incomplete)
    layers = find_layers(traced)
    totals: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
    done = 0

    def add(call: str, kind: str, values: torch.Tensor) -> None:
        flat = values.detach().reshape(len(values), -1).numpy() != 0
        counts = np.array(
            [flat.sum(), flat.size, sum(run_length_bits(row) for row in flat)], np.float64
        )
        totals[call, kind] = totals.get((call, kind), np.zeros(3)) + counts

    for inputs, _ in drawn.batches(batch):
        if progress is not None:
            progress(done, len(drawn), "")
        for call, (read, stored) in watch_values(model, layers, inputs).items():
            add(call, "input", read)
            add(call, "output", stored)
        done += len(inputs)
    profiles = []
    for layer in layers:
        for call in layer.calls:
            (read, given_all, given_bits), (stored, stored_all, stored_bits) = (
                totals[call, kind] for kind in ("input", "output")
            )
            profiles.append(
                LayerProfile(
                    call,
                    Densities(read / given_all, stored / stored_all),
                    VALUE_BITS * given_all / given_bits,
                    VALUE_BITS * stored_all / stored_bits,
                )
            )
    return Profile(len(drawn), tuple(profiles), _with_densities(traced.workload, profiles))


def _with_densities(workload: Workload, profiles: list[LayerProfile]) -> Workload:
    measured = {x.name: x.densities for x in profiles}
    layers = tuple(
        replace(
            layer,
            density=layer.density._replace(
                input=measured[layer.name].input, output=measured[layer.name].output
            ),
        )
        if layer.name in measured
        else layer
        for layer in workload
    )
    return replace(workload, layers=layers)


def run_length_bits(nonzero: npt.NDArray[np.bool_]) -> int:
    """Bits of the chip's run-length code for a row of values, of which *nonzero* are not zero.

    A pair is a run of at most 31 zeros and the value behind it. A longer run takes pairs of 31
    zeros and a zero value; zeros at the end take a pair even without a value.

    >>> run_length_bits(np.array([0, 0, 1, 1, 0, 1], bool))   # three pairs: one word
    64
    >>> run_length_bits(np.zeros(32, bool)), run_length_bits(np.zeros(97, bool))
    (64, 128)
    """
    places = np.flatnonzero(nonzero)
    longest = 1 << RUN_BITS
    runs = np.diff(places, prepend=-1) - 1
    rest = len(nonzero) - 1 - (int(places[-1]) if len(places) else -1)
    pairs = len(places) + int((runs // longest).sum()) + -(-rest // longest)
    return -(-pairs // PAIRS_PER_WORD) * WORD_BITS
