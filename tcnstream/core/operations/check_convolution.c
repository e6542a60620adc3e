/* check_convolution.c - whether a plan's convolutions are sound. */
#include "convolution.h"

TCN_RARELY static int check_axis(tcn_checker *c, const axis_args *x, uint32_t channels, uint32_t item)
{
    REQUIRE(x->taps_f > 0 && x->taps_f <= 1u << 20, &x->taps_f, TCN_VALUE);
    REQUIRE(x->dilation_f <= MOST_FRAMES, &x->dilation_f, TCN_VALUE);
    REQUIRE(x->stride_f > 0 && x->stride_f <= MOST_FRAMES, &x->stride_f, TCN_VALUE);
    REQUIRE(x->pad_f > -MOST_FRAMES && x->pad_f < MOST_FRAMES, &x->pad_f, TCN_VALUE);
    REQUIRE(holds(c, x->edge_f_at, channels, item), &x->edge_f_at, TCN_BOUNDS);
    return TCN_OK;
}

/* A convolution that is packed for a family of processors. */
TCN_RARELY static int check_fours(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    int helium = c->h->family == FAMILY_HELIUM, depthwise = n->kind == KIND_DEPTHWISE, wide = n->dtype == TCN_I16;
    uint32_t block = !helium ? 4 : wide ? 8 : 16, at_once = depthwise ? block : 4, i, taps_t, f_in = 1, f_out = 1;
    uint64_t outputs, weights;
    const int8_t *shift;
    int error;
    ARGUMENTS(fours_args);
    REQUIRE(n->op == CONV_FOURS && c->h->family != FAMILY_PORTABLE && output_of(c)->dtype == n->dtype, &n->op, TCN_VALUE);
    REQUIRE(n->dtype == TCN_I8 || (wide && !depthwise), &n->dtype, TCN_VALUE);
    REQUIRE(c->window->up == 1 && n->edge == EDGE_FILL, &c->window->up, TCN_VALUE);
    REQUIRE(a->taps > 0 && a->taps <= c->h->max_taps, &a->taps, TCN_BOUNDS);
    REQUIRE(a->dilation_t > 0, &a->dilation_t, TCN_VALUE);
    REQUIRE(a->channels > 0 && a->outputs > 0, &a->channels, TCN_VALUE);
    REQUIRE(!depthwise || a->channels == a->outputs, &a->outputs, TCN_VALUE);
    REQUIRE((uint64_t)a->taps * a->channels <= c->h->bytes, &a->taps, TCN_BOUNDS);
    taps_t = a->taps;
    if (a->has_axis) {
        const axis_args *x = (const axis_args *)(const void *)(a + 1);
        REQUIRE(TCN_NEEDED(PLACES), &a->has_axis, TCN_UNKNOWN);
        REQUIRE(ARGUMENTS_AND(sizeof *x), &a->has_axis, TCN_BOUNDS);
        error = check_axis(c, x, a->channels, wide ? 2 : 1);
        if (error)
            return error;
        REQUIRE(a->taps % x->taps_f == 0, &x->taps_f, TCN_VALUE);
        taps_t /= x->taps_f;
        f_in = x->f_in;
        f_out = x->f_out;
    }
    REQUIRE((uint64_t)f_in * a->channels == elements_of(input_of(c, 0)), &a->channels, TCN_VALUE);
    REQUIRE((uint64_t)f_out * a->outputs == elements_of(output_of(c)), &a->outputs, TCN_VALUE);
    REQUIRE((int64_t)(taps_t - 1) * a->dilation_t + 1 <= c->window->extent, &c->window->extent, TCN_VALUE);
    outputs = (uint64_t)(a->outputs + at_once - 1) / at_once * at_once;
    weights = outputs * (depthwise ? a->taps : ((uint32_t)a->taps * a->channels + 3) / 4 * 4) + tcn_columns_bytes((uint32_t)outputs);
    /* the last block is read as a whole one, too */
    REQUIRE(a->weights_at % 16 == 0 && holds(c, a->weights_at, weights + block, 1), &a->weights_at, TCN_BOUNDS);
    shift = (const int8_t *)(c->plan + a->weights_at + 8 * outputs);
    for (i = 0; i < outputs; i++)
        REQUIRE(helium ? shift[i] <= 0 && shift[i] >= -31 : shift[i] >= 0 && shift[i] <= 31, shift + i, TCN_VALUE);
    return TCN_OK;
}

TCN_RARELY static int check_panels(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    const tcn_frame *x = input_of(c, 0), *y = output_of(c);
    uint64_t taps, per_output, weights, sets = n->kind == KIND_RESAMPLE ? (uint64_t)c->window->up : 1, item = n->dtype == TCN_F32 ? 4 : n->dtype == TCN_I8 ? 1 : 2;
    uint32_t each, f_in = 1, f_out = 1;
    int error, depthwise = n->kind == KIND_DEPTHWISE || (n->kind == KIND_RESAMPLE && n->op == RESAMPLE_DEPTHWISE);
    ARGUMENTS(conv_args);
    REQUIRE(n->dtype <= TCN_I16 && y->dtype == n->dtype, &n->dtype, TCN_VALUE);
    REQUIRE(a->taps_t > 0 && a->taps_f > 0 && a->taps_t <= 1u << 20 && a->taps_f <= 1u << 20, &a->taps_t, TCN_VALUE);
    taps = (uint64_t)a->taps_t * a->taps_f;
    REQUIRE(taps <= c->h->max_taps, &a->taps_t, TCN_BOUNDS);
    REQUIRE(a->dilation_t > 0 && a->dilation_t <= MOST_FRAMES, &a->dilation_t, TCN_VALUE);
    REQUIRE(a->channels > 0 && a->channels <= MOST_ELEMENTS && a->outputs > 0 && a->outputs <= MOST_ELEMENTS, &a->channels, TCN_VALUE);
    REQUIRE(a->groups > 0 && a->channels % a->groups == 0 && a->outputs % a->groups == 0, &a->groups, TCN_VALUE);
    if (a->has_axis) {
        const axis_args *axis = (const axis_args *)(const void *)(a + 1);
        REQUIRE(TCN_NEEDED(PLACES) || n->kind == KIND_TRANSPOSE_CONV, &a->has_axis, TCN_UNKNOWN);
        REQUIRE(ARGUMENTS_AND(sizeof *axis), &a->has_axis, TCN_BOUNDS);
        error = check_axis(c, axis, a->channels, (uint32_t)item);
        if (error)
            return error;
        f_in = axis->f_in;
        f_out = axis->f_out;
    }
    REQUIRE(a->taps_f == (a->has_axis ? ((const axis_args *)(const void *)(a + 1))->taps_f : 1), &a->taps_f, TCN_VALUE);
    REQUIRE((uint64_t)f_in * a->channels == elements_of(x), &a->channels, TCN_VALUE);
    REQUIRE((uint64_t)f_out * a->outputs == elements_of(y), &a->outputs, TCN_VALUE);
    if (n->kind == KIND_TRANSPOSE_CONV) {
        REQUIRE(c->window->stride == 1 && a->has_axis && n->edge == EDGE_FILL, &a->has_axis, TCN_VALUE);
        /* The taps read what the Window says, which is what the rings keep. */
        REQUIRE(a->taps_t <= (uint32_t)c->window->extent && c->window->pad_begin < (int64_t)a->taps_t, &a->taps_t, TCN_VALUE);
    } else if (n->kind == KIND_RESAMPLE) {
        REQUIRE(n->op <= RESAMPLE_DEPTHWISE && n->dtype == TCN_F32 && (n->edge == EDGE_FILL || n->edge == EDGE_HOLD), &n->op, TCN_VALUE);
        REQUIRE(a->dilation_t == 1 && !a->has_axis && a->groups == (depthwise ? a->channels : 1), &a->groups, TCN_VALUE);
        REQUIRE(a->taps_t == ((uint32_t)c->window->extent - 1) / (uint32_t)c->window->up + 1, &c->window->extent, TCN_VALUE);
    } else {
        REQUIRE(c->window->up == 1 && n->edge == EDGE_FILL, &c->window->up, TCN_VALUE);
        REQUIRE((int64_t)(a->taps_t - 1) * a->dilation_t + 1 <= c->window->extent, &c->window->extent, TCN_VALUE);
    }
    if (depthwise) {
        REQUIRE(a->outputs % a->channels == 0, &a->outputs, TCN_VALUE);
        weights = (uint64_t)a->outputs * (n->dtype == TCN_F32 ? 4 : 1);
        per_output = a->outputs;
    } else {
        uint64_t depth = a->channels / a->groups;
        each = panel_total(a->outputs / a->groups);
        if (n->dtype != TCN_F32)
            depth = (depth + 3) / 4;
        weights = depth * each * a->groups * 4;
        per_output = (uint64_t)each * a->groups;
    }
    REQUIRE(weights <= c->h->bytes, &a->weights_at, TCN_BOUNDS); /* or the products below may overflow */
    weights *= taps;
    if (n->kind == KIND_RESAMPLE)
        weights = (weights + 63) & ~(uint64_t)63;
    REQUIRE(a->weights_at % (c->h->family == FAMILY_PORTABLE ? 64 : 16) == 0 && holds(c, a->weights_at, sets * weights, 1), &a->weights_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->bias_at, per_output, n->dtype == TCN_I16 ? 8 : 4), &a->bias_at, TCN_BOUNDS);
    if (n->dtype == TCN_F32) {
        REQUIRE(a->rescale == RESCALE_FLOAT, &a->rescale, TCN_VALUE);
        return TCN_OK;
    }
    if (n->dtype == TCN_I8 && c->h->family == FAMILY_PORTABLE)
        REQUIRE(holds(c, a->bias_u8_at, per_output, 4), &a->bias_u8_at, TCN_BOUNDS);
    REQUIRE(a->rescale == RESCALE_EXACT || a->rescale == RESCALE_TWICE || a->rescale == (n->dtype == TCN_I8 ? RESCALE_SHORT : RESCALE_WIDE), &a->rescale, TCN_VALUE);
    REQUIRE(holds(c, a->multiplier_at, per_output, a->rescale == RESCALE_EXACT ? 8 : 4), &a->multiplier_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->shift_at, per_output, 4), &a->shift_at, TCN_BOUNDS);
    return a->rescale == RESCALE_EXACT ? tcn_check_shifts(c, a->shift_at, (uint32_t)per_output, -2000, 2000)
           : a->rescale == RESCALE_WIDE ? tcn_check_shifts(c, a->shift_at, (uint32_t)per_output, -31, 14)
           : a->rescale == RESCALE_SHORT ? tcn_check_shifts(c, a->shift_at, (uint32_t)per_output, -31, 0)
                                        : tcn_check_shifts(c, a->shift_at, (uint32_t)per_output, -31, 30);
}

TCN_RARELY int tcn_check_convolution(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    return (n->kind == KIND_CONV || n->kind == KIND_DEPTHWISE) && n->op != CONV_PANELS ? check_fours(c) : check_panels(c);
}

