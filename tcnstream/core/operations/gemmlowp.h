/* gemmlowp.h - functions of 32-bit fixed-point numbers as gemmlowp and TFLite's common.h define them. */
#ifndef TCN_GEMMLOWP_H
#define TCN_GEMMLOWP_H

#include "../kernels/fixed.h"

TCN_COMPACT int32_t saturating_left(int32_t x, int places)
{
    int32_t limit = (int32_t)((1u << (31 - places)) - 1u);
    return x > limit ? INT32_MAX : x < -limit ? INT32_MIN : left32(x, places);
}

/* gemmlowp's exp_on_negative_values of Q5.26, as Q0.31 */
TCN_COMPACT int32_t exp_of_negative(int32_t a)
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

TCN_COMPACT int32_t one_over_one_plus(int32_t a)
{
    int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1), x, k;
    x = add32(1515870810, high_mul(half, -1010580540));
    for (k = 0; k < 3; k++)
        x = add32(x, saturating_left(high_mul(x, sub32(1 << 29, high_mul(half, x))), 2));
    return saturating_left(x, 1);
}

TCN_COMPACT int leading_zeros(uint32_t x)
{
    int n = 32;
    while (x) {
        x >>= 1;
        n--;
    }
    return n;
}

/* GetReciprocal: 1 / x as Q0.31 for x >= 1, and the bits by which x exceeds a unit */
static inline int32_t reciprocal(int32_t x, int integer_bits, int *bits_over_unit)
{
    int zeros = leading_zeros((uint32_t)x);
    *bits_over_unit = integer_bits - zeros;
    return one_over_one_plus((int32_t)(((uint32_t)x << (zeros & 31)) - 0x80000000u));
}

/* log(x) as Q5.26 for x >= 1 in Q12.19: log_x_for_x_greater_than_or_equal_to_1_impl */
TCN_COMPACT int32_t log_of_at_least_one(int32_t x)
{
    const int32_t root_half = 1518500250, fourth_root_half = 1805811301, quarter = 1 << 23;
    int zeros_a = leading_zeros((uint32_t)x), zeros_b = leading_zeros((uint32_t)high_mul(x, root_half)) - 1;
    int32_t r_a = saturating_left(high_mul(saturating_left(x, zeros_a - 1), root_half), 1);
    int32_t r_b = saturating_left(x, zeros_b), r = r_a < r_b ? r_a : r_b;
    int64_t power_a = (int64_t)(12 - zeros_a) * (1 << 25) + quarter, power_b = (int64_t)(12 - zeros_b) * (1 << 25) - quarter;
    int32_t power = (int32_t)(power_a > power_b ? power_a : power_b);
    int64_t total = (int64_t)r + fourth_root_half;
    int32_t p = (int32_t)((total + (total >= 0 ? 1 : -1)) / 2), q = wrap32(2 * ((int64_t)r - fourth_root_half));
    int32_t square = high_mul(q, q);
    int32_t numerator = add32(high_mul(q, r), high_mul(high_mul(q, square), 117049297));
    int32_t denominator = add32(high_mul(p, add32(add32(1057819769, q), high_mul(127690142, square))), high_mul(638450708, q));
    int32_t ratio = high_mul(shift_right(numerator, 6), one_over_one_plus(denominator));
    return saturating_left(add32(high_mul(power, 1488522236), ratio), 1);
}

#endif
