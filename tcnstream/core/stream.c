/* stream.c - streams: reset, push, flush; blocks pass through the nodes, rings take in what stays. */
#include "frames.h"

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

/* A tensor's newest frames go from the block to its ring. */
static void commit(const tcn_program *p, const tcn_lane_run *lane, uint32_t t)
{
    const tcn_ring ring = ring_of(p, lane, t);
    lane->ring_next[p->places[t].ring] = ring_append(&ring, lane->block[t], (uint64_t)(lane->goal[t] - lane->have[t]));
}

/* A ring takes in the frames of a step. */
TCN_APART static void commit_step(const tcn_lane_run *lane, const tcn_commit *c)
{
    uint32_t *next = &lane->ring_next[c->ring];
#ifdef RINGS_SIDE_BY_SIDE
    const tcn_ring ring = ring_among(lane->rings, lane->lanes, lane->lane, c->ring_at, c->ring_frames, c->bytes, *next);
#else
    const tcn_ring ring = {lane->rings + c->ring_at, c->ring_frames, c->bytes, *next};
#endif
    if (TCN_NEEDED(RATES) && c->fresh != 1)
        *next = ring_append(&ring, lane->block[c->tensor], c->fresh);
    else
        *next = ring_append_one(&ring, lane->block[c->tensor]);
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* All frames of a block are computed at once. */
static inline void compute_all(const tcn_program *p, const tcn_lane_run *lane)
{
    if (p->has_loops) {
        memcpy(lane->begin, lane->have, p->header->n_tensors * sizeof *lane->begin);
        memcpy(lane->end, lane->goal, p->header->n_tensors * sizeof *lane->end);
    }
}

static void watch(const tcn_program *p, const tcn_lane_run *lane, tcn_hooks *hooks, uint32_t t)
{
    uint32_t bytes = p->places[t].bytes;
    uint8_t *kept = hooks->tap_frames;
    int64_t fresh = lane->goal[t] - lane->have[t], room = hooks->tap_room, old = hooks->tap_count;
    if (fresh <= 0 || room == 0)
        return;
    if (fresh >= room) {
        memcpy(kept, lane->block[t] + (size_t)(fresh - room) * bytes, (size_t)room * bytes);
        old = 0;
        fresh = room;
    } else {
        if (old + fresh > room) {
            memmove(kept, kept + (size_t)(old + fresh - room) * bytes, (size_t)(room - fresh) * bytes);
            old = room - fresh;
        }
        memcpy(kept + (size_t)old * bytes, lane->block[t], (size_t)fresh * bytes);
    }
    hooks->tap_count = (uint32_t)(old + fresh);
    hooks->tap_first = lane->goal[t] - hooks->tap_count;
}

static void run_node(const tcn_work *work, uint32_t k, tcn_lane_run *lanes, uint32_t n_lanes)
{
    tcn_hooks *hooks = work->hooks;
    uint32_t begin = hooks && hooks->clock ? hooks->clock() : 0;
    tcn_run_node(work->program, k, lanes, n_lanes);
    if (hooks && hooks->clock)
        hooks->ticks[k] += hooks->clock() - begin;
}

/* The nodes of a loop, all of them for one frame after the other. */
static void run_loop(const tcn_work *work, uint32_t first, uint32_t last, tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_program *p = work->program;
    int64_t step;
    int more = 1;
    for (step = 0; more; step++) {
        uint32_t k, l, i;
        more = 0;
        for (k = first; k <= last; k++) {
            const tcn_node_record *node = &p->nodes[k];
            const uint32_t *out = words_at(p->plan, node->operands_at) + node->n_inputs;
            int any = 0;
            for (l = 0; l < n_lanes; l++)
                for (i = 0; i < node->n_outputs; i++) {
                    tcn_lane_run *lane = &lanes[l];
                    lane->begin[out[i]] = smaller(lane->have[out[i]] + step, lane->goal[out[i]]);
                    lane->end[out[i]] = smaller(lane->begin[out[i]] + 1, lane->goal[out[i]]);
                    any |= lane->begin[out[i]] < lane->end[out[i]];
                }
            if (any)
                run_node(work, k, lanes, n_lanes);
            more |= any;
        }
    }
}

/* Every lane from `have` to `goal`. */
static void run_block(const tcn_work *work, tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_program *p = work->program;
    tcn_hooks *hooks = work->hooks;
    const tcn_header *h = p->header;
    const tcn_commit *commits = p->commits;
    uint32_t k, l, i, looped_until = 0;
    for (l = 0; l < n_lanes; l++)
        compute_all(p, &lanes[l]);
    for (k = 0; k < h->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        if (node->loop) {
            looped_until = k + node->loop;
            run_loop(work, k, looped_until - 1, lanes, n_lanes);
        } else if (k >= looped_until) {
            run_node(work, k, lanes, n_lanes);
        }
        for (; commits->node == k; commits++)
            for (l = 0; l < n_lanes; l++)
                commit(p, &lanes[l], commits->tensor);
        if (hooks && hooks->tap_frames) {
            const uint32_t *out = words_at(p->plan, node->operands_at) + node->n_inputs;
            for (i = 0; i < node->n_outputs; i++)
                if (out[i] == hooks->tap_tensor)
                    watch(p, &lanes[0], hooks, out[i]);
        }
    }
    if (hooks && hooks->tap_frames && p->tensors[hooks->tap_tensor].writer == TCN_NO_NUMBER)
        watch(p, &lanes[0], hooks, hooks->tap_tensor);
}

static int fits(const tcn_program *p, const tcn_lane_run *lane)
{
    uint32_t t;
    for (t = 0; t < p->header->n_tensors; t++)
        if (p->places[t].base && lane->goal[t] - lane->have[t] > p->places[t].capacity)
            return 0;
    return 1;
}

/* In the steady state of a plan without rates each frame makes as many as any other, and the scratch is laid out for them. */
static int is_known_to_fit(const tcn_program *p, const tcn_lane_run *lane)
{
    return p->step == 1 && lane->state->frames >= p->steady_from;
}

static void deliver(const tcn_program *p, const tcn_lane_run *lane, void *const *out, int64_t *made)
{
    uint32_t o;
    for (o = 0; o < p->header->n_outputs; o++) {
        uint32_t t = p->ports[p->header->n_inputs + o].tensor;
        int64_t fresh = lane->goal[t] - lane->have[t];
        if (fresh > 0)
            memcpy((uint8_t *)out[o] + (size_t)made[o] * p->places[t].bytes, lane->block[t], (size_t)fresh * p->places[t].bytes);
        made[o] += fresh;
    }
}

static int usable(const tcn_work *work, const tcn_state *state)
{
    if (state->magic != TCN_STATE_MAGIC)
        return TCN_NO_STATE;
    if (state->plan != work->plan)
        return TCN_PLAN;
    return state->ended ? TCN_ENDED : TCN_OK;
}

/* Whether a signal that gives `count` frames of each tensor has the frames that its mirrored edges show. */
static int long_enough(const tcn_program *p, const int64_t *count)
{
    uint32_t k;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        int64_t n = count[words_at(p->plan, node->operands_at)[0]];
        int32_t shown = node->pad_begin > node->pad_end ? node->pad_begin : node->pad_end;
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
    int error = usable(work, state);
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

/* Whether the counts of `lane` fit the caller's buffers. */
static int has_room(const tcn_program *p, const tcn_lane_run *lane, const int64_t *room)
{
    uint32_t o;
    for (o = 0; o < p->header->n_outputs; o++) {
        uint32_t t = p->ports[p->header->n_inputs + o].tensor;
        if (lane->goal[t] - lane->have[t] > room[o])
            return 0;
    }
    return 1;
}

/* Every node for one step of each lane. */
static void run_step(const tcn_work *work, uint32_t lanes)
{
    const tcn_program *p = work->program;
    uint32_t (*clock)(void) = work->hooks ? work->hooks->clock : NULL;
    const tcn_commit *commits = p->commits;
    const tcn_single_frame *single = p->single_frames;
    uint32_t k, l, n = p->header->n_nodes, begin = 0;
    for (k = 0; k < n; k++, single++) {
        if (clock)
            begin = clock();
        if (single->run)
            single->run(p, single, p->lanes, lanes);
        else
            tcn_run_step(p, k, p->lanes, lanes);
        for (; commits->node == k; commits++)
            for (l = 0; l < lanes; l++)
                commit_step(&p->lanes[l], commits);
        if (clock)
            work->hooks->ticks[k] += clock() - begin;
    }
}

/* One step in every lane, all of them in the steady state: no counting, no edges. */
TCN_APART static void push_step(const tcn_work *work, tcn_lane *lane, uint32_t lanes)
{
    const tcn_program *p = work->program;
    const tcn_header *h = p->header;
    uint32_t l, i, o;
    for (l = 0; l < lanes; l++) {
        tcn_lane_run *run = &p->lanes[l];
        enter_lane(p, run, lane[l].state);
        for (i = 0; i < h->n_inputs; i++)
            run->block[p->ports[i].tensor] = lane[l].in[i];
        if (p->needs_counts && p->has_loops) {
            tcn_count_frames(p, run->state->frames, run->have);
            tcn_count_frames(p, run->state->frames + 1, run->goal);
            compute_all(p, run);
        }
        run->state->frames += p->step;
    }
    run_step(work, lanes);
    for (l = 0; l < lanes; l++)
        for (o = 0; o < h->n_outputs; o++) {
            uint32_t t = p->ports[h->n_inputs + o].tensor;
            memcpy(lane[l].out[o], p->lanes[l].block[t], (size_t)p->fresh[t] * p->places[t].bytes);
            lane[l].made[o] = p->fresh[t];
        }
}

/* Whether every lane takes one step in the steady state, which it is told then. */
static int all_steady(const tcn_work *work, const tcn_lane *lane, uint32_t lanes)
{
    const tcn_program *p = work->program;
    uint32_t l, o;
    if ((work->hooks && work->hooks->tap_frames) || lanes == 0)
        return 0;
    for (l = 0; l < lanes; l++) {
        if (lane[l].n != p->step || lane[l].state->frames < p->steady_from || usable(work, lane[l].state) ||
            !whole_steps(p, lane[l].state->frames - p->steady_from, &p->lanes[l].steps))
            return 0;
        for (o = 0; o < p->header->n_outputs; o++)
            if (lane[l].room[o] < p->fresh[p->ports[p->header->n_inputs + o].tensor])
                return 0;
    }
    return 1;
}

/* Any frames of each lane, in blocks. */
TCN_APART static int push_blocks(const tcn_work *work, tcn_lane *lane, uint32_t lanes, uint32_t *bad)
{
    const tcn_program *p = work->program;
    const tcn_header *h = p->header;
    uint32_t l, o, i, active;
    int64_t begin, longest = 0, block = work->block;
    int error;
    /* nothing moves before all of it is known to fit; these counts are those of the first block */
    for (l = 0; l < lanes; l++) {
        tcn_lane_run *run = &p->lanes[l];
        *bad = l;
        error = lane[l].n < 0 ? TCN_VALUE : usable(work, lane[l].state);
        if (error)
            return error;
        tcn_count_frames(p, lane[l].state->frames, run->have);
        tcn_count_frames(p, lane[l].state->frames + lane[l].n, run->goal);
        if (!has_room(p, run, lane[l].room))
            return TCN_ROOM;
        for (o = 0; o < h->n_outputs; o++)
            lane[l].made[o] = 0;
        longest = lane[l].n > longest ? lane[l].n : longest;
    }
    for (begin = 0; begin < longest; begin += block) {
        active = 0;
        for (l = 0; l < lanes; l++) {
            tcn_lane_run *run = &p->lanes[active];
            int64_t n = smaller(lane[l].n - begin, block);
            if (n <= 0)
                continue;
            enter_lane(p, run, lane[l].state);
            run->number = l;
            for (i = 0; i < h->n_inputs; i++)
                run->block[p->ports[i].tensor] = (const uint8_t *)lane[l].in[i] + (size_t)begin * p->places[p->ports[i].tensor].bytes;
            if (longest > block || active != l) {
                tcn_count_frames(p, run->state->frames, run->have);
                tcn_count_frames(p, run->state->frames + n, run->goal);
            }
            if (!is_known_to_fit(p, run) && !fits(p, run)) {
                *bad = l;
                return TCN_VALUE;
            }
            run->state->frames += n;
            active++;
        }
        run_block(work, p->lanes, active);
        for (l = 0; l < active; l++)
            deliver(p, &p->lanes[l], lane[p->lanes[l].number].out, lane[p->lanes[l].number].made);
    }
    return TCN_OK;
}

int tcn_push_lanes(const tcn_work *work, tcn_lane *lane, uint32_t lanes, uint32_t *bad)
{
    if (lanes > work->lanes) {
        *bad = work->lanes;
        return TCN_SCRATCH_SIZE;
    }
    if (all_steady(work, lane, lanes)) {
        push_step(work, lane, lanes);
        return TCN_OK;
    }
    return push_blocks(work, lane, lanes, bad);
}

int tcn_push(const tcn_work *work, tcn_state *state, const void *const in[], int64_t n, void *const out[],
             const int64_t room[], int64_t made[])
{
    const tcn_header *h = header_of(work->plan);
    tcn_program *p = work->program;
    tcn_lane *lane = &p->alone;
    uint32_t bad, i;
    int error;
    lane->state = state;
    lane->n = n;
    for (i = 0; i < h->n_inputs; i++)
        lane->in[i] = in[i];
    for (i = 0; i < h->n_outputs; i++) {
        lane->out[i] = out[i];
        lane->room[i] = room[i];
    }
    error = tcn_push_lanes(work, lane, 1, &bad);
    for (i = 0; !error && i < h->n_outputs; i++)
        made[i] = lane->made[i];
    return error;
}

int64_t tcn_flush_frames(const tcn_plan *plan)
{
    const tcn_node_record *nodes = nodes_of(plan);
    int64_t sum = 0;
    uint32_t k;
    for (k = 0; k < header_of(plan)->n_nodes; k++)
        sum += node_tail(&nodes[k], growth_of(plan, &tensors_of(plan)[words_at(plan, nodes[k].operands_at)[0]]));
    return sum;
}

/* The end is computed as if the signal went on: what a node would make then, up to what it makes of the
 * whole signal, with padding where the signal is over. So no ring ever holds more than in the middle. */
int tcn_flush(const tcn_work *work, tcn_state *state, void *const out[], const int64_t room[], int64_t made[])
{
    const tcn_program *p = work->program;
    const tcn_header *h = p->header;
    tcn_lane_run *lane = &p->lanes[0];
    int64_t frames[TCN_MAX_PORTS], n = state->frames, last = n + tcn_flush_frames(work->plan);
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
        if (!fits(p, lane))
            return TCN_VALUE;
        run_block(work, lane, 1);
        deliver(p, lane, out, made);
        if (!more)
            break;
        memcpy(lane->have, lane->goal, h->n_tensors * sizeof *lane->have);
    }
    state->ended = 1;
    return TCN_OK;
}
