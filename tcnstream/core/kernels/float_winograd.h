/* float_winograd.h - four products for two outputs of float32 (winograd.h), for float.h. */
#include "winograd.h"

/* Rows of what the products are of: all of a pair, or of an output alone, whose own one comes first. Those of as many as are
 * computed at once are to stay in the cache beside a panel's weights. */
enum { OF_FIRST, OF_SHARED, OF_TURNED, OF_SECOND, PRODUCTS, PAIRS_AT_ONCE = 12 };

/* One channel of one product for T pairs, or outputs alone. */
#define ADD_ROWS(V, N, T, w, row, sum)                                                                           \
    {                                                                                                            \
        V weight[N];                                                                                             \
        UNROLL for (v = 0; v < N; v++) weight[v] = *(const V *)((w) + v * sizeof(V) / 4);                        \
        UNROLL for (t = 0; t < T; t++) {                                                                         \
            const float one = x[(t * PRODUCTS + row) * depth + c];                                               \
            UNROLL for (v = 0; v < N; v++) sum[t][v] = ADD_TIMES(V, sum[t][v], weight[v], one);                  \
        }                                                                                                        \
    }

/* One panel for T pairs. */
#define PAIRS_OF(name, V, N, T)                                                                                  \
    static TCN_APART void name##_##T##_pairs(const conv_args *a, const float *sums, const float *w, const float *bias, \
                                             const float *x, const tcn_winograd_pair *pairs, size_t to, uint32_t n) \
    {                                                                                                            \
        enum { WIDTH = N * sizeof(V) / 4 };                                                                      \
        const float low = a->low_f, high = a->high_f;                                                            \
        const size_t depth = a->channels;                                                                        \
        const float *last = w + 2 * depth * WIDTH;                                                               \
        V first[T][N], second[T][N];                                                                             \
        size_t c, t, v;                                                                                          \
        UNROLL for (t = 0; t < T; t++) UNROLL for (v = 0; v < N; v++) first[t][v] = second[t][v] = (V){0};       \
        for (c = 0; c < depth; c++, sums += 2 * WIDTH) {                                                         \
            ADD_ROWS(V, N, T, sums, OF_SHARED, first)                                                            \
            ADD_ROWS(V, N, T, sums + WIDTH, OF_TURNED, second)                                                   \
        }                                                                                                        \
        UNROLL for (t = 0; t < T; t++) UNROLL for (v = 0; v < N; v++) {                                          \
            const V shared = first[t][v], turned = second[t][v];                                                 \
            first[t][v] = VECTOR_ADD(shared, turned);                                                            \
            second[t][v] = VECTOR_SUB(shared, turned);                                                           \
        }                                                                                                        \
        for (c = 0; c < depth; c++, w += WIDTH, last += WIDTH) {                                                 \
            ADD_ROWS(V, N, T, w, OF_FIRST, first)                                                                \
            ADD_ROWS(V, N, T, last, OF_SECOND, second)                                                           \
        }                                                                                                        \
        UNROLL for (t = 0; t < T; t++) {                                                                         \
            name##_store(low, high, bias, first[t], pairs[t].out[0] + to, n);                                    \
            name##_store(low, high, bias, second[t], pairs[t].out[1] + to, n);                                   \
        }                                                                                                        \
    }

/* shared - turned is the same sum as shared + turned * -1 */
#define SIGN_OF(side) (1.0f - 2.0f * (float)(int)(side))

/* One panel for T outputs alone, all of one side, whose own weights `w` begins with; AT_ONCE: two products in one loop,
 * where there are registers for their sums. */
#define ALONE_OF(name, V, N, T, AT_ONCE)                                                                         \
    static TCN_APART void name##_##T##_alone(const conv_args *a, const float *sums, const float *w, const float *bias, \
                                             const float *x, const tcn_winograd_alone *alone, size_t to, uint32_t n) \
    {                                                                                                            \
        enum { WIDTH = N * sizeof(V) / 4 };                                                                      \
        const float low = a->low_f, high = a->high_f, sign = SIGN_OF(alone->side);                               \
        const size_t depth = a->channels;                                                                        \
        V sum[T][N], turned[T][N];                                                                               \
        size_t c, t, v;                                                                                          \
        UNROLL for (t = 0; t < T; t++) UNROLL for (v = 0; v < N; v++) sum[t][v] = turned[t][v] = (V){0};         \
        for (c = 0; c < depth; c++) {                                                                            \
            ADD_ROWS(V, N, T, sums + 2 * c * WIDTH, OF_SHARED, sum)                                              \
            if (AT_ONCE)                                                                                         \
                ADD_ROWS(V, N, T, sums + (2 * c + 1) * WIDTH, OF_TURNED, turned)                                 \
        }                                                                                                        \
        for (c = 0; !(AT_ONCE) && c < depth; c++)                                                                \
            ADD_ROWS(V, N, T, sums + (2 * c + 1) * WIDTH, OF_TURNED, turned)                                     \
        UNROLL for (t = 0; t < T; t++) UNROLL for (v = 0; v < N; v++)                                            \
            sum[t][v] = ADD_TIMES(V, sum[t][v], turned[t][v], sign);                                             \
        for (c = 0; c < depth; c++, w += WIDTH)                                                                  \
            ADD_ROWS(V, N, T, w, OF_FIRST, sum)                                                                  \
        UNROLL for (t = 0; t < T; t++) {                                                                         \
            name##_store(low, high, bias, sum[t], alone[t].out + to, n);                                         \
        }                                                                                                        \
    }

/* One panel for `count` pairs, or for as many outputs alone. */
#define WINOGRAD_PANEL(name, V, N, PAIRS, ALONE, FEWER, AT_ONCE)                                                 \
    PAIRS_OF(name, V, N, PAIRS)                                                                                  \
    PAIRS_OF(name, V, N, 2)                                                                                      \
    PAIRS_OF(name, V, N, 1)                                                                                      \
    ALONE_OF(name, V, N, ALONE, AT_ONCE)                                                                         \
    ALONE_OF(name, V, N, FEWER, AT_ONCE)                                                                         \
    ALONE_OF(name, V, N, 1, 1)                                                                                   \
    static void name##_pairs(const conv_args *a, const float *sums, const float *w, const float *bias, const float *x, \
                             const tcn_winograd_pair *pairs, size_t count, size_t to, uint32_t n)                \
    {                                                                                                            \
        const size_t apart = PRODUCTS * (size_t)a->channels;                                                     \
        size_t p = 0;                                                                                            \
        for (; p + PAIRS <= count; p += PAIRS)                                                                   \
            name##_##PAIRS##_pairs(a, sums, w, bias, x + p * apart, pairs + p, to, n);                           \
        for (; p + 2 <= count; p += 2)                                                                           \
            name##_2_pairs(a, sums, w, bias, x + p * apart, pairs + p, to, n);                                   \
        for (; p < count; p++)                                                                                   \
            name##_1_pairs(a, sums, w, bias, x + p * apart, pairs + p, to, n);                                   \
    }                                                                                                            \
    static void name##_alone(const conv_args *a, const float *sums, const float *w, const float *bias, const float *x, \
                             const tcn_winograd_alone *alone, size_t count, size_t to, uint32_t n)               \
    {                                                                                                            \
        const size_t apart = PRODUCTS * (size_t)a->channels;                                                     \
        size_t p = 0;                                                                                            \
        w += alone->side * 2 * (size_t)a->channels * (N * sizeof(V) / 4);                                        \
        for (; p + ALONE <= count; p += ALONE)                                                                   \
            name##_##ALONE##_alone(a, sums, w, bias, x + p * apart, alone + p, to, n);                           \
        for (; p + FEWER <= count; p += FEWER)                                                                   \
            name##_##FEWER##_alone(a, sums, w, bias, x + p * apart, alone + p, to, n);                           \
        for (; p < count; p++)                                                                                   \
            name##_1_alone(a, sums, w, bias, x + p * apart, alone + p, to, n);                                   \
    }
#if LANES >= 16
typedef v16 v_of_row;
WINOGRAD_PANEL(panel_16, v_of_16, N_OF_16, 4, 4, 2, 1)
#else
typedef v8 v_of_row;
WINOGRAD_PANEL(panel_16, v_of_16, N_OF_16, 3, 6, 4, 0)
#endif
WINOGRAD_PANEL(panel_8, v_of_8, N_OF_8, 4, 4, 2, LANES > 8)
WINOGRAD_PANEL(panel_4, v4, 1, 4, 4, 2, LANES > 8)

/* One channel of one product of one output. */
#define ADD_ONE(V, N, w, row, sum)                                                                               \
    UNROLL for (v = 0; v < N; v++)                                                                               \
        sum[v] = ADD_TIMES(V, sum[v], *(const V *)((w) + v * sizeof(V) / 4), x[row * depth + c]);

/* One output alone: the panel of 16 and the one behind it, sums that do not wait for each other. */
#define ALONE_TOGETHER(name, V, N, W)                                                                            \
    static TCN_APART void name(const conv_args *a, const float *sums, const float *w, const float *bias, const float *x, \
                               size_t side, float *out, uint32_t n)                                              \
    {                                                                                                            \
        const float low = a->low_f, high = a->high_f, sign = SIGN_OF(side);                                      \
        const size_t depth = a->channels;                                                                        \
        const float *other_sums = sums + 2 * depth * 16, *other_w = w + WINOGRAD_TAPS * depth * 16 + side * 2 * depth * W; \
        v_of_16 sum[N_OF_16], turned[N_OF_16];                                                                   \
        V other_sum[N], other_turned[N];                                                                         \
        size_t c, v;                                                                                             \
        w += side * 2 * depth * 16;                                                                              \
        UNROLL for (v = 0; v < N_OF_16; v++) sum[v] = turned[v] = (v_of_16){0};                                  \
        UNROLL for (v = 0; v < N; v++) other_sum[v] = other_turned[v] = (V){0};                                  \
        UNROLL_ALONE for (c = 0; c < depth; c++, sums += 2 * 16, other_sums += 2 * W) {                          \
            ADD_ONE(v_of_16, N_OF_16, sums, OF_SHARED, sum)                                                      \
            ADD_ONE(v_of_16, N_OF_16, sums + 16, OF_TURNED, turned)                                              \
            ADD_ONE(V, N, other_sums, OF_SHARED, other_sum)                                                      \
            ADD_ONE(V, N, other_sums + W, OF_TURNED, other_turned)                                               \
        }                                                                                                        \
        UNROLL for (v = 0; v < N_OF_16; v++) sum[v] = ADD_TIMES(v_of_16, sum[v], turned[v], sign);               \
        UNROLL for (v = 0; v < N; v++) other_sum[v] = ADD_TIMES(V, other_sum[v], other_turned[v], sign);         \
        UNROLL_ALONE for (c = 0; c < depth; c++, w += 16, other_w += W) {                                        \
            ADD_ONE(v_of_16, N_OF_16, w, OF_FIRST, sum)                                                          \
            ADD_ONE(V, N, other_w, OF_FIRST, other_sum)                                                          \
        }                                                                                                        \
        panel_16_store(low, high, bias, sum, out, 16);                                                           \
        panel_##W##_store(low, high, bias + 16, other_sum, out + 16, n);                                         \
    }
ALONE_TOGETHER(alone_16_and_16, v_of_16, N_OF_16, 16)
ALONE_TOGETHER(alone_16_and_8, v_of_8, N_OF_8, 8)
ALONE_TOGETHER(alone_16_and_4, v4, 1, 4)

#define ROW_AT(x) (*(v_of_row *)(x))
#define CONST_ROW_AT(x) (*(const v_of_row *)(x))

/* `x` are the pair's frames. */
static void rows_of_pair(const float *const *x, float *to, size_t depth)
{
    size_t c = 0;
    for (; c + LANES <= depth; c += LANES) {
        const v_of_row x1 = CONST_ROW_AT(x[1] + c), x2 = CONST_ROW_AT(x[2] + c);
        ROW_AT(to + OF_FIRST * depth + c) = VECTOR_SUB(CONST_ROW_AT(x[0] + c), x2);
        ROW_AT(to + OF_SHARED * depth + c) = VECTOR_ADD(x1, x2);
        ROW_AT(to + OF_TURNED * depth + c) = VECTOR_SUB(x2, x1);
        ROW_AT(to + OF_SECOND * depth + c) = VECTOR_SUB(CONST_ROW_AT(x[3] + c), x1);
    }
    for (; c < depth; c++) {
        to[OF_FIRST * depth + c] = x[0][c] - x[2][c];
        to[OF_SHARED * depth + c] = x[1][c] + x[2][c];
        to[OF_TURNED * depth + c] = x[2][c] - x[1][c];
        to[OF_SECOND * depth + c] = x[3][c] - x[1][c];
    }
}

/* Without a branch, as sides alternate. */
static void rows_of_alone(const tcn_winograd_alone *alone, float *to, size_t depth)
{
    const size_t side = alone->side;
    const float *x1 = alone->x[1 - side], *x2 = alone->x[2 - side], *mine = alone->x[2 * side], *less = alone->x[2 - 2 * side];
    size_t c = 0;
    for (; c + LANES <= depth; c += LANES) {
        ROW_AT(to + OF_FIRST * depth + c) = VECTOR_SUB(CONST_ROW_AT(mine + c), CONST_ROW_AT(less + c));
        ROW_AT(to + OF_SHARED * depth + c) = VECTOR_ADD(CONST_ROW_AT(x1 + c), CONST_ROW_AT(x2 + c));
        ROW_AT(to + OF_TURNED * depth + c) = VECTOR_SUB(CONST_ROW_AT(x2 + c), CONST_ROW_AT(x1 + c));
    }
    for (; c < depth; c++) {
        to[OF_FIRST * depth + c] = mine[c] - less[c];
        to[OF_SHARED * depth + c] = x1[c] + x2[c];
        to[OF_TURNED * depth + c] = x2[c] - x1[c];
    }
}

/* Each panel of outputs: where its weights are, its first output, and how many it has. */
typedef struct {
    const float *sums, *w, *bias;
    uint32_t begin, left, width, n;
} winograd_panel;

static inline winograd_panel panel_from(const tcn_winograd_conv *of, const float *sums, const float *w, const float *bias, uint32_t begin)
{
    const uint32_t left = of->args.outputs - begin, width = panel_width(left);
    return (winograd_panel){sums, w, bias, begin, left, width, left < width ? left : width};
}

static inline winograd_panel first_panel(const tcn_winograd_conv *of, const uint8_t *plan)
{
    return panel_from(of, of->sums, (const float *)(const void *)(plan + of->args.weights_at), (const float *)(const void *)(plan + of->args.bias_at), 0);
}

static inline winograd_panel next_panel(const tcn_winograd_conv *of, winograd_panel p)
{
    const size_t passed = (size_t)of->args.channels * p.width;
    return panel_from(of, p.sums + 2 * passed, p.w + WINOGRAD_TAPS * passed, p.bias + p.width, p.begin + p.n);
}

static void conv_f32_pairs(const tcn_winograd_conv *of, const uint8_t *plan, const tcn_winograd_pair *pairs, uint32_t n)
{
    const conv_args *a = &of->args;
    const size_t depth = a->channels;
    float x[PAIRS_AT_ONCE * PRODUCTS * WINOGRAD_CHANNELS] __attribute__((aligned(64)));
    uint32_t count, p;
    for (; n > 0; pairs += count, n -= count) {
        winograd_panel panel = first_panel(of, plan);
        count = n < PAIRS_AT_ONCE ? n : PAIRS_AT_ONCE;
        for (p = 0; p < count; p++)
            rows_of_pair(pairs[p].x, x + p * PRODUCTS * depth, depth);
        for (; panel.begin < a->outputs; panel = next_panel(of, panel))
            (panel.width == 16 ? panel_16_pairs : panel.width == 8 ? panel_8_pairs : panel_4_pairs)(
                a, panel.sums, panel.w, panel.bias, x, pairs, count, panel.begin, panel.n);
    }
}

/* One output waits for its newest frame; the first weights come meanwhile. */
static inline void ask_for_weights(const tcn_winograd_conv *of, winograd_panel panel, size_t side)
{
    const float *own = panel.w + side * 2 * of->args.channels * panel.width;
    size_t v;
    UNROLL for (v = 0; v < 8 * 16; v += 16) {
        __builtin_prefetch(panel.sums + v);
        __builtin_prefetch(own + v / 2);
    }
}

static void conv_f32_one(const tcn_winograd_conv *of, const uint8_t *plan, const tcn_winograd_alone *alone)
{
    const conv_args *a = &of->args;
    float x[PRODUCTS * WINOGRAD_CHANNELS] __attribute__((aligned(64)));
    winograd_panel panel = first_panel(of, plan);
    ask_for_weights(of, panel, alone->side);
    ask_for_weights(of, next_panel(of, panel), alone->side);
    rows_of_alone(alone, x, a->channels);
    for (; panel.begin < a->outputs; panel = next_panel(of, panel)) {
        const winograd_panel behind = panel.left > 16 ? next_panel(of, panel) : panel;
        if (panel.left > 16) {
            (behind.width == 16 ? alone_16_and_16 : behind.width == 8 ? alone_16_and_8 : alone_16_and_4)(
                a, panel.sums, panel.w, panel.bias, x, alone->side, alone->out + panel.begin, behind.n);
            panel = behind;
        } else
            (panel.width == 16 ? panel_16_alone : panel.width == 8 ? panel_8_alone : panel_4_alone)(
                a, panel.sums, panel.w, panel.bias, x, alone, 1, panel.begin, panel.n);
    }
}

static void conv_f32_alone_ones(const tcn_winograd_conv *of, const uint8_t *plan, const tcn_winograd_alone *alone, uint32_t n)
{
    const conv_args *a = &of->args;
    const size_t depth = a->channels;
    float x[PAIRS_AT_ONCE * PRODUCTS * WINOGRAD_CHANNELS] __attribute__((aligned(64)));
    uint32_t count;
    if (n == 1) {
        conv_f32_one(of, plan, alone);
        return;
    }
    for (; n > 0; alone += count, n -= count) {
        winograd_panel panel = first_panel(of, plan);
        for (count = 0; count < n && count < PAIRS_AT_ONCE && alone[count].side == alone->side; count++)
            rows_of_alone(alone + count, x + count * PRODUCTS * depth, depth);
        for (; panel.begin < a->outputs; panel = next_panel(of, panel))
            (panel.width == 16 ? panel_16_alone : panel.width == 8 ? panel_8_alone : panel_4_alone)(
                a, panel.sums, panel.w, panel.bias, x, alone, count, panel.begin, panel.n);
    }
}

static const tcn_winograd_kernels winograd = {conv_f32_pairs, conv_f32_alone_ones};
