"""From functions of Python to machine code, with numba; only who compiles imports this.

``python -m picojoule.compiled.building UNIT`` writes the object file of a unit to its output. The
processor is the environment's ``NUMBA_CPU_NAME``: :func:`loading.compile_unit` sets it.

Each function gets an entry that Python calls (:class:`_Entry`). It takes the arguments apart, calls
what numba compiled, and gives back Python's own objects; it knows of Python only the stable C
interface, and of numpy the layout of an array, which has been the same since numpy 1.7. What numba
asks of its own runtime is memory: :func:`_define_memory` gives it the C library's.
"""

from __future__ import annotations

import importlib
import sys
import typing
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core import types as numba_types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime.nrtdynmod import compile_nrt_functions

from picojoule.compiled.arrays import ITEMS, named_tuples
from picojoule.compiled.functions import CompiledFunction
from picojoule.compiled.units import UNITS

_BYTE, _INT, _WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER = _BYTE.as_pointer()

# Of numpy's PyArrayObject, behind the head that every object of Python has.
_HEAD = object.__basicsize__
_DATA, _DIMENSIONS, _SHAPE, _STRIDES, _ITEM, _FLAGS = (_HEAD + n for n in (0, 8, 16, 24, 40, 48))
_ITEM_CODE = _HEAD + 9  # of its PyArray_Descr
_ALIGNED_AND_CONTIGUOUS = 0x101

# Of numba's meminfo: references, destructor, its argument, data, size.
_MEMINFO = ir.LiteralStructType([_WORD, _POINTER, _POINTER, _POINTER, _WORD])
_MEMINFO_BYTES = 64


class _Part(JITCodeLibrary):
    """One function, or one that it calls: optimised with the whole, which takes a fifth off."""

    def _optimize_final_module(self) -> None:
        """Leave it as it is."""


class _Compiled(NamedTuple):
    """What numba made of a function."""

    function: CompiledFunction
    takes: tuple[Any, ...]
    returns: Any
    named: list[Any]  # tuples among what it returns
    description: Any
    library: Any


@global_compiler_lock  # type: ignore[untyped-decorator]
def build(unit: str) -> bytes:
    """The object file of a unit, for the processor that numba compiles for."""
    context = cpu_target.target_context.subtarget(enable_nrt=True)
    codegen = context.codegen()
    codegen._library_class = _Part
    functions = [_compile(function) for function in _functions(unit)]
    library = JITCodeLibrary(codegen, unit)
    module = library.create_ir_module(unit)
    _define_memory(module)
    for function in functions:
        _Entry(context, module, function).define()
    library.add_ir_module(module)
    for part in (compile_nrt_functions(context), *(function.library for function in functions)):
        library.add_linking_library(part)
    library.finalize()
    _refuse_runtime(library._final_module)
    code: bytes = codegen._tm.emit_object(library._final_module)
    return code


def _refuse_runtime(module: Any) -> None:
    """Raise an error if anything is asked of numba's runtime that is not there without it."""
    asked = [x.name for x in module.functions if x.is_declaration]
    missing = [name for name in asked if name.startswith(("NRT_", "numba_"))]
    if missing:
        raise TypeError(
            f"functions of unit {module.name} ask numba itself for {', '.join(missing)}: "
            "write them without lists, texts and whole-array statements that may fail"
        )


def _functions(unit: str) -> list[CompiledFunction]:
    """The functions of a unit that Python calls."""
    modules = [importlib.import_module(name) for name in UNITS[unit]]
    return [
        function
        for module in modules
        for function in vars(module).values()
        if isinstance(function, CompiledFunction)
        and function.symbol is not None
        and function.function.__module__ == module.__name__
    ]


def _compile(function: CompiledFunction) -> _Compiled:
    hints = typing.get_type_hints(function.function, include_extras=True)
    named = named_tuples(hints.pop("return"))
    takes = tuple(_type_of(hint) for hint in hints.values())
    function.dispatcher.compile(takes)
    result = function.dispatcher.overloads[takes]
    returns = result.signature.return_type
    return _Compiled(function, takes, returns, named, result.fndesc, result.library)


def _type_of(hint: Any) -> Any:
    """Numba's type for an annotation."""
    scalars = {int: numba_types.int64, float: numba_types.float64, bool: numba_types.boolean}
    if hint in scalars:
        return scalars[hint]
    if typing.get_origin(hint) is typing.Annotated:
        array, dimensions = typing.get_args(hint)
        item = typing.get_args(typing.get_args(array)[1])[0]
        return numba_types.Array(numba.from_dtype(np.dtype(item)), dimensions, "C")
    if typing.get_origin(hint) is tuple:
        return numba_types.BaseTuple.from_types([_type_of(part) for part in typing.get_args(hint)])
    if isinstance(hint, type) and issubclass(hint, tuple):
        fields = typing.get_type_hints(hint, include_extras=True)
        return numba_types.BaseTuple.from_types([_type_of(part) for part in fields.values()], hint)
    raise TypeError(f"{hint} is nothing that a compiled function can take: see compiled.arrays")


def _define_memory(module: ir.Module) -> None:
    """The part of numba's runtime that compiled functions need, on the C library's memory."""
    malloc = ir.Function(module, ir.FunctionType(_POINTER, [_WORD]), "malloc")
    free = ir.Function(module, ir.FunctionType(ir.VoidType(), [_POINTER]), "free")

    kind = ir.FunctionType(_POINTER, [_WORD, _INT])
    allocate = ir.Function(module, kind, "NRT_MemInfo_alloc_aligned")
    size, align = allocate.args
    builder = ir.IRBuilder(allocate.append_basic_block())
    align = builder.zext(align, _WORD)
    room = builder.add(builder.add(size, align), _WORD(_MEMINFO_BYTES))
    block = builder.call(malloc, [room])
    with builder.if_then(builder.icmp_unsigned("==", block, _POINTER(None)), likely=False):
        builder.ret(_POINTER(None))
    last = builder.sub(builder.add(builder.ptrtoint(block, _WORD), align), _WORD(1))
    start = builder.add(last, _WORD(_MEMINFO_BYTES))
    start = builder.sub(start, builder.urem(start, align))
    header = builder.bitcast(block, _MEMINFO.as_pointer())
    fields = (_WORD(1), _POINTER(None), _POINTER(None), builder.inttoptr(start, _POINTER), size)
    for place, value in enumerate(fields):
        builder.store(value, builder.gep(header, [_INT(0), _INT(place)]))
    builder.ret(block)

    for name in ("NRT_MemInfo_call_dtor", "NRT_Free"):
        release = ir.Function(module, ir.FunctionType(ir.VoidType(), [_POINTER]), name)
        builder = ir.IRBuilder(release.append_basic_block())
        builder.call(free, release.args)
        builder.ret_void()

    plain = ir.Function(module, ir.FunctionType(_POINTER, [_WORD]), "NRT_Allocate")
    builder = ir.IRBuilder(plain.append_basic_block())
    builder.ret(builder.call(malloc, plain.args))


class _Entry:
    """The function that Python calls: ``PyObject *entry(PyObject *self, PyObject *arguments)``.

    *self* is the tuple that :func:`loading.function` binds: the type of arrays, TypeError,
    MemoryError, for each kind of item a function that makes an array of a shape, and the named
    tuples that it returns.
    """

    def __init__(self, context: Any, module: ir.Module, compiled: _Compiled) -> None:
        self.context, self.module, self.compiled = context, module, compiled
        kind = ir.FunctionType(_POINTER, [_POINTER, _POINTER])
        self.entry = ir.Function(module, kind, compiled.function.symbol)
        self.builder = ir.IRBuilder(self.entry.append_basic_block())
        self.python = context.get_python_api(self.builder)

    def define(self) -> None:
        """Write the function."""
        builder, compiled = self.builder, self.compiled
        _, arguments = self.entry.args
        self._wants_length(arguments, len(compiled.takes), "takes")
        values = [
            self._from_python(self.python.tuple_getitem(arguments, n), kind, f"argument {n + 1}")
            for n, kind in enumerate(compiled.takes)
        ]
        convention = self.context.call_conv
        signature = convention.get_function_type(compiled.returns, compiled.takes)
        callee = cgutils.get_or_insert_function(
            self.module, signature, compiled.description.llvm_func_name
        )
        if compiled.function.releases_lock:
            thread = self.python.save_thread()
        status, value = convention.call_function(
            builder, callee, compiled.returns, compiled.takes, values
        )
        if compiled.function.releases_lock:
            self.python.restore_thread(thread)
        with builder.if_then(status.is_error, likely=False):
            # Compiled functions raise nothing of their own: what can fail is to get memory.
            self._fail(2, "there is not enough memory for its arrays")
        builder.ret(self._to_python(value, compiled.returns))

    def _fail(self, error: int, message: str) -> None:
        kind = self.python.tuple_getitem(self.entry.args[0], error)
        name = self.compiled.function.symbol
        self.python.err_set_string(kind, f"{name}: {message}")
        self.builder.ret(_POINTER(None))

    def _wants(self, condition: Any, message: str) -> None:
        with self.builder.if_then(self.builder.not_(condition), likely=False):
            self._fail(1, message)

    def _wants_length(self, values: Any, length: int, what: str) -> None:
        size = self.python.tuple_size(values)
        self._wants(
            self.builder.icmp_signed("==", size, size.type(length)), f"{what} {length} values"
        )

    def _read(self, base: Any, offset: int, kind: Any) -> Any:
        """What lies in memory *offset* bytes behind *base*."""
        place = self.builder.gep(base, [_WORD(offset)])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()))

    def _from_python(self, value: Any, kind: Any, what: str) -> Any:
        builder = self.builder
        if isinstance(kind, numba_types.Array):
            return self._array(value, kind, what)
        if isinstance(kind, numba_types.BaseTuple):
            self._wants_length(value, len(kind), f"{what} has")
            kinds: Any = kind
            names = getattr(kind, "fields", range(len(kind)))
            parts = [
                self._from_python(self.python.tuple_getitem(value, n), part, f"{what}.{name}")
                for n, (part, name) in enumerate(zip(kinds, names, strict=True))
            ]
            return self.context.make_tuple(builder, kind, parts)
        if kind == numba_types.boolean:
            number = self.python.object_istrue(value)
            failed = builder.icmp_signed("<", number, number.type(0))
        elif kind == numba_types.int64:
            number = self.python.long_as_longlong(value)
            failed = builder.icmp_signed("==", number, number.type(-1))
        else:
            number = self.python.float_as_double(value)
            failed = builder.fcmp_ordered("==", number, number.type(-1.0))
        with builder.if_then(failed, likely=False):
            error = self.python.err_occurred()
            with builder.if_then(builder.icmp_unsigned("!=", error, error.type(None))):
                builder.ret(_POINTER(None))
        if kind == numba_types.boolean:
            return builder.icmp_signed("!=", number, number.type(0))
        return number

    def _array(self, value: Any, kind: Any, what: str) -> Any:
        builder, count = self.builder, kind.ndim
        item = np.dtype(str(kind.dtype))
        message = f"{what} must be a contiguous array of {item}, {count} dimensions"
        arrays = self.python.tuple_getitem(self.entry.args[0], 0)
        of = self._read(value, _HEAD - 8, _POINTER)
        self._wants(builder.icmp_unsigned("==", of, arrays), message)
        code = self._read(self._read(value, _ITEM, _POINTER), _ITEM_CODE, _BYTE)
        alike = [np.dtype(c).char for c in "qlidf?" if np.dtype(c) == item]
        same = [builder.icmp_unsigned("==", code, _BYTE(ord(letter))) for letter in alike]
        fits = same[0]
        for other in same[1:]:
            fits = builder.or_(fits, other)
        dimensions = self._read(value, _DIMENSIONS, _INT)
        fits = builder.and_(fits, builder.icmp_signed("==", dimensions, _INT(count)))
        flags = builder.and_(self._read(value, _FLAGS, _INT), _INT(_ALIGNED_AND_CONTIGUOUS))
        fits = builder.and_(fits, builder.icmp_signed("==", flags, _INT(_ALIGNED_AND_CONTIGUOUS)))
        self._wants(fits, message)
        shape, strides = (self._read(value, at, _POINTER) for at in (_SHAPE, _STRIDES))
        array = self.context.make_array(kind)(self.context, builder)
        self.context.populate_array(
            array,
            data=builder.bitcast(self._read(value, _DATA, _POINTER), array.data.type),
            shape=[self._read(shape, 8 * n, _WORD) for n in range(count)],
            strides=[self._read(strides, 8 * n, _WORD) for n in range(count)],
            itemsize=item.itemsize,
            meminfo=None,
        )
        return array._getvalue()

    def _to_python(self, value: Any, kind: Any) -> Any:
        if isinstance(kind, numba_types.Array):
            return self._new_array(value, kind)
        if isinstance(kind, numba_types.BaseTuple):
            return self._new_tuple(value, kind)
        if kind == numba_types.boolean:
            return self.python.bool_from_bool(value)
        if isinstance(kind, numba_types.Integer):
            return self.python.long_from_longlong(value)
        if kind == numba_types.float64:
            return self.python.float_from_double(value)
        if kind == numba_types.none:
            return self.python.make_none()
        raise TypeError(f"{self.compiled.function.symbol} returns {kind}, which no entry can")

    def _new_tuple(self, value: Any, kind: Any) -> Any:
        """A tuple of Python's; it is not looked whether there is memory for it, as little it is."""
        python = self.python
        parts = python.tuple_new(len(kind))
        for n, part in enumerate(kind):
            item = self.builder.extract_value(value, n)
            python.tuple_setitem(parts, n, self._to_python(item, part))
        of = getattr(kind, "instance_class", tuple)
        if of is tuple:
            return parts
        place = 3 + len(ITEMS) + self.compiled.named.index(of)
        result = python.call(python.tuple_getitem(self.entry.args[0], place), parts)
        python.decref(parts)
        return result

    def _new_array(self, value: Any, kind: Any) -> Any:
        """A new array of Python's with what is in a compiled one, which is released."""
        builder, python = self.builder, self.python
        array = self.context.make_array(kind)(self.context, builder, value)
        sizes = cgutils.unpack_tuple(builder, array.shape, kind.ndim)
        shape = python.tuple_new(kind.ndim)
        for n, size in enumerate(sizes):
            python.tuple_setitem(shape, n, python.long_from_longlong(size))
        make = python.tuple_getitem(self.entry.args[0], 3 + ITEMS.index(str(kind.dtype)))
        result = python.call_function_objargs(make, [shape])
        python.decref(shape)
        with builder.if_then(builder.icmp_unsigned("==", result, result.type(None)), likely=False):
            self.context.nrt.decref(builder, kind, value)
            builder.ret(_POINTER(None))
        target = self._read(result, _DATA, _POINTER)
        size = builder.mul(array.nitems, array.itemsize)
        cgutils.raw_memcpy(builder, target, builder.bitcast(array.data, _POINTER), size, 1)
        self.context.nrt.decref(builder, kind, value)
        return result


if __name__ == "__main__":
    sys.stdout.buffer.write(build(sys.argv[1]))
