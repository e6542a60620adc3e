/* fault.c - the core's operations with a deliberate fault: one node's results are rounded to odd.
 *
 * Stands in for the core's operations.c in a build with FAULT=. Whatever a node computes, its lowest bit
 * (of an integer), or the lowest twelve bits of a float's mantissa, are set: a rounding that nobody wants, and
 * one that any operation can have. */
#define tcn_run_node sound_run_node
#define tcn_prepare_single_frames sound_prepare_single_frames
#include "operations.c"
#undef tcn_run_node
#undef tcn_prepare_single_frames

uint32_t bridge_fault_node = BRIDGE_FAULT;

void tcn_run_node(const tcn_program *p, uint32_t k, const tcn_lane_run *lanes, uint32_t n_lanes);
void tcn_prepare_single_frames(tcn_program *p, int32_t *offsets);

static void round_to_odd(const tcn_program *p, const tcn_node_record *node, const tcn_lane_run *lane)
{
    const uint16_t *out = node_operands(p, node) + node->n_inputs;
    uint32_t o;
    for (o = 0; o < node->n_outputs; o++) {
        const tcn_frame *t = frame_of(p, out[o]);
        uint32_t item = element_bytes(t->dtype);
        uint8_t *at = p->places[out[o]].base + p->places[out[o]].pitch * lane->index;
        size_t n = (size_t)(lane->goal[out[o]] - lane->have[out[o]]) * (t->bytes / item);
        for (; n--; at += item) {
            at[0] |= t->dtype == TCN_F32 ? 0xFF : 1;
            if (t->dtype == TCN_F32)
                at[1] |= 0x0F;
        }
    }
}

static void spoil(const tcn_program *p, uint32_t k, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    uint32_t l;
    for (l = 0; k == bridge_fault_node && l < n_lanes; l++)
        round_to_odd(p, &p->nodes[k], &lanes[l]);
}

void tcn_run_node(const tcn_program *p, uint32_t k, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    sound_run_node(p, k, lanes, n_lanes);
    spoil(p, k, lanes, n_lanes);
}

static void run_in_step(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    run_counted(p, single, lanes, n_lanes);
    spoil(p, (uint32_t)(single - p->single_frames), lanes, n_lanes);
}

/* No node runs as it is prepared for the steady state, past the fault: any of them may get it over the link. */
void tcn_prepare_single_frames(tcn_program *p, int32_t *offsets)
{
    uint32_t k;
    sound_prepare_single_frames(p, offsets);
    for (k = 0; k < p->header->n_nodes; k++)
        p->single_frames[k].run = run_in_step;
    p->needs_counts = 1;
}
