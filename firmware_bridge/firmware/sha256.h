/* sha256.h - the hash of whole objects. Source: FIPS 180-4. */
#ifndef BRIDGE_SHA256_H
#define BRIDGE_SHA256_H

#include <stdint.h>

void sha256(const uint8_t *bytes, uint32_t n, uint8_t digest[32]);

#endif
