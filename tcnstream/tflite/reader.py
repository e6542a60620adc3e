"""Bytes of a .tflite file -> Graphs.

``tables`` reads the flatbuffer, whose bytes may come from anywhere, and checks it while it does; here stands what its
tables and fields mean.
"""

from __future__ import annotations

import dataclasses
import functools
import graphlib
import hashlib
import math
import os
import stat
import struct
from collections.abc import Sequence
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from tcnstream.errors import ModelError
from tcnstream.tflite import schema
from tcnstream.tflite.graph import (
    ABSENT,
    UNUSABLE_SCALE,
    Array,
    Graph,
    ModelFile,
    Op,
    OptionValue,
    Quantization,
    Shape,
    Signature,
    Tensor,
    has_usable_scale,
    scaled_zeros,
)
from tcnstream.tflite.tables import (
    BYTE,
    COPY_AGAIN,
    FLAG,
    INT,
    LONG,
    REAL,
    UNSIGNED,
    UNSIGNED_BYTE,
    UNSIGNED_LONG,
    Flatbuffer,
    MalformedError,
    Table,
)

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview

_MAX_RANK = 8
_MAX_PIPED_BYTES = 1 << 32
_PIECE_BYTES = 1 << 16
_MAX_TENSOR_BYTES = 2**31 - 1
_CALLEES_OF_KIND = {
    "CALL": ("subgraph",),
    "CALL_ONCE": ("init_subgraph_index",),
    "IF": ("then_subgraph_index", "else_subgraph_index"),
    "STABLEHLO_COMPOSITE": ("decomposition_subgraph_index",),
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
    except MalformedError as error:
        raise ModelError(f"{name}: {reader.where}: {error.what}; {error.way_out}.") from None
    except (struct.error, TypeError):
        # What is raised for a position beyond the file, and for one beyond 32 bits.
        raise ModelError(f"{name}: {reader.where}: an offset points outside the file; {COPY_AGAIN}.") from None
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


@functools.cache
def _zero_points(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """The least and the greatest zero point of an integer type: the kernels hold it in 32 bits, whatever it is of."""
    limits = np.iinfo(min(dtype, np.dtype(np.int32), key=lambda one: one.itemsize))  # type: ignore[type-var]
    return int(limits.min), int(limits.max)


# Fields of the schema's tables, by their numbers.


class _Model:
    VERSION, CODES, GRAPHS, DESCRIPTION, BUFFERS, SIGNATURES = 0, 1, 2, 3, 4, 7


class _Code:
    OLD_NUMBER, CUSTOM, NUMBER = 0, 1, 3


class _Graph:
    TENSORS, INPUTS, OUTPUTS, OPERATORS, NAME = range(5)


class _Operator:
    CODE, INPUTS, OUTPUTS, OPTIONS_TYPE, OPTIONS, INTERMEDIATES = 0, 1, 2, 3, 4, 8
    NEWER_OPTIONS_TYPE, NEWER_OPTIONS = 11, 12


_ENDS = {_Operator.INPUTS: "inputs", _Operator.OUTPUTS: "outputs", _Operator.INTERMEDIATES: "intermediates"}
"""Fields that name tensors; those of a graph have the numbers of an operator's."""


class _Tensor:
    SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, IS_VARIABLE, SPARSITY, SIGNATURE = range(8)


class _Quantization:
    SCALE, ZERO_POINT, AXIS = 2, 3, 6


class _Buffer:
    DATA, OFFSET, SIZE = range(3)


class _Signature:
    INPUTS, OUTPUTS, NAME, GRAPH = 0, 1, 2, 4


class _Named:
    NAME, TENSOR = range(2)


_NO_BYTES = np.zeros(0, np.uint8)


class _Reader:
    """One pass over a file; ``where`` names the place being read, for the error's text."""

    def __init__(self, content: bytes) -> None:
        self.where = "the file's header"
        self.file = Flatbuffer(content)
        self.kinds: list[tuple[str, str]] = []
        self.buffer_places = range(0)
        self.buffers: dict[int, npt.NDArray[np.uint8]] = {}
        self.quantizations: dict[tuple[tuple[float, ...], tuple[int, ...], int], Quantization] = {}

    def read(self) -> tuple[tuple[Graph, ...], tuple[Signature, ...], str]:
        if self.file.content[4:8] != schema.IDENTIFIER:
            raise MalformedError(
                "the identifier TFL3 is missing, so this is no TFLite file", "give a .tflite file (LiteRT, TFLite)"
            )
        model = self.file.table(0)
        version = model.number(_Model.VERSION, UNSIGNED, 0)
        if version != schema.VERSION:
            raise MalformedError(
                f"schema version {version} where {schema.VERSION} is the only one in use",
                "convert the model with a current TFLite converter",
            )
        description = model.text(_Model.DESCRIPTION)
        for i, place in enumerate(model.tables(_Model.CODES)):
            self.where = f"operator code {i}"
            self.kinds.append(self.kind(self.file.table(place)))
        self.where = "the list of graphs"
        self.buffer_places = model.tables(_Model.BUFFERS)
        places = model.tables(_Model.GRAPHS)
        if not places:
            raise MalformedError("the file has no graph")
        graphs = []
        for i, place in enumerate(places):
            self.where = f"graph {i}"
            graphs.append(self.graph(self.file.table(place), self.where))
        self.where = "the list of graphs"
        _check_calls(graphs)
        signatures = []
        for i, place in enumerate(model.tables(_Model.SIGNATURES)):
            self.where = f"signature {i}"
            signatures.append(self.signature(self.file.table(place), graphs))
        siblings = tuple(graphs)
        known = tuple(dataclasses.replace(graph, siblings=siblings) for graph in graphs)
        return known, tuple(signatures), description

    def signature(self, signature: Table, graphs: Sequence[Graph]) -> Signature:
        index = signature.number(_Signature.GRAPH, UNSIGNED, 0)
        if index >= len(graphs):
            raise MalformedError(f"it is of graph {index}, and the file has {len(graphs)}")
        name, graph = signature.text(_Signature.NAME), graphs[index]
        inputs = self.named(signature, _Signature.INPUTS, graph)
        outputs = self.named(signature, _Signature.OUTPUTS, graph)
        return Signature(name, index, inputs, outputs)

    def named(self, signature: Table, field: int, graph: Graph) -> dict[str, int]:
        """The names that a signature gives to tensors of a graph."""
        found = {}
        for place in signature.tables(field):
            pair = self.file.table(place)
            tensor = pair.number(_Named.TENSOR, UNSIGNED, 0)
            if tensor >= len(graph.tensors):
                raise MalformedError(f"it names tensor {tensor}, and its graph has {len(graph.tensors)}")
            found[pair.text(_Named.NAME)] = tensor
        return found

    def kind(self, code: Table) -> tuple[str, str]:
        # Converters write codes above 127 to the new field only, older ones write the old field only.
        number = max(code.number(_Code.OLD_NUMBER, BYTE, 0), code.number(_Code.NUMBER, INT, 0))
        if number < 0:
            raise MalformedError(f"the number {number} is negative")
        return schema.kind_of_code(number), code.text(_Code.CUSTOM)

    def graph(self, graph: Table, where: str) -> Graph:
        name = graph.text(_Graph.NAME)
        places = graph.tables(_Graph.TENSORS)
        inputs = self.indices(graph, _Graph.INPUTS, len(places))
        outputs = self.indices(graph, _Graph.OUTPUTS, len(places))
        tensors, stored = [], set()
        unscaled: dict[int, str] = {}
        for i, place in enumerate(places):
            self.where = f"tensor {i} of {where}"
            tensor, is_stored = self.tensor(self.file.table(place))
            tensors.append(tensor)
            if is_stored:
                stored.add(i)
            if not has_usable_scale(tensor):
                unscaled[i] = self.where
        ops = []
        for i, place in enumerate(graph.tables(_Graph.OPERATORS)):
            self.where = f"operator {i} of {where}"
            ops.append(self.op(self.file.table(place), i, len(tensors)))
        for op in ops:
            known = all(i != ABSENT and tensors[i].data is not None for i in op.inputs)
            for i in op.outputs if known else ():
                if tensors[i].is_variable:
                    # What a kernel keeps begins in each run as a constant says, as float16 files start an LSTM.
                    tensors[i] = dataclasses.replace(tensors[i], is_variable=False)
                    stored.discard(i)
        for i in unscaled.keys() - {o for op in ops for o in op.outputs}:
            self.where = unscaled[i]
            tensors[i] = scaled_zeros(tensors[i])
            if not has_usable_scale(tensors[i]):
                raise MalformedError(UNUSABLE_SCALE, "quantize the model again")
        self.where = where
        result = Graph(_fill_empty(tensors, ops, inputs, outputs), tuple(ops), inputs, outputs, name)
        _check_order(result, stored)
        return result

    def indices(self, owner: Table, field: int, count: int, lowest: int = 0) -> tuple[int, ...]:
        numbers = owner.integers(field)
        self.file.spend("operands", len(numbers))
        if numbers and not lowest <= min(numbers) <= max(numbers) < count:
            raise MalformedError(f"its {_ENDS[field]} name a tensor that is none of the graph's {count}")
        return numbers

    def tensor(self, tensor: Table) -> tuple[Tensor, bool]:
        """The tensor, and whether it has a value before any operation ran."""
        name = tensor.text(_Tensor.NAME)
        if name:
            self.where += f" ({name[:80]!r})"
        number = tensor.number(_Tensor.TYPE, BYTE, 0)
        type_name = schema.TENSOR_TYPES.get(number, str(number))
        is_packed = type_name == "INT4"
        dtype = np.dtype(np.int8) if is_packed else schema.DTYPE_OF_TENSOR_TYPE.get(type_name)
        if dtype is None:
            raise MalformedError(f"values of type {type_name} are not supported", "convert the model to float or int8")
        if tensor.has(_Tensor.SPARSITY):
            raise MalformedError("its values are stored sparsely", "convert the model without sparsity")
        shape = self.shape(tensor, dtype)
        quantization = self.quantization(tensor.table(_Tensor.QUANTIZATION), shape, dtype)
        raw = self.buffer(tensor.number(_Tensor.BUFFER, UNSIGNED, 0))
        if is_packed and not raw.size:
            raise MalformedError("4-bit values are supported as constants only", "convert the model to int8")
        data = None
        if raw.size and dtype != schema.OBJECT:
            data = self.constant(raw, shape, dtype, packed=is_packed)
        is_variable = tensor.number(_Tensor.IS_VARIABLE, FLAG, False)
        made = Tensor(name, shape, dtype, quantization, data, self.open_axes(tensor, shape), is_variable)
        return made, bool(raw.size) or is_variable

    def open_axes(self, tensor: Table, shape: Shape) -> tuple[int, ...]:
        signature = tensor.integers(_Tensor.SIGNATURE)
        if -1 not in signature or len(signature) != len(shape):
            return ()
        return tuple(axis for axis, n in enumerate(signature) if n == -1 and shape[axis] == 1)

    def shape(self, tensor: Table, dtype: np.dtype[np.generic]) -> Shape:
        shape = tensor.integers(_Tensor.SHAPE)
        if len(shape) > _MAX_RANK:
            raise MalformedError(f"it has {len(shape)} dimensions, more than {_MAX_RANK}", "flatten some of them")
        if min(shape, default=0) < 0:
            raise MalformedError(f"its shape {shape} has a negative dimension", "export the model with fixed shapes")
        # A zero among the dimensions must not hide the others: numpy refuses their product, too.
        if math.prod(size or 1 for size in shape) * dtype.itemsize > _MAX_TENSOR_BYTES:
            raise MalformedError(f"its shape {shape} takes 2 GB or more", "use a shorter window")
        return shape

    def quantization(self, parameters: Table | None, shape: Shape, dtype: np.dtype[np.generic]) -> Quantization | None:
        scales = () if parameters is None else parameters.listed(_Quantization.SCALE, REAL)
        if parameters is None or not scales:
            return None
        count, axis = len(scales), parameters.number(_Quantization.AXIS, INT, 0)
        if count > 1 and not (0 <= axis < len(shape) and shape[axis] == count):
            raise MalformedError(f"has {count} scales along axis {axis}, which do not fit its shape {shape}")
        # The converter gives a channel of zeros the scale 0 in 16x8 models, and LiteRT multiplies by it.
        if not (min(scales) >= 0 and math.isfinite(sum(scales))):
            raise MalformedError(UNUSABLE_SCALE, "quantize the model again")
        zero_points = parameters.listed(_Quantization.ZERO_POINT, LONG) or (0,) * count
        if len(zero_points) != count:
            raise MalformedError(f"has {len(zero_points)} zero points for {count} scales")
        if dtype.kind in "iu":
            least, most = _zero_points(dtype)
            if min(zero_points) < least or max(zero_points) > most:
                raise MalformedError(f"has a zero point that {dtype} cannot hold", "quantize the model again")
        # What only moves values has the scale of what it moves: one for all of them is compared at once.
        known = scales, zero_points, axis if count > 1 else 0
        if known not in self.quantizations:
            scale, zero_point = np.array(scales, np.float32), np.array(zero_points, np.int64)
            scale.setflags(write=False)
            zero_point.setflags(write=False)
            self.quantizations[known] = Quantization(scale, zero_point, known[2])
        return self.quantizations[known]

    def buffer(self, index: int) -> npt.NDArray[np.uint8]:
        """The bytes of a buffer as a view of the file; empty where a buffer has no data."""
        if index not in self.buffers:
            self.buffers[index] = self.read_buffer(index)
        return self.buffers[index]

    def read_buffer(self, index: int) -> npt.NDArray[np.uint8]:
        count = len(self.buffer_places)
        if index >= count:
            raise MalformedError(f"names buffer {index} of {count}")
        buffer = self.file.table(self.buffer_places[index])
        # Files above 2 GB keep constants behind the flatbuffer; TFLite reads offsets 0 and 1 as "not so".
        start = buffer.number(_Buffer.OFFSET, UNSIGNED_LONG, 0)
        if start <= 1:
            return buffer.bytes(_Buffer.DATA) if buffer.has(_Buffer.DATA) else _NO_BYTES
        size = buffer.number(_Buffer.SIZE, UNSIGNED_LONG, 0)
        if start + size > len(self.file.content):
            raise MalformedError(f"its buffer {index} ends at byte {start + size} of {len(self.file.content)}")
        return np.frombuffer(self.file.content, np.uint8, count=size, offset=start)

    def constant(
        self, raw: npt.NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[np.generic], *, packed: bool
    ) -> Array:
        elements = math.prod(shape)
        expected = (elements + 1) // 2 if packed else elements * dtype.itemsize
        if raw.size != expected:
            raise MalformedError(f"has {raw.size} bytes of data where its shape {shape} takes {expected}")
        if packed:
            self.file.spend("bytes in lists", elements)
            nibbles = np.stack([raw << 4, raw & 0xF0], axis=-1).reshape(-1)[:elements]
            values: Array = nibbles.view(np.int8) >> 4
        elif dtype == np.bool_:
            self.file.spend("bytes in lists", raw.size)
            values = raw != 0
        else:
            values = raw.view(dtype)
            if not values.flags.aligned:
                self.file.spend("bytes in lists", raw.size)
                values = values.copy()
        values = values.reshape(shape)
        values.setflags(write=False)
        return values

    def op(self, op: Table, index: int, tensor_count: int) -> Op:
        code = op.number(_Operator.CODE, UNSIGNED, 0)
        if code >= len(self.kinds):
            raise MalformedError(f"names operator code {code} of {len(self.kinds)}")
        kind, custom_code = self.kinds[code]
        self.where += f" ({kind})"
        return Op(
            kind=kind,
            inputs=self.indices(op, _Operator.INPUTS, tensor_count, lowest=ABSENT),
            outputs=self.indices(op, _Operator.OUTPUTS, tensor_count),
            options={"custom_code": custom_code} if kind == "CUSTOM" else self.options(op, kind),
            index=index,
            intermediates=self.indices(op, _Operator.INTERMEDIATES, tensor_count),
        )

    def options(self, op: Table, kind: str) -> dict[str, OptionValue]:
        table = schema.options_table(kind)
        if table is None:
            return {}
        if table in schema.OPTIONS_TYPE_OF_TABLE:
            tables, type_field, field = schema.TABLE_OF_OPTIONS_TYPE, _Operator.OPTIONS_TYPE, _Operator.OPTIONS
        else:
            tables = schema.TABLE_OF_NEWER_OPTIONS_TYPE
            type_field, field = _Operator.NEWER_OPTIONS_TYPE, _Operator.NEWER_OPTIONS
        found = tables.get(op.number(type_field, UNSIGNED_BYTE, 0), "unknown options")
        stored = op.table(field)
        if stored is None or found == "NONE":
            return dict(schema.default_options(table))
        if found != table:
            raise MalformedError(f"carries {found} where {table} belong")
        return {field.name: self.option(stored, field) for field in schema.option_fields(table)}

    def option(self, table: Table, field: schema.Field) -> OptionValue:
        if field.layout is None:
            return table.text(field.number)
        if field.is_list:
            values = table.listed(field.number, field.layout)
            self.file.spend("operands", len(values))
            return values
        value: int | float | bool = table.number(field.number, field.layout, field.stored_default)
        if field.members is None:
            return value
        if value not in field.members:
            raise MalformedError(f"its option {field.name} is {value}, which the schema does not know")
        return field.members[int(value)]


def _fill_empty(
    tensors: list[Tensor], ops: list[Op], inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> tuple[Tensor, ...]:
    """Turn tensors without elements that nothing computes into (empty) constants; refuse them as ends of the graph."""
    computed = {i for op in ops for i in op.outputs}
    filled = []
    for i, tensor in enumerate(tensors):
        if 0 in tensor.shape and not tensor.is_constant and tensor.dtype != schema.OBJECT:
            if i in inputs or (i in computed and i in outputs):
                raise MalformedError(f"tensor {i} ({tensor.name[:80]!r}) has no elements, its shape is {tensor.shape}")
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
        raise MalformedError("one tensor is two inputs")
    if written := constants.intersection(graph.inputs):
        raise MalformedError(f"input tensor {min(written)} is a constant")
    known = stored | constants | set(graph.inputs) | {ABSENT}
    fixed = constants | set(graph.inputs) | {i for i, tensor in enumerate(graph.tensors) if tensor.is_variable}
    for op in graph.ops:
        for i in op.inputs:
            if i not in known:
                raise MalformedError(
                    f"operator {op.index} ({op.kind}) reads tensor {i} ({graph.tensors[i].name[:80]!r}), which is "
                    "computed by no earlier operator (a cycle, or a lost operator)"
                )
        for i in op.outputs:
            if i in fixed:
                raise MalformedError(f"operator {op.index} ({op.kind}) writes tensor {i}, which has a value already")
            fixed.add(i)
        known.update(op.outputs)
    if lost := [i for i in graph.outputs if i not in known]:
        raise MalformedError(f"output tensor {lost[0]} is computed by no operator")


def _check_calls(graphs: list[Graph]) -> None:
    """Refuse references to graphs that do not exist, and graphs that call themselves."""
    callees: dict[int, set[int]] = {}
    for caller, graph in enumerate(graphs):
        for op in graph.ops:
            for option in _CALLEES_OF_KIND.get(op.kind, ()):
                callee = op.options[option]
                if not (isinstance(callee, int) and 0 <= callee < len(graphs)):
                    raise MalformedError(f"operator {op.index} ({op.kind}) of graph {caller} calls graph {callee}")
                callees.setdefault(caller, set()).add(callee)
    try:
        graphlib.TopologicalSorter(callees).prepare()
    except graphlib.CycleError:
        raise MalformedError("graphs call each other in a cycle") from None
