"""Operations that lengthen or shorten: padding and slices, in time and in the frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.constants import data_of
from tcnstream.compiler.lowering import Lowering, axes_of_frame
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations.time import TIME_PAD
from tcnstream.compiler.picks import pick, settle_tensor, settles
from tcnstream.compiler.plan import Options, Window
from tcnstream.tflite.graph import Array, Op, Tensor
from tcnstream.tflite.shapes import strided_slice
from tcnstream.tflite.validate import NEVER, WHOLE, Operands, Rule, Shapes, one_of, require


@dataclass(frozen=True)
class PadOptions(Options):
    """``paddings``: (begin, end, begin, end, ...) per axis of a frame.

    ``mode``: REFLECT mirrors the frame without its border, SYMMETRIC with it; empty fills with ``Node.fill``.
    """

    paddings: tuple[int, ...]
    mode: str = ""


@dataclass(frozen=True)
class SliceOptions(Options):
    """``begin``, ``end`` and ``stride`` per axis of a frame, all resolved; going down, end -1 is before the start."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    stride: tuple[int, ...]


_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


# --- padding -----------------------------------------------------------------------------------


def _padded(o: Operands) -> Shapes:
    shape = o.shape(0)
    require(o.shape(1) == (len(shape), 2), f"paddings of shape {o.shape(1)} around {shape}")
    pads = o.integers(1)
    require(min(pads, default=0) >= 0, f"paddings {pads[:8]} around {shape}")
    return (tuple(n + p + q for n, p, q in zip(shape, pads[::2], pads[1::2], strict=True)),)


def _padded_with_value(o: Operands) -> Shapes:
    require(o.count(2) == 1, f"{o.count(2)} values to pad with")
    return _padded(o)


def _mirrored(o: Operands) -> Shapes:
    made = _padded(o)
    shape, pads = o.shape(0), o.integers(1)
    least = 1 if o.op.options.get("mode", "REFLECT") == "REFLECT" else 0
    longest = zip(pads[::2], pads[1::2], shape, strict=True)
    require(all(max(p, q) <= n - least for p, q, n in longest), f"edges {pads[:8]} mirrored in {shape}")
    return made


def _pad(lw: Lowering, op: Op) -> None:
    _padding(lw, op, lw.zero(op.inputs[0]))


def _pad_with_value(lw: Lowering, op: Op) -> None:
    _padding(lw, op, lw.constant(op, 2).reshape(-1)[0].item())


def _mirror(lw: Lowering, op: Op) -> None:
    _padding(lw, op, lw.zero(op.inputs[0]), str(op.options.get("mode", "REFLECT")))


def _padding(lw: Lowering, op: Op, fill: float | int, mode: str = "") -> None:
    i = op.inputs[0]
    stream = lw.stream(op, i)
    pairs = lw.constant(op, 1).reshape(-1, 2).tolist()
    time = (0, 0) if stream.axis is None else tuple(pairs[stream.axis])
    kept = axes_of_frame(lw.shape(i), stream.axis)
    if stream.axis != 0 and 0 not in kept and pairs and pairs[0] != [0, 0]:
        lw.refuse(op, "pads the batch axis")
    frame_pairs = [pairs[a] for a in kept]
    window = Window(pad_begin=time[0], pad_end=time[1])
    if mode:
        window = replace(window, edge="reflect" if mode == "REFLECT" else "symmetric")
    options = PadOptions(tuple(n for p in frame_pairs for n in p), mode)
    kind = MIRROR_PAD.kind if mode else PAD.kind
    operand = lw.operand(i)
    if any(p != [0, 0] for p in frame_pairs):
        if not any(time):
            return lw.emit(op, [operand], stream.axis, kind=kind, options=options, fill=fill)
        padded = tuple(n + sum(p) for n, p in zip(operand[1], frame_pairs, strict=True))
        like = lw.graph.tensors[i]
        operand = lw.step(op, [operand], like, padded, stream.window_frames, kind, options=options, fill=fill)
    if not any(time):
        return lw.alias(op, i, stream.axis)
    return lw.emit(op, [operand], stream.axis, kind=TIME_PAD.kind, window=window, fill=fill)


# --- slices ------------------------------------------------------------------------------------


def _sliced(o: Operands) -> Shapes:
    require(all(len(o.shape(k)) == 1 for k in (1, 2)), "a begin and a size that are no lists")
    shape = o.shape(0)
    made = []
    for n, b, s in zip(shape, o.integers(1, count=len(shape)), o.integers(2, count=len(shape)), strict=True):
        require(0 <= b < n and (s == -1 or 0 < s <= n - b), f"{s} values from {b} of {n}")
        made.append(n - b if s == -1 else s)
    return (tuple(made),)


def _strided(o: Operands) -> Shapes:
    require(all(len(o.shape(k)) == 1 for k in (1, 2, 3)), "a begin, an end and strides that are no lists")
    shape, begin = o.shape(0), o.integers(1)
    end, stride = o.integers(2, count=len(begin)), o.integers(3, count=len(begin))
    require(0 not in stride, "a stride of 0")
    index = strided_slice(o.op, shape, begin, end, stride)
    require(sum(x is not None for x in index) <= len(shape), f"{len(begin)} cuts of {shape}")
    sizes = iter(shape)
    made = []
    for entry in index:
        if entry is None:
            made.append(1)
            continue
        n = next(sizes)
        if isinstance(entry, int):
            require(-n <= entry < n, f"place {entry} of {n}")
        else:
            made.append(len(range(*entry.indices(n))))
    return ((*made, *sizes),)


def _slice(lw: Lowering, op: Op) -> None:
    shape = lw.shape(op.inputs[0])
    begin, size = lw.integers(op, 1), lw.integers(op, 2)
    _cut(lw, op, [slice(b, n if s == -1 else b + s, 1) for b, s, n in zip(begin, size, shape, strict=True)])


def _strided_slice(lw: Lowering, op: Op) -> None:
    shape = lw.shape(op.inputs[0])
    _cut(lw, op, strided_slice(op, shape, lw.integers(op, 1), lw.integers(op, 2), lw.integers(op, 3)))


def _cut(lw: Lowering, op: Op, index: Sequence[slice | int | None]) -> None:
    """A NumPy index with one entry per axis (and None for new axes), time and frame apart."""
    i = op.inputs[0]
    stream, shape = lw.stream(op, i), lw.shape(i)
    kept = axes_of_frame(shape, stream.axis)
    old_axis, new_axis, out_axis = 0, 0, None
    time_cut: slice | int = slice(None)
    begins: list[int] = []
    ends: list[int] = []
    strides: list[int] = []
    whole = list(index) + [slice(None)] * (len(shape) - sum(x is not None for x in index))
    for entry in whole:
        if entry is None:
            new_axis += 1
            continue
        n = shape[old_axis]
        if old_axis == stream.axis:
            time_cut = entry
            out_axis = new_axis
        elif old_axis in kept:
            for into, value in zip((begins, ends, strides), _span(entry, n), strict=True):
                into.append(value)
        new_axis += not isinstance(entry, int)
        old_axis += 1
    is_strided = isinstance(time_cut, slice) and (time_cut.step or 1) > 1
    if is_strided and stream.picked is not None and settles(stream.picked):
        # Every so many frames of a repeated or padded signal: no single window says both.
        settle_tensor(lw, i)
        stream = lw.streams[i]
    value, frame = lw.operand(i)
    if frame != tuple(e - b for b, e in zip(begins, ends, strict=True)) or not set(strides) <= {1}:
        options = SliceOptions(tuple(begins), tuple(ends), tuple(strides))
        cut_shape = tuple(len(range(*s)) for s in zip(begins, ends, strides, strict=True))
        if 0 in cut_shape:
            lw.refuse(op, "cuts nothing out of a frame")
        like, frames, kind = lw.graph.tensors[i], stream.window_frames, STRIDED_SLICE.kind
        value, _ = lw.step(op, [(value, frame)], like, cut_shape, frames, kind, options=options)
    made = replace(stream, value=value, axis=out_axis)
    if stream.axis is None:
        lw.streams[op.outputs[0]] = made
    elif stream.picked is None and is_strided:
        assert isinstance(time_cut, slice)
        # Said at once: frames at a stride know where the cut ends, which their places do not.
        begin, end, stride = time_cut.indices(stream.window_frames)
        window = Window(stride=stride, pad_begin=-begin, pad_end=end - stream.window_frames)
        like, frame = lw.graph.tensors[op.outputs[0]], lw.tensors[value].shape
        frames = len(range(begin, end, stride))
        decimated, _ = lw.step(op, [(value, frame)], like, frame, frames, TIME_PAD.kind, window=window)
        lw.streams[op.outputs[0]] = replace(made, value=decimated, window_frames=frames)
    else:
        frames_cut = np.atleast_1d(np.arange(shape[stream.axis], dtype=np.int64)[time_cut])
        pick(lw, op, op.outputs[0], made, frames_cut, None if isinstance(time_cut, int) else out_axis)


def _span(cut: slice | int, n: int) -> tuple[int, int, int]:
    """The begin, end and stride of an entry of an index, on an axis of ``n``."""
    return (cut % n, cut % n + 1, 1) if isinstance(cut, int) else cut.indices(n)


def _fold_strided(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Array:
    data = data_of(inputs[0])
    return np.asarray(data[strided_slice(op, data.shape, *(data_of(t).tolist() for t in inputs[1:4]))])


def _fold_slice(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Array:
    begin, size = (data_of(t).tolist() for t in inputs[1:])
    return data_of(inputs[0])[tuple(slice(b, None if s == -1 else b + s) for b, s in zip(begin, size, strict=True))]


def _fold_pad(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Array:
    fill: float | int = data_of(inputs[2]).reshape(-1)[0].item() if len(inputs) > 2 else 0
    if len(inputs) == 2 and output.quantization is not None:
        fill = int(output.quantization.zero_point[0])
    return np.pad(data_of(inputs[0]), data_of(inputs[1]).tolist(), constant_values=fill)


def _fold_mirror(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Array:
    mode: Literal["reflect", "symmetric"] = "reflect" if op.options.get("mode") != "SYMMETRIC" else "symmetric"
    return np.pad(data_of(inputs[0]), data_of(inputs[1]).tolist(), mode=mode)


# --- records -----------------------------------------------------------------------------------

_ALL = ("float32", "int8", "int16")


PAD = Operation(
    "PAD",
    Rule.of_moves((2, 2), _padded),
    options=PadOptions,
    lower=_pad,
    fold=_fold_pad,
    types=_ALL,
    batch=batch_rules.padded,
    keeps_numbers=True,
)
MIRROR_PAD = Operation(
    "MIRROR_PAD",
    Rule.of_moves((2, 2), _mirrored, options={"mode": one_of("REFLECT", "SYMMETRIC")}),
    options=PadOptions,
    lower=_mirror,
    fold=_fold_mirror,
    types=_ALL,
    batch=batch_rules.padded,
)
STRIDED_SLICE = Operation(
    "STRIDED_SLICE",
    Rule.of_moves((4, 4), _strided, options={"offset": NEVER} | dict.fromkeys(_MASKS, WHOLE)),
    options=SliceOptions,
    lower=_strided_slice,
    fold=_fold_strided,
    types=_ALL,
    batch=batch_rules.strided,
    takes_picked=True,
    keeps_numbers=True,
)

SLICE = Operation(
    "SLICE",
    Rule.of_moves((3, 3), _sliced),
    options=SliceOptions,
    lower=_slice,
    fold=_fold_slice,
    types=_ALL,
    batch=batch_rules.cut,
    takes_picked=True,
)

OPERATIONS = (
    PAD,
    MIRROR_PAD,
    STRIDED_SLICE,
    Operation(
        "PADV2",
        Rule.of_moves((3, 3), _padded_with_value),
        options=PadOptions,
        lower=_pad_with_value,
        fold=_fold_pad,
        types=_ALL,
        batch=batch_rules.padded,
        keeps_numbers=True,
    ),
    SLICE,
)
