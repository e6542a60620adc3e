/* settle.c - what a host makes once of a plan, beside it: which of its int8 operations may be rescaled as settled.h says,
 * and for fused sums the weights of winograd.h. */
#include "operations/operation.h"
#include "kernels/settled.h"
#include "kernels/winograd.h"

#ifdef TCN_HAS_FUSED

/* What a plan's memory begins with. */
struct tcn_settled {
    const tcn_plan *plan;
    int isa;
    const void *args[]; /* [nodes], of the plan or in this memory */
};

/* Frames of the input, a multiple of steps of most rates and of chunks of 64. */
enum { MANY_FRAMES = 945 << 20 };

typedef struct {
    uint8_t *at; /* NULL: only measures */
    size_t used;
} settled_memory;

static void *take(settled_memory *m, size_t size)
{
    void *made = m->at ? m->at + m->used : NULL;
    m->used += (size + 63) & ~(size_t)63;
    return made;
}

#ifdef TCN_HAS_SETTLED
static const void *settle_conv(settled_memory *m, const tcn_settlers *by, const tcn_plan *plan, const tcn_node_record *node)
{
    const uint8_t *bytes = (const uint8_t *)plan;
    const conv_args *a = (const conv_args *)(const void *)(bytes + node->args_at);
    const int is_depthwise = node->kind == KIND_DEPTHWISE;
    const size_t entries = tcn_settled_entries(a, is_depthwise);
    const size_t words = is_depthwise || !by->takes_pairs ? 0 : tcn_settled_pairs(a);
    tcn_settled_conv *c;
    float *columns;
    int16_t *pairs;
    if (a->rescale != RESCALE_SHORT)
        return a;
    c = take(m, sizeof *c);
    columns = take(m, 4 * entries * sizeof *columns);
    pairs = words ? take(m, words * sizeof *pairs) : NULL;
    if (!c)
        return a;
    memset(columns, 0, 4 * entries * sizeof *columns);
    c->args = *a;
    c->args.rescale = RESCALE_SETTLED;
    c->scale = columns;
    c->over = columns + entries;
    c->under = columns + 2 * entries;
    c->late = (int32_t *)(void *)(columns + 3 * entries);
    c->pairs = pairs;
    by->conv(c, bytes, is_depthwise ? a->outputs : panel_total(a->outputs / a->groups) * a->groups);
    return c;
}

static const void *settle_binary(settled_memory *m, const tcn_settlers *by, const tcn_plan *plan, const tcn_node_record *node)
{
    const binary_args *a = (const binary_args *)(const void *)((const uint8_t *)plan + node->args_at);
    tcn_settled_binary *b = take(m, sizeof *b);
    if (!b)
        return a;
    b->args = *a;
    b->args.left_shift = SHIFT_SETTLED;
    b->exact = a;
    return by->binary(b, node->op) ? (const void *)b : a;
}

static const void *settle_int8(settled_memory *m, const tcn_settlers *by, const tcn_plan *plan, const tcn_node_record *node)
{
    if ((node->op == CONV_PANELS && (node->kind == KIND_CONV || node->kind == KIND_DEPTHWISE)) || node->kind == KIND_TRANSPOSE_CONV)
        return settle_conv(m, by, plan, node);
    if (node->kind == KIND_BINARY)
        return settle_binary(m, by, plan, node);
    return (const uint8_t *)plan + node->args_at;
}
#endif

/* Whether a convolution takes Winograd's filtering: it follows from the layer alone, so that bits follow from the plan. */
static int takes_winograd(const tcn_plan *plan, const tcn_node_record *node)
{
    const conv_args *a = plan_at(plan, node->args_at);
    const tcn_window *window = &tcn_sections_of(plan).windows[node->window];
    return node->dtype == TCN_F32 && node->kind == KIND_CONV && node->op == CONV_PANELS && window->stride == 1 && window->up == 1 &&
           a->taps_t == WINOGRAD_TAPS && a->taps_f == 1 && !a->has_axis && a->groups == 1 && a->dilation_t <= WINOGRAD_DILATION &&
           a->channels >= WINOGRAD_LEAST && a->channels <= WINOGRAD_CHANNELS && a->outputs >= WINOGRAD_LEAST;
}

/* The weights of `shared` and `turned`, each rounded once. */
static void find_sums(const conv_args *a, const float *w, float *sums)
{
    uint32_t done, width, c, i;
    for (done = 0; done < a->outputs; done += width, w += WINOGRAD_TAPS * a->channels * width) {
        width = panel_width(a->outputs - done);
        for (c = 0; c < a->channels; c++, sums += 2 * width)
            for (i = 0; i < width; i++) {
                const float *first = w + c * width + i, *middle = first + a->channels * width, *last = middle + a->channels * width;
                sums[i] = (float)(((double)*first + *last + *middle) / 2);
                sums[width + i] = (float)(((double)*first + *last - *middle) / 2);
            }
    }
}

/* A push of whole blocks ends where pairs do: `made` frames of the output, at a time at which chunks end. */
static uint32_t phase_of(uint32_t dilation, int64_t made) { return (uint32_t)(2 * dilation - made % (2 * dilation)) % (2 * dilation); }

static const void *settle_winograd(settled_memory *m, const tcn_winograd_kernels *kernels, const tcn_plan *plan, const tcn_node_record *node, const int64_t *made)
{
    const conv_args *a = plan_at(plan, node->args_at);
    tcn_winograd_conv *c = take(m, sizeof *c);
    float *sums = take(m, (size_t)panel_total(a->outputs) * a->channels * 2 * sizeof *sums);
    if (!c)
        return a;
    find_sums(a, plan_at(plan, a->weights_at), sums);
    c->args = *a;
    c->args.rescale = RESCALE_WINOGRAD;
    c->kernels = *kernels;
    c->sums = sums;
    c->phase = phase_of(a->dilation_t, made[tcn_sections_of(plan).operands[node->operands + node->n_inputs]]);
    return c;
}

/* How a plan is settled for an instruction set; NULL for what it has not. */
typedef struct {
    int isa;
#ifdef TCN_HAS_SETTLED
    const tcn_settlers *int8;
#endif
    const tcn_winograd_kernels *winograd;
} settling;

static settling settling_for(int isa)
{
    const tcn_kernels *kernels = tcn_kernels_for(isa & ~TCN_FUSED);
    const tcn_fused_kernels *fused = kernels && isa & TCN_FUSED ? tcn_fused_kernels_for(kernels->isa) : NULL;
    settling by;
    memset(&by, 0, sizeof by);
    by.isa = !kernels ? isa : fused ? kernels->isa | TCN_FUSED : kernels->isa;
#ifdef TCN_HAS_SETTLED
    by.int8 = !kernels ? NULL : kernels->isa == TCN_ISA_AVX2 ? &tcn_settlers_avx2 : kernels->isa == TCN_ISA_AVX512 || kernels->isa == TCN_ISA_VNNI ? &tcn_settlers_avx512 : NULL;
#endif
    by.winograd = fused ? fused->winograd : NULL;
    return by;
}

/* Returns the bytes of `settled`; NULL: only measures. 0 where nothing is settled. */
static size_t settle(const tcn_plan *plan, const settling *by, tcn_settled *settled)
{
    const tcn_node_record *nodes = tcn_sections_of(plan).nodes, *node = nodes;
    const uint32_t n = header_of(plan)->n_nodes;
    settled_memory m = {(uint8_t *)settled, 0};
    size_t before;
    int64_t *made;
    take(&m, sizeof *settled + n * sizeof *settled->args);
    made = take(&m, header_of(plan)->n_tensors * sizeof *made);
    before = m.used;
    if (made && by->winograd)
        tcn_count_frames_of(plan, MANY_FRAMES, made);
    for (; node < nodes + n; node++) {
        const void *args = (const uint8_t *)plan + node->args_at;
#ifdef TCN_HAS_SETTLED
        if (by->int8 && node->dtype == TCN_I8)
            args = settle_int8(&m, by->int8, plan, node);
#endif
        if (by->winograd && takes_winograd(plan, node))
            args = settle_winograd(&m, by->winograd, plan, node, made);
        if (settled)
            settled->args[node - nodes] = args;
    }
    return m.used == before ? 0 : m.used;
}

size_t tcn_settled_size(const tcn_plan *plan, int isa)
{
    const settling by = settling_for(isa);
    return settle(plan, &by, NULL);
}

void tcn_settle(tcn_settled *settled, const tcn_plan *plan, int isa)
{
    const settling by = settling_for(isa);
    settled->plan = plan;
    settled->isa = by.isa;
    settle(plan, &by, settled);
}

int tcn_use_settled(const tcn_work *work, const tcn_settled *settled)
{
    tcn_program *p = work->program;
    if (settled->plan != work->plan || settled->isa != work->isa)
        return TCN_PLAN;
    p->settled_args = settled->args;
    tcn_prepare_single_frames(p, p->offsets);
    return TCN_OK;
}

#elif !defined(TCN_ARM_M)

size_t tcn_settled_size(const tcn_plan *plan, int isa)
{
    (void)plan, (void)isa;
    return 0;
}

void tcn_settle(tcn_settled *settled, const tcn_plan *plan, int isa) { (void)settled, (void)plan, (void)isa; }

int tcn_use_settled(const tcn_work *work, const tcn_settled *settled)
{
    (void)work, (void)settled;
    return TCN_PLAN;
}

#endif
