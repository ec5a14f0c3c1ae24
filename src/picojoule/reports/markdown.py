"""A result as Markdown: for a pull request, an issue or a wiki."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from picojoule.comparison import Change, Comparison
from picojoule.estimate_records import Estimate
from picojoule.reports.between_tables import Between
from picojoule.reports.document import document
from picojoule.reports.page import comparison_words
from picojoule.reports.scale import Scale, percent
from picojoule.reports.tradeoff_page import tradeoff_values
from picojoule.tradeoffs import TradeOff
from picojoule.units import show_count, show_energy


def estimate_markdown(estimate: Estimate) -> str:
    """What the HTML report says, without its charts."""
    doc = document(estimate)
    estimate = doc.estimate
    unit = estimate.energy_unit
    lines = [*_warned(doc.warnings), f"# {_text(doc.title)}", "", _text(" ".join(doc.summary)), ""]
    lines += [*(f"Remark: {_text(remark)}\n" for remark in doc.remarks)]
    scale = Scale(max((x.energy for x in estimate.layers), default=0.0), unit)
    for title, whole, parts in (
        ("Energy by memory", estimate.by_memory, [x.by_memory for x in estimate.counted]),
        ("Energy by operand", estimate.by_operand, [x.by_operand for x in estimate.counted]),
    ):
        lines += [f"## {title}", "", f"In {scale.name} per inference.", ""]
        lines += _energies(estimate, scale, whole, parts)
    lines += ["## Latency, bit widths, densities", ""]
    lines += _table(
        ["layer", "shape", "MACs", "cycles", "limited by", "bits", "density", "mapping"],
        [
            [
                page.name,
                page.shape,
                show_count(page.estimate.macs),
                show_count(page.estimate.cycles),
                page.estimate.limited_by,
                "/".join(map(str, page.estimate.layer.bits)) if page.estimate.layer else "",
                "/".join(f"{x:.3g}" for x in page.estimate.layer.density)
                if page.estimate.layer
                else "",
                page.estimate.search.status,
            ]
            for page in doc.layers
        ],
    )
    lines += [
        "Bits and densities: input/weight/output.",
        "",
        *_between(doc.between),
        *_plan(doc.plan),
    ]
    lines += ["## Loop nests", ""]
    for page in doc.layers:
        lines += [f"### {_text(page.name)}", "", *_fenced(page.loop_nest), ""]
    lines += ["## Assumptions", "", *(f"- {_text(line)}" for line in doc.assumptions), ""]
    lines += ["## Not counted", ""]
    lines += [*(f"- {_text(op)}: {count}" for op, count in doc.not_counted)] or ["- no operator"]
    lines += ["", f"Not modelled on any machine: {'; '.join(doc.not_modelled)}.", ""]
    lines += [_text(f"Meaning: {doc.meaning}."), "", "## How to make this anew", ""]
    lines += [*_fenced(doc.command), ""]
    for name, text in doc.files:
        lines += [f"`{name}`:", "", *_fenced(text.rstrip("\n")), ""]
    return "\n".join(lines)


def _between(between: Between | None) -> Iterator[str]:
    if between is None:
        return
    yield from ("## Between the layers", "", _text(" ".join(between.sentences)), "")
    if between.rows:
        yield from _table(
            ["tensor", "times", "saves at most", "share", "and", "needs", "can stay in", "read by"],
            [
                [x.tensor, str(x.times), x.energy, x.share, x.time, x.room, x.stays, x.read_by]
                for x in (*between.rows, between.total)
            ],
        )
    if between.others:
        yield from (_text(between.others), "")
        yield from _table(
            ["operator", "times", "words read", "written", "energy", "share", "time"],
            [
                [x.operator, str(x.count), x.read, x.written, x.energy, x.share, x.time]
                for x in between.operators
            ],
        )


def _plan(plan: tuple[str, str] | None) -> Iterator[str]:
    if plan is not None:
        said, picture = plan
        yield from ("## Between the layers", "", _text(said), "", *_fenced(picture), "")


def tradeoff_markdown(tradeoff: TradeOff) -> str:
    """A compression run: its steps, its first network beside its result, published points."""
    values = tradeoff_values(tradeoff)
    cost, before = values["cost"], values["before"]
    lines = [*_warned(tradeoff.warnings), f"# {_text(values['title'])}", ""]
    lines += [_text(values["words"]), "", "## Each step", ""]
    lines += _table(
        ["step", "cost", "of the first", "accuracy"],
        [
            [x.name, cost(x.cost), f"{tradeoff.relative(x):.3f}", f"{100 * x.accuracy:.2f} %"]
            for x in tradeoff.moments
        ],
    )
    if before["rows"]:
        operands = before["operands"]
        lines += ["## Before and after", ""]
        lines += _table(
            ["layer", "weights left", "bits", "energy", *operands],
            [
                [
                    name,
                    "" if weights is None else f"{100 * weights:.1f} %",
                    "" if bits is None else str(bits),
                    f"{cost(was)} to {cost(now)}",
                    *(f"{cost(parts.get(x, 0))} to {cost(left.get(x, 0))}" for x in operands),
                ]
                for name, was, now, parts, left, weights, bits in before["rows"]
            ],
        )
    if before["narrower"]:
        narrower = [f"{name} {was} to {now}" for name, (was, now) in before["narrower"].items()]
        lines += [_text(f"Channels that change together: {', '.join(narrower)}."), ""]
    lines += ["## Published", ""]
    lines += [
        f"- {_text(x.label)}: {x.relative:.3f} of the original's, {x.change:+.2f} points "
        f"({_text(x.source)})"
        for x in values["published"]
    ]
    asked = json.dumps(dict(tradeoff.recipe), indent=1)
    lines += ["", "## What was asked", "", *_fenced(asked), ""]
    return "\n".join(lines)


def comparison_markdown(comparison: Comparison) -> str:
    """Two results side by side."""
    comparison = comparison.in_picojoules()
    before, after, unit = comparison.before, comparison.after, comparison.before.energy_unit
    lines = [
        *_warned(comparison.warnings),
        f"# {_text(before.network)} on {_text(before.accelerator)}, and "
        f"{_text(after.network)} on {_text(after.accelerator)}",
        "",
        comparison_words(comparison),
        "",
        *(f"Remark (before): {_text(remark)}\n" for remark in before.remarks),
        *(f"Remark (after): {_text(remark)}\n" for remark in after.remarks),
        "## Asked differently",
        "",
        *(f"- {_text(w)}: {_text(b)} before, {_text(a)} after" for w, b, a in comparison.changed),
        "",
        "## Energy per inference",
        "",
    ]
    energies = [*comparison.totals[:1], *comparison.by_memory, *comparison.by_operand]
    lines += _changes("part", energies, unit)
    lines += ["## Energy of each layer", ""]
    lines += _changes("layer", [pair.energy for pair in comparison.layers], unit)
    return "\n".join(lines)


def _warned(warnings: Sequence[str]) -> Iterator[str]:
    for warning in warnings:
        yield from (f"**{_text(warning)}**", "")


def _energies(
    estimate: Estimate,
    scale: Scale,
    whole: Mapping[str, float],
    parts: Sequence[Mapping[str, float]],
) -> Iterator[str]:
    rows = [
        [
            layer.name,
            scale(layer.energy),
            percent(layer.energy, estimate.energy),
            *(scale(part.get(name, 0.0)) for name in whole),
        ]
        for layer, part in zip(estimate.counted, parts, strict=True)
    ]
    total = ["total", scale(estimate.energy), percent(estimate.energy, estimate.energy)]
    rows.append([*total, *(scale(value) for value in whole.values())])
    yield from _table(["layer", "energy", "share", *whole], rows)


def _changes(head: str, changes: Sequence[Change], unit: str) -> Iterator[str]:
    def shown(value: float | None) -> str:
        return "-" if value is None else show_energy(value, unit)

    rows = [
        [x.name, shown(x.before), shown(x.after), "-" if x.ratio is None else f"{x.ratio:.3f}"]
        for x in changes
    ]
    yield from _table([head, "before", "after", "after / before"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(map(_text, head))} |"
    yield f"|---{'|---:' * (len(head) - 1)}|"
    for row in rows:
        yield f"| {' | '.join(map(_text, row))} |"
    yield ""


def _text(text: str) -> str:
    """*text* as itself: no markup, no line break, no end of a table's cell."""
    kept = "".join(c if c.isprintable() else "�" for c in text)
    for character in "\\`*_[]<>|#":
        kept = kept.replace(character, f"\\{character}")
    return kept


def _fenced(text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence, *text.split("\n"), fence]
