/* beside.c - rings of several streams side by side. */
#include "stream.h"

void leave_rings(shared_rings *rings)
{
    if (!rings || --rings->streams)
        return;
    release(rings->memory);
    PyMem_Free(rings);
}

void stand_side_by_side(StreamObject *const *streams, uint32_t n)
{
    const tcn_plan *plan = streams[0]->plan->plan;
    const size_t size = tcn_rings_size(plan, n);
    shared_rings *rings = size ? PyMem_Malloc(sizeof *rings) : NULL;
    uint32_t k;
    if (!rings)
        return;
    rings->streams = 1; /* this call, until it ends */
    rings->memory = claim(size);
    for (k = 0; rings->memory && k < n; k++) {
        tcn_state *to = claim(tcn_beside_size(plan));
        if (!to || tcn_move_beside(to, streams[k]->state, rings->memory, k, n)) {
            release(to);
            break;
        }
        release(streams[k]->state);
        streams[k]->state = to;
        streams[k]->beside = rings;
        rings->streams++;
    }
    leave_rings(rings);
}
