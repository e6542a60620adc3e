"""Graphs -> bytes of a .tflite file, the inverse of ``tcnstream.tflite.reader``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from flatbuffers import Builder

from tcnstream.errors import ModelError
from tcnstream.tflite import schema
from tcnstream.tflite.graph import ABSENT, Graph, Op, OptionValue, Quantization, Tensor

_DATA_ALIGNMENT_BYTES = 16
"""What TFLite promises its kernels for constants that it reads in place."""

_LAST_OLD_CODE = 127
"""The old operator code field has 8 bits; codes from here on stand in the new field only."""

_TYPE_OF_DTYPE: Mapping[np.dtype[np.generic], int] = {
    dtype: number
    for number, name in schema.TENSOR_TYPES.items()
    if (dtype := schema.DTYPE_OF_TENSOR_TYPE.get(name)) and name not in ("STRING", "VARIANT")
}


def write_model(graphs: Sequence[Graph], *, description: str = "") -> bytes:
    """The .tflite file of these subgraphs; the first one is the model.

    ``read_model(write_model(graphs))`` gives the same graphs. Options that an operation leaves out get the
    schema's defaults. Equal constants are stored once, aligned to 16 bytes. Tensors of dtype object become
    resource handles. Each operator carries the smallest version that has what it uses.

    Raises ModelError for what the format cannot hold: an unknown kind, option, option value or dtype.
    """
    writer = _Writer()
    parts = [writer.graph(graph, f"graph {i}") for i, graph in enumerate(graphs)]
    return writer.finish(parts, description)


class _Writer:
    def __init__(self) -> None:
        self.builder: Any = Builder(1 << 16)
        # TFLite keeps buffer 0 for tensors without data.
        self.buffers: dict[bytes, int] = {b"": 0}
        self.codes: dict[tuple[int, str, int], int] = {}

    def table(self, name: str, **fields: Any) -> int:
        """Write a table; fields that are None stay out of it."""
        made = schema.generated(name)
        getattr(made, f"{name}Start")(self.builder)
        for field, value in fields.items():
            if value is not None:
                getattr(made, f"{name}Add{field}")(self.builder, value)
        offset: int = getattr(made, f"{name}End")(self.builder)
        return offset

    def numbers(self, values: Iterable[int] | npt.NDArray[Any], dtype: str = "<i4") -> int:
        offset: int = self.builder.CreateNumpyVector(np.asarray(values, dtype))
        return offset

    def tables(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        vector: int = self.builder.EndVector()
        return vector

    def text(self, value: str) -> int | None:
        return self.builder.CreateString(value) if value else None

    def graph(self, graph: Graph, where: str) -> int:
        tensors = [self.tensor(tensor, f"tensor {i} of {where}") for i, tensor in enumerate(graph.tensors)]
        ops = [self.op(op, graph.tensors, f"operator {i} of {where}") for i, op in enumerate(graph.ops)]
        return self.table(
            "SubGraph",
            Tensors=self.tables(tensors),
            Operators=self.tables(ops),
            Inputs=self.numbers(graph.inputs),
            Outputs=self.numbers(graph.outputs),
            Name=self.text(graph.name),
        )

    def tensor(self, tensor: Tensor, where: str) -> int:
        number = _TYPE_OF_DTYPE.get(tensor.dtype)
        if number is None:
            raise ModelError(f"{where} ('{tensor.name}'): dtype {tensor.dtype} has no TFLite type; cast it before.")
        content = b"" if tensor.data is None else np.ascontiguousarray(tensor.data, tensor.dtype).tobytes()
        quantization = tensor.quantization
        return self.table(
            "Tensor",
            Name=self.text(tensor.name),
            Shape=self.numbers(tensor.shape),
            Type=number,
            Buffer=self.buffers.setdefault(content, len(self.buffers)),
            Quantization=None if quantization is None else self.quantization(quantization),
            IsVariable=tensor.is_variable or None,
        )

    def quantization(self, quantization: Quantization) -> int:
        return self.table(
            "QuantizationParameters",
            Scale=self.numbers(quantization.scale, "<f4"),
            ZeroPoint=self.numbers(quantization.zero_point, "<i8"),
            QuantizedDimension=quantization.axis,
        )

    def op(self, op: Op, tensors: Sequence[Tensor], where: str) -> int:
        if bad := [i for i in (*op.inputs, *op.outputs, *op.intermediates) if not ABSENT <= i < len(tensors)]:
            raise ModelError(f"{where} ({op.kind}): there is no tensor {bad[0]}; use 0 to {len(tensors) - 1}.")
        table = schema.options_table(op.kind)
        options: dict[str, int] = {}
        if table is not None:
            number = schema.OPTIONS_TYPE_OF_TABLE.get(table)
            union = "BuiltinOptions" if number is not None else "BuiltinOptions2"
            newer = {name: number for number, name in schema.TABLE_OF_NEWER_OPTIONS_TYPE.items()}
            options[f"{union}Type"] = newer[table] if number is None else number
            options[union] = self.options(op, table, where)
        return self.table(
            "Operator",
            OpcodeIndex=self.code(op, tensors, where),
            Inputs=self.numbers(op.inputs),
            Outputs=self.numbers(op.outputs),
            Intermediates=self.numbers(op.intermediates) if op.intermediates else None,
            **options,
        )

    def code(self, op: Op, tensors: Sequence[Tensor], where: str) -> int:
        number = schema.code_of_kind(op.kind)
        if number is None:
            raise ModelError(f"{where}: TFLite has no operator {op.kind}; use a kind of the schema.")
        custom = str(op.options.get("custom_code", ""))
        key = (number, custom, _version(op, tensors))
        return self.codes.setdefault(key, len(self.codes))

    def options(self, op: Op, table: str, where: str) -> int:
        fields = {field.name: field for field in schema.option_fields(table)}
        if unknown := sorted(set(op.options) - set(fields)):
            raise ModelError(f"{where} ({op.kind}): {table} has no option {unknown[0]}; use the schema's names.")
        values = {}
        for name, value in op.options.items():
            values[fields[name].accessor] = self.option(fields[name], value, f"{where} ({op.kind})")
        return self.table(table, **values)

    def option(self, field: schema.Field, value: OptionValue, where: str) -> int | float | str | None:
        if isinstance(value, tuple):
            assert field.layout is not None, "lists are of numbers"
            return self.numbers(value, np.dtype(field.layout.format).newbyteorder("<").str) if value else None
        if field.members is not None:
            numbers = {name: number for number, name in field.members.items()}
            if value not in numbers:
                raise ModelError(f"{where}: {field.name} has no value {value!r}; use one of {sorted(numbers)}.")
            return numbers[str(value)]
        return self.text(str(value)) if field.is_text else value

    def finish(self, graphs: Sequence[int], description: str) -> bytes:
        model = self.table(
            "Model",
            Version=schema.VERSION,
            OperatorCodes=self.tables([self.operator_code(*key) for key in self.codes]),
            Subgraphs=self.tables(graphs),
            Description=self.text(description),
            Buffers=self.tables([self.buffer(content) for content in self.buffers]),
        )
        self.builder.Finish(model, schema.IDENTIFIER)
        return bytes(self.builder.Output())

    def operator_code(self, number: int, custom: str, version: int) -> int:
        return self.table(
            "OperatorCode",
            DeprecatedBuiltinCode=min(number, _LAST_OLD_CODE),
            BuiltinCode=number,
            CustomCode=self.text(custom),
            Version=version,
        )

    def buffer(self, content: bytes) -> int:
        if not content:
            return self.table("Buffer")
        self.builder.Prep(_DATA_ALIGNMENT_BYTES, len(content))
        return self.table("Buffer", Data=self.numbers(np.frombuffer(content, np.uint8), "u1"))


_VERSIONS: Mapping[str, tuple[int, int]] = {
    "ABS": (2, 3),
    "ADD": (2, 3),
    "ARG_MAX": (2, 2),
    "ARG_MIN": (2, 2),
    "AVERAGE_POOL_2D": (2, 3),
    "BATCH_MATMUL": (2, 3),
    "BATCH_TO_SPACE_ND": (2, 4),
    "BROADCAST_TO": (3, 3),
    "CAST": (3, 1),
    "CONCATENATION": (2, 3),
    "CONV_2D": (3, 4),
    "DEPTHWISE_CONV_2D": (3, 5),
    "DEQUANTIZE": (2, 3),
    "EXP": (2, 2),
    "FULLY_CONNECTED": (4, 7),
    "GATHER": (2, 4),
    "GELU": (2, 1),
    "LEAKY_RELU": (1, 2),
    "LOG": (2, 2),
    "LOGISTIC": (2, 3),
    "MAXIMUM": (2, 4),
    "MAX_POOL_2D": (2, 3),
    "MEAN": (2, 3),
    "MINIMUM": (2, 4),
    "MIRROR_PAD": (2, 3),
    "MUL": (2, 4),
    "PACK": (2, 3),
    "PAD": (2, 3),
    "PADV2": (2, 3),
    "REDUCE_MAX": (2, 3),
    "REDUCE_MIN": (2, 3),
    "RELU": (2, 3),
    "RELU6": (2, 3),
    "RESIZE_BILINEAR": (2, 4),
    "RESIZE_NEAREST_NEIGHBOR": (2, 4),
    "RSQRT": (2, 3),
    "SLICE": (2, 4),
    "SOFTMAX": (2, 3),
    "SPACE_TO_BATCH_ND": (2, 4),
    "SPLIT": (2, 4),
    "SPLIT_V": (2, 2),
    "SQUARED_DIFFERENCE": (2, 1),
    "STRIDED_SLICE": (2, 1),
    "SUB": (2, 5),
    "SUM": (2, 1),
    "TANH": (2, 3),
    "TILE": (3, 1),
    "TRANSPOSE": (2, 5),
    "TRANSPOSE_CONV": (2, 2),
    "UNPACK": (2, 4),
}
"""The version that brought int8 and int16 values (tensorflow/lite/tools/versioning/op_version.cc)."""

_HYBRID_VERSIONS = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9, "BATCH_MATMUL": 4}
"""The version that brought int8 weights (per channel, too) beside float values."""

_RANK_VERSIONS = {"PAD": 4, "PADV2": 4, "SLICE": 5, "STRIDED_SLICE": 4, "TRANSPOSE": 4}
"""The version that brought more than four dimensions."""

_VALUES_INPUT = {"SPLIT": 1, "TRANSPOSE_CONV": 2}
"""Which operand carries the values, where it is not the first."""


def _version(op: Op, tensors: Sequence[Tensor]) -> int:
    """The smallest version with what the operation uses; interpreters refuse larger ones than they know."""
    place = _VALUES_INPUT.get(op.kind, 0)
    if place >= len(op.inputs) or op.inputs[place] == ABSENT:
        return 1
    values = tensors[op.inputs[place]]
    weights = tensors[op.inputs[1]] if len(op.inputs) > 1 else values
    return max(
        _type_version(op.kind, values.dtype, weights.dtype), _shape_version(op.kind, values), _option_version(op)
    )


def _type_version(kind: str, values: np.dtype[np.generic], weights: np.dtype[np.generic]) -> int:
    if values == np.int8:
        return _VERSIONS.get(kind, (1, 1))[0]
    if values == np.int16:
        return _VERSIONS.get(kind, (1, 1))[1]
    if values == np.float32 and weights == np.int8:
        return _HYBRID_VERSIONS.get(kind, 1)
    return 3 if kind == "DEQUANTIZE" and values == np.float16 else 1


def _shape_version(kind: str, values: Tensor) -> int:
    rank = len(values.shape)
    if kind in ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"):
        return 1 if rank == 4 else 3
    return _RANK_VERSIONS.get(kind, 1) if rank > 4 else 1


def _option_version(op: Op) -> int:
    def uses(*names: str, unless: OptionValue = 0) -> bool:
        return any(op.options.get(name, unless) != unless for name in names)

    match op.kind:
        case "BROADCAST_TO":
            return 2
        case "DEPTHWISE_CONV_2D":
            return 2 if uses("dilation_w_factor", "dilation_h_factor", unless=1) else 1
        case "FULLY_CONNECTED":
            return 6 if len(op.inputs) == 2 else 5 if uses("keep_num_dims") else 1
        case "RESIZE_BILINEAR" | "RESIZE_NEAREST_NEIGHBOR":
            return 3 if uses("half_pixel_centers", "align_corners") else 1
        case "STRIDED_SLICE":
            return 6 if uses("ellipsis_mask", "new_axis_mask") else 1
        case "TRANSPOSE_CONV":
            return 4 if uses("fused_activation_function", unless="NONE") else 3 if len(op.inputs) > 3 else 1
    return 1
