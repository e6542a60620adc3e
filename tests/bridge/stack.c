/* stack.c - how deep the core's calls go on a board: for each, the bytes of stack below the frame of its caller.
 *
 * The stack is painted up to the stack pointer before a call, with interrupts off, and searched after it. A stream goes
 * through its start, its steady state in pushes of a step and of a block, a snapshot and back, and its end. */
#include "app.h"

#include "../benchmarks/board/say.h"
#include "internal.h"
#include "port.h"
#include "tcn.h"

enum { PAINT = 0x5A5A5A5A, BLOCK = 160, MOST_WARM = 65536 };

extern uint32_t stack_bottom[];

static uint8_t state_memory[512 << 10] __attribute__((aligned(64)));
static uint8_t scratch_memory[1024 << 10] __attribute__((aligned(64)));
static uint8_t blob[512 << 10] __attribute__((aligned(64)));
static uint8_t in[256 << 10] __attribute__((aligned(64))), out[1024 << 10] __attribute__((aligned(64)));
static tcn_work work;
static tcn_state *const state = (tcn_state *)(void *)state_memory;

/* No calls in between: all below the stack pointer is the callee's. */
#define STACK_POINTER(sp) __asm volatile("mov %0, sp" : "=r"(sp))
#define MEASURED(call)                                                                                                     \
    do {                                                                                                                   \
        uint32_t *sp, *at;                                                                                                 \
        __asm volatile("cpsid i" ::: "memory");                                                                            \
        STACK_POINTER(sp);                                                                                                 \
        for (at = stack_bottom; at < sp; at++)                                                                             \
            *(volatile uint32_t *)at = PAINT;                                                                              \
        call;                                                                                                              \
        for (at = stack_bottom; at < sp && *(volatile uint32_t *)at == PAINT;)                                             \
            at++;                                                                                                          \
        depth = (uint32_t)(sp - at) * 4;                                                                                   \
        __asm volatile("cpsie i" ::: "memory");                                                                            \
    } while (0)

/* The deepest of each kind of call. */
static struct { const char *what; uint32_t bytes; } deepest[] = {
    {"check", 0}, {"open", 0}, {"push", 0}, {"flush", 0}, {"snapshot", 0}, {"restore", 0},
};
enum { CHECK, OPEN, PUSH, FLUSH, SNAPSHOT, RESTORE };

static void keep(int what, uint32_t depth)
{
    if (depth > deepest[what].bytes)
        deepest[what].bytes = depth;
}

static int64_t room_for(const tcn_plan *plan, int64_t *room, void **to)
{
    uint32_t i, n = tcn_outputs(plan), part = sizeof out / n & ~63u;
    for (i = 0; i < n; i++) {
        tcn_tensor_facts facts;
        tcn_describe_tensor(plan, tcn_output_tensor(plan, i), &facts);
        to[i] = out + i * part;
        room[i] = part / facts.frame_bytes;
    }
    return n;
}

static int pushed(const tcn_plan *plan, int64_t frames)
{
    static const void *from[TCN_MAX_PORTS];
    static void *to[TCN_MAX_PORTS];
    static int64_t room[TCN_MAX_PORTS], made[TCN_MAX_PORTS];
    uint32_t depth, i;
    int error;
    for (i = 0; i < tcn_inputs(plan); i++)
        from[i] = in;
    room_for(plan, room, to);
    MEASURED(error = tcn_push(&work, state, from, frames, to, room, made));
    keep(PUSH, depth);
    return error;
}

static int flushed(const tcn_plan *plan)
{
    static void *to[TCN_MAX_PORTS];
    static int64_t room[TCN_MAX_PORTS], made[TCN_MAX_PORTS];
    uint32_t depth;
    int error;
    room_for(plan, room, to);
    MEASURED(error = tcn_flush(&work, state, to, room, made));
    keep(FLUSH, depth);
    return error;
}

static int opened(const uint8_t *bytes, uint32_t size)
{
    const tcn_plan *plan = (const tcn_plan *)(const void *)bytes;
    size_t where, scratch = 0;
    uint32_t depth;
    int error;
    MEASURED(error = tcn_check(bytes, size, &where));
    keep(CHECK, depth);
    if (error)
        return error;
    MEASURED(scratch = tcn_scratch_size(plan, BLOCK, 1));
    keep(OPEN, depth);
    if (scratch > sizeof scratch_memory || tcn_state_size(plan) > sizeof state_memory || tcn_snapshot_size(plan) > sizeof blob)
        return TCN_SCRATCH_SIZE;
    MEASURED(error = tcn_prepare(&work, scratch_memory, sizeof scratch_memory, plan, BLOCK, 1, TCN_ISA_BEST));
    keep(OPEN, depth);
    if (error)
        return error;
    MEASURED(error = tcn_init(state, sizeof state_memory, plan));
    keep(OPEN, depth);
    return error;
}

static int lived(const tcn_plan *plan)
{
    const tcn_program *p = work.program;
    int64_t step = p->step && p->step <= BLOCK ? p->step : 1;
    uint32_t depth;
    int error = 0, k;
    for (k = 0; k < 3 && !error; k++)
        error = pushed(plan, 1);
    while (!error && tcn_frames_in(state) < p->steady_from && tcn_frames_in(state) < MOST_WARM)
        error = pushed(plan, BLOCK - tcn_frames_in(state) % step);
    if (!error)
        error = pushed(plan, step) || pushed(plan, step) || pushed(plan, BLOCK);
    if (error)
        return error;
    MEASURED(error = tcn_snapshot(state, blob));
    keep(SNAPSHOT, depth);
    if (error)
        return error;
    MEASURED(error = tcn_restore(&work, state, blob, tcn_snapshot_size(plan)));
    keep(RESTORE, depth);
    return error || pushed(plan, step) || flushed(plan);
}

void app_run(void)
{
    uint32_t size, i;
    const uint8_t *bytes = port_plan(&size);
    int error = opened(bytes, size);
    if (!error)
        error = lived((const tcn_plan *)(const void *)bytes);
    for (i = 0; i < sizeof deepest / sizeof *deepest; i++) {
        say(deepest[i].what);
        say_number(deepest[i].bytes);
        say("\n");
    }
    say(error ? "ERROR" : "END");
    say_number((uint32_t)error);
    say("\n");
    for (;;)
        port_wait();
}
