"""The TFLite interpreter that is installed here: which one, how it is opened, what it gets wrong."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tcnstream.compiler.operations.dense import FULLY_CONNECTED
from tcnstream.compiler.operations.statistics import Statistic
from tcnstream.engines.interpreter.quiet import without_chatter
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array, Graph, ModelFile
from tcnstream.tflite.reader import read_model

_CANDIDATES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
    ("tensorflow-cpu", "tensorflow.lite.python.interpreter"),
)


DENSE_PER_CHANNEL = "FULLY_CONNECTED with per-channel weights"
"""What some interpreters' reference kernels get wrong; see ``Runtime.wrong_dense_reference``."""


@dataclass(frozen=True)
class Runtime:
    """An installed interpreter: its PyPI package, that package's version, its Python module."""

    package: str
    version: str
    module: Any

    @property
    def wrong_dense_reference(self) -> bool:
        """Whether reference FULLY_CONNECTED with per-channel weights gives wrong integers.

        Measured on tflite-runtime 2.14, where not even the same call gives the same answer twice; right
        in ai-edge-litert 2.3. All others are taken as wrong, which costs speed and never exactness.
        """
        return self.package != "ai-edge-litert"

    def refusal(self, operation: str, way_out: str) -> EngineError:
        """The error for a model whose ``operation`` the reference kernels here compute wrongly."""
        return EngineError(
            f"the reference kernels of {self.package} {self.version} compute {operation} wrongly{way_out}"
        )


_FIRST_EXACT = (2, 3)
"""Of ai-edge-litert: earlier versions answered a TRANSPOSE_CONV out of memory that nobody had written."""


@functools.cache
def find_runtime() -> Runtime:
    """The best installed interpreter; EngineError with the pip lines if there is none, or one that is not exact."""
    from importlib.metadata import version  # its own imports cost more than a model takes to load

    for package, module in _CANDIDATES:
        try:
            found = version(package)
        except ImportError:
            continue
        if package == "ai-edge-litert" and tuple(map(int, found.split(".")[:2])) < _FIRST_EXACT:
            raise EngineError(
                f"ai-edge-litert {found} is installed here, and before 2.3 it is not exact: `pip install --upgrade"
                " ai-edge-litert`"
            )
        try:
            return Runtime(package, found, importlib.import_module(module))
        except ImportError:
            continue
    raise EngineError(
        "no TFLite interpreter is installed here; `pip install tcnstream[interpreter]` brings one (`pip install"
        " ai-edge-litert`, on 32-bit ARM `tflite-runtime`). Streaming needs none with"
        ' engine="native" or engine="reference"'
    )


_has_announced = False
"""The first fast interpreter of a process announces its delegate on standard error."""


def open_interpreter(
    content: bytes,
    exact: bool,
    preserve_all: bool = False,
    delegate: bool = True,
    inputs: Sequence[Array] | None = None,
) -> Any:
    """An allocated interpreter of a .tflite file: reference kernels if ``exact``, else the fast ones.

    ``delegate=False`` keeps the fast ones to TFLite's own, without XNNPACK. ``inputs`` are set, in the file's order,
    of any length where the file leaves it open.

    Raises RuntimeError or ValueError, as the interpreter does, for operations that it lacks.
    """
    global _has_announced
    module = find_runtime().module
    kinds = module.OpResolverType
    fast = kinds.BUILTIN if delegate else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with contextlib.nullcontext() if exact or _has_announced else without_chatter():
        interpreter = module.Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=kinds.BUILTIN_REF if exact else fast,
            experimental_preserve_all_tensors=preserve_all,
        )
        details = interpreter.get_input_details()
        given = [] if inputs is None else list(zip(details, inputs, strict=True))
        # An open length is 1 in the file, at which strides may leave a later layer without a frame: so first of all.
        if any(tuple(detail["shape"]) != array.shape for detail, array in given):
            for detail, array in given:
                interpreter.resize_tensor_input(detail["index"], array.shape)
        interpreter.allocate_tensors()
    _has_announced = _has_announced or not exact
    for detail, array in given:
        interpreter.set_tensor(detail["index"], array)
    return interpreter


def memory_of(interpreter: Any, index: int) -> Array:
    """A tensor's memory inside the interpreter as an array that may be kept across invocations.

    Only for inputs and outputs of graphs whose shapes are fixed: their place never moves. The
    interpreter must outlive the array.
    """
    borrowed = interpreter.tensor(index)()
    address, nbytes = borrowed.__array_interface__["data"][0], borrowed.nbytes
    memory = (ctypes.c_byte * max(nbytes, 1)).from_address(address)
    array: Array = np.frombuffer(memory, np.uint8, nbytes).view(borrowed.dtype).reshape(borrowed.shape)
    return array


def dense_is_wrong(graph: Graph) -> bool:
    """Whether ``graph`` has what ``Runtime.wrong_dense_reference`` is about."""
    for op in graph.ops:
        if op.kind == FULLY_CONNECTED.kind:
            values, weights = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[1]]
            per_channel = weights.quantization is not None and weights.quantization.per_channel
            if values.dtype in (np.dtype(np.int8), np.dtype(np.int16)) and per_channel:
                return True
    return False


def integer_sum_is_wrong(graph: Graph) -> bool:
    """Whether ``graph`` has what LiteRT's reference SUM computes wrongly: quantized values (ours is TFLite Micro's)."""
    return any(
        op.kind == Statistic.SUM.value and graph.tensors[op.inputs[0]].quantization is not None for op in graph.ops
    )


def must_judge(graph: Graph) -> None:
    """Raises EngineError where the installed interpreter's reference kernels are known to be wrong for ``graph``."""
    runtime = find_runtime()
    if integer_sum_is_wrong(graph):
        raise runtime.refusal(
            "SUM of quantized values", ', so they cannot judge this model; compare with engine="reference"'
        )
    if runtime.wrong_dense_reference and dense_is_wrong(graph):
        raise runtime.refusal(
            DENSE_PER_CHANNEL,
            ", so they cannot judge this model; compare with ai-edge-litert (`pip install ai-edge-litert`) or with"
            ' engine="reference"',
        )


def run_offline(
    content: bytes,
    inputs: Sequence[Array] | Mapping[str, Array],
    exact: bool = True,
    signature: str | None = None,
) -> list[Array]:
    """What the interpreter makes of the unmodified file and a whole window: the oracle of ``verify``.

    ``inputs`` are arrays of the file's own shapes and dtypes, in the file's order or by tensor name; ``signature``
    names the one that is called, None that of the first graph.
    Raises EngineError where the installed interpreter's reference kernels are known to be wrong.
    """
    file = read_model(content).called(signature)
    graph = file.main
    if exact:
        must_judge(graph)
    names = [graph.tensors[i].name for i in graph.inputs]
    arrays = [inputs[name] for name in names] if isinstance(inputs, Mapping) else inputs
    if not file.is_main_first:
        return _run_signature(open_interpreter(content, exact), file, arrays)
    interpreter = open_interpreter(content, exact, inputs=arrays)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def _run_signature(interpreter: Any, file: ModelFile, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of a signature whose graph is not the first of the file."""
    assert file.signature is not None
    graph = file.main
    given = {file.name_of(i): x for i, x in zip(graph.inputs, arrays, strict=True)}
    answer = interpreter.get_signature_runner(file.signature.name)(**given)
    return [np.asarray(answer[file.name_of(o)]) for o in graph.outputs]
