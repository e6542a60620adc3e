/* format.h - the records of a plan file; tcnstream/engines/native/planfile.py writes and describes them.
 * All offsets (`..._at`) count bytes from the start of the plan; all fields are little-endian. */
#ifndef TCN_FORMAT_H
#define TCN_FORMAT_H

#include "tcn.h"

#define TCN_VERSION 1u
#define TCN_NONE 0xFFFFFFFFu
#define TCN_SAME INT32_MIN /* pad_end: as many frames as give ceil(frames / stride) */

typedef struct {
    uint8_t magic[8]; /* "TCNPLAN\n" */
    uint32_t version;
    uint32_t bytes;
    uint32_t crc32;   /* of all that follows this field */
    uint32_t flags;   /* bit 0: rounding is TFLite Micro's */
    uint32_t n_tensors, tensors_at;
    uint32_t n_nodes, nodes_at;
    uint32_t n_inputs, n_outputs, ports_at; /* u32 tensor numbers, inputs first */
    uint32_t n_slots;      /* scratch areas that tensors share, one after the other */
    uint32_t n_rings;
    uint32_t ring_bytes;   /* of one state */
    uint32_t carry_bytes;  /* of one state: running sums of policies */
    uint32_t max_taps;     /* rows that one output position reads, the largest over the nodes */
    uint32_t names_at, names_bytes; /* NUL-terminated UTF-8 */
    uint32_t identity;     /* offset in names */
    uint32_t window_frames;
    uint32_t reserved[2];
} tcn_header;

typedef struct {
    uint32_t name;
    uint8_t dtype, rank;
    uint16_t flags;                /* bit 0: a constant, which the nodes hold themselves */
    uint32_t shape[4];
    uint32_t elements, bytes;      /* of a frame */
    uint32_t ring_frames, ring_at, ring; /* ring_at within the rings of a state; ring: its number */
    uint32_t grow_up, grow_down, grow_extra; /* at most b * up / down + extra new frames for b input frames */
    uint32_t slot;                 /* scratch area; TCN_NONE for the model's inputs */
    uint32_t last_reader;          /* node after which the ring takes in the new frames; TCN_NONE: none */
    uint32_t writer;               /* node, TCN_NONE for the model's inputs */
    float scale;
    int32_t zero_point;
    uint32_t reserved;
} tcn_tensor_record;

typedef struct {
    uint16_t kind;
    uint8_t op, dtype;             /* dtype of the first input */
    uint32_t label, kind_name;     /* offsets in names */
    int32_t index;
    uint16_t n_inputs, n_outputs;
    uint32_t operands_at;          /* u32 tensor numbers, inputs first */
    int32_t up, stride, extent, pad_begin, pad_end;
    uint32_t edge;                 /* 0 fill, 1 reflect, 2 symmetric, 3 clip */
    uint32_t fill_at;              /* a frame of padding of the first input; 0: none */
    uint32_t args_at, args_bytes;
    uint32_t reserved[2];
} tcn_node_record;

enum {
    KIND_CONV = 1, KIND_DEPTHWISE, KIND_TRANSPOSE_CONV, KIND_POOL, KIND_BINARY, KIND_UNARY, KIND_TABLE,
    KIND_TABLE16, KIND_SIGMOID16, KIND_SOFTMAX, KIND_MOVE, KIND_TIME_MOVE, KIND_QUANTIZE, KIND_RESCALE,
    KIND_REDUCE, KIND_TRAILING, KIND_CUMULATIVE, KIND_RESAMPLE, KIND_PAIR, KIND_SELECT,
    KIND_VALUE, KIND_EXTREME
};

enum { EDGE_FILL = 0, EDGE_REFLECT, EDGE_SYMMETRIC, EDGE_CLIP };

enum { RESCALE_FLOAT = 0, RESCALE_TWICE, RESCALE_WIDE, RESCALE_EXACT };

/* A convolution's outputs stand in panels of 16, then 8 or 4 for the rest; `panel_width` says which. */
static inline uint32_t panel_width(uint32_t rest) { return rest > 12 ? 16 : rest > 4 ? 8 : 4; }

static inline uint32_t panel_total(uint32_t outputs)
{
    uint32_t total = 0, done = 0;
    while (done < outputs) {
        uint32_t w = panel_width(outputs - done);
        done += w;
        total += w;
    }
    return total;
}

/* CONV, TRANSPOSE_CONV, DEPTHWISE, RESAMPLE (op 0: a CONV's weights, 1: a DEPTHWISE's, `up` sets, each of
 * `weights_bytes`, a multiple of 64).
 * CONV weights, per group and panel of width w:  f32 (taps, channels, w)
 *                                                i8, i16 (taps, ceil(channels / 4), w, 4)
 * DEPTHWISE weights: (taps, outputs). Per-output arrays have panel_total(outputs / groups) entries per
 * group (DEPTHWISE: outputs). */
typedef struct {
    uint32_t taps_t, taps_f, dilation_t, dilation_f, stride_f;
    int32_t pad_f;
    uint32_t f_in, f_out;
    uint32_t channels, groups, outputs; /* per frame position; over all groups */
    uint32_t weights_at, weights_bytes;
    uint32_t bias_at;      /* f32, i32 (input zero point folded in) or i64 */
    uint32_t bias_u8_at;   /* i8: the same for activations shifted by 128 */
    uint32_t rescale;
    uint32_t multiplier_at, shift_at; /* i32 and i32; EXACT: i64 mantissa and i32 exponent */
    int32_t zero_out, low, high;
    float low_f, high_f;
    uint32_t edge_f_at;    /* `channels` elements of frequency padding */
    uint32_t pad_t;        /* TRANSPOSE_CONV: output frames cut off at the start */
} conv_args; /* dilation_f 0: all taps of the frequency read the same place, for weights beyond int8 in several parts */

typedef struct {
    uint32_t taps_t, taps_f, stride_f;
    int32_t pad_f;
    uint32_t f_in, f_out, channels;
    int32_t low, high;
    float low_f, high_f;
} pool_args; /* op: 0 max, 1 average */

enum { OP_ADD = 0, OP_SUB, OP_MUL, OP_DIV, OP_MAXIMUM, OP_MINIMUM, OP_SQUARED_DIFFERENCE,
       /* PAIR alone */
       OP_PRELU, OP_EQUAL, OP_NOT_EQUAL, OP_LESS, OP_LESS_EQUAL, OP_GREATER, OP_GREATER_EQUAL, OP_AND, OP_OR,
       OP_ADD_SHIFTED, OP_SUB_SHIFTED };

typedef struct {
    uint32_t elements;
    uint32_t const_at[2];  /* 0: a stream, else a whole frame of constants */
    uint32_t index_at[2];  /* 0: as it stands, else u32 [elements], which element of the operand to take */
    int32_t zero[2], left_shift;
    int32_t multiplier[2], shift[2];
    int32_t multiplier_out, shift_out, zero_out, low, high;
    float low_f, high_f;
} binary_args; /* PAIR: left_shift 0 compares raw values; multiplier_out 0 is for integers without a scale, and low and
                * high then only count where they are not the ends of int32 */

typedef struct {
    uint32_t elements;
    uint32_t const_at[3], index_at[3]; /* as for binary_args: condition, where it holds, where not */
} select_args;

enum { VALUE_CAST = 0, VALUE_ABSOLUTE, VALUE_NEGATIVE, VALUE_SIGN, VALUE_NOT, VALUE_MAGNITUDE, VALUE_SLOPES };

/* MAGNITUDE and SLOPES rescale; SLOPES what is negative by a multiplier of its own, which may be negative. */
typedef struct {
    uint32_t elements;
    int32_t zero_in, multiplier, shift, multiplier_negative, shift_negative, zero_out, low, high;
} value_args;

enum { OP_LOGISTIC = 0, OP_TANH, OP_EXP, OP_NEG, OP_RSQRT, OP_SQRT, OP_SQUARE, OP_ABS, OP_CLIP, OP_LEAKY,
       OP_HARD_SWISH, OP_ELU, OP_LOG, OP_COPY, OP_GELU, OP_GELU_TANH, OP_FLOOR, OP_CEIL, OP_ROUND, OP_SIGN };

typedef struct {
    uint32_t elements;
    float p0, p1;
} unary_args;

typedef struct {
    uint32_t elements, out_bytes, table_at; /* (256, out_bytes), by the raw value as uint8 */
} table_args;

typedef struct {
    uint32_t elements, table_at; /* TABLE16: i16 [513]; SIGMOID16: u16 [256] */
    int32_t multiplier, shift;   /* SIGMOID16 */
} table16_args; /* SIGMOID16 op: 0 logistic, 1 tanh */

typedef struct {
    uint32_t rows, depth;
    float beta;
    int32_t multiplier, shift, radius, low;
    uint32_t exp_at, inverse_at; /* i16: tables of 513 */
    int32_t inverse_multiplier, inverse_shift; /* i8, LOG_SOFTMAX: 1 / multiplier */
} softmax_args; /* op 1: LOG_SOFTMAX */

typedef struct {
    uint32_t element_bytes, constant_at; /* constant_at: a whole frame of the only output, 0: the runs cover all */
    uint32_t n_runs, runs_at;            /* move_run [n_runs] */
} move_args;

typedef struct {
    uint32_t operand, output, from, to, count; /* elements */
} move_run;

enum { MOVE_PICK = 0, MOVE_WINDOW, MOVE_UNFOLD, MOVE_REPEAT };

typedef struct {
    uint32_t elements;
    float scale;
    int32_t zero_in, multiplier, shift, zero_out, low, high;
} rescale_args; /* QUANTIZE: f32 to integers; RESCALE: integers of another scale, or (op 1) to f32 */

enum { STATISTIC_MEAN = 0, STATISTIC_SUM, STATISTIC_MAX, STATISTIC_MIN, STATISTIC_PRODUCT };

typedef struct {
    uint32_t outputs, count;             /* statistics, values of a frame in each */
    uint32_t index_at;                   /* u32 (outputs, count): elements of the input frame */
    int32_t zero_in, multiplier, shift, zero_out, low, high;
    uint32_t carry_at;                   /* TRAILING, CUMULATIVE: in the carries of a state */
} reduce_args; /* EXTREME (op 0 the greatest, 1 the least): outputs, count and index alone */

#endif
