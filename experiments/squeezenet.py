"""Prune SqueezeNet 1.1 with its real ImageNet weights, judged by agreement with the unpruned one.

python experiments/squeezenet.py --weights squeezenet_weights.pkl --photos FOLDER[,FOLDER...]
    --labelled FOLDER --runs FOLDER --energy 0.6 [--epochs 3] [--crops 160] [--seed 0]

ImageNet itself is not needed and not at hand. The weights come with the package `ndf` 0.1.4; photos
with scikit-image (`skimage/data`) and Debian's darknet; twenty labelled ImageNet images, named
``*_NUMBER_LABEL.jpg``, with foolbox 3.3.4. Crops of the photos, labelled by the unpruned network,
are what it is fitted and fine-tuned on; every fifth photo is held out for validation; the labelled
images are the test. Needs Pillow.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from picojoule.pruning.datasets import Data, Samples
from picojoule.pruning.energy_aware import prune
from picojoule.pruning.finetuning import Training
from picojoule.pruning.networks import SqueezeNet11
from picojoule.pruning.subject import Options, Progress

SIZE = 227
MEANS = torch.tensor([104.0, 117.0, 123.0])[:, None, None]  # Caffe's: blue, green, red


class _Arrays(pickle.Unpickler):
    """Reads arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            from numpy._core.multiarray import _reconstruct

            return _reconstruct
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def with_weights(path: Path) -> nn.Module:
    """The network with Caffe's weights, kernels stored as height, width, inputs, outputs."""
    with path.open("rb") as file:
        stored = _Arrays(file, encoding="latin1").load()
    names = {"squeeze1x1": "squeeze", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
    model = SqueezeNet11()
    state = {}
    for key, (kernel, bias) in stored.items():
        module, _, part = key.partition("/")
        name = f"{module}.{names[part]}" if part else module
        state[f"{name}.weight"] = torch.from_numpy(np.array(kernel).transpose(3, 2, 0, 1).copy())
        state[f"{name}.bias"] = torch.from_numpy(np.array(bias).reshape(-1).copy())
    model.load_state_dict(state)
    return model.eval()


def crop(picture: Image.Image, draw: np.random.Generator | None) -> torch.Tensor:
    """The middle of a picture, or a drawn part of it, as the network takes it."""
    short = min(picture.size)
    share = 1.0 if draw is None else float(draw.uniform(0.4, 1.0))
    side = short * (SIZE / 256 if draw is None else share)
    room = [length - side for length in picture.size]
    left, top = (r * (0.5 if draw is None else float(draw.uniform())) for r in room)
    cut = picture.resize(
        (SIZE, SIZE), Image.Resampling.BILINEAR, (left, top, left + side, top + side)
    )
    pixels = torch.from_numpy(np.asarray(cut, np.float32).copy()).permute(2, 0, 1)
    if draw is not None and draw.uniform() < 0.5:
        pixels = pixels.flip(2)
    return pixels.flip(0) - MEANS


def pictures(folders: list[Path]) -> list[Image.Image]:
    """All colour pictures that are large enough, by name."""
    found = []
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        if path.suffix in (".png", ".jpg"):
            picture = Image.open(path)
            if picture.mode in ("RGB", "RGBA", "L") and min(picture.size) >= 200:
                found.append(picture.convert("RGB"))
    return found


def answered(model: nn.Module, inputs: list[torch.Tensor]) -> Samples:
    """Inputs labelled by the network."""
    stacked = torch.stack(inputs)
    with torch.no_grad():
        labels = torch.cat([model(part).argmax(1) for part in stacked.split(32)])
    return Samples(stacked, labels)


def ranks(model: nn.Module, labelled: list[Path]) -> dict[str, int]:
    """How many labelled images the network puts first, and among its first five."""
    inputs = torch.stack([crop(Image.open(path).convert("RGB"), None) for path in labelled])
    labels = torch.tensor([int(path.stem.split("_")[-1]) for path in labelled])
    with torch.no_grad():
        best = model(inputs).topk(5).indices == labels[:, None]
    return {"top1": int(best[:, 0].sum()), "top5": int(best.any(1).sum()), "of": len(labelled)}


def show(step: Progress) -> None:
    """One line for each network that was judged."""
    if "/" not in step.what:
        line = f"{step.what}: energy {step.energy:.3f}, agreement {step.accuracy:.3f}\n"
        sys.stderr.write(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("weights", "labelled", "runs"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--energy", type=float, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--crops", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    model = with_weights(wanted.weights)
    photos = pictures([Path(folder) for folder in wanted.photos.split(",")])
    kept = [photo for number, photo in enumerate(photos) if number % 5]
    held_out = [photo for number, photo in enumerate(photos) if number % 5 == 0]
    labelled = sorted(wanted.labelled.glob("imagenet_*.jpg"))
    draw = np.random.default_rng(wanted.seed)
    data = Data(
        answered(model, [crop(kept[n % len(kept)], draw) for n in range(wanted.crops)]),
        answered(model, [crop(held_out[n % len(held_out)], draw) for n in range(100)]),
        answered(
            model,
            [
                crop(Image.open(p).convert("RGB"), draw if n else None)
                for p in labelled
                for n in range(10)
            ],
        ),
    )
    found = prune(
        model,
        data,
        accelerator="eyeriss-cvpr17",
        energy=wanted.energy,
        options=Options(
            calibration=wanted.crops,
            profile=64,
            positions=200,
            attempts=1,
            training=Training(epochs=wanted.epochs, rate=2e-4, batch=32, distilled=0.9),
        ),
        seed=wanted.seed,
        run=wanted.runs,
        progress=show,
    )
    answer = {
        "reduction": found.reduction,
        "agreement": dict(found.accuracy),
        "labelled": {"unpruned": ranks(model, labelled), "pruned": ranks(found.model, labelled)},
        "photos": {"fitted": len(kept), "held_out": len(held_out)},
    }
    written = json.dumps(answer, indent=1) + "\n"
    sys.stdout.write(written)
    (wanted.runs / "result" / "labelled.json").write_text(written)


if __name__ == "__main__":
    main()
