/* settle.c - proves once for a plan which of its int8 operations a host may rescale as settled.h says. */
#include "operations/operation.h"
#include "kernels/settled.h"

#ifdef TCN_HAS_SETTLED

/* What a plan's memory begins with. */
struct tcn_settled {
    const tcn_plan *plan;
    int isa;
    const void *args[]; /* [nodes], of the plan or in this memory */
};

static const tcn_settlers *settlers_of(int isa)
{
    const tcn_kernels *kernels = tcn_kernels_for(isa & ~TCN_FUSED);
    return kernels && kernels->isa == TCN_ISA_AVX2 ? &tcn_settlers_avx2 : NULL;
}

typedef struct {
    uint8_t *at; /* NULL: only measures */
    size_t used;
} settled_memory;

static void *take(settled_memory *m, size_t size)
{
    void *made = m->at ? m->at + m->used : NULL;
    m->used += (size + 31) & ~(size_t)31;
    return made;
}

static const void *settle_conv(settled_memory *m, const tcn_settlers *by, const tcn_plan *plan, const tcn_node_record *node)
{
    const uint8_t *bytes = (const uint8_t *)plan;
    const conv_args *a = (const conv_args *)(const void *)(bytes + node->args_at);
    const int is_depthwise = node->kind == KIND_DEPTHWISE;
    const size_t entries = tcn_settled_entries(a, is_depthwise);
    const size_t words = is_depthwise ? 0 : tcn_settled_pairs(a);
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

static size_t settle(const tcn_plan *plan, const tcn_settlers *by, tcn_settled *settled)
{
    const tcn_node_record *nodes = tcn_sections_of(plan).nodes, *node = nodes;
    const uint32_t n = header_of(plan)->n_nodes;
    settled_memory m = {(uint8_t *)settled, 0};
    take(&m, sizeof *settled + n * sizeof *settled->args);
    for (; node < nodes + n; node++) {
        const void *args = (const uint8_t *)plan + node->args_at;
        if (node->dtype == TCN_I8 && ((node->op == CONV_PANELS && (node->kind == KIND_CONV || node->kind == KIND_DEPTHWISE)) || node->kind == KIND_TRANSPOSE_CONV))
            args = settle_conv(&m, by, plan, node);
        else if (node->dtype == TCN_I8 && node->kind == KIND_BINARY)
            args = settle_binary(&m, by, plan, node);
        if (settled)
            settled->args[node - nodes] = args;
    }
    return m.used;
}

size_t tcn_settled_size(const tcn_plan *plan, int isa)
{
    const tcn_settlers *by = settlers_of(isa);
    return by ? settle(plan, by, NULL) : 0;
}

void tcn_settle(tcn_settled *settled, const tcn_plan *plan, int isa)
{
    settled->plan = plan;
    settled->isa = TCN_ISA_AVX2;
    settle(plan, settlers_of(isa), settled);
}

int tcn_use_settled(const tcn_work *work, const tcn_settled *settled)
{
    tcn_program *p = work->program;
    uint32_t k;
    if (settled->plan != work->plan || settled->isa != (work->isa & ~TCN_FUSED))
        return TCN_PLAN;
    p->settled_args = settled->args;
    for (k = 0; k < p->header->n_nodes; k++)
        p->single_frames[k].args = settled->args[k];
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
