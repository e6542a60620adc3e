/* check.h - what the checks of a plan share; check.c walks the plan, each operation looks at its own arguments. */
#ifndef TCN_CHECK_H
#define TCN_CHECK_H

#include "internal.h"

typedef struct {
    const uint8_t *plan;
    const tcn_header *h;
    const tcn_frame *frames;
    const tcn_tensor_record *tensors;
    const tcn_ring_record *rings;
    tcn_sections behind;
    const tcn_node_record *node; /* which is looked at, its window and its operands */
    const tcn_window *window;
    const uint16_t *in, *out;
    uint32_t number; /* of the node */
    uint32_t made;   /* tensors, by the nodes seen so far */
    uint32_t loop_end;
    int64_t tail;    /* of the nodes seen so far */
    size_t position; /* of what is wrong */
} tcn_checker;

/* MOST_RATE keeps the products of rates and strides below 2^63, MOST_TAIL the end of a signal computable. */
enum { MOST_ELEMENTS = 1 << 24, MOST_FRAMES = 1 << 24, MOST_RATE = 1 << 19, MOST_TAIL = 1 << 26 };

static inline int tcn_fail(tcn_checker *c, const void *where, int code)
{
    c->position = (size_t)((const uint8_t *)where - c->plan);
    return code;
}

#define REQUIRE(condition, where, code)          \
    do {                                         \
        if (!(condition))                        \
            return tcn_fail(c, (where), (code)); \
    } while (0)

/* The node's arguments as `a`. */
#define ARGUMENTS(type)                                                                          \
    const type *a = (const type *)(const void *)(c->plan + c->node->args_at);                    \
    REQUIRE(holds(c, c->node->args_at, sizeof *a / 4, 4), &c->node->args_at, TCN_BOUNDS)

/* Whether `size` bytes stand behind them. */
#define ARGUMENTS_AND(size) holds(c, c->node->args_at, (sizeof *a + (size)) / 4, 4)

/* `count` elements of `size` bytes at an offset: inside of the file, aligned, and not in the header. */
static inline int holds(const tcn_checker *c, uint32_t at, uint64_t count, uint32_t size)
{
    return at >= sizeof(tcn_header) && at % (size < 16 ? size : 16) == 0 && at <= c->h->bytes &&
           count <= ((uint64_t)c->h->bytes - at) / size;
}

static inline uint32_t elements_of(const tcn_frame *f)
{
    static const uint8_t bytes[] = TCN_ITEM_BYTES;
    return f->bytes / bytes[f->dtype];
}

static inline const tcn_frame *frames_in(const tcn_checker *c, uint32_t tensor) { return &c->frames[c->tensors[tensor].frame]; }
static inline const tcn_frame *input_of(const tcn_checker *c, uint32_t i) { return frames_in(c, c->in[i]); }
static inline const tcn_frame *output_of(const tcn_checker *c) { return frames_in(c, c->out[0]); }

/* Frame by frame, without a look at the neighbours. */
static inline int same_frame(const tcn_window *n)
{
    return n->up == 1 && n->stride == 1 && n->extent == 1 && n->pad_begin == 0 && n->pad_end == 0;
}

static inline int shift_ok(int32_t shift) { return shift >= -31 && shift <= 30; }

/* What a stream remembers of a tensor; NULL for nothing. */
const tcn_ring_record *tcn_checked_ring(const tcn_checker *c, uint32_t tensor);

/* One value in, one value out: the frames have as many elements. */
int tcn_check_element(tcn_checker *c, const uint32_t *elements);

/* Groups of elements of a frame of the input, one group for each element of the output. */
int tcn_check_groups(tcn_checker *c, const reduce_args *a);

int tcn_check_shifts(tcn_checker *c, uint32_t at, uint32_t count, int32_t least, int32_t most);

#endif
