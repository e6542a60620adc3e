/* avx2_settled.h - the arithmetic of settled.h on AVX2, eight accumulators at a time. */

#include "settled.h"

#define HAS_SETTLED

typedef struct {
    __m256 scale, over, under;
    __m256i late;
    int is_any_late;
} settled_scaling;

/* Outputs `at` and the seven behind it; whether all of them are settled. */
I int settled_scaling_of(settled_scaling *s, const conv_args *a, uint32_t at)
{
    const tcn_settled_conv *c = (const tcn_settled_conv *)(const void *)a;
    if (a->rescale != RESCALE_SETTLED)
        return 0;
    s->scale = _mm256_loadu_ps(c->scale + at);
    s->over = _mm256_loadu_ps(c->over + at);
    s->under = _mm256_loadu_ps(c->under + at);
    s->late = loaded(c->late + at);
    s->is_any_late = _mm256_movemask_epi8(_mm256_cmpeq_epi32(s->late, same(INT32_MIN))) != -1;
    return _mm256_movemask_ps(s->scale) == 0;
}

/* The same of one output for eight accumulators. */
I int settled_scaling_of_one(settled_scaling *s, const conv_args *a, uint32_t at)
{
    const tcn_settled_conv *c = (const tcn_settled_conv *)(const void *)a;
    if (a->rescale != RESCALE_SETTLED || c->scale[at] < 0.0f)
        return 0;
    s->scale = _mm256_set1_ps(c->scale[at]);
    s->over = _mm256_set1_ps(c->over[at]);
    s->under = _mm256_set1_ps(c->under[at]);
    s->late = same(c->late[at]);
    s->is_any_late = c->late[at] != INT32_MIN;
    return 1;
}

/* The zero point included; not clipped. */
I __m256i settled(__m256i x, const settled_scaling *s)
{
    const __m256 offset = _mm256_blendv_ps(s->over, s->under, _mm256_castsi256_ps(x));
    const __m256i y = _mm256_cvtps_epi32(_mm256_fmadd_ps(_mm256_cvtepi32_ps(x), s->scale, offset));
    return s->is_any_late ? _mm256_sub_epi32(y, _mm256_cmpeq_epi32(x, s->late)) : y;
}

/* Entries 0, 1, 4, 5, 2, 3, 6, 7, and back. */
I __m256i halves_mixed(__m256i x) { return _mm256_permute4x64_epi64(x, 0xD8); }

I settled_scaling settled_mixed(settled_scaling s)
{
    s.scale = _mm256_castsi256_ps(halves_mixed(_mm256_castps_si256(s.scale)));
    s.over = _mm256_castsi256_ps(halves_mixed(_mm256_castps_si256(s.over)));
    s.under = _mm256_castsi256_ps(halves_mixed(_mm256_castps_si256(s.under)));
    s.late = halves_mixed(s.late);
    return s;
}
