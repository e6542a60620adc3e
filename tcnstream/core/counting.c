/* counting.c - how many frames of each tensor there are: the C form of timing.counts. */
#include "internal.h"

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

static inline void fold(const tcn_program *p, int64_t n, int ended, int64_t *count)
{
    const tcn_header *h = p->header;
    uint32_t i, k;
    for (i = 0; i < h->n_inputs; i++)
        count[p->ports[i].tensor] = n;
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

void tcn_count_frames(const tcn_program *p, int64_t n, int64_t *count)
{
    uint32_t i;
    if (n < p->steady_from) {
        fold(p, n, 0, count);
        return;
    }
    for (i = 0; i < p->header->n_tensors; i++)
        count[i] = n - p->latency_frames[i];
}

void tcn_count_at_end(const tcn_program *p, int64_t n, int64_t *count) { fold(p, n, 1, count); }

/* Frames of an input from which on a node makes one frame for each of them. */
static int64_t linear_from(const tcn_node_record *r)
{
    int64_t cut = r->pad_end < 0 && r->pad_end != TCN_SAME ? -(int64_t)r->pad_end : 0;
    int64_t from = (int64_t)r->extent - 1 - r->pad_begin + cut;
    if ((r->edge == EDGE_REFLECT || r->edge == EDGE_SYMMETRIC) && from <= r->pad_begin)
        from = (int64_t)r->pad_begin + 1;
    return from < 1 ? 1 : from;
}

/* A stream is steady when every node makes a frame for each frame that comes, and reads nothing before the start. */
void tcn_find_latencies(tcn_program *p, uint32_t block)
{
    const tcn_header *h = p->header;
    int64_t steady = 1, far, *from = p->signal_frames; /* [tensors] input frames from which on a tensor has that latency */
    uint32_t i, k, t;
    p->steady_from = INT64_MAX;
    memset(p->latency_frames, 0, h->n_tensors * sizeof *p->latency_frames);
    for (k = 0; k < h->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        const uint32_t *operands = words_at(p->plan, node->operands_at);
        int64_t latency = INT64_MIN, begin = 1, cut = node->pad_end < 0 && node->pad_end != TCN_SAME ? node->pad_end : 0;
        if (node->up != 1 || node->stride != 1)
            return;
        for (i = 0; i < node->n_inputs; i++) {
            int64_t late = p->latency_frames[operands[i]], needed = late + linear_from(node);
            latency = late > latency ? late : latency;
            begin = from[operands[i]] > begin ? from[operands[i]] : begin;
            begin = needed > begin ? needed : begin;
        }
        latency += (int64_t)node->extent - 1 - node->pad_begin - cut;
        for (i = 0; i < node->n_outputs; i++) {
            p->latency_frames[operands[node->n_inputs + i]] = latency;
            from[operands[node->n_inputs + i]] = begin;
        }
        far = latency + node->pad_begin;
        steady = begin > steady ? begin : steady;
        steady = far > steady ? far : steady;
    }
    memset(from, 0, h->n_tensors * sizeof *from);
    for (t = 0; t < h->n_tensors; t++)
        if (p->places[t].base && p->places[t].capacity < block)
            return; /* unreachable for a valid plan */
    p->steady_from = steady;
}
