"""The header of a GGUF file: its settings, and the type and shape of each tensor.

The ``gguf`` package's reader maps whole files, builds an array for every entry of a vocabulary and
loops over lengths as they are written, so that a lying one never ends; tests hold the table of
formats to that package, and the header is read here.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from os import fspath
from pathlib import Path
from types import MappingProxyType

from picojoule.errors import InputError, Mistake
from picojoule.frontends.decoder import Format
from picojoule.frontends.source_file import map_file, shortened

MAGIC = b"GGUF"
VERSIONS = (2, 3)

MOST_ENTRIES = 2_000_000
"""Settings, tensors, and texts of lists; the largest vocabularies have 300,000 entries."""

LONGEST_NAME = 1 << 16
LARGEST_DIMENSION = 1 << 40
MOST_DIMENSIONS = 8

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SCALARS |= {12: "d"}
_STRING, _LIST = 8, 9


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """A format of llama.cpp: so many values in so many bytes, scales and minima included."""

    name: str
    values: int
    size: int

    @property
    def bits_per_value(self) -> float:
        return 8 * self.size / self.values

    def as_stored(self) -> Format:
        """The whole bits of a value, which the multiplier sees, and its share of the rest.

        Floats of training count as 16 bits, as in every reader.
        """
        if self.name in ("F32", "F64"):
            return Format(16)
        whole = int(self.bits_per_value)
        return Format(whole, self.bits_per_value - whole)


FORMATS: Mapping[int, BlockFormat] = MappingProxyType(
    {
        number: BlockFormat(name, values, size)
        for number, name, values, size in (
            (0, "F32", 1, 4),
            (1, "F16", 1, 2),
            (2, "Q4_0", 32, 18),
            (3, "Q4_1", 32, 20),
            (6, "Q5_0", 32, 22),
            (7, "Q5_1", 32, 24),
            (8, "Q8_0", 32, 34),
            (9, "Q8_1", 32, 40),
            (10, "Q2_K", 256, 84),
            (11, "Q3_K", 256, 110),
            (12, "Q4_K", 256, 144),
            (13, "Q5_K", 256, 176),
            (14, "Q6_K", 256, 210),
            (15, "Q8_K", 256, 292),
            (16, "IQ2_XXS", 256, 66),
            (17, "IQ2_XS", 256, 74),
            (18, "IQ3_XXS", 256, 98),
            (19, "IQ1_S", 256, 50),
            (20, "IQ4_NL", 32, 18),
            (21, "IQ3_S", 256, 110),
            (22, "IQ2_S", 256, 82),
            (23, "IQ4_XS", 256, 136),
            (24, "I8", 1, 1),
            (25, "I16", 1, 2),
            (26, "I32", 1, 4),
            (27, "I64", 1, 8),
            (28, "F64", 1, 8),
            (29, "IQ1_M", 256, 56),
            (30, "BF16", 1, 2),
            (34, "TQ1_0", 256, 54),
            (35, "TQ2_0", 256, 66),
            (39, "MXFP4", 32, 17),
            (40, "NVFP4", 64, 36),
            (41, "Q1_0", 128, 18),
        )
    }
)
"""Number in the file -> format; ggml/include/ggml.h, gguf 0.19.0 GGML_QUANT_SIZES."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """The format and shape of a tensor; the first dimension is the one that lies together."""

    format: BlockFormat
    shape: tuple[int, ...]


Value = int | float | bool | str | tuple[int | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Header:
    settings: Mapping[str, Value]
    tensors: Mapping[str, StoredTensor]


def read_header(path: Path) -> Header:
    """The header of a file.

    Raises:
        InputError: it is no GGUF file of a version that is read, or damaged.
    """
    with map_file(path, 24, "GGUF file") as content:
        reader = _Reader(content)
        try:
            return reader.header()
        except (_DamagedError, struct.error, UnicodeDecodeError) as error:
            raise InputError(
                fspath(path), [Mistake(f"byte {reader.at}", f"damaged or cut off: {error}"[:300])]
            ) from error


class _DamagedError(Exception):
    """The header cannot be what it says."""


class _Reader:
    def __init__(self, content: mmap.mmap) -> None:
        self.at = 0
        self._content = content
        self._left = MOST_ENTRIES

    def header(self) -> Header:
        if self._content[:4] != MAGIC:
            raise _DamagedError("it does not begin with GGUF")
        self.at = 4
        version = self._number("I")
        if version not in VERSIONS:
            raise _DamagedError(f"version {version}; {' and '.join(map(str, VERSIONS))} are read")
        tensors, settings = self._count(), self._count()
        values: dict[str, Value] = {}
        for _ in range(settings):
            name = self._text(LONGEST_NAME)
            value = self._value(int(self._number("I")))
            if value is not None:
                values[name] = value
        return Header(values, dict(self._tensor() for _ in range(tensors)))

    def _number(self, code: str) -> int | float:
        (value,) = struct.unpack_from(f"<{code}", self._content, self.at)
        self.at += struct.calcsize(f"<{code}")
        number: int | float = value
        return number

    def _count(self) -> int:
        """A number of entries, each of which is still to come and takes some of what may."""
        count = int(self._number("Q"))
        self._left -= count
        if self._left < 0 or count > len(self._content):
            raise _DamagedError(f"{count} entries")
        return count

    def _text(self, longest: int) -> str:
        length = int(self._number("Q"))
        if length > longest:
            raise _DamagedError(f"a text of {length} bytes")
        return self._skip(length).decode("utf-8")

    def _skip(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._content):
            raise _DamagedError(f"{length} bytes are promised")
        piece = self._content[self.at : end] if length <= LONGEST_NAME else b""
        self.at = end
        return piece

    def _value(self, kind: int) -> Value | None:
        """A setting; None for lists of texts and long texts, which tell nothing of layers."""
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            length = int(self._number("Q"))
            return self._skip(length).decode("utf-8", "replace")
        if kind != _LIST:
            raise _DamagedError(f"a setting of type {kind}")
        inner = int(self._number("I"))
        if inner == _STRING:
            for _ in range(self._count()):
                self._skip(int(self._number("Q")))
            return None
        if inner not in _SCALARS:
            raise _DamagedError(f"a list of type {inner}")
        count, size = int(self._number("Q")), struct.calcsize(f"<{_SCALARS[inner]}")
        raw = self._skip(count * size)
        if len(raw) != count * size:
            return None
        return struct.unpack(f"<{count}{_SCALARS[inner]}", raw)

    def _tensor(self) -> tuple[str, StoredTensor]:
        name = self._text(LONGEST_NAME)
        rank = int(self._number("I"))
        if rank > MOST_DIMENSIONS:
            raise _DamagedError(f"tensor {shortened(name)} has {rank} dimensions")
        shape = tuple(int(self._number("Q")) for _ in range(rank))
        if math.prod(shape) > LARGEST_DIMENSION:
            raise _DamagedError(f"tensor {shortened(name)} has {math.prod(shape)} values")
        kind = int(self._number("I"))
        if kind not in FORMATS:
            raise _DamagedError(f"tensor {shortened(name)} is of type {kind}, which is not known")
        self._number("Q")  # where its values are
        return name, StoredTensor(FORMATS[kind], shape)
