"""Write the mappings of AlexNet and VGG-16 on the Eyeriss chip as mapping files.

Those of AlexNet are printed in JSSC'17 Table III; those of VGG-16 follow from the chip's rule
(:mod:`picojoule.processing_passes`). Run from the root of the repository:
``python -m tools.make_mappings``.
"""

from __future__ import annotations

import csv
from pathlib import Path

import yaml

from picojoule.files import write_atomically
from picojoule.frontends import load
from picojoule.mapping import Mapping
from picojoule.processing_passes import ProcessingPass, pass_mapping, processing_pass
from picojoule.specs import load_accelerator

DATA = Path(__file__).parents[1] / "src" / "picojoule" / "data"


def published() -> dict[str, dict[str, int]]:
    """The seven numbers of each layer, from the shipped table."""
    table: dict[str, dict[str, int]] = {}
    with (DATA / "published" / "jssc17_table3.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            if row["quantity"].startswith("mapping."):
                table.setdefault(row["layer"], {})[row["quantity"][8:]] = int(row["value"])
    return table


def files() -> dict[str, str]:
    """The text of each file of a layer, by the file's name."""
    chip = load_accelerator("eyeriss")
    texts = {}
    alexnet, vgg16 = load("bvlc-alexnet").with_batch(4), load("vgg16").with_batch(3)
    for name, numbers in published().items():
        layer = alexnet[name]
        printed = ProcessingPass(f=layer.bounds.Q, **numbers)
        texts[f"jssc17-alexnet-{name}.yaml"] = _text(
            f"{name} of AlexNet, batch 4, on the Eyeriss chip: Chen et al., JSSC 2017, Table III:",
            printed,
            pass_mapping(chip, layer, printed),
        )
    as_run = processing_pass(chip, alexnet["conv3"])
    assert as_run is not None
    texts["jssc17-alexnet-conv3-as-run.yaml"] = _text(
        "conv3 of AlexNet, batch 4, on the Eyeriss chip, as its buffer's counter says it ran: by\n"
        "# the rule inferred in picojoule.processing_passes, not as Table III prints it:",
        as_run,
        pass_mapping(chip, alexnet["conv3"], as_run),
    )
    for layer in vgg16.layers:
        if layer.name.startswith("conv"):
            inferred = processing_pass(chip, layer)
            assert inferred is not None
            texts[f"jssc17-vgg16-{layer.name}.yaml"] = _text(
                f"{layer.name} of VGG-16, batch 3, on the Eyeriss chip: by the rule inferred in\n"
                "# picojoule.processing_passes, which fits two columns of JSSC'17 Table VI:",
                inferred,
                pass_mapping(chip, layer, inferred),
            )
    return texts


def _text(title: str, numbers: ProcessingPass, mapping: Mapping) -> str:
    """A mapping file, with the numbers it comes from."""
    said = ", ".join(f"{name} = {number}" for name, number in numbers._asdict().items())
    body = yaml.safe_dump(mapping.to_dict(), sort_keys=False, default_flow_style=None)
    return f"# {title}\n# {said}. Made by tools/make_mappings.py.\n{body}"


def main() -> None:
    """Write one file for each layer."""
    for name, text in files().items():
        write_atomically(DATA / "mappings" / name, text)


if __name__ == "__main__":
    main()
