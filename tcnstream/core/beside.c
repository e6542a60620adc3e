/* beside.c - states of a pool's lanes whose rings stand side by side.
 *
 * A lane alone has its rings to itself: what one step reads of a thousand lanes is scattered over all their states, in
 * pieces that do not fill the lines of a cache. Side by side, frame k of lane 0, of lane 1 and so on are neighbours, and
 * lanes in step read one long piece. Each lane is a state of its own all the same: nothing but the place of its frames
 * says that there are others, and one that is out of step loses the neighbourhood, not its frames. */
#include "internal.h"

#ifdef RINGS_SIDE_BY_SIDE

size_t tcn_beside_size(const tcn_plan *plan) { return rings_at(header_of(plan)); }

size_t tcn_rings_size(const tcn_plan *plan, uint32_t lanes)
{
    const uint64_t bytes = (uint64_t)header_of(plan)->ring_bytes * lanes;
    return bytes > INT32_MAX ? 0 : (size_t)bytes; /* places of frames are counted in 32 bits */
}

int tcn_move_beside(tcn_state *to, const tcn_state *from, void *rings, uint32_t lane, uint32_t lanes)
{
    const tcn_header *h;
    const tcn_ring_record *r;
    uint32_t *next = (uint32_t *)(void *)((uint8_t *)to + sizeof *to), i, age;
    if (from->magic != TCN_STATE_MAGIC)
        return TCN_NO_STATE;
    if (((uintptr_t)to & 7) != 0 || !to || ((uintptr_t)rings & 63) != 0 || !rings)
        return TCN_ALIGNMENT;
    if (lane >= lanes || !tcn_rings_size(from->plan, lanes))
        return TCN_VALUE;
    h = header_of(from->plan);
    r = ring_records_of(from->plan);
    memcpy(to, from, rings_at(h));
    to->beside = rings;
    to->lanes = lanes;
    to->lane = lane;
    for (i = 0; i < h->n_rings; i++) {
        const uint32_t bytes = ring_bytes(from->plan, &r[i]);
        const tcn_ring old = ring_among(rings_of(h, from), from->lanes, from->lane, r[i].at, r[i].frames, bytes, next[i]);
        tcn_ring made = ring_among(rings, lanes, lane, r[i].at, r[i].frames, bytes, 0);
        for (age = old.capacity; age; age--) /* all begin at the same place */
            ring_append_one(&made, ring_kept_frame(&old, age), &made.next);
        next[i] = 0;
    }
    return TCN_OK;
}

#endif
