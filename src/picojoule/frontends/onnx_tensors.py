"""Constants of an ONNX graph: their shapes, widths, and the fraction of their values not zero.

Values are looked at only when a layer uses the tensor as its weights, and those stored in a file
beside the model are read in pieces, so that a model of many gigabytes needs little memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from picojoule.workload import LARGEST_BOUND

ELEMENTS_AT_ONCE = 1 << 22

# Width of an element in storage, in bits, for the types that can be weights or activations.
STORED_BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.DOUBLE: 64,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.INT64: 64,
    TensorProto.UINT64: 64,
    TensorProto.INT32: 32,
    TensorProto.UINT32: 32,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    26: 2,  # INT2 and UINT2, which older releases of onnx do not name
    25: 2,
    TensorProto.BOOL: 8,
}

# Training keeps 32-bit floats; the accelerators of the field compute in 16 bits (Eyeriss: 16-bit
# fixed point), and so does an estimate unless the user asks for another width.
TRAINING_TYPES = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})
DEFAULT_BITS = 16

_NUMPY: dict[int, str] = {
    TensorProto.FLOAT: "<f4",
    TensorProto.DOUBLE: "<f8",
    TensorProto.FLOAT16: "<f2",
    TensorProto.INT64: "<i8",
    TensorProto.UINT64: "<u8",
    TensorProto.INT32: "<i4",
    TensorProto.UINT32: "<u4",
    TensorProto.INT16: "<i2",
    TensorProto.UINT16: "<u2",
    TensorProto.INT8: "i1",
    TensorProto.UINT8: "u1",
    TensorProto.BOOL: "u1",
}
_WITHOUT_SIGN: dict[
    int, tuple[str, int]
] = {  # bit patterns, sign bit removed: zero is zero, whichever sign it has
    TensorProto.BFLOAT16: ("<u2", 0x7FFF),
    TensorProto.FLOAT8E4M3FN: ("u1", 0x7F),
    TensorProto.FLOAT8E5M2: ("u1", 0x7F),
    TensorProto.FLOAT8E4M3FNUZ: ("u1", 0xFF),  # 0x80 is not a number here
    TensorProto.FLOAT8E5M2FNUZ: ("u1", 0xFF),
}
_SIGNED = frozenset({TensorProto.INT4, 26})


class TensorError(Exception):
    """A tensor whose values cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor known before inference.

    Args:
        shape: its dimensions.
        element_type: the ONNX type in which it is stored, before dequantization.
        tensor: where its values are; None if only their density is known.
        zero_point: the stored values that mean zero: one, or one per index of ``axis``.
        density: fraction of non-zero values, if there is no ``tensor``.
    """

    shape: tuple[int, ...]
    element_type: int
    tensor: TensorProto | None = None
    zero_point: tuple[int, ...] = (0,)
    axis: int = 0
    density: float = 1.0


def width_of(element_type: int) -> int:
    """Bits of one operand word of an ONNX element type; floats of training count as 16."""
    if element_type in TRAINING_TYPES:
        return DEFAULT_BITS
    return STORED_BITS.get(element_type, DEFAULT_BITS)


class TensorValues:
    """Densities of the tensors of one model, each looked at once.

    Args:
        folder: the model's folder; files with weights must lie inside it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[int, tuple[int, ...], int], float] = {}
        self._missing: dict[str, int] = {}
        self._zeros: list[str] = []

    def remarks(self) -> list[str]:
        """What had to be assumed of the tensors looked at."""
        said = [
            f"the values of {count} weights are not there ({place}): their density is taken for 1"
            for place, count in self._missing.items()
        ]
        if self._zeros:
            names = ", ".join(self._zeros[:3]) + (", …" if len(self._zeros) > 3 else "")
            said.append(
                f"{len(self._zeros)} weights are nothing but zeros ({names}), which are taken for "
                "placeholders: their density is taken for 1"
            )
        return said

    def density_of(self, constant: Constant) -> float:
        """Fraction of values that are not zero.

        Raises:
            TensorError: the values cannot be read.
        """
        if constant.tensor is None:
            return constant.density
        key = (id(constant.tensor), constant.zero_point, constant.axis)
        if key not in self._known:
            density = self._measure(constant, constant.tensor)
            if density == 0:
                self._zeros.append(constant.tensor.name[:60])
            self._known[key] = density or 1.0
        return self._known[key]

    def _measure(self, constant: Constant, tensor: TensorProto) -> float:
        shape = tuple(tensor.dims)
        count: int = math.prod(shape)
        bits = STORED_BITS.get(tensor.data_type)
        if min(shape, default=1) < 0 or max(shape, default=1) > LARGEST_BOUND:
            raise TensorError(f"dimensions {list(shape)} are not possible")
        if bits is None:
            raise TensorError(f"element type {tensor.data_type} cannot be a weight")
        if count == 0:
            return 1.0
        if tensor.data_location == TensorProto.EXTERNAL:
            path = self._file_of(tensor)
            if not path.exists():
                self._note_missing(f"{path.name} is missing")
                return 1.0
            pieces = self._external(path, tensor, count, bits)
        elif tensor.HasField("raw_data"):
            pieces = _embedded(tensor.raw_data, count, bits)
        elif _has_typed_data(tensor):
            pieces = iter([_typed_data(tensor, count)])
        else:
            # Tools that share a graph without its weights leave the tensors empty: the values are
            # not zero, they are unknown.
            self._note_missing("their tensors are empty")
            return 1.0
        inner = math.prod(shape[constant.axis + 1 :]) if constant.axis < len(shape) else 1
        points = np.asarray(constant.zero_point, dtype=np.int64)
        zeros, done = 0, 0
        for piece in pieces:
            values = _decoded(piece, tensor.data_type)[: count - done]
            if len(points) == 1:
                zeros += int(np.count_nonzero(values == points[0]))
            else:
                index = np.arange(done, done + len(values)) // inner % len(points)
                zeros += int(np.count_nonzero(values == points[index]))
            done += len(values)
        return (count - zeros) / count

    def _note_missing(self, place: str) -> None:
        self._missing[place] = self._missing.get(place, 0) + 1

    def _file_of(self, tensor: TensorProto) -> Path:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        return self._inside(entries.get("location", ""))

    def _external(
        self, path: Path, tensor: TensorProto, count: int, bits: int
    ) -> Iterator[NDArray[np.uint8]]:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        size = (count * bits + 7) // 8
        try:
            offset = int(entries.get("offset") or 0)
            length = int(entries.get("length") or size)
        except ValueError as error:
            raise TensorError("its offset or length is not a whole number") from error
        if length != size:
            raise TensorError(f"{length} bytes are stored for {count} values, {size} are needed")
        try:
            if not path.is_file():
                raise TensorError(f"its file {path.name!r} is not a regular file")
            available = path.stat().st_size
            if offset < 0 or offset + size > available:
                raise TensorError(
                    f"bytes {offset} to {offset + size} lie outside {path.name!r} ({available})"
                )
            yield from _file_pieces(path, offset, size)
        except OSError as error:
            raise TensorError(f"{path.name!r} cannot be read: {error.strerror}") from error

    def _inside(self, location: str) -> Path:
        """The file *location* names, which must not leave the model's folder, by link or name."""
        folder = os.path.realpath(self._folder)
        try:
            path = os.path.realpath(Path(folder, location))
        except (OSError, ValueError) as error:
            raise TensorError(f"its file name {location[:60]!r} is not usable") from error
        if (
            not location
            or Path(location).is_absolute()
            or os.path.commonpath([folder, path]) != folder
        ):
            raise TensorError(f"its file {location[:60]!r} is not inside the model's folder")
        return Path(path)


def _file_pieces(path: Path, offset: int, size: int) -> Iterator[NDArray[np.uint8]]:
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while size > 0:
            data = file.read(min(size, ELEMENTS_AT_ONCE))
            # A short read would end inside an element; take up the rest before going on.
            while len(data) < min(size, ELEMENTS_AT_ONCE):
                more = file.read(min(size, ELEMENTS_AT_ONCE) - len(data))
                if not more:
                    raise TensorError(f"{path.name!r} ends too early")
                data += more
            size -= len(data)
            yield np.frombuffer(data, dtype=np.uint8)


def _embedded(raw: bytes, count: int, bits: int) -> Iterator[NDArray[np.uint8]]:
    size = (count * bits + 7) // 8
    if not raw:
        return  # as for empty tensors, see TensorValues._measure: no value is known to be zero
    if len(raw) != size:
        raise TensorError(f"{len(raw)} bytes are stored for {count} values, {size} are needed")
    data = np.frombuffer(raw, dtype=np.uint8)
    for start in range(0, size, ELEMENTS_AT_ONCE):
        yield data[start : start + ELEMENTS_AT_ONCE]


def _decoded(piece: NDArray[np.uint8], element_type: int) -> NDArray[np.generic]:
    """Numbers, or bit patterns, in which a zero of either sign is 0."""
    if element_type in _NUMPY:
        return piece.view(_NUMPY[element_type])
    if element_type in _WITHOUT_SIGN:
        pattern, mask = _WITHOUT_SIGN[element_type]
        masked: NDArray[np.generic] = piece.view(pattern) & mask
        return masked
    # Two or four values per byte, the first in the lowest bits.
    bits = STORED_BITS[element_type]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = ((piece[:, None] >> shifts) & ((1 << bits) - 1)).reshape(-1)
    if element_type == TensorProto.FLOAT4E2M1:
        return values & 0b111
    if element_type in _SIGNED:
        sign = 1 << (bits - 1)
        return (values.astype(np.int8) ^ sign) - sign
    return values


def _has_typed_data(tensor: TensorProto) -> bool:
    return bool(
        tensor.float_data
        or tensor.int32_data
        or tensor.int64_data
        or tensor.double_data
        or tensor.uint64_data
    )


def _typed_data(tensor: TensorProto, count: int) -> NDArray[np.uint8]:
    """The values of the fields for one type each, as the bytes ``raw_data`` would have."""
    kind = tensor.data_type
    if kind == TensorProto.FLOAT:
        values = np.asarray(tensor.float_data, dtype="<f4")
    elif kind == TensorProto.DOUBLE:
        values = np.asarray(tensor.double_data, dtype="<f8")
    elif kind == TensorProto.INT64:
        values = np.asarray(tensor.int64_data, dtype="<i8")
    elif kind in (TensorProto.UINT32, TensorProto.UINT64):
        values = np.asarray(tensor.uint64_data, dtype="<u8").astype(_NUMPY[kind])
    else:
        # int32_data holds bit patterns of 16 bits or less: only the low bytes of each count.
        low = np.asarray(tensor.int32_data, dtype="<i4")
        bits = STORED_BITS[kind]
        values = low if bits == 32 else low.astype("<u2" if bits == 16 else "u1")
    stored = values.view(np.uint8)
    needed = (count * STORED_BITS[kind] + 7) // 8
    if len(stored) != needed:
        raise TensorError(f"{len(stored)} bytes are stored for {count} values, {needed} are needed")
    return stored
