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
    begins, ends, ellipsis, new, shrink = (op.integer(f"{name}_mask", 0) for name in _MASKS)
    index: list[slice | int | None] = []
    spare = len(shape) - len(begin) + sum(new >> k & 1 for k in range(len(begin)))
    for k, (b, e, s) in enumerate(zip(begin, end, strides, strict=True)):
        if ellipsis >> k & 1:
            index += [slice(None)] * (spare + 1)
        elif new >> k & 1:
            index.append(None)
        elif shrink >> k & 1:
            index.append(b)
        else:
            index.append(slice(None if begins >> k & 1 else b, None if ends >> k & 1 else e, s))
    return tuple(index)


_MASKS = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
