"""Results as HTML: a fragment for a notebook, self-contained and escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import singledispatch
from html import escape

from picojoule.accelerator import Accelerator, Level
from picojoule.comparison import Change, Comparison
from picojoule.completeness import left_out, listed
from picojoule.estimate_records import Estimate, LayerEstimate
from picojoule.eyexam.examination import Examination
from picojoule.mapping import Mapping as LoopNest
from picojoule.reports.between import saving_line
from picojoule.reports.page import comparison_words
from picojoule.reports.palette import OPERAND_COLORS, memory_colors, place_colors
from picojoule.reports.scale import percent
from picojoule.reports.svg import Bar, Box, bars, chain
from picojoule.reports.text import beside, headline
from picojoule.units import show_capacity, show_count, show_energy
from picojoule.workload import DIMS

_NUMBER = ' style="text-align:right;padding:0 .6em;white-space:nowrap"'
_NAME = ' style="text-align:left;padding:0 .6em"'
_MANY = 40  # bars of one picture
_STEP_COLORS = {"reached": "#1f5a93", "lost": "#dddddd"}
_DIM_COLORS = dict(
    zip(
        (dim.value for dim in DIMS),
        ("#8C8C8C", "#9C4A9A", "#E69F00", "#0072B2", "#009E73", "#86D46A", "#D96A5C", "#E58AC0"),
        strict=True,
    )
)


@singledispatch
def fragment(result: object) -> str:
    """A result as HTML for a notebook; each kind of result registers how it is drawn."""
    return f"<pre>{escape(repr(result))}</pre>"


@fragment.register
def estimate_fragment(estimate: Estimate) -> str:
    """A network's price as a picture and a table; every name is escaped."""
    warning, title = _warning(estimate), headline(estimate)
    estimate = estimate.in_picojoules()
    unit, whole = estimate.energy_unit, estimate.energy
    places = list(estimate.by_memory)
    rows = [
        [
            part.name,
            show_count(part.macs),
            show_energy(part.energy, unit),
            percent(part.energy, whole),
            *(show_energy(part.by_memory.get(name, 0.0), unit) for name in places),
            show_count(part.cycles),
            part.search.status if isinstance(part, LayerEstimate) else "",
        ]
        for part in estimate.counted
    ]
    totals = [
        "total",
        show_count(estimate.macs),
        show_energy(whole, unit),
        percent(whole, whole),
        *(show_energy(value, unit) for value in estimate.by_memory.values()),
        show_count(estimate.cycles),
        "",
    ]
    operators = listed(estimate.not_counted) or "no operator"
    note = (
        f"Per inference, batch {estimate.batch}; dataflow {estimate.dataflow}; "
        f"objective {estimate.objective}; not counted: {operators}; "
        "control, clock and undeclared leakage are not modelled."
    )
    saving = saving_line(estimate)
    layers = f"<summary>{len(estimate.layers)} layers</summary>"
    dear = sorted(estimate.counted, key=lambda x: -x.energy)[:_MANY]
    drawn = [x for x in estimate.counted if x in dear]
    picture = bars(
        [Bar(x.name, x.by_memory, show_energy(x.energy, unit)) for x in drawn],
        place_colors([estimate]),
        "energy of each layer by place",
    )
    heads = ["layer", "MACs", "energy", "share", *places, "cycles", "status"]
    return _page(
        f"{title}{beside(estimate)}",
        picture,
        f"<details>{layers}{_table(heads, rows, totals)}</details>",
        *(f"<p>Remark: {escape(remark)}</p>" for remark in estimate.remarks),
        f"<p>{escape(saving)}</p>" if saving else "",
        f"<p>{escape(note)}</p>",
        warning=warning,
    )


@fragment.register
def layer_fragment(layer: LayerEstimate) -> str:
    """A layer's price: where, and for which operand; its mapping and what is proved."""
    colors = _of_places(layer.by_memory)
    rows = [Bar("place", layer.by_memory), Bar("operand", layer.by_operand)]
    title = (
        f"{layer.name}: {show_count(layer.energy)} in the machine's unit of energy, "
        f"{show_count(layer.cycles)} cycles, limited by {layer.limited_by}"
    )
    return _page(
        title,
        bars(rows, {**colors, **OPERAND_COLORS}, "energy by place and by operand"),
        f"<p>{escape(layer.certificate('energy'))}</p>" if layer.search.status == "given" else "",
        _nest(layer.mapping),
    )


@fragment.register
def comparison_fragment(comparison: Comparison) -> str:
    """Two estimates side by side, layer by layer."""
    comparison = comparison.in_picojoules()
    unit = comparison.before.energy_unit
    sides = (comparison.before, comparison.after)
    rows: list[Bar] = []
    for pair in comparison.layers[: _MANY // 2]:
        for which, layer in (("before", pair.before), ("after", pair.after)):
            if layer is not None:
                name = f"{pair.name}, {which}"
                rows.append(Bar(name, layer.by_memory, show_energy(layer.energy, unit)))

    def cells(change: Change) -> list[str]:
        both = ["-" if x is None else show_energy(x, unit) for x in (change.before, change.after)]
        return [change.name, *both, "-" if change.ratio is None else f"{change.ratio:.3f}"]

    table = _table(
        ["layer", "before", "after", "after / before"],
        [cells(pair.energy) for pair in comparison.layers],
        cells(Change("total", *(x.energy for x in sides))),
    )
    return _page(
        comparison_words(comparison),
        bars(rows, place_colors(sides), "energy of each layer by place, before and after"),
        f"<details><summary>{len(comparison.layers)} layers</summary>{table}</details>",
        warning="".join(f"<p><strong>{escape(x)}</strong></p>" for x in comparison.warnings),
    )


@fragment.register
def mapping_fragment(mapping: LoopNest) -> str:
    """A loop nest: which loops run at each level, and how often."""
    return _page(f"Mapping of {mapping.depth} levels, outermost first", _nest(mapping))


def _nest(mapping: LoopNest) -> str:
    boxes = []
    for n, (title, stage) in enumerate(zip(mapping.titles, mapping.stages, strict=True)):
        loops = [(dim.value, count) for dim, count in mapping.loops(n)]
        for dim, count in loops:
            boxes.append(Box(f"{dim} {count}", title, _DIM_COLORS[dim]))
        spread = [(d, n) for d, n in stage.fanout._asdict().items() if n > 1]
        for dim, count in spread:
            boxes.append(Box(f"{dim} {count}", "in space", _DIM_COLORS[dim]))
    picture = chain(boxes or [Box("one step", "", "#8C8C8C")], "loops, outermost first")
    text = escape(mapping.text(mapping.titles))
    return f"{picture}<details><summary>loop nest</summary><pre>{text}</pre></details>"


@fragment.register
def accelerator_fragment(accelerator: Accelerator) -> str:
    """A machine: its memories and arrays from the outside in, and what an access costs."""
    colors, unit = memory_colors(accelerator), accelerator.energy_unit
    boxes, rows = [], []
    for part in accelerator.nest:
        if not isinstance(part, Level):
            size = " x ".join(str(axis.size) for axis in part.axes)
            boxes.append(Box(part.name, size, colors[part.name]))
            rows.append([part.name, size, show_energy(part.hop_energy, unit), ""])
            continue
        held = [(m, "" if m.capacity is None else show_capacity(m.capacity)) for m in part.memories]
        for memory, size in held:
            boxes.append(Box(memory.name, size or "unbounded", colors[memory.name]))
            energies = (memory.read_energy, memory.write_energy)
            rows.append([memory.name, size, *(show_energy(x, unit) for x in energies)])
    mac = show_energy(accelerator.compute.mac_energy, unit)
    boxes.append(Box("MAC", f"{accelerator.word_bits} bit, {mac}", colors["compute"]))
    return _page(
        f"{accelerator.name}: {accelerator.elements} elements, dataflow "
        f"{accelerator.default_dataflow}",
        chain(boxes, "memories and arrays, outermost first"),
        _table(["part", "size", "read or hop", "write"], rows),
        f"<p>{escape(accelerator.description)}</p>" if accelerator.description else "",
    )


@fragment.register
def examination_fragment(exam: Examination) -> str:
    """Seven bounds: what of the peak is left after each step."""
    rows = [Bar("peak", {"reached": exam.peak}, f"{exam.peak:.4g} MAC/cycle")]
    for step in exam.layers[0].steps if exam.layers else ():
        bound = exam.bound(step.step)
        if bound is not None:
            reached = min(bound, exam.peak)
            parts = {"reached": reached, "lost": exam.peak - reached}
            rows.append(Bar(f"{step.step} {step.title}", parts, show_count(bound)))
    cells = [
        [x.name, f"{x.peak:.4g}", *("-" if s.bound is None else f"{s.bound:.4g}" for s in x.steps)]
        for x in exam.layers
    ]
    heads = ["layer", "peak", *(str(n) for n in range(1, 8))]
    return _page(
        f"{exam.network} on {exam.accelerator}: MAC/cycle in seven steps",
        bars(rows, _STEP_COLORS, "what of the peak is left after each step"),
        f"<details><summary>{len(cells)} layers</summary>{_table(heads, cells)}</details>",
        warning="".join(f"<p><strong>{escape(x)}</strong></p>" for x in exam.warnings),
    )


def _of_places(parts: Mapping[str, float]) -> dict[str, str]:
    """Colours of places whose machine is not at hand."""
    fallback = ("#D96A5C", "#4A6FD0", "#8FC3EE", "#E8D24C", "#135E4B", "#86D46A", "#9C4A9A")
    return {
        name: OPERAND_COLORS.get(name, fallback[index % len(fallback)])
        for index, name in enumerate(parts)
    }


def _page(title: str, *parts: str, warning: str = "") -> str:
    body = "".join(parts)
    return f'<div class="picojoule">{warning}<p><strong>{escape(title)}</strong></p>{body}</div>'


def _table(
    heads: Iterable[str], rows: Iterable[Iterable[str]], totals: Iterable[str] | None = None
) -> str:
    body = "".join(map(_row, rows))
    foot = "" if totals is None else f"<tfoot>{_row(totals, 'th')}</tfoot>"
    return f"<table><thead>{_row(heads, 'th')}</thead><tbody>{body}</tbody>{foot}</table>"


def _warning(estimate: Estimate) -> str:
    warning = left_out(estimate.unmodelled)
    return f"<p><strong>{escape(warning)}</strong></p>" if warning else ""


def _row(cells: Iterable[str], tag: str = "td") -> str:
    values = [
        f"<{tag}{_NUMBER if index else _NAME}>{escape(cell)}</{tag}>"
        for index, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(values)}</tr>"
