"""The layout of a plan file and the words of the core: one description, for Python and for C.

``python -m tcnstream.engines.native.layout`` writes ``core/codes.h`` (error codes and their texts, element types,
limits: what a user of ``tcn.h`` sees) and ``core/layout.h`` (the records of the file and the operations); with
``--check`` it only says whether they are what is described here. A new operation of the core is a record of its
arguments, a member of ``Kind``, a packer in ``pack/`` and a file in ``core/operations/``.

A plan file is little-endian and position-independent; it is used where it lies (flash, a mapped file) at an address
that is a multiple of 16. Offsets (``..._at`` in C) count bytes from its start. Sections of records follow one another::

    header        magic "TCNPLAN\\n", version, bytes of the file, CRC-32 of all that follows the CRC
    frames        what tensors have in common: type, bytes, growth
    tensors       one per tensor of the Plan that is no constant: its frames, its scratch slot
    rings         one per tensor that a stream remembers, in the order of tensors
    windows       what nodes have in common: how they move along time
    nodes         one per node: kind, operands, window, padding frame, arguments
    ports         descriptions of the inputs, then of the outputs
    operands      numbers of tensors, which nodes share where they can
    data          packed weights and other arrays, then shapes and arguments
    descriptions  of all tensors, then of all nodes, for reports: no board needs them
    names         NUL-terminated UTF-8: the model's identity first, and what descriptions call things

Tensors are numbered as they are made: the inputs, then the outputs of each node. Data begin at a multiple of 64; in
what is packed for a family of processors, which has no descriptions, weights at one of 16 and other data at one of 8.
"""

from enum import IntEnum
from typing import Self

from tcnstream.engines.native.layout.records import (
    F32,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    Blob,
    Bytes8,
    Carry,
    Numbers,
    Record,
    TensorNumber,
    Text,
    Words,
    doc,
)

MAGIC = b"TCNPLAN\n"
SNAPSHOT_MAGIC = b"TCNSNAP\n"
VERSION = 7
ALIGNMENT = 64
FAMILY_ALIGNMENT = 16
NONE = 0xFFFFFFFF
NO_NUMBER = 0xFFFF
MOST_NUMBERS = NO_NUMBER - 1
"""Tensors, nodes, operands, rings and scratch slots are numbered in 16 bits."""
SAME = -(1 << 31)

MAX_PORTS = 16
MAX_OPERANDS = 64
MAX_RANK = 4
MOST_IN_FOURS = (1 << 16) - 1
"""Taps, channels and outputs of a convolution in fours, and its dilation."""
MOST_INTERPOLATED = 4
"""Frames of which INTERPOLATE makes one."""
MAX_SOFTMAX_INTEGERS = 2048
SUM_DIGITS = 10


class Error(IntEnum):
    """What a function of the core returns; 0 is success."""

    text: str

    def __new__(cls, code: int, text: str = "") -> Self:
        made = int.__new__(cls, code)
        made._value_ = code
        made.text = text
        return made

    OK = 0, "no error"
    TRUNCATED = 1, "the plan is cut short"
    MAGIC = 2, "these bytes are no plan of this version"
    CHECKSUM = 3, "the plan is damaged"
    BOUNDS = 4, "the plan points outside of itself"
    VALUE = 5, "the plan holds a value that no writer makes"
    UNKNOWN = 6, "the plan has an operation that this core lacks"
    ALIGNMENT = 7, "memory is not aligned"
    STATE_SIZE = 8, "the state memory is too small"
    SCRATCH_SIZE = 9, "the scratch memory is too small"
    ROOM = 10, "the output buffer is too small"
    ENDED = 11, "the signal has ended; call reset() first"
    SHORT = 12, "the signal ended before a mirrored edge had the frames that it mirrors"
    NO_STATE = 13, "the state was never initialised"
    SNAPSHOT = 14, "the snapshot is damaged or belongs to another model"
    ISA = 15, "this processor lacks the instructions asked for"
    PLAN = 16, "the state belongs to another plan"
    FAMILY = 17, "the plan is packed for another family of processors"


CORE_CODES = tuple(error.text for error in Error)
"""The texts of the core's error codes, by code."""


class Family(IntEnum):
    """Processors for whose instructions the int8 weights of a plan are packed; all run what is portable."""

    word: str

    def __new__(cls, code: int, word: str = "") -> Self:
        made = int.__new__(cls, code)
        made._value_ = code
        made.word = word
        return made

    PORTABLE = 0, "portable"
    DSP = 1, "cortex-m-dsp"
    HELIUM = 2, "cortex-m-helium"


FAMILIES = {family.word: family for family in Family}


class Dtype(IntEnum):
    """The type of an element."""

    numpy: str
    bytes: int

    def __new__(cls, code: int, numpy: str = "", bytes: int = 0) -> Self:
        made = int.__new__(cls, code)
        made._value_ = code
        made.numpy, made.bytes = numpy, bytes
        return made

    F32 = 0, "float32", 4
    I8 = 1, "int8", 1
    I16 = 2, "int16", 2
    I32 = 3, "int32", 4
    I64 = 4, "int64", 8
    BOOL = 5, "bool", 1
    U8 = 6, "uint8", 1


DTYPES = {dtype.numpy: dtype for dtype in Dtype}


class PlanFlag(IntEnum):
    """Bits of a header's ``flags``."""

    TFLM_ROUNDING = 1


class Edge(IntEnum):
    """What a window sees beyond the ends of a signal; CLIP: nothing, it is shorter there; HOLD: the end's own frame."""

    FILL = 0
    REFLECT = 1
    SYMMETRIC = 2
    CLIP = 3
    HOLD = 4


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


class ConvOp(IntEnum):
    """How the weights of CONV and DEPTHWISE stand."""

    PANELS = 0
    FOURS = 1


class BinaryOp(IntEnum):
    """BINARY has the first seven, BINARY_SCALAR all; the last two shift one operand by a power of two."""

    ADD = 0
    SUB = 1
    MUL = 2
    DIV = 3
    MAXIMUM = 4
    MINIMUM = 5
    SQUARED_DIFFERENCE = 6
    PRELU = 7
    EQUAL = 8
    NOT_EQUAL = 9
    LESS = 10
    LESS_EQUAL = 11
    GREATER = 12
    GREATER_EQUAL = 13
    LOGICAL_AND = 14
    LOGICAL_OR = 15
    ADD_SHIFTED = 16
    SUB_SHIFTED = 17


class UnaryOp(IntEnum):
    """Functions of one float32."""

    LOGISTIC = 0
    TANH = 1
    EXP = 2
    NEG = 3
    RSQRT = 4
    SQRT = 5
    SQUARE = 6
    ABS = 7
    CLIP = 8
    LEAKY_RELU = 9
    HARD_SWISH = 10
    ELU = 11
    LOG = 12
    COPY = 13
    GELU = 14
    GELU_TANH = 15
    FLOOR = 16
    CEIL = 17
    ROUND = 18
    SIGN = 19


class UnaryScalarOp(IntEnum):
    """Functions of one value of any type; the last two are of integers with a scale."""

    CAST = 0
    ABS = 1
    NEG = 2
    SIGN = 3
    LOGICAL_NOT = 4
    ABS_RESCALED = 5
    LEAKY_RELU = 6


class PoolOp(IntEnum):
    """What a pool makes of its window; the halves of a mean of integers go away from 0, or (of int8) up."""

    MAX = 0
    AVERAGE = 1
    AVERAGE_UP = 2


class ResampleOp(IntEnum):
    """Whose layout the weights of RESAMPLE have."""

    CONV = 0
    DEPTHWISE = 1


class SigmoidOp(IntEnum):
    """The functions of SIGMOID16."""

    LOGISTIC = 0
    TANH = 1


class SoftmaxOp(IntEnum):
    """The functions of SOFTMAX."""

    SOFTMAX = 0
    LOG_SOFTMAX = 1


class TimeMoveOp(IntEnum):
    """What moves from frame to frame: padding, windows as frames, a frame into several, a frame several times."""

    PAD = 0
    WINDOW = 1
    UNFOLD = 2
    REPEAT = 3


class RescaleOp(IntEnum):
    """What RESCALE makes of integers."""

    TO_INTEGER = 0
    TO_FLOAT = 1


class Statistic(IntEnum):
    """What REDUCE makes of values; TRAILING and CUMULATIVE have all but PRODUCT."""

    MEAN = 0
    SUM = 1
    MAX = 2
    MIN = 3
    PRODUCT = 4


class ArgOp(IntEnum):
    """Whose place ARG_MIN_MAX finds."""

    MAX = 0
    MIN = 1


class Header(Record, c="tcn_header"):
    """The start of a plan file."""

    magic: Bytes8 = doc("TCN_PLAN_MAGIC", default=MAGIC)
    version: U32
    bytes: U32
    crc32: U32 = doc("of all that follows this field")
    family: U8 = doc("FAMILY_...")
    flags: U8 = doc("PLAN_...")
    n_inputs: U8
    n_outputs: U8
    n_frames: U16
    n_tensors: U16
    n_rings: U16
    n_windows: U16
    n_nodes: U16
    n_operands: U16
    n_slots: U16 = doc("scratch areas that tensors share, one after the other")
    reserved: U16 = 0
    ring_bytes: U32 = doc("of one state")
    carry_bytes: U32 = doc("of one state: running sums of policies")
    max_taps: U32 = doc("rows that one output position reads, the largest over the nodes")
    window_frames: U32
    described_at: U32 = doc("tcn_description [n_tensors], tcn_node_description [n_nodes]; 0: none")
    names_at: U32 = doc("the model and its policy, then other names")
    names_bytes: U32
    program_crc32: U32 = doc("of the portable plan, whose snapshots these are as well; 0: this is it")


class FrameRecord(Record, c="tcn_frame"):
    """What the frames of tensors have in common.

    b input frames of the model make at most ceil(b * up / down) + extra new ones.
    """

    bytes: U32
    dtype: U32 = doc("TCN_F32 ...")
    up: U32
    down: U32
    extra: U32


class TensorRecord(Record, c="tcn_tensor_record"):
    """A tensor of the plan that is no constant: the nodes that read a constant hold it themselves."""

    frame: U16
    slot: U16 = doc("scratch area; TCN_NO_NUMBER for the model's inputs")


class RingRecord(Record, c="tcn_ring_record"):
    """What a stream remembers of a tensor between two pushes."""

    frames: U32
    at: U32 = doc("within the rings of a state")
    tensor: U16
    last_reader: U16 = doc("node after which the ring takes in the new frames")


class WindowRecord(Record, c="tcn_window"):
    """``compiler.plan.Window``."""

    up: I32
    stride: I32
    extent: I32
    pad_begin: I32
    pad_end: I32 = doc("TCN_SAME: as many frames as give ceil(frames / stride)")


class NodeRecord(Record, c="tcn_node_record"):
    """A node: its operation, its operands, its window and its arguments."""

    kind: U8 = doc("KIND_...")
    op: U8 = doc("which of the kind's functions")
    dtype: U8 = doc("of the first input")
    edge: U8 = doc("EDGE_...")
    n_inputs: U8
    n_outputs: U8
    loop: U16 = doc("the first node of a loop: how many nodes go together, frame by frame; 0 for all others", default=0)
    operands: U16 = doc("where they begin among those of all nodes: numbers of tensors, inputs first")
    window: U16
    fill: Blob = doc("a frame of padding of the first input; 0: none")
    args: Words


class Description(Record, c="tcn_description"):
    """A tensor as users see it."""

    tensor: TensorNumber
    rank: U16
    name: Text
    shape: Words = doc("of a frame: u32 [rank]")
    scale: F32 = doc("real = scale * (q - zero_point); 0 if not quantized")
    zero_point: I32


class NodeDescription(Record, c="tcn_node_description"):
    """An operation as it stands in the model file."""

    label: Text
    kind_name: Text
    index: I32 = doc("in the model file")


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


class SnapshotHead(Record, c="tcn_snapshot_head"):
    """The start of a snapshot; then the rings of all tensors, each in the order of time, the carries, and a CRC-32.

    Frames of a ring that were never there are anything. Sums that follow from the rings are made again from them, so a
    snapshot of another engine fits as well.
    """

    magic: Bytes8 = doc("TCN_SNAPSHOT_MAGIC", default=SNAPSHOT_MAGIC)
    plan_crc32: U32 = doc("of the plan's header")
    ended: U32
    frames: I64 = doc("pushed since the start")


class Kind(IntEnum):
    """An operation of the core; KIND_CONV is run by ``tcn_conv``, and so on."""

    arguments: type[Record] | None

    def __new__(cls, code: int, arguments: type[Record] | None = None) -> Self:
        made = int.__new__(cls, code)
        made._value_ = code
        made.arguments = arguments
        return made

    CONV = 1, Conv
    DEPTHWISE = 2, Conv
    TRANSPOSE_CONV = 3, Conv
    POOL = 4, Pool
    BINARY = 5, Binary
    UNARY = 6, Unary
    TABLE = 7, Table
    TABLE16 = 8, Table16
    SIGMOID16 = 9, Table16
    SOFTMAX = 10, Softmax
    MOVE = 11, Move
    TIME_MOVE = 12
    QUANTIZE = 13, RescaleIntegers
    RESCALE = 14, RescaleIntegers
    REDUCE = 15, Reduce
    TRAILING = 16, Reduce
    CUMULATIVE = 17, Reduce
    RESAMPLE = 18, Conv
    BINARY_SCALAR = 19, BinaryScalar
    SELECT = 20, Select
    UNARY_SCALAR = 21, UnaryScalar
    ARG_MIN_MAX = 22, Reduce
    PREVIOUS = 23, Previous
    SUMS16 = 24, Sums16
    LSTM_STEP = 25, Sums16
    SVDF_FILTER = 26, SvdfFilter
    INTERPOLATE = 27, Interpolate


RECORDS = (
    Header,
    FrameRecord,
    TensorRecord,
    RingRecord,
    WindowRecord,
    NodeRecord,
    Description,
    NodeDescription,
    Axis,
    Fours,
    Operands,
    BinaryFloat,
    *dict.fromkeys(k.arguments for k in Kind if k.arguments),
    MoveRun,
    SnapshotHead,
)
ENUMS: tuple[tuple[str, type[IntEnum]], ...] = (
    ("PLAN_", PlanFlag),
    ("FAMILY_", Family),
    ("KIND_", Kind),
    ("EDGE_", Edge),
    ("RESCALE_", Rescale),
    ("RESCALE_", RescaleOp),
    ("CONV_", ConvOp),
    ("BINARY_", BinaryOp),
    ("UNARY_", UnaryOp),
    ("SCALAR_", UnaryScalarOp),
    ("POOL_", PoolOp),
    ("RESAMPLE_", ResampleOp),
    ("SIGMOID_", SigmoidOp),
    ("SOFTMAX_", SoftmaxOp),
    ("TIME_", TimeMoveOp),
    ("STATISTIC_", Statistic),
    ("ARG_", ArgOp),
)
"""(prefix of its names in C, codes) of what stands in a plan file."""
