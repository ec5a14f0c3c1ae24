"""Eyexam: where the performance goes, in seven steps, each a tighter bound than the one before.

The analysis of Eyeriss v2 (JETCAS 2019, arXiv:1807.07928): from the parallelism of a layer to what
an accelerator makes of it. Each bound is the best that any legal mapping reaches under the limits
of its step and of those before, in MACs of the layer per cycle:

1. layer shape: every MAC at once;
2. dataflow: only the loops that it (and the array's wiring) may run across elements;
3. number of PEs: no more elements than there are, in one long array;
4. array dimensions: the arrays and axes that there are;
5. storage: tiles fit the memories (steps 1 to 5: :mod:`parallelism`);
6. bandwidth: the fewest cycles by the latency model of :mod:`cost` (:mod:`mapper`);
7. varying access patterns: that mapping played through in time (:mod:`simulation`).

An element does ``per_cycle`` MACs a cycle, and more of the layer's MACs where zeros are skipped; a
bound divided by this *rate* is a number of elements at work. ``lift`` says what would raise the
bound of a step, and to how much: each such statement is computed with the changed accelerator.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from picojoule.accelerator import Accelerator, Provenance, stands_for
from picojoule.completeness import NOTHING, MaybeIncomplete, completeness, operator_records
from picojoule.dataflow import Dataflow
from picojoule.display import Plotted, shown
from picojoule.errors import PicojouleError, did_you_mean
from picojoule.eyexam.seven_steps import NOT_GIVEN, TITLES, Examiner, LayerExamination, finite
from picojoule.files import write_atomically
from picojoule.mapper.cache import Cache
from picojoule.question import Progress, Question, ask
from picojoule.version import SCHEMA_VERSION, __version__
from picojoule.workload import PerOperand


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination(MaybeIncomplete, Plotted):
    """The seven steps of every layer of a network on an accelerator.

    ``unmodelled`` are operators that multiply, or may, and are in no layer; ``remarks`` say what
    the network's reader assumed.
    """

    network: str
    accelerator: str
    batch: int
    dataflow: str
    elements: int
    layers: tuple[LayerExamination, ...]
    notes: tuple[str, ...] = ()
    not_counted: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    unmodelled: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    remarks: tuple[str, ...] = ()
    policy: str = "best"
    rules: tuple[Provenance, ...] = ()

    def __repr__(self) -> str:
        bounds = [bound for bound in map(self.bound, range(1, 8)) if bound is not None]
        return (
            f"<Examination {self.network} on {self.accelerator}: {bounds[-1]:.4g} of "
            f"{self.peak:.4g} MAC/cycle, {len(self.layers)} layers>"
        )

    @property
    def macs(self) -> float:
        """MACs of one inference."""
        return math.fsum(layer.macs for layer in self.layers)

    @property
    def peak(self) -> float:
        """MAC/cycle of the network if every element worked all the time."""
        return self._together(lambda layer: layer.peak) or math.inf

    def bound(self, step: int) -> float | None:
        """The bound of a step for the whole network: its MACs over the layers' times."""
        return self._together(lambda layer: layer.bound(step))

    def _together(self, rate: Callable[[LayerExamination], float | None]) -> float | None:
        time = 0.0
        for layer in self.layers:
            mine = rate(layer)
            if mine is None:
                return None
            time += layer.macs / mine
        return self.macs / time if time else math.inf

    @property
    def stands_for(self) -> str:
        """Whether the bounds are the machine's, or those of its published mappings."""
        return stands_for(self.policy, self.rules)

    def __getitem__(self, name: str) -> LayerExamination:
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        raise PicojouleError(
            f"the examination of {self.network!r} has no layer {name!r}{did_you_mean(name, names)}"
        )

    def rows(self) -> list[dict[str, Any]]:
        """One flat record per layer and step, for tables and data frames."""
        return [
            {"layer": layer.name, "macs": layer.macs, "peak": layer.peak, **step.to_dict()}
            for layer in self.layers
            for step in layer.steps
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the schema of ``picojoule eyexam --json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "picojoule": __version__,
            "network": self.network,
            "accelerator": self.accelerator,
            "batch": self.batch,
            "dataflow": self.dataflow,
            "mapping_policy": self.policy,
            "stands_for": self.stands_for,
            "mapping_rules": [x._asdict() for x in self.rules],
            "unit": "MAC/cycle",
            "elements": self.elements,
            **completeness(self.unmodelled, self.remarks),
            "total": {
                "macs": self.macs,
                "peak": finite(self.peak),
                "steps": [
                    {"step": n, "title": TITLES[n - 1], "bound": finite(self.bound(n))}
                    for n in range(1, 8)
                ],
            },
            "layers": [layer.to_dict() for layer in self.layers],
            "notes": list(self.notes),
            "not_counted": operator_records(self.not_counted),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the examination as JSON; the file is replaced whole or not at all."""
        write_atomically(Path(path), json.dumps(self.to_dict(), indent=1) + "\n")


def examine(
    source: object,
    accelerator: str | os.PathLike[str] | Accelerator,
    *,
    node: str | None = None,
    batch: int | None = None,
    dataflow: str | Dataflow | None = None,
    bits: int | PerOperand[int] | None = None,
    density: Mapping[str, float] | None = None,
    budget: float | None = None,
    cache: Cache = True,
    policy: str = "best",
    progress: Progress | None = None,
) -> Examination:
    """Find the seven bounds of every layer.

    Args:
        source: anything :func:`frontends.load` reads.
        accelerator: a YAML file, a shipped name, or an :class:`Accelerator`.
        node, batch, dataflow, bits, density: as in :func:`estimation.estimate`.
        budget: seconds for the search of step 6 per distinct layer; if it runs out, the bound is
            that of the best mapping found, and ``search.status`` is "feasible".
        cache: where searches are kept, as in :func:`cache.find`.
        policy: as in :func:`estimation.estimate`: bounds of the machine, or of what its published
            mappings can do.
        progress: called with (layers done, layers in all, layer name); by default a notebook shows
            a bar.

    Raises:
        InputError: if the network or the accelerator cannot be read.
        NoMappingError: if a layer has no legal mapping.
    """
    question = ask(
        source,
        accelerator,
        node=node,
        batch=batch,
        bits=bits,
        density=density,
        dataflow=dataflow,
        objective="latency",
        budget=budget,
        cache=cache,
        policy=policy,
    )
    with shown(progress, None) as told:
        return find_bounds(question, progress=told["progress"])


def find_bounds(question: Question, *, progress: Progress | None = None) -> Examination:
    """Answer *question*, whose objective is "latency": the seven bounds of every layer.

    Raises:
        NoMappingError: if a layer has no legal mapping.
    """
    network, accelerator = question.network, question.accelerator
    examined: dict[tuple[object, ...], LayerExamination] = {}
    layers = []
    for done, share in enumerate(question.shares()):
        if progress is not None:
            progress(done, len(network), share.layer.name)
        key = (*share.part.signature(), share.images)
        if key not in examined:
            examiner = Examiner(share.part, accelerator, question.dataflow, share.images)
            examined[key] = examiner.examine(question.budget, question.cache)
        layers.append(replace(examined[key], name=share.layer.name))
    notes = [] if accelerator.bandwidths_known else [f"steps 6 and 7: {NOT_GIVEN}"]
    return Examination(
        network=network.name,
        accelerator=accelerator.name,
        batch=network.batch,
        dataflow=question.dataflow.name,
        elements=accelerator.elements,
        layers=tuple(layers),
        notes=tuple(notes),
        not_counted=network.not_counted,
        unmodelled=network.unmodelled,
        remarks=network.remarks,
        policy=question.policy,
        rules=question.rules,
    )
