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

enum { NO_TENSOR = -1 };

static uint8_t output_memory[BRIDGE_OUTPUT] __attribute__((aligned(64)));
static uint8_t tap_memory[BRIDGE_TAP] __attribute__((aligned(64)));

static struct {
    tcn_hooks hooks;
    uint32_t tap_bytes;      /* of a frame of the tapped tensor */
    uint32_t output_bytes;   /* in output_memory */
    uint32_t snapshot_bytes; /* among the objects, 0: none there */
} stream;

void stream_forget(void)
{
    stream.hooks.tap_frames = NULL;
    stream.output_bytes = 0;
    stream.snapshot_bytes = 0;
}

/* Frames into the core, or its end (in == NULL) -> u64 ticks, u32 made per output, their bytes as far as they fit */
static void advance(const uint8_t *in, uint32_t frames)
{
    const void *from[TCN_MAX_PORTS];
    void *to[TCN_MAX_PORTS];
    int64_t made[TCN_MAX_PORTS], ready[TCN_MAX_PORTS];
    uint32_t i, bytes = 0, inlined;
    uint64_t total = 0, begin;
    int error = tcn_ready(&model.work, model.state, in ? (int64_t)frames : -1, ready);
    if (error) {
        refuse(CORE, (uint32_t)error, 0);
        return;
    }
    for (i = 0; i < tcn_outputs(model.plan); i++)
        total += (uint64_t)ready[i] * model_output_frame(i);
    if (total > sizeof output_memory) {
        refuse(TOO_BIG, total > 0xFFFFFFFFu ? 0xFFFFFFFFu : (uint32_t)total, sizeof output_memory);
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
    model.work.hooks = stream.hooks.tap_frames ? &stream.hooks : NULL;
    begin = port_ticks();
    error = in ? tcn_push(&model.work, model.state, from, frames, to, ready, made)
               : tcn_flush(&model.work, model.state, to, ready, made);
    begin = port_ticks() - begin;
    if (error) {
        refuse(CORE, (uint32_t)error, 0);
        return;
    }
    stream.output_bytes = bytes;
    say64(begin);
    for (i = 0; i < tcn_outputs(model.plan); i++)
        say32((uint32_t)made[i]);
    inlined = bytes > reply_room() ? reply_room() : bytes;
    say_bytes(output_memory, inlined);
}

/* u8 source (0: here, 1: the object OBJECT_INPUT), 3 bytes 0, u32 frames, frames of every input one after the other.
 * Floats and wide integers must stand aligned for the core, so the bytes move to the objects first. */
void stream_push(const uint8_t *p, uint32_t n)
{
    uint64_t wanted;
    if (n < 8 || p[0] > 1) {
        refuse(MALFORMED, n, 8);
        return;
    }
    wanted = (uint64_t)wire_get32(p + 4) * model_input_bytes();
    if (p[0] == 1) {
        if (!transfer_whole(OBJECT_INPUT))
            return;
        if (wanted != transfer_bytes()) {
            refuse(MALFORMED, transfer_bytes(), (uint32_t)wanted);
            return;
        }
    } else {
        if (wanted != n - 8) {
            refuse(MALFORMED, n - 8, (uint32_t)wanted);
            return;
        }
        if (n - 8 > model.objects_room) {
            refuse(TOO_BIG, n - 8, model.objects_room);
            return;
        }
        memcpy(model.objects, p + 8, n - 8);
        transfer_disturb();
    }
    stream.snapshot_bytes = 0;
    advance(model.objects, wire_get32(p + 4));
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
        refuse(CORE, (uint32_t)error, 0);
}

/* -> u32 total, hash; then it is read */
void stream_snapshot(const uint8_t *p, uint32_t n)
{
    size_t size = tcn_snapshot_size(model.plan);
    uint8_t hash[HASH_BYTES];
    int error;
    (void)p;
    (void)n;
    if (size > model.objects_room) {
        refuse(TOO_BIG, (uint32_t)size, model.objects_room);
        return;
    }
    transfer_disturb();
    error = tcn_snapshot(model.state, model.objects);
    if (error) {
        refuse(CORE, (uint32_t)error, 0);
        return;
    }
    stream.snapshot_bytes = (uint32_t)size;
    sha256(model.objects, stream.snapshot_bytes, hash);
    say32(stream.snapshot_bytes);
    say_bytes(hash, HASH_BYTES);
}

void stream_restore(uint32_t bytes)
{
    int error = tcn_restore(&model.work, model.state, model.objects, bytes);
    stream.snapshot_bytes = 0; /* its memory was written */
    if (error)
        refuse(CORE, (uint32_t)error, 0);
}

/* i32 tensor, -1: none -> u32 frames of it that one push may make */
void stream_tap(const uint8_t *p, uint32_t n)
{
    tcn_tensor_facts facts;
    int32_t tensor;
    if (n != 4) {
        refuse(MALFORMED, n, 4);
        return;
    }
    tensor = (int32_t)wire_get32(p);
    stream.hooks.tap_frames = NULL;
    if (tensor == NO_TENSOR) {
        say32(0);
        return;
    }
    if (tensor < 0 || (uint32_t)tensor >= tcn_tensors(model.plan)) {
        refuse(MALFORMED, (uint32_t)tensor, tcn_tensors(model.plan));
        return;
    }
    tcn_describe_tensor(model.plan, (uint32_t)tensor, &facts);
    if (facts.frame_bytes == 0 || facts.frame_bytes > sizeof tap_memory) {
        refuse(TOO_BIG, facts.frame_bytes, sizeof tap_memory);
        return;
    }
    stream.tap_bytes = facts.frame_bytes;
    stream.hooks.tap_tensor = (uint32_t)tensor;
    stream.hooks.tap_frames = tap_memory;
    stream.hooks.tap_room = (uint32_t)sizeof tap_memory / facts.frame_bytes;
    stream.hooks.tap_count = 0;
    stream.hooks.tap_first = 0;
    say32(stream.hooks.tap_room);
}

/* u8 object, 3 bytes 0, u32 offset, u32 count -> u32 total, i64 first frame (tap), bytes */
void stream_read(const uint8_t *p, uint32_t n)
{
    const uint8_t *from = output_memory;
    uint32_t total = stream.output_bytes, offset, count;
    int64_t first = 0;
    if (n != 12 || p[0] < OBJECT_SNAPSHOT || p[0] > OBJECT_TAP || p[0] == OBJECT_INPUT) {
        refuse(MALFORMED, n, 12);
        return;
    }
    if (p[0] == OBJECT_SNAPSHOT) {
        from = model.objects;
        total = stream.snapshot_bytes;
    } else if (p[0] == OBJECT_TAP) {
        from = tap_memory;
        total = stream.hooks.tap_frames ? stream.hooks.tap_count * stream.tap_bytes : 0;
        first = stream.hooks.tap_first;
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
    count = count > reply_room() ? reply_room() : count;
    say_bytes(from + offset, count);
}
