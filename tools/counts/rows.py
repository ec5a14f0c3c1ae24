"""Networks, each with two ways to its MACs: picojoule's and one that knows nothing of picojoule.

- PyTorch's flop counter (``torch.utils.flop_counter``), two flops to a MAC, as the operators run;
  oneDNN is off, so that recurrent layers run as the products they are. Tensors are on the meta
  device, which has shapes and no values.
- By hand, where that counter counts 0.
- onnxruntime, by the shapes in its profile (:mod:`tools.counts.runtime`).
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from picojoule.frontends import load
from tools.counts import runtime
from tools.counts.classifiers import CLASSIFIERS
from tools.counts.makers import MAKERS
from tools.counts.sequences import SEQUENCES, Ids
from tools.counts.shipped import SHIPPED
from tools.counts.small import BY_HAND, COUNTED

FLOP_COUNTER = "flop counter"
HAND = "by hand"
RUNTIME = "onnxruntime"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass(frozen=True)
class Row:
    """One network.

    Args:
        source: where it comes from.
        by: who counts beside picojoule.
        count: our MACs and theirs, of the whole pass.
        quick: done in about a second.
        group: what rows share that take the same work; by default a row is alone.
    """

    name: str
    source: str
    by: str
    count: Callable[[], tuple[int, int]]
    quick: bool = False
    group: str = ""


def ours(source: Any, *, values: bool = False) -> int:
    """Our MACs of a whole pass."""
    network = load(source, values=values)
    if not network.complete:
        raise ValueError(f"{network.name} is not complete: {network.unmodelled}")
    return sum(layer.macs for layer in network)


def flops_by_two(module: nn.Module, inputs: Sequence[torch.Tensor]) -> int:
    """What PyTorch's own counter sees run."""
    counter = FlopCounterMode(display=False)
    # With gradients: without them an encoder is one operator, in which the counter sees nothing.
    with (
        torch.enable_grad(),
        # The fused kernel of the CPU is not in the counter's registry; its products are.
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.mkldnn.flags(enabled=False),
        counter,
    ):
        module.eval()(*inputs)
    return int(counter.get_total_flops()) // 2


# -- PyTorch -----------------------------------------------------------------------------------

Making = tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]
NETWORKS: Mapping[str, Making] = {
    **{name: (make, (shape,)) for name, (make, shape) in CLASSIFIERS.items()},
    **MAKERS,
    **SEQUENCES,
}
"""Name -> what makes it, and the shapes of its inputs."""


def made(making: Making, device: str = "meta") -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """A network and its inputs."""
    make, shapes = making
    torch.manual_seed(0)
    with torch.device(device):
        inputs = tuple(
            torch.zeros(shape, dtype=torch.int64) if isinstance(shape, Ids) else torch.rand(shape)
            for shape in shapes
        )
        return make().eval(), inputs


def _published(name: str) -> tuple[int, int]:
    module, inputs = made(NETWORKS[name])
    return ours((module, inputs)), flops_by_two(module, inputs)


def _shipped(name: str) -> tuple[int, int]:
    make, shape = SHIPPED[name]
    return ours(name, values=True), flops_by_two(*made((make, (shape,))))


def _small(name: str) -> tuple[int, int]:
    module, inputs = COUNTED[name]
    return ours((module, inputs), values=True), flops_by_two(module, inputs)


def _by_hand(name: str) -> tuple[int, int]:
    module, inputs, macs = BY_HAND[name]
    return ours((module, inputs), values=True), macs


# -- ONNX --------------------------------------------------------------------------------------

EXPORTED = (
    "LeNet-5", "ResNet-20", "SqueezeNet 1.1", "MobileNet v2", "MobileNet v3 large",
    "EfficientNet-B0", "ShuffleNet v2", "U-Net", "DCGAN, generator", "DCGAN, critic",
    "CycleGAN", "ESPCN", "Variational autoencoder", "R(2+1)D", "PointNet", "Capsules", "DQN",
    "MiniLM, 32 words", "DeiT-Ti", "Perceiver", "WaveNet", "Conformer block", "TextCNN", "DLRM",
    "BiLSTM tagger", "Elman network",
)  # fmt: skip
"""What is exported to ONNX as well: of every kind, and not too large to run."""

LEVELS = ("ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


@functools.lru_cache(maxsize=1)
def exported(name: str) -> ModelProto:
    """A network as torch.onnx writes it."""
    module, inputs = made(NETWORKS[name], "cpu")
    program = torch.onnx.export(module, inputs, dynamo=True, verbose=False)
    assert program is not None
    model: ModelProto = program.model_proto
    return model


def feeds_of(model: ModelProto) -> dict[str, Any]:
    """Random values for the inputs of a model that are not stored; unknown sizes are 1."""
    random = np.random.default_rng(0)
    stored = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for info in model.graph.input:
        if info.name not in stored:
            kind = info.type.tensor_type
            shape = [dim.dim_value or 1 for dim in kind.shape.dim]
            element = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            whole = kind.elem_type in (TensorProto.INT32, TensorProto.INT64)
            value = np.zeros(shape) if whole else random.standard_normal(shape)
            feeds[info.name] = value.astype(element)
    return feeds


def run_macs(model: ModelProto) -> int:
    """MACs of a model as onnxruntime runs it on random inputs."""
    return runtime.macs(model, feeds_of(model))


def _exported(name: str) -> tuple[int, int]:
    model = exported(name)
    return _ours_of(model.SerializeToString()), run_macs(model)


def _optimised(name: str, level: str) -> tuple[int, int]:
    """What the optimiser wrote, beside a run of what it read."""
    model = exported(name)
    with tempfile.TemporaryDirectory() as folder:
        written = str(Path(folder) / "optimised.onnx")
        runtime.session_of(model.SerializeToString(), level, optimized_model_filepath=written)
        return ours(written), run_macs(model)


def _light(name: str) -> tuple[int, int]:
    path = LIGHT / f"light_{name}.onnx"
    return ours(path), run_macs(onnx.load(path))


def _ours_of(model: bytes) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(model)
        return ours(path)


# -- all of them -------------------------------------------------------------------------------


def _rows() -> Iterator[Row]:
    for name in NETWORKS:
        yield Row(name, "written from its paper", FLOP_COUNTER, functools.partial(_published, name))
    for name in SHIPPED:
        count = functools.partial(_shipped, name)
        yield Row(name, "shipped", FLOP_COUNTER, count, quick=True)
    for path in sorted(LIGHT.glob("*.onnx")):
        name = path.stem.removeprefix("light_")
        yield Row(path.name, "the onnx package", RUNTIME, functools.partial(_light, name))
    for name in EXPORTED:
        count = functools.partial(_exported, name)
        group = f"{name}, ONNX"
        yield Row(group, "torch.onnx", RUNTIME, count, group=group)
        for level in LEVELS:
            word = level.removeprefix("ORT_ENABLE_").lower()
            source = "torch.onnx, then onnxruntime's optimiser"
            count = functools.partial(_optimised, name, level)
            yield Row(f"{group}, optimised ({word})", source, RUNTIME, count, group=group)
    for name in COUNTED:
        count = functools.partial(_small, name)
        yield Row(f"small: {name}", "written here", FLOP_COUNTER, count, quick=True)
    for name in BY_HAND:
        count = functools.partial(_by_hand, name)
        yield Row(f"small: {name}, by hand", "written here", HAND, count, quick=True)


ROWS: Mapping[str, Row] = {row.name: row for row in _rows()}
"""Every network of the page, in its order."""
