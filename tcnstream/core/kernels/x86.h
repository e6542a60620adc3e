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

#define I static inline __attribute__((always_inline))

I __m128i bytes_at(const void *p) { return _mm_loadu_si128((const __m128i *)p); }

#if LANES == 4

/* SSE2: two partial sums of two outputs per register, from bytes widened to 16 bits */
typedef struct { __m128i a, b; } int8_4_sums;
typedef __m128i int8_4_four;
enum { int8_4_outputs = 4, int16_outputs = 4 };
I int8_4_four int8_4_spread(uint32_t bits)
{
    __m128i x = _mm_cvtsi32_si128((int)bits);
    x = _mm_srai_epi16(_mm_unpacklo_epi8(x, x), 8);
    return _mm_unpacklo_epi64(x, x);
}
I int8_4_four int16_spread(uint64_t bits) { return _mm_set1_epi64x((long long)bits); }
I int8_4_sums int8_4_none(void) { return (int8_4_sums){_mm_setzero_si128(), _mm_setzero_si128()}; }
I int8_4_sums int8_4_add(int8_4_sums s, const int8_t *w, int8_4_four x)
{
    __m128i all = bytes_at(w);
    s.a = _mm_add_epi32(s.a, _mm_madd_epi16(_mm_srai_epi16(_mm_unpacklo_epi8(all, all), 8), x));
    s.b = _mm_add_epi32(s.b, _mm_madd_epi16(_mm_srai_epi16(_mm_unpackhi_epi8(all, all), 8), x));
    return s;
}
I int8_4_sums int8_4_plus(int8_4_sums s, int8_4_sums r)
{
    return (int8_4_sums){_mm_add_epi32(s.a, r.a), _mm_add_epi32(s.b, r.b)};
}
I void int8_4_store(int8_4_sums s, int32_t *to)
{
    __m128 even = _mm_shuffle_ps(_mm_castsi128_ps(s.a), _mm_castsi128_ps(s.b), 0x88);
    __m128 odd = _mm_shuffle_ps(_mm_castsi128_ps(s.a), _mm_castsi128_ps(s.b), 0xDD);
    _mm_storeu_si128((__m128i *)(void *)to, _mm_add_epi32(_mm_castps_si128(even), _mm_castps_si128(odd)));
}
#define INT8_AT_ONCE_16 2
#define INT8_TILE_16 2
#define INT8_AT_ONCE_8 2
#define INT8_TILE_8 2
#define INT8_TILE_4 2
#define INT16_AT_ONCE_16 2
#define INT16_AT_ONCE_8 2
#define INT16_TILE 2

#else

/* AVX2: two partial sums of four outputs */
typedef __m256i int8_4_sums, int8_4_four;
enum { int8_4_outputs = 4, int16_outputs = 4 };
I int8_4_four int8_4_spread(uint32_t bits) { return _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128((int)bits))); }
I int8_4_four int16_spread(uint64_t bits) { return _mm256_set1_epi64x((long long)bits); }
I int8_4_sums int8_4_none(void) { return _mm256_setzero_si256(); }
I int8_4_sums int8_4_add(int8_4_sums s, const int8_t *w, int8_4_four x)
{
    return _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes_at(w)), x));
}
I int8_4_sums int8_4_plus(int8_4_sums s, int8_4_sums r) { return _mm256_add_epi32(s, r); }
I void int8_4_store(int8_4_sums s, int32_t *to)
{
    __m256i pairs = _mm256_hadd_epi32(s, s);
    _mm_storeu_si128((__m128i *)(void *)to, _mm_unpacklo_epi64(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1)));
}
#define INT16_AT_ONCE_16 4
#define INT16_AT_ONCE_8 2
#define INT16_TILE 2

#endif

#define int16_sums int8_4_sums
#define int16_four int8_4_four
#define int16_none int8_4_none
#define int16_add int8_4_add
#define int16_plus int8_4_plus
#define int16_store int8_4_store

#ifdef DOT

/* VNNI: four products of unsigned activations and signed weights at once; bias_u8 takes the shift by 128 back */
#define VNNI(P, V, N, NONE, SET, LOAD, STORE, DPBUSD, PLUS)                                                     \
    typedef V P##_sums, P##_four;                                                                               \
    enum { P##_outputs = N };                                                                                   \
    I P##_four P##_spread(uint32_t bits) { return SET((int)(bits ^ 0x80808080u)); }                             \
    I P##_sums P##_none(void) { return NONE(); }                                                                \
    I P##_sums P##_add(P##_sums s, const int8_t *w, P##_four x) { return DPBUSD(s, x, LOAD((const void *)w)); } \
    I P##_sums P##_plus(P##_sums s, P##_sums r) { return PLUS(s, r); }                                          \
    I void P##_store(P##_sums s, int32_t *to) { STORE((void *)to, s); }
#define LOAD_256(p) _mm256_loadu_si256((const __m256i *)(p))
#define STORE_256(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define STORE_128(p, v) _mm_storeu_si128((__m128i *)(p), v)
VNNI(vnni_16, __m512i, 16, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_dpbusd_epi32, _mm512_add_epi32)
VNNI(vnni_8, __m256i, 8, _mm256_setzero_si256, _mm256_set1_epi32, LOAD_256, STORE_256, _mm256_dpbusd_epi32, _mm256_add_epi32)
VNNI(vnni_4, __m128i, 4, _mm_setzero_si128, _mm_set1_epi32, bytes_at, STORE_128, _mm_dpbusd_epi32, _mm_add_epi32)
#define INT8_PREFIXES vnni_16, vnni_8, vnni_4
#define INT8_AT_ONCE_16 1
#define INT8_TILE_16 8
#define INT8_AT_ONCE_8 1
#define INT8_TILE_8 8
#define INT8_TILE_4 8
#define BIAS_I8 bias_u8_at

#else

#define INT8_PREFIXES int8_4, int8_4, int8_4
#if LANES > 4
#define INT8_AT_ONCE_16 4
#define INT8_TILE_16 2
#define INT8_AT_ONCE_8 2
#define INT8_TILE_8 4
#define INT8_TILE_4 4
#endif
#define BIAS_I8 bias_at

#endif

#if LANES > 4

/* gemmlowp's doubling high multiplication and rounding shift, on 64-bit halves */
#define RESCALED(name, T, P, S, SET64)                                                                          \
    I T name(T x, T multiplier, T shift)                                                                        \
    {                                                                                                           \
        T left = P##_max_epi32(shift, P##_setzero_##S()), right = P##_sub_epi32(left, shift);                   \
        T low = SET64(0xFFFFFFFF), nudge = SET64(1 << 30), even, odd, high, mask, rest, threshold;              \
        x = P##_sllv_epi32(x, left);                                                                            \
        even = P##_add_epi64(P##_mul_epi32(x, multiplier), nudge);                                              \
        odd = P##_add_epi64(P##_mul_epi32(P##_srli_epi64(x, 32), P##_srli_epi64(multiplier, 32)), nudge);       \
        high = P##_or_##S(P##_and_##S(P##_srli_epi64(even, 31), low), P##_andnot_##S(low, P##_slli_epi64(odd, 1))); \
        mask = P##_sub_epi32(P##_sllv_epi32(P##_set1_epi32(1), right), P##_set1_epi32(1));                      \
        rest = P##_and_##S(high, mask);                                                                         \
        threshold = P##_sub_epi32(P##_srli_epi32(mask, 1), P##_srai_epi32(high, 31));                           \
        return P##_sub_epi32(P##_srav_epi32(high, right), P##_srai_epi32(P##_sub_epi32(threshold, rest), 31));  \
    }
RESCALED(rescaled_8, __m256i, _mm256, si256, _mm256_set1_epi64x)
RESCALED(rescaled_4, __m128i, _mm, si128, _mm_set1_epi64x)

typedef __m256i numbers;
#define NUMBERS 8
#define HALF_NUMBERS 4
I numbers loaded(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
I numbers same(int32_t v) { return _mm256_set1_epi32(v); }
I numbers widened(const int8_t *p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)); }
I numbers added(numbers x, numbers y) { return _mm256_add_epi32(x, y); }
I numbers minus(numbers x, numbers y) { return _mm256_sub_epi32(x, y); }
I numbers product(numbers x, numbers y) { return _mm256_mullo_epi32(x, y); }
I numbers products_of_bytes(const int8_t *x, const int8_t *w)
{
    /* both fit 16 bits, and the upper half of each is its sign: only the lower halves' product is wanted */
    return _mm256_madd_epi16(_mm256_and_si256(widened(x), _mm256_set1_epi32(0xFFFF)), widened(w));
}
I numbers shifted_left(numbers x, int places) { return _mm256_slli_epi32(x, places); }
I numbers rescaled(numbers x, numbers multiplier, numbers shift) { return rescaled_8(x, multiplier, shift); }
I numbers clipped(numbers x, numbers low, numbers high) { return _mm256_min_epi32(_mm256_max_epi32(x, low), high); }
I void narrowed(int8_t *to, numbers x)
{
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64((__m128i *)(void *)to, _mm_packs_epi16(words, words));
}
I void half_finished(int8_t *to, const int32_t *sum, const int32_t *bias, const int32_t *multiplier,
                     const int32_t *shift, const conv_args *a)
{
    __m128i x = rescaled_4(_mm_add_epi32(bytes_at(sum), bytes_at(bias)), bytes_at(multiplier), bytes_at(shift));
    int32_t four;
    x = _mm_add_epi32(x, _mm_set1_epi32(a->zero_out));
    x = _mm_min_epi32(_mm_max_epi32(x, _mm_set1_epi32(a->low)), _mm_set1_epi32(a->high));
    x = _mm_packs_epi32(x, x);
    four = _mm_cvtsi128_si32(_mm_packs_epi16(x, x));
    memcpy(to, &four, 4);
}

#endif

#include "integer.h"

#ifdef NUMBERS
#define DEPTHWISE_I8 depthwise_i8
#define BINARY_I8 binary_i8
#else
#define DEPTHWISE_I8 tcn_plain_depthwise_i8
#define BINARY_I8 tcn_plain_binary_i8
#endif

const tcn_kernels TABLE = {
    ISA, conv_f32, conv_i8, conv_i16, depthwise_f32, DEPTHWISE_I8, tcn_plain_depthwise_i16, binary_f32, BINARY_I8,
    tcn_plain_binary_i16, tcn_plain_unary_f32,
};
