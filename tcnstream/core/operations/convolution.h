/* convolution.h - what the parts of a convolution share: its shape and its kernels. */
#ifndef TCN_CONVOLUTION_H
#define TCN_CONVOLUTION_H

#include "operation.h"

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

/* single_convolution.c: tcn_operation.prepare_single_frame */
void tcn_prepare_single_convolution(const tcn_program *p, const tcn_node_record *node, tcn_single_frame *single, int32_t *offsets);

#endif
