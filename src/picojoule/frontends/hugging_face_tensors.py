"""Which tensors a Hugging Face folder has, and how its weights are stored: headers only.

A safetensors file begins with the length of a JSON header, which gives each tensor's type, shape
and place. The safetensors package opens whole files only; here a file may be its header alone.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from picojoule.frontends.decoder import Format
from picojoule.frontends.products import ProblemError
from picojoule.frontends.source_file import Findings, check_file, shortened

LARGEST_HEADER = 32 * 1024 * 1024
LARGEST_TENSOR = 1 << 48
MOST_TENSORS = 1_000_000
MOST_DIMENSIONS = 32

FLOAT_BITS = 16
"""Floats of training count as 16 bits, as in every reader."""

STORED_BITS: Mapping[str, int] = MappingProxyType(
    {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8}
    | {"U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64}
    | {"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}
)
"""Bits of one value of the types of a safetensors header."""

# Both halves of a byte of these are values of four bits.
_PACKED_BYTES = frozenset({"U8", "I8"})
NVFP4_BLOCK = 16
"""Values that share an FP8 scale in NVFP4."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """The type and shape of a stored tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Bits that all of it takes."""
        return STORED_BITS[self.dtype] * math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """A weight: its inputs and outputs, its format, and that of activations it is made for."""

    inputs: int
    outputs: int
    weights: Format
    activations: Format | None = None
    copies: int = 0


def read_folder_headers(folder: Path, findings: Findings) -> dict[str, TensorInfo]:
    """The tensors of all safetensors files of a folder; mistakes go to *findings*."""
    tensors: dict[str, TensorInfo] = {}
    present = sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")
    for path in present:
        tensors.update(read_header(path, findings))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        listed = read_json(index, findings).get("weight_map", {})
        files = set(listed.values()) if isinstance(listed, dict) else set()
        names = {path.name for path in present}
        for name in sorted(str(file) for file in files if file not in names)[:20]:
            findings.add(index.name, f"{shortened(name)} is listed, and not in the folder")
    return tensors


def read_json(path: Path, findings: Findings) -> dict[str, Any]:
    """The object in a JSON file; a mistake and an empty one if there is none."""
    check_file(path)
    try:
        if path.stat().st_size > LARGEST_HEADER:
            findings.add(path.name, f"{path.stat().st_size} bytes are too many")
            return {}
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        findings.add(path.name, f"cannot be read as JSON: {error}"[:300])
        return {}
    if not isinstance(content, dict):
        findings.add(path.name, "this is not a JSON object")
        return {}
    return content


def read_header(path: Path, findings: Findings) -> dict[str, TensorInfo]:
    """The tensors that the header of a safetensors file lists."""
    check_file(path)
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= min(LARGEST_HEADER, max(2, path.stat().st_size - 8)):
                findings.add(path.name, f"a header of {size} bytes: not a safetensors file")
                return {}
            header = json.loads(file.read(size))
    except (OSError, ValueError, RecursionError) as error:
        findings.add(path.name, f"its header cannot be read: {error}"[:300])
        return {}
    if not isinstance(header, dict) or len(header) > MOST_TENSORS:
        findings.add(path.name, "its header is not an object of tensors")
        return {}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        info = _info(entry)
        if isinstance(info, str):
            findings.add(f"{path.name} {shortened(name, 80)}", info)
        else:
            tensors[name] = info
    return tensors


def _info(entry: object) -> TensorInfo | str:
    """A tensor of a header, or what is wrong with it."""
    if not isinstance(entry, dict):
        return "this is not a tensor"
    dtype, shape, place = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in STORED_BITS:
        return f"type {shortened(str(dtype))} is not known"
    sizes = _whole_numbers(shape)
    if sizes is None or len(sizes) > MOST_DIMENSIONS or math.prod(sizes) > LARGEST_TENSOR:
        return f"shape {shortened(str(shape)[:80])} is not possible"
    info = TensorInfo(dtype, sizes)
    ends = _whole_numbers(place)
    if ends is None or len(ends) != 2:
        return "its place in the file is missing"
    if (ends[1] - ends[0]) * 8 != info.bits + -info.bits % 8:
        return f"{ends[1] - ends[0]} bytes do not hold {list(sizes)} values of {dtype}"
    return info


def _whole_numbers(numbers: object) -> tuple[int, ...] | None:
    if isinstance(numbers, list) and all(
        type(number) is int and 0 <= number <= LARGEST_TENSOR for number in numbers
    ):
        return tuple(numbers)
    return None


def modules_of(tensors: Mapping[str, TensorInfo]) -> dict[str, dict[str, TensorInfo]]:
    """The tensors of each module by their last name, in the order of the files.

    bitsandbytes hangs its tensors beneath the weight (``q_proj.weight.absmax``).
    """
    modules: dict[str, dict[str, TensorInfo]] = defaultdict(dict)
    for name, info in tensors.items():
        module, beneath, rest = name.partition(".weight.")
        if beneath:
            modules[module][f"weight.{rest}"] = info
        else:
            module, _, leaf = name.rpartition(".")
            modules[module][leaf] = info
    return dict(modules)


class Quantization:
    """What ``quantization_config`` says of the folder's weights."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        scheme = config.get("quantization_config")
        self._scheme: dict[str, Any] = scheme if isinstance(scheme, dict) else {}
        groups = self._scheme.get("config_groups")
        first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
        self._group: dict[str, Any] = first if isinstance(first, dict) else {}

    @property
    def method(self) -> str:
        return str(self._scheme.get("quant_method", ""))

    @property
    def ordered(self) -> bool:
        """GPTQ with act-order: the group of every input channel is looked up."""
        return self._scheme.get("desc_act") is True

    def bits(self) -> int:
        """The width of packed weights.

        Raises:
            ProblemError: it is not given, or not possible.
        """
        width = self._scheme.get("bits", self._scheme.get("w_bit"))
        weights = self._group.get("weights")
        if width is None and isinstance(weights, dict):
            width = weights.get("num_bits")
        if type(width) is not int or not 1 <= width <= 8:
            raise ProblemError(
                f"quantization_config gives {width!r} bits for packed weights; 1 to 8 are possible"
            )
        return width

    def activations(self) -> Format | None:
        """The format of the activations that quantised weights are multiplied with."""
        inputs = self._group.get("input_activations")
        if isinstance(inputs, dict) and type(inputs.get("num_bits")) is int:
            bits = min(64, max(1, inputs["num_bits"]))
            size = inputs.get("group_size")
            block = size if type(size) is int and size > 0 else 0
            return Format(bits, 8 / block if block else 0.0)
        if self.method in ("fp8", "fbgemm_fp8") and self._scheme.get("activation_scheme"):
            return Format(8)
        return None


def float_bits(info: TensorInfo) -> int:
    """The width of a plain weight."""
    wide = info.dtype in ("F64", "F32")
    return FLOAT_BITS if wide else STORED_BITS[info.dtype]


def matrix_of(
    leaves: Mapping[str, TensorInfo], asked: Quantization, *, transposed: bool = False
) -> StoredMatrix | None:
    """The weight that a module stores in whatever form; None if it has no matrix.

    Raises:
        ProblemError: its tensors do not fit each other, or are in a form that is not known.
    """
    if "qweight" in leaves:
        return _packed_in_rows(leaves, asked)
    if "weight_packed" in leaves:
        return _compressed(leaves, asked)
    weight = leaves.get("weight")
    if weight is None:
        return None
    if any(leaf.startswith("weight.quant_state.bitsandbytes") for leaf in leaves):
        raise ProblemError(
            "bitsandbytes keeps the shape of 4-bit weights inside them: save it in another form"
        )
    if len(weight.shape) != 2:
        return None
    outputs, inputs = weight.shape[::-1] if transposed else weight.shape
    if weight.dtype in _PACKED_BYTES and "weight_scale_2" in leaves:  # ModelOpt's NVFP4
        scales = _bits(leaves, "weight_scale", "weight_scale_2")
        four = Format(4, 8 / NVFP4_BLOCK) if "input_scale" in leaves else None
        return _matrix(2 * inputs, outputs, 4, scales, four)
    scales = _bits(leaves, "weight_scale", "weight_scale_inv", "weight_zero_point", "SCB")
    quantised = weight.dtype in ("I8", "U8") or weight.dtype.startswith("F8")
    made_for = asked.activations() if quantised else None
    if quantised and made_for is None and "input_scale" in leaves:
        made_for = Format(8)
    if weight.dtype in ("I64", "I32", "I16", "BOOL", "U64", "U32", "U16", "C64"):
        raise ProblemError(f"weights of type {weight.dtype} in a form that is not known")
    return _matrix(inputs, outputs, float_bits(weight), scales if quantised else 0, made_for)


def _bits(leaves: Mapping[str, TensorInfo], *names: str) -> int:
    """Bits of companions; one scale for a whole matrix is kept at the multipliers, not moved."""
    companions = [leaves[name] for name in names if name in leaves]
    return sum(info.bits for info in companions if math.prod(info.shape) > 1)


def _matrix(
    inputs: int, outputs: int, bits: int, scales: int, made_for: Format | None = None
) -> StoredMatrix:
    if min(inputs, outputs) < 1:
        raise ProblemError(f"a matrix of {inputs} x {outputs}")
    each = scales / (inputs * outputs)
    if each > 64:
        raise ProblemError(f"{each:.3g} bits of scales for each weight")
    return StoredMatrix(inputs, outputs, Format(bits, each), made_for)


def _pair(info: TensorInfo, name: str) -> tuple[int, int]:
    if len(info.shape) != 2:
        raise ProblemError(f"{name} of shape {list(info.shape)} is not a matrix")
    return info.shape[0], info.shape[1]


def _packed_in_rows(leaves: Mapping[str, TensorInfo], asked: Quantization) -> StoredMatrix:
    """GPTQ packs along inputs, ``[inputs * bits / 32, outputs]``; AWQ along outputs."""
    bits = asked.bits()
    rows, columns = _pair(leaves["qweight"], "qweight")
    word = STORED_BITS[leaves["qweight"].dtype]
    awq = asked.method == "awq" and "g_idx" not in leaves
    inputs, outputs = (rows, columns * word // bits) if awq else (rows * word // bits, columns)
    if "scales" in leaves and leaves["scales"].shape[-1:] != (outputs,):
        raise ProblemError(
            f"qweight of shape {[rows, columns]} in {bits} bits has {outputs} outputs, "
            f"scales have shape {list(leaves['scales'].shape)}"
        )
    scales = _bits(leaves, "scales", "qzeros", *(("g_idx",) if asked.ordered else ()))
    return _matrix(inputs, outputs, bits, scales)


def _compressed(leaves: Mapping[str, TensorInfo], asked: Quantization) -> StoredMatrix:
    """compressed-tensors: pack-quantized in words of 32 bits, NVFP4 in bytes."""
    packed = leaves["weight_packed"]
    outputs, columns = _pair(packed, "weight_packed")
    scales = _bits(
        leaves, "weight_scale", "weight_zero_point", "weight_g_idx", "weight_global_scale"
    )
    if packed.dtype in _PACKED_BYTES:
        four = Format(4, 8 / NVFP4_BLOCK) if "input_global_scale" in leaves else None
        return _matrix(2 * columns, outputs, 4, scales, four)
    bits = asked.bits()
    return _matrix(
        columns * (STORED_BITS[packed.dtype] // bits), outputs, bits, scales, asked.activations()
    )
