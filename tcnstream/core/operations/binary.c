/* binary.c - two operands, element by element; either may be a constant or be spread over the frame. */
#include "operands.h"

TCN_RARELY static int check_binary(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    uint8_t dtypes[2] = {n->dtype, n->dtype};
    ARGUMENTS(binary_args);
    REQUIRE(n->dtype <= TCN_I16 && output_of(c)->dtype == n->dtype && same_frame(n), &n->dtype, TCN_VALUE);
    REQUIRE(n->op <= BINARY_SQUARED_DIFFERENCE && (n->op != BINARY_DIV || n->dtype == TCN_F32), &n->op, TCN_VALUE);
    REQUIRE(a->elements == elements_of(output_of(c)), &a->elements, TCN_VALUE);
    REQUIRE(a->left_shift >= 0 && a->left_shift <= 20, &a->left_shift, TCN_VALUE);
    REQUIRE(shift_ok(a->shift[0]) && shift_ok(a->shift[1]) && shift_ok(a->shift_out), &a->shift[0], TCN_VALUE);
    return tcn_check_operands(c, a->constant_at, a->index_at, dtypes, 2, a->elements);
}

static inline void compute(const tcn_program *p, const tcn_node_record *node, const void *x, const void *y, void *to, uint32_t n)
{
    const binary_args *a = kernel_args(p, node);
    if (node->dtype == TCN_F32)
        p->kernels->binary_f32(a, node->op, x, y, to, n);
    else if (node->dtype == TCN_I8)
        p->kernels->binary_i8(a, node->op, x, y, to, n);
    else
        p->kernels->binary_i16(a, node->op, x, y, to, n);
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
    const binary_args *a = ARGS(binary_args);
    uint32_t item = element_bytes(node->dtype), l;
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
                        from[q] = picked(p, IN_PLAN(uint32_t, a->index_at[q]), a->elements, item, from[q], q);
                        run = 1;
                    }
                }
            }
            compute(p, node, from[0], from[1], output_frame_at(p, lane, j->out[0], f), (uint32_t)run * a->elements);
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

static inline void run_single(const tcn_program *p, const tcn_single_frame *single, const tcn_node_record *node, const uint32_t *operands,
                              const tcn_lane_run *lane, uint32_t n)
{
    const binary_args *a = single->args;
    const void *x = a->constant_at[0] ? p->plan + a->constant_at[0] : single_operand(p, lane, *operands++, single->offsets[0]);
    const void *y = a->constant_at[1] ? p->plan + a->constant_at[1] : single_operand(p, lane, *operands, single->offsets[1]);
    compute(p, node, x, y, (void *)(uintptr_t)lane->block[single->out_tensor], n * a->elements);
}

#ifdef RINGS_SIDE_BY_SIDE
/* Whether the frames that are read and made stand behind each other for lanes in step. */
static int is_dense(const tcn_program *p, const tcn_single_frame *single, const tcn_node_record *node, const uint32_t *operands)
{
    const binary_args *a = single->args;
    uint32_t q;
    for (q = 0; q < 2; q++) {
        const tcn_place *at = &p->places[operands[q]];
        if (a->constant_at[q] || (!single->offsets[q] && at->pitch != at->bytes))
            return 0;
    }
    return node->n_inputs == 2 && p->places[single->out_tensor].pitch == p->places[single->out_tensor].bytes;
}
#endif

static void run_single_frame(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_node_record *node = &p->nodes[single - p->single_frames];
    const uint32_t *operands = IN_PLAN(uint32_t, node->operands_at);
    const tcn_lane_run *end = lanes + LANES_TOGETHER(n_lanes);
#ifdef RINGS_SIDE_BY_SIDE
    if (n_lanes > 1 && is_dense(p, single, node, operands)) {
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
    const uint32_t *operands = IN_PLAN(uint32_t, node->operands_at), *in = operands;
    const binary_args *a = ARGS(binary_args);
    uint32_t i;
    if (a->index_at[0] || a->index_at[1])
        return;
    single->run = run_single_frame;
    single->taps = 2;
    for (i = 0; i < 2; i++)
        offsets[i] = a->constant_at[i] ? 0 : (int32_t)(p->steady_frames[operands[node->n_inputs]] - p->steady_frames[*in++]);
}

const tcn_operation tcn_binary = {check_binary, binary, prepare_single_frame};
