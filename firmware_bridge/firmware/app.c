/* app.c - requests in, replies out: sessions, sequence numbers, resends. Every array is static. */
#include "app.h"

#include "kernels/bytes.h"

#include "layout.h"
#include "model.h"
#include "port.h"
#include "protocol.h"
#include "reply.h"
#include "stream.h"
#include "tcn.h"
#include "transfer.h"
#include "wire.h"

#ifndef BRIDGE_BUILD
#define BRIDGE_BUILD "unknown"
#endif
#ifndef BRIDGE_CORE
#define BRIDGE_CORE "unknown"
#endif

enum { RAW = WIRE_HEAD + BRIDGE_PAYLOAD + WIRE_TAIL, CREDIT = BRIDGE_RECEIVE > 65535u ? 65535u : BRIDGE_RECEIVE };

static uint8_t received[RAW];
static wire_decoder decoder;
static struct {
    uint8_t raw[RAW];
    uint32_t size;
    uint16_t sequence;
} replies[BRIDGE_WINDOW];

static struct {
    uint16_t session, expected;
    uint32_t frames, damaged, repeated, gaps;
} app;

#ifdef BRIDGE_FAULT
extern uint32_t bridge_fault_node;
#endif

/* Requests that are about the board as a whole ---------------------------------------------------------- */

static void hello(const uint8_t *p, uint32_t n)
{
    uint32_t can = CAN_TAP | CAN_FLUSH | CAN_COSTS;
    msg_hello said;
    (void)p;
    (void)n;
    if (BRIDGE_PLAN_RAM)
        can |= CAN_LOAD;
    if (model.plan && model.flashed)
        can |= CAN_PLAN_IN_FLASH;
    if (!model.plan || tcn_snapshot_size(model.plan) <= model.objects_room)
        can |= CAN_SNAPSHOT;
    if (port.can_reset)
        can |= CAN_RESTART;
#ifdef BRIDGE_FAULT
    can |= CAN_FAULT;
#endif
    said.protocol = BRIDGE_PROTOCOL;
    said.can = can;
    said.clock_hz = port.clock_hz;
    said.ticks_hz = port.ticks_hz;
    said.ticks_unit = port.ticks_unit;
    said.window = BRIDGE_WINDOW;
    said.payload_bytes = BRIDGE_PAYLOAD;
    said.receive_bytes = BRIDGE_RECEIVE;
    said.plan_room_bytes = BRIDGE_PLAN_RAM;
    said.state_room_bytes = BRIDGE_MEMORY; /* state, scratch and objects share it */
    said.scratch_room_bytes = BRIDGE_MEMORY;
    said.object_room_bytes = model.objects_room;
    said.output_room_bytes = BRIDGE_OUTPUT;
    said.tap_room_bytes = BRIDGE_TAP;
    said.plan_bytes = model.plan ? model.plan_bytes : 0;
    said.plan_rounding = model.plan ? ((const tcn_header *)(const void *)model.plan)->flags & PLAN_TFLM_ROUNDING : 0;
    said.block_frames = model.plan ? model.work.block : 0;
    said.isa = model.plan ? (uint32_t)model.work.isa : 0;
    memcpy(said.plan_sha256, model.plan_hash, HASH_BYTES);
    say_bytes(&said, sizeof said);
    say_text(port.target);
    say_text(BRIDGE_BUILD);
    say_text(BRIDGE_CORE);
    say_text(model.plan ? tcn_identity(model.plan) : "");
}

static void stats(const uint8_t *p, uint32_t n)
{
    msg_stats said;
    (void)p;
    (void)n;
    said.frames = app.frames;
    said.damaged = app.damaged;
    said.repeated = app.repeated;
    said.gaps = app.gaps;
    said.overruns = port_overruns();
    said.stack_used_bytes = port_stack_used();
    said.stack_bytes = port_stack_size();
    said.state_bytes = model.plan ? (uint32_t)tcn_state_size(model.plan) : 0;
    said.scratch_bytes = model.plan ? (uint32_t)tcn_scratch_size(model.plan, model.work.block, 1) : 0;
    said.snapshot_bytes = model.plan ? (uint32_t)tcn_snapshot_size(model.plan) : 0;
    said.frames_in = model.plan ? (uint64_t)tcn_frames_in(model.state) : 0;
    say_bytes(&said, sizeof said);
}

static void fault(const uint8_t *p, uint32_t n)
{
#ifdef BRIDGE_FAULT
    const msg_fault_request *asked = (const void *)p;
    if (n != sizeof *asked) {
        refuse(STATUS_MALFORMED, n, sizeof *asked);
        return;
    }
    bridge_fault_node = asked->node;
#else
    (void)p;
    refuse(STATUS_UNSUPPORTED, KIND_FAULT, n);
#endif
}

/* The restart itself follows the reply. */
static void restart(const uint8_t *p, uint32_t n)
{
    (void)p;
    (void)n;
    if (!port.can_reset)
        refuse(STATUS_UNSUPPORTED, KIND_RESTART, 0);
}

/* Each request once and in order ------------------------------------------------------------------------ */

static const struct {
    void (*act)(const uint8_t *p, uint32_t n);
    uint8_t wants_model;
} requests[] = {
    [KIND_HELLO] = {hello, 0},
    [KIND_BEGIN] = {transfer_begin, 0},
    [KIND_CHUNK] = {transfer_chunk, 0},
    [KIND_COMMIT] = {transfer_commit, 0},
    [KIND_READ] = {stream_read, 0},
    [KIND_PUSH] = {stream_push, 1},
    [KIND_FLUSH] = {stream_flush, 1},
    [KIND_RESET] = {stream_reset, 1},
    [KIND_SNAPSHOT] = {stream_snapshot, 1},
    [KIND_TAP] = {stream_tap, 1},
    [KIND_STATS] = {stats, 0},
    [KIND_FAULT] = {fault, 0},
    [KIND_RESTART] = {restart, 0},
};

static void execute(const wire_frame *f)
{
    if (f->kind >= sizeof requests / sizeof *requests || !requests[f->kind].act)
        refuse(STATUS_UNKNOWN, f->kind, 0);
    else if (requests[f->kind].wants_model && !model.plan)
        refuse(STATUS_NO_MODEL, 0, 0);
    else
        requests[f->kind].act(f->payload, f->length);
}

static void answer(uint32_t slot, const wire_frame *f)
{
    uint8_t *raw = replies[slot].raw;
    reply_begin(raw);
    execute(f);
    replies[slot].sequence = f->sequence;
    replies[slot].size =
        wire_seal(raw, f->kind | REPLY, reply_status(), app.session, f->sequence, CREDIT, (uint16_t)reply_bytes());
    wire_send(raw, replies[slot].size, port_write);
    port_flush();
}

/* A refusal that is not kept: nothing happened, and the same request may come again in its place. */
static void turn_away(const wire_frame *f, uint8_t status, uint32_t a, uint32_t b)
{
    uint8_t raw[WIRE_HEAD + sizeof(msg_refusal) + WIRE_TAIL];
    msg_refusal why = {a, b};
    memcpy(raw + WIRE_HEAD, &why, sizeof why);
    wire_send(raw, wire_seal(raw, f->kind | REPLY, status, f->session, f->sequence, 0, sizeof why), port_write);
    port_flush();
}

static void take(const wire_frame *f)
{
    uint32_t slot;
    app.frames++;
    if (f->kind == KIND_HELLO && f->session != app.session && f->session != 0) {
        app.session = f->session;
        app.expected = f->sequence;
        for (slot = 0; slot < BRIDGE_WINDOW; slot++)
            replies[slot].size = 0;
    }
    if (app.session == 0 || f->session != app.session) {
        turn_away(f, STATUS_NO_SESSION, f->session, app.session);
        return;
    }
    slot = f->sequence % BRIDGE_WINDOW;
    if (f->sequence == app.expected) {
        app.expected++;
        answer(slot, f);
        if (f->kind == KIND_RESTART && port.can_reset)
            port_reset();
    } else if (replies[slot].size && replies[slot].sequence == f->sequence) {
        app.repeated++;
        wire_send(replies[slot].raw, replies[slot].size, port_write);
        port_flush();
    } else if ((uint16_t)(f->sequence - app.expected) < 0x8000u) {
        app.gaps++;
        turn_away(f, STATUS_GAP, f->sequence, app.expected);
    }
    /* else: an old request whose reply the host has long had */
}

/* What is said unasked ------------------------------------------------------------------------------------ */

static void send_now(uint8_t kind, const void *payload, uint32_t n)
{
    static uint8_t raw[WIRE_HEAD + 256 + WIRE_TAIL];
    memcpy(raw + WIRE_HEAD, payload, n);
    wire_send(raw, wire_seal(raw, kind, 0, app.session, 0, CREDIT, (uint16_t)n), port_write);
    port_flush();
}

void app_log(int level, const char *text)
{
    struct {
        msg_log head;
        char text[200];
    } line;
    uint32_t n = length_of(text);
    n = n > sizeof line.text ? sizeof line.text : n;
    line.head.level = (uint8_t)level;
    memcpy(line.text, text, n);
    send_now(KIND_LOG, &line, sizeof line.head + n);
}

/* Start, and every byte from then on ------------------------------------------------------------------------ */

static void app_start(void)
{
    uint32_t size, why[2];
    const uint8_t *flashed = port_plan(&size);
    wire_start(&decoder, received, sizeof received);
    model_drop();
    app_log(LOG_INFO, "started");
    if (flashed) {
        uint8_t status = model_adopt(flashed, size, 1, why);
        if (status == STATUS_TOO_BIG)
            app_log(LOG_WARNING, "the flashed plan needs more memory for state or scratch than this board has");
        else if (status && why[0] != TCN_MAGIC && why[0] != TCN_TRUNCATED)
            app_log(LOG_WARNING, "the flashed plan is damaged or not for this core");
    }
}

static void app_byte(uint8_t byte)
{
    wire_frame frame;
    int found = wire_feed(&decoder, byte, &frame);
    if (found == WIRE_FRAME) {
        take(&frame);
    } else if (found == WIRE_DAMAGED) {
        msg_damaged_count count = {++app.damaged};
        send_now(KIND_DAMAGED, &count, sizeof count);
    }
}

void app_run(void)
{
    app_start();
    for (;;) {
        int byte = port_read();
        if (byte < 0)
            port_wait();
        else
            app_byte((uint8_t)byte);
    }
}
