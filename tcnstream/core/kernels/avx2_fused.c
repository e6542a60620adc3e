/* avx2_fused.c - float32 with fused multiply-adds of AVX2 and FMA. */
#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define LANES 8
#define TILE_16 6
#define TILE 8
#define FUSED
#include "x86_float.h"

const tcn_fused_kernels tcn_fused_avx2 = {conv_f32, depthwise_f32, conv_f32_sliding, depthwise_f32_sliding, &winograd};

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
