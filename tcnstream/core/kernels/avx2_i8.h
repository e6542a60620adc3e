/* avx2_i8.h - int8 on AVX2: windows of many positions are widened to 16 bits once for all outputs, and what a
 * plan's writer has found to be short (RESCALE_SHORT) is rescaled sixteen values at a time. */

/* Of 16 bits, for the windows of some positions: half of a processor's nearest cache. Registers hold the sums of eight
 * outputs for five positions. */
enum { WIDENED_WORDS = TCN_SLIDING_VALUES + 16, WIDENED_TILE = 5, WIDENED_POSITIONS = TCN_SLIDING_POSITIONS };

INLINE __m256i words_16(const int16_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

/* Two words, again and again. */
INLINE __m256i two_words(const int16_t *p)
{
    int32_t both;
    memcpy(&both, p, sizeof both);
    return _mm256_set1_epi32(both);
}

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

/* Values to 16 bits; up to eight words behind the last are written as well. */
INLINE void widen(const int8_t *x, size_t n, int16_t *to)
{
    size_t c;
    for (c = 0; c + 16 <= n; c += 16)
        _mm256_storeu_si256((__m256i *)(void *)(to + c), sixteen(x + c));
    if (c + 8 <= n) {
        _mm_storeu_si128((__m128i *)(void *)(to + c), _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)(x + c))));
        c += 8;
    }
    if (c < n)
        _mm_storeu_si128((__m128i *)(void *)(to + c), _mm_cvtepi8_epi16(some_bytes(x + c, (uint32_t)(n - c))));
}

/* Windows of 16 bits: position p reads `depth` words, a multiple of four, for each tap k at x + k * beside + p * depth. */
typedef struct {
    const int16_t *x;
    size_t taps, depth, beside;
} widened_windows;

/* Of a convolution's channels those that a group reads. */
typedef struct {
    size_t from, n;
    int is_all; /* rows that stand behind each other are one long row */
} row_part;

/* Rows `apart` from each other, each padded to whole fours. Returns the place behind them. */
static __attribute__((noinline)) int16_t *widen_rows(const void *const *rows, size_t n, size_t apart, row_part part, int16_t *to)
{
    const size_t padded = (part.n + 3) & ~(size_t)3;
    size_t i = 0, run;
    for (; part.n == 1 && i < n; i++, to += padded) { /* a signal itself */
        const int16_t four[4] = {((const int8_t *)rows[i * apart])[part.from], 0, 0, 0};
        memcpy(to, four, sizeof four);
    }
    for (; i < n; i += run, to += run * padded) {
        const int8_t *x = (const int8_t *)rows[i * apart];
        for (run = 1; part.is_all && i + run < n && (const int8_t *)rows[(i + run) * apart] == x + run * part.n; run++) {
        }
        widen(x + part.from, run * part.n, to);
    }
    return to;
}

/* The frames of each tap. */
static widened_windows widen_taps(const void *const *rows, size_t n, size_t taps, row_part part, int16_t *x)
{
    int16_t *to = x;
    size_t k;
    for (k = 0; k < taps; k++)
        to = widen_rows(rows + k, n, taps, part, to);
    return (widened_windows){x, taps, (part.n + 3) & ~(size_t)3, (size_t)(to - x) / taps};
}

/* The frames of all taps, each once: tap k of position p reads frame p + k * step. */
static widened_windows widen_frames(const void *const *frames, size_t n, size_t taps, size_t step, row_part part, int16_t *x)
{
    const size_t padded = (part.n + 3) & ~(size_t)3;
    widen_rows(frames, n + (taps - 1) * step, 1, part, x);
    return (widened_windows){x, taps, padded, step * padded};
}

/* The sums of N times four outputs for T positions, from `bias` on. A register has two partial sums of four outputs. */
#define ADD_WINDOWS(s, N, T)                                                                                    \
    __m256i s[T][N], weight[N];                                                                                 \
    size_t k, t, v;                                                                                             \
    UNROLL_INT for (v = 0; v < N; v++)                                                                          \
        UNROLL_INT for (t = 0; t < T; t++) s[t][v] = _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(const void *)(bias + 4 * v))); \
    for (k = 0; k < of.taps; k++) {                                                                             \
        const int16_t *x = from + k * of.beside, *const end = x + of.depth;                                     \
        for (; x < end; x += 4, w += step) {                                                                    \
            UNROLL_INT for (v = 0; v < N; v++) weight[v] = sixteen(w + 16 * v);                                 \
            UNROLL_INT for (t = 0; t < T; t++) {                                                                \
                const __m256i four = int16_at(x + t * of.depth);                                                \
                UNROLL_INT for (v = 0; v < N; v++) s[t][v] = _mm256_add_epi32(s[t][v], _mm256_madd_epi16(weight[v], four)); \
            }                                                                                                   \
        }                                                                                                       \
    }

#define WIDENED(name, N, T)                                                                                     \
    INLINE void name(const int8_t *w, size_t step, const widened_windows of, const int16_t *from, const int32_t *bias, int32_t *sum) \
    {                                                                                                           \
        ADD_WINDOWS(s, N, T)                                                                                    \
        UNROLL_INT for (t = 0; t < T; t++)                                                                      \
            if (N == 2)                                                                                         \
                _mm256_storeu_si256((__m256i *)(void *)(sum + 8 * t), halves_mixed(_mm256_hadd_epi32(s[t][0], s[t][N - 1]))); \
            else                                                                                                \
                int8_4_store(s[t][0], sum + 4 * t);                                                             \
    }

#define WIDENED_TILES(name, N)                                                                                  \
    WIDENED(name##_5, N, 5)                                                                                     \
    WIDENED(name##_4, N, 4)                                                                                     \
    WIDENED(name##_1, N, 1)                                                                                     \
    static __attribute__((noinline)) void name(const int8_t *w, size_t step, widened_windows of, const int32_t *bias, size_t positions, int32_t *sum) \
    {                                                                                                           \
        size_t p = 0;                                                                                           \
        for (; p + 5 <= positions; p += 5)                                                                      \
            name##_5(w, step, of, of.x + p * of.depth, bias, sum + p * 4 * N);                                  \
        for (; p + 4 <= positions; p += 4)                                                                      \
            name##_4(w, step, of, of.x + p * of.depth, bias, sum + p * 4 * N);                                  \
        for (; p < positions; p++)                                                                              \
            name##_1(w, step, of, of.x + p * of.depth, bias, sum + p * 4 * N);                                  \
    }
WIDENED_TILES(widened_8, 2)
WIDENED_TILES(widened_4, 1)

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

/* Where a panel's outputs go: the first n, from `to` on. */
typedef struct {
    void *const *outs;
    size_t to;
    uint32_t n;
    int32_t low, high;
} panel_outputs;

/* The same of eight outputs that are settled, to bytes with no sum in memory. */
#define WIDENED_SETTLED(name, T)                                                                                \
    INLINE void name(const int8_t *w, size_t step, const widened_windows of, const int16_t *from, const int32_t *bias, \
                     const settled_scaling *by, const panel_outputs *out, size_t p)                             \
    {                                                                                                           \
        const __m128i in_order = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);           \
        ADD_WINDOWS(s, 2, T)                                                                                    \
        UNROLL_INT for (t = 0; t < T; t += 2) {                                                                 \
            const __m256i one = settled(_mm256_hadd_epi32(s[t][0], s[t][1]), by);                               \
            const __m256i other = t + 1 < T ? settled(_mm256_hadd_epi32(s[t + 1 < T ? t + 1 : t][0], s[t + 1 < T ? t + 1 : t][1]), by) : one; \
            const __m256i words = _mm256_packs_epi32(one, other);                                               \
            const __m128i mixed = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)); \
            const __m128i y = clipped_16(_mm_shuffle_epi8(mixed, in_order), out->low, out->high);               \
            stored((int8_t *)out->outs[p + t] + out->to, y, out->n);                                            \
            if (t + 1 < T)                                                                                      \
                stored((int8_t *)out->outs[p + t + 1] + out->to, _mm_unpackhi_epi64(y, y), out->n);             \
        }                                                                                                       \
    }
WIDENED_SETTLED(widened_settled_6, 6)
WIDENED_SETTLED(widened_settled_4, 4)
WIDENED_SETTLED(widened_settled_2, 2)
WIDENED_SETTLED(widened_settled_1, 1)

static __attribute__((noinline)) void widened_settled(const int8_t *w, size_t step, widened_windows of, const int32_t *bias, settled_scaling by,
                                                      size_t positions, panel_outputs out)
{
    const settled_scaling mixed = settled_mixed(by);
    size_t p = 0;
    for (; p + 6 <= positions; p += 6)
        widened_settled_6(w, step, of, of.x + p * of.depth, bias, &mixed, &out, p);
    for (; p + 4 <= positions; p += 4)
        widened_settled_4(w, step, of, of.x + p * of.depth, bias, &mixed, &out, p);
    for (; p + 2 <= positions; p += 2)
        widened_settled_2(w, step, of, of.x + p * of.depth, bias, &mixed, &out, p);
    for (; p < positions; p++)
        widened_settled_1(w, step, of, of.x + p * of.depth, bias, &mixed, &out, p);
}

/* What a panel's sums are brought to outputs by in integers: a vector of eight, or one of four twice. */
INLINE int panel_scaling_of(short_scaling *by, const conv_args *a, const uint8_t *plan, uint32_t at, uint32_t width)
{
    const int32_t *multiplier = WORDS(plan, a->multiplier_at) + at, *shift = WORDS(plan, a->shift_at) + at;
    if (a->rescale != RESCALE_SHORT && a->rescale != RESCALE_SETTLED)
        return 0;
    if (width == 4)
        return short_scaling_of(by, repeated_4(multiplier), repeated_4(shift), a->zero_out);
    return short_scaling_of(by, loaded(multiplier), loaded(shift), a->zero_out);
}

/* The first n outputs of eight or four from their sums. */
static __attribute__((noinline)) void finish_short(short_scaling by, const int32_t *sum, uint32_t width, size_t positions, panel_outputs out)
{
    size_t t;
    for (t = 0; t < positions; sum += 8) {
        const __m128i y = clipped_16(as_bytes(short_rescaled(loaded(sum), by)), out.low, out.high);
        stored((int8_t *)out.outs[t++] + out.to, y, out.n);
        if (width == 4 && t < positions)
            stored((int8_t *)out.outs[t++] + out.to, _mm_srli_si128(y, 4), out.n);
    }
}

/* Eight outputs of a panel, or one of four. */
static void widened_part(const conv_args *a, const uint8_t *plan, const int8_t *w, size_t step, const widened_windows *of, uint32_t at,
                         uint32_t width, size_t positions, panel_outputs out)
{
    static const int32_t nothing[8] = {0};
    int32_t sum[8 * WIDENED_POSITIONS + 4]; /* an odd number of fours is read to its end */
    const int32_t *bias = WORDS(plan, a->bias_at) + at;
    settled_scaling settled_by;
    short_scaling by;
    int is_short;
    if (width == 8 && settled_scaling_of(&settled_by, a, at)) {
        widened_settled(w, step, *of, bias, settled_by, positions, out);
        return;
    }
    is_short = panel_scaling_of(&by, a, plan, at, width);
    if (width == 8)
        widened_8(w, step, *of, is_short ? bias : nothing, positions, sum);
    else
        widened_4(w, step, *of, is_short ? bias : nothing, positions, sum);
    if (is_short)
        finish_short(by, sum, width, positions, out);
    else /* which adds the bias */
        finish_int8(a, plan, sum, positions, at, width, out.outs, out.to, out.n);
}

/* Sixteen channels as two vectors: 0 to 3 and 8 to 11, 4 to 7 and 12 to 15, as unpacking two rows leaves them. */
typedef struct {
    __m256i first, second;
} sixteen_channels;

INLINE sixteen_channels channels_among(__m256i low, __m256i high)
{
    return (sixteen_channels){_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)};
}

INLINE sixteen_channels channels_of(const int32_t *p) { return channels_among(loaded(p), loaded(p + 8)); }

INLINE sixteen_channels beside(__m256i x, __m256i y)
{
    return (sixteen_channels){_mm256_unpacklo_epi16(x, y), _mm256_unpackhi_epi16(x, y)};
}

INLINE void mix_floats(__m256 *low, __m256 *high)
{
    const sixteen_channels mixed = channels_among(_mm256_castps_si256(*low), _mm256_castps_si256(*high));
    *low = _mm256_castsi256_ps(mixed.first);
    *high = _mm256_castsi256_ps(mixed.second);
}

/* How sixteen channels are rescaled: as they are settled, or in integers. */
typedef struct {
    settled_scaling settled[2];
    short_scaling in_integers[2];
} sixteen_scaling;

INLINE int are_settled(sixteen_scaling *by, const conv_args *a, uint32_t c)
{
    settled_scaling *s = by->settled;
    sixteen_channels late;
    if (!settled_scaling_of(&s[0], a, c) || !settled_scaling_of(&s[1], a, c + 8))
        return 0;
    mix_floats(&s[0].scale, &s[1].scale);
    mix_floats(&s[0].over, &s[1].over);
    mix_floats(&s[0].under, &s[1].under);
    late = channels_among(s[0].late, s[1].late);
    s[0].late = late.first;
    s[1].late = late.second;
    s[0].is_any_late |= s[1].is_any_late;
    s[1].is_any_late = s[0].is_any_late;
    return 1;
}

INLINE int are_short(sixteen_scaling *by, const conv_args *a, const uint8_t *plan, uint32_t c)
{
    const sixteen_channels multiplier = channels_of(WORDS(plan, a->multiplier_at) + c), shift = channels_of(WORDS(plan, a->shift_at) + c);
    return short_scaling_of(&by->in_integers[0], multiplier.first, shift.first, a->zero_out) &&
           short_scaling_of(&by->in_integers[1], multiplier.second, shift.second, a->zero_out);
}

/* Sixteen sums to bytes in order. */
INLINE __m128i sixteen_bytes(sixteen_channels sum, const sixteen_scaling *by, int is_settled, const int32_t low, const int32_t high)
{
    const __m256i first = is_settled ? settled(sum.first, &by->settled[0]) : short_rescaled(sum.first, by->in_integers[0]);
    const __m256i second = is_settled ? settled(sum.second, &by->settled[1]) : short_rescaled(sum.second, by->in_integers[1]);
    const __m256i words = _mm256_packs_epi32(first, second);
    return clipped_16(_mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)), low, high);
}

/* Sixteen outputs for T positions by weights in pairs (settled.h): a product and a sum for two channels, and no sum of sums. */
#define PAIRED_16(name, T)                                                                                      \
    INLINE void name(const int16_t *w, const widened_windows of, const int16_t *from, sixteen_channels bias, const sixteen_scaling *by, \
                     int is_settled, const panel_outputs *out, size_t p)                                        \
    {                                                                                                           \
        sixteen_channels sum[T];                                                                                \
        size_t k, t;                                                                                            \
        UNROLL_INT for (t = 0; t < T; t++) sum[t] = bias;                                                       \
        for (k = 0; k < of.taps; k++) {                                                                         \
            const int16_t *x = from + k * of.beside, *const end = x + of.depth;                                 \
            for (; x < end; x += 2, w += 32) {                                                                  \
                const __m256i first = words_16(w), second = words_16(w + 16);                                   \
                UNROLL_INT for (t = 0; t < T; t++) {                                                            \
                    const __m256i pair = two_words(x + t * of.depth);                                           \
                    sum[t].first = _mm256_add_epi32(sum[t].first, _mm256_madd_epi16(first, pair));              \
                    sum[t].second = _mm256_add_epi32(sum[t].second, _mm256_madd_epi16(second, pair));           \
                }                                                                                               \
            }                                                                                                   \
        }                                                                                                       \
        UNROLL_INT for (t = 0; t < T; t++)                                                                      \
            stored((int8_t *)out->outs[p + t] + out->to, sixteen_bytes(sum[t], by, is_settled, out->low, out->high), out->n); \
    }
PAIRED_16(paired_16_of_6, 6)
PAIRED_16(paired_16_of_4, 4)
PAIRED_16(paired_16_of_1, 1)

INLINE void paired_16(const int16_t *w, widened_windows of, sixteen_channels bias, const sixteen_scaling *by, int is_settled, size_t positions, panel_outputs out)
{
    size_t p = 0;
    for (; p + 6 <= positions; p += 6)
        paired_16_of_6(w, of, of.x + p * of.depth, bias, by, is_settled, &out, p);
    for (; p + 4 <= positions; p += 4)
        paired_16_of_4(w, of, of.x + p * of.depth, bias, by, is_settled, &out, p);
    for (; p < positions; p++)
        paired_16_of_1(w, of, of.x + p * of.depth, bias, by, is_settled, &out, p);
}

/* A panel of sixteen outputs, `at` entries into the columns; 0 where its weights do not stand in pairs. */
static int widened_panel(const conv_args *a, const uint8_t *plan, const widened_windows *of, uint32_t at, size_t positions, panel_outputs out)
{
    const int16_t *pairs = a->rescale == RESCALE_SETTLED ? ((const tcn_settled_conv *)(const void *)a)->pairs : NULL;
    const sixteen_channels bias = channels_of(WORDS(plan, a->bias_at) + at);
    sixteen_scaling by;
    int is_settled;
    if (!pairs)
        return 0;
    pairs += at * of->taps * of->depth;
    is_settled = are_settled(&by, a, at);
    if (!is_settled && !are_short(&by, a, plan, at))
        return 0;
    if (is_settled)
        paired_16(pairs, *of, bias, &by, 1, positions, out);
    else
        paired_16(pairs, *of, bias, &by, 0, positions, out);
    return 1;
}

/* All outputs of group g, `at` entries into the columns. Returns the entries behind them. */
static uint32_t widened_group(const conv_args *a, const uint8_t *plan, const widened_windows *of, uint32_t g, uint32_t at, size_t positions, void *const *outs)
{
    const uint32_t outputs = a->outputs / a->groups;
    const size_t apart = of->taps * of->depth;
    const int8_t *w = (const int8_t *)(plan + a->weights_at) + at * apart;
    uint32_t begin, width, v;
    for (begin = 0; begin < outputs; begin += width, at += width, w += apart * width) {
        width = panel_width(outputs - begin);
        if (width == 16 && widened_panel(a, plan, of, at, positions,
                                         (panel_outputs){outs, (size_t)g * outputs + begin, outputs - begin < 16 ? outputs - begin : 16, a->low, a->high}))
            continue;
        for (v = 0; v < width; v += 8) {
            const uint32_t left = outputs - begin - v, part = width < 8 ? width : 8;
            widened_part(a, plan, w + 4 * v, 4 * width, of, at + v, part, positions,
                         (panel_outputs){outs, (size_t)g * outputs + begin + v, left < part ? left : part, a->low, a->high});
        }
    }
    return at;
}

INLINE row_part part_of_group(const conv_args *a, uint32_t g)
{
    const size_t depth = a->channels / a->groups;
    return (row_part){g * depth, depth, a->groups == 1 && depth % 4 == 0};
}

static void conv_i8_widened(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    int16_t x[WIDENED_WORDS];
    const size_t taps = (size_t)a->taps_t * a->taps_f, depth = a->channels / a->groups, apart = taps * ((depth + 3) & ~(size_t)3);
    size_t most = TCN_SLIDING_VALUES / apart, p, n;
    if (positions == 1 || most < WIDENED_TILE) {
        conv_i8(a, plan, rows, outs, positions);
        return;
    }
    most = most < WIDENED_POSITIONS ? most / WIDENED_TILE * WIDENED_TILE : WIDENED_POSITIONS;
    for (p = 0; p < positions; p += n) {
        uint32_t g, at = 0;
        n = positions - p < most ? positions - p : most;
        for (g = 0; g < a->groups; g++) {
            const widened_windows of = widen_taps(rows + p * taps, n, taps, part_of_group(a, g), x);
            at = widened_group(a, plan, &of, g, at, n, outs + p);
        }
    }
}

static void conv_i8_sliding(const conv_args *a, const uint8_t *plan, const void *const *frames, void *const *outs, uint32_t positions)
{
    int16_t x[WIDENED_WORDS];
    uint32_t g, at = 0;
    for (g = 0; g < a->groups; g++) {
        const widened_windows of = widen_frames(frames, positions, a->taps_t, a->dilation_t, part_of_group(a, g), x);
        at = widened_group(a, plan, &of, g, at, positions, outs);
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
    settled_scaling settled_by;
    const int is_settled = settled_scaling_of_one(&settled_by, a, c);
    uint32_t p, k, t, n;
    if (!is_settled && !short_scaling_of(&by, same(WORDS(plan, a->multiplier_at)[c]), same(WORDS(plan, a->shift_at)[c]), a->zero_out)) {
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
        stored(kept, clipped_16(as_bytes(is_settled ? settled(loaded(sum), &settled_by) : short_rescaled(loaded(sum), by)), low, high), 16);
        for (t = 0; t < n; t++)
            ((int8_t *)outs[p + t])[c] = kept[t];
    }
}

/* Sixteen channels of two rows, c of which is the first, times `weights` of both. */
#define ADD_TAPS(sum, one, other)                                                                               \
    {                                                                                                           \
        const sixteen_channels both = beside(sixteen((const int8_t *)(one) + c), sixteen((const int8_t *)(other) + c)); \
        sum.first = with_products(sum.first, both.first, weights->first);                                       \
        sum.second = with_products(sum.second, both.second, weights->second);                                   \
    }

/* Sixteen channels of T positions; `weights` are those of two taps side by side, those of no tap 0. */
#define DEPTHWISE_16(name, T)                                                                                   \
    INLINE void name(const conv_args *a, const sixteen_channels *weights, sixteen_channels bias, const sixteen_scaling *by, int is_settled, \
                     const void *const *row, uint32_t taps, void *const *outs, uint32_t c)                      \
    {                                                                                                           \
        sixteen_channels sum[T];                                                                                \
        uint32_t k, t;                                                                                          \
        UNROLL_INT for (t = 0; t < T; t++) sum[t] = bias;                                                       \
        for (k = 0; k + 2 <= taps; k += 2, weights++)                                                           \
            UNROLL_INT for (t = 0; t < T; t++) ADD_TAPS(sum[t], row[(size_t)t * taps + k], row[(size_t)t * taps + k + 1]) \
        if (k < taps)                                                                                           \
            UNROLL_INT for (t = 0; t < T; t++) ADD_TAPS(sum[t], row[(size_t)t * taps + k], row[(size_t)t * taps + k]) \
        UNROLL_INT for (t = 0; t < T; t++)                                                                      \
            stored((int8_t *)outs[t] + c, sixteen_bytes(sum[t], by, is_settled, a->low, a->high), 16);          \
    }
DEPTHWISE_16(depthwise_16_of_4, 4)
DEPTHWISE_16(depthwise_16_of_2, 2)
DEPTHWISE_16(depthwise_16_of_1, 1)

INLINE void depthwise_16(const conv_args *a, const sixteen_channels *weights, sixteen_channels bias, const sixteen_scaling *by, int is_settled,
                         const void *const *rows, uint32_t taps, void *const *outs, uint32_t c, uint32_t positions)
{
    uint32_t p = 0;
    for (; p + 4 <= positions; p += 4)
        depthwise_16_of_4(a, weights, bias, by, is_settled, rows + (size_t)p * taps, taps, outs + p, c);
    for (; p + 2 <= positions; p += 2)
        depthwise_16_of_2(a, weights, bias, by, is_settled, rows + (size_t)p * taps, taps, outs + p, c);
    if (p < positions)
        depthwise_16_of_1(a, weights, bias, by, is_settled, rows + (size_t)p * taps, taps, outs + p, c);
}

static void depthwise_i8_widened(const conv_args *args, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    const conv_args one = *args, *a = &one; /* which no output may alias */
    const uint32_t taps = a->taps_t * a->taps_f, channels = a->outputs;
    const int8_t *w = (const int8_t *)(plan + a->weights_at);
    uint32_t c, k;
    if (a->channels != channels || (a->rescale != RESCALE_SHORT && a->rescale != RESCALE_SETTLED) || taps > 2 * PAIRS_KEPT) {
        depthwise_i8(args, plan, rows, outs, positions);
        return;
    }
    for (c = 0; c + 16 <= channels; c += 16) {
        const sixteen_channels bias = channels_of(WORDS(plan, a->bias_at) + c);
        sixteen_channels weights[PAIRS_KEPT];
        sixteen_scaling by = {0};
        const int is_settled = are_settled(&by, args, c);
        if (!is_settled && !are_short(&by, a, plan, c)) {
            depthwise_i8_part(args, plan, rows, outs, positions, c, 8);
            depthwise_i8_part(args, plan, rows, outs, positions, c + 8, 8);
            continue;
        }
        for (k = 0; k < taps; k += 2)
            weights[k / 2] = beside(sixteen(w + (size_t)k * channels + c),
                                    k + 1 < taps ? sixteen(w + (size_t)(k + 1) * channels + c) : _mm256_setzero_si256());
        if (is_settled)
            depthwise_16(a, weights, bias, &by, 1, rows, taps, outs, c, positions);
        else
            depthwise_16(a, weights, bias, &by, 0, rows, taps, outs, c, positions);
    }
    for (; c + 8 <= channels; c += 8)
        depthwise_i8_part(args, plan, rows, outs, positions, c, 8);
    for (; c < channels; c++)
        depthwise_i8_channel(args, plan, rows, outs, positions, c);
}

/* A sum or a difference that is settled. */
static void binary_settled(const tcn_settled_binary *b, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    const __m256 by_x = _mm256_set1_ps(b->scale[0]), by_y = _mm256_set1_ps(b->scale[1]), offset = _mm256_set1_ps(b->offset);
    const int32_t low = b->args.low, high = b->args.high;
    uint32_t i, h;
    for (i = 0; i + 16 <= n; i += 16) {
        numbers r[2];
        UNROLL_INT for (h = 0; h < 2; h++) {
            const __m256 p = _mm256_cvtepi32_ps(widened(x + i + 8 * h)), q = _mm256_cvtepi32_ps(widened(y + i + 8 * h));
            r[h] = _mm256_cvtps_epi32(_mm256_fmadd_ps(p, by_x, _mm256_fmadd_ps(q, by_y, offset)));
        }
        stored(out + i, clipped_16(narrowed_16(r[0], r[1]), low, high), 16);
    }
}

/* A sum of which one operand is at twice the larger scale already: bringing it there is a shift. */
static void binary_i8_widened(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    const int own = a->multiplier[0] == 1 << 30 && a->shift[0] == 0 ? 0 : 1;
    const int32_t low = a->low, high = a->high;
    const int equal = a->multiplier[1 - own] == 1 << 30 && a->shift[1 - own] == 0;
    short_scaling other, by;
    uint32_t i, h;
    if (a->left_shift == SHIFT_SETTLED) {
        const tcn_settled_binary *b = (const tcn_settled_binary *)(const void *)a;
        const uint32_t whole = n / 16 * 16;
        binary_settled(b, x, y, out, whole);
        if (whole < n)
            binary_i8(b->exact, op, x + whole, y + whole, out + whole, n - whole);
        return;
    }
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
