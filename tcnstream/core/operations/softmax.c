/* softmax.c - SOFTMAX and LOG_SOFTMAX over the last axis, in float32 and in the fixed point of the reference kernels. */
#include "../kernels/functions.h"
#include "gemmlowp.h"
#include "operation.h"

TCN_RARELY static int check_softmax(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    ARGUMENTS(softmax_args);
    REQUIRE(n->dtype <= TCN_I16 && output_of(c)->dtype == n->dtype && same_frame(c->window), &n->dtype, TCN_VALUE);
    REQUIRE(a->depth > 0 && a->depth <= (n->dtype == TCN_F32 ? MOST_ELEMENTS : TCN_MAX_SOFTMAX_INTEGERS), &a->depth, TCN_VALUE);
    REQUIRE((uint64_t)a->rows * a->depth == elements_of(output_of(c)) && elements_of(output_of(c)) == elements_of(input_of(c, 0)), &a->rows, TCN_VALUE);
    REQUIRE(n->op <= (n->dtype == TCN_I16 ? SOFTMAX_SOFTMAX : SOFTMAX_LOG_SOFTMAX), &n->op, TCN_VALUE);
    if (n->op == SOFTMAX_LOG_SOFTMAX)
        REQUIRE(a->radius >= 0 && shift_ok(a->inverse_shift), &a->inverse_shift, TCN_VALUE);
    if (n->dtype == TCN_I8)
        REQUIRE(a->shift >= 0 && a->shift <= 30, &a->shift, TCN_VALUE);
    if (n->dtype == TCN_I16) {
        REQUIRE(shift_ok(a->shift), &a->shift, TCN_VALUE);
        REQUIRE(holds(c, a->exp_at, 513, 2), &a->exp_at, TCN_BOUNDS);
        REQUIRE(holds(c, a->inverse_at, 513, 2), &a->inverse_at, TCN_BOUNDS);
    }
    return TCN_OK;
}

TCN_COMPACT void softmax_i8(const softmax_args *a, const int8_t *x, int8_t *y)
{
    int32_t most = -128, sum = 0, inverse, places;
    uint32_t c;
    int bits;
    for (c = 0; c < a->depth; c++)
        most = x[c] > most ? x[c] : most;
    for (c = 0; c < a->depth; c++)
        if (x[c] - most >= -a->radius)
            sum = add32(sum, shift_right(exp_of_negative(high_mul(left32(x[c] - most, a->shift), a->multiplier)), 12));
    inverse = reciprocal(sum, 12, &bits);
    places = bits + 31 - 8;
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

TCN_COMPACT int32_t power_i16(const softmax_args *a, const int16_t *table, int32_t difference)
{
    int32_t scaled = add32(multiply_twice(difference, a->multiplier, a->shift), 32767);
    return look_up(table, clip32(scaled, -32768, 32767));
}

TCN_COMPACT void softmax_i16(const tcn_program *p, const softmax_args *a, const int16_t *x, int16_t *y)
{
    const int16_t *exp_table = IN_PLAN(int16_t, a->exp_at), *inverse_table = IN_PLAN(int16_t, a->inverse_at);
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

TCN_COMPACT void softmax_f32(const softmax_args *a, const float *x, float *y)
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

TCN_COMPACT void log_softmax_f32(const softmax_args *a, const float *x, float *y)
{
    float most = x[0], sum = 0.0f, log_of_sum;
    uint32_t c;
    for (c = 1; c < a->depth; c++)
        most = x[c] > most || x[c] != x[c] ? x[c] : most;
    for (c = 0; c < a->depth; c++)
        sum += tcn_exp(x[c] - most);
    log_of_sum = tcn_log(sum);
    for (c = 0; c < a->depth; c++)
        y[c] = x[c] - most - log_of_sum;
}

TCN_COMPACT void log_softmax_i8(const softmax_args *a, const int8_t *x, int8_t *y)
{
    int32_t most = -128, sum = 0, log_of_sum, least;
    uint32_t c;
    for (c = 0; c < a->depth; c++)
        most = x[c] > most ? x[c] : most;
    for (c = 0; c < a->depth; c++)
        if (x[c] - most >= -a->radius)
            sum = add32(sum, shift_right(exp_of_negative(multiply_twice(x[c] - most, a->multiplier, a->shift)), 12));
    log_of_sum = log_of_at_least_one(sum < 1 << 19 ? 1 << 19 : sum);
    least = multiply_twice(add32(log_of_sum, INT32_MIN), a->inverse_multiplier, a->inverse_shift);
    least = least > -a->radius - 1 ? least : -a->radius - 1;
    for (c = 0; c < a->depth; c++) {
        int32_t scaled = multiply_twice(x[c] - most, a->multiplier, a->shift);
        y[c] = (int8_t)(x[c] - most > least ? clip32(shift_right(sub32(scaled, log_of_sum), 22) + 127, -128, 127) : -128);
    }
}

static void softmax(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const softmax_args *a = ARGS(softmax_args);
    uint32_t r;
    for (r = 0; r < frames * a->rows; r++) {
        size_t at = (size_t)r * a->depth;
        if (node->op == SOFTMAX_LOG_SOFTMAX && node->dtype == TCN_F32)
            log_softmax_f32(a, (const float *)from + at, (float *)to + at);
        else if (node->op == SOFTMAX_LOG_SOFTMAX)
            log_softmax_i8(a, (const int8_t *)from + at, (int8_t *)to + at);
        else if (node->dtype == TCN_F32)
            softmax_f32(a, (const float *)from + at, (float *)to + at);
        else if (node->dtype == TCN_I8)
            softmax_i8(a, (const int8_t *)from + at, (int8_t *)to + at);
        else
            softmax_i16(p, a, (const int16_t *)from + at, (int16_t *)to + at);
    }
}

static void run_softmax(const tcn_job *j) { tcn_each_run(j, softmax); }

const tcn_operation tcn_softmax = {check_softmax, run_softmax, NULL};
