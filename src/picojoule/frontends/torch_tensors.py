"""What is known of the tensors of an exported program: which are stored, their sizes and widths."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from picojoule.frontends.aten_operators import family_of, words
from picojoule.frontends.products import ProblemError
from picojoule.frontends.source_file import shortened
from picojoule.frontends.torch_shares import expected_size
from picojoule.frontends.torch_widths import (
    FLOAT_BITS,
    block_scale_bits,
    dtype_bits,
    held_bits,
    wanted_bits,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A parameter, buffer or constant, and its path in the module."""

    path: str
    tensor: torch.Tensor


class ProgramTensors:
    """The tensors of one program, learnt of node by node in the order of the graph.

    Args:
        program: as exported.
        names: name of a parameter -> the name to call it by.
        sizes: of dimensions that depend on data, by the symbol that stands for them.
        values: look at the values of weights; without them all are dense.
        is_trusted: run what the program computes from stored tensors; without it only what cannot
            do more than arithmetic, and no more of it than the tensors are large.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        names: Mapping[str, str],
        sizes: Mapping[str, int],
        *,
        values: bool = True,
        is_trusted: bool = True,
    ) -> None:
        self._paths: dict[fx.Node, str] = {}
        self._values: dict[fx.Node, Callable[[], Any]] = {}
        self._held: dict[fx.Node, int] = {}
        self._scales: dict[fx.Node, float] = {}
        self._slices: set[fx.Node] = set()
        self._densities: dict[fx.Node, float] = {}
        self.sizes = dict(sizes)
        self._looks_at_values = values
        self._is_trusted = is_trusted
        self._ranges = {str(key): value for key, value in program.range_constraints.items()}
        self.remarks: dict[str, None] = {}
        stored = _stored_tensors(program, names)
        written = _written_to(program.graph)
        for node in program.graph.nodes:
            if node.op == "placeholder" and node.name in stored and node not in written:
                self._store(node, stored[node.name])

    def _store(self, node: fx.Node, stored: Stored) -> None:
        self._paths[node] = stored.path
        self._values[node] = lambda: _dense(stored.tensor)

    def bind(self, placeholder: fx.Node, outer: object, *, sliced: bool = False) -> None:
        """Say that the input of an inner graph is *outer*, or its slices along the first axis."""
        for table in (self._paths, self._values, self._held, self._scales, self._densities):
            table.pop(placeholder, None)
        if not isinstance(outer, fx.Node):
            return
        if outer in self._held:
            self._held[placeholder] = self._held[outer]
        if outer in self._scales:
            self._scales[placeholder] = self._scales[outer]
        if outer in self._paths:
            self._paths[placeholder] = self._paths[outer]
            self._values[placeholder] = lambda: (
                self.value(outer)[0] if sliced else self.value(outer)
            )
            if sliced:
                self._slices.add(placeholder)
                self._densities[placeholder] = self.density(outer)

    def learn(self, node: fx.Node) -> None:
        """Note whether a node is computed from stored tensors only, and how wide its values are."""
        self._densities.pop(node, None)
        if node.op == "get_attr":
            value = getattr(node.graph.owning_module, str(node.target), None)
            if isinstance(value, torch.Tensor):
                self._store(node, Stored(str(node.target), value))
            return
        if node.op != "call_function":
            return
        inputs = node.all_input_nodes
        if not inputs and family_of(node.target) in _GENERATED:
            self._paths[node] = ""
            self._values[node] = lambda: self._computed(node)
        elif inputs and all(source in self._paths for source in inputs):
            # Named after what is stored, not after an index that unpacks it.
            main = max(inputs, key=lambda source: (self._paths[source] != "", _numel(source)))
            self._paths[node] = self._paths[main]
            self._values[node] = lambda: self._computed(node)
            if any(source in self._slices for source in inputs):
                self._slices.add(node)
        stored = node in self._paths
        held = held_bits(node, self._held, stored=stored)
        if held is not None:
            self._held[node] = held
        scales = block_scale_bits(node, self._scales, self._held, stored=stored)
        if scales:
            self._scales[node] = scales
        expected = expected_size(node, self.shape)
        if expected is not None:
            for symbol, size in expected.items():
                if symbol not in self.sizes:
                    self.sizes[symbol] = size
                    self.remark(
                        "what a router sends to each expert depends on data: "
                        "equal shares are assumed"
                    )

    def remark(self, sentence: str) -> None:
        """Note what had to be assumed, once."""
        self.remarks[sentence] = None

    # -- stored tensors ------------------------------------------------------------------------

    def is_stored(self, node: object) -> bool:
        """Whether a tensor depends on stored tensors only: known before inference."""
        return isinstance(node, fx.Node) and node in self._paths

    def is_sliced(self, node: object) -> bool:
        """Whether each step of the surrounding loop has a stored tensor of its own here."""
        return isinstance(node, fx.Node) and node in self._slices

    def path(self, node: fx.Node) -> str:
        """The path of the stored tensor that *node* is or mostly comes from; none of positions."""
        return self._paths[node]

    def density(self, weight: object) -> float:
        """Fraction of values not zero of a stored tensor, or of one computed from such."""
        if not self._looks_at_values or not isinstance(weight, fx.Node):
            return 1.0
        if weight not in self._paths:
            return 1.0
        if weight not in self._densities:
            with torch.no_grad():
                self._densities[weight] = _density(self.value(weight))
        return self._densities[weight]

    def value(self, node: fx.Node) -> Any:
        """The value of a stored tensor, or of one computed from such; None if it has none."""
        return self._values[node]()

    def _computed(self, node: fx.Node) -> Any:
        values = {source: self.value(source) for source in node.all_input_nodes}
        if any(
            value is None or (isinstance(value, torch.Tensor) and value.is_meta)
            for value in values.values()
        ):
            return None
        try:
            if not self._is_trusted and not _is_modest(node, values):
                return None
            return _called(node, values)
        except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError):
            return None  # an operator that does not run on this machine

    # -- sizes ---------------------------------------------------------------------------------

    def shape(self, argument: object) -> tuple[int, ...]:
        """The dimensions of a tensor.

        Raises:
            ProblemError: it is no tensor, or a size depends on data.
        """
        return tuple(self.size(size) for size in _tensor(argument).shape)

    def size(self, size: object) -> int:
        """A size as a number: as given, by its expected value, or the most it can be."""
        if isinstance(size, int):
            return size
        expression = getattr(getattr(size, "node", None), "expr", None)
        if expression is None:
            raise ProblemError(f"the size {size} depends on data")
        example = getattr(getattr(size, "node", None), "shape_env", None)
        hints = getattr(example, "backed_var_to_val", None) or getattr(example, "var_to_val", {})
        for symbol in sorted(expression.free_symbols, key=str):
            if str(symbol) not in self.sizes:
                hint = hints.get(symbol)
                self.sizes[str(symbol)] = self._most(str(symbol)) if hint is None else int(hint)
        number = expression.xreplace(
            {symbol: self.sizes[str(symbol)] for symbol in expression.free_symbols}
        )
        return max(0, int(number))

    def _most(self, symbol: str) -> int:
        upper = getattr(self._ranges.get(symbol), "upper", None)
        if upper is None or not getattr(upper, "is_Integer", False) or int(upper) > 1 << 24:
            raise ProblemError(f"the size {symbol} depends on data: give it ({symbol}=N)")
        self.remark(f"the size {symbol} depends on data: {int(upper)}, the most it can be")
        return int(upper)

    def repeats(self, node: object) -> int:
        """How often each of the heads of ``[..., heads, rows, width]`` stands in a row.

        Grouped-query attention written out repeats the keys and values for every query of a group;
        what is stored and moved is one of each.
        """
        times = 1
        while isinstance(node, fx.Node) and node.op == "call_function" and node.all_input_nodes:
            name = family_of(node.target)
            before = node.all_input_nodes[0]
            try:
                shape, old = self.shape(node), self.shape(before)
            except ProblemError:
                return 1
            if name == "repeat_interleave" and len(shape) > 2 and _count(old):
                more = _count(shape) // _count(old)
                return times * more if shape[-3] == more * old[-3] else 1
            if name in ("reshape", "view", "_unsafe_view", "flatten") and len(shape) > 2:
                return times * _written_out(before, old, shape)
            if name not in _SAME_HEADS or len(shape) != len(old) or shape[:-2] != old[:-2]:
                return 1
            node = before
        return 1

    # -- widths --------------------------------------------------------------------------------

    def bits(self, argument: object) -> int:
        """Width of an input or a weight: as quantised, if it was, or that of its type."""
        if isinstance(argument, fx.Node) and argument in self._held:
            return self._held[argument]
        return dtype_bits(_tensor(argument).dtype)

    def scale_bits(self, argument: object) -> float:
        """Bits that scales and zero points of blocks add to each value of an operand."""
        return self._scales.get(argument, 0.0) if isinstance(argument, fx.Node) else 0.0

    def output_bits(self, node: fx.Node) -> int:
        """Width of an output: that to which it is quantised on its way, or that of its type."""
        wanted = wanted_bits(node)
        if wanted is not None:
            return wanted
        value = node.meta.get("val")
        return dtype_bits(value.dtype) if isinstance(value, torch.Tensor) else FLOAT_BITS


MODEST = 1 << 28  # elements that a tensor of an untrusted program may have

_NAMESPACES = ("aten", "prims", "quantized_decomposed")


def _called(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    target: Any = node.target
    return target(
        *fx.map_arg(node.args, values.__getitem__),
        **fx.map_arg(dict(node.kwargs), values.__getitem__),
    )


def _is_modest(node: fx.Node, values: Mapping[fx.Node, Any]) -> bool:
    """Whether an operator is plain arithmetic, and its result no larger than is reasonable."""
    if node.target is operator.getitem:
        return True
    if not is_plain(node) or "device" in node.kwargs:
        return False
    shapes = {
        source: value.to("meta") if isinstance(value, torch.Tensor) else value
        for source, value in values.items()
    }
    result = _called(node, shapes)
    parts = result if isinstance(result, (tuple, list)) else [result]
    return sum(part.numel() for part in parts if isinstance(part, torch.Tensor)) <= MODEST


def is_plain(node: fx.Node) -> bool:
    """Whether an operator can do no more than arithmetic."""
    if node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    namespace = "" if schema is None else str(schema.name).partition("::")[0]
    if not isinstance(node.target, torch._ops.OpOverload) or namespace not in _NAMESPACES:
        return False
    return "from_file" not in str(node.target)


def _tensor(argument: object) -> torch.Tensor:
    value = argument.meta.get("val") if isinstance(argument, fx.Node) else argument
    if not isinstance(value, torch.Tensor):
        raise ProblemError(f"{shortened(str(argument))} is not one tensor")
    return value


def _numel(node: fx.Node) -> int:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return 0
    sizes = [size for size in value.shape if isinstance(size, int)]
    return math.prod(sizes)


def _dense(tensor: torch.Tensor) -> Any:
    """A tensor with all its values: operators that follow are not there for every layout."""
    if type(tensor) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        with torch.no_grad():
            if tensor.layout is not torch.strided:
                return tensor.detach().to_dense()
            return tensor
    return tensor


def _density(value: object) -> float:
    # Parameters on the meta device have shapes but no values.
    if not isinstance(value, torch.Tensor) or value.is_meta or not value.numel():
        return 1.0
    for axis, stride in enumerate(value.stride() if value.layout is torch.strided else ()):
        if stride == 0 and value.shape[axis] > 1:
            value = value.narrow(axis, 0, 1)  # the same values again and again
    if value.is_quantized:
        value = value.dequantize()
    if value.dtype.itemsize == 1 and value.dtype.is_floating_point:
        value = value.view(torch.uint8) & 0x7F  # the sign bit of a zero
    try:
        return int(torch.count_nonzero(value)) / value.numel()
    except (NotImplementedError, RuntimeError):
        return 1.0


def _stored_tensors(
    program: torch.export.ExportedProgram, names: Mapping[str, str]
) -> dict[str, Stored]:
    """Name of a placeholder -> the parameter, buffer or constant it stands for."""
    signature = program.graph_signature
    stored: dict[str, Stored] = {}
    for table, tensors in (
        (signature.inputs_to_parameters, program.state_dict),
        (signature.inputs_to_buffers, {**program.constants, **program.state_dict}),
        (signature.inputs_to_lifted_tensor_constants, program.constants),
    ):
        for placeholder, target in table.items():
            if isinstance(tensors.get(target), torch.Tensor):
                stored[placeholder] = Stored(names.get(target, target), tensors[target])
    return stored


def _written_to(graph: fx.Graph) -> set[fx.Node]:
    """The inputs that the program itself writes to: caches, not weights."""
    return {
        origin
        for node in graph.nodes
        for written in _written(node)
        for origin in _origin(written)
        if any(each.op != "get_attr" for each in node.all_input_nodes if each is not written)
    }


def _written(node: fx.Node) -> Iterable[fx.Node]:
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.is_mutable:
        return
    for argument, operand in zip(schema.arguments, node.args, strict=False):
        is_written = argument.alias_info is not None and argument.alias_info.is_write
        if is_written and isinstance(operand, fx.Node):
            yield operand


_SAME_HEADS = words("transpose permute clone contiguous to _to mul div alias detach mT")


def _count(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def _written_out(node: fx.Node, old: tuple[int, ...], new: tuple[int, ...]) -> int:
    """The times of ``[..., heads, times, rows, width]`` that was one and became heads."""
    while family_of(node.target) in ("clone", "contiguous") and node.all_input_nodes:
        node = node.all_input_nodes[0]
    if family_of(node.target) not in ("expand", "broadcast_to") or len(old) != len(new) + 1:
        return 1
    single: Any = getattr(node.all_input_nodes[0].meta.get("val"), "shape", ())
    merged = (*old[:-4], old[-4] * old[-3], *old[-2:])
    return old[-3] if len(single) == len(old) and single[-3] == 1 and merged == new else 1


_GENERATED = words("arange linspace")  # known before inference, as what is stored
_VIEWS = words(
    "view reshape select slice transpose permute squeeze unsqueeze expand narrow t alias detach "
    "unflatten flatten view_as diagonal"
)


def _origin(node: fx.Node) -> Iterable[fx.Node]:
    while node.op == "call_function" and node.all_input_nodes:
        if family_of(node.target) not in _VIEWS and node.target is not operator.getitem:
            return
        node = node.all_input_nodes[0]
    if node.op == "placeholder":
        yield node
