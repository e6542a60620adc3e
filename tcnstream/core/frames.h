/* frames.h - where a frame of a tensor stands while a block is computed: in the block, in the ring or in the padding. */
#ifndef TCN_FRAMES_H
#define TCN_FRAMES_H

#include "internal.h"

/* The ring of tensor `t`, which has one, in the state of a lane. */
static inline tcn_ring ring_of(const tcn_program *p, const tcn_lane_run *lane, uint32_t t)
{
    const tcn_place *at = &p->places[t];
    tcn_ring ring;
    ring.frames = lane->rings + (size_t)at->ring_at * LANES_BESIDE(lane) + (size_t)at->bytes * LANE_BESIDE(lane);
    ring.capacity = at->ring_frames;
    ring.frame_bytes = at->bytes;
    ring.next = lane->ring_next[at->ring];
#ifdef RINGS_SIDE_BY_SIDE
    ring.pitch = at->bytes * lane->lanes;
#endif
    return ring;
}

/* Frame `f` of tensor `t`, which exists. */
static inline const uint8_t *frame_at(const tcn_program *p, const tcn_lane_run *lane, uint32_t t, int64_t f)
{
    const tcn_place *at = &p->places[t];
    int64_t offset = f - lane->have[t];
    tcn_ring ring;
    if (offset >= 0)
        return lane->block[t] + (size_t)offset * at->bytes;
    if (at->ring == TCN_NONE) /* unreachable for a valid plan */
        return p->buffers;
    ring = ring_of(p, lane, t);
    return ring_frame(&ring, (uint32_t)-offset);
}

/* Frames of tensor `t` from `f` on that stand side by side, at most `most`. */
static inline int64_t frames_together(const tcn_program *p, const tcn_lane_run *lane, uint32_t t, int64_t f, int64_t most)
{
    int64_t offset = f - lane->have[t], run;
    tcn_ring ring;
    if (offset >= 0)
        return most;
    if (p->places[t].ring == TCN_NONE)
        return 1;
    ring = ring_of(p, lane, t);
    run = ring_run(&ring, (uint32_t)-offset);
    return run < most ? run : most;
}

/* Frame `f` as `node` sees it: signal, or what stands in the padding; NULL where the window is clipped. */
static inline const uint8_t *padded_frame_at(const tcn_program *p, const tcn_lane_run *lane, const tcn_node_record *node,
                                             uint32_t t, int64_t f)
{
    if (f < 0 || (lane->signal_frames && f >= lane->signal_frames[t])) {
        int64_t n = lane->signal_frames ? lane->signal_frames[t] : lane->goal[t], between = node->edge == EDGE_SYMMETRIC;
        if (node->edge == EDGE_CLIP)
            return NULL;
        if (node->edge == EDGE_FILL)
            return node->fill_at ? p->plan + node->fill_at : p->buffers;
        if (node->edge == EDGE_HOLD)
            f = f < 0 ? 0 : n - 1;
        if (f < 0)
            f = -f - between;
        if (f >= n)
            f = 2 * (n - 1) - f + between;
        if (f < 0 || f >= lane->goal[t]) /* unreachable for a valid plan */
            return p->buffers;
    }
    return frame_at(p, lane, t, f);
}

/* The ring of a tensor, which may have none, as a node in the steady state reads it. Addresses: those before a ring are none
 * of its pointers. */
typedef struct {
    uintptr_t frames, next; /* where the ring begins, and where the next frame goes */
    uint32_t bytes;         /* of all frames */
#ifdef RINGS_SIDE_BY_SIDE
    uint32_t lanes;
#endif
} tcn_kept;

static inline tcn_kept kept_in_ring(const tcn_place *at, const tcn_lane_run *lane)
{
    const uint32_t pitch = at->bytes * LANES_BESIDE(lane);
    tcn_kept kept;
    kept.frames = (uintptr_t)(lane->rings + (size_t)at->ring_at * LANES_BESIDE(lane) + (size_t)at->bytes * LANE_BESIDE(lane));
    kept.next = kept.frames + (size_t)lane->ring_next[at->ring] * pitch;
    kept.bytes = at->ring_frames * pitch;
#ifdef RINGS_SIDE_BY_SIDE
    kept.lanes = lane->lanes;
#endif
    return kept;
}

static inline tcn_kept kept_of(const tcn_place *at, const tcn_lane_run *lane)
{
#ifdef RINGS_SIDE_BY_SIDE
    const tcn_kept none = {0, 0, 0, 1};
#else
    const tcn_kept none = {0, 0, 0};
#endif
    return at->ring == TCN_NONE ? none : kept_in_ring(at, lane);
}

/* The frame that stands `back` > 0 bytes of its own lane before the next one, no more than the ring has. */
static inline const uint8_t *kept_frame(const tcn_kept *kept, int32_t back)
{
    uintptr_t frame = kept->next - (uint32_t)back * LANES_BESIDE(kept);
    return (const uint8_t *)(frame < kept->frames ? frame + kept->bytes : frame);
}

/* Where frame `f` of tensor `t` is made. */
static inline uint8_t *output_frame_at(const tcn_program *p, const tcn_lane_run *lane, uint32_t t, int64_t f)
{
    return p->places[t].base + p->places[t].pitch * lane->index + (size_t)(f - lane->have[t]) * p->places[t].bytes;
}

#endif
