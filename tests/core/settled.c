/* settled.c - compares settled rescaling with the reference kernels' arithmetic, accumulator by accumulator.
 *
 *     settled CONFIGURATIONS SEED
 *
 * A configuration is a multiplier, a shift, a zero point and limits. Every accumulator up to LIMIT goes through the kernels
 * of AVX2, and each that lies around a step, wherever it is, through those of each instruction set here, as the bias of a
 * window of zeros. Prints how many configurations were settled, and how many of these with a late step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fixed.h"
#include "kernels/settled.h"

enum { OUTPUTS = 64, LIMIT = 1 << 20, POSITIONS = 7 };

static uint64_t state;

static uint32_t drawn(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((state >> 32) * below) >> 32);
}

/* What a plan holds for one convolution of one channel. */
typedef struct {
    int32_t bias[OUTPUTS], multiplier[OUTPUTS], shift[OUTPUTS];
    int8_t weights[OUTPUTS * OUTPUTS];
} small_plan;

static const int8_t zeros[OUTPUTS];

enum { CONV, CONV_IN_PAIRS, CONV_OF_8, CONV_OF_4, DEPTHWISE, KINDS };
static const uint32_t outputs_of[KINDS] = {OUTPUTS, OUTPUTS, 8, 4, OUTPUTS};

static int same_answers_of(const tcn_kernels *kernels, const tcn_settled_conv *settled, small_plan *plan, const int32_t *x, int kind)
{
    tcn_settled_conv of_kind = *settled;
    const conv_args *a = &of_kind.args;
    const int outputs = (int)(of_kind.args.outputs = outputs_of[kind]);
    int8_t answer[POSITIONS][OUTPUTS];
    const void *rows[POSITIONS];
    void *outs[POSITIONS];
    int n, p, i, answers = 1;
    for (p = 0; p < POSITIONS; p++) {
        rows[p] = zeros;
        outs[p] = answer[p];
    }
    if (kind != CONV_IN_PAIRS)
        of_kind.pairs = NULL;
    memcpy(plan->bias, x, sizeof plan->bias);
    for (n = 1; n <= POSITIONS; n += POSITIONS - 1) {
        (kind == DEPTHWISE ? kernels->depthwise_i8 : kernels->conv_i8)(a, (const uint8_t *)plan, rows, outs, (uint32_t)n);
        for (p = 0; p < n; p++)
            for (i = 0; i < outputs; i++) {
                const int32_t y = clip32(multiply_twice(x[i], plan->multiplier[i], plan->shift[i]) + a->zero_out, a->low, a->high);
                if (answer[p][i] != y) {
                    printf("isa %d, %s of %d * %d >> %d + %d within %d to %d: %d is not %d\n", kernels->isa, kind == DEPTHWISE ? "depthwise" : "conv", x[i],
                           plan->multiplier[i], -plan->shift[i], a->zero_out, a->low, a->high, answer[p][i], y);
                    answers = 0;
                }
            }
    }
    return answers;
}

static int same_answers(const tcn_settled_conv *settled, small_plan *plan, const int32_t *x, int kind)
{
    const int has_avx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return same_answers_of(&tcn_kernels_avx2, settled, plan, x, kind) &&
           (!has_avx512 || same_answers_of(&tcn_kernels_avx512, settled, plan, x, kind)) &&
           (!has_avx512 || !__builtin_cpu_supports("avx512vnni") || same_answers_of(&tcn_kernels_vnni, settled, plan, x, kind));
}

static int is_short(int32_t x) { return x > -(1 << 30) && x < 1 << 30; }

/* Around every step of a configuration, wherever it is. */
static int same_around_steps(tcn_settled_conv *c, small_plan *plan)
{
    const double apart = (double)((int64_t)1 << (31 - plan->shift[0])) / (plan->multiplier[0] ? plan->multiplier[0] : 1);
    int32_t x[OUTPUTS];
    int y, i, kind;
    for (y = -256; y <= 256; y++) {
        const double near = (y - 0.5) * apart;
        for (i = 0; i < OUTPUTS; i++) {
            const double place = near + i - OUTPUTS / 2;
            x[i] = place > -1e9 && place < 1e9 && is_short((int32_t)place) ? (int32_t)place : 0;
        }
        for (kind = 0; kind < KINDS; kind++)
            if (!same_answers(c, plan, x, kind))
                return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    int configurations = argc > 1 ? atoi(argv[1]) : 100, settled = 0, late = 0, k, i;
    static float columns[3][OUTPUTS];
    static int32_t lates[OUTPUTS];
    static int16_t pairs[OUTPUTS * OUTPUTS];
    static small_plan plan;
    tcn_settled_conv c = {{0}, columns[0], columns[1], columns[2], lates, pairs};
    conv_args *a = &c.args;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 77;
    state = argc > 2 ? (uint64_t)atol(argv[2]) : 1;
    a->taps_t = a->taps_f = a->groups = a->channels = a->dilation_t = 1;
    a->outputs = OUTPUTS;
    a->rescale = RESCALE_SETTLED;
    a->bias_at = a->bias_u8_at = (uint32_t)offsetof(small_plan, bias);
    a->multiplier_at = (uint32_t)offsetof(small_plan, multiplier);
    a->shift_at = (uint32_t)offsetof(small_plan, shift);
    a->weights_at = (uint32_t)offsetof(small_plan, weights);
    for (k = 0; k < configurations; k++) {
        const int32_t multiplier = k == 0 ? 0 : k % 7 == 1 ? 1 << 30 : k % 7 == 2 ? INT32_MAX : (int32_t)((1u << 30) + drawn(1u << 30));
        const int32_t shift = k % 5 == 0 ? -(int32_t)drawn(32) : -1 - (int32_t)drawn(14);
        a->zero_out = k % 3 == 0 ? -128 : (int32_t)drawn(256) - 128;
        a->low = k % 4 ? -128 : a->zero_out;
        a->high = k % 4 && k % 8 != 7 ? 127 : a->low + (int32_t)drawn((uint32_t)(128 - a->low));
        for (i = 0; i < OUTPUTS; i++) {
            plan.multiplier[i] = multiplier;
            plan.shift[i] = shift;
        }
        tcn_settlers_avx2.conv(&c, (const uint8_t *)&plan, OUTPUTS);
        settled += c.scale[0] >= 0;
        late += c.scale[0] >= 0 && lates[0] != INT32_MIN;
        a->channels = 1;
        if (c.scale[0] >= 0) {
            int32_t x[OUTPUTS], from;
            for (from = -LIMIT; from < LIMIT; from += OUTPUTS) {
                for (i = 0; i < OUTPUTS; i++)
                    x[i] = from + i;
                if (!same_answers_of(&tcn_kernels_avx2, &c, &plan, x, CONV) || !same_answers_of(&tcn_kernels_avx2, &c, &plan, x, CONV_IN_PAIRS))
                    return 1;
            }
        }
        a->channels = OUTPUTS; /* of a depthwise one, whose rows the others read the start of */
        if (!same_around_steps(&c, &plan))
            return 1;
    }
    printf("%d %d\n", settled, late);
    return 0;
}
