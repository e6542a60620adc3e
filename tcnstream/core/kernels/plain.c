/* plain.c - every kernel in plain C99: the definition of what the fast ones compute, and the last resort. */
#include "fixed.h"
#include "functions.h"
#include "kernels.h"

#define AT(type, place) ((const type *)(const void *)(plan + (place)))

static float clip_float(float y, float low, float high)
{
    /* as std::min(std::max(y, low), high) of the reference kernels, with NaN kept */
    y = y < low ? low : y;
    return y > high ? high : y;
}

#ifdef TCN_HAS_PLAIN_CONV_F32
void tcn_plain_conv_f32(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                        uint32_t positions)
{
    uint32_t taps = a->taps_t * a->taps_f, depth = a->channels / a->groups, outputs = a->outputs / a->groups;
    uint32_t p, g, begin, k, c, i;
    for (p = 0; p < positions; p++) {
        const float *w = AT(float, a->weights_at), *bias = AT(float, a->bias_at);
        for (g = 0; g < a->groups; g++) {
            float *out = (float *)outs[p] + g * outputs;
            for (begin = 0; begin < outputs;) {
                uint32_t width = panel_width(outputs - begin), n = outputs - begin < width ? outputs - begin : width;
                float sum[16] = {0};
                for (k = 0; k < taps; k++) {
                    const float *x = (const float *)rows[p * taps + k] + g * depth;
                    for (c = 0; c < depth; c++, w += width)
                        for (i = 0; i < width; i++)
                            sum[i] += x[c] * w[i];
                }
                for (i = 0; i < n; i++)
                    out[begin + i] = clip_float(sum[i] + bias[i], a->low_f, a->high_f);
                begin += width;
                bias += width;
            }
        }
    }
}
#endif

/* From accumulators of one panel to outputs; `at` is the panel's place in the per-output arrays. */
static void finish_i8(const conv_args *a, const uint8_t *plan, const int32_t *sum, uint32_t at, int8_t *out, uint32_t n)
{
    const int32_t *shift = AT(int32_t, a->shift_at) + at;
    uint32_t i;
    if (a->rescale == RESCALE_EXACT) {
        const int64_t *mantissa = AT(int64_t, a->multiplier_at) + at;
        for (i = 0; i < n; i++)
            out[i] = (int8_t)clip32(add32(multiply_exact(sum[i], mantissa[i], shift[i]), a->zero_out), a->low, a->high);
    } else {
        const int32_t *multiplier = AT(int32_t, a->multiplier_at) + at;
        for (i = 0; i < n; i++)
            out[i] = (int8_t)clip32(add32(multiply_twice(sum[i], multiplier[i], shift[i]), a->zero_out), a->low, a->high);
    }
}

static void finish_i16(const conv_args *a, const uint8_t *plan, const int64_t *sum, uint32_t at, int16_t *out, uint32_t n)
{
    const int32_t *shift = AT(int32_t, a->shift_at) + at;
    uint32_t i;
    if (a->rescale == RESCALE_EXACT) {
        const int64_t *mantissa = AT(int64_t, a->multiplier_at) + at;
        for (i = 0; i < n; i++)
            out[i] = (int16_t)clip32(add32(multiply_exact(sum[i], mantissa[i], shift[i]), a->zero_out), a->low, a->high);
    } else {
        const int32_t *multiplier = AT(int32_t, a->multiplier_at) + at;
        for (i = 0; i < n; i++) {
            int32_t y = a->rescale == RESCALE_TWICE ? multiply_twice(wrap32(sum[i]), multiplier[i], shift[i])
                                                    : multiply_wide(sum[i], multiplier[i], shift[i]);
            out[i] = (int16_t)clip32(add32(y, a->zero_out), a->low, a->high);
        }
    }
}

#define CONV_INT(name, element, sum_type, bias_type, add, finish)                                                      \
    void name(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,                 \
              uint32_t positions)                                                                                  \
    {                                                                                                              \
        uint32_t taps = a->taps_t * a->taps_f, depth = a->channels / a->groups, outputs = a->outputs / a->groups;  \
        uint32_t p, g, begin, k, c, i;                                                                             \
        for (p = 0; p < positions; p++) {                                                                          \
            const int8_t *w = AT(int8_t, a->weights_at);                                                           \
            uint32_t at = 0;                                                                                       \
            for (g = 0; g < a->groups; g++) {                                                                      \
                element *out = (element *)outs[p] + g * outputs;                                                   \
                for (begin = 0; begin < outputs;) {                                                                \
                    uint32_t width = panel_width(outputs - begin);                                                 \
                    uint32_t n = outputs - begin < width ? outputs - begin : width;                                \
                    const bias_type *bias = AT(bias_type, a->bias_at) + at;                                        \
                    sum_type sum[16];                                                                              \
                    for (i = 0; i < width; i++)                                                                    \
                        sum[i] = bias[i];                                                                          \
                    for (k = 0; k < taps; k++) {                                                                   \
                        const element *x = (const element *)rows[p * taps + k] + g * depth;                        \
                        for (c = 0; c < depth; c += 4, w += 4 * width) {                                           \
                            uint32_t q, four = depth - c < 4 ? depth - c : 4;                                      \
                            for (q = 0; q < four; q++) {                                                           \
                                int32_t value = x[c + q];                                                          \
                                for (i = 0; i < width; i++)                                                        \
                                    sum[i] = add(sum[i], value * w[4 * i + q]);                                    \
                            }                                                                                      \
                        }                                                                                          \
                    }                                                                                              \
                    finish(a, plan, sum, at, out + begin, n);                                                      \
                    begin += width;                                                                                \
                    at += width;                                                                                   \
                }                                                                                                  \
            }                                                                                                      \
        }                                                                                                          \
    }

#ifdef TCN_HAS_PLAIN
CONV_INT(tcn_plain_conv_i8, int8_t, int32_t, int32_t, add32, finish_i8)
#endif
CONV_INT(tcn_plain_conv_i16, int16_t, int64_t, int64_t, add64, finish_i16)

void tcn_plain_depthwise_f32(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                             uint32_t positions)
{
    uint32_t taps = a->taps_t * a->taps_f, multiplier = a->outputs / a->channels, p, k, c, q;
    const float *bias = AT(float, a->bias_at);
    for (p = 0; p < positions; p++) {
        const float *w = AT(float, a->weights_at);
        float *out = (float *)outs[p];
        for (c = 0; c < a->outputs; c++)
            out[c] = 0.0f;
        for (k = 0; k < taps; k++, w += a->outputs) {
            const float *x = (const float *)rows[p * taps + k];
            if (multiplier == 1)
                for (c = 0; c < a->channels; c++)
                    out[c] += x[c] * w[c];
            else
                for (c = 0; c < a->channels; c++)
                    for (q = 0; q < multiplier; q++)
                        out[c * multiplier + q] += x[c] * w[c * multiplier + q];
        }
        for (c = 0; c < a->outputs; c++)
            out[c] = clip_float(out[c] + bias[c], a->low_f, a->high_f);
    }
}

#define DEPTHWISE_INT(name, element, sum_type, bias_type, add, finish)                                                 \
    void name(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,                 \
              uint32_t positions)                                                                                  \
    {                                                                                                              \
        uint32_t taps = a->taps_t * a->taps_f, multiplier = a->outputs / a->channels, p, k, i, begin;              \
        for (p = 0; p < positions; p++) {                                                                          \
            for (begin = 0; begin < a->outputs; begin += 16) {                                                     \
                uint32_t n = a->outputs - begin < 16 ? a->outputs - begin : 16;                                    \
                const bias_type *bias = AT(bias_type, a->bias_at) + begin;                                         \
                sum_type sum[16];                                                                                  \
                for (i = 0; i < n; i++)                                                                            \
                    sum[i] = bias[i];                                                                              \
                for (k = 0; k < taps; k++) {                                                                       \
                    const element *x = (const element *)rows[p * taps + k];                                        \
                    const int8_t *w = AT(int8_t, a->weights_at) + k * a->outputs + begin;                          \
                    if (multiplier == 1)                                                                           \
                        for (i = 0; i < n; i++)                                                                    \
                            sum[i] = add(sum[i], (int32_t)x[begin + i] * w[i]);                                    \
                    else                                                                                           \
                        for (i = 0; i < n; i++)                                                                    \
                            sum[i] = add(sum[i], (int32_t)x[(begin + i) / multiplier] * w[i]);                     \
                }                                                                                                  \
                finish(a, plan, sum, begin, (element *)outs[p] + begin, n);                                        \
            }                                                                                                      \
        }                                                                                                          \
    }

DEPTHWISE_INT(tcn_plain_depthwise_i8, int8_t, int32_t, int32_t, add32, finish_i8)
DEPTHWISE_INT(tcn_plain_depthwise_i16, int16_t, int64_t, int64_t, add64, finish_i16)

void tcn_plain_binary_f32(const binary_float_args *a, int op, const float *x, const float *y, float *out, uint32_t n)
{
    uint32_t i;
    float low = a->low_f, high = a->high_f;
    switch (op) {
    case BINARY_ADD:
        for (i = 0; i < n; i++)
            out[i] = clip_float(x[i] + y[i], low, high);
        break;
    case BINARY_SUB:
        for (i = 0; i < n; i++)
            out[i] = clip_float(x[i] - y[i], low, high);
        break;
    case BINARY_MUL:
        for (i = 0; i < n; i++)
            out[i] = clip_float(x[i] * y[i], low, high);
        break;
    case BINARY_DIV:
        for (i = 0; i < n; i++)
            out[i] = clip_float(x[i] / y[i], low, high);
        break;
    case BINARY_MAXIMUM:
        for (i = 0; i < n; i++)
            out[i] = x[i] > y[i] ? x[i] : y[i];
        break;
    case BINARY_MINIMUM:
        for (i = 0; i < n; i++)
            out[i] = x[i] < y[i] ? x[i] : y[i];
        break;
    default:
        for (i = 0; i < n; i++) {
            double difference = (double)x[i] - (double)y[i]; /* statistics divide by what little is left */
            out[i] = clip_float((float)(difference * difference), low, high);
        }
    }
}

#define BINARY_INT(name, element)                                                                             \
    static int32_t name##_one(const binary_args *a, int op, int32_t x, int32_t y)                                  \
    {                                                                                                              \
        int32_t r;                                                                                                 \
        if (op == BINARY_MAXIMUM)                                                                                      \
            return x > y ? x : y;                                                                                  \
        if (op == BINARY_MINIMUM)                                                                                      \
            return x < y ? x : y;                                                                                  \
        x = sub32(x, a->zero[0]);                                                                                  \
        y = sub32(y, a->zero[1]);                                                                                  \
        if (op == BINARY_MUL) {                                                                                        \
            r = mul32(x, y);                                                                                       \
        } else {                                                                                                   \
            x = multiply_twice(left32(x, a->left_shift), a->multiplier[0], a->shift[0]);                           \
            y = multiply_twice(left32(y, a->left_shift), a->multiplier[1], a->shift[1]);                           \
            r = op == BINARY_ADD ? add32(x, y) : sub32(x, y);                                                          \
            if (op == BINARY_SQUARED_DIFFERENCE)                                                                       \
                r = mul32(r, r);                                                                                   \
        }                                                                                                          \
        return clip32(add32(multiply_twice(r, a->multiplier_out, a->shift_out), a->zero_out), a->low, a->high);    \
    }                                                                                                              \
    void name(const binary_args *a, int op, const element *x, const element *y, element *out, uint32_t n)         \
    {                                                                                                              \
        uint32_t i;                                                                                                \
        for (i = 0; i < n; i++)                                                                                    \
            out[i] = (element)name##_one(a, op, x[i], y[i]);                                                       \
    }

BINARY_INT(tcn_plain_binary_i8, int8_t)
BINARY_INT(tcn_plain_binary_i16, int16_t)

static float unary_one(const unary_args *a, int op, float x)
{
    float y;
    switch (op) {
    case UNARY_LOGISTIC:
        return tcn_logistic(x);
    case UNARY_TANH:
        return tcn_tanh(x);
    case UNARY_EXP:
        return tcn_exp(x);
    case UNARY_NEG:
        return -x;
    case UNARY_RSQRT:
        return tcn_rsqrt(x);
    case UNARY_SQRT:
        return tcn_sqrt(x);
    case UNARY_SQUARE:
        return x * x;
    case UNARY_ABS:
        return x < 0.0f ? -x : x + 0.0f;
    case UNARY_CLIP:
        y = x < a->p0 ? a->p0 : x;
        return y > a->p1 ? a->p1 : y; /* NaN is kept, as in the reference kernels */
    case UNARY_LEAKY_RELU:
        return x > 0.0f ? x : x * a->p0;
    case UNARY_HARD_SWISH:
        y = x + 3.0f;
        y = y < 0.0f ? 0.0f : y > 6.0f ? 6.0f : y;
        return x * y / 6.0f;
    case UNARY_ELU:
        /* near zero exp(x) - 1 loses its digits: tanh(x/2) gives them back */
        if (!(x < 0.0f))
            return x;
        if (x > -0.5f) {
            y = tcn_tanh(0.5f * x);
            return 2.0f * y / (1.0f - y);
        }
        return tcn_exp(x) - 1.0f;
    case UNARY_LOG:
        return tcn_log(x);
    case UNARY_GELU:
        return 0.5f * x * tcn_erfc(-0.70710678118654752f * x);
    case UNARY_GELU_TANH:
        return 0.5f * x * (1.0f + tcn_tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case UNARY_FLOOR:
        y = tcn_trunc(x);
        return y > x ? y - 1.0f : y;
    case UNARY_CEIL:
        y = tcn_trunc(x);
        return y < x ? y + 1.0f : y;
    case UNARY_ROUND:
        return tcn_round_even(x);
    case UNARY_SIGN:
        return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;
    default:
        return x;
    }
}

void tcn_plain_unary_f32(const unary_args *a, int op, const float *x, float *out, uint32_t n)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        out[i] = unary_one(a, op, x[i]);
}

#ifdef TCN_HAS_PLAIN
const tcn_kernels tcn_kernels_plain = {
    TCN_ISA_PLAIN,
    TCN_KERNEL(CONV_F32, tcn_plain_conv_f32), TCN_KERNEL(CONV_I8, tcn_plain_conv_i8), TCN_KERNEL(CONV_I16, tcn_plain_conv_i16),
    TCN_KERNEL(DEPTHWISE_F32, tcn_plain_depthwise_f32), TCN_KERNEL(DEPTHWISE_I8, tcn_plain_depthwise_i8),
    TCN_KERNEL(DEPTHWISE_I16, tcn_plain_depthwise_i16),
    TCN_KERNEL(BINARY_F32, tcn_plain_binary_f32), TCN_KERNEL(BINARY_I8, tcn_plain_binary_i8),
    TCN_KERNEL(BINARY_I16, tcn_plain_binary_i16), TCN_KERNEL(UNARY_F32, tcn_plain_unary_f32), NULL, NULL, NULL TCN_NO_SLIDING,
};
#endif
