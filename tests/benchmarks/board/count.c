/* count.c - instructions of a plan's frames on an emulated board: the core on the firmware's own ports.
 *
 * Says on the UART what each operation costs in pushes of COUNT_HOP and of 16 times as many frames once the stream is
 * steady, what a whole push costs, what is left of it without the kernels of convolutions and int8 sums, and a checksum
 * of all frames that came out. The signal is a fixed sequence that the host knows. */
#include "app.h"

#include "internal.h"
#include "port.h"
#include "say.h"
#include "tcn.h"

enum { MOST_NODES = 512, WARM_FRAMES = COUNT_WARM, MEASURED_FRAMES = COUNT_FRAMES, HOP = COUNT_HOP, BLOCK = 16 * HOP };

static uint8_t state_memory[512 << 10] __attribute__((aligned(64)));
static uint8_t scratch_memory[512 << 10] __attribute__((aligned(64)));
static uint8_t in[64 << 10] __attribute__((aligned(64))), out[256 << 10] __attribute__((aligned(64)));
static uint64_t ticks[MOST_NODES];
static uint32_t seed = 1, checksum;
static tcn_work work;
static tcn_state *const state = (tcn_state *)(void *)state_memory;
static tcn_tensor_facts source, target;

static uint32_t clock(void) { return (uint32_t)port_ticks(); }

static int draw(void)
{
    seed = seed * 1103515245u + 12345u;
    return (int)(seed >> 16 & 0xFF) - 128;
}

static void signal_frames(uint32_t frames)
{
    uint32_t i, n = frames * source.frame_elements;
    for (i = 0; i < n; i++) {
        int v = draw();
        if (source.dtype == TCN_F32)
            ((float *)(void *)in)[i] = (float)v / 128.0f;
        else if (source.dtype == TCN_I16)
            ((int16_t *)(void *)in)[i] = (int16_t)(v * 256);
        else
            ((int8_t *)in)[i] = (int8_t)v;
    }
}

/* Returns what the push cost. */
static uint64_t push(uint32_t frames)
{
    const void *from = in;
    void *to = out;
    int64_t room = sizeof out / target.frame_bytes, made;
    uint64_t begin;
    int error;
    signal_frames(frames);
    begin = port_ticks();
    error = tcn_push(&work, state, &from, frames, &to, &room, &made);
    begin = port_ticks() - begin;
    if (error) {
        say("ERROR");
        say_number((uint64_t)error);
        say("\n");
    } else {
        checksum = tcn_crc32(checksum, out, (size_t)made * target.frame_bytes);
    }
    return begin;
}

static void measure(const tcn_plan *plan, uint32_t hop)
{
    tcn_hooks hooks = {clock, ticks, 0, NULL, 0, 0, 0};
    uint32_t k, done;
    uint64_t sum = 0, begin = port_ticks(), read;
    read = port_ticks() - begin;
    for (done = 0; done < MEASURED_FRAMES; done += hop)
        sum += push(hop) - read;
    say("PUSH");
    say_number(hop);
    say_number(sum);
    say_number(MEASURED_FRAMES);
    say("\n");
    for (k = 0; k < tcn_nodes(plan); k++)
        ticks[k] = 0;
    work.hooks = &hooks;
    for (done = 0; done < MEASURED_FRAMES; done += hop)
        push(hop);
    work.hooks = NULL;
    for (k = 0; k < tcn_nodes(plan); k++) {
        say("NODE");
        say_number(hop);
        say_number(k);
        say_number(ticks[k]);
        say_number(read * (MEASURED_FRAMES / hop));
        say("\n");
    }
}

static void no_window(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
{
    (void)a, (void)plan, (void)rows, (void)outs, (void)positions;
}

static void no_fours(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                     uint32_t positions, void *window)
{
    (void)a, (void)plan, (void)rows, (void)outs, (void)positions, (void)window;
}

static void no_sum(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    (void)a, (void)op, (void)x, (void)y, (void)out, (void)n;
}

/* What is left of a push without the kernels of convolutions and of int8 sums. */
static void measure_bookkeeping(const tcn_plan *plan)
{
    static tcn_kernels kernels;
    tcn_program *p = work.program;
    uint32_t k, hop;
    uint64_t read = port_ticks();
    read = port_ticks() - read;
    kernels = *p->kernels;
    kernels.conv_i8 = kernels.depthwise_i8 = no_window;
    kernels.conv_i8_fours = kernels.depthwise_i8_fours = no_fours;
    kernels.binary_i8 = no_sum;
    p->kernels = &kernels;
    for (k = 0; k < tcn_nodes(plan); k++) {
        if (p->single_frames[k].fours)
            p->single_frames[k].fours = no_fours;
        else if (p->single_frames[k].kernel && p->nodes[k].dtype == TCN_I8)
            p->single_frames[k].kernel = no_window;
    }
    for (hop = HOP; hop <= BLOCK; hop += BLOCK - HOP) {
        uint64_t sum = 0;
        uint32_t done;
        for (done = 0; done < MEASURED_FRAMES; done += hop)
            sum += push(hop) - read;
        say("REST");
        say_number(hop);
        say_number(sum);
        say_number(MEASURED_FRAMES);
        say("\n");
    }
}

void app_run(void)
{
    uint32_t size, done;
    const tcn_plan *plan = (const void *)port_plan(&size);
    size_t where = 0;
    int error = tcn_check(plan, size, &where);
    if (!error && (tcn_state_size(plan) > sizeof state_memory || tcn_scratch_size(plan, BLOCK, 1) > sizeof scratch_memory))
        error = TCN_SCRATCH_SIZE;
    if (!error)
        error = tcn_prepare(&work, scratch_memory, sizeof scratch_memory, plan, BLOCK, 1, TCN_ISA_BEST);
    if (!error)
        error = tcn_init(state, sizeof state_memory, plan);
    if (error) {
        say("ERROR");
        say_number((uint64_t)error);
        say_number(where);
    } else {
        tcn_describe_tensor(plan, tcn_input_tensor(plan, 0), &source);
        tcn_describe_tensor(plan, tcn_output_tensor(plan, 0), &target);
        for (done = 0; done < WARM_FRAMES; done += BLOCK)
            push(BLOCK);
        measure(plan, HOP);
        measure(plan, BLOCK);
        say("SIZES");
        say_number(tcn_state_size(plan));
        say_number(tcn_scratch_size(plan, BLOCK, 1));
        say("\nCRC");
        say_number(checksum);
        say("\n");
        measure_bookkeeping(plan);
    }
    say("\nEND\n");
    for (;;)
        port_wait();
}
