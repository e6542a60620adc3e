/* convolution.h - what the parts of a convolution share: its shape and its kernels. */
#ifndef TCN_CONVOLUTION_H
#define TCN_CONVOLUTION_H

#include "operation.h"
#include "../kernels/winograd.h"

/* How a window moves along time and frequency, of weights in panels or in fours. */
typedef struct {
    uint32_t taps_t, taps_f, dilation_t, dilation_f, stride_f;
    int32_t pad_f;
    uint32_t f_in, f_out, channels, outputs;
    uint32_t edge_f_at;
} conv_shape;

conv_shape tcn_shape_of(const tcn_program *p, const tcn_node_record *node);

/* Whether a frame has several positions. */
int tcn_moves_along_frequency(const tcn_program *p, const tcn_node_record *node);

tcn_window_kernel tcn_window_kernel_of(const tcn_program *p, const tcn_node_record *node);
/* NULL where weights stand in panels. */
tcn_fours_kernel tcn_fours_kernel_of(const tcn_program *p, const tcn_node_record *node);

/* rows[i * taps] for `count` frames from `frame` on, `step` apart, of a node's input: where each of them stands. */
void tcn_find_rows(const tcn_job *j, const tcn_lane_run *lane, int64_t frame, int64_t step, int64_t count, const void **rows, uint32_t taps);

#ifdef TCN_HAS_FUSED
/* winograd.c; NULL for a node that runs as its definition says. */
const tcn_winograd_conv *tcn_winograd_of(const tcn_program *p, const tcn_node_record *node);
void tcn_run_winograd(const tcn_job *j, const tcn_winograd_conv *of);

/* Which of its pair's two frame `f` is. */
static inline size_t winograd_side(const tcn_winograd_conv *of, int64_t f)
{
    const uint64_t at = (uint64_t)f + of->phase;
    const uint32_t low = (uint32_t)at;
    return at == low ? low / of->args.dilation_t & 1 : at / of->args.dilation_t & 1;
}

/* Output `f` by itself, whose rows are `apart`. */
static inline tcn_winograd_alone winograd_alone(const tcn_winograd_conv *of, int64_t f, const void *const *rows, size_t apart, void *out)
{
    return (tcn_winograd_alone){{rows[0], rows[apart], rows[2 * apart]}, out, winograd_side(of, f)};
}
#endif

/* single_convolution.c: tcn_operation.prepare_single_frame */
void tcn_prepare_single_convolution(const tcn_program *p, const tcn_node_record *node, tcn_single_frame *single, int32_t *offsets);

#endif
