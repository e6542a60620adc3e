/* codes.h - error codes, element types and limits of the core; written by `python -m tcnstream.engines.native.layout`. */
#ifndef TCN_CODES_H
#define TCN_CODES_H

/* What a function returns. */
enum {
    TCN_OK = 0, /* no error */
    TCN_TRUNCATED = 1, /* the plan is cut short */
    TCN_MAGIC = 2, /* these bytes are no plan of this version */
    TCN_CHECKSUM = 3, /* the plan is damaged */
    TCN_BOUNDS = 4, /* the plan points outside of itself */
    TCN_VALUE = 5, /* the plan holds a value that no writer makes */
    TCN_UNKNOWN = 6, /* the plan has an operation that this core lacks */
    TCN_ALIGNMENT = 7, /* memory is not aligned */
    TCN_STATE_SIZE = 8, /* the state memory is too small */
    TCN_SCRATCH_SIZE = 9, /* the scratch memory is too small */
    TCN_ROOM = 10, /* the output buffer is too small */
    TCN_ENDED = 11, /* the signal has ended; call reset() first */
    TCN_SHORT = 12, /* the signal ended before a mirrored edge had the frames that it mirrors */
    TCN_NO_STATE = 13, /* the state was never initialised */
    TCN_SNAPSHOT = 14, /* the snapshot is damaged or belongs to another model */
    TCN_ISA = 15, /* this processor lacks the instructions asked for */
    TCN_PLAN = 16, /* the state belongs to another plan */
    TCN_FAMILY = 17, /* the plan is packed for another family of processors */
};

/* X(code, text) for each, in order. */
#define TCN_ERRORS(X) \
    X(TCN_OK, "no error") \
    X(TCN_TRUNCATED, "the plan is cut short") \
    X(TCN_MAGIC, "these bytes are no plan of this version") \
    X(TCN_CHECKSUM, "the plan is damaged") \
    X(TCN_BOUNDS, "the plan points outside of itself") \
    X(TCN_VALUE, "the plan holds a value that no writer makes") \
    X(TCN_UNKNOWN, "the plan has an operation that this core lacks") \
    X(TCN_ALIGNMENT, "memory is not aligned") \
    X(TCN_STATE_SIZE, "the state memory is too small") \
    X(TCN_SCRATCH_SIZE, "the scratch memory is too small") \
    X(TCN_ROOM, "the output buffer is too small") \
    X(TCN_ENDED, "the signal has ended; call reset() first") \
    X(TCN_SHORT, "the signal ended before a mirrored edge had the frames that it mirrors") \
    X(TCN_NO_STATE, "the state was never initialised") \
    X(TCN_SNAPSHOT, "the snapshot is damaged or belongs to another model") \
    X(TCN_ISA, "this processor lacks the instructions asked for") \
    X(TCN_PLAN, "the state belongs to another plan") \
    X(TCN_FAMILY, "the plan is packed for another family of processors")

/* Families of processors for which plans are packed, by the number in a plan's header. */
#define TCN_FAMILIES {"portable", "cortex-m-dsp", "cortex-m-helium"}

/* The type of an element. */
enum {
    TCN_F32 = 0, TCN_I8 = 1, TCN_I16 = 2, TCN_I32 = 3, TCN_I64 = 4, TCN_BOOL = 5, TCN_U8 = 6
};

/* Inputs or outputs, at most: of a model, of an operation. */
enum { TCN_MAX_PORTS = 16, TCN_MAX_OPERANDS = 64 };

#endif
