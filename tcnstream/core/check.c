/* check.c - tcn_check: whether bytes are a plan. Everything that the rest of the core takes for granted is
 * established here: each offset, size, index, order and range, and the checksum over all of it. */
#include "operations/operation.h"

enum { CHECKED_FROM = offsetof(tcn_header, flags) }; /* behind the checksum */

static int named(const tcn_checker *c, uint32_t name)
{
    return name < c->h->names_bytes; /* the names end with a NUL */
}

#define AT(type, place) ((const type *)(const void *)(c->plan + (place)))

/* `count` descriptions, all of which are there. */
TCN_RARELY static int check_descriptions(tcn_checker *c, const tcn_description *first, uint32_t count)
{
    static const uint8_t bytes[] = TCN_ITEM_BYTES;
    const tcn_description *d;
    for (d = first; d < first + count; d++) {
        const tcn_tensor_record *t;
        uint64_t elements = 1;
        uint32_t k;
        REQUIRE(d->tensor < c->h->n_tensors, &d->tensor, TCN_BOUNDS);
        REQUIRE(named(c, d->name), &d->name, TCN_BOUNDS);
        t = &c->tensors[d->tensor];
        REQUIRE(t->dtype < sizeof bytes, &t->dtype, TCN_VALUE);
        REQUIRE(d->rank <= 4, &d->rank, TCN_VALUE);
        for (k = 0; k < d->rank; k++) {
            REQUIRE(d->shape[k] > 0 && d->shape[k] <= MOST_ELEMENTS, &d->shape[k], TCN_VALUE);
            elements *= d->shape[k];
            REQUIRE(elements <= MOST_ELEMENTS, &d->shape[k], TCN_VALUE);
        }
        REQUIRE(t->bytes == elements * bytes[t->dtype], &d->shape, TCN_VALUE);
    }
    return TCN_OK;
}

/* What reports call things. */
TCN_RARELY static int check_names(tcn_checker *c)
{
    const tcn_header *h = c->h;
    uint64_t bytes = h->n_tensors * sizeof(tcn_description) + h->n_nodes * sizeof(tcn_node_description);
    const tcn_node_description *n;
    uint32_t i;
    if (!h->described_at)
        return TCN_OK;
    REQUIRE(holds(c, h->described_at, bytes / 4, 4), &h->described_at, TCN_BOUNDS);
    n = AT(tcn_node_description, h->described_at + h->n_tensors * sizeof(tcn_description));
    for (i = 0; i < h->n_nodes; i++)
        REQUIRE(named(c, n[i].label) && named(c, n[i].kind_name), n + i, TCN_BOUNDS);
    for (i = 0; i < h->n_tensors; i++)
        REQUIRE(AT(tcn_description, h->described_at)[i].tensor == i, &h->described_at, TCN_VALUE);
    return check_descriptions(c, AT(tcn_description, h->described_at), h->n_tensors);
}

TCN_RARELY static int check_header(tcn_checker *c, size_t size)
{
    const tcn_header *h = c->h;
    int error;
    REQUIRE(size >= sizeof *h, c->plan + size, TCN_TRUNCATED);
    REQUIRE(memcmp(h->magic, TCN_PLAN_MAGIC, sizeof h->magic) == 0, h->magic, TCN_MAGIC);
    REQUIRE(h->version == TCN_VERSION, &h->version, TCN_MAGIC);
    REQUIRE(h->bytes >= sizeof *h, &h->bytes, TCN_BOUNDS);
    REQUIRE(h->bytes <= size, &h->bytes, TCN_TRUNCATED);
    REQUIRE(tcn_crc32(0, c->plan + CHECKED_FROM, h->bytes - CHECKED_FROM) == h->crc32, &h->crc32, TCN_CHECKSUM);
    REQUIRE(h->family == FAMILY_PORTABLE || h->family == TCN_FAMILY_HERE, &h->family, TCN_FAMILY);
    REQUIRE(h->n_tensors > 0 && h->n_tensors < TCN_NO_NUMBER, &h->n_tensors, TCN_VALUE);
    REQUIRE(h->n_nodes < TCN_NO_NUMBER, &h->n_nodes, TCN_VALUE);
    REQUIRE(h->n_inputs > 0 && h->n_inputs <= TCN_MAX_PORTS, &h->n_inputs, TCN_VALUE);
    REQUIRE(h->n_outputs > 0 && h->n_outputs <= TCN_MAX_PORTS, &h->n_outputs, TCN_VALUE);
    REQUIRE(h->n_slots <= h->n_tensors, &h->n_slots, TCN_VALUE);
    REQUIRE(h->n_rings <= h->n_tensors, &h->n_rings, TCN_VALUE);
    REQUIRE(h->ring_bytes <= 1u << 30, &h->ring_bytes, TCN_VALUE);
    REQUIRE(h->carry_bytes <= 1u << 28, &h->carry_bytes, TCN_VALUE);
    REQUIRE(h->max_taps > 0 && h->max_taps <= 1u << 20, &h->max_taps, TCN_VALUE);
    REQUIRE(h->tensors_at % 4 == 0 && h->tensors_at >= sizeof *h && h->tensors_at <= h->bytes &&
            h->n_tensors <= (h->bytes - h->tensors_at) / sizeof(tcn_tensor_record), &h->tensors_at, TCN_BOUNDS);
    REQUIRE(h->nodes_at % 4 == 0 && h->nodes_at >= sizeof *h && h->nodes_at <= h->bytes &&
            h->n_nodes <= (h->bytes - h->nodes_at) / sizeof(tcn_node_record), &h->nodes_at, TCN_BOUNDS);
    REQUIRE(h->ports_at % 4 == 0 && h->ports_at >= sizeof *h && h->ports_at <= h->bytes &&
            h->n_inputs + h->n_outputs <= (h->bytes - h->ports_at) / sizeof(tcn_description), &h->ports_at, TCN_BOUNDS);
    REQUIRE(h->names_bytes > 0 && holds(c, h->names_at, h->names_bytes, 1), &h->names_at, TCN_BOUNDS);
    REQUIRE(c->plan[h->names_at + h->names_bytes - 1] == 0, &h->names_bytes, TCN_VALUE);
    REQUIRE(named(c, h->identity), &h->identity, TCN_BOUNDS);
    c->tensors = (const tcn_tensor_record *)(const void *)(c->plan + h->tensors_at);
    error = check_descriptions(c, AT(tcn_description, h->ports_at), h->n_inputs + h->n_outputs);
    return error ? error : check_names(c);
}

static int is_input(const tcn_checker *c, uint32_t tensor)
{
    const tcn_description *ports = AT(tcn_description, c->h->ports_at);
    uint32_t i;
    for (i = 0; i < c->h->n_inputs; i++)
        if (ports[i].tensor == tensor)
            return 1;
    return 0;
}

TCN_RARELY static int check_tensor(tcn_checker *c, uint32_t i)
{
    static const uint8_t bytes[] = TCN_ITEM_BYTES;
    const tcn_header *h = c->h;
    const tcn_tensor_record *t = &c->tensors[i];
    const tcn_growth *g;
    REQUIRE(t->dtype < sizeof bytes, &t->dtype, TCN_VALUE);
    REQUIRE(t->bytes > 0 && t->bytes <= (uint32_t)MOST_ELEMENTS * bytes[t->dtype] && t->bytes % bytes[t->dtype] == 0, &t->bytes, TCN_VALUE);
    if (t->ring_frames) {
        REQUIRE(c->rings++ < h->n_rings, &t->ring_frames, TCN_BOUNDS);
        REQUIRE(t->ring_at % 4 == 0 && t->ring_at <= h->ring_bytes &&
                t->ring_frames <= (h->ring_bytes - t->ring_at) / t->bytes, &t->ring_at, TCN_BOUNDS);
        REQUIRE(t->last_reader != TCN_NO_NUMBER, &t->last_reader, TCN_VALUE);
    }
    REQUIRE(t->last_reader == TCN_NO_NUMBER || t->last_reader < h->n_nodes, &t->last_reader, TCN_BOUNDS);
    REQUIRE(holds(c, t->growth_at, sizeof *g / 4, 4), &t->growth_at, TCN_BOUNDS);
    g = growth_of(c->plan, t);
    REQUIRE(g->up > 0 && g->up <= MOST_RATE && g->down > 0 && g->down <= MOST_RATE, &g->up, TCN_VALUE);
    REQUIRE(g->extra <= MOST_FRAMES, &g->extra, TCN_VALUE);
    if (is_input(c, i)) {
        REQUIRE(t->writer == TCN_NO_NUMBER, &t->writer, TCN_VALUE);
        REQUIRE(t->slot == TCN_NO_NUMBER, &t->slot, TCN_VALUE);
        REQUIRE(g->up == g->down, &g->up, TCN_VALUE);
    } else {
        REQUIRE(t->writer < h->n_nodes, &t->writer, TCN_BOUNDS);
        REQUIRE(t->slot < h->n_slots, &t->slot, TCN_BOUNDS);
    }
    return TCN_OK;
}


TCN_RARELY int tcn_check_shifts(tcn_checker *c, uint32_t at, uint32_t count, int32_t least, int32_t most)
{
    const int32_t *shift = (const int32_t *)(const void *)(c->plan + at);
    uint32_t i;
    for (i = 0; i < count; i++)
        REQUIRE(shift[i] >= least && shift[i] <= most, shift + i, TCN_VALUE);
    return TCN_OK;
}

TCN_RARELY int tcn_check_groups(tcn_checker *c, const reduce_args *a)
{
    const uint32_t *index = (const uint32_t *)(const void *)(c->plan + a->index_at);
    uint64_t total = (uint64_t)a->outputs * a->count, i;
    REQUIRE(a->outputs == elements_of(output_of(c)) && a->count > 0 && a->count <= MOST_ELEMENTS, &a->outputs, TCN_VALUE);
    REQUIRE(holds(c, a->index_at, total, 4), &a->index_at, TCN_BOUNDS);
    for (i = 0; i < total; i++)
        REQUIRE(index[i] < elements_of(input_of(c, 0)), index + i, TCN_BOUNDS);
    return TCN_OK;
}

/* One value in, one value out: the frames have as many elements. */
TCN_RARELY int tcn_check_element(tcn_checker *c, const uint32_t *elements)
{
    REQUIRE(same_frame(c->node), &c->node->up, TCN_VALUE);
    REQUIRE(*elements == elements_of(output_of(c)) && *elements == elements_of(input_of(c, 0)), elements, TCN_VALUE);
    return TCN_OK;
}

/* The output's rate follows from that of every input, so no count of frames can run away, and the end of a signal
 * is a bounded number of frames off. */
TCN_RARELY static int check_rate(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    uint32_t i, o;
    for (o = 0; o < n->n_outputs; o++) {
        const tcn_growth *y = growth_of(c->plan, &c->tensors[c->out[o]]);
        for (i = 0; i < n->n_inputs; i++) {
            const tcn_growth *x = growth_of(c->plan, input_of(c, i));
            REQUIRE((uint64_t)x->up * n->up * y->down == (uint64_t)y->up * n->stride * x->down, &y->up, TCN_VALUE);
        }
    }
    c->tail += node_tail(n, growth_of(c->plan, input_of(c, 0)));
    REQUIRE(c->tail <= MOST_TAIL, &n->extent, TCN_VALUE);
    return TCN_OK;
}

TCN_RARELY static int check_node(tcn_checker *c, uint32_t k)
{
    const tcn_node_record *n = &((const tcn_node_record *)(const void *)(c->plan + c->h->nodes_at))[k];
    uint32_t i, o;
    int error;
    c->node = n;
    c->number = k;
    REQUIRE(tcn_operation_of(n->kind), &n->kind, TCN_UNKNOWN);
    REQUIRE(n->n_inputs > 0 && n->n_inputs <= TCN_MAX_OPERANDS && n->n_outputs > 0 && n->n_outputs <= TCN_MAX_OPERANDS, &n->n_inputs, TCN_VALUE);
    REQUIRE(holds(c, n->operands_at, n->n_inputs + n->n_outputs, 4), &n->operands_at, TCN_BOUNDS);
    c->in = (const uint32_t *)(const void *)(c->plan + n->operands_at);
    c->out = c->in + n->n_inputs;
    REQUIRE(n->n_outputs == 1 || n->kind == KIND_MOVE || n->kind == KIND_LSTM_STEP, &n->n_outputs, TCN_VALUE);
    for (o = 0; o < n->n_outputs; o++) {
        const uint32_t *out = c->out + o;
        REQUIRE(*out < c->h->n_tensors && c->tensors[*out].writer == k, out, TCN_BOUNDS);
        for (i = 0; i < o; i++)
            REQUIRE(c->tensors[c->out[i]].slot != c->tensors[*out].slot, out, TCN_VALUE);
    }
    for (i = 0; i < n->n_inputs; i++) {
        const tcn_tensor_record *t;
        REQUIRE(c->in[i] < c->h->n_tensors, c->in + i, TCN_BOUNDS);
        t = &c->tensors[c->in[i]];
        /* made before it is read, not in the place of what is being made, and its ring waits for this node */
        REQUIRE(t->writer == TCN_NO_NUMBER || t->writer < k, c->in + i, TCN_VALUE);
        for (o = 0; o < n->n_outputs; o++)
            REQUIRE(t->slot == TCN_NO_NUMBER || t->slot != c->tensors[c->out[o]].slot, c->in + i, TCN_VALUE);
        REQUIRE(t->last_reader != TCN_NO_NUMBER && t->last_reader >= k, c->in + i, TCN_VALUE);
    }
    REQUIRE(n->dtype == input_of(c, 0)->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(n->up > 0 && n->up <= MOST_FRAMES && n->stride > 0 && n->stride <= MOST_FRAMES && n->extent > 0 && n->extent <= MOST_FRAMES, &n->up, TCN_VALUE);
    REQUIRE(n->pad_begin > -MOST_FRAMES && n->pad_begin < MOST_FRAMES, &n->pad_begin, TCN_VALUE);
    REQUIRE(n->pad_end == TCN_SAME || (n->pad_end > -MOST_FRAMES && n->pad_end < MOST_FRAMES), &n->pad_end, TCN_VALUE);
    REQUIRE(n->edge <= EDGE_HOLD, &n->edge, TCN_VALUE);
    REQUIRE(TCN_NEEDED(RATES) || (n->up == 1 && n->stride == 1), &n->up, TCN_UNKNOWN);
    if (n->fill_at)
        REQUIRE(holds(c, n->fill_at, input_of(c, 0)->bytes, 1) && n->fill_at % 16 == 0, &n->fill_at, TCN_BOUNDS);
    if (k < c->loop_end)
        REQUIRE(same_frame(n) && !n->loop, &n->loop, TCN_VALUE);
    REQUIRE(n->loop <= c->h->n_nodes - k, &n->loop, TCN_VALUE);
    if (n->loop)
        c->loop_end = k + n->loop;
    error = check_rate(c);
    if (error)
        return error;
#ifdef TCN_ONLY
    REQUIRE(tcn_has_kernel(n), &n->op, TCN_UNKNOWN);
#endif
    return tcn_operation_of(n->kind)->check(c);
}

/* The node that is said to write a tensor does. */
TCN_RARELY static int check_written(tcn_checker *c, uint32_t i)
{
    const tcn_tensor_record *t = &c->tensors[i];
    const tcn_node_record *n = (const tcn_node_record *)(const void *)(c->plan + c->h->nodes_at) + t->writer;
    const uint32_t *operands;
    uint32_t o;
    if (t->writer == TCN_NO_NUMBER)
        return TCN_OK;
    operands = (const uint32_t *)(const void *)(c->plan + n->operands_at);
    for (o = 0; o < n->n_outputs; o++)
        if (operands[n->n_inputs + o] == i)
            return TCN_OK;
    return tcn_fail(c, &t->writer, TCN_VALUE);
}

TCN_RARELY int tcn_check(const void *plan, size_t size, size_t *position)
{
    tcn_checker checked, *c = &checked;
    uint32_t i;
    int error;
    memset(c, 0, sizeof *c);
    c->plan = plan;
    c->h = plan;
    *position = 0;
    if (((uintptr_t)plan & 15) != 0)
        return TCN_ALIGNMENT;
    error = check_header(c, size);
    for (i = 0; !error && i < c->h->n_tensors; i++)
        error = check_tensor(c, i);
    for (i = 0; !error && i < c->h->n_nodes; i++)
        error = check_node(c, i);
    for (i = 0; !error && i < c->h->n_tensors; i++)
        error = check_written(c, i);
    *position = c->position;
    return error;
}
