/* policies.c - statistics over time: of the last frames (TRAILING), of all so far (CUMULATIVE). */
#include "exact_sum.h"
#include "statistics.h"
#include "window_tree.h"

static void gather_sums(const tcn_program *p, const tcn_node_record *node, const void *frame, uint8_t *carry, int sign)
{
    const reduce_args *a = ARGS(reduce_args);
    const uint32_t *index = IN_PLAN(uint32_t, a->index_at);
    uint32_t o, i;
    for (o = 0; o < a->outputs; o++)
        for (i = 0; i < a->count; i++, index++) {
            if (node->dtype == TCN_F32)
                exact_add((exact_sum *)(void *)carry + o, ((const float *)frame)[*index], sign);
            else
                ((int64_t *)(void *)carry)[o] += sign * tcn_integer_at(frame, node->dtype, *index);
        }
}

static int32_t worst_key(uint32_t dtype, int least)
{
    if (dtype == TCN_F32)
        return key_of_float(least ? 3.402823466e+38f : -3.402823466e+38f);
    return least ? INT32_MAX : INT32_MIN;
}

/* The best value of a frame, NaN passed over. */
static int32_t best_key(const void *frame, uint32_t dtype, const uint32_t *index, uint32_t count, int least)
{
    int32_t best = worst_key(dtype, least);
    uint32_t i;
    for (i = 0; i < count; i++) {
        float x = dtype == TCN_F32 ? ((const float *)frame)[index[i]] : 0.0f;
        if (x == x)
            best = better_of(dtype == TCN_F32 ? key_of_float(x) : (int32_t)tcn_integer_at(frame, dtype, index[i]), best, least);
    }
    return best;
}

/* Frame `f` into the trees of all outputs; the first frame finds them empty. */
static void gather_extremes(const tcn_program *p, const tcn_node_record *node, const void *frame, int64_t f,
                            uint8_t *carry, int first)
{
    const reduce_args *a = ARGS(reduce_args);
    const uint32_t *index = IN_PLAN(uint32_t, a->index_at);
    uint32_t n = (uint32_t)window_of(p, node)->extent, o;
    int least = node->op == STATISTIC_MIN;
    for (o = 0; o < a->outputs; o++, index += a->count) {
        int32_t *tree = (int32_t *)(void *)carry + (size_t)2 * n * o;
        if (first)
            empty_tree(tree, n, worst_key(node->dtype, least));
        put_in_tree(tree, n, (uint32_t)(f % n), best_key(frame, node->dtype, index, a->count, least), least);
    }
}

static void trailing_extreme(const tcn_job *j, const tcn_lane_run *lane, int64_t f, uint8_t *carry, uint8_t *out)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const reduce_args *a = ARGS(reduce_args);
    uint32_t o;
    gather_extremes(p, node, frame_at(p, lane, j->in[0], f), f, carry, f == 0);
    for (o = 0; o < a->outputs; o++) {
        int32_t best = best_of_tree((const int32_t *)(const void *)carry + (size_t)2 * (uint32_t)j->window->extent * o);
        if (node->dtype == TCN_F32)
            ((float *)(void *)out)[o] = float_of_key(best);
        else
            tcn_store_integer(out, node->dtype, o, best);
    }
}

/* Between two frames the sums hold the last extent - 1 frames: what the ring holds. */
static void trailing_sum(const tcn_job *j, const tcn_lane_run *lane, int64_t f, uint8_t *carry, uint8_t *out)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const reduce_args *a = ARGS(reduce_args);
    int64_t frames = f + 1 < j->window->extent ? f + 1 : j->window->extent, count = frames * a->count;
    uint32_t o;
    gather_sums(p, node, frame_at(p, lane, j->in[0], f), carry, 1);
    for (o = 0; o < a->outputs; o++) {
        if (node->dtype == TCN_F32) {
            double sum = exact_value((const exact_sum *)(const void *)carry + o);
            ((float *)(void *)out)[o] = (float)(node->op == STATISTIC_MEAN ? sum / (double)count : sum);
        } else {
            tcn_store_integer(out, node->dtype, o, statistic_of(a, ((const int64_t *)(const void *)carry)[o], count, node->op == STATISTIC_MEAN));
        }
    }
    if (frames == j->window->extent)
        gather_sums(p, node, frame_at(p, lane, j->in[0], f + 1 - j->window->extent), carry, -1);
}

static int is_sum(const tcn_node_record *node) { return node->op == STATISTIC_MEAN || node->op == STATISTIC_SUM; }

static void trailing(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    uint32_t l;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        uint8_t *carry = lane->carries + ARGS(reduce_args)->carry_at;
        for (f = lane->begin[j->out[0]]; f < lane->end[j->out[0]]; f++)
            (is_sum(node) ? trailing_sum : trailing_extreme)(j, lane, f, carry, output_frame_at(p, lane, j->out[0], f));
    }
}

static void cumulative(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const reduce_args *a = ARGS(reduce_args);
    uint32_t l, o, i;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        double *running_f = (double *)(void *)(lane->carries + a->carry_at);
        int64_t *running = (int64_t *)(void *)(lane->carries + a->carry_at);
        for (f = lane->begin[j->out[0]]; f < lane->end[j->out[0]]; f++) {
            const uint32_t *index = IN_PLAN(uint32_t, a->index_at);
            const uint8_t *in = frame_at(p, lane, j->in[0], f);
            uint8_t *out = output_frame_at(p, lane, j->out[0], f);
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
                        running_f[o] = f == 0 || most > running_f[o] ? most : running_f[o];
                    else if (node->op == STATISTIC_MIN)
                        running_f[o] = f == 0 || least < running_f[o] ? least : running_f[o];
                    else
                        running_f[o] = f == 0 ? sum : running_f[o] + sum;
                    ((float *)(void *)out)[o] = (float)(node->op == STATISTIC_MEAN ? running_f[o] / (double)count : running_f[o]);
                } else {
                    int64_t sum = 0, most = INT32_MIN, least = INT32_MAX;
                    int32_t result;
                    for (i = 0; i < a->count; i++) {
                        int64_t v = tcn_integer_at(in, node->dtype, index[i]);
                        sum += v;
                        most = v > most ? v : most;
                        least = v < least ? v : least;
                    }
                    if (node->op == STATISTIC_MAX)
                        running[o] = f == 0 || most > running[o] ? most : running[o];
                    else if (node->op == STATISTIC_MIN)
                        running[o] = f == 0 || least < running[o] ? least : running[o];
                    else
                        running[o] = f == 0 ? sum : running[o] + sum;
                    result = node->op >= STATISTIC_MAX ? (int32_t)running[o] : statistic_of(a, running[o], count, node->op == STATISTIC_MEAN);
                    tcn_store_integer(out, node->dtype, o, result);
                }
            }
        }
    }
}

void tcn_rebuild_carries(const tcn_program *p, tcn_lane_run *lane)
{
    uint32_t k;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        const uint16_t *operands = node_operands(p, node);
        const reduce_args *a = ARGS(reduce_args);
        int sums = is_sum(node);
        uint8_t *carry;
        int64_t f, first, done;
        if (node->kind != KIND_TRAILING)
            continue;
        carry = lane->carries + a->carry_at;
        done = lane->have[operands[1]];
        first = done - window_of(p, node)->extent + 1 < 0 ? 0 : done - window_of(p, node)->extent + 1;
        if (sums)
            memset(carry, 0, (size_t)a->outputs * (node->dtype == TCN_F32 ? sizeof(exact_sum) : 8));
        for (f = first; f < done; f++) {
            const uint8_t *frame = frame_at(p, lane, operands[0], f);
            if (sums)
                gather_sums(p, node, frame, carry, 1);
            else
                gather_extremes(p, node, frame, f, carry, f == first);
        }
    }
}

const tcn_operation tcn_trailing = {tcn_check_statistics, trailing, NULL};
const tcn_operation tcn_cumulative = {tcn_check_statistics, cumulative, NULL};
