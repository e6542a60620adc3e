/* misuse.c - what a caller may do wrong, and the code that it gets: run with a plan file of a float32 model.
 *
 *     misuse PLAN
 *
 * Prints each mistake whose answer is not the one in tcn.h; exits with how many there were. */
#define _POSIX_C_SOURCE 200112L
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcn.h"

enum { BLOCK = 8, ROOM = 4096 };

static int wrong;

static void expect(int got, int code, const char *what)
{
    if (got != code) {
        printf("%s: %d, not %d\n", what, got, code);
        wrong++;
    }
}

static void *memory(size_t size, size_t alignment)
{
    void *made = NULL;
    if (posix_memalign(&made, alignment, size))
        exit(100);
    memset(made, 0xA5, size);
    return made;
}

static void *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    long length;
    void *content;
    if (!file || fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
        exit(100);
    *size = (size_t)length;
    content = memory(*size, 64);
    if (fread(content, 1, *size, file) != *size)
        exit(100);
    fclose(file);
    return content;
}

int main(int argc, char **argv)
{
    size_t size, position = 0, state_size, scratch_size, blob_size, k;
    tcn_tensor_facts in_facts, out_facts;
    uint8_t *state_bytes, *scratch_bytes, *blob, *bytes, *before;
    tcn_work work, other;
    tcn_state *state;
    float *in, *out;
    const void *from[1];
    void *to[1];
    int64_t room[1] = {ROOM}, made[1] = {-7}, frames[1];
    tcn_lane lanes[2];
    uint32_t bad = 99;
    if (argc < 2)
        return 100;
    bytes = read_file(argv[1], &size);

    expect(tcn_check(bytes, 4, &position), TCN_TRUNCATED, "a plan of four bytes");
    expect(tcn_check(bytes, size - 1, &position), TCN_TRUNCATED, "a plan without its last byte");
    expect(tcn_check(bytes + 1, size - 1, &position), TCN_ALIGNMENT, "a plan at an odd address");
    bytes[0] ^= 1;
    expect(tcn_check(bytes, size, &position), TCN_MAGIC, "another file");
    bytes[0] ^= 1;
    bytes[size / 2] ^= 1;
    expect(tcn_check(bytes, size, &position), TCN_CHECKSUM, "a damaged plan");
    bytes[size / 2] ^= 1;
    expect(tcn_check(bytes, size, &position), TCN_OK, "the plan");

    tcn_describe_tensor((const tcn_plan *)bytes, tcn_input_tensor((const tcn_plan *)bytes, 0), &in_facts);
    tcn_describe_tensor((const tcn_plan *)bytes, tcn_output_tensor((const tcn_plan *)bytes, 0), &out_facts);
    if (in_facts.dtype != TCN_F32)
        return 100;
    state_size = tcn_state_size((const tcn_plan *)bytes);
    scratch_size = tcn_scratch_size((const tcn_plan *)bytes, BLOCK, 1);
    state_bytes = memory(state_size + 8, 8);
    before = memory(state_size, 8);
    scratch_bytes = memory(scratch_size + 64, 64);
    state = (tcn_state *)(void *)state_bytes;
    in = memory(ROOM * in_facts.frame_bytes, 64);
    out = memory(ROOM * out_facts.frame_bytes, 64);
    memset(in, 0, ROOM * in_facts.frame_bytes);
    from[0] = in;
    to[0] = out;

    expect(tcn_prepare(&work, scratch_bytes, scratch_size - 1, (const tcn_plan *)bytes, BLOCK, 1, TCN_ISA_BEST), TCN_SCRATCH_SIZE,
           "scratch that is a byte short");
    expect(tcn_prepare(&work, scratch_bytes + 4, scratch_size, (const tcn_plan *)bytes, BLOCK, 1, TCN_ISA_BEST), TCN_ALIGNMENT,
           "scratch at an odd address");
    expect(tcn_prepare(&work, scratch_bytes, scratch_size, (const tcn_plan *)bytes, BLOCK, 1, 77), TCN_ISA, "no such instructions");
    expect(tcn_prepare(&work, scratch_bytes, scratch_size, (const tcn_plan *)bytes, BLOCK, 1, TCN_ISA_BEST), TCN_OK, "prepare");
    expect(tcn_push(&work, (tcn_state *)(void *)before, from, 1, to, room, made), TCN_NO_STATE, "a state that was never initialised");
    expect(tcn_init(state, state_size - 1, (const tcn_plan *)bytes), TCN_STATE_SIZE, "a state that is a byte short");
    expect(tcn_init((tcn_state *)(void *)(state_bytes + 4), state_size, (const tcn_plan *)bytes), TCN_ALIGNMENT, "a state at an odd address");
    expect(tcn_init(state, state_size, (const tcn_plan *)bytes), TCN_OK, "init");

    /* nothing lost: after a refusal the state is as it was */
    expect(tcn_push(&work, state, from, 40, to, room, made), TCN_OK, "push");
    memcpy(before, state_bytes, state_size);
    room[0] = 0;
    expect(tcn_push(&work, state, from, 40, to, room, made), TCN_ROOM, "no room for the output");
    expect(tcn_push(&work, state, from, -1, to, room, made), TCN_VALUE, "fewer than no frames");
    room[0] = ROOM;
    expect(memcmp(before, state_bytes, state_size) != 0, 0, "the state after refusals");

    /* a NaN is a value: it comes out, and leaves with the receptive field */
    in[0] = (float)NAN;
    expect(tcn_push(&work, state, from, 1, to, room, made), TCN_OK, "a NaN");
    in[0] = 0.0f;
    for (k = 0; k < 40; k++)
        expect(tcn_push(&work, state, from, 50, to, room, made), TCN_OK, "after a NaN");
    expect(made[0] > 0 && out[0] == out[0], 1, "the NaN is gone");

    blob_size = tcn_snapshot_size((const tcn_plan *)bytes);
    blob = memory(blob_size, 8);
    expect(tcn_snapshot((tcn_state *)(void *)memory(state_size, 8), blob), TCN_NO_STATE, "a snapshot of no state");
    expect(tcn_snapshot(state, blob), TCN_OK, "snapshot");
    expect(tcn_restore(&work, state, blob, blob_size - 1), TCN_SNAPSHOT, "a snapshot that is a byte short");
    for (k = 0; k < blob_size; k += 97) {
        blob[k] ^= 4;
        expect(tcn_restore(&work, state, blob, blob_size), TCN_SNAPSHOT, "a damaged snapshot");
        blob[k] ^= 4;
    }
    expect(tcn_flush(&work, state, to, room, made), TCN_OK, "flush");
    expect(tcn_push(&work, state, from, 1, to, room, made), TCN_ENDED, "push after flush");
    expect(tcn_flush(&work, state, to, room, made), TCN_ENDED, "flush after flush");
    expect(tcn_ready(&work, state, 1, frames), TCN_ENDED, "ready after flush");
    expect(tcn_restore(&work, state, blob, blob_size), TCN_OK, "restore after flush");
    expect(tcn_ended(state), 0, "a restored stream goes on");
    expect(tcn_reset(state), TCN_OK, "reset");
    expect((int)tcn_frames_in(state), 0, "frames after reset");

    memset(lanes, 0, sizeof lanes);
    for (k = 0; k < 2; k++) {
        lanes[k].state = state;
        lanes[k].in[0] = in;
        lanes[k].n = 1;
        lanes[k].out[0] = out;
        lanes[k].room[0] = ROOM;
    }
    expect(tcn_push_lanes(&work, lanes, 2, &bad), TCN_SCRATCH_SIZE, "more lanes than were prepared");
    other = work;
    other.plan = (const tcn_plan *)(const void *)before;
    expect(tcn_push(&other, state, from, 1, to, room, made), TCN_PLAN, "the state of another plan");
    return wrong;
}
