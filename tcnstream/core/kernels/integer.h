/* integer.h - int8 and int16 kernels, compiled once per instruction set: the one source of their shapes.
 *
 * The including file says how sums are kept and how four products per output are added to them:
 *
 *   INT8_PREFIXES, `int16`  for panels of 16, 8 and 4 outputs, and for int16, a prefix P with
 *     P_sums            the sums of P_outputs outputs (how many partial sums each has is its own business)
 *     P_four            four activations of one position, as the instructions want them
 *     P_spread(bits)    from the four activations' bytes; P_at(x) from where they stand
 *     P_none()          sums of nothing
 *     P_add(s, w, four) s and the products with (P_outputs, 4) weights
 *     P_store(s, to)    the sums as int32
 *   INT8_AT_ONCE_W, INT8_TILE_W   sums of a panel that are kept at once, for so many positions at once
 *   BIAS_I8             the bias that fits what P_spread does to activations: bias_at or bias_u8_at
 *
 * and, where it has vectors of int32 (NUMBERS of them):
 *
 *   numbers             the vector
 *   widened, narrowed   from int8 and back (values in range)
 *   scaling, scaling_of, rescaled   multiply_twice of every value; the scaling serves many of them
 *   pairs, pair_of, with_products   two rows of bytes side by side, and their products with two of weights
 *   product, shifted_left, added, minus, clipped, same, loaded
 *   narrowed and some_narrowed saturate, so that only limits within int8 need clipped
 *   repeated_8, repeated_4   where NUMBERS is more: 8 or 4 values, again and again
 *   some_loaded, some_widened, some_pair_of, some_narrowed   of the first n < NUMBERS
 *   settled_scaling, settled_scaling_of, settled   (HAS_SETTLED) the arithmetic of settled.h
 *
 * IN_ORDER: the processor waits for each result anyway, so one sum at a time is best; and its stack is small.
 *
 * All sums are of integers, so the order in which instruction sets add them does not show. */

#define UNROLL_INT _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))

#define WORDS(plan, at) ((const int32_t *)(const void *)((plan) + (at)))
#define LONGS(plan, at) ((const int64_t *)(const void *)((plan) + (at)))

INLINE uint32_t four_int8(const int8_t *x)
{
    uint32_t bits;
    memcpy(&bits, x, 4);
    return bits;
}

/* The first n < 4, and zeros behind them. */
INLINE uint32_t some_int8(const int8_t *x, uint32_t n)
{
    uint32_t bits = (uint8_t)x[0];
    if (n > 1)
        bits |= (uint32_t)(uint8_t)x[1] << 8;
    if (n > 2)
        bits |= (uint32_t)(uint8_t)x[2] << 16;
    return bits;
}

INLINE uint64_t four_int16(const int16_t *x)
{
    uint64_t bits;
    memcpy(&bits, x, 8);
    return bits;
}

INLINE uint64_t some_int16(const int16_t *x, uint32_t n)
{
    uint64_t bits = (uint16_t)x[0];
    if (n > 1)
        bits |= (uint64_t)(uint16_t)x[1] << 16;
    if (n > 2)
        bits |= (uint64_t)(uint16_t)x[2] << 32;
    return bits;
}

#define int8_4_at(x) int8_4_spread(four_int8(x))
#define int16_at(x) int16_spread(four_int16(x))

/* N sums for T positions; `step` bytes of weights from one four to the next, `apart` from one sum's to the next's. */
#define SUMS(name, P, X, N, T)                                                                                  \
    INLINE void name(const int8_t *w, size_t step, size_t apart, const void *const *rows, size_t taps, size_t from, \
                     size_t depth, int32_t *sum, size_t width)                                                  \
    {                                                                                                           \
        P##_sums s[T][N];                                                                                       \
        size_t k, c, t, v;                                                                                      \
        UNROLL_INT for (t = 0; t < T; t++) UNROLL_INT for (v = 0; v < N; v++) s[t][v] = P##_none();             \
        for (k = 0; k < taps; k++) {                                                                            \
            const X##_t *x[T];                                                                                  \
            UNROLL_INT for (t = 0; t < T; t++) x[t] = (const X##_t *)rows[t * taps + k] + from;                 \
            for (c = 0; c + 4 <= depth; c += 4, w += step)                                                      \
                UNROLL_INT for (t = 0; t < T; t++) {                                                            \
                    P##_four four = P##_at(x[t] + c);                                                           \
                    UNROLL_INT for (v = 0; v < N; v++) s[t][v] = P##_add(s[t][v], w + v * apart, four); \
                }                                                                                               \
            if (c < depth) {                                                                                    \
                UNROLL_INT for (t = 0; t < T; t++) {                                                            \
                    P##_four four = P##_spread(some_##X(x[t] + c, (uint32_t)(depth - c)));                      \
                    UNROLL_INT for (v = 0; v < N; v++) s[t][v] = P##_add(s[t][v], w + v * apart, four); \
                }                                                                                               \
                w += step;                                                                                      \
            }                                                                                                   \
        }                                                                                                       \
        UNROLL_INT for (t = 0; t < T; t++) UNROLL_INT for (v = 0; v < N; v++) P##_store(s[t][v], sum + t * width + v * P##_outputs); \
    }

#ifdef IN_ORDER
#define SUMS_ALONE(name, P, X, N) SUMS(name, P, X, N, 1)
#else
/* The same for one position: fours go in turn to two sums, so that none waits for the one before. */
#define SUMS_ALONE(name, P, X, N)                                                                               \
    INLINE void name(const int8_t *w, size_t step, size_t apart, const void *const *rows, size_t taps, size_t from, size_t depth, int32_t *sum, size_t width) \
    {                                                                                                           \
        P##_sums even[N], odd[N];                                                                               \
        size_t k, c, v;                                                                                         \
        (void)width;                                                                                            \
        UNROLL_INT for (v = 0; v < N; v++) even[v] = odd[v] = P##_none();                                       \
        for (k = 0; k < taps; k++) {                                                                            \
            const X##_t *x = (const X##_t *)rows[k] + from;                                                     \
            for (c = 0; c + 8 <= depth; c += 8, w += 2 * step) {                                                \
                P##_four first = P##_at(x + c), second = P##_at(x + c + 4);                                     \
                UNROLL_INT for (v = 0; v < N; v++) even[v] = P##_add(even[v], w + v * apart, first);  \
                UNROLL_INT for (v = 0; v < N; v++) odd[v] = P##_add(odd[v], w + step + v * apart, second); \
            }                                                                                                   \
            for (; c < depth; c += 4, w += step) {                                                              \
                P##_four four = c + 4 <= depth ? P##_at(x + c) : P##_spread(some_##X(x + c, (uint32_t)(depth - c))); \
                UNROLL_INT for (v = 0; v < N; v++) even[v] = P##_add(even[v], w + v * apart, four);   \
            }                                                                                                   \
        }                                                                                                       \
        UNROLL_INT for (v = 0; v < N; v++) P##_store(P##_plus(even[v], odd[v]), sum + v * P##_outputs);      \
    }
#endif

/* Where vectors are longer than a panel, the last one reaches behind its sums. */
#if defined(NUMBERS) && NUMBERS > 4
enum { BEHIND_SUMS = 16 };
#else
enum { BEHIND_SUMS = 0 };
#endif

/* One panel of width W for all positions; N sums at once. */
#define PANEL_OF(name, P, X, W, N, T, finish)                                                                   \
    SUMS(name##_tile, P, X, N, T)                                                                               \
    SUMS_ALONE(name##_one, P, X, N)                                                                             \
    TCN_OWN_FRAME static void name(const conv_args *a, const uint8_t *plan, const int8_t *w,                    \
                                   const void *const *rows, void *const *outs, size_t positions, size_t taps,   \
                                   size_t depth, size_t from, size_t to, uint32_t at, uint32_t n)               \
    {                                                                                                           \
        size_t p = 0, v;                                                                                        \
        int32_t sum[T * W + BEHIND_SUMS];                                                                       \
        for (; T > 1 && p + T <= positions; p += T) {                                                           \
            for (v = 0; v < W; v += N * P##_outputs)                                                            \
                name##_tile(w + 4 * v, 4 * W, 4 * P##_outputs, rows + p * taps, taps, from, depth, sum + v, W); \
            finish(a, plan, sum, T, at, W, outs + p, to, n);                                                    \
        }                                                                                                       \
        for (; p < positions; p++) {                                                                            \
            for (v = 0; v < W; v += N * P##_outputs)                                                            \
                name##_one(w + 4 * v, 4 * W, 4 * P##_outputs, rows + p * taps, taps, from, depth, sum + v, W);  \
            finish(a, plan, sum, 1, at, W, outs + p, to, n);                                                    \
        }                                                                                                       \
    }

#ifdef INT8_TILE_32
/* Two panels of 16 for all positions: each four of activations is brought in once for both. */
#define TWO_PANELS_OF(name, P, X, T, finish)                                                                    \
    SUMS(name##_tile, P, X, 2, T)                                                                               \
    SUMS_ALONE(name##_one, P, X, 2)                                                                             \
    static void name(const conv_args *a, const uint8_t *plan, const int8_t *w, const void *const *rows,         \
                     void *const *outs, size_t positions, size_t taps, size_t depth, size_t from, size_t to,    \
                     uint32_t at)                                                                               \
    {                                                                                                           \
        size_t p = 0, apart = taps * ((depth + 3) / 4) * 4 * 16;                                                \
        int32_t sum[T * 32];                                                                                    \
        for (; p + T <= positions; p += T) {                                                                    \
            name##_tile(w, 4 * 16, apart, rows + p * taps, taps, from, depth, sum, 32);                         \
            finish(a, plan, sum, T, at, 32, outs + p, to, 32);                                                  \
        }                                                                                                       \
        for (; p < positions; p++) {                                                                            \
            name##_one(w, 4 * 16, apart, rows + p * taps, taps, from, depth, sum, 32);                          \
            finish(a, plan, sum, 1, at, 32, outs + p, to, 32);                                                  \
        }                                                                                                       \
    }
#define BOTH_PANELS(name)                                                                                       \
    if (outputs - begin >= 32) {                                                                                \
        name(a, plan, w, rows, outs, positions, taps, depth, (size_t)g * depth, (size_t)g * outputs + begin, at); \
        w += (size_t)taps * ((depth + 3) / 4) * 4 * 32;                                                         \
        at += 32;                                                                                               \
        begin += 32;                                                                                            \
        continue;                                                                                               \
    }
#else
#define BOTH_PANELS(name)
#endif

#define CONV_OF(name, two, panel_16, panel_8, panel_4)                                                          \
    static void name(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,       \
                     uint32_t positions)                                                                        \
    {                                                                                                           \
        uint32_t taps = a->taps_t * a->taps_f, groups = a->groups;                                              \
        uint32_t depth = groups == 1 ? a->channels : a->channels / groups;                                      \
        uint32_t outputs = groups == 1 ? a->outputs : a->outputs / groups, g, begin, at = 0;                    \
        const int8_t *w = (const int8_t *)(plan + a->weights_at);                                               \
        for (g = 0; g < groups; g++) {                                                                          \
            for (begin = 0; begin < outputs;) {                                                                 \
                two                                                                                             \
                uint32_t width = panel_width(outputs - begin), n = outputs - begin < width ? outputs - begin : width; \
                size_t from = (size_t)g * depth, to = (size_t)g * outputs + begin;                              \
                if (width == 16)                                                                                \
                    panel_16(a, plan, w, rows, outs, positions, taps, depth, from, to, at, n);                  \
                else if (width == 8)                                                                            \
                    panel_8(a, plan, w, rows, outs, positions, taps, depth, from, to, at, n);                   \
                else                                                                                            \
                    panel_4(a, plan, w, rows, outs, positions, taps, depth, from, to, at, n);                   \
                w += (size_t)taps * ((depth + 3) / 4) * 4 * width;                                              \
                at += width;                                                                                    \
                begin += width;                                                                                 \
            }                                                                                                   \
        }                                                                                                       \
    }

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
/* A panel narrower than a vector: several positions in one. Returns how many positions are done. */
INLINE size_t finish_side_by_side(const conv_args *a, const int32_t *sum, size_t positions, numbers offset,
                                  scaling by, uint32_t width, void *const *outs, size_t to, uint32_t n)
{
    size_t per = NUMBERS / width, t, k;
    uint32_t i;
    numbers low = same(a->low), high = same(a->high), zero = same(a->zero_out);
    int clip = a->low > -128 || a->high < 127;
    for (t = 0; t + per <= positions; t += per) {
        int8_t kept[NUMBERS];
        numbers x = added(rescaled(added(loaded(sum + t * width), offset), by), zero);
        narrowed(kept, clip ? clipped(x, low, high) : x);
        for (k = 0; k < per; k++) {
            int8_t *out = (int8_t *)outs[t + k] + to;
            if (n == width)
                memcpy(out, kept + k * width, width);
            else
                for (i = 0; i < n; i++)
                    out[i] = kept[k * width + i];
        }
    }
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
#if NUMBERS > 8
    if (width == 8 && positions > 1)
        begin = finish_side_by_side(a, sum, positions, repeated_8(bias), scaling_of(repeated_8(multiplier), repeated_8(shift)), 8, outs, to, n);
#endif
#if NUMBERS > 4
    if (width == 4 && positions > 1)
        begin = finish_side_by_side(a, sum, positions, repeated_4(bias), scaling_of(repeated_4(multiplier), repeated_4(shift)), 4, outs, to, n);
#endif
    for (; i < n && begin < positions; i += NUMBERS) {
        int whole = i + NUMBERS <= width;
        uint32_t left = n - i;
        int clip = a->low > -128 || a->high < 127;
        numbers low = same(a->low), high = same(a->high), zero = same(a->zero_out);
        numbers offset = whole ? loaded(bias + i) : some_loaded(bias + i, left);
        scaling by = whole ? scaling_of(loaded(multiplier + i), loaded(shift + i))
                           : scaling_of(some_loaded(multiplier + i, left), some_loaded(shift + i, left));
        RESCALING(a, at + i, whole)
        for (t = begin; t < positions; t++) {
            numbers x = added(loaded(sum + t * width + i), offset);
            int8_t *out = (int8_t *)outs[t] + to + i;
            x = RESCALED(x, by, zero);
            x = clip ? clipped(x, low, high) : x;
            if (left >= NUMBERS)
                narrowed(out, x);
            else
                some_narrowed(out, x, left);
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

#ifdef INT8_PREFIXES
#define INT8_PANELS_OF(P16, P8, P4)                                                                             \
    PANEL_OF(int8_panel_16, P16, int8, 16, INT8_AT_ONCE_16, INT8_TILE_16, finish_int8)                  \
    PANEL_OF(int8_panel_8, P8, int8, 8, INT8_AT_ONCE_8, INT8_TILE_8, finish_int8)                       \
    PANEL_OF(int8_panel_4, P4, int8, 4, 1, INT8_TILE_4, finish_int8)
#define INT8_PANELS(...) INT8_PANELS_OF(__VA_ARGS__)
#ifdef INT8_TILE_32
#define INT8_TWO_PANELS_OF(P16, P8, P4) TWO_PANELS_OF(int8_panels_32, P16, int8, INT8_TILE_32, finish_int8)
#define INT8_TWO_PANELS(...) INT8_TWO_PANELS_OF(__VA_ARGS__)
INT8_TWO_PANELS(INT8_PREFIXES)
#endif
INT8_PANELS(INT8_PREFIXES)
CONV_OF(conv_i8, BOTH_PANELS(int8_panels_32), int8_panel_16, int8_panel_8, int8_panel_4)
#endif

PANEL_OF(int16_panel_16, int16, int16, 16, INT16_AT_ONCE_16, INT16_TILE, finish_int16)
PANEL_OF(int16_panel_8, int16, int16, 8, INT16_AT_ONCE_8, INT16_TILE, finish_int16)
PANEL_OF(int16_panel_4, int16, int16, 4, 1, INT16_TILE, finish_int16)
CONV_OF(conv_i16_short, , int16_panel_16, int16_panel_8, int16_panel_4)

/* Up to so many products of 15 and 7 bits fit 32 bits. */
enum { MOST_INT16_PRODUCTS = 511 };

static void conv_i16(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                     uint32_t positions)
{
    if ((uint64_t)a->taps_t * a->taps_f * (a->channels / a->groups) > MOST_INT16_PRODUCTS)
        tcn_plain_conv_i16(a, plan, rows, outs, positions);
    else
        conv_i16_short(a, plan, rows, outs, positions);
}

#ifdef NUMBERS

/* Weights of so many pairs of taps are kept at hand, for several positions. */
#ifdef IN_ORDER
enum { PAIRS_KEPT = 1 };
#else
enum { PAIRS_KEPT = 16 };
#endif

INLINE pairs weights_of(const int8_t *weights, uint32_t k, uint32_t taps, uint32_t channels, uint32_t n)
{
    const int8_t *first = weights + (size_t)2 * k * channels;
    const int8_t none[NUMBERS] = {0};
    if (n >= NUMBERS)
        return 2 * k + 1 < taps ? pair_of(first, first + channels) : pair_of(first, none);
    return 2 * k + 1 < taps ? some_pair_of(first, first + channels, n) : some_pair_of(first, none, n);
}

/* Up to NUMBERS channels of all positions */
INLINE void depthwise_i8_part(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                              uint32_t positions, uint32_t c, uint32_t n)
{
    uint32_t taps = a->taps_t * a->taps_f, channels = a->outputs, p, k, steps = (taps + 1) / 2;
    const int8_t *weights = (const int8_t *)(plan + a->weights_at) + c;
    const int32_t *bias = WORDS(plan, a->bias_at) + c, *multiplier = WORDS(plan, a->multiplier_at) + c, *shift = WORDS(plan, a->shift_at) + c;
    numbers low = same(a->low), high = same(a->high), zero = same(a->zero_out);
    numbers offset = n >= NUMBERS ? loaded(bias) : some_loaded(bias, n);
    scaling by = n >= NUMBERS ? scaling_of(loaded(multiplier), loaded(shift))
                              : scaling_of(some_loaded(multiplier, n), some_loaded(shift, n));
    pairs kept[PAIRS_KEPT];
    int clip = a->low > -128 || a->high < 127;
    for (k = 0; k < steps && k < PAIRS_KEPT; k++)
        kept[k] = weights_of(weights, k, taps, channels, n);
    RESCALING(a, c, n >= NUMBERS)
    for (p = 0; p < positions; p++) {
        const void *const *row = rows + (size_t)p * taps;
        numbers sum = offset;
        for (k = 0; k < steps; k++) {
            const int8_t *x = (const int8_t *)row[2 * k] + c;
            const int8_t *y = 2 * k + 1 < taps ? (const int8_t *)row[2 * k + 1] + c : x;
            pairs w = k < PAIRS_KEPT ? kept[k] : weights_of(weights, k, taps, channels, n);
            sum = with_products(sum, n >= NUMBERS ? pair_of(x, y) : some_pair_of(x, y, n), w);
        }
        sum = RESCALED(sum, by, zero);
        sum = clip ? clipped(sum, low, high) : sum;
        if (n >= NUMBERS)
            narrowed((int8_t *)outs[p] + c, sum);
        else
            some_narrowed((int8_t *)outs[p] + c, sum, n);
    }
}

static void depthwise_i8(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                         uint32_t positions)
{
    uint32_t channels = a->outputs, c;
    if (a->channels != channels || a->rescale == RESCALE_EXACT) {
        tcn_plain_depthwise_i8(a, plan, rows, outs, positions);
        return;
    }
    for (c = 0; c + NUMBERS <= channels; c += NUMBERS)
        depthwise_i8_part(a, plan, rows, outs, positions, c, NUMBERS);
    if (c < channels)
        depthwise_i8_part(a, plan, rows, outs, positions, c, channels - c);
}

TCN_APART static void binary_i8(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    uint32_t i = 0;
    if (op == BINARY_ADD || op == BINARY_SUB || op == BINARY_MUL) {
        numbers zero_x = same(a->zero[0]), zero_y = same(a->zero[1]), zero = same(a->zero_out);
        scaling by_x = scaling_of(same(a->multiplier[0]), same(a->shift[0]));
        scaling by_y = scaling_of(same(a->multiplier[1]), same(a->shift[1]));
        scaling by = scaling_of(same(a->multiplier_out), same(a->shift_out));
        numbers low = same(a->low), high = same(a->high);
        int clip = a->low > -128 || a->high < 127;
        for (; i + NUMBERS <= n; i += NUMBERS) {
            numbers p = minus(widened(x + i), zero_x), q = minus(widened(y + i), zero_y), r;
            if (op == BINARY_MUL) {
                r = product(p, q);
            } else {
                p = rescaled(shifted_left(p, a->left_shift), by_x);
                q = rescaled(shifted_left(q, a->left_shift), by_y);
                r = op == BINARY_ADD ? added(p, q) : minus(p, q);
            }
            r = added(rescaled(r, by), zero);
            narrowed(out + i, clip ? clipped(r, low, high) : r);
        }
    }
    if (i < n)
        tcn_plain_binary_i8(a, op, x + i, y + i, out + i, n - i);
}

#endif
