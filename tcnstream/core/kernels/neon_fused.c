/* neon_fused.c - float32 with the fused multiply-adds of aarch64. */
#include "kernels.h"

#if defined(TCN_ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

#define LANES 4
#define TILE_16 4
#define TILE 4
#define UNROLL_ROW _Pragma("GCC unroll 4")
#define FUSED
#define FUSED_v4(x, y, z) ((v4)vfmaq_f32((float32x4_t)(z), (float32x4_t)(x), (float32x4_t)(y)))
#include "float.h"

const tcn_fused_kernels tcn_fused_neon = {conv_f32, depthwise_f32};

#endif
