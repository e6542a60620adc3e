/* push.h - how a push goes: by one step of the steady state where every lane is in it, else in blocks. */
#ifndef TCN_PUSH_H
#define TCN_PUSH_H

#include "frames.h"

static inline int tcn_usable(const tcn_work *work, const tcn_state *state)
{
    if (state->magic != TCN_STATE_MAGIC)
        return TCN_NO_STATE;
    if (state->plan != work->plan)
        return TCN_PLAN;
    return state->ended ? TCN_ENDED : TCN_OK;
}

/* Whether n frames are one step in the steady state of a stream, of which `run` is told then; or in every lane. */
int tcn_is_steady(const tcn_work *work, const tcn_state *state, int64_t n, const int64_t *room, tcn_lane_run *run);
int tcn_all_steady(const tcn_work *work, const tcn_lane *lane, uint32_t lanes);

/* That step, of a stream alone or in every lane. */
void tcn_push_step_alone(const tcn_work *work, tcn_state *state, const void *const *in, void *const *out, int64_t *made);
void tcn_push_step(const tcn_work *work, tcn_lane *lane, uint32_t lanes);

/* Any frames of each lane. */
int tcn_push_blocks(const tcn_work *work, tcn_lane *lane, uint32_t lanes, uint32_t *bad);

/* Every lane from `have` to `goal`. */
void tcn_run_block(const tcn_work *work, tcn_lane_run *lanes, uint32_t n_lanes);

/* Whether the scratch holds the frames from `have` to `goal`. */
int tcn_block_fits(const tcn_program *p, const tcn_lane_run *lane);

/* A block's new frames of the outputs go behind those that were made before. */
void tcn_deliver(const tcn_program *p, const tcn_lane_run *lane, void *const *out, int64_t *made);

/* All frames of a block are computed at once, where a loop does not ask for another order. */
static inline void tcn_compute_all(const tcn_program *p, const tcn_lane_run *lane)
{
    if (has_loops(p)) {
        memcpy(lane->begin, lane->have, p->header->n_tensors * sizeof *lane->begin);
        memcpy(lane->end, lane->goal, p->header->n_tensors * sizeof *lane->end);
    }
}

#endif
