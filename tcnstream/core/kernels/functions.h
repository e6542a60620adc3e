/* functions.h - elementary functions in float32 without a C library; errors stay below 3 ulp.
 * exp: argument reduced by ln 2, polynomial of degree 6 (Cephes' expf). NaN goes through all of them. */
#ifndef TCN_FUNCTIONS_H
#define TCN_FUNCTIONS_H

#include <stdint.h>
#include "bytes.h"
#include "fixed.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline uint32_t bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

TCN_COMPACT float tcn_exp(float x)
{
    float n, r, p;
    int32_t k, half;
    if (!(x < 88.8f)) /* also NaN */
        return x > 88.8f ? float_of_bits(0x7F800000u) : x != x ? x : float_of_bits(0x7F800000u);
    if (x < -104.0f)
        return 0.0f;
    n = x * 1.44269504088896341f;
    k = (int32_t)(n + (n < 0 ? -0.5f : 0.5f));
    r = x - (float)k * 0.693359375f;
    r = r - (float)k * -2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    half = k / 2; /* 2^k in two steps, so that neither leaves the range of exponents */
    return p * float_of_bits((uint32_t)(half + 127) << 23) * float_of_bits((uint32_t)(k - half + 127) << 23);
}

TCN_COMPACT float tcn_logistic(float x)
{
    float e = tcn_exp(x < 0 ? x : -x);
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

TCN_COMPACT float tcn_tanh(float x)
{
    float magnitude = x < 0 ? -x : x, e, square, p;
    if (magnitude < 0.625f) {
        square = x * x;
        p = -5.70498872745e-3f;
        p = p * square + 2.06390887954e-2f;
        p = p * square - 5.37397155531e-2f;
        p = p * square + 1.33314422036e-1f;
        p = p * square - 3.33332819422e-1f;
        return p * square * x + x;
    }
    if (magnitude > 9.5f)
        return x < 0 ? -1.0f : 1.0f;
    e = tcn_exp(-2.0f * magnitude); /* NaN comes this far and stays */
    p = (1.0f - e) / (1.0f + e);
    return x < 0 ? -p : p;
}

/* natural logarithm, Cephes' logf */
TCN_COMPACT float tcn_log(float x)
{
    uint32_t bits;
    int32_t e;
    float m, square, p;
    if (!(x > 0.0f))
        return x < 0.0f ? float_of_bits(0x7FC00000u) : x != x ? x : float_of_bits(0xFF800000u);
    bits = bits_of_float(x);
    if (bits >= 0x7F800000u)
        return x;
    e = 0;
    if (bits < 0x00800000u) {
        bits = bits_of_float(x * 8388608.0f);
        e = -23;
    }
    e += (int32_t)(bits >> 23) - 126;
    m = float_of_bits((bits & 0x007FFFFFu) | 0x3F000000u);
    if (m < 0.707106781186547524f) {
        e--;
        m = m + m - 1.0f;
    } else {
        m = m - 1.0f;
    }
    square = m * m;
    p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    p = p * m * square;
    p = p - 2.12194440e-4f * (float)e - 0.5f * square;
    return m + p + 0.693359375f * (float)e;
}

/* 1 - erf(x), within 1.2e-7 of itself: Chebyshev's fit of Numerical Recipes, section 6.2 */
TCN_COMPACT float tcn_erfc(float x)
{
    float z = x < 0.0f ? -x : x, t = 1.0f / (1.0f + 0.5f * z), p;
    p = 0.17087277f;
    p = p * t - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    p = t * tcn_exp(p * t - 1.26551223f - z * z);
    return x < 0.0f ? 2.0f - p : p;
}

/* towards zero; what has no fraction stays */
static inline float tcn_trunc(float x)
{
    float magnitude = x < 0.0f ? -x : x;
    return magnitude < 8388608.0f ? (float)(int32_t)x : x;
}

/* to the nearest integer, halves to the even one */
TCN_COMPACT float tcn_round_even(float x)
{
    float whole = tcn_trunc(x), rest = x - whole;
    int odd = whole < 8388608.0f && whole > -8388608.0f && ((int32_t)whole & 1);
    if (rest > 0.5f || (rest == 0.5f && odd))
        return whole + 1.0f;
    return rest < -0.5f || (rest == -0.5f && odd) ? whole - 1.0f : whole;
}

/* sqrt of a positive finite x: an estimate from the exponent and Newton's steps in double */
TCN_COMPACT double root_of(float x)
{
    uint32_t bits = bits_of_float(x);
    double root, a, scale = 1.0;
    int step;
    if (bits < 0x00800000u) {
        bits = bits_of_float(x * 16777216.0f);
        scale = 1.0 / 4096.0;
    }
    a = (double)float_of_bits(bits);
    root = (double)float_of_bits((bits >> 1) + 0x1FC00000u);
    for (step = 0; step < 4; step++)
        root = 0.5 * (root + a / root);
    return root * scale;
}

/* Rounded once, as the root in double is after rounding to float. */
static inline float tcn_sqrt(float x)
{
    if (!(x > 0.0f))
        return x < 0.0f ? float_of_bits(0x7FC00000u) : x; /* -0, 0 and NaN as they are */
#if defined(__SSE2__)
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
#elif defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4) && defined(__GNUC__)
    __asm("vsqrt.f32 %0, %1" : "=t"(x) : "t"(x)); /* the builtin would call sqrtf for what is negative */
    return x;
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm("fsqrt %s0, %s1" : "=w"(x) : "w"(x));
    return x;
#else
    return bits_of_float(x) >= 0x7F800000u ? x : (float)root_of(x);
#endif
}

TCN_COMPACT float tcn_rsqrt(float x)
{
    if (!(x > 0.0f))
        return x < 0.0f ? float_of_bits(0x7FC00000u) : x != x ? x : float_of_bits(0x7F800000u | (bits_of_float(x) & 0x80000000u));
    return bits_of_float(x) >= 0x7F800000u ? 0.0f : (float)(1.0 / root_of(x));
}

#endif
