/* crc32.c - tcn_crc32 for a host, which has 8 KB for tables: eight bytes at a time (Kounavis and Berry, 2008). */
#include "binding.h"

static uint32_t table[8][256]; /* [k][b]: byte b with k bytes of zero behind it */

void fill_crc32(void)
{
    uint32_t b, k;
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

static inline uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint32_t tcn_crc32(uint32_t crc, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    crc = ~crc;
    for (; size >= 8; size -= 8, at += 8) {
        const uint32_t near = crc ^ word_at(at), far = word_at(at + 4);
        crc = table[7][near & 255] ^ table[6][near >> 8 & 255] ^ table[5][near >> 16 & 255] ^ table[4][near >> 24] ^
              table[3][far & 255] ^ table[2][far >> 8 & 255] ^ table[1][far >> 16 & 255] ^ table[0][far >> 24];
    }
    while (size--)
        crc = table[0][(crc ^ *at++) & 255] ^ (crc >> 8);
    return ~crc;
}
