/* binary.c - two operands, element by element; either may be a constant or be spread over the frame. */
#include "operands.h"

static const operands_args both_streams;

/* What the arguments of any type begin with. */
static inline uint32_t elements_in(const void *args) { return ((const binary_args *)args)->elements; }
static inline int has_operands(const void *args) { return ((const binary_args *)args)->has_operands; }

static size_t bytes_of(const tcn_node_record *node) { return node->dtype == TCN_F32 ? sizeof(binary_float_args) : sizeof(binary_args); }

TCN_APART static const operands_args *operands_behind(const tcn_program *p, const tcn_node_record *node)
{
    const uint8_t *args = p->plan + node->args_at;
    return has_operands(args) ? (const operands_args *)(const void *)(args + bytes_of(node)) : &both_streams;
}

TCN_RARELY static int check_binary(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    const operands_args *o = &both_streams;
    const binary_args *a = (const binary_args *)(const void *)(c->plan + n->args_at);
    uint8_t dtypes[2] = {n->dtype, n->dtype};
    int error;
    REQUIRE(holds(c, n->args_at, bytes_of(n) / 4, 4), &n->args_at, TCN_BOUNDS);
    REQUIRE(n->dtype <= TCN_I16 && output_of(c)->dtype == n->dtype && same_frame(c->window), &n->dtype, TCN_VALUE);
    REQUIRE(n->op <= BINARY_SQUARED_DIFFERENCE && (n->op != BINARY_DIV || n->dtype == TCN_F32), &n->op, TCN_VALUE);
    REQUIRE(a->elements == elements_of(output_of(c)), &a->elements, TCN_VALUE);
    if (n->dtype != TCN_F32) {
        REQUIRE(a->left_shift >= 0 && a->left_shift <= 20, &a->left_shift, TCN_VALUE);
        REQUIRE(shift_ok(a->shift[0]) && shift_ok(a->shift[1]) && shift_ok(a->shift_out), &a->shift[0], TCN_VALUE);
    }
    if (a->has_operands) {
        o = (const operands_args *)(const void *)(c->plan + n->args_at + bytes_of(n));
        REQUIRE(holds(c, n->args_at, (bytes_of(n) + sizeof *o) / 4, 4), &a->has_operands, TCN_BOUNDS);
        REQUIRE(o->constant_at[0] || o->constant_at[1] || o->index_at[0] || o->index_at[1], &a->has_operands, TCN_VALUE);
    }
    error = tcn_check_operands(c, o->constant_at, o->index_at, dtypes, 2, a->elements);
    return error && !a->has_operands ? tcn_fail(c, &n->args_at, error) : error; /* what a plan does not hold has no place in it */
}

static inline void compute(const tcn_program *p, const tcn_node_record *node, const void *args, const void *x, const void *y, void *to, uint32_t n)
{
    if (node->dtype == TCN_F32)
        p->kernels->binary_f32(args, node->op, x, y, to, n);
    else if (node->dtype == TCN_I8)
        p->kernels->binary_i8(args, node->op, x, y, to, n);
    else
        p->kernels->binary_i16(args, node->op, x, y, to, n);
}

static const void *picked(const tcn_program *p, const uint32_t *index, uint32_t n, uint32_t item, const uint8_t *from,
                          int operand)
{
    uint8_t *to = p->buffers + (size_t)operand * p->buffer_bytes;
    uint32_t i;
    for (i = 0; i < n; i++)
        memcpy(to + (size_t)i * item, from + (size_t)index[i] * item, item);
    return to;
}

static void binary(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const operands_args *a = operands_behind(p, node);
    uint32_t item = element_bytes(node->dtype), elements = elements_in(p->plan + node->args_at), l;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        int64_t f = lane->begin[j->out[0]], end = lane->end[j->out[0]];
        while (f < end) {
            int64_t run = end - f;
            const void *from[2];
            uint32_t stream = 0;
            int q;
            for (q = 0; q < 2; q++) {
                if (a->constant_at[q]) {
                    from[q] = p->plan + a->constant_at[q];
                    run = 1;
                } else {
                    uint32_t t = j->in[stream++];
                    from[q] = frame_at(p, lane, t, f);
                    run = frames_together(p, lane, t, f, run);
                    if (a->index_at[q]) {
                        from[q] = picked(p, IN_PLAN(uint32_t, a->index_at[q]), elements, item, from[q], q);
                        run = 1;
                    }
                }
            }
            compute(p, node, kernel_args(p, node), from[0], from[1], output_frame_at(p, lane, j->out[0], f), (uint32_t)run * elements);
            f += run;
        }
    }
}

static inline const void *single_operand(const tcn_program *p, const tcn_lane_run *lane, uint32_t t, int32_t back)
{
    tcn_kept kept;
    if (!back)
        return lane->block[t];
    kept = kept_of(&p->places[t], lane);
    return kept_frame(&kept, back);
}

typedef struct { const void *x, *y; } operand_pair;

/* One of which is a constant. */
TCN_APART static operand_pair with_constant(const tcn_program *p, const tcn_single_frame *single, const tcn_node_record *node, const tcn_lane_run *lane)
{
    const operands_args *a = operands_behind(p, node);
    const int second = a->constant_at[0] != 0;
    const void *stream = single_operand(p, lane, node_operands(p, node)[0], single->offsets[second]);
    return second ? (operand_pair){p->plan + a->constant_at[0], stream} : (operand_pair){stream, p->plan + a->constant_at[1]};
}

static inline void run_single(const tcn_program *p, const tcn_single_frame *single, const tcn_node_record *node, const uint16_t *operands,
                              const tcn_lane_run *lane, uint32_t n)
{
    operand_pair from;
    if (has_operands(single->args)) {
        from = with_constant(p, single, node, lane);
    } else {
        from.x = single_operand(p, lane, operands[0], single->offsets[0]);
        from.y = single_operand(p, lane, operands[1], single->offsets[1]);
    }
    compute(p, node, single->args, from.x, from.y, (void *)(uintptr_t)lane->block[single->out_tensor], n * elements_in(single->args));
}

#ifdef RINGS_SIDE_BY_SIDE
/* Whether the frames that are read and made stand behind each other for lanes in step. */
static int is_dense(const tcn_program *p, const tcn_single_frame *single, const uint16_t *operands)
{
    uint32_t q;
    if (has_operands(single->args))
        return 0;
    for (q = 0; q < 2; q++) {
        const tcn_place *at = &p->places[operands[q]];
        if (!single->offsets[q] && at->pitch != at->bytes)
            return 0;
    }
    return p->places[single->out_tensor].pitch == p->places[single->out_tensor].bytes;
}
#endif

static void run_single_frame(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_node_record *node = &p->nodes[single - p->single_frames];
    const uint16_t *operands = node_operands(p, node);
    const tcn_lane_run *end = lanes + LANES_TOGETHER(n_lanes);
#ifdef RINGS_SIDE_BY_SIDE
    if (n_lanes > 1 && is_dense(p, single, operands)) {
        for (; lanes < end; lanes += lanes->in_step)
            run_single(p, single, node, operands, lanes, lanes->in_step);
        return;
    }
#endif
    for (; lanes < end; lanes++)
        run_single(p, single, node, operands, lanes, 1);
}

TCN_RARELY static void prepare_single_frame(const tcn_program *p, const tcn_node_record *node, tcn_single_frame *single, int32_t *offsets)
{
    const uint16_t *operands = node_operands(p, node), *in = operands;
    const operands_args *a = operands_behind(p, node);
    uint32_t i;
    if (a->index_at[0] || a->index_at[1])
        return;
    single->run = run_single_frame;
    single->taps = 2;
    for (i = 0; i < 2; i++)
        offsets[i] = a->constant_at[i] ? 0 : (int32_t)(p->steady_frames[operands[node->n_inputs]] - p->steady_frames[*in++]);
}

const tcn_operation tcn_binary = {check_binary, binary, prepare_single_frame};
