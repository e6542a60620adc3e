/* integer.h - int8 and int16 kernels, compiled once per instruction set, the one source of their shapes: how four values are
 * read, then integer_panels.h, integer_rescale.h, integer_conv.h and, on vectors, integer_depthwise.h and integer_binary.h.
 *
 * The including file says how sums are kept and how four products per output are added to them:
 *
 *   INT8_PREFIXES, `int16`  for panels of 16, 8 and 4 outputs (none where int8 has convolutions of its own), and for int16,
 *                     a prefix P with
 *     P_sums            the sums of P_outputs outputs (how many partial sums each has is its own business)
 *     P_four            four activations of one position, as the instructions want them
 *     P_spread(bits)    from the four activations' bytes; P_at(x) from where they stand
 *     P_none()          sums of nothing
 *     P_add(s, w, four) s and the products with (P_outputs, 4) weights
 *     P_store(s, to)    the sums as int32
 *   INT8_AT_ONCE_W, INT8_TILE_W   sums of a panel that are kept at once, for so many positions at once
 *   BIAS_I8             the bias that fits what P_spread does to activations: bias_at or bias_u8_at
 *
 * and, where it has vectors of int32 (NUMBERS of them):
 *
 *   numbers             the vector
 *   widened, narrowed   from int8 and back (values in range)
 *   scaling, scaling_of, rescaled   multiply_twice of every value; the scaling serves many of them
 *   pairs, pair_of, with_products   two rows of bytes side by side, and their products with two of weights
 *   product, shifted_left, added, minus, clipped, same, loaded
 *   narrowed and some_narrowed saturate, so that only limits within int8 need clipped
 *   repeated_8, repeated_4   where NUMBERS is more: 8 or 4 values, again and again
 *   some_loaded, some_widened, some_pair_of, some_narrowed   of the first n < NUMBERS
 *   settled_scaling, settled_scaling_of, settled   (HAS_SETTLED) the arithmetic of settled.h
 *
 * IN_ORDER: the processor waits for each result anyway, so one sum at a time is best; and its stack is small.
 *
 * All sums are of integers, so the order in which instruction sets add them does not show. */

#define UNROLL_INT _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))

#define WORDS(plan, at) ((const int32_t *)(const void *)((plan) + (at)))
#define LONGS(plan, at) ((const int64_t *)(const void *)((plan) + (at)))

INLINE uint32_t four_int8(const int8_t *x)
{
    uint32_t bits;
    memcpy(&bits, x, 4);
    return bits;
}

/* The first n < 4, and zeros behind them. */
INLINE uint32_t some_int8(const int8_t *x, uint32_t n)
{
    uint32_t bits = (uint8_t)x[0];
    if (n > 1)
        bits |= (uint32_t)(uint8_t)x[1] << 8;
    if (n > 2)
        bits |= (uint32_t)(uint8_t)x[2] << 16;
    return bits;
}

INLINE uint64_t four_int16(const int16_t *x)
{
    uint64_t bits;
    memcpy(&bits, x, 8);
    return bits;
}

INLINE uint64_t some_int16(const int16_t *x, uint32_t n)
{
    uint64_t bits = (uint16_t)x[0];
    if (n > 1)
        bits |= (uint64_t)(uint16_t)x[1] << 16;
    if (n > 2)
        bits |= (uint64_t)(uint16_t)x[2] << 32;
    return bits;
}

#define int8_4_at(x) int8_4_spread(four_int8(x))
#define int16_at(x) int16_spread(four_int16(x))

#include "integer_panels.h"
#include "integer_rescale.h"
#include "integer_conv.h"
#ifdef NUMBERS
#include "integer_depthwise.h"
#include "integer_binary.h"
#endif
