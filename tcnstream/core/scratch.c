/* scratch.c - the caller's scratch memory, laid out for a plan, a block size and a number of lanes. */
#include "internal.h"

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

static uint64_t capacity_of(const tcn_program *p, uint32_t t, uint32_t block)
{
    const tcn_frame *g = frame_of(p, t);
    return TCN_NEEDED(RATES) ? ((uint64_t)block * g->up + g->down - 1) / g->down + g->extra : (uint64_t)block + g->extra;
}

/* Taps or operands of all nodes, and an end of each. */
static size_t offsets_of(const tcn_program *p)
{
    size_t sum = p->header->n_nodes;
    uint32_t k;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        if (node->kind == KIND_CONV || node->kind == KIND_DEPTHWISE)
            sum += node->op == CONV_FOURS ? ((const fours_args *)(const void *)(p->plan + node->args_at))->taps
                                          : ((const conv_args *)(const void *)(p->plan + node->args_at))->taps_t;
        else
            sum += 2;
    }
    return sum;
}

/* The most that a convolution in fours wants for its window. */
static size_t window_bytes(const tcn_program *p)
{
    uint64_t most = 0;
    uint32_t k;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        uint64_t bytes;
        if (node->kind != KIND_CONV || node->op != CONV_FOURS)
            continue;
        bytes = tcn_fours_window_bytes((const fours_args *)(const void *)(p->plan + node->args_at), node->dtype == TCN_I16 ? 2 : 1);
        most = bytes > most ? bytes : most;
    }
    return (size_t)most;
}

static tcn_commit commit_of(const tcn_program *p, uint32_t ring)
{
    const tcn_ring_record *r = &p->rings[ring];
    return (tcn_commit){&p->single_frames[r->last_reader], NULL, r->tensor, 0, ring, r->at, r->frames, p->places[r->tensor].bytes};
}

/* Lays the program out in the arena; without memory it only measures. */
TCN_RARELY static void lay_out(tcn_program *p, arena *a, uint32_t block, uint32_t lanes)
{
    const tcn_header *h = p->header;
    uint32_t t, s, l, k, r, n = 0, most_bytes = 16;
    uint64_t positions = (uint64_t)block * lanes;
    for (k = 0; k < h->n_nodes; k++)
        p->has_loops |= p->nodes[k].loop != 0;
    p->positions = positions < POSITIONS ? (positions < 8 ? 8 : (uint32_t)positions) : POSITIONS;
    p->table = h->max_taps * p->positions;
    if (p->table > TABLE_ENTRIES)
        p->table = h->max_taps > TABLE_ENTRIES ? h->max_taps : TABLE_ENTRIES;
    p->positions_at_most = p->table / h->max_taps;
    p->places = take(a, h->n_tensors, sizeof *p->places);
    p->commits = take(a, (size_t)h->n_rings + 1, sizeof *p->commits);
    p->rows = take(a, p->table, sizeof *p->rows);
    p->outs = take(a, p->positions, sizeof *p->outs);
    p->window = take(a, window_bytes(p), 1);
    p->signal_frames = take(a, h->n_tensors, sizeof *p->signal_frames);
    p->steady_frames = take(a, h->n_tensors, sizeof *p->steady_frames);
    p->fresh = take(a, h->n_tensors, sizeof *p->fresh);
    p->single_frames = take(a, h->n_nodes, sizeof *p->single_frames);
    p->offsets = take(a, offsets_of(p), sizeof *p->offsets);
    p->lanes = take(a, lanes, sizeof *p->lanes);
    for (l = 0; l < lanes; l++) {
        const uint8_t **blocks = take(a, h->n_tensors, sizeof *blocks);
        int64_t *have = take(a, h->n_tensors, sizeof *have);
        int64_t *goal = take(a, h->n_tensors, sizeof *goal);
        int64_t *begin = has_loops(p) ? take(a, h->n_tensors, sizeof *begin) : have;
        int64_t *end = has_loops(p) ? take(a, h->n_tensors, sizeof *end) : goal;
        if (a->at) {
            memset(&p->lanes[l], 0, sizeof p->lanes[l]);
            memset(blocks, 0, h->n_tensors * sizeof *blocks);
            memset(have, 0, h->n_tensors * sizeof *have);
            memset(goal, 0, h->n_tensors * sizeof *goal);
            p->lanes[l].block = blocks;
            p->lanes[l].have = have;
            p->lanes[l].goal = goal;
            p->lanes[l].begin = begin;
            p->lanes[l].end = end;
            p->lanes[l].index = l;
        }
    }
    for (t = 0; t < h->n_tensors; t++)
        most_bytes = frame_of(p, t)->bytes > most_bytes ? frame_of(p, t)->bytes : most_bytes;
    p->buffer_bytes = (most_bytes + 63u) & ~63u;
    p->buffers = take(a, 2, p->buffer_bytes);
    if (a->at) {
        memset(p->signal_frames, 0, h->n_tensors * sizeof *p->signal_frames);
        memset(p->buffers, 0, 2 * (size_t)p->buffer_bytes);
        for (t = 0; t < h->n_tensors; t++) {
            p->places[t].bytes = frame_of(p, t)->bytes;
            p->places[t].ring_frames = 0;
            p->places[t].ring = TCN_NONE;
            p->places[t].ring_at = 0;
            p->places[t].base = NULL;
            p->places[t].pitch = 0;
            p->places[t].capacity = 0;
        }
        for (r = 0; r < h->n_rings; r++) {
            tcn_place *at = &p->places[p->rings[r].tensor];
            at->ring_frames = p->rings[r].frames;
            at->ring = r;
            at->ring_at = p->rings[r].at;
        }
        for (k = 0; k < h->n_nodes; k++)
            for (r = 0; r < h->n_rings; r++)
                if (p->rings[r].last_reader == k)
                    p->commits[n++] = commit_of(p, r);
        p->commits[n].after = NULL;
    }
    for (s = 0; s < h->n_slots; s++) {
        size_t most = 0;
        uint8_t *base;
        for (t = 0; t < h->n_tensors; t++)
            if (p->tensors[t].slot == s && capacity_of(p, t, block) * frame_of(p, t)->bytes > most)
                most = (size_t)(capacity_of(p, t, block) * frame_of(p, t)->bytes);
        most = (most + 63) & ~(size_t)63;
        base = take(a, lanes, most);
        for (t = 0; a->at && t < h->n_tensors; t++)
            if (p->tensors[t].slot == s) {
                p->places[t].base = base;
                p->places[t].pitch = most;
                p->places[t].capacity = (uint32_t)capacity_of(p, t, block);
#ifdef RINGS_SIDE_BY_SIDE
                if (p->places[t].capacity == 1)
                    p->places[t].pitch = p->places[t].bytes;
#endif
                for (l = 0; l < lanes; l++)
                    p->lanes[l].block[t] = base + p->places[t].pitch * l;
            }
    }
}

static void open_program(tcn_program *p, const tcn_plan *plan)
{
    const tcn_sections s = tcn_sections_of(plan);
    memset(p, 0, sizeof *p);
    p->plan = (const uint8_t *)plan;
    p->header = header_of(plan);
    p->frames = frames_of(plan);
    p->tensors = tensors_of(plan);
    p->rings = ring_records_of(plan);
    p->windows = s.windows;
    p->nodes = s.nodes;
    p->ports = s.ports;
    p->operands = s.operands;
    p->carries_at = carries_at(p->header);
    p->rings_at = rings_at(p->header);
}

size_t tcn_scratch_size(const tcn_plan *plan, uint32_t block, uint32_t lanes)
{
    tcn_program p;
    arena a = {NULL, 0};
    open_program(&p, plan);
    take(&a, 1, PROGRAM_BYTES);
    lay_out(&p, &a, block ? block : 1, lanes ? lanes : 1);
    return a.used;
}

int tcn_prepare(tcn_work *work, void *scratch, size_t size, const tcn_plan *plan, uint32_t block, uint32_t lanes,
                int isa)
{
    const tcn_kernels *kernels = tcn_kernels_for(isa & ~TCN_FUSED);
    arena a = {scratch, 0};
    tcn_program *p;
    block = block ? block : 1;
    lanes = lanes ? lanes : 1;
    if (!kernels || (header_of(plan)->family != FAMILY_PORTABLE && !kernels->conv_i8_fours && !kernels->depthwise_i8_fours && !kernels->conv_i16_fours))
        return TCN_ISA;
    if (((uintptr_t)scratch & 63) != 0 || !scratch)
        return TCN_ALIGNMENT;
    if (size < tcn_scratch_size(plan, block, lanes))
        return TCN_SCRATCH_SIZE;
    p = take(&a, 1, PROGRAM_BYTES);
    open_program(p, plan);
    p->kernels = kernels;
    lay_out(p, &a, block, lanes);
    work->isa = kernels->isa;
#ifdef TCN_HAS_FUSED
    if (isa & TCN_FUSED && tcn_fused_kernels_for(kernels->isa)) {
        const tcn_fused_kernels *fused = tcn_fused_kernels_for(kernels->isa);
        p->with_fused = *kernels;
        p->with_fused.conv_f32 = fused->conv_f32;
        p->with_fused.depthwise_f32 = fused->depthwise_f32;
#ifdef TCN_HAS_SLIDING
        p->with_fused.conv_f32_sliding = fused->conv_f32_sliding;
        p->with_fused.depthwise_f32_sliding = fused->depthwise_f32_sliding;
#endif
        p->kernels = &p->with_fused;
        work->isa |= TCN_FUSED;
    }
#endif
    tcn_find_steady_state(p, block);
    tcn_prepare_commits(p);
    tcn_prepare_single_frames(p, p->offsets);
    work->plan = plan;
    work->program = p;
    work->hooks = NULL;
    work->block = block;
    work->lanes = lanes;
    return TCN_OK;
}
