"""Which settings a machine heeds, and why it does not heed the others: told before any search."""

from __future__ import annotations

from typing import Any

from picojoule.accelerator import Accelerator
from picojoule.dataflow import DATAFLOWS
from picojoule.legality import dataflow_problem
from picojoule.units import show_energy
from picojoule.workload import OPERANDS, Operand


def controls(accelerator: Accelerator) -> dict[str, Any]:
    """What a form needs to know of a machine.

    ``dataflows`` and ``densities`` hold a reason for each that is refused or without effect.
    """
    refused = {flow.name: dataflow_problem(accelerator, flow) for flow in DATAFLOWS.values()}
    blind = {operand.value: density_problem(accelerator, operand) for operand in OPERANDS}
    return {
        "name": accelerator.name,
        "elements": accelerator.elements,
        "unit": accelerator.energy_unit,
        "joules": joules(accelerator),
        "bits": accelerator.word_bits,
        "dataflow": accelerator.default_dataflow,
        "dataflows": {name: why for name, why in refused.items() if why},
        "densities": {name: why for name, why in blind.items() if why},
    }


def joules(accelerator: Accelerator) -> str:
    """What the joules of a machine rest on; empty where its energies are multiples of a MAC.

    >>> from picojoule.specs import load_accelerator
    >>> joules(load_accelerator("eyeriss"))
    '2 pJ for a MAC, published'
    """
    each = accelerator.mac_picojoules
    if each is None:
        return ""
    return f"{show_energy(each, 'pJ')} for a MAC, {accelerator.joules_rest_on.status}"


def density_problem(accelerator: Accelerator, operand: Operand) -> str | None:
    """Why the zeros of *operand* change nothing on a machine; None if they do.

    >>> from picojoule.specs import load_accelerator
    >>> density_problem(load_accelerator("eyeriss-isca16"), Operand.WEIGHT)
    'eyeriss-isca16 neither skips nor codes zeros of the weight: they cost what other values cost'
    >>> density_problem(load_accelerator("eyeriss"), Operand.INPUT)
    """
    if accelerator.sees_zeros(operand):
        return None
    return (
        f"{accelerator.name} neither skips nor codes zeros of the {operand.value}: they cost what "
        "other values cost"
    )
