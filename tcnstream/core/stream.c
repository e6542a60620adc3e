/* stream.c - a stream's life: begun, pushed, flushed. */
#include "push.h"

size_t tcn_state_size(const tcn_plan *plan) { return rings_at(header_of(plan)) + header_of(plan)->ring_bytes; }

int tcn_init(tcn_state *state, size_t size, const tcn_plan *plan)
{
    if (((uintptr_t)state & 7) != 0 || !state)
        return TCN_ALIGNMENT;
    if (size < tcn_state_size(plan))
        return TCN_STATE_SIZE;
    state->magic = TCN_STATE_MAGIC;
    state->plan = plan;
#ifdef RINGS_SIDE_BY_SIDE
    state->beside = NULL;
    state->lanes = 1;
    state->lane = 0;
#endif
    return tcn_reset(state);
}

int tcn_reset(tcn_state *state)
{
    const tcn_header *h;
    if (state->magic != TCN_STATE_MAGIC)
        return TCN_NO_STATE;
    h = header_of(state->plan);
    state->ended = 0;
    state->frames = 0;
    /* rings need no clearing: nothing older than frame 0 is ever read from them */
    memset((uint8_t *)state + sizeof *state, 0, rings_at(h) - sizeof *state);
    return TCN_OK;
}

int64_t tcn_frames_in(const tcn_state *state) { return state->frames; }
int tcn_ended(const tcn_state *state) { return (int)state->ended; }

/* Whether a signal that gives `count` frames of each tensor has the frames that its mirrored edges show. */
static int long_enough(const tcn_program *p, const int64_t *count)
{
    uint32_t k;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        const tcn_window *window = window_of(p, node);
        int64_t n = count[node_operands(p, node)[0]];
        int32_t shown = window->pad_begin > window->pad_end ? window->pad_begin : window->pad_end;
        if ((node->edge == EDGE_REFLECT || node->edge == EDGE_SYMMETRIC) && n > 0 &&
            n < (int64_t)shown + (node->edge == EDGE_REFLECT))
            return 0;
    }
    return 1;
}

int tcn_ready(const tcn_work *work, const tcn_state *state, int64_t n, int64_t frames[])
{
    const tcn_program *p = work->program;
    tcn_lane_run *lane = &p->lanes[0];
    int error = tcn_usable(work, state);
    uint32_t o;
    if (error)
        return error;
    if (n >= 0 && p->step == 1 && state->frames >= p->steady_from) {
        for (o = 0; o < p->header->n_outputs; o++)
            frames[o] = n * p->fresh[p->ports[p->header->n_inputs + o].tensor];
        return TCN_OK;
    }
    tcn_count_frames(p, state->frames, lane->have);
    if (n < 0)
        tcn_count_at_end(p, state->frames, lane->goal);
    else
        tcn_count_frames(p, state->frames + n, lane->goal);
    if (n < 0 && !long_enough(p, lane->goal))
        return TCN_SHORT;
    for (o = 0; o < p->header->n_outputs; o++) {
        uint32_t t = p->ports[p->header->n_inputs + o].tensor;
        frames[o] = lane->goal[t] - lane->have[t];
    }
    return TCN_OK;
}

int tcn_push_lanes(const tcn_work *work, tcn_lane *lane, uint32_t lanes, uint32_t *bad)
{
    if (lanes > work->lanes) {
        *bad = work->lanes;
        return TCN_SCRATCH_SIZE;
    }
    if (tcn_all_steady(work, lane, lanes)) {
        tcn_push_step(work, lane, lanes);
        return TCN_OK;
    }
    return tcn_push_blocks(work, lane, lanes, bad);
}

int tcn_push(const tcn_work *work, tcn_state *state, const void *const in[], int64_t n, void *const out[],
             const int64_t room[], int64_t made[])
{
    const tcn_header *h = header_of(work->plan);
    tcn_lane *lane = &((tcn_opened *)work->program)->alone;
    uint32_t bad, i;
    int error;
    if (tcn_is_steady(work, state, n, room, ((const tcn_program *)work->program)->lanes)) {
        tcn_push_step_alone(work, state, in, out, made);
        return TCN_OK;
    }
    lane->state = state;
    lane->n = n;
    for (i = 0; i < h->n_inputs; i++)
        lane->in[i] = in[i];
    for (i = 0; i < h->n_outputs; i++) {
        lane->out[i] = out[i];
        lane->room[i] = room[i];
    }
    error = tcn_push_blocks(work, lane, 1, &bad);
    for (i = 0; !error && i < h->n_outputs; i++)
        made[i] = lane->made[i];
    return error;
}

int64_t tcn_flush_frames(const tcn_plan *plan)
{
    const tcn_sections s = tcn_sections_of(plan);
    const tcn_tensor_record *tensors = tensors_of(plan);
    int64_t sum = 0;
    uint32_t k;
    for (k = 0; k < header_of(plan)->n_nodes; k++)
        sum += node_tail(&s.windows[s.nodes[k].window], &frames_of(plan)[tensors[s.operands[s.nodes[k].operands]].frame]);
    return sum;
}

/* The end is computed as if the signal went on: what a node would make then, up to what it makes of the
 * whole signal, with padding where the signal is over. So no ring ever holds more than in the middle. */
int tcn_flush(const tcn_work *work, tcn_state *state, void *const out[], const int64_t room[], int64_t made[])
{
    const tcn_program *p = work->program;
    const tcn_header *h = p->header;
    tcn_lane_run *lane = &p->lanes[0];
    int64_t *frames = ((tcn_opened *)work->program)->alone.made, n = state->frames, last = n + tcn_flush_frames(work->plan);
    uint32_t o, t;
    int error = tcn_ready(work, state, -1, frames);
    if (error)
        return error;
    for (o = 0; o < h->n_outputs; o++) {
        if (frames[o] > room[o])
            return TCN_ROOM;
        made[o] = 0;
    }
    enter_lane(p, lane, state);
    lane->signal_frames = p->signal_frames;
    tcn_count_at_end(p, n, lane->signal_frames);
    tcn_count_frames(p, n, lane->have);
    for (t = 0; t < h->n_tensors; t++)
        if (lane->have[t] > lane->signal_frames[t])
            lane->have[t] = lane->signal_frames[t];
    while (n > 0 && n < last) {
        int more = 0;
        n += work->block;
        tcn_count_frames(p, n, lane->goal);
        for (t = 0; t < h->n_tensors; t++) {
            if (lane->goal[t] > lane->signal_frames[t])
                lane->goal[t] = lane->signal_frames[t];
            more |= lane->goal[t] < lane->signal_frames[t];
        }
        if (!tcn_block_fits(p, lane))
            return TCN_VALUE;
        tcn_run_block(work, lane, 1);
        tcn_deliver(p, lane, out, made);
        if (!more)
            break;
        memcpy(lane->have, lane->goal, h->n_tensors * sizeof *lane->have);
    }
    state->ended = 1;
    return TCN_OK;
}
