"""Write the page of components by node: ``python -m tools.make_components [FILE]``; a minute.

``tests/components/test_page.py`` holds the page to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from picojoule.components import NODES, accuracy, component, show_node
from picojoule.components.rows import rows
from picojoule.components.samples import samples
from picojoule.estimation import estimate
from picojoule.validation.components import hwcomponents, isca16_areas, nvdla_areas

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "nodes.md"
NETWORK, CHIP = "bvlc-alexnet", "eyeriss"
ESTIMATED = (65.0, 28.0, 7.0)

HEAD = """\
# Relative energy, and which node

Made by `python -m tools.make_components`; a test makes the numbers anew.

The papers that this project rests on count energy in multiples of one multiplication: a register \
costs 1, a hop 2, the buffer 6, DRAM 200. Such ratios travel well from network to network, but \
they \
belong to one process (a commercial 65 nm) and to sizes of half a kilobyte and some hundred. They \
are another set at another node, because the parts of a chip do not shrink alike:

- **logic** shrinks most, in energy and in area;
- **SRAM** follows until 22 nm and then hardly, since its cell and its wires no longer do;
- **wires** keep their capacitance for a millimetre: only the supply falls, and the distances \
where \
what lies between their ends shrinks;
- **DRAM** is a die of its own, in a process of its own. No node of the chip changes it; its kind \
does. A bit from LPDDR4 costs what it costs, whichever chip asks for it. (An outermost memory \
whose bits cost less than those of any DRAM is taken for one on the chip.)

So `--node 7nm`, on every command that takes a chip, does not multiply a result by a number. It \
makes another machine: every number of the file is scaled by what a component of its kind and size \
costs at both nodes, the machine answers in joules, and the mappings are searched anew, since the \
best one depends on the ratios. `picojoule show eyeriss --node 7nm` says for each number what was \
done. Clock and bandwidths stay as they are; static power and control follow logic, which is an \
assumption and marked so.

A chip file may also name components in place of numbers, `access_energy: {component: sram}`: see \
[chip files](../reference/chip-files.md#components).

## The same network at three nodes

"""

SOURCES = """
## Energies

pJ for one action of the width that is named, a bit of a DRAM. The same table, in a terminal: \
`picojoule list components`.

"""

AFTER = """
Where they come from: memories are interpolated between {grid} runs of CACTI 7 (90 to 22 nm, 256 B \
to \
64 MiB, rows of 32 to 256 bit, one and two ports); a row narrower than 32 bit, and what is below \
22 nm, as hwcomponents-cacti has it. Multipliers and flip-flops are Aladdin's tables for 40 nm, \
scaled by Stillmaker and Baas at 0.8 V. Wires are CACTI's down to 22 nm; below, the supply of 0.7 \
V \
at 7 nm is assumed. Each row of `data/components/` names its source and its status. Nothing is \
extrapolated: a size or node that no row encloses is an error.

CACTI's own numbers are rough. It models a generic low-power process, and published chips differ \
from it: a multiplication of Eyeriss takes 2 pJ, Aladdin's at the same node 4.8. Ratios between \
nodes and sizes are safer than joules.

## How far the curves are off

The curves pass through the runs that they are drawn through. {runs} other runs, sizes and nodes \
in \
between, have been seen by none:

| quantity | median | nine of ten | at most |
|---|--:|--:|--:|
"""

AREAS = """
## Areas

mm².

"""

CHECKED = """
Memories and multipliers are not the whole of a chip. NVDLA's primer prints the cell area of seven \
sizes: {low} to {high} times what its convolution buffer, multipliers and their registers take \
here, \
by node. That factor is fitted on three of the sizes at each node; the other four have not been \
seen by it:

| size | published | ours | ratio | |
|---|--:|--:|--:|---|
"""

END = """
ISCA'16 (Eq. 2) gives the area of the register files to the buffer where a dataflow needs none: it \
becomes up to {paper:g} times as large there, {ours:.2f} times here. The paper's register files \
are \
dearer by the byte than CACTI's arrays.

## Beside hwcomponents

hwcomponents 1.0.114, an estimator that runs CACTI and Aladdin's tables itself, gives these; \
`python -m benchmarks.components` asks it again where it is installed.

| component | hwcomponents [pJ] | ours | ratio |
|---|--:|--:|--:|
"""


def table(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |\n"


def alexnet() -> Iterator[str]:
    """One inference at some nodes, and the ratios behind it."""
    yield table(["node", "register : buffer : DRAM : MAC", "mJ", "DRAM", "on the chip"])
    yield "|---|---|--:|--:|--:|\n"
    for node in ESTIMATED:
        result = estimate(NETWORK, CHIP, node=f"{node:g}nm", batch=4)
        outside = sum(layer.by_memory["dram"] for layer in result.layers)
        shares = [outside / result.energy, 1 - outside / result.energy]
        cells = [show_node(node), ratios(node), f"{result.energy / 1e9:.3g}"]
        yield table([*cells, *(f"{share:.0%}" for share in shares)])
    yield (
        f"\n`{NETWORK}` on `{CHIP}`, batch 4. The ratios are those of the components below: 512 B, "
        "128 KiB in rows of 64 bit, LPDDR4, words of 16 bit. The chip's own, published ones are "
        "scaled, not replaced.\n"
    )


def ratios(node: float) -> str:
    """A register file, a buffer, DRAM and a MAC for a word of 16 bit, relative to the MAC."""
    mac = component("mac", node=node, width=16).energies["mac"]
    file = component("register-file", node=node, width=16, capacity=512 * 8)
    buffer = component("sram", node=node, width=64, capacity=128 * 8192)
    dram = component("lpddr4", node=node, width=16)
    energies = (file.energies["read"], buffer.energies["read"] / 4, dram.energies["read"], mac)
    return " : ".join(f"{energy / mac:.3g}" for energy in energies)


def components() -> Iterator[str]:
    """What components cost, how sure that is, and what others say."""
    yield SOURCES
    heads = ["component", "", *map(show_node, NODES)]
    rule = "|---|---|" + "--:|" * len(NODES) + "\n"
    yield table(heads) + rule
    shown = list(samples())
    for sample in shown:
        for action in sample.actions:
            numbers = [f"{x.energies[action]:.3g}" for x in sample.by_node.values()]
            if len(numbers) < len(NODES):
                numbers = numbers * len(NODES)
            yield table([sample.name, action, *numbers])
    runs = list(accuracy())
    grid = sum(row["use"] == "grid" for row in rows("sram"))
    yield AFTER.format(grid=grid, runs=runs[0].runs)
    for x in runs:
        yield table([x.quantity, f"{x.median:.1%}", f"{x.ninth_decile:.1%}", f"{x.largest:.1%}"])
    yield AREAS
    yield table(heads) + rule
    for sample in shown:
        numbers = [f"{x.area:.3g}" for x in sample.by_node.values()]
        if any(x.area for x in sample.by_node.values()):
            yield table([sample.name, "area", *numbers])
    yield from beside()


def beside() -> Iterator[str]:
    """Published areas and energies beside ours."""
    areas = list(nvdla_areas())
    factors = [x.note.partition(" ")[0] for x in areas]
    yield CHECKED.format(low=min(factors), high=max(factors))
    for x in areas:
        seen = "fitted" if x.fitted else ""
        size = x.quantity.removesuffix(", mm2")
        yield table([size, f"{x.paper:g}", f"{x.ours:.3g}", f"{x.ratio:.3f}", seen])
    (eq2,) = isca16_areas()
    yield END.format(paper=eq2.paper, ours=eq2.ours)
    for x in hwcomponents():
        name = x.quantity.removesuffix(", pJ")
        yield table([name, f"{x.paper:g}", f"{x.ours:.4g}", f"{x.ratio:.3f}"])


def page(lines: Iterable[str]) -> str:
    """The page as Markdown."""
    return HEAD + "".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PAGE)
    text = page([*alexnet(), *components()])
    parser.parse_args().file.write_text(text, encoding="utf-8")
