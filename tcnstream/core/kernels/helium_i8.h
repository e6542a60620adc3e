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
INLINE void gather_window(const void *const *rows, uint32_t taps, uint32_t channels, int8_t *window)
{
    const void *const *end = rows + taps;
    for (; rows < end; rows++, window += channels) {
        const void *from = *rows;
        int8_t *to = window;
        int8x16_t bytes;
        __asm volatile("dlstp.8 lr, %3\n"
                       "0:\tvldrb.u8 %q2, [%0], #16\n"
                       "\tvstrb.8 %q2, [%1], #16\n"
                       "\tletp lr, 0b"
                       : "+&r"(from), "+&r"(to), "=&w"(bytes) : "r"(channels) : "lr", "memory");
    }
}

/* Four sums with the products of 16 bytes of `x` and 16 weights of each at once; returns where the weights end. gcc keeps
 * one pointer for them, which takes two instructions more a step. */
INLINE const int8_t *four_sums(const int8_t *x, const int8_t *w, uint32_t blocks, const int32_t *bias, int32x4_t *sums)
{
    int32_t a = bias[0], b = bias[1], c = bias[2], d = bias[3];
    int8x16_t bytes, weights;
    __asm volatile("dls lr, %8\n"
                   "0:\tvldrb.u8 %q6, [%0], #16\n"
                   "\tvldrb.u8 %q7, [%1], #16\n"
                   "\tvmladava.s8 %2, %q6, %q7\n"
                   "\tvldrb.u8 %q7, [%1], #16\n"
                   "\tvmladava.s8 %3, %q6, %q7\n"
                   "\tvldrb.u8 %q7, [%1], #16\n"
                   "\tvmladava.s8 %4, %q6, %q7\n"
                   "\tvldrb.u8 %q7, [%1], #16\n"
                   "\tvmladava.s8 %5, %q6, %q7\n"
                   "\tle lr, 0b"
                   : "+&r"(x), "+&r"(w), "+&Te"(a), "+&Te"(b), "+&Te"(c), "+&Te"(d), "=&w"(bytes), "=&w"(weights)
                   : "r"(blocks)
                   : "lr", "memory");
    __asm("vmov %q0[2], %q0[0], %1, %3\n\tvmov %q0[3], %q0[1], %2, %4" : "=&w"(*sums) : "r"(a), "r"(b), "r"(c), "r"(d));
    return w;
}

/* What stands behind the window is multiplied by 0. */
static void conv_i8_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                          void *window)
{
    uint32_t taps = a->taps, channels = a->channels, blocks = (taps * channels + 15) / 16, p;
    int32x4_t low = vdupq_n_s32(a->low), high = vdupq_n_s32(a->high);
    int gathered = taps > 1 || channels % 16 != 0;
    const tcn_columns columns = tcn_columns_of(a, plan, (a->outputs + 3) & ~3u);
    for (p = 0; p < positions; p++, rows += taps) {
        const int8_t *x = rows[0], *w = (const int8_t *)(plan + a->weights_at), *shift = columns.shift;
        const int32_t *bias = columns.bias, *multiplier = columns.multiplier;
        int32_t left = (int32_t)a->outputs, zero = a->zero_out;
        int8_t *out = outs[p];
        if (gathered) {
            gather_window(rows, taps, channels, window);
            x = window;
        }
        for (; left > 0; left -= 4, bias += 4, multiplier += 4, shift += 4, out += 4) {
            int32x4_t y;
            w = four_sums(x, w, blocks, bias, &y);
            y = short_rescaled(y, vldrwq_s32(multiplier), vldrbq_s32(shift));
            y = vminq_s32(vmaxq_s32(vaddq_n_s32(y, zero), low), high);
            if (left >= 4)
                vstrbq_s32(out, y);
            else
                vstrbq_p_s32(out, y, vctp32q((uint32_t)left));
        }
    }
}

/* Up to 16 channels of all positions; `some` are there, unless it is known that all are. */
INLINE void depthwise_sixteen(const int8_t *weights, const int32_t *bias, const int32_t *multiplier, const int8_t *shift, const fours_args *a,
                              const void *const *row, void *const *outs, uint32_t positions, uint32_t c, int all, mve_pred16_t some)
{
    uint32_t taps = a->taps, p, k;
    int8x16_t low = vdupq_n_s8((int8_t)a->low), high = vdupq_n_s8((int8_t)a->high);
    int16x8_t zero = vdupq_n_s16((int16_t)a->zero_out);
    for (p = 0; p < positions; p++, row += taps) {
        const int8_t *w = weights, *from;
        int32x4_t s0 = vldrwq_s32(bias), s1 = vldrwq_s32(bias + 4), s2 = vldrwq_s32(bias + 8), s3 = vldrwq_s32(bias + 12);
        int16x8_t even, odd;
        int8x16_t x, v;
        for (k = 0; k < taps; k += 2, w += 32) {
            from = (const int8_t *)row[k] + c;
            x = all ? vldrbq_s8(from) : vldrbq_z_s8(from, some);
            v = vldrbq_s8(w);
            even = vmullbq_int_s8(x, v);
            odd = vmulltq_int_s8(x, v);
            if (k + 1 < taps) {
                from = (const int8_t *)row[k + 1] + c;
                x = all ? vldrbq_s8(from) : vldrbq_z_s8(from, some);
                v = vldrbq_s8(w + 16);
                even = vaddq_s16(even, vmullbq_int_s8(x, v));
                odd = vaddq_s16(odd, vmulltq_int_s8(x, v));
            }
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
        x = vminq_s8(vmaxq_s8(vqmovntq_s16(vqmovnbq_s16(low, even), odd), low), high);
        if (all)
            vstrbq_s8((int8_t *)outs[p] + c, x);
        else
            vstrbq_p_s8((int8_t *)outs[p] + c, x, some);
    }
}

/* 16 channels at once. The products of two taps are added in 16 bits, which the writer of the plan has seen to. */
static void depthwise_i8_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                               void *window)
{
    uint32_t taps = a->taps, channels = a->channels, c;
    const tcn_columns columns = tcn_columns_of(a, plan, (channels + 15) & ~15u);
    const int32_t *bias = columns.bias, *multiplier = columns.multiplier;
    const int8_t *weights = (const int8_t *)(plan + a->weights_at), *shift = columns.shift;
    (void)window;
    for (c = 0; c + 16 <= channels; c += 16, weights += 16 * taps)
        depthwise_sixteen(weights, bias + c, multiplier + c, shift + c, a, rows, outs, positions, c, 1, 0);
    if (c < channels)
        depthwise_sixteen(weights, bias + c, multiplier + c, shift + c, a, rows, outs, positions, c, 0, vctp8q(channels - c));
}
