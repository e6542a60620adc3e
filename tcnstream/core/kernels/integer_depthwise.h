/* integer_depthwise.h - depthwise convolutions of int8, for integer.h: channels along the vector, two taps at once. */

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
