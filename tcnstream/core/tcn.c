/* tcn.c - streams: counting frames, passing blocks through the nodes, rings, snapshots. */
#include "internal.h"

static const tcn_tensor_record *tensors_of(const tcn_plan *plan)
{
    return (const tcn_tensor_record *)(const void *)((const uint8_t *)plan + header_of(plan)->tensors_at);
}

static const tcn_node_record *nodes_of(const tcn_plan *plan)
{
    return (const tcn_node_record *)(const void *)((const uint8_t *)plan + header_of(plan)->nodes_at);
}

static const uint32_t *words_at(const void *plan, uint32_t at)
{
    return (const uint32_t *)(const void *)((const uint8_t *)plan + at);
}

/* What a plan says about itself ------------------------------------------------------------------ */

uint32_t tcn_inputs(const tcn_plan *plan) { return header_of(plan)->n_inputs; }
uint32_t tcn_outputs(const tcn_plan *plan) { return header_of(plan)->n_outputs; }
uint32_t tcn_tensors(const tcn_plan *plan) { return header_of(plan)->n_tensors; }
uint32_t tcn_nodes(const tcn_plan *plan) { return header_of(plan)->n_nodes; }

uint32_t tcn_input_tensor(const tcn_plan *plan, uint32_t input)
{
    return words_at(plan, header_of(plan)->ports_at)[input];
}

uint32_t tcn_output_tensor(const tcn_plan *plan, uint32_t output)
{
    return words_at(plan, header_of(plan)->ports_at)[header_of(plan)->n_inputs + output];
}

static const char *name_at(const tcn_plan *plan, uint32_t at)
{
    return (const char *)plan + header_of(plan)->names_at + at;
}

const char *tcn_identity(const tcn_plan *plan) { return name_at(plan, header_of(plan)->identity); }

void tcn_describe_tensor(const tcn_plan *plan, uint32_t tensor, tcn_tensor_facts *facts)
{
    const tcn_tensor_record *t = &tensors_of(plan)[tensor];
    facts->name = name_at(plan, t->name);
    facts->dtype = t->dtype;
    facts->rank = t->rank;
    memcpy(facts->shape, t->shape, sizeof facts->shape);
    facts->frame_elements = t->elements;
    facts->frame_bytes = t->bytes;
    facts->ring_frames = t->ring_frames;
    facts->scale = t->scale;
    facts->zero_point = t->zero_point;
}

void tcn_describe_node(const tcn_plan *plan, uint32_t node, tcn_node_facts *facts)
{
    const tcn_node_record *n = &nodes_of(plan)[node];
    facts->name = name_at(plan, n->label);
    facts->kind = name_at(plan, n->kind_name);
    facts->index = n->index;
    facts->output = words_at(plan, n->operands_at)[n->n_inputs];
}

/* Counting: the C form of timing.counts ------------------------------------------------------------ */

static int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

static int64_t while_open(const tcn_node_record *r, int64_t n)
{
    int64_t places;
    if (n == 0 || (r->edge == EDGE_REFLECT && n <= r->pad_begin))
        return 0;
    if (r->edge == EDGE_SYMMETRIC && n < r->pad_begin)
        return 0;
    places = n * r->up + r->pad_begin + (r->pad_end < 0 && r->pad_end != TCN_SAME ? r->pad_end : 0) - r->extent;
    if (r->stride != 1)
        places = floor_divide(places, r->stride);
    return places < 0 ? 0 : places + 1;
}

static int64_t at_end(const tcn_node_record *r, int64_t n)
{
    int64_t places;
    if (n == 0)
        return 0;
    if (r->pad_end == TCN_SAME)
        return -floor_divide(-n, r->stride);
    places = floor_divide(n * r->up + r->pad_begin + r->pad_end - r->extent, r->stride);
    return places < 0 ? 0 : places + 1;
}

/* Frames of every tensor that n input frames allow; all are 0 before the first one. */
static void count_frames(const tcn_program *p, int64_t n, int ended, int64_t *count)
{
    const tcn_header *h = p->header;
    uint32_t i, k;
    if (n == 0) {
        memset(count, 0, h->n_tensors * sizeof *count);
        return;
    }
    if (n >= p->steady_from && !ended) {
        for (i = 0; i < h->n_tensors; i++)
            count[i] = n - p->lags[i];
        return;
    }
    for (i = 0; i < h->n_inputs; i++)
        count[p->ports[i]] = n;
    for (k = 0; k < h->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        const uint32_t *operands = words_at(p->plan, node->operands_at);
        int64_t least = INT64_MAX;
        for (i = 0; i < node->n_inputs; i++) {
            int64_t m = ended ? at_end(node, count[operands[i]]) : while_open(node, count[operands[i]]);
            least = m < least ? m : least;
        }
        for (i = 0; i < node->n_outputs; i++)
            count[operands[node->n_inputs + i]] = least;
    }
}

/* Where all rates are 1, every tensor trails the input by a fixed number of frames once the stream is so old
 * that no count is cut off at zero: then counting is a subtraction. */
static void find_lags(tcn_program *p, uint32_t block)
{
    const tcn_header *h = p->header;
    int64_t far = 1, reach = 1;
    uint32_t k, t;
    p->steady_from = INT64_MAX;
    memset(p->lags, 0, h->n_tensors * sizeof *p->lags);
    for (k = 0; k < h->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        if (node->up != 1 || node->stride != 1)
            return;
        reach += (int64_t)node->extent + (node->pad_begin < 0 ? -(int64_t)node->pad_begin : node->pad_begin) + 1;
        if (node->pad_end < 0 && node->pad_end != TCN_SAME)
            reach -= node->pad_end;
    }
    far += reach;
    count_frames(p, far, 0, p->lags);
    for (t = 0; t < h->n_tensors; t++) {
        if (!(p->tensors[t].flags & 1) && p->places[t].base && p->places[t].capacity < block)
            return; /* only in a plan that no writer makes */
        p->lags[t] = far - p->lags[t];
    }
    p->steady_from = far;
}

/* Scratch ------------------------------------------------------------------------------------------ */

enum { POSITIONS = 64, TABLE_ENTRIES = 2048 };

typedef struct {
    uint8_t *at;
    size_t used;
} arena;

static void *take(arena *a, size_t count, size_t size)
{
    void *made = a->at ? a->at + a->used : NULL;
    a->used += (count * size + 63) & ~(size_t)63;
    return made;
}

static uint64_t capacity_of(const tcn_tensor_record *t, uint32_t block)
{
    return ((uint64_t)block * t->grow_up + t->grow_down - 1) / t->grow_down + t->grow_extra;
}

/* Taps and operands of all nodes. */
static size_t offsets_of(const tcn_program *p)
{
    size_t sum = 0;
    uint32_t k;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        if (node->kind == KIND_CONV || node->kind == KIND_DEPTHWISE)
            sum += ((const conv_args *)(const void *)(p->plan + node->args_at))->taps_t;
        else
            sum += 2;
    }
    return sum;
}

/* Lays the program out in the arena; without memory it only measures. */
static void lay_out(tcn_program *p, arena *a, uint32_t block, uint32_t lanes)
{
    const tcn_header *h = p->header;
    uint32_t t, s, l, k, n = 0, spare = 16;
    uint64_t positions = (uint64_t)block * lanes;
    p->positions = positions < POSITIONS ? (positions < 8 ? 8 : (uint32_t)positions) : POSITIONS;
    p->table = h->max_taps * p->positions;
    if (p->table > TABLE_ENTRIES)
        p->table = h->max_taps > TABLE_ENTRIES ? h->max_taps : TABLE_ENTRIES;
    p->positions_at_most = p->table / h->max_taps;
    p->places = take(a, h->n_tensors, sizeof *p->places);
    p->commits = take(a, h->n_tensors, sizeof *p->commits);
    p->commit_until = take(a, h->n_nodes, sizeof *p->commit_until);
    p->rows = take(a, p->table, sizeof *p->rows);
    p->outs = take(a, p->positions, sizeof *p->outs);
    p->limits = take(a, h->n_tensors, sizeof *p->limits);
    p->lags = take(a, h->n_tensors, sizeof *p->lags);
    p->steps = take(a, h->n_nodes, sizeof *p->steps);
    p->offsets = take(a, offsets_of(p), sizeof *p->offsets);
    p->lanes = take(a, lanes, sizeof *p->lanes);
    for (l = 0; l < lanes; l++) {
        const uint8_t **blocks = take(a, h->n_tensors, sizeof *blocks);
        int64_t *have = take(a, h->n_tensors, sizeof *have);
        int64_t *goal = take(a, h->n_tensors, sizeof *goal);
        if (a->at) {
            memset(&p->lanes[l], 0, sizeof p->lanes[l]);
            memset(blocks, 0, h->n_tensors * sizeof *blocks);
            memset(have, 0, h->n_tensors * sizeof *have);
            memset(goal, 0, h->n_tensors * sizeof *goal);
            p->lanes[l].block = blocks;
            p->lanes[l].have = have;
            p->lanes[l].goal = goal;
            p->lanes[l].index = l;
        }
    }
    for (t = 0; t < h->n_tensors; t++)
        spare = p->tensors[t].bytes > spare ? p->tensors[t].bytes : spare;
    p->spare_bytes = (spare + 63u) & ~63u;
    p->spare = take(a, 2, p->spare_bytes);
    if (a->at) {
        memset(p->limits, 0, h->n_tensors * sizeof *p->limits);
        memset(p->spare, 0, 2 * (size_t)p->spare_bytes);
        for (k = 0; k < h->n_nodes; k++) {
            for (t = 0; t < h->n_tensors; t++)
                if (p->tensors[t].last_reader == k && p->tensors[t].ring_frames)
                    p->commits[n++] = t;
            p->commit_until[k] = n;
        }
        for (t = 0; t < h->n_tensors; t++) {
            p->places[t].bytes = p->tensors[t].bytes;
            p->places[t].frames = p->tensors[t].ring_frames;
            p->places[t].ring = p->tensors[t].ring_frames ? p->tensors[t].ring : TCN_NONE;
            p->places[t].ring_at = p->tensors[t].ring_at;
            p->places[t].base = NULL;
            p->places[t].pitch = 0;
            p->places[t].capacity = 0;
        }
    }
    for (s = 0; s < h->n_slots; s++) {
        size_t most = 0;
        uint8_t *base;
        for (t = 0; t < h->n_tensors; t++)
            if (p->tensors[t].slot == s && capacity_of(&p->tensors[t], block) * p->tensors[t].bytes > most)
                most = (size_t)(capacity_of(&p->tensors[t], block) * p->tensors[t].bytes);
        most = (most + 63) & ~(size_t)63;
        base = take(a, lanes, most);
        for (t = 0; a->at && t < h->n_tensors; t++)
            if (p->tensors[t].slot == s) {
                p->places[t].base = base;
                p->places[t].pitch = most;
                p->places[t].capacity = (uint32_t)capacity_of(&p->tensors[t], block);
                for (l = 0; l < lanes; l++)
                    p->lanes[l].block[t] = base + most * l;
            }
    }
}

static void open_program(tcn_program *p, const tcn_plan *plan)
{
    memset(p, 0, sizeof *p);
    p->plan = (const uint8_t *)plan;
    p->header = header_of(plan);
    p->tensors = tensors_of(plan);
    p->nodes = nodes_of(plan);
    p->ports = words_at(plan, p->header->ports_at);
}

size_t tcn_scratch_size(const tcn_plan *plan, uint32_t block, uint32_t lanes)
{
    tcn_program p;
    arena a = {NULL, 0};
    open_program(&p, plan);
    take(&a, 1, sizeof p);
    lay_out(&p, &a, block ? block : 1, lanes ? lanes : 1);
    return a.used;
}

int tcn_prepare(tcn_work *work, void *scratch, size_t size, const tcn_plan *plan, uint32_t block, uint32_t lanes,
                int isa)
{
    const tcn_kernels *kernels = tcn_kernels_for(isa);
    arena a = {scratch, 0};
    tcn_program *p;
    block = block ? block : 1;
    lanes = lanes ? lanes : 1;
    if (!kernels)
        return TCN_ISA;
    if (((uintptr_t)scratch & 63) != 0 || !scratch)
        return TCN_ALIGNMENT;
    if (size < tcn_scratch_size(plan, block, lanes))
        return TCN_SCRATCH_SIZE;
    p = take(&a, 1, sizeof *p);
    open_program(p, plan);
    p->kernels = kernels;
    lay_out(p, &a, block, lanes);
    find_lags(p, block);
    tcn_find_steps(p, p->offsets);
    work->plan = plan;
    work->program = p;
    work->hooks = NULL;
    work->block = block;
    work->lanes = lanes;
    work->isa = kernels->isa;
    return TCN_OK;
}

/* State -------------------------------------------------------------------------------------------- */

size_t tcn_state_size(const tcn_plan *plan) { return rings_at(header_of(plan)) + header_of(plan)->ring_bytes; }

int tcn_init(tcn_state *state, size_t size, const tcn_plan *plan)
{
    if (((uintptr_t)state & 7) != 0 || !state)
        return TCN_ALIGNMENT;
    if (size < tcn_state_size(plan))
        return TCN_STATE_SIZE;
    state->magic = TCN_STATE_MAGIC;
    state->plan = plan;
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

static void enter(const tcn_program *p, tcn_lane_run *lane, tcn_state *state)
{
    lane->state = state;
    lane->place = (uint32_t *)(void *)((uint8_t *)state + sizeof *state);
    lane->carries = (uint8_t *)state + carries_at(p->header);
    lane->rings = (uint8_t *)state + rings_at(p->header);
    lane->limit = NULL;
}

/* A tensor's newest frames go from the block to its ring. */
static void commit(const tcn_program *p, const tcn_lane_run *lane, uint32_t t)
{
    const tcn_place *at = &p->places[t];
    int64_t fresh = lane->goal[t] - lane->have[t];
    const uint8_t *from = lane->block[t];
    uint8_t *ring = lane->rings + at->ring_at;
    uint32_t place = lane->place[at->ring], n, first;
    if (fresh >= at->frames) {
        memcpy(ring, from + (size_t)(fresh - at->frames) * at->bytes, (size_t)at->frames * at->bytes);
        lane->place[at->ring] = 0;
        return;
    }
    n = (uint32_t)fresh;
    first = at->frames - place < n ? at->frames - place : n;
    memcpy(ring + (size_t)place * at->bytes, from, (size_t)first * at->bytes);
    memcpy(ring, from + (size_t)first * at->bytes, (size_t)(n - first) * at->bytes);
    place += n;
    lane->place[at->ring] = place >= at->frames ? place - at->frames : place;
}

/* One new frame. */
static inline void commit_one(const tcn_program *p, const tcn_lane_run *lane, uint32_t t)
{
    const tcn_place *at = &p->places[t];
    uint32_t place = lane->place[at->ring], left = at->bytes;
    const uint8_t *from = lane->block[t];
    uint8_t *to = lane->rings + at->ring_at + (size_t)place * left;
    lane->place[at->ring] = place + 1 == at->frames ? 0 : place + 1;
    for (; left >= 16; left -= 16, from += 16, to += 16)
        memcpy(to, from, 16);
    for (; left >= 4; left -= 4, from += 4, to += 4)
        memcpy(to, from, 4);
    for (; left; left--)
        *to++ = *from++;
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

/* Every lane from `have` to `goal`. */
static void run_block(const tcn_work *work, tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_program *p = work->program;
    tcn_hooks *hooks = work->hooks;
    const tcn_header *h = p->header;
    uint32_t k, l, i, done = 0;
    for (k = 0; k < h->n_nodes; k++) {
        uint32_t begin = hooks && hooks->clock ? hooks->clock() : 0;
        tcn_run_node(p, k, lanes, n_lanes);
        for (; done < p->commit_until[k]; done++)
            for (l = 0; l < n_lanes; l++)
                commit(p, &lanes[l], p->commits[done]);
        if (hooks) {
            const tcn_node_record *node = &p->nodes[k];
            const uint32_t *out = words_at(p->plan, node->operands_at) + node->n_inputs;
            if (hooks->clock)
                hooks->ticks[k] += hooks->clock() - begin;
            for (i = 0; hooks->tap_frames && i < node->n_outputs; i++)
                if (out[i] == hooks->tap_tensor)
                    watch(p, &lanes[0], hooks, out[i]);
        }
    }
    if (hooks && hooks->tap_frames && p->tensors[hooks->tap_tensor].writer == TCN_NONE)
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

static void deliver(const tcn_program *p, const tcn_lane_run *lane, void *const *out, int64_t *made)
{
    uint32_t o;
    for (o = 0; o < p->header->n_outputs; o++) {
        uint32_t t = p->ports[p->header->n_inputs + o];
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

/* Whether the mirrored edges have the frames that they mirror when the signal ends now. */
static int long_enough(const tcn_program *p, const int64_t *have)
{
    uint32_t k;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        int64_t n = have[words_at(p->plan, node->operands_at)[0]];
        if ((node->edge == EDGE_REFLECT || node->edge == EDGE_SYMMETRIC) && n > 0 &&
            n < node->pad_begin + (node->edge == EDGE_REFLECT))
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
    if (n >= 0 && state->frames >= p->steady_from) {
        for (o = 0; o < p->header->n_outputs; o++)
            frames[o] = n;
        return TCN_OK;
    }
    count_frames(p, state->frames, 0, lane->have);
    if (n < 0 && !long_enough(p, lane->have))
        return TCN_SHORT;
    count_frames(p, state->frames + (n < 0 ? 0 : n), n < 0, lane->goal);
    for (o = 0; o < p->header->n_outputs; o++) {
        uint32_t t = p->ports[p->header->n_inputs + o];
        frames[o] = lane->goal[t] - lane->have[t];
    }
    return TCN_OK;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Whether the counts of `lane` fit the caller's buffers. */
static int has_room(const tcn_program *p, const tcn_lane_run *lane, const int64_t *room)
{
    uint32_t o;
    for (o = 0; o < p->header->n_outputs; o++) {
        uint32_t t = p->ports[p->header->n_inputs + o];
        if (lane->goal[t] - lane->have[t] > room[o])
            return 0;
    }
    return 1;
}

/* One frame in every lane, all of them in the steady state: no counting, no edges. */
static void push_one(const tcn_work *work, tcn_lane *lane, uint32_t lanes)
{
    const tcn_program *p = work->program;
    const tcn_header *h = p->header;
    uint32_t l, i, k, o, done = 0;
    for (l = 0; l < lanes; l++) {
        tcn_lane_run *run = &p->lanes[l];
        enter(p, run, lane[l].state);
        for (i = 0; i < h->n_inputs; i++)
            run->block[p->ports[i]] = lane[l].in[i];
        if (p->counts_wanted) {
            count_frames(p, run->state->frames, 0, run->have);
            count_frames(p, run->state->frames + 1, 0, run->goal);
        }
        run->state->frames++;
    }
    for (k = 0; k < h->n_nodes; k++) {
        tcn_run_step(p, k, p->lanes, lanes);
        for (; done < p->commit_until[k]; done++)
            for (l = 0; l < lanes; l++)
                commit_one(p, &p->lanes[l], p->commits[done]);
    }
    for (l = 0; l < lanes; l++)
        for (o = 0; o < h->n_outputs; o++) {
            uint32_t t = p->ports[h->n_inputs + o];
            memcpy(lane[l].out[o], p->lanes[l].block[t], p->places[t].bytes);
            lane[l].made[o] = 1;
        }
}

static int all_steady(const tcn_work *work, const tcn_lane *lane, uint32_t lanes)
{
    const tcn_program *p = work->program;
    uint32_t l, o;
    if (work->hooks || lanes == 0)
        return 0;
    for (l = 0; l < lanes; l++) {
        if (lane[l].n != 1 || lane[l].state->frames < p->steady_from || usable(work, lane[l].state))
            return 0;
        for (o = 0; o < p->header->n_outputs; o++)
            if (lane[l].room[o] < 1)
                return 0;
    }
    return 1;
}

int tcn_push_lanes(const tcn_work *work, tcn_lane *lane, uint32_t lanes, uint32_t *bad)
{
    const tcn_program *p = work->program;
    const tcn_header *h = p->header;
    uint32_t l, o, i, active;
    int64_t begin, longest = 0, block = work->block;
    int error;
    if (lanes > work->lanes) {
        *bad = work->lanes;
        return TCN_SCRATCH_SIZE;
    }
    if (all_steady(work, lane, lanes)) {
        push_one(work, lane, lanes);
        return TCN_OK;
    }
    /* nothing moves before all of it is known to fit; these counts are those of the first block */
    for (l = 0; l < lanes; l++) {
        tcn_lane_run *run = &p->lanes[l];
        *bad = l;
        error = lane[l].n < 0 ? TCN_VALUE : usable(work, lane[l].state);
        if (error)
            return error;
        count_frames(p, lane[l].state->frames, 0, run->have);
        count_frames(p, lane[l].state->frames + lane[l].n, 0, run->goal);
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
            enter(p, run, lane[l].state);
            run->number = l;
            for (i = 0; i < h->n_inputs; i++)
                run->block[p->ports[i]] = (const uint8_t *)lane[l].in[i] + (size_t)begin * p->places[p->ports[i]].bytes;
            if (longest > block || active != l) {
                count_frames(p, run->state->frames, 0, run->have);
                count_frames(p, run->state->frames + n, 0, run->goal);
            }
            if (run->state->frames < p->steady_from && !fits(p, run)) {
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

int tcn_push(const tcn_work *work, tcn_state *state, const void *const in[], int64_t n, void *const out[],
             const int64_t room[], int64_t made[])
{
    const tcn_header *h = header_of(work->plan);
    tcn_lane lane;
    uint32_t bad;
    int error;
    lane.state = state;
    lane.n = n;
    memcpy(lane.in, in, h->n_inputs * sizeof *in);
    memcpy(lane.out, out, h->n_outputs * sizeof *out);
    memcpy(lane.room, room, h->n_outputs * sizeof *room);
    error = tcn_push_lanes(work, &lane, 1, &bad);
    if (!error)
        memcpy(made, lane.made, h->n_outputs * sizeof *made);
    return error;
}

int64_t tcn_flush_frames(const tcn_plan *plan)
{
    const tcn_node_record *nodes = nodes_of(plan);
    int64_t sum = 0;
    uint32_t k;
    for (k = 0; k < header_of(plan)->n_nodes; k++)
        sum += node_tail(&nodes[k], &tensors_of(plan)[words_at(plan, nodes[k].operands_at)[0]]);
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
    enter(p, lane, state);
    lane->limit = p->limits;
    count_frames(p, n, 1, lane->limit);
    count_frames(p, n, 0, lane->have);
    for (t = 0; t < h->n_tensors; t++)
        if (lane->have[t] > lane->limit[t])
            lane->have[t] = lane->limit[t];
    while (n > 0 && n < last) {
        int more = 0;
        n += work->block;
        count_frames(p, n, 0, lane->goal);
        for (t = 0; t < h->n_tensors; t++) {
            if (p->tensors[t].flags & 1)
                continue;
            if (lane->goal[t] > lane->limit[t])
                lane->goal[t] = lane->limit[t];
            more |= lane->goal[t] < lane->limit[t];
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

/* Snapshots ---------------------------------------------------------------------------------------- */

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
    const uint32_t *place = (const uint32_t *)(const void *)((const uint8_t *)state + sizeof *state);
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
            const uint8_t *ring = (const uint8_t *)state + rings_at(h) + t[i].ring_at;
            uint8_t *rows = to + SNAPSHOT_HEAD + t[i].ring_at;
            size_t split = (size_t)place[t[i].ring] * t[i].bytes, all = (size_t)t[i].ring_frames * t[i].bytes;
            memcpy(rows, ring + split, all - split);
            memcpy(rows + all - split, ring, split);
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
    enter(p, lane, state);
    count_frames(p, state->frames, 0, lane->have);
    tcn_rebuild_carries(p, lane);
    return TCN_OK;
}

uint32_t tcn_crc32(uint32_t crc, const void *bytes, size_t size)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    const uint8_t *at = bytes;
    crc = ~crc;
    while (size--) {
        crc ^= *at++;
        crc = nibble[crc & 15] ^ (crc >> 4);
        crc = nibble[crc & 15] ^ (crc >> 4);
    }
    return ~crc;
}
