/* neon_float.h - float.h for NEON: what its vectors have instructions for. */

#define LANES 4
#define TILE_16 4
#define UNROLL_ROW

#ifdef __aarch64__

#define TILE 8
#ifdef FUSED
#define FUSED_v4(x, y, z) ((v4)vfmaq_f32((float32x4_t)(z), (float32x4_t)(x), (float32x4_t)(y)))
#define ADD_LANE(sum, x, four, lane) ((v4)vfmaq_laneq_f32((float32x4_t)(sum), (float32x4_t)(x), (float32x4_t)(four), lane))
#else
#define ADD_LANE(sum, x, four, lane) ((sum) + (v4)vmulq_laneq_f32((float32x4_t)(x), (float32x4_t)(four), lane))
#endif
/* fmax and fmin keep NaN; of a zero and another they do not tell which comes first. */
#define CLIP_SUM(V, y, low, high) ((V)vminq_f32(vmaxq_f32((float32x4_t)(y), vdupq_n_f32(low)), vdupq_n_f32(high)))

#else

#define TILE 4
/* NEON of armv7 takes denormal values for zero, so there float32 results differ from the reference kernels'
 * own bits wherever one occurs, by less than the least normal value: within the contract. Compilers know
 * this and make vectors of + and * only when told to; the instructions are named here instead. */
#define VECTOR_ADD(x, y) ((v4)vaddq_f32((float32x4_t)(x), (float32x4_t)(y)))
#define VECTOR_SUB(x, y) ((v4)vsubq_f32((float32x4_t)(x), (float32x4_t)(y)))
#define VECTOR_MUL(x, y) ((v4)vmulq_f32((float32x4_t)(x), (float32x4_t)(y)))
#define VECTOR_TIMES(x, scalar) ((v4)vmulq_n_f32((float32x4_t)(x), scalar))
#define CLIP_v4(y, low, high) ((v4)neon_clip((float32x4_t)(y), low, high))
static inline __attribute__((always_inline)) float32x4_t neon_clip(float32x4_t y, float low, float high)
{
    float32x4_t least = vdupq_n_f32(low), most = vdupq_n_f32(high);
    y = vbslq_f32(vcltq_f32(y, least), least, y);
    return vbslq_f32(vcgtq_f32(y, most), most, y);
}

#endif

#include "float.h"
