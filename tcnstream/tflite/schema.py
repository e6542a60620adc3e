"""The .tflite schema as tables: operator kinds, tensor types and the options of each kind.

All of it is taken from the generated accessors of the PyPI package ``tflite``, so that a new
schema release brings its operators along. The reader and the writer share it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import re
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from typing import Any

import numpy as np

from tcnstream.tflite.graph import OptionValue

IDENTIFIER = b"TFL3"
VERSION = 3


def generated(name: str) -> Any:
    """The module of one generated class, ``tflite.<name>``. Threads may ask at once.

    Importing it in the ordinary way runs the package's ``__init__``, which imports all of its 190 modules: that took
    longer than to read a model and run its first frame. So the module is loaded by itself, without its package.
    """
    module = f"tflite.{name}"
    if module in sys.modules:
        return importlib.import_module(module)  # waits where another thread is still importing it
    spec = PathFinder.find_spec(module, _folders())
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return sys.modules.setdefault(module, loaded)


@functools.cache
def _folders() -> list[str]:
    spec = importlib.util.find_spec("tflite")
    assert spec is not None, "`tflite` is a requirement of this package"
    return list(spec.submodule_search_locations or ())


def _members(enum: str) -> dict[int, str]:
    return {value: name for name, value in vars(generated_class(enum)).items() if not name.startswith("_")}


def generated_class(name: str) -> Any:
    """A generated class: the accessors of a table, or the values of an enumeration."""
    return getattr(generated(name), name)


for _table in ("Buffer", "Operator", "OperatorCode", "QuantizationParameters", "SubGraph", "Tensor"):
    generated(_table)  # the accessors of Model import these by themselves, and the whole package with them

_KIND_OF_CODE: Mapping[int, str] = _members("BuiltinOperator")
_CODE_OF_KIND: Mapping[str, int] = {kind: code for code, kind in _KIND_OF_CODE.items()}
TABLE_OF_OPTIONS_TYPE: Mapping[int, str] = _members("BuiltinOptions")
OPTIONS_TYPE_OF_TABLE: Mapping[str, int] = {table: number for number, table in TABLE_OF_OPTIONS_TYPE.items()}
TABLE_OF_NEWER_OPTIONS_TYPE: Mapping[int, str] = _members("BuiltinOptions2")
"""Options of operations that came when the numbers of the first union were used up."""

TENSOR_TYPES: Mapping[int, str] = _members("TensorType")

OBJECT = np.dtype(object)
"""Stands for the types that numpy has no numbers for: strings and resource handles."""

DTYPE_OF_TENSOR_TYPE: Mapping[str, np.dtype[np.generic]] = {
    "FLOAT32": np.dtype(np.float32),
    "FLOAT16": np.dtype(np.float16),
    "FLOAT64": np.dtype(np.float64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "BOOL": np.dtype(np.bool_),
    "COMPLEX64": np.dtype(np.complex64),
    "COMPLEX128": np.dtype(np.complex128),
    "RESOURCE": OBJECT,
    "STRING": OBJECT,
    "VARIANT": OBJECT,
}

_ENUM_OF_FIELD: Mapping[str, str] = {
    "combiner": "CombinerType",
    "fused_activation_function": "ActivationFunctionType",
    "idx_out_type": "TensorType",
    "in_data_type": "TensorType",
    "kernel_type": "LSTMKernelType",
    "key_dtype": "TensorType",
    "mode": "MirrorPadMode",
    "out_data_type": "TensorType",
    "out_type": "TensorType",
    "output_type": "TensorType",
    "padding": "Padding",
    "quantized_bias_type": "TensorType",
    "type": "LSHProjectionType",
    "value_dtype": "TensorType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
}

_TABLE_OF_KIND: Mapping[str, str] = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "RANDOM_STANDARD_NORMAL": "RandomOptions",
    "RANDOM_UNIFORM": "RandomOptions",
    "REDUCE_ALL": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "SUM": "ReducerOptions",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
}
_TABLE_OF_SQUASHED_NAME = {
    table.removesuffix("Options").lower(): table
    for table in (*TABLE_OF_NEWER_OPTIONS_TYPE.values(), *OPTIONS_TYPE_OF_TABLE)
}


def kind_of_code(code: int) -> str:
    """The schema's name of an operator code, ``"BUILTIN_<code>"`` for codes that it does not know."""
    return _KIND_OF_CODE.get(code, f"BUILTIN_{code}")


def code_of_kind(kind: str) -> int | None:
    """The inverse of ``kind_of_code``; None if there is no such kind."""
    unknown = re.fullmatch(r"BUILTIN_(\d+)", kind)
    return int(unknown[1]) if unknown else _CODE_OF_KIND.get(kind)


def options_table(kind: str) -> str | None:
    """The options table of an operator kind (``"CONV_2D"`` -> ``"Conv2DOptions"``), None if it has none."""
    return _TABLE_OF_KIND.get(kind) or _TABLE_OF_SQUASHED_NAME.get(kind.replace("_", "").lower())


@dataclass(frozen=True, eq=False)
class Field:
    """One field of an options table: ``name`` and ``number`` in the schema, ``accessor`` in the generated code.

    ``layout`` is that of its number, or of each of its numbers; None: it is a text. ``members`` gives the names of an
    enum's values; ``default`` is the value of a file that leaves the field out.
    """

    name: str
    number: int
    accessor: str
    layout: struct.Struct | None
    default: OptionValue
    members: Mapping[int, str] | None = None
    stored_default: int | float | bool = 0

    @property
    def is_list(self) -> bool:
        return isinstance(self.default, tuple)

    @property
    def is_text(self) -> bool:
        return self.layout is None


class _Probe:
    """Stands for a table in a generated accessor, and hears from it which field it reads, and how."""

    Pos = 0

    def __init__(self) -> None:
        self.number, self.layout, self.has_field = 0, None, False

    def Offset(self, place: int) -> int:  # noqa: N802 (the generated code names them)
        self.number = place // 2 - 2
        return int(self.has_field)

    def Get(self, flags: Any, place: int) -> int:  # noqa: N802
        self.layout = flags.packer_type
        return 0

    def GetVectorAsNumpy(self, flags: Any, place: int) -> None:  # noqa: N802
        self.layout = flags.packer_type

    def String(self, place: int) -> None:  # noqa: N802
        self.layout = None


@functools.cache
def option_fields(table: str) -> tuple[Field, ...]:
    """The fields of an options table, in the schema's order."""
    made = generated_class(table)
    methods = [
        name
        for name, member in vars(made).items()
        if inspect.isfunction(member) and not name.startswith("_") and name != "Init"
    ]
    lists = {name.removesuffix("Length") for name in methods if name.endswith("Length")} & set(methods)
    helpers = {name + suffix for name in lists for suffix in ("Length", "AsNumpy", "IsNone")}
    return tuple(_field(made(), accessor, accessor in lists) for accessor in methods if accessor not in helpers)


def _field(table: Any, accessor: str, is_list: bool) -> Field:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", accessor).lower()
    probe = table._tab = _Probe()
    read = getattr(table, f"{accessor}AsNumpy" if is_list else accessor)
    default = read()
    probe.has_field = True
    read()
    if is_list:
        return Field(name, probe.number, accessor, probe.layout, ())
    if probe.layout is None:
        return Field(name, probe.number, accessor, None, "")
    members = _members(_ENUM_OF_FIELD[name]) if name in _ENUM_OF_FIELD else None
    shown = default if members is None else members[default]
    return Field(name, probe.number, accessor, probe.layout, shown, members, default)


@functools.cache
def default_options(table: str) -> dict[str, OptionValue]:
    """The options of an operation that carries no options table."""
    return {field.name: field.default for field in option_fields(table)}
