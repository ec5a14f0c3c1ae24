"""What one inference costs: the records of it, saved and read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from picojoule.accelerator import Accelerator, Provenance, stands_for
from picojoule.completeness import (
    NOTHING,
    MaybeIncomplete,
    completeness,
    operator_records,
    read_completeness,
    read_operators,
)
from picojoule.display import Displayed, Plotted
from picojoule.errors import InputError, Mistake, PicojouleError, WorkloadError
from picojoule.files import write_atomically
from picojoule.graph import Graph
from picojoule.mapping import parse_mapping
from picojoule.network_records import graph_of, graph_record, layer_of, layer_record
from picojoule.plan.others import Others, others_of
from picojoule.plan.records import Plan, plan_of
from picojoule.specs import dump_accelerator, parse_accelerator
from picojoule.units import show_count, show_energy, whole
from picojoule.version import SCHEMA_VERSION, __version__
from picojoule.workload import Layer, Workload

if TYPE_CHECKING:
    from picojoule.mapping import Mapping as LoopNest
    from picojoule.plan.bounds import NetworkBounds


_SAYS_NOTHING = 10.0  # times its lower bound, and more


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecord:
    """How a mapping was found: "optimal" or "feasible" by search, "given" by the user."""

    status: str
    lower_bound: float
    explored: int
    pruned: int
    seconds: float
    space: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEstimate(Displayed):
    """One layer's price per inference, in the accelerator's unit, and the mapping behind it.

    ``accesses`` are charged words per inference: memory -> operand -> (read, write).
    ``bytes_moved`` are those that enter or leave a memory or an array's network, whichever end is
    charged, as counters on the chip would see them. ``layer`` is what was priced, for the whole
    batch. The last two are not in files of before they were recorded. ``homes`` names the memory of
    each operand that lies on the chip before and after the layer runs: none goes further out.
    """

    name: str
    macs: float
    effectual_macs: float
    energy: float
    by_operand: Mapping[str, float]
    by_memory: Mapping[str, float]
    accesses: Mapping[str, Mapping[str, Mapping[str, float]]]
    cycles: float
    utilization: float
    limited_by: str
    mapping: LoopNest
    search: SearchRecord
    layer: Layer | None = None
    bytes_moved: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    homes: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"<LayerEstimate {self.name}: energy {show_count(self.energy)} in the machine's unit, "
            f"{show_count(self.cycles)} cycles, {self.search.status}>"
        )

    def value(self, objective: str) -> float:
        """What *objective* minimises, per inference: energy, cycles, or their product."""
        return {
            "energy": self.energy,
            "latency": self.cycles,
            "edp": self.energy * self.cycles,
        }[objective]

    def gap(self, objective: str) -> float:
        """How far the value may be above the optimum, relative to the lower bound."""
        bound = self.search.lower_bound
        return max(0.0, self.value(objective) / bound - 1) if bound > 0 else math.inf

    def scaled(self, factor: float, objective: str) -> LayerEstimate:
        """The same with energies in another unit, of which the present one is *factor*."""
        record = self.search
        if objective != "latency":
            record = replace(record, lower_bound=factor * record.lower_bound)
        return replace(
            self,
            energy=factor * self.energy,
            by_operand={name: factor * value for name, value in self.by_operand.items()},
            by_memory={name: factor * value for name, value in self.by_memory.items()},
            search=record,
        )

    def certificate(self, objective: str) -> str:
        """In words, what is known about how good the mapping is."""
        record = self.search
        if record.status == "given":
            return "the mapping was given; nothing was searched"
        work = (
            f"{record.explored:,} choices looked at, {record.pruned:,} discarded with all they "
            f"contain, {record.seconds:.2f} s"
        )
        space = f"; space: {record.space}" if record.space else ""
        if record.status == "optimal":
            return f"optimal: no mapping of the space has less {objective} ({work}){space}"
        return (
            f"feasible, not proved: {_at_most(self.gap(objective))} above the least {objective} "
            f"(lower bound {record.lower_bound:.6g}; {work}){space}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in ``estimate --json``."""
        return {
            "name": self.name,
            "macs": whole(self.macs),
            "effectual_macs": whole(self.effectual_macs),
            "energy": self.energy,
            "by_operand": dict(self.by_operand),
            "by_memory": dict(self.by_memory),
            "accesses": {
                memory: {operand: dict(words) for operand, words in operands.items()}
                for memory, operands in self.accesses.items()
            },
            "bytes_moved": {name: dict(moved) for name, moved in self.bytes_moved.items()},
            "cycles": whole(self.cycles),
            "utilization": self.utilization,
            "limited_by": self.limited_by,
            **({"homes": dict(self.homes)} if self.homes else {}),
            "mapping": self.mapping.to_dict(),
            "search": asdict(self.search),
            **({} if self.layer is None else layer_record(self.layer)),
        }


Part: TypeAlias = LayerEstimate | Others
"""What totals are of: a layer, or all operators without products together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joules:
    """One inference in joules, and what that rests on.

    Args:
        energy: of one inference.
        per_unit: of one unit of the estimate's energies.
        mac: of one MAC of *bits* by *bits*.
        origin: where the number comes from.
    """

    energy: float
    per_unit: float
    mac: float
    bits: int
    origin: Provenance

    def __str__(self) -> str:
        """What one MAC is taken to cost, and how sure that is.

        >>> origin = Provenance("$.unit_energy", "2 pJ", "ours", "assumed")
        >>> print(Joules(energy=1.0, per_unit=2e-12, mac=2e-12, bits=16, origin=origin))
        2 pJ for a MAC of 16 bit, assumed
        """
        return f"{show_energy(1e12 * self.mac, 'pJ')} for a MAC of {self.bits} bit, {self.status}"

    @property
    def sure(self) -> bool:
        """Whether somebody printed that number, or it follows from printed ones."""
        return self.status in ("published", "derived")

    @property
    def status(self) -> str:
        """How sure that is: "published", "derived", "assumed" or "unstated"."""
        return self.origin.status

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as ``estimate --json`` has it."""
        return {
            "energy": self.energy,
            "per_unit": self.per_unit,
            "mac": self.mac,
            "status": self.status,
            "source": self.origin.source,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate(MaybeIncomplete, Plotted):
    """A network's price on an accelerator. Energies, MACs and cycles are per inference.

    ``machine`` is the accelerator itself, so that a saved estimate can be priced anew wherever it
    is read; None in files of before it was recorded. ``policy`` is "best" where mappings are, and
    the numbers a bound for the machine, or "published" where mappings keep to published ``rules``,
    as those of a chip do; then ``machine`` is as they use it. ``unmodelled`` are operators that
    multiply, or may, and are not in the figures; ``remarks`` say what the network's reader assumed.
    ``graph`` says what lies between the layers, and ``others`` what operators without products move
    there, in the totals only if they are ``counted``; both None where nobody says.
    ``plan`` says which tensors stay on the chip, where that was asked for.
    """

    network: str
    accelerator: str
    batch: int
    energy_unit: str
    dataflow: str
    objective: str
    layers: tuple[LayerEstimate, ...]
    not_counted: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    machine: Accelerator | None = None
    unmodelled: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    remarks: tuple[str, ...] = ()
    policy: str = "best"
    rules: tuple[Provenance, ...] = ()
    graph: Graph | None = field(default=None, repr=False)
    others: Others | None = field(default=None, repr=False)
    plan: Plan | None = None

    def __repr__(self) -> str:
        shown = self.in_picojoules()
        return (
            f"<Estimate {self.network} on {self.accelerator}: "
            f"{show_energy(shown.energy, shown.energy_unit)} per inference, "
            f"{len(self.layers)} layers>"
        )

    @property
    def counted(self) -> tuple[Part, ...]:
        """What the totals are of: the layers, and the other operators if they are counted."""
        others = self.others
        return (*self.layers, others) if others is not None and others.counted else self.layers

    @property
    def energy(self) -> float:
        """Energy of one inference."""
        return math.fsum(each.energy for each in self.counted)

    @property
    def macs(self) -> float:
        return math.fsum(layer.macs for layer in self.layers)

    @property
    def effectual_macs(self) -> float:
        return math.fsum(layer.effectual_macs for layer in self.layers)

    @property
    def cycles(self) -> float:
        """Cycles of one inference, layer after layer."""
        return math.fsum(each.cycles for each in self.counted)

    @property
    def by_operand(self) -> dict[str, float]:
        """Energy by operand, and compute; sums to ``energy``."""
        return _added([each.by_operand for each in self.counted])

    @property
    def by_memory(self) -> dict[str, float]:
        """Energy by place; sums to ``energy``."""
        return _added([each.by_memory for each in self.counted])

    @property
    def joules(self) -> Joules | None:
        """The energy in joules; None where the machine does not say what a MAC costs."""
        chip = self.machine
        if chip is None or chip.mac_picojoules is None or chip.unit_picojoules is None:
            return None
        # Of an estimate that is in picojoules already, whatever the machine's file is in.
        unit = 1.0 if self.energy_unit == "pJ" else chip.unit_picojoules
        return Joules(
            energy=1e-12 * unit * self.energy,
            per_unit=1e-12 * unit,
            mac=1e-12 * chip.mac_picojoules,
            bits=chip.word_bits,
            origin=chip.joules_rest_on,
        )

    def in_picojoules(self) -> Estimate:
        """The same in picojoules where the machine says what a MAC costs, else as it is."""
        joules = self.joules
        if self.energy_unit == "pJ" or joules is None:
            return self
        factor = 1e12 * joules.per_unit
        return replace(
            self,
            layers=tuple(layer.scaled(factor, self.objective) for layer in self.layers),
            others=self.others and self.others.scaled(factor),
            plan=self.plan and self.plan.scaled(factor),
            energy_unit="pJ",
        )

    @property
    def times_arithmetic(self) -> float | None:
        """The energy over that of the MACs alone; None where those cost nothing."""
        arithmetic = self.by_operand.get("compute", 0.0)
        return self.energy / arithmetic if arithmetic else None

    @property
    def meaning(self) -> str:
        """What the numbers are, and what is proved of them, in one line."""
        unit = "in joules"
        if self.energy_unit == "MAC":
            unit = "in multiples of E_MAC, the energy of one MAC"
        return (
            f"energies, MACs and cycles are for one inference (batch {self.batch}), "
            f"energies {unit}; dataflow {self.dataflow}; {self._proof}; {self.stands_for}"
        )

    @property
    def stands_for(self) -> str:
        """Whether the numbers bound what the machine can do, or are what a chip does."""
        given = all(layer.search.status == "given" for layer in self.layers)
        if given and self.policy == "best":
            return "what the machine does with these mappings"
        return stands_for(self.policy, self.rules)

    @property
    def _proof(self) -> str:
        statuses = [layer.search.status for layer in self.layers]
        if statuses.count("optimal") == len(statuses):
            return f"every mapping proved optimal ({self.objective})"
        counts = [(s, statuses.count(s)) for s in ("optimal", "feasible", "given")]
        proof = "mappings: " + ", ".join(f"{n} {s}" for s, n in counts if n)
        gaps = [x.gap(self.objective) for x in self.layers if x.search.status == "feasible"]
        if gaps:
            proof += f" ({_at_most(max(gaps))} above the optimum of the {self.objective})"
        return proof

    @property
    def by_content(self) -> dict[str, float]:
        """Energy by what is moved: weights, cache, activations; and compute, as in ``by_operand``.

        ``cache`` is the second operand of attention, the keys and values of a decoding
        transformer. It sums to ``energy``.

        Raises:
            PicojouleError: the file is of before layers were recorded.
        """
        tables: list[Mapping[str, float]] = []
        for layer, shape in zip(self.layers, self.workload(), strict=True):
            second = "cache" if shape.weight_is_activation else "weights"
            names = {"input": "activations", "weight": second, "output": "activations"}
            for operand, energy in layer.by_operand.items():
                tables.append({names.get(operand, operand): energy})
        tables += [each.by_operand for each in self.counted[len(self.layers) :]]
        return _added(tables)

    @property
    def between(self) -> NetworkBounds | None:
        """What each tensor saves at most if it stays on the chip; None where nobody says.

        Nor where a ``plan`` keeps tensors there. Worked out anew, from graph, layers and machine.
        """
        layers = {x.name: x.layer for x in self.layers if x.layer is not None}
        if (
            self.graph is None
            or self.machine is None
            or len(layers) < len(self.layers)
            or self.plan
        ):
            return None
        from picojoule.plan.bounds import bound_graph  # most estimates are not asked for it

        bounds = bound_graph(
            self.graph,
            layers,
            self.machine,
            network=self.network,
            batch=self.batch,
            others=self.others is not None and self.others.counted,
        )
        return bounds.in_picojoules() if self.energy_unit == "pJ" else bounds

    def least_kept(self, between: NetworkBounds) -> float | None:
        """What no schedule is below that keeps tensors on the chip and computes nothing twice.

        The energy that is proved of every layer alone, less what staying saves at most; of layers
        whose mappings are of the space that was searched. None where energy was not minimised.
        """
        searched = all(layer.search.status != "given" for layer in self.layers)
        if self.objective != "energy" or not searched:
            return None
        alone = [layer.search.lower_bound for layer in self.layers]
        alone += [others.energy for others in self.counted[len(self.layers) :]]
        return max(0.0, math.fsum(alone) - between.energy)

    def __getitem__(self, name: str) -> LayerEstimate:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise PicojouleError(f"the estimate of {self.network!r} has no layer {name!r}")

    def workload(self) -> Workload:
        """The network that was priced, with its batch, widths and densities.

        Raises:
            PicojouleError: the file is of before layers were recorded.
        """
        layers = tuple(layer.layer for layer in self.layers if layer.layer is not None)
        if len(layers) < len(self.layers):
            raise PicojouleError(
                f"the estimate of {self.network!r} does not hold its layers; make it anew"
            )
        return Workload(
            self.network,
            layers,
            batch=self.batch,
            not_counted=self.not_counted,
            unmodelled=self.unmodelled,
            remarks=self.remarks,
            graph=self.graph,
        )

    def rows(self) -> list[dict[str, Any]]:
        """One flat record per layer, for tables and data frames; and of others if counted."""
        rows: list[dict[str, Any]] = [
            {
                "layer": part.name,
                "macs": whole(part.macs),
                "effectual_macs": whole(part.effectual_macs),
                "energy": part.energy,
                **{f"energy_{name}": value for name, value in part.by_operand.items()},
                **{f"energy_at_{name}": value for name, value in part.by_memory.items()},
                "cycles": whole(part.cycles),
            }
            for part in self.counted
        ]
        for row, layer in zip(rows, self.layers, strict=False):
            row["utilization"] = layer.utilization
            row["limited_by"] = layer.limited_by
            row["status"] = layer.search.status
        return rows

    def to_pandas(self) -> Any:
        """The rows as a pandas data frame (pandas must be installed)."""
        import pandas

        return pandas.DataFrame(self.rows())

    def to_polars(self) -> Any:
        """The rows as a polars data frame (polars must be installed)."""
        import polars

        return polars.DataFrame(self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the schema of ``picojoule estimate --json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "picojoule": __version__,
            "network": self.network,
            "accelerator": self.accelerator,
            "batch": self.batch,
            "dataflow": self.dataflow,
            "objective": self.objective,
            "mapping_policy": self.policy,
            "stands_for": self.stands_for,
            "mapping_rules": [x._asdict() for x in self.rules],
            "energy_unit": self.energy_unit,
            "node": None if self.machine is None else self.machine.node,
            **completeness(self.unmodelled, self.remarks),
            "joules": None if self.joules is None else self.joules.to_dict(),
            "total": {
                "energy": self.energy,
                "times_arithmetic": self.times_arithmetic,
                "macs": whole(self.macs),
                "effectual_macs": whole(self.effectual_macs),
                "cycles": whole(self.cycles),
                "by_operand": self.by_operand,
                "by_memory": self.by_memory,
            },
            "layers": [layer.to_dict() for layer in self.layers],
            "others": None if self.others is None else self.others.to_dict(),
            "between": self._between_record(),
            "not_counted": operator_records(self.not_counted),
            **({} if self.graph is None else {"graph": graph_record(self.graph)}),
            **({} if self.plan is None else {"plan": self.plan.to_dict()}),
            **({} if self.machine is None else {"machine": dump_accelerator(self.machine)}),
        }

    def _between_record(self) -> dict[str, Any] | None:
        bounds = self.between
        if bounds is None:
            return None
        return {**bounds.to_dict(), "lower_bound": self.least_kept(bounds)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimate as JSON; the file is replaced whole or not at all."""
        write_atomically(Path(path), json.dumps(self.to_dict(), indent=1) + "\n")


def load_estimate(path: str | os.PathLike[str]) -> Estimate:
    """Read what :meth:`Estimate.save` wrote.

    Raises:
        InputError: if the file is no estimate of this schema version.
    """
    source = os.fspath(path)
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(source, [Mistake("$", f"cannot be read as JSON: {error}")]) from None
    return parse_estimate(raw, source)


def parse_estimate(raw: object, source: str) -> Estimate:
    """Read what :meth:`Estimate.to_dict` made; *source* names it in errors.

    Raises:
        InputError: if it is no estimate of this schema version.
    """
    if not isinstance(raw, dict) or raw.get("schema_version") != SCHEMA_VERSION:
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        raise InputError(
            source,
            [Mistake("$.schema_version", f"{version!r}; this picojoule reads {SCHEMA_VERSION}")],
        )
    try:
        return Estimate(
            network=raw["network"],
            accelerator=raw["accelerator"],
            batch=raw["batch"],
            energy_unit=raw["energy_unit"],
            dataflow=raw["dataflow"],
            objective=raw["objective"],
            layers=tuple(
                _layer_from(item, f"{source}: $.layers[{n}]")
                for n, item in enumerate(raw["layers"])
            ),
            not_counted=read_operators(raw["not_counted"]),
            **read_completeness(raw),
            policy=raw.get("mapping_policy", "best"),
            rules=tuple(Provenance(**x) for x in raw.get("mapping_rules", ())),
            graph=graph_of(raw["graph"]) if "graph" in raw else None,
            others=others_of(raw["others"]) if raw.get("others") else None,
            plan=plan_of(raw["plan"]) if "plan" in raw else None,
            machine=parse_accelerator(raw["machine"], f"{source}: $.machine")
            if "machine" in raw
            else None,
        )
    except (KeyError, TypeError, AttributeError, WorkloadError) as error:
        raise InputError(source, [Mistake("$", f"not an estimate: {error!r}")]) from None


def _layer_from(raw: Mapping[str, Any], where: str) -> LayerEstimate:
    fields = {
        name: raw[name]
        for name in LayerEstimate.__dataclass_fields__
        if name not in ("mapping", "search", "layer", "bytes_moved", "homes")
    }
    return LayerEstimate(
        **fields,
        mapping=parse_mapping(raw["mapping"], where),
        search=SearchRecord(**raw["search"]),
        layer=layer_of(raw) if "shape" in raw else None,
        bytes_moved=raw.get("bytes_moved", {}),
        homes=raw.get("homes", {}),
    )


def _added(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: math.fsum(table.get(name, 0.0) for table in tables) for name in names}


def _at_most(gap: float) -> str:
    # A bound that far below was hardly looked for: the number would say nothing of the mapping.
    return f"at most {_two_digits(100 * gap)} %" if gap < _SAYS_NOTHING else "unknown how far"


def _two_digits(value: float) -> str:
    """A number in two digits, or as many as it has before the point.

    >>> _two_digits(152.3), _two_digits(0.0123), _two_digits(1.5)
    ('152', '0.012', '1.5')
    """
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"
