"""What a ``.tflite`` file says, read within bounds.

The schema is the one generated for the ``tflite`` package. FlatBuffers for Python verifies
nothing: offsets may point anywhere, at one place from many, and lengths may promise more than
there is. So every table is read once, into records of our own, and paid for out of a
:class:`_Allowance`; whatever a damaged file makes the generated code raise ends as an InputError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import fspath
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tflite
from flatbuffers import number_types
from numpy.typing import NDArray

from picojoule.errors import InputError, Mistake
from picojoule.frontends.products import ProblemError
from picojoule.frontends.source_file import map_file

IDENTIFIER = b"TFL3"

# A language model with a signature per prompt length has some 100,000 tensors and operators.
MOST_TABLES = 400_000
MOST_NUMBERS = 20_000_000
MOST_LETTERS = 50_000_000
MOST_DIMENSIONS = 32

# What the generated code and numpy raise when an offset or a length leaves the file, or a text
# is not UTF-8 (UnicodeDecodeError is a ValueError).
_DAMAGE = (struct.error, ValueError, TypeError, IndexError, OverflowError, AttributeError)

T = TypeVar("T")


class _DamagedError(Exception):
    """The file cannot be what it says."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How a tensor is quantised in blocks: the tensors of the same subgraph that hold their scales
    and zero points (0 or -1: there are none), and how many values a block has."""

    scales: int
    zero_points: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor of a subgraph.

    Args:
        shape: as stored: dimensions that are not fixed are 1 there.
        signature: -1 where a dimension is not fixed.
        kind: of the schema's TensorType.
        data: its bytes if it is constant.
        zero_point: the stored values that mean zero: one, or one per index of ``axis``.
        sparse: only some of its values are stored.
        blocks: it has a scale for every few values.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    kind: int
    data: NDArray[np.uint8] | None = None
    zero_point: tuple[int, ...] = (0,)
    axis: int = 0
    sparse: bool = False
    variable: bool = False
    blocks: Blocks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator: its name in the schema, and its tensors by index, -1 where one is left out.

    ``custom`` is the name of an operator that is not of the schema.
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = None
    options_type: str = ""
    custom: str = ""

    def input(self, place: int) -> int:
        """The tensor at a place, -1 if there is none."""
        return self.inputs[place] if 0 <= place < len(self.inputs) else -1

    def output(self, place: int) -> int:
        """The tensor written at a place, -1 if there is none."""
        return self.outputs[place] if 0 <= place < len(self.outputs) else -1

    def option(self, name: str, kind: str, default: Any = None) -> Any:
        """A field of the operator's options, which must be of *kind*.

        Raises:
            ProblemError: the options are of another kind, missing without a *default*, or damaged.
        """
        if self.options is None:
            if default is None:
                raise ProblemError(f"it has no {kind}")
            return default
        if self.options_type != kind:
            raise ProblemError(f"it has {self.options_type or 'unknown options'}, not {kind}")
        try:
            return getattr(self.options, name)()
        except _DAMAGE as error:
            raise ProblemError(f"its {kind} are damaged") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """Operators in order of execution, and the tensors between them."""

    index: int
    name: str
    tensors: tuple[StoredTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A named entry of a model: its subgraph, and that one's inputs by name."""

    key: str
    subgraph: int
    inputs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]


@contextmanager
def opened(path: Path) -> Iterator[Model]:
    """The model of a file, which stays mapped into memory as long as it is used.

    Raises:
        InputError: the file is missing, empty, not a TFLite model, or damaged.
    """
    mapped = map_file(path, 8, "TFLite model")
    # Not closed by hand: arrays of the weights point into it until the last of them is gone.
    yield parse(memoryview(mapped), fspath(path))


def parse(content: memoryview, source: str) -> Model:
    """The model in *content*; *source* names it in errors.

    Raises:
        InputError: it is not a TFLite model, or damaged.
    """
    if bytes(content[4:8]) != IDENTIFIER:
        problem = "this is not a TFLite model: bytes 4 to 8 are not TFL3"
        raise InputError(source, [Mistake("file", problem)])
    reader = _Reader(content)
    try:
        return reader.model()
    except (_DamagedError, *_DAMAGE) as error:
        raise InputError(
            source, [Mistake(reader.where, f"the file is damaged or cut off ({error})"[:300])]
        ) from error


class _Allowance:
    """How much of a file may still be read: it ends what points at itself."""

    def __init__(self) -> None:
        self._left = {"tables": MOST_TABLES, "numbers": MOST_NUMBERS, "letters": MOST_LETTERS}

    def take(self, what: str, count: int) -> None:
        self._left[what] -= count
        if self._left[what] < 0:
            raise _DamagedError(f"more {what} than any network has")


class _Reader:
    """Reads the tables of one file."""

    def __init__(self, content: memoryview) -> None:
        self.where = "model"
        self._content = content
        self._bytes = np.frombuffer(content, dtype=np.uint8)
        self._allowance = _Allowance()

    def model(self) -> Model:
        root = tflite.Model.GetRootAs(self._content, 0)
        self.where = "operator_codes"
        codes = self._many(root.OperatorCodes, root.OperatorCodesLength(), self._code)
        self.where = "buffers"
        buffers = self._many(root.Buffers, root.BuffersLength(), self._buffer)
        subgraphs = []
        for index in range(root.SubgraphsLength()):
            self._allowance.take("tables", 1)
            subgraphs.append(self._subgraph(index, root.Subgraphs(index), codes, buffers))
        self.where = "signature_defs"
        signatures = self._many(root.SignatureDefs, root.SignatureDefsLength(), self._signature)
        if not subgraphs:
            raise _DamagedError("there is no subgraph")
        return Model(subgraphs=tuple(subgraphs), signatures=tuple(signatures))

    # -- parts of tables -------------------------------------------------------------------------

    def _many(self, get: Callable[[int], Any], count: int, read: Callable[[Any], T]) -> list[T]:
        tables = []
        for index in range(count):
            self._allowance.take("tables", 1)
            tables.append(read(get(index)))
        return tables

    def _numbers(self, vector: Any, most: int = MOST_NUMBERS) -> tuple[int, ...]:
        if isinstance(vector, int):  # the generated code says 0 for a vector that is not there
            return ()
        if len(vector) > most:
            raise _DamagedError(f"{len(vector)} numbers where {most} are the most")
        self._allowance.take("numbers", len(vector))
        return tuple(vector.tolist())

    def _text(self, encoded: bytes | None) -> str:
        if encoded is None:
            return ""
        self._allowance.take("letters", len(encoded))
        return encoded.decode("utf-8")

    # -- tables ----------------------------------------------------------------------------------

    def _code(self, code: Any) -> tuple[str, str]:
        # Operators past 127 are in the newer, wider field only; older files have only the other.
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        name = _BUILTINS.get(number, f"BUILTIN_{number}")
        return name, self._text(code.CustomCode()) if name == "CUSTOM" else ""

    def _buffer(self, buffer: Any) -> NDArray[np.uint8] | None:
        start, size = buffer.Offset(), buffer.Size()
        if start > 1:  # behind the flatbuffer, whose offsets end at 2 GiB
            if start + size > len(self._bytes):
                raise _DamagedError(f"bytes {start} to {start + size} lie outside the file")
            return self._bytes[start : start + size]
        data = buffer.DataAsNumpy()
        return None if isinstance(data, int) or not len(data) else data

    def _signature(self, signature: Any) -> Signature:
        maps = self._many(
            signature.Inputs,
            signature.InputsLength(),
            lambda item: (self._text(item.Name()), int(item.TensorIndex())),
        )
        return Signature(
            key=self._text(signature.SignatureKey()),
            subgraph=int(signature.SubgraphIndex()),
            inputs=dict(maps),
        )

    def _subgraph(
        self,
        index: int,
        subgraph: Any,
        codes: Sequence[tuple[str, str]],
        buffers: Sequence[NDArray[np.uint8] | None],
    ) -> Subgraph:
        self.where = f"subgraphs[{index}]"
        tensors = []
        for number in range(subgraph.TensorsLength()):
            self._allowance.take("tables", 1)
            self.where = f"subgraphs[{index}].tensors[{number}]"
            tensors.append(self._tensor(subgraph.Tensors(number), buffers))
        operators = []
        for number in range(subgraph.OperatorsLength()):
            self._allowance.take("tables", 1)
            self.where = f"subgraphs[{index}].operators[{number}]"
            operator = self._operator(number, subgraph.Operators(number), codes)
            self._check(operator.inputs + operator.outputs, len(tensors))
            operators.append(operator)
        self.where = f"subgraphs[{index}]"
        inputs = self._numbers(subgraph.InputsAsNumpy())
        outputs = self._numbers(subgraph.OutputsAsNumpy())
        self._check(inputs + outputs, len(tensors))
        return Subgraph(
            index=index,
            name=self._text(subgraph.Name()),
            tensors=tuple(tensors),
            inputs=inputs,
            outputs=outputs,
            operators=tuple(operators),
        )

    @staticmethod
    def _check(used: tuple[int, ...], count: int) -> None:
        for number in used:
            if not -1 <= number < count:
                raise _DamagedError(f"tensor {number} of {count}")

    def _tensor(self, tensor: Any, buffers: Sequence[NDArray[np.uint8] | None]) -> StoredTensor:
        shape = self._numbers(tensor.ShapeAsNumpy(), MOST_DIMENSIONS)
        signature = self._numbers(tensor.ShapeSignatureAsNumpy(), MOST_DIMENSIONS)
        if signature and len(signature) != len(shape):
            raise _DamagedError(f"shape {list(shape)} with signature {list(signature)}")
        if min(shape, default=0) < 0:
            raise _DamagedError(f"shape {list(shape)}")
        buffer = tensor.Buffer()
        if buffer >= max(1, len(buffers)):
            raise _DamagedError(f"buffer {buffer} of {len(buffers)}")
        quantization = tensor.Quantization()
        points: tuple[int, ...] = ()
        axis = 0
        if quantization is not None:
            points = self._numbers(quantization.ZeroPointAsNumpy())
            axis = quantization.QuantizedDimension()
        return StoredTensor(
            name=self._text(tensor.Name()),
            shape=shape,
            signature=signature or shape,
            kind=tensor.Type(),
            # By convention the first buffer is the empty one of all that is computed.
            data=buffers[buffer] if buffer else None,
            zero_point=points or (0,),
            axis=axis if 0 <= axis < len(shape) else 0,
            sparse=tensor.Sparsity() is not None,
            variable=bool(tensor.IsVariable()),
            blocks=_blocks(quantization),
        )

    def _operator(self, index: int, operator: Any, codes: Sequence[tuple[str, str]]) -> Operator:
        code = operator.OpcodeIndex()
        if code >= len(codes):
            raise _DamagedError(f"operator code {code} of {len(codes)}")
        name, custom = codes[code]
        kind, options = _OPTIONS.get(operator.BuiltinOptionsType(), ""), operator.BuiltinOptions()
        if not kind:
            kind, options = _OPTIONS_2.get(operator.BuiltinOptions2Type(), ""), None
            options = operator.BuiltinOptions2() if kind else None
        if options is not None and kind:
            table = getattr(tflite, kind)()
            table.Init(options.Bytes, options.Pos)
            options = table
        return Operator(
            index=index,
            name=name,
            inputs=self._numbers(operator.InputsAsNumpy()),
            outputs=self._numbers(operator.OutputsAsNumpy()),
            options=options,
            options_type=kind,
            custom=custom,
        )


def _blocks(quantization: Any) -> Blocks | None:
    """The details of quantisation in blocks, for which the generated code is too old."""
    if quantization is None or quantization.DetailsType() not in _BLOCKWISE:
        return None
    table = quantization.Details()
    if table is None:
        return None
    numbers = []
    for place in _FIRST_FIELDS:
        offset = table.Offset(place)
        kind = number_types.Int32Flags
        numbers.append(int(table.Get(kind, offset + table.Pos)) if offset else 0)
    return Blocks(*numbers)


_BLOCKWISE = frozenset({2, 3})
"""BlockwiseQuantization and MultiAxisQuantization, of the schema's QuantizationDetails."""
_FIRST_FIELDS = (4, 6, 8)
"""Of both: scales, zero_points, block_size; as FlatBuffers counts, from 4 in steps of 2."""


def _numbered(enumeration: Any) -> dict[int, str]:
    """Number -> name of a generated enumeration; its 0, NONE, left out."""
    return {
        number: name
        for name, number in vars(enumeration).items()
        if isinstance(number, int) and name != "NONE"
    }


_BUILTINS = _numbered(tflite.BuiltinOperator)
_OPTIONS = _numbered(tflite.BuiltinOptions)
_OPTIONS_2 = _numbered(tflite.BuiltinOptions2)
