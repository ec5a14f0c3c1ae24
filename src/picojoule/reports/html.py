"""Results as HTML: a fragment for a notebook, self-contained and escaped."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch
from html import escape

from picojoule.completeness import left_out, listed
from picojoule.estimate_records import Estimate
from picojoule.reports.scale import percent
from picojoule.units import show_count, show_energy

_NUMBER = ' style="text-align:right;padding:0 .6em"'
_NAME = ' style="text-align:left;padding:0 .6em"'


@singledispatch
def fragment(result: object) -> str:
    """A result as HTML for a notebook; each kind of result registers how it is drawn."""
    return f"<pre>{escape(repr(result))}</pre>"


@fragment.register
def estimate_fragment(estimate: Estimate) -> str:
    """A network's price as one HTML table; every name is escaped."""
    unit, whole = estimate.energy_unit, estimate.energy
    places = list(estimate.by_memory)
    heads = ["layer", "MACs", "energy", "share", *places, "cycles", "status"]
    lines = [
        f'<div class="picojoule">{_warning(estimate)}<table>',
        f"<caption>{escape(estimate.network)} on {escape(estimate.accelerator)}: "
        f"{escape(show_energy(whole, unit))} per inference</caption>",
        f"<thead>{_row(heads, 'th')}</thead>",
        "<tbody>",
    ]
    for layer in estimate.layers:
        lines.append(
            _row(
                [
                    layer.name,
                    show_count(layer.macs),
                    show_energy(layer.energy, unit),
                    percent(layer.energy, whole),
                    *(show_energy(layer.by_memory.get(name, 0.0), unit) for name in places),
                    show_count(layer.cycles),
                    layer.search.status,
                ]
            )
        )
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
    lines += ["</tbody>", f"<tfoot>{_row(totals, 'th')}</tfoot>", "</table>"]
    lines += [f"<p>Remark: {escape(remark)}</p>" for remark in estimate.remarks]
    lines.append(f"<p>{escape(note)}</p></div>")
    return "\n".join(lines)


def _warning(estimate: Estimate) -> str:
    warning = left_out(estimate.unmodelled)
    return f"<p><strong>{escape(warning)}</strong></p>" if warning else ""


def _row(cells: Iterable[str], tag: str = "td") -> str:
    values = [
        f"<{tag}{_NUMBER if index else _NAME}>{escape(cell)}</{tag}>"
        for index, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(values)}</tr>"
