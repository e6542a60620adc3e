/* layout.h - the records of a plan file; written by `python -m tcnstream.engines.native.layout`. */
#ifndef TCN_LAYOUT_H
#define TCN_LAYOUT_H

#include "tcn.h"

/* All offsets (`..._at`) count bytes from the start of the plan; all fields are little-endian. */

#define TCN_PLAN_MAGIC "TCNPLAN\n"
#define TCN_SNAPSHOT_MAGIC "TCNSNAP\n"
#define TCN_VERSION 7u
#define TCN_NONE 0xFFFFFFFFu
#define TCN_NO_NUMBER 0xFFFFu
#define TCN_SAME INT32_MIN
#define TCN_ITEM_BYTES {4, 1, 2, 4, 8, 1, 1} /* of an element, by its type */
#define TCN_MOST_INTERPOLATED 4u /* frames that make one */
#define TCN_MAX_SOFTMAX_INTEGERS 2048u /* whose powers fit an int32 */
#define TCN_SUM_DIGITS 10u /* of an exact sum of float32: 32 bits in 64 each */

/* A C compiler that lays a record out otherwise stops here. */
#define TCN_HAS_SIZE(type, size) typedef char type##_has_its_size[sizeof(type) == (size) ? 1 : -1]

/* Bits of a header's `flags`. */
enum {
    PLAN_TFLM_ROUNDING = 1
};

/* Processors for whose instructions the int8 weights of a plan are packed; all run what is portable. */
enum {
    FAMILY_PORTABLE = 0, FAMILY_DSP = 1, FAMILY_HELIUM = 2
};

/* An operation of the core; KIND_CONV is run by `tcn_conv`, and so on. */
enum {
    KIND_CONV = 1, KIND_DEPTHWISE = 2, KIND_TRANSPOSE_CONV = 3, KIND_POOL = 4, KIND_BINARY = 5, KIND_UNARY = 6,
    KIND_TABLE = 7, KIND_TABLE16 = 8, KIND_SIGMOID16 = 9, KIND_SOFTMAX = 10, KIND_MOVE = 11, KIND_TIME_MOVE = 12,
    KIND_QUANTIZE = 13, KIND_RESCALE = 14, KIND_REDUCE = 15, KIND_TRAILING = 16, KIND_CUMULATIVE = 17,
    KIND_RESAMPLE = 18, KIND_BINARY_SCALAR = 19, KIND_SELECT = 20, KIND_UNARY_SCALAR = 21, KIND_ARG_MIN_MAX = 22,
    KIND_PREVIOUS = 23, KIND_SUMS16 = 24, KIND_LSTM_STEP = 25, KIND_SVDF_FILTER = 26, KIND_INTERPOLATE = 27
};

/* What a window sees beyond the ends of a signal; CLIP: nothing, it is shorter there; HOLD: the end's own frame. */
enum {
    EDGE_FILL = 0, EDGE_REFLECT = 1, EDGE_SYMMETRIC = 2, EDGE_CLIP = 3, EDGE_HOLD = 4
};

/* How the accumulators of a convolution become outputs.
 *
 * FLOAT: as they are; TWICE: a multiplication that rounds and a shift that rounds; WIDE: a product of 64 bits, rounded
 * once; EXACT: as in real numbers, rounded once; SHORT: as TWICE, where the plan's writer has found that every
 * accumulator stays below 2^30 and every shift goes right. */
enum {
    RESCALE_FLOAT = 0, RESCALE_TWICE = 1, RESCALE_WIDE = 2, RESCALE_EXACT = 3, RESCALE_SHORT = 4
};

/* What RESCALE makes of integers. */
enum {
    RESCALE_TO_INTEGER = 0, RESCALE_TO_FLOAT = 1
};

/* How the weights of CONV and DEPTHWISE stand. */
enum {
    CONV_PANELS = 0, CONV_FOURS = 1
};

/* BINARY has the first seven, BINARY_SCALAR all; the last two shift one operand by a power of two. */
enum {
    BINARY_ADD = 0, BINARY_SUB = 1, BINARY_MUL = 2, BINARY_DIV = 3, BINARY_MAXIMUM = 4, BINARY_MINIMUM = 5,
    BINARY_SQUARED_DIFFERENCE = 6, BINARY_PRELU = 7, BINARY_EQUAL = 8, BINARY_NOT_EQUAL = 9, BINARY_LESS = 10,
    BINARY_LESS_EQUAL = 11, BINARY_GREATER = 12, BINARY_GREATER_EQUAL = 13, BINARY_LOGICAL_AND = 14,
    BINARY_LOGICAL_OR = 15, BINARY_ADD_SHIFTED = 16, BINARY_SUB_SHIFTED = 17
};

/* Functions of one float32. */
enum {
    UNARY_LOGISTIC = 0, UNARY_TANH = 1, UNARY_EXP = 2, UNARY_NEG = 3, UNARY_RSQRT = 4, UNARY_SQRT = 5,
    UNARY_SQUARE = 6, UNARY_ABS = 7, UNARY_CLIP = 8, UNARY_LEAKY_RELU = 9, UNARY_HARD_SWISH = 10, UNARY_ELU = 11,
    UNARY_LOG = 12, UNARY_COPY = 13, UNARY_GELU = 14, UNARY_GELU_TANH = 15, UNARY_FLOOR = 16, UNARY_CEIL = 17,
    UNARY_ROUND = 18, UNARY_SIGN = 19
};

/* Functions of one value of any type; the last two are of integers with a scale. */
enum {
    SCALAR_CAST = 0, SCALAR_ABS = 1, SCALAR_NEG = 2, SCALAR_SIGN = 3, SCALAR_LOGICAL_NOT = 4,
    SCALAR_ABS_RESCALED = 5, SCALAR_LEAKY_RELU = 6
};

/* What a pool makes of its window; the halves of a mean of integers go away from 0, or (of int8) up. */
enum {
    POOL_MAX = 0, POOL_AVERAGE = 1, POOL_AVERAGE_UP = 2
};

/* Whose layout the weights of RESAMPLE have. */
enum {
    RESAMPLE_CONV = 0, RESAMPLE_DEPTHWISE = 1
};

/* The functions of SIGMOID16. */
enum {
    SIGMOID_LOGISTIC = 0, SIGMOID_TANH = 1
};

/* The functions of SOFTMAX. */
enum {
    SOFTMAX_SOFTMAX = 0, SOFTMAX_LOG_SOFTMAX = 1
};

/* What moves from frame to frame: padding, windows as frames, a frame into several, a frame several times. */
enum {
    TIME_PAD = 0, TIME_WINDOW = 1, TIME_UNFOLD = 2, TIME_REPEAT = 3
};

/* What REDUCE makes of values; TRAILING and CUMULATIVE have all but PRODUCT. */
enum {
    STATISTIC_MEAN = 0, STATISTIC_SUM = 1, STATISTIC_MAX = 2, STATISTIC_MIN = 3, STATISTIC_PRODUCT = 4
};

/* Whose place ARG_MIN_MAX finds. */
enum {
    ARG_MAX = 0, ARG_MIN = 1
};

/* The start of a plan file. */
typedef struct {
    uint8_t magic[8]; /* TCN_PLAN_MAGIC */
    uint32_t version;
    uint32_t bytes;
    uint32_t crc32; /* of all that follows this field */
    uint8_t family; /* FAMILY_... */
    uint8_t flags; /* PLAN_... */
    uint8_t n_inputs;
    uint8_t n_outputs;
    uint16_t n_frames;
    uint16_t n_tensors;
    uint16_t n_rings;
    uint16_t n_windows;
    uint16_t n_nodes;
    uint16_t n_operands;
    uint16_t n_slots; /* scratch areas that tensors share, one after the other */
    uint16_t reserved;
    uint32_t ring_bytes; /* of one state */
    uint32_t carry_bytes; /* of one state: running sums of policies */
    uint32_t max_taps; /* rows that one output position reads, the largest over the nodes */
    uint32_t window_frames;
    uint32_t described_at; /* tcn_description [n_tensors], tcn_node_description [n_nodes]; 0: none */
    uint32_t names_at; /* the model and its policy, then other names */
    uint32_t names_bytes;
    uint32_t program_crc32; /* of the portable plan, whose snapshots these are as well; 0: this is it */
} tcn_header;
TCN_HAS_SIZE(tcn_header, 72);

/* What the frames of tensors have in common.
 *
 * b input frames of the model make at most ceil(b * up / down) + extra new ones. */
typedef struct {
    uint32_t bytes;
    uint32_t dtype; /* TCN_F32 ... */
    uint32_t up;
    uint32_t down;
    uint32_t extra;
} tcn_frame;
TCN_HAS_SIZE(tcn_frame, 20);

/* A tensor of the plan that is no constant: the nodes that read a constant hold it themselves. */
typedef struct {
    uint16_t frame;
    uint16_t slot; /* scratch area; TCN_NO_NUMBER for the model's inputs */
} tcn_tensor_record;
TCN_HAS_SIZE(tcn_tensor_record, 4);

/* What a stream remembers of a tensor between two pushes. */
typedef struct {
    uint32_t frames;
    uint32_t at; /* within the rings of a state */
    uint16_t tensor;
    uint16_t last_reader; /* node after which the ring takes in the new frames */
} tcn_ring_record;
TCN_HAS_SIZE(tcn_ring_record, 12);

/* `compiler.plan.Window`. */
typedef struct {
    int32_t up;
    int32_t stride;
    int32_t extent;
    int32_t pad_begin;
    int32_t pad_end; /* TCN_SAME: as many frames as give ceil(frames / stride) */
} tcn_window;
TCN_HAS_SIZE(tcn_window, 20);

/* A node: its operation, its operands, its window and its arguments. */
typedef struct {
    uint8_t kind; /* KIND_... */
    uint8_t op; /* which of the kind's functions */
    uint8_t dtype; /* of the first input */
    uint8_t edge; /* EDGE_... */
    uint8_t n_inputs;
    uint8_t n_outputs;
    uint16_t loop; /* the first node of a loop: how many nodes go together, frame by frame; 0 for all others */
    uint16_t operands; /* where they begin among those of all nodes: numbers of tensors, inputs first */
    uint16_t window;
    uint32_t fill_at; /* a frame of padding of the first input; 0: none */
    uint32_t args_at;
} tcn_node_record;
TCN_HAS_SIZE(tcn_node_record, 20);

/* A tensor as users see it. */
typedef struct {
    uint16_t tensor;
    uint16_t rank;
    uint32_t name;
    uint32_t shape_at; /* of a frame: u32 [rank] */
    float scale; /* real = scale * (q - zero_point); 0 if not quantized */
    int32_t zero_point;
} tcn_description;
TCN_HAS_SIZE(tcn_description, 20);

/* An operation as it stands in the model file. */
typedef struct {
    uint32_t label;
    uint32_t kind_name;
    int32_t index; /* in the model file */
} tcn_node_description;
TCN_HAS_SIZE(tcn_node_description, 12);

/* How a window moves along the axis of frequency; behind the arguments of a convolution. */
typedef struct {
    uint32_t taps_f;
    uint32_t dilation_f; /* 0: all taps of the frequency read one place, for weights beyond int8 in several parts */
    uint32_t stride_f;
    int32_t pad_f;
    uint32_t f_in;
    uint32_t f_out;
    uint32_t edge_f_at; /* `channels` elements of padding */
} axis_args;
TCN_HAS_SIZE(axis_args, 28);

/* CONV and DEPTHWISE of CONV_FOURS: for a family of processors, one group, int8 and SHORT; CONV of int16 and WIDE.
 *
 * `weights` begins with columns: i32 biases with the input zero point folded in, i32 multipliers, and i8 shifts, on
 * DSP places to the right, on HELIUM the negative. Each has whole fours of outputs (HELIUM's DEPTHWISE: sixteens, in
 * the order 0 4 8 12, 2 6 10 14, 1 5 9 13, 3 7 11 15). The accumulators of int16 fit 32 bits, as the plan's writer has
 * found; its shifts are 0 and its multipliers are shifted so that an output is the rounded upper half of the product.
 * Behind the columns, filled up to a multiple of 16 bytes:
 * CONV weights:       (outputs / 4, taps * channels / block, 4, block), each quotient rounded up
 * DEPTHWISE weights:  DSP (outputs / 4, taps, 4), HELIUM (outputs / 16, taps, 16)
 * The block is 4 bytes on DSP and 16 on HELIUM, 8 for int16; the last one of four outputs has as many whole words as
 * are left. */
typedef struct {
    uint16_t taps; /* along time and frequency together */
    uint16_t dilation_t;
    uint16_t channels; /* per frame position */
    uint16_t outputs; /* per frame position */
    uint32_t weights_at;
    int16_t zero_out;
    int16_t low;
    int16_t high;
    uint16_t has_axis; /* as in conv_args */
} fours_args;
TCN_HAS_SIZE(fours_args, 20);

/* Operands that are no streams as they stand; behind the arguments of BINARY. */
typedef struct {
    uint32_t constant_at[2]; /* 0: a stream, else a whole frame of constants */
    uint32_t index_at[2]; /* 0: as it stands, else u32 [elements], which element of the operand to take */
} operands_args;
TCN_HAS_SIZE(operands_args, 16);

/* BINARY of float32: begins as `Binary`. */
typedef struct {
    uint32_t elements;
    uint8_t has_operands;
    uint8_t reserved[3];
    float low_f;
    float high_f;
} binary_float_args;
TCN_HAS_SIZE(binary_float_args, 16);

/* CONV, TRANSPOSE_CONV, DEPTHWISE, RESAMPLE (`up` sets of weights, each filled up to a multiple of 64 bytes).
 *
 * A convolution's outputs stand in panels of 16, then 8 or 4 for the rest (`panel_width` in kernels/kernels.h).
 * CONV weights, per group and panel of width w:  f32 (taps, channels, w)
 *                                                i8, i16 (taps, ceil(channels / 4), w, 4)
 * DEPTHWISE weights: (taps, outputs). Per-output arrays have panel_total(outputs / groups) entries per
 * group (DEPTHWISE: outputs).
 * What FLOAT has no use of may be other data of the plan, where no axis_args stands behind. */
typedef struct {
    uint32_t taps_t;
    uint32_t taps_f;
    uint32_t dilation_t;
    uint32_t channels; /* per frame position, over all groups */
    uint32_t groups;
    uint32_t outputs; /* per frame position, over all groups */
    uint32_t weights_at;
    uint32_t bias_at; /* f32, i32 (input zero point folded in) or i64 */
    float low_f;
    float high_f;
    uint16_t rescale; /* RESCALE_... */
    uint16_t has_axis; /* 1: an axis_args stands behind, always of TRANSPOSE_CONV; 0: a position is a frame */
    uint32_t bias_u8_at; /* from here on of integers alone; i8, portable: the bias for activations shifted by 128 */
    uint32_t multiplier_at; /* i32; EXACT: i64 mantissas */
    uint32_t shift_at; /* i32; EXACT: exponents */
    int16_t zero_out;
    int16_t low;
    int16_t high;
    uint16_t reserved;
} conv_args;
TCN_HAS_SIZE(conv_args, 64);

/* POOL (POOL_...). */
typedef struct {
    uint32_t taps_t;
    uint32_t taps_f;
    uint32_t stride_f;
    int32_t pad_f;
    uint32_t f_in;
    uint32_t f_out;
    uint32_t channels;
    int32_t low;
    int32_t high;
    float low_f;
    float high_f;
} pool_args;
TCN_HAS_SIZE(pool_args, 44);

/* BINARY (BINARY_...) of int8 and int16. */
typedef struct {
    uint32_t elements;
    uint8_t has_operands; /* 1: an operands_args stands behind; 0: both are streams as they stand */
    int8_t shift_out;
    int16_t left_shift;
    int32_t multiplier[2];
    int32_t multiplier_out;
    int16_t zero[2];
    int16_t zero_out;
    int16_t low;
    int16_t high;
    int8_t shift[2];
} binary_args;
TCN_HAS_SIZE(binary_args, 32);

/* UNARY (UNARY_...): p0 and p1 are the ends of CLIP; p0 the slope of LEAKY_RELU. */
typedef struct {
    uint32_t elements;
    float p0;
    float p1;
} unary_args;
TCN_HAS_SIZE(unary_args, 12);

/* TABLE: every answer to an int8 or uint8. */
typedef struct {
    uint32_t elements;
    uint32_t out_bytes;
    uint32_t table_at; /* (256, out_bytes), by the raw value as uint8 */
} table_args;
TCN_HAS_SIZE(table_args, 12);

/* TABLE16, SIGMOID16 (SIGMOID_...): answers to an int16 between those in a table. */
typedef struct {
    uint32_t elements;
    uint32_t table_at; /* TABLE16: i16 [513]; SIGMOID16: u16 [256] */
    int32_t multiplier; /* SIGMOID16 */
    int32_t shift; /* SIGMOID16 */
} table16_args;
TCN_HAS_SIZE(table16_args, 16);

/* SOFTMAX (SOFTMAX_...). */
typedef struct {
    uint32_t rows;
    uint32_t depth;
    float beta;
    int32_t multiplier;
    int32_t shift;
    int32_t radius;
    int32_t low;
    uint32_t exp_at; /* i16 [513] */
    uint32_t inverse_at; /* i16 [513] */
    int32_t inverse_multiplier; /* i8, LOG_SOFTMAX: 1 / multiplier */
    int32_t inverse_shift;
} softmax_args;
TCN_HAS_SIZE(softmax_args, 44);

/* MOVE: runs of bytes from the inputs to the outputs. */
typedef struct {
    uint32_t constant_at; /* a whole frame of the only output; 0: the runs cover all */
    uint32_t n_runs;
    uint32_t runs_at; /* move_run [n_runs] */
} move_args;
TCN_HAS_SIZE(move_args, 12);

/* QUANTIZE: f32 to integers; RESCALE (RESCALE_TO_...): integers of another scale to integers or to f32. */
typedef struct {
    uint32_t elements;
    float scale;
    int32_t zero_in;
    int32_t multiplier;
    int32_t shift;
    int32_t zero_out;
    int32_t low;
    int32_t high;
} rescale_args;
TCN_HAS_SIZE(rescale_args, 32);

/* REDUCE, TRAILING, CUMULATIVE (STATISTIC_...), ARG_MIN_MAX (ARG_...; outputs, count and index alone). */
typedef struct {
    uint32_t outputs; /* how many statistics */
    uint32_t count; /* values of a frame in each */
    uint32_t index_at; /* u32 (outputs, count): elements of the input frame */
    int32_t zero_in;
    int32_t multiplier;
    int32_t shift;
    int32_t zero_out;
    int32_t low;
    int32_t high;
    uint32_t carry_at; /* TRAILING, CUMULATIVE: in the carries of a state */
} reduce_args;
TCN_HAS_SIZE(reduce_args, 40);

/* BINARY_SCALAR (BINARY_...).
 *
 * left_shift 0 compares raw values; multiplier_out 0 is for integers without a scale, and low and high then only count
 * where they are not the ends of int32. */
typedef struct {
    uint32_t elements;
    uint32_t constant_at[2]; /* as in operands_args */
    uint32_t index_at[2];
    int32_t zero[2];
    int32_t left_shift;
    int32_t multiplier[2];
    int32_t shift[2];
    int32_t multiplier_out;
    int32_t shift_out;
    int32_t zero_out;
    int32_t low;
    int32_t high;
} binary_scalar_args;
TCN_HAS_SIZE(binary_scalar_args, 68);

/* SELECT: the condition, what is taken where it holds, what where it does not. */
typedef struct {
    uint32_t elements;
    uint32_t constant_at[3]; /* as in operands_args */
    uint32_t index_at[3];
} select_args;
TCN_HAS_SIZE(select_args, 28);

/* UNARY_SCALAR (SCALAR_...); LEAKY_RELU has a multiplier of its own for what is negative, which may be negative. */
typedef struct {
    uint32_t elements;
    int32_t zero_in;
    int32_t multiplier;
    int32_t shift;
    int32_t multiplier_negative;
    int32_t shift_negative;
    int32_t zero_out;
    int32_t low;
    int32_t high;
} unary_scalar_args;
TCN_HAS_SIZE(unary_scalar_args, 36);

/* PREVIOUS: frame j is frame j - 1 of another tensor, which may be made later; frame 0 stands in the plan. */
typedef struct {
    uint16_t shown; /* the tensor */
    uint16_t reserved;
    uint32_t start_at;
} previous_args;
TCN_HAS_SIZE(previous_args, 8);

/* SUMS16: a dense layer of int8 with int16 outputs; LSTM_STEP: that of an LSTM's output before, and its step. */
typedef struct {
    uint32_t depth;
    uint32_t outputs;
    uint32_t weights_at; /* i8 (outputs, depth) */
    uint32_t bias_at; /* i32, input zero point folded in */
    uint32_t multiplier_at; /* i32 [outputs] */
    uint32_t shift_at; /* i32 [outputs] */
    uint32_t gates; /* LSTM_STEP: 4, or 3 where the entry is what the forget gate leaves */
    uint32_t cell_bits; /* integer bits of the cell's state */
    int32_t clip; /* of the cell's state, 0: none */
    int32_t multiplier_out;
    int32_t shift_out;
    int32_t zero_out;
} sums16_args;
TCN_HAS_SIZE(sums16_args, 48);

/* SVDF_FILTER. */
typedef struct {
    uint32_t rank; /* filters that are summed */
    uint32_t weights_at; /* i16 (extent, filters) */
    uint32_t bias_at; /* i32 */
    int32_t multiplier;
    int32_t shift;
    int32_t zero_out;
} svdf_filter_args;
TCN_HAS_SIZE(svdf_filter_args, 24);

/* INTERPOLATE: integers between those of neighbouring frames, ties away from zero. */
typedef struct {
    uint32_t taps;
    uint32_t weights_at; /* i16 (up, taps), in 1/1024; 0 for a frame that is not read */
} interpolate_args;
TCN_HAS_SIZE(interpolate_args, 8);

/* Bytes that stay side by side, and as many others at equal distances. */
typedef struct {
    uint8_t operand;
    uint8_t output;
    uint16_t times;
    uint32_t begin;
    uint32_t to;
    uint32_t count;
    int32_t begin_step; /* bytes from one time to the next */
    int32_t to_step;
} move_run;
TCN_HAS_SIZE(move_run, 24);

/* The start of a snapshot; then the rings of all tensors, each in the order of time, the carries, and a CRC-32.
 *
 * Frames of a ring that were never there are anything. Sums that follow from the rings are made again from them, so a
 * snapshot of another engine fits as well. */
typedef struct {
    uint8_t magic[8]; /* TCN_SNAPSHOT_MAGIC */
    uint32_t plan_crc32; /* of the plan's header */
    uint32_t ended;
    int64_t frames; /* pushed since the start */
} tcn_snapshot_head;
TCN_HAS_SIZE(tcn_snapshot_head, 24);

/* X(kind, the tcn_operation that runs it); a build for some plans alone says which they need. */
#ifdef TCN_ONLY
#include TCN_ONLY
#else
#define TCN_OPERATIONS(X) \
    X(CONV, tcn_conv) \
    X(DEPTHWISE, tcn_depthwise) \
    X(TRANSPOSE_CONV, tcn_transpose_conv) \
    X(POOL, tcn_pool) \
    X(BINARY, tcn_binary) \
    X(UNARY, tcn_unary) \
    X(TABLE, tcn_table) \
    X(TABLE16, tcn_table16) \
    X(SIGMOID16, tcn_sigmoid16) \
    X(SOFTMAX, tcn_softmax) \
    X(MOVE, tcn_move) \
    X(TIME_MOVE, tcn_time_move) \
    X(QUANTIZE, tcn_quantize) \
    X(RESCALE, tcn_rescale) \
    X(REDUCE, tcn_reduce) \
    X(TRAILING, tcn_trailing) \
    X(CUMULATIVE, tcn_cumulative) \
    X(RESAMPLE, tcn_resample) \
    X(BINARY_SCALAR, tcn_binary_scalar) \
    X(SELECT, tcn_select) \
    X(UNARY_SCALAR, tcn_unary_scalar) \
    X(ARG_MIN_MAX, tcn_arg_min_max) \
    X(PREVIOUS, tcn_previous) \
    X(SUMS16, tcn_sums16) \
    X(LSTM_STEP, tcn_lstm_step) \
    X(SVDF_FILTER, tcn_svdf_filter) \
    X(INTERPOLATE, tcn_interpolate)
#endif

#define TCN_LAYOUT 0xE0887E6Eu /* of these two headers */

#endif
