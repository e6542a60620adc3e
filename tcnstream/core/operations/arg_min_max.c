/* arg_min_max.c - ARG_MAX and ARG_MIN: the first place of the extreme; NaN is passed over. */
#include "../kernels/functions.h"
#include "operands.h"

TCN_RARELY static int check_arg_min_max(tcn_checker *c)
{
    uint32_t out = output_of(c)->dtype;
    ARGUMENTS(reduce_args);
    REQUIRE(same_frame(c->window) && c->node->op <= ARG_MIN, &c->node->op, TCN_VALUE);
    REQUIRE(out == TCN_I32 || out == TCN_I64, &c->node->op, TCN_VALUE);
    return tcn_check_groups(c, a);
}

static float or_worst(float x, int least) { return x == x ? x : float_of_bits(least ? 0x7F800000u : 0xFF800000u); }

static uint32_t arg_of_floats(const float *x, const uint32_t *index, uint32_t count, int least)
{
    float best = or_worst(x[index[0]], least);
    uint32_t i, place = 0;
    for (i = 1; i < count; i++) {
        float v = or_worst(x[index[i]], least);
        if (least ? v < best : v > best) {
            best = v;
            place = i;
        }
    }
    return place;
}

static uint32_t arg_of_integers(const void *x, uint32_t dtype, const uint32_t *index, uint32_t count, int least)
{
    int64_t best = tcn_integer_at(x, dtype, index[0]);
    uint32_t i, place = 0;
    for (i = 1; i < count; i++) {
        int64_t v = tcn_integer_at(x, dtype, index[i]);
        if (least ? v < best : v > best) {
            best = v;
            place = i;
        }
    }
    return place;
}

static void arg_min_max(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const reduce_args *a = ARGS(reduce_args);
    uint32_t out = frame_of(p, j->out[0])->dtype, f, o;
    int least = node->op == ARG_MIN;
    for (f = 0; f < frames; f++) {
        const uint8_t *x = (const uint8_t *)from + (size_t)f * p->places[j->in[0]].bytes;
        const uint32_t *index = IN_PLAN(uint32_t, a->index_at);
        for (o = 0; o < a->outputs; o++, index += a->count) {
            uint32_t place = node->dtype == TCN_F32 ? arg_of_floats((const float *)(const void *)x, index, a->count, least)
                                                    : arg_of_integers(x, node->dtype, index, a->count, least);
            tcn_store_integer(to, out, f * a->outputs + o, place);
        }
    }
}

static void run_arg_min_max(const tcn_job *j) { tcn_each_run(j, arg_min_max); }

const tcn_operation tcn_arg_min_max = {check_arg_min_max, run_arg_min_max, NULL};
