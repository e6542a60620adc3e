"""Operations that move values: reshape, cut, put together, turn, repeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from helpers.singleop import Trial, tensor
from helpers.trials.drawing import (
    I32,
    QUANTIZED,
    Build,
    Rng,
    any_of,
    frame_of,
    int32,
    quantized,
    some_shape,
    values,
    zero_of,
)
from tcnstream.compiler.operations.cuts import PadOptions, SliceOptions
from tcnstream.compiler.operations.layout import ReverseOptions, TileOptions, TransposeOptions
from tcnstream.compiler.plan import NO_OPTIONS, AxisOptions, Options
from tcnstream.tflite.graph import Array, Tensor


def moved(
    kind: str,
    change: Callable[[Rng, tuple[int, ...]], tuple[dict[str, Any], Options, list[Array], tuple[int, ...]]],
    rank: int = 3,
) -> Build:
    """An operation that moves values: ``change`` gives options of file and plan, constant operands, output shape."""

    def build(rng: Rng, dtype: Any) -> Trial:
        shape = some_shape(rng, rank)
        x = quantized(rng, shape, dtype)
        file_options, plan_options, constants, out_shape = change(rng, shape)
        operands = (x, *(tensor(c.shape, c.dtype, data=c) for c in constants))
        return Trial(
            kind,
            operands,
            (values(rng, shape, dtype),),
            (replace(x, shape=out_shape),),
            file_options,
            plan_options=plan_options,
            fill=zero_of(x) if dtype in QUANTIZED else 0,
        )

    return build


def reshaping(rng: Rng, shape: tuple[int, ...]) -> Any:
    out = (shape[0], shape[2] * shape[1])
    return {"new_shape": out}, NO_OPTIONS, [int32(*out)], out


def expanding(rng: Rng, shape: tuple[int, ...]) -> Any:
    return {}, NO_OPTIONS, [int32(1)], (shape[0], 1, *shape[1:])


def transposing(rng: Rng, shape: tuple[int, ...]) -> Any:
    perm = (0, *(int(axis) for axis in 1 + rng.permutation(2)))
    return {}, TransposeOptions(perm), [int32(*perm)], tuple(shape[axis] for axis in perm)


def reversing(rng: Rng, shape: tuple[int, ...]) -> Any:
    axes = any_of(rng, (1,), (2,), (1, 2))
    return {}, ReverseOptions(axes), [int32(*axes)], shape


def padding(mirror: bool) -> Any:
    def change(rng: Rng, shape: tuple[int, ...]) -> Any:
        mode = any_of(rng, "REFLECT", "SYMMETRIC")
        most = [n - (mode == "REFLECT") if mirror else 3 for n in shape]
        pairs = [(0, 0), *((int(rng.integers(0, m + 1)), int(rng.integers(0, m + 1))) for m in most[1:])]
        out = tuple(n + sum(pair) for n, pair in zip(shape, pairs, strict=True))
        options = {"mode": mode} if mirror else {}
        flat = tuple(n for pair in pairs[1:] for n in pair)
        return options, PadOptions(flat, mode if mirror else ""), [np.array(pairs, I32)], out

    return change


def slicing(rng: Rng, shape: tuple[int, ...]) -> Any:
    begin = [0, *(int(rng.integers(0, n)) for n in shape[1:])]
    size = [shape[0], *(int(rng.integers(1, n - b + 1)) for n, b in zip(shape[1:], begin[1:], strict=True))]
    end = tuple(b + s for b, s in zip(begin, size, strict=True))
    return {}, SliceOptions(tuple(begin[1:]), end[1:], (1,) * len(end[1:])), [int32(*begin), int32(*size)], tuple(size)


def slicing_with_strides(rng: Rng, shape: tuple[int, ...]) -> Any:
    begin, end, stride, out = [0], [shape[0]], [1], [shape[0]]
    for n in shape[1:]:
        s = int(any_of(rng, 1, 2, 3, -1, -2))
        b = int(rng.integers(0, n))
        e = int(rng.integers(b + 1, n + 1)) if s > 0 else int(rng.integers(-1, b))
        begin.append(b)
        stride.append(s)
        end.append(e)
        out.append(-(-(e - b) // s))
    # TFLite reads a negative end from the back: -1 - n is before the start
    file_end = [e if e >= 0 else -1 - n for e, n in zip(end, shape, strict=True)]
    plan = SliceOptions(tuple(begin[1:]), tuple(end[1:]), tuple(stride[1:]))
    return {}, plan, [int32(*begin), int32(*file_end), int32(*stride)], tuple(out)


def tiling(rng: Rng, shape: tuple[int, ...]) -> Any:
    multiples = (1, *(int(n) for n in rng.integers(1, 4, 2)))
    return {}, TileOptions(multiples[1:]), [int32(*multiples)], tuple(np.multiply(shape, multiples).tolist())


def gathering(rng: Rng, shape: tuple[int, ...]) -> Any:
    axis = int(rng.integers(1, 3))
    indices = rng.integers(0, shape[axis], int(rng.integers(1, 5))).astype(I32)
    return {"axis": axis}, AxisOptions(axis), [indices], (*shape[:axis], indices.size, *shape[axis + 1 :])


def resizing(rng: Rng, dtype: Any) -> Trial:
    frames, size, channels = some_shape(rng)
    wanted = int(rng.integers(1, 13))
    x = quantized(rng, (1, frames, size, channels), dtype)
    feed = values(rng, x.shape, dtype)
    output = replace(x, shape=(1, frames, wanted, channels))
    align, half = any_of(rng, (False, False), (True, False), (False, True))
    options = {"align_corners": align, "half_pixel_centers": half}
    return Trial(
        "RESIZE_NEAREST_NEIGHBOR",
        (x, tensor((2,), I32, data=[frames, wanted])),
        (feed,),
        (output,),
        options,
        plan_operands=(frame_of(x),),
        plan_arrays=(feed[0],),
        plan_outputs=(frame_of(output),),
        n_frames=frames,
    )


def squeezing(rng: Rng, dtype: Any) -> Trial:
    shape = (*some_shape(rng, 2), 1)
    x = quantized(rng, shape, dtype)
    return Trial("SQUEEZE", (x,), (values(rng, shape, dtype),), (replace(x, shape=shape[:2]),), {"squeeze_dims": (2,)})


def padding_with_value(rng: Rng, dtype: Any) -> Trial:
    trial = moved("PAD", padding(False))(rng, dtype)
    fill = values(rng, (1,), dtype)
    constant = replace(trial.operands[0], shape=(1,), data=fill)
    return replace(trial, kind="PADV2", operands=(*trial.operands, constant), fill=fill[0].item())


def stretching(rng: Rng, dtype: Any) -> Trial:
    t, n = some_shape(rng, 2)
    x = quantized(rng, (t, n, 1), dtype)
    out = (t, n, int(rng.integers(1, 5)))
    return Trial(
        "BROADCAST_TO", (x, tensor((3,), I32, data=out)), (values(rng, x.shape, dtype),), (replace(x, shape=out),)
    )


def joining(rng: Rng, dtype: Any) -> Trial:
    axis, shape = int(rng.integers(1, 3)), list(some_shape(rng))
    x = quantized(rng, tuple(shape), dtype)
    sizes = [int(n) for n in rng.integers(1, 5, 3)]
    parts = [replace(x, shape=(*shape[:axis], n, *shape[axis + 1 :])) for n in sizes]
    if rng.random() < 0.3:
        same = np.repeat(values(rng, (1, *parts[1].shape[1:]), dtype), shape[0], axis=0)
        parts[1] = replace(parts[1], data=same)
    output = replace(x, shape=(*shape[:axis], sum(sizes), *shape[axis + 1 :]))
    feeds = [values(rng, part.shape, dtype) for part in parts if part.data is None]
    trial = Trial("CONCATENATION", parts, feeds, (output,), {"axis": axis})
    if parts[1].data is None:
        return trial
    frame = replace(parts[1], shape=(1, *parts[1].shape[1:]), data=parts[1].data[:1])
    ends = [Tensor(p.name, p.shape[1:], p.dtype, p.quantization) for p in parts]
    return replace(trial, plan_operands=(ends[0], frame, ends[2]), plan_arrays=(feeds[0], frame.data, feeds[1]))


def parting(kind: str) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        axis, shape = int(rng.integers(1, 3)), list(some_shape(rng))
        sizes = [int(n) for n in rng.integers(1, 5, 3)] if kind == "SPLIT_V" else [int(rng.integers(1, 4))] * 3
        shape[axis] = sum(sizes)
        x = quantized(rng, tuple(shape), dtype)
        outputs = [replace(x, shape=(*shape[:axis], n, *shape[axis + 1 :])) for n in sizes]
        place = tensor((1,), I32, data=[axis])
        operands = (place, x) if kind == "SPLIT" else (x, tensor((3,), I32, data=sizes), place)
        feed = values(rng, x.shape, dtype)
        return Trial(
            kind,
            operands,
            (feed,),
            outputs,
            {"num_splits": 3},
            plan_options=AxisOptions(axis),
            plan_operands=(replace(x, shape=x.shape[1:]),),
            plan_arrays=(feed,),
        )

    return build


def stacking(rng: Rng, dtype: Any) -> Trial:
    shape, axis = some_shape(rng, 2), int(rng.integers(1, 3))
    x = quantized(rng, shape, dtype)
    out = (*shape[:axis], 3, *shape[axis:])
    feeds = [values(rng, shape, dtype) for _ in range(3)]
    return Trial("PACK", (x, x, x), feeds, (replace(x, shape=out),), {"axis": axis, "values_count": 3})


def unstacking(rng: Rng, dtype: Any) -> Trial:
    shape, axis = some_shape(rng), int(rng.integers(1, 3))
    x = quantized(rng, shape, dtype)
    outputs = [replace(x, shape=(*shape[:axis], *shape[axis + 1 :]))] * shape[axis]
    return Trial("UNPACK", (x,), (values(rng, shape, dtype),), outputs, {"axis": axis, "num": shape[axis]})
