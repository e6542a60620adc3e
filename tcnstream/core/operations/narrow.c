/* narrow.c - a convolution with many taps over frames of few values, such as the first one over samples of sound.
 *
 * A row of pointers, one to each value, would cost more than the products. A window whose frames stand side by side
 * is one row of taps * channels values, and the weights lie in that order already: each sum adds the same products in
 * the same order. A window that the ring or an edge interrupts is copied behind the rows first. */
#include "operation.h"

enum { FEWEST_TAPS = 8, MOST_CHANNELS = 4 };

/* So many windows, each behind the others with its row, fit where the rows of the program stand. */
static uint32_t windows_at_most(const tcn_program *p, const conv_args *a)
{
    uint64_t each = sizeof(void *) + (uint64_t)a->taps_t * a->channels * 4, fit = p->table * sizeof(void *) / each;
    return fit < p->positions ? (uint32_t)fit : p->positions;
}

int tcn_is_narrow(const tcn_program *p, const tcn_node_record *node)
{
    const conv_args *a = ARGS(conv_args);
    return node->kind == KIND_CONV && node->dtype == TCN_F32 && a->groups == 1 && a->dilation_t == 1 && !a->has_axis &&
           a->taps_t >= FEWEST_TAPS && a->channels <= MOST_CHANNELS && windows_at_most(p, a) > 0;
}

/* `count` frames from `first` on, side by side; `copy` has room for them. */
static const void *window(const tcn_job *j, const tcn_lane_run *lane, int64_t first, int64_t count, uint8_t *copy)
{
    const tcn_program *p = j->p;
    uint32_t t = j->in[0], bytes = p->places[t].bytes;
    int64_t end = first + count, known = lane->signal_frames && lane->signal_frames[t] < end ? lane->signal_frames[t] : end, run;
    uint8_t *to = copy;
    if (first >= 0 && known == end && frames_together(p, lane, t, first, count) == count)
        return frame_at(p, lane, t, first);
    for (; first < end; first += run, to += (size_t)run * bytes) {
        run = first >= 0 && first < known ? frames_together(p, lane, t, first, known - first) : 1;
        memcpy(to, padded_frame_at(p, lane, j->node, t, first), (size_t)run * bytes);
    }
    return copy;
}

void tcn_run_narrow(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const conv_args *a = ARGS(conv_args);
    uint32_t most = windows_at_most(p, a), filled = 0, l;
    uint8_t *copies = (uint8_t *)(p->rows + most);
    conv_args one = *a;
    one.taps_t = 1;
    one.channels = a->taps_t * a->channels;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        int64_t f;
        for (f = lane->begin[j->out[0]]; f < lane->end[j->out[0]]; f++) {
            uint8_t *copy = copies + (size_t)filled * one.channels * 4;
            p->rows[filled] = window(j, lane, f * j->window->stride - j->window->pad_begin, a->taps_t, copy);
            p->outs[filled++] = output_frame_at(p, lane, j->out[0], f);
            if (filled == most) {
                p->kernels->conv_f32(&one, p->plan, p->rows, p->outs, filled);
                filled = 0;
            }
        }
    }
    if (filled)
        p->kernels->conv_f32(&one, p->plan, p->rows, p->outs, filled);
}
