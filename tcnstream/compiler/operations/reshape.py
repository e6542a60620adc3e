"""Other shapes for the same values: reshape in all its spellings, and where time is on the other side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tcnstream.compiler import batch_rules
from tcnstream.compiler.constants import data_of
from tcnstream.compiler.lowering import Lowering, axes_of_frame, frame_shape
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.layout import TRANSPOSE, TransposeOptions, swapped
from tcnstream.compiler.operations.time import TIME_UNFOLD, TIME_WINDOW
from tcnstream.compiler.plan import Window
from tcnstream.tflite.graph import ABSENT, Array, Op, Shape, Tensor
from tcnstream.tflite.validate import WHOLES, Operands, Rule, Shapes, axis_of, require

# --- shapes ------------------------------------------------------------------------------------


def _same_size(o: Operands, shape: Shape) -> Shapes:
    require(math.prod(o.shape(0)) == math.prod(shape), f"{o.shape(0)} has another size than {shape}")
    return (shape,) if o.leaves_lengths_open else None


def _reshaped(o: Operands) -> Shapes:
    require(ABSENT not in o.op.inputs, "its shape is left out")
    if not o.leaves_lengths_open or not (target := o.known_integers(1)):
        return _same_size(o, o.out())
    rest = math.prod(n for n in target if n != -1)
    require(target.count(-1) <= 1 and min(target) >= -1 and rest > 0, f"a shape of {target}")
    left = math.prod(o.shape(0)) // rest
    return _same_size(o, tuple(left if n == -1 else n for n in target))


def _expanded(o: Operands) -> Shapes:
    shape = o.shape(0)
    axis = axis_of((*shape, 1), o.integers(1, count=1)[0])
    return ((*shape[:axis], 1, *shape[axis:]),)


def _squeezed(o: Operands) -> Shapes:
    shape = o.shape(0)
    gone = {axis_of(shape, axis) for axis in _squeeze_dims(o.op)} or {a for a, n in enumerate(shape) if n == 1}
    require(all(shape[a] == 1 for a in gone), f"axes {sorted(gone)} of {shape}, not all of them 1 long")
    return (tuple(n for a, n in enumerate(shape) if a not in gone),)


# --- lowering ----------------------------------------------------------------------------------


def _reshape(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.stream(op, i), lw.shape(i), lw.shape(op.outputs[0])
    if stream.axis is None:
        return lw.alias(op, i, None)
    before, frames = math.prod(shape[: stream.axis]), shape[stream.axis]
    after = math.prod(shape[stream.axis + 1 :])
    for axis, n in enumerate(out):
        if math.prod(out[:axis]) != before or (n == 1 and frames != 1) or (n == 1 and _is_other_axis(lw, op, axis)):
            continue
        rest = math.prod(out[axis + 1 :])
        if n == frames:
            return lw.alias(op, i, axis)
        unfolds = before > 1 or len(out) - axis > 1 or op.outputs[0] in lw.graph.outputs
        if unfolds and n > frames and n % frames == 0 and rest * n == after * frames:
            return _unfold(lw, op, i, axis, before, n // frames)
        if 1 < n < frames and frames % n == 0 and rest * n == after * frames and len(out) - axis > 1:
            ratio = frames // n
            return side_by_side_in_time(lw, op, i, Window(stride=ratio, extent=ratio), axis, n)
    if sum(n != 1 for n in out) > 1:
        lw.refuse(op, f"turns {shape} into {out}, which mixes time with other axes")
    return _flatten(lw, op, i)


def _unfold(lw: Lowering, op: Op, i: int, axis: int, before: int, ratio: int) -> None:
    """Each frame cut into ``ratio`` frames, which stand side by side in it behind ``before`` values of other axes."""
    stream, out = lw.stream(op, i), lw.shape(op.outputs[0])
    frame = frame_shape(out, axis)
    value = stream.value
    if before > 1:
        source = (value, (before, ratio, math.prod(frame) // before))
        value = swapped(lw, op, lw.graph.tensors[i], source, stream.window_frames)
    window = Window(up=ratio, extent=ratio, pad_begin=ratio - 1)
    lw.emit(op, [(value, (ratio, *frame))], axis, kind=TIME_UNFOLD.kind, window=window)


def _is_other_axis(lw: Lowering, op: Op, axis: int) -> bool:
    """Whether one frame on ``axis`` of (1, 1, 1, C) would be read as the batch, or as the other axis of a kernel."""
    out = lw.shape(op.outputs[0])
    if axis != 1 or len(out) != 4 or out[2] != 1:
        return axis == 0 and len(out) > 2
    reader = next((r for r in lw.graph.ops if op.outputs[0] in r.inputs), None)
    record = None if reader is None else operations().get(reader.kind)
    if reader is None or record is None or not record.slides_kernel:
        return False
    kernel = lw.shape(reader.inputs[1])
    return kernel[1] == 1 < kernel[2] or reader.integer("stride_h", 1) == 1 < reader.integer("stride_w", 1)


def side_by_side_in_time(lw: Lowering, op: Op, i: int, window: Window, axis: int | None, frames: int) -> None:
    """The frames of each window as one frame, on the axis where time stood."""
    stream, shape = lw.stream(op, i), lw.shape(i)
    assert stream.axis is not None
    frame = frame_shape(shape, stream.axis)
    position = sum(a < stream.axis for a in axes_of_frame(shape, stream.axis))
    kind = TIME_WINDOW.kind
    if math.prod(frame[:position]) == 1:
        return lw.emit(op, [(stream.value, frame)], axis, kind=kind, window=window, window_frames=frames)
    like, whole = lw.graph.tensors[i], (window.extent, *frame)
    flat = lw.step(op, [(stream.value, frame)], like, whole, frames, kind, window=window)
    moved = (*range(2, position + 2), 1, *range(position + 2, len(frame) + 2))
    options = TransposeOptions((0, *moved))
    return lw.emit(op, [flat], axis, kind=TRANSPOSE.kind, options=options, window_frames=frames)


def _flatten(lw: Lowering, op: Op, i: int) -> None:
    """All frames of the window side by side: a window that advances frame by frame."""
    axis = lw.stream(op, i).axis
    assert axis is not None
    return side_by_side_in_time(lw, op, i, Window(extent=lw.shape(i)[axis]), None, 1)


def _expand_dims(lw: Lowering, op: Op) -> None:
    i, rank = op.inputs[0], len(lw.shape(op.outputs[0]))
    new, time = lw.integers(op, 1)[0] % rank, lw.stream(op, i).axis
    lw.alias(op, i, time if time is None or time < new else time + 1)


def _squeeze_dims(op: Op) -> tuple[int, ...]:
    """The axes that a SQUEEZE names; it takes all of length 1 where it names none."""
    named = op.options.get("squeeze_dims", ())
    return named if isinstance(named, tuple) else ()


def _squeeze(lw: Lowering, op: Op) -> None:
    i, shape = op.inputs[0], lw.shape(op.inputs[0])
    dims = _squeeze_dims(op)
    gone = {d % len(shape) for d in dims} or {a for a, n in enumerate(shape) if n == 1}
    time = lw.stream(op, i).axis
    if time in gone and dims:
        lw.refuse(op, "removes the time axis")
    lw.alias(op, i, None if time is None else time - sum(a < time for a in gone))


# --- on constants ------------------------------------------------------------------------------


def _fold_reshape(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Array:
    return data_of(inputs[0]).reshape(output.shape)


# --- records -----------------------------------------------------------------------------------

_ALL = ("float32", "int8", "int16")

RESHAPE = Operation(
    "RESHAPE",
    Rule.of_moves((1, 2), _reshaped),
    lower=_reshape,
    fold=_fold_reshape,
    types=(*_ALL, "int32"),
    batch=batch_rules.reshaped,
    moves_values=True,
    reshapes=True,
    keeps_numbers=True,
)

OPERATIONS = (
    RESHAPE,
    Operation(
        "EXPAND_DIMS",
        Rule.of_moves((2, 2), _expanded),
        lower=_expand_dims,
        fold=_fold_reshape,
        types=_ALL,
        batch=batch_rules.reshaped,
        moves_values=True,
        reshapes=True,
    ),
    Operation(
        "SQUEEZE",
        Rule.of_moves((1, 1), _squeezed, options={"squeeze_dims": WHOLES}),
        lower=_squeeze,
        fold=_fold_reshape,
        types=("float32", "int8"),
        batch=batch_rules.reshaped,
        moves_values=True,
        reshapes=True,
    ),
)
