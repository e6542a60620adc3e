/* integer_rescale.h - from sums to int8 and int16 outputs, for integer.h: bias, multiplier, zero point, limits. */

/* Sums of one panel to outputs: `sum` has `width` values, `n` of them are wanted; `at` is the panel's place in
 * the per-output arrays. */
TCN_OWN_FRAME static void exact_int8(const conv_args *a, const uint8_t *plan, const int32_t *sum, size_t positions,
                                     uint32_t at, uint32_t width, void *const *outs, size_t to, uint32_t n)
{
    const int32_t *shift = WORDS(plan, a->shift_at) + at, *bias = WORDS(plan, a->BIAS_I8) + at;
    const int64_t *mantissa = LONGS(plan, a->multiplier_at) + at;
    uint32_t i;
    size_t t;
    for (t = 0; t < positions; t++, sum += width)
        for (i = 0; i < n; i++)
            ((int8_t *)outs[t] + to)[i] = (int8_t)clip32(add32(multiply_exact(add32(sum[i], bias[i]), mantissa[i], shift[i]), a->zero_out), a->low, a->high);
}

#if defined(NUMBERS) && NUMBERS > 4
/* Outputs of several positions that stand side by side in a vector: n of `width` each. */
INLINE void scatter(numbers x, uint32_t width, void *const *outs, size_t to, uint32_t n)
{
    int8_t kept[NUMBERS];
    uint32_t k, i;
    narrowed(kept, x);
    for (k = 0; k < NUMBERS / width; k++) {
        int8_t *out = (int8_t *)outs[k] + to;
        if (n == width)
            memcpy(out, kept + k * width, width);
        else
            for (i = 0; i < n; i++)
                out[i] = kept[k * width + i];
    }
}

/* A panel narrower than a vector: several positions in one. Returns how many positions are done. */
INLINE size_t finish_side_by_side(const conv_args *a, const int32_t *sum, size_t positions, numbers offset,
                                  scaling by, uint32_t width, void *const *outs, size_t to, uint32_t n)
{
    size_t per = NUMBERS / width, t;
    numbers low = same(a->low), high = same(a->high), zero = same(a->zero_out);
    int clip = a->low > -128 || a->high < 127;
    for (t = 0; t + per <= positions; t += per) {
        numbers x = added(rescaled(added(loaded(sum + t * width), offset), by), zero);
        scatter(clip ? clipped(x, low, high) : x, width, outs + t, to, n);
    }
    return t;
}
#endif

#if defined(HAS_SETTLED) && NUMBERS > 8
/* The same of outputs that are settled. */
INLINE size_t settle_side_by_side(const conv_args *a, const int32_t *sum, size_t positions, numbers offset,
                                  const settled_scaling *by, uint32_t width, void *const *outs, size_t to, uint32_t n)
{
    size_t per = NUMBERS / width, t;
    numbers low = same(a->low), high = same(a->high);
    for (t = 0; t + per <= positions; t += per)
        scatter(clipped(settled(added(loaded(sum + t * width), offset), by), low, high), width, outs + t, to, n);
    return t;
}
#endif

/* How NUMBERS outputs from `at` on become bytes, if they are `whole`: settled, or by a scaling and a zero point. */
#ifdef HAS_SETTLED
#define RESCALING(a, at, whole)                                                                                 \
    settled_scaling by_settled;                                                                                 \
    const int is_settled = (whole) && settled_scaling_of(&by_settled, a, at);
#define RESCALED(x, by, zero) (is_settled ? settled(x, &by_settled) : added(rescaled(x, by), zero))
#else
#define RESCALING(a, at, whole)
#define RESCALED(x, by, zero) added(rescaled(x, by), zero)
#endif

#ifdef NUMBERS
/* The first `left` outputs of a vector, or all. */
INLINE void put(int8_t *out, numbers x, uint32_t left)
{
    if (left >= NUMBERS)
        narrowed(out, x);
    else
        some_narrowed(out, x, left);
}
#endif

/* Only in a frame of its own where the stack is small; elsewhere the call would cost more than it spares. */
#ifdef IN_ORDER
TCN_APART static
#else
INLINE
#endif
void rescaled_int8(const conv_args *a, const uint8_t *plan, const int32_t *sum, size_t positions, uint32_t at,
                   uint32_t width, void *const *outs, size_t to, uint32_t n)
{
    const int32_t *shift = WORDS(plan, a->shift_at) + at, *bias = WORDS(plan, a->BIAS_I8) + at;
    const int32_t *multiplier = WORDS(plan, a->multiplier_at) + at;
    uint32_t i = 0;
    size_t t;
#ifdef NUMBERS
    size_t begin = 0;
#ifdef HAS_SETTLED
    settled_scaling by_settled;
#endif
#if NUMBERS > 8
    if (width == 8 && positions > 1 && settled_scaling_of_8(&by_settled, a, at))
        begin = settle_side_by_side(a, sum, positions, repeated_8(bias), &by_settled, 8, outs, to, n);
    else if (width == 4 && positions > 1 && settled_scaling_of_4(&by_settled, a, at))
        begin = settle_side_by_side(a, sum, positions, repeated_4(bias), &by_settled, 4, outs, to, n);
    else if (width == 8 && positions > 1)
        begin = finish_side_by_side(a, sum, positions, repeated_8(bias), scaling_of(repeated_8(multiplier), repeated_8(shift)), 8, outs, to, n);
#endif
#if NUMBERS > 4
    if (width == 4 && positions > 1 && begin == 0)
        begin = finish_side_by_side(a, sum, positions, repeated_4(bias), scaling_of(repeated_4(multiplier), repeated_4(shift)), 4, outs, to, n);
#endif
    for (; i < n && begin < positions; i += NUMBERS) {
        int whole = i + NUMBERS <= width;
        uint32_t left = n - i;
        int clip = a->low > -128 || a->high < 127;
        numbers low = same(a->low), high = same(a->high), zero = same(a->zero_out);
        numbers offset = whole ? loaded(bias + i) : some_loaded(bias + i, left);
        scaling by;
#ifdef HAS_SETTLED
        if (whole && settled_scaling_of(&by_settled, a, at + i)) {
            for (t = begin; t < positions; t++)
                put((int8_t *)outs[t] + to + i, clipped(settled(added(loaded(sum + t * width + i), offset), &by_settled), low, high), left);
            continue;
        }
#endif
        by = whole ? scaling_of(loaded(multiplier + i), loaded(shift + i))
                   : scaling_of(some_loaded(multiplier + i, left), some_loaded(shift + i, left));
        for (t = begin; t < positions; t++) {
            numbers x = added(rescaled(added(loaded(sum + t * width + i), offset), by), zero);
            put((int8_t *)outs[t] + to + i, clip ? clipped(x, low, high) : x, left);
        }
    }
#else
    for (t = 0; t < positions; t++)
        for (i = 0; i < n; i++)
            ((int8_t *)outs[t] + to)[i] = (int8_t)clip32(add32(multiply_twice(add32(sum[t * width + i], bias[i]), multiplier[i], shift[i]), a->zero_out), a->low, a->high);
#endif
}

static void finish_int8(const conv_args *a, const uint8_t *plan, const int32_t *sum, size_t positions, uint32_t at,
                        uint32_t width, void *const *outs, size_t to, uint32_t n)
{
    if (a->rescale == RESCALE_EXACT)
        exact_int8(a, plan, sum, positions, at, width, outs, to, n);
    else
        rescaled_int8(a, plan, sum, positions, at, width, outs, to, n);
}

static void finish_int16(const conv_args *a, const uint8_t *plan, const int32_t *sum, size_t positions, uint32_t at,
                         uint32_t width, void *const *outs, size_t to, uint32_t n)
{
    const int32_t *shift = WORDS(plan, a->shift_at) + at;
    const int64_t *bias = LONGS(plan, a->bias_at) + at;
    uint32_t i;
    size_t t;
    for (t = 0; t < positions; t++)
        for (i = 0; i < n; i++) {
            int64_t whole = add64(bias[i], sum[t * width + i]);
            int32_t y;
            if (a->rescale == RESCALE_EXACT)
                y = multiply_exact(whole, LONGS(plan, a->multiplier_at)[at + i], shift[i]);
            else if (a->rescale == RESCALE_TWICE)
                y = multiply_twice(wrap32(whole), WORDS(plan, a->multiplier_at)[at + i], shift[i]);
            else
                y = multiply_wide(whole, WORDS(plan, a->multiplier_at)[at + i], shift[i]);
            ((int16_t *)outs[t] + to)[i] = (int16_t)clip32(add32(y, a->zero_out), a->low, a->high);
        }
}
