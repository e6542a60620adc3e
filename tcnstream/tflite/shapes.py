"""Arithmetic of shapes that readers, checks and the compiler share."""

from __future__ import annotations

from tcnstream.tflite.graph import Op


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding before and after that TFLite's SAME gives an axis of ``size``."""
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def strided_slice(
    op: Op, shape: tuple[int, ...], begin: list[int], end: list[int], strides: list[int]
) -> tuple[slice | int | None, ...]:
    """The NumPy index that a STRIDED_SLICE (begin, end, strides and its five masks) stands for."""

    def mask(name: str, k: int) -> bool:
        return bool(op.integer(name, 0) >> k & 1)

    index: list[slice | int | None] = []
    spare = len(shape) - sum(not mask("new_axis_mask", k) for k in range(len(begin)))
    for k, (b, e, s) in enumerate(zip(begin, end, strides, strict=True)):
        if mask("ellipsis_mask", k):
            index += [slice(None)] * (spare + 1)
        elif mask("new_axis_mask", k):
            index.append(None)
        elif mask("shrink_axis_mask", k):
            index.append(b)
        else:
            index.append(slice(None if mask("begin_mask", k) else b, None if mask("end_mask", k) else e, s))
    return tuple(index)
