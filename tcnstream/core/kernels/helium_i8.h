/* helium_i8.h - int8 on Helium (M55, M85). */

/* high_mul, then shift_right by 1 to 31 places: vrshl rounds halves up, so a half below zero must begin lower. */
INLINE int32x4_t short_rescaled(int32x4_t x, int32x4_t multiplier, int32x4_t shift)
{
    int32x4_t high = vqrdmulhq_s32(x, multiplier);
    return vrshlq_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), shift);
}

INLINE int32x4_t short_rescaled_n(int32x4_t x, int32_t multiplier, int32x4_t shift)
{
    int32x4_t high = vqrdmulhq_n_s32(x, multiplier);
    return vrshlq_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), shift);
}

/* Values on one scale; an operand whose own scale is that one (times 2) is only shifted. */
static void sum_i8(const binary_args *a, int own, const int8_t *x, const int8_t *y, int8_t *out, int32_t n)
{
    int other = 1 - own, alike = is_own_scale(a, other); /* what is shifted by 1 first stays as it is */
    int32_t multiplier = a->multiplier[other], left = alike ? 21 : 20;
    int32x4_t right = vdupq_n_s32(alike ? -1 : a->shift[other]), right_out = vdupq_n_s32(a->shift_out);
    int32_t zero_y = sub32(0, a->zero[other]), zero_x = left32(sub32(0, a->zero[own]), 19);
    int32x4_t low = vdupq_n_s32(a->low), high = vdupq_n_s32(a->high);
    for (; n > 0; n -= 4, x += 4, y += 4, out += 4) {
        mve_pred16_t some = vctp32q((uint32_t)n);
        int32x4_t p = vshlq_n_s32(vldrbq_z_s32(x, some), 19), q = vaddq_n_s32(vldrbq_z_s32(y, some), zero_y);
        q = short_rescaled_n(vshlq_r_s32(q, left), multiplier, right);
        q = vaddq_s32(p, vaddq_n_s32(q, zero_x));
        q = vaddq_n_s32(short_rescaled_n(q, a->multiplier_out, right_out), a->zero_out);
        vstrbq_p_s32(out, vminq_s32(vmaxq_s32(q, low), high), some);
    }
}

static void helium_binary_i8(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    if (is_own_scale(a, 0) && is_short_sum(a, op, 0))
        sum_i8(a, 0, x, y, out, (int32_t)n);
    else if (is_own_scale(a, 1) && is_short_sum(a, op, 1))
        sum_i8(a, 1, y, x, out, (int32_t)n);
    else
        binary_i8(a, op, x, y, out, n);
}
