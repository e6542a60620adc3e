/* convolution.c - CONV, DEPTHWISE and TRANSPOSE_CONV: rows of positions are collected and handed to the kernel
 * when the table is full. */
#include "operation.h"

/* How a window moves along time and frequency, of weights in panels or in fours. */
typedef struct {
    uint32_t taps_t, taps_f, dilation_t, dilation_f, stride_f;
    int32_t pad_f;
    uint32_t f_in, f_out, channels, outputs;
    uint32_t edge_f_at;
} conv_shape;

static int is_fours(const tcn_node_record *node)
{
    return node->op == CONV_FOURS && (node->kind == KIND_CONV || node->kind == KIND_DEPTHWISE);
}

/* A position is a frame. */
static int without_frequency(const conv_args *a) { return a->f_out == 1 && a->taps_f == 1 && a->pad_f == 0; }

static int moves_along_frequency(const tcn_program *p, const tcn_node_record *node)
{
    return is_fours(node) ? ARGS(fours_args)->axis_at != 0 : !without_frequency(ARGS(conv_args));
}

static conv_shape shape_of(const tcn_program *p, const tcn_node_record *node)
{
    const conv_args *a = ARGS(conv_args);
    if (is_fours(node)) {
        const fours_args *f = ARGS(fours_args);
        const fours_axis *x = IN_PLAN(fours_axis, f->axis_at);
        if (TCN_NEEDED(PLACES) && f->axis_at)
            return (conv_shape){f->taps / x->taps_f, x->taps_f, f->dilation_t, x->dilation_f, x->stride_f, x->pad_f, x->f_in, x->f_out,
                                f->channels, f->outputs, x->edge_f_at};
        return (conv_shape){f->taps, 1, f->dilation_t, 1, 1, 0, 1, 1, f->channels, f->outputs, 0};
    }
    return (conv_shape){a->taps_t, a->taps_f, a->dilation_t, a->dilation_f, a->stride_f, a->pad_f, a->f_in, a->f_out,
                        a->channels, a->outputs, a->edge_f_at};
}

/* A convolution that is packed for a family of processors. */
TCN_RARELY static int check_fours(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    int helium = c->h->family == FAMILY_HELIUM, depthwise = n->kind == KIND_DEPTHWISE, wide = n->dtype == TCN_I16;
    uint32_t block = !helium ? 4 : wide ? 8 : 16, at_once = depthwise ? block : 4, i, taps_t, f_in = 1, f_out = 1;
    uint64_t outputs, weights;
    const int8_t *shift;
    ARGUMENTS(fours_args);
    REQUIRE(n->op == CONV_FOURS && c->h->family != FAMILY_PORTABLE && output_of(c)->dtype == n->dtype, &n->op, TCN_VALUE);
    REQUIRE(n->dtype == TCN_I8 || (wide && !depthwise), &n->dtype, TCN_VALUE);
    REQUIRE(n->up == 1 && n->edge == EDGE_FILL, &n->up, TCN_VALUE);
    REQUIRE(a->taps > 0 && a->taps <= c->h->max_taps, &a->taps, TCN_BOUNDS);
    REQUIRE(a->dilation_t > 0 && a->dilation_t <= MOST_FRAMES, &a->dilation_t, TCN_VALUE);
    REQUIRE(a->channels > 0 && a->channels <= MOST_ELEMENTS && a->outputs > 0 && a->outputs <= MOST_ELEMENTS, &a->channels, TCN_VALUE);
    REQUIRE(!depthwise || a->channels == a->outputs, &a->outputs, TCN_VALUE);
    REQUIRE((uint64_t)a->taps * a->channels <= c->h->bytes, &a->taps, TCN_BOUNDS);
    taps_t = a->taps;
    if (a->axis_at) {
        const fours_axis *x = (const fours_axis *)(const void *)(c->plan + a->axis_at);
        REQUIRE(TCN_NEEDED(PLACES), &a->axis_at, TCN_UNKNOWN);
        REQUIRE(holds(c, a->axis_at, sizeof *x / 4, 4), &a->axis_at, TCN_BOUNDS);
        REQUIRE(x->taps_f > 0 && a->taps % x->taps_f == 0, &x->taps_f, TCN_VALUE);
        REQUIRE(x->dilation_f <= MOST_FRAMES, &x->dilation_f, TCN_VALUE);
        REQUIRE(x->stride_f > 0 && x->stride_f <= MOST_FRAMES, &x->stride_f, TCN_VALUE);
        REQUIRE(x->pad_f > -MOST_FRAMES && x->pad_f < MOST_FRAMES, &x->pad_f, TCN_VALUE);
        REQUIRE(holds(c, x->edge_f_at, a->channels, wide ? 2 : 1), &x->edge_f_at, TCN_BOUNDS);
        taps_t /= x->taps_f;
        f_in = x->f_in;
        f_out = x->f_out;
    }
    REQUIRE((uint64_t)f_in * a->channels == elements_of(input_of(c, 0)), &a->channels, TCN_VALUE);
    REQUIRE((uint64_t)f_out * a->outputs == elements_of(output_of(c)), &a->outputs, TCN_VALUE);
    REQUIRE((int64_t)(taps_t - 1) * a->dilation_t + 1 <= n->extent, &n->extent, TCN_VALUE);
    outputs = (uint64_t)(a->outputs + at_once - 1) / at_once * at_once;
    weights = outputs * (depthwise ? a->taps : (a->taps * a->channels + block - 1) / block * block);
    REQUIRE(a->weights_at % 16 == 0 && holds(c, a->weights_at, weights, 1), &a->weights_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->columns_at, outputs / 4 * 9, 4), &a->columns_at, TCN_BOUNDS);
    shift = (const int8_t *)(c->plan + a->columns_at + 8 * outputs);
    for (i = 0; i < outputs; i++)
        REQUIRE(helium ? shift[i] <= 0 && shift[i] >= -31 : shift[i] >= 0 && shift[i] <= 31, shift + i, TCN_VALUE);
    return TCN_OK;
}

TCN_RARELY static int check_panels(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    const tcn_tensor_record *x = input_of(c, 0), *y = output_of(c);
    uint64_t taps, per_output, weights, sets = n->kind == KIND_RESAMPLE ? (uint64_t)n->up : 1, item = n->dtype == TCN_F32 ? 4 : n->dtype == TCN_I8 ? 1 : 2;
    uint32_t each;
    int depthwise = n->kind == KIND_DEPTHWISE || (n->kind == KIND_RESAMPLE && n->op == RESAMPLE_DEPTHWISE);
    ARGUMENTS(conv_args);
    REQUIRE(n->dtype <= TCN_I16 && y->dtype == n->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(a->taps_t > 0 && a->taps_f > 0 && a->taps_t <= 1u << 20 && a->taps_f <= 1u << 20, &a->taps_t, TCN_VALUE);
    taps = (uint64_t)a->taps_t * a->taps_f;
    REQUIRE(taps <= c->h->max_taps, &a->taps_t, TCN_BOUNDS);
    REQUIRE(a->dilation_t > 0 && a->dilation_t <= MOST_FRAMES, &a->dilation_t, TCN_VALUE);
    REQUIRE(a->dilation_f <= MOST_FRAMES, &a->dilation_f, TCN_VALUE);
    REQUIRE(a->stride_f > 0 && a->stride_f <= MOST_FRAMES, &a->stride_f, TCN_VALUE);
    REQUIRE(a->pad_f > -MOST_FRAMES && a->pad_f < MOST_FRAMES, &a->pad_f, TCN_VALUE);
    REQUIRE(a->channels > 0 && a->channels <= MOST_ELEMENTS && a->outputs > 0 && a->outputs <= MOST_ELEMENTS, &a->channels, TCN_VALUE);
    REQUIRE(a->groups > 0 && a->channels % a->groups == 0 && a->outputs % a->groups == 0, &a->groups, TCN_VALUE);
    REQUIRE((uint64_t)a->f_in * a->channels == elements_of(x), &a->f_in, TCN_VALUE);
    REQUIRE((uint64_t)a->f_out * a->outputs == elements_of(y), &a->f_out, TCN_VALUE);
    if (n->kind == KIND_TRANSPOSE_CONV) {
        REQUIRE(n->stride == 1 && a->pad_t < MOST_FRAMES && n->edge == EDGE_FILL, &a->pad_t, TCN_VALUE);
        /* The taps read what the Window says, which is what the rings keep. */
        REQUIRE(a->taps_t <= (uint32_t)n->extent && (int64_t)a->pad_t + n->pad_begin == (int64_t)a->taps_t - 1, &a->pad_t, TCN_VALUE);
    } else if (n->kind == KIND_RESAMPLE) {
        REQUIRE(n->op <= RESAMPLE_DEPTHWISE && n->dtype == TCN_F32 && (n->edge == EDGE_FILL || n->edge == EDGE_HOLD), &n->op, TCN_VALUE);
        REQUIRE(a->taps_f == 1 && a->dilation_t == 1 && a->f_out == 1, &a->taps_f, TCN_VALUE);
        REQUIRE(a->taps_t == ((uint32_t)n->extent - 1) / (uint32_t)n->up + 1, &n->extent, TCN_VALUE);
    } else {
        REQUIRE(n->up == 1 && n->edge == EDGE_FILL, &n->up, TCN_VALUE);
        REQUIRE((int64_t)(a->taps_t - 1) * a->dilation_t + 1 <= n->extent, &n->extent, TCN_VALUE);
    }
    REQUIRE(TCN_NEEDED(PLACES) || without_frequency(a), &a->f_out, TCN_UNKNOWN);
    if (depthwise) {
        REQUIRE(a->outputs % a->channels == 0, &a->outputs, TCN_VALUE);
        weights = (uint64_t)a->outputs * (n->dtype == TCN_F32 ? 4 : 1);
        per_output = a->outputs;
    } else {
        uint64_t depth = a->channels / a->groups;
        each = panel_total(a->outputs / a->groups);
        if (n->dtype != TCN_F32)
            depth = (depth + 3) / 4;
        weights = depth * each * a->groups * 4;
        per_output = (uint64_t)each * a->groups;
    }
    REQUIRE(weights <= c->h->bytes, &a->weights_at, TCN_BOUNDS); /* or the products below may overflow */
    weights *= taps;
    if (n->kind == KIND_RESAMPLE)
        weights = (weights + 63) & ~(uint64_t)63;
    REQUIRE(a->weights_bytes == weights && a->weights_at % (c->h->family == FAMILY_PORTABLE ? 64 : 16) == 0 && holds(c, a->weights_at, sets * weights, 1), &a->weights_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->bias_at, per_output, n->dtype == TCN_I16 ? 8 : 4), &a->bias_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->edge_f_at, a->channels, (uint32_t)item), &a->edge_f_at, TCN_BOUNDS);
    if (n->dtype == TCN_F32) {
        REQUIRE(a->rescale == RESCALE_FLOAT, &a->rescale, TCN_VALUE);
        return TCN_OK;
    }
    if (n->dtype == TCN_I8)
        REQUIRE(holds(c, a->bias_u8_at, per_output, 4), &a->bias_u8_at, TCN_BOUNDS);
    REQUIRE(a->rescale == RESCALE_EXACT || a->rescale == RESCALE_TWICE || a->rescale == (n->dtype == TCN_I8 ? RESCALE_SHORT : RESCALE_WIDE), &a->rescale, TCN_VALUE);
    REQUIRE(holds(c, a->multiplier_at, per_output, a->rescale == RESCALE_EXACT ? 8 : 4), &a->multiplier_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->shift_at, per_output, 4), &a->shift_at, TCN_BOUNDS);
    return a->rescale == RESCALE_EXACT ? tcn_check_shifts(c, a->shift_at, (uint32_t)per_output, -2000, 2000)
           : a->rescale == RESCALE_WIDE ? tcn_check_shifts(c, a->shift_at, (uint32_t)per_output, -31, 14)
           : a->rescale == RESCALE_SHORT ? tcn_check_shifts(c, a->shift_at, (uint32_t)per_output, -31, 0)
                                        : tcn_check_shifts(c, a->shift_at, (uint32_t)per_output, -31, 30);
}

TCN_RARELY int tcn_check_convolution(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    return (n->kind == KIND_CONV || n->kind == KIND_DEPTHWISE) && n->op != CONV_PANELS ? check_fours(c) : check_panels(c);
}

static tcn_window_kernel window_kernel(const tcn_program *p, const tcn_node_record *node)
{
    const tcn_kernels *k = p->kernels;
    if (node->kind == KIND_DEPTHWISE)
        return node->dtype == TCN_F32 ? k->depthwise_f32 : node->dtype == TCN_I8 ? k->depthwise_i8 : k->depthwise_i16;
    return node->dtype == TCN_F32 ? k->conv_f32 : node->dtype == TCN_I8 ? k->conv_i8 : k->conv_i16;
}

static tcn_fours_kernel fours_kernel(const tcn_program *p, const tcn_node_record *node)
{
    if (!is_fours(node))
        return NULL;
    if (node->dtype == TCN_I16)
        return p->kernels->conv_i16_fours;
    return node->kind == KIND_DEPTHWISE ? p->kernels->depthwise_i8_fours : p->kernels->conv_i8_fours;
}

typedef struct {
    const tcn_job *j;
    const void *args; /* conv_args or fours_args */
    conv_shape shape;
    tcn_window_kernel kernel;
    tcn_fours_kernel fours;
    uint32_t taps, filled, most;
#ifdef TCN_HAS_SLIDING
    int64_t sliding; /* positions */
#endif
} collector;

enum { FEWEST_SLIDING = 16 }; /* shorter runs of several lanes are rather taken together */

static void emit(collector *c)
{
    const tcn_program *p = c->j->p;
    if (c->filled && c->fours)
        c->fours(c->args, p->plan, p->rows, p->outs, c->filled, p->window);
    else if (c->filled)
        c->kernel(c->args, p->plan, p->rows, p->outs, c->filled);
    c->filled = 0;
}

static const void **next_position(collector *c, void *out)
{
    if (c->filled == c->most)
        emit(c);
    c->j->p->outs[c->filled] = out;
    return c->j->p->rows + (size_t)c->filled++ * c->taps;
}

/* rows[i * taps] for `count` frames from `frame` on, `step` apart: where each of them stands. */
static inline void find_rows(const tcn_job *j, const tcn_lane_run *lane, int64_t frame, int64_t step, int64_t count,
                             const void **rows, uint32_t taps)
{
    const tcn_program *p = j->p;
    const tcn_place *at = &p->places[j->in[0]];
    int64_t offset = frame - lane->have[j->in[0]], i = 0;
    if (frame < 0 || lane->signal_frames) {
        for (i = 0; i < count && (lane->signal_frames || frame + i * step < 0); i++)
            rows[i * taps] = padded_frame_at(p, lane, j->node, j->in[0], frame + i * step);
        offset += i * step;
    }
    if (i < count && offset < 0) {
        size_t stride = (size_t)step * at->bytes * LANES_BESIDE(lane);
        if (at->ring == TCN_NONE || step > at->ring_frames) {
            for (; i < count && offset < 0; i++, offset += step)
                rows[i * taps] = frame_at(p, lane, j->in[0], frame + i * step);
        } else {
            const tcn_ring ring = ring_of(p, lane, j->in[0]);
            const uint8_t *from = ring_frame(&ring, (uint32_t)-offset);
            for (; i < count && offset < 0; i++, offset += step, from = ring_later(&ring, from, stride))
                rows[i * taps] = from;
        }
    }
    if (i < count) {
        const uint8_t *from = lane->block[j->in[0]] + (size_t)offset * at->bytes;
        size_t stride = (size_t)step * at->bytes;
        for (; i < count; i++, from += stride)
            rows[i * taps] = from;
    }
}

#ifdef TCN_HAS_SLIDING
/* The most positions that may slide at once, 0 where sharing the frames of their windows gains nothing. */
static int64_t most_sliding(const collector *c)
{
    const conv_args *a = c->args;
    const tcn_node_record *node = c->j->node;
    const int64_t values = (a->channels + 3) / 4 * 4, shared = (int64_t)(a->taps_t - 1) * a->dilation_t;
    int64_t most = TCN_SLIDING_VALUES / values - shared;
    if (c->j->p->kernels->isa != TCN_ISA_AVX2 || node->dtype != TCN_I8 || node->kind != KIND_CONV || node->stride != 1 || a->taps_t == 1 || a->groups != 1)
        return 0;
    most = most < c->most ? most : c->most;
    most = most < TCN_SLIDING_POSITIONS ? most : TCN_SLIDING_POSITIONS;
    return most > a->dilation_t && most >= FEWEST_SLIDING ? most : 0;
}

/* Returns the first frame that is not done. */
static int64_t conv_sliding(collector *c, const tcn_lane_run *lane, int64_t f)
{
    const tcn_job *j = c->j;
    const tcn_program *p = j->p;
    const tcn_place *to = &p->places[j->out[0]];
    const uint32_t dilation = c->shape.dilation_t;
    const int64_t end = lane->end[j->out[0]];
    int64_t n, i;
    for (; c->sliding && (n = end - f < c->sliding ? end - f : c->sliding) > dilation && n >= FEWEST_SLIDING; f += n) {
        uint8_t *out = output_frame_at(p, lane, j->out[0], f);
        emit(c);
        find_rows(j, lane, f - j->node->pad_begin, 1, n + (int64_t)(c->taps - 1) * dilation, p->rows, 1);
        for (i = 0; i < n; i++, out += to->bytes)
            p->outs[i] = out;
        tcn_conv_i8_sliding(c->args, p->plan, p->rows, p->outs, (uint32_t)n);
    }
    return f;
}
#endif

static void conv_frames(collector *c, const tcn_lane_run *lane)
{
    const tcn_job *j = c->j;
    const tcn_program *p = j->p;
    const tcn_place *to = &p->places[j->out[0]];
    int64_t f = lane->begin[j->out[0]], end = lane->end[j->out[0]], i;
    uint8_t *out;
#ifdef TCN_HAS_SLIDING
    f = conv_sliding(c, lane, f);
#endif
    out = output_frame_at(p, lane, j->out[0], f);
    while (f < end) {
        int64_t n = c->most - c->filled, first = f * j->node->stride - j->node->pad_begin;
        uint32_t k;
        n = n < end - f ? n : end - f;
        for (k = 0; k < c->taps; k++)
            find_rows(j, lane, first + (int64_t)k * c->shape.dilation_t, j->node->stride, n,
                      p->rows + (size_t)c->filled * c->taps + k, c->taps);
        for (i = 0; i < n; i++, out += to->bytes)
            p->outs[c->filled + i] = out;
        c->filled += (uint32_t)n;
        f += n;
        if (c->filled == c->most)
            emit(c);
    }
}

static void conv_frame(collector *c, const tcn_lane_run *lane, int64_t frame)
{
    const tcn_job *j = c->j;
    const conv_shape *a = &c->shape;
    const tcn_node_record *node = j->node;
    uint32_t item = element_bytes(node->dtype), row = a->channels * item, f, k, q;
    uint8_t *out = output_frame_at(j->p, lane, j->out[0], frame);
    int64_t first = frame * node->stride - node->pad_begin;
    for (f = 0; f < a->f_out; f++) {
        const void **rows = next_position(c, out + (size_t)f * a->outputs * item);
        int64_t place = (int64_t)f * a->stride_f - a->pad_f;
        for (k = 0; k < a->taps_t; k++) {
            const uint8_t *in = padded_frame_at(j->p, lane, node, j->in[0], first + (int64_t)k * a->dilation_t);
            for (q = 0; q < a->taps_f; q++) {
                int64_t at = place + (int64_t)q * a->dilation_f;
                *rows++ = at >= 0 && at < a->f_in ? in + (size_t)at * row : j->p->plan + a->edge_f_at;
            }
        }
    }
}

/* Output frame j collects from input frames i with i * up + k - pad = j; other taps meet a row of zeros. */
static void transpose_conv_frame(collector *c, const tcn_lane_run *lane, int64_t frame)
{
    const tcn_job *j = c->j;
    const conv_shape *a = &c->shape;
    const tcn_node_record *node = j->node;
    const uint8_t *zero = j->p->plan + a->edge_f_at;
    uint32_t pad_t = ((const conv_args *)c->args)->pad_t;
    uint32_t item = element_bytes(node->dtype), row = a->channels * item, f, k, q;
    uint8_t *out = output_frame_at(j->p, lane, j->out[0], frame);
    for (f = 0; f < a->f_out; f++) {
        const void **rows = next_position(c, out + (size_t)f * a->outputs * item);
        for (k = 0; k < a->taps_t; k++) {
            int64_t up = node->up, place = frame + pad_t - k;
            int meets = place % up == 0;
            const uint8_t *in = meets ? padded_frame_at(j->p, lane, node, j->in[0], place / up) : zero;
            for (q = 0; q < a->taps_f; q++) {
                int64_t at = (int64_t)f + a->pad_f - q;
                int inside = meets && at >= 0 && at % a->stride_f == 0 && at / a->stride_f < a->f_in;
                *rows++ = inside ? in + (size_t)(at / a->stride_f) * row : zero;
            }
        }
    }
}

static collector collector_of(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    collector c;
    c.j = j;
    c.args = kernel_args(p, node);
    c.shape = shape_of(p, node);
    c.taps = c.shape.taps_t * c.shape.taps_f;
    c.filled = 0;
    c.most = c.taps == p->header->max_taps ? p->positions_at_most : p->table / c.taps;
    c.most = c.most < p->positions ? c.most : p->positions;
    c.kernel = window_kernel(p, node);
    c.fours = fours_kernel(p, node);
    return c;
}

static void run(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    int frequency = TCN_NEEDED(PLACES) && moves_along_frequency(p, node);
    collector c;
    uint32_t l;
    int64_t f;
    if (TCN_NEEDED(CONV_F32) && !frequency && tcn_is_narrow(p, node)) {
        tcn_run_narrow(j);
        return;
    }
    c = collector_of(j);
#ifdef TCN_HAS_SLIDING
    c.sliding = most_sliding(&c);
#endif
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        if (!frequency)
            conv_frames(&c, lane);
        for (f = lane->begin[j->out[0]]; frequency && f < lane->end[j->out[0]]; f++)
            conv_frame(&c, lane, f);
    }
    emit(&c);
}

static void run_transposed(const tcn_job *j)
{
    collector c = collector_of(j);
    uint32_t l;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++)
        for (f = j->lanes[l].begin[j->out[0]]; f < j->lanes[l].end[j->out[0]]; f++)
            transpose_conv_frame(&c, &j->lanes[l], f);
    emit(&c);
}

/* Where a lane's new frame reads its input: older frames in the ring, the newest in the block, which stands behind the rows
 * of a window that does not reach it. */
static inline void find_single_rows(const tcn_single_frame *single, const tcn_lane_run *lane, tcn_kept kept, const void **rows)
{
    const int32_t *back = single->offsets;
    for (; *back; back++)
        *rows++ = kept_frame(&kept, *back);
    *rows = lane->block[single->in_tensor];
}

/* Where a lane's new frame goes, as the outs of a kernel. */
static inline void *const *single_out(const tcn_single_frame *single, const tcn_lane_run *lane)
{
    return (void *const *)(const void *)&lane->block[single->out_tensor];
}

#ifdef RINGS_SIDE_BY_SIDE
/* Whether a lane's frames of a tensor stand behind those of the lane before, which is as far. */
static inline int stands_behind(const tcn_place *in, const tcn_lane_run *lane)
{
    const tcn_lane_run *before = lane - 1;
    return lane->lane && lane->lane == before->lane + 1 && lane->rings == before->rings && in->ring != TCN_NONE &&
           lane->ring_next[in->ring] == before->ring_next[in->ring];
}

/* find_single_rows from what it found for the lane before. */
static inline void find_rows_behind(const tcn_single_frame *single, const tcn_lane_run *lane, const void **rows)
{
    const void *const *before = rows - single->taps;
    const uint32_t last = single->taps - 1;
    uint32_t i;
    for (i = 0; i < single->taps; i++)
        rows[i] = (const uint8_t *)before[i] + single->in->bytes;
    if (!single->offsets[last])
        rows[last] = lane->block[single->in_tensor];
}
#endif

/* One frame per lane without a frequency axis: where each tap reads is known beforehand. */
static void run_lanes(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    uint32_t filled = 0, l;
    for (l = 0; l < n_lanes; l++) {
#ifdef RINGS_SIDE_BY_SIDE
        if (filled && stands_behind(single->in, &lanes[l]))
            find_rows_behind(single, &lanes[l], p->rows + filled * single->taps);
        else
#endif
            find_single_rows(single, &lanes[l], kept_of(single->in, &lanes[l]), p->rows + filled * single->taps);
        p->outs[filled++] = *single_out(single, &lanes[l]);
        if (filled == p->positions_at_most || l + 1 == n_lanes) {
            single->kernel(single->args, p->plan, p->rows, p->outs, filled);
            filled = 0;
        }
    }
}

static void run_single_frame(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    if (LANES_TOGETHER(n_lanes) > 1) {
        run_lanes(p, single, lanes, n_lanes);
        return;
    }
    find_single_rows(single, lanes, kept_of(single->in, lanes), p->rows);
    single->kernel(single->args, p->plan, p->rows, single_out(single, lanes), 1);
}

/* The same in fours; a window that is more than the new frame has a ring. */
static void run_single_fours(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_lane_run *end = lanes + LANES_TOGETHER(n_lanes);
    const void **rows = p->rows;
    do {
        find_single_rows(single, lanes, kept_in_ring(single->in, lanes), rows);
        single->fours(single->args, p->plan, rows, single_out(single, lanes), 1, p->window);
    } while (++lanes < end);
}

/* The same of a window that is the new frame alone. */
static void run_newest_fours(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_lane_run *end = lanes + LANES_TOGETHER(n_lanes);
    do {
        const void *const *rows = (const void *const *)(const void *)&lanes->block[single->in_tensor];
        single->fours(single->args, p->plan, rows, single_out(single, lanes), 1, p->window);
    } while (++lanes < end);
}

/* The same where several new frames of the input make one. */
static void run_single_strided(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    uint32_t l, i;
    for (l = 0; l < LANES_TOGETHER(n_lanes); l++) {
        const tcn_kept kept = kept_of(single->in, &lanes[l]);
        const uint8_t *fresh = lanes[l].block[single->in_tensor];
        for (i = 0; i < single->taps; i++) {
            int32_t back = single->offsets[i];
            p->rows[i] = back > 0 ? kept_frame(&kept, back) : fresh - back;
        }
        if (single->fours)
            single->fours(single->args, p->plan, p->rows, single_out(single, &lanes[l]), 1, p->window);
        else
            single->kernel(single->args, p->plan, p->rows, single_out(single, &lanes[l]), 1);
    }
}

TCN_RARELY static void prepare_single_frame(const tcn_program *p, const tcn_node_record *node, tcn_single_frame *single, int32_t *offsets)
{
    const uint32_t *operands = IN_PLAN(uint32_t, node->operands_at);
    const conv_shape a = shape_of(p, node);
    int64_t lag = p->steady_frames[operands[node->n_inputs]] * node->stride - node->pad_begin - p->steady_frames[operands[0]];
    uint32_t i;
    if (moves_along_frequency(p, node) || (p->fresh[operands[0]] != 1 && tcn_is_narrow(p, node)))
        return;
    single->kernel = window_kernel(p, node);
    single->fours = fours_kernel(p, node);
    single->taps = a.taps_t;
    for (i = 0; i < a.taps_t; i++)
        offsets[i] = (int32_t)(lag + (int64_t)i * a.dilation_t);
    if (TCN_NEEDED(RATES) && p->fresh[operands[0]] != 1)
        single->run = run_single_strided;
    else if (!single->fours)
        single->run = run_single_frame;
    else
        single->run = a.taps_t == 1 && lag == 0 ? run_newest_fours : run_single_fours;
}

const tcn_operation tcn_conv = {tcn_check_convolution, run, prepare_single_frame};
const tcn_operation tcn_depthwise = {tcn_check_convolution, run, prepare_single_frame};

const tcn_operation tcn_transpose_conv = {tcn_check_convolution, run_transposed, NULL};
