"""Models of one operation: built as .tflite files, run by the TFLite reference kernels, run by our kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tcnstream.compiler.operation import from_file
from tcnstream.compiler.operations import operation
from tcnstream.compiler.plan import SAME_FRAME, Node, Options, Plan, Window
from tcnstream.engines.native.executor import NativeExecutor
from tcnstream.engines.reference.kernels import KERNELS, KernelContext
from tcnstream.measure.compare import chunk_sizes
from tcnstream.tflite.graph import ABSENT, Array, Graph, Op, OptionValue, Quantization, Tensor
from tcnstream.tflite.writer import write_model


def tensor(
    shape: Sequence[int],
    dtype: Any,
    scale: Any = None,
    zero_point: Any = 0,
    axis: int = 0,
    data: Any = None,
    name: str = "t",
) -> Tensor:
    """A tensor, quantized if ``scale`` is given (one number or one per slice along ``axis``)."""
    quantization = None
    if scale is not None:
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        zero_points = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape)
        quantization = Quantization(scales, zero_points, axis)
    constant = None if data is None else np.asarray(data, dtype)
    return Tensor(name, tuple(int(n) for n in shape), np.dtype(dtype), quantization, constant)


ONE_IMPLEMENTATION = frozenset({"ELU", "CEIL", "ROUND", "TILE"})
"""What the reference resolver lacks (TILE: of int8), although TFLite has only one implementation of it."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One operation in the file's form, and what differs in the plan's form.

    ``operands`` that are not constants are fed from ``feeds`` in order. In the plan's form a feed is
    the same array with time as axis 0 unless ``arrays`` replaces it.
    """

    kind: str
    operands: Sequence[Tensor | None]
    feeds: Sequence[Array]
    outputs: Sequence[Tensor]
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    plan_options: Options | None = None
    plan_operands: Sequence[Tensor | None] | None = None
    plan_arrays: Sequence[Array | None] | None = None
    plan_outputs: Sequence[Tensor] | None = None
    n_frames: int | None = None
    first_frame: int = 0
    first_input_frame: int = 0
    window: Window = SAME_FRAME
    fill: float | int = 0
    valid: tuple[int, int] | None = None


def plan_options(trial: Trial) -> Options:
    """The options of the node: those of the file, unless the trial has others."""
    if trial.plan_options is not None:
        return trial.plan_options
    return from_file(operation(trial.kind).options, Op(trial.kind, (), (), trial.options))


def model_of(trial: Trial) -> bytes:
    """The .tflite file that holds this operation alone."""
    tensors: list[Tensor] = []
    indices: list[int] = []
    for operand in trial.operands:
        if operand is None:
            indices.append(ABSENT)
        else:
            indices.append(len(tensors))
            tensors.append(operand)
    inputs = tuple(i for i, t in enumerate(tensors) if t.data is None)
    outputs = tuple(range(len(tensors), len(tensors) + len(trial.outputs)))
    tensors.extend(trial.outputs)
    op = Op(trial.kind, tuple(indices), outputs, trial.options)
    return write_model([Graph(tuple(tensors), (op,), inputs, outputs)])


def interpret(trial: Trial) -> list[Array]:
    """The outputs by LiteRT's reference kernels."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")
    resolver = litert.OpResolverType.BUILTIN_REF
    if trial.kind in ONE_IMPLEMENTATION:
        resolver = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = litert.Interpreter(model_content=model_of(trial), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for detail, feed in zip(interpreter.get_input_details(), trial.feeds, strict=True):
        interpreter.set_tensor(detail["index"], feed)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()]


def interpret_micro(trial: Trial) -> list[Array]:
    """The outputs by TFLite Micro."""
    micro = pytest.importorskip("tflite_micro", reason="TFLite Micro comes from the package tflite-micro")
    interpreter = micro.runtime.Interpreter.from_bytes(model_of(trial), arena_size=1 << 20)
    for position, feed in enumerate(trial.feeds):
        interpreter.set_input(feed, position)
    interpreter.invoke()
    return [np.array(interpreter.get_output(position)) for position in range(len(trial.outputs))]


def framed(whole: Tensor) -> Tensor:
    """The facts of a stream: the shape without time."""
    return whole if whole.data is not None else Tensor(whole.name, whole.shape[1:], whole.dtype, whole.quantization)


def compute(trial: Trial, rounding: str = "litert") -> list[Array]:
    """The outputs by our kernel."""
    operands = trial.plan_operands
    if operands is None:
        operands = [None if operand is None else framed(operand) for operand in trial.operands]
    arrays = trial.plan_arrays
    if arrays is None:
        feeds = iter(trial.feeds)
        arrays = [
            None if operand is None else operand.data if operand.data is not None else next(feeds)
            for operand in trial.operands
        ]
    outputs = trial.plan_outputs or [framed(output) for output in trial.outputs]
    n_frames = trial.n_frames if trial.n_frames is not None else trial.outputs[0].shape[0]
    first = next(array for array in arrays if array is not None)
    node = Node(
        trial.kind,
        tuple(range(len(operands))),
        tuple(range(len(operands), len(operands) + len(outputs))),
        views=tuple(() if o is None else o.shape for o in operands),
        options=plan_options(trial),
        window=trial.window,
        fill=trial.fill,
        label="test",
    )
    context = KernelContext(
        node=node,
        inputs=tuple(operands),
        arrays=tuple(arrays),
        outputs=tuple(outputs),
        n_frames=n_frames,
        first_frame=trial.first_frame,
        first_input_frame=trial.first_input_frame,
        valid=trial.valid or (0, first.shape[0]),
        rounding=rounding,
    )
    results = KERNELS[trial.kind](context)
    for result, output in zip(results, outputs, strict=True):
        assert result.dtype == output.dtype
        assert result.shape == (n_frames, *output.shape)
    return list(results)


def plan_of(trial: Trial) -> Plan:
    """One node over frames, as ``compute`` sees it."""
    operands = trial.plan_operands
    if operands is None:
        operands = [None if operand is None else framed(operand) for operand in trial.operands]
    outputs = trial.plan_outputs or [framed(output) for output in trial.outputs]
    tensors = [t for t in operands if t is not None] + list(outputs)
    places = iter(range(len(tensors)))
    inputs = tuple(-1 if t is None else next(places) for t in operands)
    made = tuple(places)
    node = Node(
        trial.kind,
        inputs,
        made,
        views=tuple(() if t is None else t.shape for t in operands),
        options=plan_options(trial),
        window=trial.window,
        fill=trial.fill,
        label="test",
    )
    streams = tuple(i for i in inputs if i >= 0 and tensors[i].data is None)
    shapes = tuple(t.shape for t in outputs)
    windows = tuple(int(t.data is None) for t in tensors)
    return Plan(tuple(tensors), (node,), streams, made, shapes, 1, windows)


def feeds_of(trial: Trial, plan: Plan) -> list[Array]:
    """What the streams of ``plan_of`` are given."""
    if not trial.plan_arrays:
        return list(trial.feeds)
    pairs = zip(plan.nodes[0].inputs, trial.plan_arrays, strict=False)
    return [array for i, array in pairs if array is not None and i in plan.inputs]


def streamed_by_core(plan: Plan, feeds: list[Array], rng: np.random.Generator, isa: int = 0) -> list[Array]:
    """What the core makes of the whole signal, in chunks of random size."""
    executor = NativeExecutor(plan, isa=isa)
    memory = executor.new_memory()
    parts, at = [], 0
    for size in chunk_sizes(len(feeds[0]), rng):
        parts.append(executor.advance(memory, [feed[at : at + size] for feed in feeds]))
        at += size
    parts.append(executor.advance(memory, None))
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def assert_same(ours: Sequence[Array], reference: Sequence[Array], float_tolerance: float = 1e-5) -> None:
    """Integers equal; float32 within ``float_tolerance * max(1, |b|)``."""
    assert len(ours) == len(reference)
    for a, b in zip(ours, reference, strict=True):
        assert a.dtype == b.dtype
        a = a.reshape(b.shape)
        if np.issubdtype(b.dtype, np.floating):
            assert np.array_equal(np.isnan(a), np.isnan(b))
            finite = np.isfinite(b)
            assert np.array_equal(a[~finite & ~np.isnan(b)], b[~finite & ~np.isnan(b)])
            distance = np.abs(a[finite].astype(np.float64) - b[finite])
            assert np.all(distance <= float_tolerance * np.maximum(1.0, np.abs(b[finite])))
        else:
            different = np.flatnonzero(a != b)
            assert different.size == 0, (
                f"{different.size} of {a.size} differ, first {different[:3]}: "
                f"{a.ravel()[different[:3]]} for {b.ravel()[different[:3]]}"
            )
