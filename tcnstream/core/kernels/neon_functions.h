/* neon_functions.h - elementary functions of functions.h for four values at once, with the same bits: each does what its
 * namesake does in the same order, and picks where that branches. (NEON of armv7 would take denormal values for zero.) */
#include "functions.h"

I float32x4_t of_float(float x) { return vdupq_n_f32(x); }
I float32x4_t times_plus(float32x4_t x, float32x4_t y, float z) { return vaddq_f32(vmulq_f32(x, y), of_float(z)); }
I uint32x4_t is_negative(float32x4_t x) { return vcltq_f32(x, of_float(0.0f)); }

I float32x4_t power_of_two(int32x4_t exponent)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(exponent, vdupq_n_s32(127)), 23));
}

/* tcn_exp of x <= 0 or NaN. */
I float32x4_t exp_of_negative(float32x4_t x)
{
    const float32x4_t n = vmulq_f32(x, of_float(1.44269504088896341f));
    const int32x4_t k = vcvtq_s32_f32(vaddq_f32(n, vbslq_f32(is_negative(n), of_float(-0.5f), of_float(0.5f))));
    const int32x4_t half = vshrq_n_s32(vsubq_s32(k, vshrq_n_s32(k, 31)), 1);
    const float32x4_t whole = vcvtq_f32_s32(k);
    float32x4_t r = vsubq_f32(x, vmulq_f32(whole, of_float(0.693359375f))), p;
    r = vsubq_f32(r, vmulq_f32(whole, of_float(-2.12194440e-4f)));
    p = of_float(1.9875691500e-4f);
    p = times_plus(p, r, 1.3981999507e-3f);
    p = times_plus(p, r, 8.3334519073e-3f);
    p = times_plus(p, r, 4.1665795894e-2f);
    p = times_plus(p, r, 1.6666665459e-1f);
    p = times_plus(p, r, 5.0000001201e-1f);
    p = vaddq_f32(vaddq_f32(vmulq_f32(vmulq_f32(p, r), r), r), of_float(1.0f));
    p = vmulq_f32(vmulq_f32(p, power_of_two(half)), power_of_two(vsubq_s32(k, half)));
    p = vbslq_f32(vcltq_f32(x, of_float(-104.0f)), of_float(0.0f), p);
    return vbslq_f32(vceqq_f32(x, x), p, x);
}

I float32x4_t logistic_of(float32x4_t x)
{
    const uint32x4_t below = is_negative(x);
    const float32x4_t e = exp_of_negative(vbslq_f32(below, x, vnegq_f32(x)));
    return vdivq_f32(vbslq_f32(below, e, of_float(1.0f)), vaddq_f32(of_float(1.0f), e));
}

I float32x4_t tanh_of(float32x4_t x)
{
    const uint32x4_t below = is_negative(x);
    const float32x4_t magnitude = vbslq_f32(below, vnegq_f32(x), x), square = vmulq_f32(x, x), one = of_float(1.0f);
    const float32x4_t e = exp_of_negative(vmulq_f32(of_float(-2.0f), magnitude));
    float32x4_t near = of_float(-5.70498872745e-3f), far = vdivq_f32(vsubq_f32(one, e), vaddq_f32(one, e));
    near = times_plus(near, square, 2.06390887954e-2f);
    near = times_plus(near, square, -5.37397155531e-2f);
    near = times_plus(near, square, 1.33314422036e-1f);
    near = times_plus(near, square, -3.33332819422e-1f);
    near = vaddq_f32(vmulq_f32(vmulq_f32(near, square), x), x);
    far = vbslq_f32(vcgtq_f32(magnitude, of_float(9.5f)), one, far);
    return vbslq_f32(vcltq_f32(magnitude, of_float(0.625f)), near, vbslq_f32(below, vnegq_f32(far), far));
}

static void unary_f32(const unary_args *a, int op, const float *x, float *out, uint32_t n)
{
    uint32_t i = 0;
    if (op == UNARY_TANH)
        for (; i + 4 <= n; i += 4)
            vst1q_f32(out + i, tanh_of(vld1q_f32(x + i)));
    else if (op == UNARY_LOGISTIC)
        for (; i + 4 <= n; i += 4)
            vst1q_f32(out + i, logistic_of(vld1q_f32(x + i)));
    tcn_plain_unary_f32(a, op, x + i, out + i, n - i);
}
