/* unary_scalar.c - functions of one value that change its type or have no table: CAST, integers, int16 with a scale. */
#include "operands.h"

TCN_RARELY static int check_unary_scalar(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    uint32_t out = output_of(c)->dtype;
    ARGUMENTS(unary_scalar_args);
    REQUIRE(n->op <= SCALAR_LEAKY_RELU, &n->op, TCN_VALUE);
    REQUIRE(n->op == SCALAR_CAST || (n->dtype != TCN_F32 && out == n->dtype), &n->dtype, TCN_VALUE);
    REQUIRE(shift_ok(a->shift) && shift_ok(a->shift_negative), &a->shift, TCN_VALUE);
    REQUIRE(a->multiplier_negative > INT32_MIN, &a->multiplier_negative, TCN_VALUE);
    return tcn_check_element(c, &a->elements);
}

/* What is too large saturates, NaN gives the greatest integer. */
static int64_t integer_of_float(float x, uint32_t dtype)
{
    static const int64_t most[] = {0, INT8_MAX, INT16_MAX, INT32_MAX, INT64_MAX};
    int64_t integer;
    if (dtype == TCN_BOOL)
        return x != 0.0f;
    if (!(x < 9223372036854775808.0f))
        return most[dtype];
    integer = x < -9223372036854775808.0f ? INT64_MIN : (int64_t)x;
    return integer > most[dtype] ? most[dtype] : integer < -most[dtype] - 1 ? -most[dtype] - 1 : integer;
}

static int64_t value_of(const unary_scalar_args *a, int op, int64_t x)
{
    int32_t centred = sub32((int32_t)x, a->zero_in), r;
    switch (op) {
    case SCALAR_ABS:
        return x < 0 ? (int64_t)(0 - (uint64_t)x) : x;
    case SCALAR_NEG:
        return (int64_t)(0 - (uint64_t)x);
    case SCALAR_SIGN:
        return (x > 0) - (x < 0);
    case SCALAR_LOGICAL_NOT:
        return !x;
    case SCALAR_ABS_RESCALED:
        r = multiply_twice(centred < 0 ? sub32(0, centred) : centred, a->multiplier, a->shift);
        break;
    default:
        r = multiply_twice(centred, a->multiplier, a->shift);
        if (centred < 0 && a->multiplier_negative < 0)
            r = sub32(0, multiply_twice(centred, -a->multiplier_negative, a->shift_negative));
        else if (centred < 0)
            r = multiply_twice(centred, a->multiplier_negative, a->shift_negative);
    }
    return clip32(add32(r, a->zero_out), a->low, a->high);
}

static void unary_scalar(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const unary_scalar_args *a = ARGS(unary_scalar_args);
    uint32_t out = frame_of(p, j->out[0])->dtype, n = frames * a->elements, i;
    for (i = 0; i < n; i++) {
        if (node->dtype == TCN_F32 && out == TCN_F32) {
            ((float *)to)[i] = ((const float *)from)[i];
        } else if (node->dtype == TCN_F32) {
            tcn_store_integer(to, out, i, integer_of_float(((const float *)from)[i], out));
        } else {
            int64_t x = tcn_integer_at(from, node->dtype, i);
            if (out == TCN_F32)
                ((float *)to)[i] = (float)x;
            else
                tcn_store_integer(to, out, i, node->op == SCALAR_CAST ? x : value_of(a, node->op, x));
        }
    }
}

static void run_unary_scalar(const tcn_job *j) { tcn_each_run(j, unary_scalar); }

const tcn_operation tcn_unary_scalar = {check_unary_scalar, run_unary_scalar, NULL};
