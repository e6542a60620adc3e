/* float_conv.h - convolutions of float32, for float.h: a panel of 16 outputs is 16 / LANES vectors; narrower panels use
 * narrower vectors. */

/* Where an instruction multiplies by one value of a vector (ADD_LANE), four channels are brought in at once. */
#ifdef ADD_LANE
#define ONE_OF_FOUR(V, N, T, lane)                                                                               \
    UNROLL for (v = 0; v < N; v++, w += sizeof(V) / 4) {                                                         \
        weight[v] = *(const V *)w;                                                                               \
        UNROLL for (t = 0; t < T; t++) a[t][v] = ADD_LANE(a[t][v], weight[v], four[t], lane);                    \
    }
#define CHANNELS_IN_FOURS(V, N, T)                                                                               \
    for (; c + 4 <= depth; c += 4) {                                                                             \
        v4 four[T];                                                                                              \
        UNROLL for (t = 0; t < T; t++) four[t] = *(const v4 *)(x[t] + c);                                        \
        ONE_OF_FOUR(V, N, T, 0)                                                                                  \
        ONE_OF_FOUR(V, N, T, 1)                                                                                  \
        ONE_OF_FOUR(V, N, T, 2)                                                                                  \
        ONE_OF_FOUR(V, N, T, 3)                                                                                  \
    }
#else
#define CHANNELS_IN_FOURS(V, N, T)
#endif

/* sum of products of one panel for T positions */
#define PANEL(name, V, N, T)                                                                                     \
    static inline __attribute__((always_inline)) void name(const float *w, const void *const *rows STEPS_PARAMETER, size_t taps, \
                                                           size_t from, size_t depth, V (*sum)[N])                \
    {                                                                                                            \
        V a[T][N], weight[N];                                                                                    \
        size_t k, c, t, v;                                                                                       \
        UNROLL for (t = 0; t < T; t++) UNROLL for (v = 0; v < N; v++) a[t][v] = (V){0};                          \
        for (k = 0; k < taps; k++) {                                                                             \
            const float *x[T];                                                                                   \
            UNROLL for (t = 0; t < T; t++) x[t] = (const float *)rows[ROW_OF(t, k)] + from;                      \
            c = 0;                                                                                               \
            CHANNELS_IN_FOURS(V, N, T)                                                                           \
            UNROLL_ROW for (; c < depth; c++, w += N * sizeof(V) / 4) {                                          \
                UNROLL for (v = 0; v < N; v++) weight[v] = *(const V *)(w + v * sizeof(V) / 4);                  \
                UNROLL for (t = 0; t < T; t++) {                                                                 \
                    const float one = x[t][c];                                                                   \
                    UNROLL for (v = 0; v < N; v++) a[t][v] = ADD_TIMES(V, a[t][v], weight[v], one);              \
                }                                                                                                \
            }                                                                                                    \
        }                                                                                                        \
        UNROLL for (t = 0; t < T; t++) UNROLL for (v = 0; v < N; v++) sum[t][v] = a[t][v];                       \
    }

/* Bias, activation, and the store of one panel of one position. */
#define STORE(name, V, N)                                                                                        \
    static inline __attribute__((always_inline)) void name(float low, float high, const float *bias, V *sum, float *out, uint32_t n) \
    {                                                                                                            \
        uint32_t v, i;                                                                                           \
        UNROLL for (v = 0; v < N; v++)                                                                           \
            sum[v] = CLIP_SUM(V, VECTOR_ADD(sum[v], *(const V *)(bias + v * sizeof(V) / 4)), low, high);         \
        if (n == N * sizeof(V) / 4) {                                                                            \
            UNROLL for (v = 0; v < N; v++) *(V *)(out + v * sizeof(V) / 4) = sum[v];                             \
        } else {                                                                                                 \
            float kept[N * sizeof(V) / 4];                                                                       \
            UNROLL for (v = 0; v < N; v++) *(V *)(kept + v * sizeof(V) / 4) = sum[v];                            \
            for (i = 0; i < n; i++)                                                                              \
                out[i] = kept[i];                                                                                \
        }                                                                                                        \
    }

#define PANEL_POSITIONS(name, V, N, T)                                                                           \
    {                                                                                                            \
        V sum[T][N];                                                                                             \
        name##_##T(w, rows + ROW_OF(p, 0) STEPS_ARGUMENT, taps, from, depth, sum);                                                  \
        UNROLL for (t = 0; t < T; t++) name##_store(low, high, bias, sum[t], (float *)outs[p + t] + to, n);      \
        p += T;                                                                                                  \
    }

/* One panel for all positions, T of them at a time. */
#define PANELS(name, V, N, T)                                                                                    \
    PANEL(name##_8, V, N, 8)                                                                                     \
    PANEL(name##_6, V, N, 6)                                                                                     \
    PANEL(name##_4, V, N, 4)                                                                                     \
    PANEL(name##_2, V, N, 2)                                                                                     \
    PANEL(name##_1, V, N, 1)                                                                                     \
    STORE(name##_store, V, N)                                                                                    \
    static void name(const conv_args *a, const float *w, const float *bias, const void *const *rows STEPS_PARAMETER, \
                     void *const *outs, size_t positions, size_t taps, size_t depth, size_t from, size_t to, uint32_t n) \
    {                                                                                                            \
        const float low = a->low_f, high = a->high_f;                                                            \
        size_t p = 0, t;                                                                                         \
        while (T == 8 && p + 8 <= positions)                                                                     \
            PANEL_POSITIONS(name, V, N, 8)                                                                       \
        while (T == 6 && p + 6 <= positions)                                                                     \
            PANEL_POSITIONS(name, V, N, 6)                                                                       \
        while (T >= 4 && p + 4 <= positions)                                                                     \
            PANEL_POSITIONS(name, V, N, 4)                                                                       \
        while (T >= 2 && p + 2 <= positions)                                                                     \
            PANEL_POSITIONS(name, V, N, 2)                                                                       \
        while (p < positions)                                                                                    \
            PANEL_POSITIONS(name, V, N, 1)                                                                       \
    }

/* The vectors of a panel of 16 and of 8 outputs, and how many */
#if LANES >= 16
typedef v16 v_of_16;
typedef v8 v_of_8;
#define N_OF_16 1
#define N_OF_8 1
#define CLIP_v_of_16 CLIP_v16
#define CLIP_v_of_8 CLIP_v8
#define FUSED_v_of_16 FUSED_v16
#define FUSED_v_of_8 FUSED_v8
#elif LANES >= 8
typedef v8 v_of_16, v_of_8;
#define N_OF_16 2
#define N_OF_8 1
#define CLIP_v_of_16 CLIP_v8
#define CLIP_v_of_8 CLIP_v8
#define FUSED_v_of_16 FUSED_v8
#define FUSED_v_of_8 FUSED_v8
#else
typedef v4 v_of_16, v_of_8;
#define N_OF_16 4
#define N_OF_8 2
#define CLIP_v_of_16 CLIP_v4
#define CLIP_v_of_8 CLIP_v4
#define FUSED_v_of_16 FUSED_v4
#define FUSED_v_of_8 FUSED_v4
#endif

#if defined(ADD_LANE) && !defined(__clang__)
/* GCC would read all weights of four channels ahead and keep sums in memory to have room for them. */
#pragma GCC push_options
#pragma GCC optimize("no-schedule-insns")
#endif
PANELS(panel_4, v4, 1, TILE)
PANELS(panel_8, v_of_8, N_OF_8, TILE)
PANELS(panel_16, v_of_16, N_OF_16, TILE_16)
#if defined(ADD_LANE) && !defined(__clang__)
#pragma GCC pop_options
#endif

#if TILE >= 4
/* A panel of 16 and the one after it for one position: twice as many sums that do not wait for each other. */
#define TOGETHER(name, V, N, W)                                                                                  \
    static inline __attribute__((always_inline)) void name(const float *w, const void *const *rows, size_t taps, \
                                                           size_t depth, v_of_16 *sum, V *more)                  \
    {                                                                                                            \
        const float *u = w + taps * depth * 16;                                                                  \
        v_of_16 a[N_OF_16];                                                                                      \
        V b[N];                                                                                                  \
        size_t k, c, v;                                                                                          \
        UNROLL for (v = 0; v < N_OF_16; v++) a[v] = (v_of_16){0};                                                \
        UNROLL for (v = 0; v < N; v++) b[v] = (V){0};                                                            \
        for (k = 0; k < taps; k++) {                                                                             \
            const float *x = (const float *)rows[k];                                                             \
            UNROLL_ALONE for (c = 0; c < depth; c++, w += 16, u += W) {                                          \
                UNROLL for (v = 0; v < N_OF_16; v++)                                                             \
                    a[v] = ADD_TIMES(v_of_16, a[v], *(const v_of_16 *)(w + v * sizeof(v_of_16) / 4), x[c]);      \
                UNROLL for (v = 0; v < N; v++)                                                                   \
                    b[v] = ADD_TIMES(V, b[v], *(const V *)(u + v * sizeof(V) / 4), x[c]);                        \
            }                                                                                                    \
        }                                                                                                        \
        UNROLL for (v = 0; v < N_OF_16; v++) sum[v] = a[v];                                                      \
        UNROLL for (v = 0; v < N; v++) more[v] = b[v];                                                           \
    }
TOGETHER(together_16, v_of_16, N_OF_16, 16)
TOGETHER(together_8, v_of_8, N_OF_8, 8)
TOGETHER(together_4, v4, 1, 4)
#endif

#if LANES == 8 && defined(FUSED)
#define HAS_PANEL_24
/* A panel of 16 and the one of 8 behind it, four positions at a time: three vectors for each value that is brought in.
 * Returns the positions that are done. */
static size_t panel_24(const conv_args *a, const float *w, const float *bias, const void *const *rows STEPS_PARAMETER,
                       void *const *outs, size_t positions, size_t taps, size_t depth, size_t from, size_t to, uint32_t n)
{
    enum { T = 4 };
    const float low = a->low_f, high = a->high_f;
    size_t p, k, c, t;
    for (p = 0; p + T <= positions; p += T) {
        const float *first = w, *second = w + taps * depth * 16;
        v8 sum[T][3];
        UNROLL for (t = 0; t < T; t++) sum[t][0] = sum[t][1] = sum[t][2] = (v8){0};
        for (k = 0; k < taps; k++) {
            const float *x[T];
            UNROLL for (t = 0; t < T; t++) x[t] = (const float *)rows[ROW_OF(p + t, k)] + from;
            UNROLL_ROW for (c = 0; c < depth; c++, first += 16, second += 8) {
                const v8 weight[3] = {*(const v8 *)first, *(const v8 *)(first + 8), *(const v8 *)second};
                UNROLL for (t = 0; t < T; t++) {
                    const float one = x[t][c];
                    sum[t][0] = ADD_TIMES(v8, sum[t][0], weight[0], one);
                    sum[t][1] = ADD_TIMES(v8, sum[t][1], weight[1], one);
                    sum[t][2] = ADD_TIMES(v8, sum[t][2], weight[2], one);
                }
            }
        }
        UNROLL for (t = 0; t < T; t++) {
            float *out = (float *)outs[p + t] + to;
            panel_16_store(low, high, bias, sum[t], out, 16);
            panel_8_store(low, high, bias + 16, sum[t] + 2, out + 16, n - 16);
        }
    }
    return p;
}
#endif

/* One position, without a call for each panel. */
static void conv_f32_alone(const conv_args *a, const float *w, const float *bias, const void *const *rows, float *out)
{
    size_t taps = (size_t)a->taps_t * a->taps_f, depth = a->channels;
    const float low = a->low_f, high = a->high_f;
    uint32_t left = a->outputs;
    while (left > 0) {
        uint32_t width = panel_width(left), n = left < width ? left : width;
        v_of_16 sum_16[1][N_OF_16];
        v_of_8 sum_8[1][N_OF_8];
        v4 sum_4[1][1];
#if TILE >= 4
        if (left > 16) {
            uint32_t after = left - 16, next = panel_width(after), m = after < next ? after : next;
            v_of_16 more[N_OF_16];
            if (next == 16) {
                together_16(w, rows, taps, depth, sum_16[0], more);
                panel_16_store(low, high, bias + 16, more, out + 16, m);
            } else if (next == 8) {
                together_8(w, rows, taps, depth, sum_16[0], sum_8[0]);
                panel_8_store(low, high, bias + 16, sum_8[0], out + 16, m);
            } else {
                together_4(w, rows, taps, depth, sum_16[0], sum_4[0]);
                panel_4_store(low, high, bias + 16, sum_4[0], out + 16, m);
            }
            panel_16_store(low, high, bias, sum_16[0], out, 16);
            width += next;
            n += m;
        } else
#endif
        if (width == 16) {
            panel_16_1(w, rows STEPS_ALONE, taps, 0, depth, sum_16);
            panel_16_store(low, high, bias, sum_16[0], out, n);
        } else if (width == 8) {
            panel_8_1(w, rows STEPS_ALONE, taps, 0, depth, sum_8);
            panel_8_store(low, high, bias, sum_8[0], out, n);
        } else {
            panel_4_1(w, rows STEPS_ALONE, taps, 0, depth, sum_4);
            panel_4_store(low, high, bias, sum_4[0], out, n);
        }
        w += taps * depth * width;
        bias += width;
        out += n;
        left -= n;
    }
}

static void conv_f32_panels(const conv_args *a, const uint8_t *plan, const void *const *rows STEPS_PARAMETER, void *const *outs,
                                uint32_t positions)
{
    uint32_t taps = a->taps_t * a->taps_f;
    uint32_t depth = a->groups == 1 ? a->channels : a->channels / a->groups;
    uint32_t outputs = a->groups == 1 ? a->outputs : a->outputs / a->groups;
    const float *w = (const float *)(const void *)(plan + a->weights_at);
    const float *bias = (const float *)(const void *)(plan + a->bias_at);
    uint32_t g, begin;
    for (g = 0; g < a->groups; g++) {
        for (begin = 0; begin < outputs;) {
            uint32_t width = panel_width(outputs - begin), n = outputs - begin < width ? outputs - begin : width;
            uint32_t from = g * depth, to = g * outputs + begin;
#ifdef HAS_PANEL_24
            if (width == 16 && outputs - begin > 20 && outputs - begin <= 24) {
                const uint32_t all = outputs - begin;
                const size_t done = panel_24(a, w, bias, rows STEPS_ARGUMENT, outs, positions, taps, depth, from, to, all);
                const void *const *rest = rows + ROW_OF(done, 0);
                if (done < positions) {
                    panel_16(a, w, bias, rest STEPS_ARGUMENT, outs + done, positions - done, taps, depth, from, to, 16);
                    panel_8(a, w + taps * depth * 16, bias + 16, rest STEPS_ARGUMENT, outs + done, positions - done, taps, depth, from, to + 16, all - 16);
                }
                w += (size_t)taps * depth * 24;
                bias += 24;
                begin = outputs;
                continue;
            }
#endif
            if (width == 16)
                panel_16(a, w, bias, rows STEPS_ARGUMENT, outs, positions, taps, depth, from, to, n);
            else if (width == 8)
                panel_8(a, w, bias, rows STEPS_ARGUMENT, outs, positions, taps, depth, from, to, n);
            else
                panel_4(a, w, bias, rows STEPS_ARGUMENT, outs, positions, taps, depth, from, to, n);
            w += (size_t)taps * depth * width;
            bias += width;
            begin += width;
        }
    }
}

static void conv_f32(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                     uint32_t positions)
{
    if (positions == 1 && a->groups == 1) {
        conv_f32_alone(a, (const float *)(const void *)(plan + a->weights_at), (const float *)(const void *)(plan + a->bias_at), rows, (float *)outs[0]);
        return;
    }
#ifdef TCN_HAS_SLIDING
    conv_f32_panels(a, plan, rows, (row_steps){(size_t)a->taps_t * a->taps_f, 1}, outs, positions);
#else
    conv_f32_panels(a, plan, rows, outs, positions);
#endif
}

#ifdef TCN_HAS_SLIDING
static void conv_f32_sliding(const conv_args *a, const uint8_t *plan, const void *const *frames, void *const *outs, uint32_t positions)
{
    conv_f32_panels(a, plan, frames, (row_steps){1, a->dilation_t}, outs, positions);
}
#endif
