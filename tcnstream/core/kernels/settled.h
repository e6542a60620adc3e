/* settled.h - rescaling of int8 by one fused multiply-add, where it is proven to give the reference kernels' bits.
 *
 * A rescaled accumulator steps at no more than 255 places between the least and the greatest output. A float32
 * multiply-add, rounded to the nearest integer, is monotone on each side of zero, and so are the reference kernels' two
 * roundings: where both step at the same places they are one function. When a plan is opened, scales and offsets are
 * tried for each output until all steps agree (tcn_settle); what has none keeps the arithmetic in integers.
 *
 * Kernels that know of it are given these in the place of the plan's arguments. */
#ifndef TCN_SETTLED_H
#define TCN_SETTLED_H

#include "kernels.h"

enum {
    RESCALE_SETTLED = 0x100, /* `rescale` of such arguments: RESCALE_SHORT, and this beside it */
    SHIFT_SETTLED = 0x100,   /* `left_shift` of such arguments */
    SETTLED_PADDING = 16,    /* entries of a column are a multiple of it */
};

/* Output i of an accumulator x is x * scale[i] + (x < 0 ? under[i] : over[i]), to the nearest integer, and one more where
 * x is late[i]. */
typedef struct {
    conv_args args;
    float *scale; /* negative: not settled */
    float *over, *under;
    int32_t *late; /* INT32_MIN: at no x */
    int16_t *pairs; /* NULL, or CONV's weights again: (panels, taps, ceil(channels / 4) * 2, 16 outputs, 2 channels) */
} tcn_settled_conv;

/* x * scale[0] + (y * scale[1] + offset), to the nearest integer. */
typedef struct {
    binary_args args;
    const binary_args *exact; /* the plan's */
    float scale[2], offset;
} tcn_settled_binary;

/* Entries of each column. */
static inline uint32_t tcn_settled_entries(const conv_args *a, int is_depthwise)
{
    const uint32_t outputs = is_depthwise ? a->outputs : panel_total(a->outputs / a->groups) * a->groups;
    return (outputs + SETTLED_PADDING - 1) / SETTLED_PADDING * SETTLED_PADDING;
}

/* Of a convolution's weights in pairs; 0 without a panel of sixteen outputs. What else is in smaller panels stays as it is. */
static inline size_t tcn_settled_pairs(const conv_args *a)
{
    const size_t depth = (a->channels / a->groups + 3) / 4 * 4;
    return panel_width(a->outputs / a->groups) < 16 ? 0 : (size_t)panel_total(a->outputs / a->groups) * a->groups * a->taps_t * a->taps_f * depth;
}

/* What a table of kernels settles by; NULL in those that do not. */
typedef struct {
    void (*conv)(tcn_settled_conv *c, const uint8_t *plan, uint32_t outputs);
    int (*binary)(tcn_settled_binary *b, int op); /* whether it is settled */
    int takes_pairs;
} tcn_settlers;

/* That of AVX-512 proves by the instructions of AVX2, which are its own for eight values of its sixteen. */
extern const tcn_settlers tcn_settlers_avx2, tcn_settlers_avx512;

#endif
