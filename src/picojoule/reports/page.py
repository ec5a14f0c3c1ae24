"""Reports as one HTML file that needs no network, and the templates the web page shares."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from picojoule.comparison import Comparison, compare
from picojoule.completeness import told
from picojoule.estimate_records import Estimate
from picojoule.eyexam.saved import STEPS, ExaminedNetwork
from picojoule.reports.document import chart_data, document
from picojoule.reports.palette import OPERAND_COLORS
from picojoule.reports.scale import Scale, percent
from picojoule.units import show_count, show_energy
from picojoule.version import __version__

E_MAC_MEANS = "the energy of one multiply-accumulate of this chip, at its own width"
_BEFORE_UNIT = re.compile(
    r"(?<=\d) (?=(?:[TGMkmµnp]?(?:J|W|s|Hz|B|MACs?|cycles)|[TGMk]|bits?|[KMG]iB|x)\b|%|×)"
    r"|(?<= [TGMk]) (?=cycles|MACs?|x\b)|(?<=\bx) (?=E_MAC)"
)


def estimate_page(
    estimate: Estimate,
    before: Estimate | None = None,
    examination: ExaminedNetwork | None = None,
) -> str:
    """One self-contained HTML file about *estimate*.

    Args:
        before: an earlier estimate to show beside it.
        examination: the seven bounds of the same network on the same machine.

    Raises:
        PicojouleError: the two have different units.
    """
    doc = document(estimate)
    versus = None if before is None else compare(before, estimate).in_picojoules()
    warnings = doc.warnings if versus is None else versus.warnings
    if examination is not None and examination.unmodelled != estimate.unmodelled:
        warnings += told(examination.unmodelled, "the examination")
    drawn = [estimate] if before is None else [before, estimate]
    return (
        templates()
        .get_template("estimate.html")
        .render(
            title=doc.title,
            warnings=warnings,
            doc=doc,
            versus=versus,
            versus_words=None if versus is None else comparison_words(versus),
            exam=examination,
            **inlined({**chart_data(drawn), **waterfall_data(examination)}),
        )
    )


def examination_page(exam: ExaminedNetwork) -> str:
    """One self-contained HTML file about an examination alone."""
    charts = {
        "energy_unit": "pJ",
        "place_colors": {},
        "operand_colors": dict(OPERAND_COLORS),
        "estimates": [],
        **waterfall_data(exam),
    }
    return (
        templates()
        .get_template("examination.html")
        .render(
            title=f"{exam.network} on {exam.accelerator}",
            warnings=told(exam.unmodelled, "the examination"),
            exam=exam,
            **inlined(charts),
        )
    )


def waterfall_data(exam: ExaminedNetwork | None) -> dict[str, Any]:
    """What the chart of an examination draws."""
    if exam is None:
        return {}
    bounds = [exam.bound(step) for step in range(1, STEPS + 1)]
    return {"waterfall": {"titles": exam.titles, "peak": exam.peak, "bounds": bounds}}


def comparison_page(comparison: Comparison) -> str:
    """One self-contained HTML file about two estimates."""
    comparison = comparison.in_picojoules()
    before, after = document(comparison.before), document(comparison.after)
    title = f"{before.title}, and {after.title}" if before.title != after.title else after.title
    return (
        templates()
        .get_template("comparison.html")
        .render(
            title=title,
            warnings=comparison.warnings,
            before=before,
            after=after,
            versus=comparison,
            versus_words=comparison_words(comparison),
            **inlined(chart_data([comparison.before, comparison.after])),
        )
    )


def comparison_words(comparison: Comparison) -> str:
    """In one sentence, what became of the energy."""
    comparison = comparison.in_picojoules()
    before, after = comparison.before.energy, comparison.after.energy
    unit = comparison.before.energy_unit
    figures = f"{show_energy(before, unit)} before, {show_energy(after, unit)} after"
    if math.isclose(before, after, rel_tol=1e-9):
        return f"One inference costs the same: {figures}."
    if not before or not after:
        return f"One inference costs {figures}."
    less, times = after < before, max(before, after) / min(before, after)
    return f"One inference costs {times:.3g} times {'less' if less else 'more'}: {figures}."


@cache
def templates() -> Environment:
    """The templates, in which every value is escaped."""
    environment = Environment(
        loader=PackageLoader("picojoule.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["version"] = __version__
    environment.filters |= {
        "count": show_count,
        "energy": show_energy,
        "percent": percent,
        "pretty": _pretty,
        "ratio": _ratio,
        "scale": _scale,
        "units": _units,
    }
    return environment


def _units(text: str) -> Markup:
    """*text* in which no number stands apart from its unit, and E_MAC says what it is."""
    together = escape(_BEFORE_UNIT.sub("\u00a0", text))
    return together.replace("E_MAC", Markup(f'<abbr title="{E_MAC_MEANS}">E_MAC</abbr>'))


def _pretty(value: Any) -> str:
    return json.dumps(dict(value), indent=1, ensure_ascii=False)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _scale(estimate: Estimate) -> Scale:
    return Scale(max((x.energy for x in estimate.layers), default=0.0), estimate.energy_unit)


def data_block(data: object) -> Markup:
    """JSON for a ``<script type="application/json">``: no name can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def asset(name: str) -> str:
    """The text of a file of ``reports/assets``."""
    return (resources.files("picojoule.reports") / "assets" / name).read_text("utf-8")


def inlined(data: dict[str, Any]) -> dict[str, Markup]:
    """What makes a report one file: its data, its styles and its scripts."""
    return {
        "data": data_block(data),
        "css": Markup(asset("report.css")),
        "echarts": Markup(asset("echarts.common.min.js")),
        "charts": Markup(asset("charts.js")),
    }
