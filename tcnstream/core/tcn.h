/* tcn.h - runs a streaming program ("plan") of a temporal convolutional network, frame by frame.
 *
 * C99; no malloc, no stdio, no globals. Three kinds of memory, all of them the caller's:
 *
 *   plan     const bytes, 16-aligned, used in place (flash or a mapped file)     any number of streams
 *   state    tcn_state_size(plan) bytes, 8-aligned: all that a stream remembers  one per stream
 *   scratch  tcn_scratch_size(plan, block, lanes) bytes, 64-aligned              one per thread
 *
 *     #include "my_plan.h"                              // `tcnstream export MODEL my_plan.h --to c-header`
 *
 *     int run(void *state_memory, void *scratch, const float *x, int64_t n, float *y, int64_t most)
 *     {
 *         const void *bytes = my_plan, *in[] = {x};
 *         void *out[] = {y};
 *         const tcn_plan *plan = bytes;
 *         tcn_state *state = state_memory;
 *         tcn_work work;
 *         size_t where;
 *         int64_t room[] = {most}, made[1];
 *         if (tcn_check(bytes, sizeof my_plan, &where) ||                 // trusts nothing; once, before all else
 *             tcn_prepare(&work, scratch, tcn_scratch_size(plan, 64, 1), plan, 64, 1, TCN_ISA_BEST) ||
 *             tcn_init(state, tcn_state_size(plan), plan) ||
 *             tcn_push(&work, state, in, n, out, room, made))             // every frame that n frames make possible
 *             return -1;
 *         out[0] = y + made[0];
 *         room[0] -= made[0];
 *         return tcn_flush(&work, state, out, room, made);                // the signal is over: the tail
 *     }
 *
 * Frames are dense rows in the tensor's own type, oldest first: in[i] is (n, frame of input i), out[o] is (made[o],
 * frame of output o). The concatenation of all frames that push and flush return is the model's offline answer, both
 * edges included, whatever the chunks. To build it, compile the .c files of this folder, operations/ and kernels/;
 * binding/ is for Python alone. What stands in a plan is described in layout.h.
 *
 * A function that returns int returns 0 or a code of codes.h, and then has changed nothing. Two threads must not use one
 * state or one scratch at the same time. */
#ifndef TCN_H
#define TCN_H

#include <stddef.h>
#include <stdint.h>

#include "codes.h" /* error codes with their texts, element types, TCN_MAX_PORTS */

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tcn_plan tcn_plan; /* the bytes of a plan that tcn_check found sound */
typedef struct tcn_state tcn_state;

/* What a plan says about itself ---------------------------------------------------------------------------------- */

typedef struct {
    const char *name;        /* "" where the plan has no descriptions, as those for a family of processors */
    uint8_t dtype;           /* TCN_F32 ... */
    uint8_t rank;
    uint32_t shape[4];       /* of a frame; one axis where there is no description */
    uint32_t frame_elements;
    uint32_t frame_bytes;
    uint32_t ring_frames;    /* that the state remembers */
    float scale;             /* real = scale * (q - zero_point); 0 if not quantized */
    int32_t zero_point;
} tcn_tensor_facts;

typedef struct {
    const char *name;        /* the operation's label in the model file; "" without descriptions, as the next */
    const char *kind;        /* its name in the schema */
    int32_t index;           /* its position in the file; -1 without descriptions */
    uint32_t output;         /* the first tensor that it makes */
} tcn_node_facts;

/* 0 if `size` bytes at `plan` are a sound plan; else a code, and *position is the byte that is wrong. */
int tcn_check(const void *plan, size_t size, size_t *position);

uint32_t tcn_inputs(const tcn_plan *plan);
uint32_t tcn_outputs(const tcn_plan *plan);
uint32_t tcn_tensors(const tcn_plan *plan);
uint32_t tcn_nodes(const tcn_plan *plan);
uint32_t tcn_input_tensor(const tcn_plan *plan, uint32_t input);
uint32_t tcn_output_tensor(const tcn_plan *plan, uint32_t output);
void tcn_describe_tensor(const tcn_plan *plan, uint32_t tensor, tcn_tensor_facts *facts);
void tcn_describe_node(const tcn_plan *plan, uint32_t node, tcn_node_facts *facts);
const char *tcn_identity(const tcn_plan *plan); /* the model and its policy */

/* The processors for which a plan is packed, one that tcn_check refused with TCN_FAMILY as well, and those of this core:
 * "portable", "cortex-m-dsp" or "cortex-m-helium". Every core runs portable plans. */
const char *tcn_family(const tcn_plan *plan);
const char *tcn_own_family(void);

/* One thread's means to compute ---------------------------------------------------------------------------------- */

/* Kernels are compiled for several instruction sets; tcn_prepare takes the best one that runs here. BASE is what the
 * compiler was told (SSE2, NEON, DSP, Helium; with these two there is no PLAIN), AVX2 includes FMA, AVX512 is F, BW, DQ and VL, DOT is aarch64's. */
enum {
    TCN_ISA_BEST = 0, TCN_ISA_PLAIN = 1, TCN_ISA_BASE = 2, TCN_ISA_AVX2 = 3, TCN_ISA_AVX512 = 4, TCN_ISA_VNNI = 5,
    TCN_ISA_DOT = 6
};

/* With an instruction set (| TCN_FUSED): float32 sums by fused multiply-adds, rounded once per product. Faster on a host
 * and no longer the reference kernels' bits; nothing else changes, and snapshots fit both. Where a processor or a build
 * (every microcontroller's) has none, it asks for nothing. */
enum { TCN_FUSED = 256 };

/* Optional: what to watch while frames are computed. */
typedef struct {
    uint32_t (*clock)(void); /* a free-running counter, read around every operation */
    uint64_t *ticks;         /* [operations of the plan]: the counter's sums */
    uint32_t tap_tensor;     /* tensor whose newest frames go to tap_frames */
    void *tap_frames;        /* (tap_room, frame of that tensor), oldest first; NULL: no tap */
    uint32_t tap_room;
    uint32_t tap_count;      /* out: frames in tap_frames */
    int64_t tap_first;       /* out: number of the first of them, counted from the start of the stream */
} tcn_hooks;

typedef struct {
    const tcn_plan *plan;
    void *program;           /* in the scratch memory */
    tcn_hooks *hooks;        /* NULL, or what to watch */
    uint32_t block;          /* input frames per pass */
    uint32_t lanes;
    int isa;                 /* what is in use: TCN_ISA_..., and TCN_FUSED */
} tcn_work;

/* Lays `size` bytes of scratch out for a plan, passes of `block` frames and so many lanes. */
size_t tcn_scratch_size(const tcn_plan *plan, uint32_t block, uint32_t lanes);
int tcn_prepare(tcn_work *work, void *scratch, size_t size, const tcn_plan *plan, uint32_t block, uint32_t lanes, int isa);

/* On a host, int8 is rescaled in fewer steps, the bits being the same, where that is proven once for a plan, and with
 * TCN_FUSED convolutions of three taps take four products for two outputs (kernels/winograd.h). tcn_settled_size(plan, isa)
 * bytes, 64-aligned (0: nothing for this plan and instruction set), serve all works of the plan that are given them
 * after tcn_prepare with the same one. Fused streams with them and without are not the same bits. */
typedef struct tcn_settled tcn_settled;
size_t tcn_settled_size(const tcn_plan *plan, int isa);
void tcn_settle(tcn_settled *settled, const tcn_plan *plan, int isa);
int tcn_use_settled(const tcn_work *work, const tcn_settled *settled);

/* Streams; arrays have an entry per input or output, room[o] and made[o] count frames of output o ------------------ */

size_t tcn_state_size(const tcn_plan *plan);
int tcn_init(tcn_state *state, size_t size, const tcn_plan *plan);
int tcn_reset(tcn_state *state);
int64_t tcn_frames_in(const tcn_state *state);
int tcn_ended(const tcn_state *state);

int tcn_push(const tcn_work *work, tcn_state *state, const void *const in[], int64_t n, void *const out[],
             const int64_t room[], int64_t made[]);
int tcn_flush(const tcn_work *work, tcn_state *state, void *const out[], const int64_t room[], int64_t made[]);

/* Frames of each output that a push of n frames (flush: n < 0) would return now. */
int tcn_ready(const tcn_work *work, const tcn_state *state, int64_t n, int64_t frames[]);

/* The end of a signal costs at most as much as pushing so many frames more. */
int64_t tcn_flush_frames(const tcn_plan *plan);

/* Many streams of one plan in one call: weights are read once for several lanes. */
typedef struct {
    tcn_state *state;
    const void *in[TCN_MAX_PORTS];
    int64_t n;                   /* frames to push, 0 to pause */
    void *out[TCN_MAX_PORTS];
    int64_t room[TCN_MAX_PORTS];
    int64_t made[TCN_MAX_PORTS]; /* out */
} tcn_lane;

/* All lanes or, on an error, none; *bad is then the lane at fault. `lanes` at most those that were prepared. */
int tcn_push_lanes(const tcn_work *work, tcn_lane *lane, uint32_t lanes, uint32_t *bad);

/* On a host, lanes of a pool may keep their frames side by side, where lanes in step find them sooner: `rings` are
 * tcn_rings_size(plan, lanes) bytes, 64-aligned, for all of them (0: they are too many), and `to` are tcn_beside_size(plan)
 * bytes that take the place of the state `from`, at any point of its signal. Such a state is used as any other. */
size_t tcn_beside_size(const tcn_plan *plan);
size_t tcn_rings_size(const tcn_plan *plan, uint32_t lanes);
int tcn_move_beside(tcn_state *to, const tcn_state *from, void *rings, uint32_t lane, uint32_t lanes);

/* Snapshots: little-endian, the same bytes on every target that runs the same plan ------------------------------- */

size_t tcn_snapshot_size(const tcn_plan *plan);
int tcn_snapshot(const tcn_state *state, void *blob /* [tcn_snapshot_size] */);
int tcn_restore(const tcn_work *work, tcn_state *state, const void *blob, size_t size);

uint32_t tcn_crc32(uint32_t crc, const void *bytes, size_t size);

#ifdef __cplusplus
}
#endif
#endif
