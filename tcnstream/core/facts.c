/* facts.c - what a plan says about itself. */
#include "internal.h"

TCN_RARELY tcn_sections tcn_sections_of(const tcn_plan *plan)
{
    const tcn_header *h = header_of(plan);
    tcn_sections s;
    s.windows = (const tcn_window *)(const void *)(ring_records_of(plan) + h->n_rings);
    s.nodes = (const tcn_node_record *)(const void *)(s.windows + h->n_windows);
    s.ports = (const tcn_description *)(const void *)(s.nodes + h->n_nodes);
    s.operands = (const uint16_t *)(const void *)(s.ports + h->n_inputs + h->n_outputs);
    return s;
}

uint32_t tcn_inputs(const tcn_plan *plan) { return header_of(plan)->n_inputs; }
uint32_t tcn_outputs(const tcn_plan *plan) { return header_of(plan)->n_outputs; }
uint32_t tcn_tensors(const tcn_plan *plan) { return header_of(plan)->n_tensors; }
uint32_t tcn_nodes(const tcn_plan *plan) { return header_of(plan)->n_nodes; }

uint32_t tcn_input_tensor(const tcn_plan *plan, uint32_t input) { return tcn_sections_of(plan).ports[input].tensor; }

uint32_t tcn_output_tensor(const tcn_plan *plan, uint32_t output)
{
    return tcn_sections_of(plan).ports[header_of(plan)->n_inputs + output].tensor;
}

static const char *name_at(const tcn_plan *plan, uint32_t at)
{
    return (const char *)plan + header_of(plan)->names_at + at;
}

const char *tcn_identity(const tcn_plan *plan) { return name_at(plan, 0); }

TCN_RARELY void tcn_describe_tensor(const tcn_plan *plan, uint32_t tensor, tcn_tensor_facts *facts)
{
    static const uint8_t item_bytes[] = TCN_ITEM_BYTES;
    const tcn_header *h = header_of(plan);
    const tcn_frame *f = &frames_of(plan)[tensors_of(plan)[tensor].frame];
    const tcn_ring_record *ring = ring_records_of(plan), *last = ring + h->n_rings;
    const tcn_description *d = tcn_sections_of(plan).ports, *end = d + h->n_inputs + h->n_outputs;
    while (ring < last && ring->tensor != tensor)
        ring++;
    facts->name = "";
    facts->dtype = (uint8_t)f->dtype;
    facts->rank = 1;
    facts->frame_elements = f->bytes / item_bytes[f->dtype];
    facts->frame_bytes = f->bytes;
    facts->ring_frames = ring < last ? ring->frames : 0;
    facts->shape[0] = facts->frame_elements;
    facts->shape[1] = facts->shape[2] = facts->shape[3] = 1;
    facts->scale = 0.0f;
    facts->zero_point = 0;
    while (d < end && d->tensor != tensor)
        d++;
    if (d == end && h->described_at)
        d = (const tcn_description *)plan_at(plan, h->described_at) + tensor;
    else if (d == end)
        return;
    facts->name = name_at(plan, d->name);
    facts->rank = (uint8_t)d->rank;
    memcpy(facts->shape, plan_at(plan, d->shape_at), d->rank * sizeof *facts->shape);
    facts->scale = d->scale;
    facts->zero_point = d->zero_point;
}

TCN_RARELY void tcn_describe_node(const tcn_plan *plan, uint32_t node, tcn_node_facts *facts)
{
    const tcn_header *h = header_of(plan);
    const tcn_sections s = tcn_sections_of(plan);
    const tcn_node_record *n = &s.nodes[node];
    facts->name = facts->kind = "";
    facts->index = -1;
    facts->output = s.operands[n->operands + n->n_inputs];
    if (h->described_at) {
        const tcn_node_description *d = (const tcn_node_description *)plan_at(
            plan, h->described_at + h->n_tensors * (uint32_t)sizeof(tcn_description)) + node;
        facts->name = name_at(plan, d->label);
        facts->kind = name_at(plan, d->kind_name);
        facts->index = d->index;
    }
}

static const char *const families[] = TCN_FAMILIES;

const char *tcn_family(const tcn_plan *plan)
{
    uint32_t family = header_of(plan)->family;
    return family < sizeof families / sizeof *families ? families[family] : "an unknown family";
}

const char *tcn_own_family(void) { return families[TCN_FAMILY_HERE]; }
