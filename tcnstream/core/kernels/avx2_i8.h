/* avx2_i8.h - int8 on AVX2: windows of many positions are widened to 16 bits once for all outputs, and what a
 * plan's writer has found to be short (RESCALE_SHORT) is rescaled sixteen values at a time. */

/* Of 16 bits, for the windows of some positions: half of a processor's nearest cache. Registers hold the sums of eight
 * outputs for five positions. */
enum { WIDENED_WORDS = 8192, WIDENED_TILE = 5, WIDENED_POSITIONS = 64 };

INLINE __m256i sixteen(const int8_t *p) { return _mm256_cvtepi8_epi16(bytes_at(p)); }

/* Sixteen values to bytes, saturated. */
INLINE __m128i narrowed_16(numbers x, numbers y)
{
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x, y), 0xD8);
    return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

INLINE __m128i clipped_16(__m128i x, const int32_t low, const int32_t high)
{
    return _mm_min_epi8(_mm_max_epi8(x, _mm_set1_epi8((char)low)), _mm_set1_epi8((char)high));
}

/* Rows to 16 bits, each padded with zeros to whole fours; eight words behind the last are written as well. */
static __attribute__((noinline)) void widen(const void *const *rows, size_t n, size_t from, size_t depth, int16_t *to)
{
    const size_t padded = (depth + 3) & ~(size_t)3;
    const void *const *const end = rows + n;
    size_t c;
    for (; rows < end; rows++, to += padded) {
        const int8_t *x = (const int8_t *)*rows + from;
        for (c = 0; c + 16 <= depth; c += 16)
            _mm256_storeu_si256((__m256i *)(void *)(to + c), sixteen(x + c));
        if (c + 8 <= depth) {
            _mm_storeu_si128((__m128i *)(void *)(to + c), _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)(x + c))));
            c += 8;
        }
        if (c < depth)
            _mm_storeu_si128((__m128i *)(void *)(to + c), _mm_cvtepi8_epi16(some_bytes(x + c, (uint32_t)(depth - c))));
    }
}

/* The sums of N times four outputs for T positions, from `bias` on. A register has two partial sums of four outputs. */
#define WIDENED(name, N, T)                                                                                     \
    INLINE void name(const int8_t *w, size_t step, const int16_t *x, size_t apart, const int32_t *bias, int32_t *sum, size_t width) \
    {                                                                                                           \
        __m256i s[T][N], weight[N];                                                                             \
        size_t i, t, v;                                                                                         \
        UNROLL_INT for (v = 0; v < N; v++)                                                                      \
            UNROLL_INT for (t = 0; t < T; t++) s[t][v] = _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(const void *)(bias + 4 * v))); \
        for (i = 0; i < apart; i += 4, w += step) {                                                             \
            UNROLL_INT for (v = 0; v < N; v++) weight[v] = sixteen(w + 16 * v);                                 \
            UNROLL_INT for (t = 0; t < T; t++) {                                                                \
                const __m256i four = int16_at(x + t * apart + i);                                               \
                UNROLL_INT for (v = 0; v < N; v++) s[t][v] = _mm256_add_epi32(s[t][v], _mm256_madd_epi16(weight[v], four)); \
            }                                                                                                   \
        }                                                                                                       \
        UNROLL_INT for (t = 0; t < T; t++)                                                                      \
            if (N == 2) {                                                                                       \
                const __m256i both = _mm256_hadd_epi32(s[t][0], s[t][N - 1]);                                   \
                _mm256_storeu_si256((__m256i *)(void *)(sum + t * width), _mm256_permute4x64_epi64(both, 0xD8)); \
            } else {                                                                                            \
                int8_4_store(s[t][0], sum + t * width);                                                         \
            }                                                                                                   \
    }

#define WIDENED_TILES(name, N)                                                                                  \
    WIDENED(name##_5, N, 5)                                                                                     \
    WIDENED(name##_4, N, 4)                                                                                     \
    WIDENED(name##_1, N, 1)                                                                                     \
    static __attribute__((noinline)) void name(const int8_t *w, size_t step, const int16_t *x, size_t apart, const int32_t *bias, size_t positions, int32_t *sum, size_t width) \
    {                                                                                                           \
        size_t p = 0;                                                                                           \
        for (; p + 5 <= positions; p += 5)                                                                      \
            name##_5(w, step, x + p * apart, apart, bias, sum + p * width, width);                              \
        for (; p + 4 <= positions; p += 4)                                                                      \
            name##_4(w, step, x + p * apart, apart, bias, sum + p * width, width);                              \
        for (; p < positions; p++)                                                                              \
            name##_1(w, step, x + p * apart, apart, bias, sum + p * width, width);                              \
    }
WIDENED_TILES(widened_8, 2)
WIDENED_TILES(widened_4, 1)

/* What a panel's sums are brought to outputs by: a vector of eight, two of them, or one of four twice. */
typedef struct {
    short_scaling of[2];
} panel_scaling;

INLINE int panel_scaling_of(panel_scaling *by, const conv_args *a, const uint8_t *plan, uint32_t at, uint32_t width)
{
    const int32_t *multiplier = WORDS(plan, a->multiplier_at) + at, *shift = WORDS(plan, a->shift_at) + at;
    if (a->rescale != RESCALE_SHORT)
        return 0;
    if (width == 4)
        return short_scaling_of(&by->of[0], repeated_4(multiplier), repeated_4(shift), a->zero_out);
    return short_scaling_of(&by->of[0], loaded(multiplier), loaded(shift), a->zero_out) &&
           (width == 8 || short_scaling_of(&by->of[1], loaded(multiplier + 8), loaded(shift + 8), a->zero_out));
}

INLINE void stored(int8_t *to, __m128i y, uint32_t n)
{
    int8_t kept[16];
    if (n == 16) {
        _mm_storeu_si128((__m128i *)(void *)to, y);
    } else if (n == 8) {
        _mm_storel_epi64((__m128i *)(void *)to, y);
    } else {
        _mm_storeu_si128((__m128i *)(void *)kept, y);
        memcpy(to, kept, n);
    }
}

/* The first n outputs of a panel from its sums. */
static __attribute__((noinline)) void finish_short(const conv_args *a, const panel_scaling *by, const int32_t *sum, uint32_t width, size_t positions,
                                                   void *const *outs, size_t to, uint32_t n)
{
    const short_scaling first = by->of[0], second = by->of[1];
    const int32_t low = a->low, high = a->high;
    size_t t;
    if (width == 16) {
        for (t = 0; t < positions; t++, sum += 16)
            stored((int8_t *)outs[t] + to, clipped_16(narrowed_16(short_rescaled(loaded(sum), first), short_rescaled(loaded(sum + 8), second)), low, high), n);
    } else if (width == 8) {
        for (t = 0; t < positions; t++, sum += 8)
            stored((int8_t *)outs[t] + to, clipped_16(as_bytes(short_rescaled(loaded(sum), first)), low, high), n);
    } else {
        for (t = 0; t < positions; t += 2, sum += 8) {
            const __m128i y = clipped_16(as_bytes(short_rescaled(loaded(sum), first)), low, high);
            stored((int8_t *)outs[t] + to, y, n);
            if (t + 1 < positions)
                stored((int8_t *)outs[t + 1] + to, _mm_srli_si128(y, 4), n);
        }
    }
}

static void widened_panels(const conv_args *a, const uint8_t *plan, const int8_t *w, const int16_t *x, size_t apart, uint32_t at,
                           size_t positions, void *const *outs, size_t to, uint32_t outputs)
{
    static const int32_t nothing[16] = {0};
    int32_t sum[16 * WIDENED_POSITIONS + 4]; /* an odd number of fours is read to its end */
    uint32_t width, n, v;
    for (; outputs > 0; outputs -= n, to += n, at += width, w += apart * width) {
        const int32_t *bias = WORDS(plan, a->bias_at) + at;
        panel_scaling by;
        int is_short;
        width = panel_width(outputs);
        n = outputs < width ? outputs : width;
        is_short = panel_scaling_of(&by, a, plan, at, width);
        if (!is_short)
            bias = nothing; /* finish_int8 adds it */
        for (v = 0; v + 8 <= width; v += 8)
            widened_8(w + 4 * v, 4 * width, x, apart, bias + v, positions, sum + v, width);
        if (width == 4)
            widened_4(w, 16, x, apart, bias, positions, sum, 4);
        if (is_short)
            finish_short(a, &by, sum, width, positions, outs, to, n);
        else
            finish_int8(a, plan, sum, positions, at, width, outs, to, n);
    }
}

static void conv_i8_widened(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    int16_t x[WIDENED_WORDS];
    const size_t taps = (size_t)a->taps_t * a->taps_f, depth = a->channels / a->groups, apart = taps * ((depth + 3) & ~(size_t)3);
    const uint32_t outputs = a->outputs / a->groups, total = panel_total(outputs);
    size_t most = (WIDENED_WORDS - 16) / apart, p, n;
    uint32_t g;
    if (positions == 1 || most < WIDENED_TILE) {
        conv_i8(a, plan, rows, outs, positions);
        return;
    }
    most = most < WIDENED_POSITIONS ? most / WIDENED_TILE * WIDENED_TILE : WIDENED_POSITIONS;
    for (p = 0; p < positions; p += n) {
        n = positions - p < most ? positions - p : most;
        for (g = 0; g < a->groups; g++) {
            widen(rows + p * taps, n * taps, g * depth, depth, x);
            widened_panels(a, plan, (const int8_t *)(plan + a->weights_at) + g * apart * total, x, apart, g * total, n, outs + p,
                           (size_t)g * outputs, outputs);
        }
    }
}

/* One channel of all positions, eight of them in a vector. */
static void depthwise_i8_channel(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions, uint32_t c)
{
    const uint32_t taps = a->taps_t * a->taps_f, channels = a->outputs;
    const int8_t *weights = (const int8_t *)(plan + a->weights_at) + c;
    const int32_t bias = WORDS(plan, a->bias_at)[c];
    const int32_t low = a->low, high = a->high;
    int32_t sum[8] = {0};
    int8_t kept[16];
    short_scaling by;
    uint32_t p, k, t, n;
    if (!short_scaling_of(&by, same(WORDS(plan, a->multiplier_at)[c]), same(WORDS(plan, a->shift_at)[c]), a->zero_out)) {
        depthwise_i8_part(a, plan, rows, outs, positions, c, 1);
        return;
    }
    for (p = 0; p < positions; p += n) {
        n = positions - p < 8 ? positions - p : 8;
        for (t = 0; t < n; t++, rows += taps) {
            int32_t one = bias;
            for (k = 0; k < taps; k++)
                one = add32(one, ((const int8_t *)rows[k])[c] * weights[(size_t)k * channels]);
            sum[t] = one;
        }
        stored(kept, clipped_16(as_bytes(short_rescaled(loaded(sum), by)), low, high), 16);
        for (t = 0; t < n; t++)
            ((int8_t *)outs[p + t])[c] = kept[t];
    }
}

/* Sixteen channels as two vectors: 0 to 3 and 8 to 11, 4 to 7 and 12 to 15, as unpacking two rows leaves them. */
typedef struct {
    __m256i first, second;
} sixteen_channels;

INLINE sixteen_channels channels_of(const int32_t *p)
{
    const numbers low = loaded(p), high = loaded(p + 8);
    return (sixteen_channels){_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)};
}

INLINE sixteen_channels beside(__m256i x, __m256i y)
{
    return (sixteen_channels){_mm256_unpacklo_epi16(x, y), _mm256_unpackhi_epi16(x, y)};
}

/* Sixteen channels of T positions; `weights` are those of two taps side by side. */
#define DEPTHWISE_16(name, T)                                                                                   \
    INLINE void name(const conv_args *a, const sixteen_channels *weights, sixteen_channels bias, const short_scaling *by, \
                     const void *const *rows, uint32_t taps, void *const *outs, uint32_t c)                     \
    {                                                                                                           \
        sixteen_channels sum[T];                                                                                \
        uint32_t k, t;                                                                                          \
        UNROLL_INT for (t = 0; t < T; t++) sum[t] = bias;                                                       \
        for (k = 0; k < taps; k += 2, weights++)                                                                \
            UNROLL_INT for (t = 0; t < T; t++) {                                                                \
                const void *const *row = rows + (size_t)t * taps + k;                                           \
                const __m256i x = sixteen((const int8_t *)row[0] + c);                                          \
                const sixteen_channels both = beside(x, k + 1 < taps ? sixteen((const int8_t *)row[1] + c) : x); \
                sum[t].first = with_products(sum[t].first, both.first, weights->first);                         \
                sum[t].second = with_products(sum[t].second, both.second, weights->second);                     \
            }                                                                                                   \
        UNROLL_INT for (t = 0; t < T; t++) {                                                                    \
            const __m256i words = _mm256_packs_epi32(short_rescaled(sum[t].first, by[0]), short_rescaled(sum[t].second, by[1])); \
            const __m128i y = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)); \
            stored((int8_t *)outs[t] + c, clipped_16(y, a->low, a->high), 16);                                  \
        }                                                                                                       \
    }
DEPTHWISE_16(depthwise_16_of_2, 2)
DEPTHWISE_16(depthwise_16_of_1, 1)

static void depthwise_i8_widened(const conv_args *args, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    const conv_args one = *args, *a = &one; /* which no output may alias */
    const uint32_t taps = a->taps_t * a->taps_f, channels = a->outputs;
    const int8_t *w = (const int8_t *)(plan + a->weights_at);
    uint32_t c, p, k;
    if (a->channels != channels || a->rescale != RESCALE_SHORT || taps > 2 * PAIRS_KEPT) {
        depthwise_i8(a, plan, rows, outs, positions);
        return;
    }
    for (c = 0; c + 16 <= channels; c += 16) {
        const sixteen_channels bias = channels_of(WORDS(plan, a->bias_at) + c);
        const sixteen_channels multiplier = channels_of(WORDS(plan, a->multiplier_at) + c), shift = channels_of(WORDS(plan, a->shift_at) + c);
        sixteen_channels weights[PAIRS_KEPT];
        short_scaling by[2];
        if (!short_scaling_of(&by[0], multiplier.first, shift.first, a->zero_out) ||
            !short_scaling_of(&by[1], multiplier.second, shift.second, a->zero_out)) {
            depthwise_i8_part(a, plan, rows, outs, positions, c, 8);
            depthwise_i8_part(a, plan, rows, outs, positions, c + 8, 8);
            continue;
        }
        for (k = 0; k < taps; k += 2)
            weights[k / 2] = beside(sixteen(w + (size_t)k * channels + c),
                                    k + 1 < taps ? sixteen(w + (size_t)(k + 1) * channels + c) : _mm256_setzero_si256());
        for (p = 0; p + 2 <= positions; p += 2)
            depthwise_16_of_2(a, weights, bias, by, rows + (size_t)p * taps, taps, outs + p, c);
        if (p < positions)
            depthwise_16_of_1(a, weights, bias, by, rows + (size_t)p * taps, taps, outs + p, c);
    }
    for (; c + 8 <= channels; c += 8)
        depthwise_i8_part(a, plan, rows, outs, positions, c, 8);
    for (; c < channels; c++)
        depthwise_i8_channel(a, plan, rows, outs, positions, c);
}

/* A sum of which one operand is at twice the larger scale already: bringing it there is a shift. */
static void binary_i8_widened(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    const int own = a->multiplier[0] == 1 << 30 && a->shift[0] == 0 ? 0 : 1;
    const int32_t low = a->low, high = a->high;
    const int equal = a->multiplier[1 - own] == 1 << 30 && a->shift[1 - own] == 0;
    short_scaling other, by;
    uint32_t i, h;
    if (op != BINARY_ADD || a->left_shift != 20 || a->multiplier[own] != 1 << 30 || a->shift[own] != 0 ||
        (!short_scaling_of(&other, same(a->multiplier[1 - own]), same(a->shift[1 - own]), 0) && !equal) ||
        !short_scaling_of(&by, same(a->multiplier_out), same(a->shift_out), a->zero_out)) {
        binary_i8(a, op, x, y, out, n);
        return;
    }
    {
        const int8_t *p = own ? y : x, *q = own ? x : y;
        const numbers zero_p = same(left32(a->zero[own], 19)), zero_q = same(left32(a->zero[1 - own], 20));
        for (i = 0; i + 16 <= n; i += 16) {
            numbers r[2];
            __m128i made;
            UNROLL_INT for (h = 0; h < 2; h++) {
                const numbers far = minus(shifted_left(widened(q + i + 8 * h), 20), zero_q);
                const numbers moved = equal ? _mm256_srai_epi32(far, 1) : short_rescaled(far, other);
                r[h] = short_rescaled(added(minus(shifted_left(widened(p + i + 8 * h), 19), zero_p), moved), by);
            }
            made = narrowed_16(r[0], r[1]);
            stored(out + i, clipped_16(made, low, high), 16);
        }
    }
    if (i < n)
        binary_i8(a, op, x + i, y + i, out + i, n - i);
}
