/* dsp_i8.h - int8 and int16 on a Cortex-M with the DSP extension and no Helium (M4, M7, M33).
 *
 * In C gcc splits a widening with rotation into two instructions and a rounding shift into five, so these are spelt. */

INLINE uint32_t even_bytes(uint32_t four)
{
    uint32_t two;
    __asm("sxtb16 %0, %1" : "=r"(two) : "r"(four));
    return two;
}

INLINE uint32_t odd_bytes(uint32_t four)
{
    uint32_t two;
    __asm("sxtb16 %0, %1, ror #8" : "=r"(two) : "r"(four));
    return two;
}

/* high_mul of x / 2, if that is below 2^30: the product of 64 bits has its half bit where smmulr rounds. */
INLINE int32_t high_mul_of_twice(int32_t twice_x, int32_t multiplier)
{
    int32_t high;
    __asm("smmulr %0, %1, %2" : "=r"(high) : "r"(twice_x), "r"(multiplier));
    return high;
}

/* shift_right(x, places) + more for 1 <= places <= 31: the last bit that a shift drops is its carry, and where x is
 * negative a half must go down. */
INLINE int32_t shifted_and(int32_t x, int32_t places, int32_t more)
{
    __asm("add %0, %0, %0, asr #31\n\tasrs %0, %0, %1\n\tadc %0, %0, %2" : "+&r"(x) : "r"(places), "r"(more) : "cc");
    return x;
}

INLINE int32_t within_int8(int32_t x)
{
    __asm("ssat %0, #8, %0" : "+r"(x));
    return x;
}

/* Sums of n values, int8 or int16 by `left`; an operand whose own scale is that of the sum (times 2) is only shifted, `both`
 * where both are. */
INLINE void sum_loop(const binary_args *a, int own, const void *xs, const void *ys, void *outs, uint32_t n, int left, int both, int clip)
{
    int other = 1 - own, half = left - 1, wide = left == LEFT_OF_INT16; /* a multiplier of a half is a place less */
    int32_t multiplier = a->multiplier[other], places = -a->shift[other], multiplier_out = a->multiplier_out, places_out = -a->shift_out;
    int32_t zero_x = left32(sub32(0, a->zero[own]), half), zero_y = left32(a->zero[other], both ? half : left + 1), zero_out = a->zero_out;
    int32_t low = a->low, high = a->high;
    uint32_t i;
    for (i = 0; i < n; i++) {
        int32_t p = wide ? ((const int16_t *)xs)[i] : ((const int8_t *)xs)[i], q = wide ? ((const int16_t *)ys)[i] : ((const int8_t *)ys)[i], r;
        if (both)
            q = add32(sub32(left32(q, half), zero_y), zero_x);
        else
            q = shifted_and(high_mul_of_twice(sub32(left32(q, left + 1), zero_y), multiplier), places, zero_x);
        r = add32(q, left32(p, half));
        r = shifted_and(high_mul_of_twice(left32(r, 1), multiplier_out), places_out, zero_out);
        r = clip ? clip32(r, low, high) : within_int8(r);
        if (wide)
            ((int16_t *)outs)[i] = (int16_t)r;
        else
            ((int8_t *)outs)[i] = (int8_t)r;
    }
}

static void dsp_binary_i8(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    int own = is_own_scale(a, 0) ? 0 : 1;
    if (!is_short_sum(a, op, own, LEFT_OF_INT8))
        tcn_plain_binary_i8(a, op, x, y, out, n);
    else if (is_own_scale(a, 1 - own))
        sum_loop(a, own, own ? y : x, own ? x : y, out, n, LEFT_OF_INT8, 1, 1);
    else if (a->low > -128 || a->high < 127)
        sum_loop(a, own, own ? y : x, own ? x : y, out, n, LEFT_OF_INT8, 0, 1);
    else
        sum_loop(a, own, own ? y : x, own ? x : y, out, n, LEFT_OF_INT8, 0, 0);
}

static void dsp_binary_i16(const binary_args *a, int op, const int16_t *x, const int16_t *y, int16_t *out, uint32_t n)
{
    int own = is_own_scale(a, 0) ? 0 : 1;
    if (!is_short_sum(a, op, own, LEFT_OF_INT16))
        tcn_plain_binary_i16(a, op, x, y, out, n);
    else if (is_own_scale(a, 1 - own))
        sum_loop(a, own, own ? y : x, own ? x : y, out, n, LEFT_OF_INT16, 1, 1);
    else
        sum_loop(a, own, own ? y : x, own ? x : y, out, n, LEFT_OF_INT16, 0, 1);
}

INLINE int32_t with_low(uint32_t x, uint32_t w, int32_t sum)
{
    __asm("smlabb %0, %1, %2, %0" : "+r"(sum) : "r"(x), "r"(w));
    return sum;
}

INLINE int32_t with_high(uint32_t x, uint32_t w, int32_t sum)
{
    __asm("smlatt %0, %1, %2, %0" : "+r"(sum) : "r"(x), "r"(w));
    return sum;
}

/* How sums become outputs: the arrays of a convolution in fours, and what all outputs share. */
typedef struct {
    const int32_t *bias, *multiplier;
    const int8_t *places;
    int32_t zero, low, high;
} finishing;

INLINE finishing finishing_of(const fours_args *a, const uint8_t *plan)
{
    const tcn_columns columns = tcn_columns_of(a, plan, (a->outputs + 3) & ~3u);
    return (finishing){columns.bias, columns.multiplier, columns.shift, a->zero_out, a->low, a->high};
}

INLINE int8_t finished(int32_t sum, int32_t multiplier, int32_t places, const finishing *f, int clip)
{
    int32_t y = shifted_and(high_mul_of_twice(left32(sum, 1), multiplier), places, f->zero);
    return (int8_t)(clip ? clip32(y, f->low, f->high) : within_int8(y));
}

/* Four bytes of a window as two times two of 16 bits, the even ones first; the window is (taps, channels), and its fours
 * are `apart` words from each other. */
static void widen_window(const void *const *rows, uint32_t taps, uint32_t channels, uint32_t *to, uint32_t apart)
{
    uint32_t k, c;
    if (channels % 4 == 0) {
        for (k = 0; k < taps; k++) {
            const int8_t *x = (const int8_t *)rows[k], *end = x + channels;
            for (; x < end; x += 4, to += apart) {
                uint32_t four = four_int8(x);
                to[0] = even_bytes(four);
                to[1] = odd_bytes(four);
            }
        }
    } else {
        int16_t *at = (int16_t *)(void *)to;
        uint32_t i = 0;
        for (k = 0; k < taps; k++)
            for (c = 0; c < channels; c++, i++)
                at[(i >> 2) * 2 * apart + ((i & 1) << 1) + (i >> 1 & 1)] = ((const int8_t *)rows[k])[c];
        for (; i % 4; i++)
            at[(i >> 2) * 2 * apart + ((i & 1) << 1) + (i >> 1 & 1)] = 0;
    }
}

/* The same of int16, which need no widening. */
static void gather_wide_window(const void *const *rows, uint32_t taps, uint32_t channels, uint32_t *to, uint32_t apart)
{
    int16_t *at = (int16_t *)(void *)to;
    uint32_t k, c, i = 0;
    for (k = 0; k < taps; k++) {
        const int16_t *x = (const int16_t *)rows[k];
        if (channels % 4 == 0)
            for (c = 0; c < channels; c += 4, x += 4, to += apart) {
                uint64_t four = four_int16(x);
                uint32_t first = (uint32_t)four, second = (uint32_t)(four >> 32);
                to[0] = (first & 0xFFFFu) | second << 16;
                to[1] = first >> 16 | (second & 0xFFFF0000u);
            }
        else
            for (c = 0; c < channels; c++, i++)
                at[(i >> 2) * 2 * apart + ((i & 1) << 1) + (i >> 1 & 1)] = x[c];
    }
    for (; i % 4; i++)
        at[(i >> 2) * 2 * apart + ((i & 1) << 1) + (i >> 1 & 1)] = 0;
}

/* Sums of four outputs of one position: x are widened fours up to `end`, w the weights of the four outputs for each. */
INLINE const uint32_t *four_sums(const uint32_t *x, const uint32_t *end, const uint32_t *w, int32_t *sum)
{
    int32_t a = sum[0], b = sum[1], c = sum[2], d = sum[3];
    uint32_t even, odd, v, u, t;
    __asm volatile("0:\tldrd %6, %7, [%0], #8\n"
                   "\tldrd %8, %9, [%1], #16\n"
                   "\tsxtb16 %10, %8\n"
                   "\tsxtb16 %8, %8, ror #8\n"
                   "\tsmlad %2, %10, %6, %2\n"
                   "\tsmlad %2, %8, %7, %2\n"
                   "\tsxtb16 %10, %9\n"
                   "\tsxtb16 %9, %9, ror #8\n"
                   "\tsmlad %3, %10, %6, %3\n"
                   "\tsmlad %3, %9, %7, %3\n"
                   "\tldrd %8, %9, [%1, #-8]\n"
                   "\tsxtb16 %10, %8\n"
                   "\tsxtb16 %8, %8, ror #8\n"
                   "\tsmlad %4, %10, %6, %4\n"
                   "\tsmlad %4, %8, %7, %4\n"
                   "\tsxtb16 %10, %9\n"
                   "\tsxtb16 %9, %9, ror #8\n"
                   "\tsmlad %5, %10, %6, %5\n"
                   "\tsmlad %5, %9, %7, %5\n"
                   "\tcmp %0, %11\n"
                   "\tbne 0b"
                   : "+&r"(x), "+&r"(w), "+&r"(a), "+&r"(b), "+&r"(c), "+&r"(d), "=&r"(even), "=&r"(odd), "=&r"(v), "=&r"(u), "=&r"(t)
                   : "r"(end)
                   : "cc", "memory");
    sum[0] = a, sum[1] = b, sum[2] = c, sum[3] = d;
    return w;
}

/* Sums of two outputs of two positions, whose fours stand in turn; so each weight is widened once for both. */
INLINE void two_sums_of_two(const uint32_t *x, const uint32_t *end, const uint32_t *w, int32_t *sum)
{
    int32_t a = sum[0], b = sum[1], c = a, d = b;
    uint32_t even, odd, next_even, next_odd, v, t;
    __asm volatile("0:\tldrd %6, %7, [%0], #16\n"
                   "\tldrd %8, %9, [%0, #-8]\n"
                   "\tldr %10, [%1], #4\n"
                   "\tsxtb16 %11, %10\n"
                   "\tsxtb16 %10, %10, ror #8\n"
                   "\tsmlad %2, %11, %6, %2\n"
                   "\tsmlad %4, %11, %8, %4\n"
                   "\tsmlad %2, %10, %7, %2\n"
                   "\tsmlad %4, %10, %9, %4\n"
                   "\tldr %10, [%1], #12\n"
                   "\tsxtb16 %11, %10\n"
                   "\tsxtb16 %10, %10, ror #8\n"
                   "\tsmlad %3, %11, %6, %3\n"
                   "\tsmlad %5, %11, %8, %5\n"
                   "\tsmlad %3, %10, %7, %3\n"
                   "\tsmlad %5, %10, %9, %5\n"
                   "\tcmp %0, %12\n"
                   "\tbne 0b"
                   : "+&r"(x), "+&r"(w), "+&r"(a), "+&r"(b), "+&r"(c), "+&r"(d), "=&r"(even), "=&r"(odd), "=&r"(next_even),
                     "=&r"(next_odd), "=&r"(v), "=&r"(t)
                   : "r"(end)
                   : "cc", "memory");
    sum[0] = a, sum[1] = b, sum[2] = c, sum[3] = d;
}

INLINE void conv_one(const uint32_t *window, uint32_t blocks, const uint32_t *w, const finishing *f, uint32_t outputs, int8_t *out, int clip)
{
    const int32_t *bias = f->bias, *multiplier = f->multiplier;
    const int8_t *places = f->places, *end = out + outputs;
    for (; out < end; out += 4, bias += 4, multiplier += 4, places += 4) {
        int32_t sum[4] = {bias[0], bias[1], bias[2], bias[3]};
        int8_t y[3];
        w = four_sums(window, window + 2 * blocks, w, sum);
        out[0] = finished(sum[0], multiplier[0], places[0], f, clip);
        y[0] = finished(sum[1], multiplier[1], places[1], f, clip);
        y[1] = finished(sum[2], multiplier[2], places[2], f, clip);
        y[2] = finished(sum[3], multiplier[3], places[3], f, clip);
        if (out + 4 <= end) {
            out[1] = y[0];
            out[2] = y[1];
            out[3] = y[2];
            continue;
        }
        if (out + 1 < end)
            out[1] = y[0];
        if (out + 2 < end)
            out[2] = y[1];
    }
}

INLINE void conv_two(const uint32_t *window, uint32_t blocks, const uint32_t *w, const finishing *f, uint32_t outputs, int8_t *out,
                     int8_t *next, int clip)
{
    const int32_t *bias = f->bias, *multiplier = f->multiplier;
    const int8_t *places = f->places, *end = out + outputs;
    uint32_t from = 2; /* words that the other two of the four outputs are away */
    for (; out < end; out += 2, next += 2, bias += 2, multiplier += 2, places += 2) {
        int32_t sum[4] = {bias[0], bias[1]};
        two_sums_of_two(window, window + 4 * blocks, w, sum);
        w += from;
        from = 4 * blocks - from;
        out[0] = finished(sum[0], multiplier[0], places[0], f, clip);
        next[0] = finished(sum[2], multiplier[0], places[0], f, clip);
        if (out + 1 < end) {
            out[1] = finished(sum[1], multiplier[1], places[1], f, clip);
            next[1] = finished(sum[3], multiplier[1], places[1], f, clip);
        }
    }
}

INLINE void conv_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                       uint32_t *window, int clip)
{
    uint32_t taps = a->taps, channels = a->channels, blocks = (taps * channels + 3) / 4, p = 0;
    const uint32_t *w = tcn_fours_weights(a, plan, (a->outputs + 3) & ~3u);
    const finishing f = finishing_of(a, plan);
    for (; p + 2 <= positions; p += 2, rows += 2 * taps) {
        widen_window(rows, taps, channels, window, 4);
        widen_window(rows + taps, taps, channels, window + 2, 4);
        conv_two(window, blocks, w, &f, a->outputs, outs[p], outs[p + 1], clip);
    }
    if (p < positions) {
        widen_window(rows, taps, channels, window, 2);
        conv_one(window, blocks, w, &f, a->outputs, outs[p], clip);
    }
}

/* The upper half of the product, rounded, is what the writer of the plan has shifted the multiplier for. */
INLINE void finish_wide(int32_t sum, int32_t multiplier, const finishing *f, int16_t *out)
{
    *out = (int16_t)clip32(add32(high_mul_of_twice(sum, multiplier), f->zero), f->low, f->high);
}

static void conv_one_wide(const uint32_t *window, uint32_t blocks, const uint32_t *w, const finishing *f, uint32_t outputs, int16_t *out)
{
    uint32_t o, i;
    for (o = 0; o < outputs; o += 4) {
        int32_t sum[4] = {f->bias[o], f->bias[o + 1], f->bias[o + 2], f->bias[o + 3]};
        w = four_sums(window, window + 2 * blocks, w, sum);
        for (i = 0; i < 4 && o + i < outputs; i++)
            finish_wide(sum[i], f->multiplier[o + i], f, out + o + i);
    }
}

static void conv_two_wide(const uint32_t *window, uint32_t blocks, const uint32_t *w, const finishing *f, uint32_t outputs, int16_t *out,
                          int16_t *next)
{
    uint32_t o, from = 2; /* words that the other two of the four outputs are away */
    for (o = 0; o < outputs; o += 2) {
        int32_t sum[4] = {f->bias[o], f->bias[o + 1]};
        two_sums_of_two(window, window + 4 * blocks, w, sum);
        w += from;
        from = 4 * blocks - from;
        finish_wide(sum[0], f->multiplier[o], f, out + o);
        finish_wide(sum[2], f->multiplier[o], f, next + o);
        if (o + 1 < outputs) {
            finish_wide(sum[1], f->multiplier[o + 1], f, out + o + 1);
            finish_wide(sum[3], f->multiplier[o + 1], f, next + o + 1);
        }
    }
}

static void conv_i16_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                           void *window)
{
    uint32_t taps = a->taps, channels = a->channels, blocks = (taps * channels + 3) / 4, p = 0, *to = window;
    const uint32_t *w = tcn_fours_weights(a, plan, (a->outputs + 3) & ~3u);
    const finishing f = finishing_of(a, plan);
    for (; p + 2 <= positions; p += 2, rows += 2 * taps) {
        gather_wide_window(rows, taps, channels, to, 4);
        gather_wide_window(rows + taps, taps, channels, to + 2, 4);
        conv_two_wide(to, blocks, w, &f, a->outputs, outs[p], outs[p + 1]);
    }
    if (p < positions) {
        gather_wide_window(rows, taps, channels, to, 2);
        conv_one_wide(to, blocks, w, &f, a->outputs, outs[p]);
    }
}

/* Four channels of one position; `n` of them are there. */
INLINE void depthwise_part(const void *const *rows, uint32_t taps, uint32_t c, uint32_t n, const uint32_t *w, const finishing *f, int8_t *out,
                           int clip)
{
    const void *const *end = rows + taps;
    int32_t p = f->bias[c], q = f->bias[c + 1], r = f->bias[c + 2], s = f->bias[c + 3];
    for (; rows < end; rows++, w++) {
        const int8_t *at = (const int8_t *)*rows + c;
        uint32_t x = n < 4 ? some_int8(at, n) : four_int8(at), v = *w, x_even = even_bytes(x), v_even = even_bytes(v);
        x = odd_bytes(x);
        v = odd_bytes(v);
        p = with_low(x_even, v_even, p);
        q = with_low(x, v, q);
        r = with_high(x_even, v_even, r);
        s = with_high(x, v, s);
    }
    out[c] = finished(p, f->multiplier[c], f->places[c], f, clip);
    if (n > 1)
        out[c + 1] = finished(q, f->multiplier[c + 1], f->places[c + 1], f, clip);
    if (n > 2)
        out[c + 2] = finished(r, f->multiplier[c + 2], f->places[c + 2], f, clip);
    if (n > 3)
        out[c + 3] = finished(s, f->multiplier[c + 3], f->places[c + 3], f, clip);
}

static __attribute__((noinline)) void depthwise_rest(const void *const *rows, uint32_t taps, uint32_t c, uint32_t n, const uint32_t *w,
                                                     const finishing *f, int8_t *out)
{
    depthwise_part(rows, taps, c, n, w, f, out, 1);
}

INLINE void depthwise_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                            int clip)
{
    uint32_t taps = a->taps, channels = a->channels, p, c;
    const finishing f = finishing_of(a, plan);
    const uint32_t *weights = tcn_fours_weights(a, plan, (a->outputs + 3) & ~3u);
    for (p = 0; p < positions; p++, rows += taps) {
        const uint32_t *w = weights;
        for (c = 0; c + 4 <= channels; c += 4, w += taps)
            depthwise_part(rows, taps, c, 4, w, &f, outs[p], clip);
        if (c < channels)
            depthwise_rest(rows, taps, c, channels - c, w, &f, outs[p]);
    }
}

static void conv_i8_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                          void *window)
{
    if (a->low > -128 || a->high < 127)
        conv_fours(a, plan, rows, outs, positions, window, 1);
    else
        conv_fours(a, plan, rows, outs, positions, window, 0);
}

static void depthwise_i8_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions,
                               void *window)
{
    (void)window;
    if (a->low > -128 || a->high < 127)
        depthwise_fours(a, plan, rows, outs, positions, 1);
    else
        depthwise_fours(a, plan, rows, outs, positions, 0);
}
