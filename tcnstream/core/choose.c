/* choose.c - which instruction sets were built in, and which of them this processor has. */
#include "internal.h"

const tcn_kernels *tcn_kernels_for(int isa)
{
    (void)isa;
    return &tcn_kernels_plain;
}
