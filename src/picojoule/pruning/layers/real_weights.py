"""The network that is compressed: a copy whose weights are what the layers multiply by.

Some networks compute their weights before every use: masks of ``torch.nn.utils.prune`` that were
not removed, weight and spectral normalisation, other parametrizations, convolutions that
standardise (BiT). An accelerator never sees how: at inference the computed weight is a constant. In
the copy it is the parameter.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as masking

from picojoule.errors import PicojouleError
from picojoule.frontends.torch_declared import declared_widths, with_declared_widths
from picojoule.pruning.layers.capture import LayerCalls, weight_and_bias
from picojoule.pruning.modes import evaluating

_NORMALISED: tuple[tuple[str, Callable[..., nn.Module]], ...] = (
    ("WeightNorm", nn.utils.remove_weight_norm),
    ("SpectralNorm", nn.utils.remove_spectral_norm),
)
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
_SETTINGS = ("stride", "padding", "dilation", "groups")
_SAME = 1e-4  # of the largest output: the same sums, perhaps in another order


@dataclass(frozen=True, eq=False)
class PlainNetwork:
    """A network that computes what the user's does, with plain weights.

    Args:
        hidden: buffers (of a module's path, by name) that the user's network keeps out of its
            state: in the copy they are part of it, since a network without them is another one.
    """

    model: nn.Module
    hidden: tuple[tuple[str, str], ...]

    def as_given(self, network: nn.Module) -> nn.Module:
        """A network of this structure, its hidden buffers out of its state again."""
        for path, name in self.hidden:
            network.get_submodule(path)._non_persistent_buffers_set.add(name)
        return network


def with_real_weights(model: nn.Module, example: Sequence[torch.Tensor]) -> PlainNetwork:
    """A copy of *model*, which is left as it was, with the weights that its layers multiply by.

    Args:
        example: arguments of ``forward``: what is computed from them is no weight.
    """
    plain = copied(model)
    with evaluating(plain), torch.no_grad():
        expected = plain(*example)
        changed = [_made_plain(part) for part in list(plain.modules())]
        plain, replaced = _standardised_replaced(plain, example)
        if any(changed) or replaced:
            _check_same(model, expected, plain(*example))
    hidden = []
    for path, part in plain.named_modules():
        hidden += [(path, name) for name in sorted(part._non_persistent_buffers_set)]
        part._non_persistent_buffers_set.clear()
    return PlainNetwork(plain, tuple(hidden))


def copied(model: nn.Module) -> nn.Module:
    """A deep copy, of modules too that keep a computed tensor, which torch refuses to copy."""
    kept = [
        (part, name, value)
        for part in model.modules()
        for name, value in vars(part).items()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    ]
    for part, name, _ in kept:
        del part.__dict__[name]
    try:
        twin = copy.deepcopy(model)
    finally:
        for part, name, value in kept:
            part.__dict__[name] = value
    if kept:
        twins = dict(zip(model.modules(), twin.modules(), strict=True))
        for part, name, value in kept:
            twins[part].__dict__[name] = value.detach().clone()
    return with_declared_widths(twin, declared_widths(model))  # a copied graph forgets them


def _made_plain(part: nn.Module) -> bool:
    """Make the weights that hooks and parametrizations compute plain; whether there were any."""
    changed = False
    hooks: list[Any] = list(part._forward_pre_hooks.values())
    for hook in hooks:
        kind = type(hook).__name__
        if isinstance(hook, masking.BasePruningMethod):
            masking.remove(part, hook._tensor_name)  # type: ignore[no-untyped-call]
            changed = True
        for normalised, remove in _NORMALISED:
            if kind == normalised and type(hook).__module__.startswith("torch.nn.utils"):
                trained = _trained(part, hook.name)
                remove(part, hook.name)
                getattr(part, hook.name).requires_grad_(trained)
                changed = True
    if parametrize.is_parametrized(part):
        _unparametrized(part)
        changed = True
    return changed


def _unparametrized(part: Any) -> None:
    """Put computed tensors in the place of the parametrizations.

    torch's own removal takes the attribute off the class, and a copy has the class of the module it
    was copied from: the user's network would lose its weight.
    """
    plain = {}
    for name, originals in part.parametrizations.items():
        trained = any(x.requires_grad for x in originals.parameters(recurse=False))
        plain[name] = nn.Parameter(getattr(part, name).detach().clone(), trained)
    part.__class__ = part.__class__.__bases__[0]
    del part.parametrizations
    for name, value in plain.items():
        part.register_parameter(name, value)


def _trained(part: nn.Module, name: str) -> bool:
    """Whether what a weight is computed from is trained."""
    return any(
        parameter.requires_grad
        for key, parameter in part.named_parameters(recurse=False)
        if key.startswith(f"{name}_")
    )


@dataclass(frozen=True, eq=False)
class _Use:
    """A call of a layer inside a module, with the weight that was computed for it."""

    module: nn.Module
    weight: torch.Tensor
    settings: dict[str, Any]


def _standardised_replaced(
    model: nn.Module, example: Sequence[torch.Tensor]
) -> tuple[nn.Module, tuple[str, ...]]:
    """The model with plain layers for those that compute their weight from their own parameter."""
    uses = list(_computed(model, example))
    if not uses:
        return model, ()
    # What another input gives is no weight: it is computed from the data.
    others = [x * 0.5 if x.is_floating_point() else x.flip(0) for x in example]
    again = list(_computed(model, others))
    paths: dict[nn.Module, list[str]] = {}
    for path, part in model.named_modules(remove_duplicate=False):
        paths.setdefault(part, []).append(path)
    replaced = []
    for use, other in zip(uses, again, strict=False):
        if use.module is not other.module or not torch.equal(use.weight, other.weight):
            continue
        plain = _plain_layer(use)
        for path in paths.pop(use.module, []):
            if not path:
                return plain, ("",)
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, plain)
            replaced.append(path)
    return model, tuple(replaced)


def _computed(model: nn.Module, example: Sequence[torch.Tensor]) -> Iterator[_Use]:
    """The calls whose weight is no parameter, but of the shape of the one their module has."""
    stored = {id(parameter) for parameter in model.parameters()}
    uses: list[_Use] = []

    class Uses(LayerCalls):
        def called(
            self, func: Any, args: Sequence[Any], settings: dict[str, Any], result: Any
        ) -> None:
            del result
            if not self.is_layer(func) or not running:
                return
            weight, _ = weight_and_bias(args, settings)
            part, part_input = running[-1]
            own = getattr(part, "weight", None)
            names = ("input", "weight", "bias", *_SETTINGS)
            operands = {**dict(zip(names, args, strict=False)), **settings}
            if (
                isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Linear))
                and isinstance(own, nn.Parameter)
                and id(weight) not in stored
                and weight.shape == own.shape
                and operands["input"] is part_input
            ):
                uses.append(
                    _Use(
                        part,
                        weight.detach().clone(),
                        {name: operands[name] for name in _SETTINGS if name in operands},
                    )
                )

    with _watched(model) as running, Uses():
        model(*example)
    yield from uses


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[tuple[nn.Module, Any]]]:
    """The modules that run at a moment, the innermost last, each with its first input."""
    running: list[tuple[nn.Module, Any]] = []

    def enter(part: nn.Module, args: tuple[Any, ...]) -> None:
        running.append((part, args[0] if args else None))

    def leave(_part: nn.Module, _args: tuple[Any, ...], _result: Any) -> None:
        running.pop()

    hooks = [part.register_forward_pre_hook(enter) for part in model.modules()]
    hooks += [part.register_forward_hook(leave) for part in model.modules()]
    try:
        yield running
    finally:
        for hook in hooks:
            hook.remove()


def _plain_layer(use: _Use) -> nn.Module:
    """A convolution or linear layer that multiplies by this weight."""
    part: Any = use.module
    weight, has_bias = use.weight, part.bias is not None
    layer: Any
    with torch.device("meta"):
        if isinstance(part, nn.Linear):
            layer = nn.Linear(part.in_features, part.out_features, has_bias)
        else:
            kind: Any = _CONVOLUTIONS[weight.dim() - 2]
            outs, ins, *kernel = weight.shape
            ins *= use.settings.get("groups", 1)
            layer = kind(ins, outs, tuple(kernel), bias=has_bias, **use.settings)
    layer.weight = nn.Parameter(weight, requires_grad=part.weight.requires_grad)
    if has_bias:
        layer.bias = part.bias
    plain: nn.Module = layer.train(part.training)
    return plain


def _check_same(model: nn.Module, expected: Any, actual: Any) -> None:
    if not isinstance(expected, torch.Tensor):
        return
    room = _SAME * max(float(expected.abs().max()), 1e-6)
    if not torch.allclose(actual, expected, rtol=0, atol=room, equal_nan=True):
        raise PicojouleError(
            f"{type(model).__name__} computes its weights before each use, and with the weights "
            "that were seen it computes something else; give it with plain weights "
            "(torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.prune.remove)"
        )
