/* neon_fused.c - float32 with the fused multiply-adds of aarch64. */
#include "kernels.h"

#if defined(TCN_ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

#define FUSED
#include "neon_float.h"

const tcn_fused_kernels tcn_fused_neon = {conv_f32, depthwise_f32, conv_f32_sliding, depthwise_f32_sliding, NULL};

#endif
