"""What the operations are told: records of arguments, which stand in the data of a plan file."""

from enum import IntEnum

from tcnstream.engines.native.layout.record import (
    F32,
    I8,
    I16,
    I32,
    U8,
    U16,
    U32,
    Blob,
    Carry,
    Numbers,
    Record,
    TensorNumber,
    doc,
)

MOST_IN_FOURS = (1 << 16) - 1
"""Taps, channels and outputs of a convolution in fours, and its dilation."""
MOST_INTERPOLATED = 4
"""Frames of which INTERPOLATE makes one."""
MAX_SOFTMAX_INTEGERS = 2048
"""Integers of one SOFTMAX, whose powers then fit an int32."""
SUM_DIGITS = 10
"""Digits of 32 bits of an exact sum of float32."""


class Rescale(IntEnum):
    """How the accumulators of a convolution become outputs.

    FLOAT: as they are; TWICE: a multiplication that rounds and a shift that rounds; WIDE: a product of 64 bits, rounded
    once; EXACT: as in real numbers, rounded once; SHORT: as TWICE, where the plan's writer has found that every
    accumulator stays below 2^30 and every shift goes right.
    """

    FLOAT = 0
    TWICE = 1
    WIDE = 2
    EXACT = 3
    SHORT = 4


class Axis(Record, c="axis_args"):
    """How a window moves along the axis of frequency; behind the arguments of a convolution."""

    taps_f: U32
    dilation_f: U32 = doc("0: all taps of the frequency read one place, for weights beyond int8 in several parts")
    stride_f: U32
    pad_f: I32
    f_in: U32
    f_out: U32
    edge_f: Numbers = doc("`channels` elements of padding")


class Conv(Record, c="conv_args"):
    """CONV, TRANSPOSE_CONV, DEPTHWISE, RESAMPLE (``up`` sets of weights, each filled up to a multiple of 64 bytes).

    A convolution's outputs stand in panels of 16, then 8 or 4 for the rest (``panel_width`` in kernels/kernels.h).
    CONV weights, per group and panel of width w:  f32 (taps, channels, w)
                                                   i8, i16 (taps, ceil(channels / 4), w, 4)
    DEPTHWISE weights: (taps, outputs). Per-output arrays have panel_total(outputs / groups) entries per
    group (DEPTHWISE: outputs).
    What FLOAT has no use of may be other data of the plan, where no axis_args stands behind.
    """

    taps_t: U32
    taps_f: U32
    dilation_t: U32
    channels: U32 = doc("per frame position, over all groups")
    groups: U32
    outputs: U32 = doc("per frame position, over all groups")
    weights: Blob
    bias: Numbers = doc("f32, i32 (input zero point folded in) or i64")
    low_f: F32
    high_f: F32
    rescale: U16 = doc("RESCALE_...")
    has_axis: U16 = doc("1: an axis_args stands behind, always of TRANSPOSE_CONV; 0: a position is a frame")
    bias_u8: Numbers = doc("from here on of integers alone; i8, portable: the bias for activations shifted by 128")
    multiplier: Numbers = doc("i32; EXACT: i64 mantissas")
    shift: Numbers = doc("i32; EXACT: exponents")
    zero_out: I16
    low: I16
    high: I16
    reserved: U16 = 0


class Fours(Record, c="fours_args"):
    """CONV and DEPTHWISE of CONV_FOURS: for a family of processors, one group, int8 and SHORT; CONV of int16 and WIDE.

    `weights` begins with columns: i32 biases with the input zero point folded in, i32 multipliers, and i8 shifts, on
    DSP places to the right, on HELIUM the negative. Each has whole fours of outputs (HELIUM's DEPTHWISE: sixteens, in
    the order 0 4 8 12, 2 6 10 14, 1 5 9 13, 3 7 11 15). The accumulators of int16 fit 32 bits, as the plan's writer has
    found; its shifts are 0 and its multipliers are shifted so that an output is the rounded upper half of the product.
    Behind the columns, filled up to a multiple of 16 bytes:
    CONV weights:       (outputs / 4, taps * channels / block, 4, block), each quotient rounded up
    DEPTHWISE weights:  DSP (outputs / 4, taps, 4), HELIUM (outputs / 16, taps, 16)
    The block is 4 bytes on DSP and 16 on HELIUM, 8 for int16; the last one of four outputs has as many whole words as
    are left.
    """

    taps: U16 = doc("along time and frequency together")
    dilation_t: U16
    channels: U16 = doc("per frame position")
    outputs: U16 = doc("per frame position")
    weights: Blob
    zero_out: I16
    low: I16
    high: I16
    has_axis: U16 = doc("as in conv_args")


class Pool(Record, c="pool_args"):
    """POOL (POOL_...)."""

    taps_t: U32
    taps_f: U32
    stride_f: U32
    pad_f: I32
    f_in: U32
    f_out: U32
    channels: U32
    low: I32
    high: I32
    low_f: F32
    high_f: F32


class Operands(Record, c="operands_args"):
    """Operands that are no streams as they stand; behind the arguments of BINARY."""

    constant: tuple[Numbers, Numbers] = doc("0: a stream, else a whole frame of constants")
    index: tuple[Numbers, Numbers] = doc("0: as it stands, else u32 [elements], which element of the operand to take")


class Binary(Record, c="binary_args"):
    """BINARY (BINARY_...) of int8 and int16."""

    elements: U32
    has_operands: U8 = doc("1: an operands_args stands behind; 0: both are streams as they stand")
    shift_out: I8
    left_shift: I16
    multiplier: tuple[I32, I32]
    multiplier_out: I32
    zero: tuple[I16, I16]
    zero_out: I16
    low: I16
    high: I16
    shift: tuple[I8, I8]


class BinaryFloat(Record, c="binary_float_args"):
    """BINARY of float32: begins as ``Binary``."""

    elements: U32
    has_operands: U8
    reserved: tuple[U8, U8, U8] = (0, 0, 0)
    low_f: F32
    high_f: F32


class BinaryScalar(Record, c="binary_scalar_args"):
    """BINARY_SCALAR (BINARY_...).

    left_shift 0 compares raw values; multiplier_out 0 is for integers without a scale, and low and high then only count
    where they are not the ends of int32.
    """

    elements: U32
    constant: tuple[Numbers, Numbers] = doc("as in operands_args")
    index: tuple[Numbers, Numbers]
    zero: tuple[I32, I32]
    left_shift: I32
    multiplier: tuple[I32, I32]
    shift: tuple[I32, I32]
    multiplier_out: I32
    shift_out: I32
    zero_out: I32
    low: I32
    high: I32


class Select(Record, c="select_args"):
    """SELECT: the condition, what is taken where it holds, what where it does not."""

    elements: U32
    constant: tuple[Numbers, Numbers, Numbers] = doc("as in operands_args")
    index: tuple[Numbers, Numbers, Numbers]


class UnaryScalar(Record, c="unary_scalar_args"):
    """UNARY_SCALAR (SCALAR_...); LEAKY_RELU has a multiplier of its own for what is negative, which may be negative."""

    elements: U32
    zero_in: I32 = 0
    multiplier: I32 = 0
    shift: I32 = 0
    multiplier_negative: I32 = 0
    shift_negative: I32 = 0
    zero_out: I32 = 0
    low: I32 = 0
    high: I32 = 0


class Unary(Record, c="unary_args"):
    """UNARY (UNARY_...): p0 and p1 are the ends of CLIP; p0 the slope of LEAKY_RELU."""

    elements: U32
    p0: F32
    p1: F32


class Table(Record, c="table_args"):
    """TABLE: every answer to an int8 or uint8."""

    elements: U32
    out_bytes: U32
    table: Numbers = doc("(256, out_bytes), by the raw value as uint8")


class Table16(Record, c="table16_args"):
    """TABLE16, SIGMOID16 (SIGMOID_...): answers to an int16 between those in a table."""

    elements: U32
    table: Numbers = doc("TABLE16: i16 [513]; SIGMOID16: u16 [256]")
    multiplier: I32 = doc("SIGMOID16", default=0)
    shift: I32 = doc("SIGMOID16", default=0)


class Softmax(Record, c="softmax_args"):
    """SOFTMAX (SOFTMAX_...)."""

    rows: U32
    depth: U32
    beta: F32
    multiplier: I32
    shift: I32
    radius: I32
    low: I32
    exp: Numbers = doc("i16 [513]")
    inverse: Numbers = doc("i16 [513]")
    inverse_multiplier: I32 = doc("i8, LOG_SOFTMAX: 1 / multiplier")
    inverse_shift: I32


class Move(Record, c="move_args"):
    """MOVE: runs of bytes from the inputs to the outputs."""

    constant: Numbers = doc("a whole frame of the only output; 0: the runs cover all")
    n_runs: U32
    runs: Numbers = doc("move_run [n_runs]")


class MoveRun(Record, c="move_run"):
    """Bytes that stay side by side, and as many others at equal distances."""

    operand: U8
    output: U8
    times: U16
    begin: U32
    to: U32
    count: U32
    begin_step: I32 = doc("bytes from one time to the next")
    to_step: I32


class RescaleIntegers(Record, c="rescale_args"):
    """QUANTIZE: f32 to integers; RESCALE (RESCALE_TO_...): integers of another scale to integers or to f32."""

    elements: U32
    scale: F32 = 0.0
    zero_in: I32 = 0
    multiplier: I32 = 0
    shift: I32 = 0
    zero_out: I32 = 0
    low: I32 = 0
    high: I32 = 0


class Reduce(Record, c="reduce_args"):
    """REDUCE, TRAILING, CUMULATIVE (STATISTIC_...), ARG_MIN_MAX (ARG_...; outputs, count and index alone)."""

    outputs: U32 = doc("how many statistics")
    count: U32 = doc("values of a frame in each")
    index: Numbers = doc("u32 (outputs, count): elements of the input frame")
    zero_in: I32 = 0
    multiplier: I32 = 0
    shift: I32 = 0
    zero_out: I32 = 0
    low: I32 = 0
    high: I32 = 0
    carry: Carry = doc("TRAILING, CUMULATIVE: in the carries of a state", default=0)


class Interpolate(Record, c="interpolate_args"):
    """INTERPOLATE: integers between those of neighbouring frames, ties away from zero."""

    taps: U32
    weights: Blob = doc("i16 (up, taps), in 1/1024; 0 for a frame that is not read")


class Previous(Record, c="previous_args"):
    """PREVIOUS: frame j is frame j - 1 of another tensor, which may be made later; frame 0 stands in the plan."""

    shown: TensorNumber = doc("the tensor")
    reserved: U16 = 0
    start: Numbers


class Sums16(Record, c="sums16_args"):
    """SUMS16: a dense layer of int8 with int16 outputs; LSTM_STEP: that of an LSTM's output before, and its step."""

    depth: U32
    outputs: U32
    weights: Blob = doc("i8 (outputs, depth)")
    bias: Numbers = doc("i32, input zero point folded in")
    multiplier: Numbers = doc("i32 [outputs]")
    shift: Numbers = doc("i32 [outputs]")
    gates: U32 = doc("LSTM_STEP: 4, or 3 where the entry is what the forget gate leaves", default=0)
    cell_bits: U32 = doc("integer bits of the cell's state", default=0)
    clip: I32 = doc("of the cell's state, 0: none", default=0)
    multiplier_out: I32 = 0
    shift_out: I32 = 0
    zero_out: I32 = 0


class SvdfFilter(Record, c="svdf_filter_args"):
    """SVDF_FILTER."""

    rank: U32 = doc("filters that are summed")
    weights: Blob = doc("i16 (extent, filters)")
    bias: Numbers = doc("i32")
    multiplier: I32
    shift: I32
    zero_out: I32
