"""A result in words and plain records, before it becomes HTML, Markdown or a page of the server."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from picojoule.accelerator import Accelerator, Charging, Format, HopCharge, Level, ZeroSkip
from picojoule.dataflow import DATAFLOWS
from picojoule.estimate_records import Estimate, LayerEstimate, Part
from picojoule.legality import contents
from picojoule.question import images_at_once
from picojoule.reports.between import sentence
from picojoule.reports.between_tables import Between, between
from picojoule.reports.explanation import control_facts, edges, loop_nest, unsaid
from picojoule.reports.network_table import format_table
from picojoule.reports.palette import OPERAND_COLORS, place_colors
from picojoule.reports.plans import LEGEND, picture, plan_sentences, plan_words, seen_by
from picojoule.reports.roofs import Roofline, rooflines
from picojoule.reports.scale import percent
from picojoule.reports.tables import plain
from picojoule.specs import dump_accelerator
from picojoule.units import show_capacity, show_count, show_energy
from picojoule.workload import OPERANDS, Layer

NOT_MODELLED = (
    "keeping data on chip from one layer to the next",
    "stalls, bank conflicts and congestion",
)
OF_NO_DATA = {
    "compute": "the MACs themselves",
    "control": "clock and control",
    "static": "what is drawn whatever happens",
    "other": "operators without products",
}
FEW = 3  # dearest layers named in the summary


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPage:
    """One layer as it is shown: numbers stay numbers, what is read is text."""

    name: str
    shape: str
    estimate: LayerEstimate
    certificate: str
    loop_nest: str
    contents: tuple[dict[str, Any], ...]
    edges: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """A number worth a tile: what, how much, and what that means."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a report says about one estimate."""

    warnings: tuple[str, ...]
    title: str
    remarks: tuple[str, ...]
    estimate: Estimate
    summary: tuple[str, ...]
    facts: tuple[Fact, ...]
    layers: tuple[LayerPage, ...]
    rooflines: tuple[Roofline, ...]
    between: Between | None
    plan: tuple[str, str] | None  # what is said of it, and its picture
    assumptions: tuple[str, ...]
    not_counted: tuple[tuple[str, int], ...]
    not_modelled: tuple[str, ...]
    meaning: str
    command: str
    files: tuple[tuple[str, str], ...]
    place_colors: dict[str, str]
    operand_colors: dict[str, str]


def document(estimate: Estimate) -> Report:
    """What there is to say about *estimate*; less where its file does not hold the machine.

    Energies are in joules where the machine says what a MAC costs.
    """
    estimate = estimate.in_picojoules()
    lying, plan = between(estimate), estimate.plan
    return Report(
        warnings=estimate.warnings,
        title=f"{estimate.network} on {estimate.accelerator}",
        remarks=estimate.remarks,
        estimate=estimate,
        summary=(
            *_summary(estimate),
            *(lying.sentences[:1] if lying is not None else ()),
            *([] if plan is None else [sentence(plan_words(estimate, plan))]),
        ),
        facts=tuple(_facts(estimate)),
        layers=tuple(_page(estimate, layer) for layer in estimate.layers),
        rooflines=rooflines(estimate),
        between=lying,
        plan=None
        if plan is None
        else (" ".join((*plan_sentences(estimate), LEGEND)), plain(picture(plan)).strip("\n")),
        assumptions=tuple(_assumptions(estimate)),
        not_counted=tuple(sorted(estimate.not_counted.items())),
        not_modelled=(*unsaid(estimate.machine), *NOT_MODELLED),
        meaning=estimate.meaning,
        command=command(estimate),
        files=tuple(_files(estimate)),
        place_colors=place_colors([estimate]),
        operand_colors={name: OPERAND_COLORS[name] for name in estimate.by_operand},
    )


# -- words ---------------------------------------------------------------------------------


def _summary(estimate: Estimate) -> Iterator[str]:
    unit, energy = estimate.energy_unit, estimate.energy
    if not estimate.layers:
        yield f"{estimate.network} has no layer that multiplies and accumulates."
        return
    of = f" in a batch of {estimate.batch}" if estimate.batch > 1 else ""
    times = estimate.times_arithmetic
    means = "" if times is None else f", {times:.3g} times the energy of its arithmetic"
    yield (
        f"One inference of {estimate.network}{of} on {estimate.accelerator} costs "
        f"{show_energy(energy, unit)}{means}."
    )
    if estimate.joules is not None and not estimate.joules.sure:
        yield f"That takes {estimate.joules}."
    place, at = _largest(estimate.by_memory)
    operand, of_it = _largest(estimate.by_operand)
    for_whom = OF_NO_DATA.get(operand, f"{operand}s")
    part = "Most of it" if at > energy / 2 else "The largest part"
    yield (
        f"{part}, {percent(at, energy)}, is spent at {place}; by operand, "
        f"{percent(of_it, energy)} goes to {for_whom}."
    )
    dear = sorted(estimate.layers, key=lambda layer: -layer.energy)[:FEW]
    names = ", ".join(layer.name for layer in dear)
    share = percent(math.fsum(layer.energy for layer in dear), energy)
    if len(estimate.layers) > FEW:
        yield f"The {FEW} dearest of {len(estimate.layers)} layers, {names}, take {share}."
    if estimate.effectual_macs < estimate.macs:
        done, macs = percent(estimate.effectual_macs, estimate.macs), show_count(estimate.macs)
        yield f"Of {macs} MACs, {done} are done; the others have a zero factor."
    limits = Counter(layer.limited_by for layer in estimate.layers)
    who = " and ".join(f"by {name} in {n}" for name, n in limits.most_common(2))
    yield f"It takes {_time(estimate)}, limited {who} of {len(estimate.layers)} layers."
    proved = sum(layer.search.status == "optimal" for layer in estimate.layers)
    if proved == len(estimate.layers):
        yield f"Every mapping is proved to have the least {estimate.objective} in its space."
    else:
        yield (
            f"{proved} of {len(estimate.layers)} mappings are proved to have the least "
            f"{estimate.objective}; the others are as good as found or given."
        )


def _largest(parts: Any) -> tuple[str, float]:
    name = max(parts, key=parts.__getitem__)
    return name, parts[name]


def _time(estimate: Estimate) -> str:
    cycles = f"{show_count(estimate.cycles)} cycles"
    clock = estimate.machine.clock if estimate.machine else None
    if not clock:
        return cycles
    return f"{cycles} ({show_time(estimate.cycles / clock)} at {show_count(clock)}Hz)"


def show_time(seconds: float) -> str:
    """Write a time for people.

    >>> show_time(0.00123), show_time(2.5), show_time(3e-8)
    ('1.23 ms', '2.5 s', '30 ns')
    """
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale * 0.9995:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _facts(estimate: Estimate) -> Iterator[Fact]:
    unit, energy = estimate.energy_unit, estimate.energy
    times = estimate.times_arithmetic
    note = "" if times is None else f"{times:.3g} times the energy of its arithmetic"
    if estimate.joules is not None and not estimate.joules.sure:
        note += f"; takes {estimate.joules}"
    yield Fact("energy", show_energy(energy, unit), note)
    done = ""
    if estimate.effectual_macs != estimate.macs:
        done = f"{percent(estimate.effectual_macs, estimate.macs)} of them done"
    yield Fact("MACs", show_count(estimate.macs), done)
    clock = estimate.machine.clock if estimate.machine else None
    slow = show_time(estimate.cycles / clock) if clock else "the machine declares no clock"
    yield Fact("cycles", show_count(estimate.cycles), slow)
    if estimate.machine is not None and estimate.cycles:
        used = f"of {estimate.machine.peak:.10g} MAC/cycle at best"
        yield Fact("speed", f"{estimate.macs / estimate.cycles:.3g} MAC/cycle", used)
    yield Fact("layers", str(len(estimate.layers)), f"batch {estimate.batch}")


def describe(layer: Layer) -> str:
    """A layer's shape in the words of the field, for one batch.

    >>> from picojoule.workload import conv, linear
    >>> describe(conv("c", input_size=(227, 227), in_channels=3, out_channels=96,
    ...               kernel=(11, 11), stride=(4, 4)))
    '11×11 convolution, stride 4, 3 to 96 channels, 227×227 to 55×55'
    >>> describe(linear("f", in_features=4096, out_features=1000))
    '4096 to 1000 features'
    """
    b = layer.bounds
    images = f", {b.N} images" if b.N > 1 else ""
    rows = f", {b.P} rows" if b.P > 1 else ""
    if layer.weight_is_activation:
        return f"{b.G} products of {b.P * b.N}×{b.C} by {b.C}×{b.M} activations"
    plain = b.R == b.S == 1 and b.Q == 1 and layer.stride == (1, 1) and b.G == 1
    if plain:
        return f"{b.C} to {b.M} features{rows}{images}"
    stride = "" if layer.stride == (1, 1) else f", stride {_pair(layer.stride)}"
    dilation = "" if layer.dilation == (1, 1) else f", dilation {_pair(layer.dilation)}"
    kind = "depthwise convolution" if b.G > 1 and b.C == 1 else "convolution"
    groups = f", {b.G} groups" if b.G > 1 and b.C > 1 else ""
    height, width = layer.input_size
    return (
        f"{b.R}×{b.S} {kind}{stride}{dilation}, {b.G * b.C} to {b.G * b.M} channels{groups}, "
        f"{height}×{width} to {b.P}×{b.Q}{images}"
    )


def _pair(values: tuple[int, int]) -> str:
    return str(values[0]) if values[0] == values[1] else f"{values[0]}×{values[1]}"


def _page(estimate: Estimate, priced: LayerEstimate) -> LayerPage:
    accelerator, layer = seen_by(estimate, priced), priced.layer
    if accelerator is None or layer is None:
        nest, held, moved = priced.mapping.text(priced.mapping.titles), [], []
    else:
        images = images_at_once(layer, accelerator, estimate.batch)
        share = layer.with_batch_share(images, estimate.batch)
        nest = loop_nest(share, accelerator, priced.mapping)
        held = contents(share, accelerator, priced.mapping)
        moved = edges(layer, accelerator, priced.mapping, estimate.batch)
    return LayerPage(
        name=priced.name,
        shape="" if layer is None else describe(layer),
        estimate=priced,
        certificate=priced.certificate(estimate.objective),
        loop_nest=nest,
        contents=tuple(_readable(x) for x in held),
        edges=tuple(moved),
    )


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    capacity = row["capacity"]
    return {
        "memory": row["memory"],
        "holds": {name: show_capacity(bits) for name, bits in row["holds"].items()},
        "used": show_capacity(row["used"]),
        "capacity": "unbounded" if capacity is None else show_capacity(capacity),
        "full": "" if capacity is None else percent(row["used"], capacity),
    }


# -- what the numbers rest on --------------------------------------------------------------


def _assumptions(estimate: Estimate) -> Iterator[str]:
    accelerator = estimate.machine
    dataflow = DATAFLOWS.get(estimate.dataflow)
    yield f"Dataflow {estimate.dataflow}" + (f": {dataflow.title}." if dataflow else ".")
    for rule in estimate.rules:
        what = rule.value if rule.path == "rule" else f"{rule.path} = {rule.value}"
        yield f"Published mappings: {what} ({rule.status}); {rule.source}."
    if accelerator is None:
        yield "This file does not hold the machine; estimate anew to see its assumptions."
        return
    yield from _conventions(accelerator)
    densities = [x.layer.density for x in estimate.layers if x.layer is not None]
    if all(density == (1.0, 1.0, 1.0) for density in densities):
        yield "All values are taken as non-zero; give densities to count zeros."
    else:
        yield "Zeros are spread at random: each value is zero with the density's probability."
    if any(x.layer.weight_is_activation for x in estimate.layers if x.layer is not None):
        yield "The second operand of an attention product is an activation, not a stored weight."
    statuses = Counter(constant.status for constant in accelerator.sources)
    if statuses:
        parts = ", ".join(f"{n} {status}" for status, n in statuses.most_common())
        yield f"The machine's {statuses.total()} numbers: {parts}."
    for constant in accelerator.sources:
        if constant.status == "assumed":
            name = _named(accelerator, constant.path)
            yield f"Assumed: {name} = {constant.value}; {constant.source}."


def _named(accelerator: Accelerator, path: str) -> str:
    """A path of the machine's file with the names of its parts: ``dram bandwidth``."""
    match = re.fullmatch(r"\$\.nest\[(\d+)\](?:\.(memories|axes)\[(\d+)\])?\.(\w+)", path)
    if match is None:
        return path.removeprefix("$.").replace(".", " ").replace("_", " ")
    part, inner = accelerator.nest[int(match[1])], int(match[3] or 0)
    name = part.memories[inner].name if isinstance(part, Level) else part.name
    if match[2] == "axes" and not isinstance(part, Level):
        name += f" {part.axes[inner].name}"
    return f"{name} {match[4].replace('_', ' ')}"


def _conventions(accelerator: Accelerator) -> Iterator[str]:
    if accelerator.charging is Charging.DEARER_END:
        yield "A transfer is charged once, at the dearer of its two memories."
    else:
        yield "A transfer is charged at both ends: read where it comes from, written where it goes."
    if any(not isinstance(x, Level) and x.hop_charge is HopCharge.EVERY for x in accelerator.nest):
        yield "Every word into and out of a processing element pays the network."
    if accelerator.charge_padding:
        yield "The zeros of the padding are stored and moved."
    else:
        yield "The zeros of the padding are neither stored nor moved."
    if accelerator.resident_images:
        yield "A batch runs in sets of images whose output maps fit the buffer together."
    sparse = accelerator.sparse
    seen = " or ".join(o.value for o in OPERANDS if o in sparse.of)
    match sparse.zeros:
        case ZeroSkip.NONE:
            yield "Every MAC is done, whatever its factors."
        case ZeroSkip.GATE:
            yield f"A MAC with a zero {seen} costs no energy, but its cycle passes."
        case ZeroSkip.SKIP:
            yield f"A MAC with a zero {seen} costs neither energy nor time."
    for memory in accelerator.memories.values():
        coded = {o.value: memory.formats.of(o).value for o in OPERANDS if o in memory.keeps}
        coded = {name: code for name, code in coded.items() if code != Format.DENSE.value}
        if coded:
            listed = ", ".join(f"{name}s as {code}" for name, code in coded.items())
            yield f"{memory.name} moves {listed}, where that saves."
    free = [memory.name for memory in accelerator.memories.values() if memory.bandwidth is None]
    if free:
        yield f"No bandwidth is declared, so transfers take no time, at {', '.join(free)}."
    yield from (f"Control takes {said}." for _, said in control_facts(accelerator))
    if accelerator.static_power and accelerator.clock:
        yield f"{accelerator.static_power:g} W are drawn whatever happens."


# -- how to make it anew -------------------------------------------------------------------


def command(estimate: Estimate) -> str:
    """The command that makes this estimate from the files that come with the report."""
    words = ["picojoule estimate network.csv -a chip.yaml", f"--dataflow {estimate.dataflow}"]
    if estimate.objective != "energy":
        words.append(f"--objective {estimate.objective}")
    if estimate.policy != "best":
        words.append(f"--mapping {estimate.policy}")
    if estimate.others is not None and estimate.others.counted:
        words.append("--others count")
    if estimate.plan is not None:
        words.append("--between keep")
    if not estimate.complete:
        words.append("--allow-incomplete")
    return " ".join([*words, "-o run.json"])


def _files(estimate: Estimate) -> Iterator[tuple[str, str]]:
    if estimate.machine is None or any(layer.layer is None for layer in estimate.layers):
        return
    yield "network.csv", format_table(estimate.workload())
    yield "chip.yaml", dump_accelerator(estimate.machine)


def chart_data(whole: Sequence[Estimate]) -> dict[str, Any]:
    """What the charts of a page draw: plain numbers, names and colours.

    In joules where all machines say what a MAC costs.
    """
    in_joules = [x.in_picojoules() for x in whole]
    if all(x.energy_unit == "pJ" for x in in_joules):
        whole = in_joules
    operands = dict.fromkeys(name for x in whole for name in x.by_operand)
    return {
        "energy_unit": whole[0].energy_unit,
        "place_colors": place_colors(whole),
        "operand_colors": {name: OPERAND_COLORS[name] for name in operands},
        "estimates": [
            {
                "energy": x.energy,
                "by_memory": x.by_memory,
                "by_operand": x.by_operand,
                "layers": [_bar(part) for part in x.counted],
                "rooflines": [roof.to_dict() for roof in rooflines(x)],
            }
            for x in whole
        ],
    }


def _bar(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "energy": part.energy,
        "by_memory": dict(part.by_memory),
        "by_operand": dict(part.by_operand),
        "cycles": part.cycles,
        "macs": part.macs,
        "limited_by": part.limited_by if isinstance(part, LayerEstimate) else "",
    }
