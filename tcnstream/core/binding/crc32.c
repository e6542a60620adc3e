/* crc32.c - tcn_crc32 for a host, which has 8 KB for tables: eight bytes at a time (Kounavis and Berry, 2008), or 64
 * where x86-64 multiplies without carries (Gopal et al., "Fast CRC Computation Using PCLMULQDQ", 2009). */
#include "binding.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define FOLDS
static int folds; /* whether this processor does */
#endif

static uint32_t table[8][256]; /* [k][b]: byte b with k bytes of zero behind it */

void fill_crc32(void)
{
    uint32_t b, k;
#ifdef FOLDS
    __builtin_cpu_init();
    folds = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
    for (b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (k = 0; k < 8; k++)
            crc = crc & 1 ? 0xEDB88320 ^ (crc >> 1) : crc >> 1;
        table[0][b] = crc;
    }
    for (k = 1; k < 8; k++)
        for (b = 0; b < 256; b++)
            table[k][b] = table[0][table[k - 1][b] & 255] ^ (table[k - 1][b] >> 8);
}

PyObject *crc32_of(PyObject *module, PyObject *args)
{
    Py_buffer view;
    unsigned int start = 0;
    uint32_t crc;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*|I", &view, &start))
        return NULL;
    crc = tcn_crc32(start, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLong(crc);
}

static inline uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

#ifdef FOLDS
#define FOLDED(x, by, next) _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), next)
#define LOADED(at) _mm_loadu_si128((const __m128i *)(const void *)(at))

/* Of `size` bytes, 64 or more and a multiple of 16. The constants are x^n modulo the polynomial, bits reflected. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t crc32_folded(uint32_t crc, const uint8_t *at, size_t size)
{
    const __m128i by_64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4), by_16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i by_8 = _mm_set_epi64x(0, 0x0163cd6124), barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i words = _mm_setr_epi32(-1, 0, -1, 0);
    __m128i a = _mm_xor_si128(LOADED(at), _mm_cvtsi32_si128((int)crc)), b = LOADED(at + 16), c = LOADED(at + 32), d = LOADED(at + 48), e;
    for (at += 64, size -= 64; size >= 64; at += 64, size -= 64) {
        a = FOLDED(a, by_64, LOADED(at));
        b = FOLDED(b, by_64, LOADED(at + 16));
        c = FOLDED(c, by_64, LOADED(at + 32));
        d = FOLDED(d, by_64, LOADED(at + 48));
    }
    a = FOLDED(a, by_16, b);
    a = FOLDED(a, by_16, c);
    a = FOLDED(a, by_16, d);
    for (; size; at += 16, size -= 16)
        a = FOLDED(a, by_16, LOADED(at));
    a = _mm_xor_si128(_mm_srli_si128(a, 8), _mm_clmulepi64_si128(a, by_16, 0x10));
    a = _mm_xor_si128(_mm_srli_si128(a, 4), _mm_clmulepi64_si128(_mm_and_si128(a, words), by_8, 0x00));
    e = _mm_and_si128(_mm_clmulepi64_si128(_mm_and_si128(a, words), barrett, 0x10), words);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(a, _mm_clmulepi64_si128(e, barrett, 0x00)), 1);
}
#endif

uint32_t tcn_crc32(uint32_t crc, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    crc = ~crc;
#ifdef FOLDS
    if (folds && size >= 64) {
        crc = crc32_folded(crc, at, size & ~(size_t)15);
        at += size & ~(size_t)15;
        size &= 15;
    }
#endif
    for (; size >= 8; size -= 8, at += 8) {
        const uint32_t near = crc ^ word_at(at), far = word_at(at + 4);
        crc = table[7][near & 255] ^ table[6][near >> 8 & 255] ^ table[5][near >> 16 & 255] ^ table[4][near >> 24] ^
              table[3][far & 255] ^ table[2][far >> 8 & 255] ^ table[1][far >> 16 & 255] ^ table[0][far >> 24];
    }
    while (size--)
        crc = table[0][(crc ^ *at++) & 255] ^ (crc >> 8);
    return ~crc;
}
