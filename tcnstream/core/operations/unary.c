/* unary.c - a function of one float32 value. */
#include "operation.h"

TCN_RARELY static int check_unary(tcn_checker *c)
{
    ARGUMENTS(unary_args);
    REQUIRE(c->node->dtype == TCN_F32 && output_of(c)->dtype == TCN_F32, &c->node->dtype, TCN_VALUE);
    REQUIRE(c->node->op <= UNARY_SIGN, &c->node->op, TCN_VALUE);
    return tcn_check_element(c, &a->elements);
}

static void unary(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const unary_args *a = ARGS(unary_args);
    p->kernels->unary_f32(a, node->op, from, to, frames * a->elements);
}

static void run_unary(const tcn_job *j) { tcn_each_run(j, unary); }

const tcn_operation tcn_unary = {check_unary, run_unary, NULL};
