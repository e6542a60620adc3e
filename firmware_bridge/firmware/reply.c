/* reply.c - the reply under construction. */
#include "reply.h"

#include "kernels/bytes.h"

#include "port.h"
#include "protocol.h"
#include "wire.h"

static struct {
    uint8_t *at; /* next byte of the payload */
    uint8_t *raw;
    uint8_t status;
} reply;

void reply_begin(uint8_t *raw)
{
    reply.raw = raw;
    reply.at = raw + WIRE_HEAD;
    reply.status = STATUS_OK;
}

uint8_t reply_status(void) { return reply.status; }
uint32_t reply_bytes(void) { return (uint32_t)(reply.at - reply.raw - WIRE_HEAD); }
uint32_t reply_room(void) { return BRIDGE_PAYLOAD - reply_bytes(); }

void say32(uint32_t v)
{
    wire_put32(reply.at, v);
    reply.at += 4;
}

void say_bytes(const void *bytes, uint32_t n)
{
    memcpy(reply.at, bytes, n);
    reply.at += n;
}

void say_text(const char *text)
{
    uint32_t n = length_of(text), most = reply_room();
    if (most == 0)
        return;
    n = n > 255 ? 255 : n;
    n = n > most - 1 ? most - 1 : n;
    *reply.at++ = (uint8_t)n;
    say_bytes(text, n);
}

void refuse(uint8_t status, uint32_t a, uint32_t b)
{
    msg_refusal why = {a, b};
    reply.status = status;
    reply.at = reply.raw + WIRE_HEAD;
    say_bytes(&why, sizeof why);
}

uint32_t length_of(const char *text)
{
    uint32_t n = 0;
    while (text[n])
        n++;
    return n;
}
