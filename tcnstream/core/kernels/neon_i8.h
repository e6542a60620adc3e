/* neon_i8.h - int8 on NEON: sums of several outputs and positions stay in registers until they are bytes, and what a
 * plan's writer has found to be short (RESCALE_SHORT) is rescaled there by the processor's own two roundings. */

/* The frames or rows that windows read: tap k of position p `depth` values, the first `from` values into
 * rows[p * across + k * down]. */
typedef struct {
    const void *const *rows;
    size_t across, down, taps, from, depth;
} byte_windows;

/* Where a panel's outputs go: the first n, from `to` on. */
typedef struct {
    void *const *outs;
    size_t to;
    uint32_t n;
} panel_outputs;

/* multiply_twice of values below 2^30 by shifts to the right: vrshl rounds halves up, one less makes those of negative values
 * go away from zero. */
I int32x4_t short_rescaled(int32x4_t x, int32x4_t multiplier, int32x4_t shift)
{
    const int32x4_t high = vqrdmulhq_s32(x, multiplier);
    return vrshlq_s32(vsraq_n_s32(high, vandq_s32(high, shift), 31), shift);
}

#ifdef __aarch64__
I int16x8_t words_of(int32x4_t x, int32x4_t y) { return vqmovn_high_s32(vqmovn_s32(x), y); }
I int8x16_t bytes_of(int16x8_t x, int16x8_t y) { return vqmovn_high_s16(vqmovn_s16(x), y); }
I int16x8_t low_products(int8x16_t x, int8x16_t y) { return vmull_s8(vget_low_s8(x), vget_low_s8(y)); }
I int16x8_t high_products(int8x16_t x, int8x16_t y) { return vmull_high_s8(x, y); }
I int16x8_t add_low_products(int16x8_t s, int8x16_t x, int8x16_t y) { return vmlal_s8(s, vget_low_s8(x), vget_low_s8(y)); }
I int16x8_t add_high_products(int16x8_t s, int8x16_t x, int8x16_t y) { return vmlal_high_s8(s, x, y); }
I int32x4_t add_high_words(int32x4_t s, int16x8_t x) { return vaddw_high_s16(s, x); }
#else
I int16x8_t words_of(int32x4_t x, int32x4_t y) { return vcombine_s16(vqmovn_s32(x), vqmovn_s32(y)); }
I int8x16_t bytes_of(int16x8_t x, int16x8_t y) { return vcombine_s8(vqmovn_s16(x), vqmovn_s16(y)); }
I int16x8_t low_products(int8x16_t x, int8x16_t y) { return vmull_s8(vget_low_s8(x), vget_low_s8(y)); }
I int16x8_t high_products(int8x16_t x, int8x16_t y) { return vmull_s8(vget_high_s8(x), vget_high_s8(y)); }
I int16x8_t add_low_products(int16x8_t s, int8x16_t x, int8x16_t y) { return vmlal_s8(s, vget_low_s8(x), vget_low_s8(y)); }
I int16x8_t add_high_products(int16x8_t s, int8x16_t x, int8x16_t y) { return vmlal_s8(s, vget_high_s8(x), vget_high_s8(y)); }
I int32x4_t add_high_words(int32x4_t s, int16x8_t x) { return vaddw_s16(s, vget_high_s16(x)); }
#endif

/* The first n of eight bytes. */
I void stored_part(int8_t *to, int8x8_t y, uint32_t n)
{
    if (n & 4) {
        vst1_lane_s32((int32_t *)(void *)to, vreinterpret_s32_s8(y), 0);
        y = vext_s8(y, y, 4);
        to += 4;
    }
    if (n & 2) {
        vst1_lane_s16((int16_t *)(void *)to, vreinterpret_s16_s8(y), 0);
        y = vext_s8(y, y, 2);
        to += 2;
    }
    if (n & 1)
        vst1_lane_s8(to, y, 0);
}

I void stored_8(int8_t *to, int8x8_t y, uint32_t n)
{
    if (n == 8)
        vst1_s8(to, y);
    else
        stored_part(to, y, n);
}

I void stored_16(int8_t *to, int8x16_t y, uint32_t n)
{
    if (n == 16) {
        vst1q_s8(to, y);
    } else if (n < 8) {
        stored_part(to, vget_low_s8(y), n);
    } else {
        vst1_s8(to, vget_low_s8(y));
        stored_part(to + 8, vget_high_s8(y), n - 8);
    }
}

/* Whether no weight is -128: then two products with activations fit 16 bits. */
static int has_no_least(const int8_t *w, size_t n)
{
    int8x16_t least = vdupq_n_s8(127);
    int8x8_t half;
    size_t i;
    for (i = 0; i + 16 <= n; i += 16)
        least = vminq_s8(least, vld1q_s8(w + i));
    half = vmin_s8(vget_low_s8(least), vget_high_s8(least));
    half = vpmin_s8(half, half);
    half = vpmin_s8(half, half);
    half = vpmin_s8(half, half);
    for (; i < n; i++)
        if (w[i] == -128)
            return 0;
    return vget_lane_s8(half, 0) != -128;
}
enum { FEWEST_TO_LOOK = 8 }; /* positions for which it is worth to look */

#define EACH(i, n) UNROLL_INT for (i = 0; i < (n); i++)

#ifdef DOT

/* Weights of a four of channels, times one of the fours in x. */
#define TIMES_FOUR(V, T, DOT_BY, four)                                                                          \
    {                                                                                                           \
        int8x16_t weight[V];                                                                                    \
        EACH(v, V) weight[v] = vld1q_s8(w + 16 * v);                                                            \
        EACH(t, T) EACH(v, V) sum[t][v] = DOT_BY(sum[t][v], weight[v], x[t], four);                             \
        w += 16 * V;                                                                                            \
    }

/* Sums of V times four outputs for T positions from p on. */
#define WINDOW_SUMS(name, V, T)                                                                                 \
    I void name(const int8_t *w, const byte_windows of, size_t p, const int32_t *bias, const int no_least, int32x4_t (*to)[V]) \
    {                                                                                                           \
        int32x4_t sum[T][V];                                                                                    \
        size_t k, c, t, v;                                                                                      \
        (void)no_least;                                                                                         \
        EACH(t, T) EACH(v, V) sum[t][v] = vld1q_s32(bias + 4 * v);                                              \
        for (k = 0; k < of.taps; k++) {                                                                         \
            const int8_t *row[T];                                                                               \
            EACH(t, T) row[t] = (const int8_t *)of.rows[(p + t) * of.across + k * of.down] + of.from;           \
            for (c = 0; c + 16 <= of.depth; c += 16) {                                                          \
                int8x16_t x[T];                                                                                 \
                EACH(t, T) x[t] = vld1q_s8(row[t] + c);                                                         \
                TIMES_FOUR(V, T, vdotq_laneq_s32, 0)                                                            \
                TIMES_FOUR(V, T, vdotq_laneq_s32, 1)                                                            \
                TIMES_FOUR(V, T, vdotq_laneq_s32, 2)                                                            \
                TIMES_FOUR(V, T, vdotq_laneq_s32, 3)                                                            \
            }                                                                                                   \
            if (c + 8 <= of.depth) {                                                                            \
                int8x8_t x[T];                                                                                  \
                EACH(t, T) x[t] = vld1_s8(row[t] + c);                                                          \
                TIMES_FOUR(V, T, vdotq_lane_s32, 0)                                                             \
                TIMES_FOUR(V, T, vdotq_lane_s32, 1)                                                             \
                c += 8;                                                                                         \
            }                                                                                                   \
            if (c + 4 <= of.depth) {                                                                            \
                int8x8_t x[T];                                                                                  \
                EACH(t, T) x[t] = vreinterpret_s8_u32(vdup_n_u32(four_int8(row[t] + c)));                       \
                TIMES_FOUR(V, T, vdotq_lane_s32, 0)                                                             \
                c += 4;                                                                                         \
            }                                                                                                   \
            if (c < of.depth) {                                                                                 \
                int8x8_t x[T];                                                                                  \
                EACH(t, T) x[t] = vreinterpret_s8_u32(vdup_n_u32(some_int8(row[t] + c, (uint32_t)(of.depth - c)))); \
                TIMES_FOUR(V, T, vdotq_lane_s32, 0)                                                             \
            }                                                                                                   \
        }                                                                                                       \
        EACH(t, T) EACH(v, V) to[t][v] = sum[t][v];                                                             \
    }
enum { AT_ONCE_16 = 4, AT_ONCE_8 = 8 };

#else

I int8x16_t same_four(uint32_t bits) { return vreinterpretq_s8_u32(vdupq_n_u32(bits)); }
#ifdef __aarch64__
#define FOUR_OF(x, four) vreinterpretq_s8_s32(vdupq_lane_s32(vreinterpret_s32_s8(x), four))
#else
#define FOUR_OF(x, four) vreinterpretq_s8_s32(vcombine_s32(vdup_lane_s32(vreinterpret_s32_s8(x), four), vdup_lane_s32(vreinterpret_s32_s8(x), four)))
#endif

#define TIMES_FOUR(V, T, x)                                                                                     \
    {                                                                                                           \
        EACH(v, V) {                                                                                            \
            const int8x16_t weight = vld1q_s8(w + 16 * v);                                                      \
            EACH(t, T) {                                                                                        \
                sum[t][v][0] = vpadalq_s16(sum[t][v][0], low_products(weight, x[t]));                           \
                sum[t][v][1] = vpadalq_s16(sum[t][v][1], high_products(weight, x[t]));                          \
            }                                                                                                   \
        }                                                                                                       \
        w += 16 * V;                                                                                            \
    }

/* Sums of V times four outputs for T positions from p on: a register has two partial sums of two outputs. */
#define WINDOW_SUMS(name, V, T)                                                                                 \
    I void name(const int8_t *w, const byte_windows of, size_t p, const int32_t *bias, const int no_least, int32x4_t (*to)[V]) \
    {                                                                                                           \
        int32x4_t sum[T][V][2];                                                                                 \
        size_t k, c, t, v;                                                                                      \
        EACH(t, T) EACH(v, V) sum[t][v][0] = sum[t][v][1] = vdupq_n_s32(0);                                     \
        for (k = 0; k < of.taps; k++) {                                                                         \
            const int8_t *row[T];                                                                               \
            EACH(t, T) row[t] = (const int8_t *)of.rows[(p + t) * of.across + k * of.down] + of.from;           \
            for (c = 0; c + 8 <= of.depth; c += 8) {                                                            \
                int8x16_t x[T], y[T];                                                                           \
                EACH(t, T) {                                                                                    \
                    const int8x8_t both = vld1_s8(row[t] + c);                                                  \
                    x[t] = FOUR_OF(both, 0);                                                                    \
                    y[t] = FOUR_OF(both, 1);                                                                    \
                }                                                                                               \
                if (no_least) {                                                                                 \
                    EACH(v, V) {                                                                                \
                        const int8x16_t first = vld1q_s8(w + 16 * v), second = vld1q_s8(w + 16 * (V + v));      \
                        EACH(t, T) {                                                                            \
                            sum[t][v][0] = vpadalq_s16(sum[t][v][0], add_low_products(low_products(first, x[t]), second, y[t])); \
                            sum[t][v][1] = vpadalq_s16(sum[t][v][1], add_high_products(high_products(first, x[t]), second, y[t])); \
                        }                                                                                       \
                    }                                                                                           \
                    w += 32 * V;                                                                                \
                } else {                                                                                        \
                    TIMES_FOUR(V, T, x)                                                                         \
                    TIMES_FOUR(V, T, y)                                                                         \
                }                                                                                               \
            }                                                                                                   \
            for (; c < of.depth; c += 4) {                                                                      \
                int8x16_t x[T];                                                                                 \
                EACH(t, T) x[t] = same_four(c + 4 <= of.depth ? four_int8(row[t] + c) : some_int8(row[t] + c, (uint32_t)(of.depth - c))); \
                TIMES_FOUR(V, T, x)                                                                             \
            }                                                                                                   \
        }                                                                                                       \
        EACH(t, T) EACH(v, V) to[t][v] = vaddq_s32(pairs_added(sum[t][v][0], sum[t][v][1]), vld1q_s32(bias + 4 * v)); \
    }
#ifdef __aarch64__
enum { AT_ONCE_16 = 2, AT_ONCE_8 = 4 };
#else
enum { AT_ONCE_16 = 1, AT_ONCE_8 = 2 };
#endif

#endif

/* Sums of T positions to bytes, by the multipliers and shifts of a panel. */
#define SHORT_OUTPUTS(name, V, T)                                                                               \
    I void name(const conv_args *a, const int32_t *multiplier, const int32_t *shift, int32x4_t (*sum)[V], const panel_outputs out, size_t p) \
    {                                                                                                           \
        const int16x8_t zero = vdupq_n_s16(a->zero_out);                                                        \
        const int8x16_t low = vdupq_n_s8((int8_t)a->low), high = vdupq_n_s8((int8_t)a->high);                   \
        size_t t, v;                                                                                            \
        EACH(v, V) {                                                                                            \
            const int32x4_t by = vld1q_s32(multiplier + 4 * v), places = vld1q_s32(shift + 4 * v);              \
            EACH(t, T) sum[t][v] = short_rescaled(sum[t][v], by, places);                                       \
        }                                                                                                       \
        EACH(t, T) {                                                                                            \
            int8_t *to = (int8_t *)out.outs[p + t] + out.to;                                                    \
            const int16x8_t first = vqaddq_s16(words_of(sum[t][0], sum[t][V > 1 ? 1 : 0]), zero);               \
            if (V > 2) {                                                                                        \
                const int16x8_t second = vqaddq_s16(words_of(sum[t][V > 2 ? 2 : 0], sum[t][V > 2 ? 3 : 0]), zero); \
                stored_16(to, vminq_s8(vmaxq_s8(bytes_of(first, second), low), high), out.n);                   \
            } else {                                                                                            \
                stored_8(to, vmin_s8(vmax_s8(vqmovn_s16(first), vget_low_s8(low)), vget_low_s8(high)), out.n);  \
            }                                                                                                   \
        }                                                                                                       \
    }

#define PANEL_I8(name, V, T)                                                                                    \
    WINDOW_SUMS(name##_sums, V, T)                                                                              \
    WINDOW_SUMS(name##_sums_1, V, 1)                                                                            \
    SHORT_OUTPUTS(name##_outputs, V, T)                                                                         \
    SHORT_OUTPUTS(name##_outputs_1, V, 1)                                                                       \
    /* From sums without bias; a copy of them, so that registers may hold them where this is not called. */     \
    I void name##_rounded(const conv_args *a, const uint8_t *plan, int32x4_t (*sum)[V], const size_t n, uint32_t at, \
                          const panel_outputs out, size_t p)                                                    \
    {                                                                                                           \
        int32_t kept[T * V * 4];                                                                                \
        size_t t, v;                                                                                            \
        EACH(t, n) EACH(v, V) vst1q_s32(kept + 4 * (t * V + v), sum[t][v]);                                     \
        finish_int8(a, plan, kept, n, at, 4 * V, out.outs + p, out.to, out.n);                                  \
    }                                                                                                           \
    I void name##_by(const conv_args *a, const uint8_t *plan, const int8_t *w, const byte_windows of, uint32_t at, \
                     size_t positions, const panel_outputs out, const int no_least)                             \
    {                                                                                                           \
        static const int32_t nothing[16] = {0};                                                                 \
        const int is_short = a->rescale == RESCALE_SHORT;                                                       \
        const int32_t *multiplier = WORDS(plan, a->multiplier_at) + at, *shift = WORDS(plan, a->shift_at) + at; \
        const int32_t *bias = is_short ? WORDS(plan, a->bias_at) + at : nothing; /* which finish_int8 adds */    \
        size_t p = 0;                                                                                           \
        for (; T > 1 && p + T <= positions; p += T) {                                                           \
            int32x4_t sum[T][V];                                                                                \
            name##_sums(w, of, p, bias, no_least, sum);                                                         \
            if (is_short)                                                                                       \
                name##_outputs(a, multiplier, shift, sum, out, p);                                              \
            else                                                                                                \
                name##_rounded(a, plan, sum, T, at, out, p);                                                    \
        }                                                                                                       \
        for (; p < positions; p++) {                                                                            \
            int32x4_t sum[1][V];                                                                                \
            name##_sums_1(w, of, p, bias, no_least, sum);                                                       \
            if (is_short)                                                                                       \
                name##_outputs_1(a, multiplier, shift, sum, out, p);                                            \
            else                                                                                                \
                name##_rounded(a, plan, sum, 1, at, out, p);                                                    \
        }                                                                                                       \
    }                                                                                                           \
    static void name(const conv_args *a, const uint8_t *plan, const int8_t *w, const byte_windows of, uint32_t at, \
                     size_t positions, const panel_outputs out, int no_least)                                   \
    {                                                                                                           \
        if (no_least)                                                                                           \
            name##_by(a, plan, w, of, at, positions, out, 1);                                                   \
        else                                                                                                    \
            name##_by(a, plan, w, of, at, positions, out, 0);                                                   \
    }
PANEL_I8(panel_i8_16, 4, AT_ONCE_16)
PANEL_I8(panel_i8_8, 2, AT_ONCE_8)
PANEL_I8(panel_i8_4, 1, 4)

static void conv_i8_windows(const conv_args *a, const uint8_t *plan, byte_windows of, void *const *outs, uint32_t positions)
{
    const uint32_t groups = a->groups, outputs = groups == 1 ? a->outputs : a->outputs / groups;
    const size_t padded = of.taps * ((of.depth + 3) / 4) * 4;
    const int8_t *w = (const int8_t *)(plan + a->weights_at);
    uint32_t g, begin, width, at = 0;
#ifdef DOT
    const int no_least = 0;
#else
    const int no_least = positions >= FEWEST_TO_LOOK && has_no_least(w, padded * panel_total(outputs) * groups);
#endif
    for (g = 0; g < groups; g++, of.from += of.depth)
        for (begin = 0; begin < outputs; begin += width, at += width, w += padded * width) {
            const uint32_t left = outputs - begin;
            panel_outputs out = {outs, (size_t)g * outputs + begin, 0};
            width = panel_width(left);
            out.n = left < width ? left : width;
            if (width == 16)
                panel_i8_16(a, plan, w, of, at, positions, out, no_least);
            else if (width == 8)
                panel_i8_8(a, plan, w, of, at, positions, out, no_least);
            else
                panel_i8_4(a, plan, w, of, at, positions, out, no_least);
        }
}

static void conv_i8(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    const size_t taps = (size_t)a->taps_t * a->taps_f, depth = a->groups == 1 ? a->channels : a->channels / a->groups;
    conv_i8_windows(a, plan, (byte_windows){rows, taps, 1, taps, 0, depth}, outs, positions);
}

static void conv_i8_sliding(const conv_args *a, const uint8_t *plan, const void *const *frames, void *const *outs, uint32_t positions)
{
    conv_i8_windows(a, plan, (byte_windows){frames, 1, a->dilation_t, a->taps_t, 0, a->channels}, outs, positions);
}

/* Sixteen channels from c on of one tap. */
I void add_tap(int32x4_t *sum, int16x8_t low, int16x8_t high)
{
    sum[0] = vaddw_s16(sum[0], vget_low_s16(low));
    sum[1] = add_high_words(sum[1], low);
    sum[2] = vaddw_s16(sum[2], vget_low_s16(high));
    sum[3] = add_high_words(sum[3], high);
}

/* Sixteen channels of T positions. */
#define DEPTHWISE_16(name, T)                                                                                   \
    I void name(const conv_args *a, const int8_t *w, const int32_t *bias, const void *const *rows, size_t taps, size_t c, \
                const int no_least, int32x4_t (*sum)[4])                                                        \
    {                                                                                                           \
        const size_t channels = a->outputs;                                                                     \
        size_t k = 0, t, v;                                                                                     \
        EACH(t, T) EACH(v, 4) sum[t][v] = vld1q_s32(bias + 4 * v);                                              \
        for (; no_least && k + 2 <= taps; k += 2, w += 2 * channels) {                                          \
            const int8x16_t first = vld1q_s8(w), second = vld1q_s8(w + channels);                               \
            EACH(t, T) {                                                                                        \
                const int8x16_t x = vld1q_s8((const int8_t *)rows[t * taps + k] + c), y = vld1q_s8((const int8_t *)rows[t * taps + k + 1] + c); \
                add_tap(sum[t], add_low_products(low_products(x, first), y, second), add_high_products(high_products(x, first), y, second)); \
            }                                                                                                   \
        }                                                                                                       \
        for (; k < taps; k++, w += channels) {                                                                  \
            const int8x16_t weight = vld1q_s8(w);                                                               \
            EACH(t, T) {                                                                                        \
                const int8x16_t x = vld1q_s8((const int8_t *)rows[t * taps + k] + c);                           \
                add_tap(sum[t], low_products(x, weight), high_products(x, weight));                             \
            }                                                                                                   \
        }                                                                                                       \
    }
DEPTHWISE_16(depthwise_16_of_2, 2)
DEPTHWISE_16(depthwise_16_of_1, 1)
SHORT_OUTPUTS(depthwise_16_outputs_2, 4, 2)

I void depthwise_16(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions, size_t c, const int no_least)
{
    const int8_t *w = (const int8_t *)(plan + a->weights_at) + c;
    const int32_t *bias = WORDS(plan, a->bias_at) + c, *multiplier = WORDS(plan, a->multiplier_at) + c, *shift = WORDS(plan, a->shift_at) + c;
    const panel_outputs out = {outs, c, 16};
    const size_t taps = (size_t)a->taps_t * a->taps_f;
    size_t p = 0;
    for (; p + 2 <= positions; p += 2) {
        int32x4_t sum[2][4];
        depthwise_16_of_2(a, w, bias, rows + p * taps, taps, c, no_least, sum);
        depthwise_16_outputs_2(a, multiplier, shift, sum, out, p);
    }
    if (p < positions) {
        int32x4_t sum[1][4];
        depthwise_16_of_1(a, w, bias, rows + p * taps, taps, c, no_least, sum);
        panel_i8_16_outputs_1(a, multiplier, shift, sum, out, p);
    }
}

/* One channel of all positions, eight of them in two vectors. */
static void depthwise_i8_channel(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions, uint32_t c)
{
    const uint32_t taps = a->taps_t * a->taps_f, channels = a->outputs;
    const int8_t *w = (const int8_t *)(plan + a->weights_at) + c;
    const int32_t bias = WORDS(plan, a->bias_at)[c];
    const int32x4_t multiplier = vdupq_n_s32(WORDS(plan, a->multiplier_at)[c]), shift = vdupq_n_s32(WORDS(plan, a->shift_at)[c]);
    int32_t sum[8] = {0};
    int8_t kept[8];
    uint32_t p, k, t, n;
    for (p = 0; p < positions; p += n) {
        int8x8_t y;
        n = positions - p < 8 ? positions - p : 8;
        for (t = 0; t < n; t++, rows += taps) {
            int32_t one = bias;
            for (k = 0; k < taps; k++)
                one = add32(one, ((const int8_t *)rows[k])[c] * w[(size_t)k * channels]);
            sum[t] = one;
        }
        y = vqmovn_s16(vqaddq_s16(words_of(short_rescaled(vld1q_s32(sum), multiplier, shift), short_rescaled(vld1q_s32(sum + 4), multiplier, shift)),
                                  vdupq_n_s16(a->zero_out)));
        vst1_s8(kept, vmin_s8(vmax_s8(y, vdup_n_s8((int8_t)a->low)), vdup_n_s8((int8_t)a->high)));
        for (t = 0; t < n; t++)
            ((int8_t *)outs[p + t])[c] = kept[t];
    }
}

static void depthwise_i8_sixteens(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    const uint32_t channels = a->outputs;
    uint32_t c = 0;
    int no_least;
    if (a->channels != channels || a->rescale != RESCALE_SHORT) {
        depthwise_i8(a, plan, rows, outs, positions);
        return;
    }
    no_least = channels >= 16 && has_no_least((const int8_t *)(plan + a->weights_at), (size_t)a->taps_t * a->taps_f * channels);
    for (; c + 16 <= channels; c += 16)
        if (no_least)
            depthwise_16(a, plan, rows, outs, positions, c, 1);
        else
            depthwise_16(a, plan, rows, outs, positions, c, 0);
    for (; c + NUMBERS <= channels; c += NUMBERS)
        depthwise_i8_part(a, plan, rows, outs, positions, c, NUMBERS);
    for (; c < channels; c++)
        depthwise_i8_channel(a, plan, rows, outs, positions, c);
}

/* One operand of a sum: `x - zero` by 2^left and then by a multiplier; by one of a half that is one place less. */
typedef struct {
    int16x8_t zero;
    int32x4_t left, multiplier, shift;
    int is_half;
} addend;

I addend addend_of(const binary_args *a, int i)
{
    const int is_half = a->multiplier[i] == 1 << 30 && a->shift[i] == 0 && a->left_shift > 0;
    return (addend){vdupq_n_s16(a->zero[i]), vdupq_n_s32(a->left_shift - is_half), vdupq_n_s32(a->multiplier[i]), vdupq_n_s32(a->shift[i]), is_half};
}

I int32x4_t at_scale(int16x4_t x, const addend *by)
{
    const int32x4_t y = vshlq_s32(vmovl_s16(x), by->left);
    return by->is_half ? y : short_rescaled(y, by->multiplier, by->shift);
}

/* Sums and differences whose values stay below 2^30 and whose shifts go to the right, eight at a time. */
static void binary_i8_eights(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    uint32_t i = 0;
    if ((op == BINARY_ADD || op == BINARY_SUB) && a->left_shift <= 20 && a->shift[0] <= 0 && a->shift[1] <= 0 && a->shift_out <= 0) {
        const addend first = addend_of(a, 0), second = addend_of(a, 1);
        const int32x4_t multiplier = vdupq_n_s32(a->multiplier_out), shift = vdupq_n_s32(a->shift_out);
        const int16x8_t zero = vdupq_n_s16(a->zero_out);
        const int8x8_t low = vdup_n_s8((int8_t)a->low), high = vdup_n_s8((int8_t)a->high);
        for (; i + 8 <= n; i += 8) {
            const int16x8_t p = vsubq_s16(vmovl_s8(vld1_s8(x + i)), first.zero), q = vsubq_s16(vmovl_s8(vld1_s8(y + i)), second.zero);
            const int32x4_t p_low = at_scale(vget_low_s16(p), &first), p_high = at_scale(vget_high_s16(p), &first);
            const int32x4_t q_low = at_scale(vget_low_s16(q), &second), q_high = at_scale(vget_high_s16(q), &second);
            const int32x4_t r_low = op == BINARY_ADD ? vaddq_s32(p_low, q_low) : vsubq_s32(p_low, q_low);
            const int32x4_t r_high = op == BINARY_ADD ? vaddq_s32(p_high, q_high) : vsubq_s32(p_high, q_high);
            const int16x8_t words = vqaddq_s16(words_of(short_rescaled(r_low, multiplier, shift), short_rescaled(r_high, multiplier, shift)), zero);
            vst1_s8(out + i, vmin_s8(vmax_s8(vqmovn_s16(words), low), high));
        }
    }
    if (i < n)
        binary_i8(a, op, x + i, y + i, out + i, n - i);
}
