/* transfer.c - one object at a time comes in; a broken transfer of the same object goes on where it stopped. */
#include "transfer.h"

#include "kernels/bytes.h"

#include "model.h"
#include "port.h"
#include "reply.h"
#include "sha256.h"
#include "stream.h"
#include "wire.h"

static uint8_t plan_ram[BRIDGE_PLAN_RAM ? BRIDGE_PLAN_RAM : 1] __attribute__((aligned(64)));

static struct {
    uint8_t open, object, hash[HASH_BYTES];
    uint32_t total, have;
} incoming;

static uint8_t *place_of(uint8_t object, uint32_t *room)
{
    *room = object == OBJECT_PLAN ? BRIDGE_PLAN_RAM : model.objects_room;
    return object == OBJECT_PLAN ? plan_ram : model.objects;
}

static void say_have(void)
{
    msg_have said = {incoming.have};
    say_bytes(&said, sizeof said);
}

void transfer_begin(const uint8_t *p, uint32_t n)
{
    const msg_begin_request *asked = (const void *)p;
    uint32_t room;
    if (n != sizeof *asked || asked->object > OBJECT_INPUT) {
        refuse(STATUS_MALFORMED, n, sizeof *asked);
        return;
    }
    place_of(asked->object, &room);
    if (asked->total_bytes > room) {
        refuse(STATUS_TOO_BIG, asked->total_bytes, room);
        return;
    }
    if (!incoming.open || incoming.object != asked->object || incoming.total != asked->total_bytes ||
        memcmp(incoming.hash, asked->sha256, HASH_BYTES) != 0) {
        incoming.open = 1;
        incoming.object = asked->object;
        incoming.total = asked->total_bytes;
        memcpy(incoming.hash, asked->sha256, HASH_BYTES);
        incoming.have = 0;
    }
    if (asked->object == OBJECT_PLAN && model.plan && !model.flashed)
        model_drop(); /* its memory is about to be written */
    say_have();
}

void transfer_chunk(const uint8_t *p, uint32_t n)
{
    const msg_chunk_request *asked = (const void *)p;
    uint32_t room, offset, bytes;
    uint8_t *to;
    if (n < sizeof *asked) {
        refuse(STATUS_MALFORMED, n, sizeof *asked);
        return;
    }
    if (!incoming.open || memcmp(asked->tag, incoming.hash, sizeof asked->tag) != 0 ||
        asked->total_bytes != incoming.total) {
        refuse(STATUS_NO_OBJECT, wire_get32(asked->tag), wire_get32(incoming.hash));
        return;
    }
    offset = asked->offset_bytes;
    bytes = n - sizeof *asked;
    to = place_of(incoming.object, &room);
    if (offset > incoming.have || bytes > incoming.total - offset) {
        refuse(STATUS_OFFSET, offset, incoming.have);
        return;
    }
    memcpy(to + offset, p + sizeof *asked, bytes);
    if (offset + bytes > incoming.have)
        incoming.have = offset + bytes;
    say_have();
}

int transfer_whole(uint8_t object)
{
    uint8_t digest[HASH_BYTES];
    uint32_t room;
    if (!incoming.open || incoming.object != object) {
        refuse(STATUS_NO_OBJECT, object, incoming.object);
        return 0;
    }
    if (incoming.have != incoming.total) {
        refuse(STATUS_OFFSET, incoming.total, incoming.have);
        return 0;
    }
    sha256(place_of(object, &room), incoming.total, digest);
    incoming.open = 0;
    if (memcmp(digest, incoming.hash, HASH_BYTES) != 0) {
        refuse(STATUS_HASH, wire_get32(incoming.hash), wire_get32(digest));
        return 0;
    }
    return 1;
}

uint32_t transfer_bytes(void) { return incoming.total; }

void transfer_disturb(void)
{
    if (incoming.open && incoming.object != OBJECT_PLAN)
        incoming.open = 0;
}

/* A plan becomes the model, a snapshot the state. */
void transfer_commit(const uint8_t *p, uint32_t n)
{
    const msg_commit_request *asked = (const void *)p;
    uint32_t why[2];
    uint8_t status;
    if (n != sizeof *asked || asked->object > OBJECT_SNAPSHOT) {
        refuse(STATUS_MALFORMED, n, sizeof *asked);
        return;
    }
    if (asked->object == OBJECT_SNAPSHOT && !model.plan) {
        refuse(STATUS_NO_MODEL, 0, 0);
        return;
    }
    if (!transfer_whole(asked->object))
        return;
    if (asked->object == OBJECT_SNAPSHOT) {
        stream_restore(transfer_bytes());
        return;
    }
    status = model_adopt(plan_ram, transfer_bytes(), 0, why);
    stream_forget();
    if (status)
        refuse(status, why[0], why[1]);
}
