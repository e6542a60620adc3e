/* snapshot.c - a stream as bytes. */
#include "frames.h"

/* "TCNSNAP\n", CRC-32 of the plan, ended, frames pushed, then per ring its frames in the order of time
 * (those that were never there are anything), then the carries; at the end CRC-32 of all that. Sums that
 * follow from the rings are made again from them, so a snapshot of another engine fits as well. */
enum { SNAPSHOT_HEAD = 24 };

size_t tcn_snapshot_size(const tcn_plan *plan)
{
    return SNAPSHOT_HEAD + (size_t)header_of(plan)->ring_bytes + header_of(plan)->carry_bytes + 4;
}

static void put32(uint8_t *to, uint32_t v)
{
    to[0] = (uint8_t)v;
    to[1] = (uint8_t)(v >> 8);
    to[2] = (uint8_t)(v >> 16);
    to[3] = (uint8_t)(v >> 24);
}

static uint32_t get32(const uint8_t *from)
{
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

int tcn_snapshot(const tcn_state *state, void *blob)
{
    const tcn_header *h;
    const tcn_tensor_record *t;
    const uint32_t *next = (const uint32_t *)(const void *)((const uint8_t *)state + sizeof *state);
    uint8_t *to = blob;
    size_t size;
    uint32_t i;
    if (state->magic != TCN_STATE_MAGIC)
        return TCN_NO_STATE;
    h = header_of(state->plan);
    t = tensors_of(state->plan);
    size = tcn_snapshot_size(state->plan);
    memset(to, 0, size);
    memcpy(to, "TCNSNAP\n", 8);
    put32(to + 8, h->crc32);
    put32(to + 12, state->ended);
    put32(to + 16, (uint32_t)(uint64_t)state->frames);
    put32(to + 20, (uint32_t)((uint64_t)state->frames >> 32));
    for (i = 0; i < h->n_tensors; i++) {
        if (t[i].ring_frames) {
            uint8_t *frames = (uint8_t *)(uintptr_t)state + rings_at(h) + t[i].ring_at;
            const tcn_ring ring = {frames, t[i].ring_frames, t[i].bytes, next[t[i].ring]};
            ring_copy(&ring, to + SNAPSHOT_HEAD + t[i].ring_at);
        }
    }
    memcpy(to + SNAPSHOT_HEAD + h->ring_bytes, (const uint8_t *)state + carries_at(h), h->carry_bytes);
    put32(to + size - 4, tcn_crc32(0, to, size - 4));
    return TCN_OK;
}

int tcn_restore(const tcn_work *work, tcn_state *state, const void *blob, size_t size)
{
    const tcn_program *p = work->program;
    tcn_lane_run *lane = &p->lanes[0];
    const tcn_header *h;
    const tcn_tensor_record *t;
    const uint8_t *from = blob;
    uint64_t frames;
    uint32_t i;
    if (state->magic != TCN_STATE_MAGIC)
        return TCN_NO_STATE;
    if (state->plan != work->plan)
        return TCN_PLAN;
    h = header_of(state->plan);
    t = tensors_of(state->plan);
    if (size != tcn_snapshot_size(state->plan) || memcmp(from, "TCNSNAP\n", 8) != 0 ||
        get32(from + 8) != h->crc32 || get32(from + size - 4) != tcn_crc32(0, from, size - 4) || get32(from + 12) > 1)
        return TCN_SNAPSHOT;
    frames = get32(from + 16) | (uint64_t)get32(from + 20) << 32;
    if (frames > (uint64_t)INT64_MAX >> 20)
        return TCN_SNAPSHOT;
    tcn_reset(state);
    state->ended = get32(from + 12);
    state->frames = (int64_t)frames;
    for (i = 0; i < h->n_tensors; i++)
        if (t[i].ring_frames)
            memcpy((uint8_t *)state + rings_at(h) + t[i].ring_at, from + SNAPSHOT_HEAD + t[i].ring_at,
                   (size_t)t[i].ring_frames * t[i].bytes);
    memcpy((uint8_t *)state + carries_at(h), from + SNAPSHOT_HEAD + h->ring_bytes, h->carry_bytes);
    enter_lane(p, lane, state);
    tcn_count_frames(p, state->frames, lane->have);
    tcn_rebuild_carries(p, lane);
    return TCN_OK;
}
