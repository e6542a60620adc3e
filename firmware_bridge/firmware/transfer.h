/* transfer.h - objects too large for a frame come in chunks: a plan, a snapshot, input frames. */
#ifndef BRIDGE_TRANSFER_H
#define BRIDGE_TRANSFER_H

#include <stdint.h>

/* Requests; p has n bytes. BEGIN and CHUNK are answered with what is there: a broken transfer goes on from it. */
void transfer_begin(const uint8_t *p, uint32_t n);
void transfer_chunk(const uint8_t *p, uint32_t n);
void transfer_commit(const uint8_t *p, uint32_t n);

/* Whether the object is here, whole and right, which ends its transfer; refuses where it is not. */
int transfer_whole(uint8_t object);
uint32_t transfer_bytes(void); /* of the object that was whole last */

/* The memory of objects is about to be written by something else. */
void transfer_disturb(void);

#endif
