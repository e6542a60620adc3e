/* check.c - tcn_check: whether bytes are a plan. Everything that the rest of the core takes for granted is
 * established here: each offset, size, index, order and range, and the checksum over all of it. */
#include "operations/operation.h"

enum { CHECKED_FROM = offsetof(tcn_header, family) }; /* behind the checksum */

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
        const tcn_frame *f;
        const uint32_t *shape = AT(uint32_t, d->shape_at);
        uint64_t elements = 1;
        uint32_t k;
        REQUIRE(d->tensor < c->h->n_tensors, &d->tensor, TCN_BOUNDS);
        REQUIRE(named(c, d->name), &d->name, TCN_BOUNDS);
        REQUIRE(d->rank <= 4, &d->rank, TCN_VALUE);
        REQUIRE(!d->rank || holds(c, d->shape_at, d->rank, 4), &d->shape_at, TCN_BOUNDS);
        for (k = 0; k < d->rank; k++) {
            REQUIRE(shape[k] > 0 && shape[k] <= MOST_ELEMENTS, shape + k, TCN_VALUE);
            elements *= shape[k];
            REQUIRE(elements <= MOST_ELEMENTS, shape + k, TCN_VALUE);
        }
        f = frames_in(c, d->tensor);
        REQUIRE(f->bytes == elements * bytes[f->dtype], &d->shape_at, TCN_VALUE);
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
    const tcn_plan *plan = (const tcn_plan *)(const void *)h;
    REQUIRE(size >= sizeof *h, c->plan + size, TCN_TRUNCATED);
    REQUIRE(memcmp(h->magic, TCN_PLAN_MAGIC, sizeof h->magic) == 0, h->magic, TCN_MAGIC);
    REQUIRE(h->version == TCN_VERSION, &h->version, TCN_MAGIC);
    REQUIRE(h->bytes >= sizeof *h, &h->bytes, TCN_BOUNDS);
    REQUIRE(h->bytes <= size, &h->bytes, TCN_TRUNCATED);
    REQUIRE(tcn_crc32(0, c->plan + CHECKED_FROM, h->bytes - CHECKED_FROM) == h->crc32, &h->crc32, TCN_CHECKSUM);
    REQUIRE(h->family == FAMILY_PORTABLE || h->family == TCN_FAMILY_HERE, &h->family, TCN_FAMILY);
    REQUIRE(h->n_inputs > 0 && h->n_inputs <= TCN_MAX_PORTS, &h->n_inputs, TCN_VALUE);
    REQUIRE(h->n_outputs > 0 && h->n_outputs <= TCN_MAX_PORTS, &h->n_outputs, TCN_VALUE);
    REQUIRE(h->n_tensors >= h->n_inputs && h->n_tensors < TCN_NO_NUMBER, &h->n_tensors, TCN_VALUE);
    REQUIRE(h->n_nodes < TCN_NO_NUMBER, &h->n_nodes, TCN_VALUE);
    REQUIRE(h->n_slots <= h->n_tensors, &h->n_slots, TCN_VALUE);
    REQUIRE(h->n_rings <= h->n_tensors, &h->n_rings, TCN_VALUE);
    REQUIRE(h->ring_bytes <= 1u << 30, &h->ring_bytes, TCN_VALUE);
    REQUIRE(h->carry_bytes <= 1u << 28, &h->carry_bytes, TCN_VALUE);
    REQUIRE(h->max_taps > 0 && h->max_taps <= 1u << 20, &h->max_taps, TCN_VALUE);
    c->frames = frames_of(plan);
    c->tensors = tensors_of(plan);
    c->rings = ring_records_of(plan);
    c->behind = tcn_sections_of(plan);
    c->made = h->n_inputs;
    REQUIRE((size_t)((const uint8_t *)(c->behind.operands + h->n_operands) - c->plan) <= h->bytes, &h->bytes, TCN_BOUNDS);
    REQUIRE(h->names_bytes > 0 && holds(c, h->names_at, h->names_bytes, 1), &h->names_at, TCN_BOUNDS);
    REQUIRE(c->plan[h->names_at + h->names_bytes - 1] == 0, &h->names_bytes, TCN_VALUE);
    return TCN_OK;
}

TCN_RARELY static int check_frames(tcn_checker *c)
{
    static const uint8_t bytes[] = TCN_ITEM_BYTES;
    const tcn_frame *f;
    for (f = c->frames; f < c->frames + c->h->n_frames; f++) {
        REQUIRE(f->dtype < sizeof bytes, &f->dtype, TCN_VALUE);
        REQUIRE(f->bytes > 0 && f->bytes <= (uint32_t)MOST_ELEMENTS * bytes[f->dtype] && f->bytes % bytes[f->dtype] == 0, &f->bytes, TCN_VALUE);
        REQUIRE(f->up > 0 && f->up <= MOST_RATE && f->down > 0 && f->down <= MOST_RATE, &f->up, TCN_VALUE);
        REQUIRE(f->extra <= MOST_FRAMES, &f->extra, TCN_VALUE);
    }
    return TCN_OK;
}

/* The inputs come first. */
TCN_RARELY static int check_tensors(tcn_checker *c)
{
    const tcn_header *h = c->h;
    uint32_t i;
    for (i = 0; i < h->n_tensors; i++) {
        const tcn_tensor_record *t = &c->tensors[i];
        REQUIRE(t->frame < h->n_frames, &t->frame, TCN_BOUNDS);
        if (i < h->n_inputs)
            REQUIRE(t->slot == TCN_NO_NUMBER && frames_in(c, i)->up == frames_in(c, i)->down, &t->slot, TCN_VALUE);
        else
            REQUIRE(t->slot < h->n_slots, &t->slot, TCN_BOUNDS);
    }
    return TCN_OK;
}

/* In the order of their tensors. */
TCN_RARELY static int check_rings(tcn_checker *c)
{
    const tcn_header *h = c->h;
    const tcn_ring_record *r;
    for (r = c->rings; r < c->rings + h->n_rings; r++) {
        REQUIRE(r->tensor < h->n_tensors && (r == c->rings || r->tensor > r[-1].tensor), &r->tensor, TCN_BOUNDS);
        REQUIRE(r->frames > 0, &r->frames, TCN_VALUE);
        REQUIRE(r->at % 4 == 0 && r->at <= h->ring_bytes && r->frames <= (h->ring_bytes - r->at) / frames_in(c, r->tensor)->bytes, &r->at, TCN_BOUNDS);
        REQUIRE(r->last_reader < h->n_nodes, &r->last_reader, TCN_BOUNDS);
    }
    return TCN_OK;
}

TCN_RARELY const tcn_ring_record *tcn_checked_ring(const tcn_checker *c, uint32_t tensor)
{
    uint32_t begin = 0, end = c->h->n_rings;
    while (begin < end) {
        const uint32_t middle = (begin + end) / 2;
        if (c->rings[middle].tensor == tensor)
            return &c->rings[middle];
        if (c->rings[middle].tensor < tensor)
            begin = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

TCN_RARELY static int check_ports(tcn_checker *c)
{
    const tcn_description *ports = c->behind.ports;
    uint32_t i;
    for (i = 0; i < c->h->n_inputs; i++)
        REQUIRE(ports[i].tensor == i, &ports[i].tensor, TCN_BOUNDS);
    return check_descriptions(c, ports, (uint32_t)c->h->n_inputs + c->h->n_outputs);
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
    REQUIRE(same_frame(c->window), &c->window->up, TCN_VALUE);
    REQUIRE(*elements == elements_of(output_of(c)) && *elements == elements_of(input_of(c, 0)), elements, TCN_VALUE);
    return TCN_OK;
}

/* The output's rate follows from that of every input, so no count of frames can run away, and the end of a signal
 * is a bounded number of frames off. */
TCN_RARELY static int check_rate(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    const tcn_window *w = c->window;
    uint32_t i, o;
    for (o = 0; o < n->n_outputs; o++) {
        const tcn_frame *y = frames_in(c, c->out[o]);
        for (i = 0; i < n->n_inputs; i++) {
            const tcn_frame *x = input_of(c, i);
            REQUIRE((uint64_t)x->up * w->up * y->down == (uint64_t)y->up * w->stride * x->down, &y->up, TCN_VALUE);
        }
    }
    c->tail += node_tail(w, input_of(c, 0));
    REQUIRE(c->tail <= MOST_TAIL, &w->extent, TCN_VALUE);
    return TCN_OK;
}

/* Nodes make the tensors one after the other. */
TCN_RARELY static int check_operands(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    uint32_t i, o;
    REQUIRE(n->n_inputs > 0 && n->n_inputs <= TCN_MAX_OPERANDS && n->n_outputs > 0 && n->n_outputs <= TCN_MAX_OPERANDS, &n->n_inputs, TCN_VALUE);
    REQUIRE((uint32_t)n->operands + n->n_inputs + n->n_outputs <= c->h->n_operands, &n->operands, TCN_BOUNDS);
    c->in = c->behind.operands + n->operands;
    c->out = c->in + n->n_inputs;
    REQUIRE(n->n_outputs == 1 || n->kind == KIND_MOVE || n->kind == KIND_LSTM_STEP, &n->n_outputs, TCN_VALUE);
    for (o = 0; o < n->n_outputs; o++) {
        const uint16_t *out = c->out + o;
        REQUIRE(*out < c->h->n_tensors && *out == c->made + o, out, TCN_BOUNDS);
        for (i = 0; i < o; i++)
            REQUIRE(c->tensors[c->out[i]].slot != c->tensors[*out].slot, out, TCN_VALUE);
    }
    for (i = 0; i < n->n_inputs; i++) {
        const tcn_tensor_record *t = &c->tensors[c->in[i]];
        const tcn_ring_record *ring = tcn_checked_ring(c, c->in[i]);
        /* made before it is read, not in the place of what is being made, and its ring waits for this node */
        REQUIRE(c->in[i] < c->made, c->in + i, TCN_VALUE);
        for (o = 0; o < n->n_outputs; o++)
            REQUIRE(t->slot != c->tensors[c->out[o]].slot, c->in + i, TCN_VALUE);
        REQUIRE(!ring || ring->last_reader >= c->number, c->in + i, TCN_VALUE);
    }
    c->made += n->n_outputs;
    return TCN_OK;
}

TCN_RARELY static int check_window(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    const tcn_window *w = c->behind.windows + n->window;
    REQUIRE(n->window < c->h->n_windows, &n->window, TCN_BOUNDS);
    c->window = w;
    REQUIRE(w->up > 0 && w->up <= MOST_FRAMES && w->stride > 0 && w->stride <= MOST_FRAMES && w->extent > 0 && w->extent <= MOST_FRAMES, &w->up, TCN_VALUE);
    REQUIRE(w->pad_begin > -MOST_FRAMES && w->pad_begin < MOST_FRAMES, &w->pad_begin, TCN_VALUE);
    REQUIRE(w->pad_end == TCN_SAME || (w->pad_end > -MOST_FRAMES && w->pad_end < MOST_FRAMES), &w->pad_end, TCN_VALUE);
    REQUIRE(n->edge <= EDGE_HOLD, &n->edge, TCN_VALUE);
    REQUIRE(TCN_NEEDED(RATES) || (w->up == 1 && w->stride == 1), &w->up, TCN_UNKNOWN);
    if (n->fill_at)
        REQUIRE(holds(c, n->fill_at, input_of(c, 0)->bytes, 1) && n->fill_at % 16 == 0, &n->fill_at, TCN_BOUNDS);
    return TCN_OK;
}

TCN_RARELY static int check_node(tcn_checker *c, uint32_t k)
{
    const tcn_node_record *n = c->behind.nodes + k;
    int error;
    c->node = n;
    c->number = k;
    REQUIRE(tcn_operation_of(n->kind), &n->kind, TCN_UNKNOWN);
    error = check_operands(c);
    if (!error)
        error = check_window(c);
    if (error)
        return error;
    REQUIRE(n->dtype == input_of(c, 0)->dtype, &n->dtype, TCN_VALUE);
    if (k < c->loop_end)
        REQUIRE(same_frame(c->window) && !n->loop, &n->loop, TCN_VALUE);
    REQUIRE(n->loop <= c->h->n_nodes - k, &n->loop, TCN_VALUE);
    REQUIRE(TCN_NEEDED(LOOPS) || !n->loop, &n->loop, TCN_UNKNOWN);
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

TCN_RARELY static int check_nodes(tcn_checker *c)
{
    uint32_t k;
    for (k = 0; k < c->h->n_nodes; k++) {
        int error = check_node(c, k);
        if (error)
            return error;
    }
    REQUIRE(c->made == c->h->n_tensors, &c->h->n_tensors, TCN_VALUE);
    return TCN_OK;
}

TCN_RARELY int tcn_check(const void *plan, size_t size, size_t *position)
{
    tcn_checker checked, *c = &checked;
    int error;
    memset(c, 0, sizeof *c);
    c->plan = plan;
    c->h = plan;
    *position = 0;
    if (((uintptr_t)plan & 15) != 0)
        return TCN_ALIGNMENT;
    error = check_header(c, size);
    if (!error)
        error = check_frames(c);
    if (!error)
        error = check_tensors(c);
    if (!error)
        error = check_rings(c);
    if (!error)
        error = check_ports(c);
    if (!error)
        error = check_names(c);
    if (!error)
        error = check_nodes(c);
    *position = c->position;
    return error;
}
