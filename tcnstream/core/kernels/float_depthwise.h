/* float_depthwise.h - depthwise convolutions of float32, for float.h: channels along the vector. */

#if LANES >= 16
typedef v16 vmax;
#define CLIP_vmax CLIP_v16
#define FUSED_vmax FUSED_v16
#elif LANES >= 8
typedef v8 vmax;
#define CLIP_vmax CLIP_v8
#define FUSED_vmax FUSED_v8
#else
typedef v4 vmax;
#define CLIP_vmax CLIP_v4
#define FUSED_vmax FUSED_v4
#endif

/* N vectors of channels from `c` on, for T positions that share their weights. */
#define DEPTHWISE(name, V, N, T)                                                                                 \
    static inline __attribute__((always_inline)) void name(const conv_args *a, const float *w, const float *bias, \
                                                           const void *const *rows STEPS_PARAMETER, void *const *outs, size_t taps, size_t c) \
    {                                                                                                            \
        enum { WIDTH = sizeof(V) / 4 };                                                                          \
        const float low = a->low_f, high = a->high_f;                                                            \
        const size_t channels = a->outputs;                                                                      \
        V sum[T][N], weight[N];                                                                                  \
        size_t k, t, v;                                                                                          \
        UNROLL for (t = 0; t < T; t++) UNROLL for (v = 0; v < N; v++) sum[t][v] = (V){0};                        \
        for (k = 0, w += c; k < taps; k++, w += channels) {                                                      \
            UNROLL for (v = 0; v < N; v++) weight[v] = *(const V *)(w + v * WIDTH);                              \
            UNROLL for (t = 0; t < T; t++) {                                                                     \
                const float *x = (const float *)rows[ROW_OF(t, k)] + c;                                        \
                UNROLL for (v = 0; v < N; v++) sum[t][v] = ADD_PRODUCT(V, sum[t][v], *(const V *)(x + v * WIDTH), weight[v]); \
            }                                                                                                    \
        }                                                                                                        \
        UNROLL for (v = 0; v < N; v++) weight[v] = *(const V *)(bias + c + v * WIDTH);                           \
        UNROLL for (t = 0; t < T; t++) {                                                                         \
            float *out = (float *)outs[t] + c;                                                                   \
            UNROLL for (v = 0; v < N; v++) *(V *)(out + v * WIDTH) = CLIP_SUM(V, VECTOR_ADD(sum[t][v], weight[v]), low, high); \
        }                                                                                                        \
    }
DEPTHWISE(depthwise_1, vmax, 1, 1)
DEPTHWISE(depthwise_4, vmax, 1, 4)
#if TILE > 2
DEPTHWISE(depthwise_pair_4, vmax, 2, 4)
#endif
#if LANES >= 8
DEPTHWISE(depthwise_three_4, vmax, 3, 4)
#endif
#if LANES > 4
DEPTHWISE(depthwise_rest, v4, 1, 1)
#endif

static inline __attribute__((always_inline)) void depthwise_windows(const conv_args *a, const uint8_t *plan, const void *const *rows STEPS_PARAMETER,
                                                                    void *const *outs, uint32_t positions)
{
    size_t taps = (size_t)a->taps_t * a->taps_f, channels = a->outputs, p, k, c;
    const float *weights = (const float *)(const void *)(plan + a->weights_at);
    const float *bias = (const float *)(const void *)(plan + a->bias_at);
    for (p = 0; p + 4 <= positions; p += 4) {
        c = 0;
#if LANES >= 8
        for (; c + 3 * LANES <= channels; c += 3 * LANES)
            depthwise_three_4(a, weights, bias, rows + ROW_OF(p, 0) STEPS_ARGUMENT, outs + p, taps, c);
#endif
#if TILE > 2
        for (; c + 2 * LANES <= channels; c += 2 * LANES)
            depthwise_pair_4(a, weights, bias, rows + ROW_OF(p, 0) STEPS_ARGUMENT, outs + p, taps, c);
#endif
        for (; c + LANES <= channels; c += LANES)
            depthwise_4(a, weights, bias, rows + ROW_OF(p, 0) STEPS_ARGUMENT, outs + p, taps, c);
    }
    for (; p < positions; p++)
        for (c = 0; c + LANES <= channels; c += LANES)
            depthwise_1(a, weights, bias, rows + ROW_OF(p, 0) STEPS_ARGUMENT, outs + p, taps, c);
    if (channels % LANES == 0)
        return;
    for (p = 0; p < positions; p++) {
        const void *const *row = rows + ROW_OF(p, 0);
        float *out = (float *)outs[p];
        c = channels - channels % LANES;
#if LANES > 4
        for (; c + 4 <= channels; c += 4)
            depthwise_rest(a, weights, bias, row STEPS_ARGUMENT, outs + p, taps, c);
#endif
        for (; c < channels; c++) {
            float sum = 0.0f;
            for (k = 0; k < taps; k++)
                sum += ((const float *)row[ROW_OF(0, k)])[c] * weights[k * channels + c];
            out[c] = clip_one(sum + bias[c], a->low_f, a->high_f);
        }
    }
}

static void depthwise_f32(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    if (a->channels != a->outputs) {
        tcn_plain_depthwise_f32(a, plan, rows, outs, positions);
        return;
    }
#ifdef TCN_HAS_SLIDING
    depthwise_windows(a, plan, rows, (row_steps){(size_t)a->taps_t * a->taps_f, 1}, outs, positions);
#else
    depthwise_windows(a, plan, rows, outs, positions);
#endif
}

#ifdef TCN_HAS_SLIDING
static void depthwise_f32_sliding(const conv_args *a, const uint8_t *plan, const void *const *frames, void *const *outs, uint32_t positions)
{
    depthwise_windows(a, plan, frames, (row_steps){1, a->dilation_t}, outs, positions);
}
#endif
