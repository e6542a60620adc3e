/* reduce.c - statistics of one frame. */
#include "statistics.h"

int tcn_check_statistics(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    const uint32_t *index;
    uint64_t total, i, each = n->kind == KIND_TRAILING && n->dtype == TCN_F32 ? 8 * (TCN_LIMBS + 3) : 8;
    ARGUMENTS(reduce_args);
    REQUIRE(n->dtype <= TCN_I16 && output_of(c)->dtype == n->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(n->op <= (n->kind == KIND_TRAILING ? STATISTIC_SUM : STATISTIC_MIN), &n->op, TCN_VALUE);
    REQUIRE(a->outputs == output_of(c)->elements && a->count > 0 && a->count <= MOST_ELEMENTS, &a->outputs, TCN_VALUE);
    total = (uint64_t)a->outputs * a->count;
    REQUIRE(holds(c, a->index_at, total, 4), &a->index_at, TCN_BOUNDS);
    index = (const uint32_t *)(const void *)(c->plan + a->index_at);
    for (i = 0; i < total; i++)
        REQUIRE(index[i] < input_of(c, 0)->elements, index + i, TCN_BOUNDS);
    REQUIRE(shift_ok(a->shift) && a->multiplier >= 0, &a->shift, TCN_VALUE);
    if (n->kind == KIND_TRAILING) {
        REQUIRE(n->edge == EDGE_CLIP && n->up == 1 && n->stride == 1 && n->pad_begin == n->extent - 1 && n->pad_end == 0, &n->edge, TCN_VALUE);
        /* what the sums take out again must still be in the ring */
        REQUIRE((int64_t)input_of(c, 0)->ring_frames >= n->extent - 1, &n->extent, TCN_VALUE);
    } else {
        REQUIRE(same_frame(n), &n->up, TCN_VALUE);
    }
    if (n->kind != KIND_REDUCE)
        REQUIRE(a->carry_at % 8 == 0 && a->carry_at <= c->h->carry_bytes && a->outputs * each <= c->h->carry_bytes - a->carry_at, &a->carry_at, TCN_BOUNDS);
    return TCN_OK;
}

static void reduce(const tcn_job *j, const void *from, void *to, uint32_t frames)
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

static void run_reduce(const tcn_job *j) { tcn_each_run(j, reduce); }

const tcn_operation tcn_reduce = {tcn_check_statistics, run_reduce, NULL};
