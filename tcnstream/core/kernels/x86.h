/* x86.h - one table of kernels for an x86-64 instruction set: the including file sets LANES, TILE, ISA,
 * KERNELS and, for VNNI, DOT, and switches the compiler to the instruction set. */
#include "bytes.h"

#include "fixed.h"

#include "x86_float.h"

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
#define VNNI(P, V, N, NONE, SET, XOR, LOAD, STORE, DPBUSD, PLUS)                                                \
    typedef V P##_sums, P##_four;                                                                               \
    enum { P##_outputs = N };                                                                                   \
    I P##_four P##_spread(uint32_t bits) { return XOR(SET((int)bits), SET((int)0x80808080u)); }                 \
    I P##_four P##_at(const int8_t *x) { return XOR(SET(*(const any_int32 *)(const void *)x), SET((int)0x80808080u)); } \
    I P##_sums P##_none(void) { return NONE(); }                                                                \
    I P##_sums P##_add(P##_sums s, const int8_t *w, P##_four x) { return DPBUSD(s, x, LOAD((const void *)w)); } \
    I P##_sums P##_plus(P##_sums s, P##_sums r) { return PLUS(s, r); }                                          \
    I void P##_store(P##_sums s, int32_t *to) { STORE((void *)to, s); }
/* read by the broadcast itself, with no register in between */
typedef int32_t any_int32 __attribute__((aligned(1), may_alias));
#define LOAD_256(p) _mm256_loadu_si256((const __m256i *)(p))
#define STORE_256(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define STORE_128(p, v) _mm_storeu_si128((__m128i *)(p), v)
VNNI(vnni_16, __m512i, 16, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_xor_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_dpbusd_epi32, _mm512_add_epi32)
VNNI(vnni_8, __m256i, 8, _mm256_setzero_si256, _mm256_set1_epi32, _mm256_xor_si256, LOAD_256, STORE_256, _mm256_dpbusd_epi32, _mm256_add_epi32)
VNNI(vnni_4, __m128i, 4, _mm_setzero_si128, _mm_set1_epi32, _mm_xor_si128, bytes_at, STORE_128, _mm_dpbusd_epi32, _mm_add_epi32)
#define INT8_PREFIXES vnni_16, vnni_8, vnni_4
#define INT8_TILE_32 8
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

/* gemmlowp's doubling high multiplication, on 64-bit halves, and rounding shift */
#define SCALING(T, P, S, SET64, ANY, PICK_ODD, ADD_IF_LESS)                                                     \
    typedef T numbers;                                                                                          \
    typedef struct { T multiplier, odd_multiplier, left, right, mask, threshold; int lefts; } scaling;          \
    I scaling scaling_of(T multiplier, T shift)                                                                 \
    {                                                                                                           \
        scaling s;                                                                                              \
        s.multiplier = multiplier;                                                                              \
        s.odd_multiplier = P##_srli_epi64(multiplier, 32);                                                      \
        s.left = P##_max_epi32(shift, P##_setzero_##S());                                                       \
        s.right = P##_sub_epi32(s.left, shift);                                                                 \
        s.mask = P##_sub_epi32(P##_sllv_epi32(P##_set1_epi32(1), s.right), P##_set1_epi32(1));                  \
        s.threshold = P##_srli_epi32(s.mask, 1);                                                                \
        s.lefts = ANY(s.left);                                                                                  \
        return s;                                                                                               \
    }                                                                                                           \
    I T rescaled(T x, scaling s)                                                                                \
    {                                                                                                           \
        T nudge = SET64(1 << 30), even, odd, high, rest;                                                        \
        if (s.lefts)                                                                                            \
            x = P##_sllv_epi32(x, s.left);                                                                      \
        even = P##_add_epi64(P##_mul_epi32(x, s.multiplier), nudge);                                            \
        odd = P##_add_epi64(P##_mul_epi32(P##_srli_epi64(x, 32), s.odd_multiplier), nudge);                     \
        high = PICK_ODD(P##_srli_epi64(even, 31), P##_slli_epi64(odd, 1));                                      \
        rest = P##_add_epi32(P##_and_##S(high, s.mask), P##_srai_epi32(high, 31));                              \
        return ADD_IF_LESS(P##_srav_epi32(high, s.right), s.threshold, rest);                                   \
    }                                                                                                           \
    /* The same, and `zero` added, of |x| < 2^30 with shifts to the right by at most 22: the halves that round away \
     * from zero are the sign's, and the rest is one sum that cannot overflow. */                               \
    typedef struct { T multiplier, odd_multiplier, right, offset; } short_scaling;                              \
    I int short_scaling_of(short_scaling *s, T multiplier, T shift, int32_t zero)                               \
    {                                                                                                           \
        s->multiplier = multiplier;                                                                             \
        s->odd_multiplier = P##_srli_epi64(multiplier, 32);                                                     \
        s->right = P##_sub_epi32(P##_setzero_##S(), shift);                                                     \
        s->offset = P##_add_epi32(P##_sllv_epi32(P##_set1_epi32(zero), s->right),                               \
                                  P##_srli_epi32(P##_sllv_epi32(P##_set1_epi32(1), s->right), 1));              \
        return !ANY(P##_sub_epi32(s->right, P##_min_epi32(P##_max_epi32(s->right, P##_set1_epi32(1)), P##_set1_epi32(22)))); \
    }                                                                                                           \
    I T short_rescaled(T x, short_scaling s)                                                                    \
    {                                                                                                           \
        T nudge = SET64(1 << 30);                                                                               \
        T even = P##_add_epi64(P##_mul_epi32(x, s.multiplier), nudge);                                          \
        T odd = P##_add_epi64(P##_mul_epi32(P##_srli_epi64(x, 32), s.odd_multiplier), nudge);                   \
        T high = PICK_ODD(P##_srli_epi64(even, 31), P##_slli_epi64(odd, 1));                                    \
        T sum = P##_add_epi32(P##_add_epi32(high, s.offset), P##_srai_epi32(x, 31));                            \
        return P##_srav_epi32(sum, s.right);                                                                    \
    }

#if LANES > 8

#define ANY(x) (_mm512_test_epi32_mask(x, x) != 0)
#define PICK_ODD(even, odd) _mm512_mask_blend_epi32(0xAAAA, even, odd)
#define ADD_IF_LESS(x, a, b) _mm512_mask_sub_epi32(x, _mm512_cmplt_epi32_mask(a, b), x, _mm512_set1_epi32(-1))
SCALING(__m512i, _mm512, si512, _mm512_set1_epi64, ANY, PICK_ODD, ADD_IF_LESS)
#define NUMBERS 16
#define FIRST(n) ((__mmask16)((1u << (n)) - 1u))
I numbers loaded(const int32_t *p) { return _mm512_loadu_si512(p); }
I numbers some_loaded(const int32_t *p, uint32_t n) { return _mm512_maskz_loadu_epi32(FIRST(n), p); }
I numbers repeated_8(const int32_t *p) { return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)p)); }
I numbers repeated_4(const int32_t *p) { return _mm512_broadcast_i32x4(bytes_at(p)); }
I numbers same(int32_t v) { return _mm512_set1_epi32(v); }
I numbers widened(const int8_t *p) { return _mm512_cvtepi8_epi32(bytes_at(p)); }
I numbers some_widened(const int8_t *p, uint32_t n) { return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(FIRST(n), p)); }
I numbers added(numbers x, numbers y) { return _mm512_add_epi32(x, y); }
I numbers minus(numbers x, numbers y) { return _mm512_sub_epi32(x, y); }
I numbers product(numbers x, numbers y) { return _mm512_mullo_epi32(x, y); }
I numbers shifted_left(numbers x, int places) { return _mm512_slli_epi32(x, (unsigned)places); }
I numbers clipped(numbers x, numbers low, numbers high) { return _mm512_min_epi32(_mm512_max_epi32(x, low), high); }
I void narrowed(int8_t *to, numbers x) { _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtsepi32_epi8(x)); }
I void some_narrowed(int8_t *to, numbers x, uint32_t n) { _mm_mask_storeu_epi8(to, FIRST(n), _mm512_cvtsepi32_epi8(x)); }
typedef numbers pairs;
I pairs side_by_side(numbers x, numbers y) { return _mm512_mask_blend_epi16(0xAAAAAAAA, x, _mm512_slli_epi32(y, 16)); }
#ifdef DOT
I numbers with_products(numbers sum, pairs x, pairs w) { return _mm512_dpwssd_epi32(sum, x, w); }
#else
I numbers with_products(numbers sum, pairs x, pairs w) { return added(sum, _mm512_madd_epi16(x, w)); }
#endif

#else

#define ANY(x) !_mm256_testz_si256(x, x)
#define PICK_ODD(even, odd) _mm256_blend_epi32(even, odd, 0xAA)
#define ADD_IF_LESS(x, a, b) _mm256_sub_epi32(x, _mm256_cmpgt_epi32(b, a))
SCALING(__m256i, _mm256, si256, _mm256_set1_epi64x, ANY, PICK_ODD, ADD_IF_LESS)
#define NUMBERS 8
I __m256i first(uint32_t n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
I __m128i some_bytes(const int8_t *p, uint32_t n)
{
    int8_t eight[8] = {0};
    memcpy(eight, p, n);
    return _mm_loadl_epi64((const __m128i *)(const void *)eight);
}
I numbers loaded(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
I numbers some_loaded(const int32_t *p, uint32_t n) { return _mm256_maskload_epi32(p, first(n)); }
I numbers repeated_4(const int32_t *p) { return _mm256_broadcastsi128_si256(bytes_at(p)); }
I numbers same(int32_t v) { return _mm256_set1_epi32(v); }
I numbers widened(const int8_t *p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)); }
I numbers some_widened(const int8_t *p, uint32_t n) { return _mm256_cvtepi8_epi32(some_bytes(p, n)); }
I numbers added(numbers x, numbers y) { return _mm256_add_epi32(x, y); }
I numbers minus(numbers x, numbers y) { return _mm256_sub_epi32(x, y); }
I numbers product(numbers x, numbers y) { return _mm256_mullo_epi32(x, y); }
I numbers shifted_left(numbers x, int places) { return _mm256_slli_epi32(x, places); }
I numbers clipped(numbers x, numbers low, numbers high) { return _mm256_min_epi32(_mm256_max_epi32(x, low), high); }
I __m128i as_bytes(numbers x)
{
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return _mm_packs_epi16(words, words);
}
I void narrowed(int8_t *to, numbers x) { _mm_storel_epi64((__m128i *)(void *)to, as_bytes(x)); }
I void some_narrowed(int8_t *to, numbers x, uint32_t n)
{
    int8_t eight[8];
    _mm_storel_epi64((__m128i *)(void *)eight, as_bytes(x));
    memcpy(to, eight, n);
}
typedef numbers pairs;
I pairs side_by_side(numbers x, numbers y) { return _mm256_blend_epi16(x, _mm256_slli_epi32(y, 16), 0xAA); }
I numbers with_products(numbers sum, pairs x, pairs w) { return added(sum, _mm256_madd_epi16(x, w)); }

#endif

I pairs pair_of(const int8_t *x, const int8_t *y) { return side_by_side(widened(x), widened(y)); }
I pairs some_pair_of(const int8_t *x, const int8_t *y, uint32_t n) { return side_by_side(some_widened(x, n), some_widened(y, n)); }

#endif

#if LANES == 8
#include "avx2_settled.h"
#elif LANES == 16
#include "avx512_settled.h"
#endif

#include "integer.h"

#if LANES == 8
#include "avx2_i8.h"
#include "avx2_settle.h"
#define CONV_I8 conv_i8_widened
#define CONV_I8_SLIDING conv_i8_sliding
#define DEPTHWISE_I8 depthwise_i8_widened
#define BINARY_I8 binary_i8_widened
#elif LANES == 16
#include "avx512_i8.h"
#define CONV_I8 conv_i8
#define CONV_I8_SLIDING NULL
#define DEPTHWISE_I8 depthwise_i8
#define BINARY_I8 binary_i8_settled
#else
#define CONV_I8 conv_i8
#define CONV_I8_SLIDING NULL
#define DEPTHWISE_I8 tcn_plain_depthwise_i8
#define BINARY_I8 tcn_plain_binary_i8
#endif

const tcn_kernels KERNELS = {
    ISA, conv_f32, CONV_I8, conv_i16, depthwise_f32, DEPTHWISE_I8, tcn_plain_depthwise_i16, binary_f32, BINARY_I8,
    tcn_plain_binary_i16, tcn_plain_unary_f32, NULL, NULL, NULL, conv_f32_sliding, CONV_I8_SLIDING, depthwise_f32_sliding,
};
