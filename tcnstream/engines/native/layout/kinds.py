"""The operations of the core: which number each has in a plan file, and which record its arguments are."""

from enum import IntEnum
from typing import Self

from tcnstream.engines.native.layout.arguments import (
    Binary,
    BinaryScalar,
    Conv,
    Interpolate,
    Move,
    Pool,
    Previous,
    Reduce,
    RescaleIntegers,
    Select,
    Softmax,
    Sums16,
    SvdfFilter,
    Table,
    Table16,
    Unary,
    UnaryScalar,
)
from tcnstream.engines.native.layout.record import Record


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
