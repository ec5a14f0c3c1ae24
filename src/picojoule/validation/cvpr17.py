"""CVPR'17 and Asilomar'17: AlexNet by layer and data type, whole and pruned."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from picojoule.estimate_records import Estimate
from picojoule.estimation import estimate
from picojoule.validation.figures import PublishedNumber, estimated, figure


def asilomar() -> Iterator[PublishedNumber]:
    """The website's AlexNet, per layer and data type, from the shipped 25-column file."""
    name = "Asilomar'17 Fig. 6"
    path = resources.files("picojoule") / "data" / "networks" / "NetworkConf_AlexNet_Asilomar.txt"
    values = figure("asilomar_fig6")
    with resources.as_file(path) as file:
        ours = estimate(str(file), "eyeriss-cvpr17", batch=44, policy="published")
    yield from _by_type(name, values, ours, total=0.05)


SIMULATOR = "eyeriss-cvpr17-simulator"
DRAINS = "that sums drain for nothing was seen in these bars"


def cvpr17_fig4() -> Iterator[PublishedNumber]:
    """AlexNet in the simulator of CVPR'17, as it was and pruned: per layer, per data type."""
    name = "CVPR'17 Fig. 4"
    ours = estimated("bvlc-alexnet-cvpr17", SIMULATOR, 44)
    yield from _by_type(name, figure("cvpr17_fig4"), ours, total=0.08, column=0.08)
    pruned = estimated("bvlc-alexnet-eap", SIMULATOR, 44)
    values = figure("cvpr17_fig5_6", network="bvlc-alexnet-eap")
    for kind in ("input", "output", "weight"):
        yield PublishedNumber(
            figure=name,
            quantity=f"energy-aware {kind} energy",
            kind="energy",
            origin="simulator",
            paper=values["", f"energy.{kind}"],
            ours=pruned.by_operand[kind],
            tolerance=0.08,
        )


def _by_type(
    name: str,
    values: dict[tuple[str, str], float],
    ours: Estimate,
    *,
    total: float,
    column: float | None = None,
) -> Iterator[PublishedNumber]:
    types = ("input", "output", "weight", "compute")
    names = [layer for layer in dict.fromkeys(layer for layer, _ in values) if layer]
    names = [layer for layer in names if (layer, "energy.input") in values]
    together = 0.0
    for published_name, layer in zip(names, ours.layers, strict=True):
        paper = sum(values[published_name, f"energy.{kind}"] for kind in types)
        together += paper
        yield PublishedNumber(
            figure=name,
            quantity=f"{published_name} energy",
            kind="energy",
            origin="simulator",
            paper=paper,
            ours=layer.energy,
        )
    for kind in types:
        paper = sum(values[layer, f"energy.{kind}"] for layer in names)
        yield PublishedNumber(
            figure=name,
            quantity=f"{kind} energy",
            kind="energy",
            origin="simulator",
            paper=paper,
            ours=ours.by_operand[kind],
            tolerance=column,
            fitted=column is not None and kind == "output",
            note=DRAINS if column is not None and kind == "output" else "",
        )
    yield PublishedNumber(
        figure=name,
        quantity="total energy",
        kind="energy",
        origin="simulator",
        paper=together,
        ours=ours.energy,
        tolerance=total,
    )


def cvpr17_table1() -> Iterator[PublishedNumber]:
    """AlexNet, Deep Compression's and energy-aware pruning's: the headline."""
    name = "CVPR'17 Table 1"
    networks = ("bvlc-alexnet-cvpr17", "bvlc-alexnet-dc", "bvlc-alexnet-eap")
    paper, ours = [], []
    for network in networks:
        values = figure("cvpr17_table1", network=network)
        paper.append(values["", "energy"])
        ours.append(estimated(network, SIMULATOR, 44).energy)
        yield PublishedNumber(
            figure=name,
            quantity=f"{network} energy",
            kind="energy",
            origin="simulator",
            paper=paper[-1],
            ours=ours[-1],
            tolerance=0.08,
        )
    for n, label in ((1, "Deep Compression"), (2, "energy-aware")):
        yield PublishedNumber(
            figure=name,
            quantity=f"reduction by {label}",
            kind="relative",
            origin="simulator",
            paper=paper[0] / paper[n],
            ours=ours[0] / ours[n],
            tolerance=0.03,
        )
