"""Bytes of a .tflite file -> Graphs.

The generated accessors of the package ``tflite`` do not verify what they read, and the bytes may
come from anywhere. Three rules keep every file harmless: each table is re-opened through ``_Table``,
which checks positions and sizes before they are used; each list is paid for from a budget
before anything is built from it, so that neither a huge count nor many references to one place
cost time or memory; and whatever the accessors raise beyond that becomes a ModelError in one place.
"""

from __future__ import annotations

import dataclasses
import functools
import graphlib
import hashlib
import math
import os
import re
import stat
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from flatbuffers import number_types
from flatbuffers.table import Table

from tcnstream.errors import ModelError
from tcnstream.tflite import schema
from tcnstream.tflite.graph import (
    ABSENT,
    Array,
    Graph,
    ModelFile,
    Op,
    OptionValue,
    Quantization,
    Shape,
    Signature,
    Tensor,
)

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview

_COPY_AGAIN = "copy or export the file again"

_MAX_TABLES = 12_000
"""Tensors, operators, buffers, options: enough for 1,700 operations, and read within a second."""
_MAX_OPERANDS = 300_000
_MAX_RANK = 8
_MAX_PIPED_BYTES = 1 << 32
_PIECE_BYTES = 1 << 16
_MAX_TENSOR_BYTES = 2**31 - 1
_BUILTIN_CODE_SLOT = 10
_MAX_SLOTS = 64
"""More fields than any table of the schema has."""

_CALLEES_OF_KIND = {
    "CALL": ("subgraph",),
    "CALL_ONCE": ("init_subgraph_index",),
    "IF": ("then_subgraph_index", "else_subgraph_index"),
    "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
}


def read_model(source: Source) -> ModelFile:
    """Read a .tflite file, or its bytes, into frozen Graphs.

    Every subgraph becomes a Graph. Constants keep the file's dtype and are read-only views of its
    bytes where their alignment allows; 4-bit constants are unpacked to int8. A tensor without a scale
    has no quantization. Operations without an options table get the schema's defaults; custom
    operations have the kind ``"CUSTOM"`` and their name in ``options["custom_code"]``; an operation that
    the schema does not know has the kind ``"BUILTIN_<number>"``.

    Raises ModelError, and nothing else, for a path that cannot be read and for bytes that are not a
    complete, consistent model.
    """
    name, content = _load(source)
    reader = _Reader(content)
    try:
        graphs, signatures, description = reader.read()
    except _MalformedError as error:
        raise ModelError(f"{name}: {reader.where}: {error.what}; {error.way_out}.") from None
    except (struct.error, TypeError):
        # What the accessors raise for a position beyond the file, and for one beyond 32 bits.
        raise ModelError(f"{name}: {reader.where}: an offset points outside the file; {_COPY_AGAIN}.") from None
    sha256 = hashlib.sha256(content).hexdigest()
    return ModelFile(graphs, sha256, name, description, content, signatures).called(None)


def _load(source: Source) -> tuple[str, bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>", bytes(source)
    try:
        path = os.fspath(source)
        if not is_readable(path):
            raise ModelError(f"{path}: there is no such file; give the path of a .tflite file.")
        with open(path, "rb") as file:
            return path, file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else _piped(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{source!s}: cannot be read ({error}); give the path of a readable .tflite file.") from None


def _piped(file: BinaryIO) -> bytes:
    """All that comes, unless its beginning is no model's: a pipe may have no end."""
    content = bytearray()
    while piece := file.read(_PIECE_BYTES):
        content += piece
        if content[4:8] != b"TFL3" or len(content) > _MAX_PIPED_BYTES:
            break
    return bytes(content)


def is_readable(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file or a pipe of that name; a terminal or another device has no end."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


class _MalformedError(Exception):
    """What is wrong at ``_Reader.where``, and the way out."""

    def __init__(self, what: str, way_out: str = _COPY_AGAIN) -> None:
        super().__init__(what)
        self.what = what
        self.way_out = way_out


_UOFFSET = struct.Struct("<I")

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal takes for commands, or writes in the other direction."""


class _Table(Table):  # type: ignore[misc]
    """A flatbuffer table that checks its list of fields when opened, and its vectors when read.

    A position beyond the file makes ``unpack_from`` raise struct.error; none can be negative, since
    the only signed offset of the format is checked here.
    """

    __slots__ = ("slots",)

    def __init__(self, buf: bytes, pos: int) -> None:
        super().__init__(buf, pos)
        (back,) = struct.unpack_from("<i", buf, pos)
        start = pos - back
        if not 0 <= start <= len(buf) - 4:
            raise _MalformedError("an offset points outside the file")
        slots_bytes, table_bytes = struct.unpack_from("<HH", buf, start)
        if slots_bytes < 4 or slots_bytes % 2 or start + slots_bytes > len(buf) or pos + table_bytes > len(buf):
            raise _MalformedError("its list of fields is damaged")
        count = min(slots_bytes // 2, _MAX_SLOTS)
        self.slots: tuple[int, ...] = struct.unpack_from(f"<{count}H", buf, start)
        if max(self.slots[2:], default=0) >= max(table_bytes, 1):
            raise _MalformedError("its list of fields is damaged")

    def Offset(self, vtableOffset: int) -> int:  # noqa: N802 (the base class names it)
        slot = vtableOffset // 2
        return self.slots[slot] if slot < len(self.slots) else 0

    def Get(self, flags: Any, off: int) -> Any:  # noqa: N802
        return flags.packer_type.unpack_from(self.Bytes, off)[0]

    def Indirect(self, off: int) -> int:  # noqa: N802
        return off + int(_UOFFSET.unpack_from(self.Bytes, off)[0])

    def Vector(self, off: int) -> int:  # noqa: N802
        return self.Indirect(self.Pos + off) + _UOFFSET.size

    def VectorLen(self, off: int) -> int:  # noqa: N802
        start = self.Vector(off)
        count = int(_UOFFSET.unpack_from(self.Bytes, start - _UOFFSET.size)[0])
        if start + count > len(self.Bytes):
            raise _MalformedError(f"has a list of {count} entries, more than the file can hold")
        return count

    def GetVectorAsNumpy(self, flags: Any, off: int) -> Array:  # noqa: N802
        start, count = self.Vector(off), self.VectorLen(off)
        dtype = _dtype_of(flags)
        if start + count * dtype.itemsize > len(self.Bytes):
            raise _MalformedError(f"has a list of {count} entries, more than the file can hold")
        return np.frombuffer(self.Bytes, dtype=dtype, count=count, offset=start)

    def String(self, off: int) -> bytes:  # noqa: N802
        count = self.VectorLen(off - self.Pos)
        start = self.Vector(off - self.Pos)
        return self.Bytes[start : start + count]  # type: ignore[no-any-return]


@functools.cache
def _dtype_of(flags: Any) -> np.dtype[np.generic]:
    dtype: np.dtype[np.generic] = np.dtype(number_types.to_numpy_type(flags))
    return dtype


@functools.cache
def _integer_limits(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    return limits.min, limits.max


class _Reader:
    """One pass over a file; ``where`` names the place being read, for the error's text."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.where = "the file's header"
        # Honest files store every list once, so that all lists together are smaller than the file, and
        # unpacking 4-bit constants doubles them.
        self.limits = {"tables": _MAX_TABLES, "operands": _MAX_OPERANDS, "bytes in lists": 4 * len(content) + 65536}
        self.spent = dict.fromkeys(self.limits, 0)
        self.file = schema.accessors("Model")
        self.kinds: list[tuple[str, str]] = []
        self.buffers: dict[int, npt.NDArray[np.uint8]] = {}

    def spend(self, what: str, amount: int) -> None:
        self.spent[what] += amount
        if self.spent[what] > self.limits[what]:
            raise _MalformedError(
                f"the file holds more than {self.limits[what]} {what}", "split the model or simplify it"
            )

    def open(self, accessor: Any) -> Any:
        """The same accessor, reading through a checked table."""
        self.spend("tables", 1)
        accessor._tab = _Table(self.content, accessor._tab.Pos)
        return accessor

    def text(self, value: bytes | None) -> str:
        self.spend("bytes in lists", len(value or b""))
        return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", (value or b"").decode("utf-8", "replace"))

    def numbers(self, owner: Any, field: str) -> Array:
        """A vector of numbers as a view of the file; empty where the file has none."""
        if getattr(owner, f"{field}IsNone")():
            return np.zeros(0, np.int32)
        values: Array = getattr(owner, f"{field}AsNumpy")()
        self.spend("bytes in lists", values.nbytes)
        return values

    def read(self) -> tuple[tuple[Graph, ...], tuple[Signature, ...], str]:
        if self.content[4:8] != schema.IDENTIFIER:
            raise _MalformedError(
                "the identifier TFL3 is missing, so this is no TFLite file", "give a .tflite file (LiteRT, TFLite)"
            )
        (root,) = struct.unpack_from("<I", self.content)
        self.file.Init(self.content, root)
        self.open(self.file)
        if self.file.Version() != schema.VERSION:
            raise _MalformedError(
                f"schema version {self.file.Version()} where {schema.VERSION} is the only one in use",
                "convert the model with a current TFLite converter",
            )
        description = self.text(self.file.Description())
        self.kinds = [self.kind(i) for i in range(self.file.OperatorCodesLength())]
        self.where = "the list of graphs"
        count = self.file.SubgraphsLength()
        if count == 0:
            raise _MalformedError("the file has no graph")
        graphs = []
        for i in range(count):
            self.where = f"graph {i}"
            graphs.append(self.graph(self.open(self.file.Subgraphs(i)), self.where))
        self.where = "the list of graphs"
        _check_calls(graphs)
        signatures = tuple(self.signature(i, graphs) for i in range(self.file.SignatureDefsLength()))
        siblings = tuple(graphs)
        return tuple(dataclasses.replace(graph, siblings=siblings) for graph in graphs), signatures, description

    def signature(self, i: int, graphs: Sequence[Graph]) -> Signature:
        self.where = f"signature {i}"
        signature = self.open(self.file.SignatureDefs(i))
        index = signature.SubgraphIndex()
        if not 0 <= index < len(graphs):
            raise _MalformedError(f"it is of graph {index}, and the file has {len(graphs)}")
        name, graph = self.text(signature.SignatureKey()), graphs[index]
        inputs = self.named(signature.Inputs, signature.InputsLength(), graph)
        outputs = self.named(signature.Outputs, signature.OutputsLength(), graph)
        return Signature(name, index, inputs, outputs)

    def named(self, entry: Any, count: int, graph: Graph) -> dict[str, int]:
        """The names that a signature gives to tensors of a graph."""
        found = {}
        for k in range(count):
            pair = self.open(entry(k))
            if not 0 <= pair.TensorIndex() < len(graph.tensors):
                raise _MalformedError(f"it names tensor {pair.TensorIndex()}, and its graph has {len(graph.tensors)}")
            found[self.text(pair.Name())] = pair.TensorIndex()
        return found

    def kind(self, i: int) -> tuple[str, str]:
        self.where = f"operator code {i}"
        code = self.open(self.file.OperatorCodes(i))
        # Converters write codes above 127 to the new field only, older ones write the old field only; the
        # accessor BuiltinCode ignores a new field below 127.
        stored = code._tab.GetSlot(_BUILTIN_CODE_SLOT, 0, number_types.Int32Flags)
        number = max(code.DeprecatedBuiltinCode(), stored)
        if number < 0:
            raise _MalformedError(f"the number {number} is negative")
        return schema.kind_of_code(number), self.text(code.CustomCode())

    def graph(self, graph: Any, where: str) -> Graph:
        name = self.text(graph.Name())
        count = graph.TensorsLength()
        inputs = self.indices(graph, "Inputs", count)
        outputs = self.indices(graph, "Outputs", count)
        tensors, stored = [], set()
        for i in range(count):
            self.where = f"tensor {i} of {where}"
            tensor, is_stored = self.tensor(self.open(graph.Tensors(i)))
            tensors.append(tensor)
            if is_stored:
                stored.add(i)
        ops = []
        for i in range(graph.OperatorsLength()):
            self.where = f"operator {i} of {where}"
            ops.append(self.op(self.open(graph.Operators(i)), i, count))
        self.where = where
        result = Graph(_fill_empty(tensors, ops, inputs, outputs), tuple(ops), inputs, outputs, name)
        _check_order(result, stored)
        return result

    def indices(self, owner: Any, field: str, count: int, *, optional: bool = False) -> tuple[int, ...]:
        values = self.numbers(owner, field)
        self.spend("operands", values.size)
        lowest = ABSENT if optional else 0
        numbers: tuple[int, ...] = tuple(values.tolist())
        if numbers and not lowest <= min(numbers) <= max(numbers) < count:
            raise _MalformedError(f"its {field.lower()} name a tensor that is none of the graph's {count}")
        return numbers

    def tensor(self, tensor: Any) -> tuple[Tensor, bool]:
        """The tensor, and whether it has a value before any operation ran."""
        name = self.text(tensor.Name())
        if name:
            self.where += f" ({name[:80]!r})"
        type_name = schema.TENSOR_TYPES.get(tensor.Type(), str(tensor.Type()))
        dtype = np.dtype(np.int8) if type_name == "INT4" else schema.DTYPE_OF_TENSOR_TYPE.get(type_name)
        if dtype is None:
            raise _MalformedError(f"values of type {type_name} are not supported", "convert the model to float or int8")
        if tensor.Sparsity() is not None:
            raise _MalformedError("its values are stored sparsely", "convert the model without sparsity")
        shape = self.shape(tensor, dtype)
        quantization = self.quantization(tensor, shape, dtype)
        raw = self.buffer(tensor.Buffer())
        if type_name == "INT4" and not raw.size:
            raise _MalformedError("4-bit values are supported as constants only", "convert the model to int8")
        data = None
        if raw.size and dtype != schema.OBJECT:
            data = self.constant(raw, shape, dtype, packed=type_name == "INT4")
        is_stored = bool(raw.size) or bool(tensor.IsVariable())
        variable = bool(tensor.IsVariable())
        return Tensor(name, shape, dtype, quantization, data, self.open_axes(tensor, shape), variable), is_stored

    def open_axes(self, tensor: Any, shape: Shape) -> tuple[int, ...]:
        signature = self.numbers(tensor, "ShapeSignature").tolist()
        if len(signature) != len(shape):
            return ()
        return tuple(axis for axis, n in enumerate(signature) if n == -1 and shape[axis] == 1)

    def shape(self, tensor: Any, dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        dims = self.numbers(tensor, "Shape")
        if dims.size > _MAX_RANK:
            raise _MalformedError(f"it has {dims.size} dimensions, more than {_MAX_RANK}", "flatten some of them")
        shape: tuple[int, ...] = tuple(dims.tolist())
        if min(shape, default=0) < 0:
            raise _MalformedError(f"its shape {shape} has a negative dimension", "export the model with fixed shapes")
        # A zero among the dimensions must not hide the others: numpy refuses their product, too.
        if math.prod(size or 1 for size in shape) * dtype.itemsize > _MAX_TENSOR_BYTES:
            raise _MalformedError(f"its shape {shape} takes 2 GB or more", "use a shorter window")
        return shape

    def quantization(self, tensor: Any, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Quantization | None:
        parameters = tensor.Quantization()
        if parameters is None:
            return None
        self.open(parameters)
        scale = self.numbers(parameters, "Scale").astype(np.float32)
        if not scale.size:
            return None
        axis = parameters.QuantizedDimension()
        if scale.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scale.size):
            raise _MalformedError(f"has {scale.size} scales along axis {axis}, which do not fit its shape {shape}")
        # The converter gives a channel of zeros the scale 0 in 16x8 models, and LiteRT multiplies by it.
        usable = scale > 0 if scale.size == 1 else scale >= 0
        if not (usable & (scale < np.inf)).all():
            raise _MalformedError("has a quantization scale that is not a positive number", "quantize the model again")
        zero_point = self.numbers(parameters, "ZeroPoint").astype(np.int64)
        if not zero_point.size:
            zero_point = np.zeros(scale.size, np.int64)
        if zero_point.size != scale.size:
            raise _MalformedError(f"has {zero_point.size} zero points for {scale.size} scales")
        if dtype.kind in "iu":
            # The kernels hold a zero point in 32 bits, of whatever type the values are.
            least, most = _integer_limits(min(dtype, np.dtype(np.int32), key=lambda one: one.itemsize))
            if zero_point.min() < least or zero_point.max() > most:
                raise _MalformedError(f"has a zero point that {dtype} cannot hold", "quantize the model again")
        scale.flags.writeable = zero_point.flags.writeable = False
        return Quantization(scale, zero_point, axis if scale.size > 1 else 0)

    def buffer(self, index: int) -> npt.NDArray[np.uint8]:
        """The bytes of a buffer as a view of the file; empty where a buffer has no data."""
        if index not in self.buffers:
            self.buffers[index] = self.read_buffer(index)
        return self.buffers[index]

    def read_buffer(self, index: int) -> npt.NDArray[np.uint8]:
        count = self.file.BuffersLength()
        if index >= count:
            raise _MalformedError(f"names buffer {index} of {count}")
        buffer = self.open(self.file.Buffers(index))
        # Files above 2 GB keep constants behind the flatbuffer; TFLite reads offsets 0 and 1 as "not so".
        start, size = buffer.Offset(), buffer.Size()
        if start > 1:
            if start + size > len(self.content):
                raise _MalformedError(f"its buffer {index} ends at byte {start + size} of {len(self.content)}")
            return np.frombuffer(self.content, np.uint8, count=size, offset=start)
        return np.zeros(0, np.uint8) if buffer.DataIsNone() else buffer.DataAsNumpy()

    def constant(
        self, raw: npt.NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[np.generic], *, packed: bool
    ) -> Array:
        elements = math.prod(shape)
        expected = (elements + 1) // 2 if packed else elements * dtype.itemsize
        if raw.size != expected:
            raise _MalformedError(f"has {raw.size} bytes of data where its shape {shape} takes {expected}")
        if packed:
            self.spend("bytes in lists", elements)
            nibbles = np.stack([raw << 4, raw & 0xF0], axis=-1).reshape(-1)[:elements]
            values: Array = nibbles.view(np.int8) >> 4
        elif dtype == np.bool_:
            self.spend("bytes in lists", raw.size)
            values = raw != 0
        else:
            values = raw.view(dtype)
            if not values.flags.aligned:
                self.spend("bytes in lists", raw.size)
                values = values.copy()
        values = values.reshape(shape)
        values.flags.writeable = False
        return values

    def op(self, op: Any, index: int, tensor_count: int) -> Op:
        code = op.OpcodeIndex()
        if code >= len(self.kinds):
            raise _MalformedError(f"names operator code {code} of {len(self.kinds)}")
        kind, custom_code = self.kinds[code]
        self.where += f" ({kind})"
        return Op(
            kind=kind,
            inputs=self.indices(op, "Inputs", tensor_count, optional=True),
            outputs=self.indices(op, "Outputs", tensor_count),
            options={"custom_code": custom_code} if kind == "CUSTOM" else self.options(op, kind),
            index=index,
            intermediates=self.indices(op, "Intermediates", tensor_count),
        )

    def options(self, op: Any, kind: str) -> dict[str, OptionValue]:
        table = schema.options_table(kind)
        if table is None:
            return {}
        found = schema.TABLE_OF_OPTIONS_TYPE.get(op.BuiltinOptionsType(), "unknown options")
        stored = op.BuiltinOptions()
        if stored is None or found == "NONE":
            return dict(schema.default_options(table))
        if found != table:
            raise _MalformedError(f"carries {found} where {table} belong")
        accessor = schema.accessors(table)
        accessor.Init(stored.Bytes, stored.Pos)
        self.open(accessor)
        return {field.name: self.option(accessor, field) for field in schema.option_fields(table)}

    def option(self, accessor: Any, field: schema.Field) -> OptionValue:
        if field.is_list:
            values = self.numbers(accessor, field.accessor)
            self.spend("operands", values.size)
            return tuple(values.tolist())
        value = getattr(accessor, field.accessor)()
        if field.members is not None:
            if value not in field.members:
                raise _MalformedError(f"its option {field.name} is {value}, which the schema does not know")
            return field.members[value]
        if field.is_text:
            return self.text(value)
        result: int | float | bool = value
        return result


def _fill_empty(
    tensors: list[Tensor], ops: list[Op], inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> tuple[Tensor, ...]:
    """Turn tensors without elements that nothing computes into (empty) constants; refuse them as ends of the graph."""
    computed = {i for op in ops for i in op.outputs}
    filled = []
    for i, tensor in enumerate(tensors):
        if 0 in tensor.shape and not tensor.is_constant and tensor.dtype != schema.OBJECT:
            if i in inputs or (i in computed and i in outputs):
                raise _MalformedError(f"tensor {i} ({tensor.name[:80]!r}) has no elements, its shape is {tensor.shape}")
            if i not in computed:
                data = np.zeros(tensor.shape, tensor.dtype)
                data.flags.writeable = False
                tensor = dataclasses.replace(tensor, data=data)
        filled.append(tensor)
    return tuple(filled)


def _check_order(graph: Graph, stored: set[int]) -> None:
    """Refuse a graph in which an operation reads what nothing has computed before it."""
    constants = {i for i, tensor in enumerate(graph.tensors) if tensor.is_constant}
    if len(set(graph.inputs)) < len(graph.inputs):
        raise _MalformedError("one tensor is two inputs")
    if written := constants.intersection(graph.inputs):
        raise _MalformedError(f"input tensor {min(written)} is a constant")
    known = stored | constants | set(graph.inputs) | {ABSENT}
    fixed = constants | set(graph.inputs)
    for op in graph.ops:
        for i in op.inputs:
            if i not in known:
                raise _MalformedError(
                    f"operator {op.index} ({op.kind}) reads tensor {i} ({graph.tensors[i].name[:80]!r}), which is "
                    "computed by no earlier operator (a cycle, or a lost operator)"
                )
        for i in op.outputs:
            if i in fixed:
                raise _MalformedError(f"operator {op.index} ({op.kind}) writes tensor {i}, which has a value already")
            fixed.add(i)
        known.update(op.outputs)
    if lost := [i for i in graph.outputs if i not in known]:
        raise _MalformedError(f"output tensor {lost[0]} is computed by no operator")


def _check_calls(graphs: list[Graph]) -> None:
    """Refuse references to graphs that do not exist, and graphs that call themselves."""
    callees: dict[int, set[int]] = {}
    for caller, graph in enumerate(graphs):
        for op in graph.ops:
            for option in _CALLEES_OF_KIND.get(op.kind, ()):
                callee = op.options[option]
                if not (isinstance(callee, int) and 0 <= callee < len(graphs)):
                    raise _MalformedError(f"operator {op.index} ({op.kind}) of graph {caller} calls graph {callee}")
                callees.setdefault(caller, set()).add(callee)
    try:
        graphlib.TopologicalSorter(callees).prepare()
    except graphlib.CycleError:
        raise _MalformedError("graphs call each other in a cycle") from None
