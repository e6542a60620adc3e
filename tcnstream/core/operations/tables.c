/* tables.c - functions of one integer that are looked up. */
#include "operation.h"

TCN_RARELY static int check_table(tcn_checker *c)
{
    ARGUMENTS(table_args);
    REQUIRE(c->node->dtype == TCN_I8 || c->node->dtype == TCN_U8, &c->node->dtype, TCN_VALUE);
    REQUIRE(a->out_bytes == 1 || a->out_bytes == 2 || a->out_bytes == 4, &a->out_bytes, TCN_VALUE);
    REQUIRE((uint64_t)a->out_bytes * a->elements == output_of(c)->bytes, &a->out_bytes, TCN_VALUE);
    REQUIRE(holds(c, a->table_at, 256, a->out_bytes), &a->table_at, TCN_BOUNDS);
    return tcn_check_element(c, &a->elements);
}

TCN_RARELY static int check_table16(tcn_checker *c)
{
    ARGUMENTS(table16_args);
    REQUIRE(c->node->dtype == TCN_I16 && output_of(c)->dtype == TCN_I16, &c->node->dtype, TCN_VALUE);
    REQUIRE(c->node->op <= SIGMOID_TANH, &c->node->op, TCN_VALUE);
    REQUIRE(holds(c, a->table_at, c->node->kind == KIND_TABLE16 ? 513 : 256, 2), &a->table_at, TCN_BOUNDS);
    REQUIRE(a->shift >= 0 && a->shift <= 30, &a->shift, TCN_VALUE);
    return tcn_check_element(c, &a->elements);
}

static void table(const tcn_job *j, const void *from, void *to, uint32_t frames)
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
        const uint16_t *entry = IN_PLAN(uint16_t, a->table_at);
        for (i = 0; i < n; i++)
            ((uint16_t *)to)[i] = entry[x[i]];
    } else {
        const uint32_t *entry = IN_PLAN(uint32_t, a->table_at);
        for (i = 0; i < n; i++)
            ((uint32_t *)to)[i] = entry[x[i]];
    }
}

static void table16(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const table16_args *a = ARGS(table16_args);
    uint32_t n = frames * a->elements, i;
    for (i = 0; i < n; i++)
        ((int16_t *)to)[i] = (int16_t)look_up(IN_PLAN(int16_t, a->table_at), ((const int16_t *)from)[i]);
}

/* LOGISTIC and TANH of int16: integer_ops/logistic.h, integer_ops/tanh.h */
static void sigmoid16(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const table16_args *a = ARGS(table16_args);
    const uint16_t *entry = IN_PLAN(uint16_t, a->table_at);
    int tanh = node->op == SIGMOID_TANH, fraction = tanh ? 8 : 9;
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

static void run_table(const tcn_job *j) { tcn_each_run(j, table); }
static void run_table16(const tcn_job *j) { tcn_each_run(j, table16); }
static void run_sigmoid16(const tcn_job *j) { tcn_each_run(j, sigmoid16); }

const tcn_operation tcn_table = {check_table, run_table, NULL};
const tcn_operation tcn_table16 = {check_table16, run_table16, NULL};
const tcn_operation tcn_sigmoid16 = {check_table16, run_sigmoid16, NULL};
