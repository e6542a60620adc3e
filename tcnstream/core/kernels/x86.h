/* x86.h - one table of kernels for an x86-64 instruction set: the including file sets LANES, TILE, ISA,
 * TABLE and, for VNNI, DOT, and switches the compiler to the instruction set. */
#include "bytes.h"

#include "fixed.h"

/* maxps and minps give their second operand where one is NaN: y stays. */
#define CLIP_v4(y, low, high) ((v4)_mm_min_ps(_mm_set1_ps(high), _mm_max_ps(_mm_set1_ps(low), (__m128)(y))))
#define CLIP_v8(y, low, high) \
    ((v8)_mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), (__m256)(y))))
#define CLIP_v16(y, low, high) \
    ((v16)_mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), (__m512)(y))))

#include "float.h"
#include "x86_integer.h"

const tcn_kernels TABLE = {
    ISA, conv_f32, conv_i8, conv_i16, depthwise_f32, depthwise_i8, tcn_plain_depthwise_i16, binary_f32, binary_i8,
    tcn_plain_binary_i16, tcn_plain_unary_f32,
};
