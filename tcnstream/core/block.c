/* block.c - any frames of each lane, in blocks: they pass through the nodes, and rings take in what stays. */
#include "push.h"

/* A tensor's newest frames go from the block to its ring. */
static void commit(const tcn_program *p, const tcn_lane_run *lane, uint32_t t)
{
    const tcn_ring ring = ring_of(p, lane, t);
    lane->ring_next[p->places[t].ring] = ring_append(&ring, lane->block[t], (uint64_t)(lane->goal[t] - lane->have[t]));
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

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

/* The nodes of a loop, all of them for one frame after the other. Apart, for the stack of plans without loops. */
TCN_APART static void run_loop(const tcn_work *work, uint32_t first, uint32_t last, tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_program *p = work->program;
    int64_t step;
    int more = 1;
    for (step = 0; more; step++) {
        uint32_t k, l, i;
        more = 0;
        for (k = first; k <= last; k++) {
            const tcn_node_record *node = &p->nodes[k];
            const uint16_t *out = node_operands(p, node) + node->n_inputs;
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

void tcn_run_block(const tcn_work *work, tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_program *p = work->program;
    tcn_hooks *hooks = work->hooks;
    const tcn_header *h = p->header;
    const tcn_commit *commits = p->commits;
    uint32_t k, l, i, looped_until = 0;
    for (l = 0; l < n_lanes; l++)
        tcn_compute_all(p, &lanes[l]);
    for (k = 0; k < h->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        if (TCN_NEEDED(LOOPS) && node->loop) {
            looped_until = k + node->loop;
            run_loop(work, k, looped_until - 1, lanes, n_lanes);
        } else if (k >= looped_until) {
            run_node(work, k, lanes, n_lanes);
        }
        for (; commits->after == &p->single_frames[k]; commits++)
            for (l = 0; l < n_lanes; l++)
                commit(p, &lanes[l], commits->tensor);
        if (hooks && hooks->tap_frames) {
            const uint16_t *out = node_operands(p, node) + node->n_inputs;
            for (i = 0; i < node->n_outputs; i++)
                if (out[i] == hooks->tap_tensor)
                    watch(p, &lanes[0], hooks, out[i]);
        }
    }
    if (hooks && hooks->tap_frames && hooks->tap_tensor < h->n_inputs)
        watch(p, &lanes[0], hooks, hooks->tap_tensor);
}

int tcn_block_fits(const tcn_program *p, const tcn_lane_run *lane)
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

void tcn_deliver(const tcn_program *p, const tcn_lane_run *lane, void *const *out, int64_t *made)
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

TCN_APART int tcn_push_blocks(const tcn_work *work, tcn_lane *lane, uint32_t lanes, uint32_t *bad)
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
        error = lane[l].n < 0 ? TCN_VALUE : tcn_usable(work, lane[l].state);
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
            if (!is_known_to_fit(p, run) && !tcn_block_fits(p, run)) {
                *bad = l;
                return TCN_VALUE;
            }
            run->state->frames += n;
            active++;
        }
        tcn_run_block(work, p->lanes, active);
        for (l = 0; l < active; l++)
            tcn_deliver(p, &p->lanes[l], lane[p->lanes[l].number].out, lane[p->lanes[l].number].made);
    }
    return TCN_OK;
}
