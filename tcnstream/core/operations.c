/* operations.c - the table of operations, and how a node finds its own. */
#include "operations/operation.h"

#define ENTRY(kind, operation) [KIND_##kind] = &operation,
static const tcn_operation *const operations[] = {TCN_OPERATIONS(ENTRY)};
#undef ENTRY

const tcn_operation *tcn_operation_of(uint32_t kind)
{
    return kind < sizeof operations / sizeof *operations ? operations[kind] : NULL;
}

#ifdef TCN_ONLY
int tcn_has_kernel(const tcn_node_record *node)
{
    static const uint8_t of_conv[] = {TCN_NEEDS_CONV_F32, TCN_NEEDS_CONV_I8, TCN_NEEDS_CONV_I16};
    static const uint8_t of_depthwise[] = {TCN_NEEDS_DEPTHWISE_F32, TCN_NEEDS_DEPTHWISE_I8, TCN_NEEDS_DEPTHWISE_I16};
    static const uint8_t of_binary[] = {TCN_NEEDS_BINARY_F32, TCN_NEEDS_BINARY_I8, TCN_NEEDS_BINARY_I16};
    if (node->dtype > TCN_I16) /* which these operations refuse */
        return 1;
    switch (node->kind) {
    case KIND_CONV:
        return node->op != CONV_FOURS ? of_conv[node->dtype] : node->dtype == TCN_I16 ? TCN_NEEDS_CONV_I16_FOURS : TCN_NEEDS_CONV_I8_FOURS;
    case KIND_DEPTHWISE:
        return node->op == CONV_FOURS ? TCN_NEEDS_DEPTHWISE_I8_FOURS : of_depthwise[node->dtype];
    case KIND_TRANSPOSE_CONV:
        return of_conv[node->dtype];
    case KIND_RESAMPLE:
        return node->op == RESAMPLE_DEPTHWISE ? TCN_NEEDS_DEPTHWISE_F32 : TCN_NEEDS_CONV_F32;
    case KIND_BINARY:
        return of_binary[node->dtype];
    case KIND_UNARY:
        return TCN_NEEDS_UNARY_F32;
    default:
        return 1;
    }
}
#endif

void tcn_run_node(const tcn_program *p, uint32_t k, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    tcn_job j;
    j.p = p;
    j.node = &p->nodes[k];
    j.window = window_of(p, j.node);
    j.in = node_operands(p, j.node);
    j.out = j.in + j.node->n_inputs;
    j.lanes = lanes;
    j.n_lanes = n_lanes;
    operations[j.node->kind]->run(&j);
}

void tcn_each_run(const tcn_job *j, tcn_element_function function)
{
    uint32_t l;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        int64_t f = lane->begin[j->out[0]], end = lane->end[j->out[0]];
        while (f < end) {
            int64_t run = frames_together(j->p, lane, j->in[0], f, end - f);
            function(j, frame_at(j->p, lane, j->in[0], f), output_frame_at(j->p, lane, j->out[0], f), (uint32_t)run);
            f += run;
        }
    }
}

/* Looking further back than the rings is unreachable for a valid plan. */
TCN_RARELY static int within_rings(const tcn_program *p, const tcn_node_record *node, const tcn_single_frame *single)
{
    const uint16_t *operands = node_operands(p, node);
    uint32_t i;
    for (i = 0; i < single->taps; i++) {
        const tcn_place *at = &p->places[operands[i < node->n_inputs ? i : 0]];
        int32_t offset = single->offsets[i];
        if (offset >= (int32_t)p->fresh[operands[i < node->n_inputs ? i : 0]] || (offset < 0 && (at->ring == TCN_NONE || -(int64_t)offset > at->ring_frames)))
            return 0;
    }
    return 1;
}

/* Offsets of frames as bytes back, from the first new one. */
TCN_RARELY static void count_in_bytes(const tcn_program *p, const tcn_node_record *node, tcn_single_frame *single, int32_t *offsets)
{
    const uint16_t *operands = node_operands(p, node);
    uint32_t i;
    single->args = kernel_args(p, node);
    single->in_tensor = operands[0];
    single->in = &p->places[operands[0]];
    single->out_tensor = operands[node->n_inputs];
    for (i = 0; single->run && i < single->taps; i++)
        offsets[i] = (int32_t)((uint32_t)-offsets[i] * p->places[operands[i < node->n_inputs ? i : 0]].bytes);
}

/* What a node asks of the counts: those of its own operands. */
static void count_operands(const tcn_program *p, const tcn_node_record *node, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const uint16_t *operands = node_operands(p, node), *end = operands + node->n_inputs + node->n_outputs;
    for (; operands < end; operands++) {
        uint32_t t = *operands, l;
        for (l = 0; l < n_lanes; l++) {
            lanes[l].have[t] = p->steady_frames[t] + lanes[l].steps * p->fresh[t];
            lanes[l].goal[t] = lanes[l].have[t] + p->fresh[t];
        }
    }
}

/* A node that is not prepared for a step runs as in any push. */
static void run_counted(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const uint32_t k = (uint32_t)(single - p->single_frames);
    if (!has_loops(p))
        count_operands(p, &p->nodes[k], lanes, n_lanes);
    tcn_run_node(p, k, lanes, n_lanes);
}

TCN_RARELY void tcn_prepare_single_frames(tcn_program *p, int32_t *offsets)
{
    uint32_t k;
    p->needs_counts = 0;
    for (k = 0; k < p->header->n_nodes; k++) {
        const tcn_node_record *node = &p->nodes[k];
        const uint16_t *operands = node_operands(p, node);
        const tcn_operation *operation = operations[node->kind];
        tcn_single_frame *single = &p->single_frames[k];
        memset(single, 0, sizeof *single);
        single->offsets = offsets;
        if (operation->prepare_single_frame && p->fresh[operands[node->n_inputs]] == 1)
            operation->prepare_single_frame(p, node, single, offsets);
        offsets += single->taps;
        *offsets++ = 0;
        if (!within_rings(p, node, single))
            single->run = NULL;
        count_in_bytes(p, node, single, offsets - single->taps - 1);
        if (!single->run) {
            single->run = run_counted;
            p->needs_counts = 1;
        }
    }
}
