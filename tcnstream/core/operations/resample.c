/* resample.c - a filter between rates: of the `up` phases of every block only those that are kept are computed.
 *
 * On the line of phases output frame j stands at `stride * j` and needs the taps of its own phase alone, so the plan
 * holds `up` sets of weights one behind the other and every frame is a convolution with one of them. */
#include "operation.h"

/* `count` input frames from `first` on, one behind the other, into `rows`. */
static void read_frames(const tcn_program *p, const tcn_lane_run *lane, const tcn_node_record *node, uint32_t t,
                        int64_t first, uint32_t count, const void **rows)
{
    int64_t end = first + count, run, i;
    while (first < end) {
        const uint8_t *from;
        if (first < 0 || (lane->limit && first >= lane->limit[t])) {
            *rows++ = row_of(p, lane, node, t, first++);
            continue;
        }
        from = frame_of(p, lane, t, first);
        run = run_of(p, lane, t, first, lane->limit && lane->limit[t] < end ? lane->limit[t] - first : end - first);
        for (i = 0; i < run; i++, from += p->places[t].bytes)
            *rows++ = from;
        first += run;
    }
}

static void resample(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const conv_args *a = ARGS(conv_args);
    tcn_window_kernel kernel = node->op ? p->kernels->depthwise_f32 : p->kernels->conv_f32;
    conv_args one = *a;
    uint32_t in = j->in[0], out = j->out[0];
    uint32_t l;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        int64_t f = lane->have[out], end = lane->goal[out], place = f * node->stride - node->pad_begin - 1;
        int64_t phase = (place % node->up + node->up) % node->up, first = (place - phase) / node->up + 1;
        for (; f < end; f++) {
            void *to = out_frame(p, lane, out, f);
            one.weights_at = a->weights_at + (uint32_t)phase * a->weights_bytes;
            read_frames(p, lane, node, in, first, a->taps_t, p->rows);
            kernel(&one, p->plan, p->rows, &to, 1);
            phase += node->stride % node->up;
            first += node->stride / node->up + phase / node->up;
            phase %= node->up;
        }
    }
}

const tcn_operation tcn_resample = {tcn_check_convolution, resample, NULL};
