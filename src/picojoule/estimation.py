"""What one inference costs: the best mapping of every layer, priced and added up."""

from __future__ import annotations

import json
import math
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from picojoule.accelerator import Accelerator
from picojoule.archive import Cache, find
from picojoule.cost import Cost, evaluate
from picojoule.dataflow import Dataflow
from picojoule.dataflow import dataflow as named_dataflow
from picojoule.errors import InputError, Mistake, PicojouleError, WorkloadError, did_you_mean
from picojoule.frontends import load
from picojoule.mapping import parse_mapping
from picojoule.specs import dump_accelerator, load_accelerator, parse_accelerator
from picojoule.version import SCHEMA_VERSION, __version__
from picojoule.workload import OPERANDS, Extents, Layer, Operand, PerOperand, Workload

if TYPE_CHECKING:
    from picojoule.found import Found
    from picojoule.mapping import Mapping as LoopNest


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """How a mapping was found: "optimal" or "feasible" by search, "given" by the user."""

    status: str
    lower_bound: float
    explored: int
    pruned: int
    seconds: float
    space: str = ""


@dataclass(frozen=True, slots=True)
class LayerEstimate:
    """One layer's price per inference, in the accelerator's unit, and the mapping behind it.

    ``accesses`` are charged words per inference: memory -> operand -> (read, write). ``layer`` is
    what was priced, for the whole batch; None in files of before it was recorded.
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

    def value(self, objective: str) -> float:
        """What *objective* minimises, per inference: energy, cycles, or their product."""
        return {
            "energy": self.energy,
            "latency": self.cycles,
            "edp": self.energy * self.cycles,
        }[objective]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in ``estimate --json``."""
        return {
            "name": self.name,
            "macs": _whole(self.macs),
            "effectual_macs": _whole(self.effectual_macs),
            "energy": self.energy,
            "by_operand": dict(self.by_operand),
            "by_memory": dict(self.by_memory),
            "accesses": {
                memory: {operand: dict(words) for operand, words in operands.items()}
                for memory, operands in self.accesses.items()
            },
            "cycles": _whole(self.cycles),
            "utilization": self.utilization,
            "limited_by": self.limited_by,
            "mapping": self.mapping.to_dict(),
            "search": {
                "status": self.search.status,
                "lower_bound": self.search.lower_bound,
                "explored": self.search.explored,
                "pruned": self.search.pruned,
                "seconds": self.search.seconds,
                "space": self.search.space,
            },
            **({} if self.layer is None else _shape(self.layer)),
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """A network's price on an accelerator. Energies, MACs and cycles are per inference.

    ``machine`` is the accelerator itself, so that a saved estimate can be priced anew wherever it
    is read; None in files of before it was recorded.
    """

    network: str
    accelerator: str
    batch: int
    energy_unit: str
    dataflow: str
    objective: str
    layers: tuple[LayerEstimate, ...]
    not_counted: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    machine: Accelerator | None = None

    @property
    def energy(self) -> float:
        """Energy of one inference."""
        return math.fsum(layer.energy for layer in self.layers)

    @property
    def macs(self) -> float:
        return math.fsum(layer.macs for layer in self.layers)

    @property
    def effectual_macs(self) -> float:
        return math.fsum(layer.effectual_macs for layer in self.layers)

    @property
    def cycles(self) -> float:
        """Cycles of one inference, layer after layer."""
        return math.fsum(layer.cycles for layer in self.layers)

    @property
    def by_operand(self) -> dict[str, float]:
        """Energy by operand, and compute; sums to ``energy``."""
        return _added([layer.by_operand for layer in self.layers])

    @property
    def by_memory(self) -> dict[str, float]:
        """Energy by place; sums to ``energy``."""
        return _added([layer.by_memory for layer in self.layers])

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
        return Workload(self.network, layers, self.batch, self.not_counted)

    def rows(self) -> list[dict[str, Any]]:
        """One flat record per layer, for tables and data frames."""
        return [
            {
                "layer": layer.name,
                "macs": _whole(layer.macs),
                "effectual_macs": _whole(layer.effectual_macs),
                "energy": layer.energy,
                **{f"energy_{name}": value for name, value in layer.by_operand.items()},
                **{f"energy_at_{name}": value for name, value in layer.by_memory.items()},
                "cycles": _whole(layer.cycles),
                "utilization": layer.utilization,
                "limited_by": layer.limited_by,
                "status": layer.search.status,
            }
            for layer in self.layers
        ]

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
            "energy_unit": self.energy_unit,
            "total": {
                "energy": self.energy,
                "macs": _whole(self.macs),
                "effectual_macs": _whole(self.effectual_macs),
                "cycles": _whole(self.cycles),
                "by_operand": self.by_operand,
                "by_memory": self.by_memory,
            },
            "layers": [layer.to_dict() for layer in self.layers],
            "not_counted": [
                {"op": op, "count": count} for op, count in sorted(self.not_counted.items())
            ],
            **({} if self.machine is None else {"machine": dump_accelerator(self.machine)}),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimate as JSON; the file is replaced whole or not at all."""
        write_atomically(Path(path), json.dumps(self.to_dict(), indent=1) + "\n")

    def _repr_html_(self) -> str:
        from picojoule.reports.html import estimate_fragment

        return estimate_fragment(self)


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
        found = raw.get("schema_version") if isinstance(raw, dict) else None
        raise InputError(
            source,
            [Mistake("$.schema_version", f"{found!r}; this picojoule reads {SCHEMA_VERSION}")],
        )
    try:
        return Estimate(
            raw["network"],
            raw["accelerator"],
            raw["batch"],
            raw["energy_unit"],
            raw["dataflow"],
            raw["objective"],
            tuple(
                _layer_from(item, f"{source}: $.layers[{n}]")
                for n, item in enumerate(raw["layers"])
            ),
            MappingProxyType({item["op"]: item["count"] for item in raw["not_counted"]}),
            parse_accelerator(raw["machine"], f"{source}: $.machine") if "machine" in raw else None,
        )
    except (KeyError, TypeError, AttributeError, WorkloadError) as error:
        raise InputError(source, [Mistake("$", f"not an estimate: {error!r}")]) from None


def _layer_from(raw: Mapping[str, Any], where: str) -> LayerEstimate:
    fields = {
        name: raw[name]
        for name in LayerEstimate.__dataclass_fields__
        if name not in ("mapping", "search", "layer")
    }
    return LayerEstimate(
        **fields,
        mapping=parse_mapping(raw["mapping"], where),
        search=SearchRecord(**raw["search"]),
        layer=_layer_of_shape(raw) if "shape" in raw else None,
    )


def _shape(layer: Layer) -> dict[str, Any]:
    """A layer as plain data, beside its price: for the whole batch."""
    return {
        "shape": {
            "bounds": layer.bounds._asdict(),
            "stride": list(layer.stride),
            "dilation": list(layer.dilation),
            "padding": list(layer.padding),
            "input_size": list(layer.input_size),
            "weight_is_activation": layer.weight_is_activation,
        },
        "bits": layer.bits._asdict(),
        "density": layer.density._asdict(),
    }


def _layer_of_shape(raw: Mapping[str, Any]) -> Layer:
    shape = raw["shape"]
    pairs = {name: tuple(shape[name]) for name in ("stride", "dilation", "padding", "input_size")}
    return Layer(
        raw["name"],
        Extents(**shape["bounds"]),
        **pairs,
        bits=PerOperand(**raw["bits"]),
        density=PerOperand(**raw["density"]),
        weight_is_activation=shape["weight_is_activation"],
    )


def estimate(
    source: object,
    accelerator: str | os.PathLike[str] | Accelerator,
    *,
    batch: int | None = None,
    dataflow: str | Dataflow | None = None,
    objective: str = "energy",
    factors: str = "all",
    bits: int | PerOperand[int] | Mapping[str, int] | None = None,
    density: Mapping[str, float] | None = None,
    budget: float | None = None,
    mappings: Mapping[str, LoopNest] | None = None,
    cache: Cache = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> Estimate:
    """Estimate the energy of one inference, each layer under its best mapping.

    Args:
        source: anything :func:`frontends.load` reads.
        accelerator: a YAML file, a shipped name, or an :class:`Accelerator`.
        batch: inferences at once; by default what the network says.
        dataflow: by default the accelerator's own.
        objective: "energy", "latency" or "edp".
        factors: "all" tile sizes, or "perfect": only those that divide the tile outside them.
        bits: width of all operands, or by operand name, instead of the network's.
        density: by operand name ("input", "weight", "output"), instead of the network's.
        budget: seconds of search per distinct layer; by default until proved optimal.
        mappings: by layer name; these layers are priced as given, not searched.
        cache: where searches are kept: True for the user's cache folder, False for nowhere, or a
            folder (see :mod:`archive`).
        progress: called with (layers done, layers in all, layer name).

    Raises:
        InputError: if the network or the accelerator cannot be read.
        NoMappingError: if a layer has no legal mapping.
    """
    machine = load_accelerator(accelerator)
    network = prepared(load(source), batch=batch, bits=bits, density=density)
    flow = (
        dataflow
        if isinstance(dataflow, Dataflow)
        else named_dataflow(dataflow or machine.default_dataflow)
    )
    given = mappings or {}
    for name in given:
        network[name]  # a name without a layer is an error, not without effect
    known: dict[tuple[object, ...], Found] = {}
    layers = []
    for done, whole in enumerate(network):
        if progress is not None:
            progress(done, len(network), whole.name)
        images = images_at_once(whole, machine, network.batch)
        layer = whole.with_batch_share(images, network.batch)
        if layer.name in given:
            cost = evaluate(layer, machine, given[layer.name])
            record = SearchRecord("given", 0.0, 0, 0, 0.0)
            layers.append(_priced(whole, cost, given[layer.name], record, images))
            continue
        key = layer.signature()
        if key not in known:
            known[key] = find(
                layer, machine, flow, objective, factors=factors, budget=budget, cache=cache
            )
        found = known[key]
        record = SearchRecord(
            found.status,
            # per inference; an energy-delay product is one of two per-inference figures
            found.lower_bound / (images**2 if objective == "edp" else images),
            found.explored,
            found.pruned,
            found.seconds,
            found.space,
        )
        layers.append(_priced(whole, found.cost, found.mapping, record, images))
    return Estimate(
        network.name,
        machine.name,
        network.batch,
        machine.energy_unit,
        flow.name,
        objective,
        tuple(layers),
        network.not_counted,
        machine,
    )


def images_at_once(layer: Layer, machine: Accelerator, batch: int) -> int:
    """How many of the batch's inferences share what is on the chip.

    The whole batch, unless the machine runs sets of images whose output maps are all resident in
    the level below the outermost: then the largest divisor of the batch that fits, at least one.
    """
    if not machine.resident_images:
        return batch
    memory = machine.levels[1].holder(Operand.OUTPUT)
    if memory is None or memory.capacity is None:
        return batch
    per_image = layer.size(Operand.OUTPUT) / batch * machine.psum_bits(layer.bits.output)
    room = int(memory.capacity // per_image)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n <= max(1, room))


def prepared(
    network: Workload,
    *,
    batch: int | None = None,
    bits: int | PerOperand[int] | Mapping[str, int] | None = None,
    density: Mapping[str, float] | None = None,
) -> Workload:
    """The network with the caller's batch, widths and densities in place of its own."""
    if batch is not None:
        network = network.with_batch(batch)
    if isinstance(bits, int):
        network = network.with_layers(bits=PerOperand(bits, bits, bits))
    elif isinstance(bits, PerOperand):
        network = network.with_layers(bits=bits)
    elif bits:
        _check_operands("bits", bits)
        network = _with_each(network, lambda layer: {"bits": layer.bits._replace(**bits)})
    if density:
        _check_operands("density", density)
        network = _with_each(network, lambda layer: {"density": layer.density._replace(**density)})
    return network


def _check_operands(what: str, given: Mapping[str, Any]) -> None:
    known = [operand.value for operand in OPERANDS]
    for name in given:
        if name not in known:
            near = did_you_mean(name, known)
            raise PicojouleError(f"{what} of {name!r}{near}; the operands are {', '.join(known)}")


def _with_each(network: Workload, changes: Callable[[Layer], dict[str, Any]]) -> Workload:
    return replace(network, layers=tuple(replace(x, **changes(x)) for x in network))


def _priced(
    layer: Layer, cost: Cost, mapping: LoopNest, record: SearchRecord, images: int
) -> LayerEstimate:
    """The price per inference of *layer*, of which *cost* is that of *images* inferences."""
    by_operand = {name: value / images for name, value in cost.by_operand.items()}
    by_memory = {name: value / images for name, value in cost.by_memory.items()}
    return LayerEstimate(
        layer.name,
        cost.macs / images,
        cost.effectual_macs / images,
        math.fsum(by_memory.values()),
        by_operand,
        by_memory,
        {name: dict(_words(operands, images)) for name, operands in cost.accesses.items()},
        cost.cycles / images,
        cost.utilization,
        cost.limited_by,
        mapping,
        record,
        layer,
    )


def _words(operands: Mapping[Operand, Any], images: int) -> Iterator[tuple[str, dict[str, float]]]:
    for operand, access in operands.items():
        yield (
            operand.value,
            {"read": _whole(access.read / images), "write": _whole(access.write / images)},
        )


def _added(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: math.fsum(table.get(name, 0.0) for table in tables) for name in names}


def _whole(value: float) -> float:
    """A count as an integer where it is one, so that JSON shows it as such."""
    return int(value) if float(value).is_integer() else value


def _mode(path: Path) -> int:
    """The permissions that writing *path* in place would leave it with."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def write_atomically(path: Path, text: str) -> None:
    """Write *text* to *path* so that readers see the old file or the whole new one.

    Raises:
        InputError: if the place cannot be written; nothing is left behind.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_mode(path))
        temporary.replace(path)
    except OSError as error:
        raise InputError(str(path), [Mistake("file", f"cannot be written: {error}")]) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
