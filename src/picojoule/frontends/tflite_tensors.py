"""Widths and densities of TFLite tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from picojoule.frontends.products import ProblemError
from picojoule.frontends.tflite_file import StoredTensor

FLOAT_BITS = 16
"""Floats of training count as 16 bits, as in every reader."""

# TensorType -> bits stored for one value. Those from 19 on (INT2, UINT4, FLOAT8_E4M3FN,
# FLOAT8_E5M2) are of newer schemas.
STORED: Mapping[int, int] = MappingProxyType(
    {0: 32, 1: 16, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 9: 8, 10: 64, 12: 64, 15: 32, 16: 16}
    | {17: 4, 18: 16, 19: 2, 20: 4, 21: 8, 22: 8}
)
_FLOATS = frozenset({0, 1, 10, 18})
_NUMPY = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 4: "<i8", 6: "u1", 7: "<i2", 9: "i1", 10: "<f8"}
_NUMPY |= {12: "<u8", 15: "<u4", 16: "<u2"}
_WITHOUT_SIGN: Mapping[int, tuple[str, int]] = {
    18: ("<u2", 0x7FFF),
    21: ("u1", 0x7F),
    22: ("u1", 0x7F),
}
_SIGNED_PARTS = frozenset({17, 19})

_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor known before inference.

    Args:
        bits: the width in which its values are stored.
        tensor: where its values are; None if they are not in the file.
        count: how many values it has once it is dense.
        scale_bits: what scales and zero points of blocks add to each of them.
    """

    bits: int
    tensor: StoredTensor | None
    count: int
    scale_bits: float = 0.0


def width_of(kind: int) -> int:
    """Bits of a value of the schema's TensorType *kind*."""
    return FLOAT_BITS if kind in _FLOATS else STORED.get(kind, FLOAT_BITS)


def density_of(constant: Constant) -> float | None:
    """Fraction of values that are not zero; None if no value is known, or none is not zero.

    Raises:
        ProblemError: there are fewer or more bytes than the shape needs.
    """
    tensor = constant.tensor
    if tensor is None or tensor.data is None or not constant.count:
        return None
    if tensor.blocks is not None and tensor.blocks.zero_points > 0:
        return 1.0  # what means zero is another number in every block
    bits = STORED.get(tensor.kind)
    if bits is None:
        raise ProblemError(f"weights of tensor type {tensor.kind}")
    count = len(tensor.data) * 8 // bits if tensor.sparse else math.prod(tensor.shape)
    needed = (count * bits + 7) // 8
    if len(tensor.data) != needed:
        raise ProblemError(
            f"{len(tensor.data)} bytes are stored for {count} weights, {needed} are needed"
        )
    nonzero = _nonzero(tensor, bits, count)
    return min(1.0, nonzero / constant.count) if nonzero else None


def _nonzero(tensor: StoredTensor, bits: int, count: int) -> int:
    assert tensor.data is not None
    points = np.asarray(tensor.zero_point, dtype=np.int64)
    if tensor.kind in _FLOATS or tensor.sparse:  # the values left out of a sparse tensor are zeros
        points = points[:1] * 0 if tensor.kind in _FLOATS else points[:1]
    inner = math.prod(tensor.shape[tensor.axis + 1 :])
    nonzero = done = 0
    for start in range(0, len(tensor.data), _AT_ONCE):
        values = _decoded(tensor.data[start : start + _AT_ONCE], tensor.kind, bits)
        values = values[: count - done]
        if len(points) == 1:
            nonzero += int(np.count_nonzero(values != points[0]))
        else:
            index = np.arange(done, done + len(values)) // inner % len(points)
            nonzero += int(np.count_nonzero(values != points[index]))
        done += len(values)
    return nonzero


def _decoded(piece: NDArray[np.uint8], kind: int, bits: int) -> NDArray[np.generic]:
    """Numbers, or bit patterns in which a zero of either sign is 0."""
    if kind in _NUMPY:
        return np.frombuffer(piece.tobytes(), dtype=_NUMPY[kind])
    if kind in _WITHOUT_SIGN:
        pattern, mask = _WITHOUT_SIGN[kind]
        masked: NDArray[np.generic] = np.frombuffer(piece.tobytes(), dtype=pattern) & mask
        return masked
    # Two or four values per byte, the first in the lowest bits.
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = ((piece[:, None] >> shifts) & ((1 << bits) - 1)).reshape(-1)
    if kind in _SIGNED_PARTS:
        sign = 1 << (bits - 1)
        return (values.astype(np.int8) ^ sign) - sign
    return values
