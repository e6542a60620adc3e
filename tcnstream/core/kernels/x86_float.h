/* x86_float.h - float.h for x86-64: what its vectors have instructions for. */

/* maxps and minps give their second operand where one is NaN: y stays. */
#define CLIP_v4(y, low, high) ((v4)_mm_min_ps(_mm_set1_ps(high), _mm_max_ps(_mm_set1_ps(low), (__m128)(y))))
#define CLIP_v8(y, low, high) \
    ((v8)_mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), (__m256)(y))))
#define CLIP_v16(y, low, high) \
    ((v16)_mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), (__m512)(y))))

#ifdef FUSED
#define FUSED_v4(x, y, z) ((v4)_mm_fmadd_ps((__m128)(x), (__m128)(y), (__m128)(z)))
#define FUSED_v8(x, y, z) ((v8)_mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(z)))
#define FUSED_v16(x, y, z) ((v16)_mm512_fmadd_ps((__m512)(x), (__m512)(y), (__m512)(z)))
#endif

#include "float.h"
