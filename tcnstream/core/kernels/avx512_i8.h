/* avx512_i8.h - sums and differences of int8 that are settled, on AVX-512. */

static void binary_i8_settled(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    const tcn_settled_binary *b = (const tcn_settled_binary *)(const void *)a;
    __m512 by_x, by_y, offset;
    numbers low, high;
    uint32_t i;
    if (a->left_shift != SHIFT_SETTLED) {
        binary_i8(a, op, x, y, out, n);
        return;
    }
    by_x = _mm512_set1_ps(b->scale[0]);
    by_y = _mm512_set1_ps(b->scale[1]);
    offset = _mm512_set1_ps(b->offset);
    low = same(a->low);
    high = same(a->high);
    for (i = 0; i + NUMBERS <= n; i += NUMBERS) {
        const __m512 p = _mm512_cvtepi32_ps(widened(x + i)), q = _mm512_cvtepi32_ps(widened(y + i));
        narrowed(out + i, clipped(_mm512_cvtps_epi32(_mm512_fmadd_ps(p, by_x, _mm512_fmadd_ps(q, by_y, offset))), low, high));
    }
    if (i < n)
        binary_i8(b->exact, op, x + i, y + i, out + i, n - i);
}
