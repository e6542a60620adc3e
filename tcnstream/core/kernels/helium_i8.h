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

/* The window (taps, channels) side by side. */
INLINE void gather_window(const void *const *rows, uint32_t taps, uint32_t channels, int8_t *to)
{
    uint32_t k;
    for (k = 0; k < taps; k++) {
        const int8_t *x = (const int8_t *)rows[k];
        int32_t left = (int32_t)channels;
        for (; left >= 16; left -= 16, x += 16, to += 16)
            vstrbq_s8(to, vldrbq_s8(x));
        if (left > 0) {
            mve_pred16_t some = vctp8q((uint32_t)left);
            vstrbq_p_s8(to, vldrbq_z_s8(x, some), some);
            to += left;
        }
    }
}

INLINE int32x4_t side_by_side(int32_t a, int32_t b, int32_t c, int32_t d)
{
    int32x4_t v = vuninitializedq_s32();
    __asm("vmov %q0[2], %q0[0], %1, %3\n\tvmov %q0[3], %q0[1], %2, %4" : "+w"(v) : "r"(a), "r"(b), "r"(c), "r"(d));
    return v;
}

/* Four sums of products with 16 bytes of the window at once. What stands behind the window is multiplied by 0. */
static void conv_i8_fours(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                          void *window)
{
    uint32_t taps = a->taps_t * a->taps_f, channels = a->channels, outputs = a->outputs, blocks = (taps * channels + 15) / 16, p, o, j;
    const int32_t *bias = WORDS(plan, a->bias_at), *multiplier = WORDS(plan, a->multiplier_at);
    const int8_t *shift = (const int8_t *)(plan + a->shift_at);
    int32_t zero = a->zero_out;
    int32x4_t low = vdupq_n_s32(a->low), high = vdupq_n_s32(a->high);
    int gathered = taps > 1 || channels % 16 != 0;
    for (p = 0; p < positions; p++, rows += taps) {
        const int8_t *from = (const int8_t *)rows[0], *w = (const int8_t *)(plan + a->weights_at);
        if (gathered) {
            gather_window(rows, taps, channels, window);
            from = window;
        }
        for (o = 0; o < outputs; o += 4) {
            const int8_t *x = from;
            int32_t s0 = bias[o], s1 = bias[o + 1], s2 = bias[o + 2], s3 = bias[o + 3];
            int32x4_t y;
            for (j = blocks; j > 0; j--, x += 16, w += 64) {
                int8x16_t v = vldrbq_s8(x);
                s0 = vmladavaq_s8(s0, v, vldrbq_s8(w));
                s1 = vmladavaq_s8(s1, v, vldrbq_s8(w + 16));
                s2 = vmladavaq_s8(s2, v, vldrbq_s8(w + 32));
                s3 = vmladavaq_s8(s3, v, vldrbq_s8(w + 48));
            }
            y = short_rescaled(side_by_side(s0, s1, s2, s3), vldrwq_s32(multiplier + o), vldrbq_s32(shift + o));
            y = vminq_s32(vmaxq_s32(vaddq_n_s32(y, zero), low), high);
            vstrbq_p_s32((int8_t *)outs[p] + o, y, vctp32q(outputs - o));
        }
    }
}

/* 16 channels at once. The products of two taps are added in 16 bits, which the writer of the plan has seen to. */
static void depthwise_i8_fours(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                               void *window)
{
    uint32_t taps = a->taps_t * a->taps_f, channels = a->channels, c, p, k;
    const int32_t *bias = WORDS(plan, a->bias_at), *multiplier = WORDS(plan, a->multiplier_at);
    const int8_t *weights = (const int8_t *)(plan + a->weights_at), *shift = (const int8_t *)(plan + a->shift_at);
    int8x16_t low = vdupq_n_s8((int8_t)a->low), high = vdupq_n_s8((int8_t)a->high);
    int16x8_t zero = vdupq_n_s16((int16_t)a->zero_out);
    (void)window;
    for (c = 0; c < channels; c += 16, weights += 16 * taps, bias += 16, multiplier += 16, shift += 16) {
        mve_pred16_t some = vctp8q(channels - c);
        const void *const *row = rows;
        for (p = 0; p < positions; p++, row += taps) {
            const int8_t *w = weights;
            int32x4_t s0 = vldrwq_s32(bias), s1 = vldrwq_s32(bias + 4), s2 = vldrwq_s32(bias + 8), s3 = vldrwq_s32(bias + 12);
            int16x8_t even, odd;
            int8x16_t y;
            for (k = 0; k + 2 <= taps; k += 2, w += 32) {
                int8x16_t x = vldrbq_z_s8((const int8_t *)row[k] + c, some), v = vldrbq_s8(w);
                even = vmullbq_int_s8(x, v);
                odd = vmulltq_int_s8(x, v);
                x = vldrbq_z_s8((const int8_t *)row[k + 1] + c, some);
                v = vldrbq_s8(w + 16);
                even = vaddq_s16(even, vmullbq_int_s8(x, v));
                odd = vaddq_s16(odd, vmulltq_int_s8(x, v));
                s0 = vaddq_s32(s0, vmovlbq_s16(even));
                s1 = vaddq_s32(s1, vmovltq_s16(even));
                s2 = vaddq_s32(s2, vmovlbq_s16(odd));
                s3 = vaddq_s32(s3, vmovltq_s16(odd));
            }
            if (k < taps) {
                int8x16_t x = vldrbq_z_s8((const int8_t *)row[k] + c, some), v = vldrbq_s8(w);
                even = vmullbq_int_s8(x, v);
                odd = vmulltq_int_s8(x, v);
                s0 = vaddq_s32(s0, vmovlbq_s16(even));
                s1 = vaddq_s32(s1, vmovltq_s16(even));
                s2 = vaddq_s32(s2, vmovlbq_s16(odd));
                s3 = vaddq_s32(s3, vmovltq_s16(odd));
            }
            s0 = short_rescaled(s0, vldrwq_s32(multiplier), vldrbq_s32(shift));
            s1 = short_rescaled(s1, vldrwq_s32(multiplier + 4), vldrbq_s32(shift + 4));
            s2 = short_rescaled(s2, vldrwq_s32(multiplier + 8), vldrbq_s32(shift + 8));
            s3 = short_rescaled(s3, vldrwq_s32(multiplier + 12), vldrbq_s32(shift + 12));
            /* what saturates in 16 bits is beyond the limits of 8 with any zero point */
            even = vqaddq_s16(vqmovntq_s32(vqmovnbq_s32(zero, s0), s1), zero);
            odd = vqaddq_s16(vqmovntq_s32(vqmovnbq_s32(zero, s2), s3), zero);
            y = vqmovntq_s16(vqmovnbq_s16(low, even), odd);
            vstrbq_p_s8((int8_t *)outs[p] + c, vminq_s8(vmaxq_s8(y, low), high), some);
        }
    }
}
