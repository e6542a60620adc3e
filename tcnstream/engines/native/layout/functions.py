"""Which function of its kind a node computes: the codes of ``NodeRecord.op``, an enumeration a kind or several."""

from enum import IntEnum


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


class StatisticOp(IntEnum):
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
