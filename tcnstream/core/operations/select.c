/* select.c - the second operand where the first holds, else the third. */
#include "operands.h"

TCN_RARELY static int check_select(tcn_checker *c)
{
    uint8_t dtypes[3] = {TCN_BOOL, output_of(c)->dtype, output_of(c)->dtype};
    ARGUMENTS(select_args);
    REQUIRE(same_frame(c->window), &c->window->up, TCN_VALUE);
    REQUIRE(a->elements == elements_of(output_of(c)), &a->elements, TCN_VALUE);
    return tcn_check_operands(c, a->constant_at, a->index_at, dtypes, 3, a->elements);
}

static void select_frame(const tcn_operand *o, uint8_t *to, uint32_t elements, uint32_t item)
{
    uint32_t i;
    for (i = 0; i < elements; i++, to += item) {
        const tcn_operand *taken = o[0].from[place_of(&o[0], i)] ? &o[1] : &o[2];
        memcpy(to, taken->from + (size_t)place_of(taken, i) * item, item);
    }
}

static void selection(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const select_args *a = ARGS(select_args);
    uint32_t item = element_bytes(frame_of(p, j->out[0])->dtype), l;
    tcn_operand operands[3];
    int64_t f;
    for (l = 0; l < j->n_lanes; l++)
        for (f = j->lanes[l].begin[j->out[0]]; f < j->lanes[l].end[j->out[0]]; f++) {
            tcn_find_operands(j, &j->lanes[l], f, a->constant_at, a->index_at, 3, operands);
            select_frame(operands, output_frame_at(p, &j->lanes[l], j->out[0], f), a->elements, item);
        }
}

const tcn_operation tcn_select = {check_select, selection, NULL};
