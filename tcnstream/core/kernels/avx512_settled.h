/* avx512_settled.h - the arithmetic of settled.h on AVX-512, sixteen accumulators at a time. */

#include "settled.h"

#define HAS_SETTLED

typedef struct {
    __m512 scale, over, under;
    __m512i late;
    int is_any_late;
} settled_scaling;

I __m512 as_floats(numbers x) { return _mm512_castsi512_ps(x); }

/* Whether all of them are settled. */
I int settled_columns(settled_scaling *s, numbers scale, numbers over, numbers under, numbers late)
{
    s->scale = as_floats(scale);
    s->over = as_floats(over);
    s->under = as_floats(under);
    s->late = late;
    s->is_any_late = _mm512_cmpneq_epi32_mask(late, same(INT32_MIN)) != 0;
    return _mm512_movepi32_mask(scale) == 0;
}

/* Outputs `at` and the fifteen behind it, or those of a panel of eight or four again and again. */
#define SETTLED_COLUMNS(name, READ)                                                                             \
    I int name(settled_scaling *s, const conv_args *a, uint32_t at)                                             \
    {                                                                                                           \
        const tcn_settled_conv *c = (const tcn_settled_conv *)(const void *)a;                                  \
        return a->rescale == RESCALE_SETTLED &&                                                                 \
               settled_columns(s, READ((const void *)(c->scale + at)), READ((const void *)(c->over + at)),      \
                               READ((const void *)(c->under + at)), READ((const void *)(c->late + at)));        \
    }
SETTLED_COLUMNS(settled_scaling_of, loaded)
SETTLED_COLUMNS(settled_scaling_of_8, repeated_8)
SETTLED_COLUMNS(settled_scaling_of_4, repeated_4)

/* The zero point included; not clipped. */
I numbers settled(numbers x, const settled_scaling *s)
{
    const __m512 offset = _mm512_mask_blend_ps(_mm512_movepi32_mask(x), s->over, s->under);
    const numbers y = _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_cvtepi32_ps(x), s->scale, offset));
    return s->is_any_late ? _mm512_mask_add_epi32(y, _mm512_cmpeq_epi32_mask(x, s->late), y, same(1)) : y;
}
