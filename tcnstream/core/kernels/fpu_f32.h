/* fpu_f32.h - float32 on a Cortex-M: the sums of a panel stay in registers until its whole window is read.
 *
 * Each sum adds one product after the other, as everywhere. gcc keeps sums in memory where the FPU has no vectors, for it
 * has no loads of several registers, and makes copies of Helium's eight. */

#if defined(__ARM_FEATURE_MVE)
/* q0 to q3 are sums, q4 the weights of four outputs, `one` and `scratch` two values that they are multiplied by. */
#define NO_SUM(q) "\tvmov.i32 " #q ", #0\n"
#define KEPT(q, at) "\tvstrw.32 " #q ", [%[sum], #" #at "]\n"
#define ADDED(q, value) "\tvldrw.u32 q4, [%[w]], #16\n\tvmul.f32 q4, q4, %[" #value "]\n\tvadd.f32 " #q ", " #q ", q4\n"
#define NO_SUMS_4 NO_SUM(q0)
#define NO_SUMS_8 NO_SUMS_4 NO_SUM(q1)
#define NO_SUMS_16 NO_SUMS_8 NO_SUM(q2) NO_SUM(q3)
#define KEPT_4 KEPT(q0, 0)
#define KEPT_8 KEPT_4 KEPT(q1, 16)
#define KEPT_16 KEPT_8 KEPT(q2, 32) KEPT(q3, 48)
#define PRODUCTS_4(value) ADDED(q0, value)
#define PRODUCTS_8(value) PRODUCTS_4(value) ADDED(q1, value)
#define PRODUCTS_16(value) PRODUCTS_8(value) ADDED(q2, value) ADDED(q3, value)
#define EACH_VALUE(products)                                                                                               \
    "\tlsrs lr, %[depth], #1\n\tbeq 2f\n\tdls lr, lr\n"                                                                    \
    "0:\tldrd %[one], %[scratch], [%[x]], #8\n" products(one) products(scratch) "\tle lr, 0b\n"                            \
    "2:\ttst %[depth], #1\n\tbeq 3f\n\tldr %[one], [%[x]]\n" products(one) "3:\n"
#define USED "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "lr"
#define no_sums 0
#else
/* s0 to s15 are sums, s24 to s31 weights, s16 the value that they are multiplied by, `scratch` how many values are left. */
#define NO_SUMS_4 "\tvldmia %[none], {s0-s3}\n"
#define NO_SUMS_8 "\tvldmia %[none], {s0-s7}\n"
#define NO_SUMS_16 "\tvldmia %[none], {s0-s15}\n"
static const float no_sums[16];
#define KEPT_4 "\tvstmia %[sum], {s0-s3}\n"
#define KEPT_8 "\tvstmia %[sum], {s0-s7}\n"
#define KEPT_16 "\tvstmia %[sum], {s0-s15}\n"
#define ADDED(sum, w) "\tvmul.f32 s" #w ", s" #w ", s16\n\tvadd.f32 s" #sum ", s" #sum ", s" #w "\n"
#define ADDED_4 ADDED(0, 24) ADDED(1, 25) ADDED(2, 26) ADDED(3, 27)
#define ADDED_8 ADDED_4 ADDED(4, 28) ADDED(5, 29) ADDED(6, 30) ADDED(7, 31)
#define VALUE "\tvldmia %[x]!, {s16}\n"
#define PRODUCTS_4() VALUE "\tvldmia %[w]!, {s24-s27}\n" ADDED_4
#define PRODUCTS_8() VALUE "\tvldmia %[w]!, {s24-s31}\n" ADDED_8
#define PRODUCTS_16() PRODUCTS_8() "\tvldmia %[w]!, {s24-s31}\n" ADDED(8, 24) ADDED(9, 25) ADDED(10, 26) ADDED(11, 27) ADDED(12, 28) \
    ADDED(13, 29) ADDED(14, 30) ADDED(15, 31)
#define EACH_VALUE(products) "\tmov %[scratch], %[depth]\n0:\n" products() "\tsubs %[scratch], #1\n\tbne 0b\n"
#define USED "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15", "s16", \
    "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31"
#endif

/* Sums of a window, (taps, depth) from `from` of each row on, with the weights (taps, depth, width) of a panel. */
#define FPU_PANEL(width)                                                                                                    \
    INLINE void fpu_panel_##width(const void *const *rows, size_t from, size_t taps, size_t depth, const float *w, float *sum) \
    {                                                                                                                      \
        const float *x;                                                                                                    \
        size_t scratch, one;                                                                                               \
        __asm volatile(NO_SUMS_##width "1:\tldr %[x], [%[rows]], #4\n\tadd %[x], %[from]\n" EACH_VALUE(PRODUCTS_##width)    \
                       "\tsubs %[taps], #1\n\tbne 1b\n" KEPT_##width                                                       \
                       : [rows] "+&r"(rows), [taps] "+&r"(taps), [w] "+&r"(w), [x] "=&r"(x), [scratch] "=&r"(scratch), [one] "=&r"(one) \
                       : [from] "r"(4 * from), [depth] "r"(depth), [sum] "r"(sum), [none] "r"(no_sums)                     \
                       : USED, "cc", "memory");                                                                            \
    }
FPU_PANEL(4)
FPU_PANEL(8)
FPU_PANEL(16)

#if !defined(__ARM_FEATURE_MVE)
/* NaN is kept. */
INLINE float clipped_f32(float y, float low, float high)
{
    y = y < low ? low : y;
    return y > high ? high : y;
}
#endif

INLINE void fpu_finish(const conv_args *a, const float *sum, const float *bias, float *out, uint32_t n)
{
#if defined(__ARM_FEATURE_MVE)
    float32x4_t low = vdupq_n_f32(a->low_f), high = vdupq_n_f32(a->high_f);
    for (; n >= 4; n -= 4, sum += 4, bias += 4, out += 4)
        vstrwq_f32(out, helium_clip(vaddq_f32(vldrwq_f32(sum), vldrwq_f32(bias)), low, high));
    if (n)
        vstrwq_p_f32(out, helium_clip(vaddq_f32(vldrwq_f32(sum), vldrwq_f32(bias)), low, high), vctp32q(n));
#else
    float low = a->low_f, high = a->high_f;
    uint32_t i;
    for (i = 0; i < n; i++)
        out[i] = clipped_f32(sum[i] + bias[i], low, high);
#endif
}

static void fpu_conv_f32(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    uint32_t taps = a->taps_t * a->taps_f, depth = a->channels / a->groups, outputs = a->outputs / a->groups, p, g, begin;
    for (p = 0; p < positions; p++, rows += taps) {
        const float *w = (const float *)(const void *)(plan + a->weights_at), *bias = (const float *)(const void *)(plan + a->bias_at);
        for (g = 0; g < a->groups; g++) {
            float *out = (float *)outs[p] + g * outputs;
            for (begin = 0; begin < outputs;) {
                uint32_t width = panel_width(outputs - begin);
                float sum[16];
                if (width == 16)
                    fpu_panel_16(rows, g * depth, taps, depth, w, sum);
                else if (width == 8)
                    fpu_panel_8(rows, g * depth, taps, depth, w, sum);
                else
                    fpu_panel_4(rows, g * depth, taps, depth, w, sum);
                fpu_finish(a, sum, bias, out + begin, outputs - begin < width ? outputs - begin : width);
                begin += width;
                bias += width;
                w += taps * depth * width;
            }
        }
    }
}

#if !defined(__ARM_FEATURE_MVE)
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
#endif
