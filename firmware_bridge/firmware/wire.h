/* wire.h - frames on a byte line: COBS between zero bytes, a CRC-32 over everything, see docs/protocol.md.
 *
 * No memory of its own, no I/O: bytes go in one at a time, bytes come out through a function of the caller. */
#ifndef BRIDGE_WIRE_H
#define BRIDGE_WIRE_H

#include <stdint.h>

#include "protocol.h"

enum { WIRE_HEAD = sizeof(msg_frame_head), WIRE_TAIL = 4 };

typedef struct {
    uint8_t kind, status;
    uint16_t session, sequence, credit;
    uint16_t length;        /* bytes of the payload */
    const uint8_t *payload; /* in the decoder's buffer, until the next byte is fed */
} wire_frame;

typedef struct {
    uint8_t *buffer; /* room for WIRE_HEAD + payload + WIRE_TAIL */
    uint32_t room, used;
    uint32_t fed;    /* bytes since the last zero */
    uint8_t code, left;
    uint8_t broken;  /* too long, or a zero where none can be */
} wire_decoder;

enum { WIRE_NOTHING = 0, WIRE_FRAME = 1, WIRE_DAMAGED = 2 };

void wire_start(wire_decoder *d, uint8_t *buffer, uint32_t room);

/* WIRE_FRAME: *frame is whole and its checksum right. WIRE_DAMAGED: what stood between two zeros is no frame. */
int wire_feed(wire_decoder *d, uint8_t byte, wire_frame *frame);

typedef void (*wire_put)(const uint8_t *bytes, uint32_t n);

/* Completes the frame in raw[WIRE_HEAD + length + WIRE_TAIL], whose payload is in its place; returns its size. */
uint32_t wire_seal(uint8_t *raw, uint8_t kind, uint8_t status, uint16_t session, uint16_t sequence, uint16_t credit,
                   uint16_t length);

/* Sends a sealed frame. */
void wire_send(const uint8_t *raw, uint32_t size, wire_put put);

static inline void wire_put16(uint8_t *to, uint16_t v)
{
    to[0] = (uint8_t)v;
    to[1] = (uint8_t)(v >> 8);
}

static inline void wire_put32(uint8_t *to, uint32_t v)
{
    wire_put16(to, (uint16_t)v);
    wire_put16(to + 2, (uint16_t)(v >> 16));
}

static inline uint16_t wire_get16(const uint8_t *from) { return (uint16_t)(from[0] | from[1] << 8); }

static inline uint32_t wire_get32(const uint8_t *from)
{
    return wire_get16(from) | (uint32_t)wire_get16(from + 2) << 16;
}

#endif
