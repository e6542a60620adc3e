/* winograd.c - convolutions by Winograd's filtering (kernels/winograd.h): which outputs of a block are pairs, and which
 * are alone in it. */
#include "convolution.h"

#ifdef TCN_HAS_FUSED

const tcn_winograd_conv *tcn_winograd_of(const tcn_program *p, const tcn_node_record *node)
{
    const conv_args *a = kernel_args(p, node);
    return node->kind == KIND_CONV && node->op == CONV_PANELS && a->rescale == RESCALE_WINOGRAD ? (const tcn_winograd_conv *)(const void *)a : NULL;
}

typedef struct {
    const tcn_job *j;
    const tcn_winograd_conv *of;
    uint32_t n_pairs, n_alone;
    tcn_winograd_pair pairs[TCN_SLIDING_POSITIONS];
    tcn_winograd_alone alone[TCN_SLIDING_POSITIONS];
} batch;

static void emit(batch *b)
{
    if (b->n_pairs)
        b->of->kernels.pairs(b->of, b->j->p->plan, b->pairs, b->n_pairs);
    if (b->n_alone)
        b->of->kernels.alone(b->of, b->j->p->plan, b->alone, b->n_alone);
    b->n_pairs = b->n_alone = 0;
}

/* `n` frames of a lane from frame `f` on. */
static void add_frames(batch *b, const tcn_lane_run *lane, int64_t f, uint32_t n)
{
    const tcn_job *j = b->j;
    const uint32_t dilation = b->of->args.dilation_t, period = 2 * dilation;
    const int slides = n > dilation; /* else no two outputs share frames, and rows might not fit the table */
    const size_t across = slides ? 1 : WINOGRAD_TAPS, down = slides ? dilation : 1;
    const int64_t first = f - j->window->pad_begin;
    const size_t bytes = j->p->places[j->out[0]].bytes;
    const void **rows = j->p->rows;
    uint8_t *out = output_frame_at(j->p, lane, j->out[0], f);
    uint32_t at = (uint32_t)((uint64_t)(f + b->of->phase) % period), i, k;
    if (b->n_pairs + n > TCN_SLIDING_POSITIONS || b->n_alone + n > TCN_SLIDING_POSITIONS)
        emit(b);
    if (slides)
        tcn_find_rows(j, lane, first, 1, n + (int64_t)(WINOGRAD_TAPS - 1) * dilation, rows, 1);
    for (k = 0; !slides && k < WINOGRAD_TAPS; k++)
        tcn_find_rows(j, lane, first + (int64_t)k * dilation, 1, n, rows + k, WINOGRAD_TAPS);
    for (i = 0; i < n; i++, at = at + 1 == period ? 0 : at + 1) {
        const int is_first = at < dilation;
        const void *const *mine = rows + i * across;
        if (is_first && i + dilation < n)
            b->pairs[b->n_pairs++] = (tcn_winograd_pair){{mine[0], mine[down], mine[2 * down], mine[3 * down]},
                                                         {(float *)(void *)(out + i * bytes), (float *)(void *)(out + (i + dilation) * bytes)}};
        else if (is_first || i < dilation)
            b->alone[b->n_alone++] = (tcn_winograd_alone){{mine[0], mine[down], mine[2 * down]}, (float *)(void *)(out + i * bytes), !is_first};
    }
}

void tcn_run_winograd(const tcn_job *j, const tcn_winograd_conv *of)
{
    const tcn_program *p = j->p;
    const uint32_t fit = p->table / WINOGRAD_TAPS, most = fit < p->positions ? fit : p->positions; /* at most TCN_SLIDING_POSITIONS */
    batch b;
    uint32_t l;
    b.j = j;
    b.of = of;
    b.n_pairs = b.n_alone = 0;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        int64_t f = lane->begin[j->out[0]], end = lane->end[j->out[0]], n;
        for (; f < end; f += n) {
            n = end - f < most ? end - f : most;
            add_frames(&b, lane, f, (uint32_t)n);
        }
    }
    emit(&b);
}

#endif
