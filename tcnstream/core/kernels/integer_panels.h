/* integer_panels.h - sums of int8 and int16 products for integer.h: a panel of outputs for several positions at once, and a
 * convolution of panels. What becomes of the sums (`finish`) is said elsewhere. */

/* N sums for T positions; `step` bytes of weights from one four to the next, `apart` from one sum's to the next's. */
#define SUMS(name, P, X, N, T)                                                                                  \
    INLINE void name(const int8_t *w, size_t step, size_t apart, const void *const *rows, size_t taps, size_t from, \
                     size_t depth, int32_t *sum, size_t width)                                                  \
    {                                                                                                           \
        P##_sums s[T][N];                                                                                       \
        size_t k, c, t, v;                                                                                      \
        UNROLL_INT for (t = 0; t < T; t++) UNROLL_INT for (v = 0; v < N; v++) s[t][v] = P##_none();             \
        for (k = 0; k < taps; k++) {                                                                            \
            const X##_t *x[T];                                                                                  \
            UNROLL_INT for (t = 0; t < T; t++) x[t] = (const X##_t *)rows[t * taps + k] + from;                 \
            for (c = 0; c + 4 <= depth; c += 4, w += step)                                                      \
                UNROLL_INT for (t = 0; t < T; t++) {                                                            \
                    P##_four four = P##_at(x[t] + c);                                                           \
                    UNROLL_INT for (v = 0; v < N; v++) s[t][v] = P##_add(s[t][v], w + v * apart, four); \
                }                                                                                               \
            if (c < depth) {                                                                                    \
                UNROLL_INT for (t = 0; t < T; t++) {                                                            \
                    P##_four four = P##_spread(some_##X(x[t] + c, (uint32_t)(depth - c)));                      \
                    UNROLL_INT for (v = 0; v < N; v++) s[t][v] = P##_add(s[t][v], w + v * apart, four); \
                }                                                                                               \
                w += step;                                                                                      \
            }                                                                                                   \
        }                                                                                                       \
        UNROLL_INT for (t = 0; t < T; t++) UNROLL_INT for (v = 0; v < N; v++) P##_store(s[t][v], sum + t * width + v * P##_outputs); \
    }

#ifdef IN_ORDER
#define SUMS_ALONE(name, P, X, N) SUMS(name, P, X, N, 1)
#else
/* The same for one position: fours go in turn to two sums, so that none waits for the one before. */
#define SUMS_ALONE(name, P, X, N)                                                                               \
    INLINE void name(const int8_t *w, size_t step, size_t apart, const void *const *rows, size_t taps, size_t from, size_t depth, int32_t *sum, size_t width) \
    {                                                                                                           \
        P##_sums even[N], odd[N];                                                                               \
        size_t k, c, v;                                                                                         \
        (void)width;                                                                                            \
        UNROLL_INT for (v = 0; v < N; v++) even[v] = odd[v] = P##_none();                                       \
        for (k = 0; k < taps; k++) {                                                                            \
            const X##_t *x = (const X##_t *)rows[k] + from;                                                     \
            for (c = 0; c + 8 <= depth; c += 8, w += 2 * step) {                                                \
                P##_four first = P##_at(x + c), second = P##_at(x + c + 4);                                     \
                UNROLL_INT for (v = 0; v < N; v++) even[v] = P##_add(even[v], w + v * apart, first);  \
                UNROLL_INT for (v = 0; v < N; v++) odd[v] = P##_add(odd[v], w + step + v * apart, second); \
            }                                                                                                   \
            for (; c < depth; c += 4, w += step) {                                                              \
                P##_four four = c + 4 <= depth ? P##_at(x + c) : P##_spread(some_##X(x + c, (uint32_t)(depth - c))); \
                UNROLL_INT for (v = 0; v < N; v++) even[v] = P##_add(even[v], w + v * apart, four);   \
            }                                                                                                   \
        }                                                                                                       \
        UNROLL_INT for (v = 0; v < N; v++) P##_store(P##_plus(even[v], odd[v]), sum + v * P##_outputs);      \
    }
#endif

/* Where vectors are longer than a panel, the last one reaches behind its sums. */
#if defined(NUMBERS) && NUMBERS > 4
enum { BEHIND_SUMS = 16 };
#else
enum { BEHIND_SUMS = 0 };
#endif

/* One panel of width W for all positions; N sums at once. */
#define PANEL_OF(name, P, X, W, N, T, finish)                                                                   \
    SUMS(name##_tile, P, X, N, T)                                                                               \
    SUMS_ALONE(name##_one, P, X, N)                                                                             \
    TCN_OWN_FRAME static void name(const conv_args *a, const uint8_t *plan, const int8_t *w,                    \
                                   const void *const *rows, void *const *outs, size_t positions, size_t taps,   \
                                   size_t depth, size_t from, size_t to, uint32_t at, uint32_t n)               \
    {                                                                                                           \
        size_t p = 0, v;                                                                                        \
        int32_t sum[T * W + BEHIND_SUMS];                                                                       \
        for (; T > 1 && p + T <= positions; p += T) {                                                           \
            for (v = 0; v < W; v += N * P##_outputs)                                                            \
                name##_tile(w + 4 * v, 4 * W, 4 * P##_outputs, rows + p * taps, taps, from, depth, sum + v, W); \
            finish(a, plan, sum, T, at, W, outs + p, to, n);                                                    \
        }                                                                                                       \
        for (; p < positions; p++) {                                                                            \
            for (v = 0; v < W; v += N * P##_outputs)                                                            \
                name##_one(w + 4 * v, 4 * W, 4 * P##_outputs, rows + p * taps, taps, from, depth, sum + v, W);  \
            finish(a, plan, sum, 1, at, W, outs + p, to, n);                                                    \
        }                                                                                                       \
    }

#ifdef INT8_TILE_32
/* Two panels of 16 for all positions: each four of activations is brought in once for both. */
#define TWO_PANELS_OF(name, P, X, T, finish)                                                                    \
    SUMS(name##_tile, P, X, 2, T)                                                                               \
    SUMS_ALONE(name##_one, P, X, 2)                                                                             \
    static void name(const conv_args *a, const uint8_t *plan, const int8_t *w, const void *const *rows,         \
                     void *const *outs, size_t positions, size_t taps, size_t depth, size_t from, size_t to,    \
                     uint32_t at)                                                                               \
    {                                                                                                           \
        size_t p = 0, apart = taps * ((depth + 3) / 4) * 4 * 16;                                                \
        int32_t sum[T * 32];                                                                                    \
        for (; p + T <= positions; p += T) {                                                                    \
            name##_tile(w, 4 * 16, apart, rows + p * taps, taps, from, depth, sum, 32);                         \
            finish(a, plan, sum, T, at, 32, outs + p, to, 32);                                                  \
        }                                                                                                       \
        for (; p < positions; p++) {                                                                            \
            name##_one(w, 4 * 16, apart, rows + p * taps, taps, from, depth, sum, 32);                          \
            finish(a, plan, sum, 1, at, 32, outs + p, to, 32);                                                  \
        }                                                                                                       \
    }
#define BOTH_PANELS(name)                                                                                       \
    if (outputs - begin >= 32) {                                                                                \
        name(a, plan, w, rows, outs, positions, taps, depth, (size_t)g * depth, (size_t)g * outputs + begin, at); \
        w += (size_t)taps * ((depth + 3) / 4) * 4 * 32;                                                         \
        at += 32;                                                                                               \
        begin += 32;                                                                                            \
        continue;                                                                                               \
    }
#else
#define BOTH_PANELS(name)
#endif

#define CONV_OF(name, two, panel_16, panel_8, panel_4)                                                          \
    static void name(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,       \
                     uint32_t positions)                                                                        \
    {                                                                                                           \
        uint32_t taps = a->taps_t * a->taps_f, groups = a->groups;                                              \
        uint32_t depth = groups == 1 ? a->channels : a->channels / groups;                                      \
        uint32_t outputs = groups == 1 ? a->outputs : a->outputs / groups, g, begin, at = 0;                    \
        const int8_t *w = (const int8_t *)(plan + a->weights_at);                                               \
        for (g = 0; g < groups; g++) {                                                                          \
            for (begin = 0; begin < outputs;) {                                                                 \
                two                                                                                             \
                uint32_t width = panel_width(outputs - begin), n = outputs - begin < width ? outputs - begin : width; \
                size_t from = (size_t)g * depth, to = (size_t)g * outputs + begin;                              \
                if (width == 16)                                                                                \
                    panel_16(a, plan, w, rows, outs, positions, taps, depth, from, to, at, n);                  \
                else if (width == 8)                                                                            \
                    panel_8(a, plan, w, rows, outs, positions, taps, depth, from, to, at, n);                   \
                else                                                                                            \
                    panel_4(a, plan, w, rows, outs, positions, taps, depth, from, to, at, n);                   \
                w += (size_t)taps * ((depth + 3) / 4) * 4 * width;                                              \
                at += width;                                                                                    \
                begin += width;                                                                                 \
            }                                                                                                   \
        }                                                                                                       \
    }
