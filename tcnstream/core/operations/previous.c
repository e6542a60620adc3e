/* previous.c - what is fed back: each frame shows the frame before of a tensor that is made later. */
#include "operation.h"

TCN_RARELY static int check_previous(tcn_checker *c)
{
    const tcn_frame *shown;
    const tcn_ring_record *ring;
    ARGUMENTS(previous_args);
    REQUIRE(same_frame(c->window), &c->window->up, TCN_VALUE);
    REQUIRE(a->shown < c->h->n_tensors, &a->shown, TCN_BOUNDS);
    shown = frames_in(c, a->shown);
    ring = tcn_checked_ring(c, a->shown);
    REQUIRE(shown->dtype == output_of(c)->dtype && shown->bytes == output_of(c)->bytes &&
            ring && ring->last_reader >= c->number, &a->shown, TCN_VALUE);
    REQUIRE(holds(c, a->start_at, output_of(c)->bytes, 1), &a->start_at, TCN_BOUNDS);
    return TCN_OK;
}

static void previous(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const previous_args *a = ARGS(previous_args);
    uint32_t l;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (f = lane->begin[j->out[0]]; f < lane->end[j->out[0]]; f++) {
            const uint8_t *from = p->plan + a->start_at;
            if (f > 0) /* beyond its frames is unreachable for a valid plan */
                from = f <= lane->goal[a->shown] ? frame_at(p, lane, a->shown, f - 1) : p->buffers;
            memcpy(output_frame_at(p, lane, j->out[0], f), from, p->places[j->out[0]].bytes);
        }
    }
}

const tcn_operation tcn_previous = {check_previous, previous, NULL};
