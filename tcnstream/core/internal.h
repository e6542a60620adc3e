/* internal.h - what the parts of the core share: the laid-out scratch of a tcn_work, and its lanes. */
#ifndef TCN_INTERNAL_H
#define TCN_INTERNAL_H

#include "kernels/bytes.h"

#include "kernels/kernels.h"
#include "ring.h"

/* What runs once for a plan is compiled for size. */
#ifdef __GNUC__
#define TCN_RARELY __attribute__((cold))
#else
#define TCN_RARELY
#endif

#define TCN_STATE_MAGIC 0x534E4354u /* "TCNS" */

struct tcn_state {
    uint32_t magic;
    uint32_t ended;
    int64_t frames; /* pushed since the start */
    const tcn_plan *plan;
#ifdef RINGS_SIDE_BY_SIDE
    uint8_t *beside;     /* NULL, or where the rings of several lanes stand side by side */
    uint32_t lanes, lane; /* so many there, and which of them this is; 1 and 0 */
#endif
    /* then: uint32_t ring_next[n_rings]; carries; rings, but for those that stand beside others */
};

/* LANES_TOGETHER go through a node of a step before any goes on: a host reads weights once for all of them, a
 * microcontroller takes one lane after the other. */
#ifdef RINGS_SIDE_BY_SIDE
#define LANES_BESIDE(it) ((it)->lanes)
#define LANE_BESIDE(it) ((it)->lane)
#define LANES_TOGETHER(lanes) (lanes)
#else
#define LANES_BESIDE(it) 1u
#define LANE_BESIDE(it) 0u
#define LANES_TOGETHER(lanes) ((void)(lanes), 1u)
#endif

/* Where a tensor's frames are while a block is computed: new ones in `block`, older ones in the ring. */
typedef struct {
    uint32_t bytes;  /* of a frame */
    uint32_t ring_frames;
    uint32_t ring;   /* number, TCN_NONE without one */
    uint32_t ring_at;
    uint32_t capacity; /* new frames that the block holds */
    uint8_t *base;     /* block of lane 0; NULL for the model's inputs */
    size_t pitch;      /* from lane to lane; on a host a frame's bytes where the block holds one of each */
} tcn_place;

typedef struct {
    tcn_state *state;
    uint32_t *ring_next; /* [rings] tcn_ring.next of each */
    uint8_t *carries, *rings;
#ifdef RINGS_SIDE_BY_SIDE
    uint32_t lanes, lane;  /* as in the state */
    uint32_t in_step;      /* lanes from this one on that stand side by side and are at the same place of every ring; in a step of the steady state */
#endif
    const uint8_t **block; /* [tensors] new frames of each; of all but inputs always in the same place */
    int64_t *have, *goal;  /* [tensors] frames before and after the block */
    int64_t *begin, *end;  /* [tensors] frames that are computed now: `have` to `goal`, but one after the other in a loop */
    int64_t *signal_frames; /* [tensors] frames of the whole signal, once that is known; NULL while it is open */
    int64_t steps;         /* since the steady state began */
    uint32_t index;        /* which of the scratch's lanes */
    uint32_t number;       /* in the caller's array */
} tcn_lane_run;

typedef struct tcn_program tcn_program;

/* How a node computes its one frame of a step in the steady state, where all but the places in the rings is known beforehand. */
typedef struct tcn_single_frame tcn_single_frame;
struct tcn_single_frame {
    void (*run)(const tcn_program *p, const tcn_single_frame *single, const tcn_lane_run *lanes, uint32_t n_lanes);
    tcn_window_kernel kernel;   /* of a convolution, in panels or in fours */
    tcn_fours_kernel fours;
    const void *args;
    const tcn_place *in;        /* of the first operand */
    uint32_t in_tensor, out_tensor; /* the first of each */
    uint32_t taps;              /* or operands */
    const int32_t *offsets;     /* [taps] bytes from a frame that is read to the first new one of the input; then 0 */
};

/* A ring that takes in new frames once a node is done (`after`), the last one that reads what they replace. */
typedef struct tcn_commit tcn_commit;
struct tcn_commit {
    const tcn_single_frame *after; /* the node's; NULL behind the last of a program's commits */
    void (*take_in)(const tcn_lane_run *lane, const tcn_commit *c); /* in a step of the steady state */
    uint32_t tensor;
    uint32_t fresh;             /* new frames of the tensor in a step of the steady state */
    uint32_t ring, ring_at, ring_frames, bytes; /* as its tcn_place has them */
};

struct tcn_program {
    const uint8_t *plan;
    const tcn_header *header;
    const tcn_node_record *nodes;
    const tcn_description *ports; /* inputs, then outputs */
    uint32_t carries_at, rings_at; /* in a state */
    const tcn_kernels *kernels;
#ifdef TCN_HAS_FUSED
    tcn_kernels with_fused; /* what `kernels` is where fused ones take the place of some */
#endif
#ifdef TCN_HAS_FUSED
    const void *const *settled_args; /* NULL, or [nodes] in the place of the plan's */
#endif
    uint32_t table; /* entries of rows */
    uint32_t positions;
    uint32_t positions_at_most; /* of a node with the most taps */
    tcn_place *places;
    tcn_commit *commits;    /* [rings + 1] in the order of their nodes */
    const void **rows;
    void **outs;
    void *window;           /* for the window of a convolution in fours */
    uint8_t *buffers;       /* two, each for one frame of any tensor: operands that are spread over the frame */
    uint32_t buffer_bytes;
    /* The steady state: every step of input frames makes as many frames of a tensor as the one before, and nothing reads
     * before the start or beyond what a block holds. */
    uint32_t step;          /* input frames, of which every tensor makes whole frames */
    uint32_t *fresh;        /* [tensors] new frames in a step */
    int64_t steady_from;    /* input frames from which on it holds, a multiple of the step; INT64_MAX: never */
    int64_t *steady_frames; /* [tensors] frames that there are then */
    tcn_single_frame *single_frames; /* [nodes] */
    int32_t *offsets;       /* theirs */
    const uint16_t *operands;
    const tcn_window *windows;
    const tcn_frame *frames;
    const tcn_tensor_record *tensors;
    const tcn_ring_record *rings;
    int has_loops;
    int needs_counts;       /* whether some node needs the counts of frames in a push of one step */
    int64_t *signal_frames; /* [tensors] for the lane that is flushed */
    tcn_lane_run *lanes;
};

/* Where a program stands, with what a call would otherwise need of a stack, which may be small. */
typedef struct {
    tcn_program program;
    tcn_lane alone; /* what tcn_push makes of its arguments; tcn_flush keeps counts there */
} tcn_opened;

/* Whether nodes run that take their frames one after the other. */
static inline int has_loops(const tcn_program *p) { return TCN_NEEDED(LOOPS) && p->has_loops; }

/* Of scratch memory. A plan's C header says how much that is, and holds on every host of 64 bits, whatever its kernels. */
enum { PROGRAM_BYTES = sizeof(void *) == 8 ? 896 : sizeof(tcn_opened) };
typedef char tcn_program_fits[sizeof(tcn_opened) <= PROGRAM_BYTES ? 1 : -1];

static inline const tcn_header *header_of(const tcn_plan *plan) { return (const tcn_header *)(const void *)plan; }

/* Sections of records follow one another. */
static inline const tcn_frame *frames_of(const tcn_plan *plan) { return (const tcn_frame *)(const void *)(header_of(plan) + 1); }

static inline const tcn_tensor_record *tensors_of(const tcn_plan *plan)
{
    return (const tcn_tensor_record *)(const void *)(frames_of(plan) + header_of(plan)->n_frames);
}

static inline const tcn_ring_record *ring_records_of(const tcn_plan *plan)
{
    return (const tcn_ring_record *)(const void *)(tensors_of(plan) + header_of(plan)->n_tensors);
}

/* Those behind them. */
typedef struct {
    const tcn_window *windows;
    const tcn_node_record *nodes;
    const tcn_description *ports;
    const uint16_t *operands;
} tcn_sections;

tcn_sections tcn_sections_of(const tcn_plan *plan);

static inline const void *plan_at(const void *plan, uint32_t at) { return (const uint8_t *)plan + at; }

static inline const tcn_frame *frame_of(const tcn_program *p, uint32_t t) { return &p->frames[p->tensors[t].frame]; }
static inline const uint16_t *node_operands(const tcn_program *p, const tcn_node_record *n) { return p->operands + n->operands; }
static inline const tcn_window *window_of(const tcn_program *p, const tcn_node_record *n) { return &p->windows[n->window]; }

static inline uint32_t carries_at(const tcn_header *h)
{
    return ((uint32_t)sizeof(struct tcn_state) + 4 * h->n_rings + 7u) & ~7u;
}

/* On a line of the cache, as the frames of rings that are whole lines long are then, too. */
static inline uint32_t rings_at(const tcn_header *h) { return (carries_at(h) + h->carry_bytes + 63u) & ~63u; }

/* The rings of a state, of which tensor t's begins at ring_at * lanes + bytes * lane. */
static inline uint8_t *rings_in(const tcn_state *state, uint32_t at)
{
#ifdef RINGS_SIDE_BY_SIDE
    if (state->beside)
        return state->beside;
#endif
    return (uint8_t *)(uintptr_t)state + at;
}

static inline uint8_t *rings_of(const tcn_header *h, const tcn_state *state) { return rings_in(state, rings_at(h)); }

/* Of a frame of a ring. */
static inline uint32_t ring_bytes(const tcn_plan *plan, const tcn_ring_record *r)
{
    return frames_of(plan)[tensors_of(plan)[r->tensor].frame].bytes;
}

static inline tcn_ring ring_among(uint8_t *rings, uint32_t lanes, uint32_t lane, uint32_t at, uint32_t capacity, uint32_t bytes, uint32_t next)
{
#ifdef RINGS_SIDE_BY_SIDE
    return (tcn_ring){rings + (size_t)at * lanes + (size_t)bytes * lane, capacity, bytes, next, bytes * lanes};
#else
    (void)lanes, (void)lane;
    return (tcn_ring){rings + at, capacity, bytes, next};
#endif
}

static inline void enter_lane(const tcn_program *p, tcn_lane_run *lane, tcn_state *state)
{
    lane->state = state;
    lane->ring_next = (uint32_t *)(void *)((uint8_t *)state + sizeof *state);
    lane->carries = (uint8_t *)state + p->carries_at;
    lane->rings = rings_in(state, p->rings_at);
#ifdef RINGS_SIDE_BY_SIDE
    lane->lanes = state->lanes;
    lane->lane = state->lane;
#endif
    lane->signal_frames = NULL;
}

/* The model's input frames by which a node that made all of a signal trails the node before it: its window and its
 * padding, from the rate of the node's input, rounded up. */
static inline int64_t node_tail(const tcn_window *n, const tcn_frame *in)
{
    int64_t begin = n->pad_begin < 0 ? -(int64_t)n->pad_begin : n->pad_begin;
    int64_t end = n->pad_end == TCN_SAME ? 0 : n->pad_end < 0 ? -(int64_t)n->pad_end : n->pad_end;
    int64_t frames = (int64_t)n->extent + begin + end + n->stride + 2;
    if (!TCN_NEEDED(RATES))
        return frames + 1;
    frames = (frames - 2) / n->up + 2;
    return (frames * in->down + in->up - 1) / in->up + 1;
}

/* Frames of every tensor that n input frames allow, while more may come and when the signal is over. */
void tcn_count_frames(const tcn_program *p, int64_t n, int64_t *count);
void tcn_count_at_end(const tcn_program *p, int64_t n, int64_t *count);

#ifdef TCN_HAS_FUSED
/* While more may come, of a plan that no program has been made of. */
void tcn_count_frames_of(const tcn_plan *plan, int64_t n, int64_t *count);
#endif

/* Finds the steady state, in which counting is a sum. */
void tcn_find_steady_state(tcn_program *p, uint32_t block);

/* How often `frames` holds a step, and whether nothing is left. */
static inline int whole_steps(const tcn_program *p, int64_t frames, int64_t *steps)
{
    uint32_t low = (uint32_t)frames;
    *steps = !TCN_NEEDED(RATES) || p->step == 1 ? frames : frames == low ? low / p->step : frames / p->step;
    return !TCN_NEEDED(RATES) || p->step == 1 || *steps * p->step == frames;
}

/* Computes the new frames of node `k` in all lanes. */
void tcn_run_node(const tcn_program *p, uint32_t k, const tcn_lane_run *lanes, uint32_t n_lanes);

/* How each ring takes in the frames of a step, and each node runs in it; the steady state must be known. */
void tcn_prepare_commits(tcn_program *p);
void tcn_prepare_single_frames(tcn_program *p, int32_t *offsets);

/* Brings the running sums of policies to what the rings hold. */
void tcn_rebuild_carries(const tcn_program *p, tcn_lane_run *lane);

const tcn_kernels *tcn_kernels_for(int isa);

/* NULL where an instruction set has none. */
const tcn_fused_kernels *tcn_fused_kernels_for(int isa);

#endif
