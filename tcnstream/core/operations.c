/* operations.c - what each operation reads and writes; the arithmetic proper is in kernels/. */
#include "internal.h"
#include "kernels/fixed.h"
#include "kernels/functions.h"

#define ARGS(type) ((const type *)(const void *)(p->plan + node->args_at))
#define TABLE(type, place) ((const type *)(const void *)(p->plan + (place)))

typedef struct {
    const tcn_program *p;
    const tcn_node_record *node;
    const uint32_t *in, *out; /* tensors */
    const tcn_lane_run *lanes;
    uint32_t n_lanes;
} job;

/* Convolutions: rows of positions are collected and handed to the kernel when the table is full. ------- */

static tcn_window_kernel window_kernel(const tcn_program *p, const tcn_node_record *node)
{
    const tcn_kernels *k = p->kernels;
    if (node->kind == KIND_DEPTHWISE)
        return node->dtype == TCN_F32 ? k->depthwise_f32 : node->dtype == TCN_I8 ? k->depthwise_i8 : k->depthwise_i16;
    return node->dtype == TCN_F32 ? k->conv_f32 : node->dtype == TCN_I8 ? k->conv_i8 : k->conv_i16;
}

typedef struct {
    const job *j;
    const conv_args *a;
    tcn_window_kernel kernel;
    uint32_t taps, filled, most;
} collector;

static void emit(collector *c)
{
    if (c->filled)
        c->kernel(c->a, c->j->p->plan, c->j->p->rows, c->j->p->outs, c->filled);
    c->filled = 0;
}

static const void **next_position(collector *c, void *out)
{
    if (c->filled == c->most)
        emit(c);
    c->j->p->outs[c->filled] = out;
    return c->j->p->rows + (size_t)c->filled++ * c->taps;
}

static uint32_t element_bytes(uint32_t dtype)
{
    static const uint8_t bytes[] = {4, 1, 2, 4, 8, 1};
    return bytes[dtype];
}

/* rows[i * taps] for `count` frames from `frame` on, `step` apart: where each of them stands. */
static inline void find_rows(const job *j, const tcn_lane_run *lane, int64_t frame, int64_t step, int64_t count,
                             const void **rows, uint32_t taps)
{
    const tcn_program *p = j->p;
    const tcn_place *at = &p->places[j->in[0]];
    int64_t offset = frame - lane->have[j->in[0]], i = 0;
    if (frame < 0 || lane->limit) {
        for (i = 0; i < count && (lane->limit || frame + i * step < 0); i++)
            rows[i * taps] = row_of(p, lane, j->node, j->in[0], frame + i * step);
        offset += i * step;
    }
    if (i < count && offset < 0) {
        const uint8_t *ring = frame_of(p, lane, j->in[0], frame + i * step);
        const uint8_t *end = lane->rings + at->ring_at + (size_t)at->frames * at->bytes;
        size_t stride = (size_t)step * at->bytes, all = (size_t)at->frames * at->bytes;
        if (at->ring == TCN_NONE || stride > all) {
            for (; i < count && offset < 0; i++, offset += step)
                rows[i * taps] = frame_of(p, lane, j->in[0], frame + i * step);
        } else {
            for (; i < count && offset < 0; i++, offset += step) {
                rows[i * taps] = ring;
                ring += stride;
                if (ring >= end)
                    ring -= all;
            }
        }
    }
    if (i < count) {
        const uint8_t *from = lane->block[j->in[0]] + (size_t)offset * at->bytes;
        size_t stride = (size_t)step * at->bytes;
        for (; i < count; i++, from += stride)
            rows[i * taps] = from;
    }
}

/* Without a frequency axis a position is a frame. */
static void conv_frames(collector *c, const tcn_lane_run *lane)
{
    const job *j = c->j;
    const tcn_program *p = j->p;
    const tcn_place *to = &p->places[j->out[0]];
    int64_t f = lane->have[j->out[0]], end = lane->goal[j->out[0]], i;
    uint8_t *out = out_frame(p, lane, j->out[0], f);
    while (f < end) {
        int64_t n = c->most - c->filled, first = f * j->node->stride - j->node->pad_begin;
        uint32_t k;
        n = n < end - f ? n : end - f;
        for (k = 0; k < c->taps; k++)
            find_rows(j, lane, first + (int64_t)k * c->a->dilation_t, j->node->stride, n,
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
    const job *j = c->j;
    const conv_args *a = c->a;
    const tcn_node_record *node = j->node;
    uint32_t item = element_bytes(node->dtype), row = a->channels * item, f, k, q;
    uint8_t *out = out_frame(j->p, lane, j->out[0], frame);
    int64_t first = frame * node->stride - node->pad_begin;
    for (f = 0; f < a->f_out; f++) {
        const void **rows = next_position(c, out + (size_t)f * a->outputs * item);
        int64_t place = (int64_t)f * a->stride_f - a->pad_f;
        for (k = 0; k < a->taps_t; k++) {
            const uint8_t *in = row_of(j->p, lane, node, j->in[0], first + (int64_t)k * a->dilation_t);
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
    const job *j = c->j;
    const conv_args *a = c->a;
    const tcn_node_record *node = j->node;
    const uint8_t *zero = j->p->plan + a->edge_f_at;
    uint32_t item = element_bytes(node->dtype), row = a->channels * item, f, k, q;
    uint8_t *out = out_frame(j->p, lane, j->out[0], frame);
    for (f = 0; f < a->f_out; f++) {
        const void **rows = next_position(c, out + (size_t)f * a->outputs * item);
        for (k = 0; k < a->taps_t; k++) {
            int64_t up = node->up, place = frame + a->pad_t - k;
            int meets = place % up == 0;
            const uint8_t *in = meets ? row_of(j->p, lane, node, j->in[0], place / up) : zero;
            for (q = 0; q < a->taps_f; q++) {
                int64_t at = (int64_t)f + a->pad_f - q;
                int inside = meets && at >= 0 && at % a->stride_f == 0 && at / a->stride_f < a->f_in;
                *rows++ = inside ? in + (size_t)(at / a->stride_f) * row : zero;
            }
        }
    }
}

static void convolution(const job *j, int transposed)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    collector c;
    uint32_t l;
    int64_t f;
    c.j = j;
    c.a = ARGS(conv_args);
    c.taps = c.a->taps_t * c.a->taps_f;
    c.filled = 0;
    c.most = c.taps == p->header->max_taps ? p->positions_at_most : p->table / c.taps;
    c.most = c.most < p->positions ? c.most : p->positions;
    c.kernel = window_kernel(p, node);
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        if (!transposed && c.a->f_out == 1 && c.a->taps_f == 1 && c.a->pad_f == 0) {
            conv_frames(&c, lane);
            continue;
        }
        for (f = lane->have[j->out[0]]; f < lane->goal[j->out[0]]; f++) {
            if (transposed)
                transpose_conv_frame(&c, lane, f);
            else
                conv_frame(&c, lane, f);
        }
    }
    emit(&c);
}

/* Pools -------------------------------------------------------------------------------------------- */

static void pool_position(const pool_args *a, int op, int dtype, const void *const *rows, void *out)
{
    uint32_t taps = a->taps_t * a->taps_f, c, k;
    for (c = 0; c < a->channels; c++) {
        int32_t count = 0, sum = 0, best = dtype == TCN_I8 ? -128 : -32768;
        float sum_f = 0.0f, best_f = -3.402823466e+38f;
        for (k = 0; k < taps; k++) {
            if (!rows[k])
                continue;
            count++;
            if (dtype == TCN_F32) {
                float x = ((const float *)rows[k])[c];
                sum_f += x;
                best_f = best_f < x ? x : best_f;
            } else {
                int32_t x = dtype == TCN_I8 ? ((const int8_t *)rows[k])[c] : ((const int16_t *)rows[k])[c];
                sum += x;
                best = best < x ? x : best;
            }
        }
        if (dtype == TCN_F32) {
            float y = op ? sum_f / (float)count : best_f;
            y = y < a->low_f ? a->low_f : y;
            ((float *)out)[c] = y > a->high_f ? a->high_f : y;
        } else {
            int32_t y = best;
            if (op)
                y = count == 0 ? 0 : sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
            y = clip32(y, a->low, a->high);
            if (dtype == TCN_I8)
                ((int8_t *)out)[c] = (int8_t)y;
            else
                ((int16_t *)out)[c] = (int16_t)y;
        }
    }
}

static void pool(const job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const pool_args *a = ARGS(pool_args);
    uint32_t item = element_bytes(node->dtype), row = a->channels * item, l, f, k, q;
    int64_t frame;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (frame = lane->have[j->out[0]]; frame < lane->goal[j->out[0]]; frame++) {
            uint8_t *out = out_frame(p, lane, j->out[0], frame);
            int64_t first = frame * node->stride - node->pad_begin;
            for (f = 0; f < a->f_out; f++) {
                const void **rows = p->rows;
                for (k = 0; k < a->taps_t; k++) {
                    int64_t at = first + k;
                    const uint8_t *in = NULL;
                    if (at >= 0 && !(lane->limit && at >= lane->limit[j->in[0]]))
                        in = frame_of(p, lane, j->in[0], at);
                    for (q = 0; q < a->taps_f; q++) {
                        int64_t place = (int64_t)f * a->stride_f - a->pad_f + q;
                        *rows++ = in && place >= 0 && place < a->f_in ? in + (size_t)place * row : NULL;
                    }
                }
                pool_position(a, node->op, node->dtype, p->rows, out + (size_t)f * row);
            }
        }
    }
}

/* Element by element ------------------------------------------------------------------------------- */

static const void *picked(const tcn_program *p, const uint32_t *index, uint32_t n, uint32_t item, const uint8_t *from,
                          int operand)
{
    uint8_t *to = p->spare + (size_t)operand * p->spare_bytes;
    uint32_t i;
    for (i = 0; i < n; i++)
        memcpy(to + (size_t)i * item, from + (size_t)index[i] * item, item);
    return to;
}

static void binary(const job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const binary_args *a = ARGS(binary_args);
    uint32_t item = element_bytes(node->dtype), l;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        int64_t f = lane->have[j->out[0]], end = lane->goal[j->out[0]];
        while (f < end) {
            int64_t run = end - f;
            const void *from[2];
            uint32_t stream = 0, n;
            int q;
            for (q = 0; q < 2; q++) {
                if (a->const_at[q]) {
                    from[q] = p->plan + a->const_at[q];
                    run = 1;
                } else {
                    uint32_t t = j->in[stream++];
                    from[q] = frame_of(p, lane, t, f);
                    run = run_of(p, lane, t, f, run);
                    if (a->index_at[q]) {
                        from[q] = picked(p, TABLE(uint32_t, a->index_at[q]), a->elements, item, from[q], q);
                        run = 1;
                    }
                }
            }
            n = (uint32_t)run * a->elements;
            if (node->dtype == TCN_F32)
                p->kernels->binary_f32(a, node->op, from[0], from[1], (float *)(void *)out_frame(p, lane, j->out[0], f), n);
            else if (node->dtype == TCN_I8)
                p->kernels->binary_i8(a, node->op, from[0], from[1], (int8_t *)out_frame(p, lane, j->out[0], f), n);
            else
                p->kernels->binary_i16(a, node->op, from[0], from[1], (int16_t *)(void *)out_frame(p, lane, j->out[0], f), n);
            f += run;
        }
    }
}

typedef void (*element_function)(const job *j, const void *from, void *to, uint32_t frames);

/* `function` on every run of frames that stand side by side. */
static void each_run(const job *j, element_function function)
{
    uint32_t l;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        int64_t f = lane->have[j->out[0]], end = lane->goal[j->out[0]];
        while (f < end) {
            int64_t run = run_of(j->p, lane, j->in[0], f, end - f);
            function(j, frame_of(j->p, lane, j->in[0], f), out_frame(j->p, lane, j->out[0], f), (uint32_t)run);
            f += run;
        }
    }
}

static void unary(const job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const unary_args *a = ARGS(unary_args);
    p->kernels->unary_f32(a, node->op, from, to, frames * a->elements);
}

static void table(const job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const table_args *a = ARGS(table_args);
    const uint8_t *x = from;
    uint32_t n = frames * a->elements, i;
    if (a->out_bytes == 1) {
        const uint8_t *entry = p->plan + a->table_at;
        for (i = 0; i < n; i++)
            ((uint8_t *)to)[i] = entry[x[i]];
    } else if (a->out_bytes == 2) {
        const uint16_t *entry = TABLE(uint16_t, a->table_at);
        for (i = 0; i < n; i++)
            ((uint16_t *)to)[i] = entry[x[i]];
    } else {
        const uint32_t *entry = TABLE(uint32_t, a->table_at);
        for (i = 0; i < n; i++)
            ((uint32_t *)to)[i] = entry[x[i]];
    }
}

/* LUTLookup: linear interpolation between 513 entries with 7 fraction bits */
static int32_t look_up(const int16_t *entry, int32_t x)
{
    int32_t index = 256 + (x >> 7), offset = x & 0x7F;
    int32_t slope = (int16_t)(entry[index + 1] - entry[index]);
    return (int16_t)(entry[index] + ((slope * offset + 64) >> 7));
}

static void table16(const job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const table16_args *a = ARGS(table16_args);
    uint32_t n = frames * a->elements, i;
    for (i = 0; i < n; i++)
        ((int16_t *)to)[i] = (int16_t)look_up(TABLE(int16_t, a->table_at), ((const int16_t *)from)[i]);
}

/* LOGISTIC and TANH of int16: integer_ops/logistic.h, integer_ops/tanh.h */
static void sigmoid16(const job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const table16_args *a = ARGS(table16_args);
    const uint16_t *entry = TABLE(uint16_t, a->table_at);
    int tanh = node->op == 1, fraction = tanh ? 8 : 9;
    int32_t half = a->shift > 0 ? 1 << (a->shift - 1) : 0;
    uint32_t n = frames * a->elements, i;
    for (i = 0; i < n; i++) {
        int32_t x = add32(mul32(((const int16_t *)from)[i], a->multiplier), half) >> a->shift, result;
        uint32_t magnitude = x < 0 ? 0u - (uint32_t)x : (uint32_t)x, index = magnitude >> fraction;
        if (index >= 255)
            result = tanh ? 0xFFFF << 8 : 0x7FFF << 10;
        else
            result = ((int32_t)entry[index] << fraction) +
                     (int32_t)(magnitude & ((1u << fraction) - 1)) * (entry[index + 1] - entry[index]);
        if (tanh)
            result = (x >= 0 ? result - (1 << 23) + (1 << 7) : -result + (1 << 23) + (1 << 7) - 1) >> 8;
        else
            result = (x >= 0 ? result + (1 << 9) : (1 << 25) - result + (1 << 9) - 1) >> 10;
        ((int16_t *)to)[i] = (int16_t)result;
    }
}

static void quantize(const job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const rescale_args *a = ARGS(rescale_args);
    uint32_t n = frames * a->elements, i, item = p->places[j->out[0]].bytes / a->elements;
    for (i = 0; i < n; i++) {
        float v = ((const float *)from)[i] / a->scale, whole;
        int32_t q;
        if (v != v) {
            q = a->low; /* as the cast of a NaN gives on most processors, and the clip after it */
        } else if (v > 70000.0f) {
            q = a->high;
        } else if (v < -70000.0f) {
            q = a->low;
        } else {
            q = (int32_t)v;
            whole = (float)q;
            if (v - whole >= 0.5f)
                q++;
            else if (whole - v >= 0.5f)
                q--;
            q = clip32(q + a->zero_out, a->low, a->high);
        }
        if (item == 1)
            ((int8_t *)to)[i] = (int8_t)q;
        else
            ((int16_t *)to)[i] = (int16_t)q;
    }
}

static void rescale(const job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const rescale_args *a = ARGS(rescale_args);
    uint32_t n = frames * a->elements, i, item = p->places[j->out[0]].bytes / a->elements;
    for (i = 0; i < n; i++) {
        int32_t x = ((const int16_t *)from)[i] - a->zero_in, q;
        if (node->op == 1) {
            ((float *)to)[i] = (float)x * a->scale;
            continue;
        }
        q = clip32(add32(multiply_twice(x, a->multiplier, a->shift), a->zero_out), a->low, a->high);
        if (item == 1)
            ((int8_t *)to)[i] = (int8_t)q;
        else
            ((int16_t *)to)[i] = (int16_t)q;
    }
}

/* Softmax ------------------------------------------------------------------------------------------ */

static int32_t saturating_left(int32_t x, int places)
{
    int32_t limit = (int32_t)((1u << (31 - places)) - 1u);
    return x > limit ? INT32_MAX : x < -limit ? INT32_MIN : left32(x, places);
}

/* gemmlowp's exp_on_negative_values of Q5.26, as Q0.31 */
static int32_t exp_of_negative(int32_t a)
{
    static const int32_t factor[] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    int32_t within = (a & ((1 << 24) - 1)) - (1 << 24), x, x2, x3, x4, tail, result, remainder;
    int k;
    x = saturating_left(within, 5) + (1 << 28);
    x2 = high_mul(x, x);
    x3 = high_mul(x2, x);
    x4 = high_mul(x2, x2);
    tail = shift_right(add32(high_mul(add32(shift_right(x4, 2), x3), 715827883), x2), 1);
    result = add32(high_mul(1895147668, add32(x, tail)), 1895147668);
    remainder = within - a;
    for (k = 0; k < 7; k++)
        if (remainder & (1 << (24 + k)))
            result = high_mul(result, factor[k]);
    return a == 0 ? INT32_MAX : result;
}

static int32_t one_over_one_plus(int32_t a)
{
    int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1), x, k;
    x = add32(1515870810, high_mul(half, -1010580540));
    for (k = 0; k < 3; k++)
        x = add32(x, saturating_left(high_mul(x, sub32(1 << 29, high_mul(half, x))), 2));
    return saturating_left(x, 1);
}

static int leading_zeros(uint32_t x)
{
    int n = 32;
    while (x) {
        x >>= 1;
        n--;
    }
    return n;
}

static void softmax_i8(const softmax_args *a, const int8_t *x, int8_t *y)
{
    int32_t most = -128, sum = 0, inverse, places;
    uint32_t c;
    int zeros;
    for (c = 0; c < a->depth; c++)
        most = x[c] > most ? x[c] : most;
    for (c = 0; c < a->depth; c++)
        if (x[c] - most >= -a->radius)
            sum = add32(sum, shift_right(exp_of_negative(high_mul(left32(x[c] - most, a->shift), a->multiplier)), 12));
    zeros = leading_zeros((uint32_t)sum);
    inverse = one_over_one_plus((int32_t)(((uint32_t)sum << (zeros & 31)) - 0x80000000u));
    places = 12 - zeros + 31 - 8;
    places = places < 0 ? 0 : places > 31 ? 31 : places;
    for (c = 0; c < a->depth; c++) {
        int32_t q = -128;
        if (x[c] - most >= -a->radius) {
            q = exp_of_negative(high_mul(left32(x[c] - most, a->shift), a->multiplier));
            q = clip32(add32(shift_right(high_mul(inverse, q), places), -128), -128, 127);
        }
        y[c] = (int8_t)q;
    }
}

static int32_t power_i16(const softmax_args *a, const int16_t *table, int32_t difference)
{
    int32_t scaled = add32(multiply_twice(difference, a->multiplier, a->shift), 32767);
    return look_up(table, clip32(scaled, -32768, 32767));
}

static void softmax_i16(const tcn_program *p, const softmax_args *a, const int16_t *x, int16_t *y)
{
    const int16_t *exp_table = TABLE(int16_t, a->exp_at), *inverse_table = TABLE(int16_t, a->inverse_at);
    int32_t most = -32768, sum = 0, inverse, zeros, shifted, places;
    uint32_t c;
    for (c = 0; c < a->depth; c++)
        most = x[c] > most ? x[c] : most;
    for (c = 0; c < a->depth; c++)
        sum = add32(sum, power_i16(a, exp_table, x[c] - most));
    zeros = leading_zeros((uint32_t)sum);
    zeros = zeros < 1 ? 1 : zeros > 30 ? 30 : zeros;
    shifted = (int32_t)((((uint32_t)sum << (zeros - 1)) + (1u << 13)) >> 14);
    inverse = look_up(inverse_table, clip32(shifted - (1 << 15) - (1 << 16), -32768, 32767));
    places = 31 - zeros;
    for (c = 0; c < a->depth; c++) {
        int64_t product = (int64_t)power_i16(a, exp_table, x[c] - most) * inverse;
        y[c] = (int16_t)clip32((int32_t)((product + ((int64_t)1 << (places - 1))) >> places), 0, 32767);
    }
}

static void softmax_f32(const softmax_args *a, const float *x, float *y)
{
    float most = x[0], sum = 0.0f;
    uint32_t c;
    for (c = 1; c < a->depth; c++)
        most = x[c] > most || x[c] != x[c] ? x[c] : most;
    for (c = 0; c < a->depth; c++) {
        y[c] = tcn_exp((x[c] - most) * a->beta);
        sum += y[c];
    }
    for (c = 0; c < a->depth; c++)
        y[c] /= sum;
}

static void softmax(const job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const softmax_args *a = ARGS(softmax_args);
    uint32_t r;
    for (r = 0; r < frames * a->rows; r++) {
        size_t at = (size_t)r * a->depth;
        if (node->dtype == TCN_F32)
            softmax_f32(a, (const float *)from + at, (float *)to + at);
        else if (node->dtype == TCN_I8)
            softmax_i8(a, (const int8_t *)from + at, (int8_t *)to + at);
        else
            softmax_i16(p, a, (const int16_t *)from + at, (int16_t *)to + at);
    }
}

/* What only moves values --------------------------------------------------------------------------- */

static void move(const job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const move_args *a = ARGS(move_args);
    const move_run *runs = TABLE(move_run, a->runs_at);
    uint32_t l, r;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (f = lane->have[j->out[0]]; f < lane->goal[j->out[0]]; f++) {
            uint8_t *out = out_frame(p, lane, j->out[0], f);
            if (a->constant_at)
                memcpy(out, p->plan + a->constant_at, p->places[j->out[0]].bytes);
            for (r = 0; r < a->n_runs; r++) {
                const uint8_t *in = frame_of(p, lane, j->in[runs[r].operand], f);
                memcpy(out + (size_t)runs[r].to * a->element_bytes, in + (size_t)runs[r].from * a->element_bytes,
                       (size_t)runs[r].count * a->element_bytes);
            }
        }
    }
}

static void time_move(const job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    uint32_t bytes = p->places[j->out[0]].bytes, in_bytes = p->places[j->in[0]].bytes, l;
    int64_t f, k;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (f = lane->have[j->out[0]]; f < lane->goal[j->out[0]]; f++) {
            uint8_t *out = out_frame(p, lane, j->out[0], f);
            if (node->op == MOVE_PICK || node->op == MOVE_WINDOW) {
                int64_t first = f * node->stride - node->pad_begin;
                for (k = 0; k < (node->op == MOVE_PICK ? 1 : node->extent); k++)
                    memcpy(out + (size_t)k * in_bytes, row_of(p, lane, node, j->in[0], first + k), in_bytes);
            } else {
                const uint8_t *in = row_of(p, lane, node, j->in[0], f / node->up);
                memcpy(out, in + (node->op == MOVE_UNFOLD ? (size_t)(f % node->up) * bytes : 0), bytes);
            }
        }
    }
}

/* Statistics --------------------------------------------------------------------------------------- */

static int32_t integer_at(const void *frame, uint32_t dtype, uint32_t i)
{
    return dtype == TCN_I8 ? ((const int8_t *)frame)[i] : ((const int16_t *)frame)[i];
}

static void store_integer(void *frame, uint32_t dtype, uint32_t i, int32_t value)
{
    if (dtype == TCN_I8)
        ((int8_t *)frame)[i] = (int8_t)value;
    else
        ((int16_t *)frame)[i] = (int16_t)value;
}

/* QuantizedMeanOrSum; a mean of `count` values has the count folded into its multiplier */
static int32_t statistic_of(const reduce_args *a, int64_t sum, int64_t count, int fold)
{
    int32_t multiplier = a->multiplier, shift = a->shift;
    if (fold) {
        int places = 0;
        while ((count >> (places + 1)) > 0)
            places++;
        places = places > 32 ? 32 : places;
        places = places > 31 + shift ? 31 + shift : places;
        multiplier = (int32_t)(((int64_t)multiplier << places) / count);
        shift -= places;
    }
    sum = wrap32((int64_t)wrap32(sum) - (int64_t)a->zero_in * count);
    return clip32(add32(multiply_twice((int32_t)sum, multiplier, shift), a->zero_out), a->low, a->high);
}

static void reduce(const job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const reduce_args *a = ARGS(reduce_args);
    uint32_t in_elements = p->places[j->in[0]].bytes / element_bytes(node->dtype), f, o, i;
    for (f = 0; f < frames; f++) {
        const uint32_t *index = TABLE(uint32_t, a->index_at);
        for (o = 0; o < a->outputs; o++, index += a->count) {
            if (node->dtype == TCN_F32) {
                const float *x = (const float *)from + (size_t)f * in_elements;
                double sum = 0.0;
                float most = -3.402823466e+38f, least = 3.402823466e+38f;
                for (i = 0; i < a->count; i++) {
                    float v = x[index[i]];
                    sum += v;
                    most = v > most ? v : most;
                    least = v < least ? v : least;
                }
                ((float *)to)[(size_t)f * a->outputs + o] = node->op == STATISTIC_MEAN  ? (float)(sum / a->count)
                                                            : node->op == STATISTIC_SUM ? (float)sum
                                                            : node->op == STATISTIC_MAX ? most
                                                                                        : least;
            } else {
                const uint8_t *x = (const uint8_t *)from + (size_t)f * p->places[j->in[0]].bytes;
                int64_t sum = 0;
                int32_t most = INT32_MIN, least = INT32_MAX, result;
                for (i = 0; i < a->count; i++) {
                    int32_t v = integer_at(x, node->dtype, index[i]);
                    sum += v;
                    most = v > most ? v : most;
                    least = v < least ? v : least;
                }
                result = node->op == STATISTIC_MAX ? most : node->op == STATISTIC_MIN ? least : statistic_of(a, sum, a->count, 0);
                store_integer(to, node->dtype, f * a->outputs + o, result);
            }
        }
    }
}

/* An exact sum of float32 values: digits of 32 bits in 64-bit places, so that what went in can be taken
 * out again without a trace. Only the frames of one window are ever in it, so no place overflows. Values
 * that are not finite are counted. */
typedef struct {
    int64_t digit[TCN_LIMBS];
    int64_t nans, positive, negative;
} exact_sum;

static void exact_add(exact_sum *s, float x, int sign)
{
    uint32_t bits = bits_of_float(x), exponent = (bits >> 23) & 0xFF, place;
    int64_t low, high;
    uint64_t wide;
    if (exponent == 255) {
        if (bits & 0x7FFFFF)
            s->nans += sign;
        else if (bits >> 31)
            s->negative += sign;
        else
            s->positive += sign;
        return;
    }
    place = exponent ? exponent - 1 : 0;
    wide = (uint64_t)((bits & 0x7FFFFF) | (exponent ? 0x800000u : 0)) << (place % 32);
    low = (int64_t)(wide & 0xFFFFFFFFu);
    high = (int64_t)(wide >> 32);
    if ((bits >> 31) ^ (sign < 0)) {
        low = -low;
        high = -high;
    }
    s->digit[place / 32] += low;
    s->digit[place / 32 + 1] += high;
}

static double exact_value(const exact_sum *s)
{
    int64_t digit[TCN_LIMBS];
    double value = 0.0, weight;
    uint32_t k, pass;
    int negative = 0;
    if (s->nans || (s->positive && s->negative))
        return (double)float_of_bits(0x7FC00000u);
    if (s->positive || s->negative)
        return (double)float_of_bits(s->positive ? 0x7F800000u : 0xFF800000u);
    memcpy(digit, s->digit, sizeof digit);
    for (pass = 0; pass < 2; pass++) {
        for (k = 0; k + 1 < TCN_LIMBS; k++) {
            int64_t carry = digit[k] >> 32;
            digit[k] -= carry * 4294967296;
            digit[k + 1] += carry;
        }
        if (digit[TCN_LIMBS - 1] >= 0)
            break;
        negative = 1;
        for (k = 0; k < TCN_LIMBS; k++)
            digit[k] = -digit[k];
    }
    weight = 0x1p-149; /* the least float32 */
    for (k = 0; k < TCN_LIMBS; k++, weight *= 4294967296.0)
        value += (double)digit[k] * weight;
    return negative ? -value : value;
}

static void gather_sums(const tcn_program *p, const tcn_node_record *node, const void *frame, uint8_t *carry, int sign)
{
    const reduce_args *a = ARGS(reduce_args);
    const uint32_t *index = TABLE(uint32_t, a->index_at);
    uint32_t o, i;
    for (o = 0; o < a->outputs; o++)
        for (i = 0; i < a->count; i++, index++) {
            if (node->dtype == TCN_F32)
                exact_add((exact_sum *)(void *)carry + o, ((const float *)frame)[*index], sign);
            else
                ((int64_t *)(void *)carry)[o] += sign * (int64_t)integer_at(frame, node->dtype, *index);
        }
}

/* Between two frames the sums hold the last extent - 1 frames: what the ring holds. */
static void trailing(const job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const reduce_args *a = ARGS(reduce_args);
    uint32_t l, o;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        uint8_t *carry = lane->carries + a->carry_at;
        for (f = lane->have[j->out[0]]; f < lane->goal[j->out[0]]; f++) {
            uint8_t *out = out_frame(p, lane, j->out[0], f);
            int64_t frames = f + 1 < node->extent ? f + 1 : node->extent, count = frames * a->count;
            gather_sums(p, node, frame_of(p, lane, j->in[0], f), carry, 1);
            for (o = 0; o < a->outputs; o++) {
                if (node->dtype == TCN_F32) {
                    double sum = exact_value((const exact_sum *)(const void *)carry + o);
                    ((float *)(void *)out)[o] = (float)(node->op == STATISTIC_MEAN ? sum / (double)count : sum);
                } else {
                    store_integer(out, node->dtype, o, statistic_of(a, ((const int64_t *)(const void *)carry)[o], count, node->op == STATISTIC_MEAN));
                }
            }
            if (frames == node->extent)
                gather_sums(p, node, frame_of(p, lane, j->in[0], f + 1 - node->extent), carry, -1);
        }
    }
}

static void cumulative(const job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const reduce_args *a = ARGS(reduce_args);
    uint32_t l, o, i;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        double *real = (double *)(void *)(lane->carries + a->carry_at);
        int64_t *whole = (int64_t *)(void *)(lane->carries + a->carry_at);
        for (f = lane->have[j->out[0]]; f < lane->goal[j->out[0]]; f++) {
            const uint32_t *index = TABLE(uint32_t, a->index_at);
            const uint8_t *in = frame_of(p, lane, j->in[0], f);
            uint8_t *out = out_frame(p, lane, j->out[0], f);
            int64_t count = (f + 1) * a->count;
            for (o = 0; o < a->outputs; o++, index += a->count) {
                if (node->dtype == TCN_F32) {
                    double sum = 0.0, most = -3.4028234663852886e38, least = 3.4028234663852886e38;
                    for (i = 0; i < a->count; i++) {
                        double v = (double)((const float *)(const void *)in)[index[i]];
                        sum += v;
                        most = v > most ? v : most;
                        least = v < least ? v : least;
                    }
                    if (node->op == STATISTIC_MAX)
                        real[o] = f == 0 || most > real[o] ? most : real[o];
                    else if (node->op == STATISTIC_MIN)
                        real[o] = f == 0 || least < real[o] ? least : real[o];
                    else
                        real[o] = f == 0 ? sum : real[o] + sum;
                    ((float *)(void *)out)[o] = (float)(node->op == STATISTIC_MEAN ? real[o] / (double)count : real[o]);
                } else {
                    int64_t sum = 0, most = INT32_MIN, least = INT32_MAX;
                    int32_t result;
                    for (i = 0; i < a->count; i++) {
                        int64_t v = integer_at(in, node->dtype, index[i]);
                        sum += v;
                        most = v > most ? v : most;
                        least = v < least ? v : least;
                    }
                    if (node->op == STATISTIC_MAX)
                        whole[o] = f == 0 || most > whole[o] ? most : whole[o];
                    else if (node->op == STATISTIC_MIN)
                        whole[o] = f == 0 || least < whole[o] ? least : whole[o];
                    else
                        whole[o] = f == 0 ? sum : whole[o] + sum;
                    result = node->op >= STATISTIC_MAX ? (int32_t)whole[o] : statistic_of(a, whole[o], count, node->op == STATISTIC_MEAN);
                    store_integer(out, node->dtype, o, result);
                }
            }
        }
    }
}

/* `offsets` has room for the taps or operands of all nodes. */
void tcn_find_steps(tcn_program *p, int32_t *offsets)
{
    uint32_t k, i;
    p->counts_wanted = 0;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        const uint32_t *operands = TABLE(uint32_t, node->operands_at);
        int64_t out_lag = p->lags[operands[node->n_inputs]];
        tcn_step *step = &p->steps[k];
        int fast = 1;
        memset(step, 0, sizeof *step);
        step->offsets = offsets;
        if (node->kind == KIND_CONV || node->kind == KIND_DEPTHWISE) {
            const conv_args *a = ARGS(conv_args);
            fast = a->f_out == 1 && a->taps_f == 1 && a->pad_f == 0;
            step->conv = a;
            step->kernel = window_kernel(p, node);
            step->taps = a->taps_t;
            for (i = 0; fast && i < a->taps_t; i++)
                *offsets++ = (int32_t)(p->lags[operands[0]] - out_lag - node->pad_begin + (int64_t)i * a->dilation_t);
        } else if (node->kind == KIND_BINARY) {
            const binary_args *a = ARGS(binary_args);
            uint32_t stream = 0;
            fast = !a->index_at[0] && !a->index_at[1];
            step->binary = a;
            step->taps = 2;
            for (i = 0; fast && i < 2; i++)
                *offsets++ = a->const_at[i] ? 0 : (int32_t)(p->lags[operands[stream++]] - out_lag);
        } else {
            fast = 0;
        }
        for (i = 0; fast && i < step->taps; i++) {
            const tcn_place *at = &p->places[operands[0]];
            if (step->binary)
                at = &p->places[operands[i < node->n_inputs ? i : 0]];
            /* only a plan that no writer makes looks further back than its rings */
            fast = step->offsets[i] < 1 && (step->offsets[i] == 0 || (at->ring != TCN_NONE && -(int64_t)step->offsets[i] <= at->frames));
        }
        if (!fast) {
            step->kernel = NULL;
            step->binary = NULL;
            p->counts_wanted = 1;
        }
    }
}

void tcn_run_step(const tcn_program *p, uint32_t k, tcn_lane_run *const lanes, uint32_t n_lanes)
{
    const tcn_step *step = &p->steps[k];
    const tcn_node_record *node = &p->nodes[k];
    const uint32_t *operands = TABLE(uint32_t, node->operands_at);
    const tcn_place *out = &p->places[operands[node->n_inputs]];
    uint32_t l, i;
    if (step->kernel) {
        const void **rows = p->rows;
        uint32_t filled = 0;
        for (l = 0; l < n_lanes; l++) {
            for (i = 0; i < step->taps; i++)
                *rows++ = frame_at(p, &lanes[l], operands[0], step->offsets[i]);
            p->outs[filled++] = out->base + out->pitch * lanes[l].index;
            if (filled == p->positions_at_most || l + 1 == n_lanes) {
                step->kernel(step->conv, p->plan, p->rows, p->outs, filled);
                rows = p->rows;
                filled = 0;
            }
        }
    } else if (step->binary) {
        const binary_args *a = step->binary;
        for (l = 0; l < n_lanes; l++) {
            void *to = out->base + out->pitch * lanes[l].index;
            const uint32_t *in = operands;
            const void *x = a->const_at[0] ? p->plan + a->const_at[0] : frame_at(p, &lanes[l], *in++, step->offsets[0]);
            const void *y = a->const_at[1] ? p->plan + a->const_at[1] : frame_at(p, &lanes[l], *in, step->offsets[1]);
            if (node->dtype == TCN_F32)
                p->kernels->binary_f32(a, node->op, x, y, to, a->elements);
            else if (node->dtype == TCN_I8)
                p->kernels->binary_i8(a, node->op, x, y, to, a->elements);
            else
                p->kernels->binary_i16(a, node->op, x, y, to, a->elements);
        }
    } else {
        tcn_run_node(p, k, lanes, n_lanes);
    }
}

void tcn_rebuild_carries(const tcn_program *p, tcn_lane_run *lane)
{
    uint32_t k;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        const uint32_t *operands = TABLE(uint32_t, node->operands_at);
        const reduce_args *a = ARGS(reduce_args);
        int64_t f, done;
        if (node->kind != KIND_TRAILING)
            continue;
        memset(lane->carries + a->carry_at, 0, (size_t)a->outputs * (node->dtype == TCN_F32 ? sizeof(exact_sum) : 8));
        done = lane->have[operands[1]];
        for (f = done - node->extent + 1 < 0 ? 0 : done - node->extent + 1; f < done; f++)
            gather_sums(p, node, frame_of(p, lane, operands[0], f), lane->carries + a->carry_at, 1);
    }
}

void tcn_run_node(const tcn_program *p, uint32_t k, tcn_lane_run *const lanes, uint32_t n_lanes)
{
    job j;
    j.p = p;
    j.node = &p->nodes[k];
    j.in = TABLE(uint32_t, j.node->operands_at);
    j.out = j.in + j.node->n_inputs;
    j.lanes = lanes;
    j.n_lanes = n_lanes;
    switch (j.node->kind) {
    case KIND_CONV:
    case KIND_DEPTHWISE:
        convolution(&j, 0);
        break;
    case KIND_TRANSPOSE_CONV:
        convolution(&j, 1);
        break;
    case KIND_RESAMPLE:
        tcn_resample(p, j.node, *j.in, *j.out, lanes, n_lanes);
        break;
    case KIND_POOL:
        pool(&j);
        break;
    case KIND_BINARY:
        binary(&j);
        break;
    case KIND_UNARY:
        each_run(&j, unary);
        break;
    case KIND_TABLE:
        each_run(&j, table);
        break;
    case KIND_TABLE16:
        each_run(&j, table16);
        break;
    case KIND_SIGMOID16:
        each_run(&j, sigmoid16);
        break;
    case KIND_QUANTIZE:
        each_run(&j, quantize);
        break;
    case KIND_RESCALE:
        each_run(&j, rescale);
        break;
    case KIND_SOFTMAX:
        each_run(&j, softmax);
        break;
    case KIND_MOVE:
        move(&j);
        break;
    case KIND_TIME_MOVE:
        time_move(&j);
        break;
    case KIND_REDUCE:
        each_run(&j, reduce);
        break;
    case KIND_TRAILING:
        trailing(&j);
        break;
    default:
        cumulative(&j);
    }
}
