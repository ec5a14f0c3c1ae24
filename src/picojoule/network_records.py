"""Networks as plain data: what JSON files hold of a layer, and the layer it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from picojoule.completeness import completeness, operator_records, read_completeness, read_operators
from picojoule.errors import InputError, Mistake, WorkloadError
from picojoule.workload import NO_SCALES, Extents, Layer, PerOperand, Workload


def layer_record(layer: Layer) -> dict[str, Any]:
    """A layer's shape, widths and densities, for the whole batch; not its name."""
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
        **({"scale_bits": layer.scale_bits._asdict()} if any(layer.scale_bits) else {}),
        **({"time_steps": layer.time_steps} if layer.time_steps > 1 else {}),
    }


def layer_of(record: Mapping[str, Any]) -> Layer:
    """The layer of a record and its ``name``.

    Raises:
        KeyError, TypeError, WorkloadError: it is none.
    """
    shape = record["shape"]
    pairs = {name: tuple(shape[name]) for name in ("stride", "dilation", "padding", "input_size")}
    return Layer(
        record["name"],
        Extents(**shape["bounds"]),
        **pairs,
        bits=PerOperand(**record["bits"]),
        density=PerOperand(**record["density"]),
        weight_is_activation=shape["weight_is_activation"],
        scale_bits=PerOperand(**record["scale_bits"]) if "scale_bits" in record else NO_SCALES,
        time_steps=record.get("time_steps", 1),
    )


def network_record(network: Workload) -> dict[str, Any]:
    """A whole network, every density and width in it; :func:`network_of` reads it back."""
    return {
        "name": network.name,
        "batch": network.batch,
        **completeness(network.unmodelled, network.remarks),
        "not_counted": operator_records(network.not_counted),
        "layers": [{"name": layer.name, **layer_record(layer)} for layer in network],
    }


def network_of(record: Mapping[str, Any], source: str) -> Workload:
    """The network of a record; *source* names it in errors.

    Raises:
        InputError: it is none.
    """
    try:
        return Workload(
            record["name"],
            tuple(layer_of(item) for item in record["layers"]),
            batch=record["batch"],
            not_counted=read_operators(record["not_counted"]),
            source=source,
            **read_completeness(record),
        )
    except (KeyError, TypeError, AttributeError, WorkloadError) as error:
        raise InputError(source, [Mistake("network", f"not a network: {error!r}")]) from None
