"""Prune SqueezeNet 1.1 with its real ImageNet weights, judged by agreement with the unpruned one.

python -m experiments.squeezenet --weights squeezenet_weights.pkl --photos FOLDER
    --labelled FOLDER --runs FOLDER --energy 0.5 [--epochs 4] [--scenes 2400] [--bits] [--seed 0]

ImageNet itself is not needed and not at hand. The weights come with the package `ndf` 0.1.4; photos
and cut-out objects from Debian packages, as photos.py gathers them; twenty labelled ImageNet
images, named ``*_NUMBER_LABEL.jpg``, with foolbox 3.3.4. Scenes, parts of photos or objects pasted
on parts of photos, labelled by the unpruned network, are what it is fitted and fine-tuned on; every
fifth photo and object is held out, and scenes of those are the validation data; the labelled images
are the test. Needs Pillow.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from picojoule.pruning.datasets import Data, Samples
from picojoule.pruning.energy_aware.finetuning import FineTuning
from picojoule.pruning.energy_aware.options import Progress, PruningOptions
from picojoule.pruning.energy_aware.pruning import prune
from picojoule.pruning.networks import SqueezeNet11
from picojoule.pruning.training import answers

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


def crop(
    picture: Image.Image, draw: np.random.Generator | None, smallest: float = 0.4
) -> torch.Tensor:
    """The middle of a picture, or a drawn part of it, as the network takes it."""
    short = min(picture.size)
    share = 1.0 if draw is None else float(draw.uniform(smallest, 1.0))
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


class Pictures:
    """Photos and cut-out objects, and scenes drawn from them.

    Args:
        part: which of every five pictures are taken: those whose number *part* says yes to.
    """

    def __init__(self, folder: Path, part: Callable[[int], bool]) -> None:
        def read(kind: str, mode: str) -> list[Image.Image]:
            paths = sorted((folder / kind).glob("*.png"))
            return [Image.open(p).convert(mode) for n, p in enumerate(paths) if part(n % 5)]

        self.photos, self.cutouts = read("photos", "RGB"), read("cutouts", "RGBA")

    def __len__(self) -> int:
        return len(self.photos) + len(self.cutouts)

    def scenes(self, count: int, draw: np.random.Generator) -> Iterator[torch.Tensor]:
        """Each picture in its turn, drawn again and again: parts of photos, and of photos with an
        object in front, which fills a half to all of the frame.
        """
        for number in range(count):
            if number % 2:
                yield crop(self.photos[number // 2 % len(self.photos)], draw)
                continue
            shown = self.cutouts[number // 2 % len(self.cutouts)]
            scene = self.photos[int(draw.integers(len(self.photos)))].resize((SIZE, SIZE))
            scale = SIZE * float(draw.uniform(0.5, 1.0)) / max(shown.size)
            shown = shown.resize([max(1, round(d * scale)) for d in shown.size])
            place = [int(draw.integers(SIZE - d + 1)) for d in shown.size]
            scene.paste(shown, (place[0], place[1]), shown)
            yield crop(scene, draw, smallest=0.9)


def answered(model: nn.Module, inputs: Iterable[torch.Tensor]) -> Samples:
    """Inputs labelled by the network."""
    stacked = torch.stack(list(inputs))
    labels = answers(model, stacked).argmax(1)
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
    for name in ("weights", "photos", "labelled", "runs"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--energy", type=float, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--scenes", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bits", action="store_true", help="choose the weights' bits too")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    model = with_weights(wanted.weights)
    labelled = sorted(wanted.labelled.glob("imagenet_*.jpg"))
    draw = np.random.default_rng(wanted.seed)
    fitted = Pictures(wanted.photos, lambda n: n > 0)
    held_out = Pictures(wanted.photos, lambda n: n == 0)
    tested = [Image.open(path).convert("RGB") for path in labelled]
    data = Data(
        answered(model, fitted.scenes(wanted.scenes, draw)),
        answered(model, held_out.scenes(400, draw)),
        answered(model, (crop(p, draw if n else None) for p in tested for n in range(10))),
    )
    found = prune(
        model,
        data,
        accelerator="eyeriss-cvpr17",
        energy=wanted.energy,
        joint_bits=wanted.bits,
        options=PruningOptions(
            calibration=256,
            profile=64,
            positions=200,
            attempts=1,
            training=FineTuning(epochs=wanted.epochs, rate=wanted.rate, batch=32, distilled=0.9),
        ),
        seed=wanted.seed,
        run=wanted.runs,
        progress=show,
    )
    answer = {
        "reduction": found.reduction,
        "agreement": dict(found.accuracy),
        "labelled": {"unpruned": ranks(model, labelled), "pruned": ranks(found.model, labelled)},
        "pictures": {"fitted": len(fitted), "held_out": len(held_out)},
    }
    written = json.dumps(answer, indent=1) + "\n"
    sys.stdout.write(written)
    (wanted.runs / "result" / "labelled.json").write_text(written)


if __name__ == "__main__":
    main()
