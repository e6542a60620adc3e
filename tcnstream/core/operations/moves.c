/* moves.c - what only moves values: within a frame, and from frame to frame. */
#include "operation.h"

TCN_RARELY static int check_move(tcn_checker *c)
{
    const move_run *run;
    uint32_t r, missing = 0;
    ARGUMENTS(move_args);
    REQUIRE(same_frame(c->window), &c->window->up, TCN_VALUE);
    for (r = 0; r < c->node->n_outputs; r++) {
        REQUIRE(frames_in(c, c->out[r])->dtype == output_of(c)->dtype, &c->node->n_outputs, TCN_VALUE);
        missing += frames_in(c, c->out[r])->bytes;
    }
    if (a->constant_at)
        REQUIRE(c->node->n_outputs == 1 && holds(c, a->constant_at, output_of(c)->bytes, 1), &a->constant_at, TCN_BOUNDS);
    if (a->constant_at && !a->n_runs)
        return TCN_OK;
    REQUIRE(holds(c, a->runs_at, (uint64_t)a->n_runs * (sizeof(move_run) / 4), 4), &a->runs_at, TCN_BOUNDS);
    run = (const move_run *)(const void *)(c->plan + a->runs_at);
    for (r = 0; r < a->n_runs; r++, run++) {
        uint32_t begin = run->begin, to = run->to, left = run->times, in, out;
        REQUIRE(run->operand < c->node->n_inputs, &run->operand, TCN_BOUNDS);
        REQUIRE(run->output < c->node->n_outputs, &run->output, TCN_BOUNDS);
        REQUIRE(input_of(c, run->operand)->dtype == output_of(c)->dtype, &run->operand, TCN_VALUE);
        in = input_of(c, run->operand)->bytes;
        out = frames_in(c, c->out[run->output])->bytes;
        REQUIRE(left && run->count <= in && run->count <= out, &run->times, TCN_BOUNDS);
        for (; left; left--, begin += (uint32_t)run->begin_step, to += (uint32_t)run->to_step) {
            REQUIRE(begin <= in - run->count && to <= out - run->count, &run->begin, TCN_BOUNDS);
            missing -= run->count;
        }
    }
    REQUIRE(a->constant_at || !missing, &a->n_runs, TCN_VALUE);
    return TCN_OK;
}

TCN_RARELY static int check_time_move(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    uint64_t in = input_of(c, 0)->bytes, out = output_of(c)->bytes;
    REQUIRE(n->op <= TIME_REPEAT && output_of(c)->dtype == n->dtype && n->edge != EDGE_CLIP, &n->op, TCN_VALUE);
    if (n->op == TIME_PAD)
        REQUIRE(in == out && c->window->up == 1, &c->window->up, TCN_VALUE);
    else if (n->op == TIME_WINDOW)
        REQUIRE(in * (uint64_t)c->window->extent == out && c->window->up == 1, &c->window->extent, TCN_VALUE);
    else
        REQUIRE((n->op == TIME_UNFOLD ? out * (uint64_t)c->window->up : out) == in && c->window->stride == 1 && n->edge == EDGE_FILL, &c->window->up, TCN_VALUE);
    return TCN_OK;
}

static void move(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const move_args *a = ARGS(move_args);
    const move_run *runs = IN_PLAN(move_run, a->runs_at);
    uint32_t l, r;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (f = lane->begin[j->out[0]]; f < lane->end[j->out[0]]; f++) {
            if (a->constant_at)
                memcpy(output_frame_at(p, lane, j->out[0], f), p->plan + a->constant_at, p->places[j->out[0]].bytes);
            for (r = 0; r < a->n_runs; r++) {
                const move_run *run = runs + r;
                const uint8_t *in = frame_at(p, lane, j->in[run->operand], f) + run->begin;
                uint8_t *out = output_frame_at(p, lane, j->out[run->output], f) + run->to;
                uint32_t left = run->times;
                memcpy(out, in, run->count);
                while (--left) {
                    in += run->begin_step;
                    out += run->to_step;
                    memcpy(out, in, run->count);
                }
            }
        }
    }
}

static void time_move(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    uint32_t bytes = p->places[j->out[0]].bytes, in_bytes = p->places[j->in[0]].bytes, l;
    int64_t f, k;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (f = lane->begin[j->out[0]]; f < lane->end[j->out[0]]; f++) {
            uint8_t *out = output_frame_at(p, lane, j->out[0], f);
            if (node->op == TIME_PAD || node->op == TIME_WINDOW) {
                int64_t first = f * j->window->stride - j->window->pad_begin;
                for (k = 0; k < (node->op == TIME_PAD ? 1 : j->window->extent); k++)
                    memcpy(out + (size_t)k * in_bytes, padded_frame_at(p, lane, node, j->in[0], first + k), in_bytes);
            } else {
                const uint8_t *in = padded_frame_at(p, lane, node, j->in[0], f / j->window->up);
                memcpy(out, in + (node->op == TIME_UNFOLD ? (size_t)(f % j->window->up) * bytes : 0), bytes);
            }
        }
    }
}

const tcn_operation tcn_move = {check_move, move, NULL};
const tcn_operation tcn_time_move = {check_time_move, time_move, NULL};
