"""What flows through a network on real data: layers found, densities counted, matrices gathered.

Layers are found on the traced network; their calls are seen where they happen: every call of a
convolution or a linear function with a parameter of the network as its weight, by module or by
function, passes torch's own function mode. The n-th call of a parameter is the n-th of its layers
in the workload, so that what is measured here can be priced there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from picojoule.errors import PicojouleError
from picojoule.frontends.torch_export import layer_name
from picojoule.pruning.datasets import Samples
from picojoule.pruning.graph.tracing import Call, TracedNetwork
from picojoule.pruning.modes import evaluating

_LAYERS = frozenset(
    {
        torch.conv1d,
        torch.conv2d,
        functional.conv1d,
        functional.conv2d,
        functional.linear,
        torch._C._nn.linear,
    }
)
_OPERATORS = {"conv1d": 1, "conv2d": 2, "linear": 0}
"""The operators whose weights are chosen, as the exported program names them, and their axes."""
# What an accelerator does to a value before it stores it: the stored output has the density it
# has after these. An addition of two maps is not among them; both maps are stored before it.
_FUSED = frozenset(
    {
        functional.relu,
        torch.relu,
        torch.relu_,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        functional.relu_,
        functional.relu6,
        functional.hardtanh,
        functional.hardtanh_,
        functional.batch_norm,
        torch.batch_norm,
        functional.dropout,
        torch.dropout,
        # as graphs call them (picojoule.pruning.graph.rebuilding)
        torch.ops.aten.relu.default,
        torch.ops.aten.relu_.default,
        torch.ops.aten.relu6.default,
        torch.ops.aten.relu6_.default,
        torch.ops.aten.hardtanh.default,
        torch.ops.aten.hardtanh_.default,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How a layer's weight meets its input; a linear layer is a convolution over one tap."""

    kind: str
    groups: int = 1
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class PrunableLayer:
    """A layer whose weights can be chosen anew.

    Args:
        name: as the network calls it; ``parameter`` is the name of its weight.
        calls: names of all uses in one inference: a weight that is used twice is two layers of
            the workload.
        bias: the name of its bias, where it has one.
        module: path in the traced graph, where it is a module there.
    """

    name: str
    parameter: str
    geometry: Geometry
    shape: tuple[int, ...]
    calls: tuple[str, ...]
    bias: str | None = None
    module: str | None = None

    @property
    def matrix_shape(self) -> tuple[int, int, int]:
        """``[groups, rows, columns]`` of the weight as matrices."""
        groups = self.geometry.groups
        columns = 1
        for size in self.shape[1:]:
            columns *= size
        return groups, self.shape[0] // groups, columns

    def to_matrices(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight as ``[groups, rows, columns]``, tap by tap with channels innermost."""
        flat = weight.reshape(*self.shape[:2], -1).mT
        return flat.reshape(self.matrix_shape)

    def from_matrices(self, matrices: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`to_matrices`."""
        taps = self.matrix_shape[2] // self.shape[1]
        flat = matrices.reshape(self.shape[0], taps, self.shape[1])
        return flat.mT.reshape(self.shape)

    def columns(self, inputs: torch.Tensor) -> torch.Tensor:
        """im2col: the input as ``[batch, groups, columns, positions]``."""
        groups = self.geometry.groups
        if self.geometry.kind == "linear":
            flat = inputs.reshape(len(inputs), -1, inputs.shape[-1])
            return flat.mT[:, None]
        kernel = self.shape[2:]
        stride, padding = self.geometry.stride, self.geometry.padding
        dilation = self.geometry.dilation
        if len(kernel) == 1:
            inputs, kernel = inputs[:, :, None], (1, *kernel)
            stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
        patches = functional.unfold(
            inputs, kernel, dilation=dilation, padding=padding, stride=stride
        )
        taps = kernel[0] * kernel[1]
        batch, _, positions = patches.shape
        patches = patches.reshape(batch, groups, -1, taps, positions).transpose(2, 3)
        return patches.reshape(batch, groups, -1, positions)

    def rows(self, outputs: torch.Tensor) -> torch.Tensor:
        """Outputs as ``[batch, groups, rows, positions]``."""
        if self.geometry.kind == "linear":
            flat = outputs.reshape(len(outputs), -1, outputs.shape[-1])
            return flat.mT[:, None]
        batch = len(outputs)
        return outputs.reshape(batch, self.geometry.groups, self.matrix_shape[1], -1)


@dataclass(frozen=True, slots=True)
class Densities:
    """Shares of non-zero values of a layer's input (padding apart) and of its stored output."""

    input: float
    output: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Gathered:
    """A layer's matrices over calibration data, and some positions of it as they are.

    Args:
        gram: H = X X', ``[groups, columns, columns]``, the ridge included.
        cross: G = Y X', ``[groups, rows, columns]``, the ridge's pull to the weights included.
        energies: |Y|^2 by row, ``[groups, rows]``; errors are made relative by their sum.
        samples: X ``[groups, columns, n]`` and Y ``[groups, rows, n]``.
        means: of X and Y over all positions, if they were taken off (the bias is then fitted).
    """

    gram: torch.Tensor
    cross: torch.Tensor
    energies: torch.Tensor
    samples: tuple[torch.Tensor, torch.Tensor]
    means: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def energy(self) -> float:
        return max(float(self.energies.sum()), 1e-30)

    def of_rows(self, alive: torch.Tensor) -> Gathered:
        """The matrices with nothing to explain in the rows, ``[groups, rows]``, that are gone."""
        if bool(alive.all()):
            return self
        x, y = self.samples
        return replace(
            self,
            cross=self.cross * alive[..., None],
            energies=self.energies * alive,
            samples=(x, y * alive[..., None]),
        )


class _Seen(Exception):  # noqa: N818 - no error: a way out
    """Ends a forward pass when what was wanted has been seen."""


Seen = Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor | None]


class LayerCalls(TorchFunctionMode):
    """Sees every call of a torch function; the projections of attention as calls of their own."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        settings = dict(kwargs or {})
        if func is functional.multi_head_attention_forward:
            return self._attention(args, settings)
        result = func(*args, **settings)
        self.called(func, args, settings, result)
        return result

    def called(self, func: Any, args: Sequence[Any], settings: dict[str, Any], result: Any) -> None:
        """Take note of a call."""
        raise NotImplementedError

    @staticmethod
    def is_layer(func: Any) -> bool:
        """Whether a function multiplies by a weight that can be pruned."""
        return func in _LAYERS

    def _attention(self, args: Sequence[Any], settings: dict[str, Any]) -> Any:
        """What nn.MultiheadAttention calls.

        It projects inside, where no mode sees it. Here its outputs are taken before the last
        projection (the identity stands for it), and the projections are made under this mode.
        Queries apart from keys share one stored matrix in part; such a matrix is not seen.
        """
        asked = _ATTENTION.bind(*args, **settings)
        asked.apply_defaults()
        operands = asked.arguments
        weight, bias = operands["out_proj_weight"], operands["out_proj_bias"]
        query, key, value = operands["query"], operands["key"], operands["value"]
        with self:
            if operands["use_separate_proj_weight"]:
                functional.linear(query, operands["q_proj_weight"])
                functional.linear(key, operands["k_proj_weight"])
                functional.linear(value, operands["v_proj_weight"])
            elif query is key and key is value:
                functional.linear(query, operands["in_proj_weight"], operands["in_proj_bias"])
        operands["out_proj_weight"] = torch.eye(weight.shape[1]).to(weight)
        operands["out_proj_bias"] = None
        mixed, shares = functional.multi_head_attention_forward(*asked.args, **asked.kwargs)
        with self:
            return functional.linear(mixed, weight, bias), shares


_ATTENTION = inspect.signature(functional.multi_head_attention_forward)


def weight_and_bias(args: Sequence[Any], settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Of a convolution or a linear function."""
    return (
        args[1] if len(args) > 1 else settings.get("weight"),
        args[2] if len(args) > 2 else settings.get("bias"),
    )


_NO_CALLS: Iterator[str] = iter(())


class _Watch(LayerCalls):
    """Sees every layer's call; ``seen`` gets (name of the call, input, output, bias)."""

    def __init__(
        self, layers: Mapping[int, PrunableLayer], seen: Seen, fused: Seen | None = None
    ) -> None:
        super().__init__()
        self._left = {key: iter(layer.calls) for key, layer in layers.items()}
        self._seen = seen
        self._fused = fused
        self._origin: dict[int, tuple[str, torch.Tensor]] = {}

    def called(self, func: Any, args: Sequence[Any], settings: dict[str, Any], result: Any) -> None:
        if func in _LAYERS:
            weight, bias = weight_and_bias(args, settings)
            call = next(self._left.get(id(weight), _NO_CALLS), None)
            if call is not None:
                self._seen(call, args[0] if args else settings["input"], result, bias)
                if self._fused is not None:
                    # The tensor is kept, so that no other can get its id in this pass.
                    self._origin[id(result)] = (call, result)
        elif self._fused is not None and func in _FUSED and args:
            origin = self._origin.get(id(args[0]))
            if origin is not None:
                self._fused(origin[0], args[0], result, None)
                self._origin[id(result)] = (origin[0], result)


def find_layers(traced: TracedNetwork) -> tuple[PrunableLayer, ...]:
    """The layers of a network that can be pruned, in the order in which they first run.

    Those are convolutions and linear functions with a parameter of the network as their weight.
    """
    calls: dict[str, list[Call]] = {}
    for call in traced.calls:
        if call.weight is not None and call.operator in _OPERATORS:
            calls.setdefault(call.weight, []).append(call)
    layers = []
    for parameter, uses in calls.items():
        geometries = {_geometry(call, traced.shapes[parameter]) for call in uses}
        geometry = geometries.pop()
        if geometries or geometry is None:
            continue  # used in two ways, or padded unevenly: it stays as it is
        layers.append(
            PrunableLayer(
                name=layer_name(parameter) or uses[0].layers[0],
                parameter=parameter,
                geometry=geometry,
                shape=traced.shapes[parameter],
                calls=tuple(call.layers[0] for call in uses),
                bias=uses[0].bias,
                module=uses[0].module,
            )
        )
    return tuple(layers)


def _geometry(call: Call, shape: tuple[int, ...]) -> Geometry | None:
    if call.operator == "linear":
        return Geometry(kind="linear")
    spatial = _OPERATORS[call.operator]

    def numbers(name: str, default: int) -> tuple[int, ...]:
        value = call.settings.get(name, default)
        return (
            (value,) * spatial
            if isinstance(value, int)
            else tuple(value) * (spatial if len(value) == 1 else 1)
        )

    dilation = numbers("dilation", 1)
    padding: tuple[int, ...]
    if call.settings.get("padding") == "valid":
        padding = (0,) * spatial
    elif call.settings.get("padding") == "same":
        totals = [(k - 1) * d for k, d in zip(shape[2:], dilation, strict=True)]
        if any(total % 2 for total in totals):
            return None  # torch pads such a layer at one end more
        padding = tuple(total // 2 for total in totals)
    else:
        padding = numbers("padding", 0)
    return Geometry(
        kind="conv",
        groups=int(call.settings.get("groups", 1)),
        stride=numbers("stride", 1),
        padding=padding,
        dilation=dilation,
    )


def last_layer(model: nn.Module, inputs: torch.Tensor) -> tuple[str, nn.Module]:
    """The parameter that the last convolution or linear layer reads, and the module it is of.

    Raises:
        PicojouleError: there is no such layer.
    """
    by_id = {id(p): name for name, p in reversed(list(model.named_parameters()))}
    parameters: list[str] = []

    class Names(LayerCalls):
        def called(
            self, func: Any, args: Sequence[Any], settings: dict[str, Any], result: Any
        ) -> None:
            del result
            if func in _LAYERS and id(weight_and_bias(args, settings)[0]) in by_id:
                parameters.append(by_id[id(weight_and_bias(args, settings)[0])])

    with evaluating(model), torch.no_grad(), Names():
        model(inputs)
    if not parameters:
        raise PicojouleError(
            f"{type(model).__name__} runs no convolution or linear layer with weights of its own"
        )
    return parameters[-1], model.get_submodule(parameters[-1].rpartition(".")[0])


def _names(layers: Sequence[PrunableLayer], model: nn.Module) -> dict[int, PrunableLayer]:
    parameters = dict(model.named_parameters())
    return {id(parameters[layer.parameter]): layer for layer in layers}


def watch_values(
    model: nn.Module, layers: Sequence[PrunableLayer], inputs: torch.Tensor
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The input and the stored output of every call, for one batch.

    An output is what an accelerator stores: behind its batch norm and ReLU where it has them.
    """
    values: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def seen(
        call: str, data: torch.Tensor, result: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        del bias
        values[call] = (data, result)

    def fused(
        call: str, data: torch.Tensor, result: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        del data, bias
        values[call] = (values[call][0], result)

    with evaluating(model), torch.no_grad(), _Watch(_names(layers, model), seen, fused):
        model(inputs)
    return values


def measure_densities(
    model: nn.Module,
    layers: Sequence[PrunableLayer],
    samples: Samples,
    *,
    batch: int = 256,
) -> dict[str, Densities]:
    """Count zeros on real data, by name of the call (``fc``, and ``fc_2`` for a second use)."""
    counts: dict[str, list[int]] = {}
    for data, _ in samples.batches(batch):
        for call, tensors in watch_values(model, layers, data).items():
            totals = counts.setdefault(call, [0, 0, 0, 0])
            for place, tensor in enumerate(tensors):
                totals[2 * place] += int(torch.count_nonzero(tensor))
                totals[2 * place + 1] += tensor.numel()
    return {call: Densities(n[0] / n[1], n[2] / n[3]) for call, n in counts.items()}


def gather(
    model: nn.Module,
    layers: Sequence[PrunableLayer],
    samples: Samples,
    *,
    teacher: nn.Module | None = None,
    generator: torch.Generator | None = None,
    positions: int = 64,
    kept: int = 512,
    ridge: float = 1e-4,
    centre: bool = False,
    batch: int = 128,
) -> dict[str, Gathered]:
    """The matrices of *layers*: inputs as *model* has them, outputs as *teacher* gives them.

    Args:
        teacher: the network whose outputs are the target; by default *model* itself.
        generator: draws the positions.
        positions: of each image and layer that enter H and G; all, if there are fewer.
        kept: positions in all that are kept as they are, for rules that need more than H and G.
        ridge: added to H's diagonal in units of its mean, with the same pull in G towards the
            present weights: directions that the data never shows keep their weights.
        centre: take the means off, of layers that have a bias: it is fitted along.
    """
    teacher = teacher or model
    generator = generator or torch.Generator().manual_seed(0)
    by_call = {call: layer for layer in layers for call in layer.calls}
    sums: dict[str, _LayerSums] = {}
    with evaluating(model), evaluating(teacher), torch.no_grad():
        parameters = dict(model.named_parameters())
        for layer in layers:
            precise = layer.matrix_shape[2] <= _PRECISE
            sums[layer.name] = _LayerSums(layer, torch.float64 if precise else torch.float32)
        share = max(1, -(-kept // max(1, -(-len(samples) // batch))))
        for data, _ in samples.batches(batch):
            targets = _outputs(teacher, layers, data)
            wanted = set(by_call)

            def seen(
                call: str,
                inputs: torch.Tensor,
                result: torch.Tensor,
                bias: torch.Tensor | None,
                targets: dict[str, torch.Tensor] = targets,
                wanted: set[str] = wanted,
            ) -> None:
                del result, bias
                layer = by_call[call]
                sums[layer.name].add(inputs, targets[call], generator, positions, share)
                wanted.discard(call)
                if not wanted:
                    raise _Seen

            with suppress(_Seen), _Watch(_names(layers, model), seen):
                model(data)
        return {
            layer.name: sums[layer.name].finished(
                layer.to_matrices(parameters[layer.parameter]),
                ridge,
                centre and layer.bias is not None,
                kept,
            )
            for layer in layers
        }


_PRECISE = 2048  # columns up to which H is kept in double precision


def _outputs(
    teacher: nn.Module, layers: Sequence[PrunableLayer], data: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The outputs of the layers' calls without their bias."""
    outputs: dict[str, torch.Tensor] = {}
    wanted = {call for layer in layers for call in layer.calls}

    def seen(
        call: str, inputs: torch.Tensor, result: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        del inputs
        if bias is not None:
            shape = (-1, *(1,) * (result.dim() - 2)) if result.dim() > 2 else (-1,)
            linear = by_call[call].geometry.kind == "linear"
            result = result - (bias if linear else bias.reshape(shape))
        outputs[call] = result
        wanted.discard(call)
        if not wanted:
            raise _Seen

    by_call = {call: layer for layer in layers for call in layer.calls}
    with suppress(_Seen), _Watch(_names(layers, teacher), seen):
        teacher(data)
    missing = wanted - set(outputs)
    if missing:
        raise PicojouleError(f"the network does not always run {', '.join(sorted(missing))}")
    return outputs


class _LayerSums:
    """Running sums of one layer's matrices."""

    def __init__(self, layer: PrunableLayer, dtype: torch.dtype) -> None:
        groups, rows, columns = layer.matrix_shape
        self._layer = layer
        self._dtype = dtype
        self._gram = torch.zeros(groups, columns, columns, dtype=dtype)
        self._cross = torch.zeros(groups, rows, columns, dtype=dtype)
        self._inputs = torch.zeros(groups, columns, dtype=dtype)
        self._outputs = torch.zeros(groups, rows, dtype=dtype)
        self._energies = torch.zeros(groups, rows, dtype=torch.float64)
        self._count = 0
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(
        self,
        inputs: torch.Tensor,
        target: torch.Tensor,
        generator: torch.Generator,
        positions: int,
        share: int,
    ) -> None:
        x = self._layer.columns(inputs)
        y = self._layer.rows(target)
        if x.shape[-1] > positions:
            picked = torch.randperm(x.shape[-1], generator=generator)[:positions]
            x, y = x[..., picked], y[..., picked]
        # [groups, columns, batch x positions]
        x = x.permute(1, 2, 0, 3).flatten(2)
        y = y.permute(1, 2, 0, 3).flatten(2)
        drawn = torch.randperm(x.shape[-1], generator=generator)[:share]
        self._kept.append((x[..., drawn].clone(), y[..., drawn].clone()))
        # One batch's product in single precision; the sum over batches in double.
        self._gram += (x @ x.mT).to(self._dtype)
        self._cross += (y @ x.mT).to(self._dtype)
        self._inputs += x.sum(-1).to(self._dtype)
        self._outputs += y.sum(-1).to(self._dtype)
        self._energies += y.square().sum(-1, dtype=torch.float64)
        self._count += x.shape[-1]

    def finished(self, weights: torch.Tensor, ridge: float, centre: bool, kept: int) -> Gathered:
        gram, cross, energies, means = self._gram, self._cross, self._energies, None
        x = torch.cat([part for part, _ in self._kept], -1)[..., :kept]
        y = torch.cat([part for _, part in self._kept], -1)[..., :kept]
        if centre:
            mean_x, mean_y = self._inputs / self._count, self._outputs / self._count
            means = (mean_x, mean_y)
            gram = gram - self._count * mean_x[:, :, None] * mean_x[:, None, :]
            cross = cross - self._count * mean_y[:, :, None] * mean_x[:, None, :]
            energies = energies - self._count * mean_y.square()
            x = x - mean_x[..., None].to(x.dtype)
            y = y - mean_y[..., None].to(y.dtype)
        if ridge:
            size = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-30) * ridge
            gram = gram.clone()
            gram.diagonal(dim1=-2, dim2=-1).add_(size[:, None])
            pulled = weights.to(self._dtype) * size[:, None, None]
            cross = cross + pulled
            energies = energies + (pulled * weights).sum(-1)
        return Gathered(
            gram=gram, cross=cross, energies=energies.clamp_min(0), samples=(x, y), means=means
        )
