/* single_convolution.c - convolutions of one new frame per lane, whose taps read where it is known beforehand. */
#include "convolution.h"

/* Where a lane's new frame reads its input: older frames in the ring, the newest in the block, which stands behind the rows
 * of a window that does not reach it. */
static inline void find_single_rows(const tcn_single_frame *single, const tcn_lane_run *lane, tcn_kept kept, const void **rows)
{
    const int32_t *back = single->offsets;
    for (; *back; back++)
        *rows++ = kept_frame(&kept, *back);
    *rows = lane->block[single->in_tensor];
}

/* Where a lane's new frame goes, as the outs of a kernel. */
static inline void *const *single_out(const tcn_single_frame *single, const tcn_lane_run *lane)
{
    return (void *const *)(const void *)&lane->block[single->out_tensor];
}

#ifdef RINGS_SIDE_BY_SIDE
/* The first `taps` rows again, `apart` bytes further each time, for `lanes` lanes in all. */
static void repeat_rows(const uint8_t **rows, size_t taps, size_t lanes, size_t apart)
{
    size_t done, n, i;
    for (done = 1; done < lanes; done += n) {
        const uint8_t **to = rows + done * taps;
        n = done < lanes - done ? done : lanes - done;
        for (i = 0; i < n * taps; i++)
            to[i] = rows[i] + done * apart;
    }
}

/* Windows and outputs of lanes in step: each lane's stand behind those of the lane before. */
static void find_windows_in_step(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n, uint32_t at)
{
    const uint32_t taps = single->taps, last = taps - 1;
    const tcn_place *out = &p->places[single->out_tensor];
    const void **rows = p->rows + at * taps;
    uint8_t *to = (uint8_t *)(uintptr_t)lanes->block[single->out_tensor];
    uint32_t l;
    find_single_rows(single, lanes, kept_of(single->in, lanes), rows);
    repeat_rows((const uint8_t **)rows, taps, n, single->in->bytes);
    if (!single->offsets[last] && single->in->pitch != single->in->bytes)
        for (l = 1; l < n; l++)
            rows[l * taps + last] = lanes[l].block[single->in_tensor];
    for (l = 0; l < n; l++, to += out->pitch)
        p->outs[at + l] = to;
}

static void run_lanes(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    uint32_t filled = 0, l, n;
    for (l = 0; l < n_lanes; l += n) {
        const uint32_t most = p->positions_at_most - filled < n_lanes - l ? p->positions_at_most - filled : n_lanes - l;
        n = lanes[l].in_step < most ? lanes[l].in_step : most;
        find_windows_in_step(p, single, &lanes[l], n, filled);
        filled += n;
        if (filled == p->positions_at_most || l + n == n_lanes) {
            single->kernel(single->args, p->plan, p->rows, p->outs, filled);
            filled = 0;
        }
    }
}
#endif

#ifdef TCN_HAS_FUSED
/* The same of a convolution by Winograd's filtering: of each pair one output. */
static void run_single_winograd(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_winograd_conv *of = single->args;
    const int64_t first = p->steady_frames[single->out_tensor];
    tcn_winograd_alone alone[TCN_SLIDING_POSITIONS];
    const uint32_t most = p->positions_at_most < TCN_SLIDING_POSITIONS ? p->positions_at_most : TCN_SLIDING_POSITIONS;
    uint32_t filled = 0, l, n, i;
    if (n_lanes == 1) {
        find_single_rows(single, lanes, kept_of(single->in, lanes), p->rows);
        alone[0] = winograd_alone(of, first + lanes->steps, p->rows, 1, *single_out(single, lanes));
        of->kernels.alone(of, p->plan, alone, 1);
        return;
    }
    for (l = 0; l < n_lanes; l += n) {
        n = most - filled < n_lanes - l ? most - filled : n_lanes - l;
        n = lanes[l].in_step < n ? lanes[l].in_step : n;
        find_windows_in_step(p, single, &lanes[l], n, filled);
        for (i = 0; i < n; i++, filled++)
            alone[filled] = winograd_alone(of, first + lanes[l + i].steps, p->rows + filled * WINOGRAD_TAPS, 1, p->outs[filled]);
        if (filled == most || l + n == n_lanes) {
            of->kernels.alone(of, p->plan, alone, filled);
            filled = 0;
        }
    }
}
#endif

static void run_single_frame(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
#ifdef RINGS_SIDE_BY_SIDE
    if (n_lanes > 1) {
        run_lanes(p, single, lanes, n_lanes);
        return;
    }
#else
    (void)n_lanes;
#endif
    find_single_rows(single, lanes, kept_of(single->in, lanes), p->rows);
    single->kernel(single->args, p->plan, p->rows, single_out(single, lanes), 1);
}

/* The same in fours; a window that is more than the new frame has a ring. */
static void run_single_fours(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_lane_run *end = lanes + LANES_TOGETHER(n_lanes);
    do {
        find_single_rows(single, lanes, kept_in_ring(single->in, lanes), p->rows);
        single->fours(single->args, p->plan, p->rows, single_out(single, lanes), 1, p->window);
    } while (++lanes < end);
}

/* The same of a window that is the new frame alone. */
static void run_newest_fours(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    const tcn_lane_run *end = lanes + LANES_TOGETHER(n_lanes);
    do {
        const void *const *rows = (const void *const *)(const void *)&lanes->block[single->in_tensor];
        single->fours(single->args, p->plan, rows, single_out(single, lanes), 1, p->window);
    } while (++lanes < end);
}

/* The same where several new frames of the input make one. */
static void run_single_strided(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes)
{
    uint32_t l, i;
    for (l = 0; l < LANES_TOGETHER(n_lanes); l++) {
        const tcn_kept kept = kept_of(single->in, &lanes[l]);
        const uint8_t *fresh = lanes[l].block[single->in_tensor];
        for (i = 0; i < single->taps; i++) {
            int32_t back = single->offsets[i];
            p->rows[i] = back > 0 ? kept_frame(&kept, back) : fresh - back;
        }
        if (single->fours)
            single->fours(single->args, p->plan, p->rows, single_out(single, &lanes[l]), 1, p->window);
        else
            single->kernel(single->args, p->plan, p->rows, single_out(single, &lanes[l]), 1);
    }
}

TCN_RARELY void tcn_prepare_single_convolution(const tcn_program *p, const tcn_node_record *node, tcn_single_frame *single, int32_t *offsets)
{
    const uint16_t *operands = node_operands(p, node);
    const conv_shape a = tcn_shape_of(p, node);
    const tcn_window *window = window_of(p, node);
    int64_t lag = p->steady_frames[operands[node->n_inputs]] * window->stride - window->pad_begin - p->steady_frames[operands[0]];
    uint32_t i;
    if (tcn_moves_along_frequency(p, node) || (p->fresh[operands[0]] != 1 && tcn_is_narrow(p, node)))
        return;
    single->kernel = tcn_window_kernel_of(p, node);
    single->fours = tcn_fours_kernel_of(p, node);
    single->taps = a.taps_t;
    for (i = 0; i < a.taps_t; i++)
        offsets[i] = (int32_t)(lag + (int64_t)i * a.dilation_t);
    if (TCN_NEEDED(RATES) && p->fresh[operands[0]] != 1)
        single->run = run_single_strided;
#ifdef TCN_HAS_FUSED
    else if (tcn_winograd_of(p, node))
        single->run = run_single_winograd;
#endif
    else if (!single->fours)
        single->run = run_single_frame;
    else
        single->run = a.taps_t == 1 && lag == 0 ? run_newest_fours : run_single_fours;
}
