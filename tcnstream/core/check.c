/* check.c - tcn_check: whether bytes are a plan. Everything that the rest of the core takes for granted is
 * established here: each offset, size, index, order and range, and the checksum over all of it. */
#include "internal.h"

typedef struct {
    const uint8_t *plan;
    const tcn_header *h;
    const tcn_tensor_record *tensors;
    const tcn_node_record *node;
    const uint32_t *in, *out;
    uint32_t rings; /* seen so far: they are numbered in order */
    int64_t tail;   /* of the nodes seen so far */
    size_t position;
} checker;

/* MOST_RATE keeps the products of rates and strides below 2^63, MOST_TAIL the end of a signal computable. */
enum { MOST_ELEMENTS = 1 << 24, MOST_FRAMES = 1 << 24, MOST_RATE = 1 << 19, MOST_TAIL = 1 << 26 };

static int fail(checker *c, const void *where, int code)
{
    c->position = (size_t)((const uint8_t *)where - c->plan);
    return code;
}

#define REQUIRE(condition, where, code)          \
    do {                                         \
        if (!(condition))                        \
            return fail(c, (where), (code));     \
    } while (0)

/* `count` elements of `size` bytes at an offset: inside of the file, aligned, and not in the header. */
static int holds(const checker *c, uint32_t at, uint64_t count, uint32_t size)
{
    return at >= sizeof(tcn_header) && at % (size < 16 ? size : 16) == 0 && at <= c->h->bytes &&
           count <= ((uint64_t)c->h->bytes - at) / size;
}

static int named(const checker *c, uint32_t name)
{
    return name < c->h->names_bytes; /* the names end with a NUL */
}

static int check_header(checker *c, size_t size)
{
    const tcn_header *h = c->h;
    uint32_t i;
    REQUIRE(size >= sizeof *h, c->plan + size, TCN_TRUNCATED);
    REQUIRE(memcmp(h->magic, "TCNPLAN\n", 8) == 0, h->magic, TCN_MAGIC);
    REQUIRE(h->version == TCN_VERSION, &h->version, TCN_MAGIC);
    REQUIRE(h->bytes >= sizeof *h, &h->bytes, TCN_BOUNDS);
    REQUIRE(h->bytes <= size, &h->bytes, TCN_TRUNCATED);
    REQUIRE(tcn_crc32(0, c->plan + 20, h->bytes - 20) == h->crc32, &h->crc32, TCN_CHECKSUM);
    REQUIRE(h->n_tensors > 0 && h->n_tensors <= 1 << 16, &h->n_tensors, TCN_VALUE);
    REQUIRE(h->n_nodes <= 1 << 16, &h->n_nodes, TCN_VALUE);
    REQUIRE(h->n_inputs > 0 && h->n_inputs <= TCN_MAX_PORTS, &h->n_inputs, TCN_VALUE);
    REQUIRE(h->n_outputs > 0 && h->n_outputs <= TCN_MAX_PORTS, &h->n_outputs, TCN_VALUE);
    REQUIRE(h->n_slots <= h->n_tensors, &h->n_slots, TCN_VALUE);
    REQUIRE(h->n_rings <= h->n_tensors, &h->n_rings, TCN_VALUE);
    REQUIRE(h->ring_bytes <= 1u << 30, &h->ring_bytes, TCN_VALUE);
    REQUIRE(h->carry_bytes <= 1u << 28, &h->carry_bytes, TCN_VALUE);
    REQUIRE(h->max_taps > 0 && h->max_taps <= 1u << 20, &h->max_taps, TCN_VALUE);
    REQUIRE(h->tensors_at % 16 == 0 && holds(c, h->tensors_at, h->n_tensors, sizeof(tcn_tensor_record)), &h->tensors_at, TCN_BOUNDS);
    REQUIRE(h->nodes_at % 4 == 0 && h->nodes_at >= sizeof *h && h->nodes_at <= h->bytes &&
            h->n_nodes <= (h->bytes - h->nodes_at) / sizeof(tcn_node_record), &h->nodes_at, TCN_BOUNDS);
    REQUIRE(holds(c, h->ports_at, h->n_inputs + h->n_outputs, 4), &h->ports_at, TCN_BOUNDS);
    REQUIRE(h->names_bytes > 0 && holds(c, h->names_at, h->names_bytes, 1), &h->names_at, TCN_BOUNDS);
    REQUIRE(c->plan[h->names_at + h->names_bytes - 1] == 0, &h->names_bytes, TCN_VALUE);
    REQUIRE(named(c, h->identity), &h->identity, TCN_BOUNDS);
    c->tensors = (const tcn_tensor_record *)(const void *)(c->plan + h->tensors_at);
    for (i = 0; i < h->n_inputs + h->n_outputs; i++) {
        const uint32_t *port = (const uint32_t *)(const void *)(c->plan + h->ports_at) + i;
        REQUIRE(*port < h->n_tensors && !(c->tensors[*port].flags & 1), port, TCN_BOUNDS);
    }
    return TCN_OK;
}

static int is_input(const checker *c, uint32_t tensor)
{
    const uint32_t *ports = (const uint32_t *)(const void *)(c->plan + c->h->ports_at);
    uint32_t i;
    for (i = 0; i < c->h->n_inputs; i++)
        if (ports[i] == tensor)
            return 1;
    return 0;
}

static int check_tensor(checker *c, uint32_t i)
{
    static const uint8_t bytes[] = {4, 1, 2, 4, 8, 1};
    const tcn_header *h = c->h;
    const tcn_tensor_record *t = &c->tensors[i];
    uint64_t elements = 1;
    uint32_t d;
    REQUIRE(named(c, t->name), &t->name, TCN_BOUNDS);
    REQUIRE(t->rank <= 4, &t->rank, TCN_VALUE);
    if (t->flags & 1) {
        REQUIRE(t->ring_frames == 0 && t->slot == TCN_NONE && t->bytes == 0, t, TCN_VALUE);
        return TCN_OK;
    }
    REQUIRE(t->dtype < sizeof bytes, &t->dtype, TCN_VALUE);
    for (d = 0; d < t->rank; d++) {
        REQUIRE(t->shape[d] > 0 && t->shape[d] <= MOST_ELEMENTS, &t->shape[d], TCN_VALUE);
        elements *= t->shape[d];
        REQUIRE(elements <= MOST_ELEMENTS, &t->shape[d], TCN_VALUE);
    }
    REQUIRE(t->elements == elements, &t->elements, TCN_VALUE);
    REQUIRE(t->bytes == elements * bytes[t->dtype], &t->bytes, TCN_VALUE);
    if (t->ring_frames) {
        REQUIRE(t->ring < h->n_rings && t->ring == c->rings++, &t->ring, TCN_BOUNDS);
        REQUIRE(t->ring_at % 4 == 0 && t->ring_at <= h->ring_bytes &&
                t->ring_frames <= (h->ring_bytes - t->ring_at) / t->bytes, &t->ring_at, TCN_BOUNDS);
        REQUIRE(t->last_reader != TCN_NONE, &t->last_reader, TCN_VALUE);
    }
    REQUIRE(t->last_reader == TCN_NONE || t->last_reader < h->n_nodes, &t->last_reader, TCN_BOUNDS);
    REQUIRE(t->grow_up > 0 && t->grow_up <= MOST_RATE && t->grow_down > 0 && t->grow_down <= MOST_RATE, &t->grow_up, TCN_VALUE);
    REQUIRE(t->grow_extra <= MOST_FRAMES, &t->grow_extra, TCN_VALUE);
    if (is_input(c, i)) {
        REQUIRE(t->writer == TCN_NONE, &t->writer, TCN_VALUE);
        REQUIRE(t->slot == TCN_NONE, &t->slot, TCN_VALUE);
        REQUIRE(t->grow_up == t->grow_down, &t->grow_up, TCN_VALUE);
    } else {
        REQUIRE(t->writer < h->n_nodes, &t->writer, TCN_BOUNDS);
        REQUIRE(t->slot < h->n_slots, &t->slot, TCN_BOUNDS);
    }
    return TCN_OK;
}

static const tcn_tensor_record *input(const checker *c, uint32_t i) { return &c->tensors[c->in[i]]; }
static const tcn_tensor_record *output(const checker *c) { return &c->tensors[c->out[0]]; }

static int same_frame(const tcn_node_record *n)
{
    return n->up == 1 && n->stride == 1 && n->extent == 1 && n->pad_begin == 0 && n->pad_end == 0;
}

static int shift_ok(int32_t shift) { return shift >= -31 && shift <= 30; }

static int check_shifts(checker *c, uint32_t at, uint32_t count, int32_t least, int32_t most)
{
    const int32_t *shift = (const int32_t *)(const void *)(c->plan + at);
    uint32_t i;
    for (i = 0; i < count; i++)
        REQUIRE(shift[i] >= least && shift[i] <= most, shift + i, TCN_VALUE);
    return TCN_OK;
}

#define ARGUMENTS(type)                                                                          \
    const type *a = (const type *)(const void *)(c->plan + c->node->args_at);                    \
    REQUIRE(c->node->args_bytes == sizeof *a, &c->node->args_bytes, TCN_VALUE);                  \
    REQUIRE(holds(c, c->node->args_at, sizeof *a / 4, 4), &c->node->args_at, TCN_BOUNDS)

static int check_conv(checker *c)
{
    const tcn_node_record *n = c->node;
    const tcn_tensor_record *x = input(c, 0), *y = output(c);
    uint64_t taps, per_output, weights, sets = n->kind == KIND_RESAMPLE ? (uint64_t)n->up : 1, item = n->dtype == TCN_F32 ? 4 : n->dtype == TCN_I8 ? 1 : 2;
    uint32_t each;
    int depthwise = n->kind == KIND_DEPTHWISE || (n->kind == KIND_RESAMPLE && n->op);
    ARGUMENTS(conv_args);
    REQUIRE(n->dtype <= TCN_I16 && y->dtype == n->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(a->taps_t > 0 && a->taps_f > 0 && a->taps_t <= 1u << 20 && a->taps_f <= 1u << 20, &a->taps_t, TCN_VALUE);
    taps = (uint64_t)a->taps_t * a->taps_f;
    REQUIRE(taps <= c->h->max_taps, &a->taps_t, TCN_BOUNDS);
    REQUIRE(a->dilation_t > 0 && a->dilation_t <= MOST_FRAMES, &a->dilation_t, TCN_VALUE);
    REQUIRE(a->dilation_f > 0 && a->dilation_f <= MOST_FRAMES, &a->dilation_f, TCN_VALUE);
    REQUIRE(a->stride_f > 0 && a->stride_f <= MOST_FRAMES, &a->stride_f, TCN_VALUE);
    REQUIRE(a->pad_f > -MOST_FRAMES && a->pad_f < MOST_FRAMES, &a->pad_f, TCN_VALUE);
    REQUIRE(a->channels > 0 && a->channels <= MOST_ELEMENTS && a->outputs > 0 && a->outputs <= MOST_ELEMENTS, &a->channels, TCN_VALUE);
    REQUIRE(a->groups > 0 && a->channels % a->groups == 0 && a->outputs % a->groups == 0, &a->groups, TCN_VALUE);
    REQUIRE((uint64_t)a->f_in * a->channels == x->elements, &a->f_in, TCN_VALUE);
    REQUIRE((uint64_t)a->f_out * a->outputs == y->elements, &a->f_out, TCN_VALUE);
    if (n->kind == KIND_TRANSPOSE_CONV) {
        REQUIRE(n->stride == 1 && a->pad_t < MOST_FRAMES && n->edge == EDGE_FILL, &a->pad_t, TCN_VALUE);
    } else if (n->kind == KIND_RESAMPLE) {
        REQUIRE(n->op <= 1 && n->dtype == TCN_F32 && n->edge == EDGE_FILL, &n->op, TCN_VALUE);
        REQUIRE(a->taps_f == 1 && a->dilation_t == 1 && a->f_out == 1, &a->taps_f, TCN_VALUE);
        REQUIRE((int64_t)a->taps_t * n->up <= n->extent, &n->extent, TCN_VALUE);
    } else {
        REQUIRE(n->up == 1 && n->edge == EDGE_FILL, &n->up, TCN_VALUE);
        REQUIRE((int64_t)(a->taps_t - 1) * a->dilation_t + 1 <= n->extent, &n->extent, TCN_VALUE);
    }
    if (depthwise) {
        REQUIRE(a->outputs % a->channels == 0, &a->outputs, TCN_VALUE);
        weights = (uint64_t)a->outputs * (n->dtype == TCN_F32 ? 4 : 1);
        per_output = a->outputs;
    } else {
        uint64_t depth = a->channels / a->groups;
        each = panel_total(a->outputs / a->groups);
        if (n->dtype != TCN_F32)
            depth = (depth + 3) / 4;
        weights = depth * each * a->groups * 4;
        per_output = (uint64_t)each * a->groups;
    }
    REQUIRE(weights <= c->h->bytes, &a->weights_at, TCN_BOUNDS); /* or the products below may overflow */
    weights *= taps;
    if (n->kind == KIND_RESAMPLE)
        weights = (weights + 63) & ~(uint64_t)63;
    REQUIRE(a->weights_bytes == weights && a->weights_at % 64 == 0 && holds(c, a->weights_at, sets * weights, 1), &a->weights_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->bias_at, per_output, n->dtype == TCN_I16 ? 8 : 4), &a->bias_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->edge_f_at, a->channels, (uint32_t)item), &a->edge_f_at, TCN_BOUNDS);
    if (n->dtype == TCN_F32) {
        REQUIRE(a->rescale == RESCALE_FLOAT, &a->rescale, TCN_VALUE);
        return TCN_OK;
    }
    if (n->dtype == TCN_I8)
        REQUIRE(holds(c, a->bias_u8_at, per_output, 4), &a->bias_u8_at, TCN_BOUNDS);
    REQUIRE(a->rescale == RESCALE_EXACT || a->rescale == (n->dtype == TCN_I8 ? RESCALE_TWICE : RESCALE_WIDE), &a->rescale, TCN_VALUE);
    REQUIRE(holds(c, a->multiplier_at, per_output, a->rescale == RESCALE_EXACT ? 8 : 4), &a->multiplier_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->shift_at, per_output, 4), &a->shift_at, TCN_BOUNDS);
    return a->rescale == RESCALE_EXACT ? check_shifts(c, a->shift_at, (uint32_t)per_output, -2000, 2000)
           : a->rescale == RESCALE_WIDE ? check_shifts(c, a->shift_at, (uint32_t)per_output, -31, 14)
                                        : check_shifts(c, a->shift_at, (uint32_t)per_output, -31, 30);
}

static int check_pool(checker *c)
{
    const tcn_node_record *n = c->node;
    ARGUMENTS(pool_args);
    REQUIRE(n->dtype <= TCN_I16 && output(c)->dtype == n->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(n->op <= 1 && n->up == 1, &n->op, TCN_VALUE);
    REQUIRE(a->taps_t > 0 && a->taps_f > 0 && a->taps_t <= 1u << 20 && a->taps_f <= 1u << 20 &&
            (uint64_t)a->taps_t * a->taps_f <= c->h->max_taps, &a->taps_t, TCN_BOUNDS);
    REQUIRE((int64_t)a->taps_t <= n->extent, &n->extent, TCN_VALUE);
    REQUIRE(a->stride_f > 0 && a->stride_f <= MOST_FRAMES, &a->stride_f, TCN_VALUE);
    REQUIRE(a->pad_f > -MOST_FRAMES && a->pad_f < MOST_FRAMES, &a->pad_f, TCN_VALUE);
    REQUIRE((uint64_t)a->f_in * a->channels == input(c, 0)->elements, &a->f_in, TCN_VALUE);
    REQUIRE((uint64_t)a->f_out * a->channels == output(c)->elements, &a->f_out, TCN_VALUE);
    return TCN_OK;
}

static int check_binary(checker *c)
{
    const tcn_node_record *n = c->node;
    uint32_t streams = 0, q, i, item = n->dtype == TCN_F32 ? 4 : n->dtype == TCN_I8 ? 1 : 2;
    ARGUMENTS(binary_args);
    REQUIRE(n->dtype <= TCN_I16 && output(c)->dtype == n->dtype && same_frame(n), &n->dtype, TCN_VALUE);
    REQUIRE(n->op <= OP_SQUARED_DIFFERENCE && (n->op != OP_DIV || n->dtype == TCN_F32), &n->op, TCN_VALUE);
    REQUIRE(a->elements == output(c)->elements, &a->elements, TCN_VALUE);
    for (q = 0; q < 2; q++) {
        if (a->const_at[q]) {
            REQUIRE(holds(c, a->const_at[q], a->elements, item), &a->const_at[q], TCN_BOUNDS);
            REQUIRE(!a->index_at[q], &a->index_at[q], TCN_VALUE);
            continue;
        }
        REQUIRE(streams < n->n_inputs && input(c, streams)->dtype == n->dtype, &a->const_at[q], TCN_VALUE);
        if (a->index_at[q]) {
            const uint32_t *index = (const uint32_t *)(const void *)(c->plan + a->index_at[q]);
            REQUIRE(holds(c, a->index_at[q], a->elements, 4), &a->index_at[q], TCN_BOUNDS);
            for (i = 0; i < a->elements; i++)
                REQUIRE(index[i] < input(c, streams)->elements, index + i, TCN_BOUNDS);
        } else {
            REQUIRE(input(c, streams)->elements == a->elements, &a->elements, TCN_VALUE);
        }
        REQUIRE(shift_ok(a->shift[q]), &a->shift[q], TCN_VALUE);
        streams++;
    }
    REQUIRE(a->left_shift >= 0 && a->left_shift <= 20, &a->left_shift, TCN_VALUE);
    REQUIRE(shift_ok(a->shift[0]) && shift_ok(a->shift[1]) && shift_ok(a->shift_out), &a->shift[0], TCN_VALUE);
    return TCN_OK;
}

/* One value in, one value out: the frames have as many elements. */
static int check_element(checker *c, const uint32_t *elements)
{
    REQUIRE(same_frame(c->node), &c->node->up, TCN_VALUE);
    REQUIRE(*elements == output(c)->elements && *elements == input(c, 0)->elements, elements, TCN_VALUE);
    return TCN_OK;
}

static int check_unary(checker *c)
{
    ARGUMENTS(unary_args);
    REQUIRE(c->node->dtype == TCN_F32 && output(c)->dtype == TCN_F32, &c->node->dtype, TCN_VALUE);
    REQUIRE(c->node->op <= OP_COPY, &c->node->op, TCN_VALUE);
    return check_element(c, &a->elements);
}

static int check_table(checker *c)
{
    ARGUMENTS(table_args);
    REQUIRE(c->node->dtype == TCN_I8, &c->node->dtype, TCN_VALUE);
    REQUIRE(a->out_bytes == 1 || a->out_bytes == 2 || a->out_bytes == 4, &a->out_bytes, TCN_VALUE);
    REQUIRE((uint64_t)a->out_bytes * a->elements == output(c)->bytes, &a->out_bytes, TCN_VALUE);
    REQUIRE(holds(c, a->table_at, 256, a->out_bytes), &a->table_at, TCN_BOUNDS);
    return check_element(c, &a->elements);
}

static int check_table16(checker *c)
{
    ARGUMENTS(table16_args);
    REQUIRE(c->node->dtype == TCN_I16 && output(c)->dtype == TCN_I16, &c->node->dtype, TCN_VALUE);
    REQUIRE(c->node->op <= 1, &c->node->op, TCN_VALUE);
    REQUIRE(holds(c, a->table_at, c->node->kind == KIND_TABLE16 ? 513 : 256, 2), &a->table_at, TCN_BOUNDS);
    REQUIRE(a->shift >= 0 && a->shift <= 30, &a->shift, TCN_VALUE);
    return check_element(c, &a->elements);
}

static int check_softmax(checker *c)
{
    const tcn_node_record *n = c->node;
    ARGUMENTS(softmax_args);
    REQUIRE(n->dtype <= TCN_I16 && output(c)->dtype == n->dtype && same_frame(n), &n->dtype, TCN_VALUE);
    REQUIRE(a->depth > 0 && a->depth <= (n->dtype == TCN_F32 ? MOST_ELEMENTS : 2048), &a->depth, TCN_VALUE);
    REQUIRE((uint64_t)a->rows * a->depth == output(c)->elements && output(c)->elements == input(c, 0)->elements, &a->rows, TCN_VALUE);
    if (n->dtype == TCN_I8)
        REQUIRE(a->shift >= 0 && a->shift <= 30, &a->shift, TCN_VALUE);
    if (n->dtype == TCN_I16) {
        REQUIRE(shift_ok(a->shift), &a->shift, TCN_VALUE);
        REQUIRE(holds(c, a->exp_at, 513, 2), &a->exp_at, TCN_BOUNDS);
        REQUIRE(holds(c, a->inverse_at, 513, 2), &a->inverse_at, TCN_BOUNDS);
    }
    return TCN_OK;
}

static int check_move(checker *c)
{
    const move_run *run;
    uint32_t r;
    ARGUMENTS(move_args);
    REQUIRE(same_frame(c->node), &c->node->up, TCN_VALUE);
    REQUIRE(a->element_bytes > 0 && a->element_bytes * (uint64_t)output(c)->elements == output(c)->bytes, &a->element_bytes, TCN_VALUE);
    if (a->constant_at)
        REQUIRE(holds(c, a->constant_at, output(c)->bytes, 1), &a->constant_at, TCN_BOUNDS);
    if (!a->n_runs)
        return TCN_OK;
    REQUIRE(holds(c, a->runs_at, a->n_runs, sizeof(move_run)), &a->runs_at, TCN_BOUNDS);
    run = (const move_run *)(const void *)(c->plan + a->runs_at);
    for (r = 0; r < a->n_runs; r++) {
        REQUIRE(run[r].operand < c->node->n_inputs, &run[r].operand, TCN_BOUNDS);
        REQUIRE(input(c, run[r].operand)->dtype == output(c)->dtype, &run[r].operand, TCN_VALUE);
        REQUIRE((uint64_t)run[r].from + run[r].count <= input(c, run[r].operand)->elements, &run[r].from, TCN_BOUNDS);
        REQUIRE((uint64_t)run[r].to + run[r].count <= output(c)->elements, &run[r].to, TCN_BOUNDS);
    }
    return TCN_OK;
}

static int check_time_move(checker *c)
{
    const tcn_node_record *n = c->node;
    uint64_t in = input(c, 0)->bytes, out = output(c)->bytes;
    REQUIRE(n->op <= MOVE_REPEAT && output(c)->dtype == n->dtype && n->edge != EDGE_CLIP, &n->op, TCN_VALUE);
    if (n->op == MOVE_PICK)
        REQUIRE(in == out && n->up == 1, &n->up, TCN_VALUE);
    else if (n->op == MOVE_WINDOW)
        REQUIRE(in * (uint64_t)n->extent == out && n->up == 1, &n->extent, TCN_VALUE);
    else
        REQUIRE((n->op == MOVE_UNFOLD ? out * (uint64_t)n->up : out) == in && n->stride == 1 && n->edge == EDGE_FILL, &n->up, TCN_VALUE);
    return TCN_OK;
}

static int check_rescale(checker *c)
{
    const tcn_node_record *n = c->node;
    ARGUMENTS(rescale_args);
    if (n->kind == KIND_QUANTIZE)
        REQUIRE(n->dtype == TCN_F32 && a->scale > 0.0f, &a->scale, TCN_VALUE);
    else
        REQUIRE(n->dtype == TCN_I16 && n->op <= 1, &n->dtype, TCN_VALUE);
    REQUIRE(n->kind == KIND_RESCALE && n->op == 1 ? output(c)->dtype == TCN_F32
                                                  : output(c)->dtype == TCN_I8 || output(c)->dtype == TCN_I16, &n->op, TCN_VALUE);
    REQUIRE(a->zero_in >= -32768 && a->zero_in <= 32767 && a->zero_out >= -32768 && a->zero_out <= 32767, &a->zero_in, TCN_VALUE);
    REQUIRE(shift_ok(a->shift), &a->shift, TCN_VALUE);
    return check_element(c, &a->elements);
}

static int check_reduce(checker *c)
{
    const tcn_node_record *n = c->node;
    const uint32_t *index;
    uint64_t total, i, each = n->kind == KIND_TRAILING && n->dtype == TCN_F32 ? 8 * (TCN_LIMBS + 3) : 8;
    ARGUMENTS(reduce_args);
    REQUIRE(n->dtype <= TCN_I16 && output(c)->dtype == n->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(n->op <= (n->kind == KIND_TRAILING ? STATISTIC_SUM : STATISTIC_MIN), &n->op, TCN_VALUE);
    REQUIRE(a->outputs == output(c)->elements && a->count > 0 && a->count <= MOST_ELEMENTS, &a->outputs, TCN_VALUE);
    total = (uint64_t)a->outputs * a->count;
    REQUIRE(holds(c, a->index_at, total, 4), &a->index_at, TCN_BOUNDS);
    index = (const uint32_t *)(const void *)(c->plan + a->index_at);
    for (i = 0; i < total; i++)
        REQUIRE(index[i] < input(c, 0)->elements, index + i, TCN_BOUNDS);
    REQUIRE(shift_ok(a->shift) && a->multiplier >= 0, &a->shift, TCN_VALUE);
    if (n->kind == KIND_TRAILING) {
        REQUIRE(n->edge == EDGE_CLIP && n->up == 1 && n->stride == 1 && n->pad_begin == n->extent - 1 && n->pad_end == 0, &n->edge, TCN_VALUE);
        /* what the sums take out again must still be in the ring */
        REQUIRE((int64_t)input(c, 0)->ring_frames >= n->extent - 1, &n->extent, TCN_VALUE);
    } else {
        REQUIRE(same_frame(n), &n->up, TCN_VALUE);
    }
    if (n->kind != KIND_REDUCE)
        REQUIRE(a->carry_at % 8 == 0 && a->carry_at <= c->h->carry_bytes && a->outputs * each <= c->h->carry_bytes - a->carry_at, &a->carry_at, TCN_BOUNDS);
    return TCN_OK;
}

/* The output's rate follows from that of every input, so no count of frames can run away, and the end of a signal
 * is a bounded number of frames off. */
static int check_rate(checker *c)
{
    const tcn_node_record *n = c->node;
    const tcn_tensor_record *y = output(c);
    uint32_t i;
    for (i = 0; i < n->n_inputs; i++) {
        const tcn_tensor_record *x = input(c, i);
        REQUIRE((uint64_t)x->grow_up * n->up * y->grow_down == (uint64_t)y->grow_up * n->stride * x->grow_down, &y->grow_up, TCN_VALUE);
    }
    c->tail += node_tail(n, input(c, 0));
    REQUIRE(c->tail <= MOST_TAIL, &n->extent, TCN_VALUE);
    return TCN_OK;
}

static int check_node(checker *c, uint32_t k)
{
    const tcn_node_record *n = &((const tcn_node_record *)(const void *)(c->plan + c->h->nodes_at))[k];
    uint32_t i, o;
    int error;
    c->node = n;
    REQUIRE(named(c, n->label) && named(c, n->kind_name), &n->label, TCN_BOUNDS);
    REQUIRE(n->kind >= KIND_CONV && n->kind <= KIND_RESAMPLE, &n->kind, TCN_UNKNOWN);
    REQUIRE(n->n_inputs > 0 && n->n_inputs <= TCN_MAX_OPERANDS && n->n_outputs == 1, &n->n_inputs, TCN_VALUE);
    REQUIRE(holds(c, n->operands_at, n->n_inputs + n->n_outputs, 4), &n->operands_at, TCN_BOUNDS);
    c->in = (const uint32_t *)(const void *)(c->plan + n->operands_at);
    c->out = c->in + n->n_inputs;
    o = *c->out;
    REQUIRE(o < c->h->n_tensors && !(c->tensors[o].flags & 1) && c->tensors[o].writer == k, c->out, TCN_BOUNDS);
    for (i = 0; i < n->n_inputs; i++) {
        const tcn_tensor_record *t;
        REQUIRE(c->in[i] < c->h->n_tensors, c->in + i, TCN_BOUNDS);
        t = &c->tensors[c->in[i]];
        REQUIRE(!(t->flags & 1), c->in + i, TCN_VALUE);
        /* made before it is read, not in the place of what is being made, and its ring waits for this node */
        REQUIRE(t->writer == TCN_NONE || t->writer < k, c->in + i, TCN_VALUE);
        REQUIRE(t->slot == TCN_NONE || t->slot != c->tensors[o].slot, c->in + i, TCN_VALUE);
        REQUIRE(t->last_reader != TCN_NONE && t->last_reader >= k, c->in + i, TCN_VALUE);
    }
    REQUIRE(n->dtype == input(c, 0)->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(n->up > 0 && n->up <= MOST_FRAMES && n->stride > 0 && n->stride <= MOST_FRAMES && n->extent > 0 && n->extent <= MOST_FRAMES, &n->up, TCN_VALUE);
    REQUIRE(n->pad_begin > -MOST_FRAMES && n->pad_begin < MOST_FRAMES, &n->pad_begin, TCN_VALUE);
    REQUIRE(n->pad_end == TCN_SAME || (n->pad_end > -MOST_FRAMES && n->pad_end < MOST_FRAMES), &n->pad_end, TCN_VALUE);
    REQUIRE(n->edge <= EDGE_CLIP, &n->edge, TCN_VALUE);
    if (n->fill_at)
        REQUIRE(holds(c, n->fill_at, input(c, 0)->bytes, 1) && n->fill_at % 16 == 0, &n->fill_at, TCN_BOUNDS);
    error = check_rate(c);
    if (error)
        return error;
    switch (n->kind) {
    case KIND_CONV:
    case KIND_DEPTHWISE:
    case KIND_TRANSPOSE_CONV:
    case KIND_RESAMPLE:
        return check_conv(c);
    case KIND_POOL:
        return check_pool(c);
    case KIND_BINARY:
        return check_binary(c);
    case KIND_UNARY:
        return check_unary(c);
    case KIND_TABLE:
        return check_table(c);
    case KIND_TABLE16:
    case KIND_SIGMOID16:
        return check_table16(c);
    case KIND_SOFTMAX:
        return check_softmax(c);
    case KIND_MOVE:
        return check_move(c);
    case KIND_TIME_MOVE:
        return check_time_move(c);
    case KIND_QUANTIZE:
    case KIND_RESCALE:
        return check_rescale(c);
    default:
        return check_reduce(c);
    }
}

/* The node that is said to write a tensor does. */
static int check_written(checker *c, uint32_t i)
{
    const tcn_tensor_record *t = &c->tensors[i];
    const tcn_node_record *n = (const tcn_node_record *)(const void *)(c->plan + c->h->nodes_at) + t->writer;
    const uint32_t *operands;
    if ((t->flags & 1) || t->writer == TCN_NONE)
        return TCN_OK;
    operands = (const uint32_t *)(const void *)(c->plan + n->operands_at);
    REQUIRE(operands[n->n_inputs] == i, &t->writer, TCN_VALUE);
    return TCN_OK;
}

int tcn_check(const void *plan, size_t size, size_t *position)
{
    checker checked, *c = &checked;
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
