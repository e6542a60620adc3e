/* app.c - requests in, replies out. Every array is static; the core does all of the arithmetic. */
#include "app.h"

#include "kernels/bytes.h"

#include "format.h"
#include "port.h"
#include "sha256.h"
#include "tcn.h"
#include "wire.h"

#ifndef BRIDGE_BUILD
#define BRIDGE_BUILD "unknown"
#endif
#ifndef BRIDGE_CORE
#define BRIDGE_CORE "unknown"
#endif

enum {
    HELLO = 1, BEGIN, CHUNK, COMMIT, READ, PUSH, FLUSH, RESET, SNAPSHOT, TAP, STATS, FAULT, RESTART,
    LOG = 0x40, DAMAGED = 0x41, REPLY = 0x80
};

enum { /* also in messages.py */
    OK = 0, NO_SESSION, UNKNOWN, MALFORMED, GAP, NO_MODEL, TOO_BIG, HASH, CORE, OFFSET, NO_OBJECT, UNSUPPORTED
};

enum { OBJECT_PLAN = 0, OBJECT_SNAPSHOT, OBJECT_INPUT, OBJECT_OUTPUT, OBJECT_TAP };

enum { CAN_LOAD = 1, CAN_SNAPSHOT = 2, CAN_TAP = 4, CAN_FAULT = 8, CAN_RESTART = 16, PLAN_IN_FLASH = 32,
       CAN_FLUSH = 64 };

enum { NO_TENSOR = -1, HASH_BYTES = 32, RAW = WIRE_HEAD + BRIDGE_PAYLOAD + WIRE_TAIL };

#define ALIGNED __attribute__((aligned(64)))

static uint8_t received[RAW];
static wire_decoder decoder;
static struct {
    uint8_t raw[RAW];
    uint32_t size;
    uint16_t sequence;
} replies[BRIDGE_WINDOW];

static uint8_t plan_ram[BRIDGE_PLAN_RAM ? BRIDGE_PLAN_RAM : 1] ALIGNED;
static uint8_t state_memory[BRIDGE_STATE] ALIGNED;
static uint8_t scratch_memory[BRIDGE_SCRATCH] ALIGNED;
static uint8_t object_memory[BRIDGE_OBJECT] ALIGNED;
static uint8_t output_memory[BRIDGE_OUTPUT] ALIGNED;
static uint8_t tap_memory[BRIDGE_TAP] ALIGNED;

static struct {
    uint16_t session, expected;
    const tcn_plan *plan; /* NULL: no model */
    uint32_t plan_bytes;
    uint8_t plan_hash[HASH_BYTES];
    uint8_t plan_flashed;
    tcn_work work;
    tcn_hooks hooks;
    uint32_t tap_bytes;    /* of a frame of the tapped tensor */
    uint32_t output_bytes; /* in output_memory */
    uint32_t frames, damaged, repeated, gaps;
} app;

/* One object at a time comes in. */
static struct {
    uint8_t open, object, hash[HASH_BYTES];
    uint32_t total, have;
} incoming;

static struct {
    uint32_t total;
    uint8_t hash[HASH_BYTES];
} snapshot_out;

#ifdef BRIDGE_FAULT
extern uint32_t bridge_fault_node;
#endif

/* The reply under construction. */
static struct {
    uint8_t *at; /* next byte of the payload */
    uint8_t *raw;
    uint8_t status;
} reply;

static tcn_state *state(void) { return (tcn_state *)(void *)state_memory; }

static uint32_t room_left(void) { return BRIDGE_PAYLOAD - (uint32_t)(reply.at - reply.raw - WIRE_HEAD); }

static uint32_t length_of(const char *text)
{
    uint32_t n = 0;
    while (text[n])
        n++;
    return n;
}

static void say32(uint32_t v)
{
    wire_put32(reply.at, v);
    reply.at += 4;
}

static void say64(uint64_t v)
{
    wire_put64(reply.at, v);
    reply.at += 8;
}

static void say_bytes(const void *bytes, uint32_t n)
{
    memcpy(reply.at, bytes, n);
    reply.at += n;
}

/* At most 255 characters, and no more than fits. */
static void say_text(const char *text)
{
    uint32_t n = length_of(text), most = room_left();
    if (most == 0)
        return;
    n = n > 255 ? 255 : n;
    n = n > most - 1 ? most - 1 : n;
    *reply.at++ = (uint8_t)n;
    say_bytes(text, n);
}

/* A refusal says what and two numbers: what was wanted and what there is, or a code and a place. */
static void refuse(uint8_t status, uint32_t a, uint32_t b)
{
    reply.status = status;
    reply.at = reply.raw + WIRE_HEAD;
    say32(a);
    say32(b);
}

static void send_now(uint8_t kind, const void *payload, uint32_t n)
{
    static uint8_t raw[WIRE_HEAD + 256 + WIRE_TAIL];
    memcpy(raw + WIRE_HEAD, payload, n);
    wire_send(raw, wire_seal(raw, kind, 0, app.session, 0, BRIDGE_RECEIVE > 65535u ? 65535u : BRIDGE_RECEIVE, (uint16_t)n),
              port_write);
    port_flush();
}

void app_log(int level, const char *text)
{
    uint8_t line[201];
    uint32_t n = length_of(text);
    n = n > sizeof line - 1 ? sizeof line - 1 : n;
    line[0] = (uint8_t)level;
    memcpy(line + 1, text, n);
    send_now(LOG, line, n + 1);
}

/* Models ------------------------------------------------------------------------------------------ */

/* Makes `bytes` the model; 0, or TOO_BIG or CORE with two numbers in why. */
static uint8_t adopt(const uint8_t *bytes, uint32_t size, int flashed, uint32_t why[2])
{
    const tcn_plan *plan = (const tcn_plan *)(const void *)bytes;
    size_t position = 0;
    uint32_t block = BRIDGE_BLOCK;
    int error = tcn_check(bytes, size, &position);
    app.plan = NULL;
    if (error) {
        why[0] = (uint32_t)error;
        why[1] = (uint32_t)position;
        return CORE;
    }
    if (tcn_state_size(plan) > sizeof state_memory) {
        why[0] = (uint32_t)tcn_state_size(plan);
        why[1] = sizeof state_memory;
        return TOO_BIG;
    }
    while (block > 1 && tcn_scratch_size(plan, block, 1) > sizeof scratch_memory)
        block--;
    if (tcn_scratch_size(plan, block, 1) > sizeof scratch_memory) {
        why[0] = (uint32_t)tcn_scratch_size(plan, block, 1);
        why[1] = sizeof scratch_memory;
        return TOO_BIG;
    }
    error = tcn_prepare(&app.work, scratch_memory, sizeof scratch_memory, plan, block, 1, TCN_ISA_BEST);
    if (!error)
        error = tcn_init(state(), sizeof state_memory, plan);
    if (error) {
        why[0] = (uint32_t)error;
        why[1] = 0;
        return CORE;
    }
    app.plan = plan;
    app.plan_bytes = ((const tcn_header *)(const void *)bytes)->bytes;
    app.plan_flashed = (uint8_t)flashed;
    sha256(bytes, app.plan_bytes, app.plan_hash);
    app.hooks.tap_frames = NULL;
    app.output_bytes = 0;
    snapshot_out.total = 0;
    return OK;
}

static uint32_t total_frame_bytes(int outputs)
{
    uint32_t i, sum = 0, n = outputs ? tcn_outputs(app.plan) : tcn_inputs(app.plan);
    tcn_tensor_facts facts;
    for (i = 0; i < n; i++) {
        tcn_describe_tensor(app.plan, outputs ? tcn_output_tensor(app.plan, i) : tcn_input_tensor(app.plan, i), &facts);
        sum += facts.frame_bytes;
    }
    return sum;
}

/* Requests ------------------------------------------------------------------------------------------ */

static void hello(void)
{
    uint32_t can = CAN_TAP | CAN_FLUSH;
    if (BRIDGE_PLAN_RAM)
        can |= CAN_LOAD;
    if (app.plan && app.plan_flashed)
        can |= PLAN_IN_FLASH;
    if (!app.plan || tcn_snapshot_size(app.plan) <= sizeof object_memory)
        can |= CAN_SNAPSHOT;
    if (port.can_reset)
        can |= CAN_RESTART;
#ifdef BRIDGE_FAULT
    can |= CAN_FAULT;
#endif
    say32(BRIDGE_PROTOCOL);
    say32(can);
    say32(port.clock_hz);
    say32(port.ticks_hz);
    say32(port.ticks_unit);
    say32(BRIDGE_WINDOW);
    say32(BRIDGE_PAYLOAD);
    say32(BRIDGE_RECEIVE);
    say32(BRIDGE_PLAN_RAM);
    say32(BRIDGE_STATE);
    say32(BRIDGE_SCRATCH);
    say32(BRIDGE_OBJECT);
    say32(BRIDGE_OUTPUT);
    say32(BRIDGE_TAP);
    say32(app.plan ? app.plan_bytes : 0);
    say32(app.plan ? (((const tcn_header *)(const void *)app.plan)->flags & 1) : 0);
    say32(app.plan ? app.work.block : 0);
    say32(app.plan ? (uint32_t)app.work.isa : 0);
    say_bytes(app.plan_hash, HASH_BYTES);
    say_text(port.target);
    say_text(BRIDGE_BUILD);
    say_text(BRIDGE_CORE);
    say_text(app.plan ? tcn_identity(app.plan) : "");
}

static uint8_t *place_of(uint8_t object, uint32_t *room)
{
    *room = object == OBJECT_PLAN ? BRIDGE_PLAN_RAM : sizeof object_memory;
    return object == OBJECT_PLAN ? plan_ram : object_memory;
}

/* u8 object, 3 bytes 0, u32 total, hash -> u32 have: where a broken transfer of the same object goes on */
static void begin(const uint8_t *p, uint32_t n)
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
    if (p[0] == OBJECT_PLAN && app.plan && !app.plan_flashed)
        app.plan = NULL; /* its memory is about to be written */
    say32(incoming.have);
}

/* u32 tag (of the hash), u32 offset, u32 total, bytes -> u32 have */
static void chunk(const uint8_t *p, uint32_t n)
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

/* Whether the object is here, whole and right. */
static int whole(uint8_t object)
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

/* u8 object: a plan becomes the model, a snapshot the state */
static void commit(const uint8_t *p, uint32_t n)
{
    uint32_t why[2];
    uint8_t status;
    int error;
    if (n != 1 || p[0] > OBJECT_SNAPSHOT) {
        refuse(MALFORMED, n, 1);
        return;
    }
    if (p[0] == OBJECT_SNAPSHOT && !app.plan) {
        refuse(NO_MODEL, 0, 0);
        return;
    }
    if (!whole(p[0]))
        return;
    if (p[0] == OBJECT_PLAN) {
        status = adopt(plan_ram, incoming.total, 0, why);
        if (status)
            refuse(status, why[0], why[1]);
        return;
    }
    error = tcn_restore(&app.work, state(), object_memory, incoming.total);
    snapshot_out.total = 0; /* its memory was written */
    if (error)
        refuse(CORE, (uint32_t)error, 0);
}

/* u8 object, 3 bytes 0, u32 offset, u32 count -> u32 total, i64 first frame (tap), bytes */
static void read_object(const uint8_t *p, uint32_t n)
{
    const uint8_t *from = output_memory;
    uint32_t total = app.output_bytes, offset, count;
    int64_t first = 0;
    if (n != 12 || p[0] < OBJECT_SNAPSHOT || p[0] > OBJECT_TAP || p[0] == OBJECT_INPUT) {
        refuse(MALFORMED, n, 12);
        return;
    }
    if (p[0] == OBJECT_SNAPSHOT) {
        from = object_memory;
        total = snapshot_out.total;
    } else if (p[0] == OBJECT_TAP) {
        from = tap_memory;
        total = app.hooks.tap_frames ? app.hooks.tap_count * app.tap_bytes : 0;
        first = app.hooks.tap_first;
    }
    offset = wire_get32(p + 4);
    count = wire_get32(p + 8);
    if (offset > total) {
        refuse(OFFSET, offset, total);
        return;
    }
    say32(total);
    say64((uint64_t)first);
    count = count > total - offset ? total - offset : count;
    count = count > room_left() ? room_left() : count;
    say_bytes(from + offset, count);
}

/* Frames into the core, or its end (in == NULL) -> u64 ticks, u32 made per output, their bytes as far as they fit */
static void advance(const uint8_t *in, uint32_t frames)
{
    const void *from[TCN_MAX_PORTS];
    void *to[TCN_MAX_PORTS];
    int64_t made[TCN_MAX_PORTS], ready[TCN_MAX_PORTS];
    tcn_tensor_facts facts;
    uint32_t i, bytes = 0, inlined;
    uint64_t total = 0, begin;
    int error = tcn_ready(&app.work, state(), in ? (int64_t)frames : -1, ready);
    if (error) {
        refuse(CORE, (uint32_t)error, 0);
        return;
    }
    for (i = 0; i < tcn_outputs(app.plan); i++) {
        tcn_describe_tensor(app.plan, tcn_output_tensor(app.plan, i), &facts);
        total += (uint64_t)ready[i] * facts.frame_bytes;
    }
    if (total > sizeof output_memory) {
        refuse(TOO_BIG, total > 0xFFFFFFFFu ? 0xFFFFFFFFu : (uint32_t)total, sizeof output_memory);
        return;
    }
    for (i = 0; i < tcn_outputs(app.plan); i++) {
        tcn_describe_tensor(app.plan, tcn_output_tensor(app.plan, i), &facts);
        to[i] = output_memory + bytes;
        bytes += (uint32_t)ready[i] * facts.frame_bytes;
    }
    for (i = 0; in && i < tcn_inputs(app.plan); i++) {
        tcn_describe_tensor(app.plan, tcn_input_tensor(app.plan, i), &facts);
        from[i] = in;
        in += (size_t)frames * facts.frame_bytes;
    }
    app.hooks.tap_count = 0;
    app.work.hooks = app.hooks.tap_frames ? &app.hooks : NULL;
    begin = port_ticks();
    error = in ? tcn_push(&app.work, state(), from, frames, to, ready, made)
               : tcn_flush(&app.work, state(), to, ready, made);
    begin = port_ticks() - begin;
    if (error) {
        refuse(CORE, (uint32_t)error, 0);
        return;
    }
    app.output_bytes = bytes;
    say64(begin);
    for (i = 0; i < tcn_outputs(app.plan); i++)
        say32((uint32_t)made[i]);
    inlined = bytes > room_left() ? room_left() : bytes;
    say_bytes(output_memory, inlined);
}

/* u8 source (0: here, 1: the object OBJECT_INPUT), 3 bytes 0, u32 frames, frames of every input one after the other.
 * Floats and wide integers must stand aligned for the core, so the bytes move to object_memory first. */
static void push(const uint8_t *p, uint32_t n)
{
    uint64_t wanted;
    if (n < 8 || p[0] > 1) {
        refuse(MALFORMED, n, 8);
        return;
    }
    wanted = (uint64_t)wire_get32(p + 4) * total_frame_bytes(0);
    if (p[0] == 1) {
        if (!whole(OBJECT_INPUT))
            return;
        if (wanted != incoming.total) {
            refuse(MALFORMED, incoming.total, (uint32_t)wanted);
            return;
        }
    } else {
        if (wanted != n - 8) {
            refuse(MALFORMED, n - 8, (uint32_t)wanted);
            return;
        }
        if (n - 8 > sizeof object_memory) {
            refuse(TOO_BIG, n - 8, sizeof object_memory);
            return;
        }
        memcpy(object_memory, p + 8, n - 8);
        if (incoming.open && incoming.object != OBJECT_PLAN)
            incoming.open = 0;
    }
    snapshot_out.total = 0;
    advance(object_memory, wire_get32(p + 4));
}

/* -> u32 total, hash; then it is read */
static void snapshot(void)
{
    size_t size = tcn_snapshot_size(app.plan);
    int error;
    if (size > sizeof object_memory) {
        refuse(TOO_BIG, (uint32_t)size, sizeof object_memory);
        return;
    }
    if (incoming.open && incoming.object != OBJECT_PLAN)
        incoming.open = 0;
    error = tcn_snapshot(state(), object_memory);
    if (error) {
        refuse(CORE, (uint32_t)error, 0);
        return;
    }
    snapshot_out.total = (uint32_t)size;
    sha256(object_memory, snapshot_out.total, snapshot_out.hash);
    say32(snapshot_out.total);
    say_bytes(snapshot_out.hash, HASH_BYTES);
}

/* i32 tensor, -1: none -> u32 frames of it that one push may make */
static void tap(const uint8_t *p, uint32_t n)
{
    tcn_tensor_facts facts;
    int32_t tensor;
    if (n != 4) {
        refuse(MALFORMED, n, 4);
        return;
    }
    tensor = (int32_t)wire_get32(p);
    app.hooks.tap_frames = NULL;
    if (tensor == NO_TENSOR) {
        say32(0);
        return;
    }
    if (tensor < 0 || (uint32_t)tensor >= tcn_tensors(app.plan)) {
        refuse(MALFORMED, (uint32_t)tensor, tcn_tensors(app.plan));
        return;
    }
    tcn_describe_tensor(app.plan, (uint32_t)tensor, &facts);
    if (facts.frame_bytes == 0 || facts.frame_bytes > sizeof tap_memory) {
        refuse(TOO_BIG, facts.frame_bytes, sizeof tap_memory);
        return;
    }
    app.tap_bytes = facts.frame_bytes;
    app.hooks.tap_tensor = (uint32_t)tensor;
    app.hooks.tap_frames = tap_memory;
    app.hooks.tap_room = (uint32_t)sizeof tap_memory / facts.frame_bytes;
    app.hooks.tap_count = 0;
    app.hooks.tap_first = 0;
    say32(app.hooks.tap_room);
}

static void stats(void)
{
    say32(app.frames);
    say32(app.damaged);
    say32(app.repeated);
    say32(app.gaps);
    say32(port_overruns());
    say32(port_stack_used());
    say32(port_stack_size());
    say32(app.plan ? (uint32_t)tcn_state_size(app.plan) : 0);
    say32(app.plan ? (uint32_t)tcn_scratch_size(app.plan, app.work.block, 1) : 0);
    say32(app.plan ? (uint32_t)tcn_snapshot_size(app.plan) : 0);
    say64(app.plan ? (uint64_t)tcn_frames_in(state()) : 0);
}

static void fault(const uint8_t *p, uint32_t n)
{
#ifdef BRIDGE_FAULT
    if (n != 4) {
        refuse(MALFORMED, n, 4);
        return;
    }
    bridge_fault_node = wire_get32(p);
#else
    (void)p;
    refuse(UNSUPPORTED, FAULT, n);
#endif
}

static void execute(const wire_frame *f)
{
    const uint8_t *p = f->payload;
    uint32_t n = f->length;
    int error;
    if (f->kind >= PUSH && f->kind <= TAP && !app.plan) {
        refuse(NO_MODEL, 0, 0);
        return;
    }
    switch (f->kind) {
    case HELLO:
        hello();
        break;
    case BEGIN:
        begin(p, n);
        break;
    case CHUNK:
        chunk(p, n);
        break;
    case COMMIT:
        commit(p, n);
        break;
    case READ:
        read_object(p, n);
        break;
    case PUSH:
        push(p, n);
        break;
    case FLUSH:
        advance(NULL, 0);
        break;
    case RESET:
        error = tcn_reset(state());
        if (error)
            refuse(CORE, (uint32_t)error, 0);
        break;
    case SNAPSHOT:
        snapshot();
        break;
    case TAP:
        tap(p, n);
        break;
    case STATS:
        stats();
        break;
    case FAULT:
        fault(p, n);
        break;
    case RESTART:
        if (!port.can_reset)
            refuse(UNSUPPORTED, RESTART, 0);
        break;
    default:
        refuse(UNKNOWN, f->kind, 0);
    }
}

static void answer(uint32_t slot, const wire_frame *f, int run)
{
    uint16_t credit = BRIDGE_RECEIVE > 65535u ? 65535u : (uint16_t)BRIDGE_RECEIVE;
    reply.raw = replies[slot].raw;
    reply.at = reply.raw + WIRE_HEAD;
    reply.status = OK;
    if (run)
        execute(f);
    replies[slot].sequence = f->sequence;
    replies[slot].size = wire_seal(reply.raw, f->kind | REPLY, reply.status, app.session, f->sequence, credit,
                                   (uint16_t)(reply.at - reply.raw - WIRE_HEAD));
    wire_send(reply.raw, replies[slot].size, port_write);
    port_flush();
}

/* A refusal that is not kept: nothing happened, and the same request may come again in its place. */
static void turn_away(const wire_frame *f, uint8_t status, uint32_t a, uint32_t b)
{
    uint8_t raw[WIRE_HEAD + 8 + WIRE_TAIL];
    wire_put32(raw + WIRE_HEAD, a);
    wire_put32(raw + WIRE_HEAD + 4, b);
    wire_send(raw, wire_seal(raw, f->kind | REPLY, status, f->session, f->sequence, 0, 8), port_write);
    port_flush();
}

static void take(const wire_frame *f)
{
    uint32_t slot;
    app.frames++;
    if (f->kind == HELLO && f->session != app.session && f->session != 0) {
        app.session = f->session;
        app.expected = f->sequence;
        for (slot = 0; slot < BRIDGE_WINDOW; slot++)
            replies[slot].size = 0;
    }
    if (app.session == 0 || f->session != app.session) {
        turn_away(f, NO_SESSION, f->session, app.session);
        return;
    }
    slot = f->sequence % BRIDGE_WINDOW;
    if (f->sequence == app.expected) {
        app.expected++;
        answer(slot, f, 1);
        if (f->kind == RESTART && port.can_reset)
            port_reset();
    } else if (replies[slot].size && replies[slot].sequence == f->sequence) {
        app.repeated++;
        wire_send(replies[slot].raw, replies[slot].size, port_write);
        port_flush();
    } else if ((uint16_t)(f->sequence - app.expected) < 0x8000u) {
        app.gaps++;
        turn_away(f, GAP, f->sequence, app.expected);
    }
    /* else: an old request whose reply the host has long had */
}

void app_start(void)
{
    uint32_t size, why[2];
    const uint8_t *flashed = port_plan(&size);
    wire_start(&decoder, received, sizeof received);
    app_log(LOG_INFO, "started");
    if (flashed) {
        uint8_t status = adopt(flashed, size, 1, why);
        if (status == TOO_BIG)
            app_log(LOG_WARNING, "the flashed plan needs more memory for state or scratch than this board has");
        else if (status && why[0] != TCN_MAGIC && why[0] != TCN_TRUNCATED)
            app_log(LOG_WARNING, "the flashed plan is damaged or not for this core");
    }
}

void app_byte(uint8_t byte)
{
    wire_frame frame;
    int found = wire_feed(&decoder, byte, &frame);
    if (found == WIRE_FRAME) {
        take(&frame);
    } else if (found == WIRE_DAMAGED) {
        uint8_t count[4];
        app.damaged++;
        wire_put32(count, app.damaged);
        send_now(DAMAGED, count, sizeof count);
    }
}
