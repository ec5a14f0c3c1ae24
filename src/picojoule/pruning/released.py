"""Networks pruned with picojoule that come with it: a card each, and packed sparse weights.

A released model is ``NAME.json`` (the card: accuracy, energy, recipe, the command that made it) and
``NAME.safetensors``. Pruned weights are packed as a bitmap and the values that are not zero, and
weights of few bits as 8-bit codes, so a file is about as small as the network; unpacked they are
the weights bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from picojoule.errors import PicojouleError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import nn

BITMAP, VALUES, SHAPE, STEPS = "bitmap/", "values/", "shape/", "steps/"
_WORTH_PACKING = 0.9  # density up to which a bitmap and values are smaller


def cards() -> tuple[Mapping[str, Any], ...]:
    """The cards of all released models, by name."""
    return _cards()


@cache
def _cards() -> tuple[Mapping[str, Any], ...]:
    folder = resources.files("picojoule") / "data" / "models"
    try:
        entries = [entry for entry in folder.iterdir() if entry.name.endswith(".json")]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    read = [json.loads(entry.read_text("utf-8")) for entry in entries]
    return tuple(sorted(read, key=lambda card: str(card["name"])))


def load_model(name: str, *, narrow: bool = False) -> nn.Module:
    """A released network, with its weights, in evaluation mode.

    Args:
        narrow: the network that the card's energy is of: without its dead channels, as a graph.
            Otherwise, and where the run took weights alone (paper mode), in the shapes of the
            unpruned network, with zeros.

    Raises:
        PicojouleError: there is none of that name.
    """
    by_name = {card["name"]: card for card in cards()}
    if name not in by_name:
        raise PicojouleError(
            f"no released model {name!r}{did_you_mean(name, tuple(by_name))}; there are "
            f"{', '.join(by_name) or 'none'}"
        )
    import torch

    from picojoule.frontends.torch_declared import with_declared_widths
    from picojoule.pruning.energy_aware.narrowing import Narrowing
    from picojoule.pruning.graph.tracing import trace
    from picojoule.pruning.layers.capture import find_layers
    from picojoule.pruning.networks import NETWORKS

    card = by_name[name]
    file = resources.files("picojoule") / "data" / "models" / f"{name}.safetensors"
    make, shape = NETWORKS[card["network"]]
    model = make(card["classes"])
    tensors = unpacked(file.read_bytes())
    model.load_state_dict(tensors)
    bits = card.get("bits", {})
    with_declared_widths(model, bits)
    model.eval()
    if not narrow or not card.get("channels"):
        return model
    example = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    traced = trace(model, (example[:1],))
    narrowed = Narrowing(traced, example, find_layers(traced)).checked(tensors, example)
    return with_declared_widths(narrowed, bits)


def packed(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Tensors as safetensors: sparse ones as a bitmap and what is not zero, grids as small numbers.

    Weights of few bits, whose rows are whole multiples of a step each, become 8-bit codes and
    steps, if these give the weights back bit for bit.
    """
    import numpy as np
    import torch
    from safetensors.torch import save

    tensors_packed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            tensors_packed[name] = tensor.detach().clone()
            continue
        flat = tensor.detach().reshape(-1)
        support = flat != 0
        grid = None
        if tensor.dim() > 1 and tensor.dtype == torch.float32:
            grid = _grid(tensor.detach().flatten(1).numpy())
        if grid is not None:
            flat = torch.from_numpy(grid[0]).reshape(-1)
            tensors_packed[STEPS + name] = torch.from_numpy(grid[1])
        if int(support.sum()) > _WORTH_PACKING * len(flat):
            tensors_packed[name] = flat.reshape(tensor.shape).clone()
            continue
        tensors_packed[BITMAP + name] = torch.from_numpy(np.packbits(support.numpy()))
        tensors_packed[VALUES + name] = flat[support].clone()
        tensors_packed[SHAPE + name] = torch.tensor(tensor.shape, dtype=torch.int32)
    return save({key: tensors_packed[key] for key in sorted(tensors_packed)})


def _grid(
    rows: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]] | None:
    """Codes and steps with ``codes * step == row``, each rounded to single precision; or nothing.

    For each possible code of a row's largest value, every value confines the step to an interval;
    where all of these meet, their middle is a step.
    """
    import numpy as np

    size = np.abs(rows).astype(np.float64)
    slack = np.spacing(np.abs(rows)).astype(np.float64) / 2
    largest = size.max(1)
    steps = np.where(largest > 0, 0.0, 1.0)
    codes = np.zeros(rows.shape, np.int8)
    for most in range(1, 128):
        (left,) = np.nonzero(steps == 0)
        if not len(left):
            return codes, steps
        tried = np.rint(size[left] * (most / largest[left])[:, None])
        with np.errstate(divide="ignore", invalid="ignore"):
            low = np.where(tried > 0, (size[left] - slack[left]) / tried, 0.0).max(1)
            high = np.where(tried > 0, (size[left] + slack[left]) / tried, np.inf).min(1)
        step = (low + high) / 2
        signed = np.sign(rows[left]) * tried
        good = ((signed * step[:, None]).astype(np.float32) == rows[left]).all(1)
        steps[left[good]] = step[good]
        codes[left[good]] = signed[good].astype(np.int8)
    return None if (steps == 0).any() else (codes, steps)


def unpacked(raw: bytes) -> dict[str, torch.Tensor]:
    """The inverse of :func:`packed`."""
    import numpy as np
    import torch
    from safetensors.torch import load

    stored = load(raw)
    tensors_unpacked: dict[str, torch.Tensor] = {}
    for key, tensor in stored.items():
        if key.startswith(BITMAP):
            name = key.removeprefix(BITMAP)
            shape = tuple(stored[SHAPE + name].tolist())
            count = int(np.prod(shape, dtype=np.int64))
            support = torch.from_numpy(np.unpackbits(tensor.numpy(), count=count).astype(bool))
            values = stored[VALUES + name]
            flat = torch.zeros(count, dtype=values.dtype)
            flat[support] = values
            tensors_unpacked[name] = flat.reshape(shape)
        elif not key.startswith((VALUES, SHAPE, STEPS)):
            tensors_unpacked[key] = tensor
    for name, codes in tensors_unpacked.items():
        if STEPS + name in stored:
            steps = stored[STEPS + name].reshape(-1, *(1,) * (codes.dim() - 1))
            tensors_unpacked[name] = (codes.double() * steps).float()
    return tensors_unpacked
