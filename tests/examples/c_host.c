/* A host program in C: the shipped ECG model on an endless signal, with no Python and no malloc.
 *
 *     tcnstream export ecg ecg.h --to c-header
 *     core=$(python -c "import tcnstream, pathlib; print(pathlib.Path(tcnstream.__file__).parent / 'core')")
 *     cc -O2 -ffp-contract=off -I. -I$core c_host.c $core/[a-z]*.c $core/operations/[a-z]*.c $core/kernels/[a-z]*.c -lm -o c_host
 *     ./c_host < samples.i8 > frames.i8
 *
 * In and out go frames in the model's own type: here one int8 a sample at 250 Hz, four int8 (none, p, qrs, t) a frame. */
#include <stdio.h>

#include "ecg.h"
#include "tcn.h"

enum { BLOCK = 25 }; /* frames a push: a tenth of a second */

/* tcn_state_size and tcn_scratch_size say how much is needed; a board has arrays of that size. */
static uint64_t state_memory[80000 / 8], scratch_memory[200000 / 8 + 8];
static int8_t in[BLOCK], out[4 * 4096];

static int fail(const char *what, int code)
{
    fprintf(stderr, "%s: code %d (tcn.h says what it means)\n", what, code);
    return 1;
}

int main(void)
{
    const tcn_plan *plan = (const tcn_plan *)ecg_plan;
    tcn_state *state = (tcn_state *)state_memory;
    void *scratch = (void *)(((uintptr_t)scratch_memory + 63) & ~(uintptr_t)63); /* 64-aligned */
    const void *inputs[1] = {in};
    void *outputs[1] = {out};
    int64_t room[1] = {4096}, made[1];
    size_t position, n;
    tcn_work work;
    int error;

    if ((error = tcn_check(ecg_plan, sizeof ecg_plan, &position)))
        return fail("the plan is damaged", error);
    if ((error = tcn_prepare(&work, scratch, sizeof scratch_memory - 64, plan, BLOCK, 1, TCN_ISA_BEST)))
        return fail("scratch", error);
    if ((error = tcn_init(state, sizeof state_memory, plan)))
        return fail("state", error);
    while ((n = fread(in, 1, BLOCK, stdin)) > 0) {
        if ((error = tcn_push(&work, state, inputs, (int64_t)n, outputs, room, made)))
            return fail("push", error);
        fwrite(out, 4, (size_t)made[0], stdout); /* every frame that these samples made possible */
    }
    if ((error = tcn_flush(&work, state, outputs, room, made)))
        return fail("flush", error);
    fwrite(out, 4, (size_t)made[0], stdout);
    return 0;
}
