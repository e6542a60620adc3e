/* stream.c - runs a plan file over a signal: for the cross-compiled targets, the sanitizers and callgrind.
 *
 *     stream PLAN INPUT OUTPUT CHUNK [ISA] [REPEAT]
 *
 * INPUT and OUTPUT are raw frames of the one input and the one output. CHUNK is the frames per push; 0 draws
 * sizes from 0 to 99 from a fixed sequence. All memory that the core is given stands between canaries
 * and is filled with garbage first. REPEAT runs over the signal again for timing. */
#define _POSIX_C_SOURCE 200112L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcn.h"

enum { CANARY = 64 };

#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#define ON_HOST 0 /* and what follows from it is compiled to nothing */
#else
#define ON_HOST 1
#endif

#ifdef __SANITIZE_ADDRESS__
/* The sanitizer watches the bytes around better than canaries do, reads included. */
static void *guarded(size_t size, size_t alignment)
{
    void *made = NULL;
    if (posix_memalign(&made, alignment, size ? size : 1))
        exit(3);
    memset(made, 0xA5, size);
    return made;
}

static void check_canary(const void *memory, size_t size, const char *what)
{
    (void)memory;
    (void)size;
    (void)what;
}
#else
static void *guarded(size_t size, size_t alignment)
{
    uint8_t *raw = malloc(size + 2 * CANARY + alignment), *at;
    if (!raw)
        exit(3);
    memset(raw, 0xA5, size + 2 * CANARY + alignment);
    at = (uint8_t *)(((uintptr_t)raw + CANARY + alignment - 1) / alignment * alignment);
    return at;
}

static void check_canary(const void *memory, size_t size, const char *what)
{
    const uint8_t *at = memory;
    size_t k;
    for (k = 0; k < CANARY; k++)
        if (at[size + k] != 0xA5 || *(at - 1 - k) != 0xA5) {
            fprintf(stderr, "%s: written outside of its %lu bytes\n", what, (unsigned long)size);
            exit(4);
        }
}

#endif

static void *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    long length;
    void *content;
    if (!file || fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
        exit(2);
    *size = (size_t)length;
    content = guarded(*size, 64);
    if (fread(content, 1, *size, file) != *size)
        exit(2);
    fclose(file);
    return content;
}

static void must(int error, const char *what)
{
    if (error) {
        fprintf(stderr, "%s: error %d\n", what, error);
        exit(5);
    }
}

int main(int argc, char **argv)
{
    size_t plan_size, input_size, position, state_size, scratch_size, snapshot_size, settled_size;
    const tcn_plan *plan;
    const uint8_t *input;
    uint8_t *output, *snapshot;
    tcn_state *state;
    tcn_settled *settled;
    tcn_work work;
    void *scratch;
    tcn_tensor_facts in, out;
    int64_t frames, done, total, room, made, chunk;
    uint32_t seed = 1;
    int isa = argc > 5 ? atoi(argv[5]) : TCN_ISA_BEST, repeat = argc > 6 ? atoi(argv[6]) : 1, error;
    FILE *file;
    if (argc < 5)
        return 1;
    plan = read_file(argv[1], &plan_size);
    input = read_file(argv[2], &input_size);
    chunk = atol(argv[4]);
    error = tcn_check(plan, plan_size, &position);
    if (error) {
        fprintf(stderr, "plan: error %d at byte %lu\n", error, (unsigned long)position);
        return 5;
    }
    tcn_describe_tensor(plan, tcn_input_tensor(plan, 0), &in);
    tcn_describe_tensor(plan, tcn_output_tensor(plan, 0), &out);
    frames = (int64_t)(input_size / in.frame_bytes);
    state_size = tcn_state_size(plan);
    state = guarded(state_size, 8);
    scratch_size = tcn_scratch_size(plan, chunk > 0 && chunk < 64 ? (uint32_t)chunk : 64, 1);
    scratch = guarded(scratch_size, 64);
    snapshot_size = tcn_snapshot_size(plan);
    snapshot = guarded(snapshot_size, 8);
    must(tcn_prepare(&work, scratch, scratch_size, plan, chunk > 0 && chunk < 64 ? (uint32_t)chunk : 64, 1, isa), "prepare");
    settled_size = ON_HOST ? tcn_settled_size(plan, isa) : 0;
    settled = settled_size ? guarded(settled_size, 64) : NULL;
    if (settled) {
        tcn_settle(settled, plan, isa);
        must(tcn_use_settled(&work, settled), "use what is settled");
        check_canary(settled, settled_size, "settled");
    }
    must(tcn_init(state, state_size, plan), "init");
    room = 8 * frames + 64;
    output = guarded((size_t)room * out.frame_bytes, 64);
    total = 0;
    while (repeat-- > 0) {
        total = 0;
        must(tcn_reset(state), "reset");
        for (done = 0; done < frames;) {
            const void *from = input + (size_t)done * in.frame_bytes;
            void *to = output + (size_t)total * out.frame_bytes;
            int64_t n = chunk, left;
            if (!chunk) {
                seed = seed * 1103515245u + 12345u;
                n = (seed >> 16) % 100;
            }
            n = n < frames - done ? n : frames - done;
            left = room - total;
            must(tcn_push(&work, state, &from, n, &to, &left, &made), "push");
            done += n;
            total += made;
            if (!chunk && seed % 7 == 0) { /* forget all and go on from a snapshot */
                must(tcn_snapshot(state, snapshot), "snapshot");
                memset(state, 0x5A, state_size);
                must(tcn_init(state, state_size, plan), "init");
                must(tcn_restore(&work, state, snapshot, snapshot_size), "restore");
            }
        }
        {
            void *to = output + (size_t)total * out.frame_bytes;
            int64_t left = room - total;
            must(tcn_flush(&work, state, &to, &left, &made), "flush");
            total += made;
        }
    }
    check_canary(state, state_size, "state");
    check_canary(scratch, scratch_size, "scratch");
    check_canary(snapshot, snapshot_size, "snapshot");
    check_canary(output, (size_t)room * out.frame_bytes, "output");
    check_canary(plan, plan_size, "plan");
    file = fopen(argv[3], "wb");
    if (!file || fwrite(output, out.frame_bytes, (size_t)total, file) != (size_t)total || fclose(file))
        return 2;
    return 0;
}
