/* winograd.h - float32 convolutions with three taps by four products for two outputs, where six are the definition.
 *
 * With weights g0, g1, g2 and dilation d the outputs at t and t + d read the frames x0, x1, x2, x3 at t - 2d, t - d, t, t + d
 * (Winograd's minimal filtering, F(2, 3)):
 *
 *     shared = (x1 + x2) (g0 + g1 + g2) / 2        first  = shared + turned + (x0 - x2) g0
 *     turned = (x2 - x1) (g0 - g1 + g2) / 2        second = shared - turned + (x3 - x1) g2
 *
 * An output without its partner is summed by the same formula in the same order, of three products: it has the same bits as
 * beside its partner. Which of the two a frame is follows from its number in the stream alone, so that bits do not depend on
 * how a stream is cut. Sums differ from the definition's in their last bits: only who takes fused sums has them. */
#ifndef TCN_WINOGRAD_H
#define TCN_WINOGRAD_H

#include "kernels.h"

#ifdef TCN_HAS_FUSED

enum {
    RESCALE_WINOGRAD = 0x101, /* `rescale` of such arguments: RESCALE_FLOAT, and this beside it */
    WINOGRAD_TAPS = 3,
    WINOGRAD_LEAST = 32,     /* channels and outputs from which on fewer products outweigh what is done beside them */
    WINOGRAD_CHANNELS = 128, /* at most, for the cache */
    WINOGRAD_DILATION = 32,  /* at most: beyond it no block of 64 frames has both outputs */
};

/* Two outputs and the frames that they read. */
struct tcn_winograd_pair {
    const float *x[WINOGRAD_TAPS + 1];
    float *out[2];
};

/* One of a pair's outputs, `side` 0 or 1, and the frames that it reads. */
struct tcn_winograd_alone {
    const float *x[WINOGRAD_TAPS];
    float *out;
    size_t side;
};

/* Kernels for such outputs, any number of each. */
struct tcn_winograd_kernels {
    void (*pairs)(const tcn_winograd_conv *of, const uint8_t *plan, const tcn_winograd_pair *pairs, uint32_t n);
    void (*alone)(const tcn_winograd_conv *of, const uint8_t *plan, const tcn_winograd_alone *alone, uint32_t n);
};

struct tcn_winograd_conv {
    conv_args args;
    tcn_winograd_kernels kernels;
    const float *sums; /* (panels, channels, 2, outputs): of weights, as `shared` and `turned` take them */
    uint32_t phase;    /* frame f is the first of its pair where (f + phase) / dilation is even */
};

#endif
#endif
