/* resample.c - a filter between rates: every output frame from the weights that meet input frames.
 *
 * On the line with `up - 1` places between input frames output frame j reads `extent` places from
 * `stride * j - pad_begin` on. How far the first input frame lies behind the first place says which of the `up` sets
 * of weights meets them. The sets are of one length: where the last weight stands behind the kernel it meets zeros. */
#include "operands.h"

/* `count` input frames from `first` on, one behind the other, into `rows`. */
static const void **read_frames(const tcn_job *j, const tcn_lane_run *lane, int64_t first, int64_t count,
                                const void **rows)
{
    const tcn_program *p = j->p;
    uint32_t t = j->in[0];
    int64_t end = first + count, known = lane->signal_frames && lane->signal_frames[t] < end ? lane->signal_frames[t] : end, run;
    while (first < end) {
        const uint8_t *from = padded_frame_at(p, lane, j->node, t, first);
        run = first >= 0 && first < known ? frames_together(p, lane, t, first, known - first) : 1;
        for (first += run; run > 0; run--, from += p->places[t].bytes)
            *rows++ = from;
    }
    return rows;
}

/* Of the weights of one place between two input frames. */
static uint32_t set_bytes(const conv_args *a, uint32_t op)
{
    const uint32_t values = op == RESAMPLE_DEPTHWISE ? a->outputs : a->channels * panel_total(a->outputs);
    return (a->taps_t * values * (uint32_t)sizeof(float) + 63u) & ~63u;
}

static void resample(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const conv_args *a = ARGS(conv_args);
    tcn_window_kernel kernel = node->op == RESAMPLE_DEPTHWISE ? p->kernels->depthwise_f32 : p->kernels->conv_f32;
    conv_args one = *a;
    const uint32_t out = j->out[0], bytes = set_bytes(a, node->op);
    uint32_t l;
    int64_t up = j->window->up;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        int64_t f = lane->begin[out], end = lane->end[out], place = f * j->window->stride - j->window->pad_begin;
        int64_t set = (up - place % up) % up, first = (place + set) / up;
        for (; f < end; f++) {
            const void **rows = p->rows, **all = rows + a->taps_t;
            void *to = output_frame_at(p, lane, out, f);
            rows = read_frames(j, lane, first, (j->window->extent - 1 - set) / up + (set < j->window->extent), rows);
            while (rows < all)
                *rows++ = node->fill_at ? p->plan + node->fill_at : p->buffers;
            one.weights_at = a->weights_at + (uint32_t)set * bytes;
            kernel(&one, p->plan, p->rows, &to, 1);
            set -= j->window->stride % up;
            first += j->window->stride / up + (set < 0);
            set += set < 0 ? up : 0;
        }
    }
}

TCN_RARELY static int check_interpolate(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    ARGUMENTS(interpolate_args);
    REQUIRE((n->dtype == TCN_I8 || n->dtype == TCN_I16) && output_of(c)->dtype == n->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(elements_of(output_of(c)) == elements_of(input_of(c, 0)) && n->edge == EDGE_HOLD, &n->edge, TCN_VALUE);
    REQUIRE(a->taps > 0 && a->taps <= TCN_MOST_INTERPOLATED && a->taps == ((uint32_t)c->window->extent - 1) / (uint32_t)c->window->up + 1, &a->taps, TCN_VALUE);
    REQUIRE(holds(c, a->weights_at, (uint64_t)c->window->up * a->taps, 2), &a->weights_at, TCN_BOUNDS);
    return TCN_OK;
}

static void interpolate(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const interpolate_args *a = ARGS(interpolate_args);
    uint32_t in = j->in[0], out = j->out[0], l, t, e, elements = elements_of(frame_of(p, out));
    int64_t up = j->window->up, f;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (f = lane->have[out]; f < lane->goal[out]; f++) {
            int64_t place = f * j->window->stride - j->window->pad_begin, set = (up - place % up) % up;
            const int16_t *weights = IN_PLAN(int16_t, a->weights_at) + set * a->taps;
            const uint8_t *rows[TCN_MOST_INTERPOLATED];
            uint8_t *to = output_frame_at(p, lane, out, f);
            for (t = 0; t < a->taps; t++)
                rows[t] = weights[t] && set + up * t < j->window->extent ? padded_frame_at(p, lane, node, in, (place + set) / up + t) : p->buffers;
            for (e = 0; e < elements; e++) {
                int64_t sum = 0;
                for (t = 0; t < a->taps; t++)
                    sum += weights[t] * tcn_integer_at(rows[t], node->dtype, e);
                tcn_store_integer(to, node->dtype, e, (sum + (sum > 0 ? 512 : -512)) / 1024);
            }
        }
    }
}

const tcn_operation tcn_interpolate = {check_interpolate, interpolate, NULL};
const tcn_operation tcn_resample = {tcn_check_convolution, resample, NULL};
