"""Platforms: what a layer costs where the network will run. Their cost drives the adaptation.

=====================  =============================================================
``energy:CHIP``        energy of an accelerator file or shipped chip, by ``estimate``
``energy:CHIP@22nm``   the same chip made at another node
``latency:CHIP``       its cycles
``cpu``, ``cpu:wall``  latency measured on this computer with onnxruntime
``cpu:cpu``            the same in processor time, for a computer that is busy
``gpu:latency``        measured with CUDA events
``gpu:energy``         measured with NVML
``macs``, ``weights``  counted
``table:FILE``         a table file (:mod:`picojoule.pruning.platforms.tables`)
=====================  =============================================================

In Python any function ``Layer -> cost`` is a platform too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from picojoule.errors import PicojouleError, did_you_mean
from picojoule.pruning.platforms.stopwatches import GpuStopwatch, OnnxRuntime, Stopwatch
from picojoule.pruning.platforms.tables import Entry, Table, load_table
from picojoule.version import __version__
from picojoule.workload import Layer, Workload


@runtime_checkable
class Platform(Protocol):
    """Prices layers; a measuring one also measures whole networks."""

    name: str
    metric: str
    unit: str

    def cost(self, layer: Layer) -> float:
        """The price of one layer, for one inference."""

    def measure(self, network: Any, inputs: Sequence[Any]) -> Entry | None:
        """The price of a whole network, measured; None where nothing can be measured."""

    def provenance(self) -> dict[str, Any]:
        """Where the prices come from."""


class Counted:
    """A platform whose price is a function of the layer."""

    def __init__(self, name: str, unit: str, price: Callable[[Layer], float]) -> None:
        self.name, self.metric, self.unit = name, name, unit
        self._price = price

    def cost(self, layer: Layer) -> float:
        return float(self._price(layer))

    def measure(self, network: Any, inputs: Sequence[Any]) -> Entry | None:
        del network, inputs
        return None

    def provenance(self) -> dict[str, Any]:
        return {"tool": f"picojoule {__version__}", "metric": self.name}


class Tabled:
    """A platform whose prices stand in a table that grows as layers are asked for.

    Args:
        fill: prices a layer that the table does not hold; None: the table is all there is.
        path: where the table is kept between runs.
    """

    def __init__(
        self,
        name: str,
        table: Table,
        fill: Callable[[Layer], Entry] | None = None,
        *,
        stopwatch: Stopwatch | None = None,
        path: Path | None = None,
    ) -> None:
        self.name, self.metric, self.unit = name, table.metric, table.unit
        self.table = table
        self._fill, self._stopwatch, self._path = fill, stopwatch, path

    @property
    def grows(self) -> bool:
        """Whether it prices what the table does not hold."""
        return self._fill is not None

    def cost(self, layer: Layer) -> float:
        if self._fill is None:
            return self.table.cost(layer)
        entry = self.table.get(layer)
        if entry is None:
            entry = self._fill(layer)
            self.table.add(layer, entry)
        return entry.value

    def measure(self, network: Any, inputs: Sequence[Any]) -> Entry | None:
        return None if self._stopwatch is None else self._stopwatch.network(network, inputs)

    def provenance(self) -> dict[str, Any]:
        return dict(self.table.provenance)

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Take over the entries that an earlier process of the same run has kept."""
        if self._fill is not None:
            self.table.merge(load_table(path))

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Keep the table in a file."""
        place = path or self._path
        if place is not None and len(self.table):
            self.table.save(place)


def measured(stopwatch: Stopwatch, *, path: str | os.PathLike[str] | None = None) -> Tabled:
    """A platform that measures layers as they are asked for.

    Args:
        path: a table file to go on with, and to keep the measurements in.

    Raises:
        PicojouleError: the table was measured elsewhere or otherwise.
    """
    place = None if path is None else Path(path)
    provenance = stopwatch.provenance()
    table = Table(stopwatch.metric, stopwatch.unit, provenance)
    if place is not None and place.exists():
        table = load_table(place)
        for key in ("device", "tool", "threads", "clock"):
            if table.provenance.get(key) != provenance.get(key):
                raise PicojouleError(
                    f"{place}: measured with {key} {table.provenance.get(key)!r}, not "
                    f"{provenance.get(key)!r}; start a new table, or use it with table:{place}"
                )
    return Tabled(stopwatch.name, table, stopwatch.layer, stopwatch=stopwatch, path=place)


def accelerator(
    chip: Any,
    metric: str = "energy",
    *,
    node: str | None = None,
    dataflow: str | None = None,
    budget: float | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Tabled:
    """Energy or latency (cycles) of an accelerator, each layer under its best mapping.

    Args:
        chip: a YAML file, a shipped name, or an ``Accelerator``.
        node: made at this node of technology ("22nm"), as for :func:`specs.load_accelerator`.
        budget: seconds of search per distinct layer; by default until proved optimal.
        path: a table file to go on with.
    """
    from picojoule.estimation import estimate
    from picojoule.specs import load_accelerator

    if metric not in ("energy", "latency"):
        raise PicojouleError(f"no metric {metric!r} of a chip; there are energy, latency")
    machine = load_accelerator(chip, node=node)

    def price(layer: Layer) -> Entry:
        one = Workload("layer", (layer,))
        costs = estimate(one, machine, dataflow=dataflow, objective=metric, budget=budget)
        return Entry(costs.energy if metric == "energy" else costs.cycles)

    unit = machine.energy_unit if metric == "energy" else "cycle"
    provenance = {
        "device": machine.name,
        "tool": f"picojoule {__version__}",
        "metric": metric,
        "dataflow": dataflow or machine.default_dataflow,
    }
    table = Table(metric, unit, provenance)
    place = None if path is None else Path(path)
    if place is not None and place.exists():
        table = load_table(place)
        if {k: table.provenance.get(k) for k in provenance} != provenance:
            raise PicojouleError(f"{place}: a table of {table.provenance}, not of {provenance}")
    return Tabled(f"{metric} on {machine.name}", table, price, path=place)


PLATFORMS = ("energy:", "latency:", "cpu", "cpu:wall", "cpu:cpu", "gpu:latency", "gpu:energy",
             "macs", "weights", "table:")  # fmt: skip


def platform(
    what: str | Platform | Callable[[Layer], float],
    *,
    table: str | os.PathLike[str] | None = None,
) -> Platform:
    """The platform of a name, a function ``Layer -> cost``, or itself.

    Args:
        table: a file in which measured or searched prices are kept between runs.

    Raises:
        PicojouleError: there is no such platform.
    """
    if not isinstance(what, str):
        if isinstance(what, Platform):
            return what
        if callable(what):
            return Counted(getattr(what, "__name__", "cost"), "", what)
        raise PicojouleError(f"a {type(what).__name__} is not a platform")
    kind, _, rest = what.partition(":")
    if what == "macs":
        return Counted("macs", "MAC", lambda layer: layer.macs)
    if what == "weights":
        return Counted("weights", "weight", lambda layer: layer.weights)
    if kind == "cpu" and rest in ("", "wall", "cpu"):
        return measured(OnnxRuntime(clock=rest or "wall"), path=table)
    if kind == "gpu" and rest in ("", "latency", "energy"):
        return measured(GpuStopwatch(rest or "latency"), path=table)
    if kind in ("energy", "latency") and rest:
        chip, _, node = rest.rpartition("@")
        return accelerator(chip or node, kind, node=node if chip else None, path=table)
    if kind == "table" and rest:
        prices = load_table(rest)
        return Tabled(f"table {rest}", prices)
    near = did_you_mean(what, PLATFORMS)
    raise PicojouleError(
        f"no platform {what!r}{near}; there are energy:CHIP, latency:CHIP, cpu, cpu:cpu, "
        "gpu:latency, gpu:energy, macs, weights, table:FILE"
    )
