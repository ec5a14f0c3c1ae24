"""Networks pruned with picojoule that come with it: a card each, and packed sparse weights.

A released model is ``NAME.json`` (the card: accuracy, energy, recipe, the command that made it) and
``NAME.safetensors``. Pruned weights are packed as a bitmap and the values that are not zero, so a
file is about as small as the network is sparse; unpacked they are the weights bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from picojoule.errors import PicojouleError, did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import nn

BITMAP, VALUES, SHAPE = "bitmap/", "values/", "shape/"
_WORTH_PACKING = 0.9  # density up to which a bitmap and values are smaller


def cards() -> tuple[Mapping[str, Any], ...]:
    """The cards of all released models, by name."""
    return _cards()


@cache
def _cards() -> tuple[Mapping[str, Any], ...]:
    folder = resources.files("picojoule") / "data" / "models"
    try:
        found = [entry for entry in folder.iterdir() if entry.name.endswith(".json")]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    read = [json.loads(entry.read_text("utf-8")) for entry in found]
    return tuple(sorted(read, key=lambda card: str(card["name"])))


def load_model(name: str, *, narrow: bool = False) -> nn.Module:
    """A released network, with its weights, in evaluation mode.

    Args:
        narrow: without its dead channels, as a graph: the network that the card's energy is of.
            Otherwise in the shapes of the unpruned network, with zeros.

    Raises:
        PicojouleError: there is none of that name.
    """
    known = {card["name"]: card for card in cards()}
    if name not in known:
        raise PicojouleError(
            f"no released model {name!r}{did_you_mean(name, tuple(known))}; there are "
            f"{', '.join(known) or 'none'}"
        )
    import torch

    from picojoule.pruning.capture import find_layers
    from picojoule.pruning.narrowing import Narrowing
    from picojoule.pruning.networks import NETWORKS

    card = known[name]
    file = resources.files("picojoule") / "data" / "models" / f"{name}.safetensors"
    make, shape = NETWORKS[card["network"]]
    model = make(card["classes"])
    tensors = unpacked(file.read_bytes())
    model.load_state_dict(tensors)
    model.eval()
    if not narrow:
        return model
    example = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    return Narrowing(model, example, find_layers(model, example[:1])).checked(tensors, example)


def packed(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Tensors as safetensors, sparse ones as a bitmap and the values that are not zero."""
    import numpy as np
    import torch
    from safetensors.torch import save

    made: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        flat = tensor.detach().reshape(-1)
        support = flat != 0
        if not flat.is_floating_point() or int(support.sum()) > _WORTH_PACKING * len(flat):
            made[name] = tensor.detach().clone()
            continue
        made[BITMAP + name] = torch.from_numpy(np.packbits(support.numpy()))
        made[VALUES + name] = flat[support].clone()
        made[SHAPE + name] = torch.tensor(tensor.shape, dtype=torch.int32)
    return save({key: made[key] for key in sorted(made)})


def unpacked(raw: bytes) -> dict[str, torch.Tensor]:
    """The inverse of :func:`packed`."""
    import numpy as np
    import torch
    from safetensors.torch import load

    stored = load(raw)
    made: dict[str, torch.Tensor] = {}
    for key, tensor in stored.items():
        if key.startswith(BITMAP):
            name = key.removeprefix(BITMAP)
            shape = tuple(stored[SHAPE + name].tolist())
            count = int(np.prod(shape, dtype=np.int64))
            support = torch.from_numpy(np.unpackbits(tensor.numpy(), count=count).astype(bool))
            values = stored[VALUES + name]
            flat = torch.zeros(count, dtype=values.dtype)
            flat[support] = values
            made[name] = flat.reshape(shape)
        elif not key.startswith((VALUES, SHAPE)):
            made[key] = tensor
    return made
