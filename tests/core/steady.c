/* steady.c - the step of a plan's steady state and the input frames from which on it holds: steady PLAN -> "STEP FROM". */
#include <stdio.h>
#include <stdlib.h>

#include "internal.h"

enum { BLOCK = 64, MOST_BYTES = 1 << 22 };

int main(int argc, char **argv)
{
    static uint8_t plan[MOST_BYTES] __attribute__((aligned(64)));
    static uint8_t scratch[MOST_BYTES] __attribute__((aligned(64)));
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    const tcn_program *p;
    tcn_work work;
    size_t where;
    if (!file || tcn_check(plan, fread(plan, 1, sizeof plan, file), &where) ||
        tcn_prepare(&work, scratch, sizeof scratch, (const tcn_plan *)(const void *)plan, BLOCK, 1, TCN_ISA_BEST))
        return 1;
    p = work.program;
    printf("%u %lld\n", p->step, (long long)p->steady_from);
    return fclose(file);
}
