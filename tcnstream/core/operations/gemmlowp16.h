/* gemmlowp16.h - functions of 16-bit fixed-point numbers as gemmlowp defines them (fixedpoint/fixedpoint.h).
 * Qm.n has m integer bits and n = 15 - m fraction bits. */
#ifndef TCN_GEMMLOWP16_H
#define TCN_GEMMLOWP16_H

#include "../kernels/fixed.h"

/* SaturatingRoundingDoublingHighMul */
static inline int32_t high_mul16(int32_t a, int32_t b)
{
    int32_t product = a * b, high = (product + (product >= 0 ? 1 << 14 : 1 - (1 << 14))) / (1 << 15);
    return high > INT16_MAX ? INT16_MAX : high;
}

/* SaturatingRoundingMultiplyByPOT */
static inline int32_t left16(int32_t x, int places) { return clip32(left32(x, places), INT16_MIN, INT16_MAX); }

/* exp(a) as Q0.15 for a <= 0 in Q(bits) */
TCN_COMPACT int32_t exp_of_negative16(int32_t a, int bits)
{
    static const int16_t power[] = {25520, 19875, 12055, 4435, 600, 11, 0}; /* exp(-1/4), exp(-1/2), ... exp(-16) */
    int fraction = 15 - bits, k;
    int32_t quarter = 1 << (fraction - 2), within = (a & (quarter - 1)) - quarter;
    int32_t x = left16(within, bits) + (1 << 12), x2 = high_mul16(x, x), x3 = high_mul16(x2, x), x4 = high_mul16(x2, x2);
    int32_t tail = shift_right((int16_t)(high_mul16((int16_t)(shift_right(x4, 2) + x3), 10923) + x2), 1), result, left;
    if (a == 0)
        return INT16_MAX;
    if (bits > 5 && a < -(1 << (fraction + 5)))
        return 0;
    result = left16(28918 + high_mul16((int16_t)(x + tail), 28918), 0);
    left = (int16_t)(within - a);
    for (k = -2; k < bits && k <= 4; k++)
        if (left & (1 << (fraction + k)))
            result = high_mul16(result, power[k + 2]);
    return result;
}

/* 2 / (1 + a) as Q2.13 for Q0.15 a in [0, 1] */
TCN_COMPACT int32_t newton16(int32_t a)
{
    int32_t half_denominator = (a + INT16_MAX + 1) >> 1, x = (int16_t)(23130 + high_mul16(half_denominator, -15420));
    int k;
    for (k = 0; k < 3; k++)
        x = (int16_t)(x + left16(high_mul16(x, (int16_t)((1 << 13) - high_mul16(half_denominator, x))), 2));
    return x;
}

/* 1 / (1 + exp(-a)) as Q0.15 for a in Q(bits) */
TCN_COMPACT int32_t logistic16(int32_t a, int bits)
{
    int32_t positive = left16(newton16(exp_of_negative16(a < 0 ? a : -a, bits)), 1);
    return a == 0 ? 1 << 14 : a > 0 ? positive : INT16_MAX - positive;
}

/* tanh(a) as Q0.15 for a in Q(bits) */
TCN_COMPACT int32_t tanh16(int32_t a, int bits)
{
    int32_t positive = left16((int16_t)(newton16(exp_of_negative16(a < 0 ? a : -a, bits + 1)) - (1 << 13)), 2);
    return a == 0 ? 0 : a > 0 ? positive : -positive;
}

#endif
