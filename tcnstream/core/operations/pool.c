/* pool.c - the greatest or the mean of a window; what stands in the padding does not count. */
#include "operation.h"

TCN_RARELY static int check_pool(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    ARGUMENTS(pool_args);
    REQUIRE(n->dtype <= TCN_I16 && output_of(c)->dtype == n->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(n->op <= POOL_AVERAGE_UP && c->window->up == 1, &n->op, TCN_VALUE);
    REQUIRE(a->taps_t > 0 && a->taps_f > 0 && a->taps_t <= 1u << 20 && a->taps_f <= 1u << 20 &&
            (uint64_t)a->taps_t * a->taps_f <= c->h->max_taps, &a->taps_t, TCN_BOUNDS);
    REQUIRE((int64_t)a->taps_t <= c->window->extent, &c->window->extent, TCN_VALUE);
    REQUIRE(a->stride_f > 0 && a->stride_f <= MOST_FRAMES, &a->stride_f, TCN_VALUE);
    REQUIRE(a->pad_f > -MOST_FRAMES && a->pad_f < MOST_FRAMES, &a->pad_f, TCN_VALUE);
    REQUIRE((uint64_t)a->f_in * a->channels == elements_of(input_of(c, 0)), &a->f_in, TCN_VALUE);
    REQUIRE((uint64_t)a->f_out * a->channels == elements_of(output_of(c)), &a->f_out, TCN_VALUE);
    return TCN_OK;
}

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
            float y = op != POOL_MAX ? sum_f / (float)count : best_f;
            y = y < a->low_f ? a->low_f : y;
            ((float *)out)[c] = y > a->high_f ? a->high_f : y;
        } else {
            int32_t y = best;
            if (op == POOL_AVERAGE_UP)
                y = count == 0 ? 0 : (sum + 128 * count + count / 2) / count - 128;
            else if (op == POOL_AVERAGE)
                y = count == 0 ? 0 : sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
            y = clip32(y, a->low, a->high);
            if (dtype == TCN_I8)
                ((int8_t *)out)[c] = (int8_t)y;
            else
                ((int16_t *)out)[c] = (int16_t)y;
        }
    }
}

static void pool(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const pool_args *a = ARGS(pool_args);
    uint32_t item = element_bytes(node->dtype), row = a->channels * item, l, f, k, q;
    int64_t frame;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (frame = lane->begin[j->out[0]]; frame < lane->end[j->out[0]]; frame++) {
            uint8_t *out = output_frame_at(p, lane, j->out[0], frame);
            int64_t first = frame * j->window->stride - j->window->pad_begin;
            for (f = 0; f < a->f_out; f++) {
                const void **rows = p->rows;
                for (k = 0; k < a->taps_t; k++) {
                    int64_t at = first + k;
                    const uint8_t *in = NULL;
                    if (at >= 0 && !(lane->signal_frames && at >= lane->signal_frames[j->in[0]]))
                        in = frame_at(p, lane, j->in[0], at);
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

const tcn_operation tcn_pool = {check_pool, pool, NULL};
