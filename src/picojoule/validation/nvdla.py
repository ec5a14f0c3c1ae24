"""NVDLA's published sizes: ResNet-50 in frames per second, and the energy of a frame."""

from __future__ import annotations

from collections.abc import Iterator

from picojoule.estimation import estimate
from picojoule.validation.figures import PublishedNumber, figure

SIZES = ("2048", "512", "64")
FITTED = ("2048", "64")  # the sizes whose power gave control.per_cycle and control.per_element
AS_FITTED = "control energy comes from this row"
IN_SIGHT = "in sight when the buffer was halved between features and weights"
BETWEEN = (
    "in sight when control was taken as alike in all sizes; with a share by KiB, level with 2048"
)


def nvdla() -> Iterator[PublishedNumber]:
    """Frames per second, energy of a frame without DRAM, and that the optimum lies inside."""
    name = "NVDLA Primer"
    energies = {}
    for size in SIZES:
        theirs = figure("nvdla_primer", accelerator=f"nvdla-{size}")
        ours = estimate("resnet50", f"nvdla-{size}-like", bits=8)
        assert ours.machine is not None
        assert ours.machine.clock is not None
        yield PublishedNumber(
            figure=name,
            quantity=f"{size} MACs, frames/s",
            kind="time",
            origin="simulator",
            paper=theirs["", "frames_per_second"],
            ours=ours.machine.clock / ours.cycles,
            tolerance=0.12,
            fitted=True,
            note=IN_SIGHT,
        )
        paper = theirs["", "power"] / theirs["", "frames_per_second"]
        energies[size] = (paper, (ours.energy - ours.by_memory["dram"]) / 1e9)
        yield PublishedNumber(
            figure=name,
            quantity=f"{size} MACs, mJ a frame",
            kind="energy",
            origin="layout",
            fitted=True,
            paper=paper,
            ours=energies[size][1],
            note=AS_FITTED if size in FITTED else BETWEEN,
        )
    orders = [sorted(SIZES, key=lambda size: energies[size][end]) for end in (0, 1)]
    yield PublishedNumber(
        figure=name,
        quantity="sizes in the published order of mJ",
        kind="relative",
        origin="layout",
        paper=len(SIZES),
        ours=sum(a == b for a, b in zip(*orders, strict=True)),
        tolerance=0.0,
        fitted=True,
        note=BETWEEN,
    )
