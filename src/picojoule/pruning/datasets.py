"""Labelled samples for training, calibration and validation; Fashion-MNIST and MNIST from a folder.

Compression needs samples it can draw again: a run that was stopped must see the same batches when
it goes on. So samples are tensors with an order, and every draw says which of them it takes.
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from picojoule.errors import InputError, Mistake, PicojouleError

_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.bool)
_LARGEST_FILE = 1 << 30  # an idx file of 1 GiB is none of the sets this reads


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and their classes.

    Args:
        inputs: ``[n, ...]``, as the network takes them.
        labels: ``[n]``, whole numbers; kept as int64.
    """

    inputs: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        for name, value in (("inputs", self.inputs), ("labels", self.labels)):
            if not isinstance(value, torch.Tensor):
                raise PicojouleError(
                    f"{name} are a {type(value).__name__}; a torch.Tensor is needed"
                )
        if self.labels.dtype in _WHOLE:  # torch compares and gathers by int64 alone
            object.__setattr__(self, "labels", self.labels.long())
        if len(self.inputs) != len(self.labels) or not len(self.inputs):
            raise PicojouleError(
                f"{len(self.inputs)} inputs with {len(self.labels)} labels; "
                "as many of both are needed, and at least one"
            )

    @classmethod
    def of_loader(cls, loader: DataLoader[Any]) -> Samples:
        """All samples of a data loader, in the order of its data set, whatever order it draws.

        Raises:
            PicojouleError: it has no length, gives no pairs of inputs and labels, or holds more
                than half of this computer's memory.
        """
        dataset = loader.dataset
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise PicojouleError(
                "a DataLoader over a data set without a length: compression draws the same samples "
                "again and again; give Samples(inputs, labels)"
            )
        batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        for batch in DataLoader(
            dataset, batch_size=loader.batch_size or 64, collate_fn=loader.collate_fn
        ):
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                raise PicojouleError(
                    f"a DataLoader that gives {type(batch).__name__}: pairs of inputs and labels "
                    "are needed; give Samples(inputs, labels)"
                )
            batches.append((torch.as_tensor(batch[0]), torch.as_tensor(batch[1])))
            if len(batches) == 1:
                _check_room(batches[0][0], len(dataset))
        if not batches:
            raise PicojouleError(
                "a DataLoader over an empty data set; at least one sample is needed"
            )
        return cls(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, count: int) -> Samples:
        """The first *count* samples (all, if there are fewer)."""
        return Samples(self.inputs[:count], self.labels[:count])

    def drawn(self, count: int, seed: int) -> Samples:
        """*count* samples drawn by *seed*, in their order (all, if there are fewer).

        Sets often come sorted by class, so the first samples say nothing of the others.
        """
        if count >= len(self):
            return self
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        picked = order[:count].sort().values
        return Samples(self.inputs[picked], self.labels[picked])

    def representative(self, count: int, seed: int) -> Samples:
        """The first *count* samples, or, where these miss classes of the set, as many drawn."""
        first = self.take(count)
        complete = bool(torch.isin(self.labels, first.labels).all())
        return first if complete else self.drawn(count, seed)

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All samples in order, *size* at a time."""
        for start in range(0, len(self), size):
            yield self.inputs[start : start + size], self.labels[start : start + size]

    def shuffled(
        self, size: int, generator: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All samples in a drawn order, *size* at a time; an incomplete last batch is left out."""
        for picked in self.orders(size, generator):
            yield self.inputs[picked], self.labels[picked]

    def orders(self, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Which samples are in the batches of :meth:`shuffled`."""
        order = torch.randperm(len(self), generator=generator)
        whole = len(self) // size * size or len(self)
        for start in range(0, whole, size):
            yield order[start : start + min(size, whole - start)]

    def of_classes(self, classes: tuple[int, ...]) -> Samples:
        """Only samples of *classes*, relabelled 0, 1, … in that order.

        Raises:
            PicojouleError: if there is none.
        """
        label = torch.full((int(self.labels.max()) + 2,), -1, dtype=self.labels.dtype)
        numbers = [number for number in classes if number < len(label) - 1]
        label[numbers] = torch.tensor(
            [classes.index(number) for number in numbers], dtype=self.labels.dtype
        )
        renamed = label[self.labels]
        kept = renamed >= 0
        return Samples(self.inputs[kept], renamed[kept])


@dataclass(frozen=True, eq=False)
class Data:
    """What a compression run may see.

    Args:
        train: for calibration and fine-tuning.
        validate: decides what is accepted; never trained on.
        test: looked at once, at the end, for the report.

    Each is :class:`Samples`, or a data loader, which is read once, in the order of its data set.
    """

    train: Samples
    validate: Samples
    test: Samples | None = None

    def __post_init__(self) -> None:
        for name in ("train", "validate", "test"):
            value = getattr(self, name)
            if isinstance(value, DataLoader):
                object.__setattr__(self, name, Samples.of_loader(value))
            elif not isinstance(value, Samples) and (name != "test" or value is not None):
                raise PicojouleError(
                    f"{name} is a {type(value).__name__}; Samples(inputs, labels) or a DataLoader "
                    "is needed"
                )

    def of_classes(self, classes: tuple[int, ...]) -> Data:
        """Every part restricted to *classes*."""
        return Data(
            self.train.of_classes(classes),
            self.validate.of_classes(classes),
            None if self.test is None else self.test.of_classes(classes),
        )


def check_data(data: object) -> None:
    """Refuse what is no :class:`Data`, and say what would be.

    Raises:
        PicojouleError: it is something else.
    """
    if not isinstance(data, Data):
        raise PicojouleError(
            f"data is a {type(data).__name__}; Data(train, validate) is needed, of Samples(inputs, "
            "labels) or of data loaders: what is accepted is decided on samples that nothing was "
            "fitted on"
        )


def _check_room(batch: torch.Tensor, count: int) -> None:
    """Whether *count* samples like those of *batch* can be held."""
    needed = batch.element_size() * batch.numel() // max(1, len(batch)) * count
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if needed > room:
        raise PicojouleError(
            f"a DataLoader of {count} samples takes {needed / 2**30:.0f} GiB, and half of this "
            f"computer's memory is {room / 2**30:.0f} GiB; take a part "
            "(torch.utils.data.Subset)"
        )


def fashion_mnist(folder: str | os.PathLike[str], *, held_out: int = 5000, seed: int = 0) -> Data:
    """Fashion-MNIST or MNIST from a folder with the four idx files, gzipped or not.

    Args:
        folder: holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same two with
            ``t10k`` (the Debian package ``dataset-fashion-mnist`` puts them into
            ``/usr/share/datasets/fashion-mnist``).
        held_out: how many training images become validation data, drawn by *seed*.

    Inputs are ``[n, 1, 28, 28]``, shifted and scaled to mean 0 and deviation 1 over the training
    images.

    Raises:
        InputError: a file is missing or is no idx file.
    """
    place = Path(folder)
    images = read_idx(_found(place, "train-images-idx3-ubyte"), 3)
    labels = read_idx(_found(place, "train-labels-idx1-ubyte"), 1)
    test_images = read_idx(_found(place, "t10k-images-idx3-ubyte"), 3)
    test_labels = read_idx(_found(place, "t10k-labels-idx1-ubyte"), 1)
    if not 0 < held_out < len(images):
        raise PicojouleError(f"held_out={held_out}: of {len(images)} images, some must stay")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    pixels = images.astype(np.float32) / 255
    mean, deviation = float(pixels.mean()), float(pixels.std())

    def samples(raw: np.ndarray, classes: np.ndarray) -> Samples:
        scaled = (torch.from_numpy(raw.astype(np.float32) / 255) - mean) / deviation
        return Samples(scaled[:, None], torch.from_numpy(classes.astype(np.int64)))

    training = samples(images, labels)
    kept, held = order[held_out:], order[:held_out]
    return Data(
        Samples(training.inputs[kept], training.labels[kept]),
        Samples(training.inputs[held], training.labels[held]),
        samples(test_images, test_labels),
    )


def _found(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(
        str(folder),
        [
            Mistake(
                name, "no such file, gzipped or not; Debian's dataset-fashion-mnist has all four"
            )
        ],
    )


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The bytes of an idx file (LeCun's format), gzipped or not, as an array.

    Raises:
        InputError: it cannot be read, or is no idx file of bytes with so many dimensions.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(_LARGEST_FILE)
    except (OSError, EOFError) as error:
        raise InputError(str(path), [Mistake("file", f"cannot be read: {error}")]) from None
    head = 4 + 4 * dimensions
    if len(raw) < head or raw[:2] != b"\0\0" or raw[2] != 8 or raw[3] != dimensions:
        raise InputError(
            str(path), [Mistake("header", f"not an idx file of bytes in {dimensions} dimensions")]
        )
    shape = tuple(np.frombuffer(raw, ">u4", count=dimensions, offset=4).astype(int))
    if len(raw) - head != math.prod(shape):
        raise InputError(
            str(path),
            [Mistake("data", f"{len(raw) - head} bytes; the header says {math.prod(shape)}")],
        )
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)
