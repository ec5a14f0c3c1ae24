"""Whether a network and its data fit each other: asked before hours are spent on them."""

from __future__ import annotations

import torch
from torch import nn

from picojoule.completeness import listed
from picojoule.errors import PicojouleError
from picojoule.pruning.datasets import Data, Samples, check_data
from picojoule.pruning.modes import evaluating
from picojoule.workload import Workload


def check_task(model: nn.Module, data: Data, *, judged: bool = True) -> None:
    """Compression computes in single precision, on finite numbers, and judges by classes.

    Args:
        judged: whether labels are compared with what the network gives; not where the caller
            brings both the training and the judgement.

    Raises:
        PicojouleError: what does not fit, and what would.
    """
    check_data(data)
    sets = {"train": data.train, "validate": data.validate}
    if data.test is not None:
        sets["test"] = data.test
    _check_parameters(model)
    _check_inputs(sets)
    outputs = _outputs(model, data.train.inputs[:2])
    if judged:
        _check_classes(model, outputs, len(data.train.inputs[:2]), sets)


def check_complete(network: Workload, *, allow_incomplete: bool) -> None:
    """A network is compressed by its price, so all that multiplies must be in it.

    Raises:
        PicojouleError: operators multiply, or may, and are in no layer; unless that is allowed.
    """
    if network.complete or allow_incomplete:
        return
    raise PicojouleError(
        f"the price of {network.name} would be incomplete: {listed(network.unmodelled)} multiply, "
        "or may, and are in no layer; --allow-incomplete (allow_incomplete=True in Python) goes by "
        "the price of the other layers; please report these operators"
    )


def check_trained(model: nn.Module) -> None:
    """Whether any weight may change: frozen ones stay as they are.

    Raises:
        PicojouleError: all are frozen.
    """
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    if weights and not any(weight.requires_grad for weight in weights):
        raise PicojouleError(
            f"all weights of {type(model).__name__} are frozen (requires_grad=False), and frozen "
            "weights stay as they are; model.requires_grad_(True), or of the layers that may change"
        )


def _check_parameters(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        # The parameters of a lazy module have no values before the first call.
        has_values = not nn.parameter.is_lazy(tensor)
        if has_values and tensor.is_meta:
            raise PicojouleError(
                f"{name} has no values (it is on the device meta): give the network its weights"
            )
        if has_values and tensor.layout != torch.strided:
            raise PicojouleError(
                f"{name} is sparse ({str(tensor.layout).removeprefix('torch.')}): compression "
                "computes with dense tensors; give tensor.to_dense()"
            )
        if not tensor.is_floating_point() and not tensor.is_complex():
            continue
        if tensor.dtype != torch.float32:
            raise PicojouleError(
                f"{name} is {_type(tensor)}: compression computes in float32; "
                "give model.float(), and inputs of float32"
            )
        if has_values and not bool(torch.isfinite(tensor).all()):
            raise PicojouleError(f"{name} holds values that are not finite (nan or inf)")


def _check_inputs(sets: dict[str, Samples]) -> None:
    first = sets["train"].inputs
    for name, samples in sets.items():
        inputs = samples.inputs
        if inputs.shape[1:] != first.shape[1:] or inputs.dtype != first.dtype:
            raise PicojouleError(
                f"inputs of {name} are {_described(inputs)}, those of train {_described(first)}; "
                "one shape and type is needed"
            )
        if not inputs.is_floating_point():
            continue
        if inputs.dtype != torch.float32:
            raise PicojouleError(
                f"inputs of {name} are {_type(inputs)}: compression computes in float32; "
                "give inputs.float()"
            )
        bad = ~torch.isfinite(inputs).flatten(1).all(1)
        if bool(bad.any()):
            raise PicojouleError(
                f"sample {int(bad.nonzero()[0])} of {name} holds values that are not finite "
                f"({int(bad.sum())} of {len(inputs)} samples do)"
            )


def _outputs(model: nn.Module, inputs: torch.Tensor) -> object:
    try:
        with evaluating(model), torch.no_grad():
            return model(inputs)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PicojouleError(
            f"{type(model).__name__} does not take the inputs of its data, "
            f"{_described(inputs)}: {first[:300]}"
        ) from error


def _check_classes(model: nn.Module, outputs: object, count: int, sets: dict[str, Samples]) -> None:
    name = type(model).__name__
    if not isinstance(outputs, torch.Tensor) or outputs.dim() != 2 or len(outputs) != count:
        got = _described(outputs) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise PicojouleError(
            f"{name} gives {got} for {count} inputs; one row of class scores for each is needed, "
            "or a training and a judgement of your own (finetune= and accuracy=)"
        )
    if not bool(torch.isfinite(outputs).all()):
        raise PicojouleError(f"{name} gives values that are not finite for the first inputs")
    classes = outputs.shape[1]
    for kind, samples in sets.items():
        labels = samples.labels
        if labels.dim() != 1 or labels.is_floating_point():
            raise PicojouleError(
                f"labels of {kind} are {_described(labels)}; one whole number each is needed"
            )
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest >= classes:
            raise PicojouleError(
                f"labels of {kind} go from {lowest} to {highest}, and {name} has {classes} "
                f"outputs: classes 0 to {classes - 1}"
            )


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _described(tensor: torch.Tensor) -> str:
    return f"{_type(tensor)} {list(tensor.shape)}"
