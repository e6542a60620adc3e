/* reduce.c - statistics of one frame. */
#include "statistics.h"

TCN_RARELY int tcn_check_statistics(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    uint64_t each = n->kind != KIND_TRAILING ? 8
                    : n->op >= STATISTIC_MAX ? 8 * (uint64_t)c->window->extent
                    : n->dtype == TCN_F32    ? 8 * (TCN_SUM_DIGITS + 3)
                                             : 8;
    int error;
    ARGUMENTS(reduce_args);
    REQUIRE(n->dtype <= (n->kind == KIND_REDUCE ? TCN_I64 : TCN_I16) && output_of(c)->dtype == n->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(n->op <= (n->kind == KIND_REDUCE ? STATISTIC_PRODUCT : STATISTIC_MIN), &n->op, TCN_VALUE);
    if (n->op == STATISTIC_PRODUCT)
        REQUIRE(a->shift <= 14, &a->shift, TCN_VALUE);
    error = tcn_check_groups(c, a);
    if (error)
        return error;
    REQUIRE(shift_ok(a->shift) && a->multiplier >= 0, &a->shift, TCN_VALUE);
    if (n->kind == KIND_TRAILING) {
        const tcn_ring_record *ring = tcn_checked_ring(c, c->in[0]);
        REQUIRE(n->edge == EDGE_CLIP && c->window->up == 1 && c->window->stride == 1 && c->window->pad_begin == c->window->extent - 1 && c->window->pad_end == 0, &n->edge, TCN_VALUE);
        /* what the sums take out again must still be there */
        REQUIRE((ring ? (int64_t)ring->frames : 0) >= c->window->extent - 1, &c->window->extent, TCN_VALUE);
    } else {
        REQUIRE(same_frame(c->window), &c->window->up, TCN_VALUE);
    }
    if (n->kind != KIND_REDUCE)
        REQUIRE(a->carry_at % 8 == 0 && a->carry_at <= c->h->carry_bytes && a->outputs * each <= c->h->carry_bytes - a->carry_at, &a->carry_at, TCN_BOUNDS);
    return TCN_OK;
}

static float float_statistic(const float *x, const uint32_t *index, uint32_t count, int op)
{
    double sum = 0.0, product = 1.0;
    float most = -3.402823466e+38f, least = 3.402823466e+38f;
    uint32_t i;
    for (i = 0; i < count; i++) {
        float v = x[index[i]];
        sum += v;
        product *= v;
        most = v > most ? v : most;
        least = v < least ? v : least;
    }
    return op == STATISTIC_MEAN  ? (float)(sum / count)
           : op == STATISTIC_SUM ? (float)sum
           : op == STATISTIC_MAX ? most
           : op == STATISTIC_MIN ? least
                                 : (float)product;
}

/* QuantizedReduceProd: every step is rescaled */
static int32_t scaled_product(const reduce_args *a, const void *x, uint32_t dtype, const uint32_t *index)
{
    int64_t product = tcn_integer_at(x, dtype, index[0]) - a->zero_in;
    uint32_t i;
    for (i = 1; i < a->count; i++)
        product = multiply_wide((int64_t)((uint64_t)product * (uint64_t)(tcn_integer_at(x, dtype, index[i]) - a->zero_in)), a->multiplier, a->shift);
    return clip32(add32(multiply_wide(product, a->multiplier, a->shift), a->zero_out), a->low, a->high);
}

static int64_t integer_statistic(const reduce_args *a, const void *x, uint32_t dtype, const uint32_t *index, int op)
{
    int64_t sum = 0, most = INT64_MIN, least = INT64_MAX;
    uint64_t product = 1;
    uint32_t i;
    if (op == STATISTIC_PRODUCT && dtype <= TCN_I16)
        return scaled_product(a, x, dtype, index);
    for (i = 0; i < a->count; i++) {
        int64_t v = tcn_integer_at(x, dtype, index[i]);
        sum = add64(sum, v);
        product *= (uint64_t)v;
        most = v > most ? v : most;
        least = v < least ? v : least;
    }
    if (op == STATISTIC_MAX || op == STATISTIC_MIN)
        return op == STATISTIC_MAX ? most : least;
    if (op == STATISTIC_PRODUCT)
        return (int64_t)product;
    if (dtype <= TCN_I16)
        return statistic_of(a, sum, a->count, 0);
    return op == STATISTIC_MEAN ? sum / (int64_t)a->count : sum;
}

static void reduce(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const reduce_args *a = ARGS(reduce_args);
    uint32_t f, o;
    for (f = 0; f < frames; f++) {
        const uint32_t *index = IN_PLAN(uint32_t, a->index_at);
        const uint8_t *x = (const uint8_t *)from + (size_t)f * p->places[j->in[0]].bytes;
        for (o = 0; o < a->outputs; o++, index += a->count) {
            uint32_t at = f * a->outputs + o;
            if (node->dtype == TCN_F32)
                ((float *)to)[at] = float_statistic((const float *)(const void *)x, index, a->count, node->op);
            else
                tcn_store_integer(to, node->dtype, at, integer_statistic(a, x, node->dtype, index, node->op));
        }
    }
}

static void run_reduce(const tcn_job *j) { tcn_each_run(j, reduce); }

const tcn_operation tcn_reduce = {tcn_check_statistics, run_reduce, NULL};
