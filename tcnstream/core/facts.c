/* facts.c - what a plan says about itself. */
#include "internal.h"

uint32_t tcn_inputs(const tcn_plan *plan) { return header_of(plan)->n_inputs; }
uint32_t tcn_outputs(const tcn_plan *plan) { return header_of(plan)->n_outputs; }
uint32_t tcn_tensors(const tcn_plan *plan) { return header_of(plan)->n_tensors; }
uint32_t tcn_nodes(const tcn_plan *plan) { return header_of(plan)->n_nodes; }

uint32_t tcn_input_tensor(const tcn_plan *plan, uint32_t input)
{
    return words_at(plan, header_of(plan)->ports_at)[input];
}

uint32_t tcn_output_tensor(const tcn_plan *plan, uint32_t output)
{
    return words_at(plan, header_of(plan)->ports_at)[header_of(plan)->n_inputs + output];
}

static const char *name_at(const tcn_plan *plan, uint32_t at)
{
    return (const char *)plan + header_of(plan)->names_at + at;
}

const char *tcn_identity(const tcn_plan *plan) { return name_at(plan, header_of(plan)->identity); }

void tcn_describe_tensor(const tcn_plan *plan, uint32_t tensor, tcn_tensor_facts *facts)
{
    const tcn_tensor_record *t = &tensors_of(plan)[tensor];
    facts->name = name_at(plan, t->name);
    facts->dtype = t->dtype;
    facts->rank = t->rank;
    memcpy(facts->shape, t->shape, sizeof facts->shape);
    facts->frame_elements = t->elements;
    facts->frame_bytes = t->bytes;
    facts->ring_frames = t->ring_frames;
    facts->scale = t->scale;
    facts->zero_point = t->zero_point;
}

void tcn_describe_node(const tcn_plan *plan, uint32_t node, tcn_node_facts *facts)
{
    const tcn_node_record *n = &nodes_of(plan)[node];
    facts->name = name_at(plan, n->label);
    facts->kind = name_at(plan, n->kind_name);
    facts->index = n->index;
    facts->output = words_at(plan, n->operands_at)[n->n_inputs];
}

static const char *const families[] = TCN_FAMILIES;

const char *tcn_family(const tcn_plan *plan)
{
    uint32_t family = header_of(plan)->family;
    return family < sizeof families / sizeof *families ? families[family] : "an unknown family";
}

const char *tcn_own_family(void) { return families[TCN_FAMILY_HERE]; }
