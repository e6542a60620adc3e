/* stream.c - the core at work. */
#include "stream.h"

#include "kernels/bytes.h"

#include "layout.h"
#include "model.h"
#include "port.h"
#include "reply.h"
#include "sha256.h"
#include "transfer.h"
#include "wire.h"

static uint8_t output_memory[BRIDGE_OUTPUT] __attribute__((aligned(64)));
static uint8_t tap_memory[BRIDGE_TAP] __attribute__((aligned(64)));

static struct {
    tcn_hooks hooks;
    uint32_t tap_bytes;      /* of a frame of the tapped tensor */
    uint32_t output_bytes;   /* in output_memory */
    uint32_t snapshot_bytes; /* among the objects, 0: none there */
} stream;

__attribute__((weak)) void port_push_begins(void) {}
__attribute__((weak)) void port_push_ended(void) {}

static uint32_t ticks_now(void) { return (uint32_t)port_ticks(); }

void stream_forget(void)
{
    stream.hooks.tap_frames = NULL;
    stream.hooks.clock = NULL;
    stream.output_bytes = 0;
    stream.snapshot_bytes = 0;
}

/* Frames into the core, or its end (in == NULL) -> their cost, and the frames made as far as they fit */
static void advance(const uint8_t *in, uint32_t frames)
{
    const void *from[TCN_MAX_PORTS];
    void *to[TCN_MAX_PORTS];
    int64_t made[TCN_MAX_PORTS], ready[TCN_MAX_PORTS];
    uint32_t i, bytes = 0, inlined;
    uint64_t total = 0, begin;
    msg_push_reply said;
    int error = tcn_ready(&model.work, model.state, in ? (int64_t)frames : -1, ready);
    if (error) {
        refuse(STATUS_CORE, (uint32_t)error, 0);
        return;
    }
    for (i = 0; i < tcn_outputs(model.plan); i++)
        total += (uint64_t)ready[i] * model_output_frame(i);
    if (total > sizeof output_memory) {
        refuse(STATUS_TOO_BIG, total > 0xFFFFFFFFu ? 0xFFFFFFFFu : (uint32_t)total, sizeof output_memory);
        return;
    }
    for (i = 0; i < tcn_outputs(model.plan); i++) {
        to[i] = output_memory + bytes;
        bytes += (uint32_t)ready[i] * model_output_frame(i);
    }
    for (i = 0; in && i < tcn_inputs(model.plan); i++) {
        from[i] = in;
        in += (size_t)frames * model_input_frame(i);
    }
    stream.hooks.tap_count = 0;
    model.work.hooks = stream.hooks.tap_frames || stream.hooks.clock ? &stream.hooks : NULL;
    port_push_begins();
    begin = port_ticks();
    error = in ? tcn_push(&model.work, model.state, from, frames, to, ready, made)
               : tcn_flush(&model.work, model.state, to, ready, made);
    begin = port_ticks() - begin;
    port_push_ended();
    if (error) {
        refuse(STATUS_CORE, (uint32_t)error, 0);
        return;
    }
    stream.output_bytes = bytes;
    said.ticks = begin;
    say_bytes(&said, sizeof said);
    for (i = 0; i < tcn_outputs(model.plan); i++)
        say32((uint32_t)made[i]);
    inlined = bytes > reply_room() ? reply_room() : bytes;
    say_bytes(output_memory, inlined);
}

/* Floats and wide integers must stand aligned for the core, so the frames move to the objects first. */
void stream_push(const uint8_t *p, uint32_t n)
{
    const msg_push_request *asked = (const void *)p;
    uint32_t bytes;
    uint64_t wanted;
    if (n < sizeof *asked || asked->source > SOURCE_OBJECT) {
        refuse(STATUS_MALFORMED, n, sizeof *asked);
        return;
    }
    bytes = n - sizeof *asked;
    wanted = (uint64_t)asked->frames * model_input_bytes();
    if (asked->source == SOURCE_OBJECT) {
        if (!transfer_whole(OBJECT_INPUT))
            return;
        if (wanted != transfer_bytes()) {
            refuse(STATUS_MALFORMED, transfer_bytes(), (uint32_t)wanted);
            return;
        }
    } else {
        if (wanted != bytes) {
            refuse(STATUS_MALFORMED, bytes, (uint32_t)wanted);
            return;
        }
        if (bytes > model.objects_room) {
            refuse(STATUS_TOO_BIG, bytes, model.objects_room);
            return;
        }
        memcpy(model.objects, p + sizeof *asked, bytes);
        transfer_disturb();
    }
    stream.snapshot_bytes = 0;
    advance(model.objects, asked->frames);
}

void stream_flush(const uint8_t *p, uint32_t n)
{
    (void)p;
    (void)n;
    advance(NULL, 0);
}

void stream_reset(const uint8_t *p, uint32_t n)
{
    int error = tcn_reset(model.state);
    (void)p;
    (void)n;
    if (error)
        refuse(STATUS_CORE, (uint32_t)error, 0);
}

/* It is read afterwards. */
void stream_snapshot(const uint8_t *p, uint32_t n)
{
    size_t size = tcn_snapshot_size(model.plan);
    msg_snapshot_reply said;
    int error;
    (void)p;
    (void)n;
    if (size > model.objects_room) {
        refuse(STATUS_TOO_BIG, (uint32_t)size, model.objects_room);
        return;
    }
    transfer_disturb();
    error = tcn_snapshot(model.state, model.objects);
    if (error) {
        refuse(STATUS_CORE, (uint32_t)error, 0);
        return;
    }
    stream.snapshot_bytes = (uint32_t)size;
    said.total_bytes = stream.snapshot_bytes;
    sha256(model.objects, stream.snapshot_bytes, said.sha256);
    say_bytes(&said, sizeof said);
}

void stream_restore(uint32_t bytes)
{
    int error = tcn_restore(&model.work, model.state, model.objects, bytes);
    stream.snapshot_bytes = 0; /* its memory was written */
    if (error)
        refuse(STATUS_CORE, (uint32_t)error, 0);
}

static void say_tap(uint32_t frames)
{
    msg_tap_reply said = {frames};
    say_bytes(&said, sizeof said);
}

/* The ticks of each operation are kept where a tap's frames would be. */
static void count_operations(void)
{
    uint32_t bytes = tcn_nodes(model.plan) * (uint32_t)sizeof *stream.hooks.ticks;
    if (bytes > sizeof tap_memory) {
        refuse(STATUS_TOO_BIG, bytes, sizeof tap_memory);
        return;
    }
    memset(tap_memory, 0, bytes);
    stream.hooks.ticks = (uint64_t *)(void *)tap_memory;
    stream.hooks.clock = ticks_now;
    stream.tap_bytes = bytes;
    say_tap(0);
}

void stream_tap(const uint8_t *p, uint32_t n)
{
    const msg_tap_request *asked = (const void *)p;
    tcn_tensor_facts facts;
    int32_t tensor;
    if (n != sizeof *asked) {
        refuse(STATUS_MALFORMED, n, sizeof *asked);
        return;
    }
    tensor = asked->tensor;
    stream.hooks.tap_frames = NULL;
    stream.hooks.clock = NULL;
    if (tensor == EVERY_OPERATION) {
        count_operations();
        return;
    }
    if (tensor == NO_TENSOR) {
        say_tap(0);
        return;
    }
    if (tensor < 0 || (uint32_t)tensor >= tcn_tensors(model.plan)) {
        refuse(STATUS_MALFORMED, (uint32_t)tensor, tcn_tensors(model.plan));
        return;
    }
    tcn_describe_tensor(model.plan, (uint32_t)tensor, &facts);
    if (facts.frame_bytes == 0 || facts.frame_bytes > sizeof tap_memory) {
        refuse(STATUS_TOO_BIG, facts.frame_bytes, sizeof tap_memory);
        return;
    }
    stream.tap_bytes = facts.frame_bytes;
    stream.hooks.tap_tensor = (uint32_t)tensor;
    stream.hooks.tap_frames = tap_memory;
    stream.hooks.tap_room = (uint32_t)sizeof tap_memory / facts.frame_bytes;
    stream.hooks.tap_count = 0;
    stream.hooks.tap_first = 0;
    say_tap(stream.hooks.tap_room);
}

void stream_read(const uint8_t *p, uint32_t n)
{
    const msg_read_request *asked = (const void *)p;
    const uint8_t *from = output_memory;
    msg_read_reply said = {stream.output_bytes, 0};
    uint32_t offset, count;
    if (n != sizeof *asked || (asked->object != OBJECT_SNAPSHOT && asked->object != OBJECT_OUTPUT &&
                               asked->object != OBJECT_TAP && asked->object != OBJECT_COSTS)) {
        refuse(STATUS_MALFORMED, n, sizeof *asked);
        return;
    }
    if (asked->object == OBJECT_SNAPSHOT) {
        from = model.objects;
        said.total_bytes = stream.snapshot_bytes;
    } else if (asked->object == OBJECT_TAP) {
        from = tap_memory;
        said.total_bytes = stream.hooks.tap_frames ? stream.hooks.tap_count * stream.tap_bytes : 0;
        said.first_frame = stream.hooks.tap_first;
    } else if (asked->object == OBJECT_COSTS) {
        from = tap_memory;
        said.total_bytes = stream.hooks.clock ? stream.tap_bytes : 0;
    }
    offset = asked->offset_bytes;
    if (offset > said.total_bytes) {
        refuse(STATUS_OFFSET, offset, said.total_bytes);
        return;
    }
    say_bytes(&said, sizeof said);
    count = said.total_bytes - offset;
    count = count > asked->count_bytes ? asked->count_bytes : count;
    count = count > reply_room() ? reply_room() : count;
    say_bytes(from + offset, count);
}
