/* step.c - one step in the steady state: no counting, no edges, and each node knows beforehand where it reads. */
#include "push.h"

static inline tcn_ring ring_in(const tcn_lane_run *lane, const tcn_commit *c)
{
    return ring_among(lane->rings, LANES_BESIDE(lane), LANE_BESIDE(lane), c->ring_at, c->ring_frames, c->bytes, lane->ring_next[c->ring]);
}

/* A ring takes in the frames of a step. */
static void commit_several(const tcn_lane_run *lane, const tcn_commit *c)
{
    const tcn_ring ring = ring_in(lane, c);
    lane->ring_next[c->ring] = ring_append(&ring, lane->block[c->tensor], c->fresh);
}

static void commit_one(const tcn_lane_run *lane, const tcn_commit *c)
{
    const tcn_ring ring = ring_in(lane, c);
    ring_append_one(&ring, lane->block[c->tensor], &lane->ring_next[c->ring]);
}

#ifdef RINGS_SIDE_BY_SIDE
/* The rings of the first of `n` lanes, and of those that are in step with it, take in their frames. Returns how many. */
static uint32_t commit_in_step(const tcn_program *p, const tcn_lane_run *lanes, uint32_t n, const tcn_commit *c)
{
    const tcn_place *at = &p->places[c->tensor];
    uint32_t l, next;
    n = lanes->in_step < n ? lanes->in_step : n;
    if (n == 1 || c->take_in != commit_one || at->pitch != c->bytes) {
        c->take_in(lanes, c);
        return 1;
    }
    memcpy(ring_in(lanes, c).frames + (size_t)lanes->ring_next[c->ring] * c->bytes * lanes->lanes, lanes->block[c->tensor], (size_t)n * c->bytes);
    next = lanes->ring_next[c->ring] + 1 == c->ring_frames ? 0 : lanes->ring_next[c->ring] + 1;
    for (l = 0; l < n; l++)
        lanes[l].ring_next[c->ring] = next;
    return n;
}

static int stands_behind(const tcn_program *p, const tcn_lane_run *lane, const tcn_lane_run *before)
{
    return lane->lane == before->lane + 1 && lane->rings == before->rings &&
           !memcmp(lane->ring_next, before->ring_next, p->header->n_rings * sizeof *lane->ring_next);
}

static void find_in_step(const tcn_program *p, uint32_t lanes)
{
    tcn_lane_run *lane = &p->lanes[lanes - 1];
    lane->in_step = 1;
    for (; lane > p->lanes; lane--)
        lane[-1].in_step = stands_behind(p, lane, lane - 1) ? lane->in_step + 1 : 1;
}
#endif

#ifdef RING_COPIES_WORDS
static void commit_words(const tcn_lane_run *lane, const tcn_commit *c)
{
    uint32_t *next = &lane->ring_next[c->ring], place = *next;
    *next = place + 1 == c->ring_frames ? 0 : place + 1;
    ring_copy_words(lane->rings + c->ring_at + (size_t)place * c->bytes, lane->block[c->tensor], c->bytes);
}
#endif

TCN_RARELY void tcn_prepare_commits(tcn_program *p)
{
    tcn_commit *c;
    for (c = p->commits; c->after; c++) {
        c->fresh = p->fresh[c->tensor];
        c->take_in = TCN_NEEDED(RATES) && c->fresh != 1 ? commit_several : commit_one;
#ifdef RING_COPIES_WORDS
        if (c->take_in == commit_one && c->bytes % 4 == 0 && p->places[c->tensor].base) /* the caller's may stand anywhere */
            c->take_in = commit_words;
#endif
    }
}

/* Apart, for the registers of the loop over the nodes. */
TCN_APART static void add_ticks(tcn_hooks *hooks, const tcn_program *p, const tcn_single_frame *single, uint32_t ticks)
{
    hooks->ticks[single - p->single_frames] += ticks;
}

/* Every node for one step of each lane. */
static inline void run_nodes(const tcn_program *p, tcn_hooks *hooks, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_commit *commits = p->commits;
    const tcn_single_frame *single = p->single_frames;
    const tcn_single_frame *const end = single + p->header->n_nodes;
    uint32_t l, begin = 0;
    for (; single < end; single++) {
        if (hooks)
            begin = hooks->clock();
        single->run(p, single, lanes, n_lanes);
        for (; commits->after == single; commits++)
#ifdef RINGS_SIDE_BY_SIDE
            for (l = 0; l < n_lanes; l += commit_in_step(p, &lanes[l], n_lanes - l, commits)) {
            }
#else
            for (l = 0; l < n_lanes; l++)
                commits->take_in(&lanes[l], commits);
#endif
        if (hooks)
            add_ticks(hooks, p, single, hooks->clock() - begin);
    }
}

TCN_APART static void run_watched(const tcn_work *work, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    run_nodes(work->program, work->hooks, lanes, n_lanes);
}

TCN_APART static void run_step(const tcn_work *work, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    if (work->hooks && work->hooks->clock)
        run_watched(work, lanes, n_lanes);
    else
        run_nodes(work->program, NULL, lanes, n_lanes);
}

static void begin_step(const tcn_program *p, tcn_lane_run *run, tcn_state *state, const void *const *in)
{
    const tcn_description *port = p->ports, *const end = port + p->header->n_inputs;
    enter_lane(p, run, state);
    for (; port < end; port++)
        run->block[port->tensor] = *in++;
    if (p->needs_counts && has_loops(p)) {
        tcn_count_frames(p, state->frames, run->have);
        tcn_count_frames(p, state->frames + 1, run->goal);
        tcn_compute_all(p, run);
    }
    state->frames += p->step;
}

static void end_step(const tcn_program *p, const tcn_lane_run *run, void *const *out, int64_t *made)
{
    const tcn_description *port = p->ports + p->header->n_inputs, *const end = port + p->header->n_outputs;
    for (; port < end; port++) {
        const uint32_t t = port->tensor, fresh = p->fresh[t];
        *made++ = fresh;
        ring_copy_frame(*out++, run->block[t], fresh * p->places[t].bytes);
    }
}

TCN_APART void tcn_push_step(const tcn_work *work, tcn_lane *lane, uint32_t lanes)
{
    const tcn_program *p = work->program;
    uint32_t l;
    for (l = 0; l < lanes; l++)
        begin_step(p, &p->lanes[l], lane[l].state, lane[l].in);
#ifdef RINGS_SIDE_BY_SIDE
    find_in_step(p, lanes);
#endif
    for (l = 0; l < lanes; l += LANES_TOGETHER(lanes))
        run_step(work, p->lanes + l, LANES_TOGETHER(lanes));
    for (l = 0; l < lanes; l++)
        end_step(p, &p->lanes[l], lane[l].out, lane[l].made);
}

void tcn_push_step_alone(const tcn_work *work, tcn_state *state, const void *const *in, void *const *out, int64_t *made)
{
    const tcn_program *p = work->program;
    begin_step(p, p->lanes, state, in);
#ifdef RINGS_SIDE_BY_SIDE
    find_in_step(p, 1);
#endif
    run_step(work, p->lanes, 1);
    end_step(p, p->lanes, out, made);
}

int tcn_is_steady(const tcn_work *work, const tcn_state *state, int64_t n, const int64_t *room, tcn_lane_run *run)
{
    const tcn_program *p = work->program;
    const tcn_description *port = p->ports + p->header->n_inputs, *const end = port + p->header->n_outputs;
    if (n != p->step || state->frames < p->steady_from || (work->hooks && work->hooks->tap_frames) || tcn_usable(work, state) ||
        !whole_steps(p, state->frames - p->steady_from, &run->steps))
        return 0;
    for (; port < end; port++)
        if (*room++ < p->fresh[port->tensor])
            return 0;
    return 1;
}

int tcn_all_steady(const tcn_work *work, const tcn_lane *lane, uint32_t lanes)
{
    const tcn_program *p = work->program;
    uint32_t l;
    for (l = 0; l < lanes; l++)
        if (!tcn_is_steady(work, lane[l].state, lane[l].n, lane[l].room, &p->lanes[l]))
            return 0;
    return lanes != 0;
}
