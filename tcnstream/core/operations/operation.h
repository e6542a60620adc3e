/* operation.h - what an operation of the core is: how its part of a plan is checked and how it runs.
 *
 * A new operation is its arguments and its kind in tcnstream/engines/native/layout, from which layout.h is
 * generated, a packer in tcnstream/engines/native/pack/, and a file of this folder that defines the tcn_operation.
 * The arithmetic that is worth vectors is in kernels/. */
#ifndef TCN_OPERATION_H
#define TCN_OPERATION_H

#include "../check.h"
#include "../frames.h"
#include "../kernels/fixed.h"

#define ARGS(type) ((const type *)(const void *)(p->plan + node->args_at))
#define IN_PLAN(type, place) ((const type *)(const void *)(p->plan + (place)))

/* A node's arguments as its kernel takes them: the plan's, or settled ones. */
static inline const void *kernel_args(const tcn_program *p, const tcn_node_record *node)
{
#ifdef TCN_HAS_FUSED
    if (p->settled_args)
        return p->settled_args[node - p->nodes];
#endif
    return p->plan + node->args_at;
}

/* One node and the lanes whose new frames it computes. */
typedef struct {
    const tcn_program *p;
    const tcn_node_record *node;
    const tcn_window *window;
    const uint16_t *in, *out; /* tensors */
    const tcn_lane_run *lanes;
    uint32_t n_lanes;
} tcn_job;

typedef struct {
    int (*check)(tcn_checker *c);  /* of the node's arguments: TCN_OK or a code */
    void (*run)(const tcn_job *j); /* all frames from have to goal */
    /* Prepares `single` for pushes of one frame in the steady state; NULL where `run` does them as well. */
    void (*prepare_single_frame)(const tcn_program *p, const tcn_node_record *node, tcn_single_frame *single, int32_t *offsets);
} tcn_operation;

#define DECLARE(kind, operation) extern const tcn_operation operation;
TCN_OPERATIONS(DECLARE)
#undef DECLARE

/* The arguments of CONV and its kin. */
int tcn_check_convolution(tcn_checker *c);

/* Whether a convolution without a frequency axis has many taps over frames of few values; its frames then. */
int tcn_is_narrow(const tcn_program *p, const tcn_node_record *node);
void tcn_run_narrow(const tcn_job *j);

/* NULL for a number that is no operation's. */
const tcn_operation *tcn_operation_of(uint32_t kind);

/* Whether a build for some plans alone (TCN_ONLY) has the kernel on which a node runs. */
int tcn_has_kernel(const tcn_node_record *node);

static inline uint32_t element_bytes(uint32_t dtype)
{
    static const uint8_t bytes[] = TCN_ITEM_BYTES;
    return bytes[dtype];
}

typedef void (*tcn_element_function)(const tcn_job *j, const void *from, void *to, uint32_t frames);

/* `function` on every run of frames that stand side by side. */
void tcn_each_run(const tcn_job *j, tcn_element_function function);

#endif
