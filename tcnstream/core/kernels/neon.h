/* neon.h - one table of kernels for NEON: the including file sets ISA, KERNELS and, where the processor has the
 * dot product of bytes, DOT. */
#include "bytes.h"

#include "fixed.h"

#include "neon_float.h"

#define I static inline __attribute__((always_inline))

#ifdef __aarch64__
I int32x4_t pairs_added(int32x4_t a, int32x4_t b) { return vpaddq_s32(a, b); }
#else
I int32x4_t pairs_added(int32x4_t a, int32x4_t b)
{
    return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
}
#endif

enum { int16_outputs = 4 };

/* four partial sums of each output */
typedef struct { int32x4_t o[4]; } int16_sums;
typedef int16x4_t int16_four;
I int16_four int16_spread(uint64_t bits) { return vcreate_s16(bits); }
I int16_sums int16_none(void) { return (int16_sums){{vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}}; }
I int16_sums int16_add(int16_sums s, const int8_t *w, int16_four x)
{
    int8x16_t all = vld1q_s8(w);
    int16x8_t low = vmovl_s8(vget_low_s8(all)), high = vmovl_s8(vget_high_s8(all));
    s.o[0] = vmlal_s16(s.o[0], vget_low_s16(low), x);
    s.o[1] = vmlal_s16(s.o[1], vget_high_s16(low), x);
    s.o[2] = vmlal_s16(s.o[2], vget_low_s16(high), x);
    s.o[3] = vmlal_s16(s.o[3], vget_high_s16(high), x);
    return s;
}
I int16_sums int16_plus(int16_sums s, int16_sums r)
{
    return (int16_sums){{vaddq_s32(s.o[0], r.o[0]), vaddq_s32(s.o[1], r.o[1]), vaddq_s32(s.o[2], r.o[2]), vaddq_s32(s.o[3], r.o[3])}};
}
I void int16_store(int16_sums s, int32_t *to)
{
    vst1q_s32(to, pairs_added(pairs_added(s.o[0], s.o[1]), pairs_added(s.o[2], s.o[3])));
}

#ifdef __aarch64__
#define INT16_AT_ONCE_16 2
#else
#define INT16_AT_ONCE_16 1
#endif
#define INT16_AT_ONCE_8 INT16_AT_ONCE_16
#define INT16_TILE 2
#define BIAS_I8 bias_at

typedef int32x4_t numbers;
#define NUMBERS 4
I numbers loaded(const int32_t *p) { return vld1q_s32(p); }
I numbers same(int32_t v) { return vdupq_n_s32(v); }
I int8x8_t four_bytes(const int8_t *p)
{
    uint32_t bits;
    memcpy(&bits, p, 4);
    return vreinterpret_s8_u32(vdup_n_u32(bits));
}
I numbers widened(const int8_t *p) { return vmovl_s16(vget_low_s16(vmovl_s8(four_bytes(p)))); }
I numbers added(numbers x, numbers y) { return vaddq_s32(x, y); }
I numbers minus(numbers x, numbers y) { return vsubq_s32(x, y); }
I numbers product(numbers x, numbers y) { return vmulq_s32(x, y); }
typedef int16x8_t pairs;
I pairs pair_of(const int8_t *x, const int8_t *y)
{
    return vmovl_s8(vreinterpret_s8_s32(vzip_s32(vreinterpret_s32_s8(four_bytes(x)), vreinterpret_s32_s8(four_bytes(y))).val[0]));
}
I numbers with_products(numbers sum, pairs x, pairs w)
{
    return vmlal_s16(vmlal_s16(sum, vget_low_s16(x), vget_low_s16(w)), vget_high_s16(x), vget_high_s16(w));
}
I numbers shifted_left(numbers x, int places) { return vshlq_s32(x, vdupq_n_s32(places)); }
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
I void narrowed(int8_t *to, numbers x)
{
    int16x4_t words = vqmovn_s32(x);
    uint32_t bits = vget_lane_u32(vreinterpret_u32_s8(vqmovn_s16(vcombine_s16(words, words))), 0);
    memcpy(to, &bits, 4);
}

I numbers some_loaded(const int32_t *p, uint32_t n)
{
    int32_t four[4] = {0};
    memcpy(four, p, n * sizeof *p);
    return loaded(four);
}
I pairs some_pair_of(const int8_t *x, const int8_t *y, uint32_t n)
{
    int8_t four[2][4] = {{0}};
    memcpy(four[0], x, n);
    memcpy(four[1], y, n);
    return pair_of(four[0], four[1]);
}
I void some_narrowed(int8_t *to, numbers x, uint32_t n)
{
    int8_t four[4];
    narrowed(four, x);
    memcpy(to, four, n);
}

#include "integer.h"
#include "neon_i8.h"

#ifdef __aarch64__
#include "neon_functions.h"
#else
#define unary_f32 tcn_plain_unary_f32
#endif

const tcn_kernels KERNELS = {
    ISA, conv_f32, conv_i8, conv_i16, depthwise_f32, depthwise_i8_sixteens, tcn_plain_depthwise_i16, binary_f32, binary_i8_eights,
    tcn_plain_binary_i16, unary_f32, NULL, NULL, NULL, conv_f32_sliding, conv_i8_sliding, depthwise_f32_sliding,
};
