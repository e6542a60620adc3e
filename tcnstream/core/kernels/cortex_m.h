/* cortex_m.h - Cortex-M with Helium (M55, M85) or with the DSP extension alone (M4, M7, M33). */
#include "bytes.h"

#include "fixed.h"

#define I static inline __attribute__((always_inline))

enum { int8_4_outputs = 4, int16_outputs = 4 };

#if defined(__ARM_FEATURE_MVE)

/* Helium, eight registers of four words */
#include <arm_mve.h>

#if __ARM_FEATURE_MVE & 2
#define LANES 4
#define TILE 2
#define VECTOR_ADD(x, y) ((v4)vaddq_f32((float32x4_t)(x), (float32x4_t)(y)))
#define VECTOR_SUB(x, y) ((v4)vsubq_f32((float32x4_t)(x), (float32x4_t)(y)))
#define VECTOR_MUL(x, y) ((v4)vmulq_f32((float32x4_t)(x), (float32x4_t)(y)))
#define VECTOR_TIMES(x, scalar) ((v4)vmulq_n_f32((float32x4_t)(x), scalar))
#define CLIP_v4(y, low, high) ((v4)helium_clip((float32x4_t)(y), vdupq_n_f32(low), vdupq_n_f32(high)))
I float32x4_t helium_clip(float32x4_t y, float32x4_t low, float32x4_t high)
{
    /* Of a NaN "less" is true here, as the opposite of "greater or equal"; the predicates are gcc's, which must find them. */
    uint32_t before;
    __asm("vmrs %1, p0\n\tvpt.f32 gt, %q2, %q0\n\tvorrt %q0, %q2, %q2\n\tvpt.f32 gt, %q0, %q3\n\tvorrt %q0, %q3, %q3\n\tvmsr p0, %1"
          : "+&w"(y), "=&r"(before) : "w"(low), "w"(high));
    return y;
}
#define NO_CONV_F32
#include "float.h"
#define FPU_F32
#define CONV_F32 fpu_conv_f32
#define DEPTHWISE_F32 depthwise_f32
#define BINARY_F32 binary_f32
#endif

typedef int32x4_t int8_4_sums, int16_sums;
typedef struct { int16_t x[4]; } int8_4_four, int16_four;
I int8_4_four int8_4_spread(uint32_t bits)
{
    return (int8_4_four){{(int8_t)bits, (int8_t)(bits >> 8), (int8_t)(bits >> 16), (int8_t)(bits >> 24)}};
}
I int16_four int16_spread(uint64_t bits)
{
    return (int16_four){{(int16_t)bits, (int16_t)(bits >> 16), (int16_t)(bits >> 32), (int16_t)(bits >> 48)}};
}
I int8_4_sums int8_4_none(void) { return vdupq_n_s32(0); }
I int8_4_sums int8_4_add(int8_4_sums s, const int8_t *w, int8_4_four x)
{
    /* bytes 0 and 2 of each output, then 1 and 3, as 16 bits; each half of those times its activation */
    int8x16_t all = vldrbq_s8(w);
    int16x8_t even = vmovlbq_s8(all), odd = vmovltq_s8(all);
    s = vaddq_s32(s, vmullbq_int_s16(even, vdupq_n_s16(x.x[0])));
    s = vaddq_s32(s, vmullbq_int_s16(odd, vdupq_n_s16(x.x[1])));
    s = vaddq_s32(s, vmulltq_int_s16(even, vdupq_n_s16(x.x[2])));
    return vaddq_s32(s, vmulltq_int_s16(odd, vdupq_n_s16(x.x[3])));
}
I void int8_4_store(int8_4_sums s, int32_t *to) { vstrwq_s32(to, s); }

typedef int32x4_t numbers;
#define NUMBERS 4
I numbers loaded(const int32_t *p) { return vldrwq_s32(p); }
I numbers same(int32_t v) { return vdupq_n_s32(v); }
I numbers widened(const int8_t *p) { return vldrbq_s32(p); }
I numbers added(numbers x, numbers y) { return vaddq_s32(x, y); }
I numbers minus(numbers x, numbers y) { return vsubq_s32(x, y); }
I numbers product(numbers x, numbers y) { return vmulq_s32(x, y); }
I numbers shifted_left(numbers x, int places) { return vshlq_r_s32(x, places); }
typedef struct { numbers multiplier, left, right; } scaling;
I scaling scaling_of(numbers multiplier, numbers shift)
{
    return (scaling){multiplier, vmaxq_s32(shift, vdupq_n_s32(0)), vminq_s32(shift, vdupq_n_s32(0))};
}
I numbers rescaled(numbers x, scaling s)
{
    /* vrshl rounds halves up; those of negative values go away from zero instead */
    numbers high = vqrdmulhq_s32(vshlq_s32(x, s.left), s.multiplier);
    return vrshlq_s32(vqaddq_s32(high, vshrq_n_s32(vandq_s32(high, s.right), 31)), s.right);
}
I numbers clipped(numbers x, numbers low, numbers high) { return vminq_s32(vmaxq_s32(x, low), high); }
I numbers to_int8(numbers x) { return clipped(x, vdupq_n_s32(-128), vdupq_n_s32(127)); }
I void narrowed(int8_t *to, numbers x) { vstrbq_s32(to, to_int8(x)); }
typedef struct { numbers x, y; } pairs;
I pairs pair_of(const int8_t *x, const int8_t *y) { return (pairs){widened(x), widened(y)}; }
I numbers with_products(numbers sum, pairs x, pairs w) { return added(added(sum, product(x.x, w.x)), product(x.y, w.y)); }
I numbers some_loaded(const int32_t *p, uint32_t n) { return vldrwq_z_s32(p, vctp32q(n)); }
I pairs some_pair_of(const int8_t *x, const int8_t *y, uint32_t n)
{
    return (pairs){vldrbq_z_s32(x, vctp32q(n)), vldrbq_z_s32(y, vctp32q(n))};
}
I void some_narrowed(int8_t *to, numbers x, uint32_t n) { vstrbq_p_s32(to, to_int8(x), vctp32q(n)); }
#define INT8_AT_ONCE_16 2
#define INT8_AT_ONCE_8 2
#define INT16_AT_ONCE_16 2
#define INT16_AT_ONCE_8 2
#define DEPTHWISE_I8 depthwise_i8
#define BINARY_I8 helium_binary_i8
#define BINARY_I16 helium_binary_i16

#else

/* The DSP extension multiplies two pairs of 16 bits at once: bytes are widened two by two. */
#include <arm_acle.h>

typedef struct { int32_t o[4]; } int8_4_sums, int16_sums;
typedef struct { int16x2_t even, odd; } int8_4_four, int16_four;

I int8_4_four int8_4_spread(uint32_t bits)
{
    return (int8_4_four){__sxtb16(bits), __sxtb16(bits >> 8 | bits << 24)};
}
I int16_four int16_spread(uint64_t bits)
{
    uint32_t low = (uint32_t)bits, high = (uint32_t)(bits >> 32);
    return (int16_four){(int16x2_t)((low & 0xFFFFu) | high << 16), (int16x2_t)(low >> 16 | (high & 0xFFFF0000u))};
}
I int8_4_sums int8_4_none(void) { return (int8_4_sums){{0, 0, 0, 0}}; }
I int8_4_sums int8_4_add(int8_4_sums s, const int8_t *w, int8_4_four x)
{
    uint32_t v;
    _Pragma("GCC unroll 4") for (v = 0; v < 4; v++) {
        uint32_t bits;
        memcpy(&bits, __builtin_assume_aligned(w + 4 * v, 4), 4);
        s.o[v] = __smlad(__sxtb16(bits), x.even, s.o[v]);
        s.o[v] = __smlad(__sxtb16(bits >> 8 | bits << 24), x.odd, s.o[v]);
    }
    return s;
}
I void int8_4_store(int8_4_sums s, int32_t *to) { memcpy(to, s.o, sizeof s.o); }

#define INT8_AT_ONCE_16 1
#define INT8_AT_ONCE_8 1
#define INT16_AT_ONCE_16 1
#define INT16_AT_ONCE_8 1
#define DEPTHWISE_I8 tcn_plain_depthwise_i8
#define BINARY_I8 dsp_binary_i8
#define BINARY_I16 dsp_binary_i16

#endif

#if !defined(CONV_F32) && defined(__ARM_FP) && (__ARM_FP & 4)
#define FPU_F32
#define CONV_F32 fpu_conv_f32
#define DEPTHWISE_F32 fpu_depthwise_f32
#define BINARY_F32 tcn_plain_binary_f32
#elif !defined(CONV_F32)
#define CONV_F32 tcn_plain_conv_f32
#define DEPTHWISE_F32 tcn_plain_depthwise_f32
#define BINARY_F32 tcn_plain_binary_f32
#endif

#define int16_none int8_4_none
#define int16_add int8_4_add
#define int16_store int8_4_store

#define IN_ORDER
#define INT8_PREFIXES int8_4, int8_4, int8_4
#define INT8_TILE_16 1
#define INT8_TILE_8 1
#define INT8_TILE_4 1
#define INT16_TILE 1
#define BIAS_I8 bias_at
#include "integer.h"

/* The bits to the left that the reference kernels give the operands of a sum. */
enum { LEFT_OF_INT8 = 20, LEFT_OF_INT16 = 15 };

/* Both operands of a sum are brought to twice the larger of their scales: to one of them that is a shift. */
I int is_own_scale(const binary_args *a, int operand) { return a->multiplier[operand] == 1 << 30 && a->shift[operand] == 0; }

/* Whether a sum goes right where it is rescaled, and twice each of its values fits 32 bits. */
I int is_short_sum(const binary_args *a, int op, int own, int left)
{
    return op == BINARY_ADD && a->left_shift == left && is_own_scale(a, own) && a->shift_out < 0 &&
           (a->shift[1 - own] < 0 || is_own_scale(a, 1 - own)) &&
           (left == LEFT_OF_INT8 || (a->zero[0] == 0 && a->zero[1] == 0));
}

#if defined(__ARM_FEATURE_MVE)
#include "helium_i8.h"
#else
#include "dsp_i8.h"
#endif
#ifdef FPU_F32
#include "fpu_f32.h"
#endif

const tcn_kernels tcn_kernels_base = {
    TCN_ISA_BASE, TCN_KERNEL(CONV_F32, CONV_F32), TCN_KERNEL(CONV_I8, conv_i8), TCN_KERNEL(CONV_I16, conv_i16),
    TCN_KERNEL(DEPTHWISE_F32, DEPTHWISE_F32), TCN_KERNEL(DEPTHWISE_I8, DEPTHWISE_I8),
    TCN_KERNEL(DEPTHWISE_I16, tcn_plain_depthwise_i16), TCN_KERNEL(BINARY_F32, BINARY_F32), TCN_KERNEL(BINARY_I8, BINARY_I8),
    TCN_KERNEL(BINARY_I16, BINARY_I16), TCN_KERNEL(UNARY_F32, tcn_plain_unary_f32),
    TCN_KERNEL(CONV_I8_FOURS, conv_i8_fours), TCN_KERNEL(DEPTHWISE_I8_FOURS, depthwise_i8_fours),
    TCN_KERNEL(CONV_I16_FOURS, conv_i16_fours),
};
