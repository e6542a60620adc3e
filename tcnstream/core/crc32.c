/* crc32.c - the checksum of plans, snapshots and links: CRC-32 of IEEE 802.3. */
#include "tcn.h"

#ifndef TCN_OWN_CRC32 /* who has room for tables brings a quicker one */
uint32_t tcn_crc32(uint32_t crc, const void *bytes, size_t size)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    const uint8_t *at = bytes;
    crc = ~crc;
    while (size--) {
        crc ^= *at++;
        crc = nibble[crc & 15] ^ (crc >> 4);
        crc = nibble[crc & 15] ^ (crc >> 4);
    }
    return ~crc;
}
#endif
