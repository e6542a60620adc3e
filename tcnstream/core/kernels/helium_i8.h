/* helium_i8.h - int8 and int16 on Helium (M55, M85). */

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

/* Sums of n values, int8 or int16 by `left`; an operand whose own scale is that of the sum (times 2) is only shifted. */
INLINE void sum_loop(const binary_args *a, int own, const void *xs, const void *ys, void *outs, uint32_t n, int left)
{
    int other = 1 - own, wide = left == LEFT_OF_INT16, alike = is_own_scale(a, other);
    const int8_t *x = xs, *y = ys;
    int8_t *out = outs;
    int32_t multiplier = a->multiplier[other], multiplier_out = a->multiplier_out, zero_out = a->zero_out;
    int32x4_t to_left = vdupq_n_s32(alike ? left - 1 : left), right = vdupq_n_s32(a->shift[other]), right_out = vdupq_n_s32(a->shift_out);
    int32_t zero_y = sub32(0, a->zero[other]), zero_x = left32(sub32(0, a->zero[own]), left - 1), bytes = wide ? 8 : 4;
    int32x4_t low = vdupq_n_s32(a->low), high = vdupq_n_s32(a->high);
    int32_t rest = (int32_t)n;
    for (; rest > 0; rest -= 4, x += bytes, y += bytes, out += bytes) {
        mve_pred16_t some = vctp32q((uint32_t)rest);
        int32x4_t p = wide ? vldrhq_z_s32((const int16_t *)(const void *)x, some) : vldrbq_z_s32(x, some);
        int32x4_t q = wide ? vldrhq_z_s32((const int16_t *)(const void *)y, some) : vldrbq_z_s32(y, some);
        q = vshlq_s32(vaddq_n_s32(q, zero_y), to_left);
        if (!alike)
            q = short_rescaled_n(q, multiplier, right);
        q = vaddq_s32(vshlq_n_s32(p, left - 1), vaddq_n_s32(q, zero_x));
        q = vaddq_n_s32(short_rescaled_n(q, multiplier_out, right_out), zero_out);
        q = vminq_s32(vmaxq_s32(q, low), high);
        if (wide)
            vstrhq_p_s32((int16_t *)(void *)out, q, some);
        else
            vstrbq_p_s32(out, q, some);
    }
}

/* Whose scale is that of the sum, -1 where there is no short way. */
INLINE int owner_of(const binary_args *a, int op, int left)
{
    int own = is_own_scale(a, 0) ? 0 : 1;
    return is_short_sum(a, op, own, left) ? own : -1;
}

static void helium_binary_i8(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    int own = owner_of(a, op, LEFT_OF_INT8);
    if (own >= 0)
        sum_loop(a, own, own ? y : x, own ? x : y, out, n, LEFT_OF_INT8);
    else
        binary_i8(a, op, x, y, out, n);
}

static void helium_binary_i16(const binary_args *a, int op, const int16_t *x, const int16_t *y, int16_t *out, uint32_t n)
{
    int own = owner_of(a, op, LEFT_OF_INT16);
    if (own >= 0)
        sum_loop(a, own, own ? y : x, own ? x : y, out, n, LEFT_OF_INT16);
    else
        tcn_plain_binary_i16(a, op, x, y, out, n);
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

/* Of four outputs. */
typedef struct { int32_t a, b, c, d; } sums_of_four;

INLINE sums_of_four biases(const int32_t *bias) { return (sums_of_four){bias[0], bias[1], bias[2], bias[3]}; }

INLINE int32x4_t as_vector(sums_of_four s)
{
    int32x4_t sums;
    __asm("vmov %q0[2], %q0[0], %1, %3\n\tvmov %q0[3], %q0[1], %2, %4" : "=&w"(sums) : "r"(s.a), "r"(s.b), "r"(s.c), "r"(s.d));
    return sums;
}

/* Four sums with the products of 16 bytes of `x` and 16 weights of each at once. gcc keeps
 * one pointer for them, which takes two instructions more a step. */
INLINE sums_of_four four_sums(const int8_t *x, const int8_t **weights_at, uint32_t blocks, sums_of_four s)
{
    const int8_t *w = *weights_at;
    int32_t a = s.a, b = s.b, c = s.c, d = s.d;
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
    *weights_at = w;
    return (sums_of_four){a, b, c, d};
}

/* The same with the last block, which has `bytes` of weights for each of the four. */
INLINE sums_of_four with_rest(sums_of_four s, int8x16_t last, const int8_t **weights_at, uint32_t bytes)
{
    const int8_t *w = *weights_at;
    s.a = vmladavaq_s8(s.a, last, vldrbq_s8(w));
    s.b = vmladavaq_s8(s.b, last, vldrbq_s8(w += bytes));
    s.c = vmladavaq_s8(s.c, last, vldrbq_s8(w += bytes));
    s.d = vmladavaq_s8(s.d, last, vldrbq_s8(w += bytes));
    *weights_at = w + bytes;
    return s;
}

INLINE void conv_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                       void *window, int rest)
{
    uint32_t taps = a->taps, channels = a->channels, blocks = taps * channels / 16, values = taps * channels % 16, p;
    const uint32_t bytes = (values + 3) & ~3u;
    int32x4_t low = vdupq_n_s32(a->low), high = vdupq_n_s32(a->high);
    int gathered = taps > 1;
    const tcn_columns columns = tcn_columns_of(a, plan, (a->outputs + 3) & ~3u);
    const int8_t *weights = tcn_fours_weights(a, plan, (a->outputs + 3) & ~3u);
    for (p = 0; p < positions; p++, rows += taps) {
        const int8_t *x = rows[0], *w = weights, *shift = columns.shift;
        const int32_t *bias = columns.bias, *multiplier = columns.multiplier;
        int32_t left = (int32_t)a->outputs, zero = a->zero_out;
        int8_t *out = outs[p];
        int8x16_t last = vdupq_n_s8(0);
        if (gathered) {
            gather_window(rows, taps, channels, window);
            x = window;
        }
        if (rest)
            last = vldrbq_z_s8(x + 16 * blocks, vctp8q(values));
        for (; left > 0; left -= 4, bias += 4, multiplier += 4, shift += 4, out += 4) {
            sums_of_four s = biases(bias);
            int32x4_t y;
            if (!rest || blocks)
                s = four_sums(x, &w, blocks, s);
            if (rest)
                s = with_rest(s, last, &w, bytes);
            y = as_vector(s);
            y = short_rescaled(y, vldrwq_s32(multiplier), vldrbq_s32(shift));
            y = vminq_s32(vmaxq_s32(vaddq_n_s32(y, zero), low), high);
            if (left >= 4)
                vstrbq_s32(out, y);
            else
                vstrbq_p_s32(out, y, vctp32q((uint32_t)left));
        }
    }
}

static void conv_i8_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                          void *window)
{
    if ((uint32_t)a->taps * a->channels % 16)
        conv_fours(a, plan, rows, outs, positions, window, 1);
    else
        conv_fours(a, plan, rows, outs, positions, window, 0);
}

/* four_sums of 8 int16 at once, whose weights are widened as they are loaded. */
INLINE sums_of_four four_wide_sums(const int16_t *x, const int8_t **weights_at, uint32_t blocks, sums_of_four s)
{
    const int8_t *w = *weights_at;
    int32_t a = s.a, b = s.b, c = s.c, d = s.d;
    int16x8_t values, weights;
    __asm volatile("dls lr, %8\n"
                   "0:\tvldrh.u16 %q6, [%0], #16\n"
                   "\tvldrb.s16 %q7, [%1], #8\n"
                   "\tvmladava.s16 %2, %q6, %q7\n"
                   "\tvldrb.s16 %q7, [%1], #8\n"
                   "\tvmladava.s16 %3, %q6, %q7\n"
                   "\tvldrb.s16 %q7, [%1], #8\n"
                   "\tvmladava.s16 %4, %q6, %q7\n"
                   "\tvldrb.s16 %q7, [%1], #8\n"
                   "\tvmladava.s16 %5, %q6, %q7\n"
                   "\tle lr, 0b"
                   : "+&r"(x), "+&r"(w), "+&Te"(a), "+&Te"(b), "+&Te"(c), "+&Te"(d), "=&w"(values), "=&w"(weights)
                   : "r"(blocks)
                   : "lr", "memory");
    *weights_at = w;
    return (sums_of_four){a, b, c, d};
}

/* with_rest of int16. */
INLINE sums_of_four with_wide_rest(sums_of_four s, int16x8_t last, const int8_t **weights_at, uint32_t bytes)
{
    const int8_t *w = *weights_at;
    s.a = vmladavaq_s16(s.a, last, vldrbq_s16(w));
    s.b = vmladavaq_s16(s.b, last, vldrbq_s16(w += bytes));
    s.c = vmladavaq_s16(s.c, last, vldrbq_s16(w += bytes));
    s.d = vmladavaq_s16(s.d, last, vldrbq_s16(w += bytes));
    *weights_at = w + bytes;
    return s;
}

/* An output is the upper half of the product, rounded: the writer of the plan has shifted the multiplier for that. */
INLINE void conv_wide_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                            void *window, int rest)
{
    uint32_t taps = a->taps, channels = a->channels, blocks = taps * channels / 8, values = taps * channels % 8, p;
    const uint32_t bytes = (values + 3) & ~3u;
    int32x4_t low = vdupq_n_s32(a->low), high = vdupq_n_s32(a->high);
    int gathered = taps > 1;
    const tcn_columns columns = tcn_columns_of(a, plan, (a->outputs + 3) & ~3u);
    const int8_t *weights = tcn_fours_weights(a, plan, (a->outputs + 3) & ~3u);
    for (p = 0; p < positions; p++, rows += taps) {
        const int16_t *x = rows[0];
        const int8_t *w = weights;
        const int32_t *bias = columns.bias, *multiplier = columns.multiplier;
        int32_t left = (int32_t)a->outputs, zero = a->zero_out;
        int16_t *out = outs[p];
        int16x8_t last = vdupq_n_s16(0);
        if (gathered) {
            gather_window(rows, taps, 2 * channels, window);
            x = window;
        }
        if (rest)
            last = vldrhq_z_s16(x + 8 * blocks, vctp16q(values));
        for (; left > 0; left -= 4, bias += 4, multiplier += 4, out += 4) {
            sums_of_four s = biases(bias);
            int32x4_t y;
            if (!rest || blocks)
                s = four_wide_sums(x, &w, blocks, s);
            if (rest)
                s = with_wide_rest(s, last, &w, bytes);
            y = as_vector(s);
            y = vaddq_n_s32(vrmulhq_s32(y, vldrwq_s32(multiplier)), zero);
            vstrhq_p_s32(out, vminq_s32(vmaxq_s32(y, low), high), vctp32q((uint32_t)left));
        }
    }
}

static void conv_i16_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                           void *window)
{
    if ((uint32_t)a->taps * a->channels % 8)
        conv_wide_fours(a, plan, rows, outs, positions, window, 1);
    else
        conv_wide_fours(a, plan, rows, outs, positions, window, 0);
}

/* The sums of 16 channels: even ones in twos, then odd ones, as two widenings leave them. */
typedef struct { int32x4_t a, b, c, d; } sixteen_sums;

/* Four vectors of words, the second one 16 bytes after the first, without an address of its own in a register. */
INLINE sixteen_sums sixteen_words(const int32_t *from)
{
    sixteen_sums s;
    __asm("vldrw.u32 %q0, [%4]\n\tvldrw.u32 %q1, [%4, #16]\n\tvldrw.u32 %q2, [%4, #32]\n\tvldrw.u32 %q3, [%4, #48]"
          : "=&w"(s.a), "=&w"(s.b), "=&w"(s.c), "=&w"(s.d) : "r"(from), "m"(*(const int32_t(*)[16])from));
    return s;
}

/* Products of two taps at a time, which fit 16 bits together: the writer of the plan has seen to it. gcc would keep one of
 * the eight vectors in memory. `first` reads all channels, or those of the predicate that `before` sets from `some`. */
#define ADD_PAIRS(name, before, first)                                                                                     \
    INLINE void name(const void *const **rows, uint32_t pairs, uint32_t c, const int8_t **w, sixteen_sums *s, uint32_t some) \
    {                                                                                                                      \
        const int8_t *one, *other;                                                                                         \
        int16x8_t even, odd, x, v;                                                                                         \
        __asm volatile(before "dls lr, %[pairs]\n"                                                                         \
                       "0:\tldrd %[one], %[other], [%[rows]], #8\n"                                                        \
                       "\tadd %[one], %[c]\n"                                                                              \
                       "\tadd %[other], %[c]\n"                                                                            \
                       first "%q[odd], [%[one]]\n"                                                                         \
                       "\tvldrb.u8 %q[x], [%[w]], #16\n"                                                                   \
                       "\tvmullb.s8 %q[even], %q[odd], %q[x]\n"                                                            \
                       "\tvmullt.s8 %q[odd], %q[odd], %q[x]\n"                                                             \
                       first "%q[x], [%[other]]\n"                                                                         \
                       "\tvldrb.u8 %q[v], [%[w]], #16\n"                                                                   \
                       "\tvmullb.s8 %q[x], %q[x], %q[v]\n"                                                                 \
                       "\tvadd.i16 %q[even], %q[even], %q[x]\n"                                                            \
                       first "%q[x], [%[other]]\n"                                                                         \
                       "\tvmullt.s8 %q[x], %q[x], %q[v]\n"                                                                 \
                       "\tvadd.i16 %q[odd], %q[odd], %q[x]\n"                                                              \
                       "\tvmovlb.s16 %q[x], %q[even]\n"                                                                    \
                       "\tvadd.i32 %q[a], %q[a], %q[x]\n"                                                                  \
                       "\tvmovlt.s16 %q[x], %q[even]\n"                                                                    \
                       "\tvadd.i32 %q[b], %q[b], %q[x]\n"                                                                  \
                       "\tvmovlb.s16 %q[x], %q[odd]\n"                                                                     \
                       "\tvadd.i32 %q[C], %q[C], %q[x]\n"                                                                  \
                       "\tvmovlt.s16 %q[x], %q[odd]\n"                                                                     \
                       "\tvadd.i32 %q[d], %q[d], %q[x]\n"                                                                  \
                       "\tle lr, 0b"                                                                                       \
                       : [rows] "+&r"(*rows), [w] "+&r"(*w), [one] "=&r"(one), [other] "=&r"(other), [even] "=&w"(even), [odd] "=&w"(odd), \
                         [x] "=&w"(x), [v] "=&w"(v), [a] "+&w"(s->a), [b] "+&w"(s->b), [C] "+&w"(s->c), [d] "+&w"(s->d)     \
                       : [pairs] "r"(pairs), [c] "r"(c), [some] "r"(some)                                                  \
                       : "lr", "memory");                                                                           \
    }
ADD_PAIRS(add_pairs_of_16, "", "\tvldrb.u8 ")
ADD_PAIRS(add_pairs_of_some, "\tvmsr p0, %[some]\n", "\tvpst\n\tvldrbt.u8 ")

/* Up to 16 channels of all positions; `some` are there, unless it is known that all are. */
INLINE void depthwise_sixteen(const int8_t *weights, const int32_t *bias, const int32_t *multiplier, const int8_t *shift, const fours_args *a,
                              const void *const *rows, void *const *outs, uint32_t positions, uint32_t c, int all, mve_pred16_t some)
{
    void *const *end = outs + positions;
    uint32_t taps = a->taps;
    for (; outs < end; outs++) {
        sixteen_sums s = sixteen_words(bias), by;
        const int8_t *w = weights;
        int16x8_t even, odd;
        int8x16_t x;
        if (taps > 1 && all)
            add_pairs_of_16(&rows, taps / 2, c, &w, &s, some);
        else if (taps > 1)
            add_pairs_of_some(&rows, taps / 2, c, &w, &s, some);
        if (taps & 1) {
            const int8_t *from = (const int8_t *)*rows++ + c;
            int8x16_t v = vldrbq_s8(w);
            x = all ? vldrbq_s8(from) : vldrbq_z_s8(from, some);
            even = vmullbq_int_s8(x, v);
            odd = vmulltq_int_s8(x, v);
            s.a = vaddq_s32(s.a, vmovlbq_s16(even));
            s.b = vaddq_s32(s.b, vmovltq_s16(even));
            s.c = vaddq_s32(s.c, vmovlbq_s16(odd));
            s.d = vaddq_s32(s.d, vmovltq_s16(odd));
        }
        by = sixteen_words(multiplier);
        s.a = short_rescaled(s.a, by.a, vldrbq_s32(shift));
        s.b = short_rescaled(s.b, by.b, vldrbq_s32(shift + 4));
        s.c = short_rescaled(s.c, by.c, vldrbq_s32(shift + 8));
        s.d = short_rescaled(s.d, by.d, vldrbq_s32(shift + 12));
        /* what saturates in 16 bits is beyond the limits of 8 with any zero point */
        even = vqaddq_n_s16(vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(s.a), s.a), s.b), a->zero_out);
        odd = vqaddq_n_s16(vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(s.c), s.c), s.d), a->zero_out);
        x = vqmovntq_s16(vqmovnbq_s16(vreinterpretq_s8_s16(even), even), odd);
        x = vminq_s8(vmaxq_s8(x, vdupq_n_s8((int8_t)a->low)), vdupq_n_s8((int8_t)a->high));
        if (all)
            vstrbq_s8((int8_t *)*outs + c, x);
        else
            vstrbq_p_s8((int8_t *)*outs + c, x, some);
    }
}

/* 16 channels at once. */
static void depthwise_i8_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                               void *window)
{
    uint32_t taps = a->taps, channels = a->channels, c;
    const tcn_columns columns = tcn_columns_of(a, plan, (channels + 15) & ~15u);
    const int32_t *bias = columns.bias, *multiplier = columns.multiplier;
    const int8_t *weights = tcn_fours_weights(a, plan, (channels + 15) & ~15u), *shift = columns.shift;
    (void)window;
    for (c = 0; c + 16 <= channels; c += 16, weights += 16 * taps)
        depthwise_sixteen(weights, bias + c, multiplier + c, shift + c, a, rows, outs, positions, c, 1, 0);
    if (c < channels)
        depthwise_sixteen(weights, bias + c, multiplier + c, shift + c, a, rows, outs, positions, c, 0, vctp8q(channels - c));
}
