"""What a user of ``tcn.h`` sees: error codes and their texts, families of processors, element types, most ports."""

from enum import IntEnum
from typing import Self

MAX_PORTS = 16
MAX_OPERANDS = 64


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
