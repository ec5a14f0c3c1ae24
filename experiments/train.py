"""Train the networks of the experiments on Fashion-MNIST.

python -m experiments.train --data FOLDER --out FOLDER [--seeds 0,1,2]
                            [--networks lenet5,small-alexnet,resnet20,mobilenet]

Every network is trained on the 55,000 images that are not held out; the test images are not looked
at. Writes NETWORK-SEED.safetensors, and its accuracy on the held-out images into trained.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from experiments.lines import add_line
from picojoule.pruning.datasets import Data, fashion_mnist
from picojoule.pruning.networks import NETWORKS

# epochs, highest rate of the one-cycle schedule; batches of 128, momentum 0.9, weight decay 5e-4
TRAINING = {
    "lenet5": (12, 0.05),
    "small-alexnet": (14, 0.05),
    "resnet20": (5, 0.2),
    "mobilenet": (8, 0.2),
}


def train(name: str, data: Data, seed: int) -> tuple[nn.Module, float]:
    """The network trained from *seed*, and its accuracy on the held-out images."""
    torch.manual_seed(seed)
    make, _ = NETWORKS[name]
    model = make(10)
    epochs, rate = TRAINING[name]
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = epochs * (len(data.train) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        model.train()
        for inputs, labels in data.train.shuffled(128, generator):
            flip = torch.rand(len(inputs), generator=generator) < 0.5
            inputs = torch.where(flip[:, None, None, None], inputs.flip(3), inputs)
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(inputs).argmax(1) == labels).sum())
            for inputs, labels in data.validate.batches(500)
        )
    return model, right / len(data.validate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", default=",".join(TRAINING))
    parser.add_argument("--seeds", default="0,1,2")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    wanted.out.mkdir(parents=True, exist_ok=True)
    data = fashion_mnist(wanted.data)
    for seed in map(int, wanted.seeds.split(",")):
        for name in wanted.networks.split(","):
            path = wanted.out / f"{name}-{seed}.safetensors"
            if path.exists():
                continue
            model, accuracy = train(name, data, seed)
            save_file(model.state_dict(), path)
            line = {"network": name, "seed": seed, "accuracy": accuracy}
            add_line(wanted.out / "trained.csv", line)


if __name__ == "__main__":
    main()
