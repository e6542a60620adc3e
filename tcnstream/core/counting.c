/* counting.c - how many frames of each tensor there are: the C form of timing.counts. */
#include "internal.h"

enum { MOST_STEP = 1 << 24, MOST_STEADY = 1 << 28 };

static int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

static int64_t while_open(const tcn_window *r, uint32_t edge, int64_t n)
{
    int64_t places;
    if (n == 0 || (edge == EDGE_REFLECT && n <= r->pad_begin))
        return 0;
    if (edge == EDGE_SYMMETRIC && n < r->pad_begin)
        return 0;
    places = n * r->up + r->pad_begin + (r->pad_end < 0 && r->pad_end != TCN_SAME ? r->pad_end : 0) - r->extent;
    if (TCN_NEEDED(RATES) && r->stride != 1)
        places = floor_divide(places, r->stride);
    return places < 0 ? 0 : places + 1;
}

static int64_t at_end(const tcn_window *r, int64_t n)
{
    int64_t places;
    if (n == 0)
        return 0;
    if (r->pad_end == TCN_SAME)
        return TCN_NEEDED(RATES) ? -floor_divide(-n, r->stride) : n;
    places = n * r->up + r->pad_begin + r->pad_end - r->extent;
    if (TCN_NEEDED(RATES))
        places = floor_divide(places, r->stride);
    return places < 0 ? 0 : places + 1;
}

static void fold(const tcn_program *p, int64_t n, int ended, int64_t *count)
{
    const tcn_header *h = p->header;
    uint32_t i, k;
    for (i = 0; i < h->n_inputs; i++)
        count[p->ports[i].tensor] = n;
    for (k = 0; k < h->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        const uint16_t *operands = node_operands(p, node);
        const tcn_window *window = window_of(p, node);
        int64_t least = INT64_MAX;
        for (i = 0; i < node->n_inputs; i++) {
            int64_t m = ended ? at_end(window, count[operands[i]]) : while_open(window, node->edge, count[operands[i]]);
            least = m < least ? m : least;
        }
        for (i = 0; i < node->n_outputs; i++)
            count[operands[node->n_inputs + i]] = least;
    }
}

void tcn_count_frames(const tcn_program *p, int64_t n, int64_t *count)
{
    int64_t steps;
    uint32_t i;
    if (n < p->steady_from || !whole_steps(p, n - p->steady_from, &steps)) {
        fold(p, n, 0, count);
        return;
    }
    for (i = 0; i < p->header->n_tensors; i++)
        count[i] = p->steady_frames[i] + steps * p->fresh[i];
}

#ifdef TCN_HAS_FUSED
void tcn_count_frames_of(const tcn_plan *plan, int64_t n, int64_t *count)
{
    const tcn_sections s = tcn_sections_of(plan);
    tcn_program p;
    memset(&p, 0, sizeof p);
    p.header = header_of(plan);
    p.windows = s.windows;
    p.nodes = s.nodes;
    p.ports = s.ports;
    p.operands = s.operands;
    fold(&p, n, 0, count);
}
#endif

void tcn_count_at_end(const tcn_program *p, int64_t n, int64_t *count) { fold(p, n, 1, count); }

/* Frames of an input from which on the frames that a node makes follow from it without a limit. */
static int64_t linear_from(const tcn_window *r, uint32_t edge)
{
    int64_t cut = r->pad_end < 0 && r->pad_end != TCN_SAME ? -(int64_t)r->pad_end : 0;
    int64_t from = (int64_t)r->extent - 1 - r->pad_begin + cut;
    if (TCN_NEEDED(RATES))
        from = (from + r->up - 1) / r->up;
    if ((edge == EDGE_REFLECT || edge == EDGE_SYMMETRIC) && from <= r->pad_begin)
        from = (int64_t)r->pad_begin + 1;
    return from < 1 ? 1 : from;
}

/* Whether nothing is cut off and nothing is read before the start after so many input frames, which `count` takes in. */
TCN_RARELY static int is_steady(const tcn_program *p, int64_t n, int64_t *count)
{
    uint32_t k, i;
    fold(p, n, 0, count);
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        const uint16_t *operands = node_operands(p, node);
        const tcn_window *window = window_of(p, node);
        for (i = 0; i < node->n_inputs; i++)
            if (count[operands[i]] < linear_from(window, node->edge))
                return 0;
        if (count[operands[node->n_inputs]] * window->stride < window->pad_begin)
            return 0;
    }
    return 1;
}

/* The least number of input frames of which every tensor makes whole ones; 0 for steps that no one takes. */
TCN_RARELY static uint32_t step_of(const tcn_program *p)
{
    uint64_t step = 1;
    uint32_t t;
    for (t = 0; TCN_NEEDED(RATES) && t < p->header->n_tensors; t++) {
        uint64_t a = step, b = frame_of(p, t)->down, rest;
        for (; b; a = b, b = rest)
            rest = a % b;
        step = step / a * frame_of(p, t)->down;
        if (step > MOST_STEP)
            return 0;
    }
    return (uint32_t)step;
}

TCN_RARELY void tcn_find_steady_state(tcn_program *p, uint32_t block)
{
    int64_t low = 0, high = 1, steps;
    uint32_t t;
    p->steady_from = INT64_MAX;
    memset(p->fresh, 0, p->header->n_tensors * sizeof *p->fresh);
    memset(p->steady_frames, 0, p->header->n_tensors * sizeof *p->steady_frames);
    p->step = step_of(p);
    if (!p->step || (has_loops(p) && p->step > 1))
        return;
    for (t = 0; t < p->header->n_tensors; t++) {
        const tcn_frame *g = frame_of(p, t);
        uint64_t fresh = (uint64_t)(p->step / g->down) * g->up;
        if (has_loops(p) && fresh > 1) /* a loop takes its frames one after the other */
            return;
        if (p->places[t].base && (p->places[t].capacity < fresh || p->places[t].capacity * (uint64_t)p->step < block * fresh))
            return;
        p->fresh[t] = (uint32_t)fresh;
    }
    while (!is_steady(p, high * p->step, p->steady_frames)) {
        if (high > MOST_STEADY / p->step)
            return;
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        steps = (low + high) / 2;
        if (is_steady(p, steps * p->step, p->steady_frames))
            high = steps;
        else
            low = steps;
    }
    fold(p, high * p->step, 0, p->steady_frames);
    p->steady_from = high * p->step;
}
