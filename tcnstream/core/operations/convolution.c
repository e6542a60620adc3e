/* convolution.c - CONV, DEPTHWISE and TRANSPOSE_CONV: rows of positions are collected and handed to the kernel
 * when the table is full. */
#include "convolution.h"

static int is_fours(const tcn_node_record *node)
{
    return node->op == CONV_FOURS && (node->kind == KIND_CONV || node->kind == KIND_DEPTHWISE);
}

int tcn_moves_along_frequency(const tcn_program *p, const tcn_node_record *node)
{
    return is_fours(node) ? ARGS(fours_args)->has_axis : ARGS(conv_args)->has_axis;
}

conv_shape tcn_shape_of(const tcn_program *p, const tcn_node_record *node)
{
    const conv_args *a = ARGS(conv_args);
    const fours_args *f = ARGS(fours_args);
    const int fours = is_fours(node);
    const axis_args *x = fours ? (const axis_args *)(const void *)(f + 1) : (const axis_args *)(const void *)(a + 1);
    conv_shape s = {0, 1, 0, 1, 1, 0, 1, 1, 0, 0, 0};
    s.taps_t = fours ? f->taps : a->taps_t;
    s.dilation_t = fours ? f->dilation_t : a->dilation_t;
    s.channels = fours ? f->channels : a->channels;
    s.outputs = fours ? f->outputs : a->outputs;
    if (fours ? TCN_NEEDED(PLACES) && f->has_axis : a->has_axis) {
        s.taps_f = x->taps_f;
        s.dilation_f = x->dilation_f;
        s.stride_f = x->stride_f;
        s.pad_f = x->pad_f;
        s.f_in = x->f_in;
        s.f_out = x->f_out;
        s.edge_f_at = x->edge_f_at;
        s.taps_t /= fours ? x->taps_f : 1;
    }
    return s;
}

tcn_window_kernel tcn_window_kernel_of(const tcn_program *p, const tcn_node_record *node)
{
    const tcn_kernels *k = p->kernels;
    if (node->kind == KIND_DEPTHWISE)
        return node->dtype == TCN_F32 ? k->depthwise_f32 : node->dtype == TCN_I8 ? k->depthwise_i8 : k->depthwise_i16;
    return node->dtype == TCN_F32 ? k->conv_f32 : node->dtype == TCN_I8 ? k->conv_i8 : k->conv_i16;
}

tcn_fours_kernel tcn_fours_kernel_of(const tcn_program *p, const tcn_node_record *node)
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

/* Kernels do not run on top of its frame. */
TCN_OWN_FRAME void tcn_find_rows(const tcn_job *j, const tcn_lane_run *lane, int64_t frame, int64_t step, int64_t count,
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
static tcn_window_kernel sliding_kernel(const tcn_program *p, const tcn_node_record *node)
{
    const tcn_kernels *k = p->kernels;
    const conv_args *a = ARGS(conv_args);
    if (window_of(p, node)->stride != 1)
        return NULL;
    if (node->kind == KIND_DEPTHWISE)
        return node->dtype == TCN_F32 && a->channels == a->outputs ? k->depthwise_f32_sliding : NULL;
    if (node->kind != KIND_CONV || a->groups != 1)
        return NULL;
    return node->dtype == TCN_F32 ? k->conv_f32_sliding : node->dtype == TCN_I8 ? k->conv_i8_sliding : NULL;
}

/* The most positions that may slide at once, 0 where sharing the frames of their windows gains nothing. */
static int64_t most_sliding(const collector *c)
{
    const conv_args *a = c->args;
    const int64_t values = (a->channels + 3) / 4 * 4, shared = (int64_t)(a->taps_t - 1) * a->dilation_t;
    int64_t most = c->most < TCN_SLIDING_POSITIONS ? c->most : TCN_SLIDING_POSITIONS;
    if (!sliding_kernel(c->j->p, c->j->node) || a->taps_t == 1)
        return 0;
    if (c->j->node->dtype == TCN_I8 && TCN_SLIDING_VALUES / values - shared < most)
        most = TCN_SLIDING_VALUES / values - shared;
    return most >= a->dilation_t && most >= FEWEST_SLIDING ? most : 0;
}

/* Returns the first frame that is not done. */
static int64_t conv_sliding(collector *c, const tcn_lane_run *lane, int64_t f)
{
    const tcn_job *j = c->j;
    const tcn_program *p = j->p;
    const tcn_place *to = &p->places[j->out[0]];
    const uint32_t dilation = c->shape.dilation_t;
    const tcn_window_kernel kernel = sliding_kernel(p, j->node);
    const int64_t end = lane->end[j->out[0]];
    int64_t n, i;
    for (; c->sliding && (n = end - f < c->sliding ? end - f : c->sliding) >= dilation && n >= FEWEST_SLIDING; f += n) {
        uint8_t *out = output_frame_at(p, lane, j->out[0], f);
        emit(c);
        tcn_find_rows(j, lane, f - j->window->pad_begin, 1, n + (int64_t)(c->taps - 1) * dilation, p->rows, 1);
        for (i = 0; i < n; i++, out += to->bytes)
            p->outs[i] = out;
        kernel(c->args, p->plan, p->rows, p->outs, (uint32_t)n);
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
        int64_t n = c->most - c->filled, first = f * j->window->stride - j->window->pad_begin;
        uint32_t k;
        n = n < end - f ? n : end - f;
        for (k = 0; k < c->taps; k++)
            tcn_find_rows(j, lane, first + (int64_t)k * c->shape.dilation_t, j->window->stride, n,
                          p->rows + (size_t)c->filled * c->taps + k, c->taps);
        for (i = 0; i < n; i++, out += to->bytes)
            p->outs[c->filled + i] = out;
        c->filled += (uint32_t)n;
        f += n;
        if (c->filled == c->most)
            emit(c);
    }
}

/* Rows of `n` positions of a frame from place `f` on. */
TCN_OWN_FRAME static void find_places(const collector *c, const tcn_lane_run *lane, int64_t frame, uint32_t f, uint32_t n)
{
    const tcn_job *j = c->j;
    const conv_shape *a = &c->shape;
    const uint8_t *edge = j->p->plan + a->edge_f_at;
    const void **rows = j->p->rows + (size_t)c->filled * c->taps;
    const int64_t first = frame * j->window->stride - j->window->pad_begin;
    const uint32_t row = a->channels * element_bytes(j->node->dtype);
    uint32_t k, i, q;
    for (k = 0; k < a->taps_t; k++, rows += a->taps_f) {
        const uint8_t *in = padded_frame_at(j->p, lane, j->node, j->in[0], first + (int64_t)k * a->dilation_t);
        for (i = 0; i < n; i++) {
            int64_t at = (int64_t)(f + i) * a->stride_f - a->pad_f;
            for (q = 0; q < a->taps_f; q++, at += a->dilation_f)
                rows[i * c->taps + q] = at >= 0 && at < a->f_in ? in + (size_t)at * row : edge;
        }
    }
}

/* Output frame j collects from input frames i with i * up + k - pad = j; other taps meet a row of zeros. */
TCN_OWN_FRAME static void find_transposed_places(const collector *c, const tcn_lane_run *lane, int64_t frame, uint32_t f,
                                                 uint32_t n)
{
    const tcn_job *j = c->j;
    const conv_shape *a = &c->shape;
    const uint8_t *zero = j->p->plan + a->edge_f_at;
    const void **rows = j->p->rows + (size_t)c->filled * c->taps;
    const int64_t up = j->window->up;
    const uint32_t row = a->channels * element_bytes(j->node->dtype);
    int64_t place = frame + (int64_t)a->taps_t - 1 - j->window->pad_begin;
    uint32_t k, i, q;
    for (k = 0; k < a->taps_t; k++, place--, rows += a->taps_f) {
        int meets = place % up == 0;
        const uint8_t *in = meets ? padded_frame_at(j->p, lane, j->node, j->in[0], place / up) : zero;
        for (i = 0; i < n; i++)
            for (q = 0; q < a->taps_f; q++) {
                int64_t at = (int64_t)(f + i) + a->pad_f - q;
                int inside = meets && at >= 0 && at % a->stride_f == 0 && at / a->stride_f < a->f_in;
                rows[i * c->taps + q] = inside ? in + (size_t)(at / a->stride_f) * row : zero;
            }
    }
}

/* A frame of several positions. */
static inline void conv_frame(collector *c, const tcn_lane_run *lane, int64_t frame,
                              void (*find)(const collector *c, const tcn_lane_run *lane, int64_t frame, uint32_t f, uint32_t n))
{
    const tcn_job *j = c->j;
    const uint32_t bytes = c->shape.outputs * element_bytes(j->node->dtype), f_out = c->shape.f_out;
    uint8_t *out = output_frame_at(j->p, lane, j->out[0], frame);
    uint32_t f, n, i;
    for (f = 0; f < f_out; f += n) {
        n = c->most - c->filled;
        n = n < f_out - f ? n : f_out - f;
        find(c, lane, frame, f, n);
        for (i = 0; i < n; i++, out += bytes)
            j->p->outs[c->filled + i] = out;
        c->filled += n;
        if (c->filled == c->most)
            emit(c);
    }
}

static collector collector_of(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    collector c;
    c.j = j;
    c.args = kernel_args(p, node);
    c.shape = tcn_shape_of(p, node);
    c.taps = c.shape.taps_t * c.shape.taps_f;
    c.filled = 0;
    c.most = c.taps == p->header->max_taps ? p->positions_at_most : p->table / c.taps;
    c.most = c.most < p->positions ? c.most : p->positions;
    c.kernel = tcn_window_kernel_of(p, node);
    c.fours = tcn_fours_kernel_of(p, node);
    return c;
}

static void run_windows(const tcn_job *j, int frequency)
{
    collector c = collector_of(j);
    uint32_t l;
    int64_t f;
#ifdef TCN_HAS_SLIDING
    c.sliding = most_sliding(&c);
#endif
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        if (!frequency)
            conv_frames(&c, lane);
        for (f = lane->begin[j->out[0]]; frequency && f < lane->end[j->out[0]]; f++)
            conv_frame(&c, lane, f, find_places);
    }
    emit(&c);
}

static void run(const tcn_job *j)
{
    int frequency = TCN_NEEDED(PLACES) && tcn_moves_along_frequency(j->p, j->node);
#ifdef TCN_HAS_FUSED
    const tcn_winograd_conv *winograd = tcn_winograd_of(j->p, j->node);
    if (winograd) {
        tcn_run_winograd(j, winograd);
        return;
    }
#endif
    if (TCN_NEEDED(CONV_F32) && !frequency && tcn_is_narrow(j->p, j->node))
        tcn_run_narrow(j);
    else
        run_windows(j, frequency);
}

static void run_transposed(const tcn_job *j)
{
    collector c = collector_of(j);
    uint32_t l;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++)
        for (f = j->lanes[l].begin[j->out[0]]; f < j->lanes[l].end[j->out[0]]; f++)
            conv_frame(&c, &j->lanes[l], f, find_transposed_places);
    emit(&c);
}

const tcn_operation tcn_conv = {tcn_check_convolution, run, tcn_prepare_single_convolution};
const tcn_operation tcn_depthwise = {tcn_check_convolution, run, tcn_prepare_single_convolution};

const tcn_operation tcn_transpose_conv = {tcn_check_convolution, run_transposed, NULL};
