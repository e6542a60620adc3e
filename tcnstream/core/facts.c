/* facts.c - what a plan says about itself. */
#include "internal.h"

uint32_t tcn_inputs(const tcn_plan *plan) { return header_of(plan)->n_inputs; }
uint32_t tcn_outputs(const tcn_plan *plan) { return header_of(plan)->n_outputs; }
uint32_t tcn_tensors(const tcn_plan *plan) { return header_of(plan)->n_tensors; }
uint32_t tcn_nodes(const tcn_plan *plan) { return header_of(plan)->n_nodes; }

static const tcn_description *ports_of(const tcn_plan *plan)
{
    return (const tcn_description *)(const void *)words_at(plan, header_of(plan)->ports_at);
}

uint32_t tcn_input_tensor(const tcn_plan *plan, uint32_t input) { return ports_of(plan)[input].tensor; }

uint32_t tcn_output_tensor(const tcn_plan *plan, uint32_t output)
{
    return ports_of(plan)[header_of(plan)->n_inputs + output].tensor;
}

static const char *name_at(const tcn_plan *plan, uint32_t at)
{
    return (const char *)plan + header_of(plan)->names_at + at;
}

const char *tcn_identity(const tcn_plan *plan) { return name_at(plan, header_of(plan)->identity); }

void tcn_describe_tensor(const tcn_plan *plan, uint32_t tensor, tcn_tensor_facts *facts)
{
    static const uint8_t item_bytes[] = TCN_ITEM_BYTES;
    const tcn_header *h = header_of(plan);
    const tcn_tensor_record *t = &tensors_of(plan)[tensor];
    const tcn_description *d = ports_of(plan), *end = d + h->n_inputs + h->n_outputs;
    facts->name = "";
    facts->dtype = t->dtype;
    facts->rank = 1;
    facts->frame_elements = t->bytes / item_bytes[t->dtype];
    facts->frame_bytes = t->bytes;
    facts->ring_frames = t->ring_frames;
    facts->shape[0] = facts->frame_elements;
    facts->shape[1] = facts->shape[2] = facts->shape[3] = 1;
    facts->scale = 0.0f;
    facts->zero_point = 0;
    while (d < end && d->tensor != tensor)
        d++;
    if (d == end && h->described_at)
        d = (const tcn_description *)(const void *)words_at(plan, h->described_at) + tensor;
    else if (d == end)
        return;
    facts->name = name_at(plan, d->name);
    facts->rank = (uint8_t)d->rank;
    memcpy(facts->shape, d->shape, sizeof facts->shape);
    facts->scale = d->scale;
    facts->zero_point = d->zero_point;
}

void tcn_describe_node(const tcn_plan *plan, uint32_t node, tcn_node_facts *facts)
{
    const tcn_header *h = header_of(plan);
    const tcn_node_record *n = &nodes_of(plan)[node];
    facts->name = facts->kind = "";
    facts->index = -1;
    facts->output = words_at(plan, n->operands_at)[n->n_inputs];
    if (h->described_at) {
        const tcn_node_description *d = (const tcn_node_description *)(const void *)words_at(
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
