"""Images resized: frames repeated."""

from __future__ import annotations

from dataclasses import dataclass

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation, from_file
from tcnstream.compiler.operations.time import TIME_REPEAT
from tcnstream.compiler.plan import Options, Window
from tcnstream.compiler.spatial import spatial
from tcnstream.tflite.graph import Op
from tcnstream.tflite.validate import FLAG, Operands, Rule, Shapes


@dataclass(frozen=True)
class ResizeOptions(Options):
    """Where a place reads, along frequency: corners upon corners, or the centres of pixels upon one another."""

    align_corners: bool = False
    half_pixel_centers: bool = False


def _resized(o: Operands) -> Shapes:
    shape = o.shape(0, rank=4)
    height, width = o.integers(1, count=2)
    return ((shape[0], height, width, shape[3]),)


def _resize(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    shape, out = lw.shape(i), lw.shape(op.outputs[0])
    axes = spatial(lw, op, i, (1, 1))
    t, f = (2, 1) if axes.swap else (1, 2)
    options = from_file(ResizeOptions, op)
    if out[t] % shape[t] or out[f] % shape[f]:
        lw.refuse(op, f"resizes {shape[t]} frames to {out[t]}, which is no whole multiple")
    if options.align_corners:
        lw.refuse(op, "aligns the corners of the window, so each frame depends on its length")
    ratio_t, ratio_f = out[t] // shape[t], out[f] // shape[f]
    operand = axes.operand
    if ratio_t == 1:
        return lw.emit(op, [operand], axes.axis, options=options)
    if ratio_f > 1:
        frame = (shape[f] * ratio_f, shape[3])
        operand = lw.step(op, [operand], lw.graph.tensors[i], frame, shape[t], op.kind, options=options)
    window = Window(up=ratio_t, extent=ratio_t, pad_begin=ratio_t - 1)
    return lw.emit(op, [operand], axes.axis, kind=TIME_REPEAT.kind, window=window)


OPERATIONS = (
    Operation(
        "RESIZE_NEAREST_NEIGHBOR",
        Rule(
            operands=(2, 2),
            shapes=_resized,
            options={"align_corners": FLAG, "half_pixel_centers": FLAG},
            scaled=False,
        ),
        options=ResizeOptions,
        lower=_resize,
        types=("float32", "int8", "int16"),
    ),
)
