/* fixed.h - fixed-point arithmetic of the TFLite reference kernels, bit for bit.
 * Sources: gemmlowp's fixedpoint.h; TFLite's kernels/internal/common.{h,cc}. */
#ifndef TCN_FIXED_H
#define TCN_FIXED_H

#include <stdint.h>

/* Where there is little room, one copy in a file serves all that call such a function, and it is compiled for size. */
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && defined(__GNUC__)
#define TCN_COMPACT static __attribute__((cold, noinline, unused))
#else
#define TCN_COMPACT static inline
#endif

static inline int32_t wrap32(int64_t x) { return (int32_t)(uint32_t)(uint64_t)x; }

/* SaturatingRoundingDoublingHighMul; the one overflow, INT32_MIN squared, saturates */
static inline int32_t high_mul(int32_t a, int32_t b)
{
    int64_t product = ((int64_t)a * b + (1 << 30)) >> 31;
    return product > INT32_MAX ? INT32_MAX : (int32_t)product;
}

/* RoundingDivideByPOT: to nearest, halves away from zero; 0 <= exponent <= 31 */
static inline int32_t shift_right(int32_t x, int exponent)
{
    int32_t mask = (int32_t)((1u << exponent) - 1u);
    int32_t threshold = (mask >> 1) + (x < 0);
    return (x >> exponent) + ((x & mask) > threshold);
}

/* MultiplyByQuantizedMultiplier of int32 values; rounds twice */
TCN_COMPACT int32_t multiply_twice(int32_t x, int32_t multiplier, int32_t shift)
{
    int left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
    return shift_right(high_mul((int32_t)((uint32_t)x << left), multiplier), right);
}

/* MultiplyByQuantizedMultiplier of int64 values; keeps 15 bits of the multiplier */
static inline int32_t multiply_wide(int64_t x, int32_t multiplier, int32_t shift)
{
    int32_t reduced = multiplier < 0x7FFF0000 ? (multiplier + (1 << 15)) >> 16 : 0x7FFF;
    int places = 15 - shift;
    return wrap32((int64_t)((uint64_t)x * (uint64_t)(int64_t)reduced + ((uint64_t)1 << (places - 1))) >> places);
}

/* high * 2^64 + low to 53 bits, ties to even, as IEEE doubles round; returns the bits and adds the places lost. */
TCN_COMPACT uint64_t keep_53_bits(uint64_t high, uint64_t low, int32_t *exponent)
{
    uint64_t lost = 0, half;
    while (high || low >> 54) {
        lost |= low & 1;
        low = low >> 1 | high << 63;
        high >>= 1;
        ++*exponent;
    }
    if (low >> 53) {
        half = low & 1;
        low >>= 1;
        ++*exponent;
        low += half & (lost | low);
    }
    return low;
}

/* round((double)x * (mantissa * 2^exponent)): the product as IEEE doubles give it, then to an integer (halves away
 * from zero), within int32. LiteRT's FULLY_CONNECTED does this in floating point. */
TCN_COMPACT int32_t multiply_exact(int64_t x, int64_t mantissa, int32_t exponent)
{
    uint64_t m = (uint64_t)mantissa, n = keep_53_bits(0, x < 0 ? 0u - (uint64_t)x : (uint64_t)x, &exponent), low, middle;
    int32_t places;
    low = (m & 0xFFFFFFFFu) * (n & 0xFFFFFFFFu);
    middle = (m >> 32) * (n & 0xFFFFFFFFu) + (m & 0xFFFFFFFFu) * (n >> 32) + (low >> 32);
    n = keep_53_bits((m >> 32) * (n >> 32) + (middle >> 32), middle << 32 | (low & 0xFFFFFFFFu), &exponent);
    places = -exponent;
    if (places <= 0)
        n = n && (places < -31 || n > (uint64_t)INT32_MAX) ? (uint64_t)1 << 31 : n << (-places & 31);
    else if (places > 62)
        n = 0;
    else
        n = (n + ((uint64_t)1 << (places - 1))) >> places;
    if (x < 0)
        return n >= (uint64_t)1 << 31 ? INT32_MIN : -(int32_t)n;
    return n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

/* LUTLookup: linear interpolation between 513 entries with 7 fraction bits */
TCN_COMPACT int32_t look_up(const int16_t *entry, int32_t x)
{
    int32_t index = 256 + (x >> 7), offset = x & 0x7F;
    int32_t slope = (int16_t)(entry[index + 1] - entry[index]);
    return (int16_t)(entry[index] + ((slope * offset + 64) >> 7));
}

static inline int32_t clip32(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

/* a + b; a sum beyond int32 is unreachable for a valid plan */
static inline int32_t add32(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
static inline int64_t add64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static inline int32_t sub32(int32_t a, int32_t b) { return (int32_t)((uint32_t)a - (uint32_t)b); }
static inline int32_t mul32(int32_t a, int32_t b) { return (int32_t)((uint32_t)a * (uint32_t)b); }
static inline int32_t left32(int32_t a, int places) { return (int32_t)((uint32_t)a << places); }

#endif
