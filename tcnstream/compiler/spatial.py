"""Operations with two spatial axes, one of which is time: which one, and how a window goes over them."""

from __future__ import annotations

from dataclasses import dataclass

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.plan import ActivationOptions, Window
from tcnstream.tflite.graph import Op, Shape
from tcnstream.tflite.shapes import same_padding
from tcnstream.tflite.validate import ACTIVATION, COUNT, one_of

STRIDES = {"stride_h": COUNT, "stride_w": COUNT}
PADDING = {"padding": one_of("SAME", "VALID"), "fused_activation_function": ACTIVATION}


@dataclass(frozen=True)
class SpatialOptions(ActivationOptions):
    """How a kernel goes along frequency, the axis beside time; ``Node.window`` says it for time.

    It advances by ``stride_f`` places, with ``pad_f_begin`` and ``pad_f_end`` places of padding in front and behind.
    """

    stride_f: int = 1
    pad_f_begin: int = 0
    pad_f_end: int = 0


@dataclass(frozen=True, eq=False)
class Axes:
    """The two spatial axes of a 4-D operation: t is time, f is frequency ("h" or "w" each)."""

    t: str
    f: str
    swap: bool
    operand: tuple[int, Shape]
    axis: int | None

    def frame(self, shape: Shape) -> Shape | None:
        """(F, C) of a tensor of the file; None where its frames have that shape anyway, or F is 1."""
        f = shape[1] if self.swap else shape[2]
        return None if self.axis in (1, 2) or f == 1 else (f, shape[3])

    def of(self, op: Op, pattern: str) -> tuple[int, int]:
        """An option of both axes, (time, frequency); 1 where the file has none, and for time where it is neither."""
        time = op.integer(pattern.format(self.t), 1) if self.axis in (1, 2) else 1
        return time, op.integer(pattern.format(self.f), 1)


def spatial(lw: Lowering, op: Op, i: int, kernel: Shape) -> Axes:
    """Which of height and width is time; where it is neither, because it is gone or the batch is time (frames that
    share a network), one of them must be 1 long.
    """
    stream, shape = lw.stream(op, i), lw.shape(i)
    if len(shape) != 4:
        lw.refuse(op, f"has an input of rank {len(shape)}, where 4 is needed")
    if stream.axis != 0 and shape[0] != 1:
        lw.refuse(op, f"works on a batch of {shape[0]}")
    value = stream.value
    if stream.axis == 1:
        return Axes("h", "w", False, (value, (shape[2], shape[3])), 1)
    if stream.axis == 2:
        return Axes("w", "h", True, (value, (shape[1], shape[3])), 2)
    if stream.axis in (None, 0) and shape[1] == 1 and kernel[0] == 1:
        return Axes("h", "w", False, (value, (shape[2], shape[3])), stream.axis)
    if stream.axis in (None, 0) and shape[2] == 1 and kernel[1] == 1:
        return Axes("w", "h", True, (value, (shape[1], shape[3])), stream.axis)
    if stream.axis == 0:
        return lw.refuse(op, "works on two axes of every frame")
    if stream.axis == 3:
        return lw.refuse_axis(op, f"sums over axis 3 of {shape}, which is taken for time and stands where channels do")
    return lw.refuse_axis(op, "works on two axes after time has gone, so that another axis may be time")


def access_window(
    lw: Lowering,
    op: Op,
    i: int,
    axes: Axes,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[Window, tuple[int, int]]:
    """How a window operation reads time, and its padding in frequency. All pairs are (time, frequency)."""
    shape = lw.shape(i)
    t, f = (2, 1) if axes.swap else (1, 2)
    explicit = op.options.get("explicit_padding")
    pad_end: int | None
    if isinstance(explicit, tuple):
        height, width = explicit[:2], explicit[2:]
        (pad_begin, pad_end), (f_begin, f_end) = (width, height) if axes.swap else (height, width)
    elif op.options.get("padding") == "SAME":
        frames = shape[t] if axes.axis in (1, 2) else 1
        pad_begin, pad_end = same_padding(frames, kernel[0], stride[0], dilation[0])
        if stride[0] > 1:
            pad_end = None
        f_begin, f_end = same_padding(shape[f], kernel[1], stride[1], dilation[1])
    else:
        pad_begin, pad_end, f_begin, f_end = 0, 0, 0, 0
    refuse_growth(lw, op, axes, 1 + abs(pad_begin) + abs(pad_end or 0))
    refuse_longer(lw, op, (kernel[1] - 1) * dilation[1] + 1, shape[f] + f_begin + f_end)
    window = Window(1, stride[0], (kernel[0] - 1) * dilation[0] + 1, pad_begin, pad_end)
    return window, (f_begin, f_end)


def refuse_growth(lw: Lowering, op: Op, axes: Axes, places: int) -> None:
    """Where time is neither height nor width, and what a frame has beside the axis of a window becomes ``places``."""
    if axes.axis not in (1, 2) and places != 1:
        lw.refuse(op, f"makes {places} places of one, beside the axis along which its window goes over a frame")


def refuse_longer(lw: Lowering, op: Op, extent: int, places: int) -> None:
    """A window that is longer than a frame: a file of nothing but 1s states no shape that would show it."""
    if extent > places:
        lw.refuse(op, f"goes over a frame of {places} with a window of {extent}")
