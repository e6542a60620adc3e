/* dsp_i8.h - int8 on a Cortex-M with the DSP extension and no Helium (M4, M7, M33).
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

/* Sums of values on one scale; an operand whose own scale is that one (times 2) is only shifted. */
INLINE void sum_loop(const binary_args *a, int own, int other, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n, int both,
                     int clip)
{
    enum { OWN = 19 }; /* of the 20 bits to the left, and the half that is its multiplier */
    int32_t multiplier = a->multiplier[other], places = -a->shift[other], multiplier_out = a->multiplier_out, places_out = -a->shift_out;
    int32_t zero_x = left32(sub32(0, a->zero[own]), OWN), zero_y = left32(a->zero[other], both ? OWN : 21), zero_out = a->zero_out;
    int32_t low = a->low, high = a->high;
    const int8_t *end = x + n;
    while (x < end) {
        int32_t p = *x++, q = *y++, r;
        if (both)
            q = add32(sub32(left32(q, OWN), zero_y), zero_x);
        else
            q = shifted_and(high_mul_of_twice(sub32(left32(q, 21), zero_y), multiplier), places, zero_x);
        r = add32(q, left32(p, OWN));
        r = shifted_and(high_mul_of_twice(left32(r, 1), multiplier_out), places_out, zero_out);
        *out++ = (int8_t)(clip ? clip32(r, low, high) : within_int8(r));
    }
}

static void binary_i8(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    int own = is_own_scale(a, 0) ? 0 : 1, other = 1 - own;
    if (!is_short_sum(a, op, own)) {
        tcn_plain_binary_i8(a, op, x, y, out, n);
        return;
    }
    if (own) {
        const int8_t *swap = x;
        x = y;
        y = swap;
    }
    if (is_own_scale(a, other))
        sum_loop(a, own, other, x, y, out, n, 1, 1);
    else if (a->low > -128 || a->high < 127)
        sum_loop(a, own, other, x, y, out, n, 0, 1);
    else
        sum_loop(a, own, other, x, y, out, n, 0, 0);
}
