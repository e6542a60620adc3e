/* x86_integer.h - integer kernels of AVX2 and up, compiled once per instruction set.
 *
 * With DOT (VNNI) four products of an int8 panel are added at once; the activations go in as unsigned
 * bytes, shifted by 128, which `bias_u8` takes back. Without it values are widened to 16 bits and pairs
 * of products are added: two partial sums per output. Both are exact in any order. */

#define UNROLL_INT _Pragma("GCC unroll 16")

/* Rescaling of LANES accumulators, as multiply_twice, then zero point and range */
#define REQUANTIZE(name, T, P, S, SET64)                                                                        \
    static inline __attribute__((always_inline)) T name(T x, T multiplier, T shift)                             \
    {                                                                                                           \
        T left = P##_max_epi32(shift, P##_setzero_##S()), right = P##_sub_epi32(left, shift);                   \
        T low = SET64(0xFFFFFFFF), nudge = SET64(1 << 30), even, odd, high, mask, rest, threshold;              \
        x = P##_sllv_epi32(x, left);                                                                            \
        even = P##_add_epi64(P##_mul_epi32(x, multiplier), nudge);                                              \
        odd = P##_add_epi64(P##_mul_epi32(P##_srli_epi64(x, 32), P##_srli_epi64(multiplier, 32)), nudge);       \
        high = P##_or_##S(P##_and_##S(P##_srli_epi64(even, 31), low), P##_andnot_##S(low, P##_slli_epi64(odd, 1))); \
        mask = P##_sub_epi32(P##_sllv_epi32(P##_set1_epi32(1), right), P##_set1_epi32(1));                      \
        rest = P##_and_##S(high, mask);                                                                         \
        threshold = P##_sub_epi32(P##_srli_epi32(mask, 1), P##_srai_epi32(high, 31));                           \
        return P##_sub_epi32(P##_srav_epi32(high, right), P##_srai_epi32(P##_sub_epi32(threshold, rest), 31));  \
    }                                                                                                           \
    static inline __attribute__((always_inline)) T name##_to_range(const conv_args *a, T x)                     \
    {                                                                                                           \
        x = P##_add_epi32(x, P##_set1_epi32(a->zero_out));                                                      \
        return P##_min_epi32(P##_max_epi32(x, P##_set1_epi32(a->low)), P##_set1_epi32(a->high));                \
    }

REQUANTIZE(requantize_4, __m128i, _mm, si128, _mm_set1_epi64x)
REQUANTIZE(requantize_8, __m256i, _mm256, si256, _mm256_set1_epi64x)

static inline __m128i bytes_of_8(__m256i x)
{
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return _mm_packs_epi16(words, words);
}

/* Accumulators of one panel to int8 outputs. `sum` has `width` values, `n` of them are wanted. */
static void finish_panel(const conv_args *a, const uint8_t *plan, const int32_t *sum, uint32_t at, uint32_t width,
                         int8_t *out, uint32_t n)
{
    const int32_t *shift = (const int32_t *)(const void *)(plan + a->shift_at) + at;
    uint32_t i;
    if (a->rescale == RESCALE_EXACT) {
        const int64_t *mantissa = (const int64_t *)(const void *)(plan + a->multiplier_at) + at;
        for (i = 0; i < n; i++)
            out[i] = (int8_t)clip32(add32(multiply_exact(sum[i], mantissa[i], shift[i]), a->zero_out), a->low, a->high);
        return;
    }
    {
        const int32_t *multiplier = (const int32_t *)(const void *)(plan + a->multiplier_at) + at;
        int8_t kept[16];
        int8_t *to = n == width ? out : kept;
        if (width >= 8) {
            for (i = 0; i < width; i += 8) {
                __m256i x = requantize_8(_mm256_loadu_si256((const __m256i *)(const void *)(sum + i)),
                                         _mm256_loadu_si256((const __m256i *)(const void *)(multiplier + i)),
                                         _mm256_loadu_si256((const __m256i *)(const void *)(shift + i)));
                _mm_storel_epi64((__m128i *)(void *)(to + i), bytes_of_8(requantize_8_to_range(a, x)));
            }
        } else {
            __m128i x = requantize_4(_mm_loadu_si128((const __m128i *)(const void *)sum),
                                     _mm_loadu_si128((const __m128i *)(const void *)multiplier),
                                     _mm_loadu_si128((const __m128i *)(const void *)shift));
            int32_t four;
            x = requantize_4_to_range(a, x);
            x = _mm_packs_epi32(x, x);
            four = _mm_cvtsi128_si32(_mm_packs_epi16(x, x));
            memcpy(to, &four, 4);
        }
        if (n != width)
            memcpy(out, kept, n);
    }
}

static inline __attribute__((always_inline)) uint32_t four_bytes(const int8_t *x, uint32_t left)
{
    uint32_t v = 0;
    if (left >= 4) {
        memcpy(&v, x, 4);
        return v;
    }
    memcpy(&v, x, 1);
    if (left > 1)
        v |= (uint32_t)(uint8_t)x[1] << 8;
    if (left > 2)
        v |= (uint32_t)(uint8_t)x[2] << 16;
    return v;
}

#ifdef DOT
/* T positions of one panel: sums of width W in vectors V */
#define DOT_PANEL(name, V, W, T, SET, DPBUSD, XOR, LOAD, STORE, ADD, WHERE)                                     \
    static inline __attribute__((always_inline)) void name(const int8_t *w, const void *const *rows,            \
            uint32_t taps, uint32_t from, uint32_t depth, const int32_t *bias, int32_t (*sum)[16])              \
    {                                                                                                           \
        V acc[T], flip = SET((int)0x80808080);                                                                  \
        uint32_t k, c, t;                                                                                       \
        UNROLL_INT for (t = 0; t < T; t++) acc[t] = LOAD((const void *)bias);                                   \
        for (k = 0; k < taps; k++) {                                                                            \
            for (c = 0; c < depth; c += 4, w += 4 * W) {                                                        \
                V weight = LOAD((const void *)w);                                                               \
                UNROLL_INT for (t = 0; t < T; t++)                                                              \
                    acc[t] = DPBUSD(acc[t], XOR(SET((int)four_bytes((const int8_t *)rows[t * taps + k] + from + c, depth - c)), flip), weight); \
            }                                                                                                   \
        }                                                                                                       \
        UNROLL_INT for (t = 0; t < T; t++) STORE((void *)sum[t], acc[t]);                                       \
    }
/* One position: two sums in turn */
#define DOT_ALONE(name, V, W, SET, DPBUSD, XOR, LOAD, STORE, ADD, ZERO)                                         \
    static inline __attribute__((always_inline)) void name(const int8_t *w, const void *const *rows,            \
            uint32_t taps, uint32_t from, uint32_t depth, const int32_t *bias, int32_t (*sum)[16])              \
    {                                                                                                           \
        V even = LOAD((const void *)bias), odd = ZERO(), flip = SET((int)0x80808080);                           \
        uint32_t k, c;                                                                                          \
        for (k = 0; k < taps; k++) {                                                                            \
            const int8_t *x = (const int8_t *)rows[k] + from;                                                   \
            for (c = 0; c + 8 <= depth; c += 8, w += 8 * W) {                                                   \
                even = DPBUSD(even, XOR(SET((int)four_bytes(x + c, 4)), flip), LOAD((const void *)w));          \
                odd = DPBUSD(odd, XOR(SET((int)four_bytes(x + c + 4, 4)), flip), LOAD((const void *)(w + 4 * W))); \
            }                                                                                                   \
            for (; c < depth; c += 4, w += 4 * W)                                                               \
                even = DPBUSD(even, XOR(SET((int)four_bytes(x + c, depth - c)), flip), LOAD((const void *)w));  \
        }                                                                                                       \
        STORE((void *)sum[0], ADD(even, odd));                                                                  \
    }
#define DOT_16(make, name, T) make(name, __m512i, 16, T, _mm512_set1_epi32, _mm512_dpbusd_epi32, _mm512_xor_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_add_epi32, 0)
DOT_16(DOT_PANEL, int8_16_8, 8)
DOT_16(DOT_PANEL, int8_16_4, 4)
DOT_ALONE(int8_16_1, __m512i, 16, _mm512_set1_epi32, _mm512_dpbusd_epi32, _mm512_xor_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_add_epi32, _mm512_setzero_si512)
#define LOAD_256(p) _mm256_loadu_si256((const __m256i *)(p))
#define STORE_256(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define LOAD_128(p) _mm_loadu_si128((const __m128i *)(p))
#define STORE_128(p, v) _mm_storeu_si128((__m128i *)(p), v)
DOT_PANEL(int8_8_8, __m256i, 8, 8, _mm256_set1_epi32, _mm256_dpbusd_epi32, _mm256_xor_si256, LOAD_256, STORE_256, _mm256_add_epi32, 0)
DOT_PANEL(int8_8_4, __m256i, 8, 4, _mm256_set1_epi32, _mm256_dpbusd_epi32, _mm256_xor_si256, LOAD_256, STORE_256, _mm256_add_epi32, 0)
DOT_ALONE(int8_8_1, __m256i, 8, _mm256_set1_epi32, _mm256_dpbusd_epi32, _mm256_xor_si256, LOAD_256, STORE_256, _mm256_add_epi32, _mm256_setzero_si256)
DOT_PANEL(int8_4_8, __m128i, 4, 8, _mm_set1_epi32, _mm_dpbusd_epi32, _mm_xor_si128, LOAD_128, STORE_128, _mm_add_epi32, 0)
DOT_PANEL(int8_4_4, __m128i, 4, 4, _mm_set1_epi32, _mm_dpbusd_epi32, _mm_xor_si128, LOAD_128, STORE_128, _mm_add_epi32, 0)
DOT_ALONE(int8_4_1, __m128i, 4, _mm_set1_epi32, _mm_dpbusd_epi32, _mm_xor_si128, LOAD_128, STORE_128, _mm_add_epi32, _mm_setzero_si128)
#define BIAS_AT bias_u8_at
#define MOST_TILE 8
#else
/* W / 4 vectors of two partial sums for four outputs each */
#define PAIR_PANEL(name, W, T)                                                                                  \
    static inline __attribute__((always_inline)) void name(const int8_t *w, const void *const *rows,            \
            uint32_t taps, uint32_t from, uint32_t depth, const int32_t *bias, int32_t (*sum)[16])              \
    {                                                                                                           \
        __m256i acc[T][W / 4];                                                                                  \
        uint32_t k, c, t, v;                                                                                    \
        UNROLL_INT for (t = 0; t < T; t++) UNROLL_INT for (v = 0; v < W / 4; v++) acc[t][v] = _mm256_setzero_si256(); \
        for (k = 0; k < taps; k++) {                                                                            \
            for (c = 0; c < depth; c += 4, w += 4 * W) {                                                        \
                __m256i x[T];                                                                                   \
                UNROLL_INT for (t = 0; t < T; t++)                                                              \
                    x[t] = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(                         \
                        (int)four_bytes((const int8_t *)rows[t * taps + k] + from + c, depth - c))));           \
                UNROLL_INT for (v = 0; v < W / 4; v++) {                                                        \
                    __m256i weight = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(w + 16 * v))); \
                    UNROLL_INT for (t = 0; t < T; t++)                                                          \
                        acc[t][v] = _mm256_add_epi32(acc[t][v], _mm256_madd_epi16(weight, x[t]));               \
                }                                                                                               \
            }                                                                                                   \
        }                                                                                                       \
        UNROLL_INT for (t = 0; t < T; t++) {                                                                    \
            int32_t pairs[2 * W];                                                                               \
            UNROLL_INT for (v = 0; v < W / 4; v++)                                                              \
                _mm256_storeu_si256((__m256i *)(void *)(pairs + 8 * v), acc[t][v]);                             \
            UNROLL_INT for (v = 0; v < W; v++) sum[t][v] = add32(bias[v], add32(pairs[2 * v], pairs[2 * v + 1])); \
        }                                                                                                       \
    }
PAIR_PANEL(int8_16_4, 16, 2)
PAIR_PANEL(int8_16_1, 16, 1)
PAIR_PANEL(int8_8_4, 8, 4)
PAIR_PANEL(int8_8_1, 8, 1)
PAIR_PANEL(int8_4_4, 4, 4)
PAIR_PANEL(int8_4_1, 4, 1)
#define BIAS_AT bias_at
#endif

#define INT8_TILE(W, T, STEP)                                                                                   \
    for (; p + STEP <= positions; p += STEP) {                                                                  \
        int8_##W##_##T(w, rows + p * taps, taps, from, depth, bias, sum);                                       \
        for (t = 0; t < STEP; t++)                                                                              \
            finish_panel(a, plan, sum[t], at, W, (int8_t *)outs[p + t] + to, n);                                \
    }

#ifdef DOT
#define INT8_PANEL(W, FOUR)                                                                                     \
    static void int8_panel_##W(const conv_args *a, const uint8_t *plan, const int8_t *w, const void *const *rows, \
                               void *const *outs, uint32_t positions, uint32_t from, uint32_t to, uint32_t at, uint32_t n) \
    {                                                                                                           \
        uint32_t taps = a->taps_t * a->taps_f, depth = a->channels / a->groups, p = 0, t;                       \
        const int32_t *bias = (const int32_t *)(const void *)(plan + a->BIAS_AT) + at;                          \
        int32_t sum[8][16];                                                                                     \
        INT8_TILE(W, 8, 8)                                                                                      \
        INT8_TILE(W, 4, 4)                                                                                      \
        INT8_TILE(W, 1, 1)                                                                                      \
    }
#else
#define INT8_PANEL(W, FOUR)                                                                                     \
    static void int8_panel_##W(const conv_args *a, const uint8_t *plan, const int8_t *w, const void *const *rows, \
                               void *const *outs, uint32_t positions, uint32_t from, uint32_t to, uint32_t at, uint32_t n) \
    {                                                                                                           \
        uint32_t taps = a->taps_t * a->taps_f, depth = a->channels / a->groups, p = 0, t;                       \
        const int32_t *bias = (const int32_t *)(const void *)(plan + a->BIAS_AT) + at;                          \
        int32_t sum[4][16];                                                                                     \
        INT8_TILE(W, 4, FOUR)                                                                                   \
        INT8_TILE(W, 1, 1)                                                                                      \
    }
#endif

INT8_PANEL(16, 2)
INT8_PANEL(8, 4)
INT8_PANEL(4, 4)

static void conv_i8(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                    uint32_t positions)
{
    uint32_t taps = a->taps_t * a->taps_f, depth = a->channels / a->groups, outputs = a->outputs / a->groups;
    const int8_t *w = (const int8_t *)(plan + a->weights_at);
    uint32_t g, begin, at = 0;
    for (g = 0; g < a->groups; g++) {
        for (begin = 0; begin < outputs;) {
            uint32_t width = panel_width(outputs - begin), n = outputs - begin < width ? outputs - begin : width;
            uint32_t from = g * depth, to = g * outputs + begin;
            if (width == 16)
                int8_panel_16(a, plan, w, rows, outs, positions, from, to, at, n);
            else if (width == 8)
                int8_panel_8(a, plan, w, rows, outs, positions, from, to, at, n);
            else
                int8_panel_4(a, plan, w, rows, outs, positions, from, to, at, n);
            w += (size_t)taps * ((depth + 3) / 4) * 4 * width;
            at += width;
            begin += width;
        }
    }
}

static void depthwise_i8(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                         uint32_t positions)
{
    uint32_t taps = a->taps_t * a->taps_f, channels = a->outputs, p, k, c;
    const int8_t *weights = (const int8_t *)(plan + a->weights_at);
    const int32_t *bias = (const int32_t *)(const void *)(plan + a->bias_at);
    if (a->channels != a->outputs) {
        tcn_kernels_plain.depthwise_i8(a, plan, rows, outs, positions);
        return;
    }
    for (p = 0; p < positions; p++) {
        const void *const *row = rows + p * taps;
        for (c = 0; c + 8 <= channels; c += 8) {
            __m256i sum = _mm256_loadu_si256((const __m256i *)(const void *)(bias + c));
            int32_t kept[8];
            for (k = 0; k < taps; k++) {
                __m256i x = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)((const int8_t *)row[k] + c)));
                __m256i w = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(weights + k * channels + c)));
                sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(x, w));
            }
            _mm256_storeu_si256((__m256i *)(void *)kept, sum);
            finish_panel(a, plan, kept, c, 8, (int8_t *)outs[p] + c, 8);
        }
        for (; c < channels; c++) {
            const int32_t *shift = (const int32_t *)(const void *)(plan + a->shift_at);
            int32_t sum = bias[c];
            for (k = 0; k < taps; k++)
                sum = add32(sum, ((const int8_t *)row[k])[c] * weights[k * channels + c]);
            if (a->rescale == RESCALE_EXACT)
                sum = multiply_exact(sum, ((const int64_t *)(const void *)(plan + a->multiplier_at))[c], shift[c]);
            else
                sum = multiply_twice(sum, ((const int32_t *)(const void *)(plan + a->multiplier_at))[c], shift[c]);
            ((int8_t *)outs[p])[c] = (int8_t)clip32(add32(sum, a->zero_out), a->low, a->high);
        }
    }
}

/* int16 activations: partial sums fit int32 for up to 256 groups of four */
static void conv_i16(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                     uint32_t positions)
{
    uint32_t taps = a->taps_t * a->taps_f, depth = a->channels / a->groups, outputs = a->outputs / a->groups;
    const int8_t *w = (const int8_t *)(plan + a->weights_at);
    const int32_t *shift = (const int32_t *)(const void *)(plan + a->shift_at);
    const int64_t *bias = (const int64_t *)(const void *)(plan + a->bias_at);
    uint32_t g, begin, p, k, c, v, i, at = 0;
    if ((uint64_t)taps * ((depth + 3) / 4) > 256) {
        tcn_kernels_plain.conv_i16(a, plan, rows, outs, positions);
        return;
    }
    for (g = 0; g < a->groups; g++) {
        for (begin = 0; begin < outputs;) {
            uint32_t width = panel_width(outputs - begin), n = outputs - begin < width ? outputs - begin : width;
            uint32_t vectors = width / 4;
            for (p = 0; p < positions; p++) {
                const int8_t *weight = w;
                __m256i acc[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
                int32_t pairs[32];
                int16_t *out = (int16_t *)outs[p] + g * outputs + begin;
                for (k = 0; k < taps; k++) {
                    const int16_t *x = (const int16_t *)rows[p * taps + k] + g * depth;
                    for (c = 0; c < depth; c += 4) {
                        int16_t four[4] = {0, 0, 0, 0};
                        int64_t both;
                        __m256i xs;
                        memcpy(four, x + c, 2 * (depth - c < 4 ? depth - c : 4));
                        memcpy(&both, four, 8);
                        xs = _mm256_set1_epi64x(both);
                        for (v = 0; v < vectors; v++, weight += 16)
                            acc[v] = _mm256_add_epi32(acc[v], _mm256_madd_epi16(
                                _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)weight)), xs));
                    }
                }
                for (v = 0; v < vectors; v++)
                    _mm256_storeu_si256((__m256i *)(void *)(pairs + 8 * v), acc[v]);
                for (i = 0; i < n; i++) {
                    int64_t sum = add64(bias[at + i], (int64_t)pairs[2 * i] + pairs[2 * i + 1]);
                    int32_t y;
                    if (a->rescale == RESCALE_EXACT)
                        y = multiply_exact(wrap32(sum), ((const int64_t *)(const void *)(plan + a->multiplier_at))[at + i], shift[at + i]);
                    else
                        y = multiply_wide(sum, ((const int32_t *)(const void *)(plan + a->multiplier_at))[at + i], shift[at + i]);
                    out[i] = (int16_t)clip32(add32(y, a->zero_out), a->low, a->high);
                }
            }
            w += (size_t)taps * ((depth + 3) / 4) * 4 * width;
            at += width;
            begin += width;
        }
    }
}

static void binary_i8(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    uint32_t i = 0;
    if (op == OP_ADD || op == OP_SUB || op == OP_MUL) {
        __m256i zero_x = _mm256_set1_epi32(a->zero[0]), zero_y = _mm256_set1_epi32(a->zero[1]);
        __m256i mx = _mm256_set1_epi32(a->multiplier[0]), my = _mm256_set1_epi32(a->multiplier[1]);
        __m256i sx = _mm256_set1_epi32(a->shift[0]), sy = _mm256_set1_epi32(a->shift[1]);
        __m256i mo = _mm256_set1_epi32(a->multiplier_out), so = _mm256_set1_epi32(a->shift_out);
        __m256i zero = _mm256_set1_epi32(a->zero_out), low = _mm256_set1_epi32(a->low), high = _mm256_set1_epi32(a->high);
        for (; i + 8 <= n; i += 8) {
            __m256i p = _mm256_sub_epi32(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(x + i))), zero_x);
            __m256i q = _mm256_sub_epi32(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(y + i))), zero_y);
            __m256i r;
            if (op == OP_MUL) {
                r = _mm256_mullo_epi32(p, q);
            } else {
                p = requantize_8(_mm256_slli_epi32(p, a->left_shift), mx, sx);
                q = requantize_8(_mm256_slli_epi32(q, a->left_shift), my, sy);
                r = op == OP_ADD ? _mm256_add_epi32(p, q) : _mm256_sub_epi32(p, q);
            }
            r = _mm256_add_epi32(requantize_8(r, mo, so), zero);
            r = _mm256_min_epi32(_mm256_max_epi32(r, low), high);
            _mm_storel_epi64((__m128i *)(void *)(out + i), bytes_of_8(r));
        }
    }
    if (i < n)
        tcn_kernels_plain.binary_i8(a, op, x + i, y + i, out + i, n - i);
}
