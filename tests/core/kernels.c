/* kernels.c - compares the kernels of an instruction set with the plain ones, bit for bit.
 *
 *     kernels ISA CONFIGURATIONS SEED
 *
 * A configuration is a shape, its weights and how it rescales, drawn so that the least values meet often. Exit code 77
 * without such kernels here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { TAPS = 5, CHANNELS = 50, OUTPUTS = 50, ENTRIES = OUTPUTS + 16, POSITIONS = 20, DILATION = 3, VALUES = 70, STRIDE_OF_FLOATS = 12289 };
enum { FRAMES = POSITIONS + (TAPS - 1) * DILATION };

static uint64_t state;

static uint32_t drawn(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((state >> 32) * below) >> 32);
}

static int8_t any_byte(void) { return drawn(4) ? (int8_t)(drawn(256) - 128) : -128; }

/* What a plan holds for one operation. */
static struct {
    int32_t bias[ENTRIES], bias_u8[ENTRIES], multiplier[ENTRIES], shift[ENTRIES];
    int8_t weights[TAPS * (CHANNELS + 3) * ENTRIES];
} plan;

static int8_t frames[FRAMES][CHANNELS], answers[POSITIONS][OUTPUTS], expected[POSITIONS][OUTPUTS];
static const void *rows[POSITIONS * TAPS], *sliding[FRAMES];
static void *outs[POSITIONS], *expected_outs[POSITIONS];

static int8_t any_weight(int has_least)
{
    const int8_t w = any_byte();
    return w == -128 && !has_least ? 127 : w;
}

/* Weights in panels, zero behind the channels, and both biases. */
static void draw_conv_weights(const conv_args *a, int has_least)
{
    int8_t *w = plan.weights;
    uint32_t begin, width, k, c, o, at = 0;
    for (begin = 0; begin < a->outputs; begin += width, at += width) {
        width = panel_width(a->outputs - begin);
        for (o = 0; o < width; o++)
            plan.bias_u8[at + o] = plan.bias[at + o];
        for (k = 0; k < a->taps_t; k++)
            for (c = 0; c < a->channels; c += 4)
                for (o = 0; o < width; o++) {
                    uint32_t i;
                    for (i = c; i < c + 4; i++, w++) {
                        *w = i < a->channels && begin + o < a->outputs ? any_weight(has_least) : 0;
                        plan.bias_u8[at + o] -= 128 * *w;
                    }
                }
    }
}

static void draw_shape(conv_args *a)
{
    int i;
    memset(a, 0, sizeof *a);
    a->taps_t = 1 + drawn(TAPS);
    a->taps_f = a->groups = 1;
    a->dilation_t = 1 + drawn(DILATION);
    a->channels = 1 + drawn(CHANNELS);
    a->outputs = 1 + drawn(OUTPUTS);
#define AT(name) (uint32_t)((uint8_t *)plan.name - (uint8_t *)&plan)
    a->weights_at = AT(weights);
    a->bias_at = AT(bias);
    a->bias_u8_at = AT(bias_u8);
    a->multiplier_at = AT(multiplier);
    a->shift_at = AT(shift);
    a->rescale = drawn(2) ? RESCALE_SHORT : RESCALE_TWICE;
    a->zero_out = (int16_t)drawn(256) - 128;
    a->low = drawn(2) ? -128 : (int16_t)drawn(128) - 128;
    a->high = drawn(2) ? 127 : (int16_t)drawn(128);
    for (i = 0; i < ENTRIES; i++) {
        plan.bias[i] = (int32_t)drawn(1 << 18) - (1 << 17);
        plan.multiplier[i] = (1 << 30) + (int32_t)drawn(1 << 30);
        plan.shift[i] = a->rescale == RESCALE_SHORT ? -(int32_t)drawn(16) : 3 - (int32_t)drawn(16);
    }
}

static int is_same(const char *what, const conv_args *a, uint32_t positions)
{
    uint32_t p, i;
    for (p = 0; p < positions; p++)
        for (i = 0; i < a->outputs; i++)
            if (answers[p][i] != expected[p][i]) {
                printf("%s, %u taps, %u channels, %u outputs, %u positions, rescaled %d: output %u of position %u is %d, not %d\n", what,
                       a->taps_t, a->channels, a->outputs, positions, a->rescale, i, p, answers[p][i], expected[p][i]);
                return 0;
            }
    return 1;
}

static int are_windows_same(const tcn_kernels *kernels)
{
    const int has_least = drawn(2);
    conv_args a;
    uint32_t positions = 1 + drawn(POSITIONS), p, k, i;
    draw_shape(&a);
    for (p = 0; p < FRAMES; p++)
        for (i = 0; i < CHANNELS; i++)
            frames[p][i] = any_byte();
    for (p = 0; p < POSITIONS; p++)
        for (k = 0; k < a.taps_t; k++)
            rows[p * a.taps_t + k] = frames[p + k * a.dilation_t];
    draw_conv_weights(&a, has_least);
    tcn_kernels_plain.conv_i8(&a, (const uint8_t *)&plan, rows, expected_outs, positions);
    kernels->conv_i8(&a, (const uint8_t *)&plan, rows, outs, positions);
    if (!is_same("conv_i8", &a, positions))
        return 0;
#ifdef TCN_HAS_SLIDING
    if (kernels->conv_i8_sliding) {
        kernels->conv_i8_sliding(&a, (const uint8_t *)&plan, sliding, outs, positions);
        if (!is_same("conv_i8_sliding", &a, positions))
            return 0;
    }
#endif
    a.channels = a.outputs = a.groups = 1 + drawn(CHANNELS);
    for (i = 0; i < a.taps_t * a.outputs; i++)
        plan.weights[i] = any_weight(has_least);
    tcn_kernels_plain.depthwise_i8(&a, (const uint8_t *)&plan, rows, expected_outs, positions);
    kernels->depthwise_i8(&a, (const uint8_t *)&plan, rows, outs, positions);
    return is_same("depthwise_i8", &a, positions);
}

static int are_sums_same(const tcn_kernels *kernels)
{
    int8_t x[VALUES], y[VALUES], out[VALUES], wanted[VALUES];
    const int op = drawn(3) == 0 ? BINARY_SUB : drawn(3) == 0 ? BINARY_MUL : BINARY_ADD;
    const uint32_t n = 1 + drawn(VALUES);
    binary_args a;
    uint32_t i;
    memset(&a, 0, sizeof a);
    a.left_shift = op == BINARY_MUL ? 0 : 20;
    for (i = 0; i < 2; i++) {
        a.multiplier[i] = drawn(2) ? 1 << 30 : (1 << 30) + (int32_t)drawn(1 << 30);
        a.shift[i] = drawn(2) ? 0 : -(int8_t)drawn(12);
        a.zero[i] = (int16_t)drawn(256) - 128;
    }
    a.multiplier_out = (1 << 30) + (int32_t)drawn(1 << 30);
    a.shift_out = -(int8_t)drawn(24);
    a.zero_out = (int16_t)drawn(256) - 128;
    a.low = drawn(2) ? -128 : (int16_t)drawn(128) - 128;
    a.high = drawn(2) ? 127 : (int16_t)drawn(128);
    for (i = 0; i < VALUES; i++) {
        x[i] = any_byte();
        y[i] = any_byte();
    }
    tcn_kernels_plain.binary_i8(&a, op, x, y, wanted, n);
    kernels->binary_i8(&a, op, x, y, out, n);
    if (memcmp(out, wanted, n)) {
        printf("binary_i8, operation %d of %u values\n", op, n);
        return 0;
    }
    return 1;
}

/* Of floats of every size, and NaN. */
static int are_functions_same(const tcn_kernels *kernels)
{
    static const int operations[] = {UNARY_TANH, UNARY_LOGISTIC, UNARY_EXP};
    float x[VALUES], out[VALUES], wanted[VALUES];
    const unary_args a = {VALUES, 0.0f, 0.0f};
    uint64_t bits = 0;
    size_t k;
    while (bits >> 32 == 0) {
        uint32_t i;
        for (i = 0; i < VALUES; i++, bits += STRIDE_OF_FLOATS) {
            const uint32_t low = (uint32_t)bits;
            memcpy(&x[i], &low, 4);
        }
        for (k = 0; k < sizeof operations / sizeof *operations; k++) {
            tcn_kernels_plain.unary_f32(&a, operations[k], x, wanted, VALUES);
            kernels->unary_f32(&a, operations[k], x, out, VALUES);
            for (i = 0; i < VALUES; i++)
                if (memcmp(&out[i], &wanted[i], 4)) {
                    printf("unary_f32, operation %d of %.9g is %.9g, not %.9g\n", operations[k], (double)x[i], (double)out[i], (double)wanted[i]);
                    return 0;
                }
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
    const tcn_kernels *kernels = tcn_kernels_for(argc > 1 ? atoi(argv[1]) : TCN_ISA_BEST);
    int configurations = argc > 2 ? atoi(argv[2]) : 100, i;
    if (!kernels)
        return 77;
    state = argc > 3 ? (uint64_t)atoi(argv[3]) : 1;
    for (i = 0; i < FRAMES; i++)
        sliding[i] = frames[i];
    for (i = 0; i < POSITIONS; i++) {
        outs[i] = answers[i];
        expected_outs[i] = expected[i];
    }
    while (configurations-- > 0)
        if (!are_windows_same(kernels) || !are_sums_same(kernels))
            return 1;
    return !are_functions_same(kernels);
}
