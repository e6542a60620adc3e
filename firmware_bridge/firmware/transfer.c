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

/* u8 object, 3 bytes 0, u32 total, hash -> u32 have: where a broken transfer of the same object goes on */
void transfer_begin(const uint8_t *p, uint32_t n)
{
    uint32_t room;
    if (n != 8 + HASH_BYTES || p[0] > OBJECT_INPUT) {
        refuse(MALFORMED, n, 8 + HASH_BYTES);
        return;
    }
    place_of(p[0], &room);
    if (wire_get32(p + 4) > room) {
        refuse(TOO_BIG, wire_get32(p + 4), room);
        return;
    }
    if (!incoming.open || incoming.object != p[0] || incoming.total != wire_get32(p + 4) ||
        memcmp(incoming.hash, p + 8, HASH_BYTES) != 0) {
        incoming.open = 1;
        incoming.object = p[0];
        incoming.total = wire_get32(p + 4);
        memcpy(incoming.hash, p + 8, HASH_BYTES);
        incoming.have = 0;
    }
    if (p[0] == OBJECT_PLAN && model.plan && !model.flashed)
        model_drop(); /* its memory is about to be written */
    say32(incoming.have);
}

/* u32 tag (of the hash), u32 offset, u32 total, bytes -> u32 have */
void transfer_chunk(const uint8_t *p, uint32_t n)
{
    uint32_t room, offset;
    uint8_t *to;
    if (n < 12) {
        refuse(MALFORMED, n, 12);
        return;
    }
    if (!incoming.open || wire_get32(p) != wire_get32(incoming.hash) || wire_get32(p + 8) != incoming.total) {
        refuse(NO_OBJECT, wire_get32(p), wire_get32(incoming.hash));
        return;
    }
    offset = wire_get32(p + 4);
    to = place_of(incoming.object, &room);
    if (offset > incoming.have || n - 12 > incoming.total - offset) {
        refuse(OFFSET, offset, incoming.have);
        return;
    }
    memcpy(to + offset, p + 12, n - 12);
    if (offset + (n - 12) > incoming.have)
        incoming.have = offset + (n - 12);
    say32(incoming.have);
}

int transfer_whole(uint8_t object)
{
    uint8_t digest[HASH_BYTES];
    uint32_t room;
    if (!incoming.open || incoming.object != object) {
        refuse(NO_OBJECT, object, incoming.object);
        return 0;
    }
    if (incoming.have != incoming.total) {
        refuse(OFFSET, incoming.total, incoming.have);
        return 0;
    }
    sha256(place_of(object, &room), incoming.total, digest);
    incoming.open = 0;
    if (memcmp(digest, incoming.hash, HASH_BYTES) != 0) {
        refuse(HASH, wire_get32(incoming.hash), wire_get32(digest));
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

/* u8 object: a plan becomes the model, a snapshot the state */
void transfer_commit(const uint8_t *p, uint32_t n)
{
    uint32_t why[2];
    uint8_t status;
    if (n != 1 || p[0] > OBJECT_SNAPSHOT) {
        refuse(MALFORMED, n, 1);
        return;
    }
    if (p[0] == OBJECT_SNAPSHOT && !model.plan) {
        refuse(NO_MODEL, 0, 0);
        return;
    }
    if (!transfer_whole(p[0]))
        return;
    if (p[0] == OBJECT_SNAPSHOT) {
        stream_restore(transfer_bytes());
        return;
    }
    status = model_adopt(plan_ram, transfer_bytes(), 0, why);
    stream_forget();
    if (status)
        refuse(status, why[0], why[1]);
}
