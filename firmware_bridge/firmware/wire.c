/* wire.c - COBS and CRC-32. Source of COBS: Cheshire and Baker, "Consistent Overhead Byte Stuffing" (1999). */
#include "wire.h"

#include "kernels/bytes.h"

#include "tcn.h"

void wire_start(wire_decoder *d, uint8_t *buffer, uint32_t room)
{
    d->buffer = buffer;
    d->room = room;
    d->used = 0;
    d->fed = 0;
    d->code = 0;
    d->left = 0;
    d->broken = 0;
}

static void put_byte(wire_decoder *d, uint8_t byte)
{
    if (d->used < d->room)
        d->buffer[d->used++] = byte;
    else
        d->broken = 1;
}

static int finish(wire_decoder *d, wire_frame *frame)
{
    const uint8_t *b = d->buffer;
    const msg_frame_head *head = (const void *)b;
    uint32_t n = d->used;
    if (d->fed == 0)
        return WIRE_NOTHING; /* two zeros in a row: the end of one frame and the start of the next */
    if (d->broken || d->left || n < WIRE_HEAD + WIRE_TAIL || head->payload_bytes != n - WIRE_HEAD - WIRE_TAIL ||
        wire_get32(b + n - WIRE_TAIL) != tcn_crc32(0, b, n - WIRE_TAIL))
        return WIRE_DAMAGED;
    frame->length = head->payload_bytes;
    frame->kind = head->kind;
    frame->status = head->status;
    frame->session = head->session;
    frame->sequence = head->sequence;
    frame->credit = head->credit;
    frame->payload = b + WIRE_HEAD;
    return WIRE_FRAME;
}

int wire_feed(wire_decoder *d, uint8_t byte, wire_frame *frame)
{
    if (byte == 0) {
        int found = finish(d, frame);
        wire_start(d, d->buffer, d->room);
        return found;
    }
    d->fed++;
    if (d->left) {
        put_byte(d, byte);
        d->left--;
        return WIRE_NOTHING;
    }
    /* a code: so many bytes follow; between two blocks stands the zero that the first code took out */
    if (d->code != 0 && d->code != 0xFF)
        put_byte(d, 0);
    d->code = byte;
    d->left = (uint8_t)(byte - 1);
    return WIRE_NOTHING;
}

uint32_t wire_seal(uint8_t *raw, uint8_t kind, uint8_t status, uint16_t session, uint16_t sequence, uint16_t credit,
                   uint16_t length)
{
    uint32_t size = (uint32_t)WIRE_HEAD + length;
    msg_frame_head head = {length, kind, status, session, sequence, credit};
    memcpy(raw, &head, sizeof head);
    wire_put32(raw + size, tcn_crc32(0, raw, size));
    return size + WIRE_TAIL;
}

void wire_send(const uint8_t *raw, uint32_t size, wire_put put)
{
    static const uint8_t zero = 0;
    uint32_t at = 0;
    put(&zero, 1);
    for (;;) {
        uint32_t run = 0;
        uint8_t code;
        while (run < 254 && at + run < size && raw[at + run] != 0)
            run++;
        code = (uint8_t)(run + 1);
        put(&code, 1);
        put(raw + at, run);
        at += run;
        if (at >= size)
            break;
        if (run < 254)
            at++; /* the zero that the code stands for */
    }
    put(&zero, 1);
}
