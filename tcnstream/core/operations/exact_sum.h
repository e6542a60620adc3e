/* exact_sum.h - an exact sum of float32 values: digits of 32 bits in 64-bit places, so that what went in can be
 * taken out again without a trace. Only the frames of one window are ever in it, so no place overflows. Values
 * that are not finite are counted. */
#ifndef TCN_EXACT_SUM_H
#define TCN_EXACT_SUM_H

#include "../internal.h"
#include "../kernels/functions.h"

typedef struct {
    int64_t digit[TCN_SUM_DIGITS];
    int64_t nans, positive, negative;
} exact_sum;

static inline void exact_add(exact_sum *s, float x, int sign)
{
    uint32_t bits = bits_of_float(x), exponent = (bits >> 23) & 0xFF, place;
    int64_t low, high;
    uint64_t wide;
    if (exponent == 255) {
        if (bits & 0x7FFFFF)
            s->nans += sign;
        else if (bits >> 31)
            s->negative += sign;
        else
            s->positive += sign;
        return;
    }
    place = exponent ? exponent - 1 : 0;
    wide = (uint64_t)((bits & 0x7FFFFF) | (exponent ? 0x800000u : 0)) << (place % 32);
    low = (int64_t)(wide & 0xFFFFFFFFu);
    high = (int64_t)(wide >> 32);
    if ((bits >> 31) ^ (sign < 0)) {
        low = -low;
        high = -high;
    }
    s->digit[place / 32] += low;
    s->digit[place / 32 + 1] += high;
}

static inline double exact_value(const exact_sum *s)
{
    int64_t digit[TCN_SUM_DIGITS];
    double value = 0.0, weight;
    uint32_t k, pass;
    int negative = 0;
    if (s->nans || (s->positive && s->negative))
        return (double)float_of_bits(0x7FC00000u);
    if (s->positive || s->negative)
        return (double)float_of_bits(s->positive ? 0x7F800000u : 0xFF800000u);
    memcpy(digit, s->digit, sizeof digit);
    for (pass = 0; pass < 2; pass++) {
        for (k = 0; k + 1 < TCN_SUM_DIGITS; k++) {
            int64_t carry = digit[k] >> 32;
            digit[k] -= carry * 4294967296;
            digit[k + 1] += carry;
        }
        if (digit[TCN_SUM_DIGITS - 1] >= 0)
            break;
        negative = 1;
        for (k = 0; k < TCN_SUM_DIGITS; k++)
            digit[k] = -digit[k];
    }
    weight = 0x1p-149; /* the least float32 */
    for (k = 0; k < TCN_SUM_DIGITS; k++, weight *= 4294967296.0)
        value += (double)digit[k] * weight;
    return negative ? -value : value;
}

#endif
