/* rescale.c - float32 to integers, and integers to another scale or to float32. */
#include "operation.h"

TCN_RARELY static int check_rescale(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    ARGUMENTS(rescale_args);
    if (n->kind == KIND_QUANTIZE)
        REQUIRE(n->dtype == TCN_F32 && a->scale > 0.0f, &a->scale, TCN_VALUE);
    else
        REQUIRE((n->dtype == TCN_I16 || n->dtype == TCN_I32) && n->op <= RESCALE_TO_FLOAT, &n->dtype, TCN_VALUE);
    REQUIRE(n->kind == KIND_RESCALE && n->op == RESCALE_TO_FLOAT ? output_of(c)->dtype == TCN_F32
                                                  : output_of(c)->dtype == TCN_I8 || output_of(c)->dtype == TCN_U8 ||
                                                        output_of(c)->dtype == TCN_I16, &n->op, TCN_VALUE);
    REQUIRE(a->zero_in >= -32768 && a->zero_in <= 32767 && a->zero_out >= -32768 && a->zero_out <= 32767, &a->zero_in, TCN_VALUE);
    REQUIRE(shift_ok(a->shift), &a->shift, TCN_VALUE);
    return tcn_check_element(c, &a->elements);
}

static void quantize(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const rescale_args *a = ARGS(rescale_args);
    uint32_t n = frames * a->elements, i, item = p->places[j->out[0]].bytes / a->elements;
    for (i = 0; i < n; i++) {
        float v = ((const float *)from)[i] / a->scale, whole;
        int32_t q;
        if (v != v) {
            q = a->low; /* as the cast of a NaN gives on most processors, and the clip after it */
        } else if (v > 70000.0f) {
            q = a->high;
        } else if (v < -70000.0f) {
            q = a->low;
        } else {
            q = (int32_t)v;
            whole = (float)q;
            if (v - whole >= 0.5f)
                q++;
            else if (whole - v >= 0.5f)
                q--;
            q = clip32(q + a->zero_out, a->low, a->high);
        }
        if (item == 1)
            ((int8_t *)to)[i] = (int8_t)q;
        else
            ((int16_t *)to)[i] = (int16_t)q;
    }
}

static void rescale(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const rescale_args *a = ARGS(rescale_args);
    uint32_t n = frames * a->elements, i, item = p->places[j->out[0]].bytes / a->elements;
    for (i = 0; i < n; i++) {
        int32_t x = sub32(node->dtype == TCN_I16 ? ((const int16_t *)from)[i] : ((const int32_t *)from)[i], a->zero_in), q;
        if (node->op == RESCALE_TO_FLOAT) {
            ((float *)to)[i] = (float)x * a->scale;
            continue;
        }
        q = clip32(add32(multiply_twice(x, a->multiplier, a->shift), a->zero_out), a->low, a->high);
        if (item == 1)
            ((int8_t *)to)[i] = (int8_t)q;
        else
            ((int16_t *)to)[i] = (int16_t)q;
    }
}

static void run_quantize(const tcn_job *j) { tcn_each_run(j, quantize); }
static void run_rescale(const tcn_job *j) { tcn_each_run(j, rescale); }

const tcn_operation tcn_quantize = {check_rescale, run_quantize, NULL};
const tcn_operation tcn_rescale = {check_rescale, run_rescale, NULL};
