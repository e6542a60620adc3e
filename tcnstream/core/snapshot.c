/* snapshot.c - a stream as bytes. */
#include "frames.h"

/* A plan that is packed for a family of processors remembers what the portable one does. */
static uint32_t program_crc32(const tcn_header *h) { return h->program_crc32 ? h->program_crc32 : h->crc32; }

size_t tcn_snapshot_size(const tcn_plan *plan)
{
    return sizeof(tcn_snapshot_head) + header_of(plan)->ring_bytes + header_of(plan)->carry_bytes + sizeof(uint32_t);
}

int tcn_snapshot(const tcn_state *state, void *blob)
{
    const tcn_header *h;
    const tcn_ring_record *r;
    const uint32_t *next = (const uint32_t *)(const void *)((const uint8_t *)state + sizeof *state);
    tcn_snapshot_head head = {TCN_SNAPSHOT_MAGIC, 0, 0, 0};
    uint8_t *to = blob;
    size_t size;
    uint32_t i, crc;
    if (state->magic != TCN_STATE_MAGIC)
        return TCN_NO_STATE;
    h = header_of(state->plan);
    r = ring_records_of(state->plan);
    size = tcn_snapshot_size(state->plan);
    head.plan_crc32 = program_crc32(h);
    head.ended = state->ended;
    head.frames = state->frames;
    memset(to, 0, size);
    memcpy(to, &head, sizeof head);
    to += sizeof head;
    for (i = 0; i < h->n_rings; i++) {
        const tcn_ring ring = ring_among(rings_of(h, state), LANES_BESIDE(state), LANE_BESIDE(state), r[i].at, r[i].frames, ring_bytes(state->plan, &r[i]), next[i]);
        ring_copy(&ring, to + r[i].at);
    }
    memcpy(to + h->ring_bytes, (const uint8_t *)state + carries_at(h), h->carry_bytes);
    crc = tcn_crc32(0, blob, size - sizeof crc);
    memcpy((uint8_t *)blob + size - sizeof crc, &crc, sizeof crc);
    return TCN_OK;
}

/* So many that counts at every rate fit 64 bits: 2^55 without upsampling, 2^43 for any plan. */
static int64_t most_frames(const tcn_program *p)
{
    int64_t most = INT64_MAX >> 8;
    uint32_t k;
    for (k = 0; TCN_NEEDED(RATES) && k < p->header->n_nodes; k++)
        most /= window_of(p, &p->nodes[k])->up;
    return most > INT64_MAX >> 20 ? most : INT64_MAX >> 20;
}

int tcn_restore(const tcn_work *work, tcn_state *state, const void *blob, size_t size)
{
    const tcn_program *p = work->program;
    tcn_lane_run *lane = &p->lanes[0];
    const tcn_header *h;
    const tcn_ring_record *r;
    const uint8_t *from = blob;
    tcn_snapshot_head head;
    uint32_t i, crc;
    if (state->magic != TCN_STATE_MAGIC)
        return TCN_NO_STATE;
    if (state->plan != work->plan)
        return TCN_PLAN;
    h = header_of(state->plan);
    r = ring_records_of(state->plan);
    if (size != tcn_snapshot_size(state->plan))
        return TCN_SNAPSHOT;
    memcpy(&head, from, sizeof head);
    memcpy(&crc, from + size - sizeof crc, sizeof crc);
    if (memcmp(head.magic, TCN_SNAPSHOT_MAGIC, sizeof head.magic) != 0 || head.plan_crc32 != program_crc32(h) || head.ended > 1 ||
        head.frames < 0 || head.frames > most_frames(p) || crc != tcn_crc32(0, from, size - sizeof crc))
        return TCN_SNAPSHOT;
    from += sizeof head;
    tcn_reset(state);
    state->ended = head.ended;
    state->frames = head.frames;
    for (i = 0; i < h->n_rings; i++) {
        const tcn_ring ring = ring_among(rings_of(h, state), LANES_BESIDE(state), LANE_BESIDE(state), r[i].at, r[i].frames, ring_bytes(state->plan, &r[i]), 0);
        ring_append(&ring, from + r[i].at, r[i].frames);
    }
    memcpy((uint8_t *)state + carries_at(h), from + h->ring_bytes, h->carry_bytes);
    enter_lane(p, lane, state);
    tcn_count_frames(p, state->frames, lane->have);
    if (TCN_NEEDED(CARRIES))
        tcn_rebuild_carries(p, lane);
    return TCN_OK;
}
