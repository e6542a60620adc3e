/* float.h - float32 kernels on vectors of LANES values, compiled once per instruction set: the vectors, then
 * float_conv.h, float_winograd.h, float_depthwise.h and float_binary.h on them.
 *
 * The including file sets LANES (4, 8 or 16) and TILE_16 and TILE (positions at a time, for panels of 16 outputs and
 * for narrower ones), or NO_CONV_F32 where it has convolutions of its own. Vectors are those of GCC and Clang, so the
 * same source serves SSE2, AVX2, AVX-512 and NEON.
 *
 * Outputs lie along the vector, so every sum adds one product after the other in the order of the reference
 * kernels' loops, however many positions are computed at a time. Compiled without contraction to fused
 * multiply-adds, float results are the reference's own bits, whatever the chunks; fusing is faster and 3e-5 away where
 * terms cancel, three times what the contract allows. Who sets FUSED (and FUSED_v4, ... to multiply and add) asks for that. */

typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t i4 __attribute__((vector_size(16)));
#if LANES >= 8
typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t i8v __attribute__((vector_size(32)));
#endif
#if LANES >= 16
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t i16v __attribute__((vector_size(64)));
#endif

/* + and * of vectors, for targets where they must be spelt another way */
#ifndef VECTOR_ADD
#define VECTOR_ADD(x, y) ((x) + (y))
#define VECTOR_SUB(x, y) ((x) - (y))
#define VECTOR_MUL(x, y) ((x) * (y))
#define VECTOR_TIMES(x, scalar) ((x) * (scalar))
#endif

/* sum + x * y and sum + x * scalar */
#ifdef FUSED
#define ADD_PRODUCT(V, sum, x, y) FUSED_##V(x, y, sum)
#define ADD_TIMES(V, sum, x, scalar) FUSED_##V(x, (scalar) - (V){0}, sum)
#else
#define ADD_PRODUCT(V, sum, x, y) VECTOR_ADD(sum, VECTOR_MUL(x, y))
#define ADD_TIMES(V, sum, x, scalar) VECTOR_ADD(sum, VECTOR_TIMES(x, scalar))
#endif

static inline float clip_one(float y, float low, float high)
{
    y = y < low ? low : y;
    return y > high ? high : y;
}

#define UNROLL _Pragma("GCC unroll 16")
/* Where registers are few, GCC keeps sums in memory once this is unrolled. */
#ifndef UNROLL_ROW
#define UNROLL_ROW
#endif
/* One position has few sums. */
#define UNROLL_ALONE _Pragma("GCC unroll 4")

/* As std::min(std::max(y, low), high), with NaN kept: where a comparison fails, y stays. */
#ifndef CLIP_v4
#define CLIP_OF(V, I)                                                                             \
    static inline __attribute__((always_inline)) V CLIP_##V(V y, float low, float high)           \
    {                                                                                             \
        V least = low - (V){0}, most = high - (V){0};                                             \
        I below = (I)(y < least), above;                                                          \
        y = (V)(((I)least & below) | ((I)y & ~below));                                            \
        above = (I)(y > most);                                                                    \
        return (V)(((I)most & above) | ((I)y & ~above));                                          \
    }
CLIP_OF(v4, i4)
#if LANES >= 8
CLIP_OF(v8, i8v)
#endif
#if LANES >= 16
CLIP_OF(v16, i16v)
#endif
#endif

/* The same of a sum and its bias: no sum that begins with 0 becomes -0. */
#ifndef CLIP_SUM
#define CLIP_SUM(V, y, low, high) CLIP_##V(y, low, high)
#endif

/* Where the rows of a window stand: `across` from position to position, `down` from tap to tap. */
#ifdef TCN_HAS_SLIDING
typedef struct {
    size_t across, down;
} row_steps;
#define STEPS_PARAMETER , row_steps steps
#define STEPS_ARGUMENT , steps
#define STEPS_ALONE , (row_steps){0, 1}
#define ROW_OF(t, k) ((t) * steps.across + (k) * steps.down)
#else
#define STEPS_PARAMETER
#define STEPS_ARGUMENT
#define STEPS_ALONE
#define ROW_OF(t, k) ((t) * taps + (k))
#endif

#ifndef NO_CONV_F32
#include "float_conv.h"
#if defined(FUSED) && !defined(ADD_LANE) /* four channels at once save as much as fewer products do */
#include "float_winograd.h"
#endif
#endif
#include "float_depthwise.h"
#ifndef FUSED
#include "float_binary.h"
#endif
