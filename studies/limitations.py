"""The limitations of existing designs (SysML 2018), as studies that anyone can repeat.

Sze, Yang, Chen: Understanding the Limitations of Existing Energy-Efficient Design Approaches for
Deep Neural Networks. SysML 2018. Techniques that shrink a network (sparse weights, compact layers,
few bits) make its layers diverse, and machines rely on properties that then no longer hold. Each
study takes one technique to a machine that was built for large dense layers and to a flexible one::

    python -m studies.limitations                    all of them; writes results/
    python -m studies.limitations sparse --draw      the picture and table again, from results/

``sparse``: zeros of the weights. ``compact``: depthwise and 1x1 layers. ``precision``: few bits.
``eyeriss``: AlexNet and MobileNet on the Eyeriss chip and on Eyeriss v2, published speeds beside.
Machines may read and write DRAM as fast as they like where they are compared with one another (that
bandwidth of Eyeriss v2 is not known to us), so that the chips alone are seen.

Each distinct layer is searched for at most ``--budget`` seconds; a bound of step 6 that is not
proved by then is marked with ``~``. Plots need ``pip install picojoule[plots]``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import picojoule
from picojoule.accelerator import Accelerator, Level
from picojoule.eyexam.examination import Examination, examine
from picojoule.files import write_atomically
from picojoule.workload import Layer, Workload
from studies.pictures import PICTURES, save
from studies.tables import TABLES

HERE = Path(__file__).parent
Row = dict[str, Any]


def without_dram_limit(name: str) -> Accelerator:
    """A shipped machine with as much bandwidth to DRAM as it likes, to compare chips alone."""
    machine = picojoule.load_accelerator(name)
    outer = machine.levels[0]
    free = Level(tuple(replace(memory, bandwidth=None) for memory in outer.memories))
    return replace(machine, nest=(free, *machine.nest[1:]))


def of(network: str, *names: str) -> Workload:
    """Some layers of a shipped network."""
    whole = picojoule.load(network)
    return replace(whole, layers=tuple(whole[name] for name in names))


def rows(result: Examination, **case: object) -> list[Row]:
    """What the tables and pictures need of every layer, with what tells the *case* from others."""
    return [
        {
            **case,
            "layer": layer.name,
            "macs": layer.macs,
            "peak": layer.peak,
            "bounds": [step.bound for step in layer.steps],
            "worst": layer.worst.title,
            "limited_by": layer.worst.limited_by,
            "proved": layer.search is not None and layer.search.status == "optimal",
            "cheapest": layer.cheapest,
        }
        for layer in result.layers
    ]


def sparse(budget: float) -> list[Row]:
    """Zeros that are gated save energy, not time; a machine that skips them runs faster."""
    network = of("bvlc-alexnet", "conv3", "fc7")
    found = []
    for name in ("eyeriss", "eyeriss-v2"):
        machine = without_dram_limit(name)
        for density in (1.0, 0.8, 0.6, 0.4, 0.2, 0.1):
            given = {"weight": density}
            result = examine(network, machine, bits=8, density=given, budget=budget)
            found += rows(result, machine=name, density=density)
    return found


def compact(budget: float) -> list[Row]:
    """Depthwise and 1x1 layers have no channels, or no windows, to spread over a wired array."""
    layers = (
        replace(picojoule.load("vgg16")["conv3_2"], name="3x3, 256 channels (VGG)"),
        replace(picojoule.load("mobilenetv1")["conv_7_pointwise"], name="1x1 (MobileNet)"),
        replace(picojoule.load("mobilenetv1")["conv_7_depthwise"], name="depthwise (MobileNet)"),
    )
    network = Workload("compact", layers)
    found = []
    for name in ("nvdla-like", "tpu-v1-like", "eyeriss", "eyeriss-v2"):
        result = examine(network, without_dram_limit(name), bits=8, budget=budget)
        found += rows(result, machine=name)
    return found


def precision(budget: float) -> list[Row]:
    """Fewer bits relieve memories and networks; multipliers of fixed width are no faster.

    The flexible machine is the same with multipliers that split: twice as many products of half
    the width (both operands as wide), in each element. DRAM is as fast as the chip's.
    """
    network = of("bvlc-alexnet", "conv3", "fc7")
    chip = picojoule.load_accelerator("eyeriss")
    found = []
    for bits in (16, 8, 4):
        split = replace(chip, compute=replace(chip.compute, per_cycle=16 // bits))
        for name, machine in (("fixed width", chip), ("splitting", split)):
            found += rows(
                examine(network, machine, bits=bits, budget=budget), machine=name, bits=bits
            )
    return found


def small_mobilenet() -> Workload:
    """MobileNetV1, width 0.5, 128 x 128 inputs: 49 M MACs, the one of Eyeriss v2's figures."""
    size, channels = 64, 16
    layers: list[Layer] = [
        picojoule.conv(
            "conv_0", input_size=(128, 128), in_channels=3, out_channels=16, kernel=(3, 3),
            stride=(2, 2), padding=(0, 1, 0, 1),
        )
    ]  # fmt: skip
    plan = [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2)]
    plan += [(256, 1)] * 5 + [(512, 2), (512, 1)]
    for n, (out, stride) in enumerate(plan, start=1):
        pads = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
        layers.append(
            picojoule.depthwise(
                f"depthwise_{n}", channels=channels, input_size=(size, size), kernel=(3, 3),
                stride=(stride, stride), padding=pads,
            )
        )  # fmt: skip
        size //= stride
        layers.append(
            picojoule.conv(
                f"pointwise_{n}", input_size=(size, size), in_channels=channels, out_channels=out,
                kernel=(1, 1),
            )
        )  # fmt: skip
        channels = out
    layers.append(picojoule.linear("classifier", in_features=512, out_features=1000))
    return Workload("mobilenet-0.5-128", tuple(layers))


def eyeriss(budget: float) -> list[Row]:
    """The Eyeriss chip and the Eyeriss-v2-like machine, 8 bit, batch 1.

    The published speeds are of real images, whose activations have zeros that Eyeriss v2 skips. Of
    AlexNet we have their densities (the tables of CVPR 2017), of MobileNet we have none.
    """
    cases = (
        ("AlexNet, no zeros", picojoule.load("bvlc-alexnet")),
        ("AlexNet", picojoule.load("bvlc-alexnet-cvpr17")),
        ("sparse AlexNet", picojoule.load("bvlc-alexnet-eap")),
        ("MobileNet, no zeros", small_mobilenet()),
    )
    found = []
    for name in ("eyeriss", "eyeriss-v2"):
        machine = without_dram_limit(name)
        for title, network in cases:
            result = examine(network, machine, batch=1, bits=8, budget=budget)
            found += rows(result, machine=name, network=title, clock=machine.clock)
    return found


STUDIES = {"sparse": sparse, "compact": compact, "precision": precision, "eyeriss": eyeriss}


def main() -> None:
    """Run studies, or draw again what they found."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="*", metavar="STUDY", help="by default all")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results", help="a folder")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of search per layer")
    parser.add_argument("--draw", action="store_true", help="only draw what is in the folder")
    given = parser.parse_args()
    if unknown := [name for name in given.study if name not in STUDIES]:
        parser.error(f"no study {unknown[0]!r}; there are {', '.join(STUDIES)}")
    given.output.mkdir(parents=True, exist_ok=True)
    for name in given.study or STUDIES:
        data = given.output / f"{name}.json"
        if not given.draw:
            found = {
                "study": name,
                "command": f"python -m studies.limitations {name} --budget {given.budget:g}",
                "picojoule": picojoule.__version__,
                "rows": STUDIES[name](given.budget),
            }
            write_atomically(data, json.dumps(found, indent=1) + "\n")
        answer = json.loads(data.read_text(encoding="utf-8"))
        table = TABLES[name](answer)
        write_atomically(given.output / f"{name}.md", table)
        sys.stdout.write(table)
        save(PICTURES[name], answer["rows"], given.output / name)


if __name__ == "__main__":
    main()
