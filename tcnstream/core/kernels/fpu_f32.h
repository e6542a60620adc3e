/* fpu_f32.h - float32 on a Cortex-M whose FPU has no vectors: the sums of a panel stay in its 32 registers.
 *
 * Each sum adds one product after the other, as everywhere; gcc keeps them in memory, for it has no loads of several
 * registers. */

#define ADDED(sum, w) "\tvmul.f32 s" #w ", s" #w ", s16\n\tvadd.f32 s" #sum ", s" #sum ", s" #w "\n"
#define ADDED_4 ADDED(0, 24) ADDED(1, 25) ADDED(2, 26) ADDED(3, 27)
#define ADDED_8 ADDED_4 ADDED(4, 28) ADDED(5, 29) ADDED(6, 30) ADDED(7, 31)
#define ADDED_16 ADDED_8 "\tvldmia %1!, {s24-s31}\n" ADDED(8, 24) ADDED(9, 25) ADDED(10, 26) ADDED(11, 27) ADDED(12, 28) \
    ADDED(13, 29) ADDED(14, 30) ADDED(15, 31)

/* Products of `depth` values with their rows of a panel's weights; returns where the weights end. */
#define ROW(width, first, last, added)                                                                        \
    INLINE const float *row_##width(const float *x, const float *w, size_t depth, float *sum)                \
    {                                                                                                         \
        __asm volatile("vldmia %3, {s0-" last "}\n"                                                           \
                       "0:\tvldmia %0!, {s16}\n"                                                              \
                       "\tvldmia %1!, {s24-" first "}\n" added                                                \
                       "\tsubs %2, #1\n"                                                                      \
                       "\tbne 0b\n"                                                                           \
                       "\tvstmia %3, {s0-" last "}"                                                           \
                       : "+&r"(x), "+&r"(w), "+&r"(depth)                                                     \
                       : "r"(sum)                                                                             \
                       : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", \
                         "s15", "s16", "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31", "cc", "memory"); \
        return w;                                                                                             \
    }
ROW(4, "s27", "s3", ADDED_4)
ROW(8, "s31", "s7", ADDED_8)
ROW(16, "s31", "s15", ADDED_16)

/* NaN is kept. */
INLINE float clipped_f32(float y, float low, float high)
{
    y = y < low ? low : y;
    return y > high ? high : y;
}

static void fpu_conv_f32(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    uint32_t taps = a->taps_t * a->taps_f, depth = a->channels / a->groups, outputs = a->outputs / a->groups, p, g, begin, k, i;
    float low = a->low_f, high = a->high_f;
    for (p = 0; p < positions; p++, rows += taps) {
        const float *w = (const float *)(const void *)(plan + a->weights_at), *bias = (const float *)(const void *)(plan + a->bias_at);
        for (g = 0; g < a->groups; g++) {
            float *out = (float *)outs[p] + g * outputs;
            for (begin = 0; begin < outputs;) {
                uint32_t width = panel_width(outputs - begin), n = outputs - begin < width ? outputs - begin : width;
                float sum[16] = {0};
                for (k = 0; k < taps; k++) {
                    const float *x = (const float *)rows[k] + g * depth;
                    w = width == 16 ? row_16(x, w, depth, sum) : width == 8 ? row_8(x, w, depth, sum) : row_4(x, w, depth, sum);
                }
                for (i = 0; i < n; i++)
                    out[begin + i] = clipped_f32(sum[i] + bias[i], low, high);
                begin += width;
                bias += width;
            }
        }
    }
}

static void fpu_depthwise_f32(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    uint32_t taps = a->taps_t * a->taps_f, channels = a->channels, p, c, k;
    const float *bias = (const float *)(const void *)(plan + a->bias_at);
    float low = a->low_f, high = a->high_f;
    if (channels != a->outputs) {
        tcn_plain_depthwise_f32(a, plan, rows, outs, positions);
        return;
    }
    for (p = 0; p < positions; p++, rows += taps) {
        float *out = outs[p];
        for (c = 0; c + 4 <= channels; c += 4) {
            const float *w = (const float *)(const void *)(plan + a->weights_at) + c;
            float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
            for (k = 0; k < taps; k++, w += channels) {
                const float *x = (const float *)rows[k] + c;
                s0 += x[0] * w[0];
                s1 += x[1] * w[1];
                s2 += x[2] * w[2];
                s3 += x[3] * w[3];
            }
            out[c] = clipped_f32(s0 + bias[c], low, high);
            out[c + 1] = clipped_f32(s1 + bias[c + 1], low, high);
            out[c + 2] = clipped_f32(s2 + bias[c + 2], low, high);
            out[c + 3] = clipped_f32(s3 + bias[c + 3], low, high);
        }
        for (; c < channels; c++) {
            const float *w = (const float *)(const void *)(plan + a->weights_at) + c;
            float sum = 0.0f;
            for (k = 0; k < taps; k++, w += channels)
                sum += ((const float *)rows[k])[c] * *w;
            out[c] = clipped_f32(sum + bias[c], low, high);
        }
    }
}
