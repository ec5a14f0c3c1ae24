"""The energy of a network under compression: its workload with the densities it has now.

Pruning sees energy only here, and here it comes from :func:`picojoule.estimate`, or from a user's
own function ``Layer -> cost`` (a measured table).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from picojoule.accelerator import Accelerator
from picojoule.errors import PicojouleError
from picojoule.estimation import estimate
from picojoule.pruning.graph.tracing import TracedNetwork
from picojoule.pruning.graph.widths import resized
from picojoule.pruning.layers.capture import Densities, PrunableLayer
from picojoule.specs import load_accelerator
from picojoule.units import energy_budget
from picojoule.workload import Layer, Workload

Cost = Callable[[Layer], float]
Sides = tuple[int, int]
"""Input and output channels of a layer, over all its groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one inference costs.

    Args:
        energy: of the whole network, in *unit*.
        layers: energy by layer of the workload.
        operands: energy by layer and operand; empty where a user's function gave the price.
    """

    energy: float
    unit: str
    layers: Mapping[str, float]
    operands: Mapping[str, Mapping[str, float]]
    macs: float
    effectual_macs: float

    @property
    def by_operand(self) -> dict[str, float]:
        """Energy by operand and compute, over all layers."""
        names = dict.fromkeys(name for table in self.operands.values() for name in table)
        return {
            name: math.fsum(table.get(name, 0.0) for table in self.operands.values())
            for name in names
        }

    def to_dict(self) -> dict[str, object]:
        """Plain data, for reports and histories."""
        return {
            "energy": self.energy,
            "unit": self.unit,
            "macs": self.macs,
            "effectual_macs": self.effectual_macs,
            "by_operand": self.by_operand,
            "layers": {
                name: {"energy": value, "by_operand": dict(self.operands.get(name, {}))}
                for name, value in self.layers.items()
            },
        }


class Pricing:
    """Prices a network's layers for given densities and weight widths.

    Args:
        traced: the network, traced with one example.
        layers: those that are pruned; the others keep what the network has.
        accelerator: a YAML file, a shipped name, or an :class:`Accelerator`.
        batch: inferences at once.
        dataflow: by default the accelerator's own. Every price is of the best mapping for the
            densities at hand: mappings are searched anew, never reused.
        cost: a user's own price of a layer, instead of the accelerator's.
    """

    def __init__(
        self,
        traced: TracedNetwork,
        layers: Sequence[PrunableLayer],
        accelerator: str | os.PathLike[str] | Accelerator | None,
        *,
        batch: int = 1,
        dataflow: str | None = None,
        cost: Cost | None = None,
    ) -> None:
        if (accelerator is None) == (cost is None):
            raise PicojouleError("give an accelerator or a cost function, one of the two")
        self.machine = None if accelerator is None else load_accelerator(accelerator)
        self.dataflow = dataflow
        self.batch = batch
        self._cost = cost
        self.workload: Workload = traced.workload.with_batch(batch)
        self._owner = {call: layer.name for layer in layers for call in layer.calls}
        self.unpruned = tuple(x.name for x in self.workload if x.name not in self._owner)
        self._known: dict[tuple[object, ...], tuple[float, Mapping[str, float], float]] = {}

    @property
    def unit(self) -> str:
        """The unit of all prices."""
        return "cost" if self.machine is None else self.machine.energy_unit

    def budget(self, asked: float | str, original: float) -> float:
        """An energy in the unit of all prices, from a share (0.3, "30%") or an amount ("40 µJ").

        Raises:
            UnitError: it is neither, or the accelerator's unit is not known in joules.
        """
        each = None if self.machine is None else self.machine.unit_picojoules
        return energy_budget(asked, self.unit, each).of(original)

    def layer(
        self,
        call: str,
        *,
        weight: float,
        densities: Densities | None,
        bits: int | None = None,
        sides: Sides | None = None,
    ) -> float:
        """The energy of one use of a layer, per inference.

        Args:
            weight, densities: of what is left of the layer.
            sides: its input and output channels that are left; None for all.
        """
        narrow = self._narrowed(self.workload[call], sides)
        return self._priced(_changed(narrow, weight, densities, bits))[0]

    def channels(self, call: str) -> Sides:
        """Input and output channels of a layer of the original network."""
        bounds = self.workload[call].bounds
        return bounds.G * bounds.C, bounds.G * bounds.M

    def macs(self, call: str, sides: Sides | None = None) -> float:
        """MACs of one use of a layer per inference, zeros included."""
        return self._narrowed(self.workload[call], sides).macs / self.batch

    def weights_left(self, call: str, sides: Sides | None) -> float:
        """The share of a layer's weights that belong to channels that are left."""
        whole = self.workload[call]
        return self._narrowed(whole, sides).macs / whole.macs

    def network(
        self,
        weights: Mapping[str, float],
        densities: Mapping[str, Densities],
        bits: Mapping[str, int] | None = None,
        sides: Mapping[str, Sides] | None = None,
    ) -> Workload:
        """The whole network as it is now: what :meth:`price` prices, and a result keeps.

        Args:
            weights: density of the weights, by layer.
            densities: of inputs and stored outputs, by call.
            bits: width of the weights, by layer, where it is not the network's.
            sides: input and output channels that are left, by layer; densities are then of what is
                left.
        """
        layers = []
        for layer in self.workload:
            owner = self._owner.get(layer.name)
            if owner is not None:
                width = (bits or {}).get(owner)
                layer = self._narrowed(layer, (sides or {}).get(owner))
                layer = _changed(layer, weights[owner], densities.get(layer.name), width)
            layers.append(layer)
        return replace(self.workload, layers=tuple(layers))

    def price(self, network: Workload) -> Price:
        """The price of a whole network: what ``estimate`` says of it, layer by layer."""
        energies, operands, effectual = {}, {}, 0.0
        for layer in network:
            energies[layer.name], operands[layer.name], done = self._priced(layer)
            effectual += done
        return Price(
            energy=math.fsum(energies.values()),
            unit=self.unit,
            layers=MappingProxyType(energies),
            operands=MappingProxyType(operands if self.machine is not None else {}),
            macs=math.fsum(layer.macs / self.batch for layer in network),
            effectual_macs=effectual,
        )

    @staticmethod
    def _narrowed(layer: Layer, sides: Sides | None) -> Layer:
        return layer if sides is None else resized(layer, *sides)

    def _priced(self, layer: Layer) -> tuple[float, Mapping[str, float], float]:
        key = layer.signature()
        if key not in self._known:
            if self._cost is not None:
                value = float(self._cost(layer))
                if not math.isfinite(value) or value < 0:
                    raise PicojouleError(f"the cost of layer {layer.name!r} is {value}")
                self._known[key] = (value, {}, layer.effectual_macs / self.batch)
            else:
                assert self.machine is not None
                estimated = estimate(
                    Workload("layer", (layer,), batch=self.batch),
                    self.machine,
                    dataflow=self.dataflow,
                    cache=False,  # hardly any density comes twice; the user's cache stays theirs
                ).layers[0]
                self._known[key] = (
                    estimated.energy,
                    dict(estimated.by_operand),
                    estimated.effectual_macs,
                )
        return self._known[key]


def _changed(layer: Layer, weight: float, densities: Densities | None, bits: int | None) -> Layer:
    density = layer.density._replace(weight=weight)
    if densities is not None:
        density = density._replace(input=densities.input, output=densities.output)
    widths = layer.bits if bits is None else layer.bits._replace(weight=bits)
    return replace(layer, density=density, bits=widths)
