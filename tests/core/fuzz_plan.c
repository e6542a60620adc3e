/* fuzz_plan.c - libFuzzer: bytes into the loader and, where they are a plan, garbage through it.
 *
 * A byte that is changed spoils the checksum, so the input is first given the checksum that it needs:
 * what lies behind it is then attacked as well. Also builds without libFuzzer, as a program that runs the
 * files named on its command line (the kept corpus). */
#define _POSIX_C_SOURCE 200112L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

enum { MOST_MEMORY = 1 << 26, FRAMES = 40, MOST_TAIL = 1 << 14, MOST_ELEMENTS = 1 << 14, MOST_TAPS = 1 << 12 };

static void *memory(size_t size, size_t alignment)
{
    void *made = NULL;
    if (size > MOST_MEMORY || posix_memalign(&made, alignment, size ? size : 1))
        return NULL;
    memset(made, 0xA5, size);
    return made;
}

/* A sound plan may ask for hours of work; what it could do wrong, a smaller one does as well. */
static int is_small(const tcn_plan *plan)
{
    const tcn_header *h = (const tcn_header *)(const void *)plan;
    uint32_t t;
    for (t = 0; t < tcn_tensors(plan); t++) {
        tcn_tensor_facts facts;
        tcn_describe_tensor(plan, t, &facts);
        if (facts.frame_elements > MOST_ELEMENTS)
            return 0;
    }
    return h->max_taps <= MOST_TAPS && tcn_flush_frames(plan) <= MOST_TAIL;
}

static void drive(const tcn_plan *plan, const uint8_t *noise, size_t n_noise)
{
    size_t state_size = tcn_state_size(plan), scratch_size = tcn_scratch_size(plan, 7, 1), position;
    tcn_state *state = memory(state_size, 64);
    void *scratch = memory(scratch_size, 64), *in[TCN_MAX_PORTS] = {NULL}, *out[TCN_MAX_PORTS] = {NULL};
    const void *from[TCN_MAX_PORTS];
    int64_t room[TCN_MAX_PORTS], made[TCN_MAX_PORTS];
    uint32_t i;
    int k;
    tcn_work work;
    if (!state || !scratch || tcn_prepare(&work, scratch, scratch_size, plan, 7, 1, TCN_ISA_BEST) ||
        tcn_init(state, state_size, plan))
        goto done;
    for (i = 0; i < tcn_inputs(plan); i++) {
        tcn_tensor_facts facts;
        size_t size, b;
        tcn_describe_tensor(plan, tcn_input_tensor(plan, i), &facts);
        size = (size_t)facts.frame_bytes * FRAMES;
        from[i] = in[i] = memory(size, 64);
        if (!in[i])
            goto done;
        for (b = 0; n_noise && b < size; b++)
            ((uint8_t *)in[i])[b] = noise[(b * 7 + 3) % n_noise];
    }
    for (i = 0; i < tcn_outputs(plan); i++) {
        tcn_tensor_facts facts;
        tcn_describe_tensor(plan, tcn_output_tensor(plan, i), &facts);
        room[i] = 2000;
        if ((uint64_t)facts.frame_bytes * 2000 > MOST_MEMORY)
            room[i] = MOST_MEMORY / facts.frame_bytes;
        out[i] = memory((size_t)room[i] * facts.frame_bytes, 64);
        if (!out[i])
            goto done;
    }
    for (k = 0; k < 12; k++) {
        int64_t n = n_noise ? noise[((size_t)k * 131 + 17) % n_noise] % FRAMES : 1;
        if (tcn_push(&work, state, from, n, out, room, made))
            break;
    }
    position = tcn_snapshot_size(plan);
    if (position < MOST_MEMORY) {
        void *blob = memory(position, 64);
        if (blob && !tcn_snapshot(state, blob) && !tcn_restore(&work, state, blob, position))
            tcn_push(&work, state, from, 9, out, room, made);
        free(blob);
    }
    tcn_flush(&work, state, out, room, made);
done:
    for (i = 0; i < TCN_MAX_PORTS; i++) {
        free(in[i]);
        free(out[i]);
    }
    free(scratch);
    free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    size_t position = 0;
    uint8_t *plan = memory(size, 64);
    if (!plan)
        return 0;
    memcpy(plan, bytes, size);
    if (size >= sizeof(tcn_header)) {
        tcn_header *h = (tcn_header *)(void *)plan;
        const size_t from = offsetof(tcn_header, family); /* behind the checksum */
        if (h->bytes >= from && h->bytes <= size)
            h->crc32 = tcn_crc32(0, plan + from, h->bytes - from);
    }
    if (tcn_check(plan, size, &position) == TCN_OK) {
        if (is_small((const tcn_plan *)(const void *)plan))
            drive((const tcn_plan *)(const void *)plan, bytes, size);
    } else if (position > size)
        abort();
    free(plan);
    return 0;
}

#ifndef LIBFUZZER
/* main FILE [MUTATIONS]: the file itself, then with up to four bytes changed, by a fixed sequence. */
int main(int argc, char **argv)
{
    static uint8_t bytes[1 << 22], changed[1 << 22];
    long mutations = argc > 2 ? atol(argv[2]) : 0;
    uint32_t seed = 12345;
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    size_t size;
    if (!file)
        return 2;
    size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, size);
    while (size && mutations-- > 0) {
        int k, n;
        memcpy(changed, bytes, size);
        seed = seed * 1664525u + 1013904223u;
        n = 1 + (int)(seed >> 30);
        for (k = 0; k < n; k++) {
            static const uint8_t values[] = {0, 1, 0x7F, 0x80, 0xFF, 16, 64, 3};
            size_t at;
            seed = seed * 1664525u + 1013904223u;
            /* the records, in front, are where the structure is */
            at = seed % 4 ? (seed >> 8) % (size < 8192 ? size : 8192) : (seed >> 8) % size;
            seed = seed * 1664525u + 1013904223u;
            changed[at] = seed % 3 ? values[(seed >> 8) % sizeof values] : (uint8_t)(seed >> 16);
        }
        LLVMFuzzerTestOneInput(changed, size);
    }
    return 0;
}
#endif
