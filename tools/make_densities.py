"""Record the densities of SqueezeNet's feature maps with its real weights, for published figures.

python -m tools.make_densities --weights squeezenet_weights.pkl --labelled FOLDER

CVPR'17 prices SqueezeNet 1.0, of whose weights none are at hand. Those of SqueezeNet 1.1 come with
the package `ndf` 0.1.4, and twenty labelled ImageNet images with `foolbox` 3.3.4
(``imagenet_*.jpg``). The layers of both networks have the same names; what a layer of 1.1 reads and
stores stands for the same layer of 1.0. Needs torch and Pillow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from experiments.squeezenet import crop, with_weights
from picojoule.files import write_atomically
from picojoule.pruning.datasets import Samples
from picojoule.pruning.layers.profiling import profile

FILE = (
    Path(__file__).parents[1] / "src" / "picojoule" / "data" / "published"
) / "squeezenet_densities.csv"
HEAD = """\
# Densities of SqueezeNet 1.1's feature maps, measured with its released ImageNet weights (package
# ndf 0.1.4) on the twenty labelled ImageNet images of the package foolbox 3.3.4, centre crops.
# Recorded by tools/make_densities.py; they stand for the same layers of SqueezeNet 1.0.
figure,network,layer,accelerator,dataflow,batch,quantity,value,unit,certainty,source
"""
SOURCE = "measured by picojoule.pruning.layers.profiling on 20 ImageNet images of foolbox 3.3.4"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--labelled", type=Path, required=True)
    options = parser.parse_args()
    paths = sorted(options.labelled.glob("imagenet_*.jpg"))
    images = torch.stack([crop(Image.open(path).convert("RGB"), None) for path in paths])
    labels = torch.tensor([int(path.stem.rsplit("_", 1)[1]) for path in paths])
    recorded = profile(with_weights(options.weights), Samples(images, labels))
    lines = []
    for row in recorded.rows():
        name = str(row["layer"]).replace(".squeeze", "/squeeze1x1").replace(".", "/")
        for quantity in ("input_density", "output_density"):
            place = f"SqueezeNet densities,squeezenet1.1,{name},,,,{quantity}"
            lines.append(f"{place},{row[quantity]:.4f},fraction of non-zeros,measured,{SOURCE}")
    write_atomically(FILE, HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
