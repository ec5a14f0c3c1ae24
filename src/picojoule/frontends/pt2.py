"""Programs saved by ``torch.export.save`` (``.pt2``).

``torch.export.load`` unpickles what the archive says is pickled, evaluates the expressions of its
sizes and loads the libraries packed with it. So an archive is looked at first, and one that could
run code or ask for more memory than it has bytes is refused: only plain tensors and expressions of
sizes are let through.
"""

from __future__ import annotations

import ast
import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from picojoule.errors import InputError, Mistake
from picojoule.frontends.aten_operators import words
from picojoule.frontends.source_file import check_file
from picojoule.workload import Workload

LARGEST_GRAPH = 512 * 1024 * 1024  # bytes of JSON; a network of 10,000 operators has 20 MB
MOST_POWERS = 3
LARGEST_POWER = 8

_FUNCTIONS = words(
    "Symbol Integer Float Rational Add Mul Pow Max Min Mod PythonMod FloorDiv CleanDiv CeilDiv "
    "ModularIndexing IntTrueDiv FloatTrueDiv TruncToInt TruncToFloat FloorToInt CeilToInt "
    "RoundToInt ToFloat Identity Where Eq Ne Lt Le Gt Ge Equality Unequality StrictLessThan "
    "LessThan StrictGreaterThan GreaterThan And Or Not floor ceiling Abs "
    "PowByNatural LShift RShift IsNonOverlappingAndDenseIndicator"
)
_NAMES = words("True False oo int_oo")
_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare,
    ast.BoolOp, ast.keyword, ast.Load, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip


def read_pt2(
    path: str, *, name: str | None = None, dims: Mapping[str, int] | None = None
) -> Workload:
    """The workload of a saved program.

    Sizes that the program leaves open are those of its example; ``dims`` gives others, by the
    input and its dimension (``{"x[0]": 8}``).

    Raises:
        InputError: it is no such archive, it could run code, or it cannot be read.
    """
    place = Path(path)
    check_file(place)
    try:
        import torch
    except ImportError as error:
        raise _refused(path, "file", "PyTorch reads it: pip install picojoule[torch]") from error
    from picojoule.frontends.torch_export import quietly

    _check_archive(path)
    try:
        with quietly():
            program = torch.export.load(place)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _refused(path, "file", f"torch.export cannot load it: {first[:300]}") from error
    return _read(program, path, name or place.stem, dims or {})


def _read(program: Any, source: str, name: str, dims: Mapping[str, int]) -> Workload:
    from picojoule.frontends.torch_batch import differences
    from picojoule.frontends.torch_export import quietly
    from picojoule.frontends.torch_program import read_nodes
    from picojoule.frontends.torch_single import set_for_one

    open_sizes = _open_sizes(program)
    unknown = [key for key in dims if "[" in key and key not in open_sizes]
    if unknown:
        places = ", ".join(open_sizes) or "none"
        raise _refused(source, f"dims {unknown[0]}", f"no open size; the program has {places}")
    sizes = {**dims, **{open_sizes[key]: dims[key] for key in dims if key in open_sizes}}

    def read(dim_sizes: Mapping[str, int], batch: int = 1, *, values: bool = True) -> Any:
        try:
            return read_nodes(
                program,
                name=name,
                source=source,
                batch=batch,
                dims=dim_sizes,
                values=values,
                is_trusted=False,
            )
        except _CONTRADICTIONS as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            problem = f"its operators do not suit their operands: {first[:300]}"
            raise _refused(source, "graph", problem) from error

    whole = read(sizes)
    workload: Workload = whole.workload
    if not workload.layers and workload.complete:
        raise _refused(source, "graph", "nothing in it multiplies: nothing to price")
    first = _first_size(program, whole.sizes)
    if first.size == 1:
        return workload
    shared: Workload = read(sizes, first.size).workload
    if first.symbol:
        one = read({**sizes, first.symbol: 1}, values=False)
    else:
        # The last reading, as the program is one for one inference from here on.
        with quietly():
            is_for_one = set_for_one(program, first.size)
        one = read(sizes, values=False) if is_for_one else None
    said = f"the first dimension of the inputs, {first.size}, is"
    if one is None:
        objection: str | None = "the program is written for no other number"
    else:
        objection = differences(whole, one, first.size)
    if objection is None and shared.batch == first.size:
        remark = f"{said} taken for the batch"
    else:
        shared = workload
        reason = objection or "what is done for all at once does not divide into as many parts"
        remark = f"{said} no batch ({reason}): one inference is all of the inputs"
    return replace(shared, remarks=(*shared.remarks, remark))


def _open_sizes(program: Any) -> dict[str, str]:
    """``x[0]`` -> the symbol of that dimension."""
    symbols: dict[str, str] = {}
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        shape = getattr(node.meta.get("val"), "shape", ())
        if node.op == "placeholder" and node.name in inputs:
            for axis, size in enumerate(shape):
                expression = getattr(getattr(size, "node", None), "expr", None)
                if expression is not None and expression.is_symbol:
                    symbols[f"{node.name}[{axis}]"] = str(expression)
    return symbols


@dataclass(frozen=True, slots=True)
class _First:
    """The first dimension of all inputs, 1 if they differ, and its symbol if it is an open size."""

    size: int = 1
    symbol: str = ""


def _first_size(program: Any, sizes: Mapping[str, int]) -> _First:
    inputs = set(program.graph_signature.user_inputs)
    shapes = [
        node.meta["val"].shape
        for node in program.graph.nodes
        if node.name in inputs and len(getattr(node.meta.get("val"), "shape", ())) > 1
    ]
    firsts = {str(shape[0]) for shape in shapes}
    if len(firsts) != 1:
        return _First()
    symbol = firsts.pop()
    if symbol in _open_sizes(program).values():
        return _First(sizes.get(symbol, 1), symbol)
    return _First(int(symbol)) if symbol.isdecimal() and int(symbol) else _First()


# -- the archive, before anything is loaded ----------------------------------------------------


def _check_archive(path: str) -> None:
    """Raise an InputError unless an archive has plain tensors and expressions only."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            _check_tensors(path, archive, "weights")
            _check_tensors(path, archive, "constants")
            _check_graphs(path, archive)
            _check_example(path, archive)
    except (zipfile.BadZipFile, OSError, ValueError, RecursionError, KeyError, EOFError) as error:
        raise _refused(path, "file", f"not an archive of torch.export: {error}") from error
    except (NotImplementedError, RuntimeError, AttributeError, TypeError) as error:
        raise _refused(path, "file", f"not an archive of torch.export: {error}") from error


def _check_members(path: str, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if sum(member.file_size for member in members) > Path(path).stat().st_size:
        raise _refused(path, "file", "its parts claim to be larger than it is")
    graphs = [name for name in archive.namelist() if "/models/" in name and name.endswith(".json")]
    if len(graphs) != 1:
        raise _refused(
            path, "models", f"{len(graphs)} programs; one is read (as torch.export.save writes it)"
        )
    for member in members:
        inside = member.filename.partition("/")[2]
        if member.compress_type != zipfile.ZIP_STORED:
            raise _refused(path, member.filename[:80], "is compressed; torch.export stores as is")
        if inside.startswith(("data/aotinductor", "data/executorch")):
            raise _refused(path, member.filename[:80], "compiled code is not loaded")
        if inside.startswith("models/") and member.file_size > LARGEST_GRAPH:
            raise _refused(path, member.filename[:80], f"{member.file_size} bytes are no graph")


def _check_tensors(path: str, archive: zipfile.ZipFile, what: str) -> None:
    """All tensors are stored as they are, none is larger than its bytes."""
    sizes = {member.filename.partition("/")[2]: member.file_size for member in archive.infolist()}
    for name in archive.namelist():
        inside = name.partition("/")[2]
        if inside.startswith(f"data/{what}/") and inside.endswith(".pt"):
            raise _refused(path, name[:80], _PICKLED)
        if not (inside.startswith(f"data/{what}/") and inside.endswith("_config.json")):
            continue
        for tensor, entry in json.loads(archive.read(name))["config"].items():
            file = str(entry["path_name"])
            if entry["use_pickle"] or file.startswith(("custom_obj", "opaque")):
                raise _refused(path, f"{what} {str(tensor)[:80]}", _PICKLED)
            meta = entry["tensor_meta"]
            shape = [size["as_int"] for size in meta["sizes"]]
            strides = [stride["as_int"] for stride in meta["strides"]]
            if not all(isinstance(size, int) and size >= 0 for size in (*shape, *strides)):
                raise _refused(path, f"{what} {str(tensor)[:80]}", f"has the shape {shape}")
            # Every type has a byte at least, but those that share bytes, which have two values.
            if math.prod(shape) > 2 * sizes.get(f"data/{what}/{file}", 0):
                raise _refused(
                    path, f"{what} {str(tensor)[:80]}", f"{shape} values are not in the file"
                )


# What operators raise whose arguments are none that torch.export writes: the file is damaged.
_CONTRADICTIONS = (
    ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError, RuntimeError,
)  # fmt: skip

_PICKLED = (
    "is pickled, and reading it could run code: save the program without such objects, "
    "or load it yourself and give (program.module(), inputs)"
)


def _check_graphs(path: str, archive: zipfile.ZipFile) -> None:
    for name in archive.namelist():
        if "/models/" not in name or not name.endswith(".json"):
            continue
        text = archive.read(name)
        if b"default_factory_module" in text:
            raise _refused(path, name[:80], "containers with functions are not loaded")
        for expression in _expressions(json.loads(text)):
            if not _is_plain(expression):
                raise _refused(path, name[:80], f"the size {expression[:80]!r} is not arithmetic")


def _expressions(part: Any) -> Iterator[str]:
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for key, value in part.items():
                if key == "expr_str":
                    yield str(value)
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _is_plain(expression: str) -> bool:
    """Whether an expression has only names of sizes, numbers, arithmetic and small powers."""
    if len(expression) > 4000:
        return False
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, MemoryError):
        return False
    powers = 0
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            return False
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS:
                return False
            if node.func.id in ("Pow", "PowByNatural", "LShift"):
                powers += 1 if _is_small(node.args[-1]) else MOST_POWERS + 1
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Pow, ast.LShift)):
            powers += 1 if _is_small(node.right) else MOST_POWERS + 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if not node.value.isidentifier():
                return False
        elif isinstance(node, ast.Name) and not (
            node.id in _FUNCTIONS | _NAMES or node.id[1:].isdigit()
        ):
            return False
    return powers <= MOST_POWERS


def _is_small(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and node.args:
        node = node.args[0]
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int)
        and abs(node.value) <= LARGEST_POWER
    )


def _check_example(path: str, archive: zipfile.ZipFile) -> None:
    """The example inputs are tensors and plain values, as the safe unpickler reads them."""
    import torch

    for name in archive.namelist():
        if name.partition("/")[2].startswith("data/sample_inputs/"):
            content = archive.read(name)
            if not content:
                continue
            try:
                torch.load(io.BytesIO(content), weights_only=True)  # noqa: TID251 - runs no code
            except Exception as error:
                raise _refused(path, name[:80], _PICKLED) from error


def _refused(source: str, where: str, problem: str) -> InputError:
    return InputError(source, [Mistake(where, problem)])
